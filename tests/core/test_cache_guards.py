"""Guards: how two questions that read alike differ in what they ask."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from costkit.cache.guards import GUARDS, Finding, compare, read

FINDS = [
    ("number", "Refund window of 30 days?", "Refund window of 60 days?"),
    ("number", "Can two people share a seat?", "Can three people share a seat?"),
    ("number", "Is a 5% deposit enough?", "Is a 10% deposit enough?"),
    ("number", "Who won the second race?", "Who won the third race?"),
    ("number", "May I spend $1,500 on a chair?", "May I spend $2,500 on a chair?"),
    ("number", "How do I print on paper?", "How do I print 12 copies on paper?"),
    ("number", "Is 5k a long run?", "Is 8k a long run?"),
    ("unit", "Does the trial last 30 days?", "Does the trial last 30 hours?"),
    ("unit", "Can I run 5 km in sandals?", "Can I run 5 miles in sandals?"),
    ("unit", "Is $20 a fair tip?", "Is €20 a fair tip?"),
    ("unit", "How many hours does a ticket stay open?", "How many days does a ticket stay open?"),
    ("date", "What did the shop earn in 2023?", "What did the shop earn in 2024?"),
    ("date", "What did the shop earn in 2019?", "What did the shop earn?"),
    ("date", "Does the pool open in March?", "Does the pool open in October?"),
    ("date", "Are you open on Monday?", "Are you open on Sunday?"),
    ("date", "Revenue of Q1?", "Revenue of the second quarter?"),
    ("date", "Who visits us tomorrow?", "Who visited us yesterday?"),
    ("date", "Sales of last month?", "Sales of this month?"),
    ("date", "What is the 2018 rate of the ferry?", "What is the current rate of the ferry?"),
    ("date", "Does the office close at 5pm?", "Does the office close at 6pm?"),
    ("code", "What does error E-104 mean?", "What does error E-105 mean?"),
    ("code", "Is v2.1 still patched?", "Is v2.2 still patched?"),
    ("code", "What does --force do here?", "What does --quiet do here?"),
    ("code", "Where is config.yaml read?", "Where is routes.yaml read?"),
    ("code", "Does part B cover glasses?", "Does part D cover glasses?"),
    ("entity", "Do you ship to Norway?", "Do you ship to Portugal?"),
    ("entity", "Do you ship to Norway?", "do you ship to portugal"),
    ("entity", "Is Zorblat safe for lawns?", "Is Quimby safe for lawns?"),
    ("entity", "Can we pair Zorblat with lime?", "can we pair quimbo with lime"),
    ("entity", "how do i pin a tab in firefox", "how do i pin a tab in safari"),
    ("entity", "Does the GTX fan spin?", "Does the RTX fan spin?"),
    ("entity", "May I feed my rabbit mushrooms?", "May I feed my hamster mushrooms?"),
    ("negation", "Which plans include a phone line?", "Which plans do not include a phone line?"),
    ("negation", "Can I fly with a passport?", "Can I fly without a passport?"),
    ("negation", "How can I edit the page?", "Why can't I edit the page?"),
    ("negation", "Which vouchers are refundable?", "Which vouchers are non-refundable?"),
    ("antonym", "How do I turn on the heater?", "How do I turn off the heater?"),
    ("antonym", "How do I lock the shed?", "How do I unlock the shed?"),
    ("antonym", "How do I enable captions?", "How do I disable captions?"),
    ("antonym", "Where are invoices imported?", "Where are invoices exported?"),
    ("antonym", "How do I log in to the kiosk?", "How do I log out of the kiosk?"),
    ("antonym", "What are the pros of solar roofs?", "What are the cons of solar roofs?"),
    ("comparator", "Is it more than a bus ticket?", "Is it less than a bus ticket?"),
    ("comparator", "Must I stay at least a week?", "May I stay at most a week?"),
    ("comparator", "Which is the cheapest tent?", "Which is the most expensive tent?"),
    ("comparator", "May I eat before the scan?", "May I eat after the scan?"),
    ("direction", "How do I convert litres to gallons?", "How do I convert gallons to litres?"),
    ("direction", "Is there a night bus from Ghent to Lille?", "Is there a night bus from Lille to Ghent?"),
    ("direction", "Can a tenant sue a landlord?", "Can a landlord sue a tenant?"),
    ("scope", "How do I mute all threads?", "How do I mute one thread?"),
    ("scope", "Who spoke first at the gala?", "Who spoke last at the gala?"),
    ("scope", "Does the pass cover buses?", "Does the pass cover buses except night buses?"),
    ("intent", "Why do cats purr?", "When do cats purr?"),
    ("intent", "How do I cancel a lesson?", "Why was my lesson cancelled?"),
    ("intent", "How much is a locker?", "How do I rent a locker?"),
    ("intent", "Is the lake frozen?", "Why is the lake frozen?"),
    ("intent", "What is a mortgage?", "How do I get a mortgage?"),
    ("person", "Which yoga poses suit beginners?", "Which yoga poses suit experts?"),
    ("person", "Is paint fume bad for babies?", "Is paint fume bad for dogs?"),
    ("person", "Add my wife to the policy", "Add my son to the policy"),
    ("language", "How do I reset my password?", "Wie kann ich mein Passwort zurücksetzen?"),
    ("language", "Where is my parcel?", "Где моя посылка?"),
]
SAME = [
    ("Can two people share a seat?", "Can 2 people share a seat?"),
    ("Is 1,000 enough?", "Is 1000 enough?"),
    ("Is one thousand enough?", "is 1k enough"),
    ("Who came first?", "Who came 1st?"),
    ("Is a 5 percent deposit enough?", "Is a 5% deposit enough?"),
    ("Is it 24 hours?", "Is it one day?"),
    ("Is the trial 2 weeks long?", "Is the trial 14 days long?"),
    ("Is 1 km far?", "Is 1000 metres far?"),
    ("May I spend $20?", "May I spend 20 dollars?"),
    ("Did World War II end in May 1945?", "did world war 2 end in may 1945"),
    ("Is the shop open currently?", "Is the shop open?"),
    ("Can you ski there nowadays?", "Can you ski there?"),
    ("Is the deadline 2026-03-31?", "Is the deadline 31 March 2026?"),
    ("Is the talk at 3 pm?", "Is the talk at 3pm?"),
    ("Revenue of Q2?", "Revenue of the second quarter?"),
    ("What does E-104 mean?", "what does e104 mean"),
    ("Is v2.1 patched?", "Is version 2.1 patched?"),
    ("Do you ship to the US?", "Do you ship to America?"),
    ("Do you ship to the US?", "do you ship to the usa"),
    ("Do you ship to the United Kingdom?", "Do you ship to the UK?"),
    ("Is Norway's ferry late?", "Is the ferry of Norway late?"),
    ("Do I need a Norwegian visa?", "Do I need a visa for Norway?"),
    ("How Do I Bake A Cake In Oslo?", "how do i bake a cake in oslo"),
    ("Isn't it possible to pay later?", "Is it possible to pay later?"),
    ("Why can't I log in?", "Why am I unable to log in?"),
    ("The export doesn't work", "The export fails"),
    ("I don't know how to fold a map", "How do I fold a map?"),
    ("Is it not impossible to swim there?", "Is it possible to swim there?"),
    ("Why won't the lid open?", "Why does the lid close?"),
    ("Are you open or closed?", "Are you closed or open?"),
    ("Which is better, tea or cocoa?", "Which is better, cocoa or tea?"),
    ("Zorblat vs Quimby", "Quimby vs Zorblat"),
    ("Does Ann own the barge?", "Is the barge owned by Ann?"),
    ("How do I fold a map?", "What is the way to fold a map?"),
    ("Why is the sky dark?", "For what reason is the sky dark?"),
    ("When does the bakery open?", "What time does the bakery open?"),
    ("How can I fold a map?", "Can I fold a map?"),
    ("How do I fold a map?", "Fold a map"),
    ("What does a locker cost?", "How much does a locker cost?"),
    ("Can I change my seat?", "Can you change your seat?"),
    ("Could you please tell me where the gym is?", "Where is the gym?"),
    ("¿Cómo puedo cambiar mi contraseña?", "¿De qué manera cambio la contraseña de mi cuenta?"),
    ("Wo finde ich die Rechnung für Mai?", "Wo ist meine Rechnung und wie finde ich sie?"),
    ("どうすればパスワードを変更できますか", "パスワードの変更方法を教えてください"),
]
WORDS = st.sampled_from(
    "how why when is can not never two 3 30 days $5 2019 May Norway US e-104 v2.1 --force all first last from to by on "
    "off open close before after more less at least my dog wife isn't without Paris 7pm 1k Q2 half a . ? , der die и 東".split()
)
QUESTIONS = st.one_of(st.text(), st.lists(WORDS, max_size=12).map(" ".join))


def guards(asked: str, earlier: str) -> list[str]:
    return [finding.guard for finding in compare(read(asked), read(earlier))]


@pytest.mark.parametrize(("guard", "asked", "earlier"), FINDS)
def test_a_guard_finds_the_difference(guard: str, asked: str, earlier: str) -> None:
    assert guard in guards(asked, earlier)
    assert guard in guards(earlier, asked)


@pytest.mark.parametrize(("asked", "earlier"), SAME)
def test_another_wording_is_no_difference(asked: str, earlier: str) -> None:
    assert compare(read(asked), read(earlier)) == ()
    assert compare(read(earlier), read(asked)) == ()


def test_every_guard_has_an_example() -> None:
    assert {guard for guard, _, _ in FINDS} == set(GUARDS)


@pytest.mark.parametrize(
    ("asked", "earlier", "finding"),
    [
        ("Is it 30 days?", "Is it 60 days?", Finding("number", "30 day against 60 day")),
        ("Sales in 2019?", "Sales?", Finding("date", "one names 2019, the other no year")),
        ("Is E-104 bad?", "Is E-105 bad?", Finding("code", "E-104 against E-105")),
        ("turn the fan on", "turn the fan off", Finding("antonym", "turn on against turn off")),
        ("Why do cats purr?", "When do cats purr?", Finding("intent", "asks why against when")),
    ],
)
def test_the_reason_names_the_asked_question_first(asked: str, earlier: str, finding: Finding) -> None:
    assert compare(read(asked), read(earlier)) == (finding,)


def test_a_long_text_is_read_in_part() -> None:
    assert compare(read("word " * 5_000 + "30 days"), read("word " * 5_000 + "60 days")) == ()


@given(QUESTIONS)
@example("\ud800")
@example("²³ ½ ٣ 1e999 -%")
@example("9" * 400)
def test_a_question_does_not_differ_from_itself(question: str) -> None:
    assert compare(read(question), read(question)) == ()


@given(QUESTIONS, QUESTIONS)
@example("²", "٣ days")
def test_which_guards_fire_does_not_depend_on_the_order(asked: str, earlier: str) -> None:
    found = guards(asked, earlier)
    assert sorted(found) == sorted(guards(earlier, asked))
    assert found == [guard for guard in GUARDS if guard in found]


@given(st.lists(WORDS.filter(str.isascii), min_size=1, max_size=12).map(" ".join))
def test_case_is_no_difference(question: str) -> None:
    for changed in (question.lower(), question.upper(), question.capitalize()):
        assert compare(read(question), read(changed)) == ()


@given(st.lists(WORDS.filter(str.isalnum), min_size=1, max_size=12))
def test_space_and_closing_punctuation_are_no_difference(bits: list[str]) -> None:
    question = " ".join(bits)
    for changed in (f"  {question}", "  ".join(bits), f"{question}?", f"{question} ?!", f'"{question}"'):
        assert compare(read(question), read(changed)) == ()

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
    ("number", "Is 3/4 enough?", "Is 4/3 enough?"),
    ("number", "Is the table free on 3/4?", "Is the table free on 6/8?"),
    ("number", "What happened on 3/4/2025?", "What happened on 4/3/2025?"),
    ("number", "Is ½ cup of oats enough?", "Is ¾ cup of oats enough?"),
    ("number", "Is 1 1/2 cups of oats enough?", "Is 1/2 cups of oats enough?"),
    ("number", "What changed in version 1.10?", "What changed in version 1.1?"),
    ("number", "What changed in version 1.10?", "What changed in 1.1?"),
    ("number", "Does Python 3.1 run here?", "Does Python 3.10 run here?"),
    ("number", "does node 18.1 run here", "does node 18.10 run here"),
    ("number", "How do I upgrade Python to 3.1?", "How do I upgrade Python to 3.10?"),
    ("number", "Does the Zorblat 3.1 float?", "Does the Zorblat 3.10 float?"),
    ("unit", "Does the trial last 30 days?", "Does the trial last 30 hours?"),
    ("unit", "Can I run 5 km in sandals?", "Can I run 5 miles in sandals?"),
    ("unit", "Is $20 a fair tip?", "Is €20 a fair tip?"),
    ("unit", "May I take 10 mg?", "May I take 10 mcg?"),
    ("unit", "May I take 10 mg?", "May I take 10µg?"),
    ("unit", "Is a 10 nm gap wide?", "Is a 10 mm gap wide?"),
    ("unit", "Is 500g of flour enough?", "Is 500kg of flour enough?"),
    ("unit", "Is 5g of salt enough?", "Is 5kg of salt enough?"),
    ("unit", "Is 5 l of paint enough?", "Is 5 ml of paint enough?"),
    ("unit", "Is 100 km/h allowed there?", "Is 100 mph allowed there?"),
    ("unit", "Is 20 ms of lag normal?", "Is 20 seconds of lag normal?"),
    ("unit", "Bake at 350 degrees fahrenheit?", "Bake at 350 degrees celsius?"),
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
    ("code", "Is 5G fast?", "Is 4G fast?"),
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
    ("negation", "Why is my card blocked?", "Why is my card not blocked?"),
    ("negation", "Which seats are free?", "Which seats are not free?"),
    ("negation", "I have a problem. Does the card work abroad?", "Does the card not work abroad?"),
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
    ("comparator", "Is it >= 18?", "Is it <= 18?"),
    ("comparator", "Is it >=18?", "Is it <18?"),
    ("comparator", "Is it >= 18?", "Is it > 18?"),
    ("comparator", "Is it < 18?", "Is it more than 18?"),
    ("comparator", "Is it ≥ 18?", "Is it ≤ 18?"),
    ("comparator", "Is it > 18?", "Is it < 18?"),
    ("comparator", "Is the fee > $20?", "Is the fee < $20?"),
    ("comparator", "Does it stop if a > b?", "Does it stop if a < b?"),
    ("comparator", "Which rows have x == 5?", "Which rows have x != 5?"),
    ("comparator", "Which rows have x=5?", "Which rows have x!=5?"),
    ("comparator", "Which rows have x = 5?", "Which rows have x <> 5?"),
    ("comparator", "Which rows have x ≠ 5?", "Which rows have x == 5?"),
    ("direction", "How do I convert litres to gallons?", "How do I convert gallons to litres?"),
    ("direction", "Is there a night bus from Ghent to Lille?", "Is there a night bus from Lille to Ghent?"),
    ("direction", "Can a tenant sue a landlord?", "Can a landlord sue a tenant?"),
    ("direction", "How do I get to Paris from Rome?", "How do I get from Paris to Rome?"),
    ("direction", "Any bus to New York from the airport?", "Any bus from New York to the airport?"),
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
    ("language", "ร้านเปิดกี่โมง", "การคืนเงินใช้เวลากี่วัน"),
    ("language", "តើខ្ញុំប្តូរពាក្យសម្ងាត់យ៉ាងដូចម្តេច", "ហាងបើកម៉ោងប៉ុន្មាន"),
    ("language", "ဆိုင်ဘယ်အချိန်ဖွင့်သလဲ", "ငွေပြန်အမ်းရန် ဘယ်နှစ်ရက်ကြာမလဲ"),
    ("language", "ሱቁ ስንት ሰዓት ይከፈታል?", "የይለፍ ቃሌን እንዴት መቀየር እችላለሁ?"),
    ("language", "如何取消订单?", "如何提交订单?"),
    ("language", "从北京到上海怎么走?", "从上海到北京怎么走?"),
    ("language", "什么是Docker?", "什么是Kubernetes?"),
    ("language", "注文を変更するにはどうすればいいですか", "注文をキャンセルするにはどうすればいいですか"),
    ("language", "가게는 언제 열어요?", "가게는 언제 닫아요?"),
    ("language", "متى يفتح المتجر؟", "متى يغلق المتجر؟"),
    ("language", "מתי החנות נפתחת?", "מתי החנות נסגרת?"),
    ("language", "मेरा बिल कहां है?", "मेरा पार्सल कहां है?"),
    ("language", "คำ", "คี"),
    ("language", "Как отменить заказ?", "Как изменить заказ?"),
    ("language", "Πώς ακυρώνω την παραγγελία μου;", "Πώς αλλάζω την παραγγελία μου;"),
    ("language", "Пароль Docker?", "Docker?"),
    ("language", "🐶🐱", "🍕🍔"),
    ("language", "What does 🔥 mean?", "What does the 💀 mean?"),
    ("language", "What does 你好 mean in English?", "What does 再见 mean in English?"),
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
    ("どうすればパスワードを変更できますか", "どうすれば、パスワードを 変更できますか？"),
    ("Что такое Docker?", "что такое DOCKER"),
    ("How do I reset my password? 😊", "How do I reset my password?"),
    ("❤️", "❤"),
    ("What does 你好 mean?", "What is the meaning of 你好?"),
    ("Is it >= 18?", "Is it at least 18?"),
    ("Is it ≤ 18?", "Is it <=18?"),
    ("Is it >18?", "Is it > 18?"),
    ("Is 5g of salt enough?", "Is 5 grams of salt enough?"),
    ("Is 5G fast?", "Is 5 G fast?"),
    ("Where is Settings > Privacy?", "Where is Settings → Privacy?"),
    ("Is it 2.50 euros?", "Is it 2.5 euros?"),
    ("Is 2.50 enough?", "Is 2.5 enough?"),
    ("Is 30k dear in Norway?", "Is 30,000 dear in Norway?"),
    ("Did Norway spend 2.50 million?", "Did Norway spend 2.5 million?"),
    ("Is $2.50 the fare in Oslo?", "Is $2.5 the fare in Oslo?"),
    ("Does version 3.0 run here?", "Does version 3 run here?"),
    ("What changed in version 1.10?", "What changed in 1.10?"),
    ("Are 500/1000 notes old?", "Are 500 and 1000 notes old?"),
    ("Is the table free on 03/04?", "Is the table free on 3/4?"),
    ("Is 1/2 enough?", "Is 0.5 enough?"),
    ("Is the ratio 1/2?", "Is the ratio 0.5?"),
    ("Was it dear in 10/2016?", "Was it dear in 10 2016?"),
    ("Is it due on 2026/03/31?", "Is it due on 31 March 2026?"),
    ("May I take 10 mcg?", "May I take 10 µg?"),
    ("May I take 10 μg?", "May I take 10 micrograms?"),
    ("Is 1000 nm long?", "Is 1 micron long?"),
    ("Is 100 km/h fast?", "Is 100 kmh fast?"),
    ("Is 100 sqm large?", "Is 100 m² large?"),
    ("How do I respond to a letter from a firm?", "What do I do if a letter is addressed to a firm?"),
    ("How do I get to Rome from Paris?", "How do I get from Paris to Rome?"),
    ("Help, I have a problem. I cannot log in", "Help, I have a problem. I am unable to log in"),
    ("The export does not work, why?", "Why? The export fails"),
]
WORDS = st.sampled_from(
    "how why when is can not never two 3 30 days $5 2019 May Norway US e-104 v2.1 --force all first last from to by on "
    "off open close before after more less at least my dog wife isn't without Paris 7pm 1k Q2 half a . ? , der die и 東 >= < 3/4 1.10 version 10µg "
    "blocked 🍕".split()
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


def test_a_period_is_named_by_the_words_before_it() -> None:
    assert "date" not in guards("Calendar month this", "Calendar month last")


def test_every_guard_has_an_example() -> None:
    assert {guard for guard, _, _ in FINDS} == set(GUARDS)


@pytest.mark.parametrize(
    ("asked", "earlier", "finding"),
    [
        ("Is it 30 days?", "Is it 60 days?", Finding("number", "30 day against 60 day")),
        ("Sales in 2019?", "Sales?", Finding("date", "one names 2019, the other no year")),
        ("Is it Python 3.1?", "Is it Python 3.10?", Finding("number", "3.1 against 3.10")),
        ("Is 3/4 enough?", "Is 4/3 enough?", Finding("number", "3/4 against 4/3")),
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
@example("5over0 5/0 0/0 7over3")
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

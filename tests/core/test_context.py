"""The context part through its public door: what is kept, what it costs, and what happens when scoring fails."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costkit._onnxruntime import batch_threads
from costkit.context import ContextReducer, Document, Reduction
from costkit.context.relevance import Scores
from costkit.context.sentences import Unit
from costkit.errors import ConfigurationError, MissingExtraError
from costkit.ledger.usage import Event
from costkit.scope import Scope, use
from costkit.text import words
from costkit.tokens import default_counter


class HashedWords:
    """A bag-of-words embedder: equal words, equal direction."""

    name = "hashed-words"
    dimensions = 64

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        rows = np.full((len(texts), self.dimensions), 1e-3, dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in words(text):
                row[zlib.crc32(word.encode()) % self.dimensions] += 1
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@dataclass(frozen=True)
class Characters:
    """One token per four characters, rounded up; a stated error on top."""

    name: str = "characters"
    upper_error: float = 0.0

    def count(self, text: str) -> int:
        return -(-len(text) // 4)


class Lenient(Characters):
    """Counts less for the pieces of a text than for the whole."""

    def count(self, text: str) -> int:
        return len(text) ** 2 // 900


@dataclass
class Events:
    events: list[Event] = field(default_factory=list)

    def record(self, event: Event) -> None:
        self.events.append(event)


class Broken:
    name = "broken"

    def score(self, question: str, texts: Sequence[str]) -> list[float]:
        raise RuntimeError("no model today")


def reducer(budget_tokens: int, **options: object) -> ContextReducer:
    given_options = {"embedder": HashedWords(), "recorder": Events(), "counter": Characters()} | options
    return ContextReducer(budget_tokens=budget_tokens, **given_options)


def numbered(*texts: str, title: str = "") -> list[Document]:
    return [Document(id=f"d{index}", text=text, title=title) for index, text in enumerate(texts)]


def kept_texts(reduction: Reduction) -> list[str]:
    return [span.text for span in reduction.kept]


LEAVE = "Annual leave is 27 days. Carried days lapse on 31 March. Requests are made in Juniper."
TRAVEL = "Trains are booked second class. A hotel may cost 120 euros. Taxis need a reason."

# --- invariants ------------------------------------------------------------------------------------------------------

pieces = st.sampled_from(
    [
        "Leave is 27 days. ",
        "It lapses in March. ",
        "# Rules\n\n",
        "\n\n",
        "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |\n",
        "- one item\n",
        "```\ncode = 1\n```\n",
        "Überstunden verfallen nie. ",
        "有給休暇は二十日です。",
        "👩‍👧 family days? ",
        "\r\n",
        "\u2028",
    ]
)
texts = st.one_of(st.lists(pieces, max_size=12).map("".join), st.text(max_size=120))
document_lists = st.lists(
    st.builds(lambda text, title: (text, title), texts, st.sampled_from(["", "Leave rules"])), max_size=6
).map(lambda rows: [Document(id=str(index), text=text, title=title) for index, (text, title) in enumerate(rows)])


@given(document_lists, st.integers(1, 60))
@settings(max_examples=100, deadline=None)
def test_every_character_that_is_no_white_space_is_kept_or_dropped_once(documents: list[Document], budget: int) -> None:
    reduction = reducer(budget).reduce("How many days of leave?", documents)
    for document in documents:
        seen = [0] * len(document.text)
        for span in (*reduction.kept, *reduction.dropped):
            if span.document_id == document.id:
                for at in range(span.start, span.end):
                    seen[at] += 1
        assert all(times == 1 for times, character in zip(seen, document.text, strict=True) if not character.isspace())


# --- what is kept ----------------------------------------------------------------------------------------------------


def test_documents_that_fit_are_kept_whole() -> None:
    reduction = reducer(1000).reduce("How many days?", numbered(LEAVE, TRAVEL))
    assert reduction.decision == "kept"
    assert reduction.texts() == {"d0": LEAVE, "d1": TRAVEL}
    assert reduction.dropped == ()
    assert reduction.saved_tokens == 0


def test_no_documents_are_no_work() -> None:
    reduction = reducer(10).reduce("How many days?", [])
    assert (reduction.decision, reduction.passages, reduction.tokens_before) == ("kept", (), 0)


def test_the_sentence_that_answers_is_kept_and_the_others_go() -> None:
    reduction = reducer(16).reduce("What may a hotel cost?", numbered(LEAVE, TRAVEL))
    assert reduction.decision == "reduced"
    assert "A hotel may cost 120 euros." in kept_texts(reduction)
    assert {span.reason for span in reduction.dropped} <= {"budget", "irrelevant"}
    assert reduction.tokens_before > reduction.tokens_after
    assert all(isinstance(span.score, float) for span in reduction.kept)


def test_a_budget_below_every_sentence_keeps_nothing_and_cuts_none() -> None:
    assert reducer(2).reduce("What may a hotel cost?", numbered(LEAVE, TRAVEL)).context == ""


def test_neighbours_are_joined_as_in_the_source_and_gaps_are_marked() -> None:
    source = "Frost alarms ring. Frost alarms repeat.  Lunch is served at noon in the canteen. Frost alarms end.\n\nFrost alarms are logged."
    reduction = reducer(27).reduce(
        "When do frost alarms ring, repeat, end and are logged?", numbered(source, f"{LEAVE} {TRAVEL}")
    )
    assert (
        reduction.texts()["d0"]
        == "Frost alarms ring. Frost alarms repeat. ... Frost alarms end.\n\nFrost alarms are logged."
    )


def test_titles_count_against_the_budget_and_stand_over_their_passage() -> None:
    documents = numbered(LEAVE, TRAVEL, title="The rules of 2026 for all staff")
    reduction = reducer(19).reduce("What may a hotel cost?", documents)
    assert reduction.context == "The rules of 2026 for all staff\nA hotel may cost 120 euros."
    assert reducer(12).reduce("What may a hotel cost?", documents).context == ""


def test_the_order_given_is_kept_unless_relevance_is_asked_for() -> None:
    documents = numbered(LEAVE + " " + LEAVE.upper(), TRAVEL)
    question = "What may a hotel cost, and what of annual leave days?"
    stable = reducer(45).reduce(question, documents)
    best_first = reducer(45, order="relevance").reduce(question, documents)
    assert [passage.document_id for passage in stable.passages] == ["d0", "d1"]
    assert [passage.document_id for passage in best_first.passages] == ["d1", "d0"]
    assert sorted(kept_texts(stable)) == sorted(kept_texts(best_first))


def test_edges_puts_the_best_documents_at_the_beginning_and_at_the_end() -> None:
    documents = numbered(*(f"Hotel {number} {'hotel ' * at}costs." for at, number in enumerate("ABCDE")), LEAVE * 4)
    question = "hotel"
    ranked = [one.document_id for one in reducer(60, order="relevance").reduce(question, documents).passages]
    edges = [one.document_id for one in reducer(60, order="edges").reduce(question, documents).passages]
    assert len(ranked) >= 5
    assert (edges[0], edges[-1], edges[1]) == (ranked[0], ranked[1], ranked[2])
    assert sorted(edges) == sorted(ranked)


def test_where_nothing_is_scored_the_order_given_is_that_of_relevance() -> None:
    documents = numbered("A.", "B.", "C.", "D.", "E.")
    for order, expected in (("stable", "ABCDE"), ("relevance", "ABCDE"), ("edges", "ACEDB")):
        found = reducer(900, order=order).reduce("Which letter?", documents)
        assert "".join(passage.text[0] for passage in found.passages) == expected


def test_equal_selections_give_byte_equal_prompts_in_the_stable_order() -> None:
    documents = numbered(LEAVE, TRAVEL, "A third text tells of nothing at all.")
    asked = ("What may a hotel cost?", "A hotel may cost what?", "hotel cost may what a")
    found = [reducer(24).reduce(question, documents) for question in asked]
    selections = {frozenset((one.document_id, one.start) for one in reduction.kept) for reduction in found}
    assert len(selections) == len({reduction.context for reduction in found}) == 1


def test_a_kept_text_names_the_other_documents_that_it_stands_in() -> None:
    rule = "Unused annual leave can be carried over up to a limit of five days every year."
    documents = numbered(rule, f"Note: {TRAVEL} {rule}", LEAVE, TRAVEL)
    reduction = reducer(24).reduce("How much unused leave can be carried over, up to what limit?", documents)
    (span,) = (span for span in reduction.kept if span.text == rule)
    (place,) = span.also_in
    assert {span.document_id, place.document_id} == {"d0", "d1"}
    source = documents[int(place.document_id[1:])].text
    assert source[place.start : place.end] == rule


def test_a_text_that_is_cut_off_with_its_document_is_still_cited() -> None:
    documents = numbered(LEAVE, f"{LEAVE} {TRAVEL}")
    reduction = reducer(900).reduce("How many days?", documents, k=1)
    (span,) = reduction.kept
    assert [(place.document_id, place.start) for place in span.also_in] == [("d1", 0)]


def test_overlapping_chunks_are_paid_for_once() -> None:
    source = " ".join(f"Logger {name} beeps {count} times at frost." for count, name in enumerate("ABCDEFGH", 2))
    chunks = numbered(source[:200], source[150:])
    reduction = reducer(66).reduce("How often does logger E beep at frost?", chunks)
    shown = reduction.context
    assert all(shown.count(f"Logger {name} beeps") <= 1 for name in "ABCDEFGH")
    assert "Logger E beeps 6 times at frost." in shown
    assert "duplicate" in {span.reason for span in reduction.dropped}


def test_half_a_sentence_at_a_chunk_edge_gives_way_to_the_whole_one() -> None:
    source = "Filler text stands here first of all. The gateway restarts by itself after exactly ninety seconds of silence. End."
    chunks = numbered(source[:90], source[30:])
    reduction = reducer(26).reduce("When does the gateway restart?", chunks)
    assert "The gateway restarts by itself after exactly ninety seconds of silence." in kept_texts(reduction)
    assert reduction.context.count("The gateway restarts") == 1


def test_sentences_that_differ_in_one_number_are_no_copies() -> None:
    rule = "Unused annual leave can be carried over up to a limit of {} days every year."
    reduction = reducer(50).reduce(
        "How much leave can be carried over?", numbered(rule.format(5), rule.format(8), TRAVEL)
    )
    assert {rule.format(5), rule.format(8)} <= set(kept_texts(reduction))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Members pay the fee of $5 at the start of a year.", "Members pay the fee of $5 at start of a year!"),
        ("The fee, as a rule, is due when a member joins.", "Fee as a rule is due when a member joins"),
    ],
)
def test_sentences_that_differ_in_punctuation_are_kept_once_with_both_places(one: str, other: str) -> None:
    documents = numbered(one, other, f"{TRAVEL} {LEAVE} {TRAVEL} {LEAVE}")
    reduction = reducer(60).reduce("What fee do members pay when?", documents)
    (span,) = (span for span in reduction.kept if span.text in (one, other))
    assert [place.document_id for place in span.also_in] == [{"d0": "d1", "d1": "d0"}[span.document_id]]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("$5", "€5"),
        ("plan", "plan a"),
        ("C++", "C#"),
        ("-5°", "5°"),
        ("\u20135°", "5°"),
        ("<5", ">5"),
        ("5 %", "5"),
        ("(1,200)", "1,200"),
        ("3.5", "35"),
        ("5 * 3", "5 3"),
        ("5'", '5"'),
        ("5 mW", "5 MW"),
    ],
)
def test_sentences_that_differ_in_a_number_or_sign_are_no_copies(one: str, other: str) -> None:
    rule = "Members of the club are told about {} at the beginning of each year."
    documents = numbered(rule.format(one), rule.format(other), f"{TRAVEL} {LEAVE} {TRAVEL} {LEAVE}")
    reduction = reducer(60).reduce("What are members told about?", documents)
    assert {rule.format(one), rule.format(other)} <= set(kept_texts(reduction))


@pytest.mark.parametrize("word", ["the", "?!"])
def test_a_sentence_of_nothing_but_what_does_not_count_is_no_copy(word: str) -> None:
    empty = " ".join([word] * 12)
    reduction = reducer(40).reduce("the", numbered(f"{empty} {TRAVEL}", f"{empty} {LEAVE} {LEAVE}"))
    assert reduction.decision == "reduced"


def test_a_table_row_brings_its_header() -> None:
    table = "| Scope | Who may grant it |\n|---|---|\n| devices:read | any developer |\n| audit:read | owner only |"
    reduction = reducer(24).reduce(
        "Who may grant audit:read?", numbered(table + "\n\nNothing else matters here at all.")
    )
    assert reduction.texts()["d0"] == "| Scope | Who may grant it |\n|---|---|\n| audit:read | owner only |"


def test_a_sentence_that_refers_back_brings_its_antecedent() -> None:
    source = (
        "Lunch is at noon for everybody. The L3X carries an external probe. It survives minus 90 degrees when charged."
    )
    reduction = reducer(24).reduce("What survives minus 90 degrees when charged?", numbered(source))
    assert reduction.texts()["d0"] == "The L3X carries an external probe. It survives minus 90 degrees when charged."


@pytest.mark.parametrize(("budget", "brought"), [(24, False), (60, True)])
def test_under_a_tight_budget_the_title_says_what_a_sentence_refers_to(budget: int, brought: bool) -> None:
    antecedent = "The logger carries an external probe of steel. "
    answer = "It survives minus 90 degrees when charged."
    filler = "Lunch is at noon for everybody in the house. Dinner is at eight for those who stay. " * 2
    documents = [Document(id="l3x", title="L3X", text=antecedent + answer), Document(id="house", title="", text=filler)]
    reduction = reducer(budget).reduce("What survives minus 90 degrees when charged?", documents)
    assert reduction.texts()["l3x"] == (antecedent if brought else "") + answer


def test_a_row_under_a_title_brings_its_header_however_tight_the_budget() -> None:
    table = "| Scope of the token | Who may grant it to others |\n|---|---|\n| devices:read | any developer |\n| audit:read | owner |"
    documents = [Document(id="grants", title="Grants", text=table), Document(id="more", text=f"{TRAVEL} {LEAVE}")]
    for budget in range(10, 50):
        kept = kept_texts(reducer(budget).reduce("Who may grant audit:read?", documents))
        assert "| audit:read | owner |" not in kept or any("|---|---|" in text for text in kept)


def test_a_heading_is_never_kept_alone() -> None:
    source = "# Hotel costs\n\nAsk the travel desk about every single booking that you make.\n\n# Trains\n\nSecond class is booked."
    for budget in range(1, 28):
        kept = kept_texts(reducer(budget).reduce("hotel costs", numbered(source)))
        assert "# Hotel costs" not in kept or any("travel desk" in text for text in kept)
        assert "# Trains" not in kept or any("Second class" in text for text in kept)


def test_a_document_given_twice_counts_once() -> None:
    documents = numbered(LEAVE) * 2
    assert len(reducer(1000).reduce("How many days?", documents).passages) == 1


# --- nothing to say --------------------------------------------------------------------------------------------------


class Unmoved:
    """Judges units by their place, and finds that none bears on the question."""

    name = "unmoved"

    def score(self, question: str, texts: Sequence[str]) -> list[float]:
        return [0.0] * len(texts)

    def judge(self, question: str, documents: Sequence[Document], units: Sequence[Unit]) -> Scores:
        chances = [0.01] * len(units)
        return Scores(relevance=[float(-at) for at in range(len(units))], probabilities=chances, nothing=True)


def test_where_nothing_bears_on_the_question_what_comes_closest_is_kept_within_the_budget() -> None:
    booked = Events()
    unmoved = reducer(18, recorder=booked, reranker=Unmoved(), embedder=None)
    reduction = unmoved.reduce("Who won the cup?", numbered(LEAVE, TRAVEL))
    assert reduction.decision == "nothing"
    assert kept_texts(reduction) == ["Annual leave is 27 days.", "Carried days lapse on 31 March."]
    assert all(isinstance(span.score, float) and span.probability == 0.01 for span in reduction.kept)
    assert [(event.decision, event.status) for event in booked.events] == [("nothing", "ok")]


@pytest.mark.parametrize("budget", [18, 900])
def test_where_nothing_bears_on_the_question_no_passages_are_left_on_request(budget: int) -> None:
    documents = numbered(LEAVE, TRAVEL)
    unmoved = reducer(budget, on_nothing="empty", reranker=Unmoved(), embedder=None)
    reduction = unmoved.reduce("Who won the cup?", documents)
    assert (reduction.decision, reduction.passages, reduction.context, reduction.tokens_after) == ("nothing", (), "", 0)
    assert {span.reason for span in reduction.dropped} == {"irrelevant"}
    assert reduction.reason == "nothing given bears on the question"


def test_documents_that_fit_and_bear_on_the_question_stay_whole_on_request_too() -> None:
    reduction = reducer(900, on_nothing="empty").reduce("What may a hotel cost?", numbered(LEAVE, TRAVEL), k=1)
    assert reduction.texts() == {"d1": TRAVEL}
    assert isinstance(reduction.kept[0].score, float)


def test_a_failure_is_no_abstention() -> None:
    broken = reducer(18, embedder=None, reranker=Broken(), on_nothing="empty")
    reduction = broken.reduce("What may a hotel cost?", numbered(LEAVE, TRAVEL))
    assert reduction.decision == "fallback"
    assert reduction.passages


# --- time ------------------------------------------------------------------------------------------------------------


class Stuck:
    """A reranker that does not answer before it is told to."""

    name = "stuck"

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.asked = 0

    def score(self, question: str, texts: Sequence[str]) -> list[float]:
        self.asked += 1
        self.go_on.wait(60)
        return [1.0] * len(texts)


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    reranker = Stuck()
    yield reranker
    reranker.go_on.set()


def test_scoring_that_takes_too_long_falls_back_to_the_originals(stuck: Stuck) -> None:
    slow = reducer(18, embedder=None, reranker=stuck, timeout_seconds=0.01)
    reduction = slow.reduce("What may a hotel cost?", numbered(LEAVE, TRAVEL))
    assert reduction.decision == "fallback"
    assert "TimeoutError" in reduction.reason
    assert kept_texts(reduction) == ["Annual leave is 27 days.", "Carried days lapse on 31 March."]


def test_scoring_that_hangs_holds_a_few_threads_and_no_more(stuck: Stuck) -> None:
    slow = reducer(18, embedder=None, reranker=stuck, timeout_seconds=0.01)
    decisions = {slow.reduce("Hotel?", numbered(LEAVE, TRAVEL)).decision for _ in range(20)}
    assert decisions == {"fallback"}
    assert stuck.asked == batch_threads()


def test_a_reranker_that_answers_in_time_decides() -> None:
    in_time = reducer(16, timeout_seconds=60.0)
    documents = numbered(LEAVE, TRAVEL)
    with use(Scope(tenant="acme")):
        reduction = in_time.reduce("What may a hotel cost?", documents)
    assert reduction.passages == reducer(16).reduce("What may a hotel cost?", documents).passages
    assert reduction.decision == "reduced"


def test_what_a_reranker_raises_in_time_is_told(caplog: pytest.LogCaptureFixture) -> None:
    broken = reducer(16, embedder=None, reranker=Broken(), timeout_seconds=60.0)
    assert "RuntimeError" in broken.reduce("Hotel?", numbered(LEAVE, TRAVEL)).reason
    assert "no model today" in caplog.text


def test_warming_up_loads_the_models_and_shows_a_failure() -> None:
    class Opened(HashedWords):
        asked = 0

        def embed(self, texts: Sequence[str]) -> np.ndarray:
            self.asked += 1
            return super().embed(texts)

    embedder = Opened()
    reducer(16, embedder=embedder).warm()
    assert embedder.asked == 1
    asyncio.run(reducer(16, embedder=embedder).awarm())
    assert embedder.asked == 2
    with pytest.raises(RuntimeError, match="no model today"):
        reducer(16, embedder=None, reranker=Broken()).warm()


def test_a_crowd_of_tasks_is_scored_on_a_few_threads() -> None:
    seen: set[str] = set()

    class Watching(HashedWords):
        def embed(self, texts: Sequence[str]) -> np.ndarray:
            seen.add(threading.current_thread().name)
            return super().embed(texts)

    shared = reducer(16, embedder=Watching())

    async def crowd() -> list[Reduction]:
        return await asyncio.gather(*(shared.areduce(f"Hotel {at}?", numbered(LEAVE, TRAVEL)) for at in range(40)))

    assert {one.decision for one in asyncio.run(crowd())} == {"reduced"}
    assert 0 < len(seen) <= batch_threads()
    assert all(name.startswith("costkit-context") for name in seen)


# --- failures and bad arguments --------------------------------------------------------------------------------------


def test_a_failing_reranker_falls_back_to_the_beginning_of_the_originals(caplog: pytest.LogCaptureFixture) -> None:
    events = Events()
    broken = reducer(18, embedder=None, reranker=Broken(), recorder=events)
    with caplog.at_level(logging.WARNING, "costkit.context"):
        first, second = (broken.reduce("What may a hotel cost?", numbered(LEAVE, TRAVEL)) for _ in range(2))
    assert first.decision == second.decision == "fallback"
    assert kept_texts(first) == ["Annual leave is 27 days.", "Carried days lapse on 31 March."]
    assert {span.score for span in first.kept} == {None}
    assert len(caplog.records) == 1
    assert [event.status for event in events.events] == ["failed", "failed"]


@pytest.mark.parametrize("scores", [[1.0], [float("nan")] * 6], ids=["too few", "no numbers"])
def test_a_reranker_that_gives_unusable_scores_counts_as_failed(scores: list[float]) -> None:
    class Unusable:
        name = "unusable"

        def score(self, question: str, texts: Sequence[str]) -> list[float]:
            return scores[: len(texts)]

    broken = reducer(16, embedder=None, reranker=Unusable())
    assert broken.reduce("Hotel?", numbered(LEAVE, TRAVEL)).decision == "fallback"


class Failing(Characters):
    """A user's counter that fails at texts that hold a word."""

    def __init__(self, word: str) -> None:
        object.__setattr__(self, "word", word)

    def count(self, text: str) -> int:
        if self.word in text:  # type: ignore[attr-defined]
            raise RuntimeError("no vocabulary")
        return super().count(text)


@pytest.mark.parametrize("word", ["", "hotel", "\n\n"])
def test_a_counter_that_fails_anywhere_leaves_the_budget_to_costkits_own(
    word: str, caplog: pytest.LogCaptureFixture
) -> None:
    booked = Events()
    failing = reducer(30, counter=Failing(word), recorder=booked)
    documents = numbered(LEAVE, TRAVEL)

    reduction = failing.reduce("What does a hotel cost?", documents)

    assert reduction.decision == "fallback"
    assert "RuntimeError" in reduction.reason
    assert reduction.passages
    assert reduction.tokens_after == default_counter().count(reduction.context) <= 30
    texts = {document.id: document.text for document in documents}
    assert all(texts[span.document_id][span.start : span.end] == span.text for span in reduction.kept)
    (event,) = booked.events
    assert (event.decision, event.status, event.reason) == ("fallback", "failed", reduction.reason)
    failing.reduce("What does a hotel cost?", documents)
    assert caplog.text.count("no vocabulary") == 1


def test_documents_that_fit_are_returned_unchanged_though_the_counter_fails() -> None:
    reduction = reducer(900, counter=Failing("")).reduce("Hotel?", numbered(LEAVE, TRAVEL))

    assert (reduction.decision, [passage.text for passage in reduction.passages]) == ("fallback", [LEAVE, TRAVEL])


class FailingWords(HashedWords):
    """A user's embedder that fails where it embeds, or where it is asked for its name at a decision."""

    def __init__(self, *, name_fails: bool) -> None:
        self.name_fails = name_fails
        self.asked = False

    @property
    def name(self) -> str:  # type: ignore[override]
        if self.name_fails and self.asked:
            raise RuntimeError("no name today")
        return "failing"

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.asked = True
        raise RuntimeError("no model today")


@pytest.mark.parametrize("name_fails", [False, True])
def test_an_embedder_that_fails_anywhere_falls_back(name_fails: bool, caplog: pytest.LogCaptureFixture) -> None:
    reduction = reducer(20, embedder=FailingWords(name_fails=name_fails)).reduce("Hotel?", numbered(LEAVE, TRAVEL))

    assert reduction.decision == "fallback"
    assert reduction.passages
    assert "no model today" in caplog.text


def test_at_most_k_documents_are_left_and_they_are_the_best() -> None:
    documents = numbered(LEAVE, TRAVEL, "A hotel costs up to 150 euros a night.")
    full = reducer(40).reduce("What does a hotel cost?", documents)
    scores = {passage.document_id: passage.score or 0.0 for passage in full.passages}
    assert len(scores) > 1

    for k in range(1, len(scores)):
        left = reducer(40).reduce("What does a hotel cost?", documents, k=k)

        best = sorted(scores, key=lambda name: -scores[name])[:k]
        assert {passage.document_id for passage in left.passages} == set(best)
        assert left.tokens_after == Characters().count(left.context)
        gone = [one for one in left.dropped if one.reason == "surplus"]
        assert {one.document_id for one in gone} == set(scores) - set(best)
        spans = {(one.document_id, one.start, one.end) for one in (*left.kept, *left.dropped)}
        assert spans == {(one.document_id, one.start, one.end) for one in (*full.kept, *full.dropped)}


def test_where_nothing_is_scored_the_first_k_documents_are_left() -> None:
    reduction = reducer(900).reduce("Hotel?", numbered(LEAVE, TRAVEL, "A third."), k=2)

    assert [passage.text for passage in reduction.passages] == [LEAVE, TRAVEL]
    assert reduction.decision == "reduced"
    assert "best 2 of 3" in reduction.reason
    assert reduction.saved_tokens > 0


@pytest.mark.parametrize("k", [0, -1, True, 1.5])
def test_a_wrong_k_is_named(k: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"k must be .* got {k!r}"):
        reducer(900).reduce("Hotel?", numbered(LEAVE), k=k)


def test_what_the_pieces_hide_the_joined_text_pays_for() -> None:
    source = " ".join(f"Day {day} is off." for day in range(10, 60))
    reduction = reducer(12, counter=Lenient()).reduce("Which day is off?", numbered(source))
    assert 0 < Lenient().count(reduction.context) <= 12


def test_a_broken_recorder_does_not_break_the_chain(caplog: pytest.LogCaptureFixture) -> None:
    class Full:
        def record(self, event: Event) -> None:
            raise OSError("disk full")

    full = reducer(16, recorder=Full())
    with caplog.at_level(logging.WARNING, "costkit.context"):
        assert full.reduce("What may a hotel cost?", numbered(LEAVE, TRAVEL)).decision == "reduced"
        full.reduce("What may a hotel cost?", numbered(LEAVE, TRAVEL))
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("options", "field_name"),
    [
        ({"budget_tokens": 0}, "budget_tokens"),
        ({"budget_tokens": 2.5}, "budget_tokens"),
        ({"budget_tokens": True}, "budget_tokens"),
        ({"budget_tokens": 9, "order": "random"}, "order"),
        ({"budget_tokens": 9, "reranker": Broken()}, "embedder"),
        ({"budget_tokens": 9, "on_nothing": "raise"}, "on_nothing"),
        ({"budget_tokens": 9, "timeout_seconds": 0}, "timeout_seconds"),
    ],
)
def test_a_wrong_option_is_named_at_construction(options: dict[str, object], field_name: str) -> None:
    with pytest.raises(ConfigurationError, match=field_name):
        reducer(**options)


def test_two_documents_of_one_id_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="'d0'"):
        reducer(9).reduce("How?", [*numbered(LEAVE), *numbered(TRAVEL)])


def test_wrong_values_are_named() -> None:
    with pytest.raises(ConfigurationError, match=r"Document\.text"):
        Document(id="a", text=None)
    with pytest.raises(ConfigurationError, match="question"):
        reducer(9).reduce(None, numbered(LEAVE))


# --- booking, async, import ------------------------------------------------------------------------------------------


def test_each_decision_is_booked_with_what_it_saved() -> None:
    events = Events()
    with use(Scope(tenant="acme")):
        reduction = reducer(16, recorder=events).reduce("What may a hotel cost?", numbered(LEAVE, TRAVEL), run_id="r1")
    (event,) = events.events
    assert (event.kind, event.part, event.decision, event.run_id) == ("rerank", "context", "reduced", "r1")
    assert event.scope.tenant == "acme"
    assert event.saved.uncached_input_tokens == reduction.tokens_before - reduction.tokens_after > 0
    assert event.details["reranker"] == "embedding:hashed-words"


def test_the_async_door_gives_the_same_and_keeps_the_scope() -> None:
    events = Events()
    shared = reducer(16, recorder=events)
    documents = numbered(LEAVE, TRAVEL)

    async def ask() -> Reduction:
        with use(Scope(tenant="acme")):
            return await shared.areduce("What may a hotel cost?", documents)

    assert asyncio.run(ask()).passages == shared.reduce("What may a hotel cost?", documents).passages
    assert events.events[0].scope.tenant == "acme"


def test_llmlingua_is_asked_for_by_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from costkit.context.llmlingua import LLMLingua2

    monkeypatch.setitem(sys.modules, "llmlingua", None)
    with pytest.raises(MissingExtraError, match=r"costkit\[llmlingua\]"):
        LLMLingua2("models/any")


def test_importing_the_part_loads_nothing_heavy() -> None:
    script = (
        "import sys, costkit.context, costkit.context.reduce\n"
        "print([name for name in ('numpy', 'onnxruntime', 'fastembed', 'flashrank') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"

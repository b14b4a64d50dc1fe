"""What the default reranker sees of a sentence, how it weighs it, and what is packed into a budget."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costkit.context import ContextReducer, Document, from_embedder
from costkit.context.answers import asked_for, holds, may_hold
from costkit.context.curves import Curves
from costkit.context.embedding import EmbeddingReranker
from costkit.context.hops import links, named_by_the_best
from costkit.context.knapsack import Knapsack
from costkit.context.late import Reader, late_interaction
from costkit.context.lexical import term_counts
from costkit.context.relevance import FEATURES, Fitted, Observed, shipped, with_links
from costkit.context.select import Budget, Selector, least_relevance, shares
from costkit.context.sentences import units_of
from costkit.embed import TokenVectors
from costkit.testing import HashEmbedder, ListRecorder
from costkit.tokens import default_counter


class WordTokens(HashEmbedder):
    """Every word is a token with a direction of its own; longer texts than ``reads`` words are cut."""

    def __init__(self, *, reads: int = 1000) -> None:
        super().__init__()
        self.name = f"words-{reads}"
        self.reads = reads
        self.asked: list[str] = []

    def embed_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        self.asked += texts
        return [self._tokens(text) for text in texts]

    def _tokens(self, text: str) -> TokenVectors:
        spans, at = [(0, 0)], 0
        for word in text.split()[: self.reads]:
            at = text.index(word, at)
            spans.append((at, at + len(word)))
            at += len(word)
        vectors = np.full((len(spans), self.dimensions), 1e-3, dtype=np.float32)
        for row, (start, end) in zip(vectors, spans, strict=True):
            row[zlib.crc32(text[start:end].strip(".?,").lower().encode()) % self.dimensions] += 1
        return TokenVectors(vectors=vectors, spans=np.array(spans))


def document(text: str, *, title: str = "", name: str = "d") -> Document:
    return Document(id=name, text=text, title=title)


TRAVEL = "Trains are booked second class. A hotel may cost 120 euros. Taxis need a reason."


# --- late interaction ------------------------------------------------------------------------------------------------


def interaction(embedder: WordTokens, question: str, given_document: Document) -> list[float]:
    units = units_of([given_document], default_counter())
    reader = Reader(embedder, remembered=8)
    (found,) = late_interaction(reader.ask(question), reader.read([given_document], [units]))
    assert np.all(found.paired >= found.alone)
    return found.alone.tolist()


def test_a_sentence_that_has_the_words_of_the_question_is_closest_to_it() -> None:
    found = interaction(WordTokens(), "hotel cost", document(TRAVEL))
    assert found.index(max(found)) == 1
    assert found[1] == pytest.approx(1.0, abs=0.05)


def test_the_title_speaks_for_every_sentence() -> None:
    plain = interaction(WordTokens(), "Lisbon hotel", document(TRAVEL))
    under_title = interaction(WordTokens(), "Lisbon hotel", document(TRAVEL, title="Lisbon"))
    assert all(after > before for before, after in zip(plain, under_title, strict=True))


@pytest.mark.parametrize("reads", [3, 7, 12])
def test_a_document_that_is_longer_than_the_model_reads_is_read_to_its_end(reads: int) -> None:
    found = interaction(WordTokens(reads=reads), "taxis", document(TRAVEL, title="Lisbon"))
    assert found.index(max(found)) == 2


def test_a_document_is_read_once_however_many_questions_are_asked() -> None:
    embedder = WordTokens()
    reducer = ContextReducer(budget_tokens=12, embedder=embedder, recorder=ListRecorder())
    for question in ("What may a hotel cost?", "Who may take a taxi?"):
        reducer.reduce(question, [document(TRAVEL)])
    assert embedder.asked.count(TRAVEL) == 1


def test_texts_without_a_word_are_taken() -> None:
    reranker = from_embedder(WordTokens())
    documents = [document("", name="a"), document("...", name="b"), document(TRAVEL, name="c")]
    units = units_of(documents, default_counter())
    for question in ("", "?", "hotel"):
        assert len(reranker.judge(question, documents, units).relevance) == len(units)  # type: ignore[attr-defined]
    assert list(reranker.judge("hotel", [], []).relevance) == []  # type: ignore[attr-defined]


# --- what is asked for -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "holding", "perhaps", "lacking"),
    [
        ("How many seats does the plan hold?", "It holds twelve seats.", "", "It holds seats for everyone."),
        ("How much was paid?", "She paid 1,400 euros.", "She paid in 1987.", "She paid soon."),
        ("When did the plant open?", "It opened in March.", "It opened at 9.", "It may open after a march."),
        ("Who runs the plant?", "It is run by Ada Lovelace.", "It is run by Ada.", "It is run by its owner."),
        ("In which country is the plant?", "In Norway lies the plant.", "Since May Norway wins.", "It lies far away."),
        ("Why was it closed?", "It was closed because of dust.", "", "It was closed in 1987."),
    ],
)
def test_a_sentence_has_the_form_of_an_answer_or_may_hold_one_or_neither(
    question: str, holding: str, perhaps: str, lacking: str
) -> None:
    kinds, known = asked_for(question), term_counts(question).keys()
    assert holds(kinds, holding, known)
    assert not holds(kinds, lacking, known)
    assert not may_hold(kinds, lacking, known)
    if perhaps:
        assert may_hold(kinds, perhaps, known)
        assert not holds(kinds, perhaps, known)


def test_a_name_that_the_question_or_the_title_has_already_is_no_answer() -> None:
    question = "Who is the aunt of Ada Lovelace?"
    kinds, known = asked_for(question), term_counts(question).keys()
    assert not may_hold(kinds, "Then Ada Lovelace went home.", known)
    assert holds(kinds, "She was raised by Eva Holm.", known)
    assert not holds(kinds, "She was raised by Eva Holm.", known | term_counts("Eva Holm").keys())


def test_no_passage_is_ahead_of_itself_or_of_its_like() -> None:
    for texts in ([TRAVEL], [TRAVEL, TRAVEL]):
        documents = [document(text, name=f"d{at}") for at, text in enumerate(texts)]
        units = units_of(documents, default_counter())
        observed = EmbeddingReranker(WordTokens(reads=6)).observe("Who takes taxis?", documents, units)
        assert np.abs(observed.values[:, FEATURES.index("passage_lead")]).max() == pytest.approx(0.0, abs=1e-6)


def test_a_name_may_stand_on_two_lines() -> None:
    assert holds(asked_for("Who built it?"), "It was built by Ada\nLovelace.", {"built"})


def test_a_question_that_does_not_say_what_it_asks_for_is_answered_by_no_form() -> None:
    kinds = asked_for("Describe the plant.")
    assert not may_hold(kinds, "Ada Lovelace opened it in Norway in March 1987 because of 12 mines.", ())
    assert not holds(kinds, "Ada Lovelace opened it in Norway in March 1987 because of 12 mines.", ())


def test_the_passage_ahead_of_the_others_counts_for_short_questions_and_not_for_long_ones() -> None:
    documents = [document("Trains leave hourly.", title="Trains", name="a"), document("Taxis wait.", name="b")]
    units = units_of(documents, default_counter())

    def lead(question: str) -> list[float]:
        observed = EmbeddingReranker(WordTokens()).observe(question, documents, units)
        return list(observed.values[:, FEATURES.index("passage_lead")])

    ahead, behind = lead("When do trains leave?")
    assert ahead > 0 > behind
    assert ahead + behind == pytest.approx(0.0, abs=1e-6)
    long_question = (
        "Which of the hourly trains that leave Lisbon reaches the northern harbour before noon on working days?"
    )
    assert lead(long_question) == [0.0, 0.0]


# --- the second hop --------------------------------------------------------------------------------------------------


def test_a_passage_is_linked_from_those_that_name_its_title() -> None:
    titles = ["Fargo (film)", "Roger Deakins", "Roger Deakins", "It"]
    texts = ["Fargo was shot by Roger Deakins.", "Deakins shot Fargo.", "Roger Deakins won.", "It is a novel. Fargos."]
    assert links(titles, texts) == [{1}, {0}, {0}, set()]


def test_the_best_passage_recommends_most() -> None:
    strong, weak, none = named_by_the_best([{1}, {2}, set()], [0.0, 5.0, 2.0])
    assert strong == 1.0
    assert 0 < weak < strong
    assert none == 0.0


def test_of_two_like_passages_the_one_that_the_best_passage_names_is_more_relevant() -> None:
    documents = [
        document("The film Blue Harbour was directed by Ida Brandt.", title="Blue Harbour", name="film"),
        document("She was born in a small town near the coast.", title="Eva Holm", name="other"),
        document("She was born in a small town near the coast.", title="Ida Brandt", name="person"),
    ]
    units = units_of(documents, default_counter())
    question = "Where was the director of the film Blue Harbour born?"
    film, other, person = from_embedder(WordTokens()).judge(question, documents, units).relevance  # type: ignore[attr-defined]
    assert film > person > other


def test_a_question_of_few_terms_is_shown_half_of_the_second_hop() -> None:
    observed = Observed(values=np.zeros((2, len(FEATURES) - 1)), ranks=[0, 1], links=[set(), {0}], terms=9)
    hop = [with_links({}, replace(observed, terms=terms))[1, -1] for terms in (1, 4, 6, 9, 20)]
    assert hop == pytest.approx([0.5, 0.5, 0.7, 1.0, 1.0])


# --- weights and probabilities ---------------------------------------------------------------------------------------


def test_no_shipped_weight_ever_lowers_a_relevance() -> None:
    for fitted in shipped().values():
        assert set(fitted.weights) == set(FEATURES)
        assert all(weight >= 0 for weight in fitted.weights.values())


def test_a_more_relevant_sentence_is_needed_more_probably() -> None:
    documents = [document(TRAVEL)]
    units = units_of(documents, default_counter())
    scores = from_embedder(WordTokens()).judge("What may a hotel cost?", documents, units)  # type: ignore[attr-defined]
    by_relevance = sorted(zip(scores.relevance, scores.probabilities, strict=True))
    assert [chance for _, chance in by_relevance] == sorted(scores.probabilities)
    assert all(0 < chance < 1 for chance in scores.probabilities)


def test_an_embedder_that_nothing_was_fitted_for_gives_no_probabilities() -> None:
    documents = [document(TRAVEL)]
    units = units_of(documents, default_counter())
    scores = from_embedder(HashEmbedder()).judge("What may a hotel cost?", documents, units)  # type: ignore[attr-defined]
    assert (scores.probabilities, scores.answerable, scores.nothing) == (None, None, False)
    assert list(scores.relevance).index(max(scores.relevance)) == 1


def test_nothing_is_relevant_below_the_threshold_of_being_answerable() -> None:
    values = np.zeros((2, len(FEATURES) - 1))
    values[1, 0] = 0.4
    observed = Observed(values=values, ranks=[0, 0], links=[set()], terms=4)
    weights = {"late_interaction": 10.0}
    curves = Curves(
        needed={"level": 1.0, "behind": 0.0, "intercept": 0.0},
        answerable={"best": 1.0, "terms": 0.5, "intercept": -7.0},
        abstain_below=0.2,
    )
    lenient = Fitted(weights=weights, curves=curves).scores(observed)
    strict = Fitted(weights=weights, curves=replace(curves, abstain_below=0.3)).scores(observed)
    assert lenient.answerable == strict.answerable == pytest.approx(1 / (1 + np.exp(1.0)))
    assert (lenient.nothing, strict.nothing) == (False, True)


def test_the_scale_of_a_reranker_does_not_matter() -> None:
    relevance = [0.1, 0.9, 0.4, 0.2]
    assert shares([100 * value - 7 for value in relevance]) == pytest.approx(shares(relevance))
    assert sum(shares(relevance)) == pytest.approx(1.0)
    assert shares([3.0, 3.0]) == [0.5, 0.5]
    assert shares([1.0, 0.0], in_log_odds=True)[0] == pytest.approx(np.e / (np.e + 1))
    assert least_relevance([], []) == 0.0


# --- the selection ---------------------------------------------------------------------------------------------------


def test_a_referring_sentence_brings_what_it_refers_to_past_a_copy_and_pays_for_it_once() -> None:
    units = units_of([document("Leave is 27 days. It lapses in May. This holds for all.")], default_counter())
    assert [unit.needs for unit in units] == [None, 0, 1]
    budget = Budget(tokens=sum(unit.tokens + 1 for unit in units), document_tokens=(0,))
    relevance, worth = [0.0, 1.0, 2.0], [0.1, 0.3, 0.6]

    selector = Selector(units, relevance, worth, budget, least=0.0)
    assert selector.within(budget.tokens) == {0, 1, 2}  # each pays for itself, however many refer to it
    assert selector.within(budget.tokens - 1) == {0, 1}
    past_a_copy = Selector(units, relevance, worth, budget, least=0.0, left_out={1})
    assert past_a_copy.within(budget.tokens - units[1].tokens - 1) == {0, 2}


def test_a_table_row_brings_its_header_though_another_table_has_the_same() -> None:
    units = units_of([document("| plan | seats |\n|---|---|\n| Solo | 1 |\n| Team | 9 |\n")], default_counter())
    header, _, team = range(3)
    budget = Budget(tokens=units[header].tokens + units[team].tokens + 2, document_tokens=(0,))
    selector = Selector(units, [0.0, 1.0, 2.0], [0.0, 0.4, 0.6], budget, least=0.0, left_out={header})
    assert selector.within(budget.tokens) == {header, team}
    assert selector.within(units[team].tokens + 1) == set()


# --- the knapsack ----------------------------------------------------------------------------------------------------

# Box, cost, worth, and how many of the last items' chain to go back to what it needs.
ITEMS = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 9), st.integers(0, 20), st.integers(0, 3)), max_size=9)


def trees(boxes: Sequence[int], back: Sequence[int]) -> list[int | None]:
    """Return what each item needs, so that all that hang on an item follow it: one of the chain above the last item."""
    needs: list[int | None] = []
    for at, steps in enumerate(back):
        parent = at - 1 if at and boxes[at - 1] == boxes[at] else None
        for _ in range(steps):
            parent = None if parent is None else needs[parent]
        needs.append(parent)
    return needs


@settings(deadline=None)
@given(items=ITEMS, opening=st.tuples(*[st.integers(0, 6)] * 3), capacity=st.integers(0, 30), spare=st.integers(0, 9))
def test_what_is_packed_fits_and_nothing_that_fits_is_worth_more(
    items: list[tuple[int, int, int, int]], opening: tuple[int, ...], capacity: int, spare: int
) -> None:
    boxes, costs, values, back = ([item[at] for item in sorted(items)] for at in range(4))
    needs = trees(boxes, back)

    def cost(chosen: Sequence[int]) -> int:
        return sum(costs[at] for at in chosen) + sum(opening[box] for box in {boxes[at] for at in chosen})

    def complete(chosen: Sequence[int]) -> bool:
        return all(needs[at] is None or needs[at] in chosen for at in chosen)

    packed = Knapsack(values, costs, boxes, opening, capacity + spare, needs=needs).packed(capacity)
    subsets = chain.from_iterable(combinations(range(len(items)), size) for size in range(len(items) + 1))
    most = max(sum(values[at] for at in one) for one in subsets if cost(one) <= capacity and complete(one))
    assert cost(list(packed)) <= capacity
    assert complete(list(packed))
    assert sum(values[at] for at in packed) == most


def test_a_budget_beyond_the_exact_range_is_kept_too() -> None:
    costs = [700] * 40
    packed = Knapsack([1.0] * 40, costs, [0] * 40, [5], 20_001).packed(20_001)
    assert sum(costs[at] for at in packed) + 5 <= 20_001
    assert len(packed) >= 26

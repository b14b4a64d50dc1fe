"""Learning: what judged hits, re-asks and audits teach about an entry and its cluster."""

import json
import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costkit.cache.learning import ReAsks, Record, Served, Source, adjust, audits, cluster_of, judge
from costkit.errors import ConfigurationError, StoreError
from costkit.testing import FixedClock

QUESTION = "How do I pay by card?"
OTHER = "How do I pay by invoice?"
PROBABILITIES = st.floats(0.001, 0.999)
OBSERVATIONS = st.lists(
    st.one_of(
        st.tuples(PROBABILITIES, st.just(True), st.sampled_from(["explicit", "audit"])),
        st.tuples(PROBABILITIES, st.just(False), st.sampled_from(["explicit", "audit", "edit", "re-ask"])),
    ),
    max_size=12,
)


def hit(*, entry: str = "e1", question: str = OTHER, probability: float = 0.95) -> Served:
    return Served(hit_id="r1", entry_id=entry, cluster_id="c1", question=question, probability=probability)


def records(
    observations: list[tuple[float, bool, Source]], entry: Record | None = None, cluster: Record | None = None
) -> tuple[Record, Record]:
    entry, cluster = entry or Record(), cluster or Record()
    for probability, right, source in observations:
        entry, cluster = judge(entry, cluster, hit(probability=probability), right=right, source=source)
    return entry, cluster


def probability_of(entry: Record, cluster: Record, probability: float = 0.9) -> float:
    return adjust(probability, QUESTION, entry=entry, cluster=cluster).probability


@given(PROBABILITIES)
def test_without_observations_the_probability_stays_as_it_is(probability: float) -> None:
    adjusted = adjust(probability, QUESTION, entry=Record(), cluster=Record())
    assert (adjusted.probability, adjusted.shift, adjusted.reason) == (probability, 0.0, "")


@given(
    OBSERVATIONS, OBSERVATIONS, PROBABILITIES, st.sampled_from(["explicit", "audit", "edit", "re-ask"]), PROBABILITIES
)
def test_one_more_wrong_observation_never_raises_the_probability(
    own: list[tuple[float, bool, Source]],
    near: list[tuple[float, bool, Source]],
    probability: float,
    source: Source,
    asked: float,
) -> None:
    _, cluster = records(near)
    entry, cluster = records(own, cluster=cluster)
    before = probability_of(entry, cluster, asked)
    worse_entry, worse_cluster = records([(probability, False, source)], entry, cluster)
    _, worse_neighbour = records([(probability, False, source)], cluster=cluster)
    assert probability_of(worse_entry, worse_cluster, asked) <= before + 1e-9
    assert probability_of(entry, worse_neighbour, asked) <= before + 1e-9


@given(OBSERVATIONS, PROBABILITIES)
def test_one_more_right_observation_never_lowers_the_probability(
    own: list[tuple[float, bool, Source]], probability: float
) -> None:
    entry, cluster = records(own)
    better = records([(probability, True, "audit")], entry, cluster)
    assert probability_of(*better) >= probability_of(entry, cluster) - 1e-9


@given(OBSERVATIONS)
def test_the_order_of_the_observations_does_not_matter(own: list[tuple[float, bool, Source]]) -> None:
    assert math.isclose(probability_of(*records(own)), probability_of(*records(own[::-1])), abs_tol=1e-9)


@given(OBSERVATIONS)
def test_a_record_survives_json(own: list[tuple[float, bool, Source]]) -> None:
    entry, _ = records(own)
    assert Record.from_json(json.loads(json.dumps(entry.to_json()))) == entry


@pytest.mark.parametrize("payload", [{}, {"seen": [], "refused": [], "colour": "red"}, {"seen": 3, "refused": []}])
def test_a_record_of_another_program_is_refused(payload: dict[str, object]) -> None:
    with pytest.raises(StoreError, match="delete it"):
        Record.from_json(payload)


def test_the_shift_solves_the_stated_equation() -> None:
    """One wrong hit at log odds of 3 and a prior of sd 1: d + sigmoid(3 + d) = 0."""
    shift = adjust(0.5, QUESTION, entry=records([(0.9526, False, "audit")])[0], cluster=Record()).shift
    assert shift + 1 / (1 + math.exp(-3 - shift)) == pytest.approx(0)


def test_what_neighbours_teach_gives_way_to_what_the_entry_itself_shows() -> None:
    _, cluster = records([(0.7, False, "audit")] * 4)
    warned = probability_of(Record(), cluster)
    assert warned < 0.9
    assert warned < probability_of(*records([(0.7, True, "audit")] * 4, cluster=cluster)) < 0.9


@given(OBSERVATIONS, OBSERVATIONS)
def test_learning_lets_nothing_past_a_threshold_that_the_score_does_not_reach(
    own: list[tuple[float, bool, Source]], near: list[tuple[float, bool, Source]]
) -> None:
    entry, cluster = records(own, cluster=records(near)[1])
    assert adjust(0.9, QUESTION, entry=entry, cluster=cluster).shift <= 0


def test_a_right_hit_says_little_and_a_wrong_one_much_even_where_the_score_was_unsure() -> None:
    raised = probability_of(*records([(0.5, True, "audit")])) - 0.9
    lowered = 0.9 - probability_of(*records([(0.5, False, "audit")]))
    assert 0 < raised < lowered / 10


def test_a_wrong_hit_says_more_where_the_score_was_surer() -> None:
    surest, sure = ([(probability, False, "audit")] for probability in (0.999, 0.96))
    assert probability_of(*records(surest)) < probability_of(*records(sure)) < 0.9


def test_a_re_ask_counts_less_than_an_explicit_wrong_and_refuses_nothing() -> None:
    asked_again, _ = records([(0.95, False, "re-ask")])
    wrong, _ = records([(0.95, False, "explicit")])
    assert probability_of(wrong, Record()) < probability_of(asked_again, Record()) < 0.9
    assert not asked_again.refuses(OTHER)
    assert wrong.refuses(OTHER)


def test_the_reason_counts_what_was_judged() -> None:
    own: list[tuple[float, bool, Source]] = [(0.95, True, "audit")] * 3 + [(0.95, False, "audit")]
    entry, cluster = records(own)
    _, cluster = records([(0.95, True, "audit"), (0.95, False, "re-ask")], cluster=cluster)
    assert adjust(0.9, QUESTION, entry=entry, cluster=cluster).reason == (
        "3 of 4 judged hits of this entry were right; "
        "1 of 1 judged hits near it were right and 1 hits near it were asked again"
    )


@pytest.mark.parametrize("source", ["explicit", "audit", "edit"])
def test_a_wrong_answer_is_never_served_again_for_the_same_question(source: Source) -> None:
    entry, cluster = judge(Record(), Record(), hit(question="How do I pay by card?"), right=False, source=source)
    adjusted = adjust(0.999, "how do I pay by card", entry=entry, cluster=cluster)
    assert (adjusted.probability, adjusted.shift) == (0.0, -math.inf)
    assert adjust(0.999, OTHER, entry=entry, cluster=cluster).probability > 0.5


def test_an_entry_that_was_wrong_for_many_questions_refuses_all() -> None:
    entry, cluster = Record(), Record()
    for number in range(70):
        entry, cluster = judge(entry, cluster, hit(question=f"question {number}"), right=False, source="audit")
    assert all(entry.refuses(f"question {number}") for number in range(70))
    assert entry.refuses("one never asked")
    assert len(entry.refused) == 64


def test_a_new_answer_forgets_what_was_judged_of_the_old_one_but_not_that_questions_differ() -> None:
    entry, _ = judge(Record(), Record(), hit(question=QUESTION), right=False, source="explicit")
    entry, _ = judge(entry, Record(), hit(question=OTHER), right=False, source="explicit")
    renewed = entry.renewed(QUESTION)
    assert not renewed.refuses(QUESTION)
    assert renewed.refuses(OTHER)
    assert renewed.wrong == 0


@pytest.mark.parametrize("source", ["edit", "re-ask"])
def test_an_edit_or_a_re_ask_cannot_say_right(source: Source) -> None:
    with pytest.raises(ConfigurationError, match="right must be False"):
        judge(Record(), Record(), hit(), right=True, source=source)


@pytest.mark.parametrize(
    ("nearest", "cosine", "expected"), [("lead", 0.75, "lead"), ("lead", 0.74, "own"), (None, 1.0, "own")]
)
def test_a_close_entry_joins_a_cluster_and_a_distant_one_founds_one(
    nearest: str | None, cosine: float, expected: str
) -> None:
    assert cluster_of("own", nearest_cluster_id=nearest, cosine=cosine) == expected


def test_audits_are_the_same_for_the_same_run_and_about_the_share_asked_for() -> None:
    chosen = [audits(f"run-{number}", share=0.05, seed=1) for number in range(20_000)]
    assert chosen == [audits(f"run-{number}", share=0.05, seed=1) for number in range(20_000)]
    assert chosen != [audits(f"run-{number}", share=0.05, seed=2) for number in range(20_000)]
    assert 900 <= sum(chosen) <= 1100
    assert not any(audits(f"run-{number}", share=0.0) for number in range(100))
    assert all(audits(f"run-{number}", share=1.0) for number in range(100))


def test_a_share_above_one_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"share must be .* got 5"):
        audits("run", share=5)


EAST, NORTH = (1.0, 0.0), (0.0, 1.0)


def asked(
    watch: ReAsks, *, user: str | None = "ann", identity: str = "i", vector: Sequence[float] = EAST
) -> tuple[Served, ...]:
    def embed(_question: str) -> Sequence[float]:
        raise AssertionError("the vector was given")

    return watch.asked(user=user, identity=identity, vector=vector, embed=embed)


@pytest.mark.parametrize(("seconds", "cosine", "counted"), [(0, 0.8, 1), (120, 1.0, 1), (121, 1.0, 0), (10, 0.79, 0)])
def test_a_near_question_within_two_minutes_is_a_re_ask(seconds: float, cosine: float, counted: int) -> None:
    clock = FixedClock()
    watch = ReAsks(clock=clock)
    watch.served(hit(), user="ann", identity="i", vector=EAST)
    clock.advance(seconds)
    assert len(asked(watch, vector=(cosine, math.sqrt(1 - cosine**2)))) == counted


def test_the_question_of_an_exact_hit_is_embedded_once_somebody_asks_again() -> None:
    watch = ReAsks(clock=FixedClock())
    watch.served(hit(), user="ann", identity="i")
    embedded: list[str] = []

    def embed(question: str) -> tuple[float, float]:
        embedded.append(question)
        return EAST

    for vector in (NORTH, NORTH, EAST):
        found = watch.asked(user="ann", identity="i", vector=vector, embed=embed)
    assert found == (hit(),)
    assert embedded == [hit().question]


def test_a_hit_is_asked_again_once_and_by_its_own_user_and_identity() -> None:
    watch = ReAsks(clock=FixedClock())
    watch.served(hit(), user="ann", identity="i", vector=EAST)
    watch.served(hit(), user=None, identity="i", vector=EAST)
    for user, identity in (("bob", "i"), ("ann", "j"), (None, "i")):
        assert asked(watch, user=user, identity=identity) == ()
    assert asked(watch, user="ann", identity="i") == (hit(),)
    assert asked(watch, user="ann", identity="i") == ()


def test_an_earlier_hit_stays_watched_while_another_is_asked_again() -> None:
    watch = ReAsks(clock=FixedClock())
    watch.served(hit(entry="e1"), user="ann", identity="i", vector=EAST)
    watch.served(hit(entry="e2"), user="ann", identity="i", vector=NORTH)
    assert asked(watch, vector=NORTH) == (hit(entry="e2"),)
    assert asked(watch, user="ann", identity="i") == (hit(entry="e1"),)


def test_memory_is_bounded_by_users_and_by_hits_of_a_user() -> None:
    watch = ReAsks(clock=FixedClock())
    for number in range(1001):
        watch.served(hit(), user=f"user {number}", identity="i", vector=EAST)
    assert asked(watch, user="user 0", identity="i") == ()
    for number in range(5):
        watch.served(hit(entry=f"e{number}"), user="user 1", identity="j", vector=EAST)
    again = asked(watch, user="user 1", identity="j")
    assert [one.entry_id for one in again] == ["e1", "e2", "e3", "e4"]

"""The equivalence score: what can raise and lower it, what it refuses, and that a replay decides as the cache does."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costkit.cache import Candidate, Coefficients, CosineScore, FittedScore, ResponseCache
from costkit.cache.equivalence import FEATURES, SEEN_ALIKE, features
from costkit.cache.replay import Replay, strict_to_loose
from costkit.cache.standalone import needs_conversation
from costkit.embed import Embedder
from costkit.errors import ConfigurationError, DataError
from costkit.scope import Scope
from costkit.testing import HashEmbedder, ListRecorder
from costkit.text import normalise_question

WORDS = (
    "how long is the warranty of my logger in your shop and what does a plan with 30 60 seats cost not today".split()
)
QUESTIONS = st.lists(st.sampled_from(WORDS), min_size=3, max_size=9).map(" ".join)


class Reader:
    """Stands in for a pair model."""

    name = "reader"

    def __init__(self, probability: float | None) -> None:
        self.asked: list[str] = []
        self._probability = probability

    def score(self, question: str, others: Sequence[str], *, budget_seconds: float | None = None) -> list[float]:
        self.asked.extend(others)
        if self._probability is None:
            raise RuntimeError("out of memory")
        return [self._probability for _ in others]


def one(score: FittedScore, asked: str, earlier: str, cosine: float, threshold: float | None = None) -> float:
    return score.score(asked, [Candidate(question=earlier, cosine=cosine)], threshold=threshold)[0].score


@given(QUESTIONS, QUESTIONS, st.floats(0, SEEN_ALIKE), st.floats(0, SEEN_ALIKE))
def test_a_higher_cosine_never_lowers_the_score(asked: str, earlier: str, a: float, b: float) -> None:
    low, high = sorted((a, b))

    assert one(FittedScore(), asked, earlier, low) <= one(FittedScore(), asked, earlier, high)


@given(QUESTIONS, QUESTIONS, st.floats(0, 1))
def test_a_difference_that_is_found_never_raises_the_score(asked: str, earlier: str, cosine: float) -> None:
    assert one(FittedScore(), asked, earlier, cosine) <= one(FittedScore(), asked, asked, cosine)


@given(QUESTIONS, QUESTIONS, st.floats(0, 1))
def test_the_score_is_the_same_in_both_directions(asked: str, earlier: str, cosine: float) -> None:
    assert one(FittedScore(), asked, earlier, cosine) == pytest.approx(one(FittedScore(), earlier, asked, cosine))


@pytest.mark.parametrize(
    ("asked", "earlier"),
    [
        ("What does the plan with 60 seats cost?", "What does the plan with 30 seats cost?"),
        ("How do I enable two-factor login?", "How do I disable two-factor login?"),
        ("How do I move from Oracle to Postgres?", "How do I move from Postgres to Oracle?"),
        ("Can I cancel without a fee?", "Can I cancel with a fee?"),
    ],
)
def test_near_misses_are_refused_at_a_cosine_where_paraphrases_pass(asked: str, earlier: str) -> None:
    score = FittedScore()

    assert one(score, asked, earlier, 0.95) < score.threshold
    assert one(score, asked, f"{asked.removesuffix('?')} please", 0.95) >= score.threshold


def test_another_language_is_no_hit_however_close() -> None:
    found = FittedScore().score(
        "Wie lange dauert die Erstattung für meine Bestellung?",
        [Candidate(question="How long does the refund for my order take?", cosine=1.0)],
    )

    assert found[0].score == -math.inf
    assert found[0].findings[0].guard == "language"


@pytest.mark.parametrize(
    ("asked", "earlier"),
    [
        ("ร้านเปิดกี่โมง", "การคืนเงินใช้เวลากี่วัน"),
        ("What does the sign 🔥 mean here?", "What does the sign 💀 mean here?"),
        ("Is it 5 mW?", "Is it 5 MW?"),
        ("do you support IT", "do you support it"),
        ("Wo ist das schön?", "Wo ist das schon öde?"),
    ],
)
def test_what_the_embedder_takes_for_the_same_is_no_hit_unless_it_is(asked: str, earlier: str) -> None:
    [verdict] = FittedScore().score(asked, [Candidate(question=earlier, cosine=1.0)])

    assert verdict.score == -math.inf
    assert verdict.findings[-1].guard == "language"


@pytest.mark.parametrize(
    ("asked", "earlier"),
    [
        ("Is it $5 and/or more?", "is it $ 5 and / or more"),
        ("How long does a refund take?", "a refund take how long does"),
        ("Comment créer un compte ?", "comment creer un compte"),
        ("How do I write a résumé?", "How do I write a resume?"),
    ],
)
def test_another_typing_is_a_hit_at_a_cosine_of_one(asked: str, earlier: str) -> None:
    assert one(FittedScore(), asked, earlier, 1.0) >= FittedScore().threshold
    assert one(FittedScore(), earlier, asked, 1.0) >= FittedScore().threshold


# What minilm sees of these is one unknown token, single letters at best; it puts the second nearer to the first than
# any rewording.
UNREAD = [
    ("ฉันจะเปลี่ยนรหัสผ่านได้อย่างไร", "ร้านเปิดกี่โมง"),
    ("តើខ្ញុំប្តូរពាក្យសម្ងាត់យ៉ាងដូចម្តេច", "ហាងបើកម៉ោងប៉ុន្មាន"),
    ("စကားဝှက်ကို ဘယ်လိုပြောင်းရမလဲ", "ငွေပြန်အမ်းရန် ဘယ်နှစ်ရက်ကြာမလဲ"),
    ("የይለፍ ቃሌን እንዴት መቀየር እችላለሁ?", "ሱቁ ስንት ሰዓት ይከፈታል?"),
    ("如何取消订单?", "如何提交订单?"),
    ("アカウントを削除するにはどうすればいいですか", "アカウントを作成するにはどうすればいいですか"),
    ("주문을 어떻게 취소하나요?", "주문을 어떻게 조회하나요?"),
    ("كيف ألغي طلبي؟", "كيف أعدل طلبي؟"),
    ("איך אני מבטל את ההזמנה?", "איך אני משנה את ההזמנה?"),
    ("मैं अपना पासवर्ड कैसे बदलूं?", "मैं अपना ऑर्डर कैसे बदलूं?"),
    ("Как отменить заказ?", "Как изменить заказ?"),
    ("Πώς ακυρώνω την παραγγελία μου;", "Πώς αλλάζω την παραγγελία μου;"),
    ("🐶🐱", "🍕🍔"),
    ("What does the sign 🔥 mean here?", "What does the sign 💀 mean here?"),
    ("What does the sign 🔥 mean?", "What does a sign 💀 mean?"),
]


def test_a_question_that_the_embedder_cannot_read_gets_no_other_questions_answer(
    tmp_path: Path, minilm: Embedder
) -> None:
    cache = ResponseCache(version="v", embedder=minilm, path=tmp_path / "c", recorder=ListRecorder())

    for number, (stored, asked) in enumerate(UNREAD):
        scope = Scope(tenant=str(number))
        cache.store(cache.lookup(stored, scope=scope).ticket, stored)
        assert not cache.lookup(asked, scope=scope).hit, asked
        assert cache.lookup(f"  {stored} ", scope=scope).answer == stored
    cache.close()


def test_the_pair_model_is_read_in_the_grey_zone_alone_and_moves_the_score() -> None:
    sure, unsure, different = Reader(0.99), Reader(0.5), Reader(0.01)
    asked, earlier = "how long is the warranty of the logger", "how long is the logger's warranty period"

    scores = [one(FittedScore(model=model), asked, earlier, 0.9) for model in (sure, unsure, different)]  # type: ignore[arg-type]

    assert scores[0] > scores[1] > scores[2]
    assert scores[1] == pytest.approx(one(FittedScore(), asked, earlier, 0.9))
    clear = Reader(0.99)
    one(FittedScore(model=clear), asked, "what does the plan with 30 seats cost", 0.1, threshold=0.5)  # type: ignore[arg-type]
    assert clear.asked == []


@given(QUESTIONS, st.floats(-4, 4), st.floats(0.5, 1.0), st.floats(0.01, 0.99))
def test_the_grey_zone_serves_what_reading_everything_would_serve(
    earlier: str, threshold: float, cosine: float, probability: float
) -> None:
    score = FittedScore(model=Reader(probability))  # type: ignore[arg-type]

    scores = [one(score, "when is the refund paid", earlier, cosine, at) for at in (threshold, None)]

    assert (scores[0] >= threshold) == (scores[1] >= threshold)


def test_a_pair_model_that_fails_serves_nothing_open_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    score = FittedScore(model=Reader(None))  # type: ignore[arg-type]
    asked, earlier = "how long is the warranty of the logger", "how long is the logger's warranty period"

    scores = [one(score, asked, earlier, 0.9) for _ in range(2)]

    assert scores[0] == scores[1] < one(FittedScore(), asked, earlier, 0.9)
    assert caplog.text.count("out of memory") == 1


def test_coefficients_survive_their_file(tmp_path: Path) -> None:
    shipped = Coefficients.load()
    (tmp_path / "fit.json").write_text(shipped.to_json())

    assert Coefficients.load(tmp_path / "fit.json") == shipped
    assert set(shipped.weights) == set(FEATURES)
    assert len(features("a", Candidate(question="b", cosine=0.5))[0]) == len(FEATURES)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"weights": {"cosine": -1.0}}, "cosine"),
        ({"weights": {"findings": 0.1}}, "findings"),
        ({"weights": {"x": 1}}, "'x'"),
    ],
)
def test_coefficients_of_the_wrong_sign_are_named(change: dict[str, object], names: str) -> None:
    row = json.loads(Coefficients.load().to_json()) | change

    with pytest.raises(ConfigurationError, match=names):
        Coefficients(**row)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": 1}'])
def test_a_file_that_holds_no_coefficients_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "fit.json").write_text(text)

    with pytest.raises(DataError, match=r"fit\.json"):
        Coefficients.load(tmp_path / "fit.json")


@pytest.mark.parametrize("option", [{"pair_weight": -1.0}, {"budget_seconds": 0.0}])
def test_options_that_cannot_work_are_named(option: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(option))):
        FittedScore(**option)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="threshold"):
        CosineScore(threshold=-1)


def stream(seed: int, count: int = 60) -> tuple[list[str], list[str]]:
    rng = np.random.default_rng(seed)
    texts = [" ".join(rng.choice(WORDS, size=rng.integers(4, 8))) for _ in range(count // 3)]
    texts = list(rng.permutation([text for text in texts for _ in range(3)]))
    return texts, [" ".join(sorted(set(text.split()))) for text in texts]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_replay_decides_as_the_cache_does(tmp_path: Path, seed: int) -> None:
    texts, groups = stream(seed)
    texts = [f"{text} {'now ' * (index % 3)}".strip() for index, text in enumerate(texts)]  # few exact repeats
    alone = [index for index, text in enumerate(texts) if needs_conversation(text) is None]  # others are not looked up
    texts, groups = [texts[index] for index in alone], [groups[index] for index in alone]
    embedder, score = HashEmbedder(), FittedScore()
    replayed = Replay(texts, groups, embedder.embed(texts), score).at(score.threshold)
    cache = ResponseCache(
        version="v", embedder=embedder, path=tmp_path / "c", recorder=ListRecorder(), equivalence=score
    )

    served = {}
    for index, text in enumerate(texts):
        found = cache.lookup(text, scope=Scope(tenant="t"))
        if found.hit:
            served[index] = int(str(found.answer))
        else:
            cache.store(found.ticket, str(index))
    cache.close()

    assert {hit.asked: texts[hit.served] for hit in replayed.hits} == {
        asked: texts[kept] for asked, kept in served.items()
    }


@pytest.mark.parametrize("seed", [4, 5])
def test_a_replay_at_a_threshold_that_nothing_reaches_serves_repeats_alone(seed: int) -> None:
    texts, groups = stream(seed)
    replay = Replay(texts, groups, HashEmbedder().embed(texts), CosineScore())

    grid = strict_to_loose(replay, points=10)
    outcomes = [replay.at(threshold) for threshold in (math.inf, *grid)]

    assert all(hit.exact for hit in outcomes[0].hits)
    assert outcomes[0].stored == len({normalise_question(text) for text in texts})
    assert grid == sorted(grid, reverse=True)
    assert outcomes[-1].hit_rate > 0
    assert all(len(one.hits) + one.stored == len(texts) for one in outcomes)
    assert all(hit.served < hit.asked for one in outcomes for hit in one.hits)

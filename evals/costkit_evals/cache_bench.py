"""``costkit bench cache``: how many questions a policy answers from the cache, how often wrongly, and how fast.

A stream is replayed as the cache would live it, at every point of a grid from strict to loose. A row's ``read_off`` point
is the measured one that serves the most at no more than the target's share of wrong hits; its ``certified`` point is
the one that ``costkit cache calibrate`` would choose, which knows only part of the labels.
"""

from __future__ import annotations

import math
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import rankdata

from costkit.cache.calibrate import Abstention, certify
from costkit.cache.edge import EdgeIndex
from costkit.cache.equivalence import Candidate, Coefficients, Equivalence, features
from costkit.cache.guards import read
from costkit.cache.index import Found
from costkit.cache.labelled import Pair, Question, pairs
from costkit.cache.pair_model import PairModel
from costkit.cache.replay import NEIGHBOURS, Outcome, Replay, strict_to_loose
from costkit.embed import Embedder
from costkit.errors import ConfigurationError, DataError
from costkit.home import home
from costkit.text import normalise_question
from costkit_evals.cache_fit import fit_pairs
from costkit_evals.cache_policies import POLICIES, Choice, VCache, score_of
from costkit_evals.pair_scores import StoredPairModel
from costkit_evals.statistics import ratio
from costkit_evals.terminal import Progress
from costkit_evals.vectors import StoredEmbedder, naming_file, open_stored

__all__ = ["Bench", "Row", "open_bench"]

Row = dict[str, object]
Vectors = NDArray[np.float32]

# Points of the curve, and of the finer grid between the last that meets a target and the next.
POINTS = 100
FINE_POINTS = 10
# Where nobody asks for the whole curve, it ends at this multiple of the loosest target: loose replays take longest.
ENOUGH = 2.0
LEAST_POINTS = 10
DELTAS = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2)
# Questions that speed is measured with; the others fill the store.
TIMED = 200
RECALL_AT = (0.01, 0.05, 0.10)
_EMBED_AT_ONCE = 512
_IDENTITY = "bench"


@dataclass(kw_only=True)
class Bench:
    """One benchmark: the data, what decides, and where to measure.

    Attributes:
        embedder: Remembers vectors on disk.
        choices: The policies to run.
        targets: Shares of wrong hits to read the curve off at.
        seed: Of all draws and resampling.
        coefficients: Of the equivalence score. Default: the shipped ones.
        model: A pair model; it remembers pairs on disk.
        timed_model: The same without a memory, for the timings.
        curve: True adds every measured point to the rows.
        progress: Shows how far it is.
        notes: What the reader of the rows must know.
    """

    embedder: StoredEmbedder
    choices: tuple[Choice, ...]
    targets: tuple[float, ...]
    seed: int
    coefficients: Coefficients | None = None
    model: StoredPairModel | None = None
    timed_model: PairModel | None = None
    curve: bool = False
    progress: Progress = field(default_factory=Progress)
    notes: list[str] = field(default_factory=list)

    def run(self, asked: Sequence[Question], given: Sequence[Pair], *, fit: Sequence[Path]) -> list[Row]:
        """Fit if there are pairs to fit on, then measure on a stream or, where that is empty, on pairs.

        Raises:
            ConfigurationError: A policy that scores no pairs is asked for on pairs.
            DataError: The pairs to fit on do not do.
        """
        if given and all(one.name == "vcache" or one.answers for one in self.choices):
            raise ConfigurationError(
                f"--policy {self.choices[0]} needs a stream and scores no pairs: give --stream FILE"
            )
        try:
            if fit:
                self._fit(fit, [one.text for one in asked] + [text for one in given for text in (one.a, one.b)])
            self.progress.start(self._steps(asked, given))
            return self._stream(asked) if asked else self._pairs(given)
        finally:
            self.progress.stop()

    def _steps(self, asked: Sequence[Question], given: Sequence[Pair]) -> int:
        runs = [one for one in self.choices if one.name != "pair" or self.model is not None]
        if asked:
            return len(asked) + POINTS * len(runs)
        return len(given) * (2 + sum(one.name != "vcache" and not one.answers for one in runs))

    def _fit(self, files: Sequence[Path], measured: Sequence[str]) -> None:
        """Fit the equivalence score on the pairs of ``files``, without those that hold a question that is measured.

        Raises:
            DataError: No pair is left, or all that are left have the same label.
        """
        known = {normalise_question(text) for text in measured}
        given = pairs(files)
        kept = [one for one in given if known.isdisjoint({normalise_question(one.a), normalise_question(one.b)})]
        if len({one.same for one in kept}) < 2:
            raise DataError(
                f"--fit: {len(kept):,} of {len(given):,} pairs hold no measured question, and they are not of both "
                "labels: a fit needs same and different ones"
            )
        texts = [text for one in kept for text in (one.a, one.b)]
        self.progress.start(len(texts))
        self._embed(texts, "embedding the pairs of --fit")
        self.progress.stop()
        self.coefficients = fit_pairs(kept, self.embedder, name=f"fitted-on-{len(kept)}-pairs")
        self.notes.append(
            f"fitted on {len(kept):,} pairs; {len(given) - len(kept):,} left out, which hold a measured question"
        )

    def _stream(self, asked: Sequence[Question]) -> list[Row]:
        """Replay a stream under every policy; return one row per policy and operating point."""
        texts, groups = [one.text for one in asked], [one.group for one in asked]
        stream = _Stream(texts=texts, groups=groups, vectors=self._embed(texts, "embedding the stream"), seed=self.seed)
        embed_ms = _embed_ms(self.embedder, texts)
        rows: list[Row] = []
        with tempfile.TemporaryDirectory() as folder:
            clock = _Clock(stream, Path(folder))
            for choice in self.choices:
                rows += [row | embed_ms for row in self._stream_rows(choice, stream, clock)]
            clock.close()
        return rows

    def _stream_rows(self, choice: Choice, stream: _Stream, clock: _Clock) -> list[Row]:
        if choice.name == "vcache":
            outcomes, times = self._vcache(choice, stream, clock)
            rows = [
                _stream_row(str(choice), target, outcomes[0] if target is None else _read_off(outcomes, target), stream)
                for target in self._targets(choice)
            ]
        else:
            rows, outcomes, times = self._score_rows(choice, stream, clock)
        if self.curve and rows:
            rows[0]["curve"] = [_curve_point(outcome) for outcome in outcomes]
        return [row | times for row in rows]

    def _score_rows(self, choice: Choice, stream: _Stream, clock: _Clock) -> tuple[list[Row], list[Outcome], Row]:
        """Return the rows of a score, every measured outcome, and how long its decisions take."""
        score = self._score(choice, self.model)
        if score is None:
            return [], [], {}
        if choice.answers:
            self.notes.append(f"{choice} takes stored questions of one group to have answers known to be the same")
        replay = Replay(stream.texts, stream.groups, stream.vectors, score, answers=choice.answers)
        outcomes = self._replays(choice, replay)
        rows = []
        for target in self._targets(choice):
            point = outcomes[0] if target is None else _read_off(_refined(replay, outcomes, target), target)
            rows.append(_stream_row(str(choice), target, point, stream) | {"score": replay.decision_name})
            if choice.ours and target is not None:
                rows.append(self._certified(choice, target, stream, replay))
        self._save()
        threshold = next((one for row in rows if isinstance(one := row["threshold"], float)), score.threshold)
        return rows, outcomes, clock.of_score(self._score(choice, self.timed_model) or score, threshold)

    def _targets(self, choice: Choice) -> tuple[float | None, ...]:
        """Return the targets to read the curve off at; a named operating point has none."""
        return self.targets if choice.value is None else (None,)

    def _score(self, choice: Choice, model: PairModel | None) -> Equivalence | None:
        return score_of(choice.name, coefficients=self.coefficients, model=model)

    def _replays(self, choice: Choice, replay: Replay) -> list[Outcome]:
        """Replay at the named threshold, or from strict to loose."""
        if choice.value is not None and not self.curve:
            return [replay.at(choice.value)]
        self.progress.advance(f"{choice}: scoring", 0)
        # Minus infinity is a veto, no point of a curve.
        grid = [threshold for threshold in strict_to_loose(replay, points=POINTS) if math.isfinite(threshold)]
        outcomes = []
        for threshold in grid:
            outcomes.append(replay.at(threshold))
            self.progress.advance(str(choice))
            if (
                not self.curve
                and outcomes[-1].wrong_per_hit > ENOUGH * max(self.targets)
                and len(outcomes) > LEAST_POINTS
            ):
                break
        self.progress.advance(str(choice), POINTS - len(outcomes))
        return outcomes if choice.value is None else [replay.at(choice.value), *outcomes]

    def _vcache(self, choice: Choice, stream: _Stream, clock: _Clock) -> tuple[list[Outcome], Row]:
        vcache = VCache(stream.groups, stream.vectors)
        outcomes = []
        for delta in DELTAS if choice.value is None else (choice.value,):
            outcome, entries = vcache.replay(delta, seed=self.seed)
            outcomes.append(outcome)
            self.progress.advance(f"{choice} at {delta:g}", POINTS // len(DELTAS))

        def decide(_question: str, found: Sequence[Found]) -> None:
            entry = entries.get(_place(found[0].id)) if found else None
            if entry is not None and found:
                entry.serve_probability(found[0].score, outcomes[-1].threshold)

        return outcomes, clock.of(decide, neighbours=1)

    def _certified(self, choice: Choice, target: float, stream: _Stream, replay: Replay) -> Row:
        """Return the row of the threshold that calibration chooses; where it abstains, nothing is served."""
        made = certify(replay, target=target, seed=self.seed)
        point = {"operating_point": "certified", "score": replay.decision_name}
        if isinstance(made, Abstention):
            self.notes.append(f"{choice} at {target:g}: calibration abstains, so nothing is served: {made.reason}")
            return _stream_row(str(choice), target, None, stream) | point
        row = _stream_row(str(choice), target, replay.at(made.threshold), stream)
        return row | point | {"certified_bound": made.bound}

    def _pairs(self, given: Sequence[Pair]) -> list[Row]:
        """Score labelled pairs under every policy that scores pairs; return one row each."""
        texts = [text for one in given for text in (one.a, one.b)]
        vectors = self._embed(texts, "embedding the pairs")
        cosines = (vectors[0::2] * vectors[1::2]).sum(axis=1)
        embed_ms = _embed_ms(self.embedder, texts)
        clusters = _linked(given)
        rows = []
        for choice in self.choices:
            score = None if choice.answers else self._score(choice, self.model)
            if score is None:
                continue
            scores = []
            for one, cosine in zip(given, cosines, strict=True):
                scores.append(score.score(one.a, [Candidate(question=one.b, cosine=float(cosine))])[0].score)
                self.progress.advance(str(choice))
            self._save()
            threshold = score.threshold if choice.value is None else choice.value
            same = np.array([one.same for one in given])
            row = _pairs_row(str(choice), np.array(scores), same, threshold, clusters, self.seed)
            rows.append(row | {"score": score.name} | embed_ms)
        return rows

    def _embed(self, texts: Sequence[str], label: str) -> Vectors:
        rows = []
        for start in range(0, len(texts), _EMBED_AT_ONCE):
            part = texts[start : start + _EMBED_AT_ONCE]
            rows.append(self.embedder.embed(part))
            self.progress.advance(label, len(part))
        self._save()
        return np.concatenate(rows)

    def _save(self) -> None:
        self.embedder.save()
        if self.model is not None:
            self.model.save()


def open_bench(
    *,
    embedder: Embedder,
    choices: Sequence[str],
    targets: Sequence[float],
    seed: int,
    model: Path | None,
    vectors: Path | None,
    curve: bool,
) -> Bench:
    """Check the options, open the models and the files that vectors and pair scores are remembered in.

    Raises:
        ConfigurationError: An option is wrong, or the pair model alone is asked for without one.
        DataError: A file of remembered vectors or scores is damaged.
    """
    for target in targets:
        if not 0 < target < 1:
            raise ConfigurationError(f"--target-wrong-per-hit must be a share between 0 and 1, got {target!r}")
    chosen = tuple(map(Choice.parse, choices)) or tuple(Choice(name=name) for name in POLICIES)
    if Choice(name="costkit") in chosen and Choice(name="costkit+answers") not in chosen:
        chosen = (*chosen, Choice(name="costkit+answers"))
    if choices and model is None and any(one.name == "pair" for one in chosen):
        raise ConfigurationError("--policy pair needs --model DIR, which `costkit cache train` writes")
    plain = None if model is None else PairModel.load(model)
    bench = Bench(
        embedder=open_stored(embedder, vectors),
        choices=chosen,
        targets=tuple(targets),
        seed=seed,
        timed_model=plain,
        curve=curve,
    )
    if plain is not None:
        scores = home() / "bench" / f"{plain.name}.npz"
        with naming_file(scores):
            bench.model = StoredPairModel(plain, scores)
    elif not choices:
        bench.notes.append("the pair model alone is left out: it needs --model DIR")
    return bench


@dataclass(frozen=True, kw_only=True)
class _Stream:
    texts: Sequence[str]
    groups: Sequence[str]
    vectors: Vectors
    seed: int


class _Clock:
    """Times decisions on a store of one tenant that holds the stream, but for the questions that are asked."""

    def __init__(self, stream: _Stream, folder: Path) -> None:
        count = len(stream.texts)
        self._stream = stream
        self._asked = sorted({int(place) for place in np.linspace(0, count - 1, min(TIMED, max(count // 2, 1)))})
        self._index = EdgeIndex.open(folder / "store", dimensions=stream.vectors.shape[1])
        for place in sorted(set(range(count)) - set(self._asked)):
            payload = {"kind": "entry", "identity": _IDENTITY, "documents": [], "question": stream.texts[place]}
            self._index.upsert(str(uuid.UUID(int=place)), payload, stream.vectors[place].tolist())

    def of(self, decide: Callable[[str, Sequence[Found]], float | None], *, neighbours: int) -> Row:
        """Return the percentiles of a look-up, embedding and pair model apart, and of the pair model, in ms.

        Args:
            decide: Takes the question and its neighbours; returns the seconds that the pair model took, or None.
            neighbours: How many it looks at.
        """
        lookups, model = [], []
        for place in self._asked:
            began = time.perf_counter()
            vector = self._stream.vectors[place].tolist()
            found = self._index.nearest(vector, identity=_IDENTITY, limit=neighbours)
            apart = decide(self._stream.texts[place], found)
            lookups.append(time.perf_counter() - began - (apart or 0.0))
            model += [] if apart is None else [apart]
        return _percentiles("lookup", lookups) | _percentiles("pair_model", model)

    def of_score(self, score: Equivalence, threshold: float) -> Row:
        """Return what ``of`` returns, for a score at a threshold."""

        def spent() -> float:
            return float(getattr(score, "model_seconds", 0.0))

        guarded = score.name != "cosine"
        for place in self._asked if guarded else ():
            text = self._stream.texts[place]
            features(text, Candidate(question=text, cosine=1.0))  # leaves its reading in memory

        def decide(question: str, found: Sequence[Found]) -> float | None:
            if guarded:
                read(question)  # a new question is read once; the score finds its reading in memory
            before = spent()
            candidates = [Candidate(question=str(one.payload["question"]), cosine=one.score) for one in found]
            score.score(question, candidates, threshold=threshold)
            return spent() - before or None

        return self.of(decide, neighbours=NEIGHBOURS)

    def close(self) -> None:
        self._index.close()


def _place(point_id: str) -> int:
    return uuid.UUID(point_id).int


def _embed_ms(embedder: StoredEmbedder, texts: Sequence[str]) -> Row:
    """Time single questions; the space after each makes it new to every memory and leaves its tokens as they are."""
    seconds = []
    for text in texts[:: max(len(texts) // 50, 1)][:50]:
        began = time.perf_counter()
        embedder.embed_anew(f"{text} ")
        seconds.append(time.perf_counter() - began)
    return _percentiles("embed", seconds[1:] or seconds)


def _percentiles(name: str, seconds: Sequence[float]) -> Row:
    if not len(seconds):
        return {}
    found = np.percentile(np.array(seconds) * 1000, (50, 95, 99))
    return {f"{name}_p{rank}_ms": round(float(value), 4) for rank, value in zip((50, 95, 99), found, strict=True)}


def _read_off(outcomes: Sequence[Outcome], target: float) -> Outcome | None:
    """Return the outcome with the most hits among those that meet the target."""
    meeting = [one for one in outcomes if one.hits and one.wrong_per_hit <= target]
    return max(meeting, key=lambda one: len(one.hits), default=None)


def _refined(replay: Replay, outcomes: Sequence[Outcome], target: float) -> list[Outcome]:
    """Add finer points between the best that meets the target and the next looser one."""
    best = _read_off(outcomes, target)
    strict = math.inf if best is None else best.threshold
    loose = max((one.threshold for one in outcomes if one.threshold < strict), default=-math.inf)
    # Minus infinity, a veto, is never between.
    between = sorted({score for score in replay.scores() if loose < score < strict})
    step = max(len(between) // FINE_POINTS, 1)
    return [*outcomes, *(replay.at(threshold) for threshold in between[::step])]


def _curve_point(outcome: Outcome) -> Row:
    return {
        "threshold": outcome.threshold,
        "hit_rate": outcome.hit_rate,
        "wrong_per_hit": outcome.wrong_per_hit,
        "wrong_per_request": outcome.wrong_per_request,
    }


def _stream_row(policy: str, target: float | None, outcome: Outcome | None, stream: _Stream) -> Row:
    """Return the figures of one outcome, read off the curve; None stands for one that serves nothing."""
    hit, wrong = np.zeros(len(stream.texts)), np.zeros(len(stream.texts))
    for one in outcome.hits if outcome else ():
        hit[one.asked], wrong[one.asked] = 1.0, float(one.wrong)
    return {
        "policy": policy,
        "operating_point": "read_off",
        "target_wrong_per_hit": target,
        "threshold": None if outcome is None else outcome.threshold,
        "n": len(stream.texts),
        "hits": int(hit.sum()),
        "wrong": int(wrong.sum()),
        **_share("hit_rate", hit, np.ones(len(hit)), stream.groups, stream.seed),
        **_share("wrong_per_request", wrong, np.ones(len(hit)), stream.groups, stream.seed),
        **_share("wrong_per_hit", wrong, hit, stream.groups, stream.seed),
    }


def _share(
    name: str, counts: NDArray[np.float64], of: NDArray[np.float64], clusters: Sequence[str], seed: int
) -> Mapping[str, object]:
    """Return a share and its 95% interval by bootstrap over clusters; of nothing, the share is 0 and nothing is known."""
    found = ratio(counts.tolist(), of.tolist(), clusters, seed=seed)
    if found is None:
        return {name: 0.0, f"{name}_ci": [0.0, 1.0]}
    return {name: found.value, f"{name}_ci": [found.low, found.high]}


def _linked(given: Sequence[Pair]) -> list[str]:
    """Return one cluster per pair: pairs that share a question, directly or over others, belong together."""
    places: dict[str, int] = {}
    edges = np.array([[places.setdefault(text, len(places)) for text in (one.a, one.b)] for one in given])
    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(len(places), len(places)))
    labels = connected_components(graph, directed=False)[1]
    return [str(labels[edge]) for edge in edges[:, 0]]


def _pairs_row(
    policy: str,
    scores: NDArray[np.float64],
    same: NDArray[np.bool_],
    threshold: float,
    clusters: Sequence[str],
    seed: int,
) -> Row:
    served = (scores >= threshold).astype(float)
    right, wrong = scores[same], np.sort(scores[~same])[::-1]
    row: Row = {
        "policy": policy,
        "operating_point": "default",
        "threshold": threshold,
        "n": len(scores),
        "n_same": len(right),
        "n_different": len(wrong),
        "auc": _auc(scores, same),
    }
    for share in RECALL_AT:
        # The surest different pair that is not served any more; what scores above it is.
        bar = wrong[int(share * len(wrong))] if len(wrong) else -math.inf
        row[f"recall_at_{share * 100:.0f}pct_different"] = float((right > bar).mean()) if len(right) else 0.0
    for name, chosen in (("same", same), ("different", ~same)):
        mask = chosen.astype(float)
        row[f"{name}_served"] = int((served * mask).sum())
        row |= _share(f"{name}_served_rate", served * mask, mask, clusters, seed)
    return row


def _auc(scores: NDArray[np.float64], same: NDArray[np.bool_]) -> float | None:
    """Return the chance that a same pair scores above a different one, ties counting half; None without both."""
    right, wrong = int(same.sum()), int((~same).sum())
    if not right or not wrong:
        return None
    return float((rankdata(scores)[same].sum() - right * (right + 1) / 2) / (right * wrong))

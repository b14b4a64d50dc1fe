"""One answered question, scored and priced: the row that everything in the report is summed from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from costkit.embed import Embedder
from costkit.prices import PriceBook
from costkit_evals import metrics
from costkit_evals.pipelines import Asked, Piece, Settings
from costkit_evals.provider import Reply
from costkit_evals.readers import DONT_KNOW
from costkit_evals.result import SEGMENTS
from costkit_evals.traffic import Asking, same_answer

__all__ = ["Scored", "Scorer"]

# A right answer holds at least this share of the reference's tokens.
SUCCESS_CONTAINMENT = 0.8


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One scored question; all values are plain, so that it can be stored as one JSON line.

    Attributes:
        tier: ``cached``, ``cheap`` or ``strong``: what answered.
        hit: ``exact`` or ``semantic``, or None if it was answered afresh.
        wrong_hit: A hit whose answer belongs to another question.
        quality: Metric by name, 0 to 1; None where the question says nothing about it.
        tokens: ``retrieved`` (before the context part), ``context``, ``prompt``, ``output``, ``cache_read``,
            ``cache_write``, and the prompt by segment as ``segment_<name>``.
        nano_usd: Cost by segment in billionths of a dollar; None if the model is unpriced.
        seconds: Time by stage, ``total`` among them.
    """

    id: str
    cluster: str
    source: str
    tier: str
    hit: str | None
    wrong_hit: bool
    success: bool
    answer: str
    answers: tuple[str, ...]
    gold_ids: tuple[str, ...]
    context: tuple[tuple[str, int, int], ...]
    quality: Mapping[str, float | None]
    tokens: Mapping[str, int]
    nano_usd: Mapping[str, int] | None
    seconds: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """Return the row as plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, object]) -> Scored:
        """Read a row back."""
        values = dict(row)
        values["context"] = tuple(tuple(piece) for piece in row["context"])  # type: ignore[attr-defined]
        values["answers"] = tuple(row["answers"])  # type: ignore[arg-type]
        values["gold_ids"] = tuple(row["gold_ids"])  # type: ignore[arg-type]
        return cls(**values)  # type: ignore[arg-type]


class Scorer:
    """Scores answers against their references.

    Args:
        texts: Document texts by id.
        embedder: For semantic similarity.
        settings: The tiers' models.
        book: Prices.
    """

    def __init__(self, *, texts: Mapping[str, str], embedder: Embedder, settings: Settings, book: PriceBook) -> None:
        self._texts = texts
        self._embedder = embedder
        self._settings = settings
        self._book = book

    def score(self, asking: Asking, asked: Asked, *, earlier: Mapping[str, Asking], similarity: bool) -> Scored:
        """Score one answer.

        Args:
            asking: What was asked.
            asked: What came back.
            earlier: Earlier askings by wording, to judge whose answer a hit served.
            similarity: Also compare the answer's meaning; embedding it takes longer than everything else.
        """
        question = asking.question
        quality = self._quality(asking, asked)
        if similarity:
            quality["semantic_similarity"] = self._similarity(asked.answer, question.answers)
        matched = earlier.get(asked.matched_question or "")
        contained = quality["containment"]
        answered = (contained or 0.0) >= SUCCESS_CONTAINMENT
        right = answered if question.answerable else _abstained(asked.answer)
        return Scored(
            id=question.id,
            cluster=asking.cluster,
            source=asking.source,
            tier="cached" if asked.hit else self._tier(asked.trace.replies),
            hit=asked.hit,
            wrong_hit=asked.hit is not None and (matched is None or not same_answer(asking, matched)),
            success=right,
            answer=asked.answer,
            answers=question.answers,
            gold_ids=question.gold_ids,
            context=tuple((piece.doc_id, piece.start, piece.end) for piece in asked.trace.context),
            quality=quality | {"success": float(right)},
            tokens=_tokens(asked),
            nano_usd=self._cost(asked),
            seconds=asked.trace.seconds | {"total": asked.seconds},
        )

    def _tier(self, replies: Sequence[Reply]) -> str:
        """Return the tier that answered; a provider may name the dated snapshot of the model it was asked for."""
        cheap = self._settings.cheap_model
        return "cheap" if replies and replies[-1].model.startswith(cheap) else "strong"

    def _quality(self, asking: Asking, asked: Asked) -> dict[str, float | None]:
        question, answer = asking.question, asked.answer
        abstained = _abstained(answer)
        given = "" if abstained else answer
        quality = {
            "token_f1": metrics.token_f1(given, question.answers),
            "exact_match": metrics.exact_match(given, question.answers),
            "containment": metrics.containment(given, question.answers),
            "abstention_accuracy": metrics.abstention_accuracy(abstained=abstained, answerable=question.answerable),
        }
        return quality | (self._context_quality(asking, asked.trace.context) if not asked.hit else {})

    def _context_quality(self, asking: Asking, context: Sequence[Piece]) -> dict[str, float | None]:
        question = asking.question
        spans = [(piece.doc_id, piece.start, piece.end) for piece in context]
        ids = [piece.doc_id for piece in context]
        return {
            "span_recall": metrics.span_recall(question.supporting, spans, self._texts),
            "span_precision": metrics.span_precision(question.supporting, spans),
            "id_recall": metrics.id_recall(question.gold_ids, ids),
            "id_precision": metrics.id_precision(question.gold_ids, ids),
        }

    def _similarity(self, answer: str, references: Sequence[str]) -> float | None:
        if not references:
            return None
        if _abstained(answer):
            return 0.0
        vectors = self._embedder.embed([answer, *references])
        return float(max(vectors[1:] @ vectors[0]))

    def _cost(self, asked: Asked) -> dict[str, int] | None:
        """Return the cost by segment; a fresh answer that nobody billed is unpriced, never free."""
        if not asked.hit and not asked.trace.replies:
            return None
        total = dict.fromkeys(SEGMENTS, 0)
        for reply in asked.trace.replies:
            priced = self._book.price(reply.model, reply.usage)
            if priced.cost_nano_usd is None:
                return None
            for segment, nano in _by_segment(reply, priced.by_kind).items():
                total[segment] += nano
        return total


def _abstained(answer: str) -> bool:
    return answer.startswith(DONT_KNOW)


def _by_segment(reply: Reply, by_kind: Mapping[str, int]) -> dict[str, int]:
    """Split a request's cost over its segments.

    Cached tokens share the cached price, the others the uncached price. Rounding is settled on the context, so that
    the parts always sum to the bill.
    """
    cached, uncached = _cached_split(reply)
    cost = {"system_cached": 0, "output": by_kind["output"]}
    for tokens, price in (
        (cached, by_kind["cache_read"] + by_kind["cache_write_5m"] + by_kind["cache_write_1h"]),
        (uncached, by_kind["uncached_input"]),
    ):
        whole = sum(tokens.values()) or 1
        shares = {name: price * count // whole for name, count in tokens.items()}
        shares["context"] = shares.get("context", 0) + price - sum(shares.values())
        for name, share in shares.items():
            cost[name] = cost.get(name, 0) + share
    return cost


def _segment_tokens(reply: Reply) -> dict[str, int]:
    """Return a request's tokens by segment; they sum to its input and output."""
    cached, uncached = _cached_split(reply)
    both = {name: cached.get(name, 0) + uncached.get(name, 0) for name in cached | uncached}
    return both | {"output": reply.usage.output_tokens}


def _cached_split(reply: Reply) -> tuple[dict[str, int], dict[str, int]]:
    """Return the cached and the uncached input tokens by segment.

    Cached tokens are a prefix of the prompt, so they are taken from its segments in order: system, history, context,
    question. Counts of the parts are scaled to what was billed.
    """
    parts = reply.segments.scaled_to(reply.usage.input_tokens)
    left = reply.usage.cache_read_tokens + reply.usage.cache_write_tokens
    cached: dict[str, int] = {}
    uncached: dict[str, int] = {}
    for name in ("system", "history", "context", "question"):
        tokens = getattr(parts, name)
        taken = min(left, tokens)
        left -= taken
        cached["system_cached" if name == "system" else name] = taken
        uncached["system_uncached" if name == "system" else name] = tokens - taken
    return cached, uncached


def _tokens(asked: Asked) -> dict[str, int]:
    usage, trace = asked.usage, asked.trace
    context = sum(reply.segments.context for reply in trace.replies)
    cut = sum(event.saved.input_tokens for event in trace.events if event.part == "context")
    by_segment = dict.fromkeys((f"segment_{name}" for name in SEGMENTS), 0)
    for reply in trace.replies:
        for name, count in _segment_tokens(reply).items():
            by_segment[f"segment_{name}"] += count
    return {
        "retrieved": context + cut,
        "context": context,
        "prompt": usage.input_tokens,
        "output": usage.output_tokens,
        "cache_read": usage.cache_read_tokens,
        "cache_write": usage.cache_write_tokens,
    } | by_segment

"""What one paid or avoided piece of work used: the values every part reports, and the door it reports through."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, Protocol

from costkit.errors import ConfigurationError
from costkit.scope import Scope

__all__ = ["Event", "Kind", "Recorder", "Status", "Usage", "default_recorder", "recorded"]

Kind = Literal["model", "embedding", "rerank", "index", "tool", "cache", "judge"]
Status = Literal["ok", "failed", "unused"]


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Tokens by the price they are billed at; the five counts never overlap.

    Providers disagree on whether "input tokens" include cached ones (Anthropic excludes them, LangChain includes
    them). Here ``input_tokens`` is always the inclusive total.
    """

    uncached_input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    output_tokens: int = 0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ConfigurationError(f"Usage.{name} must be an integer of 0 or more, got {value!r}")

    @property
    def input_tokens(self) -> int:
        """All input tokens: uncached, read from and written to the provider's prompt cache."""
        return self.uncached_input_tokens + self.cache_read_tokens + self.cache_write_tokens

    @property
    def cache_write_tokens(self) -> int:
        """Tokens written to the provider's prompt cache at either lifetime."""
        return self.cache_write_5m_tokens + self.cache_write_1h_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(**{name: value + getattr(other, name) for name, value in vars(self).items()})

    @classmethod
    def from_anthropic(cls, usage: Mapping[str, object]) -> Usage:
        """Read the ``usage`` object of Anthropic's Messages API.

        ``input_tokens`` there is the uncached remainder only. Where the split of cache writes by lifetime is missing
        (the ``message_delta`` event of a stream), all writes count as 5-minute ones, the provider's default.
        """
        written = _count(usage, "cache_creation_input_tokens")
        split = usage.get("cache_creation")
        one_hour = _count(split, "ephemeral_1h_input_tokens") if isinstance(split, Mapping) else 0
        return cls(
            uncached_input_tokens=_count(usage, "input_tokens"),
            cache_read_tokens=_count(usage, "cache_read_input_tokens"),
            cache_write_5m_tokens=max(written - one_hour, 0),
            cache_write_1h_tokens=one_hour,
            output_tokens=_count(usage, "output_tokens"),
        )

    @classmethod
    def from_langchain(cls, usage: Mapping[str, object]) -> Usage:
        """Read LangChain's ``AIMessage.usage_metadata``, whose ``input_tokens`` includes cached tokens.

        langchain-anthropic sets ``cache_creation`` to 0 where it knows the split by lifetime, so the two are added.
        """
        details = usage.get("input_token_details")
        details = details if isinstance(details, Mapping) else {}
        read = _count(details, "cache_read")
        one_hour = _count(details, "ephemeral_1h_input_tokens")
        five_minutes = _count(details, "ephemeral_5m_input_tokens") + _count(details, "cache_creation")
        return cls(
            uncached_input_tokens=max(_count(usage, "input_tokens") - read - one_hour - five_minutes, 0),
            cache_read_tokens=read,
            cache_write_5m_tokens=five_minutes,
            cache_write_1h_tokens=one_hour,
            output_tokens=_count(usage, "output_tokens"),
        )


def _count(usage: Mapping[str, object], key: str) -> int:
    value = usage.get(key)
    return value if isinstance(value, int) else 0


@dataclass(frozen=True, kw_only=True)
class Event:
    """One row of the ledger: work that was paid for, failed, or avoided.

    Attributes:
        kind: What kind of work.
        part: The part that reports: ``cache``, ``context``, ``prompt``, ``route`` or ``model``.
        decision: What was decided, in one word: ``hit``, ``miss``, ``bypass``, ``reduced``, ``kept``, a tier's name.
        reason: Why, in one sentence.
        scope: Who it was for.
        model: Model id as the provider bills it, or None where no model ran.
        usage: Tokens used. For avoided work these are zero and the avoided tokens stand in ``saved``.
        cost_nano_usd: Cost in billionths of a US dollar; None means unpriced, never zero.
        saved: Tokens that the decision avoided.
        saved_nano_usd: What they would have cost; None means unpriced.
        price_snapshot: Version of the price data.
        tier: ``cached``, or the name of the router's tier.
        seconds: Time the work took.
        status: ``failed`` and ``unused`` (paid but not shown to anybody) work is recorded too.
        run_id: Groups the events of one question.
        batch: True if billed at batch prices.
        details: Further plain facts (scores, thresholds, entry ids).
        id: Unique id; a store that sees it twice keeps one.
        at: When the work ended, in UTC.
    """

    kind: Kind
    part: str
    decision: str
    reason: str = ""
    scope: Scope = field(default_factory=Scope)
    model: str | None = None
    usage: Usage = field(default_factory=Usage)
    cost_nano_usd: int | None = 0
    saved: Usage = field(default_factory=Usage)
    saved_nano_usd: int | None = 0
    price_snapshot: str = ""
    tier: str | None = None
    seconds: float = 0.0
    status: Status = "ok"
    run_id: str | None = None
    batch: bool = False
    details: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


class Recorder(Protocol):
    """Where events go. ``costkit.ledger.Ledger`` is one; a list's ``append`` behind this name is another."""

    def record(self, event: Event) -> None:
        """Keep ``event``. Must not raise for a broken store: the user's chain goes on."""
        ...


def default_recorder() -> Recorder:
    """Return the process-wide ledger in ``.costkit/ledger.db`` (or ``$COSTKIT_HOME``), opened on first use.

    Where it cannot be opened, say so once and return a recorder that keeps nothing: the user's chain goes on.
    """
    from costkit.ledger.store import default_ledger_or_nothing  # SQLAlchemy loads only when a ledger is used

    return default_ledger_or_nothing()


def recorded(url: str | None = None) -> Iterator[Event]:
    """Yield the events of a ledger in the order of their time.

    Args:
        url: SQLAlchemy URL of the ledger. Default: the process-wide one.

    Raises:
        StoreError: There is no such ledger, or it cannot be read.
    """
    from costkit.ledger.store import open_ledger

    ledger = open_ledger(url)
    try:
        yield from ledger.events()
    finally:
        ledger.close()

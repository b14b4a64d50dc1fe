"""The provider's documented prompt-cache rules: what each request reads, writes and pays, and why.

Source: https://platform.claude.com/docs/en/build-with-claude/prompt-caching. The rules, in its order:

- A mark (``cache_control``) writes one entry: the hash of the whole prefix that ends at it. Nothing else is written.
- A mark reads by looking back over at most 20 positions, itself the first, for an entry an earlier request wrote; if
  it finds none, the next earlier mark looks. A run of tool uses, or of tool results, is one position.
- A prefix below the model's minimum is neither written nor read, without an error.
- An entry can be read once the response that wrote it has begun. Its lifetime runs from the start of the request that
  wrote it or last read it; a read renews it for nothing.
- With A the tokens of the highest hit, B those of the highest one-hour mark after A (else A) and C those of the last
  mark: A is read, B - A written for an hour, C - B for five minutes, and the rest pays the base price.

Three points are left open there and settled here against the caller: a read renews the entry it found and those at the
request's own marks, not unmarked shorter ones; an entry keeps the lifetime it was paid for; and a mark inside the part
that was read writes its missing entry without charge, but for no longer than the entry read lives.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from math import inf
from typing import TYPE_CHECKING, Literal

from costkit.errors import ConfigurationError
from costkit.ledger.usage import Usage
from costkit.prompt.minimums import LARGEST_MINIMUM, check_minimums, minimum_tokens
from costkit.prompt.request import Block, RenderedRequest, Ttl, render

if TYPE_CHECKING:
    from costkit.tokens import TokenCounter

__all__ = ["LOOKBACK_POSITIONS", "TTL_SECONDS", "Charge", "MarkReport", "Outcome", "PromptCache"]

LOOKBACK_POSITIONS = 20
TTL_SECONDS: Mapping[Ttl, int] = {"5m": 300, "1h": 3600}

Outcome = Literal["read", "written", "too short"]

_PRUNE_EVERY = 1024


@dataclass(frozen=True, kw_only=True)
class MarkReport:
    """What became of one cache mark.

    Attributes:
        path: The marked block, in the provider's notation: ``system.0``, ``messages.2.content.1``.
        ttl: The lifetime it asked for.
        prefix_tokens: Tokens of the prefix that ends at it.
        outcome: ``read`` if its prefix lay in the cache, ``written`` if it was paid for, ``too short`` if the model
            does not cache so little.
        reason: Why, in one sentence.
    """

    path: str
    ttl: Ttl
    prefix_tokens: int
    outcome: Outcome
    reason: str


@dataclass(slots=True)
class _Entry:
    ttl: Ttl
    expires_at: float
    readable_at: float = inf

    @classmethod
    def starting(cls, at: float, *, ttl: Ttl) -> _Entry:
        return cls(ttl=ttl, expires_at=at + TTL_SECONDS[ttl])

    def alive(self, at: float) -> bool:
        return self.readable_at <= at < self.expires_at


@dataclass(frozen=True, kw_only=True)
class Charge:
    """What one request is billed for.

    Attributes:
        usage: Tokens by the price they are billed at.
        marks: What became of each cache mark, in rendered order.
    """

    usage: Usage
    marks: tuple[MarkReport, ...]
    _entries: tuple[_Entry, ...] = field(default=(), repr=False, compare=False)


class PromptCache:
    """The provider's prompt cache, in memory, for planning, for evaluation and for the local server.

    Thread-safe. Time is the caller's: seconds on any clock that does not run backwards.

    Args:
        counter: Counts the tokens of each block. Default: ``costkit.tokens.default_counter()``.
        minimums: Shortest cached prefix in tokens by model id, where the published table is wrong or silent. A model
            known to neither gets the largest published minimum.
        as_of: The day whose published minima hold. Default: the newest.

    Raises:
        ConfigurationError: A minimum is no whole number of tokens.
    """

    def __init__(
        self,
        *,
        counter: TokenCounter | None = None,
        minimums: Mapping[str, int] | None = None,
        as_of: date | None = None,
    ) -> None:
        if counter is None:
            from costkit.tokens import default_counter  # loads its tables only when nothing else counts

            counter = default_counter()
        check_minimums(minimums or {})
        self._counter = counter
        self._minimums = dict(minimums or {})
        self._as_of = as_of
        self._entries: dict[str, list[_Entry]] = {}
        self._requests = 0
        self._lock = threading.Lock()

    def send(
        self,
        request: Mapping[str, object],
        *,
        at: float,
        begins_after_seconds: float = 0.0,
        output_tokens: int = 0,
        workspace: str = "default",
    ) -> Charge:
        """Account for one request whose response begins ``begins_after_seconds`` after its start.

        Args:
            request: The body of a Messages-API request.
            at: When it starts, in seconds.
            begins_after_seconds: Time to the first byte of the response; until then its entries cannot be read.
            output_tokens: Tokens of the answer.
            workspace: Whose cache it uses.

        Raises:
            ConfigurationError: The provider would refuse the request; the message is the one it gives.
        """
        if not begins_after_seconds >= 0:
            raise ConfigurationError(f"begins_after_seconds must be 0 or more, got {begins_after_seconds!r}")
        charge = self.open(request, at=at, output_tokens=output_tokens, workspace=workspace)
        self.begin(charge, at=at + begins_after_seconds)
        return charge

    def open(
        self, request: Mapping[str, object], *, at: float, output_tokens: int = 0, workspace: str = "default"
    ) -> Charge:
        """Account for a request that starts now and whose response has not begun; see ``send`` for the arguments."""
        rendered = render(request, counter=self._counter, workspace=workspace)
        floor = self._minimum(rendered.model)
        with self._lock:
            self._prune(at)
            hit = self._find(rendered, floor, at)
            reports = tuple(self._report(rendered, index, hit, floor, at) for index in rendered.marks)
            added = self._write(rendered, hit, floor, at)
        return Charge(usage=_bill(rendered, hit, floor, output_tokens), marks=reports, _entries=added)

    def begin(self, charge: Charge, *, at: float) -> None:
        """Make readable what ``charge`` wrote: its response begins at ``at``. A request that fails never begins."""
        with self._lock:
            for entry in charge._entries:
                entry.readable_at = min(entry.readable_at, at)

    def count(self, request: Mapping[str, object]) -> int:
        """Return the input tokens of a request without sending it."""
        return render(request, counter=self._counter).total_tokens

    def _minimum(self, model: str) -> int:
        known = minimum_tokens(model, overrides=self._minimums, as_of=self._as_of)
        return LARGEST_MINIMUM if known is None else known

    def _alive(self, block: Block, at: float) -> list[_Entry]:
        return [entry for entry in self._entries.get(block.digest, ()) if entry.alive(at)]

    def _find(self, rendered: RenderedRequest, floor: int, at: float) -> int | None:
        """Return the index of the highest block whose prefix some mark's look-back finds in the cache."""
        for mark in reversed(rendered.marks):
            for index in _window(rendered, mark):
                if rendered.blocks[index].prefix_tokens < floor:
                    break
                if self._alive(rendered.blocks[index], at):
                    return index
        return None

    def _write(self, rendered: RenderedRequest, hit: int | None, floor: int, at: float) -> tuple[_Entry, ...]:
        """Renew what was read and add an entry at every mark that has none to read; return the added ones."""
        found = [] if hit is None else self._alive(rendered.blocks[hit], at)
        longest: Ttl = "1h" if any(entry.ttl == "1h" for entry in found) else "5m"
        added = []
        for index in rendered.marks:
            block = rendered.blocks[index]
            if block.prefix_tokens < floor or block.ttl is None:
                continue
            covered = hit is not None and index <= hit
            own = self._alive(block, at) if covered else []
            if own:
                found += own
                continue
            entry = _Entry.starting(at, ttl="5m" if covered and longest == "5m" else block.ttl)
            kept = [one for one in self._entries.get(block.digest, ()) if one.expires_at > at]
            self._entries[block.digest] = [*kept, entry]
            added.append(entry)
        for entry in found:
            entry.expires_at = max(entry.expires_at, at + TTL_SECONDS[entry.ttl])
        return tuple(added)

    def _report(self, rendered: RenderedRequest, index: int, hit: int | None, floor: int, at: float) -> MarkReport:
        block = rendered.blocks[index]
        outcome: Outcome
        if block.prefix_tokens < floor:
            outcome = "too short"
            reason = f"{rendered.model} caches no prefix below {floor} tokens and this one has {block.prefix_tokens}"
        elif hit is not None and index <= hit:
            outcome = "read"
            reason = f"the entry at {rendered.blocks[hit].path} was found and covers this prefix"
        else:
            outcome, reason = "written", self._miss(rendered, index, hit, at)
        return MarkReport(
            path=block.path, ttl=block.ttl or "5m", prefix_tokens=block.prefix_tokens, outcome=outcome, reason=reason
        )

    def _miss(self, rendered: RenderedRequest, index: int, hit: int | None, at: float) -> str:
        """Say why nothing above ``hit`` was read at the mark: the nearest entry that could not be used, if any."""
        if hit is not None:
            return f"the longest entry found ends at {rendered.blocks[hit].path}; what follows it was not in the cache"
        for block in reversed(rendered.blocks[: index + 1]):
            for entry in self._entries.get(block.digest, ()):
                if entry.readable_at > at:
                    return f"the request that writes the entry at {block.path} has not begun to respond"
                if entry.expires_at <= at:
                    return f"the entry at {block.path} expired {at - entry.expires_at:g} seconds before"
                distance = rendered.blocks[index].position - block.position + 1
                return (
                    f"the entry at {block.path} is position {distance} and the look-back ends at {LOOKBACK_POSITIONS}"
                )
        return "no earlier request wrote this prefix, or one that it begins with"

    def _prune(self, at: float) -> None:
        """Forget expired entries now and then; a day's worth stays for the reasons given in reports."""
        self._requests += 1
        if self._requests % _PRUNE_EVERY:
            return
        for digest, entries in list(self._entries.items()):
            entries[:] = [entry for entry in entries if entry.expires_at > at - 86_400]
            if not entries:
                del self._entries[digest]


def _window(rendered: RenderedRequest, mark: int) -> Iterator[int]:
    """Yield the blocks one mark looks at, from itself backwards."""
    last = rendered.blocks[mark].position - LOOKBACK_POSITIONS
    for index in range(mark, -1, -1):
        if rendered.blocks[index].position <= last:
            return
        yield index


def _bill(rendered: RenderedRequest, hit: int | None, floor: int, output_tokens: int) -> Usage:
    marked = [rendered.blocks[index] for index in rendered.marks]
    marked = [block for block in marked if block.prefix_tokens >= floor]
    read = 0 if hit is None else rendered.blocks[hit].prefix_tokens
    hour = max([read, *(block.prefix_tokens for block in marked if block.ttl == "1h")])
    last = max([hour, *(block.prefix_tokens for block in marked)])
    return Usage(
        uncached_input_tokens=rendered.total_tokens - last,
        cache_read_tokens=read,
        cache_write_1h_tokens=hour - read,
        cache_write_5m_tokens=last - hour,
        output_tokens=output_tokens,
    )

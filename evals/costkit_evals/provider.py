"""A stand-in for the provider: answers Messages-API requests with a reader and bills them by the documented rules.

It counts tokens with costkit's offline counter and accounts the prompt cache with ``costkit.prompt.simulate``, so a
pipeline is billed for the prompt it really sent. The clock is simulated; no request waits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from costkit.ledger.usage import Usage
from costkit.prompt.simulate import PromptCache
from costkit.tokens import TokenCounter, default_counter, remember
from costkit_evals.readers import Reader, parse_prompt

__all__ = ["Reply", "SegmentTokens", "SimulatedProvider", "text_of"]


@dataclass(frozen=True, kw_only=True)
class SegmentTokens:
    """Input tokens of one request by what they are for."""

    system: int = 0
    history: int = 0
    context: int = 0
    question: int = 0

    def scaled_to(self, total: int) -> SegmentTokens:
        """Return the same shares of another total; the context takes the rounding."""
        counted = sum(vars(self).values()) or 1
        scaled = {name: tokens * total // counted for name, tokens in vars(self).items()}
        return SegmentTokens(**scaled | {"context": scaled["context"] + total - sum(scaled.values())})


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One answered and billed request.

    Attributes:
        text: The answer.
        citations: Ids of the documents it cites.
        model: The model that the request named.
        usage: What the provider would bill.
        segments: The same input tokens by what they are for.
    """

    text: str
    citations: tuple[str, ...] = ()
    model: str
    usage: Usage
    segments: SegmentTokens = field(default_factory=SegmentTokens)


class SimulatedProvider:
    """Answers and bills requests in simulated time.

    Args:
        counter: Counts tokens. Default: ``costkit.tokens.default_counter()``.
    """

    def __init__(self, counter: TokenCounter | None = None) -> None:
        self.counter = remember(counter or default_counter())
        self._cache = PromptCache(counter=self.counter)
        self._now = 0.0

    def advance(self, seconds: float) -> None:
        """Let simulated time pass."""
        self._now += seconds

    def respond(self, request: Mapping[str, object], reader: Reader) -> Reply:
        """Answer a Messages-API request.

        Args:
            request: ``model``, ``system`` and ``messages`` as the Messages API takes them.
            reader: Answers from the last message.
        """
        messages = _messages(request)
        prompted = parse_prompt(text_of(messages[-1]["content"]))
        reading = reader.read(prompted)
        billed = self._cache.send(request, at=self._now, output_tokens=self.counter.count(reading.answer))
        return Reply(
            text=reading.answer,
            citations=reading.citations,
            model=str(request["model"]),
            usage=billed.usage,
            segments=self._segments(request, messages, prompted.question),
        )

    def _segments(
        self, request: Mapping[str, object], messages: Sequence[Mapping[str, object]], question: str
    ) -> SegmentTokens:
        count = self.counter.count
        last = count(text_of(messages[-1]["content"]))
        asked = min(count(question), last)
        return SegmentTokens(
            system=count(text_of(request.get("system", ""))),
            history=sum(count(text_of(message["content"])) for message in messages[:-1]),
            context=last - asked,
            question=asked,
        )


def text_of(content: object) -> str:
    """Return the text of a message's content: a string, or a list of blocks."""
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        return ""
    return "\n".join(str(block.get("text", "")) for block in content if isinstance(block, Mapping))


def _messages(request: Mapping[str, object]) -> list[Mapping[str, object]]:
    messages = request["messages"]
    assert isinstance(messages, list)  # noqa: S101  built by our own model classes
    return messages

"""A Messages-API request as the prompt cache sees it: blocks in rendered order, their prefixes, and the cache marks.

Source of the rules: https://platform.claude.com/docs/en/build-with-claude/prompt-caching ("Structuring your prompt",
"What can be cached", "What invalidates the cache", "Combining with block-level caching", "Pre-warming the cache").

What the provider adds to a prompt by itself (role markers, the tool-use preamble) is not published and not counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, cast

from costkit.errors import ConfigurationError
from costkit.prompt.minimums import base_model

if TYPE_CHECKING:
    from costkit.tokens import TokenCounter

__all__ = ["IMAGE_TOKENS", "MAX_MARKS", "Block", "Level", "RenderedRequest", "Ttl", "render"]

Level = Literal["tools", "system", "messages"]
Ttl = Literal["5m", "1h"]

MAX_MARKS = 4
# What the provider states for an image of the largest size it does not shrink; pixels are not decoded here.
IMAGE_TOKENS = 1600

_LEVELS: tuple[Level, ...] = ("tools", "system", "messages")
_UNMARKABLE = frozenset({"thinking", "redacted_thinking"})
_GROUPED = frozenset({"tool_use", "tool_result"})
# Models that drop earlier thinking blocks once a user turn holds more than tool results; later ones keep them.
_STRIPS_THINKING = frozenset(
    {
        "claude-opus-4-1", "claude-opus-4", "claude-sonnet-4-5", "claude-sonnet-4", "claude-3-7-sonnet",
        "claude-haiku-4-5", "claude-3-5-haiku",
    }
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Block:
    """One block of the rendered prompt.

    Attributes:
        path: Where it stands in the request, in the provider's notation: ``system.0``, ``messages.2.content.1``.
        level: Which part of the prompt it belongs to for invalidation.
        kind: Its type: ``tool``, ``text``, ``tool_use`` and so on.
        tokens: Its tokens.
        prefix_tokens: Tokens of the prompt up to and including it.
        digest: Hash of everything up to and including it, the cache key.
        position: Its position for the look-back; a run of tool uses or of tool results is one position.
        ttl: Lifetime asked for by a cache mark on it, or None if it carries none.
    """

    path: str
    level: Level
    kind: str
    tokens: int
    prefix_tokens: int
    digest: str
    position: int
    ttl: Ttl | None


@dataclass(frozen=True, kw_only=True)
class RenderedRequest:
    """A request in rendered order: tools, then system, then messages.

    Attributes:
        model: Model id as the request names it.
        blocks: Its blocks.
    """

    model: str
    blocks: tuple[Block, ...]

    @property
    def total_tokens(self) -> int:
        """All input tokens."""
        return self.blocks[-1].prefix_tokens if self.blocks else 0

    @property
    def marks(self) -> tuple[int, ...]:
        """Indices of the marked blocks, in rendered order."""
        return tuple(index for index, block in enumerate(self.blocks) if block.ttl)


@dataclass(frozen=True, kw_only=True)
class _Piece:
    path: str
    level: Level
    kind: str
    role: str
    content: Mapping[str, object]
    ttl: Ttl | None


def render(request: Mapping[str, object], *, counter: TokenCounter, workspace: str = "default") -> RenderedRequest:
    """Bring a Messages-API request into the order and the keys that the prompt cache works with.

    Args:
        request: The request's body. It is not changed.
        counter: Counts the tokens of each block.
        workspace: Whose cache it is. Caches are never shared between workspaces (on Amazon Bedrock and Google Cloud:
            between organisations) nor between models.

    Raises:
        ConfigurationError: The provider would refuse the request with status 400; the message is the one it gives.
    """
    model = request.get("model")
    if not isinstance(model, str) or not model:
        raise ConfigurationError("model: Field required")
    _check_prewarm(request)
    pieces = _pieces(request)
    if base_model(model) in _STRIPS_THINKING:
        pieces = _without_stale_thinking(pieces)
    pieces = _with_automatic_mark(pieces, request)
    _check_marks(pieces)
    return RenderedRequest(model=model, blocks=tuple(_blocks(pieces, request, counter, [workspace, model])))


def _blocks(
    pieces: Sequence[_Piece], request: Mapping[str, object], counter: TokenCounter, scope: list[str]
) -> Iterator[Block]:
    switches = _switches(request, pieces)
    chain = sha256(_canonical(scope))
    level, total, position = 0, 0, -1
    previous = None
    for piece in pieces:
        for entered in _LEVELS[level + 1 : _LEVELS.index(piece.level) + 1]:
            chain.update(_canonical([entered, switches[entered]]))
        level = _LEVELS.index(piece.level)
        chain.update(_canonical([piece.kind, piece.role, _keyed(piece.content)]))
        tokens = _tokens(piece.content, counter)
        total += tokens
        position += not (piece.kind in _GROUPED and piece.kind == previous)
        previous = piece.kind
        yield Block(
            path=piece.path,
            level=piece.level,
            kind=piece.kind,
            tokens=tokens,
            prefix_tokens=total,
            digest=chain.hexdigest(),
            position=position,
            ttl=piece.ttl,
        )


def _switches(request: Mapping[str, object], pieces: Sequence[_Piece]) -> dict[Level, list[object]]:
    """Return the settings that are no block but whose change loses the cache of a level and of those after it."""
    contents = [piece.content for piece in pieces]
    output_config = request.get("output_config")
    effort = output_config.get("effort") if isinstance(output_config, Mapping) else None
    thinking = request.get("thinking")
    return {
        "tools": [],
        "system": [any(map(_cites, contents)), request.get("speed") or "standard"],
        "messages": [
            request.get("tool_choice") or {"type": "auto"},
            thinking if isinstance(thinking, Mapping) and thinking.get("type") != "disabled" else None,
            effort,
            any(map(_has_image, contents)),
        ],
    }


def _pieces(request: Mapping[str, object]) -> list[_Piece]:
    tools = [
        _piece(tool, path=f"tools.{index}", level="tools", kind="tool")
        for index, tool in enumerate(_mappings(request.get("tools") or [], "tools"))
    ]
    # Switching web search on or off changes the system prompt and leaves the cached tools alone.
    search = [
        replace(one, level="system") for one in tools if str(one.content.get("type", "")).startswith("web_search")
    ]
    pieces = [one for one in tools if not str(one.content.get("type", "")).startswith("web_search")] + search
    for index, block in enumerate(_content(request.get("system") or [], "system")):
        pieces.append(_piece(block, path=f"system.{index}", level="system"))
    for number, message in enumerate(_mappings(request.get("messages"), "messages")):
        path = f"messages.{number}"
        for index, block in enumerate(_content(message.get("content"), f"{path}.content")):
            role = str(message.get("role", ""))
            pieces.append(_piece(block, path=f"{path}.content.{index}", level="messages", role=role))
    return pieces


def _piece(block: Mapping[str, object], *, path: str, level: Level, kind: str | None = None, role: str = "") -> _Piece:
    content = {key: value for key, value in block.items() if key != "cache_control"}
    kind = kind or str(block.get("type", "text"))
    mark = block.get("cache_control")
    ttl = None if mark is None else _ttl(mark, f"{path}.cache_control")
    if ttl and kind in _UNMARKABLE:
        raise ConfigurationError(f"{path}.{kind}.cache_control: Extra inputs are not permitted")
    if ttl and kind == "text" and not content.get("text"):
        raise ConfigurationError(f"{path}.text: cache_control cannot be set for empty text blocks")
    return _Piece(path=path, level=level, kind=kind, role=role, content=content, ttl=ttl)


def _ttl(mark: object, path: str) -> Ttl:
    if not isinstance(mark, Mapping) or mark.get("type") != "ephemeral":
        raise ConfigurationError(f"{path}: Input does not match the expected tag 'ephemeral', got {mark!r}")
    ttl = mark.get("ttl") or "5m"
    if ttl not in ("5m", "1h"):
        raise ConfigurationError(f"{path}.ttl: Input should be '5m' or '1h', got {ttl!r}")
    return cast("Ttl", ttl)


def _with_automatic_mark(pieces: list[_Piece], request: Mapping[str, object]) -> list[_Piece]:
    """Apply a top-level ``cache_control``: a mark on the last block that can carry one."""
    mark = request.get("cache_control")
    if mark is None:
        return pieces
    ttl = _ttl(mark, "cache_control")
    if sum(piece.ttl is not None for piece in pieces) >= MAX_MARKS:
        raise ConfigurationError(
            f"cache_control: {MAX_MARKS} blocks already carry cache_control, which leaves no slot for the automatic one"
        )
    eligible = [
        i for i, p in enumerate(pieces) if p.kind not in _UNMARKABLE and (p.kind != "text" or p.content.get("text"))
    ]
    if not eligible:
        return pieces
    last = pieces[eligible[-1]]
    if last.ttl not in (None, ttl):
        raise ConfigurationError(
            f"cache_control.ttl: the last block, {last.path}, asks for ttl={last.ttl!r} and not {ttl!r}"
        )
    marked = list(pieces)
    marked[eligible[-1]] = replace(last, ttl=ttl)
    return marked


def _check_marks(pieces: Sequence[_Piece]) -> None:
    marked = [piece for piece in pieces if piece.ttl]
    if len(marked) > MAX_MARKS:
        raise ConfigurationError(
            f"A maximum of {MAX_MARKS} blocks with cache_control may be provided. Found {len(marked)}."
        )
    for before, after in pairwise(marked):
        if (before.ttl, after.ttl) == ("5m", "1h"):
            raise ConfigurationError(
                f"{after.path}.cache_control.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' "
                "cache_control block. Note that blocks are processed in the following order: `tools`, `system`, `messages`."
            )


def _check_prewarm(request: Mapping[str, object]) -> None:
    """Refuse what implies output next to ``max_tokens: 0``, which only writes the cache."""
    if request.get("max_tokens") != 0:
        return
    settings = {name: request.get(name) for name in ("thinking", "output_config", "tool_choice")}
    given = {name: value if isinstance(value, Mapping) else {} for name, value in settings.items()}
    refused = {
        "stream": bool(request.get("stream")),
        "thinking.type=enabled": given["thinking"].get("type") == "enabled",
        "output_config.format": given["output_config"].get("format") is not None,
        "tool_choice of type any or tool": given["tool_choice"].get("type") in ("any", "tool"),
    }
    for name, present in refused.items():
        if present:
            raise ConfigurationError(f"max_tokens: 0 is not supported together with {name}")


def _without_stale_thinking(pieces: list[_Piece]) -> list[_Piece]:
    """Drop thinking blocks ahead of the last user turn that holds more than tool results."""
    turn = max((i for i, p in enumerate(pieces) if p.role == "user" and p.kind != "tool_result"), default=0)
    return [piece for index, piece in enumerate(pieces) if index > turn or piece.kind not in _UNMARKABLE]


def _tokens(content: Mapping[str, object], counter: TokenCounter) -> int:
    if "input_schema" in content:
        return counter.count(_canonical(content).decode("utf-8", "replace"))
    nested = list(_nested(content))
    images = sum(_source(block).get("type") in ("base64", "url", "file") for block in nested)
    return images * IMAGE_TOKENS + counter.count("\n".join(text for block in nested for text in _texts(block)))


def _nested(block: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """Yield a block and the blocks inside it: a tool result and a document may hold some."""
    yield block
    for holder in (block, _source(block)):
        inner = holder.get("content")
        for part in inner if isinstance(inner, list) else []:
            if isinstance(part, Mapping):
                yield from _nested(part)


def _texts(block: Mapping[str, object]) -> Iterator[str]:
    """Yield the strings of one block that the model reads, without those of the blocks inside it."""
    source = _source(block)
    written = [block.get(key) for key in ("title", "context", "name", "text", "thinking", "content", "source")]
    written += [source.get("content"), source.get("data") if source.get("type") == "text" else None]
    if block.get("type") == "tool_use":
        written.append(_canonical(block.get("input") or {}).decode("utf-8", "replace"))
    return (text for text in written if isinstance(text, str))


def _source(block: Mapping[str, object]) -> Mapping[str, object]:
    source = block.get("source")
    return source if isinstance(source, Mapping) else {}


def _has_image(content: Mapping[str, object]) -> bool:
    return any(block.get("type") == "image" for block in _nested(content))


def _cites(content: Mapping[str, object]) -> bool:
    citations = content.get("citations")
    return isinstance(citations, Mapping) and citations.get("enabled") is True


def _keyed(content: Mapping[str, object]) -> dict[str, object]:
    """Return a block without marks, its own keys sorted.

    The keys of what it holds, a tool's schema or its input, keep the order they were sent in: the provider's
    documentation names their reordering as a cause of misses.
    """
    return {key: _unmarked(content[key]) if key == "content" else content[key] for key in sorted(content)}


def _unmarked(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _unmarked(part) for key, part in value.items() if key != "cache_control"}
    return [_unmarked(part) for part in value] if isinstance(value, list) else value


def _canonical(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str).encode("utf-8", "surrogatepass")


def _content(value: object, path: str) -> list[Mapping[str, object]]:
    """Return the blocks of a content field; a plain string is one text block."""
    return [{"type": "text", "text": value}] if isinstance(value, str) else _mappings(value, path)


def _mappings(value: object, path: str) -> list[Mapping[str, object]]:
    if value is None:
        raise ConfigurationError(f"{path}: Field required")
    if not isinstance(value, list | tuple) or not all(isinstance(one, Mapping) for one in value):
        raise ConfigurationError(f"{path}: Input should be a valid list of objects, got {value!r:.80}")
    return list(value)

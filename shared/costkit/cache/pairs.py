"""Labelled pairs of questions: read from files, checked, and split so that no question stands on both sides."""

from __future__ import annotations

import gzip
import json
import random
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from costkit.errors import ConfigurationError, DataError
from costkit.text import normalise_question

__all__ = ["FEWEST_PAIRS", "Pair", "read_pairs", "split_pairs"]

FEWEST_PAIRS = 50
_HELD_OUT = 0.05
# A group of linked pairs that would lift the held-out part above this stays with those that are learned from.
_LARGEST_HELD_OUT = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two questions and whether one answer serves both.

    Attributes:
        a: A question.
        b: Another one.
        same: True if one answer is right for both.
    """

    a: str
    b: str
    same: bool


def read_pairs(files: Sequence[Path | str], *, limit: int | None = None, seed: int = 7) -> list[Pair]:
    """Read pairs from JSON-lines files; a name that ends in ``.gz`` is unpacked.

    Args:
        files: Each row is an object with the strings ``a`` and ``b`` and the bool ``same``; other fields are ignored.
        limit: At most so many, drawn at random; by default all, in the order of the files.
        seed: Of that draw.

    Raises:
        ConfigurationError: ``files`` is empty, or one of them cannot be opened.
        DataError: A row is wrong (it names file and line), there are fewer than 50 pairs, or all have one label.
    """
    if not files:
        raise ConfigurationError("no pairs file given: name at least one JSON-lines file with a, b and same")
    found = [pair for file in files for pair in _read(Path(file))]
    if limit is not None and limit < len(found):
        found = random.Random(seed).sample(found, limit)  # noqa: S311 - a draw, no secret
    names = ", ".join(str(file) for file in files)
    if len(found) < FEWEST_PAIRS:
        raise DataError(f"{len(found)} pairs in all: at least {FEWEST_PAIRS} are needed", path=names)
    if len({pair.same for pair in found}) == 1:
        raise DataError(f"every pair has same={found[0].same}: pairs of both labels are needed", path=names)
    return found


def split_pairs(pairs: Sequence[Pair], *, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Hold out about one pair in twenty.

    Pairs that share a question, as ``normalise_question`` reads it, directly or through other pairs, stay together.

    Returns:
        The pairs to learn from and those held out.

    Raises:
        DataError: No part can be held out that has both labels.
    """
    linked = _linked(pairs)
    random.Random(seed).shuffle(linked)  # noqa: S311 - a draw, no secret
    learned: list[Pair] = []
    held: list[Pair] = []
    for group in linked:
        wanted = len(held) < _HELD_OUT * len(pairs) or len({pair.same for pair in held}) == 1
        fits = len(held) + len(group) <= _LARGEST_HELD_OUT * len(pairs)
        (held if wanted and fits else learned).extend(group)
    for name, part in (("held out", held), ("left to learn from", learned)):
        if len({pair.same for pair in part}) < 2:
            raise DataError(
                f"the {len(pairs)} pairs are linked by questions that they share, so that none of both labels can be "
                f"{name}: add pairs of other questions"
            )
    return learned, held


def _read(file: Path) -> Iterator[Pair]:
    try:
        with gzip.open(file, "rt", encoding="utf-8") if file.suffix == ".gz" else file.open(encoding="utf-8") as rows:
            for line, row in enumerate(rows, start=1):
                if row.strip():
                    yield _pair(row, file, line)
    except OSError as error:
        raise ConfigurationError(f"pairs file {str(file)!r} cannot be read ({error.strerror or error})") from error
    except (UnicodeDecodeError, EOFError, zlib.error) as error:
        raise DataError(f"it is no UTF-8 text or a damaged gzip file ({error})", path=file) from error


def _pair(row: str, file: Path, line: int) -> Pair:
    try:
        found = json.loads(row)
    except ValueError as error:
        raise DataError(f"no valid JSON ({error}): each line is one object", path=file, line=line) from None
    if not isinstance(found, dict):
        raise DataError(f"{row.strip()[:80]!r} is no object with a, b and same", path=file, line=line)
    for field, kind in (("a", str), ("b", str), ("same", bool)):
        if field not in found:
            raise DataError(f"the row has no {field!r}: it needs a, b and same", path=file, line=line)
        value = found[field]
        if not isinstance(value, kind) or (isinstance(value, str) and not value.strip()):
            wanted = "a question" if kind is str else "true or false"
            raise DataError(f"{field} must be {wanted}, got {value!r}", path=file, line=line)
    return Pair(a=found["a"], b=found["b"], same=found["same"])


def _linked(pairs: Sequence[Pair]) -> list[list[Pair]]:
    """Group the pairs by union-find over their questions; the groups in the order of their first pair."""
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            parent[key] = key = parent[parent[key]]
        return key

    keys = [(normalise_question(pair.a), normalise_question(pair.b)) for pair in pairs]
    for a, b in keys:
        parent[root(a)] = root(b)
    groups: defaultdict[str, list[Pair]] = defaultdict(list)
    for pair, (a, _) in zip(pairs, keys, strict=True):
        groups[root(a)].append(pair)
    return list(groups.values())

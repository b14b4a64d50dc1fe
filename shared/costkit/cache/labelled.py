"""Reads labelled questions: streams {text, group} and pairs {a, b, same}, as JSON lines, packed by gzip or not.

A judged log is a stream without groups and the pairs of it that people judged; ``groups`` joins the two. The ledger is
such a log too: it holds what the cache was asked.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from costkit.errors import ConfigurationError, DataError
from costkit.ledger.usage import recorded
from costkit.text import normalise_question

__all__ = ["Pair", "Question", "asked", "groups", "linked", "log", "pairs", "questions"]

Row = TypeVar("Row")


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One question of a stream.

    Attributes:
        text: The question.
        group: Two questions may share an answer if and only if their groups are equal.
        family: Groups that look alike and differ share a family; empty where the data has none.
    """

    text: str
    group: str
    family: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """Two questions, and whether one answer serves both."""

    a: str
    b: str
    same: bool


def questions(path: Path) -> list[Question]:
    """Read a stream, in its order.

    Raises:
        DataError: The file is absent or empty, or a line is broken or lacks ``text`` or ``group``.
    """
    found = [
        Question(text=_text(row, "text", where), group=_group(row, where), family=str(row.get("family", "")))
        for where, row in _rows(path)
    ]
    return _some(found, path)


def log(path: Path) -> list[str]:
    """Read the questions of a log or a stream, in its order.

    Raises:
        DataError: The file is absent or empty, or a line is broken or lacks ``text``.
    """
    return _some([_text(row, "text", where) for where, row in _rows(path)], path)


def asked(ledger: str | None, *, tenant: str | None) -> list[str]:
    """Read the questions that the cache looked up, from the ledger, in the order asked.

    Args:
        ledger: SQLAlchemy URL of the ledger. Default: the process-wide one.
        tenant: Whose questions; may be left out where the ledger holds those of one tenant only.

    Raises:
        DataError: There are none.
        ConfigurationError: They are of several tenants, whose answers do not cross.
        StoreError: There is no such ledger, or it cannot be read.
    """
    found: dict[str | None, list[str]] = {}
    for event in recorded(ledger):
        question = event.details.get("question") if event.kind == "cache" else None
        if isinstance(question, str) and tenant in (None, event.scope.tenant):
            found.setdefault(event.scope.tenant, []).append(question)
    if not found:
        whose = "" if tenant is None else f" of the tenant {tenant!r}"
        raise DataError(
            f"the ledger holds no question{whose} that the cache looked up: give a log of your own as a file"
        )
    if len(found) > 1:
        raise ConfigurationError(
            f"tenant is not given, and the ledger holds questions of {len(found)} tenants, whose answers never cross: "
            f"name one, such as {next(filter(None, found))!r}"
        )
    return next(iter(found.values()))


def groups(texts: Sequence[str], judged: Sequence[Pair]) -> list[str]:
    """Return the group of each question of a log as far as judged pairs tell it.

    Questions that pairs judged the same join, directly or through others, share a group. All others have one each, so
    a hit on a pair that nobody judged counts as wrong, and a bound on a log judged in part is too high.

    Raises:
        DataError: A pair was judged different, and other pairs join its questions.
    """
    keys = [(normalise_question(pair.a), normalise_question(pair.b)) for pair in judged]
    group = linked(key for key, pair in zip(keys, judged, strict=True) if pair.same)
    for (a, b), pair in zip(keys, judged, strict=True):
        if not pair.same and group(a) == group(b):
            raise DataError(
                f"{pair.a!r} and {pair.b!r} were judged different, but pairs judged the same join them: judge these anew"
            )
    return [group(normalise_question(text)) for text in texts]


def linked(links: Iterable[tuple[str, str]]) -> Callable[[str], str]:
    """Return a function that names the group of a key, where links join groups (union-find)."""
    parent: dict[str, str] = {}

    def group(key: str) -> str:
        while parent.setdefault(key, key) != key:
            parent[key] = key = parent[parent[key]]
        return key

    for a, b in links:
        parent[group(a)] = group(b)
    return group


def pairs(paths: Sequence[Path]) -> list[Pair]:
    """Read labelled pairs of one or several files; those whose ``same`` is null nobody judged yet: they are left out.

    Raises:
        DataError: A file is absent or empty, or a line is broken or lacks ``a``, ``b`` or ``same``.
    """
    return [pair for path in paths for pair in _some(list(_pairs(path)), path)]


def _pairs(path: Path) -> Iterator[Pair]:
    for where, row in _rows(path):
        same = _field(row, "same", where)
        if same is None:
            continue
        if not isinstance(same, bool):
            raise DataError(f"{where}: same must be true or false, got {same!r}; null where nobody judged yet")
        yield Pair(a=_text(row, "a", where), b=_text(row, "b", where), same=same)


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, object]]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield f"{path}, line {number}", _row(line, f"{path}, line {number}")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"{str(path)!r} cannot be read: {error}") from error


def _row(line: str, where: str) -> Mapping[str, object]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where} is no JSON: {error}") from None
    if not isinstance(row, dict):
        raise DataError(f"{where} is no JSON object, got {line.strip()[:80]!r}")
    return row


def _field(row: Mapping[str, object], name: str, where: str) -> object:
    if name not in row:
        raise DataError(f"{where} lacks the field {name!r}; it has {sorted(row)}")
    return row[name]


def _text(row: Mapping[str, object], name: str, where: str) -> str:
    value = _field(row, name, where)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: {name} must be a text that is not empty, got {value!r}")
    return value


def _group(row: Mapping[str, object], where: str) -> str:
    value = _field(row, "group", where)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise DataError(f"{where}: group must name the answer by a text or a number, got {value!r}")
    return str(value)


def _some(found: list[Row], path: Path) -> list[Row]:
    if not found:
        raise DataError(f"{str(path)!r} holds no labelled rows")
    return found

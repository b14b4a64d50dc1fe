"""Reads the rows of a golden file: JSON, JSON lines, YAML or CSV, any of them gzipped."""

from __future__ import annotations

import ast
import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from costkit.errors import DataError

__all__ = ["SUFFIXES", "Row", "read_rows"]

# Where tools keep the rows of a file that is one object: LlamaIndex and LangSmith, promptfoo, DeepEval, others.
_LISTS = ("examples", "tests", "goldens", "samples", "questions", "rows", "data")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row, and where it stands: ``line`` in the text if known, ``number`` in the file, from 1."""

    values: Mapping[str, object]
    number: int
    path: Path
    line: int | None = None

    def error(self, message: str) -> DataError:
        """Return an error about this row."""
        place = "" if self.line else f"row {self.number}: "
        return DataError(place + message, path=self.path, line=self.line)


def read_rows(path: Path) -> list[Row]:
    """Read every row of a file.

    Raises:
        DataError: The file is missing, empty, of unknown type, not UTF-8, or broken.
    """
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix not in _READERS:
        raise DataError(f"unknown file type {suffix!r}; use one of {', '.join(SUFFIXES)}, or a folder", path=path)
    rows = list(_READERS[suffix](_text(path), path))
    if not rows:
        raise DataError("the file holds no rows; it needs at least one", path=path)
    return rows


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
        return (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8 at byte {error.start}: save the file as UTF-8", path=path) from None
    except FileNotFoundError:
        raise DataError("no such file or folder", path=path) from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot be read: {error}", path=path) from None


def _json_lines(text: str, path: Path) -> Iterator[Row]:
    number = 0
    for line, content in enumerate(text.split("\n"), 1):
        if not content.strip():
            continue
        number += 1
        try:
            values = json.loads(content)
        except json.JSONDecodeError as error:
            message = f"not JSON ({error.msg} at column {error.colno}): {content[:60]!r}"
            raise DataError(message, path=path, line=line) from None
        yield _row(values, number, path, line=line)


def _json(text: str, path: Path) -> Iterator[Row]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"not JSON ({error.msg} at column {error.colno})", path=path, line=error.lineno) from None
    return _listed(content, path)


def _yaml(text: str, path: Path) -> Iterator[Row]:
    import yaml

    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DataError(f"not YAML: {' '.join(str(error).split())}", path=path) from None
    return _listed(content, path)


def _listed(content: object, path: Path) -> Iterator[Row]:
    if isinstance(content, dict):
        name = next((one for one in _LISTS if isinstance(content.get(one), list)), None)
        if name is None:
            known = ", ".join(_LISTS)
            raise DataError(
                f"a list of rows, or one under {known}, was expected; got keys {list(content)!r}", path=path
            )
        content = content[name]
    if not isinstance(content, list):
        raise DataError(f"a list of rows was expected, got {str(content)[:60]!r}", path=path)
    for number, values in enumerate(content, 1):
        yield _row(values, number, path)


def _csv(text: str, path: Path) -> Iterator[Row]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        for number, values in enumerate(reader, 1):
            if None in values or None in values.values():
                raise DataError(
                    f"the line has another number of cells than the header's {len(reader.fieldnames or ())}",
                    path=path,
                    line=reader.line_num,
                )
            cells = {name: _cell(value) for name, value in values.items() if value != ""}
            yield _row(cells, number, path, line=reader.line_num)
    except csv.Error as error:
        raise DataError(f"not CSV: {error}", path=path, line=reader.line_num) from None


def _cell(value: str) -> object:
    """Return a list where the cell is one, in JSON or as Python prints it (ragas and pandas write both)."""
    if not (value.startswith("[") and value.endswith("]")):
        return value
    for parse in (json.loads, ast.literal_eval):
        try:
            parsed = parse(value)
        except (ValueError, SyntaxError):
            continue
        return parsed if isinstance(parsed, list) else value
    return value


def _row(values: object, number: int, path: Path, *, line: int | None = None) -> Row:
    if not isinstance(values, dict):
        row = Row(values={}, number=number, path=path, line=line)
        raise row.error(f"an object was expected, got {str(values)[:60]!r}")
    return Row(values=values, number=number, path=path, line=line)


_READERS: Mapping[str, Callable[[str, Path], Iterator[Row]]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".yaml": _yaml,
    ".yml": _yaml,
    ".csv": _csv,
}

SUFFIXES = tuple(_READERS)

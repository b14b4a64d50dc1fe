"""Dataclasses of plain values kept in JSON files: what the fitting commands write and the components load."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from costkit.errors import ConfigurationError, DataError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["plain_fields", "read", "write"]

_FORMAT = 1


def write(path: Path | str, value: DataclassInstance) -> None:
    """Write a dataclass as JSON.

    Raises:
        ConfigurationError: The file cannot be written.
    """
    try:
        Path(path).write_text(json.dumps({"format": _FORMAT, **asdict(value)}, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"out={str(path)!r} cannot be written: {error.strerror}") from error


def read(path: Path | str, *, what: str, advice: str) -> dict[str, Any]:
    """Return what ``write`` wrote, unchecked but for the format.

    Raises:
        DataError: There is no such file, or it is nothing that this release wrote.
    """
    try:
        stored = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"no {what} can be read ({error}): {advice}", path=path) from None
    if not isinstance(stored, dict) or stored.pop("format", None) != _FORMAT:
        raise DataError(f"no {what} of this release: {advice}", path=path)
    return stored


def plain_fields(kind: type[DataclassInstance], stored: Mapping[str, Any], path: Path | str) -> dict[str, Any]:
    """Return the values of the fields annotated ``str``, ``int``, ``float`` or ``float | None``.

    Raises:
        DataError: One is missing or of another type.
    """
    wanted = {field.name: str(field.type) for field in fields(kind) if field.type in _PLAIN}
    for name, type_ in wanted.items():
        if not _PLAIN[type_](stored.get(name)):
            raise DataError(f"{name} must be of type {type_}, got {stored.get(name)!r}", path=path)
    return {name: stored.get(name) for name in wanted}


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return _is_whole(value) or (isinstance(value, float) and math.isfinite(value))


_PLAIN: dict[object, Callable[[object], bool]] = {
    "str": lambda value: isinstance(value, str),
    "int": _is_whole,
    "float": _is_number,
    "float | None": lambda value: value is None or _is_number(value),
}

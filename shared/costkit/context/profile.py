"""A profile of context reduction: the settings that ``costkit context tune`` found cheap enough and safe enough."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from costkit.errors import ConfigurationError, DataError

__all__ = ["Profile", "is_of_type"]

_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Settings of chunking, retrieval and reduction, with what they were found to do.

    Attributes:
        chunk_characters: Length that documents are cut to at ingestion.
        overlap_characters: How much of each chunk the next one repeats.
        retrieve: How many chunks to retrieve.
        budget_tokens: ``ContextReducer(budget_tokens=...)``.
        enough: ``ContextReducer(enough=...)``.
        context_tokens: Tokens of context per question that were left, on average.
        tokens_before: Tokens of what was retrieved for the reference.
        recall: Share of the needed passages that were still there.
        reference_recall: The same for the reference: all that the widest retrieval found, uncut.
        loss_bound: Upper bound on the loss of recall, one-sided at 95%, on questions that chose nothing.
        margin: The loss that was allowed.
        questions: How many questions the bound rests on.
        embedder: Name of the embedding model that it was measured with.
        data: The golden set.
        made: Date, ISO 8601.
    """

    chunk_characters: int
    overlap_characters: int
    retrieve: int
    budget_tokens: int
    enough: float
    context_tokens: float
    tokens_before: float
    recall: float
    reference_recall: float
    loss_bound: float
    margin: float
    questions: int
    embedder: str
    data: str
    made: str

    def save(self, path: Path | str) -> None:
        """Write the profile as JSON.

        Raises:
            ConfigurationError: The file cannot be written.
        """
        try:
            Path(path).write_text(json.dumps({"format": _FORMAT, **asdict(self)}, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"out={str(path)!r} cannot be written: {error.strerror}") from error

    @classmethod
    def load(cls, path: Path | str) -> Profile:
        """Read what ``save`` wrote.

        Raises:
            DataError: There is no such file, or it is no profile of this release.
        """
        try:
            stored = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(
                f"no profile can be read ({error}): write one with `costkit context tune`", path=path
            ) from None
        if not isinstance(stored, dict) or stored.pop("format", None) != _FORMAT:
            raise DataError("no profile of this release: write one with `costkit context tune`", path=path)
        wanted = {field.name: field.type for field in fields(cls)}
        for name, kind in wanted.items():
            if not is_of_type(stored.get(name), str(kind)):
                raise DataError(f"{name} must be of type {kind}, got {stored.get(name)!r}", path=path)
        return cls(**{name: stored[name] for name in wanted})


def is_of_type(value: object, kind: str) -> bool:
    """Return whether a value read from JSON fits a field annotated ``str``, ``int``, ``float`` or ``float | None``."""
    if kind == "float | None" and value is None:
        return True
    if kind == "str":
        return isinstance(value, str)
    whole = isinstance(value, int) and not isinstance(value, bool)
    return whole or (kind.startswith("float") and isinstance(value, float) and math.isfinite(value))

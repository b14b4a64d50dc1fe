"""A profile of context reduction: the settings that ``costkit context tune`` found cheap enough and safe enough."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from costkit.context.stored import plain_fields, read, write

__all__ = ["Profile"]


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
        write(path, self)

    @classmethod
    def load(cls, path: Path | str) -> Profile:
        """Read what ``save`` wrote.

        Raises:
            DataError: There is no such file, or it is no profile of this release.
        """
        stored = read(path, what="profile", advice="write one with `costkit context tune`")
        return cls(**plain_fields(cls, stored, path))

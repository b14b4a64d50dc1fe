"""Late interaction: passages read once, token by token, and compared with a question afterwards.

One pass over a passage serves it as a whole, each of its sentences in its surroundings, and each of their words. The
comparison is that of ColBERT (Khattab and Zaharia, 2020): every word of the question looks for the token that is most
like it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from costkit.context.document import Document
from costkit.context.lexical import FUNCTION_WORDS
from costkit.context.sentences import Unit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from costkit.embed import TokenEmbedder, TokenVectors

    Vectors = NDArray[np.float32]

__all__ = ["Closeness", "Question", "Reader", "Reading", "late_interaction"]

_STEPS = 127  # of a signed byte
_LEAST = 1e-6
_TITLE = -1
# What a function word of the question counts for beside a content word.
_FUNCTION_WORD_WEIGHT = 0.3


@dataclass(frozen=True, eq=False, slots=True)
class Reading:
    """A document as its token vectors, all of unit length.

    Attributes:
        windows: The stretch of text that each unit was read in, of shape (units, dimensions): the whole document,
            unless it is longer than the model reads.
        units: Each unit as the mean of its tokens, of shape (units, dimensions).
        tokens: The tokens of title and units, unit by unit behind the title's, of shape (tokens, dimensions), in
            ``steps``: in 8 bits a cosine moves by .0004 on average, .005 at most, for a quarter of the room.
        steps: What one step of each token stands for, of shape (tokens, 1).
        owners: What has tokens: units by index, and first the title as -1, of shape (owners,).
        starts: The first token of each owner, of shape (owners,).
    """

    windows: Vectors
    units: Vectors
    tokens: NDArray[np.int8]
    steps: Vectors
    owners: NDArray[np.int64]
    starts: NDArray[np.int64]


@dataclass(frozen=True, eq=False, slots=True)
class Question:
    """A question: its vector, its tokens' vectors of shape (tokens, dimensions), and their weights, which add to 1."""

    vector: Vectors
    tokens: Vectors
    weights: NDArray[np.float64]


class Reader:
    """Reads documents with an embedder's tokens and remembers the most recent ones by content; threads may share it.

    Args:
        embedder: Tells the vectors of tokens.
        remembered: How many documents and questions to remember; a document of 128 tokens takes 90 kB.
    """

    def __init__(self, embedder: TokenEmbedder, *, remembered: int) -> None:
        self._embedder = embedder
        self._remembered = remembered
        self._known: OrderedDict[bytes, Reading] = OrderedDict()
        self._lock = threading.Lock()
        self.ask = lru_cache(maxsize=remembered)(partial(_read_question, embedder))

    def read(self, documents: Sequence[Document], units: Sequence[Sequence[Unit]]) -> list[Reading]:
        """Return the reading of each document, given its units."""
        keys = [_key(document) for document in documents]
        with self._lock:
            known = {key: self._known[key] for key in keys if key in self._known}
        missing = [index for index, key in enumerate(keys) if key not in known]
        fresh = self._read([documents[index] for index in missing], [units[index] for index in missing])
        known |= {keys[index]: reading for index, reading in zip(missing, fresh, strict=True)}
        with self._lock:
            self._known |= known
            for key in keys:
                self._known.move_to_end(key)
            while len(self._known) > self._remembered:
                self._known.popitem(last=False)
        return [known[key] for key in keys]

    def _read(self, documents: Sequence[Document], units: Sequence[Sequence[Unit]]) -> list[Reading]:
        """Read documents window by window: what a model cut off is read in a window of its own, under the title."""
        drafts = [_Draft(document, list(its)) for document, its in zip(documents, units, strict=True)]
        while unread := [draft for draft in drafts if draft.units_read < len(draft.units)]:
            for draft, tokens in zip(unread, self._embedder.embed_tokens([one.text for one in unread]), strict=True):
                draft.add(tokens)
        return [draft.finished() for draft in drafts]


class _Draft:
    """A document while it is read."""

    def __init__(self, document: Document, units: list[Unit]) -> None:
        self._document = document
        self._head = f"{document.title}\n" if document.title else ""
        self.units = units
        self.units_read = 0
        self._windows: list[Vectors] = []
        self._means: list[Vectors] = []
        self._tokens: list[Vectors] = []
        self._owners: list[int] = []

    @property
    def text(self) -> str:
        """The next window: the title above what is not read yet."""
        return self._head + self._document.text[self.units[self.units_read].start :]

    def add(self, read: TokenVectors) -> None:
        """Take over the units that stand in the window whole, and at least one."""
        import numpy as np

        shift = self.units[self.units_read].start - len(self._head)
        starts, ends = read.spans[:, 0] + shift, read.spans[:, 1] + shift
        real = read.spans[:, 1] > read.spans[:, 0]
        window = _unit_length(read.vectors.mean(axis=0))
        self._take(read.vectors[real & (read.spans[:, 1] <= len(self._head))], _TITLE)
        reach = int(ends.max(initial=shift))
        for index in range(self.units_read, len(self.units)):
            unit = self.units[index]
            if unit.end > reach and index > self.units_read:
                break
            own = read.vectors[real & (starts >= unit.start) & (ends <= unit.end)]
            self._windows.append(window)
            self._means.append(_unit_length(own.mean(axis=0)) if len(own) else np.zeros_like(window))
            self._take(own, index)
        self.units_read = len(self._windows)

    def _take(self, tokens: Vectors, owner: int) -> None:
        self._tokens.append(_unit_length(tokens))
        self._owners += [owner] * len(tokens)

    def finished(self) -> Reading:
        import numpy as np

        of_tokens = np.array(self._owners, dtype=np.int64)
        order = np.argsort(of_tokens, kind="stable")  # each window has the title once more
        owners, starts = np.unique(of_tokens[order], return_index=True)
        tokens = np.concatenate(self._tokens)[order]
        steps = np.maximum(np.abs(tokens).max(axis=1, keepdims=True), _LEAST) / _STEPS
        return Reading(
            windows=np.stack(self._windows),
            units=np.stack(self._means),
            tokens=np.rint(tokens / steps).astype(np.int8),
            steps=steps,
            owners=owners,
            starts=starts,
        )


def _read_question(embedder: TokenEmbedder, question: str) -> Question:
    """Read a question token by token; its function words and signs count for less than its content words."""
    import numpy as np

    (read,) = embedder.embed_tokens([question])
    real = read.spans[:, 1] > read.spans[:, 0]
    weights = np.array([_weight(question[start:end]) for start, end in read.spans[real].tolist()], dtype=np.float64)
    return Question(
        vector=_unit_length(read.vectors.mean(axis=0)),
        tokens=_unit_length(read.vectors[real]),
        weights=weights / max(float(weights.sum()), 1.0),
    )


class Closeness(NamedTuple):
    """How much of a question each unit has, -1 to 1, of shape (units,): by itself, and together with the one before."""

    alone: NDArray[np.float64]
    paired: NDArray[np.float64]


def late_interaction(question: Question, readings: Sequence[Reading]) -> list[Closeness]:
    """Return, reading by reading, how much of the question the units have.

    It is the weighted mean, over the question's tokens, of the cosine to the closest token of the unit or the title.
    """
    import numpy as np

    if not len(question.tokens) or not any(len(reading.tokens) for reading in readings):
        return [Closeness(*np.zeros((2, len(reading.units)))) for reading in readings]
    # All at once: a product for each reading would wait for the threads of the one before.
    alike = np.concatenate([reading.tokens for reading in readings]).astype(np.float32) @ question.tokens.T
    ends = np.cumsum([len(reading.tokens) for reading in readings])
    return [
        _closeness(question, reading, alike[end - len(reading.tokens) : end] * reading.steps)
        for reading, end in zip(readings, ends, strict=True)
    ]


def _closeness(question: Question, reading: Reading, alike: Vectors) -> Closeness:
    import numpy as np

    if not len(alike):
        return Closeness(*np.zeros((2, len(reading.units))))
    closest = np.full((len(reading.units) + 1, len(question.tokens)), -1.0, dtype=np.float32)
    closest[reading.owners] = np.maximum.reduceat(alike, reading.starts)  # the title's, of owner -1, is the last row
    alone = np.maximum(closest[:-1], closest[-1])
    paired = np.maximum(alone, np.concatenate([alone[:1], alone[:-1]]))
    return Closeness(alone @ question.weights, paired @ question.weights)


def _weight(token: str) -> float:
    return _FUNCTION_WORD_WEIGHT if token.lower() in FUNCTION_WORDS or not any(map(str.isalnum, token)) else 1.0


def _unit_length(vectors: Vectors) -> Vectors:
    import numpy as np

    scaled: Vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), np.finfo(np.float32).tiny)
    return scaled


def _key(document: Document) -> bytes:
    return blake2b(f"{document.title}\0{document.text}".encode("utf-8", "surrogatepass"), digest_size=16).digest()

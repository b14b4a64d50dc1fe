"""The pair model: a small cross-encoder that reads two questions together and says whether one answer serves both."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from costkit._onnxruntime import disable_telemetry
from costkit._pair_tokens import encode, open_tokenizer
from costkit.cache._pair_files import MODEL, TOKENIZER, verify_folder
from costkit.errors import ConfigurationError, ModelChecksumError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from tokenizers import Tokenizer

__all__ = ["MAX_TOKENS", "PairModel", "in_order"]

# Of both questions and the three special tokens.
MAX_TOKENS = 96


def in_order(a: str, b: str) -> tuple[str, str]:
    """Return the two questions in the one order that they are scored in, so that a score has no direction."""
    return (a, b) if a <= b else (b, a)


class PairModel:
    """Scores pairs of questions; safe to share between threads. Made by ``PairModel.load``.

    Attributes:
        name: Tells models apart: scores of models with different names must never be compared.
    """

    def __init__(self, name: str, session: InferenceSession, tokenizer: Tokenizer) -> None:
        self.name = name
        self._session = session
        self._tokenizer = tokenizer

    @classmethod
    def load(cls, folder: Path | str) -> PairModel:
        """Open the folder that ``costkit cache train`` wrote, after a look at its SHA-256 sums.

        Raises:
            ModelFileError: There is no pair model, or a file of it is missing, changed or no model.
        """
        folder = Path(folder)
        name = verify_folder(folder)
        try:
            return cls(name, _open_session(folder / MODEL), open_tokenizer(folder / TOKENIZER, max_tokens=MAX_TOKENS))
        except Exception as error:
            raise ModelChecksumError(
                f"the pair model in {str(folder)!r} cannot be opened ({error}): train it anew with `costkit cache train`"
            ) from error

    def score(self, question: str, others: Sequence[str], *, budget_seconds: float | None = None) -> list[float]:
        """Return the probability that one answer serves ``question`` and each of ``others``.

        A score has no direction: it is the same with both questions exchanged. Each pair is read alone, so that it does
        not depend on the others, and the time can be watched between them.

        Args:
            question: A question.
            others: The questions to compare it with, the most promising first.
            budget_seconds: No further pair is begun after this time; by default all are read.

        Returns:
            One probability for each of ``others``; 0 for those that the time did not suffice for.

        Raises:
            ConfigurationError: ``others`` is a str, or ``budget_seconds`` is below 0 or no number.
        """
        if isinstance(others, str):
            raise ConfigurationError(f"others must be a list of str, got the str {others[:80]!r}: wrap it in a list")
        if budget_seconds is not None and not budget_seconds >= 0:
            raise ConfigurationError(f"budget_seconds must be 0 or more, got {budget_seconds!r}")
        started = time.monotonic()
        found = [0.0] * len(others)
        for index, other in enumerate(others):
            if budget_seconds is not None and time.monotonic() - started >= budget_seconds:
                break
            found[index] = self._probability(question, other)
        return found

    def _probability(self, a: str, b: str) -> float:
        ids, mask, types = encode(self._tokenizer, [in_order(_encodable(a), _encodable(b))])
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        logit = float(self._session.run(["logit"], inputs)[0][0, 0])
        return 0.5 + 0.5 * math.tanh(logit / 2)  # the logistic function, without overflow


def _encodable(text: str) -> str:
    """Replace lone surrogates, which a tokenizer cannot take."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _open_session(file: Path) -> InferenceSession:
    """One thread: a pair is too small to gain from two, and a session of one has none that spin between calls."""
    disable_telemetry()
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

"""Which model a runnable calls, and whose failure it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from langchain_core.runnables import Runnable


def id_of(model: object) -> str | None:
    """Return the id of the model behind a chat model or what is bound around one, or None."""
    while isinstance(bound := getattr(model, "bound", None), Runnable):
        model = bound
    names = (getattr(model, "model", None), getattr(model, "model_name", None), getattr(model, "model_id", None))
    return next((name for name in names if isinstance(name, str) and name), None)


@contextmanager
def blaming(mark: Mapping[str, object]) -> Iterator[None]:
    """Write a decision on an exception, which carries no message to write it on."""
    try:
        yield
    except Exception as error:
        with suppress(AttributeError):
            error.costkit = mark  # type: ignore[attr-defined]
        raise


def blamed_in(error: BaseException | None) -> Mapping[str, object]:
    """Return what ``blaming`` wrote on an exception."""
    mark = getattr(error, "costkit", None)
    return mark if isinstance(mark, Mapping) else {}

"""Named options that reach a LangChain class: a mistyped one is an error, where LangChain would drop it."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel

from costkit.errors import ConfigurationError


def check_fields(owner: type[BaseModel], given: Iterable[str]) -> None:
    """Check that each name is a field of ``owner``.

    Raises:
        ConfigurationError: A name is none.
    """
    fields = owner.model_fields
    known = {*fields, *(field.alias for field in fields.values() if field.alias)}
    unknown = sorted(set(given) - known)
    if unknown:
        raise ConfigurationError(
            f"{owner.__name__} has no option {', '.join(map(repr, unknown))}; it has {sorted(known)}"
        )

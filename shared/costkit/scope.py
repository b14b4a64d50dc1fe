"""Who a question is asked for, and why: the attribution every decision and every cost carries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields, replace
from typing import Literal, get_args

from costkit.errors import ConfigurationError

__all__ = ["Purpose", "Scope", "current", "from_metadata", "use"]

Purpose = Literal["prod", "eval", "distill", "cache-warm"]

METADATA_PREFIX = "costkit_"


@dataclass(frozen=True, kw_only=True)
class Scope:
    """Attribution of one question.

    Attributes:
        tenant: The customer whose data is used. Cached answers never cross it. ``None`` is one private tenant.
        user: The end user, for attribution and per-user caps.
        feature: The product feature that asked.
        data_class: The sensitivity of the data, for example ``"restricted"``; the router filters models by it.
        purpose: Which account pays: production, evaluation, distillation or cache warming.
        endpoint: The service endpoint or route.
        arm: The experiment arm.
        deferrable: True if the answer can wait for a batch.
    """

    tenant: str | None = None
    user: str | None = None
    feature: str | None = None
    data_class: str | None = None
    purpose: Purpose = "prod"
    endpoint: str | None = None
    arm: str | None = None
    deferrable: bool = False

    def __post_init__(self) -> None:
        for name in ("tenant", "user", "feature", "data_class", "endpoint", "arm"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value.strip()):
                raise ConfigurationError(f"Scope.{name} must be a non-empty string or None, got {value!r}")
        if self.purpose not in get_args(Purpose):
            raise ConfigurationError(f"Scope.purpose must be one of {get_args(Purpose)}, got {self.purpose!r}")
        if not isinstance(self.deferrable, bool):
            raise ConfigurationError(f"Scope.deferrable must be True or False, got {self.deferrable!r}")


_current: ContextVar[Scope | None] = ContextVar("costkit_scope", default=None)


def current() -> Scope | None:
    """Return the scope in force here, or None if none was set."""
    return _current.get()


@contextmanager
def use(scope: Scope) -> Iterator[Scope]:
    """Put ``scope`` in force for the block; threads and tasks started in it inherit it.

    A generator created in the block but consumed after it does not: costkit's own streams capture the scope at the call.
    """
    token = _current.set(scope)
    try:
        yield scope
    finally:
        _current.reset(token)


def from_metadata(metadata: Mapping[str, object] | None, *, base: Scope | None = None) -> Scope | None:
    """Read a scope from flat metadata such as LangChain's ``RunnableConfig.metadata``.

    Args:
        metadata: A mapping whose keys ``costkit_tenant``, ``costkit_user`` and so on name the fields of ``Scope``.
        base: The scope whose fields hold where the metadata names none, so that metadata with a user alone does not
            lose the tenant.

    Returns:
        The scope, or ``base`` if no such key is there.

    Raises:
        ConfigurationError: A key starts with ``costkit_`` but names no field of ``Scope``, or a value is wrong.
    """
    given = {k[len(METADATA_PREFIX) :]: v for k, v in (metadata or {}).items() if k.startswith(METADATA_PREFIX)}
    known = {field.name for field in fields(Scope)}
    unknown = sorted(set(given) - known)
    if unknown:
        raise ConfigurationError(
            f"metadata key {METADATA_PREFIX + unknown[0]!r} is no field of Scope; use one of {sorted(known)}"
        )
    return replace(base or Scope(), **given) if given else base  # type: ignore[arg-type]

"""What a look-up may be told, and what a question is filed under: who shares its answer, and what must be equal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypedDict

from costkit.cache.conversation import Conversation, key_of
from costkit.cache.identity import Identity
from costkit.cache.lifetime import Lifetime
from costkit.cache.lookup import Check, Lookup, Ticket
from costkit.cache.notices import Notices
from costkit.errors import ConfigurationError
from costkit.scope import Scope, current

__all__ = ["Asking", "Filing", "SharedBy"]

SharedBy = Literal["user", "tenant", "everyone"]

# No Scope can name them: a scope's tenant is never blank.
PRIVATE_TENANT = ""
EVERYONE = " "
# Embedders and guards read the beginning of a longer text only: two that begin alike would pass for one question.
MAX_NEAR_CHARS = 1000
# An entry is a question and its answer, not a file: more than this fills a store with what nobody asks again.
MAX_QUESTION_CHARS = 100_000


class Asking(TypedDict, total=False):
    """The arguments that every look-up takes beside its question; ``ResponseCache.lookup`` explains them."""

    inputs: Mapping[str, object] | None
    scope: Scope | None
    run_id: str | None
    exact_only: bool
    conversation: Conversation | None
    check: Check | None


class Filing:
    """Makes tickets: questions with the identity that their answers are kept under.

    Args:
        version: Version of everything that shapes an answer.
        embedder: Name of the embedding model.
        shared_by: Who shares answers.
        require_tenant: True refuses a scope without a tenant.
        lifetime: Knows which features are exact only.
        notices: Where it is told that no tenant is in scope.
    """

    def __init__(
        self,
        *,
        version: str,
        embedder: str,
        shared_by: SharedBy,
        require_tenant: bool,
        lifetime: Lifetime,
        notices: Notices,
    ) -> None:
        self._version = version
        self._embedder = embedder
        self._shared_by = shared_by
        self._require_tenant = require_tenant
        self._lifetime = lifetime
        self._notices = notices

    def ticket(
        self,
        question: str,
        *,
        inputs: Mapping[str, object] | None = None,
        scope: Scope | None = None,
        run_id: str | None = None,
        exact_only: bool = False,
        conversation: Conversation | None = None,
        check: Check | None = None,
    ) -> Ticket | Lookup:
        """Return what the question is filed under, or the bypass where it has no key.

        Raises:
            ConfigurationError: The question is empty or too long, or the scope does not say whose it is.
        """
        if not question.strip():
            raise ConfigurationError("the question is empty")
        if len(question) > MAX_QUESTION_CHARS:
            raise ConfigurationError(f"questions of more than {MAX_QUESTION_CHARS:,} characters are not cached")
        scope = scope or current() or Scope()
        key = key_of(question, conversation or Conversation())
        if key.refused is not None:
            self._notices.tell("the cache stands aside for questions that need their conversation and come without it")
            return Lookup(kind="bypass", reason=key.refused)
        said_before = {} if key.context is None else {"conversation": key.context}
        verbatim = exact_only or key.verbatim
        return Ticket(
            identity=self._identity({**(inputs or {}), **said_before}, scope),
            question=key.question,
            vector=None,
            read_at=0,  # until the store is asked
            scope=scope,
            run_id=run_id,
            exact_only=verbatim,
            near=not verbatim and len(question) <= MAX_NEAR_CHARS and not self._lifetime.exact_only(scope.feature),
            check=check,
        )

    def owner(self, tenant: str | None) -> str | None:
        """Return whose document is meant: the named tenant's or that in force, else None for everybody's."""
        named = Scope(tenant=tenant).tenant or (current() or Scope()).tenant
        return None if self._shared_by == "everyone" else named

    def _identity(self, inputs: Mapping[str, object], scope: Scope) -> Identity:
        tenant = self._tenant(scope)
        if self._shared_by == "user" and scope.user is None:
            raise ConfigurationError("answers are shared_by='user' and the scope names no user")
        return Identity(
            tenant=tenant,
            user=scope.user if self._shared_by == "user" else None,
            version=self._version,
            embedder=self._embedder,
            inputs=inputs,
        )

    def _tenant(self, scope: Scope) -> str:
        if scope.tenant is None:
            if self._require_tenant:
                raise ConfigurationError("require_tenant is set and the scope names no tenant")
            if self._shared_by != "everyone":
                self._notices.tell(
                    "no tenant in scope: answers are kept under one private tenant; set costkit.Scope(tenant=...)"
                )
        return EVERYONE if self._shared_by == "everyone" else scope.tenant or PRIVATE_TENANT

"""Sections: the pieces of a prompt, each with how long its text stays the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from costkit.errors import ConfigurationError

__all__ = ["STABILITIES", "Role", "Section", "Stability"]

Stability = Literal["static", "daily", "session", "turn"]
Role = Literal["system", "user"]

# From the most stable to the least; the order in which sections must stand for a prefix to be reused.
STABILITIES: tuple[Stability, ...] = get_args(Stability)


@dataclass(frozen=True, kw_only=True)
class Section:
    """One piece of a prompt.

    Attributes:
        name: What it is called in plans and reports; unique within a prompt.
        text: Its text, sent as it stands.
        stability: How long the text stays the same, byte for byte: ``static`` until the program changes, ``daily``
            for hours, ``session`` for one conversation, ``turn`` for one request.
        role: Whether the system prompt or the user's message holds it.
    """

    name: str
    text: str
    stability: Stability
    role: Role = "user"

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ConfigurationError(f"Section.name must not be blank, got {self.name!r}")
        if not isinstance(self.text, str):
            raise ConfigurationError(f"Section.text of {self.name!r} must be a string, got {self.text!r:.80}")
        if self.stability not in STABILITIES:
            raise ConfigurationError(f"Section.stability must be one of {STABILITIES}, got {self.stability!r}")
        if self.role not in get_args(Role):
            raise ConfigurationError(f"Section.role must be one of {get_args(Role)}, got {self.role!r}")

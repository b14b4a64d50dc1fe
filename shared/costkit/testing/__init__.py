"""What users of costkit need to test their own chains: a local Messages-API server and small exact fakes.

Nothing here reaches the network, a model hub or an API key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from costkit.testing.fakes import FixedClock as FixedClock
    from costkit.testing.fakes import HashEmbedder as HashEmbedder
    from costkit.testing.fakes import ListRecorder as ListRecorder
    from costkit.testing.fakes import WordCounter as WordCounter
    from costkit.testing.server import Fault as Fault
    from costkit.testing.server import MessagesServer as MessagesServer
    from costkit.testing.server import ReceivedRequest as ReceivedRequest

__all__ = [
    "Fault",
    "FixedClock",
    "HashEmbedder",
    "ListRecorder",
    "MessagesServer",
    "ReceivedRequest",
    "WordCounter",
]

_HOMES = {
    "Fault": "costkit.testing.server",
    "FixedClock": "costkit.testing.fakes",
    "HashEmbedder": "costkit.testing.fakes",
    "ListRecorder": "costkit.testing.fakes",
    "MessagesServer": "costkit.testing.server",
    "ReceivedRequest": "costkit.testing.server",
    "WordCounter": "costkit.testing.fakes",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)

"""What a question is filed under that is asked within a conversation: alone, or with what was said before it.

An answer made with a conversation in view may rest on it even where its question stands alone: on a plan that was
named, on what the user told. So a question leaves its conversation only where nothing shows such a tie; else it is
served within an equal conversation alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from costkit.cache.guard_words import AUXILIARIES
from costkit.cache.standalone import names_its_subject, needs_conversation
from costkit.text import words

__all__ = ["Conversation", "Key", "key_of"]


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """What was said before a question.

    Attributes:
        whole: All of it, as plain JSON values; empty at the first question.
        asked: The user's own messages in it as text; None where they cannot be told, or hold more than text.
        standalone: The question rewritten so that it needs nothing of this, where the application does that.
    """

    whole: object = ()
    asked: Sequence[str] | None = None
    standalone: str | None = None


@dataclass(frozen=True, kw_only=True)
class Key:
    """What a question is filed under.

    Attributes:
        question: The text that is compared.
        context: What must be equal beside it, as plain JSON values; None where nothing of the conversation must.
        verbatim: Whether only the question word for word is served.
        refused: Why the question has no key, or None.
    """

    question: str
    context: object = None
    verbatim: bool = False
    refused: str | None = None


def key_of(question: str, conversation: Conversation) -> Key:
    """Return what a question is filed under.

    A question that needs its conversation is never filed alone: it takes a rewrite that stands alone, or an equal
    conversation.

    Args:
        question: The question as it was asked.
        conversation: What was said before it.
    """
    whole, rewrite = conversation.whole, conversation.standalone
    if rewrite and not needs_conversation(rewrite):
        return Key(question=rewrite, context=_told_in(conversation))
    needs = needs_conversation(question)
    if not whole:
        refused = f"the question needs its conversation, which is not given: {needs}" if needs else None
        return Key(question=question, refused=refused)
    if not needs and names_its_subject(question):
        return Key(question=question, context=_told_in(conversation))
    return Key(question=question, context=whole, verbatim=needs is not None)


# --- what the user told ----------------------------------------------------------------------------------------------

_SENTENCES = re.compile(r"(?<=[.?!])\s+|\n+")
_LONGEST = 2_000  # characters; a longer message tells something
_COURTESY = frozenset(
    "hi hello hey good morning afternoon evening thanks thank you very much so ok okay great perfect cool please "
    "well".split()
)
_ASKING = AUXILIARIES | frozenset(
    "what who whom whose which when where why how whats hows wheres tell show explain give describe list compare find "
    "write summarise summarize translate".split()
)
# Before a question mark, these open a question as well.
_LEADING = frozenset("and or but also then in on at for from by after before during until per about to of".split())
# Users speak of themselves: "I'm a student, do I ...", but not "what if I ..." or "how do I ...".
_OF_ONESELF = re.compile(r"(?:^|[,;:.]|\b(?:and|but|because|since|as)) *(?:i|we)(?:['\u2019]| )\w")


def _told_in(conversation: Conversation) -> object:
    """Return the conversation if the user told anything in it, else None.

    What was told ("we are in Austria") may bear on every later answer in ways that no word list sees; what was only
    asked about does not bear on a question that says what it is about.
    """
    asked = conversation.asked
    settles = asked is None or any(map(_tells, asked))
    return conversation.whole if settles and conversation.whole else None


def _tells(message: str) -> bool:
    """Whether a user's message holds anything but questions and courtesies."""
    return len(message) > _LONGEST or any(map(_is_told, _SENTENCES.split(message)))


def _is_told(sentence: str) -> bool:
    said = words(sentence)
    if _COURTESY.issuperset(said):
        return False
    opening = next(word for word in said if word not in _COURTESY)
    asks = opening in _ASKING or (opening in _LEADING and "?" in sentence)
    return not asks or _OF_ONESELF.search(sentence.lower()) is not None

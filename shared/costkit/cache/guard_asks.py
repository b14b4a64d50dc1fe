"""What one question asks for: how, why, when, how much."""

from __future__ import annotations

from costkit.cache import guard_words as lists
from costkit.cache.guard_lemmas import lemma


def asks(clauses: list[list[str]]) -> frozenset[str]:
    """Return the kinds of question that the clauses ask, such as ``"how"`` or ``"amount"``.

    Several kinds mean that one answer may be of any of them; none means that nothing tells.
    """
    asked: set[str] = set()
    for clause in clauses:
        at = 0
        while at < len(clause) and clause[at] in lists.POLITE:
            at += 1
        asked |= _asked(clause[at:])
    if "can" in asked:
        asked.discard("can")
        asked |= {"yesno", "how", "where"}
    return frozenset(asked)


def _asked(clause: list[str]) -> set[str]:
    """Return the kinds of question one clause asks."""
    for at, word in enumerate(clause[:12]):
        if word in lists.QUESTION_WORDS:
            before = clause[at - 1] if at else ""
            fronted = not at or (at == 1 and before in lists.BEFORE_QUESTION_WORD)
            if fronted or before in lists.EMBEDDING or (word in ("how", "why", "what") and at < 5):
                return _kind(word, clause[at + 1 :]) | _second(clause[at + 1 :])
        elif word in ("whether", "if") and at and clause[at - 1] in lists.EMBEDDING:
            return {"yesno", "how"}
    return _yes_or_no(clause)


def _second(rest: list[str]) -> set[str]:
    """Return what is asked besides, as in "when and where"."""
    return {rest[1]} if rest[:1] == ["and"] and rest[1:2] and rest[1] in ("how", "why", "when", "where") else set()


def _yes_or_no(clause: list[str]) -> set[str]:
    if len(clause) < 3 or clause[0] not in lists.AUXILIARIES:
        return set()
    first, second = clause[0], clause[1]
    if second == "there" and any(lists.HEADS.get(lemma(word)) == "how" for word in clause[2:6]):
        return {"how", "yesno"}
    if first in lists.PERMISSION and second in ("i", "we", "you", "one", "someone", "somebody"):
        return set() if second == "you" and first in ("could", "would", "will") else {"can"}
    if first in ("do", "have") and second == "you":
        return set()
    if first in ("have", "has", "had") and second not in lists.SUBJECTS:
        return set()
    if clause[1:3] == ["it", "possible"] or clause[1:4] == ["it", "not", "possible"]:
        return {"can"}
    return {"yesno"}


def _kind(word: str, rest: list[str]) -> set[str]:
    if word == "how":
        return _how(rest)
    if word in ("why", "when", "where"):
        return {word}
    if word in ("who", "whom", "whose"):
        return {"who"}
    return _what(word, rest)


def _how(rest: list[str]) -> set[str]:
    following, then = [*rest, "", ""][:2]
    if following == "much":
        return {"duration", "amount"} if then in ("time", "longer", "notice") else {"amount", "count"}
    if following == "many":
        return _how_many(then)
    if following in lists.HOW:
        return set(lists.HOW[following].split())
    if following in ("is", "are", "was", "were", "has", "have", "would", "will"):
        return {"state"}
    manner = not following or following in lists.STOPWORDS or following in lists.AUXILIARIES
    return {"how"} if manner and following not in lists.DEGREES else {"degree"}


def _how_many(counted: str) -> set[str]:
    if counted == "times":
        return {"count", "frequency"}
    unit = lists.UNITS.get(counted)
    if unit and unit[1] in ("time", "months"):
        return {"count", "duration", "amount", "when", "age"}
    return {"count", "amount"}


def _what(word: str, rest: list[str]) -> set[str]:
    following = rest[0] if rest else ""
    if following in ("makes", "causes", "caused", "made", "led", "triggers"):
        return {"why", "what"}
    if following == "if" or rest[:2] in (["does", "it"], ["should", "i"], ["can", "i"], ["do", "i"], ["happens", "if"]):
        return {"what"}
    if head := _head(rest):
        return _what_head(word, head)
    return {"def"} if word == "what" and _definition(rest) else {"what"}


def _head(rest: list[str]) -> str:
    """Return what the noun after "what is the" asks for."""
    for token in rest[:7]:
        if asked := lists.HEADS.get(lemma(token)):
            return asked
        if token not in lists.BEFORE_HEAD and token not in lists.ORDINALS:
            break
    return ""


def _what_head(word: str, head: str) -> set[str]:
    if head in ("amount", "count", "age", "distance"):
        return {head, "amount", "count", "what"}
    if word == "which" or head in ("why", "where"):
        return {head, "what"}
    return {head, "duration"} if head == "when" else {head}


def _definition(rest: list[str]) -> bool:
    """Say whether "what is ..." asks what a thing is: a few words, neither the one thing nor a property of it."""
    if rest[:1] not in (["is"], ["are"]) or rest[1:2] == ["the"]:
        return False
    named = [token for token in rest[1:] if token not in ("a", "an", "the")]
    return (
        0 < len(named) < 4
        and named[0] not in ("wrong", "up")
        and not any(token in lists.STOPWORDS or lemma(token) in lists.HEADS for token in named)
    )

"""Typed guards: how two questions that lie close by embedding differ in ways that usually change the answer.

`read` reads one question, `compare` compares two readings. Each `Finding` names its guard and gives a reason for
people; a fitted score may take the guards as features. The guards see the two questions alone, speak English first,
and prefer silence to a wrong finding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from costkit.cache import guard_words as lists
from costkit.cache.guard_figures import Quantity
from costkit.cache.guard_lemmas import lemma
from costkit.cache.guard_reading import Reading, read

__all__ = ["GUARDS", "Finding", "Reading", "compare", "facts_in", "read"]

GUARDS: tuple[str, ...] = (
    "number", "unit", "date", "code", "entity", "negation", "antonym", "comparator", "direction", "scope", "intent",
    "person", "language",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """One way in which two questions differ.

    Attributes:
        guard: Which guard found it, one of `GUARDS`.
        reason: One short clause for people, such as ``"30 days against 60 days"``: the asked question first.
    """

    guard: str
    reason: str


def compare(asked: Reading, earlier: Reading) -> tuple[Finding, ...]:
    """Return the ways in which two questions differ, at most one a guard, in the order of `GUARDS`.

    Which guards fire does not depend on which question was asked first; the reasons name the asked one first.
    Questions in other languages than English are compared by language, numbers and codes alone.
    """
    if (asked.words, asked.names, asked.unread) == (earlier.words, earlier.names, earlier.unread):
        return ()
    if reason := _language(asked, earlier):
        return (Finding("language", reason),)
    guards = _ENGLISH if _both_english(asked, earlier) else _ANY_LANGUAGE
    found = {guard: reason for guard, differs in guards.items() if (reason := differs(asked, earlier))}
    if (
        "antonym" in found and "negation" in found and asked.negated != earlier.negated
    ):  # "why won't it open" is "why does it stay closed"
        del found["antonym"], found["negation"]
    return tuple(Finding(guard, found[guard]) for guard in GUARDS if guard in found)


def facts_in(one: Reading, other: Reading) -> frozenset[object]:
    """Return the numbers, dates, codes and names of one text that stand in another too, in any form."""
    quantities = {quantity for quantity in one.quantities if not _slight(quantity)} - set(_unmatched(one, other))
    dates = {
        (kind, value)
        for kind, values in one.dates.items()
        for value in values
        if value in other.dates.get(kind, ()) or value in other.squeezed
    }
    codes = set(one.codes.values()) - set(_codes_of(one, other))
    names = {name for run in one.names for name in run} - set(_missing(one, other))
    return frozenset[object]().union(quantities, dates, codes, names)


def _both_english(asked: Reading, earlier: Reading) -> bool:
    return asked.language in ("", "en") and earlier.language in ("", "en")


def _language(asked: Reading, earlier: Reading) -> str:
    if asked.language and earlier.language and asked.language != earlier.language:
        return f"asked in {asked.language}, the earlier one in {earlier.language}"
    if asked.unread == earlier.unread:
        return ""
    script = next((one.language for one in (asked, earlier) if _in_other_script(one)), "")
    if script:
        return f"{script} is compared letter by letter"
    return _against(asked.unread[:20], earlier.unread[:20]) if asked.unread and earlier.unread else ""


def _in_other_script(reading: Reading) -> bool:
    return bool(reading.language) and reading.language not in lists.LANGUAGES


def _one_sided(asked: str, earlier: str, kind: str) -> str:
    return f"one names {asked or earlier}, the other no {kind}"


def _against(asked: str, earlier: str) -> str:
    return f"{asked} against {earlier}"


def _apart(asked: Reading, earlier: Reading) -> tuple[int, int]:
    """Return how many words of meaning only one question has, the smaller count first."""
    left, right = len(asked.topic - earlier.topic), len(earlier.topic - asked.topic)
    return min(left, right), max(left, right)


def _close(asked: Reading, earlier: Reading) -> bool:
    """Say whether the wording is so close that something which only one question has was added, not reworded."""
    fewer, more = _apart(asked, earlier)
    return more < 3 or (not fewer and more < 4)


# --- numbers, units, dates, codes ------------------------------------------------------------------------------------


def _same_quantity(one: Quantity, other: Quantity) -> bool:
    if one.dimension and other.dimension:
        return one.dimension == other.dimension and one.base == other.base
    return _same_figure(one, other)


def _same_figure(one: Quantity, other: Quantity) -> bool:
    """Say whether two numbers are equal but for their units."""
    if one.fraction != other.fraction or not (one.fraction or one.version or other.version):
        return one.value == other.value
    return one.digits == other.digits


def _unmatched(one: Reading, other: Reading) -> list[Quantity]:
    return [
        quantity
        for quantity in sorted(one.quantities, key=str)
        if not any(_same_quantity(quantity, candidate) for candidate in other.quantities)
        and not _also_written(quantity, other)
    ]


def _also_written(quantity: Quantity, other: Reading) -> bool:
    """Say whether a number stands in the other question in another form, as part of a code, a date or a name."""
    if quantity.dimension in other.units:
        return any(lists.UNITS[unit][2] == quantity.base for unit in other.units[quantity.dimension])  # "weekly"
    plain = {candidate.value for candidate in other.quantities if not candidate.fraction}
    if quantity.fraction and quantity.parts <= plain:
        return True
    if any(quantity.value in candidate.parts for candidate in other.quantities):
        return True
    digits = (quantity.digits if quantity.version else f"{quantity.value:.10g}").replace(".", "").replace("-", "")
    return any(digits in code for code in other.codes) or digits in other.dates.get("year", ())


def _number(asked: Reading, earlier: Reading) -> str:
    left, right = _unmatched(asked, earlier), _unmatched(earlier, asked)
    pairs = [(one, other) for one in left for other in right if one.ordinal == other.ordinal]
    if any(_same_figure(one, other) for one, other in pairs):
        return ""  # the units differ
    if pairs:
        return _against(str(pairs[0][0]), str(pairs[0][1]))
    weighty = [quantity for quantity in left + right if not _slight(quantity)]
    if not weighty or not _both_english(asked, earlier) or not _close(asked, earlier):
        return ""
    return _one_sided(str(weighty[0]), "", "such number")


def _slight(quantity: Quantity) -> bool:
    """Say whether a number often stands for no number at all: one, a single, first, both."""
    return quantity.value in (0, 1, 2) and not quantity.unit and not quantity.fraction


def _unit(asked: Reading, earlier: Reading) -> str:
    for one in _unmatched(asked, earlier):
        for other in _unmatched(earlier, asked):
            if _same_figure(one, other):
                return _against(str(one), str(other))
    for dimension in sorted(asked.units.keys() & earlier.units.keys()):
        left, right = _asked_units(asked, dimension), _asked_units(earlier, dimension)
        if left and right and left.isdisjoint(right) and not asked.quantities and not earlier.quantities:
            return _against(min(left), min(right))
    return ""


def _asked_units(reading: Reading, dimension: str) -> frozenset[str]:
    """Return the units that do not merely name a period ("last year")."""
    periods = {value.partition(" ")[2] for value in reading.dates.get("period", ())}
    return reading.units[dimension] - periods


def _date(asked: Reading, earlier: Reading) -> str:
    for kind in sorted(asked.dates.keys() & earlier.dates.keys()):
        left, right = asked.dates[kind], earlier.dates[kind]
        if left != right and (left - right or right - left):
            if left - right and right - left:
                return _against(min(left - right), min(right - left))
            if _close(asked, earlier):
                return f"only one names {min(left ^ right)}"
    if not _close(asked, earlier):
        return ""
    for kind in sorted(asked.dates.keys() ^ earlier.dates.keys()):
        one, other = (asked, earlier) if kind in asked.dates else (earlier, asked)
        value = min(one.dates[kind])
        if kind in ("half", "period") or (kind == "clock" and other.quantities):
            continue
        if value not in other.squeezed and not any(
            float(quantity.value) == _as_number(value) for quantity in other.quantities
        ):
            fresh = next((word for word in other.words if word in lists.FRESH), "") if kind == "year" else ""
            return _against(value, fresh) if fresh else _one_sided(value, "", kind)
    return ""


def _as_number(value: str) -> float:
    return float(value) if value.isdigit() else -1.0


def _code(asked: Reading, earlier: Reading) -> str:
    left, right = _codes_of(asked, earlier), _codes_of(earlier, asked)
    if left and right:
        return _against(left[0], right[0])
    named = left or right
    return _one_sided(named[0], "", "such code") if named and _close(asked, earlier) else ""


def _codes_of(one: Reading, other: Reading) -> list[str]:
    """Return the codes of one question that do not stand in the other in any form."""
    numbers = {f"{quantity.value:.10g}" for quantity in other.quantities}
    return [
        shown
        for code, shown in one.codes.items()
        if code not in other.squeezed and "".join(filter(str.isdigit, code)) not in numbers
    ]


# --- names -----------------------------------------------------------------------------------------------------------


def _entity(asked: Reading, earlier: Reading) -> str:
    left, right = _missing(asked, earlier), _missing(earlier, asked)
    if left and right:
        alike = (left[0] in lists.NAMES) == (right[0] in lists.NAMES)  # a country against a person says little
        return _against(_shown(left[0]), _shown(right[0])) if alike or _close(asked, earlier) else ""
    if left or right:
        one, other = (asked, earlier) if left else (earlier, asked)
        if not other.has_case and _apart(one, other) <= (1, 1) and other.topic - one.topic:
            return _against(_shown((left or right)[0]), min(other.topic - one.topic))
    return _kind(asked, earlier)


def _kind(asked: Reading, earlier: Reading) -> str:
    """Find two members of one kind, each in one question alone."""
    kinds = lists.KINDS
    left = [word for word in asked.content if word in kinds and word not in earlier.spelling]
    right = [word for word in earlier.content if word in kinds and word not in asked.spelling]
    for one in left:
        for other in right:
            if not kinds[one].isdisjoint(kinds[other]):
                return _against(asked.spelling[one], earlier.spelling[other])
    return ""


def _shown(name: str) -> str:
    return name.upper() if len(name) < 4 else name.title()


def _missing(one: Reading, other: Reading) -> list[str]:
    """Return the names of one question that the other does not have in any form."""
    named = {name for run in other.names for name in run}
    missing = []
    for run in one.names:
        absent = [name for name in run if not _present(name, named, other)]
        if len(absent) == len(run) and not _initials(run, other):
            missing += absent
        elif absent and len(absent) < len(run):
            shared = {name for name in run if name not in absent}
            if any(shared & set(theirs) and set(theirs) - set(run) for theirs in other.names):
                missing += absent
    return missing


def _present(name: str, named: set[str], other: Reading) -> bool:
    if name in named or name in other.words or lemma(name) in other.spelling:
        return True
    if len(name) > 3 and name in other.squeezed:
        return True
    if any(lists.NAMES.get(word) == name for word in other.words):
        return True
    if name in lists.NAMES.values():
        return False
    if name.isalpha() and 2 <= len(name) <= 5 and name in "".join(word[0] for word in other.words):
        return True  # initials: an acronym against its words
    return len(name) > 4 and any(_alike(name, word) for word in other.words if word[0] == name[0])


def _alike(name: str, word: str) -> bool:
    """Say whether a word is the name with another ending or a slip of the keyboard."""
    return len(word) > 3 and abs(len(name) - len(word)) < 4 and (name[:4] == word[:4] or sorted(name) == sorted(word))


def _initials(run: tuple[str, ...], other: Reading) -> bool:
    return len(run) > 1 and "".join(name[0] for name in run) in other.words


# --- polarity --------------------------------------------------------------------------------------------------------


def _negation(asked: Reading, earlier: Reading) -> str:
    flips = _prefixed(asked, earlier)
    if (asked.negated != earlier.negated) == bool(flips):
        return ""
    if flips:
        return flips
    plain, negated = (earlier, asked) if asked.negated else (asked, earlier)
    fewer, more = _apart(asked, earlier)
    if _softly(plain, negated) or not (_close(asked, earlier) or (fewer < 2 and more < 4)):
        return ""
    return "one is negated, the other is not"


def _softly(plain: Reading, negated: Reading) -> bool:
    """Say whether a word such as "unable" says in one question what a negator says in the other, of the same thing."""
    return any(
        soft - negated.spelling.keys() and (content >= plain.topic or content & negated.denied)
        for soft, content in plain.soft
    )


def _prefixed(asked: Reading, earlier: Reading) -> str:
    """Return a word that one question has with a negating prefix and the other without."""
    for one, other in ((asked, earlier), (earlier, asked)):
        for key, word in one.spelling.items():
            for prefix in lists.PREFIXES:
                base = key[len(prefix) :]
                if (
                    len(base) > 3
                    and key.startswith(prefix)
                    and prefix not in other.words
                    and base in other.spelling
                    and base not in one.spelling
                    and key not in other.spelling
                ):
                    return _against(word, other.spelling[base])
    return ""


@cache
def _opposites() -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for pair in lists.ANTONYMS.split("|"):
        one, other = map(lemma, pair.split())
        found.setdefault(one, set()).add(other)
        found.setdefault(other, set()).add(one)
    return {word: frozenset(others) for word, others in found.items()}


def _antonym(asked: Reading, earlier: Reading) -> str:
    opposites = _opposites()
    for word in asked.spelling:
        if word in opposites and word not in earlier.spelling:
            for other in opposites[word]:
                if other in earlier.spelling and other not in asked.spelling:
                    return _against(asked.spelling[word], earlier.spelling[other])
    return ""


def _comparator(asked: Reading, earlier: Reading) -> str:
    if asked.bounds == earlier.bounds:
        return ""
    for one, other in lists.COMPARATORS:
        if "before" in one and _apart(asked, earlier)[1] > 3:
            continue  # "before it ends" and "after which it ends" ask the same
        for left, right in ((one, other), (other, one)):
            mine, theirs = asked.bounds & left, earlier.bounds & right
            if mine and theirs and asked.bounds.isdisjoint(right) and earlier.bounds.isdisjoint(left):
                return _against(min(mine), min(theirs))
    return ""


# --- order, scope, purpose -------------------------------------------------------------------------------------------


def _direction(asked: Reading, earlier: Reading) -> str:
    for left, pivot, right in sorted(asked.edges):
        turned = (right, pivot, left)
        if turned in earlier.edges - asked.edges and (left, pivot, right) not in earlier.edges:
            return f"{left} {pivot} {right} against {right} {pivot} {left}"
    return _swapped(asked, earlier)


def _swapped(asked: Reading, earlier: Reading) -> str:
    """Find who does what to whom: the same words, two of them in each other's place around a third."""
    if len(asked.content) != len(earlier.content) or len(asked.content) < 3 or asked.passive != earlier.passive:
        return ""
    if not lists.SYMMETRIC.isdisjoint(asked.words):
        return ""
    moved = [at for at, (one, other) in enumerate(zip(asked.content, earlier.content, strict=True)) if one != other]
    if len(moved) != 2 or moved[1] - moved[0] < 2:
        return ""
    one, other = (asked.content[at] for at in moved)
    if (earlier.content[moved[0]], earlier.content[moved[1]]) != (other, one):
        return ""
    return f"{one} and {other} have changed places"


def _scope(asked: Reading, earlier: Reading) -> str:
    left, right = asked.scope - earlier.scope, earlier.scope - asked.scope
    if ("first" in left and "last" in right) or ("last" in left and "first" in right):
        return "first against last"
    for one, other in ((asked.scope, earlier.scope), (earlier.scope, asked.scope)):
        whole, part = one & lists.UNIVERSAL, other & lists.PARTIAL
        if whole and part and one.isdisjoint(part) and other.isdisjoint(lists.UNIVERSAL):
            return _against(min(whole), min(part)) if one is asked.scope else _against(min(part), min(whole))
    excepting = lists.EXCEPTIONS
    if bool(asked.scope & excepting) != bool(earlier.scope & excepting) and _close(asked, earlier):
        return "only one makes an exception"
    return ""


def _intent(asked: Reading, earlier: Reading) -> str:
    left, right = _aspects(asked, earlier), _aspects(earlier, asked)
    if left and right and left.isdisjoint(right):
        return f"asks for {min(left)} against {min(right)}"
    if not asked.asks or not earlier.asks or asked.asks & earlier.asks:
        return ""
    pairs = [frozenset((one, other)) for one in asked.asks for other in earlier.asks]
    if all(pair in lists.CONFLICTS for pair in pairs):
        return f"asks {'/'.join(sorted(asked.asks))} against {'/'.join(sorted(earlier.asks))}"
    return ""


def _aspects(one: Reading, other: Reading) -> set[str]:
    """Return the properties that only one question names."""
    return {lists.ASPECTS[word] for word in one.topic - other.topic if word in lists.ASPECTS}


def _person(asked: Reading, earlier: Reading) -> str:
    left, right = asked.audience - earlier.audience, earlier.audience - asked.audience
    if left and right and _apart(asked, earlier)[0] < 3:
        return _against(min(left), min(right))
    return ""


_ANY_LANGUAGE: dict[str, Callable[[Reading, Reading], str]] = {"number": _number, "unit": _unit, "code": _code}
_ENGLISH: dict[str, Callable[[Reading, Reading], str]] = {
    **_ANY_LANGUAGE,
    "date": _date,
    "entity": _entity,
    "negation": _negation,
    "antonym": _antonym,
    "comparator": _comparator,
    "direction": _direction,
    "scope": _scope,
    "intent": _intent,
    "person": _person,
}

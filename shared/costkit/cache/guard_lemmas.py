"""The key that the forms of one English word share."""

from __future__ import annotations

from functools import cache, lru_cache

_IRREGULAR = (
    "be is are was were been am being|have has had having|do does did done doing|go went gone goes|buy bought|"
    "sell sold|lend lent|send sent|spend spent|build built|lose lost|win won|make made|take took taken|get got gotten|"
    "give gave given|come came|become became|begin began begun|break broke broken|bring brought|catch caught|"
    "choose chose chosen|draw drew drawn|drink drank drunk|drive drove driven|eat ate eaten|fall fell fallen|"
    "feel felt|fight fought|find found|fly flew flown|forget forgot forgotten|freeze froze frozen|grow grew grown|"
    "hear heard|hide hid hidden|hold held|keep kept|know knew known|leave left leaves|learn learnt|mean meant|meet met|"
    "pay paid|ride rode ridden|rise rose risen|run ran|say said|see saw seen|shake shook|shoot shot|show shown|"
    "sing sang sung|sink sank sunk|sleep slept|speak spoke spoken|steal stole stolen|stand stood|swim swam swum|"
    "teach taught|tear tore torn|tell told|think thought|throw threw thrown|understand understood|wake woke woken|"
    "wear wore worn|write wrote written|withdraw withdrew withdrawn|man men|woman women|child children kid kids|"
    "person people|foot feet|tooth teeth|mouse mice|wife wives|knife knives|life lives|half halves|die dying|lie lying|"
    "analysis analyses|die died dies|tie tied ties|use using used uses|movie movies|cookie cookies|shoe shoes"
)
_WHOLE = frozenset(
    "thing nothing something anything everything during morning evening king spring string ring bring sing swing wing "
    "sling building wedding ceiling need feed speed seed weed breed indeed exceed succeed proceed bed red hundred news "
    "always series species perhaps whereas its this his has was us is does less unless yes plus bus gas lens business "
    "process access address success across".split()
)


@cache
def _irregular() -> dict[str, str]:
    return {form: forms.split()[0] for forms in _IRREGULAR.split("|") for form in forms.split()}


@lru_cache(maxsize=16384)
def lemma(word: str) -> str:
    """Return a key that the plural, past and -ing forms of an English word share with it (not always a word)."""
    word = _irregular().get(word, word)
    if len(word) < 4 or not (word.isascii() and word.isalpha()):
        return word
    return _bare(word if word in _WHOLE else _uninflected(word))


def _uninflected(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    if word.endswith("ied") and len(word) > 4:
        return word[:-3] + "y"
    for ending in ("ing", "ed"):
        stem = word.removesuffix(ending)
        if stem != word and len(stem) > 1 and any(letter in "aeiouy" for letter in stem):
            return stem
    return word


def _bare(stem: str) -> str:
    """Fold what inflection adds or drops: the doubled last consonant and the silent e."""
    if len(stem) > 2 and stem[-1] == stem[-2] and stem[-1] not in "aeiou":
        stem = stem[:-1]
    return stem[:-1] if len(stem) > 3 and stem.endswith("e") else stem

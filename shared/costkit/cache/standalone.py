"""Whether a question can be understood without the conversation before it. English; pure functions over word lists.

A pronoun, an "and" in front or a comparison is no sign by itself: "if a parcel is lost, who pays for it?" needs
nothing. So each sign is weighed against what the question itself says, clause by clause. Where no word shows the need
("Is breakfast included?") nothing is found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

from costkit.cache.equivalence import read_once
from costkit.cache.guard_words import AUXILIARIES, LABELS, STOPWORDS

__all__ = ["names_its_subject", "needs_conversation"]

_LONGEST = 2_000  # characters; a longer text brings its context along


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# --- word lists ------------------------------------------------------------------------------------------------------

_SUBJECT_PRONOUNS = _set("he she they")
_POSSESSIVES = _set("his her its their")
_PRONOUNS = _SUBJECT_PRONOUNS | _POSSESSIVES | _set("it him hers them theirs")
_COURTESY = _set("hi hello hey good morning afternoon evening thanks thank you very so much again well there all")
_GENERIC = _set("one someone somebody anyone anybody everyone everybody nobody people")
_BE = _set("is are was were am be been being")
_PREPOSITIONS = _set(
    "of in on at to for from by with without about after before during until till since under over between into onto "
    "through via per like than besides despite against among around behind beside within"
)
_CONJUNCTIONS = _set(
    "and or but so that if when while because since before after until unless once as who whom whose which where "
    "whether than though although without by how why what plus then"
)
_DETERMINERS = _set(
    "a an the my our your his her its their each every some any all no many much most several both few another"
)
_ADVERBS = _set(
    "not really actually still even ever always usually normally generally now also just only too very more most less "
    "least so quite already often never sometimes again perhaps maybe exactly currently typically please yet almost"
)
_INTERJECTIONS = _set("hi hello hey ok okay well oh thanks thank great cool sure right yes yeah yep no nope nah hmm um")
_FUNCTION = (
    STOPWORDS
    | AUXILIARIES
    | _PRONOUNS
    | _PREPOSITIONS
    | _CONJUNCTIONS
    | _DETERMINERS
    | _ADVERBS
    | _INTERJECTIONS
    | _set(
        "us them am being else other others same either neither former latter hers ours yourself himself herself itself "
        "themselves myself there here such up down off out back away"
    )
)
# A word behind one of these is a verb or an adjective, not something that a pronoun can stand for.
_BEFORE_VERBS = _set("i we you it who to how please let that be been being") | _SUBJECT_PRONOUNS | _GENERIC | _ADVERBS
# Words that ask without saying about what.
_THIN = _set(
    "thing things something anything everything nothing option options alternative alternatives example examples "
    "instance detail details information info kind kinds sort type difference differences case cases mean means meant "
    "happen happens happened say says said go goes going come comes done make made see sure possible matter matters add "
    "list first second third fourth fifth last next previous two three four five lot choice choices reason reasons "
    "question questions answer answers advise suggest recommend recommendation suggestion true"
)
_REQUESTS = _set(
    "explain elaborate summarise summarize summary repeat clarify rewrite rephrase continue translate shorten expand "
    "compare simplify reformat shorter longer simpler detailed simple terms proceed understand recap specific"
)
_IMPERATIVES = _REQUESTS | _set(
    "describe tell show give write define name state convert calculate create outline help find list draft sort count"
)
_PERIODS = _set(
    "second minute hour day days week weeks weekend month quarter year season semester term decade century morning "
    "afternoon evening night time spring summer autumn fall winter monday tuesday wednesday thursday friday saturday "
    "sunday january february march april may june july august september october november december christmas easter"
)
# What is around every question of an application: "this" points at the same thing each time.
_SURROUNDINGS = _set(
    "app application site website platform service tool bot chatbot assistant chat forum group company bank shop store "
    "world universe planet life country city town"
)
_COMPARATIVES = _set(
    "better worse cheaper dearer faster slower quicker bigger larger smaller greater higher lower longer shorter older "
    "newer younger stronger weaker safer easier harder heavier lighter taller warmer colder brighter darker healthier "
    "closer nearer farther further earlier later sooner thicker thinner wider simpler cleaner quieter louder"
)
_STANDARDS = _set("than or vs versus compared between among and of")
_SAYING = _set(
    "know knows knew think thinks thought hear heard say says said see saw mean means believe believes hope sure true "
    "ensure show shows showed claim claims feel find found told tell tells learn learned notice noticed understand "
    "suppose guess assume prove confirm agree worry aware glad afraid certain possible clear likely fact idea"
)
_WEATHER = _set("rain rains rained raining snow snows snowed snowing hail hails freeze freezes freezing thunder storm")
_OF_WEATHER = _set("hot cold warm dark late early cloudy sunny windy humid foggy icy chilly light")
# What an "it" that stands for nothing does: "how long does it take to ...".
_IMPERSONAL = _set(
    "take takes took taken taking cost costs mean means meant make makes made feel feels require requires help helps "
    "hurt hurts matter matters pay pays seem seems appear appears become becomes get gets sound sounds look looks count"
)
_NOT_IMPERSONAL = _set("close near next similar equal identical related compared due specific connected open down up")
_FINDING = _set("make makes making find finds found finding consider considered think thought keep")
# Before "one", these make a number or a name of it.
_COUNTED = LABELS | _set("no any every each some loved day number season chapter level phase step xbox formula volume")
# Before an "is that" or "does that", these say that the "that" is a subject.
_ASKING = _set("what why how when where who long much")
_POINTING = _set("that this other another second first last third same")

_FIXED = re.compile(
    r"(?:why(?: not)?|how (?:so|come)|what (?:for|else|then)|if (?:so|not)|anything else|go on|really|tell me more|"
    r"are you (?:sure|certain)|is that (?:all|it)|same (?:here|again)|then what|so what)"
)
_ABOUT = re.compile(r"(?:and |but |so |or |also |ok |okay )*(?:what|how) about\b")
_SAID_BEFORE = re.compile(
    r"\b(?:(?:you|we) (?:just |already )?(?:said|mentioned|wrote|listed|suggested|recommended|described|discussed)"
    r"|mentioned (?:above|before|earlier)|above[- ]mentioned|aforementioned|as (?:above|before)"
    r"|your (?:last|previous|earlier) (?:answer|message|reply|response|point|suggestion))\b"
)
# A noun with one of these behind it says which one it is: "the capital of France".
_TOLD_APART = _set("of for to in at on from that who which with between about behind under")
_ENOUGH = 3  # words of content

_HERE_ENDS = r"(?= ?(?:$|[,.;?!]"
_PARTS = (
    re.compile(
        r"\bthe (?:(?:very )?(?:first|second|third|fourth|fifth|last|next|previous|other|above|following)"
        r"(?: (?:one|ones|option|point|item|choice|alternative|suggestion|answer|example|method|question|two|three))?"
        rf"{_HERE_ENDS}| or | and | instead))|(?:first|second|third|last|other|previous) ones?\b)"
    ),
    re.compile(
        rf"\b(?:the (?:two|three|pair)|both){_HERE_ENDS}| of (?:them|these|those)\b| differ| compare| compatible| equal"
        r"| related| the same| combined| (?:is|are|was|were|has|have|can|will|would|should)\b))"
    ),
    re.compile(rf"\bthe (?:year|month|week|day|night|time) (?:before|after){_HERE_ENDS}))"),
    re.compile(r"\bthe latter\b(?! (?:half|part|stage|days|years))"),
    re.compile(rf"\bthe former{_HERE_ENDS}| (?:is|are|was|were|has|have|ever|still|also|need|needs|be|or|and)\b))"),
    re.compile(r"\bsuch (?:a |an )?(?:cases?|situations?|events?|circumstances|plan|thing|request)\b"),
    re.compile(
        r"\b(?:(?:do|does|did|doing|done) so(?! (?:many|much|few|little|often|long))|if so|is (?:that|it) so)\b"
    ),
    re.compile(r"\b(?:otherwise|instead) ?[?.!]?$"),
)
_IS_THERE = re.compile(r"(?:and |so )?(?:is|are|was|were) there (?:a|an|any) [\w-]+(?: \?)?")
_PLURAL = re.compile(r"\b(?:two|both|all|every|each|different|and|twins|\w{3,}[^su]s)\b")
_TO_THE_ASSISTANT = re.compile(r"(?:who|what|how|where) (?:is|are|am|can|do|were) (?:you|your|i)\b|can you help\b")

# --- the question, read ----------------------------------------------------------------------------------------------

_CURLY = str.maketrans({"\u2019": "'", "\u2018": "'", "\u201c": '"', "\u201d": '"', "\u2026": ".", "\u2013": "-"})
_QUOTED = re.compile(r"\"[^\"]{1,200}\"|(?<![\w'])'[^']{1,200}'(?!\w)|`[^`]{1,200}`|\u00ab[^\u00bb]{1,200}\u00bb")
_CONTRACTED = re.compile(
    r"(?i)\b(?P<is>what|who|where|when|how|why|it|that|there|he|she|here|which)'s\b|(?P<not>n't\b)"
    r"|'(?P<verb>re|ve|ll|d|m)\b"
)
_VERBS = {"re": " are", "ve": " have", "ll": " will", "d": " would", "m": " am"}
_TOKEN = re.compile(r"[^\W_](?:[\w'.@/+-]*[^\W_])?[+#]*|[,;:.?!()\n]|(?<=\s)-(?=\s)")
_STOPS = _set(". ? !") | {"\n"}
_QUOTATION = "Quotation"  # stands for quoted words, which are nobody's pronouns


@dataclass(frozen=True, slots=True)
class _Word:
    """One word in lower case, the numbers of its clause and sentence, and whether it belongs to a name."""

    text: str
    clause: int
    sentence: int
    name: bool


class _Question:
    """The words of a question with the clauses they stand in."""

    def __init__(self, text: str) -> None:
        shown = _CONTRACTED.sub(_expanded, _QUOTED.sub(f" {_QUOTATION} ", text.translate(_CURLY)))
        self.tokens = _TOKEN.findall(shown)
        self.words = list(_words(self.tokens))
        self.low = " ".join(token.lower() for token in self.tokens)
        self.marked = text.rstrip(" \"'\u201d\u2019)").endswith("?")

    def __getitem__(self, at: int) -> str:
        """The word at a place; empty before the first and behind the last."""
        return self.words[at].text if 0 <= at < len(self.words) else ""

    def ends(self, at: int) -> bool:
        """Whether the word at a place is the last of its clause."""
        return at + 1 >= len(self.words) or self.words[at + 1].clause != self.words[at].clause

    def starts(self, at: int) -> bool:
        """Whether the word at a place is the first of its sentence."""
        return at == 0 or self.words[at - 1].sentence != self.words[at].sentence

    def signs(self, *texts: str) -> Iterator[int]:
        """Yield the places of words that are not part of a name."""
        return (at for at, word in enumerate(self.words) if word.text in texts and not word.name)

    @cached_property
    def content(self) -> list[str]:
        """The words that say what the question is about."""
        return [one.text for one in self.words if one.name or not (one.text in _FUNCTION or one.text in _THIN)]

    @cached_property
    def nouns(self) -> list[int]:
        """The places of words that a later word may refer to."""
        return [at for at in range(len(self.words)) if self._is_noun(at)]

    def _is_noun(self, at: int) -> bool:
        word = self.words[at]
        if word.name or word.text[0].isdigit() or word.text in _GENERIC:
            return True
        if word.text in _FUNCTION:
            return False
        if self.starts(at):
            return word.text not in _IMPERATIVES
        before = self[at - 1]
        if before in ("what", "which", "whose"):
            return self[at + 1] in AUXILIARIES or self[at + 1] not in _FUNCTION
        return before not in _BEFORE_VERBS

    def antecedent(self, at: int, *, same_clause: bool = False) -> bool:
        """Whether the word at a place can refer to something before it.

        A pronoun that owns nothing never refers to another part of its own clause: "does the shop repair it". What
        a clause asks for is no antecedent in it either: the colour in "what colour are they".
        """
        here = self.words[at].clause if at < len(self.words) else -1
        return any(
            self.words[place].clause != here
            or (same_clause and self[place - 1] not in ("what", "which", "whose", "many", "much"))
            for place in self.nouns
            if place < at
        )


def _expanded(match: re.Match[str]) -> str:
    if match["is"]:
        return match["is"] + " is"
    return " not" if match["not"] else _VERBS[match["verb"].lower()]


def _words(tokens: list[str]) -> Iterator[_Word]:
    """Yield the words, each in its clause: one begins after punctuation, at a conjunction and at a subject pronoun."""
    named = _named(tokens)
    clause = sentence = 0
    before = ""
    for at, token in enumerate(tokens):
        low = token.lower()
        if not token[0].isalnum():
            clause += 1
            sentence += token in _STOPS
            before = ""
            continue
        opens = low in _CONJUNCTIONS or (low in _SUBJECT_PRONOUNS and before not in AUXILIARIES | _CONJUNCTIONS)
        if opens and before and not named[at]:
            clause += 1
        before = low
        yield _Word(low, clause, sentence, named[at])


def _named(tokens: list[str]) -> list[bool]:
    """Return which words belong to names: capitals say so, unless every word is written with one."""
    first = [at == 0 or tokens[at - 1] in _STOPS or tokens[at - 1] in (":", "(") for at in range(len(tokens))]
    inside = [token for at, token in enumerate(tokens) if len(token) > 3 and not first[at]]
    everywhere = len(inside) > 2 and sum(token[0].isupper() for token in inside) > 0.7 * len(inside)
    shouted = not any(token.islower() for token in tokens)
    named = []
    for at, token in enumerate(tokens):
        low = token.lower()
        acronym = len(token) > 1 and token.isupper() and not shouted
        capital = token[0].isupper() and not (first[at] or everywhere or shouted or low == "i")
        named.append(acronym or capital or token == _QUOTATION)
    for at in range(len(tokens) - 1):
        if first[at] and tokens[at][0].isupper():
            # "And Then There Were None": a title, since a small word in it is written large.
            end = next((later for later in range(at + 1, len(tokens)) if not named[later]), len(tokens))
            named[at] = named[at] or any(one.lower() in _FUNCTION for one in tokens[at + 1 : end])
    return named


# --- signs -----------------------------------------------------------------------------------------------------------


def _follows_up(asked: _Question) -> str | None:
    plain = " ".join(word.text for word in asked.words if word.text not in _INTERJECTIONS)
    if not plain or _FIXED.fullmatch(plain):
        return "it only takes up what was said before"
    if found := _SAID_BEFORE.search(asked.low):
        return f'"{found[0]}" points at an earlier answer'
    return None


def _opens(asked: _Question) -> str | None:
    opening = next((at for at, word in enumerate(asked.words) if word.text not in _INTERJECTIONS), 0)
    first = asked.words[opening]
    if first.name:
        return None
    if _ABOUT.match(asked.low) and len({word.sentence for word in asked.words}) == 1:
        # "how about a walk: is that an excuse ...?" goes on to ask.
        more = [word.text for word in asked.words if word.clause > first.clause + 1 and word.text not in _FUNCTION]
        if len(more) < 3:
            return 'it opens with "what about" or "how about"'
    if first.text in ("and", "or", "but", "also", "then", "plus") and asked[opening + 1]:
        return f'it opens with "{first.text}"'
    if first.text == "so" and len(asked.content) < 2:
        return 'it opens with "so"'
    if asked.low.startswith("what if the ") and len(asked.content) < 3:
        return 'it opens with "what if the"'
    if asked[0] in ("no", "yes") and asked.tokens[1:2] == [","] and not asked.marked:
        return f'it opens with "{asked[0]}"'
    return None


def _has_pronoun(asked: _Question) -> str | None:
    for at in asked.signs(*_PRONOUNS):
        word = asked[at]
        if word == "it" and (_is_impersonal(asked, at) or asked[at - 1] == "worth"):
            continue
        owns = word in _POSSESSIVES and not asked.ends(at)
        if not asked.antecedent(at, same_clause=owns):
            return f'"{word}" refers to nothing in the question'
    return None


def _is_impersonal(asked: _Question, at: int) -> bool:
    """Whether an "it" stands for nothing, as in "is it safe to ..." and "does it rain"."""
    before, after = asked[at - 1], at + 1
    while asked[after] in _ADVERBS or asked[after] == "be":
        after += 1
    following = asked[after]
    near = {asked[place] for place in range(max(0, at - 4), at + 8)}
    if near & _WEATHER or (near & _OF_WEATHER and near & (_BE | {"get", "gets"})):
        return True
    if before in _BE and asked[at - 2] in _PERIODS | {"date"}:
        return True
    if following == "that" or (near & _PERIODS and near & {"since", "until", "till"}):
        return True
    if before in _FINDING and asked[after + 1] in ("to", "for", "that", "when"):
        return True
    is_so = (before in _BE or following in _BE) and not {following, asked[after + 1]} & _NOT_IMPERSONAL
    may_be = before in AUXILIARIES and asked[after - 1] == "be"
    return (is_so or may_be or following in _IMPERSONAL) and _says_what(asked, after)


def _says_what(asked: _Question, start: int) -> bool:
    """Whether a clause behind an impersonal "it" says what it is about: "to eat raw fish", "that ice floats"."""
    for at in range(start, len(asked.words) - 1):
        infinitive = asked[at] == "to" and asked[at + 1] not in _DETERMINERS
        gerund = asked[at - 1] in ("worth", "like") and asked[at].endswith("ing")
        clause = asked[at] in ("that", "if", "when", "whether", "how", "why", "for") and at > start
        if infinitive or gerund or clause:
            return any(word.text not in _FUNCTION for word in asked.words[at + 1 :])
    return False


def _points(asked: _Question) -> str | None:
    for at in asked.signs("this", "that", "these", "those"):
        points = _that_points(asked, at) if asked[at] == "that" else _this_points(asked, at)
        # A "that" which points opens no clause, though it was read so: it stands in that of the word before it.
        if points and not (at and asked.antecedent(at - (asked[at] == "that"))):
            return f'"{asked[at]}" points at nothing in the question'
    for at in asked.signs("there"):
        exists = asked[at - 1] in AUXILIARIES or asked[at + 1] in AUXILIARIES
        if not exists and not asked.starts(at) and asked[at - 1] not in ("over", "out") and not asked.antecedent(at):
            return '"there" is no place in the question'
    for at in asked.signs("then"):
        # "if ... then", "since then": only at the end of a clause it stands for a time or a case.
        known = {"if", "when", "once", "since", "until", "by", "back"} & {word.text for word in asked.words[:at]}
        if asked.ends(at) and not known:
            return '"then" points at nothing in the question'
    return None


def _this_points(asked: _Question, at: int) -> bool:
    word, following = asked[at], asked[at + 1]
    if {following, asked[at + 2]} & (_PERIODS | _SURROUNDINGS):
        return False  # "this year", "this academic year", "this site"
    described = following in _PREPOSITIONS or following in ("who", "whose", "whom", "that", "which", "outside")
    return word != "those" or not (described or following.endswith("ing"))


def _that_points(asked: _Question, at: int) -> bool:
    """Whether a "that" is a pronoun or an article, not the opening of a clause."""
    before, following = asked[at - 1], asked[at + 1]
    if following == "of":
        return False  # "the limit of this plan and that of the other" says whose
    if following == "one" and before not in _FUNCTION and asked[at + 2] not in (_FUNCTION | AUXILIARIES | {""}):
        return False  # "the records that one export holds"
    if following in ("one", "ones") or asked.starts(at):
        return True
    if before in AUXILIARIES:
        fronted = asked.starts(at - 1) or asked[at - 2] in _ASKING
        return fronted or asked.ends(at)
    last = asked.ends(at) or following in _PREPOSITIONS or following == "again"
    if before in _PREPOSITIONS and before not in ("in", "to", "since"):
        return last or following in AUXILIARIES or following not in _FUNCTION
    if before in ("so", "now", "such", "it"):
        return False
    return at + 1 == len(asked.words) if before in _SAYING else last


def _leaves_out(asked: _Question) -> str | None:
    """Whether words are missing: "why not?", "with milk?", "which ones?"."""
    if not asked.content and not _TO_THE_ASSISTANT.match(asked.low):
        return "it says nothing of what it is about"
    if len(asked.content) == 1 and _IS_THERE.fullmatch(asked.low):
        return "it asks for one thing and not of what"
    if asked.content and all(word in _REQUESTS for word in asked.content):
        return "it asks to work on an earlier answer"
    if not asked.marked or any(word.text in AUXILIARIES for word in asked.words):
        return None
    if asked[0] in _PREPOSITIONS | {"only", "even", "not", "as"} and len(asked.words) < 7:
        return f'it is a part of a question, "{asked[0]} ..."'
    if len(asked.words) < 3 or (asked[0] == "the" and len(asked.words) < 6):
        return "it is a noun alone"
    return None


def _compares(asked: _Question) -> str | None:
    """Whether it chooses or compares without saying among what: "which is cheaper?"."""
    words = {word.text for word in asked.words}
    for at in asked.signs("which"):
        alone = asked.ends(at) or asked[at + 1] in AUXILIARIES or asked[at + 1] in ("one", "ones")
        open_choice = words & _COMPARATIVES or "more" in words or len(asked.content) < 2
        if alone and open_choice and not words & _STANDARDS - {"of", "and"} and not asked.antecedent(at):
            return '"which" chooses among nothing in the question'
    last = asked[len(asked.words) - 1]
    compares = last in _COMPARATIVES or asked[len(asked.words) - 2] == "more"
    if compares and asked[0] in _BE | {"what", "which"} and asked[1] != "the" and not words & _STANDARDS:
        return "it compares with nothing in the question"
    for at in asked.signs("same"):
        later = {word.text for word in asked.words[at + 1 :]}
        several = _PLURAL.search(" ".join(word.text for word in asked.words[:at]))
        if not later & {"as", "that", "who", "and"} and not several and not asked.antecedent(at):
            return '"same" compares with nothing in the question'
    return None


def _picks(asked: _Question) -> str | None:
    """Whether it picks out one of several things that it does not name: "the second one", "the others", "both"."""
    for at in asked.signs("one", "ones"):
        before = asked[at - 1]
        exchanged = bool({asked[place] for place in range(at - 3, at)} & {"into", "to", "with", "than"})
        described = before not in _FUNCTION | _COUNTED and (asked.ends(at) or asked[at + 1] in _FUNCTION - {"of"})
        pointed = before in _POINTING or (before == "which" and asked[at] == "ones")
        if (described or pointed) and not asked.antecedent(at, same_clause=exchanged):
            return f'"{asked[at]}" refers to nothing in the question'
    for at in asked.signs("others", "mine", "else"):
        thin = asked[at] != "else" or (len(asked.content) < 2 and asked[at + 1] not in ("than", "besides"))
        if thin and asked[at - 1] not in ("a", "of") and not asked.antecedent(at, same_clause=True):
            return f'"{asked[at]}" refers to nothing in the question'
    for pattern in _PARTS:
        found = pattern.search(asked.low)
        if found and not asked.antecedent(sum(part[0].isalnum() for part in asked.low[: found.start()].split())):
            return f'"{found[0]}" refers to nothing in the question'
    return None


_SIGNS: tuple[Callable[[_Question], str | None], ...] = (
    _follows_up, _opens, _has_pronoun, _points, _leaves_out, _compares, _picks,
)  # fmt: skip


@lru_cache(maxsize=4096)
def needs_conversation(question: str) -> str | None:
    """Say why a question cannot be understood without what was said before it.

    Args:
        question: The question as asked. English is read; of another language nothing is said.

    Returns:
        The reason in one clause, which quotes none but listed words, or None where no sign was found.
    """
    if len(question) > _LONGEST or read_once(question).language not in ("", "en"):
        return None
    asked = _Question(question)
    if all(word.text in _COURTESY for word in asked.words):
        return None
    return next((reason for sign in _SIGNS if (reason := sign(asked))), None)


def names_its_subject(question: str) -> bool:
    """Whether a question names what it is about, so that hardly anything said before it bears on it.

    It has a name or a code, three words of content, and no bare noun such as "the fee", which may be the one that was
    spoken of. "How long does charging take?" does not: after a word on drones it asks about drones.

    Args:
        question: A question in which ``needs_conversation`` finds no sign. False for other languages than English.
    """
    reading = read_once(question)
    if reading.language not in ("", "en") or not (reading.names or reading.codes):
        return False
    asked = _Question(question)
    bare = any(
        asked[at + 1] not in _FUNCTION and (asked.ends(at + 1) or asked[at + 2] in _FUNCTION - _TOLD_APART)
        for at in asked.signs("the")
    )
    return len(asked.content) >= _ENOUGH and not bare

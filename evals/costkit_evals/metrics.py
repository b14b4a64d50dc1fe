"""Quality of one answer and of the context it was given, without a language model.

Context recall and precision by document ids and by character spans, token F1, exact match and containment (after
SQuAD's normalisation, Rajpurkar et al. 2016), and abstention. All give 0 to 1, or None where the question says nothing
about them, so that an unanswerable question never counts as a failed recall.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from costkit_evals.golden import Supporting

__all__ = [
    "abstention_accuracy",
    "answer_stands",
    "containment",
    "exact_match",
    "id_precision",
    "id_recall",
    "span_precision",
    "span_recall",
    "token_f1",
]

Span = tuple[str, int, int]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WORD = re.compile(r"\w+")
_CITATION = re.compile(r"\[[\w.#-]+\]")
_PUNCTUATION = str.maketrans("", "", string.punctuation.replace(".", "").replace("%", ""))


def id_recall(gold_ids: Sequence[str], context_ids: Iterable[str]) -> float | None:
    """Share of the gold documents that the context holds at least a piece of."""
    gold = set(gold_ids)
    return len(gold & set(context_ids)) / len(gold) if gold else None


def id_precision(gold_ids: Sequence[str], context_ids: Sequence[str]) -> float | None:
    """Share of the context's pieces that come from a gold document."""
    gold = set(gold_ids)
    return sum(one in gold for one in context_ids) / len(context_ids) if gold and context_ids else None


def span_recall(supporting: Sequence[Supporting], context: Sequence[Span], texts: Mapping[str, str]) -> float | None:
    """Share of the supporting spans whose every visible character stands in the context.

    Args:
        supporting: The labelled spans.
        context: The context as (document id, start, end).
        texts: Document texts by id, to tell visible characters from blanks.
    """
    if not supporting:
        return None
    return sum(_covered(span, context, texts[span.doc_id]) == 1.0 for span in supporting) / len(supporting)


def span_precision(supporting: Sequence[Supporting], context: Sequence[Span]) -> float | None:
    """Share of the context's characters that belong to a supporting span, each character counted once."""
    if not supporting:
        return None
    given: dict[str, set[int]] = {}
    for doc_id, start, end in context:
        given.setdefault(doc_id, set()).update(range(start, end))
    needed: dict[str, set[int]] = {}
    for span in supporting:
        needed.setdefault(span.doc_id, set()).update(range(span.start, span.end))
    found = sum(len(places & given.get(doc_id, set())) for doc_id, places in needed.items())
    return found / (sum(map(len, given.values())) or 1)


def token_f1(answer: str, references: Sequence[str]) -> float | None:
    """Best harmonic mean of token precision and recall over the reference answers."""
    if not references:
        return None
    return max(_f1(_tokens(answer), _tokens(reference)) for reference in references)


def answer_stands(texts: Iterable[str], references: Sequence[str]) -> float | None:
    """1.0 if one of the texts holds a reference answer word for word; None without references.

    Case, punctuation and articles do not count; what stands in a longer word ("no" in "known") is no answer.
    """
    if not references:
        return None
    given = [_word_by_word(text) for text in texts]
    wanted = [words for reference in references if (words := _word_by_word(reference)).strip()]
    return float(any(words in text for words in wanted for text in given))


def exact_match(answer: str, references: Sequence[str]) -> float | None:
    """1.0 if the normalised answer equals a normalised reference."""
    if not references:
        return None
    return float(any(_tokens(answer) == _tokens(reference) for reference in references))


def containment(answer: str, references: Sequence[str]) -> float | None:
    """Share of the best matching reference's tokens that stand in the answer: did it say what it had to say?"""
    if not references:
        return None
    given = set(_tokens(answer))
    return max(_share(set(_tokens(reference)), given) for reference in references)


def abstention_accuracy(*, abstained: bool, answerable: bool) -> float:
    """1.0 if an answer was given exactly where the corpus holds one."""
    return float(abstained != answerable)


def _covered(span: Supporting, context: Sequence[Span], text: str) -> float:
    visible = [place for place in range(span.start, span.end) if not text[place].isspace()]
    pieces = [(start, end) for doc_id, start, end in context if doc_id == span.doc_id]
    found = sum(any(start <= place < end for start, end in pieces) for place in visible)
    return found / len(visible) if visible else 1.0


def _word_by_word(text: str) -> str:
    """Return the words with a blank before and after each."""
    return f" {' '.join(_WORD.findall(_ARTICLES.sub(' ', text.lower())))} "


def _tokens(text: str) -> list[str]:
    bare = _CITATION.sub(" ", text.lower()).translate(_PUNCTUATION)
    return [token.strip(".") for token in _ARTICLES.sub(" ", bare).split() if token.strip(".")]


def _f1(answer: Sequence[str], reference: Sequence[str]) -> float:
    common = sum((Counter(answer) & Counter(reference)).values())
    if not common:
        return 0.0
    precision, recall = common / len(answer), common / len(reference)
    return 2 * precision * recall / (precision + recall)


def _share(needed: set[str], given: set[str]) -> float:
    return len(needed & given) / len(needed) if needed else 0.0

"""Checks a golden set against what the handbook promises: sizes, variety, exact quotes, difficulty.

``python -m costkit_evals.validate evals/golden/handbook`` prints every finding and exits with 1 if one fails.
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from difflib import SequenceMatcher
from pathlib import Path
from statistics import fmean

from costkit.embed import Embedder, from_minilm, remember
from costkit.errors import CostkitError, DataError
from costkit_evals.chunks import ChunkIndex, cut
from costkit_evals.golden import Change, Document, GoldenSet, NearMiss, Question, Supporting, load
from costkit_evals.metrics import span_recall

__all__ = ["Finding", "NearIdentical", "main", "read_near_identical", "validate"]

KINDS = ("single", "multi", "comparison", "table", "unanswerable")
SPLITS = ("dev", "test")
LEAST_WORDS, MOST_WORDS = 250, 900
MOST_SHARED_5_GRAMS = 0.20
LEAST_RECALL, MOST_RECALL = 0.70, 0.90
NAIVE_K = 5
NEAR_MISS_COSINE = 0.85
# Two passages count as near-identical if this share of their words stands in both, in the same order.
NEAR_IDENTICAL_RATIO = 0.80

_WORD = re.compile(r"\w+")
_FAMILY = re.compile(r"(.+?)-(?:\d|q\d|c\d)")


@dataclass(frozen=True, kw_only=True)
class NearIdentical:
    """Two passages that stand almost word for word in two documents and differ in one fact."""

    a: Supporting
    b: Supporting
    differs_in: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One promise, checked.

    Attributes:
        name: What was looked at.
        value: What was found; a count, a share or a cosine.
        limit: What it must be, in words.
        offenders: Ids of what breaks the promise, where single rows can break it.
    """

    name: str
    passed: bool
    value: float
    limit: str
    offenders: tuple[str, ...] = ()


def validate(golden: GoldenSet, near_identical: Sequence[NearIdentical], embedder: Embedder) -> list[Finding]:
    """Check every promise and return one finding each.

    Args:
        golden: The set, as ``costkit_evals.golden.load`` read it: exact quotes and known ids are checked there.
        near_identical: The listed passages.
        embedder: For the difficulty of retrieval and the closeness of near misses; the limits hold for minilm.
    """
    return [
        *_sizes(golden),
        *_questions(golden),
        *_splits(golden),
        *_changes(golden),
        *_near_identical(golden, near_identical),
        _shared_5_grams(golden.corpus, near_identical),
        _naive_recall(golden, embedder),
        *_near_misses(golden.near_misses, embedder),
    ]


def read_near_identical(path: Path, corpus: Sequence[Document]) -> list[NearIdentical]:
    """Read ``near_identical.json``: a list of ``{"a": span, "b": span, "differs_in": text}``.

    Raises:
        DataError: The file is missing or broken, or a span does not lie in its document.
    """
    try:
        rows = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"cannot be read as JSON: {error}", path=path) from None
    lengths = {document.id: len(document.text) for document in corpus}
    try:
        pairs = [
            NearIdentical(a=Supporting(**row["a"]), b=Supporting(**row["b"]), differs_in=row["differs_in"])
            for row in rows
        ]
    except (TypeError, KeyError) as error:
        raise DataError(f"each row needs a, b (doc_id, start, end) and differs_in: {error!r}", path=path) from None
    for span in (span for pair in pairs for span in (pair.a, pair.b)):
        if not 0 <= span.start < span.end <= lengths.get(span.doc_id, -1):
            raise DataError(f"{span!r} does not lie in a document of the corpus", path=path)
    return pairs


def main(arguments: Sequence[str]) -> int:
    """Validate the golden set in the folder ``arguments`` names, print the findings, and return the exit code."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if len(arguments) != 1:
        console.print("usage: python -m costkit_evals.validate FOLDER", markup=False)
        return 2
    folder = Path(arguments[0])
    try:
        golden = load(folder)
        listed = read_near_identical(folder / "near_identical.json", golden.corpus)
        findings = validate(golden, listed, remember(from_minilm()))
    except CostkitError as error:
        console.print(str(error), style="red", markup=False)
        return 1
    table = Table("", "promise", "found", "must be", "broken by", title=f"golden set {golden.name}")
    for finding in findings:
        mark = "[green]ok[/]" if finding.passed else "[red]FAIL[/]"
        table.add_row(mark, finding.name, f"{finding.value:g}", finding.limit, ", ".join(finding.offenders[:5]))
    console.print(table)
    return 0 if all(finding.passed for finding in findings) else 1


def _at_least(name: str, value: float, limit: float) -> Finding:
    return Finding(name=name, passed=value >= limit, value=value, limit=f"at least {limit:g}")


def _none(name: str, offenders: Iterable[str]) -> Finding:
    found = tuple(offenders)
    return Finding(name=name, passed=not found, value=len(found), limit="none", offenders=found)


def _sizes(golden: GoldenSet) -> list[Finding]:
    counts = {document.id: len(document.text.split()) for document in golden.corpus}
    groups = [group for group in golden.paraphrases if len(group.paraphrases) >= 2]
    return [
        _at_least("documents", len(golden.corpus), 70),
        _none(
            f"documents outside {LEAST_WORDS} to {MOST_WORDS} words",
            (f"{one} ({count})" for one, count in counts.items() if not LEAST_WORDS <= count <= MOST_WORDS),
        ),
        _at_least("questions", len(golden.questions), 240),
        _at_least("groups of two or more paraphrases", len(groups), 60),
        _at_least("near-miss pairs", len(golden.near_misses), 60),
        _at_least("conversations of two or more turns", sum(len(one.turns) > 1 for one in golden.conversations), 20),
        _at_least("dated changes", len(golden.changes), 15),
    ]


def _questions(golden: GoldenSet) -> list[Finding]:
    questions = golden.questions
    texts = {document.id: document.text for document in golden.corpus}
    kinds = {question.kind for question in questions}
    return [
        _none("question kinds without a question", (kind for kind in KINDS if kind not in kinds)),
        _none("questions of another kind", (one.id for one in questions if one.kind not in KINDS)),
        _none("questions without a difficulty", (one.id for one in questions if not one.difficulty)),
        _none(
            "answerable questions without documents or passages",
            (one.id for one in questions if one.answerable and not (one.gold_ids and one.supporting)),
        ),
        _none(
            "unanswerable questions with an answer or a document",
            (one.id for one in questions if not one.answerable and (one.answers or one.gold_ids or one.supporting)),
        ),
        _none("multi-document questions with one document", (one.id for one in questions if _lacks_documents(one))),
        _none(
            "passages that begin or end inside a word",
            (one.id for one in questions if any(_cuts_a_word(span, texts[span.doc_id]) for span in one.supporting)),
        ),
        _none("questions asked twice", _repeated(one.question for one in questions)),
    ]


def _lacks_documents(question: Question) -> bool:
    return question.kind == "multi" and len(question.gold_ids) < 2


def _cuts_a_word(span: Supporting, text: str) -> bool:
    edges = (text[max(span.start - 1, 0) : span.start + 1], text[span.end - 1 : span.end + 1])
    return any(len(edge) == 2 and edge.isalnum() for edge in edges)


def _repeated(texts: Iterable[str]) -> list[str]:
    seen: set[str] = set()
    repeated = []
    for text in texts:
        key = " ".join(_WORD.findall(text.lower()))
        if key in seen:
            repeated.append(text)
        seen.add(key)
    return repeated


def _splits(golden: GoldenSet) -> list[Finding]:
    splits: dict[str, set[str]] = defaultdict(set)
    for question in golden.questions:
        for owner in (question.id, *question.gold_ids):
            splits[_family(owner)].add(question.split)
    used = {question.split for question in golden.questions}
    across = [
        f"{pair.docs_a} {pair.docs_b}"
        for pair in golden.near_misses
        if len({one for doc in (*pair.docs_a, *pair.docs_b) for one in splits[_family(doc)]}) > 1
    ]
    return [
        _none("splits without a question", (split for split in SPLITS if split not in used)),
        _none("document families in two splits", (family for family, names in splits.items() if len(names) > 1)),
        _none("near-miss pairs across splits", across),
    ]


def _family(owner: str) -> str:
    found = _FAMILY.match(owner)
    return found.group(1) if found else owner


def _changes(golden: GoldenSet) -> list[Finding]:
    questions = {question.id: question for question in golden.questions}
    texts = {document.id: document.text for document in golden.corpus}

    def touches(change: Change, question: Question) -> bool:
        start = texts[change.doc_id].index(change.old)
        end = start + len(change.old)
        return any(
            span.doc_id == change.doc_id and span.start < end and start < span.end for span in question.supporting
        )

    asked = [(change, questions[one]) for change in golden.changes for one in change.question_ids]
    return [
        _none("changes without a question", (one.id for one in golden.changes if not one.question_ids)),
        _none(
            "changes beside their question's passages",
            (one.id for one, question in asked if not touches(one, question)),
        ),
        _none(
            "changes that leave the answer as it was",
            (one.id for one, question in asked if one.new_answer in question.answers),
        ),
        _none("changes without a date", (one.id for one in golden.changes if not _is_date(one.date))),
    ]


def _is_date(text: str) -> bool:
    try:
        return bool(date.fromisoformat(text))
    except ValueError:
        return False


def _near_identical(golden: GoldenSet, pairs: Sequence[NearIdentical]) -> list[Finding]:
    texts = {document.id: document.text for document in golden.corpus}
    unlike, same = [], []
    for pair in pairs:
        name = f"{pair.a.doc_id} / {pair.b.doc_id}"
        one, other = (texts[span.doc_id][span.start : span.end].split() for span in (pair.a, pair.b))
        ratio = SequenceMatcher(None, one, other, autojunk=False).ratio()
        if ratio < NEAR_IDENTICAL_RATIO:
            unlike.append(f"{name} ({ratio:.2f})")
        if one == other:
            same.append(name)
    return [
        _at_least("near-identical passages", len(pairs), 20),
        _none(f"listed passages that share under {NEAR_IDENTICAL_RATIO:.0%} of their words", unlike),
        _none("listed passages without a difference", same),
    ]


def _shared_5_grams(corpus: Sequence[Document], pairs: Sequence[NearIdentical]) -> Finding:
    listed: dict[str, list[Supporting]] = defaultdict(list)
    for span in (span for pair in pairs for span in (pair.a, pair.b)):
        listed[span.doc_id].append(span)
    grams = [(document.id, _5_grams(_without(document.text, listed[document.id]))) for document in corpus]
    worst, offenders = 0.0, []
    for position, (one, left) in enumerate(grams):
        for other, right in grams[position + 1 :]:
            share = len(left & right) / max(1, min(len(left), len(right)))
            worst = max(worst, share)
            if share > MOST_SHARED_5_GRAMS:
                offenders.append(f"{one} / {other} ({share:.2f})")
    return Finding(
        name="largest share of 5-grams that two documents have in common",
        passed=not offenders,
        value=round(worst, 3),
        limit=f"at most {MOST_SHARED_5_GRAMS:g}",
        offenders=tuple(offenders),
    )


def _without(text: str, spans: Sequence[Supporting]) -> str:
    for span in sorted(spans, key=lambda one: -one.start):
        text = text[: span.start] + "\n" + text[span.end :]
    return text


def _5_grams(text: str) -> set[tuple[str, ...]]:
    tokens = _WORD.findall(text.lower())
    return {tuple(tokens[start : start + 5]) for start in range(len(tokens) - 4)}


def _naive_recall(golden: GoldenSet, embedder: Embedder) -> Finding:
    index = ChunkIndex(cut(golden.corpus), embedder)
    texts = {document.id: document.text for document in golden.corpus}
    recalls = []
    for question in golden.questions:
        chunks = [found.chunk for found in index.search(question.question, k=NAIVE_K)]
        spans = [(chunk.doc_id, chunk.start, chunk.start + len(chunk.text)) for chunk in chunks]
        recalls.append(span_recall(question.supporting, spans, texts))
    mean = fmean([recall for recall in recalls if recall is not None] or [0.0])
    return Finding(
        name=f"naive top-{NAIVE_K} span recall",
        passed=LEAST_RECALL <= mean <= MOST_RECALL,
        value=round(mean, 3),
        limit=f"{LEAST_RECALL:g} to {MOST_RECALL:g}",
    )


def _near_misses(pairs: Sequence[NearMiss], embedder: Embedder) -> list[Finding]:
    left, right = embedder.embed([pair.a for pair in pairs]), embedder.embed([pair.b for pair in pairs])
    close = int(((left * right).sum(axis=1) >= NEAR_MISS_COSINE).sum())
    return [
        _at_least(f"near-miss pairs with a cosine of {NEAR_MISS_COSINE:g} or more", close, 40),
        _none("near-miss pairs with one answer", (pair.a for pair in pairs if pair.answer_a == pair.answer_b)),
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

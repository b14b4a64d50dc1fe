"""Golden sets in the formats of other tools, read into ours.

ragas (names of versions 1 and 2), LangSmith, promptfoo, LlamaIndex, Inspect and DeepEval. The format is told from the keys; ``mapping`` overrides any of it. Reference contexts become the corpus, unless
a corpus is given, in which they are looked up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from costkit.errors import ConfigurationError, DataError
from costkit_evals.golden import Document, GoldenSet, Question, Supporting, load
from costkit_evals.golden_rows import Row, read_rows
from costkit_evals.golden_shapes import FIELDS, at, keys_in_use, tell

__all__ = ["load_any"]

# promptfoo assertions that state the whole answer, and those that state parts of it; the others state no answer.
_WHOLE = frozenset({"equals", "similar", "factuality", "answer", "contains-any", "icontains-any"})
_PARTS = frozenset({"contains", "icontains", "contains-all", "icontains-all", "starts-with"})
_ASSERTION = re.compile(r"(?P<type>[a-z]+(?:-[a-z]+)*)(?:\([\d.]+\))?:\s*(?P<value>.*)", re.DOTALL)
_NO_ANSWER = re.compile(
    r"(?:not-|is-|fn$|eval$|file$|grade$|javascript$|python$|webhook$|regex$|latency$|cost$|.*rubric$)"
)


def load_any(
    path: Path | str, *, mapping: Mapping[str, str] | None = None, corpus: Path | str | None = None
) -> tuple[GoldenSet, str]:
    """Read a golden set of any known format.

    Args:
        path: A folder in our own format, or a file (json, jsonl, csv, yaml; plain or ``.gz``) of another tool's.
        mapping: Key in the file by field (``costkit_evals.golden_shapes.FIELDS``); dots lead into objects, as in
            ``inputs.question``.
        corpus: Documents (``id``, ``text``, optional ``title``) of a file that carries none, or only passages of them.

    Returns:
        The set, and one line that says how it was read.

    Raises:
        ConfigurationError: The mapping names an unknown field, or it or a corpus is given for a folder.
        DataError: The file is bad, its format is unknown, or no documents are found.
    """
    source, wanted = Path(path), dict(mapping or {})
    unknown = next((name for name in wanted if name not in FIELDS), None)
    if unknown is not None:
        raise ConfigurationError(f"mapping names field {unknown!r}; choose from {', '.join(FIELDS)}")
    if source.is_dir():
        if wanted or corpus:
            raise ConfigurationError(f"{str(source)!r} is a golden set folder: it takes neither a mapping nor a corpus")
        return load(source), f"golden set {source.resolve().name}: corpus.jsonl and questions.jsonl"
    rows = read_rows(source)
    shape = tell(rows, wanted)
    used = keys_in_use(shape, rows, wanted)
    library = _Given(read_rows(Path(corpus))) if corpus else _Collected()
    questions = _questions(rows, _Fields(used), library)
    if not library.documents:
        raise DataError(
            "no row carries a context; name the documents with --corpus FILE, or the key with --map contexts=KEY",
            path=source,
        )
    name = source.name.removesuffix(".gz").rsplit(".", 1)[0]
    found = GoldenSet(name=name, corpus=tuple(library.documents.values()), questions=tuple(questions))
    return found, f"{shape.name}: " + ", ".join(f"{name}={'|'.join(keys)}" for name, keys in used.items())


def _questions(rows: Sequence[Row], fields: _Fields, library: _Library) -> list[Question]:
    questions: dict[str, Question] = {}
    for row in rows:
        question_id = fields.word(row, "id") or f"q{row.number}"
        if question_id in questions:
            raise row.error(f"id {question_id!r} stands there twice; ids must differ")
        answerable = fields.word(row, "answerable").lower() != "false"
        gold_ids, supporting = library.gold(fields.texts(row, "contexts"), fields.texts(row, "context_ids"), row)
        library.join(fields.texts(row, "other_contexts"), row)
        questions[question_id] = Question(
            id=question_id,
            question=fields.question(row),
            answers=fields.answers(row) if answerable else (),
            gold_ids=gold_ids,
            supporting=supporting,
            answerable=answerable,
            kind=fields.word(row, "kind"),
            split=fields.word(row, "split"),
        )
    return list(questions.values())


@dataclass(frozen=True)
class _Fields:
    """Reads fields out of rows by the keys that were found for them."""

    keys: Mapping[str, tuple[str, ...]]

    def question(self, row: Row) -> str:
        text = next((text for value in self._values(row, "question") if (text := _asked(value))), None)
        if text is None:
            raise row.error(f"{self._nothing('question', row)}; name its key with --map question=KEY")
        return text

    def answers(self, row: Row) -> tuple[str, ...]:
        keys = self.keys.get("answer", ())
        if any(key.startswith("__expected") for key in keys):
            given = [_assertion(value) for value in self._values(row, "answer") if isinstance(value, str)]
            answers = _asserted(given)
        else:
            answers = next((found for value in self._values(row, "answer") if (found := _answered(value))), ())
        if not answers:
            advice = 'name its key with --map answer=KEY, or mark the row with "answerable": false'
            raise row.error(f"{self._nothing('answer', row)}; {advice}")
        return answers

    def texts(self, row: Row, name: str) -> tuple[str, ...]:
        value = next(iter(self._values(row, name)), [])
        texts = value if isinstance(value, list) else [value]
        if not all(isinstance(text, str | int) for text in texts):
            raise row.error(f"field {self._named(name)} must be a list of strings, got {str(value)[:60]!r}")
        return tuple(str(text) for text in texts if str(text).strip())

    def word(self, row: Row, name: str) -> str:
        value = next(iter(self._values(row, name)), "")
        if not isinstance(value, str | int):
            raise row.error(f"field {self._named(name)} must be one word, got {str(value)[:60]!r}")
        return str(value)

    def _values(self, row: Row, name: str) -> list[object]:
        values = [at(row.values, key) for key in self.keys.get(name, ())]
        return [value for value in values if value is not None and value not in ("", [])]

    def _named(self, name: str) -> str:
        return " or ".join(repr(key) for key in self.keys.get(name, ()))

    def _nothing(self, name: str, row: Row) -> str:
        return f"no {name} under {self._named(name) or 'any known key'} in {str(dict(row.values))[:80]!r}"


def _asked(value: object) -> str | None:
    """Return a question: a text, the user's last message, or the only text of an object."""
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, list):
        said = [one.get("content") for one in value if isinstance(one, dict) and _is_user(one)]
        return _asked(said[-1]) if said and isinstance(said[-1], str) else None
    return _only_text(value)


def _is_user(message: Mapping[str, object]) -> bool:
    return (message.get("role") or message.get("type")) in ("user", "human")


def _only_text(value: object) -> str | None:
    texts = [one for one in value.values() if isinstance(one, str)] if isinstance(value, dict) else []
    return texts[0].strip() or None if len(texts) == 1 else None


def _answered(value: object) -> tuple[str, ...]:
    """Return accepted answers: one text or number, a list of them, promptfoo's assertions, or an object's only text."""
    if isinstance(value, str | int | float):
        return (str(value),)
    if isinstance(value, list) and all(isinstance(one, dict) for one in value):
        return _asserted([(str(one.get("type")), one.get("value")) for one in value])
    if isinstance(value, list):
        return tuple(str(one) for one in value if isinstance(one, str | int | float) and one != "")
    text = _only_text(value)
    return (text,) if text else ()


def _assertion(cell: str) -> tuple[str, object]:
    """Read an ``__expected`` cell of promptfoo: ``type: value``, or the answer itself."""
    found = _ASSERTION.fullmatch(cell.strip())
    if found is None:
        return "equals", cell.strip()
    kind, value = found["type"], found["value"]
    if kind in _WHOLE | _PARTS:
        many = kind.endswith(("-any", "-all"))
        return kind, [part.strip() for part in value.split(",")] if many else value
    return ("none", "") if _NO_ANSWER.match(kind) else ("equals", cell.strip())


def _asserted(assertions: Sequence[tuple[str, object]]) -> tuple[str, ...]:
    """Return the accepted answers of promptfoo assertions: whole ones if there are any, else all parts as one."""
    whole = [text for kind, value in assertions if kind in _WHOLE for text in _listed(value)]
    parts = [text for kind, value in assertions if kind in _PARTS for text in _listed(value)]
    return tuple(dict.fromkeys(whole)) or ((" ".join(parts),) if parts else ())


def _listed(value: object) -> list[str]:
    return [str(one) for one in (value if isinstance(value, list) else [value]) if one not in (None, "")]


_Gold = tuple[tuple[str, ...], tuple[Supporting, ...]]


class _Collected:
    """The corpus is what the rows carry: every different context is a document.

    A reference context is then a whole document, so no span is labelled: which part of it answers is not known.
    """

    def __init__(self) -> None:
        self.documents: dict[str, Document] = {}
        self._ids: dict[str, str] = {}

    def gold(self, texts: Sequence[str], ids: Sequence[str], row: Row) -> _Gold:
        if ids and not texts:
            raise row.error(f"context ids {list(ids)!r} come without texts; name the documents with --corpus FILE")
        if ids and len(ids) != len(texts):
            raise row.error(f"{len(ids)} context ids for {len(texts)} contexts; give one id per context")
        added = [self._add(text, given, row) for text, given in zip(texts, ids or [""] * len(texts), strict=True)]
        return tuple(dict.fromkeys(added)), ()

    def join(self, texts: Sequence[str], row: Row) -> None:
        for text in texts:
            self._add(text, "", row)

    def _add(self, text: str, given: str, row: Row) -> str:
        if text in self._ids:
            return self._ids[text]
        name = given or f"c-{sha256(text.encode()).hexdigest()[:12]}"
        if name in self.documents:
            raise row.error(f"context id {name!r} stands for two different texts; ids must differ")
        self.documents[name] = Document(id=name, text=text)
        self._ids[text] = name
        return name


class _Given:
    """The corpus is a file of its own; the rows' contexts are passages of its documents."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.documents: dict[str, Document] = {}
        for row in rows:
            name, text, title = (row.values.get(key) for key in ("id", "text", "title"))
            if not isinstance(name, str | int) or not isinstance(text, str) or not text:
                raise row.error(f"a document needs 'id' and 'text', got {str(dict(row.values))[:80]!r}")
            if str(name) in self.documents:
                raise row.error(f"document id {name!r} stands there twice; ids must differ")
            self.documents[str(name)] = Document(id=str(name), text=text, title=title if isinstance(title, str) else "")

    def gold(self, texts: Sequence[str], ids: Sequence[str], row: Row) -> _Gold:
        unknown = next((one for one in ids if one not in self.documents), None)
        if unknown is not None:
            raise row.error(f"context id {unknown!r} is no document of the corpus; was the corpus cut anew?")
        spans = [self._find(text, ids, row) for text in texts]
        return tuple(dict.fromkeys([*ids, *(span.doc_id for span in spans)])), tuple(dict.fromkeys(spans))

    def join(self, texts: Sequence[str], row: Row) -> None:
        """Leave the corpus as it is: it is complete."""

    def _find(self, text: str, ids: Sequence[str], row: Row) -> Supporting:
        for name in ids or self.documents:
            start = self.documents[name].text.find(text)
            if start >= 0:
                return Supporting(doc_id=name, start=start, end=start + len(text))
        raise row.error(f"reference context {text[:60]!r} stands in no document of the corpus, letter by letter")


_Library = _Collected | _Given

"""What the golden files of other tools look like: the keys that tell a format, and where it keeps each field."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from costkit.errors import DataError
from costkit_evals.golden_rows import Row

__all__ = ["FIELDS", "Shape", "at", "keys_in_use", "tell"]

FIELDS = ("id", "question", "answer", "contexts", "context_ids", "other_contexts", "kind", "split", "answerable")
"""What a mapping may name. ``contexts`` hold the answer; ``other_contexts`` only join the corpus."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A format: the keys that give it away (one of each group), and where it keeps each field, best key first."""

    name: str
    signs: tuple[tuple[str, ...], ...] = ()
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


_ASKED = ("question", "query", "input", "user_input", "prompt")
_ANSWERED = ("answer", "answers", "reference", "output", "expected_output", "expected", "ground_truth")
_GIVEN = ("reference_contexts", "contexts", "context", "documents")


def _inside(parent: str, keys: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"{parent}.{key}" for key in keys)


_SHAPES = (
    Shape(
        name="LlamaIndex LabelledRagDataset",
        signs=(("query",), ("reference_answer", "reference_contexts")),
        keys={"question": ("query",), "answer": ("reference_answer",), "contexts": ("reference_contexts",)},
    ),
    Shape(
        name="ragas",
        signs=(("user_input",), ("reference", "reference_contexts", "retrieved_contexts", "response")),
        keys={
            "question": ("user_input",),
            "answer": ("reference",),
            "contexts": ("reference_contexts",),
            "context_ids": ("reference_context_ids",),
            "other_contexts": ("retrieved_contexts",),
            "kind": ("synthesizer_name", "query_style"),
        },
    ),
    Shape(
        name="ragas (names of version 1)",
        signs=(("question",), ("ground_truth", "ground_truths", "contexts")),
        keys={
            "question": ("question",),
            "answer": ("ground_truth", "ground_truths"),
            "contexts": ("reference_contexts",),
            "other_contexts": ("contexts",),
            "kind": ("evolution_type",),
        },
    ),
    Shape(
        name="LangSmith",
        signs=(("inputs",), ("outputs", "reference_outputs")),
        keys={
            "question": (*_inside("inputs", _ASKED), "inputs"),
            "answer": (
                *_inside("outputs", _ANSWERED),
                *_inside("reference_outputs", _ANSWERED),
                "outputs",
                "reference_outputs",
            ),
            "contexts": tuple(
                key
                for parent in ("outputs", "reference_outputs", "inputs", "metadata")
                for key in _inside(parent, _GIVEN)
            ),
            "split": ("split", "metadata.dataset_split"),
        },
    ),
    Shape(
        name="promptfoo",
        signs=(("vars", "__expected", "__expected1"),),
        keys={
            "question": (*_inside("vars", _ASKED), "vars", *_ASKED),
            "answer": ("assert", "__expected", *(f"__expected{number}" for number in range(1, 10))),
            "contexts": (*_inside("vars", _GIVEN), *_GIVEN),
        },
    ),
    Shape(
        name="DeepEval goldens",
        signs=(("input",), ("expectedOutput", "expected_output")),
        keys={
            "question": ("input",),
            "answer": ("expectedOutput", "expected_output"),
            "contexts": ("context",),
            "other_contexts": ("retrievalContext", "retrieval_context"),
        },
    ),
    Shape(
        name="Inspect samples",
        signs=(("input",), ("target",)),
        keys={"question": ("input",), "answer": ("target",), "contexts": _inside("metadata", _GIVEN)},
    ),
)
_COMMON = {
    "id": ("id", "metadata.id"),
    "kind": ("kind", "metadata.kind"),
    "split": ("split",),
    "answerable": ("answerable", "metadata.answerable"),
}


def tell(rows: Sequence[Row], mapping: Mapping[str, str]) -> Shape:
    """Return the format of a file's rows.

    Raises:
        DataError: It is none that is known, and the mapping does not name question and answer.
    """
    present = _present(rows)
    for shape in _SHAPES:
        if all(any(sign in present for sign in group) for group in shape.signs):
            return shape
    if {"question", "answer"} <= set(mapping):
        return Shape(name="mapped by hand")
    raise DataError(
        f"unknown format with keys {present!r}; name them with --map question=KEY --map answer=KEY "
        f"(and contexts=KEY), or use one of: {', '.join(shape.name for shape in _SHAPES)}",
        path=rows[0].path,
    )


def keys_in_use(shape: Shape, rows: Sequence[Row], mapping: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return the keys of each field that some row has, in order of preference.

    Raises:
        DataError: The mapping names a key that no row has.
    """
    used = {}
    for name in FIELDS:
        keys = (mapping[name],) if name in mapping else (*shape.keys.get(name, ()), *_COMMON.get(name, ()))
        there = tuple(dict.fromkeys(key for key in keys if any(at(row.values, key) is not None for row in rows)))
        if there:
            used[name] = there
        elif name in mapping:
            raise DataError(
                f"no row has the key {mapping[name]!r} that field {name!r} is mapped to; keys: {_present(rows)!r}",
                path=rows[0].path,
            )
    return used


def at(values: Mapping[str, object], key: str) -> object:
    """Return what ``key`` leads to, or None; dots lead into objects where no key has them in its name."""
    if key in values:
        return values[key]
    first, dot, rest = key.partition(".")
    inner = values.get(first)
    return at(inner, rest) if dot and isinstance(inner, dict) else None


def _present(rows: Sequence[Row]) -> list[str]:
    return sorted({str(key) for row in rows for key in row.values})

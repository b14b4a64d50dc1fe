"""Compare sentence splitters on our labelled lines and on passages whose source labels sentences.

    python -m venv /tmp/splitters && /tmp/splitters/bin/pip install ./shared sentencex syntok pysbd
    /tmp/splitters/bin/python scripts/compare_sentence_splitters.py --data FOLDER

FOLDER holds ``<set>/corpus.jsonl[.gz]`` files with ``sentence_spans``. The result stands in
docs/decisions/0004-sentence-splitting.md.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections.abc import Callable, Iterable
from itertools import accumulate
from pathlib import Path

import pysbd
import sentencex
from syntok import segmenter

from costkit.text import split_sentences

LABELLED = Path(__file__).parents[1] / "tests" / "core" / "data" / "sentences.txt"
LANGUAGES = {"german": "de", "french, spanish, dutch": "fr"}  # the two that must be told get the best single choice

Splitter = Callable[[str, str], list[str]]


def _syntok(text: str, _: str) -> list[str]:
    sentences = (sentence for paragraph in segmenter.analyze(text) for sentence in paragraph)
    return [text[s[0].offset : s[-1].offset + len(s[-1].value)] for s in sentences]


SPLITTERS: dict[str, Splitter] = {
    "costkit": lambda text, _: [text[span.start : span.end] for span in split_sentences(text)],
    "sentencex": lambda text, language: [s.strip() for s in sentencex.segment(language, text)],
    "syntok": _syntok,
    "pysbd": lambda text, language: [s.strip() for s in pysbd.Segmenter(language=language, clean=False).segment(text)],
}


def labelled() -> Iterable[tuple[str, str]]:
    """Yield (language, case) for each labelled line."""
    group = ""
    for line in LABELLED.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            group = line[3:]
        elif line and not line.startswith("#"):
            yield LANGUAGES.get(group, "en"), line.replace("⏎", "\n")


def exact_lines(split: Splitter) -> int:
    """Count the labelled lines that come out exactly."""
    return sum(
        split(case.replace("‖", ""), language) == [s.strip() for s in case.split("‖")] for language, case in labelled()
    )


def boundary_f1(split: Splitter, rows: list[dict[str, object]]) -> float:
    """Return F1 of the inner boundaries, counted in characters that are not white space."""
    hits = found_count = gold_count = 0
    for row in rows:
        text = str(row["text"])
        solid = [0, *accumulate(not character.isspace() for character in text)]
        gold = {solid[end] for _, end in row["sentence_spans"]} - {solid[-1]}  # type: ignore[attr-defined]
        lengths = (sum(not character.isspace() for character in piece) for piece in split(text, "en"))
        found = set(accumulate(lengths)) - {solid[-1]}
        hits, found_count, gold_count = hits + len(gold & found), found_count + len(found), gold_count + len(gold)
    return 2 * hits / (found_count + gold_count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of <set>/corpus.jsonl[.gz]")
    folder = parser.parse_args().data
    sets: dict[str, list[dict[str, object]]] = {}
    for path in sorted(folder.glob("*/corpus.jsonl*")):
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        if "sentence_spans" in rows[0]:
            sets[path.parent.name] = rows
    prose = "\n\n".join(str(row["text"]) for rows in sets.values() for row in rows)[-100_000:]
    cases = len(list(labelled()))
    for name, split in SPLITTERS.items():
        started = time.perf_counter()
        split(prose, "en")
        took = (time.perf_counter() - started) * 1000
        f1 = "  ".join(f"{label} F1 {boundary_f1(split, rows):.3f}" for label, rows in sets.items())
        print(f"{name:10} labelled {exact_lines(split)}/{cases}  {f1}  {took:.0f} ms per 100,000 characters")


if __name__ == "__main__":
    main()

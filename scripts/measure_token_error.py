"""Measure costkit's offline token estimate against two published tokenizers, and fit its weights.

    .venv/bin/python scripts/measure_token_error.py --data FOLDER [--catalogues /usr/share/locale] [--fit] [--write]

FOLDER holds ``<set>/corpus.jsonl[.gz]`` files with ``title`` and ``text``. Beside them the script reads its own texts
in scripts/token_texts, the Python standard library (code), and optionally the machine's message catalogues (other
languages). Documents fall into two halves by a hash of their names: ``--fit`` fits on the one, the table reports the
other. The tokenizers are npm packages, installed into a temporary folder; node and npm must be there.

``--fit`` rewrites shared/costkit/_token_weights.py, ``--write`` rewrites the table in docs/tokens.md.
"""

from __future__ import annotations

import argparse
import gettext
import gzip
import hashlib
import json
import subprocess
import sysconfig
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import lsqr

from costkit.tokens import ApproximateCounter, features, pieces

ROOT = Path(__file__).parents[1]
PACKAGES = ["js-tiktoken@1.0.21", "@anthropic-ai/tokenizer@0.0.4"]
LANGUAGES = "de fr es it nl pt pl cs sv tr ru uk el zh_CN ja ko ar he hi vi th fa bn ta".split()
MIN_TOKENS = 50
MARGIN = 1.1
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


@dataclass(frozen=True)
class Passage:
    """One text, the collection it is of, and whether its document is held out of the fit."""

    kind: str
    text: str
    held_out: bool


def held_out(kind: str, name: str) -> bool:
    return hashlib.sha256(f"{kind}/{name}".encode()).digest()[0] % 2 == 1


def corpora(folder: Path) -> Iterator[Passage]:
    for path in sorted(folder.glob("*/corpus.jsonl*")):
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8") as file:
            for line in file:
                row = json.loads(line)
                kind = path.parent.name
                yield Passage(kind, row["text"], held_out(kind, row.get("title") or row["id"]))


def own_texts() -> Iterator[Passage]:
    for path in sorted((ROOT / "scripts" / "token_texts").glob("*.txt")):
        for number, text in enumerate(path.read_text(encoding="utf-8").split("=====\n")):
            yield Passage(f"own {path.stem}", text, number % 2 == 1)


def standard_library() -> Iterator[Passage]:
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))[::2]:
        code = path.read_text(encoding="utf-8", errors="replace")[:20_000]
        for start in range(0, len(code), 2_000):
            yield Passage("Python code", code[start : start + 2_000], held_out("python", path.name))


def catalogues(folder: Path) -> Iterator[Passage]:
    for language in LANGUAGES:
        of_language = (
            Passage(f"catalogue {language}", text, held_out(language, path.name))
            for path in sorted((folder / language / "LC_MESSAGES").glob("*.mo"))
            for text in islice(messages(path), 12)
        )
        yield from islice(of_language, 160)


def messages(path: Path) -> Iterator[str]:
    """Yield the translations of one catalogue, joined to passages of about 600 characters."""
    try:
        with path.open("rb") as file:
            translations = gettext.GNUTranslations(file)._catalog.values()  # type: ignore[attr-defined]
    except (OSError, UnicodeDecodeError):
        return
    passage = ""
    for translation in translations:
        passage += f"{translation}\n"
        if len(passage) > 600:
            yield passage
            passage = ""


def count(texts: Sequence[str], modules: Path) -> np.ndarray:
    """Return (n, 2) true counts: o200k_base and the old Claude tokenizer."""
    command = ["node", str(ROOT / "scripts" / "count_tokens.mjs"), str(modules)]
    done = subprocess.run(command, input=json.dumps(texts), capture_output=True, text=True, check=True)
    return np.array(json.loads(done.stdout))


def fit(passages: Sequence[Passage], modules: Path) -> dict[str, int]:
    """Return the weights in hundredths of a token: ridge regression over the pieces of the fitting half."""
    seen = Counter(piece for passage in passages if not passage.held_out for piece in pieces(passage.text))
    costs = count(list(seen), modules)[:, 0]
    columns: dict[str, int] = {}
    rows, cols, values = [], [], []
    for row, (piece, times) in enumerate(seen.items()):
        for feature, number in Counter(features(piece)).items():
            rows.append(row)
            cols.append(columns.setdefault(feature, len(columns)))
            values.append(number * times**0.5)
    matrix = csr_matrix((values, (rows, cols)), shape=(len(seen), len(columns)))
    target = costs * np.sqrt(np.array(list(seen.values())))
    solved = lsqr(matrix, target, damp=3.0, iter_lim=2_000)[0]
    # Other scripts than Latin have one weight each, which cannot tell their languages apart: it errs upwards.
    margin = {feature: MARGIN if feature.startswith("chr:") else 1.0 for feature in columns}
    return {feature: round(100 * margin[feature] * float(solved[at])) for feature, at in columns.items()}


def write_weights(weights: dict[str, int]) -> None:
    words = [f"{feature} {weight}" for feature, weight in sorted(weights.items()) if weight]
    lines, line = [], ""
    for word in words:
        if len(line) + len(word) > 110:
            lines.append(line)
            line = ""
        line += f"{word} "
    body = "".join(f"{text.rstrip()}\n" for text in [*lines, line])
    banner = (
        "Written by scripts/measure_token_error.py --fit; do not edit.\n\nPairs of feature and hundredths of a token."
    )
    path = ROOT / "shared" / "costkit" / "_token_weights.py"
    path.write_text(f'"""{banner}\n"""\n\nWEIGHTS = """\n{body}"""\n', encoding="utf-8")


def table(passages: Sequence[Passage], true: np.ndarray) -> str:
    """Return the Markdown table over held-out passages of 50 o200k tokens and more."""
    counter = ApproximateCounter()
    ratios: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for passage, (o200k, claude) in zip(passages, true, strict=True):
        if passage.held_out and o200k >= MIN_TOKENS:
            estimate = counter.count(passage.text)
            ratios[passage.kind].append((o200k / estimate, claude / estimate))
    groups = {"**all but catalogues**": [r for kind, v in ratios.items() if "catalogue" not in kind for r in v]}
    names = ["mean error", "median true/estimate", "99.5%", "max"]
    heads = ["held-out texts", "n", *(f"o200k: {name}" for name in names), "old Claude: median", "old Claude: 99.5%"]
    lines = [f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1)]
    for kind, values in (groups | ratios).items():
        o200k, claude = np.array(values).T
        cells = [
            np.median(o200k),
            np.quantile(o200k, 0.995),
            o200k.max(),
            np.median(claude),
            np.quantile(claude, 0.995),
        ]
        error = np.mean(np.abs(1 / o200k - 1))
        lines.append(f"| {kind} | {len(values)} | {error:.1%} | " + " | ".join(f"{cell:.3f}" for cell in cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of <set>/corpus.jsonl[.gz]")
    parser.add_argument("--catalogues", type=Path, help="folder of gettext catalogues, for example /usr/share/locale")
    parser.add_argument("--fit", action="store_true", help="fit the weights anew and write them; then run once more")
    parser.add_argument("--write", action="store_true", help="put the table into docs/tokens.md")
    args = parser.parse_args()
    found = [*corpora(args.data), *own_texts(), *standard_library()]
    found += catalogues(args.catalogues) if args.catalogues else []
    passages = list({passage.text: passage for passage in found if passage.text.strip()}.values())
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "install", "--silent", "--prefix", folder, *PACKAGES], check=True)
        if args.fit:
            write_weights(fit(passages, Path(folder)))
            return
        true = count([passage.text for passage in passages], Path(folder))
    result = table(passages, true)
    print(result)
    if args.write:
        page = ROOT / "docs" / "tokens.md"
        before, rest = page.read_text(encoding="utf-8").split(BEGIN)
        page.write_text(f"{before}{BEGIN}\n\n{result}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()

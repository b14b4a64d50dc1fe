"""Every Python block of the guides and the READMEs runs as it stands, page by page, without a network."""

from __future__ import annotations

import gc
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.instrumentation import get_dispatcher
from sybil import Document, Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

from costkit.embed import Embedder
from costkit.ledger import default_ledger

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SYBIL = Sybil(parsers=[PythonCodeBlockParser()])

PAGES = sorted(
    path.relative_to(ROOT)
    for pattern in ("*.md", "docs/**/*.md", "shared/README.md", "packages/*/README.md", "evals/README.md")
    for path in ROOT.glob(pattern)
)
WITH_BLOCKS = [page for page in PAGES if "```python" in (ROOT / page).read_text(encoding="utf-8")]
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")


@pytest.fixture
def preamble(minilm: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The names that every page starts from, in an empty project folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COSTKIT_EMBEDDER", "minilm")
    for name in ("ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(name, "set by the preamble")
    root = get_dispatcher()
    handlers = list(root.event_handlers)
    monkeypatch.syspath_prepend(DOCS)
    names = vars(importlib.import_module("preamble"))
    yield names
    names["closing"].close()
    del sys.modules["preamble"]
    gc.collect()  # what a page leaves open is found here, and not in a later test
    root.event_handlers[:] = handlers
    default_ledger().close()


def blocks_of(page: Path) -> Document:
    return SYBIL.parse(ROOT / page)


# LlamaIndex's chat memory never closes its database, which lives in memory, nor the event loop it runs it in.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("page", WITH_BLOCKS, ids=str)
def test_the_blocks_of_a_page_run_in_order(page: Path, preamble: dict[str, Any]) -> None:
    document = blocks_of(page)
    document.namespace.update(preamble)
    for block in document.examples():
        block.evaluate()


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_the_links_of_a_page_lead_to_files(page: Path) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert [link for link in LINK.findall(text) if not (ROOT / page).parent.joinpath(link).exists()] == []


def test_the_index_names_every_guide() -> None:
    linked = set(LINK.findall((DOCS / "index.md").read_text(encoding="utf-8")))
    guides = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md") if "decisions" not in path.parts}
    assert guides - {"index.md"} <= linked

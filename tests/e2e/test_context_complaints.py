"""What users of other context compressors and rerankers complain about, one test each.

That published results do not reproduce is answered by ``costkit bench context`` and its data, not by a test.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from llama_index.core.schema import NodeRelationship, NodeWithScore, RelatedNodeInfo, TextNode

from costkit.context import ContextReducer
from costkit.context import Document as Source
from costkit.embed import Embedder, remember
from costkit.testing import ListRecorder
from costkit.tokens import default_counter, upper_bound
from langchain_costkit import CostkitDocumentCompressor, CostkitRetriever
from llamaindex_costkit import CostkitNodePostprocessor

Make = Callable[..., ContextReducer]

FILLER = (
    "The canteen serves lunch from noon until two. Bicycles are parked behind the main building. "
    "The library lends books for four weeks. Plants in the hall are watered on Fridays. "
)
LEAVE = (
    "Annual leave is 27.5 days a year. Up to 5 days are carried over. Carried days do not lapse before 31 March 2027."
)


@pytest.fixture(scope="module")
def embedder(minilm: Embedder) -> Embedder:
    return remember(minilm)


@pytest.fixture
def make(embedder: Embedder) -> Make:
    def build(budget_tokens: int, **options: Any) -> ContextReducer:
        settings = {"recorder": ListRecorder()} | ({} if "reranker" in options else {"embedder": embedder})
        return ContextReducer(budget_tokens=budget_tokens, **settings, **options)

    return build


class Shelf(BaseRetriever):
    """Returns the same documents for every question."""

    documents: list[Document]

    def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:
        return self.documents


def documents(count: int = 12) -> list[Document]:
    found = [Document(FILLER * 2, id=f"filler{at}", metadata={"source": f"filler{at}.md"}) for at in range(count - 1)]
    return [*found, Document(FILLER + LEAVE, id="leave", metadata={"source": "leave.md", "page": 3})]


def test_1_key_information_stays_and_no_sentence_is_cut(make: Make) -> None:
    reduction = make(60).reduce("Until when do carried days not lapse?", [Source(id="a", text=FILLER * 6 + LEAVE)])
    assert "Carried days do not lapse before 31 March 2027." in reduction.context
    assert all(span.text.endswith(".") for span in reduction.kept)


def test_2_sources_survive_and_what_was_dropped_is_known(make: Make) -> None:
    retriever = CostkitRetriever(Shelf(documents=documents()), reducer=make(60))
    found = retriever.invoke("How many days are carried over?")
    by_source = {document.metadata["source"]: document for document in found}
    original = documents()[-1]
    assert by_source["leave.md"].metadata["page"] == 3
    kept = [original.page_content[start:end] for start, end in by_source["leave.md"].metadata["costkit_spans"]]
    assert "Up to 5 days are carried over." in kept
    reduction = make(60).reduce(
        "Carried over?", [Source(id=one.id or "", text=one.page_content) for one in documents()]
    )
    assert {one.document_id for one in (*reduction.kept, *reduction.dropped)} == {one.id for one in documents()}


@pytest.mark.parametrize("budget", [20, 60, 150, 400, 2000, 5000])
def test_3_the_budget_is_kept_whatever_its_size(make: Make, budget: int) -> None:
    rules = (" ".join(f"Rule {at}.{number} of house {at} is to be kept." for number in range(9)) for at in range(60))
    given = [Source(id=str(at), text=f"{rule} {LEAVE}") for at, rule in enumerate(rules)]
    reduction = make(budget).reduce("How many days are carried over?", given)
    assert upper_bound(default_counter(), reduction.context) <= budget < reduction.tokens_before
    assert reduction.passages


def test_4_and_5_it_needs_neither_a_gpu_nor_transformers() -> None:
    script = (
        "import sys\n"
        "from costkit.context import ContextReducer, Document\n"
        "from costkit.testing import HashEmbedder, ListRecorder\n"
        "reducer = ContextReducer(budget_tokens=9, embedder=HashEmbedder(), recorder=ListRecorder())\n"
        "print(reducer.reduce('leave', [Document(id='a', text='Leave is 5 days. ' * 9)]).decision)\n"
        "print([name for name in ('torch', 'transformers', 'llmlingua', 'accelerate') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["reduced", "[]"]


def test_7_a_clear_question_gets_a_short_context_and_no_fixed_share(make: Make) -> None:
    given = [Source(id=one.id or "", text=one.page_content) for one in documents(40)]
    given = [Source(id=one.id, text=one.text.replace("canteen", f"canteen of house {one.id}")) for one in given]
    reduction = make(300).reduce("How many days of annual leave are carried over?", given)
    assert LEAVE in reduction.context
    assert reduction.tokens_after < 0.9 * 300


def test_8_markdown_links_code_and_json_are_kept_or_dropped_whole(make: Make) -> None:
    code = '```json\n{"leave": {"days": 27.5, "lapses": "2027-03-31"}}\n```'
    table = "| Kind | Days |\n|---|---|\n| annual leave | 27.5 |\n| sick leave | 10 |"
    link = "The [leave form](https://acme.example/forms?id=7&year=2027) is sent to the office."
    source = f"# Leave\n\n{FILLER}\n\n{table}\n\n{link}\n\n{code}\n\n{FILLER}"
    for budget in range(20, 130, 5):
        context = (
            make(budget)
            .reduce("Which leave form, and what json has the days of leave?", [Source(id="a", text=source)])
            .context
        )
        assert ("acme.example" in context) == (link in context)
        assert ("lapses" in context) == (code in context)
        rows = [line for line in context.splitlines() if line.startswith("| ")]
        assert all(row in table for row in rows)
        assert not rows or "| Kind | Days |\n|---|---|" in context


def test_9_a_reranker_of_ones_own_is_any_object_with_a_name_and_scores(make: Make) -> None:
    class Longest:
        name = "longest"

        def score(self, question: str, texts: Sequence[str]) -> list[float]:
            return [float(len(text)) for text in texts]

    reduction = make(9, reranker=Longest()).reduce(
        "?", [Source(id="a", text="A short one. The longest one stands here. Another one. A last one.")]
    )
    assert [span.text for span in reduction.kept] == ["The longest one stands here."]


async def test_10_scores_are_plain_floats_that_json_takes(make: Make) -> None:
    class Narrow:
        name = "float32"

        def score(self, question: str, texts: Sequence[str]) -> list[float]:
            return list(np.linspace(0, 1, len(texts), dtype=np.float32))  # type: ignore[arg-type]

    reducer = make(30, reranker=Narrow())
    found = await CostkitRetriever(Shelf(documents=documents(2)), reducer=reducer).ainvoke("Leave?")
    assert json.loads(json.dumps([one.metadata for one in found])) == [one.metadata for one in found]
    assert all(type(one.metadata["costkit_score"]) is float for one in found)
    reduction = reducer.reduce("Leave?", [Source(id=one.id or "", text=one.page_content) for one in documents(2)])
    assert {type(span.score) for span in reduction.kept} == {float}


def test_10_a_score_that_was_stored_before_does_not_hide_the_new_one(make: Make) -> None:
    given = [one.model_copy(update={"metadata": {**one.metadata, "costkit_score": "old"}}) for one in documents(3)]
    found = CostkitDocumentCompressor(reducer=make(40)).compress_documents(given, "How many days are carried over?")
    assert all(isinstance(one.metadata["costkit_score"], float) for one in found)
    assert {one.metadata["costkit_score"] for one in given} == {"old"}


def test_11_a_failing_or_undecided_reranker_leaves_no_empty_context(make: Make) -> None:
    class Broken:
        name = "broken"

        def score(self, question: str, texts: Sequence[str]) -> list[float]:
            raise OSError("no model")

    class Blank(Broken):
        def score(self, question: str, texts: Sequence[str]) -> list[float]:
            return [0.0] * len(texts)

    for reranker in (Broken(), Blank()):
        compressor = CostkitDocumentCompressor(reducer=make(60, reranker=reranker))
        wrapped = ContextualCompressionRetriever(
            base_compressor=compressor, base_retriever=Shelf(documents=documents())
        )
        assert wrapped.invoke("Who won the cup in 1998?")
        assert compressor.compress_documents([], "Leave?") == []


def test_12_sentences_keep_the_order_of_the_source_and_sources_their_nodes(make: Make) -> None:
    source = RelatedNodeInfo(node_id="leave.md")
    node = TextNode(text=FILLER + LEAVE + FILLER, id_="leave", relationships={NodeRelationship.SOURCE: source})
    asked = "Until when do carried days not lapse, how many are carried over, and how many days is annual leave?"
    (left,) = CostkitNodePostprocessor(reducer=make(70)).postprocess_nodes([NodeWithScore(node=node)], query_str=asked)
    spans = left.metadata["costkit_spans"]
    assert len(spans) >= 3
    assert spans == sorted(spans)
    assert re.sub(r"\s+", " ", left.text).find("Annual leave") < left.text.find("Carried days")
    assert left.node.ref_doc_id == "leave.md"

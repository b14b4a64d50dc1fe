"""``CostkitRetriever`` and ``CostkitDocumentCompressor``: what the question needs, within a token budget."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import Any

import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_classic.retrievers.document_compressors import DocumentCompressorPipeline
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_tests.integration_tests import RetrieversIntegrationTests

from costkit import ConfigurationError, Scope
from costkit.context import ContextReducer
from costkit.context.relevance import Scores
from costkit.scope import use
from costkit.testing import HashEmbedder, ListRecorder, WordCounter
from langchain_costkit import CostkitDocumentCompressor, CostkitDocumentTransformer, CostkitRetriever

QUESTION = "within how many days are refunds paid"
KEPT = "Refunds are paid within 14 days."


@pytest.fixture
def reducer(recorder: ListRecorder) -> ContextReducer:
    return ContextReducer(budget_tokens=8, embedder=HashEmbedder(), counter=WordCounter(), recorder=recorder)


class Fixed(BaseRetriever):
    """Finds four short documents, whatever is asked."""

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        return [
            Document(f"Document {number} tells of {word}.") for number, word in enumerate(("tea", "rum", "ink", "oak"))
        ]


class TestStandard(RetrieversIntegrationTests):
    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        return CostkitRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        reducer = ContextReducer(embedder=HashEmbedder(), counter=WordCounter(), recorder=ListRecorder())
        return {"retriever": Fixed(), "reducer": reducer}

    @property
    def retriever_query_example(self) -> str:
        return "what tells of tea"


async def test_documents_are_cut_to_what_the_question_needs(
    retriever: BaseRetriever, documents: list[Document], reducer: ContextReducer
) -> None:
    before = copy.deepcopy(documents)
    reducing = CostkitRetriever(retriever, reducer=reducer)

    found = reducing.invoke(QUESTION)

    assert [document.page_content for document in found] == [KEPT]
    assert found == await reducing.ainvoke(QUESTION)
    assert found[0].id == "refunds#0"
    assert found[0].metadata["source"] == "refunds.md"
    ((start, end),) = found[0].metadata["costkit_spans"]
    assert documents[0].page_content[start:end] == KEPT
    assert isinstance(found[0].metadata["costkit_score"], float)
    assert documents == before


def test_documents_that_fit_come_back_whole(retriever: BaseRetriever, documents: list[Document]) -> None:
    recorder = ListRecorder()
    roomy = ContextReducer(embedder=HashEmbedder(), counter=WordCounter(), recorder=recorder)

    found = CostkitRetriever(retriever, reducer=roomy).invoke(QUESTION)

    assert [document.page_content for document in found] == [document.page_content for document in documents]


def test_documents_without_or_with_equal_ids_are_kept_apart(retriever: BaseRetriever, reducer: ContextReducer) -> None:
    twins = [
        Document("Refunds are quick.", id="a"),
        Document("Refunds are free.", id="a"),
        Document("Cats sleep all day."),
    ]
    compressor = CostkitDocumentCompressor(reducer=reducer)

    found = compressor.compress_documents(twins, "refunds")

    assert [(one.id, one.page_content) for one in found] == [("a", "Refunds are quick."), ("a", "Refunds are free.")]


async def test_the_decision_is_booked_for_the_scope(
    retriever: BaseRetriever, reducer: ContextReducer, recorder: ListRecorder
) -> None:
    reducing = CostkitRetriever(retriever, reducer=reducer)
    with use(Scope(tenant="acme")):
        reducing.invoke(QUESTION, {"metadata": {"costkit_user": "ann"}})
        await reducing.ainvoke(QUESTION)

    assert [event.scope for event in recorder.events] == [Scope(tenant="acme", user="ann"), Scope(tenant="acme")]
    assert {event.decision for event in recorder.events} == {"reduced"}


class BrokenCounter(WordCounter):
    def count(self, text: str) -> int:
        raise OSError("no vocabulary")


class BrokenReranker:
    name = "broken"

    def score(self, question: str, texts: Any) -> list[float]:
        raise OSError("no model")


def test_a_broken_reranker_steps_aside_within_the_budget(retriever: BaseRetriever, recorder: ListRecorder) -> None:
    reducer = ContextReducer(budget_tokens=8, reranker=BrokenReranker(), counter=WordCounter(), recorder=recorder)

    found = CostkitRetriever(retriever, reducer=reducer).invoke(QUESTION)

    assert 0 < sum(len(document.page_content.split()) for document in found) <= 8
    assert recorder.events[0].decision == "fallback"


def test_k_keeps_the_best_documents(retriever: BaseRetriever, reducer: ContextReducer) -> None:
    assert len(CostkitRetriever(retriever, k=1, reducer=reducer).invoke(QUESTION)) == 1
    assert len(CostkitRetriever(retriever, reducer=reducer).invoke(QUESTION, k=1)) == 1
    with pytest.raises(ConfigurationError, match="k must be"):
        CostkitRetriever(retriever, reducer=reducer).invoke(QUESTION, k=0)


def test_a_broken_counter_steps_aside(retriever: BaseRetriever, recorder: ListRecorder) -> None:
    reducer = ContextReducer(budget_tokens=20, embedder=HashEmbedder(), counter=BrokenCounter(), recorder=recorder)

    found = CostkitRetriever(retriever, reducer=reducer).invoke(QUESTION)

    assert found
    assert [(event.decision, event.status) for event in recorder.events] == [("fallback", "failed")]


async def test_it_works_in_langchains_compression_retriever_and_pipeline(
    retriever: BaseRetriever, reducer: ContextReducer
) -> None:
    compressor = CostkitDocumentCompressor(reducer=reducer)
    pipeline = DocumentCompressorPipeline(transformers=[compressor])
    for base_compressor in (compressor, pipeline):
        wrapped = ContextualCompressionRetriever(base_compressor=base_compressor, base_retriever=retriever)

        assert [document.page_content for document in wrapped.invoke(QUESTION)] == [KEPT]
        assert [document.page_content for document in await wrapped.ainvoke(QUESTION)] == [KEPT]


def test_a_kept_text_names_the_other_documents_that_it_stands_in(reducer: ContextReducer) -> None:
    twin = Document(f"Cats sleep all day. {KEPT}", id="twin", metadata={"source": "b.md", "page": 7})
    given = [Document(KEPT, id="first", metadata={"source": "a.md"}), twin, Document("Parcels are shipped on Monday.")]

    (found,) = CostkitDocumentCompressor(reducer=reducer).compress_documents(given, QUESTION)

    (other,) = found.metadata["costkit_also_in"]
    cited = {document.id: document for document in given}[other["id"]]
    assert {found.id, other["id"]} == {"first", "twin"}
    assert other["metadata"] == cited.metadata
    start, end = other["span"]
    assert cited.page_content[start:end] == KEPT


class FindsNothing:
    """A reranker to whom nothing given bears on the question."""

    name = "finds nothing"

    def score(self, question: str, texts: Sequence[str]) -> list[float]:
        return [0.0] * len(texts)

    def judge(self, question: str, documents: Sequence[object], units: Sequence[object]) -> Scores:
        return Scores(relevance=[0.0] * len(units), probabilities=[0.01] * len(units), nothing=True)


async def test_where_nothing_bears_on_the_question_no_document_comes_back_on_request(
    retriever: BaseRetriever, recorder: ListRecorder
) -> None:
    empty, keep = (
        ContextReducer(
            budget_tokens=8, reranker=FindsNothing(), counter=WordCounter(), recorder=recorder, on_nothing=on_nothing
        )
        for on_nothing in ("empty", "keep")
    )

    assert CostkitRetriever(retriever, reducer=empty).invoke(QUESTION) == []
    assert await CostkitRetriever(retriever, reducer=empty).ainvoke(QUESTION) == []
    assert CostkitRetriever(retriever, reducer=keep).invoke(QUESTION)
    assert {event.decision for event in recorder.events} == {"nothing"}


MENU = "Acme Handbook\nHome | Products | Contact"
PAGES = ["Refunds are paid within 14 days.", "Parcels are shipped on Monday.", "Cats sleep all day."]


async def test_boilerplate_goes_at_ingestion_and_nothing_else_changes() -> None:
    given = [
        Document(f"{MENU}\n\n{body}", id=f"p{at}", metadata={"source": f"{at}.md"}) for at, body in enumerate(PAGES)
    ]
    before = copy.deepcopy(given)

    left = CostkitDocumentTransformer().transform_documents(given)

    assert [document.page_content for document in left] == [f"{MENU}\n\n{PAGES[0]}", *PAGES[1:]]
    assert [document.id for document in left] == ["p0", "p1", "p2"]
    assert given == before
    assert left[0] is given[0]
    assert left[1].metadata["source"] == "1.md"
    ((start, end),) = json.loads(left[1].metadata["costkit_source_spans"])
    assert given[1].page_content[start:end] == PAGES[1]
    assert await CostkitDocumentTransformer().atransform_documents(given) == left


def test_a_passage_of_two_documents_is_stored_once_and_cites_both() -> None:
    rule = (
        "Unused annual leave can be carried over into the next year up to five days, and it lapses at the end of March."
    )
    given = [Document(rule, id="a"), Document(f"Also:\n\n{rule}", id="b"), Document(rule, id="c")]

    left = CostkitDocumentTransformer().transform_documents(given)

    assert [(document.id, document.page_content) for document in left] == [("a", rule), ("b", "Also:")]
    assert [place["id"] for place in json.loads(left[0].metadata["costkit_source_also_in"])] == ["b", "c"]
    assert all(isinstance(value, str) for document in left for value in document.metadata.values())


def test_wrong_options_are_refused_at_construction(retriever: BaseRetriever, reducer: ContextReducer) -> None:
    with pytest.raises(ConfigurationError, match="no option 'budget_token'"):
        CostkitRetriever(retriever, budget_token=100)
    assert CostkitRetriever(retriever, reducer=reducer, tags=["handbook"]).tags == ["handbook"]
    with pytest.raises(ConfigurationError, match="k must be"):
        CostkitRetriever(retriever, k=0, reducer=reducer)
    with pytest.raises(ConfigurationError, match="budget_tokens=5"):
        CostkitRetriever(retriever, budget_tokens=5, reducer=reducer)
    with pytest.raises(ConfigurationError, match="budget_tokens"):
        CostkitDocumentCompressor(budget_tokens=0)

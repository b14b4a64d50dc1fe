"""``CostkitNodePostprocessor()``: retrieved nodes are cut to the sentences a question needs."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import Any

import pytest
from llama_index.core.chat_engine import ContextChatEngine
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import Document, ImageNode, MetadataMode, NodeWithScore, QueryBundle
from pydantic import PrivateAttr

from costkit import ConfigurationError, Scope
from costkit.cache import ResponseCache
from costkit.context import ContextReducer
from costkit.context.relevance import Scores
from costkit.scope import use
from costkit.testing import HashEmbedder, ListRecorder
from llamaindex_costkit import CostkitNodePostprocessor, CostkitQueryEngine, CostkitTransformComponent

QUESTION = "Refunds are paid within how many days"
REFUNDS = "Refunds are paid within 14 days."


@pytest.fixture
def postprocessor(recorder: ListRecorder) -> CostkitNodePostprocessor:
    return CostkitNodePostprocessor(
        reducer=ContextReducer(budget_tokens=16, embedder=HashEmbedder(), recorder=recorder)
    )


def test_what_is_left_of_a_node_is_the_sentence_that_answers(
    postprocessor: CostkitNodePostprocessor, nodes: list[NodeWithScore]
) -> None:
    left = postprocessor.postprocess_nodes(nodes, query_str=QUESTION)

    assert [one.text for one in left] == [REFUNDS]
    start, end = left[0].metadata["costkit_spans"][0]
    assert nodes[0].text[start:end] == REFUNDS
    assert isinstance(left[0].metadata["costkit_score"], float)


async def test_k_keeps_the_best_nodes_and_those_without_text(nodes: list[NodeWithScore]) -> None:
    image = NodeWithScore(node=ImageNode(image_url="http://127.0.0.1/plan.png"))
    best = CostkitNodePostprocessor(k=1, reducer=ContextReducer(budget_tokens=900, embedder=HashEmbedder()))

    left = best.postprocess_nodes([*nodes, image], query_str=QUESTION)

    assert [one.node_id for one in left] == ["refunds#0", image.node_id]
    again = await best.apostprocess_nodes([*nodes, image], query_bundle=QueryBundle(QUESTION))
    assert [one.node_id for one in again] == [one.node_id for one in left]


def test_a_wrong_k_is_named_at_construction() -> None:
    with pytest.raises(ConfigurationError, match="k must be an integer of 1 or more, got 0"):
        CostkitNodePostprocessor(k=0)


def test_ids_relationships_scores_and_metadata_stay(
    postprocessor: CostkitNodePostprocessor, nodes: list[NodeWithScore]
) -> None:
    before = copy.deepcopy(nodes)

    (left,) = postprocessor.postprocess_nodes(nodes, query_str=QUESTION)

    assert (left.node_id, left.score, left.node.ref_doc_id) == ("refunds#0", 0.9, "refunds.md")
    assert left.metadata["page"] == 3
    assert type(left.node) is type(nodes[0].node)
    assert nodes == before, "the caller's nodes are never changed"


def test_the_facts_of_the_reduction_cost_no_tokens(
    postprocessor: CostkitNodePostprocessor, nodes: list[NodeWithScore]
) -> None:
    (left,) = postprocessor.postprocess_nodes(nodes, query_str=QUESTION)

    for mode in (MetadataMode.LLM, MetadataMode.EMBED):
        assert left.get_content(metadata_mode=mode) == f"page: 3\n\n{REFUNDS}"


def test_nodes_within_the_budget_keep_their_whole_text(nodes: list[NodeWithScore], recorder: ListRecorder) -> None:
    wide = CostkitNodePostprocessor(
        reducer=ContextReducer(budget_tokens=500, embedder=HashEmbedder(), recorder=recorder)
    )

    left = wide.postprocess_nodes(nodes, query_str=QUESTION)

    assert [one.text for one in left] == [one.text for one in nodes]
    assert [one.metadata["costkit_spans"] for one in left] == [[[0, len(one.text)]] for one in nodes]


def test_documents_are_reduced_and_nodes_without_text_pass_through(
    postprocessor: CostkitNodePostprocessor, nodes: list[NodeWithScore]
) -> None:
    document = NodeWithScore(node=Document(text=nodes[0].text, id_="whole"), score=0.5)
    image = NodeWithScore(node=ImageNode(image_url="https://example.org/p.png"), score=0.1)

    left = postprocessor.postprocess_nodes([image, document], query_str=QUESTION)

    assert [type(one.node) for one in left] == [Document, ImageNode]
    assert left[0].node.get_content() == REFUNDS
    assert document.node.get_content() == nodes[0].text
    assert left[1] is image


def test_nodes_of_one_id_are_told_apart(postprocessor: CostkitNodePostprocessor, nodes: list[NodeWithScore]) -> None:
    twin = nodes[1].model_copy(update={"node": nodes[1].node.model_copy(update={"id_": "refunds#0"})})

    left = postprocessor.postprocess_nodes([nodes[0], twin], query_str=QUESTION)

    assert [one.text for one in left] == [REFUNDS]


async def test_the_async_path_gives_the_same(
    postprocessor: CostkitNodePostprocessor, nodes: list[NodeWithScore]
) -> None:
    one, other = (
        postprocessor.postprocess_nodes(nodes, query_str=QUESTION),
        await postprocessor.apostprocess_nodes(nodes, query_str=QUESTION),
    )

    assert one == other


async def test_without_a_question_nodes_pass_as_they_are(
    postprocessor: CostkitNodePostprocessor, nodes: list[NodeWithScore]
) -> None:
    assert postprocessor.postprocess_nodes(nodes) == nodes
    assert await postprocessor.apostprocess_nodes(nodes) == nodes


async def test_a_question_that_is_no_text_leaves_nodes_as_they_are(
    postprocessor: CostkitNodePostprocessor, nodes: list[NodeWithScore], caplog: pytest.LogCaptureFixture
) -> None:
    question: Any = QueryBundle(query_str=None)  # type: ignore[arg-type]  # what a wrong transform hands on

    assert postprocessor.postprocess_nodes(nodes, query_bundle=question) == nodes
    assert await postprocessor.apostprocess_nodes(nodes, query_bundle=question) == nodes
    assert len(caplog.records) == 1


class Broken(HashEmbedder):
    """An embedder that cannot embed."""

    def embed(self, texts: Any) -> Any:
        raise OSError("model file is gone")


def test_a_failing_embedder_steps_aside_within_the_budget(nodes: list[NodeWithScore], recorder: ListRecorder) -> None:
    broken = CostkitNodePostprocessor(reducer=ContextReducer(budget_tokens=16, embedder=Broken(), recorder=recorder))

    assert [one.text for one in broken.postprocess_nodes(nodes, query_str=QUESTION)] == [REFUNDS]
    assert recorder.events[0].decision == "fallback"


def test_a_wrong_budget_is_named() -> None:
    with pytest.raises(ConfigurationError, match="budget_tokens"):
        CostkitNodePostprocessor(budget_tokens=0)


def test_one_line_is_enough(
    nodes: list[NodeWithScore], monkeypatch: pytest.MonkeyPatch, recorder: ListRecorder
) -> None:
    monkeypatch.setattr("costkit.context.reduce.default_recorder", lambda: recorder)
    monkeypatch.setattr("costkit.context.embedding.default_embedder", HashEmbedder)

    assert len(CostkitNodePostprocessor().postprocess_nodes(nodes, query_str=QUESTION)) == 2
    assert CostkitNodePostprocessor.class_name() == "CostkitNodePostprocessor"
    assert recorder.events[0].part == "context"


@pytest.mark.parametrize("streaming", [False, True])
def test_it_stands_in_a_query_engine_behind_the_cache(
    postprocessor: CostkitNodePostprocessor,
    retriever: Any,
    llm: Any,
    response_cache: ResponseCache,
    recorder: ListRecorder,
    streaming: bool,
) -> None:
    engine = RetrieverQueryEngine.from_args(
        retriever, llm=llm, node_postprocessors=[postprocessor], streaming=streaming
    )
    cached = CostkitQueryEngine(engine, version="1", cache=response_cache)

    with use(Scope(tenant="acme")):
        assert str(cached.query(QUESTION)) == "answer 1"
        assert cached.query(QUESTION).source_nodes[0].metadata["costkit_spans"] == [[0, len(REFUNDS)]]
        cached.cache.invalidate("refunds.md")
        assert str(cached.query(QUESTION)) == "answer 2"

    prompt = llm.calls[0][-1].content
    assert REFUNDS in prompt
    assert "Cats" not in prompt
    cache, context = recorder.events[:2]
    assert (context.part, context.scope.tenant, context.run_id) == ("context", "acme", cache.run_id)
    assert context.saved.input_tokens > 0


async def test_it_stands_in_a_chat_engine(postprocessor: CostkitNodePostprocessor, retriever: Any, llm: Any) -> None:
    chat = ContextChatEngine.from_defaults(
        retriever=retriever,
        llm=llm,
        node_postprocessors=[postprocessor],
        memory=ChatMemoryBuffer.from_defaults(token_limit=1000),
    )

    replies = [str(chat.chat(QUESTION)), str(await chat.achat(QUESTION))]

    assert replies == ["answer 1", "answer 2"]
    assert all(REFUNDS in call[0].content and "Cats" not in call[0].content for call in llm.calls)


@pytest.mark.parametrize("embedder", [HashEmbedder(), Broken()])
@pytest.mark.parametrize(("question", "told"), [(QUESTION, ["ReRankStartEvent", "ReRankEndEvent"]), (None, [])])
def test_rerank_events_come_in_pairs(
    nodes: list[NodeWithScore], recorder: ListRecorder, embedder: HashEmbedder, question: Any, told: list[str]
) -> None:
    class Seen(BaseEventHandler):
        _names: list[str] = PrivateAttr(default_factory=list)

        def handle(self, event: Any, **kwargs: Any) -> None:
            self._names.append(event.class_name())

    seen = Seen()
    get_dispatcher().add_event_handler(seen)

    reducer = ContextReducer(budget_tokens=16, embedder=embedder, recorder=recorder)
    CostkitNodePostprocessor(reducer=reducer).postprocess_nodes(nodes, query_bundle=QueryBundle(question))

    assert seen._names == told


def test_it_is_saved_by_its_options_alone(postprocessor: CostkitNodePostprocessor) -> None:
    assert postprocessor.to_dict() == {"budget_tokens": 16, "k": None, "class_name": "CostkitNodePostprocessor"}


def test_a_kept_text_names_the_other_nodes_that_it_stands_in(
    postprocessor: CostkitNodePostprocessor, nodes: list[NodeWithScore]
) -> None:
    twin = NodeWithScore(node=Document(text=f"Cats sleep all day. {REFUNDS}", id_="twin"), score=0.1)

    (left,) = postprocessor.postprocess_nodes([nodes[0], twin], query_str=QUESTION)

    by_id = {one.node_id: one for one in (nodes[0], twin)}
    (place,) = left.metadata["costkit_also_in"]
    assert {left.node_id, place["node_id"]} == set(by_id)
    start, end = place["span"]
    assert by_id[place["node_id"]].node.get_content()[start:end] == REFUNDS
    assert "costkit" not in left.get_content(metadata_mode=MetadataMode.LLM)


class FindsNothing:
    """A reranker to whom nothing given bears on the question."""

    name = "finds nothing"

    def score(self, question: str, texts: Sequence[str]) -> list[float]:
        return [0.0] * len(texts)

    def judge(self, question: str, documents: Sequence[object], units: Sequence[object]) -> Scores:
        return Scores(relevance=[0.0] * len(units), probabilities=[0.01] * len(units), nothing=True)


def test_where_nothing_bears_on_the_question_only_nodes_without_text_are_left_on_request(
    nodes: list[NodeWithScore], recorder: ListRecorder
) -> None:
    image = NodeWithScore(node=ImageNode(image_url="http://127.0.0.1/plan.png"))
    reducer = ContextReducer(budget_tokens=16, reranker=FindsNothing(), recorder=recorder, on_nothing="empty")

    assert CostkitNodePostprocessor(reducer=reducer).postprocess_nodes([*nodes, image], query_str=QUESTION) == [image]
    assert recorder.events[0].decision == "nothing"


MENU = "Acme Handbook\nHome | Products | Contact"
PAGES = [REFUNDS, "Parcels are shipped on Monday.", "Cats sleep all day."]


@pytest.fixture
def pages() -> list[Document]:
    return [Document(text=f"{MENU}\n\n{body}", id_=f"p{at}", metadata={"page": at}) for at, body in enumerate(PAGES)]


async def test_boilerplate_goes_in_an_ingestion_pipeline(pages: list[Document]) -> None:
    before = copy.deepcopy(pages)
    pipeline = IngestionPipeline(transformations=[CostkitTransformComponent(), SentenceSplitter()])

    for stored in (pipeline.run(documents=pages), await pipeline.arun(documents=pages)):
        assert [node.get_content() for node in stored] == [f"{MENU}\n\n{PAGES[0]}", *PAGES[1:]]
        assert [node.ref_doc_id for node in stored] == ["p0", "p1", "p2"]
        ((start, end),) = json.loads(stored[1].metadata["costkit_source_spans"])
        assert pages[1].text[start:end] == PAGES[1]
        assert stored[1].get_content(metadata_mode=MetadataMode.EMBED) == f"page: 1\n\n{PAGES[1]}"
    assert pages == before


def test_what_is_not_repeated_and_what_has_no_text_comes_back_as_it_is(nodes: list[NodeWithScore]) -> None:
    given = [*(one.node for one in nodes), ImageNode(image_url="http://127.0.0.1/plan.png")]

    left = CostkitTransformComponent()(given)

    assert all(one is other for one, other in zip(left, given, strict=True))


def test_a_document_that_only_repeats_another_is_left_out_and_cited() -> None:
    rule = (
        "Unused annual leave can be carried over into the next year up to five days, and it lapses at the end of March."
    )

    (left,) = CostkitTransformComponent()([Document(text=rule, id_="a"), Document(text=rule, id_="b")])

    assert left.node_id == "a"
    assert [place["node_id"] for place in json.loads(left.metadata["costkit_source_also_in"])] == ["b"]
    assert left.get_content(metadata_mode=MetadataMode.LLM) == rule
    assert CostkitTransformComponent.class_name() == "CostkitTransformComponent"

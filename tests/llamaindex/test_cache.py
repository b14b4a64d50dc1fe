"""``CostkitQueryEngine(engine)``: one line puts the response cache in front of any query engine."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.response.schema import (
    AsyncStreamingResponse,
    PydanticResponse,
    Response,
    StreamingResponse,
)
from llama_index.core.chat_engine import CondenseQuestionChatEngine
from llama_index.core.indices.query.query_transform.base import IdentityQueryTransform
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.prompts import PromptTemplate
from llama_index.core.query_engine import RetrieverQueryEngine, TransformQueryEngine
from llama_index.core.schema import ImageNode, NodeRelationship, QueryBundle
from pydantic import BaseModel

from costkit import ConfigurationError, Scope
from costkit.cache import EdgeIndex, ResponseCache
from costkit.scope import use
from costkit.testing import HashEmbedder, ListRecorder
from llamaindex_costkit import CostkitQueryEngine
from llamaindex_costkit._streams import astepwise, here

QUESTION = "how long does a refund of my order take"
SAME_WORDS = "a refund of my order take how long does"


class Engine(BaseQueryEngine):
    """Answers with what ``make`` returns and counts its calls."""

    def __init__(self, make: Callable[[int], Any]) -> None:
        self.calls: list[str] = []
        self._make = make
        super().__init__(callback_manager=None)

    def _get_prompt_modules(self) -> dict[str, Any]:
        return {}

    def _query(self, query_bundle: QueryBundle) -> Any:
        self.calls.append(query_bundle.query_str)
        return self._make(len(self.calls))

    async def _aquery(self, query_bundle: QueryBundle) -> Any:
        return self._query(query_bundle)


@pytest.fixture
def engine(nodes: list[Any]) -> Engine:
    return Engine(lambda number: Response(response=f"answer {number}", source_nodes=nodes, metadata={"k": 1}))


def rag(retriever: Any, llm: Any, *, streaming: bool = False) -> RetrieverQueryEngine:
    return RetrieverQueryEngine.from_args(retriever, llm=llm, streaming=streaming)


def test_the_same_question_is_answered_once(engine: Engine, response_cache: ResponseCache) -> None:
    cached = CostkitQueryEngine(engine, version="support-3", cache=response_cache)

    answers = [str(cached.query(question)) for question in (QUESTION, QUESTION, SAME_WORDS)]

    assert answers == ["answer 1"] * 3
    assert engine.calls == [QUESTION]


def test_one_line_is_enough(engine: Engine, monkeypatch: pytest.MonkeyPatch, recorder: ListRecorder) -> None:
    monkeypatch.setattr("costkit.cache.response.default_embedder", HashEmbedder)
    monkeypatch.setattr("costkit.cache.response.default_recorder", lambda: recorder)

    cached = CostkitQueryEngine(engine, version="support-3")

    assert str(cached.query(QUESTION)) == str(cached.query(QUESTION)) == "answer 1"
    cached.cache.close()


def test_a_hit_says_so_and_a_miss_is_left_as_it_is(engine: Engine, response_cache: ResponseCache) -> None:
    cached = CostkitQueryEngine(engine, version="1", cache=response_cache)

    fresh, served = cached.query(QUESTION), cached.query(SAME_WORDS)

    assert fresh.metadata == {"k": 1}
    assert served.metadata is not None
    mark = served.metadata["costkit"]
    assert served.metadata["k"] == 1
    assert (mark["kind"], mark["matched_question"], mark["bound"]) == ("semantic", QUESTION, "uncertified")
    assert mark["score"] > 0.92
    assert mark["age_seconds"] >= 0
    assert mark["entry_id"]
    assert mark["documents"] == ["refunds.md", "shipping.md"]


def test_source_nodes_come_back_with_ids_scores_metadata_and_source(
    engine: Engine, response_cache: ResponseCache, nodes: list[Any]
) -> None:
    nodes[0].node.embedding = [0.5] * 8
    nodes.append(type(nodes[0])(node=ImageNode(text="a plan", image_url="https://example.org/p.png"), score=None))
    cached = CostkitQueryEngine(engine, version="1", cache=response_cache)
    cached.query(QUESTION)

    served = cached.query(QUESTION).source_nodes

    assert [(one.node_id, one.score, one.metadata, type(one.node)) for one in served] == [
        (one.node_id, one.score, one.metadata, type(one.node)) for one in nodes
    ]
    assert served[0].node.ref_doc_id == "refunds.md"
    assert served[0].node.relationships[NodeRelationship.SOURCE].node_id == "refunds.md"
    assert served[0].text == nodes[0].text
    assert nodes[0].node.embedding == [0.5] * 8, "the caller's nodes are never changed"


def test_an_invalidated_source_document_drops_the_answer(engine: Engine, response_cache: ResponseCache) -> None:
    cached = CostkitQueryEngine(engine, version="1", cache=response_cache)
    cached.query(QUESTION)

    cached.cache.invalidate("refunds.md")

    assert str(cached.query(QUESTION)) == "answer 2"


def test_a_node_without_a_source_document_is_evidence_by_its_own_id(
    engine: Engine, response_cache: ResponseCache, nodes: list[Any]
) -> None:
    nodes[0].node.relationships = {}
    cached = CostkitQueryEngine(engine, version="1", cache=response_cache)
    cached.query(QUESTION)

    cached.cache.invalidate("refunds#0")

    assert str(cached.query(QUESTION)) == "answer 2"


def test_tenants_never_share_an_answer(engine: Engine, response_cache: ResponseCache) -> None:
    cached = CostkitQueryEngine(engine, version="1", cache=response_cache)

    answers = []
    for tenant in ("acme", "globex", "acme", "globex"):
        with use(Scope(tenant=tenant)):
            answers.append(str(cached.query(QUESTION)))

    assert answers == ["answer 1", "answer 2", "answer 1", "answer 2"]


def test_engines_on_one_cache_are_told_apart_by_version(engine: Engine, response_cache: ResponseCache) -> None:
    first = CostkitQueryEngine(engine, version="support-3", cache=response_cache)
    second = CostkitQueryEngine(engine, version="legal-1", cache=response_cache)

    assert [str(one.query(QUESTION)) for one in (first, second, first)] == ["answer 1", "answer 2", "answer 1"]


def test_a_version_is_required_with_a_cache_too(engine: Engine, response_cache: ResponseCache) -> None:
    with pytest.raises(ConfigurationError, match=r"version=None.*Engine.*version='support-1'"):
        CostkitQueryEngine(engine)
    with pytest.raises(ConfigurationError, match="version=None"):
        CostkitQueryEngine(engine, cache=response_cache)
    with pytest.raises(ConfigurationError, match="ResponseCache\\(require_tenant=True\\)"):
        CostkitQueryEngine(engine, version="1", cache=response_cache, require_tenant=True)


def test_require_tenant_stands_aside_without_a_tenant(
    engine: Engine, shared_index: EdgeIndex, recorder: ListRecorder
) -> None:
    cache = ResponseCache(
        version="t", embedder=HashEmbedder(), index=shared_index, recorder=recorder, require_tenant=True
    )
    cached = CostkitQueryEngine(engine, version="1", cache=cache, require_tenant=True)

    assert [str(cached.query(QUESTION)) for _ in range(2)] == ["answer 1", "answer 2"]
    assert [event.decision for event in recorder.events] == ["bypass", "bypass"]


def test_other_embedding_strings_are_another_question(engine: Engine, response_cache: ResponseCache) -> None:
    cached = CostkitQueryEngine(engine, version="1", cache=response_cache)
    bundles = [QueryBundle(QUESTION), QueryBundle(QUESTION, custom_embedding_strs=["a hypothetical answer"])]

    assert [str(cached.query(bundle)) for bundle in bundles * 2] == ["answer 1", "answer 2"] * 2


def test_a_question_about_an_image_is_never_cached(engine: Engine, response_cache: ResponseCache) -> None:
    cached = CostkitQueryEngine(engine, version="1", cache=response_cache)
    bundle = QueryBundle(QUESTION, image_path="plan.png")

    assert [str(cached.query(bundle)) for _ in range(2)] == ["answer 1", "answer 2"]


async def test_the_async_path_shares_the_answers(engine: Engine, response_cache: ResponseCache) -> None:
    cached = CostkitQueryEngine(engine, version="1", cache=response_cache)

    answers = [str(await cached.aquery(QUESTION)), str(cached.query(QUESTION)), str(await cached.aquery(SAME_WORDS))]

    assert answers == ["answer 1"] * 3


def test_a_broken_store_leaves_the_engine_working(
    engine: Engine, broken_cache: ResponseCache, recorder: ListRecorder
) -> None:
    cached = CostkitQueryEngine(engine, version="1", cache=broken_cache)

    assert [str(cached.query(QUESTION)) for _ in range(2)] == ["answer 1", "answer 2"]
    assert [event.decision for event in recorder.events] == ["bypass", "bypass"]


@pytest.mark.parametrize(
    "answer",
    [
        Response(response=""),
        Response(response=None),
        Response(response="Empty Response"),
        Response(response="dated", metadata={"at": datetime(2026, 1, 1, tzinfo=UTC)}),
        PydanticResponse(response=type("Fact", (BaseModel,), {"__annotations__": {"days": int}})(days=14)),
    ],
    ids=["empty", "none", "nothing retrieved", "no JSON form", "structured"],
)
def test_what_is_no_complete_answer_in_words_is_not_kept(answer: Any, response_cache: ResponseCache) -> None:
    engine = Engine(lambda _: answer)
    cached = CostkitQueryEngine(engine, version="1", cache=response_cache)

    assert [cached.query(QUESTION) for _ in range(2)] == [answer, answer]
    assert len(engine.calls) == 2


def test_an_error_of_the_engine_reaches_the_caller_and_keeps_nothing(response_cache: ResponseCache) -> None:
    def fail(number: int) -> Response:
        if number == 1:
            raise RuntimeError("down")
        return Response(response="answer")

    cached = CostkitQueryEngine(Engine(fail), version="1", cache=response_cache)

    with pytest.raises(RuntimeError, match="down"):
        cached.query(QUESTION)
    assert str(cached.query(QUESTION)) == "answer"


def test_a_stream_replays_as_a_stream(response_cache: ResponseCache, retriever: Any, llm: Any) -> None:
    cached = CostkitQueryEngine(rag(retriever, llm, streaming=True), version="1", cache=response_cache)

    fresh = cached.query(QUESTION)
    assert isinstance(fresh, StreamingResponse)
    assert list(fresh.response_gen) == ["ans", "wer 1"]
    served = cached.query(QUESTION)

    assert isinstance(served, StreamingResponse)
    assert list(served.response_gen) == ["answer ", "1"]
    assert [node.node_id for node in served.source_nodes] == ["refunds#0", "shipping#0"]
    assert served.metadata is not None
    assert served.metadata["costkit"]["kind"] == "exact"


async def test_an_async_stream_replays_as_an_async_stream(
    response_cache: ResponseCache, retriever: Any, llm: Any
) -> None:
    cached = CostkitQueryEngine(rag(retriever, llm, streaming=True), version="1", cache=response_cache)

    fresh = await cached.aquery(QUESTION)
    assert isinstance(fresh, AsyncStreamingResponse)
    assert [token async for token in fresh.async_response_gen()] == ["ans", "wer 1"]
    served = await cached.aquery(QUESTION)

    assert isinstance(served, AsyncStreamingResponse)
    assert [token async for token in served.async_response_gen()] == ["answer ", "1"]
    assert [str(await served.get_response())] == ["answer 1"]


def test_an_abandoned_or_failed_stream_keeps_nothing(response_cache: ResponseCache) -> None:
    def tokens(number: int) -> Any:
        yield "half an "
        if number == 2:
            raise RuntimeError("cut")
        yield f"answer {number}"

    cached = CostkitQueryEngine(
        Engine(lambda number: StreamingResponse(tokens(number))), version="1", cache=response_cache
    )

    abandoned: Any = cached.query(QUESTION)
    next(abandoned.response_gen)
    abandoned.response_gen.close()
    failed: Any = cached.query(QUESTION)
    with pytest.raises(RuntimeError, match="cut"):
        list(failed.response_gen)

    assert str(cached.query(QUESTION)) == "half an answer 3"
    assert str(cached.query(QUESTION)) == "half an answer 3"


def test_an_answer_is_replayed_in_the_mode_of_the_engine(
    response_cache: ResponseCache, retriever: Any, llm: Any
) -> None:
    whole = CostkitQueryEngine(rag(retriever, llm), version="1", cache=response_cache)
    streamed = CostkitQueryEngine(rag(retriever, llm, streaming=True), version="1", cache=response_cache)
    whole.query(QUESTION)

    served = streamed.query(QUESTION)

    assert isinstance(served, StreamingResponse)
    assert str(served) == "answer 1"


def test_the_scope_of_the_call_holds_when_the_stream_is_read_later(
    response_cache: ResponseCache, retriever: Any, llm: Any
) -> None:
    cached = CostkitQueryEngine(rag(retriever, llm, streaming=True), version="1", cache=response_cache)
    with use(Scope(tenant="acme")):
        fresh = cached.query(QUESTION)
    assert str(fresh) == "answer 1"

    with use(Scope(tenant="acme")):
        assert str(cached.query(QUESTION)) == "answer 1"
    with use(Scope(tenant="globex")):
        assert str(cached.query(QUESTION)) == "answer 2"
    assert [scope and scope.tenant for scope in llm.scopes] == ["acme", "globex"]


@pytest.mark.parametrize("streaming", [False, True])
def test_a_hit_says_what_the_answer_had_cost(
    response_cache: ResponseCache, recorder: ListRecorder, retriever: Any, llm: Any, streaming: bool
) -> None:
    cached = CostkitQueryEngine(rag(retriever, llm, streaming=streaming), version="1", cache=response_cache)
    str(cached.query(QUESTION))
    str(cached.query(QUESTION))

    hit = recorder.events[-1]

    assert hit.decision == "hit"
    assert (hit.saved.input_tokens, hit.saved.output_tokens) == (115, 2)
    assert hit.saved_nano_usd == 10 * 1000 + 100 * 100 + 5 * 1250 + 2 * 5000  # Haiku 4.5 at $1 and $5 per million


def test_an_engine_behind_another_counts_for_both(
    response_cache: ResponseCache, recorder: ListRecorder, retriever: Any, llm: Any
) -> None:
    inner = CostkitQueryEngine(rag(retriever, llm), version="inner", cache=response_cache)
    outer = CostkitQueryEngine(
        TransformQueryEngine(inner, IdentityQueryTransform()), version="outer", cache=response_cache
    )
    for _ in range(2):
        outer.query(QUESTION)

    assert [event.decision for event in recorder.events] == ["miss", "miss", "hit"]
    assert recorder.events[0].run_id == recorder.events[1].run_id
    assert recorder.events[2].saved.output_tokens == 2


def test_an_answer_that_was_cut_short_is_not_kept(response_cache: ResponseCache, retriever: Any, make_llm: Any) -> None:
    class Cut(make_llm):  # type: ignore[misc]
        def _answer(self, messages: Any, tools: Any) -> Any:
            whole = super()._answer(messages, tools)
            whole.raw["stop_reason"] = "max_tokens"
            return whole

    llm = Cut()
    cached = CostkitQueryEngine(rag(retriever, llm), version="1", cache=response_cache)

    assert [str(cached.query(QUESTION)) for _ in range(2)] == ["answer 1", "answer 2"]


def test_what_an_engine_says_after_a_failed_call_is_not_kept(response_cache: ResponseCache, make_llm: Any) -> None:
    llm = make_llm(fails=True)

    def apology(_: int) -> Response:
        with suppress(RuntimeError):
            llm.complete(QUESTION)
        return Response(response="Try again later.")

    engine = Engine(apology)
    cached = CostkitQueryEngine(engine, version="support-3", cache=response_cache)

    assert [str(cached.query(QUESTION)) for _ in range(2)] == ["Try again later."] * 2
    assert len(engine.calls) == 2


def test_prompts_are_read_and_changed_as_on_the_engine_itself(
    response_cache: ResponseCache, retriever: Any, llm: Any
) -> None:
    engine = rag(retriever, llm)
    cached = CostkitQueryEngine(engine, version="1", cache=response_cache)

    cached.update_prompts({"response_synthesizer:text_qa_template": PromptTemplate("Q {query_str} C {context_str}")})
    cached.query(QUESTION)

    assert cached.get_prompts().keys() == engine.get_prompts().keys()
    assert llm.calls[0][-1].content.startswith(f"Q {QUESTION} C ")


def test_a_chat_engine_asks_through_the_cache(response_cache: ResponseCache, retriever: Any, llm: Any) -> None:
    cached = CostkitQueryEngine(rag(retriever, llm), version="1", cache=response_cache)

    replies = []
    for _ in range(2):
        memory = ChatMemoryBuffer.from_defaults(token_limit=1000)
        replies.append(str(CondenseQuestionChatEngine.from_defaults(cached, llm=llm, memory=memory).chat(QUESTION)))

    assert replies == ["answer 1", "answer 1"]


def test_retrieval_and_synthesis_go_to_the_engine(
    response_cache: ResponseCache, retriever: Any, llm: Any, nodes: list[Any]
) -> None:
    cached = CostkitQueryEngine(rag(retriever, llm), version="1", cache=response_cache)

    assert [node.node_id for node in cached.retrieve(QueryBundle(QUESTION))] == ["refunds#0", "shipping#0"]
    assert [str(cached.synthesize(QueryBundle(QUESTION), nodes)) for _ in range(2)] == ["answer 1", "answer 2"]


async def test_an_async_stream_is_kept_off_the_event_loop() -> None:
    async def words() -> AsyncGenerator[str, None]:
        yield "fourteen "
        yield "days"

    kept: list[tuple[list[str], bool]] = []

    def keep(parts: list[str]) -> None:
        kept.append((parts, threading.current_thread() is threading.main_thread()))

    assert [word async for word in astepwise(words(), here(), done=keep)] == ["fourteen ", "days"]
    assert kept == [(["fourteen ", "days"], False)]


def test_an_audited_hit_gets_a_fresh_answer_that_only_the_judge_sees(engine: Engine, tmp_path: Path) -> None:
    judged: list[tuple[str, str, str]] = []
    cache = ResponseCache(
        version="v1",
        embedder=HashEmbedder(),
        path=tmp_path / "audited",
        recorder=ListRecorder(),
        audit_share=1.0,
        judge=lambda *seen: bool(judged.append(seen)),
    )
    cached = CostkitQueryEngine(engine, version="support-3", cache=cache)

    answers = [str(cached.query(question)) for question in (QUESTION, SAME_WORDS)]
    cache.close()

    assert answers == ["answer 1", "answer 1"]
    assert judged == [(SAME_WORDS, "answer 1", "answer 2")]

"""What users of other semantic caches complain about, one test each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from llama_index.core.query_engine import CustomQueryEngine

from costkit.cache import EdgeIndex, ResponseCache
from costkit.embed import Embedder
from costkit.scope import Scope, use
from costkit.testing import FixedClock, ListRecorder
from langchain_costkit import CostkitSemanticCache, cached
from llamaindex_costkit import CostkitQueryEngine

Make = Callable[..., ResponseCache]


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(1_000_000.0)


@pytest.fixture
def make(tmp_path: Path, minilm: Embedder, clock: FixedClock) -> Iterator[Make]:
    index = EdgeIndex.open(tmp_path / "cache", dimensions=minilm.dimensions)

    def build(**options: Any) -> ResponseCache:
        settings = {"version": "v1", "recorder": ListRecorder(), "clock": clock} | options
        return ResponseCache(embedder=minilm, index=index, **settings)

    yield build
    index.close()


class Shelf(BaseRetriever):
    """Returns the same document for every question."""

    def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:
        return [Document(page_content="Refunds are paid within 14 days.", metadata={"source": "refunds.md"})]


@pytest.fixture
def retriever() -> BaseRetriever:
    return Shelf()


class Counting:
    """A model that answers with the number of the call."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, _value: object) -> str:
        self.calls += 1
        return f"answer {self.calls}"


def test_1_opposite_questions_do_not_share_an_answer(make: Make) -> None:
    support = cached(RunnableLambda(Counting()), version="1", cache=make())
    asked = ["How do I turn on two-factor login?", "How do I turn off two-factor login?"]
    asked += ["Is the free plan limited to 3 users?", "Is the free plan not limited to 3 users?"]
    assert len({support.invoke(question) for question in asked}) == len(asked)


def test_2_a_shared_rag_prompt_does_not_make_all_questions_one(make: Make) -> None:
    prompt = "You answer from the context below.\n\nContext: " + "Parcels are shipped on Mondays. " * 40
    model = FakeListChatModel(responses=["one", "two"], cache=CostkitSemanticCache(cache=make()))
    first = model.invoke(f"{prompt}\n\nQuestion: When are parcels shipped?")
    second = model.invoke(f"{prompt}\n\nQuestion: Who pays for the return of a parcel?")
    assert (first.content, second.content) == ("one", "two")


def test_3_a_hit_runs_neither_retriever_nor_model(make: Make, retriever: BaseRetriever) -> None:
    searched: list[str] = []
    watched = RunnableLambda(lambda question: searched.append(question) or retriever.invoke(question))  # type: ignore[func-returns-value]
    model = FakeListChatModel(responses=["14 days", "other"])
    prompt = ChatPromptTemplate.from_template("{context} {question}")
    chain = {"context": watched, "question": RunnablePassthrough()} | prompt | model | StrOutputParser()
    support = cached(chain, version="1", cache=make())
    assert support.invoke("How long does a refund take?") == support.invoke("how long does a refund take") == "14 days"
    assert len(searched) == 1


def test_4_no_answer_leaves_its_tenant(make: Make) -> None:
    support = cached(RunnableLambda(Counting()), version="1", cache=make(threshold=0.0))
    answers = set()
    for tenant in ("acme", "globex", "acme2"):
        with use(Scope(tenant=tenant)):
            answers.add(support.invoke("What is our contract number?"))
    assert len(answers) == 3


def test_5_keeping_tenants_apart_leaves_near_questions_hits(make: Make) -> None:
    support = cached(RunnableLambda(Counting()), version="1", cache=make())
    with use(Scope(tenant="acme")):
        assert support.invoke("How do I reset my password?") == support.invoke("How can I reset my password?")


async def test_6_a_threshold_means_the_same_sync_and_async(make: Make) -> None:
    for threshold, hit in ((0.0, True), (0.999, False)):
        cache = make(version=f"at {threshold}", threshold=threshold)
        cache.store(cache.lookup("How do I reset my password?").ticket, "By mail.")
        asked = "Where do I change my password?"
        assert cache.lookup(asked).hit is (await cache.alookup(asked)).hit is hit


def test_7_a_popular_answer_ends_with_its_document_and_with_its_time(make: Make, clock: FixedClock) -> None:
    documents = [Document(id="fees", page_content="A refund costs 2 euros.")]

    class Fees(BaseRetriever):
        def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:
            return documents

    prompt = ChatPromptTemplate.from_template("{context} {question}")
    model = FakeListChatModel(responses=["2 euros", "3 euros", "4 euros"])
    chain = {"context": Fees(), "question": RunnablePassthrough()} | prompt | model | StrOutputParser()
    support = cached(chain, version="1", cache=make(ttl_seconds={None: 100.0}))
    asked = "What does a refund cost?"
    assert support.invoke(asked) == "2 euros"
    support.cache.invalidate("fees")
    clock.advance(1.0)
    assert support.invoke(asked) == "3 euros"
    for _ in range(8):
        clock.advance(10.0)
        served = support.invoke(asked)
    clock.advance(30.0)
    assert (served, support.invoke(asked)) == ("3 euros", "4 euros")


def test_8_a_follow_up_does_not_hit_another_conversation(make: Make) -> None:
    support = cached(RunnableLambda(Counting()), version="1", cache=make())
    kings = [HumanMessage("Who was the last king of France?"), AIMessage("Louis-Philippe.")]
    pets = [HumanMessage("What is the name of your oldest dog?"), AIMessage("Rex.")]
    told = {support.invoke({"question": "How old is he?", "history": history}) for history in (kings, pets)}
    assert len(told | {support.invoke("How old is he?")}) == 3


async def test_9_a_served_answer_streams_in_pieces(make: Make) -> None:
    support = cached(RunnableLambda(lambda _: "Refunds take 14 days."), version="1", cache=make())
    support.invoke("How long does a refund take?")
    sync = list(support.stream("How long does a refund take?"))
    pieces = [piece async for piece in support.astream("how long does a refund take")]
    assert "".join(sync) == "".join(pieces) == "Refunds take 14 days."
    assert min(len(sync), len(pieces)) > 1


def test_10_one_bad_hit_can_be_dropped_and_is_learned_from(make: Make) -> None:
    cache = make(threshold=0.5)
    cache.store(cache.lookup("How do I close my account?").ticket, "Under settings.")
    hit = cache.lookup("How do I close my savings account?")
    cache.feedback(hit, right=False)
    assert not cache.lookup("How do I close my savings account?").hit
    assert hit.entry_id is not None
    assert cache.drop(hit.entry_id)
    assert not cache.lookup("How do I close my account?").hit


def test_11_the_second_question_is_served_without_a_warm_up(make: Make) -> None:
    cache = make()
    cache.store(cache.lookup("How do I reset my password?").ticket, "By mail.")
    assert cache.lookup("How can I reset my password?").hit


def test_12_entries_are_data_and_no_code_can_come_with_them(make: Make, tmp_path: Path) -> None:
    cache = make()
    answer = "!!python/object/apply:os.system ['touch hacked'] {{ 7 * 7 }} {question}"
    cache.store(cache.lookup("How do I reset my password?").ticket, answer)
    cache.export_to(tmp_path / "cache.jsonl")
    assert any(answer in json.dumps(json.loads(line)) for line in (tmp_path / "cache.jsonl").read_text().splitlines())
    assert cache.lookup("How do I reset my password?").answer == answer
    sources = Path(str(files("costkit.cache"))).glob("*.py")
    imported = {line for source in sources for line in source.read_text().splitlines() if "import" in line.split()}
    assert not [line for line in imported if "pickle" in line or "yaml" in line or "marshal" in line]


def test_13_a_llama_index_query_engine_is_cached_by_one_line(make: Make) -> None:
    counting = Counting()

    class Engine(CustomQueryEngine):
        def custom_query(self, query_str: str) -> str:
            return counting(query_str)

    engine = CostkitQueryEngine(Engine(), version="1", cache=make())
    assert str(engine.query("How do I reset my password?")) == str(engine.query("How can I reset my password?"))
    assert counting.calls == 1


def test_14_no_hit_cites_a_document_that_is_gone(make: Make, retriever: BaseRetriever) -> None:
    model = FakeListChatModel(responses=["14 days", "unknown"])
    prompt = ChatPromptTemplate.from_template("{context} {question}")
    chain = {"context": retriever, "question": RunnablePassthrough()} | prompt | model | StrOutputParser()
    support = cached(chain, version="1", cache=make())
    support.invoke("How long does a refund take?")
    assert support.invoke("how long does a refund take") == "14 days"
    support.cache.invalidate("refunds.md")
    assert support.invoke("How long does a refund take?") == "unknown"

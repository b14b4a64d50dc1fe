"""``CostkitRouterLLM([cheap, strong])``: each question goes to the cheapest model that the rules trust."""

from __future__ import annotations

from typing import Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, LLMMetadata
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.llms import MockLLM
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.prompts import PromptTemplate
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from costkit import ConfigurationError, Scope
from costkit.route import Tier
from costkit.scope import use
from costkit.testing import ListRecorder
from llamaindex_costkit import CostkitEventHandler, CostkitRouterLLM

EASY = "How long do refunds take?"
COVERED = "When are refunds paid?"
HARD = "Compare the refunds of both plans and explain the difference."


@pytest.fixture
def cheap(make_llm: Any) -> Any:
    return make_llm(model="claude-haiku-4-5")


@pytest.fixture
def strong(make_llm: Any) -> Any:
    return make_llm(model="claude-opus-4-6")


@pytest.fixture
def router(cheap: Any, strong: Any, recorder: ListRecorder) -> CostkitRouterLLM:
    return CostkitRouterLLM([cheap, strong], recorder=recorder)


def user(text: str) -> list[ChatMessage]:
    return [ChatMessage(role="system", content="Be brief."), ChatMessage(role="user", content=text)]


def test_one_line_is_enough(cheap: Any, strong: Any, monkeypatch: pytest.MonkeyPatch, recorder: ListRecorder) -> None:
    monkeypatch.setattr("costkit.route.router.default_recorder", lambda: recorder)

    router = CostkitRouterLLM([cheap, strong])
    router.chat(user(EASY))

    assert len(cheap.calls) == 1
    assert router.class_name() == "CostkitRouterLLM"


def test_an_easy_question_goes_to_the_cheap_model_and_a_hard_one_to_the_strong(
    router: CostkitRouterLLM, cheap: Any, strong: Any, recorder: ListRecorder
) -> None:
    easy, hard = router.chat(user(EASY)), router.chat(user(HARD))

    assert (len(cheap.calls), len(strong.calls)) == (1, 1)
    assert easy.additional_kwargs["costkit"]["tier"] == "cheap"
    assert hard.additional_kwargs["costkit"]["tier"] == "strong"
    assert hard.additional_kwargs["costkit"]["reason"] == "it asks to compare"
    assert [(event.part, event.decision) for event in recorder.events] == [("route", "cheap"), ("route", "strong")]
    assert (recorder.events[0].saved_nano_usd or 0) > 0


async def test_all_eight_ways_of_asking_are_routed_and_marked(router: CostkitRouterLLM, cheap: Any) -> None:
    messages = user(EASY)

    answers: list[Any] = [
        router.chat(messages),
        await router.achat(messages),
        list(router.stream_chat(messages))[-1],
        [chunk async for chunk in await router.astream_chat(messages)][-1],
        router.complete(EASY),
        await router.acomplete(EASY),
        list(router.stream_complete(EASY))[-1],
        [chunk async for chunk in await router.astream_complete(EASY)][-1],
    ]

    assert [answer.additional_kwargs["costkit"]["model"] for answer in answers] == ["claude-haiku-4-5"] * 8
    assert [answer.raw["usage"]["output_tokens"] for answer in answers] == [2] * 8
    assert len(cheap.calls) == 8


async def test_the_four_ways_with_tools_are_routed_and_marked(router: CostkitRouterLLM, cheap: Any) -> None:
    tools = [FunctionTool.from_defaults(fn=double, name="double")]

    answers: list[Any] = [
        router.chat_with_tools(tools, user_msg=EASY, allow_parallel_tool_calls=True),
        await router.achat_with_tools(tools, user_msg=EASY, tool_required=True),
        list(router.stream_chat_with_tools(tools, chat_history=user(EASY)))[-1],
        [chunk async for chunk in await router.astream_chat_with_tools(tools, user_msg=ChatMessage(content=EASY))][-1],
    ]

    for answer in answers:
        assert answer.additional_kwargs["costkit"]["tier"] == "cheap"
        assert [call.tool_kwargs for call in router.get_tool_calls_from_response(answer)] == [{"number": 2}]
    assert len(cheap.calls) == 4


async def test_a_model_predicts_and_calls_a_tool(router: CostkitRouterLLM, strong: Any) -> None:
    tools = [FunctionTool.from_defaults(fn=double, name="double")]

    assert str(router.predict_and_call(tools, user_msg=HARD)) == "4"
    assert str(await router.apredict_and_call(tools, user_msg=HARD)) == "4"
    assert len(strong.calls) == 2


class Number(BaseModel):
    """A number."""

    number: int


async def test_structured_predictions_are_routed(router: CostkitRouterLLM, cheap: Any, strong: Any) -> None:
    prompt = PromptTemplate("{query_str}")

    answers: list[Any] = [
        router.structured_predict(Number, prompt, query_str=EASY),
        await router.astructured_predict(Number, prompt, query_str=EASY),
        router.as_structured_llm(Number).complete(HARD).raw,
    ]

    assert [answer.number for answer in answers] == [2, 2, 2]
    assert (len(cheap.calls), len(strong.calls)) == (2, 1)


def test_the_question_of_a_prompt_template_decides_not_its_length(
    router: CostkitRouterLLM, cheap: Any, strong: Any
) -> None:
    template = PromptTemplate(
        "Answer from the context.\n{context_str}\nWhy and how to compare: ...\nQuestion: {query_str}"
    )
    context = "Refunds take 14 days, and long text follows. " * 40

    assert router.predict(template, query_str=EASY, context_str=context) == "answer 1"
    assert "".join(router.stream(template, query_str=EASY, context_str=context)) == "answer 2"
    router.predict(template, query_str=HARD, context_str=context)

    assert (len(cheap.calls), len(strong.calls)) == (2, 1)


def test_the_question_is_found_in_a_prompt_that_was_filled_before(
    router: CostkitRouterLLM, cheap: Any, strong: Any
) -> None:
    filled = "Compare nothing and explain nothing.\n\n{}\n\nQuestion: {}"
    passage = "Refunds are paid within 14 days, and long text follows. " * 40

    router.chat(user(filled.format(passage, COVERED)))
    router.complete(filled.format(passage, COVERED))
    assert (len(cheap.calls), len(strong.calls)) == (2, 0)

    router.complete(filled.format(passage, HARD))
    router.complete(filled.format("Parcels leave on Monday.", COVERED))
    assert (len(cheap.calls), len(strong.calls)) == (2, 2)


def test_a_question_that_no_passage_covers_goes_up(router: CostkitRouterLLM, strong: Any) -> None:
    router.predict(PromptTemplate("{context_str} {query_str}"), query_str=EASY, context_str="Parcels leave on Monday.")

    assert len(strong.calls) == 1


async def test_async_predictions_are_routed(router: CostkitRouterLLM, cheap: Any) -> None:
    prompt = PromptTemplate("{query_str}")

    assert await router.apredict(prompt, query_str=EASY) == "answer 1"
    assert "".join([token async for token in await router.astream(prompt, query_str=EASY)]) == "answer 2"
    assert len(cheap.calls) == 2


def test_the_models_own_system_prompt_holds(make_llm: Any, strong: Any, recorder: ListRecorder) -> None:
    cheap = make_llm(system_prompt="Answer in French.")

    CostkitRouterLLM([cheap, strong], recorder=recorder).predict(PromptTemplate("{query_str}"), query_str=EASY)

    assert cheap.calls[0][0].content == "Answer in French."


@pytest.mark.parametrize("streaming", [False, True])
def test_it_stands_in_a_query_engine(router: CostkitRouterLLM, retriever: Any, cheap: Any, streaming: bool) -> None:
    engine = RetrieverQueryEngine.from_args(retriever, llm=router, streaming=streaming)

    assert str(engine.query(COVERED)) == "answer 1"
    assert len(cheap.calls) == 1


def test_it_stands_in_a_chat_engine(router: CostkitRouterLLM, cheap: Any, strong: Any) -> None:
    chat = SimpleChatEngine.from_defaults(llm=router, memory=ChatMemoryBuffer.from_defaults(token_limit=1000))

    assert [str(chat.chat(EASY)), str(chat.chat(HARD))] == ["answer 1", "answer 1"]
    assert (len(cheap.calls), len(strong.calls)) == (1, 1)


# LlamaIndex's workflows read deprecated pydantic attributes of every agent.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_a_function_agent_stays_with_one_model_through_its_tool_loop(
    router: CostkitRouterLLM, cheap: Any, strong: Any
) -> None:
    agent = FunctionAgent(tools=[FunctionTool.from_defaults(fn=double, name="double")], llm=router)

    result = await agent.run("double two", memory=ChatMemoryBuffer.from_defaults(token_limit=1000))

    assert str(result) == "answer 2"
    assert (len(cheap.calls), len(strong.calls)) == (2, 0)


def test_the_ledger_books_the_answering_model_once_with_its_tier(
    router: CostkitRouterLLM, recorder: ListRecorder, retriever: Any
) -> None:
    get_dispatcher().add_event_handler(CostkitEventHandler(recorder=recorder))

    RetrieverQueryEngine.from_args(retriever, llm=router).query(COVERED)
    list(router.stream_chat(user(HARD)))

    models = [event for event in recorder.events if event.kind == "model"]
    assert [(event.model, event.tier) for event in models] == [
        ("claude-haiku-4-5", "cheap"),
        ("claude-opus-4-6", "strong"),
    ]


def test_metadata_is_what_every_model_can_do(make_llm: Any, recorder: ListRecorder) -> None:
    class Wide(make_llm):  # type: ignore[misc]
        @property
        def metadata(self) -> LLMMetadata:
            return LLMMetadata(
                model_name="wide",
                context_window=9000,
                num_output=50,
                is_chat_model=True,
                is_function_calling_model=True,
            )

    metadata = CostkitRouterLLM([make_llm(), Wide()], recorder=recorder).metadata

    assert (metadata.context_window, metadata.is_chat_model, metadata.is_function_calling_model) == (1000, True, True)
    assert metadata.model_name == "claude-haiku-4-5|wide"


def test_a_tier_keeps_data_from_a_model_that_may_not_see_it(cheap: Any, strong: Any, recorder: ListRecorder) -> None:
    tiers = [
        Tier(name="outside", model="claude-haiku-4-5", data_classes=frozenset({"public"})),
        Tier(name="inside", model="claude-opus-4-6"),
    ]
    router = CostkitRouterLLM([cheap, strong], tiers=tiers, recorder=recorder)

    with use(Scope(data_class="restricted")):
        response = router.chat(user(EASY))

    assert response.additional_kwargs["costkit"]["tier"] == "inside"
    assert not cheap.calls


def test_a_policy_of_your_own_rules_tiers_out(cheap: Any, strong: Any, recorder: ListRecorder) -> None:
    def no_trial(tier: Tier, scope: Scope) -> str | None:
        return "trials are over" if tier.name == "cheap" and scope.tenant == "acme" else None

    router = CostkitRouterLLM([cheap, strong], policies=[no_trial], recorder=recorder)

    with use(Scope(tenant="acme")):
        refused = router.chat(user(EASY)).additional_kwargs["costkit"]
    allowed = router.chat(user(EASY)).additional_kwargs["costkit"]

    assert (refused["tier"], refused["refused"]) == ("strong", {"cheap": "trials are over"})
    assert allowed["tier"] == "cheap"


def test_a_stream_is_made_in_the_scope_of_its_call(router: CostkitRouterLLM, cheap: Any) -> None:
    with use(Scope(tenant="acme")):
        stream = router.stream_chat(user(EASY))
    list(stream)

    assert cheap.scopes == [Scope(tenant="acme")]


def test_a_tier_caps_a_copy_of_the_model(cheap: Any, strong: Any, recorder: ListRecorder) -> None:
    tiers = [Tier(name="cheap", model="a", max_output_tokens=7), Tier(name="strong", model="b")]

    router = CostkitRouterLLM([cheap, strong], tiers=tiers, recorder=recorder)

    assert router.chat(user(EASY)).raw["max_tokens"] == 7
    assert cheap.max_tokens == 100
    with pytest.raises(ConfigurationError, match=r"'cheap'.*additional_kwargs"):
        CostkitRouterLLM([cheap], tiers=[Tier(name="cheap", model="a", stop_sequences=("END",))], recorder=recorder)


def test_wrong_models_are_named(cheap: Any, strong: Any) -> None:
    with pytest.raises(ConfigurationError, match="cheapest first"):
        CostkitRouterLLM([strong, cheap])
    with pytest.raises(ConfigurationError, match="empty list"):
        CostkitRouterLLM([])
    with pytest.raises(ConfigurationError, match="got 1 for 2 models"):
        CostkitRouterLLM([cheap, strong], tiers=[Tier(name="cheap", model="a")])


def test_a_model_that_cannot_call_tools_says_so(recorder: ListRecorder) -> None:
    router = CostkitRouterLLM([MockLLM()], recorder=recorder)

    with pytest.raises(ConfigurationError, match="MockLLM cannot call tools"):
        router.chat_with_tools([], user_msg=EASY)


def test_an_error_of_the_chosen_model_reaches_the_caller(router: CostkitRouterLLM, cheap: Any) -> None:
    cheap.fails = True

    with pytest.raises(RuntimeError, match="down"):
        router.chat(user(EASY))


def double(number: int) -> int:
    """Double a number."""
    return number * 2

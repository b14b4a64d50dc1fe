"""The handbook's conversations, asked through a cached chain: no answer is served to another context's question."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import RunnableLambda

from costkit.cache import EdgeIndex, ResponseCache
from costkit.cache.standalone import needs_conversation
from costkit.embed import Embedder, remember
from costkit.testing import ListRecorder
from costkit_evals.golden import Conversation, Turn, load
from langchain_costkit import cached

HANDBOOK = Path(__file__).parents[2] / "evals" / "golden" / "handbook"
CONVERSATIONS = load(HANDBOOK).conversations
TURNS = [turn for one in CONVERSATIONS for turn in one.turns]
# What a conversation's question means, in full.
MEANT = {turn.standalone: turn for turn in TURNS}

Order = Callable[[Sequence[Conversation]], Iterator[tuple[Conversation, int]]]


@dataclass(frozen=True)
class Asked:
    """One question, what it means where it is asked, and what the cache did."""

    turn: Turn
    meant: str
    answer: str
    decision: str

    @property
    def wrong(self) -> bool:
        """Whether it was served what answers another question."""
        if self.decision != "hit" or self.answer == self.meant:
            return False
        known = MEANT.get(self.answer), MEANT.get(self.meant)
        return None in known or known[0].answers != known[1].answers  # type: ignore[union-attr]


class Talks:
    """A cached chain that answers with what it was really asked: the question in full, in its conversation.

    Args:
        cache: Where the answers live.
        hands_over: What of a conversation the application hands to the chain.
    """

    def __init__(self, cache: ResponseCache, recorder: ListRecorder, *, hands_over: str) -> None:
        self._hands_over = hands_over
        self._recorder = recorder
        self._meant = ""
        self._chain = cached(
            RunnableLambda(lambda _: self._meant), version=hands_over, cache=cache, standalone_key="standalone"
        )
        self.asked: list[Asked] = []

    def ask(self, turn: Turn, meant: str, history: Sequence[BaseMessage]) -> str:
        value: dict[str, Any] = {"question": turn.question}
        if self._hands_over != "nothing":
            value["chat_history"] = list(history)
        if self._hands_over == "rewrite":
            value["standalone"] = turn.standalone
        self._meant = meant
        answer = str(self._chain.invoke(value))
        self.asked.append(Asked(turn, meant, answer, self._recorder.events[-1].decision))
        return answer

    def replay(self, order: Iterator[tuple[Conversation, int]]) -> None:
        """Ask the turns of conversations in the given order, each conversation with a history of its own."""
        histories: dict[str, list[BaseMessage]] = {}
        for conversation, at in order:
            turn, history = conversation.turns[at], histories.setdefault(conversation.id, [])
            answer = self.ask(turn, turn.standalone, history)
            history += [HumanMessage(turn.question), AIMessage(answer)]

    def strangers(self, seed: int) -> None:
        """Ask every question that is no first one after the first turn of another conversation."""
        draw = random.Random(seed)
        for conversation in CONVERSATIONS:
            for turn in conversation.turns[1:]:
                other = draw.choice([one for one in CONVERSATIONS if one.id != conversation.id])
                begun = other.turns[0]
                history = [HumanMessage(begun.question), AIMessage(begun.answers[0])]
                if turn.self_contained:
                    self.ask(turn, turn.standalone, history)
                elif self._hands_over != "rewrite":  # there is no telling what it would be rewritten to
                    self.ask(turn, f"{turn.question} asked in {other.id}", history)

    def share(self, decision: str, *, self_contained: bool) -> float:
        counted = Counter(one.decision for one in self.asked if one.turn.self_contained is self_contained)
        return counted[decision] / counted.total()


def one_by_one(conversations: Sequence[Conversation]) -> Iterator[tuple[Conversation, int]]:
    return ((one, at) for one in conversations for at in range(len(one.turns)))


def in_turns(conversations: Sequence[Conversation]) -> Iterator[tuple[Conversation, int]]:
    longest = max(len(one.turns) for one in conversations)
    return ((one, at) for at in range(longest) for one in conversations if at < len(one.turns))


def shuffled(seed: int) -> Order:
    def order(conversations: Sequence[Conversation]) -> Iterator[tuple[Conversation, int]]:
        left = [one for one in conversations for _ in one.turns]
        random.Random(seed).shuffle(left)
        at: Counter[str] = Counter()
        for one in left:
            yield one, at[one.id]
            at[one.id] += 1

    return order


ORDERS: Mapping[str, Order] = {"one by one": one_by_one, "in turns": in_turns, "1": shuffled(1), "2": shuffled(2)}


@pytest.fixture(scope="module")
def embedder(minilm: Embedder) -> Embedder:
    return remember(minilm)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder) -> Iterator[EdgeIndex]:
    index = EdgeIndex.open(tmp_path_factory.mktemp("edge"), dimensions=embedder.dimensions)
    yield index
    index.close()


@pytest.fixture
def talks(index: EdgeIndex, embedder: Embedder) -> Callable[[str], Talks]:
    """Make a chain on an empty cache, for one tenant.

    It has the shipped score and threshold; rewrites alone are compared word for word. Two questions said in full that
    the score takes for one are no matter of context.
    """

    def make(hands_over: str) -> Talks:
        recorder = ListRecorder()
        cache = ResponseCache(
            version=uuid4().hex,
            embedder=embedder,
            index=index,
            recorder=recorder,
            threshold=1.1 if hands_over == "rewrite" else None,
        )
        return Talks(cache, recorder, hands_over=hands_over)

    return make


def played(talk: Talks, order: Order) -> Talks:
    """Ask all conversations, then all questions among strangers, then all conversations again."""
    talk.replay(order(CONVERSATIONS))
    talk.strangers(seed=7)
    talk.replay(order(CONVERSATIONS[::-1]))
    return talk


def wrong(talk: Talks) -> set[str]:
    return {one.turn.question for one in talk.asked if one.wrong}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("hands_over", ["history", "rewrite"])
def test_no_question_gets_an_answer_from_another_context(
    talks: Callable[[str], Talks], hands_over: str, order: Order
) -> None:
    talk = played(talks(hands_over), order)

    assert wrong(talk) == set()
    assert talk.share("bypass", self_contained=True) <= 0.1
    assert talk.share("hit", self_contained=True) > 0.4
    assert talk.share("hit", self_contained=False) > 0.3, "a conversation that repeats is served whole"


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_a_chain_that_is_given_no_history_gets_no_answer_where_a_word_shows_the_need(
    talks: Callable[[str], Talks], order: Order
) -> None:
    talk = played(talks("nothing"), order)
    unseen = {turn.question for turn in TURNS if not (turn.self_contained or needs_conversation(turn.question))}

    assert wrong(talk) <= unseen
    assert len(unseen) <= 0.05 * len(TURNS)
    assert talk.share("bypass", self_contained=True) <= 0.1


def test_what_is_said_in_full_is_never_bypassed() -> None:
    assert [turn.standalone for turn in TURNS if needs_conversation(turn.standalone)] == []


def test_a_question_is_shared_by_conversations_that_name_other_things(talks: Callable[[str], Talks]) -> None:
    """Each self-contained question is asked first of all, and again after the first turn of another conversation."""
    talk = talks("history")
    alone = [turn for turn in TURNS if turn.self_contained]
    for turn in alone:
        talk.ask(turn, turn.standalone, [])
    talk.asked.clear()
    for turn, other in zip(alone, CONVERSATIONS[::-1] * 2, strict=False):
        begun = other.turns[0]
        talk.ask(turn, turn.standalone, [HumanMessage(begun.question), AIMessage(begun.answers[0])])

    assert wrong(talk) == set()
    assert talk.share("hit", self_contained=True) > 0.3

"""A service under load with and without the response cache: FastAPI, a LangChain RAG chain, streamed answers.

``python -m costkit_evals.app_load`` needs ``costkit-evals[anthropic,app]``. A local server answers in the provider's
place, a fixed time after each request; the chat model, the framework and the HTTP on both sides are real. Load,
service and model server share one process and slow each other down: compare the two services, not the rates alone.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Literal, cast
from uuid import UUID

import click
import httpx
import numpy as np
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from langchain_anthropic import ChatAnthropic
from langchain_core.callbacks import AsyncCallbackHandler, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnablePassthrough
from pydantic import BaseModel, PrivateAttr, SecretStr

from costkit.cache import ResponseCache
from costkit.embed import Embedder, default_embedder
from costkit.errors import CostkitError
from costkit.testing import ListRecorder, MessagesServer, WordCounter
from costkit_evals.chunks import ChunkIndex, cut
from costkit_evals.golden import GoldenSet, load
from costkit_evals.options import handbook
from costkit_evals.prompts import SYSTEM, USER, passage
from costkit_evals.terminal import Progress
from langchain_costkit import cached

__all__ = ["Asked", "Figures", "Kind", "Reply", "Service", "expected", "main", "measure", "mix"]

Kind = Literal["new", "repeat", "paraphrase"]

SHARES: Mapping[Kind, float] = {"new": 0.4, "repeat": 0.3, "paraphrase": 0.3}
MOST_REQUESTS = 550  # the handbook has 167 paraphrases of questions with an answer, and 0.3 are paraphrases
SEED = 7
DOCUMENTS = 12
CHUNKS_PER_QUESTION = 4
VERSION = "app-load"
WARM_UP = "Is anybody there?"
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request of the load: its text, and in what it differs from those before."""

    text: str
    kind: Kind


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a client got.

    Attributes:
        text: The question.
        answer: The answer; of a failed request what had come.
        first_byte_seconds: From sending to the first byte of the answer itself; the head comes earlier.
        whole_seconds: From sending to the end of the answer.
        error: What went wrong, or an empty text.
        matched_question: The earlier question whose answer was served, or None for a fresh answer.
        hit: How it was matched: ``exact``, ``semantic`` or None.
    """

    text: str
    answer: str
    first_byte_seconds: float
    whole_seconds: float
    error: str
    matched_question: str | None = None
    hit: str | None = None


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One service under the load. Times are of the requests without an error.

    Attributes:
        service: ``without cache`` or ``with cache``.
        seconds: The load's duration.
        requests_per_second: Answered ones.
        first_byte_p50_ms: Median time to the first byte of the answer.
        first_byte_p95_ms: Its 95th percentile.
        whole_p50_ms: Median time to the end of the answer.
        whole_p95_ms: Its 95th percentile.
        hit_whole_p50_ms: Median time to the end of a served answer, waiting for another's call included; None without.
        model_calls: Requests that reached the model server.
        exact_hits: Served for the same question.
        semantic_hits: Served for a near one.
        wrong: Answers other than the question's own.
        errors: Failed requests.
    """

    service: str
    seconds: float
    requests_per_second: float
    first_byte_p50_ms: float
    first_byte_p95_ms: float
    whole_p50_ms: float
    whole_p95_ms: float
    hit_whole_p50_ms: float | None
    model_calls: int
    exact_hits: int
    semantic_hits: int
    wrong: int
    errors: int


RATIOS = (
    "requests_per_second",
    "first_byte_p50_ms",
    "first_byte_p95_ms",
    "whole_p50_ms",
    "whole_p95_ms",
    "model_calls",
)


def expected(golden: GoldenSet) -> dict[str, str]:
    """Return the right answer by question and by paraphrase; each names its question, so that a wrong hit shows."""
    answers = {one.id: f"{' '.join(one.answers)} [{one.id}]" for one in golden.questions if one.answers}
    found = {one.question: answers[one.id] for one in golden.questions if one.id in answers}
    for group in golden.paraphrases:
        found |= {text: answers[group.question_id] for text in group.paraphrases if group.question_id in answers}
    return found


def mix(golden: GoldenSet, *, requests: int, seed: int) -> list[Asked]:
    """Draw the load: new questions, repeats of any text asked before, and other wordings of a question asked before.

    Args:
        golden: Has the questions and paraphrases. Questions that have paraphrases are among the new ones first.
        requests: How many; split as ``SHARES`` says, the remainder is new.
        seed: Of the order and the choice.
    """
    draws = random.Random(seed)  # noqa: S311  no secret
    wordings = {one.question_id: one.paraphrases for one in golden.paraphrases}
    left = {kind: int(share * requests) for kind, share in SHARES.items()}
    left["new"] = requests - left["repeat"] - left["paraphrase"]
    questions = [one for one in golden.questions if one.answers]
    draws.shuffle(questions)
    fresh = sorted(questions, key=lambda one: one.id not in wordings)[: left["new"]]
    draws.shuffle(fresh)
    asked: list[Asked] = []
    unused: list[str] = []
    for _ in range(requests):
        can = {"new": True, "repeat": bool(asked), "paraphrase": bool(unused)}
        possible = {kind: count for kind, count in left.items() if can[kind] and count}
        kind = draws.choices(list(possible), weights=list(possible.values()))[0]
        left[kind] -= 1
        if kind == "new":
            question = fresh.pop()
            unused += wordings.get(question.id, ())
            text = question.question
        else:
            text = draws.choice(asked).text if kind == "repeat" else unused.pop(draws.randrange(len(unused)))
        asked.append(Asked(text=text, kind=kind))
    return asked


class Shelf(BaseRetriever):
    """Finds the nearest chunks of the corpus."""

    _index: ChunkIndex = PrivateAttr()

    def __init__(self, index: ChunkIndex) -> None:
        super().__init__()
        self._index = index

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:  # noqa: ARG002  LangChain's signature
        found = [one.chunk for one in self._index.search(query, k=CHUNKS_PER_QUESTION)]
        return [
            Document(id=one.id, page_content=one.text, metadata={"source": one.doc_id, "title": one.title})
            for one in found
        ]


class Decisions(AsyncCallbackHandler):
    """Keeps the cache's mark by the number of the request."""

    def __init__(self) -> None:
        self.marks: dict[int, Mapping[str, object]] = {}

    async def on_custom_event(
        self,
        name: str,  # noqa: ARG002  LangChain's signature
        data: Mapping[str, object],
        *,
        run_id: UUID,  # noqa: ARG002
        tags: list[str] | None = None,  # noqa: ARG002
        metadata: dict[str, int] | None = None,
        **_: object,
    ) -> None:
        """Keep one mark."""
        self.marks[(metadata or {})["number"]] = data


class Body(BaseModel):
    """What a client sends."""

    text: str
    number: int


class Service:
    """The example application around one chain.

    Args:
        chain: Answers a question.
    """

    def __init__(self, chain: Runnable[str, str]) -> None:
        self._chain = chain
        self._decisions = Decisions()
        self._app = FastAPI()
        self._app.post("/stream")(self._stream)

    async def _stream(self, body: Body) -> StreamingResponse:
        chunks = self._chain.astream(body.text, {"callbacks": [self._decisions], "metadata": {"number": body.number}})
        return StreamingResponse(chunks, media_type="text/plain")

    def mark(self, number: int) -> Mapping[str, object]:
        """Return what the cache decided on a request; empty without a cache."""
        return self._decisions.marks.get(number, {})

    @contextmanager
    def running(self) -> Iterator[str]:
        """Serve with uvicorn in a thread, and yield the address.

        Raises:
            CostkitError: The service does not start.
        """
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            server = uvicorn.Server(uvicorn.Config(self._app, log_level="warning"))
            thread = threading.Thread(target=server.run, args=([listening],), name="app-load-service")
            thread.start()
            try:
                until = time.monotonic() + PATIENCE_SECONDS
                while not server.started:
                    if not thread.is_alive() or time.monotonic() > until:
                        raise CostkitError("the example service did not start; its log says why")
                    time.sleep(0.01)
                yield f"http://127.0.0.1:{listening.getsockname()[1]}"
            finally:
                server.should_exit = True
                thread.join()


def measure(
    golden: GoldenSet,
    embedder: Embedder,
    *,
    asked: Sequence[Asked],
    clients: int,
    delay_seconds: float,
    on_reply: Callable[[str], None] = lambda _: None,
) -> list[tuple[Figures, list[Reply]]]:
    """Put the same load on the service without and then with the cache; each is warmed up by one question first.

    Args:
        golden: Its first documents are the corpus, its reference answers the model's.
        embedder: For retrieval and for the cache.
        asked: The load.
        clients: Each sends its next request when it has its answer.
        delay_seconds: Time from a request to the model server to its answer.
        on_reply: Called after each request with the name of the service.

    Returns:
        Figures and replies of both.
    """
    answers = {**expected(golden), WARM_UP: "Yes."}

    def answer(request: Mapping[str, object]) -> str:
        time.sleep(delay_seconds)
        return answers[_question(request)]

    index = ChunkIndex(cut(golden.corpus[:DOCUMENTS]), embedder)
    texts = [one.text for one in asked]
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(ResponseCache(version=VERSION, embedder=embedder, path=folder, recorder=ListRecorder())) as cache,
        MessagesServer(answer, counter=WordCounter()) as server,
    ):
        chain = _chain(index, server.url)
        done = []
        for name, tried in (("without cache", chain), ("with cache", cached(chain, version=VERSION, cache=cache))):
            service = Service(tried)
            with service.running() as url:
                asyncio.run(_press(url, [WARM_UP], 1, lambda: None))
                before, began = len(server.requests), time.perf_counter()
                replies = asyncio.run(_press(url, texts, clients, partial(on_reply, name)))
                seconds = time.perf_counter() - began
            replies = [_with_mark(one, service.mark(number)) for number, one in enumerate(replies)]
            done.append((_figures(name, replies, answers, seconds, len(server.requests) - before), replies))
    return done


def _chain(index: ChunkIndex, url: str) -> Runnable[str, str]:
    llm = ChatAnthropic(
        model_name="claude-haiku-4-5", api_key=SecretStr("local"), base_url=url, max_retries=0, timeout=None, stop=None
    )
    prompt = ChatPromptTemplate([("system", SYSTEM), ("user", USER)])
    return {"context": Shelf(index) | _joined, "question": RunnablePassthrough()} | prompt | llm | StrOutputParser()


def _joined(documents: list[Document]) -> str:
    return "\n".join(
        passage(doc_id=one.metadata["source"], title=one.metadata["title"], text=one.page_content) for one in documents
    )


def _question(request: Mapping[str, object]) -> str:
    """Return the question that stands at the end of a request to the model."""
    messages = cast("list[Mapping[str, str]]", request["messages"])
    return messages[-1]["content"].rpartition("Question: ")[2]


async def _press(url: str, texts: Sequence[str], clients: int, on_reply: Callable[[], None]) -> list[Reply]:
    """Ask in the order given, each client again as soon as it has an answer; return replies in that order."""
    replies: dict[int, Reply] = {}
    waiting = iter(enumerate(texts))

    async def client(http: httpx.AsyncClient) -> None:
        for number, text in waiting:
            replies[number] = await _ask(http, number, text)
            on_reply()

    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_SECONDS, trust_env=False) as http:
        await asyncio.gather(*(client(http) for _ in range(clients)))
    return [replies[number] for number in range(len(texts))]


async def _ask(http: httpx.AsyncClient, number: int, text: str) -> Reply:
    began = time.perf_counter()
    first, error, came = 0.0, "", b""
    try:
        async with http.stream("POST", "/stream", json={"text": text, "number": number}) as response:
            response.raise_for_status()
            async for part in response.aiter_raw():
                first = first or time.perf_counter() - began
                came += part
    except httpx.HTTPError as failure:
        error = repr(failure)
    whole = time.perf_counter() - began
    return Reply(text=text, answer=came.decode(), first_byte_seconds=first, whole_seconds=whole, error=error)


def _with_mark(reply: Reply, mark: Mapping[str, object]) -> Reply:
    if mark.get("decision") != "hit":
        return reply
    return replace(reply, hit=str(mark["kind"]), matched_question=str(mark["matched_question"]))


def _figures(
    service: str, replies: Sequence[Reply], answers: Mapping[str, str], seconds: float, model_calls: int
) -> Figures:
    good = [one for one in replies if not one.error]
    if not good:
        raise CostkitError(f"the service {service} answered nothing; the first error was {replies[0].error}")
    first = [one.first_byte_seconds for one in good]
    whole = [one.whole_seconds for one in good]
    hits = [one.whole_seconds for one in good if one.hit]
    return Figures(
        service=service,
        seconds=round(seconds, 2),
        requests_per_second=round(len(good) / seconds, 1),
        first_byte_p50_ms=_in_ms(first, 50),
        first_byte_p95_ms=_in_ms(first, 95),
        whole_p50_ms=_in_ms(whole, 50),
        whole_p95_ms=_in_ms(whole, 95),
        hit_whole_p50_ms=_in_ms(hits, 50) if hits else None,
        model_calls=model_calls,
        exact_hits=sum(one.hit == "exact" for one in good),
        semantic_hits=sum(one.hit == "semantic" for one in good),
        wrong=sum(one.answer != answers[one.text] for one in good),
        errors=len(replies) - len(good),
    )


def _in_ms(seconds: Sequence[float], rank: int) -> float:
    return round(float(np.percentile(seconds, rank)) * 1000, 1)


def _ratios(without: Figures, with_cache: Figures) -> dict[str, float]:
    """Return the figures with the cache over those without."""
    before, after = asdict(without), asdict(with_cache)
    return {name: round(after[name] / before[name], 3) for name in RATIOS}


@click.command()
@click.option("--requests", type=click.IntRange(10, MOST_REQUESTS), default=400, show_default=True)
@click.option("--clients", type=click.IntRange(min=1), default=8, show_default=True)
@click.option("--delay-ms", type=click.FloatRange(min=0), default=300, show_default=True, help="The model's delay.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(requests: int, clients: int, delay_ms: float, *, as_json: bool) -> None:
    """Put one load on an example service without and with the response cache, against a local model server.

    Example: python -m costkit_evals.app_load --requests 400 --clients 8 --json
    """
    golden = load(handbook())
    asked = mix(golden, requests=requests, seed=SEED)
    progress = Progress()
    progress.start(2 * requests)
    try:
        done = measure(
            golden,
            default_embedder(),
            asked=asked,
            clients=clients,
            delay_seconds=delay_ms / 1000,
            on_reply=progress.advance,
        )
    finally:
        progress.stop()
    results = [figures for figures, _ in done]
    setting = {
        "requests": requests,
        "mix": Counter(one.kind for one in asked),
        "different_texts": len({one.text for one in asked}),
        "clients": clients,
        "model_delay_ms": delay_ms,
        "documents": DOCUMENTS,
        "seed": SEED,
        "cpus": os.cpu_count(),
    }
    ratios = _ratios(*results)
    if as_json:
        found = {"setting": setting, "results": [asdict(one) for one in results], "with_over_without": ratios}
        click.echo(json.dumps(found, indent=2))
        return
    for title, row in (("setting", setting), *((one.service, asdict(one)) for one in results), ("ratios", ratios)):
        click.echo(f"{title}: " + ", ".join(f"{name} {value}" for name, value in row.items() if name != "service"))


if __name__ == "__main__":
    main()

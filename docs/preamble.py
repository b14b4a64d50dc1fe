"""What the code blocks on these pages start from: it stands in for your application, and its names are yours.

``server`` answers in Anthropic's place, on this machine: the model classes below are the frameworks' own, and reach it
through ``ANTHROPIC_BASE_URL``. With a real key and without these two variables the same blocks run against the provider.
"""

import os
from contextlib import ExitStack

from langchain_anthropic import ChatAnthropic
from langchain_core.documents import Document
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnablePassthrough
from llama_index.core import SummaryIndex
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.llms.anthropic import Anthropic

from costkit.testing import MessagesServer
from costkit.text import split_sentences, words

TEXTS = {
    "refunds.md": "Refunds are paid within 14 days. They go to the card that was charged. Gift cards are not refunded.",
    "shipping.md": "Parcels are shipped on Monday and Thursday. Shipping to an island takes three days longer.",
    "plans.md": "The Team plan costs 40 euros per month. It holds ten seats. The Solo plan holds one seat.",
}


def answer(request: dict) -> str | list[dict]:
    """Answer with the sentence that shares most words with the question; call a tool that the question names."""
    last = request["messages"][-1]["content"]
    asked = last if isinstance(last, str) else "\n".join(block.get("text", "") for block in last)
    asked = asked.rpartition("Question:")[2].rpartition("Query:")[2].partition("Answer:")[0].strip()
    tool = next((tool for tool in request.get("tools", ()) if tool["name"] in words(asked)), None)
    if tool is not None:
        (argument,) = tool["input_schema"]["properties"]
        return [{"type": "tool_use", "name": tool["name"], "input": {argument: words(asked)[-1]}}]
    sentences = [text[span.start : span.end] for text in TEXTS.values() for span in split_sentences(text)]
    return max(sentences, key=lambda sentence: len({*words(sentence)} & {*words(asked)}))


closing = ExitStack()
server = closing.enter_context(MessagesServer(answer))
os.environ["ANTHROPIC_BASE_URL"] = server.url
os.environ["ANTHROPIC_API_KEY"] = "local"

# --- a LangChain application -----------------------------------------------------------------------------------------


class Shelf(BaseRetriever):
    """Finds the same documents for every question."""

    def _get_relevant_documents(self, query, *, run_manager):  # noqa: ARG002  LangChain's signature
        return [Document(id=name, page_content=text, metadata={"source": name}) for name, text in TEXTS.items()]


haiku = ChatAnthropic(model="claude-haiku-4-5")
opus = ChatAnthropic(model="claude-opus-4-5")
retriever = Shelf()
prompt = ChatPromptTemplate.from_messages(
    [("system", "Answer from the context."), ("human", "{context}\n\nQuestion: {question}")]
)
chain = {"context": retriever, "question": RunnablePassthrough()} | prompt | haiku | StrOutputParser()

# --- a LlamaIndex application ----------------------------------------------------------------------------------------

nodes = [
    TextNode(id_=f"{name}#0", text=text, relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=name)})
    for name, text in TEXTS.items()
]
llama_haiku = Anthropic(model="claude-haiku-4-5")
llama_opus = Anthropic(model="claude-opus-4-5")
index = SummaryIndex(nodes)
query_engine = index.as_query_engine(llm=llama_haiku)

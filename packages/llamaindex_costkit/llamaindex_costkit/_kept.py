"""How answers are kept: under which version, as which JSON text, and resting on what. An entry is data, never pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore
from llama_index.core.storage.docstore.utils import doc_to_json, json_to_doc

from costkit.cache import Evidence, evidence
from costkit.cache.evidence import Read
from costkit.errors import ConfigurationError, DataError
from llamaindex_costkit.context import HASH


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A query engine's answer.

    Attributes:
        text: The whole answer.
        streamed: The engine gave it as a stream.
        nodes: Its source nodes.
        metadata: The response's metadata.
    """

    text: str
    streamed: bool
    nodes: Sequence[NodeWithScore] = ()
    metadata: Mapping[str, object] | None = None


def version_of(owner: object, version: str | None) -> str:
    """Return ``version``, which only the user can give.

    Raises:
        ConfigurationError: It is not given.
    """
    if not version:
        raise ConfigurationError(
            f"version={version!r}: a LlamaIndex {type(owner).__name__} has no serialised form to tell its answers apart "
            "by; give version='support-1' and change it with every change of prompt, model or corpus"
        )
    return version


def encode(answer: Answer) -> str:
    """Return an answer as JSON text. Embeddings of the nodes are left out: they are large and nobody reads them.

    Raises:
        DataError: A node or the metadata holds a value that has no JSON form.
    """
    nodes = [
        {"node": doc_to_json(one.node.model_copy(update={"embedding": None})), "score": _score(one)}
        for one in answer.nodes
    ]
    packed = {"text": answer.text, "streamed": answer.streamed, "nodes": nodes, "metadata": answer.metadata}
    try:
        return json.dumps(packed, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise DataError(f"an answer cannot be kept, since it has no JSON form: {error}") from None


def decode(text: str) -> Answer:
    """Return the answer that ``encode`` wrote, newly made."""
    packed = json.loads(text)
    return Answer(
        text=packed["text"],
        streamed=packed["streamed"],
        nodes=[NodeWithScore(node=json_to_doc(one["node"]), score=one["score"]) for one in packed["nodes"]],
        metadata=packed["metadata"],
    )


def evidence_of(nodes: Sequence[NodeWithScore], *, answer: str = "", question: str = "") -> tuple[Evidence, ...]:
    """Return what nodes say of their documents: source document id, else node id, and the hash of what a model sees.

    Node ids are new at every ingestion and LlamaIndex's own node hash covers hidden metadata, so neither tells a
    changed document from an unchanged one. A node that was cut has the hash of the whole.

    Args:
        nodes: The nodes that were read.
        answer: The answer in words, where it is to be known which nodes support it.
        question: Its question.
    """
    return evidence.evidence_of(map(_read, nodes), answer=answer, question=question)


def seen_of(node: BaseNode) -> str:
    """Return what a model sees of a node: its text, metadata that is not hidden from it, and a hash of each medium."""
    media = [getattr(node, f"{kind}_resource", None) for kind in ("image", "audio", "video")]
    return "\n".join([node.get_content(MetadataMode.LLM), *(one.hash for one in media if one is not None)])


def _read(found: NodeWithScore) -> Read:
    return Read(found.node.ref_doc_id or found.node.node_id, seen_of(found.node), found.node.metadata.get(HASH))


def _score(node: NodeWithScore) -> float | None:
    return None if node.score is None else float(node.score)  # retrievers hand out numpy floats, which JSON refuses

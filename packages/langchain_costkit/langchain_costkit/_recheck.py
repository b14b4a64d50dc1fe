"""Whether an answer still holds in what the retriever finds now: reuse after retrieval."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from langchain_core.documents import Document
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import merge_configs

from costkit.cache import Evidence
from costkit.cache.evidence import still_holds
from costkit.cache.lookup import Check
from langchain_costkit._witness import Witness


def recheck(
    retriever: Runnable[str, list[Document]],
    question: str,
    config: RunnableConfig,
    *,
    source_id_key: str | None,
    loop: asyncio.AbstractEventLoop | None,
) -> Check:
    """Return the check of an answer's evidence for ``ResponseCache.lookup``.

    Args:
        retriever: What the chain retrieves with.
        question: What it is asked.
        config: The config of the call.
        source_id_key: As for ``cached``.
        loop: Where the check is called in a thread beside an event loop, that loop: it then retrieves there.
    """

    def check(kept: Sequence[Evidence]) -> str | None:
        witness = Witness(source_id_key=source_id_key)
        # Seen as at answer time: the same retrievers inside, the same names.
        watched = merge_configs(config, {"callbacks": [witness]})
        if loop is None:
            retriever.invoke(question, watched)
        else:
            asyncio.run_coroutine_threadsafe(retriever.ainvoke(question, watched), loop).result()
        return still_holds(kept, witness.evidence())

    return check

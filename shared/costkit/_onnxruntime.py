"""How costkit runs onnxruntime inside somebody else's process: without its telemetry and on a bounded set of threads."""

from __future__ import annotations

import os

__all__ = ["batch_threads", "disable_telemetry"]

_MOST_THREADS = 4


def disable_telemetry() -> None:
    """Keep onnxruntime from sending usage data; call it before the first import of onnxruntime, fastembed or flashrank.

    From release 1.29 on a thread that starts at import sends it on Linux and macOS too, and a worker process forked
    after the import hangs at its exit (https://github.com/zilliztech/memsearch/pull/749). A user who wants it sets
    ``ORT_DISABLE_TELEMETRY=0``.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def batch_threads() -> int:
    """Return how many batches to run side by side: the usable cores, at most 4, so that the application keeps some.

    Each batch runs on a session of one thread. Two such batches side by side took less time than one batch on a session
    of two threads, and half as much where other work kept the cores busy (short sentences, 2 cores).
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, _MOST_THREADS)

"""Golden sets, the evaluation harness and the baselines of costkit."""

from __future__ import annotations

__all__: list[str] = []

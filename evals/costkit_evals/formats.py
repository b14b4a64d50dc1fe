"""How figures are written, the same in the terminal and in the report."""

from __future__ import annotations

from costkit_evals.statistics import Estimate

__all__ = [
    "FRAMEWORKS",
    "MINUS",
    "NOTHING",
    "PHASES",
    "change",
    "interval",
    "metric_title",
    "milliseconds",
    "percent",
    "segment_title",
    "signed",
    "thousand",
    "tokens",
]

NOTHING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
FRAMEWORKS = {"langchain": "LangChain", "llamaindex": "LlamaIndex"}
PHASES = {
    "first": "First pass, response cache off",
    "replay": "Replay with paraphrases and near misses",
    "conversation": "Conversations",
}
_METRICS = {
    "id_recall": "document recall",
    "id_precision": "document precision",
    "token_f1": "token F1",
    "success": "successful answers",
}


def metric_title(name: str) -> str:
    """Return a metric's name in words."""
    plain = name.removeprefix("ragas_").replace("_", " ")
    return f"ragas: {plain}" if name.startswith("ragas_") else _METRICS.get(name, plain)


def segment_title(name: str) -> str:
    """Return a segment's name in words."""
    return name.replace("system_", "system, ")


def tokens(value: float) -> str:
    """Write a count of tokens."""
    return f"{value:,.0f}"


def thousand(usd: float | None) -> str:
    """Write dollars for a thousand of what ``usd`` pays one of, or a dash where it is unpriced."""
    if usd is None:
        return NOTHING
    value = usd * 1000
    return f"${value:,.2f}" if value >= 0.1 or value == 0 else f"${value:.3f}"


def percent(share: float) -> str:
    """Write a share as a percentage."""
    return f"{share * 100:.1f}%".replace("-", MINUS)


def change(reduction: float) -> str:
    """Write a share saved as the change that it is: saving 0.6 is 60% less."""
    figure = f"{abs(reduction) * 100:.1f}%"
    sign = "" if figure == "0.0%" else MINUS if reduction > 0 else "+"
    return sign + figure


def signed(value: float) -> str:
    """Write a difference with its sign."""
    return f"{value:+.3f}".replace("-", MINUS)


def interval(value: Estimate, *, scale: float = 1.0, places: int = 3) -> str:
    """Write the bounds of an interval."""
    low, high = (f"{bound * scale:,.{places}f}".replace("-", MINUS) for bound in (value.low, value.high))
    return f"{low} to {high}"


def milliseconds(seconds: float) -> str:
    """Write a short time in milliseconds."""
    value = seconds * 1000
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}" if value >= 0.1 else f"{value:.2f}"

"""What the options of ``costkit eval`` mean: names checked, defaults found, one plan made of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from costkit.errors import ConfigurationError
from costkit_evals.evaluation import Baseline, read_baseline
from costkit_evals.golden_formats import load_any
from costkit_evals.pipelines import PIPELINES, Settings, named
from costkit_evals.result import Framework
from costkit_evals.runner import Plan

__all__ = ["baseline", "handbook", "plan", "ragas_metrics"]

API_KEY = "ANTHROPIC_API_KEY"


def handbook() -> Path:
    """Return the golden set that costkit carries: in a clone beside the package, in a wheel inside it."""
    package = Path(__file__).parent
    inside, beside = package / "golden_sets" / "handbook", package.parent / "golden" / "handbook"
    return inside if inside.is_dir() else beside


def plan(
    golden: Path,
    *,
    corpus: Path | None,
    mapping: Sequence[str],
    limit: int | None,
    split: str | None,
    pipelines: str | None,
    frameworks: str,
    models: Sequence[str],
    seed: int,
) -> tuple[Plan, str]:
    """Return the plan of a run, and one line that says how the golden set was read.

    Raises:
        ConfigurationError: A pipeline, framework or model is unknown, a mapping is not FIELD=KEY, a split is empty, or
            the API key for real models is missing.
        DataError: The golden set is bad.
    """
    names = list(PIPELINES) if pipelines is None else _words(pipelines)
    if not names or not _words(frameworks):
        raise ConfigurationError(
            f"--pipelines and --frameworks name at least one each, got {pipelines!r}, {frameworks!r}"
        )
    named(names)
    loaded, how = load_any(golden, mapping=dict(_pair(one) for one in mapping), corpus=corpus)
    if split is not None:
        known = sorted({question.split for question in loaded.questions if question.split})
        if split not in known:
            raise ConfigurationError(f"the golden set has no split {split!r}; it has {known}")
        loaded = loaded.only_split(split)
    if limit is not None:
        loaded = loaded.head(limit)
    made = Plan(
        golden=loaded,
        settings=_settings(models),
        frameworks=_frameworks(frameworks),
        pipelines=tuple(names),
        seed=seed,
    )
    return made, how


def baseline(given: Path | None, golden: Path) -> Baseline | None:
    """Return the stored baseline: the given file, else the golden set's own if it has one."""
    own = golden / "baseline.json"
    if given is None and not own.is_file():
        return None
    return read_baseline(given or own)


def ragas_metrics(names: str) -> tuple[str, ...]:
    """Return the names of the ragas metrics that an option asks for.

    Raises:
        ConfigurationError: A name is unknown.
    """
    from costkit_evals.ragas_metrics import METRICS

    if names in ("all", "none"):
        return METRICS if names == "all" else ()
    unknown = next((name for name in _words(names) if name not in METRICS), None)
    if unknown is not None:
        raise ConfigurationError(f"unknown metric {unknown!r}; choose from {', '.join(METRICS)}, all, none")
    return tuple(_words(names))


def _settings(models: Sequence[str]) -> Settings:
    """Return the settings for real models, or for readers where none are named."""
    if not models:
        return Settings()
    if not os.environ.get(API_KEY):
        raise ConfigurationError(f"--model calls the provider and needs {API_KEY} in the environment; it is not set")
    from costkit.prices import default_book

    if len(set(models)) != 2:
        raise ConfigurationError(f"--model is given twice, the cheap and the strong one, got {list(models)!r}")
    unknown = next((model for model in models if default_book().rates(model) is None), None)
    if unknown is not None:
        raise ConfigurationError(f"unknown model {unknown!r}: no price is known for it; check its id")
    return Settings(cheap_model=models[0], strong_model=models[-1], real_models=True)


def _frameworks(names: str) -> tuple[Framework, ...]:
    known: tuple[Framework, ...] = get_args(Framework)
    unknown = next((name for name in _words(names) if name not in known), None)
    if unknown is not None:
        raise ConfigurationError(f"unknown framework {unknown!r}; choose from {', '.join(known)}")
    return tuple(name for name in known if name in _words(names))


def _words(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def _pair(text: str) -> tuple[str, str]:
    field, separator, key = text.partition("=")
    if not (separator and field and key):
        raise ConfigurationError(f"--map takes FIELD=KEY, got {text!r}")
    return field, key

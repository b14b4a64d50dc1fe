"""What an import costs and promises: few modules, nothing heavy, and every public name where the package says it is."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ["cache", "context", "ledger", "prompt", "route"]
CORE = [
    "costkit",
    "costkit.errors",
    "costkit.home",
    "costkit.models",
    "costkit.scope",
    "costkit.testing",
    "costkit.text",
    "costkit.tokens",
    "costkit.prices",
    "costkit.embed",
    *(f"costkit.{part}" for part in PARTS),
]
ADAPTERS = ["langchain_costkit", "llamaindex_costkit"]
HEAVY = {"numpy", "pydantic", "onnxruntime", "fastembed", "flashrank", "torch", "sqlalchemy", "genai_prices", "onnx"}
HEAVY |= {"tokenizers", "tiktoken", "rich", "click", "httpx", "anthropic"}
FRAMEWORKS = {"langchain", "langchain_core", "langchain_classic", "langgraph", "langsmith", "llama_index", "ragas"}
SOURCES = {
    "costkit": ROOT / "shared/costkit",
    "langchain_costkit": ROOT / "packages/langchain_costkit/langchain_costkit",
    "llamaindex_costkit": ROOT / "packages/llamaindex_costkit/llamaindex_costkit",
    "costkit_evals": ROOT / "evals/costkit_evals",
}


def modules_added_by(statement: str) -> set[str]:
    """Names that ``statement`` adds to sys.modules of a fresh interpreter."""
    code = f"import sys, json; before = set(sys.modules); {statement}; print(json.dumps([*set(sys.modules) - before]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def heavy(modules: set[str], *, also: set[str]) -> set[str]:
    packages = {name.partition(".")[0] for name in modules}
    return {name for name in packages if name in HEAVY | also or name.startswith("qdrant")}


def packages() -> list[str]:
    """Every importable folder of the four projects, as a module name."""
    return sorted(
        ".".join([package, *path.parent.relative_to(folder).parts])
        for package, folder in SOURCES.items()
        for path in folder.rglob("__init__.py")
    )


def imported_names(module: str) -> set[str]:
    """Public names that a package's ``__init__`` imports from its own package, for use or for type checkers."""
    package, *rest = module.split(".")
    tree = ast.parse(SOURCES[package].joinpath(*rest, "__init__.py").read_text(encoding="utf-8"))
    own = [
        node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(package)
    ]
    return {alias.asname or alias.name for node in own for alias in node.names}


def by_kind(name: str) -> tuple[int, str]:
    """The linter's order of ``__all__``: constants, then classes, then the rest, each by name."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


def test_the_core_adds_at_most_150_modules() -> None:
    assert len(modules_added_by("import costkit")) <= 150


@pytest.mark.parametrize("module", CORE)
def test_the_core_and_its_parts_load_nothing_heavy(module: str) -> None:
    assert heavy(modules_added_by(f"import {module}"), also=FRAMEWORKS) == set()


@pytest.mark.parametrize("module", [*ADAPTERS, "costkit_evals"])
def test_the_other_packages_load_nothing_heavy_until_a_name_is_asked_for(module: str) -> None:
    assert heavy(modules_added_by(f"import {module}"), also=FRAMEWORKS) == set()


def test_the_parts_of_the_langchain_adapter_load_no_agents_code() -> None:
    added = modules_added_by("from langchain_costkit import *")
    assert {name.partition(".")[0] for name in added} & {"langchain", "langgraph", "langchain_classic"} == set()
    assert "langchain_costkit.middleware" not in added


@pytest.mark.parametrize("module", packages())
def test_a_package_lists_all_its_public_names_sorted_and_each_can_be_imported(module: str) -> None:
    package = importlib.import_module(module)
    names = list(getattr(package, "__all__", []))
    assert names == sorted(names, key=by_kind)
    assert set(names) == imported_names(module)
    for name in names:
        getattr(package, name)


@pytest.mark.parametrize("package", ["costkit", *(f"costkit.{part}" for part in [*PARTS, "testing"]), *ADAPTERS])
def test_an_unknown_name_is_an_attribute_error(package: str) -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        importlib.import_module(package).no_such_name  # noqa: B018

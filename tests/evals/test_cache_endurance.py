"""The endurance checks of the cache: a small run finds nothing, and what would be wrong is found."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from costkit.cache import Lookup, ResponseCache
from costkit.testing import HashEmbedder, ListRecorder
from costkit_evals.cache_endurance import Checker, Question, kill, main, missing, opened, stress

QUESTION = Question(text="What does page 3 say about topic 1?", document=3)


def steps(count: int) -> Callable[[], bool]:
    """Go on for so many steps of all threads and tasks together."""
    counter = itertools.count()
    return lambda: next(counter) < count


def test_what_was_acknowledged_before_a_kill_is_there_after_it(tmp_path: Path) -> None:
    found = kill(tmp_path / "cache", kills=3, seed=1)

    assert found.kills == 3
    assert found.acknowledged > 0
    assert (found.lost, found.failed_opens, found.failed_writers) == (0, 0, 0)


def test_an_entry_that_is_not_there_is_missing(tmp_path: Path) -> None:
    cache = opened(tmp_path / "cache")

    assert missing(cache, {"8603cb9b-b10b-5d44-b4f2-d8804fdbb131": 7}) == {"8603cb9b-b10b-5d44-b4f2-d8804fdbb131"}
    cache.close()


def test_a_store_that_does_not_open_is_counted(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("no folder")

    found = kill(tmp_path / "cache", kills=1, seed=1)

    assert (found.kills, found.acknowledged, found.failed_opens) == (0, 0, 2)


def test_threads_and_tasks_on_one_cache_find_nothing_wrong(tmp_path: Path) -> None:
    cache = opened(tmp_path / "cache")
    found = stress(cache, going=steps(1500), seed=1)
    cache.close()

    assert (found.errors, found.stale, found.lost) == (0, 0, 0), found.first_errors
    assert found.checked > 100
    for kind in ("look-up: exact", "look-up: miss", "store", "invalidate"):
        assert found.operations[kind] > 0


class Deaf(ResponseCache):
    """Invalidates nothing."""

    def invalidate(self, document_id: str, *, tenant: str | None = None) -> int:
        return 0


class Forgetful(ResponseCache):
    """Acknowledges what it does not keep."""

    def store(self, *args: object, **kwargs: object) -> str | None:
        kept = super().store(*args, **kwargs)  # type: ignore[arg-type]
        if kept is not None:
            self.drop(kept)
        return kept


class Silent(ResponseCache):
    """Keeps nothing."""

    def store(self, *args: object, **kwargs: object) -> str | None:
        return None


class Broken(ResponseCache):
    """Raises at every look-up."""

    def lookup(self, *args: object, **kwargs: object) -> Lookup:
        raise OSError("the disk is gone")


@pytest.mark.parametrize(
    ("kind", "wrong", "count"),
    [(Deaf, "stale", 1500), (Forgetful, "lost", 300), (Silent, "errors", 300), (Broken, "errors", 300)],
)
def test_a_broken_cache_is_found_out(kind: type[ResponseCache], wrong: str, count: int, tmp_path: Path) -> None:
    cache = kind(version="1", embedder=HashEmbedder(), path=tmp_path / "cache", recorder=ListRecorder())
    found = stress(cache, going=steps(count), seed=1)
    cache.close()

    assert getattr(found, wrong) > 0


def test_an_answer_is_stale_only_if_its_invalidation_had_returned_before_the_look_up() -> None:
    checker = Checker()
    early = checker.seen()
    old = Lookup(kind="exact", reason="", answer=checker.answer(QUESTION))
    checker.invalidated(3, checker.changed(3))

    checker.looked_up(old, early)
    assert not checker.stale
    checker.looked_up(old, checker.seen())
    assert len(checker.stale) == 1


def test_a_bypass_is_an_error() -> None:
    checker = Checker()
    checker.looked_up(Lookup(kind="bypass", reason="the store is down"), checker.seen())

    assert checker.errors == ["the store is down"]


def test_an_entry_stands_until_its_document_changes() -> None:
    checker = Checker()
    checker.stored("one", QUESTION, checker.seen())

    assert checker.standing() == {"one": QUESTION}
    checker.changed(3)
    assert checker.standing() == {}


def test_the_program_prints_one_json_object_or_text() -> None:
    as_json = CliRunner().invoke(main, ["--kills", "1", "--seconds", "0.2", "--json"])
    plain = CliRunner().invoke(main, ["--kills", "1", "--seconds", "0.2"])

    printed = json.loads(as_json.stdout)
    assert (printed["kills"]["kills"], printed["stress"]["tasks"]) == (1, 200)
    assert "1 kills: 0 of" in plain.stdout
    assert (as_json.exit_code, plain.exit_code) == (0, 0)

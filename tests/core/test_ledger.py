"""The ledger: nothing is lost, nothing is counted twice, and a broken database never stops the caller."""

from __future__ import annotations

import json
import multiprocessing
import os
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, make_url, text

from costkit.errors import ConfigurationError, StoreError
from costkit.ledger import Event, Ledger, Usage, default_ledger, default_recorder, report
from costkit.ledger.commands import ledger as ledger_command
from costkit.ledger.store import EVENTS
from costkit.scope import Scope

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


def postgresql_urls() -> Iterator[str]:
    """Yield the URL of an empty schema in the test database; tests that run side by side do not meet."""
    given = os.environ.get("COSTKIT_TEST_POSTGRES_URL")
    if not given:
        pytest.skip("COSTKIT_TEST_POSTGRES_URL names no PostgreSQL database")
    schema = f"costkit_{uuid.uuid4().hex}"
    engine = create_engine(given)
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    url = make_url(given).update_query_dict({"options": f"-csearch_path={schema}"})
    yield url.render_as_string(hide_password=False)
    with engine.begin() as connection:
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'ledger.db'}"
    else:
        yield from postgresql_urls()


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    made = Ledger(url)
    yield made
    made.close()


def call(**fields: object) -> Event:
    values: dict[str, object] = {
        "kind": "model",
        "part": "model",
        "decision": "strong",
        "model": "claude-opus-5-5",
        "usage": Usage(uncached_input_tokens=100, cache_read_tokens=50, output_tokens=10),
        "cost_nano_usd": 1_000,
        "scope": Scope(tenant="acme", user="ann", feature="chat"),
        "at": NOW,
    }
    return Event(**(values | fields))  # type: ignore[arg-type]


def test_an_event_is_read_back_as_it_was(ledger: Ledger) -> None:
    event = call(
        saved=Usage(cache_write_1h_tokens=7),
        saved_nano_usd=None,
        tier="strong",
        run_id="r1",
        batch=True,
        seconds=0.25,
        details={"score": 0.5, "kind": "exact", "entry": None},
        scope=Scope(tenant="acme", data_class="public", purpose="eval", deferrable=True),
    )
    ledger.record(event)

    assert list(ledger.events()) == [event]


def test_an_event_is_kept_once(ledger: Ledger) -> None:
    event = call()
    ledger.record(event)
    ledger.record(event)

    assert len(list(ledger.events())) == 1
    assert ledger.dropped == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"reason": "a lone surrogate \ud800"},
        {"cost_nano_usd": 2**70},
        {"reason": object()},
        {"seconds": None},
    ],
)
def test_an_event_that_no_database_takes_is_counted_and_does_not_raise(
    ledger: Ledger, fields: dict[str, object]
) -> None:
    ledger.record(call(**fields))
    ledger.record(call())

    assert ledger.dropped == 1
    assert len(list(ledger.events())) == 1


def test_a_time_without_zone_is_utc(ledger: Ledger) -> None:
    ledger.record(call(at=NOW.replace(tzinfo=None)))

    (event,) = ledger.events(since=NOW.replace(tzinfo=None), until=(NOW + timedelta(seconds=1)).replace(tzinfo=None))

    assert event.at == NOW


def test_events_are_filtered_by_time(ledger: Ledger) -> None:
    for hours in range(3):
        ledger.record(call(at=NOW + timedelta(hours=hours)))

    found = list(ledger.events(since=NOW + timedelta(hours=1), until=NOW + timedelta(hours=2)))

    assert [event.at for event in found] == [NOW + timedelta(hours=1)]


def test_a_report_sums_by_group_and_puts_the_dearest_first(ledger: Ledger) -> None:
    ledger.record(call())
    ledger.record(call(cost_nano_usd=2_000))
    ledger.record(call(scope=Scope(tenant="zeta"), cost_nano_usd=9_000, status="failed"))

    found = report(ledger, by=["tenant"])

    assert [row.group["tenant"] for row in found.rows] == ["zeta", "acme"]
    assert found.rows[1].cost_usd == Decimal("0.000003")
    assert (found.rows[1].calls, found.rows[1].input_tokens, found.rows[1].output_tokens) == (2, 300, 20)
    assert (found.rows[1].uncached_input_tokens, found.rows[1].cache_read_tokens) == (200, 100)
    assert found.rows[0].failed == 1


def test_an_unpriced_call_is_counted_and_not_summed(ledger: Ledger) -> None:
    ledger.record(call(cost_nano_usd=None))
    ledger.record(call())

    (row,) = report(ledger, by=["model"]).rows

    assert (row.unpriced, row.cost_usd) == (1, Decimal("0.000001"))


def test_a_cache_hit_is_a_hit_and_no_call(ledger: Ledger) -> None:
    ledger.record(Event(kind="cache", part="cache", decision="hit", tier="cached", saved_nano_usd=5_000, at=NOW))

    (row,) = report(ledger, by=["tier"]).rows

    assert (row.hits, row.calls, row.saved_usd) == (1, 0, Decimal("0.000005"))


@pytest.mark.parametrize("by", [[], ["colour"]])
def test_an_unknown_grouping_is_named(ledger: Ledger, by: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="tenant, user"):
        report(ledger, by=by)


def test_a_report_renders_for_a_terminal_and_as_json(ledger: Ledger) -> None:
    ledger.record(call())
    found = report(ledger)

    assert found.table().row_count == 1
    assert found.to_json()[0]["cost_usd"] == "0.000001"


def test_a_broken_database_drops_and_says_so_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ledger = Ledger.at(tmp_path / "ledger.db")
    EVENTS.drop(ledger.engine)

    for _ in range(3):
        ledger.record(call())

    assert ledger.dropped == 3
    assert len(caplog.records) == 1
    ledger.close()


@pytest.mark.parametrize("url", ["", "nonsense", "mysterydb://x"])
def test_a_wrong_url_is_one_clear_error(url: str) -> None:
    with pytest.raises(ConfigurationError, match="sqlite:///FILE"):
        Ledger(url)


def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreError, match="cannot be used"):
        Ledger.at(tmp_path / "file" / "ledger.db")


def test_the_default_ledger_lies_in_the_home_and_is_opened_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COSTKIT_HOME", str(tmp_path / "home"))

    assert default_ledger() is default_ledger()
    assert (tmp_path / "home" / "ledger.db").exists()
    default_ledger().close()


def test_a_default_ledger_that_cannot_be_opened_is_said_once_and_takes_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COSTKIT_HOME", str(tmp_path / "file"))

    for _ in range(3):
        default_recorder().record(call())

    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "COSTKIT_HOME" in caplog.text


def test_a_password_does_not_show_in_an_error() -> None:
    pytest.importorskip("psycopg")

    with pytest.raises(StoreError) as caught:
        Ledger("postgresql+psycopg://ann:secret@127.0.0.1:1/none")

    assert "secret" not in str(caught.value)


def test_a_ledger_of_a_newer_costkit_is_refused(url: str) -> None:
    ledger = Ledger(url)
    with ledger.engine.begin() as connection:
        connection.execute(text("UPDATE costkit_schema SET version = 99"))
    ledger.close()

    with pytest.raises(StoreError, match="upgrade costkit"):
        Ledger(url)


def _write(url: str, count: int, barrier: Barrier) -> None:
    barrier.wait()
    ledger = Ledger(url)
    for _ in range(count):
        ledger.record(call())
    ledger.close()


def test_several_processes_open_a_new_ledger_at_once_and_nothing_is_lost(url: str) -> None:
    """The workers of a server start together and find no tables."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    processes = [context.Process(target=_write, args=(url, 25, barrier)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    ledger = Ledger(url)
    assert report(ledger, by=["tenant"]).rows[0].calls == 75
    ledger.close()


def test_a_forked_worker_does_not_use_its_parents_connections(ledger: Ledger) -> None:
    """A server that loads the application before it forks gives every worker the same ledger object."""
    ledger.record(call())
    workers = []
    for _ in range(2):
        worker = os.fork()
        if worker == 0:
            for _ in range(20):
                ledger.record(call())
            os._exit(ledger.dropped)
        workers.append(worker)
    for _ in range(20):
        ledger.record(call())

    assert [os.waitpid(worker, 0)[1] for worker in workers] == [0, 0]
    assert (len(list(ledger.events())), ledger.dropped) == (61, 0)


def test_threads_share_a_ledger(ledger: Ledger) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: ledger.record(call()), range(64)))

    assert (len(list(ledger.events())), ledger.dropped) == (64, 0)


def test_the_report_command_prints_a_table_or_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSTKIT_HOME", str(tmp_path))
    default_ledger().record(call())
    default_ledger().record(call(scope=Scope(tenant="zeta"), at=NOW - timedelta(days=9)))
    default_ledger().close()

    shown = CliRunner().invoke(ledger_command, ["report", "--by", "tenant, tier"])
    plain = CliRunner().invoke(ledger_command, ["report", "--by", "tenant", "--since", "2026-11-01", "--json"])

    assert "acme" in shown.output
    assert [row["group"] for row in json.loads(plain.output)] == [{"tenant": "acme"}]


@pytest.mark.parametrize("options", [[], ["--db", "sqlite:///missing.db"]])
def test_the_report_command_names_a_ledger_that_is_not_there(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COSTKIT_HOME", str(tmp_path / "none"))

    result = CliRunner().invoke(ledger_command, ["report", *options])

    assert isinstance(result.exception, StoreError)
    assert "there is no ledger" in str(result.exception)
    assert not (tmp_path / "none").exists()


counts = st.integers(min_value=0, max_value=10**12)


@given(one=st.tuples(*[counts] * 5), other=st.tuples(*[counts] * 5))
def test_usage_adds_kind_by_kind(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    names = list(vars(Usage()))
    total = Usage(**dict(zip(names, one, strict=True))) + Usage(**dict(zip(names, other, strict=True)))

    assert tuple(vars(total).values()) == tuple(a + b for a, b in zip(one, other, strict=True))
    assert total.input_tokens == sum(one[:4]) + sum(other[:4])


def test_anthropic_usage_excludes_cached_tokens_from_input() -> None:
    usage = Usage.from_anthropic(
        {
            "input_tokens": 3,
            "cache_read_input_tokens": 9_000,
            "cache_creation_input_tokens": 1_000,
            "cache_creation": {"ephemeral_5m_input_tokens": 600, "ephemeral_1h_input_tokens": 400},
            "output_tokens": 20,
        }
    )

    assert usage == Usage(
        uncached_input_tokens=3,
        cache_read_tokens=9_000,
        cache_write_5m_tokens=600,
        cache_write_1h_tokens=400,
        output_tokens=20,
    )


def test_langchain_usage_includes_cached_tokens_in_input() -> None:
    """The same call as LangChain reports it, with and without the split of writes by lifetime."""
    split = {
        "cache_read": 9_000,
        "cache_creation": 0,
        "ephemeral_5m_input_tokens": 600,
        "ephemeral_1h_input_tokens": 400,
    }

    usage = Usage.from_langchain({"input_tokens": 10_003, "output_tokens": 20, "input_token_details": split})
    merged = Usage.from_langchain(
        {
            "input_tokens": 10_003,
            "output_tokens": 20,
            "input_token_details": {"cache_read": 9_000, "cache_creation": 1_000},
        }
    )

    assert (usage.uncached_input_tokens, usage.cache_write_5m_tokens, usage.cache_write_1h_tokens) == (3, 600, 400)
    assert (merged.uncached_input_tokens, merged.cache_write_5m_tokens) == (3, 1_000)
    assert usage.input_tokens == merged.input_tokens == 10_003


@pytest.mark.parametrize("value", [-1, 1.5, True])
def test_a_wrong_count_is_named(value: object) -> None:
    with pytest.raises(ConfigurationError, match="output_tokens"):
        Usage(output_tokens=value)  # type: ignore[arg-type]

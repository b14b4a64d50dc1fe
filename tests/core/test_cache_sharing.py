"""Who shares answers: a tenant's users, each user alone, or by an explicit choice everyone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from costkit.cache import Evidence, ResponseCache
from costkit.errors import ConfigurationError
from costkit.scope import Scope, use
from costkit.testing import HashEmbedder, ListRecorder

ASKED = "What does the Solo plan cost?"
ANN = Scope(tenant="acme", user="ann")
BEN = Scope(tenant="acme", user="ben")
RIVAL = Scope(tenant="rival", user="ann")

Opens = Callable[..., ResponseCache]


@pytest.fixture
def opens(tmp_path: Path) -> Iterator[Opens]:
    made: list[ResponseCache] = []

    def opened(**options: object) -> ResponseCache:
        made.append(
            ResponseCache(
                version="1",
                embedder=HashEmbedder(),
                path=tmp_path / "cache",
                recorder=ListRecorder(),
                **options,  # type: ignore[arg-type]
            )
        )
        return made[-1]

    yield opened
    for cache in made:
        cache.close()


def kept(cache: ResponseCache, scope: Scope, answer: str = "12 dollars", **more: object) -> None:
    cache.store(cache.lookup(ASKED, scope=scope).ticket, answer, **more)  # type: ignore[arg-type]


def test_users_of_a_tenant_share_answers_and_tenants_do_not(opens: Opens) -> None:
    cache = opens()
    kept(cache, ANN)

    assert cache.lookup(ASKED, scope=BEN).answer == "12 dollars"
    assert cache.lookup(ASKED, scope=RIVAL).kind == "miss"


def test_shared_by_user_keeps_each_users_answers_apart(opens: Opens) -> None:
    cache = opens(shared_by="user")
    kept(cache, ANN)

    assert cache.lookup(ASKED, scope=ANN).answer == "12 dollars"
    assert cache.lookup(ASKED, scope=BEN).kind == "miss"
    assert cache.lookup(ASKED, scope=RIVAL).kind == "miss"


def test_shared_by_user_stands_aside_where_no_user_is_known(opens: Opens) -> None:
    cache = opens(shared_by="user")

    found = cache.lookup(ASKED, scope=Scope(tenant="acme"))

    assert found.kind == "bypass"
    assert "names no user" in found.reason
    assert cache.ticket(ASKED, scope=Scope(tenant="acme")) is None


def test_a_cache_of_single_users_and_one_of_tenants_share_nothing_in_one_store(opens: Opens) -> None:
    alone, together, all_of_them = opens(shared_by="user"), opens(), opens(shared_by="everyone")
    kept(alone, ANN)

    assert together.lookup(ASKED, scope=ANN).kind == "miss"
    assert all_of_them.lookup(ASKED, scope=ANN).kind == "miss"


def test_answers_cross_tenants_only_where_everyone_is_chosen(opens: Opens) -> None:
    cache = opens(shared_by="everyone")
    kept(cache, ANN)

    assert cache.lookup(ASKED, scope=RIVAL).answer == "12 dollars"
    assert cache.lookup(ASKED, scope=Scope()).answer == "12 dollars"


@pytest.mark.parametrize("tenant", [None, "rival"])
def test_a_document_that_changes_ends_the_answers_that_everyone_shares(opens: Opens, tenant: str | None) -> None:
    cache = opens(shared_by="everyone")
    kept(cache, ANN, evidence=[Evidence(document_id="plans.md")])

    with use(BEN):
        dropped = cache.invalidate("plans.md", tenant=tenant)

    assert dropped == 1
    assert cache.lookup(ASKED, scope=ANN).kind == "miss"


def test_a_document_of_a_tenant_ends_the_answers_of_all_its_users(opens: Opens) -> None:
    cache = opens(shared_by="user")
    for scope in (ANN, BEN, RIVAL):
        kept(cache, scope, evidence=[Evidence(document_id="plans.md")])

    assert cache.invalidate("plans.md", tenant="acme") == 2
    assert cache.lookup(ASKED, scope=RIVAL).hit


def test_a_wrong_shared_by_is_named(opens: Opens) -> None:
    with pytest.raises(ConfigurationError, match=r"shared_by must be one of .* got 'team'"):
        opens(shared_by="team")


NAMES = st.text(min_size=1, max_size=2).filter(lambda text: bool(text.strip()))


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(NAMES, NAMES, st.sampled_from(["price", "price plan", "plan"])), min_size=20, max_size=20))
def test_no_answer_crosses_a_user(tmp_path_factory: pytest.TempPathFactory, calls: list[tuple[str, str, str]]) -> None:
    cache = ResponseCache(
        version="1",
        embedder=HashEmbedder(),
        path=tmp_path_factory.mktemp("users"),
        threshold=0.0,
        shared_by="user",
        recorder=ListRecorder(),
    )
    for tenant, user, question in calls:
        found = cache.lookup(question, scope=Scope(tenant=tenant, user=user))
        if found.answer is None:
            cache.store(found.ticket, f"{tenant}\n{user}")
        else:
            assert found.answer == f"{tenant}\n{user}"
    cache.close()

"""No answer crosses an identity, whatever the names, the inputs and the questions: 20,000 of them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from costkit.cache import ResponseCache
from costkit.scope import Scope
from costkit.testing import HashEmbedder, ListRecorder

CALLS = 100
EXAMPLES = 200  # 20,000 identities and questions in all

TENANTS = st.text(min_size=1, max_size=3).filter(lambda text: bool(text.strip()))
INPUTS = st.dictionaries(st.text(max_size=2), st.one_of(st.text(max_size=2), st.integers(0, 2), st.none()), max_size=2)
# Few words, so that tenants ask the same and nearly the same things.
QUESTIONS = st.lists(st.sampled_from(["price", "plan", "10", "20", "not"]), min_size=1, max_size=3).map(" ".join)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ResponseCache]:
    # At threshold 0 whatever the search returns is served: only the filter keeps identities apart.
    made = ResponseCache(
        version="v",
        embedder=HashEmbedder(),
        path=tmp_path_factory.mktemp("tenants") / "cache",
        threshold=0.0,
        recorder=ListRecorder(),
    )
    yield made
    made.close()


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(TENANTS, INPUTS, QUESTIONS), min_size=CALLS, max_size=CALLS))
def test_no_answer_crosses_an_identity(cache: ResponseCache, calls: list[tuple[str, dict[str, object], str]]) -> None:
    for tenant, inputs, question in calls:
        scope = Scope(tenant=tenant)
        identity = json.dumps([scope.tenant, inputs], sort_keys=True)
        found = cache.lookup(question, inputs=inputs, scope=scope)
        if found.answer is None:
            cache.store(found.ticket, identity)
        else:
            assert found.answer == identity

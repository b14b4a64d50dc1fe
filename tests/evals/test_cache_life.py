"""``costkit bench cache-speed`` on what becomes of entries: every row is measured on what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from costkit_evals import cache_life
from costkit_evals.cache_life import life, steps
from costkit_evals.terminal import Progress


def test_every_row_is_measured_on_entries_that_really_went(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RESTING_ON_ONE", 300), ("KEPT", 20), ("PACED", 100), ("PACE_SECONDS", 0.0)):
        monkeypatch.setattr(cache_life, name, value)
    progress = Progress()
    progress.start(steps(1000))

    rows = {str(row["measure"]): row for row in life(tmp_path, entries=1000, tenants=5, seed=7, progress=progress)}

    progress.stop()
    assert list(rows) == [
        "one answer kept through ResponseCache",
        "invalidation of one document",
        "pause of another thread while a document's entries go",
        "pause of another thread while purging",
        "pause of another thread while evicting",
        "export",
        "import",
        "costkit cache optimize",
    ]
    assert rows["invalidation of one document"]["resting"] == 100
    assert rows["pause of another thread while purging"]["gone"] >= 50
    assert rows["pause of another thread while evicting"]["gone"] >= 50
    assert rows["export"]["entries"] == rows["import"]["entries"]
    assert not list(tmp_path.glob("*.jsonl*"))

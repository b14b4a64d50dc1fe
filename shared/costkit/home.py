"""Where costkit keeps its files on this machine."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["home", "models_home"]


def home() -> Path:
    """Return the project's folder for the ledger and the embedded cache: ``$COSTKIT_HOME``, else ``./.costkit``.

    It is per project, because one process owns an embedded cache: two projects that shared a folder would lock
    each other out.
    """
    return Path(os.environ.get("COSTKIT_HOME") or ".costkit").absolute()


def models_home() -> Path:
    """Return the user's folder for prepared models: ``$COSTKIT_MODELS``, else the platform's cache folder."""
    given = os.environ.get("COSTKIT_MODELS")
    if given:
        return Path(given).absolute()
    from platformdirs import user_cache_path

    return user_cache_path("costkit") / "models"

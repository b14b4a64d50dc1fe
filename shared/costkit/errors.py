"""Every error costkit raises, in one tree.

    CostkitError
    +-- ConfigurationError   an argument, option or environment variable is wrong (also a ValueError)
    +-- DataError            a file or a row of it is wrong (also a ValueError)
    +-- MissingExtraError    an optional dependency is not installed (also an ImportError)
    +-- ModelFileError       the offline model cannot be used or prepared
        +-- ModelAbsentError     it has not been prepared on this machine
        +-- ModelChecksumError   a file is not the published one, or changed afterwards
        +-- ModelFolderError     its folder cannot be written
        +-- ModelPackageError    the package or folder with the published files cannot be had
    +-- StoreError           a cache or ledger store cannot be used
        +-- StoreLockedError     another process holds the embedded store

Catch ``CostkitError`` broadly or a leaf narrowly. Every message names the field, shows the value and says what to do.
"""

from __future__ import annotations

from pathlib import Path

__all__ = [
    "ConfigurationError",
    "CostkitError",
    "DataError",
    "MissingExtraError",
    "ModelAbsentError",
    "ModelChecksumError",
    "ModelFileError",
    "ModelFolderError",
    "ModelPackageError",
    "StoreError",
    "StoreLockedError",
]


class CostkitError(Exception):
    """Base of every error that costkit raises on purpose."""


class ConfigurationError(CostkitError, ValueError):
    """An argument, option or environment variable has a value that cannot work."""


class DataError(CostkitError, ValueError):
    """A data file, or one row of it, is not what its format asks for.

    Args:
        message: What is wrong, the offending value, and what to do.
        path: The file, if known.
        line: Its line number, counted from 1, if known.
    """

    def __init__(self, message: str, *, path: Path | str | None = None, line: int | None = None) -> None:
        place = "" if path is None else f"{path}: " if line is None else f"{path}:{line}: "
        super().__init__(f"{place}{message}")
        self.path = path
        self.line = line


class MissingExtraError(CostkitError, ImportError):
    """An optional dependency is needed and not installed.

    Args:
        feature: What the caller asked for.
        package: The distribution that is missing.
        install: The requirement to install, for example ``costkit[flashrank]``.
    """

    def __init__(self, *, feature: str, package: str, install: str) -> None:
        super().__init__(f"{feature} needs {package!r}, which is not installed: pip install '{install}'")


class ModelFileError(CostkitError):
    """The offline model is missing, does not match its checksum, or cannot be written."""


class ModelAbsentError(ModelFileError):
    """The model has not been prepared on this machine."""


class ModelChecksumError(ModelFileError):
    """A model file is not the published one, or a prepared file changed after it was written."""


class ModelFolderError(ModelFileError):
    """The folder for prepared models cannot be written."""


class ModelPackageError(ModelFileError):
    """The package or folder that holds the published files cannot be had."""


class StoreError(CostkitError):
    """A cache or ledger store cannot be opened, read or written."""


class StoreLockedError(StoreError):
    """Another process holds the embedded store; one process owns one folder."""

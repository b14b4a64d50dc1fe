"""costkit makes RAG applications cheap without making them worse: the core that both framework adapters share.

The five parts are ``costkit.cache``, ``costkit.context``, ``costkit.prompt``, ``costkit.route`` and ``costkit.ledger``.
Importing this package does no work and loads no framework, model or numeric library.
"""

from costkit.errors import (
    ConfigurationError,
    CostkitError,
    DataError,
    MissingExtraError,
    ModelAbsentError,
    ModelChecksumError,
    ModelFileError,
    ModelFolderError,
    ModelPackageError,
    StoreError,
    StoreLockedError,
)
from costkit.scope import Scope

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
    "Scope",
    "StoreError",
    "StoreLockedError",
]

__version__ = "0.1.0"

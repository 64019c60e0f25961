"""Apache Spark as the server of Spark Connect: its version, the error of a missing file, and quoted identifiers."""

from __future__ import annotations

from hven.model.errors import StorageError

SERVER_NAME = "Spark"
SUPPORTED_MAJOR_VERSION = "4"


def build_missing_file_error(path: str) -> StorageError:
    """Build the error of a missing file; `path` is empty if it is unknown."""
    message = "the cluster cannot find a file of the table"
    if path:
        message += f": {path}"
    return StorageError(
        message,
        remedy="mount the roots of [hats] at the same path on all nodes; if the file was removed, ingest or adopt the "
        "catalogue again",
    )


def quote_identifier(name: str) -> str:
    """Quote an identifier."""
    return "`" + name.replace("`", "``") + "`"

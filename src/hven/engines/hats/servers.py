"""Apache Spark as the server of Spark Connect: its version, a file that it does not find, and its quoted names."""

from __future__ import annotations

from hven.model.errors import StorageError

SERVER_NAME = "Spark"
SUPPORTED_MAJOR_VERSION = "4"  # the first number of the versions that are known


def build_missing_file_error(path: str) -> StorageError:
    """Make the error of a file that is not there; empty: nobody knows which."""
    return StorageError(
        f"the cluster does not find a file of the table:{path and ' '}{path}",
        remedy="mount the roots of [hats] at the same path on all nodes; if it was removed, ingest or adopt the "
        "catalogue anew",
    )


def quote_identifier(name: str) -> str:
    """Quote a name."""
    return "`" + name.replace("`", "``") + "`"


__all__ = ["SERVER_NAME", "SUPPORTED_MAJOR_VERSION", "build_missing_file_error", "quote_identifier"]

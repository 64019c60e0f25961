"""Servers that speak Spark Connect: Apache Spark, and what another one may have otherwise (`hven.engines.hats.sail`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from hven.engines.hats.dialect import Spark
from hven.model.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Session = Any  # of `connect`, which imports this
    Relation = Any  # a message of the protocol


class Server:
    """Apache Spark.

    Attributes
    ----------
    name
        As people call it.
    major
        The first number of its versions that are known.
    dialect
        Its SQL.
    large
        Bytes of rows that are sent beside the query, once.
    sweeps
        Jobs may begin after their query was stopped, and have to be stopped, too.
    impatient
        It forgets an answer that nobody reads for some seconds.
    silent
        It makes a session that it does not know instead of saying so.
    """

    name: ClassVar[str] = "Spark"
    major: ClassVar[str] = "4"
    dialect: ClassVar[type[Spark]] = Spark
    large: ClassVar[float] = 1 << 20
    sweeps: ClassVar[bool] = True
    impatient: ClassVar[bool] = True
    silent: ClassVar[bool] = False

    def files(self, session: Session, columns: Mapping[str, str], paths: Sequence[str]) -> Relation:
        """Make a relation of Parquet files: with their columns and types it looks into no footer before it reads.

        Parameters
        ----------
        columns
            Name -> type in SQL's words.
        paths
            As the cluster sees them; there may be none.
        """
        return session.parquet(paths, ", ".join(f"{quoted(name)} {kind}" for name, kind in columns.items()))


def gone(path: str) -> StorageError:
    """Make the error of a file that is not there; empty: nobody knows which."""
    return StorageError(
        f"the cluster does not find a file of the table:{path and ' '}{path}",
        remedy="mount the roots of [hats] at the same path on all nodes; if it was removed, ingest or adopt the catalogue anew",
    )


def quoted(name: str) -> str:
    """Quote a name."""
    return "`" + name.replace("`", "``") + "`"


SPARK = Server()

__all__ = ["SPARK", "Server", "gone", "quoted"]

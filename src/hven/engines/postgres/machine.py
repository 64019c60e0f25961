"""What plans, executions and stagings need of the engine they belong to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.engines import Engine, Snapshot
    from hven.engines._clock import Watch
    from hven.engines.postgres.install import Found
    from hven.engines.postgres.live_turns import Turnstile
    from hven.engines.postgres.sessions import Pool
    from hven.model.table import Table


class Copies(Protocol):
    """Copies of what readers see, as plans and executions need them."""

    def wanted(self, snapshot: Snapshot, table: Table, condition: str) -> Any:
        """Describe a copy: of the rows of a snapshot that meet a condition, SQL over ``t0``."""

    def find(self, wanted: Any) -> str | None:
        """Return the SQL of its rows; empty: it is being made; None: there will be none."""

    def forget(self) -> bool:
        """Forget which copies there are, for one was removed; False: none was ever known."""


class Machine(Protocol):
    """The engine, as its parts see it."""

    name: str
    schema: str
    where: str
    indexes: bool
    watch: Watch
    readers_roles: Sequence[str]

    @property
    def reaches(self) -> Copies | None:
        """Copies of what readers see; None if nothing may be copied."""

    @property
    def found(self) -> Found:
        """What the database offers; looked at when first needed."""

    @property
    def writers(self) -> Pool:
        """Connections of psycopg that may write."""

    @property
    def senders(self) -> Pool:
        """Connections of ADBC that may write."""

    @property
    def askers(self) -> Pool:
        """Connections of psycopg for small queries."""

    @property
    def streams(self) -> Pool:
        """Connections of ADBC for answers of any size."""

    @property
    def embedded(self) -> Engine:
        """The embedded engine, for what PostgreSQL does not compute."""

    def look_again(self) -> bool:
        """Look anew what the database offers, if it is ours to set up."""

    def remove(self, name: str) -> bool:
        """Drop a table of ours; False if readers hold it yet."""


class InPlace(Machine, Protocol):
    """The engine of a database that is read in place."""

    seconds: float
    turnstile: Turnstile

    def offers(self, extension: str) -> None:
        """Look at the database anew, unless it has this extension: it may have come since."""

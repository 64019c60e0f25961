"""The second engine: snapshots are tables of a PostgreSQL database, and PostgreSQL computes.

::

    stage -> write .. -> finish          staging: a table by binary COPY in HEALPix order, its indexes
    prepare(bound) -> Plan               plan: the SQL text (dialect, shapes) and the conditions that position indexes serve (places)
    Plan.execute(values, relations)      running: prepared and small, or streamed by COPY; detour: what PostgreSQL cannot compute
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.engines import Kind
from hven.engines.postgres.settings import DRIVERS, ROOM, SECTIONS, of
from hven.model import plugins
from hven.model.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hven.engines import Engine
    from hven.model.settings import Settings


def open(  # noqa: A001  (the contract's name)
    directory: Path,
    *,
    memory: int,
    url: str,
    read_url: str | None = None,
    role: str | None = None,
    pool: int = 10,
    schema: str = "hven",
    position: str = "",
    site: str = "",
    threads: int | None = None,
    reaches: int = ROOM,
) -> Engine:
    """Open the engine of a site in this process; the server is reached when it is first needed.

    Parameters
    ----------
    directory, memory, threads
        For the embedded engine, which computes mappings and what PostgreSQL cannot.
    url
        Where the database is, and the role that owns the snapshots: ``postgresql://user@host/database``, or libpq's words.
    read_url, role
        As whom queries read: another login, or a role that the owner may become. Without either, the owner reads, in
        transactions that cannot write.
    pool
        Connections that queries of this process use at most; as many again may write.
    schema
        The schema that is ours: each site needs one of its own.
    position
        ``pgsphere``, ``q3c`` or ``healpix``; empty: the best that the database has.
    site
        Identity of the site, written into the schema: another site that is given the same schema is refused; empty: nobody looks.
    reaches
        Bytes of the database that copies of what readers under policies see may take; 0: none are made.
    """
    plugins.need("the engine postgres", *DRIVERS, error=StorageError)
    from hven.engines.postgres.engine import PostgresEngine  # noqa: PLC0415  (what an engine brings is asked without it)

    return PostgresEngine(
        directory,
        memory=memory,
        url=url,
        read_url=read_url,
        role=role,
        pool=pool,
        schema=schema,
        position=position,
        threads=threads,
        site=site,
        reaches=reaches,
    )


def _options(settings: Settings, identity: Callable[[], str]) -> dict[str, Any]:
    said = of(settings)
    if said.url is None:
        raise StorageError(NO_DATABASE, remedy="say url under [postgres] in hven.toml")
    return {
        "url": settings.resolved(said.url),
        "schema": said.namespace,
        "role": said.read_role,
        "pool": said.pool,
        "reaches": said.reaches,
        "site": identity(),
        "position": said.position,
        "read_url": None if said.read_url is None else settings.resolved(said.read_url),
    }


NO_DATABASE = "the engine postgres has no database"
KIND = Kind(
    section="postgres",
    settings=SECTIONS,
    options=_options,
    lacks=lambda settings: NO_DATABASE if of(settings).url is None else None,
    live=f"{__name__}.live",
    verbs=(f"{__name__}.verbs:fdw", f"{__name__}.verbs:adopt"),
)

__all__ = ["KIND", "open"]

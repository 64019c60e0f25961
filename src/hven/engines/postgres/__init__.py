"""The second engine: snapshots are tables of a PostgreSQL database, and PostgreSQL computes.

::

    stage -> write .. -> finish          staging: a table by binary COPY in HEALPix order, its indexes
    prepare(bound) -> Plan               plan: the SQL text (dialect, shapes) and the conditions that position indexes serve (places)
    Plan.execute(values, relations)      running: prepared and small, or streamed by COPY; detour: what PostgreSQL cannot compute
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.engines import EngineRecord
from hven.engines.postgres.settings import DEFAULT_COPY_BYTES, DRIVER_MODULES, SETTINGS_SECTIONS, get_postgres_settings
from hven.model import plugins
from hven.model.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hven.engines import StorageEngine
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
    reaches: int = DEFAULT_COPY_BYTES,
) -> StorageEngine:
    """Open the engine of a site in this process; the server is reached when it is first needed.

    Parameters
    ----------
    directory, memory, threads
        For the embedded engine, which computes mappings and what PostgreSQL cannot.
    url
        Where the database is, and the role that owns the snapshots: ``postgresql://user@host/database``, or libpq's
        words.
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
        Identity of the site, written into the schema: another site that is given the same schema is refused; empty:
        nobody looks.
    reaches
        Bytes of the database that copies of what readers under policies see may take; 0: none are made.
    """
    plugins.require_modules("the engine postgres", *DRIVER_MODULES, error_class=StorageError)
    # what an engine brings is asked without it
    from hven.engines.postgres.engine import PostgresEngine  # noqa: PLC0415

    return PostgresEngine(
        directory,
        memory=memory,
        url=url,
        read_url=read_url,
        read_role=role,
        pool_size=pool,
        schema=schema,
        position_method=position,
        threads=threads,
        site_identity=site,
        reaches=reaches,
    )


def _build_options(settings: Settings, read_identity: Callable[[], str]) -> dict[str, Any]:
    postgres_settings = get_postgres_settings(settings)
    if postgres_settings.url is None:
        raise StorageError(NO_DATABASE_MESSAGE, remedy="say url under [postgres] in hven.toml")
    return {
        "url": settings.resolve_address(postgres_settings.url),
        "schema": postgres_settings.namespace,
        "role": postgres_settings.read_role,
        "pool": postgres_settings.pool,
        "reaches": postgres_settings.reaches,
        "site": read_identity(),
        "position": postgres_settings.position,
        "read_url": None
        if postgres_settings.read_url is None
        else settings.resolve_address(postgres_settings.read_url),
    }


NO_DATABASE_MESSAGE = "the engine postgres has no database"
KIND = EngineRecord(
    section="postgres",
    settings=SETTINGS_SECTIONS,
    options=_build_options,
    lacks=lambda settings: NO_DATABASE_MESSAGE if get_postgres_settings(settings).url is None else None,
    live=f"{__name__}.live_engine",
    verbs=(f"{__name__}.commands:fdw", f"{__name__}.commands:adopt"),
)

__all__ = ["KIND", "open"]

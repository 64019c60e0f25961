"""The PostgreSQL engine: snapshots are tables of a PostgreSQL database, which computes the answers.

::

    stage_snapshot -> write .. -> finish    `staging`: fill a table by binary COPY in HEALPix order, and index it
    plan_query -> PostgresPlan              `query_plan`: write the SQL (`dialect`, `shapes`), with the conditions that
                                            position indexes serve (`position_search`)
    PostgresPlan.execute                    `query_execution`: run a prepared statement for a small answer, or stream
                                            by COPY; the embedded engine computes what PostgreSQL cannot
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.engines import EnginePluginRecord
from hven.model import plugins
from hven.model.errors import StorageError
from hven.plugins.postgres.settings import DEFAULT_COPY_BYTES, DRIVER_MODULES, get_postgres_settings

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
    """Open the engine of a site in this process; it connects to the server when a connection is first needed.

    Parameters
    ----------
    directory, memory, threads
        Settings of the embedded engine, which computes mappings and what PostgreSQL cannot compute.
    url
        Address of the database, with the role that owns the snapshots: ``postgresql://user@host/database``, or a
        connection string of libpq.
    read_url, role
        Another login for queries, or a role that the owner may become. Without either, queries run as the owner, in
        transactions that cannot write.
    pool
        Maximum number of connections for queries of this process; as many again may write.
    schema
        Schema of the database that belongs to Hven. Each site needs its own.
    position
        ``pgsphere``, ``q3c`` or ``healpix``; empty: the best one that the database has.
    site
        Identity of the site, which is stored in the schema: the engine refuses a schema of another site. Empty: no
        check.
    reaches
        Maximum size in bytes of the copies of rows that readers under policies see; 0: the engine makes no copies.
    """
    plugins.require_modules("the engine postgres", *DRIVER_MODULES, error_class=StorageError)
    # Hven reads the record of an engine even where the drivers of the engine are not installed.
    from hven.plugins.postgres.engine.storage_engine import PostgresEngine  # noqa: PLC0415

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


def _build_engine_options(settings: Settings, read_identity: Callable[[], str]) -> dict[str, Any]:
    postgres_settings = get_postgres_settings(settings)
    if postgres_settings.url is None:
        raise StorageError(NO_DATABASE_MESSAGE, remedy=NO_DATABASE_REMEDY)
    read_url = None
    if postgres_settings.read_url is not None:
        read_url = settings.resolve_secret_address(postgres_settings.read_url)
    return {
        "url": settings.resolve_secret_address(postgres_settings.url),
        "schema": postgres_settings.namespace,
        "role": postgres_settings.read_role,
        "pool": postgres_settings.pool,
        "reaches": postgres_settings.reaches,
        "site": read_identity(),
        "position": postgres_settings.position,
        "read_url": read_url,
    }


def _describe_missing_setting(settings: Settings) -> str | None:
    """Return what the settings lack for this engine; None if nothing."""
    if get_postgres_settings(settings).url is None:
        return NO_DATABASE_MESSAGE
    return None


NO_DATABASE_MESSAGE = "the engine postgres has no database"
NO_DATABASE_REMEDY = "set url under [postgres] in hven.toml"
KIND = EnginePluginRecord(
    section="postgres",
    options=_build_engine_options,
    lacks=_describe_missing_setting,
    remedy=NO_DATABASE_REMEDY,
    live="hven.plugins.postgres.live.engine",
)

"""The engine of tables that outgrow one machine: snapshots are HATS catalogues, HEALPix-partitioned Parquet.

Decision 023 says why.

::

    stage_snapshot -> write .. -> finish    `staging`: order rows by their cells, and divide them among partitions;
                                            `snapshot_merging`: rewrite only the partitions that changes touch
    plan_query -> HatsPlan                  `query_plan`: compute here or by the cluster, depending on how much the
                                            manifest says has to be read
    HatsPlan.execute                        `local_execution`: read row groups with pyarrow, for the embedded engine;
                                            `cluster_plan`: let the cluster compute
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hven.engines import EnginePluginRecord
from hven.model import plugins
from hven.model.errors import StorageError
from hven.plugins.hats.settings import DEFAULT_LOCAL_BYTES, get_hats_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.engines import StorageEngine
    from hven.model.settings import Settings


def open(  # noqa: A001  (the contract's name)
    directory: Path,
    *,
    memory: int,
    roots: Sequence[str],
    spark: str | None = None,
    near_bytes: int = DEFAULT_LOCAL_BYTES,
    at_once: int = 4,
    site: str = "",
    webs: Any = None,
    threads: int | None = None,
) -> StorageEngine:
    """Open the engine of a site in this process; it uses the roots and the cluster when they are first needed.

    Parameters
    ----------
    directory, memory, threads
        Settings of the embedded engine, which computes.
    roots
        Directories of catalogues. New snapshots are written below the first one.
    spark
        Address of the cluster, ``sc://host:15002``; None: there is no cluster.
    near_bytes
        Bytes of files up to which a query is computed here.
    at_once
        Maximum number of statements of this process in the cluster.
    site
        Identity of the site, which is stored in the first root: the engine refuses a root of another site. Empty: no
        check.
    webs
        Client for catalogues on web servers (`hven.plugins.hats.web_catalogues.WebHatsClient`); None: there are none.
    """
    engine: StorageEngine = plugins.import_hven_module(f"{__name__}.storage_engine", "the engine hats").HatsEngine(
        directory,
        memory=memory,
        roots=tuple(Path(root) for root in roots),
        spark=spark,
        near_bytes=near_bytes,
        at_once=at_once,
        site_identity=site,
        webs=webs,
        threads=threads,
    )
    return engine


def _build_engine_options(settings: Settings, read_identity: Callable[[], str]) -> dict[str, Any]:
    hats_settings = get_hats_settings(settings)
    if not hats_settings.roots:
        raise StorageError(NO_ROOTS_MESSAGE, remedy="set roots under [hats] in hven.toml")
    spark_address = None
    if hats_settings.spark is not None:
        spark_address = settings.resolve_secret_address(hats_settings.spark)
    web_catalogues = plugins.import_hven_module("hven.plugins.hats.web_catalogues", "the engine hats")
    return {
        "roots": [str(settings.directory / root) for root in hats_settings.roots],
        "spark": spark_address,
        "near_bytes": hats_settings.near_bytes,
        "at_once": hats_settings.at_once,
        "site": read_identity(),
        "webs": web_catalogues.WebHatsClient(allow_private=settings.allow_private),
    }


def _find_missing_setting(settings: Settings) -> str | None:
    """Return what the settings lack for this engine; None if nothing."""
    if get_hats_settings(settings).roots:
        return None
    return NO_ROOTS_MESSAGE


NO_ROOTS_MESSAGE = "the engine hats has no directory"
KIND = EnginePluginRecord(
    section="hats",
    options=_build_engine_options,
    lacks=_find_missing_setting,
    adoptable=f"{__name__}.catalogue_check:check_foreign_catalogue",
)

__all__ = ["KIND", "open"]

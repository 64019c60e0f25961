"""The engine of tables that outgrow one machine: snapshots are HATS catalogues, HEALPix-partitioned Parquet.

Decision 023 says why.

::

    stage_snapshot -> write .. -> finish    `staging`: order rows by their cells, and divide them among partitions;
                                            `snapshot_merging`: rewrite only the partitions that changes touch
    plan_query -> HatsPlan                  `query_plan`: compute here or by a cluster, depending on how much the
                                            manifest says has to be read
    HatsPlan.execute                        `local_execution`: read row groups with pyarrow, for the embedded engine;
                                            `hven.plugins.hats.clusters`: let a cluster of another package compute
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hven.engines import EnginePluginRecord
from hven.model import plugins
from hven.model.errors import StorageError
from hven.plugins.hats.clusters import find_cluster_opener
from hven.plugins.hats.settings import DEFAULT_LOCAL_BYTES, get_hats_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.engines import StorageEngine
    from hven.model.settings import Settings
    from hven.plugins.hats.clusters import Cluster


def open(  # noqa: A001  (the contract's name)
    directory: Path,
    *,
    memory: int,
    roots: Sequence[str],
    near_bytes: int = DEFAULT_LOCAL_BYTES,
    open_cluster: Callable[[], Cluster] | None = None,
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
    near_bytes
        Bytes of files up to which a query is computed here.
    open_cluster
        Opens the cluster that computes other queries; None: there is no cluster.
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
        near_bytes=near_bytes,
        open_cluster=open_cluster,
        site_identity=site,
        webs=webs,
        threads=threads,
    )
    return engine


def _build_engine_options(settings: Settings, read_identity: Callable[[], str]) -> dict[str, Any]:
    hats_settings = get_hats_settings(settings)
    if not hats_settings.roots:
        raise StorageError(NO_ROOTS_MESSAGE, remedy=NO_ROOTS_REMEDY)
    web_catalogues = plugins.import_hven_module("hven.plugins.hats.web_catalogues", "the engine hats")
    return {
        "roots": [str(settings.directory / root) for root in hats_settings.roots],
        "near_bytes": hats_settings.near_bytes,
        "open_cluster": find_cluster_opener(settings),
        "site": read_identity(),
        "webs": web_catalogues.WebHatsClient(allow_private=settings.allow_private),
    }


def _describe_missing_setting(settings: Settings) -> str | None:
    """Return what the settings lack for this engine; None if nothing."""
    if get_hats_settings(settings).roots:
        return None
    return NO_ROOTS_MESSAGE


NO_ROOTS_MESSAGE = "the engine hats has no directory"
NO_ROOTS_REMEDY = "set roots under [hats] in hven.toml"
KIND = EnginePluginRecord(
    section="hats",
    options=_build_engine_options,
    lacks=_describe_missing_setting,
    remedy=NO_ROOTS_REMEDY,
    adoptable=f"{__name__}.catalogue_check:check_foreign_catalogue",
)

"""The engine of tables that outgrow one machine: snapshots are HATS catalogues, HEALPix-partitioned Parquet.

Decision 023.

::

    stage -> write .. -> finish          staging: rows in the order of their cells, divided among partitions; merging: those that changes touch
    prepare(bound) -> Plan               plan: near or far, by what the manifest says has to be read
    Plan.execute(values, relations)      near: row groups by pyarrow, the embedded engine's plan over them; far: a cluster
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hven.engines import EngineRecord
from hven.engines.hats.settings import DEFAULT_LOCAL_BYTES, SETTINGS_SECTIONS, get_hats_settings
from hven.model import plugins
from hven.model.errors import StorageError

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
    """Open the engine of a site in this process; roots and cluster are reached when they are first needed.

    Parameters
    ----------
    directory, memory, threads
        For the embedded engine, which computes.
    roots
        Directories of catalogues; new snapshots are written below the first.
    spark
        ``sc://host:15002``; None: there is no cluster.
    near_bytes
        Of files, up to which a query is computed here.
    at_once
        Statements in the cluster.
    site
        Identity of the site, written into the first root: another site that is given the same is refused; empty: nobody
        looks.
    webs
        Asks for catalogues behind addresses (`hven.sources.remote_stores.WebCatalogueClient`); None: there are none.
    """
    engine: StorageEngine = plugins.import_hven_module(f"{__name__}.engine", "the engine hats").HatsEngine(
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


def _build_options(settings: Settings, read_identity: Callable[[], str]) -> dict[str, Any]:
    hats_settings = get_hats_settings(settings)
    if not hats_settings.roots:
        raise StorageError(NO_ROOTS_MESSAGE, remedy="say roots under [hats] in hven.toml")
    return {
        "roots": [str(settings.directory / root) for root in hats_settings.roots],
        "spark": None if hats_settings.spark is None else settings.resolve_address(hats_settings.spark),
        "near_bytes": hats_settings.near_bytes,
        "at_once": hats_settings.at_once,
        "site": read_identity(),
    }


NO_ROOTS_MESSAGE = "the engine hats has no directory"
KIND = EngineRecord(
    section="hats",
    settings=SETTINGS_SECTIONS,
    options=_build_options,
    lacks=lambda settings: None if get_hats_settings(settings).roots else NO_ROOTS_MESSAGE,
    check=f"{__name__}.cluster_checks:check_cluster",
    adoptable=f"{__name__}.cluster_checks:check_foreign_catalogue",
    webs=True,
)

__all__ = ["KIND", "open"]

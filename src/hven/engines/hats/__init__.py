"""The engine of tables that outgrow one machine: snapshots are HATS catalogues, HEALPix-partitioned Parquet; decision 023.

::

    stage -> write .. -> finish          staging: rows in the order of their cells, divided among partitions; merging: those that changes touch
    prepare(bound) -> Plan               plan: near or far, by what the manifest says has to be read
    Plan.execute(values, relations)      near: row groups by pyarrow, the embedded engine's plan over them; far: a cluster
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hven.engines import Kind
from hven.engines.hats.settings import NEAR, SECTIONS, of
from hven.model import plugins
from hven.model.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.engines import Engine
    from hven.model.settings import Settings


def open(  # noqa: A001  (the contract's name)
    directory: Path,
    *,
    memory: int,
    roots: Sequence[str],
    spark: str | None = None,
    near_bytes: int = NEAR,
    at_once: int = 4,
    site: str = "",
    webs: Any = None,
    threads: int | None = None,
) -> Engine:
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
        Identity of the site, written into the first root: another site that is given the same is refused; empty: nobody looks.
    webs
        Asks for catalogues behind addresses (`hven.sources.stores.WebCatalogues`); None: there are none.
    """
    made: Engine = plugins.imported(f"{__name__}.engine", "the engine hats").HatsEngine(
        directory,
        memory=memory,
        roots=tuple(Path(root) for root in roots),
        spark=spark,
        near_bytes=near_bytes,
        at_once=at_once,
        site=site,
        webs=webs,
        threads=threads,
    )
    return made


def _options(settings: Settings, identity: Callable[[], str]) -> dict[str, Any]:
    said = of(settings)
    if not said.roots:
        raise StorageError(NO_ROOTS, remedy="say roots under [hats] in hven.toml")
    return {
        "roots": [str(settings.directory / root) for root in said.roots],
        "spark": None if said.spark is None else settings.resolved(said.spark),
        "near_bytes": said.near_bytes,
        "at_once": said.at_once,
        "site": identity(),
    }


NO_ROOTS = "the engine hats has no directory"
KIND = Kind(
    section="hats",
    settings=SECTIONS,
    options=_options,
    lacks=lambda settings: None if of(settings).roots else NO_ROOTS,
    check=f"{__name__}.checking:check",
    adoptable=f"{__name__}.checking:adoptable",
    webs=True,
)

__all__ = ["KIND", "open"]

"""The interface of the engine for its plans and for the service, and the selection of a table that a query reads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from hven.engines import Snapshot, StorageEngine
    from hven.plugins.hats.clusters import Cluster
    from hven.plugins.hats.engine.key_index import CatalogueKeyIndex
    from hven.plugins.hats.engine.manifest import CatalogueManifest
    from hven.plugins.hats.engine.row_group_reader import RowGroupReader

    Rows = npt.NDArray[np.int64]


@runtime_checkable
class PartitionFileEngine(Protocol):
    """An engine that keeps snapshots as partitions of HATS, as the service uses it."""

    def list_partition_files(self, snapshot: Snapshot) -> Mapping[tuple[int, int], Path] | None:
        """List the files of a snapshot that are partitions, by HEALPix order and pixel.

        They never change, and have the cells and all columns of the table. None: the files of this snapshot do not.
        """


class HatsEngineProtocol(Protocol):
    """The engine, as its plans use it."""

    uses_indexes: bool
    """False only in tests that prove that the manifest changes nothing but time."""
    near_bytes: int
    """Bytes of files up to which a query is computed here."""
    reader: RowGroupReader

    @property
    def embedded_engine(self) -> StorageEngine:
        """The embedded engine."""

    @property
    def has_cluster(self) -> bool:
        """True if the settings name a cluster."""

    def get_cluster(self) -> Cluster:
        """Return the cluster."""

    def open_manifest(self, snapshot: Snapshot) -> CatalogueManifest:
        """Return the manifest of a snapshot, which is opened unless it is open."""

    def get_open_manifest(self, snapshot: Snapshot) -> CatalogueManifest | None:
        """Return the manifest of a snapshot if it is open, otherwise None."""

    def get_key_index(self, snapshot: Snapshot) -> CatalogueKeyIndex | None:
        """Return the index of the primary key of a snapshot; None if it has none."""

    def hold_snapshots(self, snapshot_paths: Collection[str]) -> AbstractContextManager[None]:
        """Keep snapshots from being removed."""


@dataclass(frozen=True)
class TableSelection:
    """The part of a table that a query reads.

    Attributes
    ----------
    columns
        Names of the columns; empty if rows are only counted.
    group_numbers
        Numbers of the row groups.
    cells
        Ranges of cells that contain all needed rows; None: any.
    """

    snapshot: Snapshot
    manifest: CatalogueManifest
    columns: tuple[str, ...]
    group_numbers: Rows
    cells: Rows | None

    @property
    def is_unreadable_by_cluster(self) -> bool:
        """True if a cluster cannot read the table."""
        return self.manifest.is_on_web

    @cached_property
    def estimated_bytes(self) -> int:
        """Estimated number of bytes that have to be read."""
        if self.columns:
            return self.manifest.estimate_read_bytes(self.group_numbers, self.columns)
        return 0

    @property
    def row_count(self) -> int:
        """Number of rows in the row groups."""
        array = self.manifest.get_row_group_column("rows")
        return int(array[self.group_numbers].sum())

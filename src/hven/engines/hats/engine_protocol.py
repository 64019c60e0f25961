"""What plans need of the engine that runs them, and what they want of a table."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection
    from contextlib import AbstractContextManager

    import numpy as np
    import numpy.typing as npt

    from hven.engines import Snapshot, StorageEngine
    from hven.engines.hats.key_index import CatalogueKeyIndex
    from hven.engines.hats.manifest import CatalogueManifest
    from hven.engines.hats.row_group_reader import RowGroupReader

    Rows = npt.NDArray[np.int64]


class HatsEngineProtocol(Protocol):
    """The engine, as its plans see it."""

    uses_indexes: bool
    """False only in tests that prove that the manifest changes nothing but time."""
    near_bytes: int
    """Of files, up to which a query is computed here."""
    spark: str | None
    """Where the cluster is."""
    reader: RowGroupReader

    @property
    def embedded_engine(self) -> StorageEngine:
        """The embedded engine."""

    @property
    def cluster(self) -> Any:
        """The cluster, or None."""

    def open_manifest(self, snapshot: Snapshot) -> CatalogueManifest:
        """Open the manifest of a snapshot, or find it open."""

    def get_open_manifest(self, snapshot: Snapshot) -> CatalogueManifest | None:
        """Return the manifest of a snapshot, if it is open."""

    def get_key_index(self, snapshot: Snapshot) -> CatalogueKeyIndex | None:
        """Return the index of the primary key of a snapshot."""

    def hold_snapshots(self, snapshot_paths: Collection[str]) -> AbstractContextManager[None]:
        """Keep snapshots from being removed."""


@dataclass(frozen=True)
class TableSelection:
    """What has to be read of one table.

    Attributes
    ----------
    columns
        By name; none: rows are only counted.
    group_numbers
        Numbers of row groups.
    cells
        In which all rows lie that are needed; None: in any.
    """

    snapshot: Snapshot
    manifest: CatalogueManifest
    columns: tuple[str, ...]
    group_numbers: Rows
    cells: Rows | None

    @property
    def is_local_only(self) -> bool:
        """Whether a cluster cannot read them."""
        return self.manifest.is_on_web

    @cached_property
    def estimated_bytes(self) -> int:
        """About how many have to be read."""
        if self.columns:
            return self.manifest.estimate_bytes(self.group_numbers, self.columns)
        return 0

    @property
    def row_count(self) -> int:
        """How many there are in the row groups."""
        array = self.manifest.get_array("rows")
        return int(array[self.group_numbers].sum())

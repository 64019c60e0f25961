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

    from hven.engines import Engine, Snapshot
    from hven.engines.hats.keys import KeyIndex
    from hven.engines.hats.manifest import Manifest
    from hven.engines.hats.reading import Reader

    Rows = npt.NDArray[np.int64]


class Machine(Protocol):
    """The engine, as its plans see it."""

    indexes: bool
    """False only in tests that prove that the manifest changes nothing but time."""
    near_bytes: int
    """Of files, up to which a query is computed here."""
    spark: str | None
    """Where the cluster is."""
    reader: Reader

    @property
    def embedded(self) -> Engine:
        """The embedded engine."""

    @property
    def cluster(self) -> Any:
        """The cluster, or None."""

    def manifest(self, snapshot: Snapshot) -> Manifest:
        """Open the manifest of a snapshot, or find it open."""

    def known(self, snapshot: Snapshot) -> Manifest | None:
        """Return the manifest of a snapshot, if it is open."""

    def index(self, snapshot: Snapshot) -> KeyIndex | None:
        """Return the index of the primary key of a snapshot."""

    def reading(self, paths: Collection[str]) -> AbstractContextManager[None]:
        """Keep snapshots from being removed."""


@dataclass(frozen=True)
class Wanted:
    """What has to be read of one table.

    Attributes
    ----------
    columns
        By name; none: rows are only counted.
    chosen
        Numbers of row groups.
    cells
        In which all rows lie that are needed; None: in any.
    """

    snapshot: Snapshot
    manifest: Manifest
    columns: tuple[str, ...]
    chosen: Rows
    cells: Rows | None

    @property
    def near(self) -> bool:
        """Whether a cluster cannot read them."""
        return self.manifest.web

    @cached_property
    def bytes(self) -> int:
        """About how many have to be read."""
        return self.manifest.weight(self.chosen, self.columns) if self.columns else 0

    @property
    def rows(self) -> int:
        """How many there are in the row groups."""
        return int(self.manifest.array("rows")[self.chosen].sum())

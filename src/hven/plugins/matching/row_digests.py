"""Digests of rows and of cells of the sky, to find out what has changed in a catalogue since the last match."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model.literal import hash_rows
from hven.model.table import Column
from hven.model.types import INT64
from hven.plugins.matching.catalogue_reading import StarBatch
from hven.plugins.matching.sky_cells import CELL_COUNT, find_position_cells

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from hven.plugins.matching.catalogue_reading import CatalogueReader
    from hven.plugins.matching.match_options import CatalogueOptions

    Digests = npt.NDArray[np.uint64]
    Masks = npt.NDArray[np.bool_]

# columns that a `RowDigestReader` adds; no table has columns with such names
CELL_COLUMN = Column(name="cell of the sky", type=INT64)
DIGEST_COLUMN = Column(name="digest of the row", type=INT64)
_GOLDEN_RATIO = np.uint64(0x9E3779B97F4A7C15)
_NULL_DIGEST = np.uint64(0xD1B54A32D192ED03)


@dataclass(slots=True)
class RowDigestReader:
    """Reads a catalogue with the cell and the digest of each row, and adds the digests of each cell.

    Parameters
    ----------
    reader
        Reads the catalogue.
    kept_cells
        Whether the rows of a cell are read, shape (`CELL_COUNT`,); None: all rows are read.
    """

    reader: CatalogueReader
    kept_cells: Masks | None = None
    cell_digests: Digests = field(default_factory=lambda: np.zeros(CELL_COUNT, np.uint64))
    largest_speed: float = 0.0

    @property
    def name(self) -> str:
        """Its name in the descriptor."""
        return self.reader.name

    @property
    def options(self) -> CatalogueOptions:
        """Its options."""
        return self.reader.options

    @property
    def id(self) -> Column:
        """The column of the ids."""
        return self.reader.id

    def find_epoch_range(self) -> tuple[float, float]:
        """Find the first and the last epoch, as Julian years."""
        return self.reader.find_epoch_range()

    def read_batches(self, further_columns: Sequence[Column] = ()) -> Iterator[StarBatch]:
        """Yield the stars; `CELL_COLUMN` and `DIGEST_COLUMN` may be among the further columns."""
        own_columns = [column for column in further_columns if column not in (CELL_COLUMN, DIGEST_COLUMN)]
        for batch in self.reader.read_batches(own_columns):
            positions, rows = batch.positions, batch.rows
            digests = compute_row_digests(rows)
            cells = find_position_cells(positions.longitudes, positions.latitudes)
            np.add.at(self.cell_digests, cells, digests)
            if len(cells):
                self.largest_speed = max(self.largest_speed, float(positions.compute_speeds().max()))
            if self.kept_cells is not None:
                kept = np.flatnonzero(self.kept_cells[cells])
                positions, rows = positions.select_stars(kept), rows.take(pa.array(kept))
                cells, digests = cells[kept], digests[kept]
            rows = rows.append_column(CELL_COLUMN.name, pa.array(cells))
            rows = rows.append_column(DIGEST_COLUMN.name, pa.array(digests.view(np.int64)))
            yield StarBatch(ids=rows.column(self.id.name), positions=positions, rows=rows)


def compute_row_digests(rows: pa.RecordBatch) -> Digests:
    """Compute a digest of each row, which depends on all values.

    Parameters
    ----------
    rows
        Rows, shape (n,). Lists count as changed at each call.
    """
    digests: Digests = np.zeros(rows.num_rows, np.uint64)
    for values in rows.columns:
        digests = _apply_hash_finalizer(digests * np.uint64(3) + _apply_hash_finalizer(_compute_value_digests(values)))
    return digests


def _compute_value_digests(values: pa.Array) -> Digests:
    """Compute a number of 64 bits for each value; the bits of numbers are taken as they are, which is fast."""
    is_null = np.asarray(values.is_null())
    if pa.types.is_floating(values.type):
        digests = np.asarray(pc.fill_null(values.cast(pa.float64()), 0.0)).view(np.uint64)
    elif pa.types.is_integer(values.type):
        digests = np.asarray(pc.fill_null(values, 0)).astype(np.int64).view(np.uint64)
    elif pa.types.is_nested(values.type):
        return np.random.default_rng().integers(0, 2**64, len(values), np.uint64)
    else:
        _, digests = hash_rows([values])
    return np.where(is_null, _NULL_DIGEST, digests)


def _apply_hash_finalizer(values: Digests) -> Digests:
    """Mix the bits of numbers (the finalizer of SplitMix64)."""
    with np.errstate(over="ignore"):
        values = values + _GOLDEN_RATIO
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed: Digests = values ^ (values >> np.uint64(31))
        return mixed

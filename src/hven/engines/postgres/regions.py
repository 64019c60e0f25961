"""The position index of regions in PostgreSQL.

Beside every column of shapes stands one of HEALPix cells, with a GIN index.

Two cells of whatever orders have something in common if one of them is around the other. So a row keeps the cells that
its region may touch (`hven.engines._region_cells`), and, as negative numbers, all cells around them; a query asks for
rows that have one of its own cells as a negative number, or one of those or of the cells around them as a positive one:
``cells && array``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.engines._region_cells import cover_region_column, cover_shape_ranges
from hven.model.sky import Moc, Point, healpix

if TYPE_CHECKING:
    import numpy.typing as npt

    from hven.model.sky import Shape

    Indexes = npt.NDArray[np.int64]

MAX_QUERY_CELLS = 4_000  # cells of a query: more are not worth asking for


def name_cell_column(column_name: str) -> str:
    """Name the column of cells that stands beside a column of regions."""
    return f"hven:cells {column_name}"


def build_cell_lists(values: pa.Array) -> pa.ListArray:
    """Return for each region what its row keeps; nothing for what is no region."""
    rows: list[Indexes] = []
    codes: list[Indexes] = []
    for row_numbers, touched_cells in cover_region_column(values):
        owners = row_numbers.astype(np.int64)
        parent_cells = touched_cells
        rows.append(owners)
        codes.append(touched_cells)
        while True:
            has_parent = parent_cells >= 16  # those of order 0 are 4 to 15: nothing is around them
            if not has_parent.any():
                break
            owners, parent_cells = _deduplicate_pairs(owners[has_parent], parent_cells[has_parent] >> 2)
            rows.append(owners)
            codes.append(-parent_cells)
    if rows:
        owner = np.concatenate(rows)
    else:
        owner = np.empty(0, np.int64)
    if codes:
        code = np.concatenate(codes)
    else:
        code = np.empty(0, np.int64)
    owner, code = _deduplicate_pairs(owner, code)
    offsets = np.searchsorted(owner, np.arange(len(values) + 1)).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(code))


def _deduplicate_pairs(owners: Indexes, codes: Indexes) -> tuple[Indexes, Indexes]:
    """Sort pairs, and leave out those that are there already."""
    order = np.lexsort((codes, owners))
    owners = owners[order]
    codes = codes[order]
    is_first = np.ones(len(owners), dtype=bool)
    is_first[1:] = (owners[1:] != owners[:-1]) | (codes[1:] != codes[:-1])
    return owners[is_first], codes[is_first]


def write_query_cells(shape: Shape | Moc) -> str | None:
    """Return the array of a query, in PostgreSQL's text; None if cells cannot tell which regions touch the shape."""
    if isinstance(shape, Moc):  # what is compared with a MOC is made cells first, which reach beyond it
        return None
    ranges = cover_shape_ranges(shape)
    if isinstance(shape, Point):  # one cell, or those that meet there
        own_cells = [cell + 4 ** (healpix.MAX_ORDER + 1) for low, high in ranges.tolist() for cell in range(low, high)]
    else:
        own_cells = _merge_into_cells(ranges).tolist()
    if len(own_cells) > MAX_QUERY_CELLS:
        return None
    parent_cells = set(own_cells)
    for cell in own_cells:
        while cell >= 16 and (cell := cell >> 2) not in parent_cells:
            parent_cells.add(cell)
    return "{" + ",".join(map(str, [*sorted(parent_cells), *(-cell for cell in own_cells)])) + "}"


def _merge_into_cells(ranges: Indexes) -> Indexes:
    """Make the largest cells that fill ranges of cells of the highest order."""
    cell_arrays: list[Any] = []
    low = ranges[:, 0].copy()
    high = ranges[:, 1].copy()
    for order in range(healpix.MAX_ORDER + 1):
        shift = 2 * (healpix.MAX_ORDER - order)
        first_cells = -(-low >> shift)
        end_cells = high >> shift
        is_filled = end_cells > first_cells
        if not is_filled.any():
            continue
        lengths = (end_cells - first_cells)[is_filled]
        if int(lengths.sum()) > MAX_QUERY_CELLS:  # as they are at this order, a little larger
            first_cells = low >> shift
            end_cells = -(-high >> shift)
            lengths = end_cells - first_cells
            is_filled = np.ones(len(low), dtype=bool)
        cell_numbers = np.arange(int(lengths.sum())) + np.repeat(
            first_cells[is_filled] - np.cumsum(lengths) + lengths, lengths
        )
        cell_arrays.append(cell_numbers + 4 ** (order + 1))
        remaining_low = np.concatenate([low[~is_filled], low[is_filled], end_cells[is_filled] << shift])
        remaining_high = np.concatenate([high[~is_filled], first_cells[is_filled] << shift, high[is_filled]])
        is_open = remaining_high > remaining_low
        low = remaining_low[is_open]
        high = remaining_high[is_open]
    if cell_arrays:
        return np.unique(np.concatenate(cell_arrays))
    return np.empty(0, np.int64)


__all__ = ["build_cell_lists", "name_cell_column", "write_query_cells"]

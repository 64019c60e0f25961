"""The position index of regions in PostgreSQL.

Beside every column of shapes there is a column of HEALPix cells with a GIN index.

Two cells of any orders overlap if one of them contains the other. Therefore a row keeps the cells that its region may
touch (`hven.engines.api.region_cells`), and as negative numbers all cells that contain these. A query asks for rows
that have one of its own cells as a negative number, or that have one of its cells, or of the cells that contain these,
as a positive number: ``cells && array``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.engines.api.region_cells import compute_shape_cell_ranges, cover_regions_with_cells_and_caps
from hven.model.sky import Moc, Point, healpix

if TYPE_CHECKING:
    import numpy.typing as npt

    from hven.model.sky import Shape

    Indexes = npt.NDArray[np.int64]

MAX_QUERY_CELLS = 4_000  # a query with more cells would not profit from the index


def name_cell_column(column_name: str) -> str:
    """Name the column of cells that stands beside a column of regions."""
    return f"hven:cells {column_name}"


def build_region_cell_lists(values: pa.Array) -> pa.ListArray:
    """Return the list of cells that the row of each region keeps; it is empty for values that are no region."""
    owner_arrays: list[Indexes] = [np.empty(0, np.int64)]
    code_arrays: list[Indexes] = [np.empty(0, np.int64)]
    for row_numbers, touched_cells in cover_regions_with_cells_and_caps(values):
        owners = row_numbers.astype(np.int64)
        parent_cells = touched_cells
        owner_arrays.append(owners)
        code_arrays.append(touched_cells)
        while True:
            has_parent = parent_cells >= 16  # cells of order 0 are 4 to 15 and have no parent
            if not has_parent.any():
                break
            owners, parent_cells = _deduplicate_pairs(owners[has_parent], parent_cells[has_parent] >> 2)
            owner_arrays.append(owners)
            code_arrays.append(-parent_cells)
    owners, codes = _deduplicate_pairs(np.concatenate(owner_arrays), np.concatenate(code_arrays))
    offsets = np.searchsorted(owners, np.arange(len(values) + 1)).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(codes))


def _deduplicate_pairs(owners: Indexes, codes: Indexes) -> tuple[Indexes, Indexes]:
    """Sort pairs, and leave out repeated ones."""
    order = np.lexsort((codes, owners))
    owners = owners[order]
    codes = codes[order]
    is_first = np.ones(len(owners), dtype=bool)
    is_first[1:] = (owners[1:] != owners[:-1]) | (codes[1:] != codes[:-1])
    return owners[is_first], codes[is_first]


def write_shape_cell_array(shape: Shape | Moc) -> str | None:
    """Return the array of a query in PostgreSQL's text; None if cells cannot tell which regions touch the shape."""
    if isinstance(shape, Moc):  # a comparison with a MOC converts shapes to cells first, which reach beyond them
        return None
    ranges = compute_shape_cell_ranges(shape)
    if isinstance(shape, Point):  # one cell, or those that meet at the point
        first_number = 4 ** (healpix.MAX_ORDER + 1)
        own_cells = [first_number + cell for low, high in ranges.tolist() for cell in range(low, high)]
    else:
        own_cells = _merge_ranges_into_cells(ranges).tolist()
    if len(own_cells) > MAX_QUERY_CELLS:
        return None
    cells_and_parents = set(own_cells)
    for cell in own_cells:
        while cell >= 16 and (cell := cell >> 2) not in cells_and_parents:
            cells_and_parents.add(cell)
    array_items = [*sorted(cells_and_parents), *(-cell for cell in own_cells)]
    return "{" + ",".join(map(str, array_items)) + "}"


def _merge_ranges_into_cells(ranges: Indexes) -> Indexes:
    """Return the largest cells that fill ranges of cells of the highest order."""
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
        if int(lengths.sum()) > MAX_QUERY_CELLS:  # use cells of this order, which reach a little beyond the ranges
            first_cells = low >> shift
            end_cells = -(-high >> shift)
            lengths = end_cells - first_cells
            is_filled = np.ones(len(low), dtype=bool)
        run_offsets = first_cells[is_filled] - np.cumsum(lengths) + lengths
        cell_numbers = np.arange(int(lengths.sum())) + np.repeat(run_offsets, lengths)
        cell_arrays.append(cell_numbers + 4 ** (order + 1))
        remaining_low = np.concatenate([low[~is_filled], low[is_filled], end_cells[is_filled] << shift])
        remaining_high = np.concatenate([high[~is_filled], first_cells[is_filled] << shift, high[is_filled]])
        is_open = remaining_high > remaining_low
        low = remaining_low[is_open]
        high = remaining_high[is_open]
    if cell_arrays:
        return np.unique(np.concatenate(cell_arrays))
    return np.empty(0, np.int64)

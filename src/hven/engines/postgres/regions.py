"""The position index of regions in PostgreSQL: beside every column of shapes stands one of HEALPix cells, with a GIN index.

Two cells of whatever orders have something in common if one of them is around the other. So a row keeps the cells that its region may
touch (`hven.engines._regions`), and, as negative numbers, all cells around them; a query asks for rows that have one of its own cells
as a negative number, or one of those or of the cells around them as a positive one: ``cells && array``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.engines._regions import cells_of_column, ranges_of
from hven.model.sky import Moc, Point, healpix

if TYPE_CHECKING:
    import numpy.typing as npt

    from hven.model.sky import Shape

    Indexes = npt.NDArray[np.int64]

MOST = 4_000  # cells of a query: more are not worth asking for


def beside(column: str) -> str:
    """Name the column of cells that stands beside a column of regions."""
    return f"hven:cells {column}"


def cells(values: pa.Array) -> pa.ListArray:
    """Return for each region what its row keeps; nothing for what is no region."""
    rows: list[Indexes] = []
    codes: list[Indexes] = []
    for which, touched in cells_of_column(values):
        owners, around = which.astype(np.int64), touched
        rows.append(owners)
        codes.append(touched)
        while True:
            inner = around >= 16  # those of order 0 are 4 to 15: nothing is around them
            if not inner.any():
                break
            owners, around = _once(owners[inner], around[inner] >> 2)
            rows.append(owners)
            codes.append(-around)
    owner = np.concatenate(rows) if rows else np.empty(0, np.int64)
    code = np.concatenate(codes) if codes else np.empty(0, np.int64)
    owner, code = _once(owner, code)
    offsets = np.searchsorted(owner, np.arange(len(values) + 1)).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(code))


def _once(owners: Indexes, codes: Indexes) -> tuple[Indexes, Indexes]:
    """Sort pairs, and leave out those that are there already."""
    order = np.lexsort((codes, owners))
    owners, codes = owners[order], codes[order]
    first = np.ones(len(owners), dtype=bool)
    first[1:] = (owners[1:] != owners[:-1]) | (codes[1:] != codes[:-1])
    return owners[first], codes[first]


def asked(shape: Shape | Moc) -> str | None:
    """Return the array of a query, in PostgreSQL's text; None if cells cannot tell which regions touch the shape."""
    if isinstance(shape, Moc):  # what is compared with a MOC is made cells first, which reach beyond it
        return None
    ranges = ranges_of(shape)
    if isinstance(shape, Point):  # one cell, or those that meet there
        own = [cell + 4 ** (healpix.ORDER + 1) for low, high in ranges.tolist() for cell in range(low, high)]
    else:
        own = _whole(ranges).tolist()
    if len(own) > MOST:
        return None
    around = set(own)
    for cell in own:
        while cell >= 16 and (cell := cell >> 2) not in around:
            around.add(cell)
    return "{" + ",".join(map(str, [*sorted(around), *(-cell for cell in own)])) + "}"


def _whole(ranges: Indexes) -> Indexes:
    """Make the largest cells that fill ranges of cells of the highest order."""
    found: list[Any] = []
    low, high = ranges[:, 0].copy(), ranges[:, 1].copy()
    for order in range(healpix.ORDER + 1):
        shift = 2 * (healpix.ORDER - order)
        first, last = -(-low >> shift), high >> shift
        full = last > first
        if not full.any():
            continue
        lengths = (last - first)[full]
        if int(lengths.sum()) > MOST:  # as they are at this order, a little larger
            first, last = low >> shift, -(-high >> shift)
            lengths, full = last - first, np.ones(len(low), dtype=bool)
        at = np.arange(int(lengths.sum())) + np.repeat(first[full] - np.cumsum(lengths) + lengths, lengths)
        found.append(at + 4 ** (order + 1))
        rest_low = np.concatenate([low[~full], low[full], last[full] << shift])
        rest_high = np.concatenate([high[~full], first[full] << shift, high[full]])
        some = rest_high > rest_low
        low, high = rest_low[some], rest_high[some]
    return np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)


__all__ = ["asked", "beside", "cells"]

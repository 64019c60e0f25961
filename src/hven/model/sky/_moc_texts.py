"""Write ASCII MOCs (MOC 2.0, 4.3.2) and measure them, a column at a time, with arrays of numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model.sky import _healpix as healpix
from hven.model.sky._ragged_arrays import compute_offsets, compute_row_indexes, split_into_blocks

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Indexes = npt.NDArray[np.int64]
    Numbers = npt.NDArray[np.float64]
    Bytes = npt.NDArray[np.uint8]

_BLOCK_RANGES = 1 << 14  # ranges at a time: their arrays fit into a processor's cache
_BLOCK_MOCS = 1000  # MOCs at a time: the number of a MOC and an order are sorted as 16 bits
_SPACE, _DASH, _SLASH, _ZERO = b" -/0"
_MAX_CELL_DIGITS = 19  # the most digits of a cell


def write_moc_texts(ranges: Sequence[Indexes], orders: Sequence[int]) -> pa.Array:
    """Write MOCs from their ranges (`Moc.ranges`) and orders."""
    text_blocks = []
    moc_costs = [len(moc_ranges) + _BLOCK_RANGES // _BLOCK_MOCS for moc_ranges in ranges]
    for part in split_into_blocks(moc_costs, _BLOCK_RANGES):
        block_ranges = ranges[part]
        range_counts = [len(moc_ranges) for moc_ranges in block_ranges]
        row = np.repeat(np.arange(len(block_ranges)), range_counts)
        block = _write_moc_text_block(np.concatenate(block_ranges), row, np.array(orders[part]))
        text_blocks.append(block)
    if text_blocks:
        return pa.concat_arrays(text_blocks)
    return pa.array([], pa.string())


def _write_moc_text_block(ranges: Indexes, row: Indexes, orders: Indexes) -> pa.Array:
    """Write the ranges of some rows, which ascend in each row."""
    owner, order, low, high = _split_ranges_into_cells(ranges, row)
    # the text of a row ends with its order, unless a cell shows the order
    deepest = np.full(len(orders), -1)
    np.maximum.at(deepest, owner, order)
    bare = np.flatnonzero(deepest < orders)
    owner = np.append(owner, bare)
    order = np.append(order, orders[bare])
    low = np.append(low, np.full(len(bare), -1))
    high = np.append(high, np.full(len(bare), -1))
    sort_keys = (owner << 5 | order).astype(np.int16)
    sort = np.argsort(sort_keys, kind="stable")
    owner = owner[sort]
    order = order[sort]
    low = low[sort]
    high = high[sort]
    numbers, separators, place = _list_moc_text_tokens(owner, order, low, high)
    is_last_of_row = np.append(owner[1:] != owner[:-1], True)[: len(owner)]
    last = place[1:][is_last_of_row] - 1
    width = np.ones(len(numbers), np.int64)
    width[last[separators[last] == _SPACE]] = 0
    _, starts, digits = pa.array(numbers).cast(pa.large_string()).buffers()
    digit_stops = np.frombuffer(starts, np.int64, len(numbers) + 1)[1:]
    stops = digit_stops + compute_offsets(width)[:-1]
    text = np.empty(stops[-1] + width[-1], np.uint8)
    is_digit = np.ones(len(text), np.bool_)
    is_digit[stops[width > 0]] = False
    text[is_digit] = np.frombuffer(digits, np.uint8, is_digit.sum())
    text[~is_digit] = separators[width > 0]
    row_stops = (stops + width)[last]
    offsets = np.append(0, row_stops).astype(np.int32)
    return pa.StringArray.from_buffers(len(orders), pa.py_buffer(offsets), pa.py_buffer(text))


def _list_moc_text_tokens(
    owner: Indexes, order: Indexes, low: Indexes, high: Indexes
) -> tuple[Indexes, Bytes, Indexes]:
    """List the numbers of texts with the separator behind each, and where the numbers of each range begin.

    The numbers are orders, first cells of ranges, and cells.
    """
    changes = (owner[1:] != owner[:-1]) | (order[1:] != order[:-1])
    new = np.append(True, changes)[: len(owner)]
    begins = high > low
    is_cell = low >= 0
    place = compute_offsets(new * 1 + begins + is_cell)
    numbers = np.empty(place[-1], np.int64)
    separators = np.full(place[-1], _SPACE, np.uint8)
    order_places = place[:-1][new]
    numbers[order_places] = order[new]
    separators[order_places] = _SLASH
    cell_places = (place[:-1] + new)[is_cell]
    numbers[cell_places] = low[is_cell]
    begins_range = begins[is_cell]
    range_places = cell_places[begins_range]
    numbers[range_places + 1] = high[is_cell][begins_range]
    separators[range_places] = _DASH
    return numbers, separators, place


def _split_ranges_into_cells(ranges: Indexes, row: Indexes) -> tuple[Indexes, Indexes, Indexes, Indexes]:
    """Split ranges into cells that are as large as possible: rows, orders, first and last cells.

    They ascend in each row and order.
    """
    low, high = ranges.T
    # the order of the largest cell that a range may contain; the rest before and behind it may contain smaller cells
    size_exponents = np.frexp((high - low).astype(np.float64))[1] - 1
    largest = np.maximum(healpix.MAX_ORDER - size_exponents // 2, 0)
    sort = np.argsort(largest.astype(np.int8), kind="stable")
    starts = np.searchsorted(largest[sort], np.arange(healpix.MAX_ORDER + 2))
    cell_blocks: list[tuple[Indexes, ...]] = []
    remainder = low[:0], low[:0], low[:0]
    for order in range(healpix.MAX_ORDER + 1):
        new_ranges = sort[starts[order] : starts[order + 1]]
        a, b, source_row = (
            np.append(remaining, values[new_ranges])
            for remaining, values in zip(remainder, (low, high, row), strict=True)
        )
        if not len(a):
            remainder = a, b, source_row
            continue
        shift = 2 * (healpix.MAX_ORDER - order)
        begin = (a + (1 << shift) - 1) >> shift
        end = b >> shift
        has_cells = begin < end
        cell_order = np.full(has_cells.sum(), order)
        block = (source_row[has_cells], cell_order, begin[has_cells], end[has_cells] - 1)
        cell_blocks.append(block)
        first = np.where(has_cells, begin << shift, b)
        second = np.where(has_cells, end << shift, b)
        before = a < first
        behind = second < b
        remainder = (
            np.append(a[before], second[behind]),
            np.append(first[before], b[behind]),
            np.append(source_row[before], source_row[behind]),
        )
    if cell_blocks:
        owner, order_, begin, end = (np.concatenate(columns) for columns in zip(*cell_blocks, strict=True))
    else:
        owner, order_, begin, end = (low,) * 4
    sort = np.argsort(begin << 2 * (healpix.MAX_ORDER - order_))
    return owner[sort], order_[sort], begin[sort], end[sort]


def compute_moc_text_sky_fractions(texts: pa.Array) -> Numbers:
    """Sum the areas of the cells of each MOC; see `Moc.compute_text_sky_fractions`."""
    sky_shares = np.zeros(len(texts))
    text_lengths = np.asarray(pc.binary_length(texts))
    for part in split_into_blocks(text_lengths, 16 * _BLOCK_RANGES):
        sky_shares[part] = _compute_moc_block_sky_fractions(texts[part.start : part.stop])
    sky_shares[np.asarray(pc.match_substring(texts, "t"))] = 0.0
    return sky_shares


def _compute_moc_block_sky_fractions(texts: pa.Array) -> Numbers:
    rows = len(texts)
    _, starts, data = texts.cast(pa.large_string()).buffers()
    offsets = np.frombuffer(starts, np.int64, rows + 1)
    all_bytes = np.frombuffer(data or b"", np.uint8)
    text: Bytes = all_bytes[offsets[0] : offsets[-1]]
    offsets = offsets - offsets[0]
    is_digit = text - np.uint8(_ZERO) < 10
    # the begin and the end of each number; no number continues in the next text
    begins = is_digit.copy()
    stops = is_digit.copy()
    begins[1:] &= ~is_digit[:-1]
    stops[:-1] &= ~is_digit[1:]
    inner = offsets[1:-1]
    inner = inner[(inner > 0) & (inner < len(text))]
    begins[inner] = is_digit[inner]
    stops[inner - 1] = is_digit[inner - 1]
    first = np.flatnonzero(begins)
    stop = np.flatnonzero(stops) + 1
    row = np.searchsorted(offsets, first, "right") - 1
    separators = np.append(text, _SPACE)[stop]
    separators[stop == offsets[row + 1]] = _SPACE
    value, wrong = _parse_concatenated_numbers(text[is_digit], stop - first)
    is_order = separators == _SLASH
    cell = np.flatnonzero(~is_order)
    order_places = np.where(is_order, np.arange(len(value)), 0)
    order = value[np.maximum.accumulate(order_places)]
    wrong |= order > healpix.MAX_ORDER
    cell_count = 12 << 2 * np.minimum(order, healpix.MAX_ORDER)
    wrong |= ~is_order & (value >= cell_count)
    ranged = cell[separators[cell - 1] == _DASH]  # the last cell of a range, behind its first cell
    counts_as_cell = ~is_order & (separators != _DASH)
    count = counts_as_cell.astype(np.int64)
    count[ranged] += value[ranged] - value[ranged - 1]
    wrong[ranged] |= value[ranged] < value[ranged - 1]
    area: Numbers = np.bincount(row, count / cell_count, minlength=rows).astype(np.float64)
    area[row[wrong]] = np.nan
    return area


def _parse_concatenated_numbers(digits: Bytes, sizes: Indexes) -> tuple[Indexes, Any]:
    """Parse numbers that follow each other; return 0 for numbers that are too large, and which these are."""
    long = sizes > _MAX_CELL_DIGITS
    if long.any():
        digits = digits[~long[compute_row_indexes(compute_offsets(sizes))]]
    kept_sizes = np.where(long, 0, sizes)
    number_offsets = pa.py_buffer(compute_offsets(kept_sizes))
    digit_buffer = pa.py_buffer(np.ascontiguousarray(digits))
    texts = pa.LargeStringArray.from_buffers(len(kept_sizes), number_offsets, digit_buffer)
    values = pc.cast(pc.if_else(pa.array(long), "0", texts), pa.uint64())
    unsigned = np.asarray(values)
    return unsigned.astype(np.int64), long | (unsigned >= 1 << 63)

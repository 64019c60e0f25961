"""ASCII MOCs (MOC 2.0, 4.3.2) by the column: cells become texts, and texts are measured, as arrays of numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model.sky import _healpix as healpix
from hven.model.sky._ragged import blocks, ends, owners

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Indexes = npt.NDArray[np.int64]
    Numbers = npt.NDArray[np.float64]
    Bytes = npt.NDArray[np.uint8]

_TOGETHER = 1 << 14  # ranges at a time: what is computed of them stays in a processor's cache
_ROWS = 1000  # .. and MOCs: number and order of one are sorted in 16 bits
_SPACE, _DASH, _SLASH, _ZERO = b" -/0"
_DIGITS = 19  # no cell has more


def written(ranges: Sequence[Indexes], orders: Sequence[int]) -> pa.Array:
    """Write MOCs: of each its ranges (`Moc.ranges`) and its order."""
    found = []
    for part in blocks([len(one) + _TOGETHER // _ROWS for one in ranges], _TOGETHER):
        some = ranges[part]
        row = np.repeat(np.arange(len(some)), [len(one) for one in some])
        found.append(_texts(np.concatenate(some), row, np.array(orders[part])))
    return pa.concat_arrays(found) if found else pa.array([], pa.string())


def _texts(ranges: Indexes, row: Indexes, orders: Indexes) -> pa.Array:
    """Write ranges of some rows, ascending in each."""
    owner, order, low, high = _cells(ranges, row)
    # the text of a row ends with its order, where no cell shows that
    deepest = np.full(len(orders), -1)
    np.maximum.at(deepest, owner, order)
    bare = np.flatnonzero(deepest < orders)
    owner, order = np.append(owner, bare), np.append(order, orders[bare])
    low, high = np.append(low, np.full(len(bare), -1)), np.append(high, np.full(len(bare), -1))
    sort = np.argsort((owner << 5 | order).astype(np.int16), kind="stable")
    owner, order, low, high = owner[sort], order[sort], low[sort], high[sort]
    # numbers, each with what stands behind it: orders, first cells of ranges, cells
    new = np.append(True, (owner[1:] != owner[:-1]) | (order[1:] != order[:-1]))[: len(owner)]
    begins, is_cell = high > low, low >= 0
    place = ends(new * 1 + begins + is_cell)
    numbers, behind = np.empty(place[-1], np.int64), np.full(place[-1], _SPACE, np.uint8)
    at = place[:-1]
    numbers[at[new]], behind[at[new]] = order[new], _SLASH
    at = (at + new)[is_cell]
    numbers[at], begins = low[is_cell], begins[is_cell]
    numbers[at[begins] + 1], behind[at[begins]] = high[is_cell][begins], _DASH
    last = place[1:][np.append(owner[1:] != owner[:-1], True)[: len(owner)]] - 1
    width = np.ones(len(numbers), np.int64)
    width[last[behind[last] == _SPACE]] = 0
    _, starts, digits = pa.array(numbers).cast(pa.large_string()).buffers()
    stops = np.frombuffer(starts, np.int64, len(numbers) + 1)[1:] + ends(width)[:-1]
    text = np.empty(stops[-1] + width[-1], np.uint8)
    is_digit = np.ones(len(text), np.bool_)
    is_digit[stops[width > 0]] = False
    text[is_digit] = np.frombuffer(digits, np.uint8, is_digit.sum())
    text[~is_digit] = behind[width > 0]
    offsets = np.append(0, (stops + width)[last]).astype(np.int32)
    return pa.StringArray.from_buffers(len(orders), pa.py_buffer(offsets), pa.py_buffer(text))


def _cells(ranges: Indexes, row: Indexes) -> tuple[Indexes, Indexes, Indexes, Indexes]:
    """Take ranges apart into rows, orders, first and last cells, as large as can be; ascending in each row and order."""
    low, high = ranges.T
    # the order of the largest cell that a range may hold; what that leaves, before and behind it, may hold smaller ones
    largest = np.maximum(healpix.ORDER - (np.frexp((high - low).astype(np.float64))[1] - 1) // 2, 0)
    sort = np.argsort(largest.astype(np.int8), kind="stable")
    starts = np.searchsorted(largest[sort], np.arange(healpix.ORDER + 2))
    found: list[tuple[Indexes, ...]] = []
    rest = low[:0], low[:0], low[:0]
    for order in range(healpix.ORDER + 1):
        at = sort[starts[order] : starts[order + 1]]
        a, b, of = (np.append(left, each[at]) for left, each in zip(rest, (low, high, row), strict=True))
        if not len(a):
            rest = a, b, of
            continue
        shift = 2 * (healpix.ORDER - order)
        begin, end = (a + (1 << shift) - 1) >> shift, b >> shift
        whole = begin < end
        found.append((of[whole], np.full(whole.sum(), order), begin[whole], end[whole] - 1))
        first, second = np.where(whole, begin << shift, b), np.where(whole, end << shift, b)
        before, behind = a < first, second < b
        rest = (
            np.append(a[before], second[behind]),
            np.append(first[before], b[behind]),
            np.append(of[before], of[behind]),
        )
    owner, order_, begin, end = (np.concatenate(one) for one in zip(*found, strict=True)) if found else (low,) * 4
    sort = np.argsort(begin << 2 * (healpix.ORDER - order_))
    return owner[sort], order_[sort], begin[sort], end[sort]


def areas(texts: pa.Array) -> Numbers:
    """Sum the areas of the cells of each; see `Moc.areas`."""
    found = np.zeros(len(texts))
    for part in blocks(np.asarray(pc.binary_length(texts)), 16 * _TOGETHER):
        found[part] = _areas(texts[part.start : part.stop])
    found[np.asarray(pc.match_substring(texts, "t"))] = 0.0
    return found


def _areas(texts: pa.Array) -> Numbers:
    rows = len(texts)
    _, starts, data = texts.cast(pa.large_string()).buffers()
    offsets = np.frombuffer(starts, np.int64, rows + 1)
    text: Bytes = np.frombuffer(data or b"", np.uint8)[offsets[0] : offsets[-1]]
    offsets = offsets - offsets[0]
    is_digit = text - np.uint8(_ZERO) < 10
    # numbers: where each begins, and ends; none goes from one text into the next
    begins, stops = is_digit.copy(), is_digit.copy()
    begins[1:] &= ~is_digit[:-1]
    stops[:-1] &= ~is_digit[1:]
    inner = offsets[1:-1][(offsets[1:-1] > 0) & (offsets[1:-1] < len(text))]
    begins[inner], stops[inner - 1] = is_digit[inner], is_digit[inner - 1]
    first, stop = np.flatnonzero(begins), np.flatnonzero(stops) + 1
    row = np.searchsorted(offsets, first, "right") - 1
    behind = np.append(text, _SPACE)[stop]
    behind[stop == offsets[row + 1]] = _SPACE
    value, wrong = _numbers(text[is_digit], stop - first)
    is_order = behind == _SLASH
    cell = np.flatnonzero(~is_order)
    order = value[np.maximum.accumulate(np.where(is_order, np.arange(len(value)), 0))]
    wrong |= order > healpix.ORDER
    most = 12 << 2 * np.minimum(order, healpix.ORDER)
    wrong |= ~is_order & (value >= most)
    ranged = cell[behind[cell - 1] == _DASH]  # the last one of a range, behind the first
    count = (~is_order & (behind != _DASH)).astype(np.int64)
    count[ranged] += value[ranged] - value[ranged - 1]
    wrong[ranged] |= value[ranged] < value[ranged - 1]
    area: Numbers = np.bincount(row, count / most, minlength=rows).astype(np.float64)
    area[row[wrong]] = np.nan
    return area


def _numbers(digits: Bytes, sizes: Indexes) -> tuple[Indexes, Any]:
    """Read numbers that stand one after the other; return which are too large to be read, too, and are 0."""
    long = sizes > _DIGITS
    if long.any():
        digits = digits[~long[owners(ends(sizes))]]
    kept = np.where(long, 0, sizes)
    texts = pa.LargeStringArray.from_buffers(
        len(kept), pa.py_buffer(ends(kept)), pa.py_buffer(np.ascontiguousarray(digits))
    )
    values = pc.cast(pc.if_else(pa.array(long), "0", texts), pa.uint64())
    found = np.asarray(values)
    return found.astype(np.int64), long | (found >= 1 << 63)

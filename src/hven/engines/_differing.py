"""What differs between rows and stored rows of the same primary key: by value, column by column, vectorised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.engines._matching import Wanted, pages

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt

    Flags = npt.NDArray[np.bool_]
    Words = npt.NDArray[np.uint64]

PAGE = 250_000  # stored rows that are compared at a time, at least
MANY = 10_000  # from which on rows are compared by digest first


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Rows against stored ones.

    Attributes
    ----------
    known
        True for rows whose key is stored; shape (rows,).
    changed
        True for those of them that have another value somewhere; shape (rows,).
    columns
        Column name -> True where it has another value, for the columns that have any.
    """

    known: Flags
    changed: Flags
    columns: Mapping[str, Flags]


def compare(rows: pa.Table, stored: Iterable[pa.RecordBatch], primary: Sequence[str]) -> Compared:
    """Compare rows with stored ones of the same key; stored rows are read once, a batch at a time.

    Parameters
    ----------
    rows
        No key twice, no key null. Columns that `stored` does not have are changed where they have a value.
    stored
        `Engine.read`, or some of it.
    primary
        Columns of the key.

    Notes
    -----
    Null equals null, and NaN, which is stored as null; -0.0 equals 0.0. Arrays are compared item by item. Many rows are compared by 64-bit digests
    first: that a changed row is taken for the same one has a chance of 5e-20.
    """
    wanted = Wanted(rows.select(list(primary)), primary)
    known = np.zeros(rows.num_rows, bool)
    columns: dict[str, Flags] = {}
    whole: dict[str, pa.Array] = {}
    digest: Words | None = None
    others = [name for name in rows.column_names if name not in primary]
    for page in pages(stored, max(PAGE, rows.num_rows)):
        found = wanted.find(page)
        here = np.flatnonzero(found >= 0)
        mine = found[here]
        known[mine] = True
        if (
            len(here) >= MANY
            and others
            and all(name in page.column_names and page.field(name).type == rows.field(name).type for name in others)
        ):
            # most rows are the same, and so are their digests: the others are compared
            digest = _digest(rows, others) if digest is None else digest
            unequal = digest[mine] != _digest(page, others)[here]
            here, mine = here[unequal], mine[unequal]
        for name in others if len(here) else ():
            if name not in whole:
                whole[name] = _one(rows.column(name))
            left = _picked(whole[name], mine)
            right = _picked(_one(page.column(name)), here) if name in page.column_names else pa.nulls(len(here), left.type)
            other = unlike(left, right)
            if other.any():
                columns.setdefault(name, np.zeros(rows.num_rows, bool))[mine[other]] = True
    changed = np.zeros(rows.num_rows, bool)
    for flags in columns.values():
        changed |= flags
    return Compared(known=known, changed=changed, columns=columns)


def _digest(rows: pa.Table, columns: Sequence[str]) -> Words:
    """Hash rows over some columns; the same values have the same hash, and others nearly always another one."""
    import duckdb

    quoted = ", ".join('"' + name.replace('"', '""') + '"' for name in columns)
    with duckdb.connect(":memory:", config={"threads": 2}) as con:
        con.register("rows", rows)
        found = con.execute(f"SELECT hash({quoted}) AS digest FROM rows").to_arrow_table().column(0)
    return np.asarray(found, np.uint64)


def unlike(one: pa.Array, two: pa.Array) -> Flags:
    """Tell in which places two arrays have different values; what can be converted is compared as the type of `one`."""
    if not two.type.equals(one.type):
        try:
            two = two.cast(one.type)
        except pa.ArrowException:  # no value of the one type is one of the other
            return np.asarray(pc.or_(one.is_valid(), two.is_valid()))
    if pa.types.is_floating(one.type):
        one, two = _without_nan(one), _without_nan(two)
    if pa.types.is_list(one.type) or pa.types.is_fixed_size_list(one.type):
        return _unlike_lists(one, two)
    if pa.types.is_null(one.type):
        return np.zeros(len(one), bool)
    found = pc.not_equal(one, two)
    if not found.null_count:
        return np.asarray(found)
    other = np.asarray(pc.fill_null(found, False))
    return np.asarray(other | np.asarray(pc.xor(one.is_null(), two.is_null())))


def _unlike_lists(one: pa.Array, two: pa.Array) -> Flags:
    lengths = [np.asarray(pc.fill_null(pc.list_value_length(each), -1)) for each in (one, two)]  # null is not empty
    other: Flags = lengths[0] != lengths[1]
    same = np.flatnonzero(~other & (lengths[0] > 0))
    if len(same):
        chosen = pa.array(same)
        items = unlike(pc.list_flatten(one.take(chosen)), pc.list_flatten(two.take(chosen)))
        if items.any():
            other[np.repeat(same, lengths[0][same])[items]] = True
    return other


def _without_nan(values: pa.Array) -> pa.Array:
    wrong = pc.is_nan(values)
    return pc.if_else(wrong, pa.scalar(None, values.type), values) if pc.any(wrong).as_py() else values


def _picked(values: pa.Array, rows: npt.NDArray[np.int64]) -> pa.Array:
    """Give some values; a run of them without a copy."""
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
        return values.slice(int(rows[0]), len(rows))
    return values.take(pa.array(rows))


def _one(column: pa.ChunkedArray) -> Any:
    whole = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    return pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole

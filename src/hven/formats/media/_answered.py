"""A file that something else reads for us: it is asked for some rows of some columns, and answers in Arrow."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.formats.media._grids import on_disk
from hven.formats.media._lines import _column, _plain, _shaped, instants
from hven.formats.media._product import Array, Axis, Card, Product, Rows
from hven.model.errors import SourceError, say

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from hven.formats.media._distant import Place
    from hven.formats.media._product import Instants

    Ask = Callable[[Path, Sequence[str] | None, int, int], pa.Table]

CELLS = 500_000  # values that are asked for at once
LONGEST = 65_536  # rows that are


def open_answered(place: Place, name: str, ask: Ask) -> Product:
    """Open a file.

    Parameters
    ----------
    place
        Of the file; one on another server is copied.
    name
        By which readers know it.
    ask
        As of `open_product`.

    Returns
    -------
    product
        Of a table, and an array for each column that has bins.

    Raises
    ------
    SourceError
        What it answers cannot be.
    """
    path, closing = on_disk(place)
    try:
        if path is not place:  # a copy; some know by its name what a file is
            path = path.rename(path.with_name(name))
        head = ask(path, None, 0, 0).schema
        said = {key.decode(): value.decode("utf-8", "replace") for key, value in (head.metadata or {}).items()}
        if not said.get("rows", "").isdecimal() or len(said["rows"]) > 12:
            raise SourceError(  # noqa: TRY301
                say("the reader of {name} does not say how many rows there are", name),
                remedy=say("metadata of the schema: rows"),
            )
        whole = _Answered(path, name, ask, [one for one in head if _plain(one.type)], int(said["rows"]))
        cards = tuple(Card(key, value) for key, value in said.items() if key != "rows")
        return Product(medium="", parts=(whole.rows(None), *whole.arrays()), cards=cards, closing=closing)
    except BaseException:
        closing()
        raise


class _Answered:
    def __init__(self, path: Path, name: str, ask: Ask, fields: Sequence[pa.Field], count: int) -> None:
        self._path, self._name, self._ask, self._fields, self._count = path, name, ask, fields, count

    def rows(self, names: Collection[str] | None) -> Rows:
        fields = [one for one in self._fields if names is None or one.name in names]
        columns = tuple(_column(one) for one in fields)
        schema = pa.schema([one.arrow for one in columns])
        width = sum(one.type.list_size if pa.types.is_fixed_size_list(one.type) else 16 if pa.types.is_large_string(one.type) or pa.types.is_string(one.type) else 1 for one in fields)  # fmt: skip
        step = max(1, min(LONGEST, CELLS // max(width, 1)))

        def batches(start: int, most: int) -> Iterator[pa.RecordBatch]:
            for first in range(start, min(start + most, self._count), step):
                wanted = min(step, start + most - first, self._count - first)
                (found,) = self._some(fields, first, wanted).combine_chunks().to_batches()
                arrays = [_shaped(found.column(at), one.type) for at, one in enumerate(schema)]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)

        def moments(name: str, start: int, stop: int) -> Instants:
            (field,) = [one for one in fields if one.name == name]
            return instants(self._some([field], start, stop - start).column(0).combine_chunks())

        fine = any(pa.types.is_timestamp(one.type) and one.type.unit == "ns" for one in fields)
        return Rows(index=0, columns=columns, count=self._count, batches=batches, narrow=self.rows, moments=moments if fine else None)  # fmt: skip

    def _some(self, fields: Sequence[pa.Field], first: int, wanted: int) -> pa.Table:
        """Ask for some rows; what else was told before than what comes now is an error."""
        found = self._ask(self._path, [one.name for one in fields], first, wanted)
        told, now = ([(one.name, str(one.type)) for one in each] for each in (fields, found.schema))
        if told != now:
            first_other = next((one for one, other in zip(told, [*now, ("", "")], strict=False) if one != other), now[-1])  # fmt: skip
            raise SourceError(say("the reader of {name} gives other columns than it said: {column}", self._name, " ".join(first_other)))  # fmt: skip
        if found.num_rows != wanted:
            raise SourceError(say("the reader of {name} gives {there:,} rows from {first:,} on, where {count:,} are", self._name, found.num_rows, first, wanted))  # fmt: skip
        return found

    def arrays(self) -> Iterator[Array]:
        """Make an array of each column that says what its elements are."""
        for at, field in enumerate(self._fields, 1):
            said = (field.metadata or {}).get(b"bins")
            if said is None or not pa.types.is_fixed_size_list(field.type):
                continue
            size = field.type.list_size
            try:
                bins = json.loads(said)
                own = isinstance(bins["centers"], str)  # each row has them
                values = np.zeros(size) if own else np.asarray(bins["centers"], np.float64)
                name, unit = str(bins["centers"] if own else bins["name"]), bins.get("unit")
            except (ValueError, TypeError, KeyError) as fault:
                raise SourceError(say("bins of {column} of {name} cannot be read: {reason}", field.name, self._name, str(fault)[:100])) from None  # fmt: skip
            if values.shape != (size,):
                raise SourceError(say("{column} of {name} has {size} elements, and bins of {count}", field.name, self._name, size, values.size))  # fmt: skip
            axes = (Axis(name="time", size=self._count, kind="time"), Axis(name=name, size=size, unit=unit and str(unit), values=lambda values=values: values))  # type: ignore[misc]  # fmt: skip
            yield Array(index=at, name=field.name, axes=axes, dtype=np.dtype("f8"), read=lambda window, name=field.name: self._read(name, window))  # type: ignore[misc]  # fmt: skip

    def _read(self, name: str, window: Sequence[slice]) -> npt.NDArray[Any]:
        first, stop, _ = window[0].indices(self._count)
        found = [np.asarray(one.column(0).flatten().cast(pa.float64())) for one in self.rows({name}).batches(first, stop - first)]  # fmt: skip
        values = np.concatenate(found) if found else np.zeros(0)
        return values.reshape(stop - first, -1)[:, window[1]]


__all__ = ["open_answered"]

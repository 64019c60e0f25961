"""Tables whose cells are spectra or images, a row for each moment, as arrays: NRH's images, the receivers of ORFEES."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.formats.media import Array, Axis, Rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from hven.formats.media import Product
    from hven.model.table import Column

LEAST = 4  # numbers along a side of a cell
_UNITS = {"ms": 1e-3, "s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0}


def in_cells(rows: Rows, product: Product, facts: Mapping[str, Any]) -> Array | None:
    """Return the images, or the spectra of which another table has the frequencies; None: its cells have none."""
    when = next((one for one in rows.columns if re.match(r"(?i)time", one.name) and one.type.is_numeric and not one.type.is_array), None)  # fmt: skip
    wide = [one for one in rows.columns if one.type.is_array and one.type.datatype in {"float", "double", "short", "int"} and "*" not in str(one.type.arraysize)]  # fmt: skip
    if when is None or rows.count < 2 or not wide:
        return None
    clock = Axis(name="time", size=rows.count, kind="time", values=partial(_moments, rows, when, facts))
    said = {card.keyword: str(card.value) for card in rows.cards if card.keyword.startswith("TDIM")}
    shapes = {}
    for number, one in enumerate(rows.columns, 1):
        if one in wide:  # FITS says dimensions beside the size
            sizes = re.findall(r"\d+", said.get(f"TDIM{number}", "")) or str(one.type.arraysize).split("x")
            shapes[one.name] = tuple(int(word) for word in reversed(sizes))
    image = next((one for one in wide if len(shapes[one.name]) == 2 and min(shapes[one.name]) >= LEAST), None)
    if image is not None:
        sides = [Axis(name=name, size=size) for name, size in zip(("y", "x"), shapes[image.name], strict=True)]
        return Array(index=rows.index, name=image.name, axes=(clock, *sides), dtype=np.dtype("f8"), read=partial(_read, rows, [image], shapes), unit=image.unit, cards=rows.cards)  # fmt: skip
    stem = re.sub(r"\d+$", "", wide[0].name)
    bands = [one for one in wide if re.sub(r"\d+$", "", one.name) == stem and len(shapes[one.name]) == 1]
    waves = [_frequencies(one.name, shapes[one.name][0], product) for one in bands]
    known = [one for one in waves if one is not None]
    if not known or len(known) < len(waves):
        return None
    every = np.concatenate(known)
    channels = Axis(name="frequency [MHz]", size=len(every), kind="spectral", unit="MHz", own=partial(np.copy, every), values=partial(np.divide, 299.792458, every))  # fmt: skip
    return Array(index=rows.index, name=stem.removesuffix("_B"), axes=(clock, channels), dtype=np.dtype("f8"), read=partial(_read, rows, bands, shapes), unit=bands[0].unit, cards=rows.cards)  # fmt: skip


def _frequencies(name: str, size: int, product: Product) -> npt.NDArray[np.float64] | None:
    """Find the frequencies of a receiver: the column of a table of one row with the same number at its end."""
    end = re.search(r"\d*$", name)
    wanted = re.compile(rf"(?i)freq\D*{end[0] if end else ''}$")
    for part in product.parts:
        if not isinstance(part, Rows) or part.count != 1:
            continue
        for one in part.columns:
            if wanted.match(one.name) and str(one.type.arraysize) == str(size):
                return np.asarray(_values(part, one, slice(0, 1))[0])
    return None


def _values(rows: Rows, column: Column, some: slice) -> npt.NDArray[np.float64]:
    """Read some rows of a column, one behind the other."""
    table = pa.Table.from_batches(rows.batches(some.start, some.stop - some.start))
    cells = table[column.name].combine_chunks()
    flat = cells.flatten() if pa.types.is_nested(cells.type) else cells
    return np.asarray(flat.cast(pa.float64()).to_numpy(zero_copy_only=False)).reshape(len(cells), -1)


def _read(
    rows: Rows, columns: Sequence[Column], shapes: Mapping[str, tuple[int, ...]], window: Sequence[slice]
) -> npt.NDArray[Any]:
    first, *rest = (slice(*one.indices(2**62)) for one in window)
    found = np.concatenate([_values(rows, one, first) for one in columns], 1)
    if len(rest) == 2:
        found = found.reshape(len(found), *shapes[columns[0].name])
    return found[(slice(None, None, first.step), *rest)]


def _moments(rows: Rows, column: Column, facts: Mapping[str, Any]) -> npt.NDArray[np.float64]:
    """Return times as MJD where they count from the day of the observation."""
    values = _values(rows, column, slice(0, rows.count))[:, 0]
    day, unit = str(facts.get("DATE-OBS") or "")[:10], _UNITS.get((column.unit or "").lower())
    if unit is None or not re.fullmatch(r"\d{4}-\d\d-\d\d", day):
        return values
    midnight = (np.datetime64(day) - np.datetime64("1858-11-17")).astype(int)
    return np.asarray(midnight + values * unit / 86_400.0)

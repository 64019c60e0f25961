"""Arrays in the cells of FITS tables: images (NRH) or spectra (ORFEES), a row for each moment; dynamic spectra in one row, or beside their axes (e-Callisto)."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from hven.formats.media._product import Array, Axis, Card, Rows
from hven.formats.media._spectral import wavelengths
from hven.formats.media._tables import clocked
from hven.model.errors import SourceError, say

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from hven.formats.media._product import Part, Window
    from hven.model.table import Column

    Numbers = npt.NDArray[np.float64]
    Shapes = Mapping[str, tuple[int, ...]]

LEAST = 4  # numbers along a side of a cell
_NUMBERS = {"float", "double", "short", "int", "unsignedByte"}
_TIME, _FREQUENCY = re.compile(r"(?i)time|seconds"), re.compile(r"(?i)freq")
_STOKES = re.compile(r"(?i)(.*stokes_?)([IQUV])(_?\D*)")
# cards that say how a table is built, and of axes that are others here
_STRUCTURE = re.compile(r"T[A-Z]{3,4}\d+|TFIELDS|THEAP|EXTNAME|EXTVER|(CTYPE|CUNIT|CRVAL|CDELT|CROTA)\d+|CRPIX[3-9]")


class _Cell(NamedTuple):
    """A column with a number of cells' values, of which each row has as many."""

    rows: Rows
    column: Column

    def read(self, start: int, stop: int) -> npt.NDArray[np.float64]:
        """Read some rows, one behind the other."""
        name = self.column.name
        rows = self.rows if self.rows.narrow is None else self.rows.narrow((name,))
        cells = pa.chunked_array([batch.column(name) for batch in rows.batches(start, stop - start)]).combine_chunks()
        flat = cells.flatten() if pa.types.is_nested(cells.type) else cells
        return np.asarray(flat.cast(pa.float64()).to_numpy(zero_copy_only=False)).reshape(stop - start, -1)


class _Beam(NamedTuple):
    """Cells that stand one behind the other in a row: images, or the receivers of one polarization."""

    name: str
    cells: tuple[_Cell, ...]
    shape: tuple[int, ...]  # of a row


def with_cells(parts: Sequence[Part], cards: Sequence[Card]) -> tuple[Part, ...]:
    """Put before each part what it holds in cells: arrays whose axes have times and frequencies, with indices of their own (`Array.cells`)."""
    tables = [one for one in parts if isinstance(one, Rows)]
    if not tables or any(one.name.upper().startswith("OI_") for one in tables):
        return tuple(parts)
    made: list[Part] = []
    index = max(part.index for part in parts) + 1
    for part in parts:
        found = _of_rows(part, tables, cards) if isinstance(part, Rows) else _of_image(part, tables)
        for view in found:
            made.append(replace(view, index=index))
            index += 1
        made.append(part)
    return tuple(made)


def _of_rows(rows: Rows, tables: Sequence[Rows], cards: Sequence[Card]) -> Iterator[Array]:
    shapes = _shapes(rows)
    clocks = [_Cell(rows, one) for one in rows.columns if _TIME.match(one.name) and one.type.is_numeric]
    if rows.count < 2 or not clocks:
        yield from _of_one_row(rows, shapes, cards) if rows.count == 1 else ()
        return
    wide = [one for one in rows.columns if one.name in shapes]
    images = [_Beam(one.name, (_Cell(rows, one),), shapes[one.name]) for one in wide if len(shapes[one.name]) == 2 and min(shapes[one.name]) >= LEAST]  # fmt: skip
    if images:
        sides = [Axis(name=name, size=size) for name, size in zip(("y", "x"), images[0].shape, strict=True)]
        yield _array(images, (_clock(clocks[:1], rows.count, cards), *sides))
        return
    receivers = {one.name: _frequencies(one, shapes, tables) for one in wide}
    stems: dict[str, list[Column]] = {}
    for one in wide:
        stems.setdefault(re.sub(r"\d+$", "", one.name), []).append(one)
    spectra = [
        _Beam(stem, tuple(_Cell(rows, one) for one in some), (sum(shapes[one.name][0] for one in some),))
        for stem, some in stems.items()
        if all(receivers[one.name] is not None for one in some)
    ]
    if spectra:
        waves = [found for cell in spectra[0].cells if (found := receivers[cell.column.name]) is not None]
        yield _array(spectra, (_clock(clocks, rows.count, cards), _channels(waves, spectra[0].shape[0])))


def _array(beams: Sequence[_Beam], axes: tuple[Axis, ...]) -> Array:
    """Make the array of the first; of several polarizations of it they are its first axis."""
    first, words = beams[0], [_STOKES.fullmatch(one.name) for one in beams]
    states = {word[2].upper(): one for word, one in zip(words, beams, strict=True) if word and words[0] and one.shape == first.shape and (word[1], word[3]) == (words[0][1], words[0][3])}  # fmt: skip
    every, name = [states[word] for word in "IQUV" if word in states] or [first], first.name.removesuffix("_B")
    if len(every) > 1:
        letters = np.array([word for word in "IQUV" if word in states])
        axes = (Axis(name="STOKES", size=len(every), kind="polarization", values=partial(np.copy, letters)), *axes)
        name = "STOKES"
    rows = first.cells[0].rows
    kind = np.dtype("f4" if all(cell.column.type.datatype == "float" for one in every for cell in one.cells) else "f8")

    def read(window: Window) -> npt.NDArray[np.float32 | np.float64]:
        planes, moments, *rest = window if len(every) > 1 else (slice(0, 1), *window)
        start, stop, _ = moments.indices(rows.count)
        found = np.stack([
            np.concatenate([cell.read(start, stop) for cell in one.cells], 1).astype(kind).reshape(stop - start, *one.shape)[(slice(None), *rest)]
            for one in every[planes]
        ])  # fmt: skip
        return found if len(every) > 1 else found[0]

    return Array(index=0, name=name, axes=axes, dtype=kind, read=read, unit=first.cells[0].column.unit, cards=_kept(rows.cards), cells=rows.index)  # fmt: skip


def _of_one_row(rows: Rows, shapes: Shapes, cards: Sequence[Card]) -> Iterator[Array]:
    """Find a cell of two dimensions whose times and frequencies are cells of one."""
    for one in rows.columns:
        shape = shapes.get(one.name, ())
        axes = [
            _side(rows, shapes, words, size, cards) for words, size in zip((_TIME, _FREQUENCY), shape, strict=False)
        ]
        if len(shape) == 2 and None in axes:
            axes = [_side(rows, shapes, words, size, cards) for words, size in zip((_FREQUENCY, _TIME), shape, strict=True)]  # fmt: skip
        known = tuple(axis for axis in axes if axis is not None)
        if len(shape) == 2 and len(known) == 2 and min(shape) >= LEAST:
            cell = _Cell(rows, one)

            def read(window: Window, cell: _Cell = cell, shape: tuple[int, ...] = shape) -> Numbers:
                return cell.read(0, 1).reshape(shape)[tuple(window)]

            yield Array(index=0, name=one.name, axes=known, dtype=np.dtype("f8"), read=read, unit=one.unit, cards=_kept(rows.cards), cells=rows.index)  # fmt: skip


def _of_image(image: Array, tables: Sequence[Rows]) -> Iterator[Array]:
    """Take an image whose times and frequencies stand in a table of one row: what its header says of them is rounded, or wrong."""
    if len(image.axes) != 2 or image.role != "data":
        return
    for rows in tables:
        shapes = _shapes(rows) if rows.count == 1 else {}
        axes = [_side(rows, shapes, words, axis.size, image.cards) for axis in image.axes for words in (_TIME, _FREQUENCY) if words.search(axis.name)]  # fmt: skip
        known = tuple(axis for axis in axes if axis is not None)
        if {axis.kind for axis in known} == {"time", "spectral"}:
            yield replace(image, axes=known, raw=None, meant=None, flat=False, places=None, cards=_kept(image.cards), cells=image.index)  # fmt: skip
            return


def _side(rows: Rows, shapes: Shapes, words: re.Pattern[str], size: int, cards: Sequence[Card]) -> Axis | None:
    """Find an axis among the cells of a row."""
    found = next((one for one in rows.columns if words.match(one.name) and shapes.get(one.name) == (size,)), None)
    if found is None:
        return None
    cell = _Cell(rows, found)
    return _clock([cell], size, cards) if words is _TIME else _channels([cell], size)


def _kept(cards: Sequence[Card]) -> tuple[Card, ...]:
    return tuple(card for card in cards if not _STRUCTURE.fullmatch(card.keyword))


def _shapes(rows: Rows) -> dict[str, tuple[int, ...]]:
    """List the shapes of cells with several numbers, in the order of C; FITS says dimensions beside the size."""
    said = {card.keyword: str(card.value) for card in rows.cards if card.keyword.startswith("TDIM")}
    found = {}
    for number, one in enumerate(rows.columns, 1):
        if one.type.is_array and one.type.datatype in _NUMBERS and "*" not in str(one.type.arraysize):
            sizes = re.findall(r"\d+", said.get(f"TDIM{number}", "")) or str(one.type.arraysize).split("x")
            found[one.name] = tuple(int(size) for size in reversed(sizes))
    return found


def _frequencies(column: Column, shapes: Shapes, tables: Sequence[Rows]) -> _Cell | None:
    """Find the frequencies of a receiver: the column of a table of one row with the same number at its end."""
    end = re.search(r"\d*$", column.name)
    wanted = re.compile(rf"(?i)freq\D*{end[0] if end else ''}")
    for part in tables if len(shapes[column.name]) == 1 else ():
        for one in part.columns if part.count == 1 else ():
            if wanted.fullmatch(one.name) and _shapes(part).get(one.name) == shapes[column.name]:
                return _Cell(part, one)
    return None


def _channels(receivers: Sequence[_Cell], size: int) -> Axis:
    """Make the axis of the channels of receivers, one behind the other."""

    def own() -> Numbers:
        return np.concatenate([one.read(0, 1)[0] for one in receivers])

    def values() -> Numbers:
        return np.concatenate([wavelengths(one.read(0, 1)[0], "FREQ", one.column.unit or "MHz") for one in receivers])

    unit = receivers[0].column.unit or "MHz"
    return Axis(name="frequency", size=size, kind="spectral", unit=unit, own=own, values=values)


def _clock(clocks: Sequence[_Cell], size: int, cards: Sequence[Card]) -> Axis:
    """Make the axis of times; receivers that have their own must agree, but for the time of a sample."""
    rows = clocks[0].rows

    def values() -> Numbers:
        first, *others = (clocked(one.column, (*rows.cards, *cards))(pa.array(one.read(0, rows.count).ravel())) for one in clocks)  # fmt: skip
        step = float(np.abs(np.diff(first)).max(initial=0.0))
        if any(np.abs(other - first).max(initial=0.0) > step for other in others):
            raise SourceError(say("the receivers of {name} have different times", rows.name or str(rows.index)))
        return first

    return Axis(name="time", size=size, kind="time", values=values)


__all__ = ["with_cells"]

"""Arrays in the cells of FITS tables: images (NRH) or spectra (ORFEES), a row for each moment.

Dynamic spectra in one row, or beside their axes (e-Callisto).
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from hven.formats.media._product import ArrayPart, Axis, HeaderCard, TablePart
from hven.formats.media._spectral_axes import convert_to_wavelengths
from hven.formats.media._table_selection import create_time_converter
from hven.model.errors import SourceError, format_message

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from hven.formats.media._product import Part, Window
    from hven.model.table import Column

    Numbers = npt.NDArray[np.float64]
    Shapes = Mapping[str, tuple[int, ...]]

MIN_CELL_SIDE = 4  # numbers along a side of a cell
_NUMERIC_DATATYPES = {"float", "double", "short", "int", "unsignedByte"}
_TIME_PATTERN, _FREQUENCY_PATTERN = re.compile(r"(?i)time|seconds"), re.compile(r"(?i)freq")
_STOKES_PATTERN = re.compile(r"(?i)(.*stokes_?)([IQUV])(_?\D*)")
# cards that say how a table is built, and of axes that are others here
_STRUCTURAL_KEYWORDS = re.compile(
    r"T[A-Z]{3,4}\d+|TFIELDS|THEAP|EXTNAME|EXTVER|(CTYPE|CUNIT|CRVAL|CDELT|CROTA)\d+|CRPIX[3-9]"
)


class _CellColumn(NamedTuple):
    """A column with a number of cells' values, of which each row has as many."""

    table: TablePart
    column: Column

    def read_rows(self, start: int, stop: int) -> npt.NDArray[np.float64]:
        """Read some rows, one behind the other."""
        name = self.column.name
        if self.table.select_columns is None:
            narrow_table = self.table
        else:
            narrow_table = self.table.select_columns((name,))
        cells = pa.chunked_array(
            [batch.column(name) for batch in narrow_table.read_batches(start, stop - start)]
        ).combine_chunks()
        if pa.types.is_nested(cells.type):
            flat = cells.flatten()
        else:
            flat = cells
        return np.asarray(flat.cast(pa.float64()).to_numpy(zero_copy_only=False)).reshape(stop - start, -1)


class _CellGroup(NamedTuple):
    """Cells that stand one behind the other in a row: images, or the receivers of one polarization."""

    name: str
    columns: tuple[_CellColumn, ...]
    shape: tuple[int, ...]  # of a row


def add_cell_arrays(parts: Sequence[Part], cards: Sequence[HeaderCard]) -> tuple[Part, ...]:
    """Put before each part what it holds in cells.

    Arrays whose axes have times and frequencies, with indices of their own (`ArrayPart.source_part_index`).
    """
    tables = [table for table in parts if isinstance(table, TablePart)]
    if not tables or any(table.name.upper().startswith("OI_") for table in tables):
        return tuple(parts)
    extended_parts: list[Part] = []
    index = max(part.index for part in parts) + 1
    for part in parts:
        if isinstance(part, TablePart):
            views = _find_row_arrays(part, tables, cards)
        else:
            views = _find_image_view(part, tables)
        for view in views:
            extended_parts.append(replace(view, index=index))
            index += 1
        extended_parts.append(part)
    return tuple(extended_parts)


def _find_row_arrays(table: TablePart, tables: Sequence[TablePart], cards: Sequence[HeaderCard]) -> Iterator[ArrayPart]:
    shapes = _list_cell_shapes(table)
    clocks = [
        _CellColumn(table, column)
        for column in table.columns
        if _TIME_PATTERN.match(column.name) and column.type.is_numeric
    ]
    if table.row_count < 2 or not clocks:
        yield from _find_single_row_arrays(table, shapes, cards) if table.row_count == 1 else ()
        return
    array_columns = [column for column in table.columns if column.name in shapes]
    images = [
        _CellGroup(column.name, (_CellColumn(table, column),), shapes[column.name])
        for column in array_columns
        if len(shapes[column.name]) == 2 and min(shapes[column.name]) >= MIN_CELL_SIDE
    ]
    if images:
        sides = [Axis(name=name, size=size) for name, size in zip(("y", "x"), images[0].shape, strict=True)]
        time_axis = _create_time_axis(clocks[:1], table.row_count, cards)
        yield _create_array(images, (time_axis, *sides))
        return
    receivers = {column.name: _find_frequencies(column, shapes, tables) for column in array_columns}
    stems: dict[str, list[Column]] = {}
    for column in array_columns:
        stems.setdefault(re.sub(r"\d+$", "", column.name), []).append(column)
    spectra = [
        _CellGroup(
            stem,
            tuple(_CellColumn(table, column) for column in stem_columns),
            (sum(shapes[column.name][0] for column in stem_columns),),
        )
        for stem, stem_columns in stems.items()
        if all(receivers[column.name] is not None for column in stem_columns)
    ]
    if spectra:
        frequency_cells = [
            frequency_cell for cell in spectra[0].columns if (frequency_cell := receivers[cell.column.name]) is not None
        ]
        yield _create_array(
            spectra,
            (
                _create_time_axis(clocks, table.row_count, cards),
                _create_frequency_axis(frequency_cells, spectra[0].shape[0]),
            ),
        )


def _create_array(beams: Sequence[_CellGroup], axes: tuple[Axis, ...]) -> ArrayPart:
    """Make the array of the first; of several polarizations of it they are its first axis."""
    first_group = beams[0]
    stokes_matches = [_STOKES_PATTERN.fullmatch(group.name) for group in beams]
    states = {
        word[2].upper(): group
        for word, group in zip(stokes_matches, beams, strict=True)
        if word
        and stokes_matches[0]
        and group.shape == first_group.shape
        and (word[1], word[3]) == (stokes_matches[0][1], stokes_matches[0][3])
    }
    polarizations, name = (
        [states[word] for word in "IQUV" if word in states] or [first_group],
        first_group.name.removesuffix("_B"),
    )
    if len(polarizations) > 1:
        letters = np.array([word for word in "IQUV" if word in states])
        axes = (
            Axis(name="STOKES", size=len(polarizations), kind="polarization", read_values=partial(np.copy, letters)),
            *axes,
        )
        name = "STOKES"
    table = first_group.columns[0].table
    dtype = np.dtype(
        "f4" if all(cell.column.type.datatype == "float" for group in polarizations for cell in group.columns) else "f8"
    )

    def read_window(window: Window) -> npt.NDArray[np.float32 | np.float64]:
        if len(polarizations) > 1:
            planes, row_slice, *further_slices = window
        else:
            planes, row_slice, *further_slices = (slice(0, 1), *window)
        start, stop, _ = row_slice.indices(table.row_count)
        polarization_values = np.stack(
            [
                np.concatenate([cell.read_rows(start, stop) for cell in polarization.columns], 1)
                .astype(dtype)
                .reshape(stop - start, *polarization.shape)[(slice(None), *further_slices)]
                for polarization in polarizations[planes]
            ]
        )
        return polarization_values if len(polarizations) > 1 else polarization_values[0]

    cards = _drop_structural_cards(table.cards)
    return ArrayPart(
        index=0,
        name=name,
        axes=axes,
        dtype=dtype,
        read=read_window,
        unit=first_group.columns[0].column.unit,
        cards=cards,
        source_part_index=table.index,
    )


def _find_single_row_arrays(table: TablePart, shapes: Shapes, cards: Sequence[HeaderCard]) -> Iterator[ArrayPart]:
    """Find a cell of two dimensions whose times and frequencies are cells of one."""
    for column in table.columns:
        shape = shapes.get(column.name, ())
        axes = [
            _find_axis(table, shapes, words, size, cards)
            for words, size in zip((_TIME_PATTERN, _FREQUENCY_PATTERN), shape, strict=False)
        ]
        if len(shape) == 2 and None in axes:
            axes = [
                _find_axis(table, shapes, words, size, cards)
                for words, size in zip((_FREQUENCY_PATTERN, _TIME_PATTERN), shape, strict=True)
            ]
        known_axes = tuple(axis for axis in axes if axis is not None)
        if len(shape) == 2 and len(known_axes) == 2 and min(shape) >= MIN_CELL_SIDE:
            cell = _CellColumn(table, column)

            def read_window(window: Window, cell: _CellColumn = cell, shape: tuple[int, ...] = shape) -> Numbers:
                rows = cell.read_rows(0, 1)
                return rows.reshape(shape)[tuple(window)]

            dtype = np.dtype("f8")
            yield ArrayPart(
                index=0,
                name=column.name,
                axes=known_axes,
                dtype=dtype,
                read=read_window,
                unit=column.unit,
                cards=_drop_structural_cards(table.cards),
                source_part_index=table.index,
            )


def _find_image_view(image: ArrayPart, tables: Sequence[TablePart]) -> Iterator[ArrayPart]:
    """Take an image whose times and frequencies stand in a table of one row.

    What its header says of them is rounded, or wrong.
    """
    if len(image.axes) != 2 or image.role != "data":
        return
    for table in tables:
        if table.row_count == 1:
            shapes = _list_cell_shapes(table)
        else:
            shapes = {}
        axes = [
            _find_axis(table, shapes, words, axis.size, image.cards)
            for axis in image.axes
            for words in (_TIME_PATTERN, _FREQUENCY_PATTERN)
            if words.search(axis.name)
        ]
        known_axes = tuple(axis for axis in axes if axis is not None)
        if {axis.kind for axis in known_axes} == {"time", "spectral"}:
            cards = _drop_structural_cards(image.cards)
            yield replace(
                image,
                axes=known_axes,
                read_raw=None,
                apply_scaling=None,
                is_local_uncompressed=False,
                create_sky_mapping=None,
                cards=cards,
                source_part_index=image.index,
            )
            return


def _find_axis(
    table: TablePart, shapes: Shapes, name_pattern: re.Pattern[str], size: int, cards: Sequence[HeaderCard]
) -> Axis | None:
    """Find an axis among the cells of a row."""
    axis_column = next(
        (column for column in table.columns if name_pattern.match(column.name) and shapes.get(column.name) == (size,)),
        None,
    )
    if axis_column is None:
        return None
    cell = _CellColumn(table, axis_column)
    if name_pattern is _TIME_PATTERN:
        return _create_time_axis([cell], size, cards)
    return _create_frequency_axis([cell], size)


def _drop_structural_cards(cards: Sequence[HeaderCard]) -> tuple[HeaderCard, ...]:
    return tuple(card for card in cards if not _STRUCTURAL_KEYWORDS.fullmatch(card.keyword))


def _list_cell_shapes(table: TablePart) -> dict[str, tuple[int, ...]]:
    """List the shapes of cells with several numbers, in the order of C; FITS says dimensions beside the size."""
    tdim_values = {card.keyword: str(card.value) for card in table.cards if card.keyword.startswith("TDIM")}
    shapes = {}
    for number, column in enumerate(table.columns, 1):
        if (
            column.type.is_array
            and column.type.datatype in _NUMERIC_DATATYPES
            and "*" not in str(column.type.arraysize)
        ):
            sizes = re.findall(r"\d+", tdim_values.get(f"TDIM{number}", "")) or str(column.type.arraysize).split("x")
            shapes[column.name] = tuple(int(size) for size in reversed(sizes))
    return shapes


def _find_frequencies(column: Column, shapes: Shapes, tables: Sequence[TablePart]) -> _CellColumn | None:
    """Find the frequencies of a receiver: the column of a table of one row with the same number at its end."""
    end = re.search(r"\d*$", column.name)
    name_pattern = re.compile(rf"(?i)freq\D*{end[0] if end else ''}")
    for table in tables if len(shapes[column.name]) == 1 else ():
        for table_column in table.columns if table.row_count == 1 else ():
            if (
                name_pattern.fullmatch(table_column.name)
                and _list_cell_shapes(table).get(table_column.name) == shapes[column.name]
            ):
                return _CellColumn(table, table_column)
    return None


def _create_frequency_axis(receivers: Sequence[_CellColumn], size: int) -> Axis:
    """Make the axis of the channels of receivers, one behind the other."""

    def read_file_values() -> Numbers:
        return np.concatenate([receiver.read_rows(0, 1)[0] for receiver in receivers])

    def read_values() -> Numbers:
        return np.concatenate(
            [
                convert_to_wavelengths(receiver.read_rows(0, 1)[0], "FREQ", receiver.column.unit or "MHz")
                for receiver in receivers
            ]
        )

    unit = receivers[0].column.unit or "MHz"
    return Axis(
        name="frequency",
        size=size,
        kind="spectral",
        unit=unit,
        read_file_values=read_file_values,
        read_values=read_values,
    )


def _create_time_axis(clocks: Sequence[_CellColumn], size: int, cards: Sequence[HeaderCard]) -> Axis:
    """Make the axis of times; receivers that have their own must agree, but for the time of a sample."""
    table = clocks[0].table

    def read_values() -> Numbers:
        first_times, *other_times = (
            create_time_converter(clock.column, (*table.cards, *cards))(
                pa.array(clock.read_rows(0, table.row_count).ravel())
            )
            for clock in clocks
        )
        step = float(np.abs(np.diff(first_times)).max(initial=0.0))
        if any(np.abs(receiver_times - first_times).max(initial=0.0) > step for receiver_times in other_times):
            raise SourceError(
                format_message("the receivers of {name} have different times", table.name or str(table.index))
            )
        return first_times

    return Axis(name="time", size=size, kind="time", read_values=read_values)


__all__ = ["add_cell_arrays"]

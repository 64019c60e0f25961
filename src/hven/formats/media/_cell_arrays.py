"""Find arrays in the cells of FITS tables.

These are images (NRH) or spectra (ORFEES) with a row for each time, and dynamic spectra in one row, or beside their
axes (e-Callisto).
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
from hven.formats.media._table_times import create_time_converter
from hven.model.errors import SourceError, format_message

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from hven.formats.media._product import Part, Window
    from hven.model.table import Column

    Numbers = npt.NDArray[np.float64]
    Shapes = Mapping[str, tuple[int, ...]]

MIN_CELL_SIDE = 4  # numbers along each side of a cell
_NUMERIC_DATATYPES = {"float", "double", "short", "int", "unsignedByte"}
_TIME_PATTERN, _FREQUENCY_PATTERN = re.compile(r"(?i)time|seconds"), re.compile(r"(?i)freq")
_STOKES_PATTERN = re.compile(r"(?i)(.*stokes_?)([IQUV])(_?\D*)")
# cards about the structure of a table, and about axes that are others here
_STRUCTURAL_KEYWORDS = re.compile(
    r"T[A-Z]{3,4}\d+|TFIELDS|THEAP|EXTNAME|EXTVER|(CTYPE|CUNIT|CRVAL|CDELT|CROTA)\d+|CRPIX[3-9]"
)


class _FixedArrayColumn(NamedTuple):
    """A numeric column, each cell of which has the same number of values."""

    table: TablePart
    column: Column

    def read_rows(self, start: int, stop: int) -> npt.NDArray[np.float64]:
        """Read the values of some rows, shape (rows, values)."""
        name = self.column.name
        narrow_table = self.table
        if self.table.select_columns is not None:
            narrow_table = self.table.select_columns((name,))
        batches = narrow_table.read_batches(start, stop - start)
        cells = pa.chunked_array([batch.column(name) for batch in batches]).combine_chunks()
        if pa.types.is_nested(cells.type):
            cells = cells.flatten()
        numbers = cells.cast(pa.float64()).to_numpy(zero_copy_only=False)
        return np.asarray(numbers).reshape(stop - start, -1)


class _ArrayColumnGroup(NamedTuple):
    """Cells that follow one another in a row: an image, or the receivers of one polarization."""

    name: str
    columns: tuple[_FixedArrayColumn, ...]
    shape: tuple[int, ...]  # of a row


def add_cell_array_parts(parts: Sequence[Part], cards: Sequence[HeaderCard]) -> tuple[Part, ...]:
    """Add the arrays in the cells of each part before it.

    The axes of these arrays have times and frequencies, and the arrays have indices of their own
    (`ArrayPart.source_part_index`).
    """
    tables = [table for table in parts if isinstance(table, TablePart)]
    if not tables or any(table.name.upper().startswith("OI_") for table in tables):
        return tuple(parts)
    extended_parts: list[Part] = []
    index = max(part.index for part in parts) + 1
    for part in parts:
        if isinstance(part, TablePart):
            views = _find_arrays_in_table_cells(part, tables, cards)
        else:
            views = _find_image_with_table_axes(part, tables)
        for view in views:
            extended_parts.append(replace(view, index=index))
            index += 1
        extended_parts.append(part)
    return tuple(extended_parts)


def _find_arrays_in_table_cells(
    table: TablePart, tables: Sequence[TablePart], cards: Sequence[HeaderCard]
) -> Iterator[ArrayPart]:
    shapes = _list_cell_shapes(table)
    time_columns = [column for column in table.columns if _TIME_PATTERN.match(column.name)]
    clocks = [_FixedArrayColumn(table, column) for column in time_columns if column.type.is_numeric]
    if table.row_count < 2 or not clocks:
        if table.row_count == 1:
            yield from _find_single_row_arrays(table, shapes, cards)
        return
    array_columns = [column for column in table.columns if column.name in shapes]
    images = []
    for column in array_columns:
        shape = shapes[column.name]
        if len(shape) == 2 and min(shape) >= MIN_CELL_SIDE:
            images.append(_ArrayColumnGroup(column.name, (_FixedArrayColumn(table, column),), shape))
    if images:
        rows, columns = images[0].shape
        sides = [Axis(name="y", size=rows), Axis(name="x", size=columns)]
        time_axis = _create_time_axis(clocks[:1], table.row_count, cards)
        yield _create_array_part(images, (time_axis, *sides))
        return
    spectra, receivers = _group_spectrum_columns(table, array_columns, shapes, tables)
    if spectra:
        frequency_cells = [receivers[cell.column.name] for cell in spectra[0].columns]
        time_axis = _create_time_axis(clocks, table.row_count, cards)
        frequency_axis = _create_frequency_axis(frequency_cells, spectra[0].shape[0])
        yield _create_array_part(spectra, (time_axis, frequency_axis))


def _group_spectrum_columns(
    table: TablePart, array_columns: Sequence[Column], shapes: Shapes, tables: Sequence[TablePart]
) -> tuple[list[_ArrayColumnGroup], dict[str, _FixedArrayColumn]]:
    """Group columns that differ in the number at their end; return the groups and the frequencies of each column."""
    receivers: dict[str, _FixedArrayColumn] = {}
    stems: dict[str, list[Column]] = {}
    for column in array_columns:
        frequencies = _find_frequency_column(column, shapes, tables)
        if frequencies is not None:
            receivers[column.name] = frequencies
        stem = re.sub(r"\d+$", "", column.name)
        stems.setdefault(stem, []).append(column)
    spectra = []
    for stem, stem_columns in stems.items():
        if all(column.name in receivers for column in stem_columns):
            cells = tuple(_FixedArrayColumn(table, column) for column in stem_columns)
            channel_count = sum(shapes[column.name][0] for column in stem_columns)
            spectra.append(_ArrayColumnGroup(stem, cells, (channel_count,)))
    return spectra, receivers


def _create_array_part(polarization_groups: Sequence[_ArrayColumnGroup], axes: tuple[Axis, ...]) -> ArrayPart:
    """Create the array of the first group; if there are several polarizations of it, they are the first axis."""
    first_group = polarization_groups[0]
    states = _find_polarization_groups(polarization_groups)
    letters = [letter for letter in "IQUV" if letter in states]
    polarizations = [states[letter] for letter in letters] or [first_group]
    name = first_group.name.removesuffix("_B")
    if len(polarizations) > 1:
        read_letters = partial(np.copy, np.array(letters))
        stokes_axis = Axis(name="STOKES", size=len(letters), kind="polarization", read_values=read_letters)
        axes = (stokes_axis, *axes)
        name = "STOKES"
    table = first_group.columns[0].table
    datatypes = {cell.column.type.datatype for group in polarizations for cell in group.columns}
    dtype = np.dtype("f4" if datatypes == {"float"} else "f8")

    def read_window(window: Window) -> npt.NDArray[np.float32 | np.float64]:
        if len(polarizations) == 1:
            window = (slice(0, 1), *window)
        planes, row_slice, *further_slices = window
        start, stop, _ = row_slice.indices(table.row_count)
        values: list[npt.NDArray[np.float32 | np.float64]] = []
        for polarization in polarizations[planes]:
            cell_values = [cell.read_rows(start, stop) for cell in polarization.columns]
            rows = np.concatenate(cell_values, 1).astype(dtype)
            group_values = rows.reshape(stop - start, *polarization.shape)
            values.append(group_values[(slice(None), *further_slices)])
        if len(polarizations) == 1:
            return values[0]
        return np.stack(values)

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


def _find_polarization_groups(groups: Sequence[_ArrayColumnGroup]) -> dict[str, _ArrayColumnGroup]:
    """Find the groups that are polarizations of the first, by Stokes parameter."""
    first_match = _STOKES_PATTERN.fullmatch(groups[0].name)
    if first_match is None:
        return {}
    states = {}
    for group in groups:
        match = _STOKES_PATTERN.fullmatch(group.name)
        if match is None or group.shape != groups[0].shape:
            continue
        if (match[1], match[3]) == (first_match[1], first_match[3]):
            states[match[2].upper()] = group
    return states


def _find_single_row_arrays(table: TablePart, shapes: Shapes, cards: Sequence[HeaderCard]) -> Iterator[ArrayPart]:
    """Find cells of two dimensions whose times and frequencies are cells of one."""
    for column in table.columns:
        shape = shapes.get(column.name, ())
        axes: list[Axis | None] = []
        if len(shape) == 2:
            for patterns in ((_TIME_PATTERN, _FREQUENCY_PATTERN), (_FREQUENCY_PATTERN, _TIME_PATTERN)):
                sides = zip(patterns, shape, strict=True)
                axes = [
                    _find_time_or_frequency_axis(table, shapes, name_pattern, size, cards)
                    for name_pattern, size in sides
                ]
                if None not in axes:
                    break
        known_axes = tuple(axis for axis in axes if axis is not None)
        if len(shape) == 2 and len(known_axes) == 2 and min(shape) >= MIN_CELL_SIDE:
            cell = _FixedArrayColumn(table, column)

            def read_window(window: Window, cell: _FixedArrayColumn = cell, shape: tuple[int, ...] = shape) -> Numbers:
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


def _find_image_with_table_axes(image: ArrayPart, tables: Sequence[TablePart]) -> Iterator[ArrayPart]:
    """Find the times and frequencies of an image in a table of one row.

    What the header of the image says about them is rounded, or wrong.
    """
    if len(image.axes) != 2 or image.role != "data":
        return
    for table in tables:
        shapes: Shapes = {}
        if table.row_count == 1:
            shapes = _list_cell_shapes(table)
        known_axes = []
        for axis in image.axes:
            for name_pattern in (_TIME_PATTERN, _FREQUENCY_PATTERN):
                if not name_pattern.search(axis.name):
                    continue
                table_axis = _find_time_or_frequency_axis(table, shapes, name_pattern, axis.size, image.cards)
                if table_axis is not None:
                    known_axes.append(table_axis)
        if {axis.kind for axis in known_axes} == {"time", "spectral"}:
            cards = _drop_structural_cards(image.cards)
            yield replace(
                image,
                axes=tuple(known_axes),
                read_raw=None,
                apply_scaling=None,
                is_local_uncompressed=False,
                create_sky_mapping=None,
                cards=cards,
                source_part_index=image.index,
            )
            return


def _find_time_or_frequency_axis(
    table: TablePart, shapes: Shapes, name_pattern: re.Pattern[str], size: int, cards: Sequence[HeaderCard]
) -> Axis | None:
    """Find the values of an axis among the cells of a row."""
    for column in table.columns:
        if name_pattern.match(column.name) and shapes.get(column.name) == (size,):
            cell = _FixedArrayColumn(table, column)
            if name_pattern is _TIME_PATTERN:
                return _create_time_axis([cell], size, cards)
            return _create_frequency_axis([cell], size)
    return None


def _drop_structural_cards(cards: Sequence[HeaderCard]) -> tuple[HeaderCard, ...]:
    return tuple(card for card in cards if not _STRUCTURAL_KEYWORDS.fullmatch(card.keyword))


def _list_cell_shapes(table: TablePart) -> dict[str, tuple[int, ...]]:
    """List the shapes of cells with several numbers, slowest axis first; FITS states dimensions beside the size."""
    tdim_values = {card.keyword: str(card.value) for card in table.cards if card.keyword.startswith("TDIM")}
    shapes = {}
    for number, column in enumerate(table.columns, 1):
        is_numeric_array = column.type.is_array and column.type.datatype in _NUMERIC_DATATYPES
        arraysize = str(column.type.arraysize)
        if is_numeric_array and "*" not in arraysize:
            tdim = tdim_values.get(f"TDIM{number}", "")
            sizes = re.findall(r"\d+", tdim) or arraysize.split("x")
            shapes[column.name] = tuple(int(size) for size in reversed(sizes))
    return shapes


def _find_frequency_column(column: Column, shapes: Shapes, tables: Sequence[TablePart]) -> _FixedArrayColumn | None:
    """Find the frequencies of a receiver: the column of a table of one row with the same number at its end."""
    shape = shapes[column.name]
    if len(shape) != 1:
        return None
    number_match = re.search(r"\d*$", column.name)
    number = number_match[0] if number_match else ""
    name_pattern = re.compile(rf"(?i)freq\D*{number}")
    for table in tables:
        if table.row_count != 1:
            continue
        for table_column in table.columns:
            if not name_pattern.fullmatch(table_column.name):
                continue
            if _list_cell_shapes(table).get(table_column.name) == shape:
                return _FixedArrayColumn(table, table_column)
    return None


def _create_frequency_axis(receivers: Sequence[_FixedArrayColumn], size: int) -> Axis:
    """Create the axis of the channels of receivers, one receiver after the other."""

    def read_file_values() -> Numbers:
        frequencies = [receiver.read_rows(0, 1)[0] for receiver in receivers]
        return np.concatenate(frequencies)

    def read_values() -> Numbers:
        wavelengths = []
        for receiver in receivers:
            frequencies = receiver.read_rows(0, 1)[0]
            wavelengths.append(convert_to_wavelengths(frequencies, "FREQ", receiver.column.unit or "MHz"))
        return np.concatenate(wavelengths)

    unit = receivers[0].column.unit or "MHz"
    return Axis(
        name="frequency",
        size=size,
        kind="spectral",
        unit=unit,
        read_file_values=read_file_values,
        read_values=read_values,
    )


def _create_time_axis(clocks: Sequence[_FixedArrayColumn], size: int, cards: Sequence[HeaderCard]) -> Axis:
    """Create the axis of times; those of several receivers must agree to within the time of a sample."""
    table = clocks[0].table

    def read_values() -> Numbers:
        times_by_receiver = []
        for clock in clocks:
            convert_times = create_time_converter(clock.column, (*table.cards, *cards))
            clock_values = clock.read_rows(0, table.row_count).ravel()
            times_by_receiver.append(convert_times(pa.array(clock_values)))
        first_times, *other_times = times_by_receiver
        steps = np.abs(np.diff(first_times))
        sample_time = float(steps.max(initial=0.0))
        for receiver_times in other_times:
            if np.abs(receiver_times - first_times).max(initial=0.0) > sample_time:
                table_name = table.name or str(table.index)
                raise SourceError(format_message("the receivers of {name} recorded at different times", table_name))
        return first_times

    return Axis(name="time", size=size, kind="time", read_values=read_values)

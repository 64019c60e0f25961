"""Tables of products: written as FITS with what was said of them, and cut by times and wavelengths."""

from __future__ import annotations

import re
import tempfile
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.formats import ResultStatus, TableMetadata, load_format
from hven.formats.media._fits_cards import convert_to_fits_cards
from hven.formats.media._product import StoredHdu, TablePart
from hven.formats.media._spectral_axes import (
    UNIX_EPOCH_MJD,
    convert_to_mjd,
    convert_to_wavelengths,
    find_observation_start,
)
from hven.model.errors import ParamError, SourceError, TooLargeError, format_message
from hven.model.types import Type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from hven.formats.media._pixel_windows import Interval, Selection
    from hven.formats.media._product import HeaderCard
    from hven.model.table import Column

    Values = Callable[[pa.Array], npt.NDArray[np.float64]]

MAX_SPOOL_MEMORY_BYTES = 16 << 20  # bytes of a table that is written; what is more goes to the disk
MAX_SCANNED_VALUES = 200_000  # values of a table that are looked at to tell between what it can be cut
_TIME_COLUMN_PATTERN = re.compile(
    r"(?i)(mjd|jd|time|t|tai|utc?|epoch|date.?obs|datetime|time_(obs|utc|mjd|b\d)|.*_(mjd|jd)|timestamp)"
)
_SPECTRAL_COLUMN_PATTERN = re.compile(
    r"(?i)(wave|wavelength|lambda|lam|freq|frequency|energy|eff_wave|wavenumber|wl|wlen|spectral_axis)s?"
)
_REFERENCE_CARD_OFFSETS = {"MJD": 0.0, "JD": -2_400_000.5, "BJD": -2_400_000.5}  # of cards {..}REFI, {..}REFF


class _SelfClosingSpool(tempfile.SpooledTemporaryFile[bytes]):
    """Closed with its last chunk, or with what holds it: a reader may leave before the first."""

    def __del__(self) -> None:
        self.close()


def write_table_hdu(table: TablePart, history: Sequence[str] = (), byte_limit: int | None = None) -> StoredHdu:
    """Write a table as an HDU, with its cards.

    Parameters
    ----------
    table
        A table.
    history
        Lines for the header.
    byte_limit
        Bytes at most.

    Returns
    -------
    hdu
        Made already: how long it is is known at its end alone.

    Raises
    ------
    TooLargeError
        It is more than `byte_limit`.
    """
    from astropy.io import fits  # noqa: PLC0415  (a second to load, asked by few)

    spool = _SelfClosingSpool(max_size=MAX_SPOOL_MEMORY_BYTES)
    metadata = TableMetadata(columns=table.columns, name=table.name or None)
    stream = load_format("fits").write(metadata, table.read_batches(0, table.row_count), ResultStatus, {})
    next(stream)  # the first HDU, without data
    # the name of another HDU may be said by a card of the table's own
    header = fits.Header.fromstring(next(stream).decode("ascii"))
    time_keywords = {"TIMESYS", "MJDREF", "MJDREFI", "MJDREFF", "TIMEUNIT"}
    for keyword, value, comment in convert_to_fits_cards(
        card for card in table.cards if card.keyword in time_keywords or not _is_structural_keyword(card.keyword)
    ):
        if keyword in {"COMMENT", "HISTORY"} or keyword.removeprefix("HIERARCH ") not in header:
            header.append((keyword, value, comment), end=True)
    for line in history:
        header.add_history(line)
    spool.write(header.tostring().encode("ascii"))
    for chunk in stream:
        spool.write(chunk)
        if byte_limit is not None and spool.tell() > byte_limit:
            raise TooLargeError(
                format_message("the table has more than {most} MB", byte_limit // 10**6),
                remedy=format_message("ask for less of it"),
            )
    size = spool.tell()

    def read_chunks() -> Iterator[bytes]:
        with spool:
            spool.seek(0)
            while chunk := spool.read(1 << 20):
                yield chunk

    return StoredHdu(size=size, read_chunks=read_chunks)


def _is_structural_keyword(keyword: str) -> bool:
    return (
        re.fullmatch(
            r"T[A-Z]{3,4}\d+|TFIELDS|THEAP|NAXIS\d*|XTENSION|BITPIX|PCOUNT|GCOUNT|CHECKSUM|DATASUM|EXTNAME|SIMPLE|EXTEND|END",
            keyword,
        )
        is not None
    )


def select_rows(table: TablePart, selection: Selection, cards: Sequence[HeaderCard] = ()) -> TablePart | None:
    """Take the rows of a table that lie in intervals; of a spectrum that is one row the elements of its arrays.

    Parameters
    ----------
    table
        A table.
    selection
        BAND and TIME.
    cards
        What is said of the file as a whole.

    Returns
    -------
    rows
        None: none does.

    Raises
    ------
    ParamError
        It has no such column, or something else is asked for.
    """
    if (
        selection.shape is not None
        or selection.pixels
        or selection.polarizations
        or selection.longitude
        or selection.latitude
    ):
        raise ParamError(
            format_message("{name} is a table: BAND and TIME cut it", table.name or str(table.index)), name="POS"
        )
    for name, interval, find_column in (
        ("BAND", selection.band, _find_spectral_column),
        ("TIME", selection.time, partial(_find_time_column, cards=cards)),
    ):
        if interval is None:
            continue
        column, values = find_column(table, name)
        low, high = (
            end + side * 4.0 * np.spacing(abs(end)) if np.isfinite(end) else end
            for end, side in zip(interval, (-1, 1), strict=True)
        )
        selected_table = (_select_elements if column.type.is_array else _select_matching_rows)(
            table, column, values, (low, high)
        )  # 3 nm are 3e-9 m, but for rounding
        if selected_table is None:
            return None
        table = selected_table
    return table


def list_cut_params(table: TablePart, cards: Sequence[HeaderCard] = ()) -> tuple[str, ...]:
    """Tell by which of BAND and TIME a table can be cut, by its columns alone.

    Parameters
    ----------
    table
        A table.
    cards
        What is said of the file as a whole.

    Returns
    -------
    names
        None, one or both.
    """
    param_names = []
    for name, find_column in (("BAND", _find_spectral_column), ("TIME", partial(_find_time_column, cards=cards))):
        try:
            column, _ = find_column(table, name)
        except ParamError:
            continue
        if table.row_count == 1 or not column.type.is_array:
            param_names.append(name)
    return tuple(param_names)


def find_bounds(table: TablePart, cards: Sequence[HeaderCard] = ()) -> dict[str, tuple[float, float] | None]:
    """Find between what a table can be cut.

    Parameters
    ----------
    table
        A table.
    cards
        What is said of the file as a whole.

    Returns
    -------
    bounds
        By `list_cut_params`: m, or days (MJD); None where nobody looks for them, in a table of more than
        `MAX_SCANNED_VALUES` values, or where it has none.
    """
    bounds_by_name: dict[str, tuple[float, float] | None] = {}
    for name in list_cut_params(table, cards):
        if name == "BAND":
            column, values = _find_spectral_column(table, name)
        else:
            column, values = _find_time_column(table, name, cards)
        if table.select_columns is None:
            scanned_table = table
        else:
            scanned_table = table.select_columns((column.name,))
        bounds_by_name[name] = None
        if table.row_count * len(scanned_table.columns) > MAX_SCANNED_VALUES:
            continue
        low = np.inf
        high = -np.inf
        for batch in scanned_table.read_batches(0, table.row_count):
            cells = batch.column(column.name)
            finite_values = values(cells.flatten() if column.type.is_array else cells)
            finite_values = finite_values[np.isfinite(finite_values)]
            low = min(low, finite_values.min(initial=low))
            high = max(high, finite_values.max(initial=high))
        if low <= high:
            bounds_by_name[name] = float(low), float(high)
    return bounds_by_name


def _select_matching_rows(table: TablePart, column: Column, values: Values, interval: Interval) -> TablePart | None:
    """Keep rows whose value lies in an interval; they are looked for once, and read again when they are written."""
    masks: list[npt.NDArray[np.bool_]] = []
    for batch in table.read_batches(0, table.row_count):
        column_values = values(batch.column(batch.schema.get_field_index(column.name)))
        with np.errstate(invalid="ignore"):
            masks.append((column_values >= interval[0]) & (column_values <= interval[1]))
    if masks:
        mask = np.concatenate(masks)
    else:
        mask = np.zeros(0, np.bool_)
    matching_rows = mask.nonzero()[0]
    if not len(matching_rows):
        return None
    read_all_batches, first, last = table.read_batches, int(matching_rows[0]), int(matching_rows[-1]) + 1
    numbers = np.concatenate([[0], np.cumsum(mask)])

    def read_batches(start: int, row_limit: int) -> Iterator[pa.RecordBatch]:
        row = first
        for batch in read_all_batches(first, last - first):
            row_mask = mask[row : row + batch.num_rows].copy()
            row_ranks = numbers[row : row + batch.num_rows]
            row_mask &= (row_ranks >= start) & (row_ranks < start + row_limit)
            row += batch.num_rows
            if row_mask.any():
                yield batch if row_mask.all() else batch.filter(pa.array(row_mask))

    row_count = int(mask.sum())
    return replace(table, row_count=row_count, read_batches=read_batches, copy_fits_hdu=None)


def _select_elements(table: TablePart, column: Column, values: Values, interval: Interval) -> TablePart | None:
    """Keep elements of arrays: of all that are as long as the column that is asked for, between the first and the last that it has within."""
    if table.row_count != 1:
        raise ParamError(
            format_message("each row of {name} has its own {column}", table.name or str(table.index), column.name),
            name="BAND",
        )
    (batch,) = table.read_batches(0, 1)
    column_values = values(batch.column(column.name).flatten())
    matching_elements = ((column_values >= interval[0]) & (column_values <= interval[1])).nonzero()[0]
    if not len(matching_elements):
        return None
    first = int(matching_elements[0])
    last = int(matching_elements[-1]) + 1
    cut_columns = []
    arrays = []
    for column_item in table.columns:
        array = batch.column(column_item.name)
        if column_item.type.is_array and len(array.flatten()) == len(column_values):
            column_item = column_item.copy_with(  # noqa: PLW2901
                type=Type(column_item.type.datatype, str(last - first), column_item.type.xtype)
            )
            inner = array.flatten()[first:last]
            array = pa.FixedSizeListArray.from_arrays(inner, last - first).cast(column_item.arrow_field.type)
        cut_columns.append(column_item)
        arrays.append(array)
    schema = pa.schema([column_item.arrow_field for column_item in cut_columns])
    cut_batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
    return replace(
        table,
        columns=tuple(cut_columns),
        read_batches=lambda start, row_limit: iter([cut_batch.slice(start, row_limit)]),
        copy_fits_hdu=None,
    )


def _find_spectral_column(table: TablePart, name: str) -> tuple[Column, Values]:
    def is_numeric_column(column: Column) -> bool:
        kind = column.type
        return (kind.is_numeric or kind.is_array) and kind.datatype not in {"char", "boolean"}

    candidates = [
        candidate
        for candidate in table.columns
        if is_numeric_column(candidate)
        and (candidate.ucd or "").lower().startswith("em.")
        and not (candidate.ucd or "").lower().startswith(("em.line", "em.bin"))
    ]
    candidates += [
        candidate
        for candidate in table.columns
        if is_numeric_column(candidate) and _SPECTRAL_COLUMN_PATTERN.fullmatch(candidate.name)
    ]
    if not candidates:
        raise ParamError(
            format_message("{name} cannot cut it: no column says wavelengths", name),
            name=name,
            remedy=format_message("leave it out"),
        )
    column = candidates[0]
    quantity = {"f": "FREQ", "e": "ENER"}.get(column.name.lower()[:1], "WAVE")
    return column, lambda array: convert_to_wavelengths(_to_floats(array), quantity, column.unit or "")


def _find_time_column(table: TablePart, name: str, cards: Sequence[HeaderCard]) -> tuple[Column, Values]:
    """Find the column of times, and what makes MJD of it."""
    candidates = [
        candidate
        for candidate in table.columns
        if (candidate.ucd or "").lower().startswith(("time.epoch", "time.start")) or candidate.type.is_timestamp
    ]
    candidates += [
        candidate
        for candidate in table.columns
        if _TIME_COLUMN_PATTERN.fullmatch(candidate.name) and (table.row_count == 1 or not candidate.type.is_array)
    ]
    for column in candidates:
        try:
            time_converter = create_time_converter(column, (*table.cards, *cards))
            return column, time_converter
        except SourceError:
            continue
    raise ParamError(
        format_message("{name} cannot cut it: no column says times", name),
        name=name,
        remedy=format_message("leave it out"),
    )


def create_time_converter(column: Column, cards: Sequence[HeaderCard]) -> Values:
    """Make what turns a column of times into MJD.

    Parameters
    ----------
    column
        Of texts, timestamps, or numbers.
    cards
        What is said of its zero; of two of a keyword the first.

    Returns
    -------
    turn
        Makes MJD of its values.

    Raises
    ------
    SourceError
        The unit is none of time, or nothing says since when.
    """
    card_values: dict[str, Any] = {card.keyword: card.value for card in reversed(cards)}
    unit, column_name = (column.unit or "").strip().lower(), column.name.lower()
    if column.type.is_timestamp or column.type.is_string:
        return _convert_dates
    shift = next(
        (
            float(card_values[f"{key}REFI"]) + float(card_values.get(f"{key}REFF") or 0.0) + zero
            for key, zero in _REFERENCE_CARD_OFFSETS.items()
            if isinstance(card_values.get(f"{key}REFI"), int | float)
        ),
        None,
    )
    if column.epoch is not None or "jd" in column_name:
        if column.epoch is not None:
            offset_days = -2_400_000.5 + column.epoch
        elif "mjd" in column_name:
            offset_days = 0.0
        else:
            offset_days = -2_400_000.5
        return lambda array: _to_floats(array) + offset_days
    if shift is not None:
        if re.search(r"\b(d|days?)\b", unit or str(card_values.get("TIMEUNIT", ""))):
            scale = 1.0
        else:
            scale = 1.0 / 86_400.0
        return lambda array: _to_floats(array) * scale + shift
    start_mjd = find_observation_start(card_values)
    if start_mjd is not None and {"MJDREF", "JDREF"}.isdisjoint(card_values):

        def convert_since_start(array: pa.Array) -> npt.NDArray[np.float64]:
            # milliseconds are those of the day, as SolarSoft, NRH and ORFEES have them, who need not say so
            values = _to_floats(array)
            is_milliseconds = (
                not unit and column.type.datatype == "int" and bool(np.nanmax(values, initial=0.0) > 2 * 86_400)
            )
            return (
                values / 86_400e3 + np.floor(start_mjd)
                if unit == "ms" or is_milliseconds
                else convert_to_mjd(values, unit, card_values)
            )

        convert_to_mjd(np.zeros(1), unit, card_values)
        return convert_since_start
    convert_to_mjd(np.zeros(1), unit, card_values)
    return lambda array: convert_to_mjd(_to_floats(array), unit, card_values)


def _to_floats(array: pa.Array) -> npt.NDArray[np.float64]:
    return np.asarray(array.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)


def _convert_dates(array: pa.Array) -> npt.NDArray[np.float64]:
    if pa.types.is_string(array.type):
        microseconds = np.full(len(array), np.nan)
        for row, text in enumerate(array.to_pylist()):
            try:
                microseconds[row] = np.datetime64(str(text).strip().rstrip("Z"), "us").astype(np.int64)
            except ValueError:
                continue
    else:
        microseconds = _to_floats(array.cast(pa.timestamp("us")).cast(pa.int64()))
    return microseconds / 86_400e6 + UNIX_EPOCH_MJD


__all__ = ["create_time_converter", "find_bounds", "list_cut_params", "select_rows", "write_table_hdu"]

"""Write tables of products as FITS with their cards, and cut them by times and wavelengths."""

from __future__ import annotations

import re
import tempfile
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hven.formats import ResultStatus, TableMetadata, load_format
from hven.formats.media import TablePart, convert_to_wavelengths
from hven.formats.media.api import StoredHdu, create_time_converter, to_floats
from hven.model.errors import ParamError, SourceError, TooLargeError, format_message
from hven.model.types import ColumnType
from hven.plugins.cutouts.fits_header_cards import convert_to_fits_cards

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from hven.formats.media import HeaderCard
    from hven.model.table import Column
    from hven.plugins.cutouts.pixel_windows import CutoutSelection, Interval

    Values = Callable[[pa.Array], npt.NDArray[np.float64]]

MAX_SPOOL_MEMORY_BYTES = 16 << 20  # of a table that is written; more goes to the disk
MAX_SCANNED_VALUES = 200_000  # values of a table that are read to find its bounds
_TIME_COLUMN_PATTERN = re.compile(
    r"(?i)(mjd|jd|time|t|tai|utc?|epoch|date.?obs|datetime|time_(obs|utc|mjd|b\d)|.*_(mjd|jd)|timestamp)"
)
_SPECTRAL_COLUMN_PATTERN = re.compile(
    r"(?i)(wave|wavelength|lambda|lam|freq|frequency|energy|eff_wave|wavenumber|wl|wlen|spectral_axis)s?"
)
_TIME_KEYWORDS = {"TIMESYS", "MJDREF", "MJDREFI", "MJDREFF", "TIMEUNIT"}
_STRUCTURAL_KEYWORDS = re.compile(
    r"T[A-Z]{3,4}\d+|TFIELDS|THEAP|NAXIS\d*|XTENSION|BITPIX|PCOUNT|GCOUNT"
    r"|CHECKSUM|DATASUM|EXTNAME|SIMPLE|EXTEND|END"
)


class _SelfClosingSpool(tempfile.SpooledTemporaryFile[bytes]):
    """A spool that is closed with its last chunk or with its holder, for a client may leave before the first chunk."""

    def __del__(self) -> None:
        self.close()


def write_table_hdu(table: TablePart, history: Sequence[str] = (), byte_limit: int | None = None) -> StoredHdu:
    """Write a table as an HDU, with its cards.

    Parameters
    ----------
    table
        Table to write.
    history
        Lines for the header.
    byte_limit
        Maximum size in bytes.

    Returns
    -------
    hdu
        The complete HDU, for its size is only known at its end.

    Raises
    ------
    TooLargeError
        The HDU has more than `byte_limit` bytes.
    """
    from astropy.io import fits  # noqa: PLC0415  (takes a second to load, and few requests need it)

    spool = _SelfClosingSpool(max_size=MAX_SPOOL_MEMORY_BYTES)
    metadata = TableMetadata(columns=table.columns, name=table.name or None)
    batches = table.read_batches(0, table.row_count)
    stream = load_format("fits").write(metadata, batches, ResultStatus, {})
    next(stream)  # the first HDU, without data
    # a card of the table may state the name of another HDU
    header = fits.Header.fromstring(next(stream).decode("ascii"))
    cards = [card for card in table.cards if not _is_structural_keyword(card.keyword)]
    for keyword, value, comment in convert_to_fits_cards(cards):
        if keyword in {"COMMENT", "HISTORY"} or keyword.removeprefix("HIERARCH ") not in header:
            header.append((keyword, value, comment), end=True)
    for line in history:
        header.add_history(line)
    spool.write(header.tostring().encode("ascii"))
    for chunk in stream:
        spool.write(chunk)
        if byte_limit is not None and spool.tell() > byte_limit:
            raise TooLargeError(
                format_message("the table is larger than {most} MB", byte_limit // 10**6),
                remedy=format_message("request a smaller part"),
            )
    size = spool.tell()

    def read_chunks() -> Iterator[bytes]:
        with spool:
            spool.seek(0)
            while chunk := spool.read(1 << 20):
                yield chunk

    return StoredHdu(size=size, read_chunks=read_chunks)


def _is_structural_keyword(keyword: str) -> bool:
    return keyword not in _TIME_KEYWORDS and _STRUCTURAL_KEYWORDS.fullmatch(keyword) is not None


def select_rows_or_elements(
    table: TablePart, selection: CutoutSelection, cards: Sequence[HeaderCard] = ()
) -> TablePart | None:
    """Select the rows of a table that lie in intervals; of a spectrum in one row select the elements of its arrays.

    Parameters
    ----------
    table
        Table to cut.
    selection
        BAND and TIME.
    cards
        Header of the file as a whole.

    Returns
    -------
    rows
        Table with the selected rows; None if there are none.

    Raises
    ------
    ParamError
        The table has no such column, or the selection has other conditions.
    """
    has_sky_condition = selection.shape is not None or selection.longitude or selection.latitude
    if has_sky_condition or selection.pixels or selection.polarizations:
        table_name = table.name or str(table.index)
        raise ParamError(
            format_message("{name} is a table, which can be cut only by BAND and TIME", table_name), name="POS"
        )
    for name, interval, find_column in (
        ("BAND", selection.band, _find_spectral_column_and_converter),
        ("TIME", selection.time, partial(_find_time_column_and_converter, cards=cards)),
    ):
        if interval is None:
            continue
        column, values = find_column(table, name)
        wider_interval = _widen_by_rounding_error(interval)
        if column.type.is_array:
            selected_table = _select_array_elements(table, column, values, wider_interval)
        else:
            selected_table = _select_matching_rows(table, column, values, wider_interval)
        if selected_table is None:
            return None
        table = selected_table
    return table


def _widen_by_rounding_error(interval: Interval) -> Interval:
    """Widen an interval by the rounding of its ends: 3 nm are not exactly 3e-9 m."""
    low, high = interval
    if np.isfinite(low):
        low = low - 4.0 * np.spacing(abs(low))
    if np.isfinite(high):
        high = high + 4.0 * np.spacing(abs(high))
    return low, high


def list_cut_params(table: TablePart, cards: Sequence[HeaderCard] = ()) -> tuple[str, ...]:
    """List which of BAND and TIME can cut a table, judging by its columns alone.

    Parameters
    ----------
    table
        Table to cut.
    cards
        Header of the file as a whole.

    Returns
    -------
    names
        None, one or both.
    """
    param_names = []
    for name, find_column in (
        ("BAND", _find_spectral_column_and_converter),
        ("TIME", partial(_find_time_column_and_converter, cards=cards)),
    ):
        try:
            column, _ = find_column(table, name)
        except ParamError:
            continue
        if table.row_count == 1 or not column.type.is_array:
            param_names.append(name)
    return tuple(param_names)


def find_cut_bounds(table: TablePart, cards: Sequence[HeaderCard] = ()) -> dict[str, tuple[float, float] | None]:
    """Find the bounds between which a table can be cut.

    Parameters
    ----------
    table
        Table to cut.
    cards
        Header of the file as a whole.

    Returns
    -------
    bounds
        Bounds for the names of `list_cut_params`, in m, or in days (MJD). None for a table of more than
        `MAX_SCANNED_VALUES` values, which is not read, and for one without values.
    """
    bounds_by_name: dict[str, tuple[float, float] | None] = {}
    for name in list_cut_params(table, cards):
        if name == "BAND":
            column, values = _find_spectral_column_and_converter(table, name)
        else:
            column, values = _find_time_column_and_converter(table, name, cards)
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
            if column.type.is_array:
                cells = cells.flatten()
            finite_values = values(cells)
            finite_values = finite_values[np.isfinite(finite_values)]
            low = min(low, finite_values.min(initial=low))
            high = max(high, finite_values.max(initial=high))
        if low <= high:
            bounds_by_name[name] = float(low), float(high)
    return bounds_by_name


def _select_matching_rows(table: TablePart, column: Column, values: Values, interval: Interval) -> TablePart | None:
    """Keep the rows whose value lies in an interval; they are searched once, and read again when they are written."""
    masks: list[npt.NDArray[np.bool_]] = []
    for batch in table.read_batches(0, table.row_count):
        column_number = batch.schema.get_field_index(column.name)
        column_values = values(batch.column(column_number))
        with np.errstate(invalid="ignore"):
            masks.append((column_values >= interval[0]) & (column_values <= interval[1]))
    if masks:
        mask = np.concatenate(masks)
    else:
        mask = np.zeros(0, np.bool_)
    matching_rows = mask.nonzero()[0]
    if not len(matching_rows):
        return None
    read_all_batches = table.read_batches
    first = int(matching_rows[0])
    last = int(matching_rows[-1]) + 1
    numbers = np.concatenate([[0], np.cumsum(mask)])

    def read_batches(start: int, row_limit: int) -> Iterator[pa.RecordBatch]:
        row = first
        for batch in read_all_batches(first, last - first):
            row_mask = mask[row : row + batch.num_rows].copy()
            row_ranks = numbers[row : row + batch.num_rows]
            row_mask &= (row_ranks >= start) & (row_ranks < start + row_limit)
            row += batch.num_rows
            if row_mask.any():
                if not row_mask.all():
                    batch = batch.filter(pa.array(row_mask))  # noqa: PLW2901  (its matching rows)
                yield batch

    row_count = int(mask.sum())
    return replace(table, row_count=row_count, read_batches=read_batches, copy_fits_hdu=None)


def _select_array_elements(table: TablePart, column: Column, values: Values, interval: Interval) -> TablePart | None:
    """Keep the elements of arrays from the first to the last that lies in an interval.

    All arrays as long as that of the column are cut.
    """
    if table.row_count != 1:
        table_name = table.name or str(table.index)
        raise ParamError(
            format_message(
                "BAND cannot cut {name}, because each row has its own array {column}", table_name, column.name
            ),
            name="BAND",
        )
    (batch,) = table.read_batches(0, 1)
    column_values = values(batch.column(column.name).flatten())
    is_inside = (column_values >= interval[0]) & (column_values <= interval[1])
    matching_elements = is_inside.nonzero()[0]
    if not len(matching_elements):
        return None
    first = int(matching_elements[0])
    last = int(matching_elements[-1]) + 1
    cut_columns = []
    arrays = []
    for column_item in table.columns:
        array = batch.column(column_item.name)
        if column_item.type.is_array and len(array.flatten()) == len(column_values):
            kind = ColumnType(column_item.type.datatype, str(last - first), column_item.type.xtype)
            column_item = column_item.copy_with(type=kind)  # noqa: PLW2901  (the same column, cut)
            inner = array.flatten()[first:last]
            cut_array = pa.FixedSizeListArray.from_arrays(inner, last - first)
            array = cut_array.cast(column_item.arrow_field.type)
        cut_columns.append(column_item)
        arrays.append(array)
    schema = pa.schema([column_item.arrow_field for column_item in cut_columns])
    cut_batch = pa.RecordBatch.from_arrays(arrays, schema=schema)

    def read_batches(start: int, row_limit: int) -> Iterator[pa.RecordBatch]:
        yield cut_batch.slice(start, row_limit)

    return replace(table, columns=tuple(cut_columns), read_batches=read_batches, copy_fits_hdu=None)


def _find_spectral_column_and_converter(table: TablePart, param_name: str) -> tuple[Column, Values]:
    def is_numeric_column(column: Column) -> bool:
        kind = column.type
        return (kind.is_numeric or kind.is_array) and kind.datatype not in {"char", "boolean"}

    numeric_columns = [candidate for candidate in table.columns if is_numeric_column(candidate)]
    candidates = []
    for candidate in numeric_columns:
        ucd = (candidate.ucd or "").lower()
        if ucd.startswith("em.") and not ucd.startswith(("em.line", "em.bin")):
            candidates.append(candidate)
    candidates += [candidate for candidate in numeric_columns if _SPECTRAL_COLUMN_PATTERN.fullmatch(candidate.name)]
    if not candidates:
        raise ParamError(
            format_message("{name} cannot cut the table: no column contains wavelengths", param_name),
            name=param_name,
            remedy=format_message("leave out {name}", param_name),
        )
    column = candidates[0]
    first_letter = column.name.lower()[:1]
    quantity = {"f": "FREQ", "e": "ENER"}.get(first_letter, "WAVE")
    return column, lambda array: convert_to_wavelengths(to_floats(array), quantity, column.unit or "")


def _find_time_column_and_converter(
    table: TablePart, param_name: str, cards: Sequence[HeaderCard]
) -> tuple[Column, Values]:
    """Find the column of times, and the function that converts it to MJD."""
    candidates = []
    for candidate in table.columns:
        ucd = (candidate.ucd or "").lower()
        if ucd.startswith(("time.epoch", "time.start")) or candidate.type.is_timestamp:
            candidates.append(candidate)
    for candidate in table.columns:
        may_be_time = table.row_count == 1 or not candidate.type.is_array
        if may_be_time and _TIME_COLUMN_PATTERN.fullmatch(candidate.name):
            candidates.append(candidate)
    for column in candidates:
        with suppress(SourceError):
            return column, create_time_converter(column, (*table.cards, *cards))
    raise ParamError(
        format_message("{name} cannot cut the table: no column contains times", param_name),
        name=param_name,
        remedy=format_message("leave out {name}", param_name),
    )

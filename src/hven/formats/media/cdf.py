"""CDF by ISTP's conventions: variables over one epoch as a table, those over an epoch and further axes as arrays, too.

Cdflib reads.
"""

from __future__ import annotations

import math
import threading
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.formats.media import MAX_PARTS, ArrayPart, Axis, HeaderCard, Medium, Product, TablePart
from hven.formats.media import _istp as istp
from hven.formats.media._compressed_cdf import UNCOMPRESSED_MAGIC, unpack_cdf
from hven.formats.media._product import MISSING_INSTANT, ProductVariable
from hven.formats.media._stored_arrays import MAX_UNPACKED_BYTES, convert_library_errors, copy_to_disk
from hven.model import plugins
from hven.model.errors import SourceError, TooLargeError, format_message
from hven.model.table import MJD_EPOCH, AxisMetadata, Column, SampleMetadata
from hven.model.types import Type

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from typing import BinaryIO

    import numpy.typing as npt

    from hven.formats.media import Part
    from hven.formats.media._product import Instants
    from hven.formats.media._remote_files import Place

MAX_CELL_BYTES = 1 << 16  # bytes of a cell of a table; what has more is an array alone
MAX_BATCH_RECORDS = 1 << 17  # records of a batch
MAX_DIMENSIONS = 100
MAX_READS = 2_000_000  # a second or two
MAX_CACHED_BLOCK_BYTES = 64 << 20  # bytes of unpacked blocks
MAX_COMPRESSION_RATIO = 1100  # how much zlib can pack
TT2000_EPOCH_TAI_NANOSECONDS = (
    43_200_000_000_000 - 32_184_000_000
)  # ns of TAI at TT2000's beginning, since 2000-01-01T00:00:00
FIRST_LEAP_SECOND_TT2000 = (
    -883_655_957_816_000_000
)  # TT2000 of 1972-01-01T00:00:00: leap seconds are whole ones from then on
_YEAR_2000 = np.datetime64("2000-01-01")
# when UTC was steered by its rate: from which day, ns that it was behind TAI at an MJD, that MJD, ns more a day (IERS,
# as in SOFA's dat)
_UTC_DRIFTS = (
    ("1960-01-01", 1_417_818_000, 37_300, 1_296_000),
    ("1961-01-01", 1_422_818_000, 37_300, 1_296_000),
    ("1961-08-01", 1_372_818_000, 37_300, 1_296_000),
    ("1962-01-01", 1_845_858_000, 37_665, 1_123_200),
    ("1963-11-01", 1_945_858_000, 37_665, 1_123_200),
    ("1964-01-01", 3_240_130_000, 38_761, 1_296_000),
    ("1964-04-01", 3_340_130_000, 38_761, 1_296_000),
    ("1964-09-01", 3_440_130_000, 38_761, 1_296_000),
    ("1965-01-01", 3_540_130_000, 38_761, 1_296_000),
    ("1965-03-01", 3_640_130_000, 38_761, 1_296_000),
    ("1965-07-01", 3_740_130_000, 38_761, 1_296_000),
    ("1965-09-01", 3_840_130_000, 38_761, 1_296_000),
    ("1966-01-01", 4_313_170_000, 39_126, 2_592_000),
    ("1968-02-01", 4_213_170_000, 39_126, 2_592_000),
)
YEAR_0_MJD = -678_941.0  # MJD of 0000-01-01
EPOCH_TYPE, EPOCH16_TYPE, TT2000_TYPE, TEXT_TYPES = 31, 32, 33, (51, 52)
_VOTABLE_TYPES = {
    1: "short",
    41: "short",
    2: "short",
    4: "int",
    8: "long",
    11: "unsignedByte",
    12: "int",
    14: "long",
    21: "float",
    44: "float",
    22: "double",
    45: "double",
}
_NUMERIC_TYPES = {*_VOTABLE_TYPES, EPOCH_TYPE, TT2000_TYPE}
_CDF_TYPE_NAMES = {
    1: "CDF_INT1",
    2: "CDF_INT2",
    4: "CDF_INT4",
    8: "CDF_INT8",
    11: "CDF_UINT1",
    12: "CDF_UINT2",
    14: "CDF_UINT4",
    21: "CDF_REAL4",
    22: "CDF_REAL8",
    31: "CDF_EPOCH",
    32: "CDF_EPOCH16",
    33: "CDF_TIME_TT2000",
    41: "CDF_BYTE",
    44: "CDF_FLOAT",
    45: "CDF_DOUBLE",
    51: "CDF_CHAR",
    52: "CDF_UCHAR",
}


class _ReadLimitedFile:
    """A file of which no more is read at once than a file has: records that point in a circle end so."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.remaining_reads = MAX_READS
        self.seek = file.seek
        self.tell = file.tell
        self.close = file.close

    def read(self, size: int = -1) -> bytes:
        self.remaining_reads -= 1
        if self.remaining_reads < 0:
            raise SourceError(format_message("its records lead in a circle"))
        return self.file.read(size)


class _CdfVariable:
    """A variable: what is known of it, and its records."""

    def __init__(self, file: Any, lock: threading.Lock, name: str, file_bytes: int, file_name: str) -> None:
        variable_info = file.varinq(name)
        self.file = file
        self.lock = lock
        self.name = name
        self.file_name = file_name
        self.attributes: dict[str, Any] = file.varattsget(name)
        self.cdf_type = int(variable_info.Data_Type)
        self.record_count = int(variable_info.Last_Rec) + 1
        vary = list(variable_info.Dim_Vary) or [True] * len(variable_info.Dim_Sizes)
        self.shape = tuple(
            int(size) for size, varies in zip(variable_info.Dim_Sizes, vary, strict=False) if varies and int(varies)
        )
        self.varies_by_record = bool(variable_info.Rec_Vary)
        self.is_time = self.cdf_type in {EPOCH_TYPE, EPOCH16_TYPE, TT2000_TYPE}
        self.has_truncated_times = False  # times that were read had digits below a nanosecond
        if self.is_time or self.cdf_type in TEXT_TYPES:
            self.item_bytes = 8
        else:
            self.item_bytes = np.dtype(_name_numpy_type(self.cdf_type)).itemsize
        if min(self.shape, default=1) < 1 or math.prod(self.shape) * self.item_bytes * max(1, self.record_count) > max(
            MAX_COMPRESSION_RATIO * file_bytes, 1 << 20
        ):
            raise SourceError(
                format_message(
                    "{name} has {there} bytes, and its label promises {end}",
                    file_name,
                    file_bytes,
                    math.prod(self.shape) * self.item_bytes * self.record_count,
                )
            )

    @property
    def unit(self) -> str | None:
        return istp.clean_unit(str(self.attributes.get("UNITS") or ""))

    @property
    def is_support(self) -> bool:
        """Whether it describes data, by its VAR_TYPE (ISTP Metadata Guidelines, variable attributes)."""
        return istp.is_support_variable(self.attributes)

    def read_records(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Read records as they are stored."""
        if stop <= start or self.record_count < 1:
            return np.empty(
                (0, *self.shape), _name_numpy_type(self.cdf_type) if self.cdf_type not in TEXT_TYPES else "U1"
            )
        with self.lock, convert_library_errors(self.file_name, "CDF"):
            self.file.counted.remaining_reads = MAX_READS
            stored_values = self.file.varget(self.name, startrec=start, endrec=stop - 1)
        if isinstance(stored_values, str):  # texts without dimensions come joined
            size = max(1, len(stored_values) // (stop - start))
            stored_values = [
                stored_values[start_position : start_position + size]
                for start_position in range(0, len(stored_values), size)
            ][: stop - start]
        values = np.asarray(stored_values)
        if self.varies_by_record:
            return values.reshape((stop - start, *self.shape))
        return np.broadcast_to(values.reshape(self.shape), (stop - start, *self.shape))

    def find_missing(self, values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        fill = self.attributes.get("FILLVAL")
        if fill is None or isinstance(fill, str) or np.size(fill) != 1 or values.dtype.kind not in "iuf":
            return np.zeros(values.shape, np.bool_)
        return np.asarray(values == np.asarray(fill).ravel()[0].astype(values.dtype))

    def read_values(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Read records as they are meant: times as MJD, what is filled as NaN."""
        stored = self.read_records(start, stop)
        if self.is_time:
            return convert_epochs_to_mjd(stored, self.cdf_type)
        is_missing = self.find_missing(stored)
        if not is_missing.any() and stored.dtype.kind != "f":
            if self.cdf_type not in TEXT_TYPES:
                return stored.astype(self.value_type, copy=False)
            return stored
        filled_values = stored.astype(self.value_type)
        filled_values[is_missing] = np.nan
        return filled_values

    def read_instants(self, start: int, stop: int) -> Instants:
        stored = self.read_records(start, stop)
        self.has_truncated_times = self.has_truncated_times or (
            self.cdf_type == EPOCH16_TYPE and bool((_split_epoch16(stored)[1] % 1000.0).any())
        )
        return convert_epochs_to_instants(stored, self.cdf_type)

    @property
    def value_type(self) -> np.dtype[Any]:
        """The type of `read_values`: the same for each window."""
        stored_type = np.dtype("f8" if self.is_time else _name_numpy_type(self.cdf_type)).newbyteorder("=")
        if stored_type.kind == "f" or self.attributes.get("FILLVAL") is None:
            return stored_type
        return np.dtype("f4" if stored_type.itemsize <= 2 else "f8")

    def create_column(self) -> Column:
        size = "x".join(str(length) for length in reversed(self.shape)) or None
        if self.is_time:
            kind = "double"
        elif self.cdf_type in TEXT_TYPES:
            kind = "char"
        else:
            kind = _VOTABLE_TYPES.get(self.cdf_type, "double")
        description_text = str(self.attributes.get("CATDESC") or self.attributes.get("FIELDNAM") or "").strip()
        if self.is_time:
            return Column(
                name=self.name,
                type=Type("double", size),
                unit="d",
                ucd="time.epoch",
                description="MJD, UTC",
                epoch=None if size else MJD_EPOCH,
            )
        return Column(
            name=self.name,
            type=Type(kind, "*" if kind == "char" else size),
            unit=self.unit,
            description=description_text or None,
            label=istp.read_axis_label(self.attributes, self.name),
        )

    def read_arrow(self, start: int, stop: int, arrow_type: pa.DataType) -> pa.Array:
        """Read records as cells, nulls where they are filled."""
        stored = self.read_records(start, stop)
        if self.cdf_type in TEXT_TYPES:
            return pa.array([str(text).rstrip(" \0") for text in stored.ravel()], pa.string())
        if self.is_time:
            values = convert_epochs_to_mjd(stored, self.cdf_type)
        else:
            values = stored
        flat_values = np.ascontiguousarray(values).ravel()
        if not self.is_time and self.attributes.get("FILLVAL") is not None:
            mask = self.find_missing(flat_values)
        else:
            mask = None
        if mask is None or not mask.any():
            mask = None
        may_hold_nan = flat_values.dtype.kind != "f" or (
            flat_values.size > 0 and bool(np.isnan(flat_values.min()))
        )  # else nothing is copied
        cells = pa.array(
            flat_values.astype(flat_values.dtype.newbyteorder("="), copy=False), mask=mask, from_pandas=may_hold_nan
        )
        if not self.shape:
            return cells.cast(arrow_type)
        return pa.FixedSizeListArray.from_arrays(cells.cast(arrow_type.value_type), arrow_type.list_size).cast(
            arrow_type
        )


def _name_numpy_type(cdf_type: int) -> str:
    return {
        1: "i1",
        41: "i1",
        2: "i2",
        4: "i4",
        8: "i8",
        33: "i8",
        11: "u1",
        12: "u2",
        14: "u4",
        21: "f4",
        44: "f4",
        32: "c16",
    }.get(cdf_type, "f8")


@cache
def _list_leap_seconds() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """List from when, in ns of TAI since 2000-01-01T00:00:00, how many ns UTC is behind it.

    By the table that astropy keeps.

    From 1960 to 1971 the seconds of UTC were longer than those of TAI. There is an entry for each day then: the library
    of CDF keeps the difference at noon for the whole day, which is up to 1.3 ms from that of the moment, and none
    before 1960.
    """
    import erfa  # noqa: PLC0415  (with astropy)

    table = erfa.leap_seconds.get()
    table = table[table["year"] >= 1972]
    days = np.array([np.datetime64(f"{row['year']}-{row['month']:02d}-01") for row in table]) - _YEAR_2000
    tai_minus_utc = np.round(table["tai_utc"] * 1e9).astype(np.int64)
    begins = np.array([np.datetime64(begin) for begin, *_ in _UTC_DRIFTS])
    drift_days = np.arange(begins[0], np.datetime64("1972-01-01"))
    _, base, reference, rate = np.array(_UTC_DRIFTS, object)[np.searchsorted(begins, drift_days, "right") - 1].T
    noon_days = (drift_days - np.datetime64("1858-11-17")).astype(np.int64) + 0.5
    drift_offsets = (base + (noon_days - reference) * rate).astype(np.int64)
    days = np.concatenate([drift_days - _YEAR_2000, days]).astype("timedelta64[ns]").astype(np.int64)
    tai_minus_utc = np.concatenate([[0], drift_offsets, tai_minus_utc])
    return np.concatenate([[np.iinfo(np.int64).min], days + tai_minus_utc[1:]]), tai_minus_utc


def convert_epochs_to_mjd(stored: npt.NDArray[Any], cdf_type: int) -> npt.NDArray[np.float64]:
    """Turn epochs into MJD of UTC.

    Parameters
    ----------
    stored
        Milliseconds or (seconds, picoseconds) since year 0, or nanoseconds of TT since J2000; of any shape.
    cdf_type
        CDF's number of their type: 31 (EPOCH), 32 (EPOCH16), 33 (TIME_TT2000).

    Returns
    -------
    days
        NaN where they are filled; of the same shape. A leap second counts as the first of the day behind it.
    """
    if cdf_type == EPOCH16_TYPE:
        seconds, picoseconds = _split_epoch16(stored)
        whole_days, seconds_or_milliseconds = np.divmod(seconds, 86_400.0)
        return np.where(
            seconds < 0.0, np.nan, whole_days + YEAR_0_MJD + (seconds_or_milliseconds + picoseconds * 1e-12) / 86_400.0
        )
    if cdf_type == EPOCH_TYPE:
        whole_days, seconds_or_milliseconds = np.divmod(stored, 86_400e3)
        return np.where(
            (stored < 0.0) | (stored >= 3.15569519999999e14),
            np.nan,
            whole_days + YEAR_0_MJD + seconds_or_milliseconds / 86_400e3,
        )
    utc, _, fill = _convert_tt2000_to_utc(stored)
    days, seconds_or_milliseconds = np.divmod(utc, 86_400_000_000_000)
    return np.where(fill, np.nan, 51_544.0 + days + seconds_or_milliseconds / 86_400e9)


def _convert_tt2000_to_utc(
    stored: npt.NDArray[Any],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Turn TT2000 into ns since 2000-01-01 (UTC), the ns to the next leap second's end (of others more), and which are none."""
    count = np.asarray(stored, np.int64)
    leap_starts, tai_minus_utc = _list_leap_seconds()
    if count.size:
        extremes = np.array([count.min(), count.max()])
    else:
        extremes = np.zeros(2, np.int64)
    if extremes[0] > -(2**62) and extremes[1] < 2**62:  # most often all are between the same two leap seconds
        first, last = np.searchsorted(leap_starts, extremes + TT2000_EPOCH_TAI_NANOSECONDS, "right")
        time_to_leap = np.append(leap_starts, np.iinfo(np.int64).max)[last] - extremes[1] - TT2000_EPOCH_TAI_NANOSECONDS
        if first == last and time_to_leap > 1_001_000_000:
            return (
                count + (TT2000_EPOCH_TAI_NANOSECONDS - tai_minus_utc[max(first - 1, 0)]),
                time_to_leap,
                np.zeros((), np.bool_),
            )
    fill = count <= np.iinfo(np.int64).min + 3
    tai = np.where(fill, 0, count) + TT2000_EPOCH_TAI_NANOSECONDS
    leap_number = np.searchsorted(leap_starts, tai, "right")
    time_to_leap = np.append(leap_starts, np.iinfo(np.int64).max)[leap_number] - tai
    return tai - tai_minus_utc[np.clip(leap_number - 1, 0, None)], time_to_leap, fill


def _split_epoch16(stored: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Take EPOCH16 apart: seconds since year 0, picoseconds behind them; none where it is filled."""
    if stored.dtype.kind == "c":
        pairs = stored.view(np.float64).reshape(*stored.shape, 2)
    else:
        pairs = stored
    return pairs[..., 0], np.where(pairs[..., 0] >= 0.0, pairs[..., 1], 0.0)


def convert_epochs_to_instants(stored: npt.NDArray[Any], cdf_type: int) -> Instants:
    """Turn epochs into microseconds since 1970, of days that have 86,400 s, and nanoseconds behind them.

    What is finer is cut off.

    A leap second has no such number: the last millisecond before it and the second itself share that millisecond, in
    their order.

    Parameters
    ----------
    stored, cdf_type
        As of `convert_epochs_to_mjd`.

    Returns
    -------
    micros
        `MISSING_INSTANT` where they are filled; of the same shape.
    nanos
        0 to 999; None of EPOCH, whose further digits are what a double leaves.
    """
    if cdf_type == TT2000_TYPE:
        utc, time_to_leap, fill = _convert_tt2000_to_utc(stored)
        if time_to_leap.ndim:
            leap = (time_to_leap <= 1_001_000_000) & (np.asarray(stored) > FIRST_LEAP_SECOND_TT2000)
            utc = np.where(leap, utc + time_to_leap - 1_000_000_000 + -time_to_leap // 1001, utc)
        microseconds = utc // 1000
        utc -= microseconds * 1000
        microseconds += 946_684_800_000_000
        if fill.any():
            return (np.where(fill, MISSING_INSTANT, microseconds), np.where(fill, 0, utc))
        return (microseconds, utc)
    if cdf_type == EPOCH16_TYPE:
        seconds, pico = _split_epoch16(stored)
        is_valid = (seconds >= 0.0) & (seconds < 3.15569519999e11)
        instant_microseconds = (np.where(is_valid, seconds, 0.0) - 62_167_219_200.0).astype(np.int64) * 1_000_000
        nanos = np.where(is_valid, pico // 1e3, 0.0).astype(np.int64)
        return np.where(is_valid, instant_microseconds + nanos // 1000, MISSING_INSTANT), nanos % 1000
    is_valid = (stored >= 0.0) & (stored < 3.15569519999999e14)
    microseconds = np.round((np.where(is_valid, stored, 0.0) - 62_167_219_200e3) * 1e3).astype(np.int64)
    return np.where(is_valid, microseconds, MISSING_INSTANT), None


def open_cdf(file: Place) -> Product:
    """Open a file.

    Parameters
    ----------
    file
        One on another server is read by ranges, and copied if it is compressed as a whole.

    Returns
    -------
    product
        A table for each epoch; arrays of what has further axes (DEPEND_1 ..).

    Raises
    ------
    SourceError
        It is no CDF, damaged, or cdflib is not installed.
    """
    plugins.require_modules("a CDF file", "cdflib", error_class=SourceError)
    name = file.name
    with file.open("rb") as head:
        is_uncompressed = head.read(8)[4:] == UNCOMPRESSED_MAGIC
    if is_uncompressed:
        path, close = (file, _keep_file)
    else:
        path, close = _unpack_file(file)
    try:
        with convert_library_errors(name, "CDF"):
            source = _load_reader_class()(path)
            file_info = source.cdf_info()
            lock = threading.Lock()
            file_bytes = path.stat().st_size
            if source.end > file_bytes:
                raise SourceError(
                    format_message(
                        "{name} has {there} bytes, and its label promises {end}", name, file_bytes, source.end
                    ),
                    remedy=format_message("it was cut off"),
                )  # noqa: TRY301
            names = [*file_info.zVariables, *file_info.rVariables][:MAX_PARTS]
            variables_by_name = {variable: _CdfVariable(source, lock, variable, file_bytes, name) for variable in names}
            cards = tuple(HeaderCard(word, value) for word, value in _list_attributes(source.globalattsget()))
            parts = tuple(_create_parts(variables_by_name))

            def list_variables() -> Iterator[ProductVariable]:
                for name, variable in variables_by_name.items():
                    if variable.varies_by_record:
                        sizes = (variable.record_count, *variable.shape)
                    else:
                        sizes = variable.shape
                    yield ProductVariable(
                        name=name,
                        type=_CDF_TYPE_NAMES.get(variable.cdf_type, str(variable.cdf_type)),
                        sizes=sizes,
                        cards=tuple(HeaderCard(*pair) for pair in _list_attributes(variable.attributes)),
                    )

            def close_file() -> None:
                source._f.close()  # noqa: SLF001  (it has no other way)
                close()

            return Product(medium="cdf", parts=parts, cards=cards, close=close_file, list_variables=list_variables)
    except BaseException:
        close()
        raise


def read_cards(file: Place) -> Iterator[HeaderCard]:
    """Read global attributes alone.

    Parameters
    ----------
    file
        As of `open_cdf`.

    Yields
    ------
    cards
        In the order of the file.

    Raises
    ------
    SourceError
        As `open_cdf`.
    """
    plugins.require_modules("a CDF file", "cdflib", error_class=SourceError)
    with file.open("rb") as stream:
        is_uncompressed = stream.read(8)[4:] == UNCOMPRESSED_MAGIC
    if not is_uncompressed:
        with open_cdf(file) as product:
            yield from product.cards
        return
    with convert_library_errors(file.name, "CDF"):
        source = _load_reader_class()(file)
        try:
            cards = [HeaderCard(word, value) for word, value in _list_attributes(source.globalattsget())]
        finally:
            source._f.close()  # noqa: SLF001  (it has no other way)
    yield from cards


def _unpack_file(file: Place) -> tuple[Path, Callable[[], None]]:
    """Unpack a file that is compressed as a whole; return where it is, and what removes it."""
    local_path, close = copy_to_disk(file)
    try:
        with convert_library_errors(file.name, "CDF"):
            path = unpack_cdf(local_path, file.name)
    finally:
        close()
    return path, partial(path.unlink, missing_ok=True)


def _keep_file() -> None:
    """Remove no copy."""


@cache
def _load_reader_class() -> Any:
    """Return cdflib's class, which unpacks no more than a bound."""
    import zlib  # noqa: PLC0415  (beside cdflib)

    import cdflib.cdfread as library  # noqa: PLC0415  (loaded where a CDF is)

    def decompress_block(data: bytes) -> bytes:
        unpacker = zlib.decompressobj(31)
        unpacked_bytes = unpacker.decompress(data, MAX_UNPACKED_BYTES // 4)
        if unpacker.unconsumed_tail:
            raise TooLargeError(
                format_message(
                    "{name} unpacks to more than {most} MB", "a block of the file", MAX_UNPACKED_BYTES // 4 >> 20
                )
            )
        return unpacked_bytes

    library.gzip_inflate = decompress_block

    class BoundedCdfReader(library.CDF):  # type: ignore[misc]
        def __init__(self, place: Place) -> None:
            self.place = place
            self.places: dict[str, tuple[int, bool]] = {}
            self.known: dict[int, Any] = {}
            self.spans: dict[int, Any] = {}
            self.blocks: dict[int, tuple[int, bytes]] = {}
            self.attributes: dict[int, Any] = {}
            self.said: dict[tuple[int, bool], dict[str, Any]] | None = None
            super().__init__(place if isinstance(place, Path) else "https://")

        def _find_variable_record(self, variable: str) -> tuple[Any, bool]:
            """Find the record of a variable, and whether it is a z variable.

            Cdflib goes through all of them each time.
            """
            if not self.places:
                for z, place, count in (
                    (True, self._first_zvariable, self._num_zvariable),
                    (False, self._first_rvariable, self._num_rvariable),
                ):
                    for _ in range(count):
                        name, following = self._read_vdr_fast(place)
                        self.places.setdefault(name.strip().lower(), (place, z))
                        place = following  # noqa: PLW2901
            place, z = self.places[variable.strip().lower()]
            if place not in self.known:
                self.known[place] = self._read_vdr(place)
            return self.known[place], z

        def _read_adr(self, position: int) -> Any:
            if position not in self.attributes:
                self.attributes[position] = super()._read_adr(position)
            return self.attributes[position]

        def vdr_info(self, variable: str) -> Any:
            return self._find_variable_record(variable)[0]

        def varattsget(self, variable: str) -> dict[str, Any]:
            variable_record, z = self._find_variable_record(variable)
            return self._read_varatts(variable_record.variable_number, z)

        def _read_varatts(self, number: int, z_variable: bool) -> dict[str, Any]:
            """Read the attributes of all variables in one pass; cdflib makes one for each variable."""
            if self.said is None:
                self.said = {}
                at = self._first_adr
                for _ in range(self._num_att):
                    adr = self._read_adr(at)
                    at = adr.next_adr_loc
                    if adr.scope == 1:
                        continue
                    for z, place, count in (
                        (True, adr.first_z_entry, adr.num_z_entry),
                        (False, adr.first_gr_entry, adr.num_gr_entry),
                    ):
                        for _ in range(count):
                            entry = self._read_aedr(place)
                            if isinstance(entry.entry, np.ndarray) and len(entry.entry) == 1:
                                value = entry.entry[0]
                            else:
                                value = entry.entry
                            self.said.setdefault((entry.entry_num, z), {}).setdefault(adr.name, value)
                            place = entry.next_aedr  # noqa: PLW2901
            return self.said.get((number, z_variable), {})

        def _read_vardata(
            self, vdr_info: Any, startrec: int = 0, endrec: int | None = None, **further_options: Any
        ) -> Any:
            """Read the bytes of the records that are asked for.

            Cdflib reads all of the blocks that these lie in, each time.
            """
            last = vdr_info.max_rec if endrec is None else endrec
            if vdr_info.sparse or not vdr_info.record_vary or not 0 <= startrec <= last <= vdr_info.max_rec:
                return super()._read_vardata(vdr_info, startrec=startrec, endrec=endrec, **further_options)
            key = vdr_info.head_vxr
            if key not in self.spans:
                self.spans[key] = (self._read_vxrs if self.cdfversion == 3 else self._read_vxrs2)(key, [], [], [])
            sizes = [size for size, vary in zip(vdr_info.dim_sizes, vdr_info.dim_vary, strict=False) if vary]
            size = self._type_size(vdr_info.data_type, vdr_info.num_elements) * math.prod(sizes)
            parts = []
            for offset, first, end in zip(*self.spans[key], strict=True):
                if first <= last and end >= startrec:
                    low, high = max(startrec, first) - first, min(last, end) + 1 - first
                    block = self._read_block(key, offset, low * size, high * size)
                    parts.append(block)
            if len(parts) == 1:
                record_bytes = parts[0]
            else:
                record_bytes = b"".join(parts)
            if len(record_bytes) != (last + 1 - startrec) * size:
                raise SourceError(format_message("{name} ends where its values should be", self.place.name))
            if not sizes and vdr_info.num_elements == 1 and vdr_info.data_type in _NUMERIC_TYPES:
                return np.frombuffer(
                    record_bytes, np.dtype(_name_numpy_type(vdr_info.data_type)).newbyteorder(self._convert_option())
                )
            return self._read_data(record_bytes, vdr_info.data_type, last + 1 - startrec, vdr_info.num_elements, sizes)

        def _read_block(self, key: int, offset: int, begin: int, end: int) -> bytes:
            """Read a part of a block; one that is packed is kept until the next one of its variable."""
            wide = 8 if self.cdfversion == 3 else 4
            self._f.seek(offset + wide)
            if self._f.read(4) == b"\0\0\0\x07":
                self._f.seek(offset + wide + 4 + begin)
                return bytes(self._f.read(end - begin))
            if self.blocks.get(key, (0, b""))[0] != offset:
                self.blocks.pop(key, None)
                if sum(len(data) for _, data in self.blocks.values()) > MAX_CACHED_BLOCK_BYTES:
                    self.blocks.clear()
                self.blocks[key] = (offset, (self._read_vvr_block if wide == 8 else self._read_vvr_block2)(offset))
            return self.blocks[key][1][begin:end]

        def _file_or_url_or_s3_handler(self, name: str, kind: str, method: int) -> Any:
            """Open it, and ask nobody else for it."""
            if isinstance(self.place, Path):
                return super()._file_or_url_or_s3_handler(name, kind, method)
            return self.place.open("rb")

        @property
        def _f(self) -> Any:
            return self.counted

        @_f.setter
        def _f(self, file: Any) -> None:
            self.counted = _ReadLimitedFile(file)

        def _uncompress_rle(self, data: bytes) -> Any:
            if len(data) + 255 * bytes(data).count(0) > MAX_UNPACKED_BYTES // 4:
                raise TooLargeError(
                    format_message(
                        "{name} unpacks to more than {most} MB", "a block of the file", MAX_UNPACKED_BYTES // 4 >> 20
                    )
                )
            return super()._uncompress_rle(data)

        def _check_dimensions(self, offset: int) -> None:
            """Refuse numbers of dimensions that it would count to."""
            self._f.seek(offset)
            if int.from_bytes(self._f.read(4), "big") > MAX_DIMENSIONS:
                raise SourceError(format_message("it has variables of more than {most} dimensions", MAX_DIMENSIONS))

        def _read_gdr(self, byte_loc: int) -> Any:
            self._check_dimensions(byte_loc + 56)
            descriptor_record = super()._read_gdr(byte_loc)
            self.end = int(descriptor_record.eof)
            return descriptor_record

        def _read_gdr2(self, byte_loc: int) -> Any:
            self._check_dimensions(byte_loc + 36)
            descriptor_record = super()._read_gdr2(byte_loc)
            self.end = int(descriptor_record.eof)
            return descriptor_record

        def _read_vdr3(self, byte_loc: int) -> Any:
            self._f.seek(byte_loc + 8)
            if self._f.read(4) == b"\0\0\0\x08":
                self._check_dimensions(byte_loc + 340)
            return super()._read_vdr3(byte_loc)

        def _read_vdr2(self, byte_loc: int) -> Any:
            self._f.seek(byte_loc + 4)
            if self._f.read(4) == b"\0\0\0\x08":
                self._check_dimensions(byte_loc + (128 if self._post25 else 256))
            return super()._read_vdr2(byte_loc)

    return BoundedCdfReader


def _list_attributes(attributes: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for attribute_name, value in attributes.items():
        if isinstance(value, list):
            values = value
        else:
            values = [value]
        text = " ".join(str(item) for item in values if item is not None).strip()
        if text:
            yield attribute_name, text[:2000]


def _create_parts(variables_by_name: dict[str, _CdfVariable]) -> Iterator[Part]:
    groups: dict[str, list[_CdfVariable]] = {}
    for variable in variables_by_name.values():
        depend_0 = str(variable.attributes.get("DEPEND_0") or "").strip()
        if variable.varies_by_record and (
            depend_0 in variables_by_name or variable.is_time or variable.record_count > 1
        ):
            if variable.is_time and not depend_0:
                clock = variable.name
            elif depend_0 in variables_by_name:
                clock = depend_0
            else:
                clock = f"{variable.record_count} records"
            groups.setdefault(clock, []).append(variable)
    index = 0
    for clock, members in groups.items():
        members.sort(key=lambda variable: variable.name != clock)
        count = max(
            variable.record_count for variable in members if variable.name == clock or clock not in variables_by_name
        )
        column_variables = [
            variable
            for variable in members
            if variable.record_count == count
            and math.prod(variable.shape) * variable.item_bytes <= MAX_CELL_BYTES
            and not (variable.cdf_type in TEXT_TYPES and variable.shape)
        ]
        if column_variables:
            yield _create_table(
                column_variables,
                index,
                clock,
                count,
                partial(_collect_sample_metadata, column_variables, variables_by_name),
            )
            index += 1
    for variable in variables_by_name.values():
        if (
            variable.varies_by_record
            and variable.shape
            and variable.cdf_type not in TEXT_TYPES
            and not variable.is_time
            and variable.record_count > 0
        ):
            axes = _create_axes(variable, variables_by_name)
        else:
            axes = ()
        if axes:
            yield ArrayPart(
                index=index,
                name=variable.name,
                axes=axes,
                dtype=variable.value_type,
                read=_create_window_reader(variable),
                unit=variable.unit,
                cards=tuple(HeaderCard(*pair) for pair in _list_attributes(variable.attributes)),
                role="support" if variable.is_support else "data",
            )
            index += 1


def _collect_sample_metadata(
    column_variables: Sequence[_CdfVariable], variables_by_name: Mapping[str, _CdfVariable]
) -> SampleMetadata | None:
    """Collect what is said of samples, for those who draft a data set of them; None.

    They have no times, or no variable says that it is data.
    """
    clock = column_variables[0]
    data = [
        variable
        for variable in column_variables
        if variable is not clock and istp.is_data_variable(variable.attributes)
    ]
    if not clock.is_time or clock.shape or not data:
        return None
    names = {variable.name for variable in column_variables}
    axes = {
        variable.name: axis_metadata
        for variable in column_variables
        if variable.shape and (axis_metadata := _describe_axes(variable, variables_by_name, names))
    }
    ranges = {
        variable.name: limits
        for variable in column_variables
        if not variable.shape
        and not variable.is_time
        and (limits := istp.read_valid_range(variable.attributes)) is not None
    }
    systems = {
        variable.name: system
        for variable in data
        if variable.shape == (3,) and (system := istp.read_text_attribute(variable.attributes, "COORDINATE_SYSTEM"))
    }
    return SampleMetadata(
        time=clock.name, data=tuple(variable.name for variable in data), axes=axes, valid=ranges, systems=systems
    )


def _describe_axes(
    variable: _CdfVariable, variables_by_name: Mapping[str, _CdfVariable], names: Collection[str]
) -> tuple[AxisMetadata, ...]:
    """Tell what the elements of each dimension stand for (DEPEND_1 ..); empty: not of all of them is it known."""
    axis_metadata = []
    for number, size in enumerate(variable.shape, 1):
        axis_variable = variables_by_name.get(str(variable.attributes.get(f"DEPEND_{number}") or "").strip())
        if (
            axis_variable is None
            or axis_variable.cdf_type in TEXT_TYPES
            or axis_variable.is_time
            or axis_variable.shape not in {(size,), ()}
        ):
            return ()
        if (
            istp.read_text_attribute(axis_variable.attributes, "VAR_TYPE").lower() == "metadata"
        ):  # numbers of components
            return ()
        if (
            axis_variable.varies_by_record
            and axis_variable.shape == (size,)
            and axis_variable.name in names
            and axis_variable.record_count > 1
        ):
            centers: tuple[float, ...] | str = axis_variable.name
        else:
            values = np.asarray(_create_axis_reader(axis_variable)(), np.float64).ravel()
            if values.size != size or size > istp.MAX_BIN_CENTERS or not np.isfinite(values).all():
                return ()
            centers = tuple(float(f"{value:.9g}") for value in values)
        description = str(
            axis_variable.attributes.get("CATDESC") or axis_variable.attributes.get("FIELDNAM") or ""
        ).strip()
        axis_metadata.append(
            AxisMetadata(
                name=axis_variable.name,
                unit=axis_variable.unit,
                label=istp.read_axis_label(axis_variable.attributes, axis_variable.name) or description or None,
                centers=centers,
            )
        )
    return tuple(axis_metadata)


def _create_table(
    column_variables: Sequence[_CdfVariable],
    index: int,
    clock: str,
    count: int,
    collect_metadata: Callable[[], SampleMetadata | None] | None = None,
) -> TablePart:
    columns = tuple(variable.create_column() for variable in column_variables)
    schema = pa.schema([column.arrow_field for column in columns])
    width = sum(math.prod(variable.shape) * variable.item_bytes for variable in column_variables)

    def read_batches(start: int, row_limit: int) -> Iterator[pa.RecordBatch]:
        step = max(1, min(MAX_BATCH_RECORDS, (8 << 20) // width))
        for first in range(start, min(count, start + row_limit), step):
            stop = min(count, start + row_limit, first + step)
            arrays = [
                variable.read_arrow(first, stop, kind)
                for variable, kind in zip(column_variables, schema.types, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    cards = (HeaderCard("TIMESYS", "UTC"),) if column_variables[0].is_time else ()
    variables_by_name = {variable.name: variable for variable in column_variables}
    support_columns = frozenset(variable.name for variable in column_variables if variable.is_support)
    return TablePart(
        index=index,
        name=clock,
        columns=columns,
        row_count=count,
        read_batches=read_batches,
        cards=cards,
        select_columns=lambda names: _create_table(
            [variable for variable in column_variables if variable.name in names], index, clock, count
        ),
        read_instants=lambda name, start, stop: variables_by_name[name].read_instants(start, stop),
        has_truncated_times=lambda name: variables_by_name[name].has_truncated_times,
        support_columns=support_columns,
        collect_sample_metadata=collect_metadata,
    )


def _create_window_reader(variable: _CdfVariable) -> Callable[[Sequence[slice]], npt.NDArray[Any]]:
    def read_window(window: Sequence[slice]) -> npt.NDArray[Any]:
        first, *further_slices = window
        return variable.read_values(first.start, first.stop)[(slice(None), *further_slices)]

    return read_window


def _create_axes(variable: _CdfVariable, variables_by_name: dict[str, _CdfVariable]) -> tuple[Axis, ...]:
    """Name the axes of a variable by what they depend on; empty: nothing is said of any but its records."""
    clock = variables_by_name.get(str(variable.attributes.get("DEPEND_0") or ""))
    axes = [Axis(name="record" if clock is None else clock.name, size=variable.record_count)]
    if clock is not None and clock.is_time and clock.record_count == variable.record_count and not clock.shape:
        axes = [
            Axis(
                name=clock.name,
                size=variable.record_count,
                kind="time",
                unit="d",
                read_values=_create_axis_reader(clock),
            )
        ]
    has_described_axis = False
    for number, size in enumerate(variable.shape, 1):
        axis_variable = variables_by_name.get(str(variable.attributes.get(f"DEPEND_{number}") or ""))
        numeric = axis_variable is not None and axis_variable.cdf_type not in TEXT_TYPES and not axis_variable.is_time
        if (
            axis_variable is None
            or not numeric
            or axis_variable.shape not in {(size,), ()}
            or axis_variable.record_count < 1
        ):
            axes.append(Axis(name=f"axis{number}", size=size))
            continue
        has_described_axis = has_described_axis or str(axis_variable.attributes.get("VAR_TYPE")) != "metadata"
        axes.append(
            Axis(
                name=axis_variable.name,
                size=size,
                unit=axis_variable.unit,
                read_values=_create_axis_reader(axis_variable),
            )
        )
    return tuple(axes) if has_described_axis else ()


def _create_axis_reader(axis_variable: _CdfVariable) -> Callable[[], npt.NDArray[Any]]:
    """Give the values along an axis; where each record has its own, those of the first one that has some."""

    @cache
    def read_axis_values() -> npt.NDArray[Any]:
        if not axis_variable.shape:
            return axis_variable.read_values(0, axis_variable.record_count)
        for start in range(min(axis_variable.record_count, 100)):
            record_values = axis_variable.read_values(start, start + 1)[0]
            if np.isfinite(record_values.astype(np.float64)).any():
                return np.asarray(record_values)
        return np.asarray(axis_variable.read_values(0, 1)[0])

    return read_axis_values


MEDIUM = Medium(
    name="cdf",
    title="CDF",
    media_types=("application/x-cdf",),
    extensions=("cdf",),
    signature_pattern=rb"\xcd\xf3\x00\x01|\xcd\xf2\x60\x02|\x00\x00\xff\xff\x00\x00\xff\xff",
    open=open_cdf,
    read_cards=read_cards,
)

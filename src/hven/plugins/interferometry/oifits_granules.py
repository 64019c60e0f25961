"""Read the granules of OIFITS files (Duvert et al. 2017, A&A 597, A8).

Each target, mode and night of a file has its times, wavelengths, baselines, stations and counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.errors import SourceError, TextPlace
from hven.model.table import MJD_EPOCH, Column, parse_column_lines
from hven.sources.api.header_rows import FileHeader, FileHeaderSource
from hven.sources.fits_headers import HduHeader, read_next_hdu_header

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    from hven.sources import SourceContext
    from hven.sources.api.header_rows import HeaderSourceOptions
    from hven.sources.api.rows import DataFile, DecompressedStream

    Numbers = npt.NDArray[np.float64]

BUFFER_BYTES = 64 << 10  # bytes that are read at a time
MAX_TABLE_BYTES = 1 << 30  # bytes of a table
MAX_HDUS = 20_000
MIN_MJD = 36_934.0  # 1960
MAX_MJD = 88_069.0  # 2100: an interferometer's times lie between the two
_YEAR_BOUNDS = (1960, 2100)
_DAY_SECONDS = 86_400.0
# degrees east, which decide when a night begins and ends
_ARRAY_LONGITUDES_DEGREES = {
    "VLTI": -70.4,
    "PARANAL": -70.4,
    "CHARA": -118.1,
    "NPOI": -111.5,
    "KECK": -155.5,
    "LBT": -109.9,
    "IOTA": -110.9,
    "PTI": -116.9,
    "MROI": -107.2,
    "SUSI": 149.5,
    "GI2T": 6.9,
}
_ARCSEC_PER_RADIAN = 180.0 * 3600.0 / np.pi
_COUNT_COLUMNS_BY_TABLE = {"OI_VIS": "nb_vis", "OI_VIS2": "nb_vis2", "OI_T3": "nb_t3", "OI_FLUX": "nb_flux"}
_OBSERVABLE_COLUMNS = {
    "OI_VIS": ("VISAMP", "VISDATA"),
    "OI_VIS2": ("VIS2DATA",),
    "OI_T3": ("T3PHI", "T3AMP"),
    "OI_FLUX": ("FLUXDATA", "FLUX"),
}
_UV_COLUMNS = {
    "OI_VIS": (("UCOORD", "VCOORD"),),
    "OI_VIS2": (("UCOORD", "VCOORD"),),
    "OI_T3": (("U1COORD", "V1COORD"), ("U2COORD", "V2COORD")),
}
_COMMON_COLUMNS = ("TARGET_ID", "MJD", "INT_TIME", "STA_INDEX")
_COLUMNS_READ = {
    "OI_TARGET": ("TARGET_ID", "TARGET", "RAEP0", "DECEP0"),
    "OI_WAVELENGTH": ("EFF_WAVE", "EFF_BAND"),
    "OI_ARRAY": ("STA_NAME", "STA_INDEX"),
    "OI_VIS": (*_COMMON_COLUMNS, *chain.from_iterable(_UV_COLUMNS["OI_VIS"])),
    "OI_VIS2": (*_COMMON_COLUMNS, *chain.from_iterable(_UV_COLUMNS["OI_VIS2"])),
    "OI_T3": (*_COMMON_COLUMNS, *chain.from_iterable(_UV_COLUMNS["OI_T3"])),
    "OI_FLUX": _COMMON_COLUMNS,
}
_TFORM_PATTERN = re.compile(r"\s*(\d*)([LXBIJKAEDCMPQ])")
_NUMPY_CODES = {"B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}
_ELEMENT_BYTES = {"L": 1, "A": 1, "B": 1, "I": 2, "J": 4, "K": 8, "E": 4, "D": 8, "C": 8, "M": 16, "P": 8, "Q": 16}
_COLUMN_TEXT = """
target_name | string | | meta.id;src | Name of the target in OI_TARGET
target_id | int32 | | meta.id | Its number in the file
s_ra | float64 | deg | pos.eq.ra;meta.main | Right ascension of the target in OI_TARGET
s_dec | float64 | deg | pos.eq.dec;meta.main | Declination of the target in OI_TARGET
night | string | | meta.id;obs | Day on which the night began: from noon to noon where a known array stands, else of UTC
t_min | float64 | d | time.start;obs.exposure | First time of its data, MJD
t_max | float64 | d | time.end;obs.exposure | Last time of its data, MJD
t_exptime | float64 | s | time.duration;obs.exposure | Shortest integration time
em_min | float64 | m | em.wl;stat.min | Shortest wavelength of the mode
em_max | float64 | m | em.wl;stat.max | Longest wavelength of the mode
em_res_power | float64 | | spect.resolution | Mean resolving power of its channels
nb_channels | int32 | | meta.number;em.wl | Spectral channels
facility_name | string | | meta.id;instr.tel | Interferometer
instrument_name | string | | meta.id;instr | Instrument
instrument_mode | string | | meta.id;instr.setup | Instrument mode: INSNAME
interferometer_stations | string | | meta.id;instr.baseline | Stations of its telescopes
nb_vis | int32 | | meta.number | Rows of complex visibilities
nb_vis2 | int32 | | meta.number | Rows of squared visibilities
nb_t3 | int32 | | meta.number | Rows of triple products
nb_flux | int32 | | meta.number | Rows of fluxes
b_min | float64 | m | instr.baseline;stat.min | Shortest projected baseline
b_max | float64 | m | instr.baseline;stat.max | Longest projected baseline
s_resolution | float64 | arcsec | pos.angResolution | Shortest wavelength over longest baseline
correlation | string | | meta.id | Name of the correlations of its values (OI_CORR)
polarised | boolean | | meta.code | The file has the instrument's polarisation (OI_INSPOL)
oifits | int32 | | meta.version | Version of OIFITS
date_obs | string | | meta.note;obs | DATE-OBS as in the file
obs_creator_name | string | | meta.id.PI | Observer
datapi | string | | meta.id.PI | Principal investigator
progid | string | | meta.id;obs.proposal | Number of the programme
procsoft | string | | meta.note | Program that made the file
doubts | string | | meta.note | What in the file deviates from the standard and affects this row
"""


def _parse_granule_columns() -> tuple[Column, ...]:
    columns: list[Column] = []
    for column in parse_column_lines(_COLUMN_TEXT):
        if column.unit == "d":
            columns.append(column.copy_with(epoch=MJD_EPOCH))
        else:
            columns.append(column)
    return tuple(columns)


GRANULE_COLUMNS = _parse_granule_columns()
_PRIMARY_KEYWORDS = {
    "obs_creator_name": ("OBSERVER",),
    "datapi": ("PI-COI", "PI_COI", "ESO OBS PI-COI NAME"),
    "progid": ("PROG_ID", "PROG-ID", "ESO OBS PROG ID"),
    "procsoft": ("PROCSOFT", "ESO PRO REC1 PIPE ID"),
}


@dataclass(slots=True)
class _OifitsTable:
    """A table of an OIFITS file: its header, and columns of numbers or texts."""

    header: HduHeader
    columns: dict[str, Any]

    @property
    def kind(self) -> str:
        return self.header.name.upper()

    def find_keyword(self, key: str) -> str:
        return self.header.read_text(key) or ""


@dataclass(frozen=True, slots=True)
class _OifitsTarget:
    """A target: its name, and its place in degrees if it has one."""

    name: str
    ra: float | None
    dec: float | None


@dataclass(slots=True)
class _GranuleAccumulator:
    """Times, counts and names that are collected for one granule."""

    counts: dict[str, int] = field(default_factory=dict)
    times: list[Numbers] = field(default_factory=list)
    exposures: list[Numbers] = field(default_factory=list)
    baselines: list[Numbers] = field(default_factory=list)
    stations: dict[str, None] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)

    def add_counts(self, counts: dict[str, int]) -> None:
        for name, count in counts.items():
            self.counts[name] = self.counts.get(name, 0) + count


class OifitsGranuleSource(FileHeaderSource):
    """The granules of OIFITS files.

    Parameters
    ----------
    whole_files
        True: each file is one row.
    """

    def __init__(
        self,
        options: HeaderSourceOptions,
        context: SourceContext,
        files: Sequence[DataFile] | None,
        *,
        whole_files: bool,
    ) -> None:
        super().__init__(options, context, files)
        self.whole_files = whole_files

    def build_cache_key(self) -> str:
        """Return a key of the mode and the cards."""
        mode = "granules"
        if self.whole_files:
            mode = "files"
        return f"oifits {mode} {self.cards or ''}".strip()

    def list_fixed_columns(self) -> Sequence[Column]:
        """List the columns that each granule has."""
        return GRANULE_COLUMNS

    def read_header(self, file: DataFile) -> FileHeader:
        """Read the granules of a file: its small tables, and some columns of the large ones."""
        primary, rows = read_granules(file, whole_files=self.whole_files)
        cards = self.cards or ()
        card_values = {key: primary.card_values.get(key) for key in cards}
        comments = {key: primary.comments.get(key, "") for key in cards}
        return FileHeader([row | card_values for row in rows], comments)


def read_granules(file: DataFile, *, whole_files: bool = False) -> tuple[HduHeader, list[dict[str, Any]]]:
    """Read the granules of a file: its small tables, and some columns of the large ones.

    Parameters
    ----------
    file
        The file.
    whole_files
        True: the file is one row.

    Returns
    -------
    primary, rows
        The first header; and a row for each granule.

    Raises
    ------
    SourceError
        The file is damaged, or contains no data.
    """
    stream = file.open_unhashed(BUFFER_BYTES)
    try:
        primary, tables = _read_tables(stream, file.name)
    finally:
        stream.close()
    if primary is None or not any(table.kind in _COUNT_COLUMNS_BY_TABLE for table in tables):
        distinct_names = dict.fromkeys(table.header.name for table in tables)
        table_names = ", ".join(distinct_names) or "none"
        raise SourceError(
            f"the file contains no OIFITS data; its tables are: {table_names}",
            place=TextPlace(file=file.name),
            remedy="check the file, or add it to `ignore`",
        )
    builder = _GranuleBuilder(primary, tables)
    return primary, list(builder.build_rows(file.name, is_whole_file=whole_files))


def _read_tables(stream: DecompressedStream, file: str) -> tuple[HduHeader | None, list[_OifitsTable]]:
    """Read the headers, and the columns that describe the granules."""
    primary: HduHeader | None = None
    tables: list[_OifitsTable] = []
    for index in range(MAX_HDUS):
        header = read_next_hdu_header(stream.read, index, file)
        if header is None:
            break
        primary = primary or header
        name = header.name.upper()
        is_known_table = name in _COLUMNS_READ or name in {"OI_CORR", "OI_INSPOL"}
        if header.hdu_kind != "BINTABLE" or not is_known_table:
            stream.skip_bytes(header.data_bytes)
            continue
        columns = _read_columns(stream, header, _COLUMNS_READ.get(name, ()), file)
        tables.append(_OifitsTable(header, columns))
    return primary, tables


def _read_columns(
    stream: DecompressedStream, header: HduHeader, wanted_columns: Sequence[str], file: str
) -> dict[str, Any]:
    """Read columns of a table, and skip the rest of it."""
    width = header.read_integer("NAXIS1")
    count = header.read_integer("NAXIS2")
    data_bytes = header.data_bytes
    if not wanted_columns:
        stream.skip_bytes(data_bytes)
        return {}
    if width * count > MAX_TABLE_BYTES:
        raise SourceError(f"{header.name} is larger than {MAX_TABLE_BYTES >> 20} MB", place=TextPlace(file=file))
    places = _find_column_layout(header)
    body = stream.read(width * count)
    stream.skip_bytes(data_bytes - width * count)
    if len(body) < width * count:
        raise SourceError(
            f"the file ends within {header.name}", place=TextPlace(file=file), remedy="download the file again"
        )
    rows = np.frombuffer(body, np.uint8).reshape(count, width)
    columns_by_name: dict[str, Any] = {}
    for name in wanted_columns:
        if name not in places:
            continue
        number, code, repeat, start = places[name]
        end = start + repeat * _ELEMENT_BYTES.get(code, 0)
        if not repeat:
            raise SourceError(
                f"column {name} of {header.name} has no values (its repeat count is 0)",
                place=TextPlace(file=file),
                remedy="repair the header",
            )
        if end > width:
            raise SourceError(
                f"column {name} of {header.name} extends beyond its row of {width} bytes",
                place=TextPlace(file=file),
                remedy="repair the header",
            )
        cells = np.ascontiguousarray(rows[:, start:end])
        if code == "A":
            columns_by_name[name] = [_decode_text(bytes(cell)) for cell in cells]
        elif code in _NUMPY_CODES:
            values = cells.view(_NUMPY_CODES[code]).astype(np.float64)
            scale = header.card_values.get(f"TSCAL{number}")
            zero = header.card_values.get(f"TZERO{number}")
            if isinstance(scale, int | float) or isinstance(zero, int | float):
                values = values * float(scale or 1.0) + float(zero or 0.0)
            if repeat > 1:
                columns_by_name[name] = values
            else:
                columns_by_name[name] = values[:, 0]
    return columns_by_name


def _decode_text(cell: bytes) -> str:
    text = cell.partition(b"\0")[0]
    return text.decode("latin-1").strip()


def _find_column_layout(header: HduHeader) -> dict[str, tuple[int, str, int, int]]:
    """Find number, type, repeat count and first byte of each column, by its name."""
    layout_by_name: dict[str, tuple[int, str, int, int]] = {}
    row_offset = 0
    for number in range(1, header.read_integer("TFIELDS") + 1):
        tform = str(header.card_values.get(f"TFORM{number}") or "")
        repeat, code, field_bytes = _parse_tform(tform)
        name = str(header.card_values.get(f"TTYPE{number}") or "")
        layout_by_name.setdefault(name.strip().upper(), (number, code, repeat, row_offset))
        row_offset += field_bytes
    return layout_by_name


@lru_cache(256)
def _parse_tform(text: str) -> tuple[int, str, int]:
    """Parse a TFORM: repeat count, letter, bytes."""
    match = _TFORM_PATTERN.match(text.upper())
    if match is None:
        raise SourceError(f"TFORM = {text!r} is not a FITS format", remedy="repair the header")
    repeat = int(match[1] or 1)
    code = match[2]
    if code == "X":
        return repeat, code, (repeat + 7) // 8
    return repeat, code, repeat * _ELEMENT_BYTES[code]


_GranuleKey = tuple[int, str, int]  # number of the target, mode, night


class _GranuleBuilder:
    """Builds the rows of a file from its tables.

    Attributes
    ----------
    doubts
        What in the file is not as the standard has it, in the order in which it is found.
    """

    def __init__(self, primary: HduHeader, tables: Sequence[_OifitsTable]) -> None:
        self.primary = primary
        self.tables = tables
        self.doubts: dict[str, None] = {}
        self.targets = _read_targets(tables)
        self.wavelength_tables = self._index_tables("OI_WAVELENGTH", "INSNAME")
        self.arrays = self._index_tables("OI_ARRAY", "ARRNAME")
        self.granules: dict[_GranuleKey, _GranuleAccumulator] = {}

    def _list_tables(self, kind: str) -> list[_OifitsTable]:
        return [table for table in self.tables if table.kind == kind]

    def _index_tables(self, kind: str, keyword: str) -> dict[str, _OifitsTable]:
        """Index the tables of a kind by a keyword; the first table of a name wins."""
        tables = self._list_tables(kind)
        return {table.find_keyword(keyword): table for table in reversed(tables)}

    def build_rows(self, file: str, *, is_whole_file: bool) -> Iterator[dict[str, Any]]:
        """Build the rows of the file: granules in the order of their targets, modes and nights."""
        for table in self.tables:
            if table.kind in _COUNT_COLUMNS_BY_TABLE:
                self._add_table_rows(table)
        if not self.granules:
            raise SourceError(
                "the file contains no rows of data",
                place=TextPlace(file=file),
                remedy="check the file, or add it to `ignore`",
            )
        common_values = self._build_common_values()
        polarised_modes = {table.find_keyword("INSNAME").strip() for table in self._list_tables("OI_INSPOL")}
        for keys, granule in _iterate_granules(self.granules, is_whole_file=is_whole_file):
            target_ids, modes, nights = ([*dict.fromkeys(part)] for part in zip(*keys, strict=True))
            row = self._build_row(granule, target_ids, modes, nights)
            is_polarised = polarised_modes == {""} or bool(polarised_modes & {*modes})
            yield common_values | row | {"polarised": is_polarised}

    def _build_common_values(self) -> dict[str, Any]:
        """Build the values that all granules of the file share."""
        headers = [self.primary, *(table.header for table in self.tables)]
        dates = [date for header in headers if (date := header.read_text("DATE-OBS"))]
        for date in dict.fromkeys(dates):
            if not _is_possible_date(date):
                self.doubts[f"DATE-OBS is {date[:40]}"] = None
        version = 1
        target_revisions = [table.header.read_integer("OI_REVN") for table in self._list_tables("OI_TARGET")]
        if self.primary.read_text("CONTENT") == "OIFITS2" or max(target_revisions, default=0) > 1:
            version = 2
        common_values: dict[str, Any] = {}
        for name, keys in _PRIMARY_KEYWORDS.items():
            common_values[name] = _find_known_text(self.primary, keys)
        common_values["oifits"] = version
        common_values["date_obs"] = next(iter(dates), None)
        common_values["doubts"] = "; ".join(self.doubts) or None
        return common_values

    def _add_table_rows(self, table: _OifitsTable) -> None:
        """Add the rows of a table of data to the granules that they belong to."""
        kind = table.kind
        mode = table.find_keyword("INSNAME")
        columns = table.columns
        if not {"TARGET_ID", "MJD"} <= columns.keys():
            self.doubts[f"{kind} has no TARGET_ID or no MJD"] = None
            return
        ids = columns["TARGET_ID"].astype(np.int64)
        times = columns["MJD"]
        is_possible = (times >= MIN_MJD) & (times <= MAX_MJD)
        if not is_possible.all():
            first_wrong = times[~is_possible][0]
            self.doubts[f"{kind} has impossible times: MJD {first_wrong:.6g}"] = None
        nights = self._compute_nights(table, times, is_possible)
        self._note_broken_references(table, mode, ids)
        names = _read_station_names(self._find_array_table(table))
        pairs = np.stack([ids, nights], 1)
        for ident, night in np.unique(pairs, axis=0).tolist():
            is_in_granule = (ids == ident) & (nights == night)
            granule = self.granules.setdefault((ident, mode, night), _GranuleAccumulator())
            row_count = int(is_in_granule.sum())
            granule.add_counts({_COUNT_COLUMNS_BY_TABLE[kind]: row_count})
            granule.times.append(times[is_in_granule & is_possible])
            if "INT_TIME" in columns:
                exposures = columns["INT_TIME"][is_in_granule]
                granule.exposures.append(exposures)
                if exposures.min() > _DAY_SECONDS:
                    self.doubts[f"INT_TIME is {exposures.min():.6g} s"] = None
            granule.baselines += _compute_baselines(kind, columns, is_in_granule)
            if "STA_INDEX" in columns:
                self._add_stations(granule, kind, columns["STA_INDEX"][is_in_granule], names)
            for word in ("ARRNAME", "CORRNAME"):
                text = table.find_keyword(word)
                if text:
                    granule.words.setdefault(word, text)

    def _find_array_table(self, table: _OifitsTable) -> _OifitsTable | None:
        """Find the array of a table; one that names none has the only array of the file."""
        name = table.find_keyword("ARRNAME")
        array = self.arrays.get(name)
        if array is None and not name and len(self.arrays) == 1:
            return next(iter(self.arrays.values()))
        return array

    def _compute_nights(self, table: _OifitsTable, times: Numbers, is_possible: npt.NDArray[np.bool_]) -> Any:
        """Compute the MJD on which the night of each row began; -1 where its time is impossible."""
        site = self.primary.read_text("TELESCOP") or ""
        longitude = _find_array_longitude(table.find_keyword("ARRNAME"), site)
        possible_times = np.where(is_possible, times, 0.0)
        # the day that begins at noon where the telescopes stand
        nights = np.floor(possible_times + longitude / 360.0 - 0.5)
        return np.where(is_possible, nights, -1.0).astype(np.int64)

    def _add_stations(self, granule: _GranuleAccumulator, kind: str, indices: Numbers, names: dict[int, str]) -> None:
        numbers = dict.fromkeys(indices.ravel().astype(np.int64).tolist())
        unknown = [number for number in numbers if number not in names]
        if names and unknown:
            self.doubts[f"{kind} has stations that are not in OI_ARRAY: {unknown[0]}"] = None
        granule.stations |= dict.fromkeys(names.get(number, "") for number in numbers)

    def _note_broken_references(self, table: _OifitsTable, mode: str, ids: npt.NDArray[np.int64]) -> None:
        """Note the targets, modes and channels of a table that other tables do not have."""
        for ident in {*ids.tolist()} - self.targets.keys():
            self.doubts[f"OI_TARGET has no target {ident}"] = None
        if mode not in self.wavelength_tables:
            self.doubts[f"there is no OI_WAVELENGTH {mode}"] = None
            return
        channel_count = self.wavelength_tables[mode].header.read_integer("NAXIS2")
        layout_by_name = _find_column_layout(table.header)
        for name in _OBSERVABLE_COLUMNS[table.kind]:
            if name not in layout_by_name:
                continue
            _, code, repeat, _ = layout_by_name[name]
            if repeat != channel_count and code in _NUMPY_CODES:
                self.doubts[f"{name} has {repeat} channels, but {mode} has {channel_count}"] = None

    def _build_row(
        self, granule: _GranuleAccumulator, target_ids: Sequence[int], modes: Sequence[str], nights: Sequence[int]
    ) -> dict[str, Any]:
        targets = [self.targets[ident] for ident in target_ids if ident in self.targets]
        spectral_columns = self._list_spectral_columns(modes)
        wavelengths = [columns["EFF_WAVE"].ravel() for columns in spectral_columns]
        shortest, longest = _compute_min_and_max(wavelengths)
        first, last = _compute_min_and_max(granule.times)
        low, high = _compute_min_and_max(granule.baselines)
        resolution = None
        if shortest and high:
            resolution = shortest / high * _ARCSEC_PER_RADIAN
        evening = min((night for night in nights if night >= 0), default=None)
        night_text = None
        if evening is not None:
            night_text = str(np.datetime64("1858-11-17") + evening)
        row: dict[str, Any] = {
            **_build_target_values(target_ids, targets),
            "night": night_text,
            "t_min": first,
            "t_max": last,
            "t_exptime": _compute_min_and_max(granule.exposures)[0],
            "em_min": shortest,
            "em_max": longest,
            "em_res_power": _compute_resolving_power(spectral_columns),
            "nb_channels": sum(part.size for part in wavelengths) or None,
            "b_min": low,
            "b_max": high,
            "s_resolution": resolution,
        }
        row["facility_name"] = granule.words.get("ARRNAME") or self.primary.read_text("TELESCOP")
        row["instrument_name"] = self._choose_instrument_name(modes)
        row["instrument_mode"] = "; ".join(modes) or None
        row["correlation"] = granule.words.get("CORRNAME")
        stations = sorted(filter(None, granule.stations))
        row["interferometer_stations"] = " ".join(stations) or None
        for name in _COUNT_COLUMNS_BY_TABLE.values():
            row[name] = granule.counts.get(name, 0)
        return row

    def _list_spectral_columns(self, modes: Sequence[str]) -> list[dict[str, Any]]:
        """List the columns of the wavelength tables of some modes."""
        tables = [self.wavelength_tables[mode] for mode in modes if mode in self.wavelength_tables]
        return [table.columns for table in tables if "EFF_WAVE" in table.columns]

    def _choose_instrument_name(self, modes: Sequence[str]) -> str | None:
        """Choose the instrument of the primary header, or else the names with which the modes begin."""
        instrument = self.primary.read_text("INSTRUME")
        if instrument and instrument.upper() != "MULTIPLE":
            return instrument
        names = dict.fromkeys(re.split(r"[_(/ ]", mode)[0] for mode in modes)
        return " ".join(names) or None


def _is_possible_date(text: str) -> bool:
    """Check a DATE-OBS: a date of ISO 8601 in the years of interferometry, or a short date of the old form."""
    match = re.match(r"(\d{4})-\d\d-\d\d", text)
    if match is None:
        return re.match(r"\d\d/\d\d/\d\d", text) is not None
    first_year, last_year = _YEAR_BOUNDS
    return first_year <= int(match[1]) <= last_year


def _find_known_text(header: HduHeader, keys: Iterable[str]) -> str | None:
    """Find the first of some keywords that has a text other than UNKNOWN."""
    for key in keys:
        text = header.read_text(key)
        if text and text.upper() != "UNKNOWN":
            return text
    return None


def _iterate_granules(
    granules: dict[_GranuleKey, _GranuleAccumulator], *, is_whole_file: bool
) -> Iterator[tuple[list[_GranuleKey], _GranuleAccumulator]]:
    keys = sorted(granules)
    if not is_whole_file:
        for key in keys:
            yield [key], granules[key]
        return
    combined = _GranuleAccumulator()
    for key in keys:
        granule = granules[key]
        combined.times += granule.times
        combined.exposures += granule.exposures
        combined.baselines += granule.baselines
        combined.stations |= granule.stations
        combined.words = granule.words | combined.words
        combined.add_counts(granule.counts)
    yield keys, combined


def _read_targets(tables: Sequence[_OifitsTable]) -> dict[int, _OifitsTarget]:
    """Read the targets by their numbers."""
    targets_by_id: dict[int, _OifitsTarget] = {}
    for table in tables:
        columns = table.columns
        if table.kind != "OI_TARGET" or not {"TARGET_ID", "TARGET"} <= columns.keys():
            continue
        numbers = columns["TARGET_ID"].tolist()
        for index, (number, name) in enumerate(zip(numbers, columns["TARGET"], strict=True)):
            ra, dec = _read_target_position(columns, index)
            targets_by_id.setdefault(int(number), _OifitsTarget(name, ra, dec))
    return targets_by_id


def _read_target_position(columns: dict[str, Any], index: int) -> tuple[float | None, float | None]:
    """Read right ascension and declination of a target, degrees; (None, None) where they are impossible."""
    if not {"RAEP0", "DECEP0"} <= columns.keys():
        return None, None
    ra = float(columns["RAEP0"][index])
    dec = float(columns["DECEP0"][index])
    if -360.0 <= ra <= 360.0 and abs(dec) <= 90.0:
        return ra % 360.0, dec
    return None, None


def _find_array_longitude(*names: str) -> float:
    """Return the longitude of an array, degrees east; 0 for an unknown array.

    ARRAYX and ARRAYY cannot tell it: in real files they are swapped, in other frames, or 0.
    """
    for name in names:
        for word, longitude in _ARRAY_LONGITUDES_DEGREES.items():
            if word in name.upper():
                return longitude
    return 0.0


def _read_station_names(array: _OifitsTable | None) -> dict[int, str]:
    if array is None or not {"STA_NAME", "STA_INDEX"} <= array.columns.keys():
        return {}
    numbers = array.columns["STA_INDEX"].astype(np.int64).tolist()
    return dict(zip(numbers, array.columns["STA_NAME"], strict=True))


def _compute_baselines(table_name: str, columns: dict[str, Any], row_mask: npt.NDArray[np.bool_]) -> list[Numbers]:
    """Compute the projected baselines of rows; a triangle has three sides."""
    sides: list[tuple[Numbers, Numbers]] = []
    for u, v in _UV_COLUMNS.get(table_name, ()):
        if {u, v} <= columns.keys():
            sides.append((columns[u][row_mask], columns[v][row_mask]))
    if len(sides) == 2:
        (u1, v1), (u2, v2) = sides
        sides.append((u1 + u2, v1 + v2))
    return [np.hypot(u, v) for u, v in sides]


def _compute_min_and_max(parts: Iterable[Numbers]) -> tuple[float | None, float | None]:
    """Return the smallest and the largest finite number."""
    all_values = np.concatenate([np.zeros(0), *parts])
    all_values = all_values[np.isfinite(all_values)]
    if len(all_values):
        return (float(all_values.min()), float(all_values.max()))
    return (None, None)


def _compute_resolving_power(spectral_columns: Sequence[dict[str, Any]]) -> float | None:
    """Compute the mean resolving power of all channels."""
    powers: list[Numbers] = [np.zeros(0)]
    for columns in spectral_columns:
        if "EFF_BAND" in columns:
            bands = np.where(columns["EFF_BAND"] > 0.0, columns["EFF_BAND"], np.nan)
            powers.append(columns["EFF_WAVE"].ravel() / bands.ravel())
    power = np.concatenate(powers)
    power = power[np.isfinite(power)]
    if len(power):
        return float(power.mean())
    return None


def _build_target_values(target_ids: Sequence[int], targets: Sequence[_OifitsTarget]) -> dict[str, Any]:
    """Describe the targets of a granule: a single one has a number and a place."""
    names = dict.fromkeys(target.name for target in targets)
    row: dict[str, Any] = {
        "target_name": "; ".join(names) or None,
        "target_id": None,
        "s_ra": None,
        "s_dec": None,
    }
    if len(target_ids) == 1:
        row["target_id"] = target_ids[0]
        if targets:
            row["s_ra"] = targets[0].ra
            row["s_dec"] = targets[0].dec
    return row

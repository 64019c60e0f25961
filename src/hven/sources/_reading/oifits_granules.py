"""Granules of OIFITS (Duvert et al. 2017, A&A 597, A8).

Times, wavelengths, baselines, stations and counts of each target, mode and night of a file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.errors import Place, SourceError
from hven.model.table import MJD_EPOCH, Column, parse_columns
from hven.sources._reading.header_cache import FileHeader
from hven.sources._reading.header_rows import HeaderSource
from hven.sources.fits_headers import HduHeader, read_header

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    from hven.sources import SourceContext
    from hven.sources._reading.data_files import DataFile, DecompressedStream
    from hven.sources._reading.header_rows import HeaderOptions

    Numbers = npt.NDArray[np.float64]

BUFFER_BYTES = 64 << 10  # bytes that are read at a time
MAX_TABLE_BYTES = 1 << 30  # bytes of a table
MAX_HDUS = 20_000
MIN_MJD, MAX_MJD = 36_934.0, 88_069.0  # MJD of 1960 and 2100: an interferometer's times lie between
_YEAR_BOUNDS = (1960, 2100)
_DAY_SECONDS = 86_400.0
# degrees east: where a night of theirs begins and ends
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
_COLUMNS_READ = {
    "OI_TARGET": ("TARGET_ID", "TARGET", "RAEP0", "DECEP0"),
    "OI_WAVELENGTH": ("EFF_WAVE", "EFF_BAND"),
    "OI_ARRAY": ("STA_NAME", "STA_INDEX"),
    **{
        name: (
            "TARGET_ID",
            "MJD",
            "INT_TIME",
            "STA_INDEX",
            *(one for pair in _UV_COLUMNS.get(name, ()) for one in pair),
        )
        for name in _COUNT_COLUMNS_BY_TABLE
    },
}
_TFORM_PATTERN = re.compile(r"\s*(\d*)([LXBIJKAEDCMPQ])")
_NUMPY_CODES = {"B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}
_ELEMENT_BYTES = {"L": 1, "A": 1, "B": 1, "I": 2, "J": 4, "K": 8, "E": 4, "D": 8, "C": 8, "M": 16, "P": 8, "Q": 16}
GRANULE_COLUMNS = tuple(
    one.copy_with(epoch=MJD_EPOCH) if one.unit == "d" else one
    for one in parse_columns("""
    target_name             | string  |        | meta.id;src                | Name of the target, as OI_TARGET has it
    target_id               | int32   |        | meta.id                    | Its number in the file
    s_ra                    | float64 | deg    | pos.eq.ra;meta.main        | Right ascension of the target, as OI_TARGET has it
    s_dec                   | float64 | deg    | pos.eq.dec;meta.main       | Declination of the target, as OI_TARGET has it
    night                   | string  |        | meta.id;obs                | Day on which the night began: from noon to noon where a known array stands, else of UTC
    t_min                   | float64 | d      | time.start;obs.exposure    | First time of its data, MJD
    t_max                   | float64 | d      | time.end;obs.exposure      | Last time of its data, MJD
    t_exptime               | float64 | s      | time.duration;obs.exposure | Shortest time of integration
    em_min                  | float64 | m      | em.wl;stat.min             | Shortest wavelength of the mode
    em_max                  | float64 | m      | em.wl;stat.max             | Longest wavelength of the mode
    em_res_power            | float64 |        | spect.resolution           | Mean resolving power of its channels
    nb_channels             | int32   |        | meta.number;em.wl          | Spectral channels
    facility_name           | string  |        | meta.id;instr.tel          | Interferometer
    instrument_name         | string  |        | meta.id;instr              | Instrument
    instrument_mode         | string  |        | meta.id;instr.setup        | Mode of the instrument: INSNAME
    interferometer_stations | string  |        | meta.id;instr.baseline     | Stations of its telescopes
    nb_vis                  | int32   |        | meta.number                | Rows of complex visibilities
    nb_vis2                 | int32   |        | meta.number                | Rows of squared visibilities
    nb_t3                   | int32   |        | meta.number                | Rows of triple products
    nb_flux                 | int32   |        | meta.number                | Rows of fluxes
    b_min                   | float64 | m      | instr.baseline;stat.min    | Shortest projected baseline
    b_max                   | float64 | m      | instr.baseline;stat.max    | Longest projected baseline
    s_resolution            | float64 | arcsec | pos.angResolution          | Shortest wavelength over longest baseline
    correlation             | string  |        | meta.id                    | Name of the correlations of its values (OI_CORR)
    polarised               | boolean |        | meta.code                  | The file has the instrument's polarisation (OI_INSPOL)
    oifits                  | int32   |        | meta.version               | Version of OIFITS
    date_obs                | string  |        | meta.note;obs              | DATE-OBS as the file has it
    obs_creator_name        | string  |        | meta.id.PI                 | Observer
    datapi                  | string  |        | meta.id.PI                 | Principal investigator
    progid                  | string  |        | meta.id;obs.proposal       | Number of the programme
    procsoft                | string  |        | meta.note                  | Program that made the file
    doubts                  | string  |        | meta.note                  | What in the file is not as the standard has it, and counts here
""")
)
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

    def find_keyword(self, key: str) -> str:
        return self.header.read_text(key) or ""


@dataclass(slots=True)
class _GranuleAccumulator:
    """What is added up of a granule."""

    counts: dict[str, int] = field(default_factory=dict)
    times: list[Numbers] = field(default_factory=list)
    exposures: list[Numbers] = field(default_factory=list)
    baselines: list[Numbers] = field(default_factory=list)
    stations: dict[str, None] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)


class OifitsGranuleSource(HeaderSource):
    """The granules of OIFITS files.

    Parameters
    ----------
    whole_files
        Each file is one row.
    """

    def __init__(
        self, options: HeaderOptions, context: SourceContext, files: Sequence[DataFile] | None, *, whole_files: bool
    ) -> None:
        super().__init__(options, context, files)
        self.whole_files = whole_files

    def find_cache_key(self) -> str:
        """Name the mode and the cards."""
        return f"oifits {'files' if self.whole_files else 'granules'} {self.cards or ''}".strip()

    def list_fixed_columns(self) -> Sequence[Column]:
        """List what is known of each granule."""
        return GRANULE_COLUMNS

    def read_header(self, file: DataFile) -> FileHeader:
        """Read what makes the granules of a file: small tables, and some columns of the large ones."""
        stream = file.open_unhashed(BUFFER_BYTES)
        try:
            primary, tables = _read_tables(stream, file.name)
        finally:
            stream.close()
        if primary is None or not any(table.header.name.upper() in _COUNT_COLUMNS_BY_TABLE for table in tables):
            table_names = ", ".join(dict.fromkeys(table.header.name for table in tables)) or "no table"
            raise SourceError(
                f"has no data of OIFITS: {table_names}",
                place=Place(file=file.name),
                remedy="look what it is, or `ignore:` it",
            )
        card_values = {key: primary.card_values.get(key) for key in self.cards or ()}
        rows = [row | card_values for row in _build_rows(primary, tables, file.name, whole_file=self.whole_files)]
        return FileHeader(rows, {key: primary.comments.get(key, "") for key in card_values})


def _read_tables(stream: DecompressedStream, file: str) -> tuple[HduHeader | None, list[_OifitsTable]]:
    """Read the headers, and those columns of tables that tell what is in them."""
    primary: HduHeader | None = None
    tables: list[_OifitsTable] = []
    for index in range(MAX_HDUS):
        header = read_header(stream.read, index, file)
        if header is None:
            break
        primary = primary or header
        name = header.name.upper()
        if header.hdu_kind != "BINTABLE" or not (name in _COLUMNS_READ or name in {"OI_CORR", "OI_INSPOL"}):
            stream.skip_bytes(header.data_bytes)
            continue
        columns = _read_columns(stream, header, _COLUMNS_READ.get(name, ()), file)
        tables.append(_OifitsTable(header, columns))
    return primary, tables


def _read_columns(
    stream: DecompressedStream, header: HduHeader, wanted_columns: Sequence[str], file: str
) -> dict[str, Any]:
    """Read columns of a table, and pass over the rest of it."""
    width = header.read_integer("NAXIS1")
    count = header.read_integer("NAXIS2")
    data_bytes = header.data_bytes
    if not wanted_columns:
        stream.skip_bytes(data_bytes)
        return {}
    if width * count > MAX_TABLE_BYTES:
        raise SourceError(f"{header.name} has more than {MAX_TABLE_BYTES >> 20} MB", place=Place(file=file))
    places = _find_column_layout(header)
    body = stream.read(width * count)
    stream.skip_bytes(data_bytes - width * count)
    if len(body) < width * count:
        raise SourceError(f"ends within {header.name}", place=Place(file=file), remedy="get the file anew")
    rows = np.frombuffer(body, np.uint8).reshape(count, width)
    columns_by_name: dict[str, Any] = {}
    for name in wanted_columns:
        if name not in places:
            continue
        number, code, repeat, start = places[name]
        end = start + repeat * _ELEMENT_BYTES.get(code, 0)
        if end > width or not repeat:
            raise SourceError(
                f"column {name} of {header.name} lies outside of its row of {width} bytes",
                place=Place(file=file),
                remedy="repair the header",
            )
        cells = np.ascontiguousarray(rows[:, start:end])
        if code == "A":
            columns_by_name[name] = [bytes(cell).partition(b"\0")[0].decode("latin-1").strip() for cell in cells]
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


def _find_column_layout(header: HduHeader) -> dict[str, tuple[int, str, int, int]]:
    """Find number, type, repeat count and first byte of each column, by its name."""
    layout_by_name: dict[str, tuple[int, str, int, int]] = {}
    at = 0
    for number in range(1, header.read_integer("TFIELDS") + 1):
        repeat, code, size = _parse_tform(str(header.card_values.get(f"TFORM{number}") or ""))
        layout_by_name.setdefault(
            str(header.card_values.get(f"TTYPE{number}") or "").strip().upper(), (number, code, repeat, at)
        )
        at += size
    return layout_by_name


@lru_cache(256)
def _parse_tform(text: str) -> tuple[int, str, int]:
    """Read a TFORM: repeat count, letter, bytes."""
    match = _TFORM_PATTERN.match(text.upper())
    if match is None:
        raise SourceError(f"TFORM = {text!r} is no FITS format", remedy="repair the header")
    repeat = int(match[1] or 1)
    code = match[2]
    return repeat, code, (repeat + 7) // 8 if code == "X" else repeat * _ELEMENT_BYTES[code]


def _build_rows(
    primary: HduHeader, tables: Sequence[_OifitsTable], file: str, *, whole_file: bool
) -> Iterator[dict[str, Any]]:
    """Make the rows of a file: granules in the order of their targets, modes and nights."""
    doubts: dict[str, None] = {}
    targets = _read_targets(tables)
    wavelength_tables = {
        table.find_keyword("INSNAME"): table
        for table in reversed(tables)
        if table.header.name.upper() == "OI_WAVELENGTH"
    }
    arrays = {
        table.find_keyword("ARRNAME"): table for table in reversed(tables) if table.header.name.upper() == "OI_ARRAY"
    }
    granules: dict[tuple[int, str, int], _GranuleAccumulator] = {}
    for table in tables:
        if table.header.name.upper() in _COUNT_COLUMNS_BY_TABLE:
            _add_table_rows(
                granules, table, targets, wavelength_tables, arrays, primary.read_text("TELESCOP") or "", doubts
            )
    if not granules:
        raise SourceError("has no row of data", place=Place(file=file), remedy="look what it is, or `ignore:` it")
    dates = [date for table in (primary, *(table.header for table in tables)) if (date := table.read_text("DATE-OBS"))]
    for date in dict.fromkeys(dates):
        year = re.match(r"(\d{4})-\d\d-\d\d", date)
        if (year is None and not re.match(r"\d\d/\d\d/\d\d", date)) or (
            year and not _YEAR_BOUNDS[0] <= int(year[1]) <= _YEAR_BOUNDS[1]
        ):
            doubts[f"DATE-OBS is {date[:40]}"] = None
    if primary.read_text("CONTENT") == "OIFITS2" or any(
        table.header.name.upper() == "OI_TARGET" and table.header.read_integer("OI_REVN") > 1 for table in tables
    ):
        version = 2
    else:
        version = 1
    polarised = {
        name.strip()
        for table in tables
        if table.header.name.upper() == "OI_INSPOL"
        for name in (table.find_keyword("INSNAME"),)
    }
    inspol = any(table.header.name.upper() == "OI_INSPOL" for table in tables)
    primary_values = {
        name: next((text for key in keys if (text := primary.read_text(key)) and text.upper() != "UNKNOWN"), None)
        for name, keys in _PRIMARY_KEYWORDS.items()
    }
    common: dict[str, Any] = primary_values | {
        "oifits": version,
        "date_obs": dates[0] if dates else None,
        "doubts": "; ".join(doubts) or None,
    }
    for keys, granule in _iterate_granules(granules, whole_file=whole_file):
        ids, modes, nights = ([*dict.fromkeys(part)] for part in zip(*keys, strict=True))
        yield (
            common
            | _build_row(
                granule, primary, [(ident, targets.get(ident)) for ident in ids], modes, nights, wavelength_tables
            )
            | {"polarised": inspol and (polarised == {""} or bool(polarised & {*modes}))}
        )


def _iterate_granules(
    granules: dict[tuple[int, str, int], _GranuleAccumulator], *, whole_file: bool
) -> Iterator[tuple[list[tuple[int, str, int]], _GranuleAccumulator]]:
    keys = sorted(granules)
    if not whole_file:
        yield from (([key], granules[key]) for key in keys)
        return
    combined = _GranuleAccumulator()
    for granule in (granules[key] for key in keys):
        combined.times += granule.times
        combined.exposures += granule.exposures
        combined.baselines += granule.baselines
        combined.stations |= granule.stations
        combined.words = granule.words | combined.words
        for name, count in granule.counts.items():
            combined.counts[name] = combined.counts.get(name, 0) + count
    yield keys, combined


def _read_targets(tables: Sequence[_OifitsTable]) -> dict[int, tuple[str, float | None, float | None]]:
    """Read names and places of targets by their numbers."""
    targets_by_id: dict[int, tuple[str, float | None, float | None]] = {}
    for table in tables:
        columns = table.columns
        if table.header.name.upper() != "OI_TARGET" or not {"TARGET_ID", "TARGET"} <= columns.keys():
            continue
        for at, (ident, name) in enumerate(zip(columns["TARGET_ID"].tolist(), columns["TARGET"], strict=True)):
            ra, dec = (float(columns[key][at]) if key in columns else None for key in ("RAEP0", "DECEP0"))
            placed = ra is not None and dec is not None and -360.0 <= ra <= 360.0 and abs(dec) <= 90.0
            targets_by_id.setdefault(
                int(ident), (name, ra % 360.0 if placed and ra is not None else None, dec if placed else None)
            )
    return targets_by_id


def _add_table_rows(
    granules: dict[tuple[int, str, int], _GranuleAccumulator],
    table: _OifitsTable,
    targets: dict[int, Any],
    wavelength_tables: dict[str, _OifitsTable],
    arrays: dict[str, _OifitsTable],
    site: str,
    problems: dict[str, None],
) -> None:
    """Add the rows of a table of data to the granules that they belong to."""
    kind = table.header.name.upper()
    mode = table.find_keyword("INSNAME")
    columns = table.columns
    if not {"TARGET_ID", "MJD"} <= columns.keys():
        problems[f"{kind} has no TARGET_ID or no MJD"] = None
        return
    ids = columns["TARGET_ID"].astype(np.int64)
    times = columns["MJD"]
    real = (times >= MIN_MJD) & (times <= MAX_MJD)
    if not real.all():
        problems[f"{kind} has times that cannot be: MJD {times[~real][0]:.6g}"] = None
    array = arrays.get(table.find_keyword("ARRNAME")) or (
        next(iter(arrays.values())) if len(arrays) == 1 and not table.find_keyword("ARRNAME") else None
    )
    # the day that begins at noon where the telescopes stand
    nights = np.where(
        real,
        np.floor(np.where(real, times, 0.0) + _find_array_longitude(table.find_keyword("ARRNAME"), site) / 360.0 - 0.5),
        -1.0,
    ).astype(np.int64)
    _check_references(table, kind, mode, ids, targets, wavelength_tables, problems)
    names = _read_station_names(array)
    pairs = np.stack([ids, nights], 1)
    for ident, night in np.unique(pairs, axis=0).tolist():
        is_in_granule = (ids == ident) & (nights == night)
        granule = granules.setdefault((ident, mode, night), _GranuleAccumulator())
        granule.counts[_COUNT_COLUMNS_BY_TABLE[kind]] = granule.counts.get(_COUNT_COLUMNS_BY_TABLE[kind], 0) + int(
            is_in_granule.sum()
        )
        granule.times.append(times[is_in_granule & real])
        if "INT_TIME" in columns:
            granule.exposures.append(columns["INT_TIME"][is_in_granule])
            if granule.exposures[-1].min() > _DAY_SECONDS:
                problems[f"INT_TIME is {granule.exposures[-1].min():.6g} s"] = None
        granule.baselines += _compute_baselines(kind, columns, is_in_granule)
        if "STA_INDEX" in columns:
            numbers = dict.fromkeys(columns["STA_INDEX"][is_in_granule].ravel().astype(np.int64).tolist())
            if names and (unknown := [number for number in numbers if number not in names]):
                problems[f"{kind} has stations that OI_ARRAY has not: {unknown[0]}"] = None
            granule.stations |= dict.fromkeys(names.get(number, "") for number in numbers)
        for word in ("ARRNAME", "CORRNAME"):
            if table.find_keyword(word):
                granule.words.setdefault(word, table.find_keyword(word))


def _check_references(
    table: _OifitsTable,
    table_name: str,
    mode: str,
    ids: npt.NDArray[np.int64],
    targets: dict[int, Any],
    wavelength_tables: dict[str, _OifitsTable],
    problems: dict[str, None],
) -> None:
    for ident in {*ids.tolist()} - targets.keys():
        problems[f"OI_TARGET has no target {ident}"] = None
    if mode not in wavelength_tables:
        problems[f"no OI_WAVELENGTH is called {mode}"] = None
        return
    channels = wavelength_tables[mode].header.read_integer("NAXIS2")
    places = _find_column_layout(table.header)
    for name in _OBSERVABLE_COLUMNS[table_name]:
        if name in places and places[name][2] != channels and places[name][1] in _NUMPY_CODES:
            problems[f"{name} has {places[name][2]} channels, and {mode} has {channels}"] = None


def _find_array_longitude(*names: str) -> float:
    """Return the longitude of an array, degrees east; 0 if it is none that is known.

    ARRAYX and ARRAYY of real files are swapped, in other frames, or 0.
    """
    longitudes = (place for name in names for word, place in _ARRAY_LONGITUDES_DEGREES.items() if word in name.upper())
    return next(longitudes, 0.0)


def _read_station_names(array: _OifitsTable | None) -> dict[int, str]:
    if array is None or not {"STA_NAME", "STA_INDEX"} <= array.columns.keys():
        return {}
    return dict(zip(array.columns["STA_INDEX"].astype(np.int64).tolist(), array.columns["STA_NAME"], strict=True))


def _compute_baselines(table_name: str, columns: dict[str, Any], row_mask: npt.NDArray[np.bool_]) -> list[Numbers]:
    """Compute the projected baselines of rows; of a triangle all three sides."""
    sides = [
        (columns[u][row_mask], columns[v][row_mask])
        for u, v in _UV_COLUMNS.get(table_name, ())
        if {u, v} <= columns.keys()
    ]
    if len(sides) == 2:
        sides.append((sides[0][0] + sides[1][0], sides[0][1] + sides[1][1]))
    return [np.hypot(u, v) for u, v in sides]


def _compute_min_and_max(parts: Iterable[Numbers]) -> tuple[float | None, float | None]:
    """Return the smallest and the largest number."""
    all_values = np.concatenate([np.zeros(0), *parts])
    all_values = all_values[np.isfinite(all_values)]
    if len(all_values):
        return (float(all_values.min()), float(all_values.max()))
    return (None, None)


def _build_row(
    granule: _GranuleAccumulator,
    primary: HduHeader,
    targets: Sequence[tuple[int, Any]],
    modes: Sequence[str],
    nights: Sequence[int],
    wavelength_tables: dict[str, _OifitsTable],
) -> dict[str, Any]:
    known_targets = [target for _, target in targets if target is not None]
    if len(known_targets) == len(targets) == 1:
        single = known_targets[0]
    else:
        single = None
    tables = [
        wavelength_tables[mode].columns
        for mode in modes
        if mode in wavelength_tables and "EFF_WAVE" in wavelength_tables[mode].columns
    ]
    shortest, longest = _compute_min_and_max(table["EFF_WAVE"].ravel() for table in tables)
    powers = [
        table["EFF_WAVE"].ravel() / np.where(table["EFF_BAND"] > 0.0, table["EFF_BAND"], np.nan).ravel()
        for table in tables
        if "EFF_BAND" in table
    ]
    power = np.concatenate([np.zeros(0), *powers])
    power = power[np.isfinite(power)]
    first, last = _compute_min_and_max(granule.times)
    low, high = _compute_min_and_max(granule.baselines)
    evening = min((night for night in nights if night >= 0), default=None)
    stations = sorted(filter(None, granule.stations))
    instrument = primary.read_text("INSTRUME")
    return {
        "target_name": "; ".join(dict.fromkeys(target[0] for target in known_targets)) or None,
        "target_id": targets[0][0] if len(targets) == 1 else None,
        "s_ra": single[1] if single else None,
        "s_dec": single[2] if single else None,
        "night": None if evening is None else str(np.datetime64("1858-11-17") + evening),
        "t_min": first,
        "t_max": last,
        "t_exptime": _compute_min_and_max(granule.exposures)[0],
        "em_min": shortest,
        "em_max": longest,
        "em_res_power": float(power.mean()) if len(power) else None,
        "nb_channels": sum(table["EFF_WAVE"].size for table in tables) or None,
        "facility_name": granule.words.get("ARRNAME") or primary.read_text("TELESCOP"),
        "instrument_name": instrument
        if instrument and instrument.upper() != "MULTIPLE"
        else " ".join(dict.fromkeys(re.split(r"[_(/ ]", mode)[0] for mode in modes)) or None,
        "instrument_mode": "; ".join(modes) or None,
        "interferometer_stations": " ".join(stations) or None,
        **{name: granule.counts.get(name, 0) for name in _COUNT_COLUMNS_BY_TABLE.values()},
        "b_min": low,
        "b_max": high,
        "s_resolution": shortest / high * _ARCSEC_PER_RADIAN if shortest and high else None,
        "correlation": granule.words.get("CORRNAME"),
    }

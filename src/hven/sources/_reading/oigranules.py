"""Granules of OIFITS (Duvert et al. 2017, A&A 597, A8): times, wavelengths, baselines, stations and counts of each target, mode and night of a file."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.errors import Place, SourceError
from hven.model.table import MJD, Column, written_columns
from hven.sources._reading.headrows import HeadRows
from hven.sources._reading.keptheads import Heads
from hven.sources.cards import Header, read_header

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    from hven.sources import Context
    from hven.sources._reading.files import DataFile, Stream
    from hven.sources._reading.headrows import HeadOptions

    Numbers = npt.NDArray[np.float64]

LOT = 64 << 10  # bytes that are read at a time
MOST = 1 << 30  # bytes of a table
HDUS = 20_000
FIRST, LAST = 36_934.0, 88_069.0  # MJD of 1960 and 2100: an interferometer's times lie between
_YEARS = (1960, 2100)
_DAY = 86_400.0
# degrees east: where a night of theirs begins and ends
_SITES = {
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
_ARCSEC = 180.0 * 3600.0 / np.pi
_DATA = {"OI_VIS": "nb_vis", "OI_VIS2": "nb_vis2", "OI_T3": "nb_t3", "OI_FLUX": "nb_flux"}
_OBSERVED = {"OI_VIS": ("VISAMP", "VISDATA"), "OI_VIS2": ("VIS2DATA",), "OI_T3": ("T3PHI", "T3AMP"), "OI_FLUX": ("FLUXDATA", "FLUX")}  # fmt: skip
_PLACES = {"OI_VIS": (("UCOORD", "VCOORD"),), "OI_VIS2": (("UCOORD", "VCOORD"),), "OI_T3": (("U1COORD", "V1COORD"), ("U2COORD", "V2COORD"))}  # fmt: skip
_WANTED = {
    "OI_TARGET": ("TARGET_ID", "TARGET", "RAEP0", "DECEP0"),
    "OI_WAVELENGTH": ("EFF_WAVE", "EFF_BAND"),
    "OI_ARRAY": ("STA_NAME", "STA_INDEX"),
    **{name: ("TARGET_ID", "MJD", "INT_TIME", "STA_INDEX", *(one for pair in _PLACES.get(name, ()) for one in pair)) for name in _DATA},
}  # fmt: skip
_FORM = re.compile(r"\s*(\d*)([LXBIJKAEDCMPQ])")
_NUMPY = {"B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}
_SIZES = {"L": 1, "A": 1, "B": 1, "I": 2, "J": 4, "K": 8, "E": 4, "D": 8, "C": 8, "M": 16, "P": 8, "Q": 16}
COLUMNS = tuple(
    one.having(epoch=MJD) if one.unit == "d" else one
    for one in written_columns("""
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
_FROM_PRIMARY = {
    "obs_creator_name": ("OBSERVER",),
    "datapi": ("PI-COI", "PI_COI", "ESO OBS PI-COI NAME"),
    "progid": ("PROG_ID", "PROG-ID", "ESO OBS PROG ID"),
    "procsoft": ("PROCSOFT", "ESO PRO REC1 PIPE ID"),
}


@dataclass(slots=True)
class _Table:
    """A table of an OIFITS file: its header, and columns of numbers or texts."""

    header: Header
    columns: dict[str, Any]

    def word(self, key: str) -> str:
        return self.header.text(key) or ""


@dataclass(slots=True)
class _Granule:
    """What is added up of a granule."""

    counts: dict[str, int] = field(default_factory=dict)
    times: list[Numbers] = field(default_factory=list)
    exposures: list[Numbers] = field(default_factory=list)
    baselines: list[Numbers] = field(default_factory=list)
    stations: dict[str, None] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)


class GranuleRows(HeadRows):
    """The granules of OIFITS files.

    Parameters
    ----------
    whole
        Each file is one row.
    """

    def __init__(self, options: HeadOptions, context: Context, files: Sequence[DataFile] | None, *, whole: bool) -> None:  # fmt: skip
        super().__init__(options, context, files)
        self.whole = whole

    def way(self) -> str:
        """Name the mode and the cards."""
        return f"oifits {'files' if self.whole else 'granules'} {self.cards or ''}".strip()

    def fixed(self) -> Sequence[Column]:
        """List what is known of each granule."""
        return COLUMNS

    def heads(self, file: DataFile) -> Heads:
        """Read what makes the granules of a file: small tables, and some columns of the large ones."""
        stream = file.glance(LOT)
        try:
            primary, tables = _tables(stream, file.name)
        finally:
            stream.close()
        if primary is None or not any(one.header.name.upper() in _DATA for one in tables):
            there = ", ".join(dict.fromkeys(one.header.name for one in tables)) or "no table"
            raise SourceError(f"has no data of OIFITS: {there}", place=Place(file=file.name), remedy="look what it is, or `ignore:` it")  # fmt: skip
        wanted = {key: primary.values.get(key) for key in self.cards or ()}
        rows = [row | wanted for row in _rows(primary, tables, file.name, whole=self.whole)]
        return Heads(rows, {key: primary.comments.get(key, "") for key in wanted})


def _tables(stream: Stream, file: str) -> tuple[Header | None, list[_Table]]:
    """Read the headers, and those columns of tables that tell what is in them."""
    primary: Header | None = None
    found: list[_Table] = []
    for index in range(HDUS):
        header = read_header(stream.read, index, file)
        if header is None:
            break
        primary = primary or header
        name = header.name.upper()
        if header.kind != "BINTABLE" or not (name in _WANTED or name in {"OI_CORR", "OI_INSPOL"}):
            stream.skip(header.data_bytes)
            continue
        found.append(_Table(header, _columns(stream, header, _WANTED.get(name, ()), file)))
    return primary, found


def _columns(stream: Stream, header: Header, wanted: Sequence[str], file: str) -> dict[str, Any]:
    """Read columns of a table, and pass over the rest of it."""
    width, count, whole = header.number("NAXIS1"), header.number("NAXIS2"), header.data_bytes
    if not wanted:
        stream.skip(whole)
        return {}
    if width * count > MOST:
        raise SourceError(f"{header.name} has more than {MOST >> 20} MB", place=Place(file=file))
    places = _layout(header)
    body = stream.read(width * count)
    stream.skip(whole - width * count)
    if len(body) < width * count:
        raise SourceError(f"ends within {header.name}", place=Place(file=file), remedy="get the file anew")
    rows = np.frombuffer(body, np.uint8).reshape(count, width)
    found: dict[str, Any] = {}
    for name in wanted:
        if name not in places:
            continue
        number, code, repeat, start = places[name]
        end = start + repeat * _SIZES.get(code, 0)
        if end > width or not repeat:
            raise SourceError(f"column {name} of {header.name} lies outside of its row of {width} bytes", place=Place(file=file), remedy="repair the header")  # fmt: skip
        cells = np.ascontiguousarray(rows[:, start:end])
        if code == "A":
            found[name] = [bytes(cell).partition(b"\0")[0].decode("latin-1").strip() for cell in cells]
        elif code in _NUMPY:
            values = cells.view(_NUMPY[code]).astype(np.float64)
            scale, zero = header.values.get(f"TSCAL{number}"), header.values.get(f"TZERO{number}")
            if isinstance(scale, int | float) or isinstance(zero, int | float):
                values = values * float(scale or 1.0) + float(zero or 0.0)
            found[name] = values if repeat > 1 else values[:, 0]
    return found


def _layout(header: Header) -> dict[str, tuple[int, str, int, int]]:
    """Find number, type, repeat count and first byte of each column, by its name."""
    found: dict[str, tuple[int, str, int, int]] = {}
    at = 0
    for number in range(1, header.number("TFIELDS") + 1):
        repeat, code, size = _form(str(header.values.get(f"TFORM{number}") or ""))
        found.setdefault(str(header.values.get(f"TTYPE{number}") or "").strip().upper(), (number, code, repeat, at))
        at += size
    return found


@lru_cache(256)
def _form(text: str) -> tuple[int, str, int]:
    """Read a TFORM: repeat count, letter, bytes."""
    match = _FORM.match(text.upper())
    if match is None:
        raise SourceError(f"TFORM = {text!r} is no FITS format", remedy="repair the header")
    repeat, code = int(match[1] or 1), match[2]
    return repeat, code, (repeat + 7) // 8 if code == "X" else repeat * _SIZES[code]


def _rows(primary: Header, tables: Sequence[_Table], file: str, *, whole: bool) -> Iterator[dict[str, Any]]:
    """Make the rows of a file: granules in the order of their targets, modes and nights."""
    doubts: dict[str, None] = {}
    targets = _targets(tables)
    waves = {one.word("INSNAME"): one for one in reversed(tables) if one.header.name.upper() == "OI_WAVELENGTH"}
    arrays = {one.word("ARRNAME"): one for one in reversed(tables) if one.header.name.upper() == "OI_ARRAY"}
    granules: dict[tuple[int, str, int], _Granule] = {}
    for one in tables:
        if one.header.name.upper() in _DATA:
            _add(granules, one, targets, waves, arrays, primary.text("TELESCOP") or "", doubts)
    if not granules:
        raise SourceError("has no row of data", place=Place(file=file), remedy="look what it is, or `ignore:` it")
    dates = [date for one in (primary, *(one.header for one in tables)) if (date := one.text("DATE-OBS"))]
    for date in dict.fromkeys(dates):
        year = re.match(r"(\d{4})-\d\d-\d\d", date)
        if (year is None and not re.match(r"\d\d/\d\d/\d\d", date)) or (year and not _YEARS[0] <= int(year[1]) <= _YEARS[1]):  # fmt: skip
            doubts[f"DATE-OBS is {date[:40]}"] = None
    version = 2 if primary.text("CONTENT") == "OIFITS2" or any(one.header.name.upper() == "OI_TARGET" and one.header.number("OI_REVN") > 1 for one in tables) else 1  # fmt: skip
    polarised = {name.strip() for one in tables if one.header.name.upper() == "OI_INSPOL" for name in (one.word("INSNAME"),)}  # fmt: skip
    inspol = any(one.header.name.upper() == "OI_INSPOL" for one in tables)
    said = {name: next((text for key in keys if (text := primary.text(key)) and text.upper() != "UNKNOWN"), None) for name, keys in _FROM_PRIMARY.items()}  # fmt: skip
    common: dict[str, Any] = said | {
        "oifits": version,
        "date_obs": dates[0] if dates else None,
        "doubts": "; ".join(doubts) or None,
    }
    for keys, granule in _sorted(granules, whole=whole):
        ids, modes, nights = ([*dict.fromkeys(part)] for part in zip(*keys, strict=True))
        yield common | _row(granule, primary, [(ident, targets.get(ident)) for ident in ids], modes, nights, waves) | {
            "polarised": inspol and (polarised == {""} or bool(polarised & {*modes}))
        }  # fmt: skip


def _sorted(granules: dict[tuple[int, str, int], _Granule], *, whole: bool) -> Iterator[tuple[list[tuple[int, str, int]], _Granule]]:  # fmt: skip
    keys = sorted(granules)
    if not whole:
        yield from (([key], granules[key]) for key in keys)
        return
    every = _Granule()
    for one in (granules[key] for key in keys):
        every.times += one.times
        every.exposures += one.exposures
        every.baselines += one.baselines
        every.stations |= one.stations
        every.words = one.words | every.words
        for name, count in one.counts.items():
            every.counts[name] = every.counts.get(name, 0) + count
    yield keys, every


def _targets(tables: Sequence[_Table]) -> dict[int, tuple[str, float | None, float | None]]:
    """Read names and places of targets by their numbers."""
    found: dict[int, tuple[str, float | None, float | None]] = {}
    for one in tables:
        columns = one.columns
        if one.header.name.upper() != "OI_TARGET" or not {"TARGET_ID", "TARGET"} <= columns.keys():
            continue
        for at, (ident, name) in enumerate(zip(columns["TARGET_ID"].tolist(), columns["TARGET"], strict=True)):
            ra, dec = (float(columns[key][at]) if key in columns else None for key in ("RAEP0", "DECEP0"))
            placed = ra is not None and dec is not None and -360.0 <= ra <= 360.0 and abs(dec) <= 90.0
            found.setdefault(int(ident), (name, ra % 360.0 if placed and ra is not None else None, dec if placed else None))  # fmt: skip
    return found


def _add(
    granules: dict[tuple[int, str, int], _Granule], one: _Table, targets: dict[int, Any], waves: dict[str, _Table], arrays: dict[str, _Table], site: str, doubts: dict[str, None]
) -> None:  # fmt: skip
    """Add the rows of a table of data to the granules that they belong to."""
    kind, mode, columns = one.header.name.upper(), one.word("INSNAME"), one.columns
    if not {"TARGET_ID", "MJD"} <= columns.keys():
        doubts[f"{kind} has no TARGET_ID or no MJD"] = None
        return
    ids, times = columns["TARGET_ID"].astype(np.int64), columns["MJD"]
    real = (times >= FIRST) & (times <= LAST)
    if not real.all():
        doubts[f"{kind} has times that cannot be: MJD {times[~real][0]:.6g}"] = None
    array = arrays.get(one.word("ARRNAME")) or (next(iter(arrays.values())) if len(arrays) == 1 and not one.word("ARRNAME") else None)  # fmt: skip
    # the day that begins at noon where the telescopes stand
    nights = np.where(real, np.floor(np.where(real, times, 0.0) + _longitude(one.word("ARRNAME"), site) / 360.0 - 0.5), -1.0).astype(np.int64)  # fmt: skip
    _check(one, kind, mode, ids, targets, waves, doubts)
    names = _stations(array)
    pairs = np.stack([ids, nights], 1)
    for ident, night in np.unique(pairs, axis=0).tolist():
        mine = (ids == ident) & (nights == night)
        granule = granules.setdefault((ident, mode, night), _Granule())
        granule.counts[_DATA[kind]] = granule.counts.get(_DATA[kind], 0) + int(mine.sum())
        granule.times.append(times[mine & real])
        if "INT_TIME" in columns:
            granule.exposures.append(columns["INT_TIME"][mine])
            if granule.exposures[-1].min() > _DAY:
                doubts[f"INT_TIME is {granule.exposures[-1].min():.6g} s"] = None
        granule.baselines += _baselines(kind, columns, mine)
        if "STA_INDEX" in columns:
            numbers = dict.fromkeys(columns["STA_INDEX"][mine].ravel().astype(np.int64).tolist())
            if names and (unknown := [number for number in numbers if number not in names]):
                doubts[f"{kind} has stations that OI_ARRAY has not: {unknown[0]}"] = None
            granule.stations |= dict.fromkeys(names.get(number, "") for number in numbers)
        for word in ("ARRNAME", "CORRNAME"):
            if one.word(word):
                granule.words.setdefault(word, one.word(word))


def _check(
    one: _Table, kind: str, mode: str, ids: npt.NDArray[np.int64], targets: dict[int, Any], waves: dict[str, _Table], doubts: dict[str, None]
) -> None:  # fmt: skip
    for ident in {*ids.tolist()} - targets.keys():
        doubts[f"OI_TARGET has no target {ident}"] = None
    if mode not in waves:
        doubts[f"no OI_WAVELENGTH is called {mode}"] = None
        return
    channels = waves[mode].header.number("NAXIS2")
    places = _layout(one.header)
    for name in _OBSERVED[kind]:
        if name in places and places[name][2] != channels and places[name][1] in _NUMPY:
            doubts[f"{name} has {places[name][2]} channels, and {mode} has {channels}"] = None


def _longitude(*names: str) -> float:
    """Return the longitude of an array, degrees east; 0 if it is none that is known: ARRAYX and ARRAYY of real files are swapped, in other frames, or 0."""
    found = (place for name in names for word, place in _SITES.items() if word in name.upper())
    return next(found, 0.0)


def _stations(array: _Table | None) -> dict[int, str]:
    if array is None or not {"STA_NAME", "STA_INDEX"} <= array.columns.keys():
        return {}
    return dict(zip(array.columns["STA_INDEX"].astype(np.int64).tolist(), array.columns["STA_NAME"], strict=True))


def _baselines(kind: str, columns: dict[str, Any], mine: npt.NDArray[np.bool_]) -> list[Numbers]:
    """Compute the projected baselines of rows; of a triangle all three sides."""
    sides = [(columns[u][mine], columns[v][mine]) for u, v in _PLACES.get(kind, ()) if {u, v} <= columns.keys()]
    if len(sides) == 2:
        sides.append((sides[0][0] + sides[1][0], sides[0][1] + sides[1][1]))
    return [np.hypot(u, v) for u, v in sides]


def _least(parts: Iterable[Numbers]) -> tuple[float | None, float | None]:
    """Return the smallest and the largest number."""
    every = np.concatenate([np.zeros(0), *parts])
    every = every[np.isfinite(every)]
    return (float(every.min()), float(every.max())) if len(every) else (None, None)


def _row(
    one: _Granule, primary: Header, targets: Sequence[tuple[int, Any]], modes: Sequence[str], nights: Sequence[int], waves: dict[str, _Table]
) -> dict[str, Any]:  # fmt: skip
    known = [target for _, target in targets if target is not None]
    single = known[0] if len(known) == len(targets) == 1 else None
    tables = [waves[mode].columns for mode in modes if mode in waves and "EFF_WAVE" in waves[mode].columns]
    shortest, longest = _least(table["EFF_WAVE"].ravel() for table in tables)
    powers = [table["EFF_WAVE"].ravel() / np.where(table["EFF_BAND"] > 0.0, table["EFF_BAND"], np.nan).ravel() for table in tables if "EFF_BAND" in table]  # fmt: skip
    power = np.concatenate([np.zeros(0), *powers])
    power = power[np.isfinite(power)]
    first, last = _least(one.times)
    low, high = _least(one.baselines)
    evening = min((night for night in nights if night >= 0), default=None)
    stations = sorted(filter(None, one.stations))
    instrument = primary.text("INSTRUME")
    return {
        "target_name": "; ".join(dict.fromkeys(target[0] for target in known)) or None,
        "target_id": targets[0][0] if len(targets) == 1 else None,
        "s_ra": single[1] if single else None,
        "s_dec": single[2] if single else None,
        "night": None if evening is None else str(np.datetime64("1858-11-17") + evening),
        "t_min": first,
        "t_max": last,
        "t_exptime": _least(one.exposures)[0],
        "em_min": shortest,
        "em_max": longest,
        "em_res_power": float(power.mean()) if len(power) else None,
        "nb_channels": sum(table["EFF_WAVE"].size for table in tables) or None,
        "facility_name": one.words.get("ARRNAME") or primary.text("TELESCOP"),
        "instrument_name": instrument if instrument and instrument.upper() != "MULTIPLE" else " ".join(dict.fromkeys(re.split(r"[_(/ ]", mode)[0] for mode in modes)) or None,
        "instrument_mode": "; ".join(modes) or None,
        "interferometer_stations": " ".join(stations) or None,
        **{name: one.counts.get(name, 0) for name in _DATA.values()},
        "b_min": low,
        "b_max": high,
        "s_resolution": shortest / high * _ARCSEC if shortest and high else None,
        "correlation": one.words.get("CORRNAME"),
    }  # fmt: skip

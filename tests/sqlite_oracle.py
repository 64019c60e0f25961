"""The reference results of the hundred queries: SQLite over the same files, with geometry from textbooks and astropy.

Nothing here uses Hven. The files are read by their documentation, SQLite computes the relations, and the functions
below, which SQLite calls for each row, compute positions.
"""

from __future__ import annotations

import csv
import gzip
import lzma
import math
import re
import sqlite3
import statistics
import warnings
from collections.abc import Callable, Iterable, Iterator
from xml.etree import ElementTree as ET

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table
from astropy.time import Time
from astropy.units import UnitsWarning

from shared import shared

FIXED_FIELDS = {  # first and last character, and the kind; as ReadMe and the file's header have them
    "hipparcos": {"pm_ra": (21, 29, np.float32), "pm_dec": (30, 38, np.float32), "parallax": (39, 45, np.float32), "vmag": (47, 51, np.float32),
                  "b_v": (52, 56, np.float32), "sp_type": (57, 58, str), "name": (84, 120, str)},
    "tycho": {"tyc1": (1, 4, int), "tyc2": (6, 10, int), "tyc3": (12, 12, int), "pflag": (14, 14, str), "ramdeg": (16, 27, float), "demdeg": (29, 40, float),
              "pmra": (42, 48, float), "pmde": (50, 56, float), "num": (92, 93, int), "btmag": (111, 116, float), "e_btmag": (118, 122, float),
              "vtmag": (124, 129, float), "e_vtmag": (131, 135, float), "prox": (137, 139, int), "hip": (143, 148, int), "ccdm": (149, 151, str),
              "radeg": (153, 164, float), "dedeg": (166, 177, float), "posflg": (201, 201, str), "corr": (203, 206, float)},
}  # fmt: skip
Row = tuple[object, ...]


def parse_cell(text: str, kind: Callable[[str], object]) -> object:
    text = text.strip()
    if not text:
        return None
    return float(np.float32(text)) if kind is np.float32 else kind(text)


def read_fixed_rows(lines: Iterable[str], name: str) -> Iterator[Row]:
    for line in lines:
        yield tuple(parse_cell(line[first - 1 : last], kind) for first, last, kind in FIXED_FIELDS[name].values())


def decompress_file(name: str) -> str:
    return lzma.decompress(shared(name).read_bytes()).decode()


def read_stars(text: str) -> Iterator[Row]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for number, (line, row) in enumerate(zip(lines, read_fixed_rows(lines, "hipparcos"), strict=True), 1):
        dec = float(line[11:13]) + float(line[13:15]) / 60 + float(line[15:19]) / 3600
        ra = 15 * (float(line[0:2]) + float(line[2:4]) / 60 + float(line[4:9]) / 3600)
        yield (number, ra, -dec if line[10] == "-" else dec, *row)


def read_interferometry() -> tuple[list[str], Iterator[Row]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnitsWarning)
        table = Table.read(shared("data/interferometry/jmdc/JMDC_2017-03-28.fits.gz"))
    names = [
        "ID1",
        "ID2",
        "UD_MEAS",
        "LD_MEAS",
        "E_LD_MEAS",
        "BAND",
        "METHOD",
        "BANDCODE",
        "HD",
        "HIP",
        "RAJ2000",
        "DEJ2000",
        "SPTYPE",
    ]

    def plain(name: str, given: object) -> object:
        if given is np.ma.masked or given == b"":
            return None
        if isinstance(given, (bytes, str)):
            text = (given.decode() if isinstance(given, bytes) else given).strip()
            if name in ("RAJ2000", "DEJ2000"):
                parts = [float(part) for part in text.lstrip("+-").split()]
                size = (parts[0] + parts[1] / 60 + parts[2] / 3600) * (15 if name == "RAJ2000" else 1)
                return -size if text.startswith("-") else size
            return text or None
        number = given.item()  # type: ignore[attr-defined]
        return None if math.isnan(number) else number

    return [name.lower() for name in names], (tuple(plain(name, row[name]) for name in names) for row in table[names])


def read_delimited(text: str, delimiter: str, kinds: dict[str, type]) -> tuple[list[str], list[Row]]:
    header, *rows = csv.reader(text.splitlines(), delimiter=delimiter)
    names = [name.strip('#"').lower().lstrip("_") for name in header]
    return names, [
        tuple(parse_cell(cell, kinds.get(name, str)) for name, cell in zip(names, row, strict=True)) for row in rows
    ]


def read_flares() -> tuple[list[str], list[Row]]:
    root = ET.fromstring(gzip.decompress(shared("data/helio/hec/hec_goes_xray.vot.xml.gz").read_bytes()))
    space = "{http://www.ivoa.net/xml/VOTable/v1.1}"
    kinds = {"int": int, "double": float, "char": str}
    fields = [(field.attrib["name"], kinds[field.attrib["datatype"]]) for field in root.iter(f"{space}FIELD")]
    rows = []
    for row in root.iter(f"{space}TR"):
        cells = [(cell.text or "", kind) for cell, (_, kind) in zip(row, fields, strict=True)]
        rows.append(tuple(None if text == "-2147483648" else parse_cell(text, kind) for text, kind in cells))
    return [name for name, _ in fields], rows


# --- the sky -----------------------------------------------------------------------------------------------------


def compute_separation(lon1: float | None, lat1: float | None, lon2: float | None, lat2: float | None) -> float | None:
    """Compute the angle between two positions by Vincenty's formula."""
    if lon1 is None or lat1 is None or lon2 is None or lat2 is None:
        return None
    a, b, c = math.radians(lat1), math.radians(lat2), math.radians(lon2 - lon1)
    y = math.hypot(math.cos(b) * math.sin(c), math.cos(a) * math.sin(b) - math.sin(a) * math.cos(b) * math.cos(c))
    return math.degrees(math.atan2(y, math.sin(a) * math.sin(b) + math.cos(a) * math.cos(b) * math.cos(c)))


def compute_bearing(lon1: float, lat1: float, lon2: float, lat2: float) -> float:
    a, b, c = math.radians(lat1), math.radians(lat2), math.radians(lon2 - lon1)
    return math.atan2(math.sin(c) * math.cos(b), math.cos(a) * math.sin(b) - math.sin(a) * math.cos(b) * math.cos(c))


def is_inside_polygon(lon: float | None, lat: float | None, *corners: float) -> int | None:
    """Test by the winding number whether a position lies in a polygon of great circles, smaller than a hemisphere."""
    if lon is None or lat is None:
        return None
    points = list(zip(corners[::2], corners[1::2], strict=True))
    if sum(math.cos(math.radians(compute_separation(lon, lat, *point))) for point in points) < 0:  # type: ignore[arg-type]
        return 0  # nearer to the antipodes, round which the edges wind too
    turns = [compute_bearing(lon, lat, *point) for point in points]
    whole = sum(
        math.remainder(after - before, 2 * math.pi) for before, after in zip(turns, [*turns[1:], turns[0]], strict=True)
    )
    return int(abs(whole) > math.pi)


def compute_healpix_index(order: int, lon: float, lat: float) -> int:
    """Compute the number of a cell (NESTED), after Gorski et al. 2005, sections 4 and 5."""
    side = 1 << order
    z = math.sin(math.radians(lat))
    t = (lon % 360) / 90
    if abs(z) <= 2 / 3:
        up, down = math.floor(side * (0.5 + t - z * 0.75)), math.floor(side * (0.5 + t + z * 0.75))
        fp, fm = up // side, down // side
        face = (fp & 3) + 4 if fp == fm else (fp & 3 if fp < fm else (fm & 3) + 8)
        x, y = down % side, side - up % side - 1
    else:
        quarter = min(3, int(t))
        part, size = t - quarter, side * math.sqrt(3 * (1 - abs(z)))
        p, m = min(side - 1, int(part * size)), min(side - 1, int((1 - part) * size))
        face, x, y = (quarter, side - m - 1, side - p - 1) if z >= 0 else (quarter + 8, p, m)
    return face * side * side + sum((x >> bit & 1) << 2 * bit | (y >> bit & 1) << 2 * bit + 1 for bit in range(order))


def build_frame_conversion(frame: str, axis: int) -> Callable[[float, float], float]:
    def convert(lon: float, lat: float) -> float:
        there = SkyCoord(lon, lat, unit="deg").transform_to(frame)
        return float((there.spherical.lon, there.spherical.lat)[axis].deg)

    return convert


def build_motion_function(axis: int) -> Callable[..., float]:
    def move(
        ra: float, dec: float, parallax: float, pmra: float, pmdec: float, rv: float, start: float, end: float
    ) -> float:
        here = SkyCoord(
            ra * u.deg, dec * u.deg, distance=1000 / parallax * u.pc, pm_ra_cosdec=pmra * u.mas / u.yr, pm_dec=pmdec * u.mas / u.yr,
            radial_velocity=rv * u.km / u.s, obstime=Time(start, format="jyear", scale="tdb"),
        )  # fmt: skip
        there = here.apply_space_motion(new_obstime=Time(end, format="jyear", scale="tdb"))
        return float((there.ra, there.dec)[axis].deg)

    return move


class Aggregate:
    """An aggregate that Python computes."""

    compute: Callable[[list[float]], float]

    def __init__(self) -> None:
        self.values: list[float] = []

    def step(self, given: float | None) -> None:
        if given is not None:
            self.values.append(given)

    def finalize(self) -> float | None:
        return type(self).compute(self.values) if len(self.values) > 1 else None


class Deviation(Aggregate):
    compute = staticmethod(lambda values: float(np.std(values, ddof=1)))


class Variance(Aggregate):
    compute = staticmethod(lambda values: float(np.var(values, ddof=1)))


class Median(Aggregate):
    compute = staticmethod(statistics.median)


def propagate_nulls(function: Callable[..., object]) -> Callable[..., object]:
    return lambda *given: None if None in given else function(*given)


FUNCTIONS: dict[str, Callable[..., object]] = {
    "sep": compute_separation,
    "inside": is_inside_polygon,
    "healpix": propagate_nulls(compute_healpix_index),
    "gal_l": build_frame_conversion("galactic", 0),
    "gal_b": build_frame_conversion("galactic", 1),
    "ecl_lat": build_frame_conversion("barycentricmeanecliptic", 1),
    "moved_ra": build_motion_function(0),
    "moved_dec": build_motion_function(1),
    "jd": propagate_nulls(lambda text: float(Time(text, scale="utc").jd)),
    "matches": propagate_nulls(lambda pattern, text: int(re.search(pattern, text) is not None)),
    "swap": propagate_nulls(re.sub),
    "unit": propagate_nulls(lambda given, source, goal: float((given * u.Unit(source)).to_value(goal))),
    "nearest": propagate_nulls(lambda given: int(np.rint(given))),
    "digits": propagate_nulls(lambda given, places: float(np.trunc(given * 10**places) / 10**places)),
}


def build_database() -> sqlite3.Connection:
    """Load the files of the collections into SQLite: a database for each collection, with one table, main."""
    base = sqlite3.connect(":memory:")
    tables: dict[str, tuple[list[str], Iterable[Row]]] = {
        "hipparcos": (["star", "ra", "dec", *FIXED_FIELDS["hipparcos"]], read_stars(decompress_file("data/stars/hipparcos-kstars-stars.dat.xz"))),
        "tycho": (
            list(FIXED_FIELDS["tycho"]),
            read_fixed_rows(decompress_file("data/stars/tyc2.dat.07.xz").splitlines(), "tycho"),
        ),
        "jmdc": read_interferometry(),
        "flares": read_flares(),
        "charm": read_delimited(
            gzip.decompress(shared("data/helio/hfc/charm/ch_results.csv.gz").read_bytes()).decode(), ";",
            {"id": int, "chg_num": int, "ch_npix": int, "ch_mean_int": float, "ch_mean_bz": float, "cc_length": int, "ch_lat_width_deg": float},
        ),
        "maser": read_delimited(
            shared("data/vo/epntap/maser_epncore.csv").read_text(), ",",
            {"access_estsize": int, **dict.fromkeys(("spectral_range_max", "spectral_range_min", "time_max", "time_min", "time_sampling_step_max"), float)},
        ),
    }  # fmt: skip
    for name, (columns, rows) in tables.items():
        base.execute(f"ATTACH ':memory:' AS {name}")
        base.execute(f"CREATE TABLE {name}.main ({', '.join(columns)})")
        base.executemany(f"INSERT INTO {name}.main VALUES ({', '.join('?' * len(columns))})", rows)
    base.commit()
    base.create_function(
        "f32", 1, lambda given: None if given is None else float(np.float32(given)), deterministic=True
    )
    base.execute("ATTACH ? AS ongc", (str(shared("data/stars/OpenNGC.kscat.sqlite")),))
    base.execute("ATTACH ':memory:' AS openngc")
    base.execute(
        "CREATE TABLE openngc.main AS SELECT catalog_identifier AS id, name, long_name, ra, dec, f32(magnitude) AS magnitude, "
        "f32(major_axis) AS major_axis FROM ongc.cat"
    )
    base.execute("CREATE INDEX hipparcos.zone ON main (dec)")
    base.execute("CREATE INDEX openngc.zone ON main (dec)")
    base.execute("CREATE INDEX tycho.known ON main (hip)")
    base.execute("CREATE INDEX tycho.zone ON main (dedeg)")
    base.execute("PRAGMA case_sensitive_like = ON")
    for name, function in FUNCTIONS.items():
        base.create_function(name, -1, function, deterministic=True)
    for name, kind in (("deviation", Deviation), ("spread", Variance), ("middle", Median)):
        base.create_aggregate(name, 1, kind)  # type: ignore[arg-type]
    return base

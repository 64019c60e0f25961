"""Writes collections/hfc.sqlite: made-up solar features in the tables of the Heliophysics Feature Catalogue, with their images, outlines and tracks."""

import math
import random
import sqlite3
from datetime import datetime, timedelta
from pathlib import Path

TABLES = """
CREATE TABLE OBSERVATORY (ID_OBSERVATORY integer primary key, OBSERVAT text, INSTRUME text, UNITS text, WAVEMIN real, WAVEUNIT text, FREQUNIT text);
CREATE TABLE OBSERVATIONS (ID_OBSERVATIONS integer primary key, OBSERVATORY_ID integer, DATE_OBS text, DATE_END text, JDINT integer, JDFRAC real, EXP_TIME real,
    C_ROTATION integer, BITPIX integer, NAXIS1 integer, NAXIS2 integer, R_SUN real, CENTER_X real, CENTER_Y real, CDELT1 real, CDELT2 real,
    FILENAME text, FILE_FORMAT text, URL text);
CREATE TABLE PP_OUTPUT (ID_PP_OUTPUT integer primary key, OBSERVATIONS_ID integer, NAXIS1 integer, NAXIS2 integer, R_SUN real, CENTER_X real, CENTER_Y real,
    CDELT1 real, CDELT2 real);
CREATE TABLE NOAA (ID_NOAA integer primary key, NOAA_NUMBER integer);
CREATE TABLE NOAA_AR (NOAA_ID integer, AR_ID integer);
CREATE TABLE ACTIVEREGIONS (ID_AR integer primary key, OBSERVATIONS_ID integer, FEAT_AREA_DEG2 real, FEAT_RVAL real,
    BR_CARR_LONG0_DEG real, BR_CARR_LAT0_DEG real, BR_CARR_LONG1_DEG real, BR_CARR_LAT1_DEG real,
    BR_CARR_LONG2_DEG real, BR_CARR_LAT2_DEG real, BR_CARR_LONG3_DEG real, BR_CARR_LAT3_DEG real);
CREATE TABLE CORONALHOLES (ID_CORONALHOLES integer primary key, OBSERVATIONS_ID_EIT integer, FEAT_DATE text, FEAT_CARR_LONG_DEG real, FEAT_CARR_LAT_DEG real,
    CC_X_PIX integer, CC_Y_PIX integer, CC text, CC_LENGTH integer);
CREATE TABLE CORONALHOLES_TRACKING (ID_CH_TRACK integer primary key, TRACK_ID integer, CH_ID integer, PHENOM integer, REF_FEAT integer, LVL_TRUST integer);
CREATE TABLE SUNSPOTS (ID_SUNSPOT integer primary key, OBSERVATIONS_ID_IC integer, FEAT_CARR_LONG_DEG real, FEAT_CARR_LAT_DEG real, FEAT_DIAM_DEG real,
    UMBRA_NUMBER integer, CC_X_PIX integer, CC_Y_PIX integer, CC text, CC_LENGTH integer);
CREATE TABLE FILAMENTS (ID_FIL integer primary key, PP_OUTPUT_ID integer, FEAT_CARR_LONG_DEG real, FEAT_CARR_LAT_DEG real,
    CC_X_PIX integer, CC_Y_PIX integer, CC text, CC_LENGTH integer);
CREATE TABLE TYPE_III (ID_TYPE_III integer primary key, OBSERVATIONS_ID integer, TIME_START text, TIME_END text, FREQ_MIN real, FREQ_MAX real,
    CC_X_UTC real, CC_Y_MHZ real, CC text, CC_LENGTH integer, SKE_CC_X_UTC real, SKE_CC_Y_MHZ real, SKE_CC text, SKE_CC_LENGTH integer);
"""
STEPS = {
    (-1, 0): 0,
    (-1, -1): 1,
    (0, -1): 2,
    (1, -1): 3,
    (1, 0): 4,
    (1, 1): 5,
    (0, 1): 6,
    (-1, 1): 7,
}  # 0 is left, then anticlockwise
EIT, MDI, MEUDON = (
    (374.87, 511.5, 511.5, 2.63),
    (496.342, 511.3, 509.8, 1.98559),
    (420.0, 511.5, 511.5, 2.31),
)  # R_SUN, CENTER_X, CENTER_Y, CDELT
SPECTRA = (60.0, 0.02), (60.0, 0.25)  # pixels of Wind's dynamic spectra and of STEREO's: seconds, MHz
YEARS = {2004: (datetime(2004, 1, 1), 164.6, -2.95, 2011), 2009: (datetime(2009, 1, 1), 170.4, -3.04, 2078)}
rng = random.Random(1859)
target = Path(__file__).parent / "collections" / "hfc.sqlite"
target.unlink(missing_ok=True)
base = sqlite3.connect(target)
base.executescript(TABLES)


def put(table: str, *values: object) -> None:
    base.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(values))})", values)


def seen_from(moment: datetime) -> tuple[float, float, int]:
    """Carrington longitude and latitude of the middle of the disc, about, and the rotation number."""
    begin, lon, lat, rotation = YEARS[moment.year]
    days = (moment - begin).total_seconds() / 86400
    turned = lon - 13.169 * days
    return turned % 360, lat - 0.097 * days, rotation - math.floor(turned / 360)


def observe(
    number: int, observatory: int, moment: datetime, exposure: float, name: str, image: tuple[float, ...] | None
) -> None:
    days = (moment - datetime(2000, 1, 1, 12)).total_seconds() / 86400
    when = [(moment + timedelta(seconds=more)).isoformat(timespec="milliseconds") for more in (0, exposure)]
    size = (-32, 1024, 1024, *image, image[3]) if image else (None,) * 6 + SPECTRA[number % 2]
    rotation = seen_from(moment)[2] if image else None
    there = f"https://hfc.example.org/maps/{name.replace(' ', '%20')}"
    put(
        "OBSERVATIONS",
        number,
        observatory,
        *when,
        2451545 + int(days // 1),
        days % 1,
        exposure,
        rotation,
        *size,
        name,
        "fits" if image else "dat",
        there,
    )


def outline(
    lon: float, lat: float, wide: float, high: float, moment: datetime, image: tuple[float, ...], made: random.Random
) -> tuple[int, int, str]:
    """Draw a ragged ring around a place on the Sun as an image shows it: first pixel and chain code. What is behind the limb is drawn a bit outside of it."""
    l0, b0, _ = seen_from(moment)
    radius, x0, y0, _ = image
    waves = [(made.uniform(0, 0.3), k, made.uniform(0, 2 * math.pi)) for k in (2, 3, 5)]
    path: list[tuple[int, int]] = []
    for step in range(2000):
        angle = 2 * math.pi * step / 2000
        far = 1 + sum(size * math.sin(k * angle + phase) for size, k, phase in waves)
        b = math.radians(lat + high * far * math.sin(angle))
        away = math.radians(lon + wide * far * math.cos(angle) - l0)
        tilt = math.radians(b0)
        x = math.cos(b) * math.sin(away)
        y = math.sin(b) * math.cos(tilt) - math.cos(b) * math.cos(away) * math.sin(tilt)
        if math.sin(b) * math.sin(tilt) + math.cos(b) * math.cos(away) * math.cos(tilt) < 0:
            x, y = (1.02 * one / math.hypot(x, y) for one in (x, y))
        at = (round(x0 + radius * x), round(y0 + radius * y))
        if not path or at != path[-1]:
            path.append(at)
    return *path[0], coded([*path, path[0]])


def coded(path: list[tuple[int, int]]) -> str:
    """Write a path over pixels as a chain code."""
    code, (x, y) = "", path[0]
    for to_x, to_y in path[1:]:  # a step that is wider than a pixel is several
        while (x, y) != (to_x, to_y):
            move = ((to_x > x) - (to_x < x), (to_y > y) - (to_y < y))
            code, x, y = f"{code}{STEPS[move]}", x + move[0], y + move[1]
    return code


def straight(begin: tuple[int, int], end: tuple[int, int]) -> list[tuple[int, int]]:
    """Draw a straight line over pixels."""
    many = max(abs(b - a) for a, b in zip(begin, end, strict=True)) or 1
    return [tuple(round(a + (b - a) * at / many) for a, b in zip(begin, end, strict=True)) for at in range(many + 1)]


put("OBSERVATORY", 1, "SOHO", "MDI", "Gauss", 676.8, "nm", None)
put("OBSERVATORY", 2, "Wind", "WAVES", "V2/Hz", None, None, "kHz")
put("OBSERVATORY", 3, "STEREO_A", "WAVES", "V2/Hz", None, None, "MHz")
put("OBSERVATORY", 4, "SOHO", "EIT", "DN/s", 19.5, "nm", None)
put("OBSERVATORY", 5, "Meudon", "Spectroheliograph", "counts", 656.28, "nm", None)

images = {}  # of MDI
for number in range(1, 31):  # 20 images, then 10 spectra
    moment = datetime(2004, 1, 1, 0, 3, 1) + timedelta(hours=12 * number, milliseconds=rng.randint(0, 999))
    who, name = (1, f"fd M/fd_M_96m_01d.{number:04d}.fits") if number <= 20 else (2 + number % 2, f"waves_{number}.dat")
    observe(number, who, moment, 30.0, name, MDI if number <= 20 else None)
    images[number] = moment
for number in range(1, 61):
    west, south, wide, high = rng.uniform(0, 340), rng.uniform(-35, 25), rng.uniform(2, 15), rng.uniform(2, 9)
    if number == 7:
        west, wide = -4.5, 8.75  # across longitude 0
    corners = (west, south, west, south + high, west + wide, south, west + wide, south + high)
    put("ACTIVEREGIONS", number, (number - 1) // 3 + 1, wide * high, rng.uniform(1e20, 5e22), *corners)
    if rng.random() < 0.6:
        put("NOAA", number, 10500 + number)
        put("NOAA_AR", number, number)
for number in range(1, 91):
    image = (number - 1) % 20 + 1
    moment = images[image]
    lon, lat, size = seen_from(moment)[0] + rng.uniform(-75, 75), rng.uniform(-35, 35), rng.uniform(0.6, 3.5)
    x, y, code = outline(lon, lat, size / 2 / math.cos(math.radians(lat)), size / 2, moment, MDI, rng)
    habit = (lon + 180) % 360 - 180 if number % 2 else lon % 360  # the tables have both
    put("SUNSPOTS", number, image, habit, lat, size, rng.randint(1, 6), x, y, code, len(code))
for number in range(1, 41):
    spectrum = 21 + (number - 1) % 10
    start = datetime(2004, 1, 1) + timedelta(hours=12 * spectrum, seconds=rng.randint(0, 40000))
    end = start + timedelta(seconds=rng.randint(60, 1800))
    low, high = (20.0 * rng.randint(1, 8), 1000.0) if spectrum % 2 == 0 else (0.02 * rng.randint(1, 8), 16.0)
    # an area that drifts to lower frequencies and becomes wider, and the line in its middle
    step, unit = SPECTRA[spectrum % 2][1], 0.001 if spectrum % 2 == 0 else 1.0
    wide, tall = int((end - start).total_seconds() // 60), round((high - low) * unit / step)
    day = 2451545 + (start - datetime(2000, 1, 1, 12)).total_seconds() / 86400
    right, left, middle = (
        straight(one, (to, 0))
        for one, to in (((min(1, wide), tall), wide), ((0, tall), max(wide - 4, 0)), ((0, tall), max(wide - 2, 0)))
    )
    area, line = coded([(0, tall), *right, *left[::-1]]), coded(middle)
    if number == 17:
        area = area[: len(area) // 2]  # does not close
    first = (day, low * unit + tall * step)
    put(
        "TYPE_III",
        number,
        spectrum,
        start.isoformat(),
        end.isoformat(),
        low,
        high,
        *first,
        area,
        len(area),
        *first,
        line,
        len(line),
    )

# coronal holes live for weeks: each image shows those that are on its side of the Sun, and the tracks say which are the same
holes = [(rng.uniform(0, 360), rng.uniform(-50, 50), rng.uniform(5, 12), rng.uniform(4, 9)) for _ in range(6)]
holes.append((0.0, 15.0, 9.0, 7.0))  # across longitude 0
number = 0
for day in range(1, 31):
    moment = datetime(2009, 1, 1, 0, 0, 12) + timedelta(hours=24 * day)
    observe(100 + day, 4, moment, 12.6, f"efz{moment:%Y%m%d.%H%M%S}", EIT)
    for track, (lon, lat, wide, high) in enumerate(holes, 1):
        away = (lon - seen_from(moment)[0] + 180) % 360 - 180
        if abs(away) > 82:
            continue
        number += 1
        x, y, code = outline(lon, lat, wide, high, moment, EIT, random.Random(track))
        if number == 26:
            code = f"{code[:40]}x{code[41:]}"  # catalogues have such, too
        put("CORONALHOLES", number, 100 + day, moment.isoformat(), lon, lat, x, y, code, len(code))
        put("CORONALHOLES_TRACKING", number, track, number, None, None, 90 - 3 * (number % 5))

# filaments are found in images that were cleaned and brought to one size: theirs is the scale that counts
for day in range(1, 11):
    moment = datetime(2009, 1, 5, 9, 12, 0) + timedelta(days=day)
    observe(200 + day, 5, moment, 0.5, f"mh{moment:%y%m%d.%H%M}.fits", (431.7 + day, 437.2, 446.1, 2.24))
    put("PP_OUTPUT", day, 200 + day, 1024, 1024, *MEUDON, MEUDON[3])
    for piece in range(4):
        lon, lat = seen_from(moment)[0] + rng.uniform(-60, 60), rng.uniform(-45, 45)
        x, y, code = outline(lon, lat, rng.uniform(6, 14), rng.uniform(0.5, 1.2), moment, MEUDON, rng)
        if (day, piece) == (4, 2):
            code = code[: len(code) // 2]  # does not close
        put("FILAMENTS", 4 * day - 3 + piece, day, lon % 360, lat, x, y, code, len(code))
base.commit()
base.close()

"""Writes collections/hfc.sqlite: made-up observations, active regions, coronal holes, sunspots and type III bursts in the tables of the Heliophysics Feature Catalogue."""

import math
import random
import sqlite3
from datetime import datetime, timedelta
from pathlib import Path

TABLES = """
CREATE TABLE OBSERVATORY (ID_OBSERVATORY integer primary key, OBSERVAT text, INSTRUME text, UNITS text, WAVEMIN real, WAVEUNIT text, FREQUNIT text);
CREATE TABLE OBSERVATIONS (ID_OBSERVATIONS integer primary key, OBSERVATORY_ID integer, DATE_OBS text, JDINT integer, JDFRAC real, EXP_TIME real,
    FILENAME text, NBYTES integer, R_SUN real, CENTER_X real, CENTER_Y real, CDELT1 real, CDELT2 real);
CREATE TABLE ACTIVEREGIONS (ID_AR integer primary key, OBSERVATIONS_ID integer, NOAA_NUMBER integer, FEAT_AREA_DEG2 real, FEAT_TOT_FLUX real,
    BR_CARR_LONG0_DEG real, BR_CARR_LAT0_DEG real, BR_CARR_LONG1_DEG real, BR_CARR_LAT1_DEG real,
    BR_CARR_LONG2_DEG real, BR_CARR_LAT2_DEG real, BR_CARR_LONG3_DEG real, BR_CARR_LAT3_DEG real);
CREATE TABLE CORONALHOLES (ID_CORONALHOLES integer primary key, OBSERVATIONS_ID_EIT integer, CC text, CC_X_PIX integer, CC_Y_PIX integer, CC_LENGTH integer);
CREATE TABLE SUNSPOTS (ID_SUNSPOT integer primary key, OBSERVATIONS_ID_IC integer, FEAT_CARR_LONG_DEG real, FEAT_CARR_LAT_DEG real, FEAT_DIAM_DEG real,
    UMBRA_NUMBER integer);
CREATE TABLE TYPE_III (ID_TYPE_III integer primary key, OBSERVATIONS_ID integer, TIME_START text, TIME_END text, FREQ_MIN real, FREQ_MAX real);
"""
rng = random.Random(1859)
target = Path(__file__).parent / "collections" / "hfc.sqlite"
target.unlink(missing_ok=True)
base = sqlite3.connect(target)
base.executescript(TABLES)


def put(table: str, *values: object) -> None:
    base.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(values))})", values)


put("OBSERVATORY", 1, "SOHO", "MDI", "Gauss", 676.8, "nm", None)
put("OBSERVATORY", 2, "Wind", "WAVES", "V2/Hz", None, None, "kHz")
put("OBSERVATORY", 4, "SOHO", "EIT", "DN/s", 19.5, "nm", None)
put("OBSERVATORY", 3, "STEREO_A", "WAVES", "V2/Hz", None, None, "MHz")
for number in range(1, 31):  # 20 images, then 10 spectra
    moment = datetime(2004, 1, 1, 0, 3, 1) + timedelta(hours=12 * number, milliseconds=rng.randint(0, 999))
    days = (moment - datetime(2000, 1, 1, 12)).total_seconds() / 86400
    who, name = (1, f"fd M/fd_M_96m_01d.{number:04d}.fits") if number <= 20 else (2 + number % 2, f"waves_{number}.dat")
    stamp = moment.isoformat(timespec="milliseconds")
    image = (None,) * 5
    put(
        "OBSERVATIONS",
        number,
        who,
        stamp,
        2451545 + int(days // 1),
        days % 1,
        30.0,
        name,
        rng.randint(1, 4) * 1048576,
        *image,
    )
for number in range(1, 61):
    west, south, wide, high = rng.uniform(0, 340), rng.uniform(-35, 25), rng.uniform(2, 15), rng.uniform(2, 9)
    if number == 7:
        west, wide = -4.5, 8.75  # across longitude 0
    corners = (west, south, west, south + high, west + wide, south, west + wide, south + high)
    noaa = 10500 + number if rng.random() < 0.6 else None
    put("ACTIVEREGIONS", number, (number - 1) // 3 + 1, noaa, wide * high, rng.uniform(1e20, 5e22), *corners)
for number in range(1, 91):
    longitude = rng.uniform(-180, 180)  # the tables have both habits
    put(
        "SUNSPOTS",
        number,
        (number - 1) % 20 + 1,
        longitude,
        rng.uniform(-35, 35),
        rng.uniform(0.2, 3.5),
        rng.randint(1, 6),
    )
for number in range(1, 41):
    spectrum = 21 + (number - 1) % 10
    start = datetime(2004, 1, 1) + timedelta(hours=12 * spectrum, seconds=rng.randint(0, 40000))
    end = start + timedelta(seconds=rng.randint(60, 1800))
    low, high = (20.0 * rng.randint(1, 8), 1000.0) if spectrum % 2 == 0 else (0.02 * rng.randint(1, 8), 16.0)
    put("TYPE_III", number, spectrum, start.isoformat(), end.isoformat(), low, high)
chains = random.Random(1908)
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
for number in range(1, 31):
    moment = datetime(2009, 1, 1, 0, 0, 12) + timedelta(hours=24 * number)
    days = (moment - datetime(2000, 1, 1, 12)).total_seconds() / 86400
    stamp, name = moment.isoformat(timespec="milliseconds"), f"efz{moment:%Y%m%d.%H%M%S}"
    put(
        "OBSERVATIONS",
        100 + number,
        4,
        stamp,
        2451545 + int(days // 1),
        days % 1,
        12.6,
        name,
        2097152,
        374.87,
        511.5,
        511.5,
        2.63,
        2.63,
    )
    for piece in (1, 2):  # a ragged ring of pixels, some over the limb
        away, turn, size = chains.uniform(0, 380), chains.uniform(0, 2 * math.pi), chains.uniform(8, 60)
        waves = [(chains.uniform(0, 0.35), k, chains.uniform(0, 2 * math.pi)) for k in (2, 3, 5)]
        path = []
        for step in range(4000):
            angle = 2 * math.pi * step / 4000
            far = size * (1 + sum(high * math.sin(k * angle + phase) for high, k, phase in waves))
            at = (
                round(511.5 + away * math.cos(turn) + far * math.cos(angle)),
                round(511.5 + away * math.sin(turn) + far * math.sin(angle)),
            )
            if not path or at != path[-1]:
                path.append(at)
        path = [one for k, one in enumerate(path) if one != path[k - 1]]
        code = ""
        x, y = path[0]
        for to_x, to_y in [*path[1:], path[0]]:  # a step that is wider than a pixel is several
            while (x, y) != (to_x, to_y):
                move = ((to_x > x) - (to_x < x), (to_y > y) - (to_y < y))
                code, x, y = f"{code}{STEPS[move]}", x + move[0], y + move[1]
        if number == 13 and piece == 2:
            code = f"{code[:40]}x{code[41:]}"  # catalogues have such, too
        put("CORONALHOLES", 2 * number + piece - 2, 100 + number, code, *path[0], len(code))
base.commit()
base.close()

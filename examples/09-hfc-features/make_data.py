"""Writes collections/hfc.sqlite: made-up solar features in all tables of the Heliophysics Feature Catalogue, with their images, outlines and tracks."""

import math
import random
import sqlite3
from datetime import datetime, timedelta
from pathlib import Path

from tables import statements

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
WAYS = [*STEPS]
EIT, MDI, MEUDON, NRH = (
    (374.87, 511.5, 511.5, 2.63),
    (496.342, 511.3, 509.8, 1.98559),
    (420.0, 511.5, 511.5, 2.31),
    (32.5, 63.5, 63.5, 30.0),
)  # R_SUN, CENTER_X, CENTER_Y, CDELT
SPECTRA = (60.0, 0.02), (60.0, 0.25)  # pixels of Wind's dynamic spectra and of STEREO's: seconds, MHz
YEARS = {2004: (datetime(2004, 1, 1), 164.6, -2.95, 2011), 2009: (datetime(2009, 1, 1), 170.4, -3.04, 2078)}
rng = random.Random(1859)
target = Path(__file__).parent / "collections" / "hfc.sqlite"
target.unlink(missing_ok=True)
base = sqlite3.connect(target)
for statement in statements():
    base.execute(statement)
FOUND = {
    "SNAPSHOT_PATH": "https://hfc.example.org/snapshots/",
    "FEAT_FILENAME": "made_up.csv",
    "RUN_DATE": "2012-03-01T00:00:00",
}


def put(table: str, **values: object) -> None:
    """Write a row; what is not said is null."""
    base.execute(
        f"INSERT INTO {table} ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})", [*values.values()]
    )


def compute_disc_centre(moment: datetime) -> tuple[float, float, int]:
    """Carrington longitude and latitude of the middle of the disc, about, and the rotation number."""
    begin, lon, lat, rotation = YEARS[moment.year]
    days = (moment - begin).total_seconds() / 86400
    turned = lon - 13.169 * days
    return turned % 360, lat - 0.097 * days, rotation - math.floor(turned / 360)


def observe(
    number: int,
    observatory: int,
    moment: datetime,
    exposure: float,
    name: str,
    image: tuple[float, ...] | None,
    size: int = 1024,
) -> None:
    """Write an observation: an image of the Sun with its scale, or a spectrum with its steps."""
    days = (moment - datetime(2000, 1, 1, 12)).total_seconds() / 86400
    begin, end = ((moment + timedelta(seconds=more)).isoformat(timespec="milliseconds") for more in (0, exposure))
    if image is not None:
        seen = dict(zip(("R_SUN", "CENTER_X", "CENTER_Y", "CDELT1", "CDELT2"), (*image, image[3]), strict=True))
        seen |= {"BITPIX": -32, "NAXIS1": size, "NAXIS2": size, "C_ROTATION": compute_disc_centre(moment)[2]}
    else:
        seen = dict(zip(("CDELT1", "CDELT2"), SPECTRA[number % 2], strict=True))
    put(
        "OBSERVATIONS", ID_OBSERVATIONS=number, OBSERVATORY_ID=observatory, DATE_OBS=begin, DATE_END=end, JDINT=2451545 + int(days // 1), JDFRAC=days % 1,
        EXP_TIME=exposure, **seen, FILENAME=name, FILE_FORMAT="fits" if image else "dat", URL=f"https://hfc.example.org/maps/{name.replace(' ', '%20')}",
    )  # fmt: skip


def describe_contour(x: int, y: int, code: str, image: tuple[float, ...], moment: datetime) -> dict[str, object]:
    """Give what the tables say of a contour: its code and start, its box and middle in pixels, arcseconds, and on the Sun (Stonyhurst, Carrington)."""
    path = [(x, y)]
    for digit in code:
        step = WAYS[int(digit)] if digit.isdigit() else (0, 0)
        path.append((path[-1][0] + step[0], path[-1][1] + step[1]))
    found: dict[str, object] = {"CC_X_PIX": x, "CC_Y_PIX": y, "CC": code, "CC_LENGTH": len(code)}
    radius, x0, y0, scale = image
    found |= {"CC_X_ARCSEC": (x - x0) * scale, "CC_Y_ARCSEC": (y - y0) * scale}
    east, west = min(at[0] for at in path), max(at[0] for at in path)
    south, north = min(at[1] for at in path), max(at[1] for at in path)
    middle = sum(at[0] for at in path) / len(path), sum(at[1] for at in path) / len(path)
    corners = [(east, south), (east, north), (west, south), (west, north)]
    for name, at in [
        *((f"BR_{{}}{corner}_{{}}", place) for corner, place in enumerate(corners)),
        ("FEAT_{}_{}", middle),
    ]:
        for axis, value, zero in (("X", at[0], x0), ("Y", at[1], y0)):
            found[name.format(axis, "PIX")] = round(value)
            found[name.format(axis, "ARCSEC")] = (value - zero) * scale
    lon, lat = on_the_sun((middle[0] - x0) / radius, (middle[1] - y0) / radius, moment)
    if lon is not None:
        away = (lon - compute_disc_centre(moment)[0] + 180) % 360 - 180
        found |= {"FEAT_HG_LONG_DEG": away, "FEAT_HG_LAT_DEG": lat, "FEAT_CARR_LONG_DEG": lon, "FEAT_CARR_LAT_DEG": lat}
    return found


def on_the_sun(x: float, y: float, moment: datetime) -> tuple[float | None, float | None]:
    """Turn a place on the disc (radius 1) to Carrington's longitude and latitude; None off the disc."""
    l0, b0, _ = compute_disc_centre(moment)
    if x * x + y * y >= 1:
        return None, None
    z, tilt = math.sqrt(1 - x * x - y * y), math.radians(b0)
    lat = math.asin(y * math.cos(tilt) + z * math.sin(tilt))
    away = math.atan2(x, z * math.cos(tilt) - y * math.sin(tilt))
    return (l0 + math.degrees(away)) % 360, math.degrees(lat)


def outline(
    lon: float, lat: float, wide: float, high: float, moment: datetime, image: tuple[float, ...], made: random.Random
) -> tuple[int, int, str]:
    """Draw a ragged ring around a place on the Sun as an image shows it: first pixel and chain code. What is behind the limb is drawn a bit outside of it."""
    l0, b0, _ = compute_disc_centre(moment)
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
    return *path[0], encode_chain([*path, path[0]])


def encode_chain(path: list[tuple[int, int]]) -> str:
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


for number, (who, instrument, telescope, units, wave, unit, kind) in enumerate(
    (
        ("SOHO", "MDI", "MDI", "Gauss", 676.8, "nm", "remote-sensing"),
        ("Wind", "WAVES", "RAD1", "V2/Hz", None, None, "dynamic spectrum"),
        ("STEREO_A", "WAVES", "HFR", "V2/Hz", None, None, "dynamic spectrum"),
        ("SOHO", "EIT", "EIT", "DN/s", 19.5, "nm", "remote-sensing"),
        ("Meudon", "Spectroheliograph", "Spectroheliograph", "counts", 656.28, "nm", "remote-sensing"),
        ("Nancay", "Radioheliograph", "NRH", "K", 164.0, "MHz", "remote-sensing"),
    ),
    1,
):
    put("OBSERVATORY", ID_OBSERVATORY=number, OBSERVAT=who, INSTRUME=instrument, TELESCOP=telescope, UNITS=units, WAVEMIN=wave, WAVEMAX=wave, WAVEUNIT=unit, OBS_TYPE=kind)  # fmt: skip
for number, (code, feature) in enumerate((("SMART", "Active regions"), ("CHARM", "Coronal holes"), ("SDOSS", "Sunspots"), ("SOSS", "Filaments"), ("SoHOPro", "Prominences"), ("NRH2D", "Radio sources"), ("RABAT3", "Type III"), ("RABAT2", "Type II")), 1):  # fmt: skip
    put(
        "FRC_INFO",
        ID_FRC_INFO=number,
        INSTITUT="A data centre",
        CODE=code,
        VERSION="1.0",
        FEATURE_NAME=feature,
        ENC_MET="chain code",
    )
put("PP_INFO", ID_PP_INFO=1, INSTITUT="A data centre", CODE="egso_sfc", VERSION="1.0")
put("ANNOTATIONS", ID_ANNOTATION=1, FIELD_NAME="CC", TABLE_NAME="ACTIVEREGIONS", DESCRIPTION="Boundary chain code")

images = {}  # of MDI
for number in range(1, 31):  # 20 images, then 10 spectra
    moment = datetime(2004, 1, 1, 0, 3, 1) + timedelta(hours=12 * number, milliseconds=rng.randint(0, 999))
    who, name = (1, f"fd M/fd_M_96m_01d.{number:04d}.fits") if number <= 20 else (2 + number % 2, f"waves_{number}.dat")
    observe(number, who, moment, 30.0, name, MDI if number <= 20 else None)
    images[number] = moment
for number in range(1, 61):
    image = (number - 1) // 3 + 1
    moment = images[image]
    lon, lat = compute_disc_centre(moment)[0] + rng.uniform(-60, 60), rng.uniform(-35, 30)
    wide, high = rng.uniform(1.5, 7), rng.uniform(1.5, 4.5)
    if number == 40:
        lon, lat, wide, high = 0.7, 12.0, 5.0, 3.0  # across longitude 0
    x, y, code = outline(lon, lat, wide, high, moment, MDI, rng)
    put(
        "ACTIVEREGIONS", ID_AR=number, FRC_INFO_ID=1, OBSERVATIONS_ID=image, FEAT_DATE=moment.isoformat(), FEAT_AREA_DEG2=math.pi * wide * high,
        FEAT_RVAL=rng.uniform(1e20, 5e22), **describe_contour(x, y, code, MDI, moment), **FOUND,
    )  # fmt: skip
    if rng.random() < 0.6:
        put("NOAA", ID_NOAA=number, NOAA_NUMBER=10500 + number, DATE_OBS=moment.isoformat())
        put("NOAA_AR", NOAA_ID=number, AR_ID=number)
put("NOAA", ID_NOAA=99, NOAA_NUMBER=10599)
put("NOAA_AR", NOAA_ID=99, AR_ID=12)  # one that NOAA takes for two: a row of VIEW_AR_HQI for each
for number in range(1, 4):
    put(
        "ACTIVEREGIONS_TRACKING",
        ID_AR_TRACK=number,
        TRACK_ID=1,
        AR_ID=3 * number - 2,
        LVL_TRUST=80,
        TRACK_FILENAME="tracks.csv",
    )
for number in range(1, 91):
    image = (number - 1) % 20 + 1
    moment = images[image]
    lon, lat, size = compute_disc_centre(moment)[0] + rng.uniform(-75, 75), rng.uniform(-35, 35), rng.uniform(0.6, 3.5)
    x, y, code = outline(lon, lat, size / 2 / math.cos(math.radians(lat)), size / 2, moment, MDI, rng)
    habit = (lon + 180) % 360 - 180 if number % 2 else lon % 360  # the tables have both
    said = describe_contour(x, y, code, MDI, moment) | {"FEAT_CARR_LONG_DEG": habit, "FEAT_CARR_LAT_DEG": lat}
    put(
        "SUNSPOTS",
        ID_SUNSPOT=number,
        FRC_INFO_ID=3,
        OBSERVATIONS_ID_IC=image,
        FEAT_DIAM_DEG=size,
        UMBRA_NUMBER=rng.randint(1, 6),
        **said,
        **FOUND,
    )
    if number % 9 == 0:
        put("NOAA_SP", NOAA_ID=99, SUNSPOT_ID=number)


def spectral(day: float, bottom: float, top: float, wide: int, tall: int, seconds: float) -> dict[str, object]:
    """Give the box of a burst: corners 0 below and 1 above at its begin, 2 and 3 at its end; times in days, frequencies in MHz."""
    found: dict[str, object] = {}
    for corner in range(4):
        x, y = wide * (corner // 2), tall * (corner % 2)
        found |= {f"BR_X{corner}_PIX": x, f"BR_Y{corner}_PIX": y}
        found |= {f"BR_X{corner}_UTC": day + x * seconds / 86400, f"BR_Y{corner}_MHZ": top if corner % 2 else bottom}
    return found


for number in range(1, 41):
    spectrum = 21 + (number - 1) % 10
    start = datetime(2004, 1, 1) + timedelta(hours=12 * spectrum, seconds=rng.randint(0, 40000))
    end = start + timedelta(seconds=rng.randint(60, 1800))
    low, high = (0.02 * rng.randint(1, 8), 1.0 if spectrum % 2 == 0 else 16.0)
    # an area that drifts to lower frequencies and becomes wider, and the line in its middle
    steps = SPECTRA[spectrum % 2]
    wide, tall = int((end - start).total_seconds() // 60), round((high - low) / steps[1])
    day = 2451545 + (start - datetime(2000, 1, 1, 12)).total_seconds() / 86400
    right, left, middle = (
        straight(one, (to, 0))
        for one, to in (((min(1, wide), tall), wide), ((0, tall), max(wide - 4, 0)), ((0, tall), max(wide - 2, 0)))
    )
    area, line = encode_chain([(0, tall), *right, *left[::-1]]), encode_chain(middle)
    if number == 17:
        area = area[: len(area) // 2]  # does not close
    first = {f"{what}CC_X_UTC": day for what in ("", "SKE_")} | {
        f"{what}CC_Y_MHZ": low + tall * steps[1] for what in ("", "SKE_")
    }
    first |= {f"{what}CC_{axis}_PIX": at for what in ("", "SKE_") for axis, at in (("X", 0), ("Y", tall))}
    put(
        "TYPE_III", ID_TYPE_III=number, FRC_INFO_ID=7, OBSERVATIONS_ID=spectrum, TIME_START=start.isoformat(), TIME_END=end.isoformat(), **spectral(day, low, high, wide, tall, steps[0]),
        **first, CC=area, CC_LENGTH=len(area), SKE_CC=line, SKE_CC_LENGTH=len(line), MULTIPLE=0, LVL_TRUST=100, **FOUND,
    )  # fmt: skip
    if number <= 12:  # type II bursts drift slowly, and have a skeleton alone
        line = encode_chain(straight((0, 40), (25, 0)))
        put(
            "TYPE_II", ID_TYPE_II=number, FRC_INFO_ID=8, OBSERVATIONS_ID=spectrum, TIME_START=start.isoformat(), TIME_END=(start + timedelta(seconds=25 * steps[0])).isoformat(),
            **spectral(day, 0.1, 0.1 + 40 * steps[1], 25, 40, steps[0]), SKE_CC_X_PIX=0, SKE_CC_Y_PIX=40, SKE_CC_X_UTC=start.isoformat(), SKE_CC_Y_MHZ=0.1 + 40 * steps[1], SKE_CC=line,
            SKE_CC_LENGTH=len(line), COMPONENT="FH"[number % 2], LVL_TRUST=50, **FOUND,
        )  # fmt: skip

# coronal holes live for weeks: each image shows those that are on its side of the Sun, and the tracks say which are the same
holes = [(rng.uniform(0, 360), rng.uniform(-50, 50), rng.uniform(5, 12), rng.uniform(4, 9)) for _ in range(6)]
holes.append((0.0, 15.0, 9.0, 7.0))  # across longitude 0
number = 0
for day in range(1, 31):
    moment = datetime(2009, 1, 1, 0, 0, 12) + timedelta(hours=24 * day)
    observe(100 + day, 4, moment, 12.6, f"efz{moment:%Y%m%d.%H%M%S}", EIT)
    put("CHGROUPS", ID_CHGROUPS=day, CH_NUMS="all of an image")
    for track, (lon, lat, wide, high) in enumerate(holes, 1):
        away = (lon - compute_disc_centre(moment)[0] + 180) % 360 - 180
        if abs(away) > 82:
            continue
        number += 1
        x, y, code = outline(lon, lat, wide, high, moment, EIT, random.Random(track))
        if number == 26:
            code = f"{code[:40]}x{code[41:]}"  # catalogues have such, too
        said = describe_contour(x, y, code, EIT, moment) | {"FEAT_CARR_LONG_DEG": lon, "FEAT_CARR_LAT_DEG": lat}
        put(
            "CORONALHOLES",
            ID_CORONALHOLES=number,
            CHGROUPS_ID=day,
            FRC_INFO_ID=2,
            OBSERVATIONS_ID_EIT=100 + day,
            FEAT_DATE=moment.isoformat(),
            **said,
            **FOUND,
        )
        put(
            "CORONALHOLES_TRACKING",
            ID_CH_TRACK=number,
            TRACK_ID=track,
            CH_ID=number,
            LVL_TRUST=90 - 3 * (number % 5),
            TRACK_FILENAME="tracks.csv",
        )

# filaments are found in images that were cleaned and brought to one size: theirs is the scale that counts; so are prominences, beyond the limb
for day in range(1, 11):
    moment = datetime(2009, 1, 5, 9, 12, 0) + timedelta(days=day)
    observe(200 + day, 5, moment, 0.5, f"mh{moment:%y%m%d.%H%M}.fits", (431.7 + day, 437.2, 446.1, 2.24))
    size = dict(zip(("R_SUN", "CENTER_X", "CENTER_Y", "CDELT1", "CDELT2"), (*MEUDON, MEUDON[3]), strict=True))
    put(
        "PP_OUTPUT",
        ID_PP_OUTPUT=day,
        PP_INFO_ID=1,
        OBSERVATIONS_ID=200 + day,
        NAXIS1=1024,
        NAXIS2=1024,
        **size,
        STANDARD=1,
    )
    for piece in range(4):
        lon, lat = compute_disc_centre(moment)[0] + rng.uniform(-60, 60), rng.uniform(-45, 45)
        x, y, code = outline(lon, lat, rng.uniform(6, 14), rng.uniform(0.5, 1.2), moment, MEUDON, rng)
        if (day, piece) == (4, 2):
            code = code[: len(code) // 2]  # does not close
        name = 4 * day - 3 + piece
        said = describe_contour(x, y, code, MEUDON, moment) | {
            "FEAT_CARR_LONG_DEG": lon % 360,
            "FEAT_CARR_LAT_DEG": lat,
        }
        put("FILAMENTS", ID_FIL=name, FRC_INFO_ID=4, PP_OUTPUT_ID=day, **said, **FOUND)
        put("FILAMENTS_TRACKING", ID_FIL_TRACK=name, TRACK_ID=piece + 1, FIL_ID=name, LVL_TRUST=70)
    blobs = []  # two of each prominence, their codes in one text
    angle = math.radians(rng.uniform(20, 160))
    for more in (0.0, 0.03):
        at = [(round(511.5 + 435 * math.sin(angle + more) + 6 * math.cos(turn)), round(511.5 + 435 * math.cos(angle + more) + 6 * math.sin(turn))) for turn in (k * math.pi / 30 for k in range(61))]  # fmt: skip
        blobs.append((*at[0], encode_chain([*at, at[0]])))
    lon, lat = on_the_sun(0.999 * math.sin(angle), 0.999 * math.cos(angle), moment)
    put(
        "PROMINENCES", ID_PROMINENCE=day, FRC_INFO_ID=5, PP_OUTPUT_ID=day, BASE_MID_CARR_LONG_DEG=lon, BASE_MID_CARR_LAT_DEG=lat, BLOB_COUNT=2, BLOB_SEPARATOR=";",
        CC_X_PIX=";".join(str(one[0]) for one in blobs), CC_Y_PIX=";".join(str(one[1]) for one in blobs), CC=";".join(one[2] for one in blobs), FEAT_HEIGHT_KM=25_000.0 + 1_000 * day, **FOUND,
    )  # fmt: skip

# sources of a radioheliograph, which sees the corona: some reach beyond the limb
for day in range(1, 9):
    moment = datetime(2009, 1, 3, 12, 0, 0) + timedelta(days=day)
    observe(300 + day, 6, moment, 10.0, f"nrh2_1640_{moment:%Y%m%d}.fts", NRH, 128)
    lon, lat = compute_disc_centre(moment)[0] + 20.0 * (day - 4), rng.uniform(-30, 30)
    x, y, code = outline(lon, lat, 14.0, 11.0, moment, NRH, rng)
    put(
        "RADIOSOURCES",
        ID_RS=day,
        FRC_INFO_ID=6,
        OBSERVATIONS_ID=300 + day,
        FEAT_MAX_INT=rng.uniform(1e6, 9e6),
        **describe_contour(x, y, code, NRH, moment),
        **FOUND,
    )
base.commit()
base.close()

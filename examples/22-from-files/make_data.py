"""Writes OIFITS files of two nights and modes, with some of what real ones have wrong, and PDS3 cubes with their labels in zip archives."""

import itertools
import random
import struct
import zipfile
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

rng = random.Random(2022)
here = Path(__file__).parent / "collections"
STARS = {"HD 45677": (97.072, -13.053), "CO Ori": (81.910, 11.428), "V838 Mon": (106.022, -3.847)}
STATIONS = {"A0": 1, "B2": 5, "C1": 9, "D0": 13, "G1": 17, "J3": 21}
MODES = {"GRAVITY_SC": (1.99e-6, 2.45e-6, 40), "GRAVITY_FT": (2.03e-6, 2.35e-6, 5)}


def extension(name: str, rows: Table, **cards: str) -> fits.BinTableHDU:
    made = fits.table_to_hdu(rows)
    made.name = name
    made.header["OI_REVN"] = 2
    made.header.update({key.replace("_", "-"): value for key, value in cards.items()})
    return made


def build_visibilities(
    mode: str, ident: int, night: float, stations: list[str], size: int, date: str
) -> fits.BinTableHDU:
    """Squared visibilities of some baselines of a target in a night."""
    pairs = [*itertools.combinations(stations, size)]
    u, v = ([rng.uniform(-90, 90) for _ in pairs] for _ in "uv")
    values = {
        "TARGET_ID": np.full(len(pairs), ident, "i2"), "MJD": [night + rng.uniform(0, 0.1) for _ in pairs], "INT_TIME": [30.0] * len(pairs),
        "VIS2DATA": np.full((len(pairs), MODES[mode][2]), 0.5), "UCOORD": u, "VCOORD": v, "STA_INDEX": np.array([[STATIONS[one] for one in pair] for pair in pairs], "i2"),
    }  # fmt: skip
    table = Table(values, units={"MJD": "d", "INT_TIME": "s", "UCOORD": "m", "VCOORD": "m"})
    return extension("OI_VIS2", table, INSNAME=mode, ARRNAME="VLTI", DATE_OBS=date)


data = here / "oifits_granules" / "data"
data.mkdir(exist_ok=True)
for number in range(12):
    stars = rng.sample(list(STARS), 2 if number % 4 == 0 else 1)
    modes = ["GRAVITY_SC", "GRAVITY_FT"] if number % 3 == 0 else ["GRAVITY_SC"]
    stations = rng.sample(list(STATIONS), 4)
    nights = [59000.1 + 20 * number, 59001.1 + 20 * number][: 1 + (number % 5 == 0)]
    date = "1564-02-15" if number == 7 else str(np.datetime64("1858-11-17") + int(nights[0]))
    primary = fits.PrimaryHDU()
    primary.header.update({"CONTENT": "OIFITS2", "TELESCOP": "ESO-VLTI", "INSTRUME": "GRAVITY", "DATE-OBS": date, "PROG_ID": f"10{number % 5}.C-0{100 + number}(A)", "OBSERVER": "UNKNOWN", "PROCSOFT": "made up"})  # fmt: skip
    targets = Table({"TARGET_ID": np.arange(1, len(stars) + 1, dtype=np.int16), "TARGET": stars, "RAEP0": [STARS[star][0] for star in stars], "DECEP0": [STARS[star][1] for star in stars]}, units=[None, None, "deg", "deg"])  # fmt: skip
    array = Table({"STA_NAME": stations, "STA_INDEX": np.array([STATIONS[one] for one in stations], dtype=np.int16)})
    parts = [extension("OI_ARRAY", array, ARRNAME="VLTI", FRAME="GEOCENTRIC"), extension("OI_TARGET", targets)]
    for mode in modes:
        short, long, channels = MODES[mode]
        edges = np.linspace(short, long, channels + 1)
        waves = Table({"EFF_WAVE": ((edges[1:] + edges[:-1]) / 2).astype("f4"), "EFF_BAND": np.diff(edges).astype("f4")}, units=["m", "m"])  # fmt: skip
        # several tables of a kind, some of them before those that they name
        some = [build_visibilities(mode, ident, night, stations, 2, date) for ident in range(1, len(stars) + 1) for night in nights]  # fmt: skip
        parts = [*some[:1], *parts, extension("OI_WAVELENGTH", waves, INSNAME=mode), *some[1:]]
    fits.HDUList([primary, *parts]).writeto(data / f"GRAVI_{number:02}.fits", overwrite=True)

LABEL = """\
PDS_VERSION_ID = PDS3
RECORD_TYPE = FIXED_LENGTH
RECORD_BYTES = 512
LABEL_RECORDS = 4
^QUBE = 5
PRODUCT_ID = "{name}"
TARGET_NAME = "MARS"
ORBIT_NUMBER = {orbit}
START_TIME = {start}
STOP_TIME = {stop}
EASTERNMOST_LONGITUDE = {east} <DEG>
WESTERNMOST_LONGITUDE = {west} <DEG>
MAXIMUM_LATITUDE = {north} <DEG>
MINIMUM_LATITUDE = {south} <DEG>
SOLAR_DISTANCE = {distance} <KM>
OBJECT = QUBE
 AXES = 3
 AXIS_NAME = (SAMPLE,BAND,LINE)
 CORE_ITEMS = ({samples},{bands},{lines})
 CORE_ITEM_BYTES = 2
 CORE_ITEM_TYPE = MSB_INTEGER
 CORE_BASE = 0.0
 CORE_MULTIPLIER = 1.0
 CORE_NULL = -32768
END_OBJECT = QUBE
END
"""
data = here / "pds_cubes" / "data"
data.mkdir(exist_ok=True)
for volume in range(2):
    with zipfile.ZipFile(data / f"MEXOMG_{volume:04}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(10):
            orbit, samples, bands, lines = 18 + 40 * volume + number, 16, 8, 4 + number
            name, west, south = f"ORB{orbit:04}_0", rng.uniform(0, 350), rng.uniform(-80, 70)
            start = np.datetime64("2004-01-14T01:00:00") + np.timedelta64(24_000 * orbit, "s")
            said = {"west": f"{west:.3f}", "east": f"{(west + 4) % 360:.3f}", "south": f"{south:.3f}", "north": f"{south + 9:.3f}", "distance": f"{2.2e8 + 1e6 * number:.1f}"}  # fmt: skip
            label = LABEL.format(name=name, orbit=orbit, start=start, stop=start + np.timedelta64(600, "s"), samples=samples, bands=bands, lines=lines, **said)  # fmt: skip
            label = label.replace("\n", "\r\n").encode().ljust(2048)
            values = [rng.randrange(1000) for _ in range(samples * bands * lines)]
            archive.writestr(f"DATA/ORB{orbit:04}/{name}.QUB", label + struct.pack(f">{len(values)}h", *values))
        archive.writestr("AAREADME.TXT", "A volume, made up.")

"""Writes small OIFITS files: targets, wavelengths, stations and squared visibilities of made-up observations with four telescopes."""

import itertools
import random
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

rng = random.Random(2001)
target = Path(__file__).parent / "collections" / "oidb" / "data"
target.mkdir(exist_ok=True)
STARS = {
    "HD 100546": (173.355751, -70.19478),
    "HD 141569": (237.490608, -3.92126),
    "CO Ori": (81.90955, 11.42676),
    "bet Lyr": (282.51997, 33.36267),
}
STATIONS = {"A1": 11, "B2": 12, "C1": 13, "D0": 14, "G1": 15, "K0": 16}
MODES = {"PIONIER": (1.52e-6, 1.76e-6, 6), "GRAVITY": (1.99e-6, 2.45e-6, 30), "MATISSE": (2.9e-6, 4.9e-6, 20)}


def extension(name: str, rows: Table, version: int = 1, **cards: str) -> fits.BinTableHDU:
    made = fits.table_to_hdu(rows)
    made.name = name
    made.header["OI_REVN"] = version
    made.header.update({key.replace("_", "-"): value for key, value in cards.items()})
    return made


for number in range(18):
    instrument = list(MODES)[number % 3]
    short, long, channels = MODES[instrument]
    day = 56000 + 40.0 * number + rng.uniform(0, 0.3)
    stars = rng.sample(list(STARS), 2 if number % 4 == 0 else 1)  # a file may have several targets
    stations = rng.sample(list(STATIONS), 4)
    primary = fits.PrimaryHDU()
    primary.header["ORIGIN"], primary.header["TELESCOP"], primary.header["INSTRUME"] = "ESO-PARANAL", "VLTI", instrument
    primary.header["DATE-OBS"], primary.header["PROG_ID"] = (
        f"2012-{number % 12 + 1:02d}-01",
        f"09{number % 8}.C-0{100 + number}(A)",
    )
    targets = Table({"TARGET_ID": np.arange(1, len(stars) + 1, dtype=np.int16), "TARGET": stars, "RAEP0": [STARS[star][0] for star in stars],
                     "DECEP0": [STARS[star][1] for star in stars]}, units=[None, None, "deg", "deg"])  # fmt: skip
    edges = np.linspace(short, long, channels + 1)
    waves = Table(
        {"EFF_WAVE": ((edges[1:] + edges[:-1]) / 2).astype(np.float32), "EFF_BAND": np.diff(edges).astype(np.float32)},
        units=["m", "m"],
    )
    array = Table(
        {
            "TEL_NAME": [f"AT{1 + place}" for place in range(4)],
            "STA_NAME": stations,
            "STA_INDEX": np.array([STATIONS[one] for one in stations], dtype=np.int16),
        }
    )
    rows = []
    for ident, moment, pair in itertools.product(
        range(1, len(stars) + 1), range(3), itertools.combinations(stations, 2)
    ):
        u, v = rng.uniform(-90, 90), rng.uniform(-90, 90)
        rows.append(
            (
                ident,
                day + 0.01 * ident + 0.004 * moment,
                60.0,
                [0.5] * channels,
                [0.02] * channels,
                u,
                v,
                [STATIONS[one] for one in pair],
            )
        )
    kinds = ("i2", "f8", "f8", "f8", "f8", "f8", "f8", "i2")
    vis2 = Table([np.array(values, kind) for values, kind in zip(zip(*rows, strict=True), kinds, strict=True)],
                 names=["TARGET_ID", "MJD", "INT_TIME", "VIS2DATA", "VIS2ERR", "UCOORD", "VCOORD", "STA_INDEX"], units=[None, "d", "s", None, None, "m", "m", None])  # fmt: skip
    parts = [extension("OI_TARGET", targets), extension("OI_WAVELENGTH", waves, INSNAME=instrument), extension("OI_ARRAY", array, ARRNAME="VLTI", FRAME="GEOCENTRIC"),
             extension("OI_VIS2", vis2, INSNAME=instrument, ARRNAME="VLTI", DATE_OBS=primary.header["DATE-OBS"])]  # fmt: skip
    fits.HDUList([primary, *parts]).writeto(target / f"{instrument}_{day:.4f}.oifits", overwrite=True)

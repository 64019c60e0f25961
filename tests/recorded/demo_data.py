"""Small files with a fixed seed, in place of those that `demo/make.py` fetches, so that recordings need no network."""

from __future__ import annotations

import gzip
import random
import shutil
import sqlite3
from pathlib import Path

import numpy as np
from astropy.io import fits
from PIL import Image

from shared import ROOT

CRATERS = ("mars", "moon", "mercury", "venus")
REGIONS = """# 1, 0, #0036fc, Polar Deposits, ---, ---, ---, ---, ---, ---, Surface features, Why,,,,,,,,,,
1, 0, 3, Alpha, -44.5, 188.5, -62.0, -27.0, 167.0, 210.0, Bright ray crater, Influence of transition, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1
4, 2, 7, None, 0.0, 355.0, -10.0, 10.0, 345.0, 5.0, Across 0, Why not, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1
5, 0, 1, Beta, 11.0, 333.0, 1.0, 21.0, 323.0, 343.0, Young bright crater, Age, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1
"""
STARS = 60
OBJECTS = 40
FEATURES = 50


def make_demo(directory: Path) -> None:
    """Copy the descriptors of the demo and add made-up data."""
    shutil.copytree(ROOT / "demo", directory, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    collections = directory / "collections"
    for name in ("hipparcos", "openngc", "sun", "planets", "ganymede", "nomenclature"):
        (collections / name / "data").mkdir()
    shutil.rmtree(collections / "earth")  # it reads a file that grows by a line a day
    numbers = random.Random(41)
    (collections / "hipparcos/data/stars.dat").write_text(write_stars(numbers))
    write_objects(collections / "openngc/data/OpenNGC.sqlite", numbers)
    (collections / "ganymede/data/Ganymede_ROIs-Stephan_2021_PSS-Tab_SM1.csv").write_text(REGIONS)
    for body in CRATERS:
        (collections / f"planets/data/{body}_craters_km.csv").write_text(write_craters(numbers))
    (collections / "nomenclature/data/nomenclature.dat.gz").write_bytes(
        gzip.compress(write_features(numbers).encode(), mtime=0)
    )
    for number, (telescope, instrument, length) in enumerate(
        (("SOHO", "EIT", 195), ("SDO/AIA", "AIA_3", 171), ("SDO/HMI", "HMI_SIDE1", 6173))
    ):
        write_image(collections / f"sun/data/made_{number}.fits", number, telescope, instrument, length)
    pictures = {"hipparcos": "charts/1", "openngc": "charts/NGC1", "ganymede": "views/1_0_3", "planets": "globes/Mars", "planets/": "maps/Mars"}  # fmt: skip
    pictures |= {f"planets{'/' * (2 + at)}": f"views/{body}/1" for at, body in enumerate(CRATERS)}
    for name, path in pictures.items():
        picture = collections / name / "data" / f"{path}.jpg"
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (24, 16), (200, 120, 40)).save(picture)
    for path in collections.glob("*/*.yaml"):
        text, _, rest = path.read_text(encoding="utf-8").partition("\ntests:")  # of the real data
        assert ":\n" not in rest.replace("\n  ", " ")
        path.write_text(text + "\n", encoding="utf-8")
    text = (collections / "sun/sun.yaml").read_text(encoding="utf-8")
    wanted = '      - {kind: product, files: "data/*.jp2"}'
    assert wanted in text
    text = "\n".join(line for line in text.splitlines() if not line.startswith(wanted)).replace(
        'files: ["data/*.fits", "data/*.jp2"]', 'files: ["data/*.fits"]'
    )
    (collections / "sun/sun.yaml").write_text(text, encoding="utf-8")


def write_stars(numbers: random.Random) -> str:
    """Write lines of fixed width in the form of KStars' Hipparcos."""
    lines = ["# made up"]
    for number in range(STARS):
        hours, minutes, seconds = numbers.randrange(24), numbers.randrange(60), numbers.uniform(0, 59.9)
        sign, degrees, arcmin, arcsec = (
            numbers.choice("+-"),
            numbers.randrange(89),
            numbers.randrange(60),
            numbers.uniform(0, 59.9),
        )
        line = (
            f"{hours:02d}{minutes:02d}{seconds:05.2f} {sign}{degrees:02d}{arcmin:02d}{arcsec:04.1f} "
            f"{numbers.uniform(-900, 900):9.2f}{numbers.uniform(-900, 900):9.2f}{numbers.uniform(0.2, 90):7.2f} "
            f"{numbers.uniform(-1.4, 9):5.2f}{numbers.uniform(-0.3, 1.9):5.2f}{numbers.choice('OBAFGKM')}{numbers.randrange(10)}"
        )
        name = f"Made {number}" if number % 3 == 0 else ""
        lines.append(f"{line:<74}{f'a{number} Ori':<9}{name:<37}")
    return "\n".join(lines) + "\n"


def write_objects(path: Path, numbers: random.Random) -> None:
    """Write an SQLite table in the form of KStars' OpenNGC."""
    with sqlite3.connect(path) as database:
        database.execute(
            "CREATE TABLE cat (catalog_identifier TEXT, name TEXT, long_name TEXT, type INTEGER, ra REAL, dec REAL, magnitude REAL, major_axis REAL, minor_axis REAL, position_angle REAL)"
        )
        for number in range(OBJECTS):
            database.execute(
                "INSERT INTO cat VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    f"NGC {number + 1}", f"M {number + 1}" if number % 4 == 0 else f"NGC {number + 1}", f"Made up {number}", numbers.choice([3, 4, 5, 8]),
                    round(numbers.uniform(0, 360), 5), round(numbers.uniform(-80, 80), 5), round(numbers.uniform(4, 16), 2), round(numbers.uniform(1, 90), 1), round(numbers.uniform(0.5, 1), 1), numbers.randrange(180),
                ),
            )  # fmt: skip
    database.close()


def write_craters(numbers: random.Random) -> str:
    lines = [
        f"{numbers.uniform(5, 2000):.2f},{numbers.uniform(-90, 90):.2f},{numbers.uniform(-180, 180):.2f}"
        for _ in range(12)
    ]
    return "\n".join(["Diameter (km),Latitude,Longitude", *lines]) + "\n"


def write_features(numbers: random.Random) -> str:
    lines = [
        f'{numbers.choice(["Mars", "Moon", "Venus"])}\t{number + 1}\t_("Made {number}","landscape")\t{numbers.choice(["AA", "MO"])}\t{numbers.uniform(-90, 90):.4f}\t{numbers.uniform(0, 360):.4f}\t{numbers.uniform(1, 900):.2f}'
        for number in range(FEATURES)
    ]
    return "\n".join(["# made up", *lines]) + "\n"


def write_image(path: Path, number: int, telescope: str, instrument: str, wavelength: int) -> None:
    pixels = np.random.default_rng(number).integers(0, 4_000, (32, 32), dtype=np.int16)
    unit = fits.PrimaryHDU(pixels)
    for name, value in {
        "TELESCOP": telescope, "INSTRUME": instrument, "DATE-OBS": f"201{number}-03-0{number + 1}T00:00:1{number}.5", "WAVELNTH": wavelength, "EXPTIME": 1.5 + number,
        "CDELT1": 2.4, "CDELT2": 2.4, "CRPIX1": 16.5, "CRPIX2": 16.5, "CRVAL1": 0.0, "CRVAL2": 0.0, "CTYPE1": "HPLN-TAN", "CTYPE2": "HPLT-TAN", "CUNIT1": "arcsec", "CUNIT2": "arcsec",
        "CRLN_OBS": 120.5 + 90 * number, "CRLT_OBS": 2.5 - number,
    }.items():  # fmt: skip
        unit.header[name] = value
    unit.writeto(path)

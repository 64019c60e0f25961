"""Writes made-up images of the Sun by a camera that turns, and outlines of its regions on the first of four days."""

import csv
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from astropy.io import fits

target = Path(__file__).parent / "collections" / "sun" / "data"
target.mkdir(exist_ok=True)
rng = np.random.default_rng(1610)
BEGIN = datetime(2014, 3, 10)
SIZE, SCALE, DISTANCE = 160, 16.0, 1.486e11  # pixels, arcsec per pixel, m
RADIUS = 206_264.806 * np.arcsin(6.957e8 / DISTANCE)  # arcsec
L0, B0 = 230.0, -7.2  # of the middle of the disc at the begin, degrees
REGIONS = [
    (190.0, 15.0, 6.0),
    (225.0, -22.0, 5.0),
    (250.0, 4.0, 7.0),
    (265.0, 38.0, 6.0),
    (205.0, -48.0, 6.0),
]  # longitude, latitude, radius


def move_with_surface(lon: float | np.ndarray, lat: np.ndarray, days: float) -> np.ndarray:
    """Turn Carrington longitudes with the surface (Snodgrass and Ulrich 1990)."""
    sine = np.sin(np.radians(lat)) ** 2
    rate = np.degrees(2.851e-6 - 0.343e-6 * sine - 0.474e-6 * sine**2) * 86_400
    return np.asarray(lon + (rate - 14.1844) * days)


def find_places(x: np.ndarray, y: np.ndarray, l0: float) -> tuple[np.ndarray, np.ndarray]:
    """Find longitudes and latitudes by rays from the observer; NaN beside the disc."""
    tx, ty = np.radians(x / 3600), np.radians(y / 3600)
    ray = np.stack([np.tan(tx), np.tan(ty) / np.cos(tx), -np.ones_like(x)])
    ray /= np.linalg.norm(ray, axis=0)
    far = DISTANCE / 6.957e8
    root = (far * ray[2]) ** 2 - (far**2 - 1)
    near = -far * ray[2] - np.sqrt(np.where(root >= 0, root, np.nan))
    px, py, pz = near * ray[0], near * ray[1], far + near * ray[2]
    tilt = np.radians(B0)
    lat = np.degrees(np.arcsin(py * np.cos(tilt) + pz * np.sin(tilt)))
    return np.degrees(np.arctan2(px, pz * np.cos(tilt) - py * np.sin(tilt))) + l0, lat


with (target / "regions.csv").open("w", newline="") as file:
    table = csv.writer(file)
    table.writerow(["id", "seen", "lon", "lat", "half"])
    for number, region in enumerate(REGIONS, 1):
        table.writerow([f"region {number}", BEGIN.isoformat(), *region])
for number in range(13):
    when = BEGIN + timedelta(hours=8 * number)
    days = number / 3
    l0 = L0 - 13.199 * days
    roll, shift = (0.0, 0.0) if number == 0 else (float(rng.uniform(-25, 25)), float(rng.uniform(-60, 60)))
    cosine, sine = np.cos(np.radians(roll)), np.sin(np.radians(roll))
    row, column = np.mgrid[:SIZE, :SIZE]
    center = (SIZE - 1) / 2
    a, b = (column - center) * SCALE, (row - center) * SCALE
    x, y = a * cosine - b * sine + shift, a * sine + b * cosine
    lon, lat = find_places(x, y, l0)
    values = np.where(np.isfinite(lon), 400 + 300 * np.sqrt(np.clip(1 - (x**2 + y**2) / RADIUS**2, 0, 1)), 20.0)
    for region_lon, region_lat, half in REGIONS:
        # a box of longitudes and latitudes; its corners turn with their own latitudes
        away = (lon - move_with_surface(region_lon, lat, days) + 180) % 360 - 180
        values = np.where((np.abs(away) <= half) & (np.abs(lat - region_lat) <= half), 3000.0, values)
    cards = {
        "DATE-OBS": when.isoformat(),
        "TELESCOP": "made up",
        "WAVELNTH": 171,
        "WAVEUNIT": "angstrom",
        "CROTA2": roll,
        "DSUN_OBS": DISTANCE,
        "RSUN_REF": 6.957e8,
        "RSUN_OBS": RADIUS,
        "CRLN_OBS": l0 % 360,
        "CRLT_OBS": B0,
    }
    for axis, kind, middle in ((1, "HPLN-TAN", shift), (2, "HPLT-TAN", 0.0)):
        cards |= {f"CTYPE{axis}": kind, f"CUNIT{axis}": "arcsec", f"CDELT{axis}": SCALE}
        cards |= {f"CRPIX{axis}": center + 1, f"CRVAL{axis}": middle}
    cards |= {"PC1_1": cosine, "PC1_2": -sine, "PC2_1": sine, "PC2_2": cosine}
    values = values + rng.normal(0, 8, values.shape)
    fits.PrimaryHDU(values.astype("f4"), fits.Header(cards)).writeto(
        target / f"sun_{when:%Y%m%d_%H%M}.fits", overwrite=True
    )

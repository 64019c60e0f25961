"""Writes six small FITS images with made-up headers below collections/frames/data."""

from pathlib import Path

import numpy as np
from astropy.io import fits

FRAMES = [
    ("M 31", "object", 10.6847, 41.2690, "2026-01-05T20:15:00", 300.0, "R"),
    ("M 31", "object", 10.6847, 41.2690, "2026-01-05T20:21:30", 300.0, "B"),
    ("M 33", "object", 23.4621, 30.6599, "2026-01-05T21:02:10", 600.0, "R"),
    ("FLAT", "flat", 0.0, 0.0, "2026-01-05T17:00:00", 2.5, "R"),
    ("M 42", "object", 83.8221, -5.3911, "2026-01-06T01:30:00", 60.0, "H"),
    ("M 45", "object", 56.7500, 24.1167, "2026-01-06T02:00:00.500", 120.0, "B"),
]

target = Path(__file__).parent / "collections" / "frames" / "data"
target.mkdir(exist_ok=True)
for number, (name, kind, ra, dec, start, seconds, band) in enumerate(FRAMES, 1):
    image = fits.PrimaryHDU(np.zeros((8, 8), dtype=np.int16))
    image.header["OBJECT"] = name
    image.header["IMAGETYP"] = kind
    image.header["CRVAL1"], image.header["CRVAL2"] = ra, dec
    image.header["CTYPE1"], image.header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    image.header["CRPIX1"] = image.header["CRPIX2"] = 4.5
    image.header["CDELT1"], image.header["CDELT2"] = -0.05, 0.05
    image.header["DATE-OBS"] = start
    image.header["EXPTIME"] = (seconds, "[s] exposure")
    image.header["FILTER"] = band
    image.header["SEQ"] = number
    image.writeto(target / f"frame{number}.fits", overwrite=True)

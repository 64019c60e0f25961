"""Writes a made-up catalogue of SZ clusters in the form of Planck's (PSZ2), and a map at each frequency around some of them."""

import random
from pathlib import Path

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table

rng = random.Random(1972)
target = Path(__file__).parent / "collections" / "sz" / "data"
target.mkdir(exist_ok=True)
rows = []
for number in range(1, 61):
    longitude, latitude = rng.uniform(0, 360), rng.choice([-1, 1]) * rng.uniform(15, 80)
    sky = SkyCoord(longitude, latitude, unit="deg", frame="galactic").icrs
    redshift = rng.uniform(0.02, 0.8) if rng.random() < 0.7 else -1.0  # -1: not known
    name = f"PSZ2 G{longitude:06.2f}{latitude:+06.2f}"
    mass = rng.uniform(1.5, 12) if redshift > 0 else 0.0
    rows.append(
        (
            number,
            name,
            longitude,
            latitude,
            sky.ra.deg,
            sky.dec.deg,
            rng.uniform(1.5, 6),
            rng.uniform(4.5, 30),
            redshift,
            mass,
            f"ACO {number * 7}" if number % 3 else "",
        )
    )
names = ["INDEX", "NAME", "GLON", "GLAT", "RA", "DEC", "POS_ERR", "SNR", "REDSHIFT", "MSZ", "MCXC"]
catalogue = Table(
    rows=rows, names=names, units=[None, None, "deg", "deg", "deg", "deg", "arcmin", None, None, None, None]
)
catalogue.write(target / "union.fits", overwrite=True)
for row in rows[:12]:
    for frequency in (100, 143, 217, 353):
        image = fits.PrimaryHDU(np.zeros((100, 100), dtype=np.float32))
        cards = image.header
        cards["OBJECT"], cards["TELESCOP"], cards["INSTRUME"], cards["BUNIT"] = row[1], "PLANCK", "HFI", "K_CMB"
        cards["FREQ"], cards["BEAM"] = (
            (frequency, "[GHz]"),
            ({100: 9.68, 143: 7.3, 217: 5.02, 353: 4.94}[frequency], "[arcmin]"),
        )
        cards["DATE-OBS"], cards["DATE-END"] = "2009-08-12", "2012-01-14"
        cards["CTYPE1"], cards["CTYPE2"], cards["CRVAL1"], cards["CRVAL2"] = "RA---TAN", "DEC--TAN", row[4], row[5]
        cards["CRPIX1"], cards["CRPIX2"], cards["CDELT1"], cards["CDELT2"] = 50.5, 50.5, -1.5 / 60, 1.5 / 60
        image.writeto(target / f"{row[1].replace(' ', '_')}_{frequency}GHz.fits", overwrite=True)

"""Writes small maps with the headers of Herschel's level 2.5 products: cards of the observation in the primary HDU, those of the map in the extension image; and a cube."""

import random
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from astropy.io import fits

rng = random.Random(2009)
target = Path(__file__).parent / "collections" / "herschel" / "data"
target.mkdir(exist_ok=True)
FIELDS = [
    ("M31", 10.68, 41.27),
    ("Rosette", 97.98, 4.94),
    ("Polaris", 359.9, 88.2),
    ("Orion A", 84.1, -6.4),
    ("COSMOS", 150.12, 2.2),
    ("HDF-S", 359.99, -60.55),
]
BANDS = {
    ("PACS", "green"): (100, 7.7, 2),
    ("PACS", "red"): (160, 11.6, 3),
    ("SPIRE", "PSW"): (250, 18.4, 6),
    ("SPIRE", "PLW"): (500, 36.3, 14),
}
for number, (field, ra, dec) in enumerate(FIELDS):
    for (instrument, band), (wavelength, beam, pixel) in BANDS.items():
        obsid = 1342180000 + 101 * number + (50 if instrument == "SPIRE" else 0)
        start = datetime(2010, 3, 1) + timedelta(days=61 * number, seconds=rng.randint(0, 80000))
        cards = fits.Header()
        cards["TELESCOP"], cards["INSTRUME"], cards["OBJECT"], cards["OBS_ID"] = (
            "Herschel Space Observatory",
            instrument,
            field,
            obsid,
        )
        cards["DATE-OBS"], cards["DATE-END"] = (
            start.isoformat() + ".250000",
            (start + timedelta(seconds=rng.randint(2000, 9000))).isoformat() + ".750000",
        )
        cards["PROPOSAL"], cards["CREATOR"], cards["LEVEL"] = f"KPGT_{number}", "SPG v14.2.0", 25
        wide, high = 120 + 10 * number, 100
        map_ = fits.ImageHDU(np.zeros((high, wide), dtype=np.float32), name="image")
        scale, angle = pixel * 10 / 3600, np.radians(17.0 * number)
        wcs = map_.header
        wcs["BUNIT"], wcs["WAVELNTH"], wcs["BEAM"], wcs["BAND"] = (
            "Jy/pixel" if instrument == "PACS" else "MJy/sr",
            (wavelength, "[um]"),
            (beam, "[arcsec]"),
            band,
        )
        wcs["CTYPE1"], wcs["CTYPE2"], wcs["CRVAL1"], wcs["CRVAL2"] = "RA---TAN", "DEC--TAN", ra, dec
        wcs["CRPIX1"], wcs["CRPIX2"] = wide / 2 + 0.5, high / 2 + 0.5
        if instrument == "PACS":  # two ways to say the same
            wcs["CDELT1"], wcs["CDELT2"], wcs["CROTA2"] = -scale, scale, float(np.degrees(angle))
        else:
            wcs["CD1_1"], wcs["CD1_2"] = -scale * np.cos(angle), -scale * np.sin(angle)
            wcs["CD2_1"], wcs["CD2_2"] = -scale * np.sin(angle), scale * np.cos(angle)
        fits.HDUList([fits.PrimaryHDU(header=cards), map_]).writeto(target / f"{obsid}_{band}_map.fits", overwrite=True)

# a rebinned cube of Orion A as PACS has them: its wavelengths stand in a table, errors and coverage beside the data
waves = np.concatenate([np.arange(62.6, 63.8, 0.04), np.arange(157.0, 158.6, 0.08)])
noise = np.random.default_rng(2009)
y, x = np.mgrid[:40, :48]
shell = np.exp(-((np.hypot(x - 25, y - 19) - 9) ** 2) / 12)
core = np.exp(-((x - 25) ** 2 + (y - 19) ** 2) / 30)
cube = 0.4 + noise.normal(0, 0.15, (len(waves), 40, 48))
for line, width, light in ((63.18, 0.06, 6 * core + 2 * shell), (157.74, 0.15, 5 * shell + core)):
    shift = 2e-4 * (x - 25) / 20 * line  # it turns
    cube += light * np.exp(-(((waves[:, None, None] - line - shift) / width) ** 2))
cube[:, :4, :6] = np.nan
header = fits.Header({"OBJECT": "Orion A", "BUNIT": "Jy/pixel", "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"})
header.update({"CRVAL1": 84.1, "CRVAL2": -6.4, "CRPIX1": 24.5, "CRPIX2": 20.5, "CDELT1": -8e-4, "CDELT2": 8e-4})
header.update({"CTYPE3": "WAVE-TAB", "CUNIT3": "um", "CRPIX3": 1, "CRVAL3": 1, "CDELT3": 1})
header.update({"PS3_0": "wcs-tab", "PS3_1": "wavelen", "PV3_1": 1, "PV3_3": 1})
table = fits.Column("wavelen", f"{len(waves)}D", unit="um", array=waves[None, :], dim=f"(1,{len(waves)})")
planes = {"image": cube, "error": np.full_like(cube, 0.15), "coverage": np.where(np.isnan(cube), 0.0, 30 + 8 * core)}
parts = [fits.ImageHDU(values.astype(np.float32), header, name=name) for name, values in planes.items()]
fits.HDUList([fits.PrimaryHDU(), *parts, fits.BinTableHDU.from_columns([table], name="wcs-tab")]).writeto(
    target / "orion_a_cube.fits", overwrite=True
)

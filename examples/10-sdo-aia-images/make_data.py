"""Writes small AIA images as JSOC exports them: the header stands in the first extension, beside the compressed image."""

import random
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from astropy.io import fits

rng = random.Random(2010)
target = Path(__file__).parent / "collections" / "aia" / "data"
for hour in range(4):
    for line in (94, 171, 193, 304):
        start = datetime(2011, 2, 15) + timedelta(hours=hour, seconds=rng.uniform(0, 12))
        image = fits.CompImageHDU(np.zeros((64, 64), dtype=np.int16), compression_type="RICE_1")
        cards = image.header
        cards["DATE-OBS"] = start.isoformat(timespec="milliseconds")[:-1]
        cards["T_OBS"] = (start + timedelta(seconds=1)).isoformat(timespec="milliseconds")[:-1] + "Z"
        cards["TELESCOP"], cards["INSTRUME"] = "SDO/AIA", f"AIA_{1 + line % 4}"
        cards["WAVELNTH"], cards["WAVEUNIT"], cards["LVL_NUM"] = line, "angstrom", 1.5
        cards["EXPTIME"] = round(rng.uniform(1.9, 2.9), 6)
        cards["QUALITY"] = 1073741824 if (hour, line) == (2, 193) else 0  # an eclipse by the Earth
        cards["CTYPE1"], cards["CTYPE2"], cards["CUNIT1"], cards["CUNIT2"] = "HPLN-TAN", "HPLT-TAN", "arcsec", "arcsec"
        cards["CRPIX1"], cards["CRPIX2"] = 32.5 + rng.uniform(-0.5, 0.5), 32.5 + rng.uniform(-0.5, 0.5)
        cards["CRVAL1"], cards["CRVAL2"], cards["CDELT1"], cards["CDELT2"], cards["CROTA2"] = 0.0, 0.0, 38.4, 38.4, 0.0
        cards["DSUN_OBS"], cards["RSUN_OBS"] = 147724815128.0 + 1e6 * hour, 971.81
        if (hour, line) == (3, 94):
            del cards["DSUN_OBS"]
        path = target / f"{start:%Y/%m/%d}" / f"AIA{start:%Y%m%d_%H%M}_{line:04d}.fits"
        path.parent.mkdir(parents=True, exist_ok=True)
        fits.HDUList([fits.PrimaryHDU(), image]).writeto(path, overwrite=True)

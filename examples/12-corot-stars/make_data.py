"""Writes made-up CoRoT data: the catalogue of stars as delimited text, and light curves as FITS tables with the stars' cards in the primary header."""

import random
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

rng = random.Random(2006)
here = Path(__file__).parent / "collections"
RUNS = {
    "IRa01": (102.6, -1.7, datetime(2007, 2, 3, 13)),
    "LRc01": (291.0, 0.5, datetime(2007, 5, 16, 18)),
    "LRa01": (101.6, 0.1, datetime(2007, 10, 24)),
}
lines = ["COROTID|WIN_ID|RUN_CODE|ALPHA_J2000|DELTA_J2000|MAG_B|MAG_V|MAG_R|SPECTYPE|LUMCLASS"]
for number in range(90):
    run = list(RUNS)[number % 3]
    ra, dec, begin = RUNS[run]
    ra, dec, mag = ra + rng.uniform(-1.4, 1.4), dec + rng.uniform(-1.4, 1.4), rng.uniform(11, 16)
    ident, window = f"01{rng.randint(10**7, 10**8 - 1)}", f"E{1 + number % 2}_{number:04d}"
    hour, minute = divmod(ra / 15 * 60, 60)
    sign, angle = "-" if dec < 0 else "+", abs(dec)
    alpha = f"{int(hour):02d} {int(minute):02d} {minute % 1 * 60:06.3f}"
    delta = f"{sign}{int(angle):02d} {int(angle * 60 % 60):02d} {angle * 3600 % 60:05.2f}"
    blue = "-99.000" if number % 8 == 0 else f"{mag + 0.9:.3f}"
    lines.append(
        "|".join(
            [
                ident,
                window,
                run,
                alpha,
                delta,
                blue,
                f"{mag:.3f}",
                f"{mag - 0.4:.3f}",
                rng.choice(["G2", "K3", "F5", "M1"]),
                rng.choice(["V", "III"]),
            ]
        )
    )
    if number >= 30:
        continue
    chromatic = number % 3 == 0  # CHR: three colours; MON: one
    start, step = begin + timedelta(seconds=rng.randint(0, 9999)), 32 if number % 5 == 0 else 512
    days = np.arange(40) * step / 86400
    curve = Table(
        {"DATEJD": days, "WHITEFLUX": np.ones(40), "STATUS": np.zeros(40, dtype=np.int32)}, units=["d", "s-1", None]
    )
    table = fits.table_to_hdu(curve)
    table.name = "BAR"
    stamp, stop = (each.strftime("%Y-%m-%dT%H:%M:%S") for each in (start, start + timedelta(seconds=39 * step)))
    cards = fits.PrimaryHDU()
    cards.header["COROTID"], cards.header["WIN_ID"], cards.header["RUN_CODE"] = int(ident), window, run
    cards.header["STARTDAT"], cards.header["END_DATE"], cards.header["EXPTIME"] = stamp, stop, step
    cards.header["ALPHA"], cards.header["DELTA"], cards.header["MAGNIT_R"], cards.header["NB_POINT"] = (
        ra,
        dec,
        round(mag - 0.4, 3),
        40,
    )
    name = f"EN2_STAR_{'CHR' if chromatic else 'MON'}_{ident}_{start:%Y%m%dT%H%M%S}.fits"
    target = here / "corot_lc" / "data" / run / name
    target.parent.mkdir(parents=True, exist_ok=True)
    fits.HDUList([cards, table]).writeto(target, overwrite=True)
(here / "corot" / "data").mkdir(exist_ok=True)
(here / "corot" / "data" / "exodat.txt").write_text("\n".join([*lines, ""]))

"""A small OIFITS file with a fixed seed, so that its reader is tested without files of others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.io import fits

from product_files import SEED


def write_oifits(folder: Path) -> Path:
    """Write observations of two targets by three telescopes in six channels."""
    rng = np.random.default_rng(SEED)
    targets = fits.BinTableHDU.from_columns([
        fits.Column("TARGET_ID", "I", array=np.array([1, 2], "i2")), fits.Column("TARGET", "16A", array=["one", "two"]),
        fits.Column("RAEP0", "D", "deg", array=[10.0, 200.0]), fits.Column("DECEP0", "D", "deg", array=[-20.0, 70.0]),
    ], name="OI_TARGET")  # fmt: skip
    array = fits.BinTableHDU.from_columns([
        fits.Column("TEL_NAME", "16A", array=["AT1", "AT2", "AT3"]), fits.Column("STA_NAME", "16A", array=["A1", "G1", "K0"]),
        fits.Column("STA_INDEX", "I", array=np.array([1, 2, 3], "i2")), fits.Column("STAXYZ", "3D", "m", array=rng.normal(0.0, 50.0, (3, 3))),
    ], name="OI_ARRAY")  # fmt: skip
    waves = fits.BinTableHDU.from_columns([
        fits.Column("EFF_WAVE", "E", "m", array=np.linspace(1.5e-6, 1.75e-6, 6)), fits.Column("EFF_BAND", "E", "m", array=np.full(6, 5e-8)),
    ], name="OI_WAVELENGTH")  # fmt: skip
    count = 30
    pairs = np.array([[1, 2], [1, 3], [2, 3]], "i2")[np.arange(count) % 3]
    vis2 = fits.BinTableHDU.from_columns([
        fits.Column("TARGET_ID", "I", array=(np.arange(count) % 2 + 1).astype("i2")), fits.Column("TIME", "D", "s", array=np.arange(count) * 60.0),
        fits.Column("MJD", "D", "day", array=59_000.0 + np.arange(count) / 1440.0), fits.Column("INT_TIME", "D", "s", array=np.full(count, 30.0)),
        fits.Column("VIS2DATA", "6D", array=rng.uniform(0.1, 1.0, (count, 6))), fits.Column("VIS2ERR", "6D", array=np.full((count, 6), 0.02)),
        fits.Column("UCOORD", "1D", "m", array=rng.uniform(-90, 90, count)), fits.Column("VCOORD", "1D", "m", array=rng.uniform(-90, 90, count)),
        fits.Column("STA_INDEX", "2I", array=pairs), fits.Column("FLAG", "6L", array=rng.uniform(size=(count, 6)) < 0.1),
    ], name="OI_VIS2")  # fmt: skip
    for hdu, cards in ((targets, {}), (array, {"ARRNAME": "VLTI", "FRAME": "GEOCENTRIC"}), (waves, {"INSNAME": "PIONIER"}), (vis2, {"INSNAME": "PIONIER", "ARRNAME": "VLTI", "DATE-OBS": "2020-05-31"})):  # fmt: skip
        hdu.header["OI_REVN"] = 1
        hdu.header.update(cards)
    path = folder / "made.oifits"
    fits.HDUList([fits.PrimaryHDU(), targets, array, waves, vis2]).writeto(path)
    return path

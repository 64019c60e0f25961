"""Small data products with a fixed seed, so that readers are tested without files of others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from plugin_needs import require_plugins

SEED = 20_261_126


def write_fits(folder: Path) -> Path:
    """Write an image, a table with arrays, and a compressed image."""
    rng = np.random.default_rng(SEED)
    image = fits.PrimaryHDU(rng.normal(size=(60, 50)).astype("f4"))
    table = fits.BinTableHDU.from_columns([
        fits.Column("name", "8A", array=[f"star {number}" for number in range(40)]), fits.Column("mag", "E", "mag", array=rng.normal(10.0, 2.0, 40)),
        fits.Column("spectrum", "20D", array=rng.normal(size=(40, 20))),
    ], name="STARS")  # fmt: skip
    path = folder / "made.fits"
    fits.HDUList([image, table, fits.CompImageHDU(rng.integers(0, 999, (80, 90)).astype("i2"), name="PACKED")]).writeto(path)  # fmt: skip
    return path


def write_istp_cdf(path: Path, variables: Mapping[str, tuple[Any, str, Mapping[str, Any]]]) -> Path:
    """Write a CDF of variables: name -> values, VAR_TYPE and further attributes; skip the test if no package reads it."""
    require_plugins("media", "cdf")
    cdfwrite = pytest.importorskip("cdflib.cdfwrite")
    made = cdfwrite.CDF(str(path))
    for name, (values, var_type, attributes) in variables.items():
        kind = 33 if name.startswith("Epoch") else 45
        spec = {"Variable": name, "Data_Type": kind, "Num_Elements": 1, "Rec_Vary": True, "Dim_Sizes": list(values.shape[1:])}  # fmt: skip
        made.write_var(spec, var_attrs={"VAR_TYPE": var_type, **attributes}, var_data=values)
    made.close()
    return path

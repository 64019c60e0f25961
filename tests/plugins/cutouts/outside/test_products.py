"""Products of the shared data as FITS and VOTable, judged by fitsverify (not a complaint) and STILTS."""

from __future__ import annotations

import csv
import io
import subprocess
from pathlib import Path

import cdflib
import numpy as np
import pytest

from hven.formats.media import TablePart, open_product
from hven.plugins.cutouts.pixel_windows import CutoutSelection
from hven.plugins.cutouts.product_conversions import write_product_as_fits, write_product_as_votable
from hven.plugins.cutouts.product_cutting import cut_product
from plugin_needs import require_medium
from requirements import require_program
from shared import shared
from stilts import run_stilts

pytestmark = [pytest.mark.outside, pytest.mark.slow]

REAL = [
    "planetary/cubes/v1477479472_1.qub", "planetary/cubes/FLB_431397159EDR_F0141262FHAZ00323M1.IMG", "planetary/cubes/C1540484434_1_001_ir.cub",
    "planetary/pds4/colors.xml", "helio/cdf/*.cdf", "helio/timeseries/*.nc",
]  # fmt: skip


def save_product(made, path: Path) -> Path:
    path.write_bytes(b"".join(made.read_chunks()))
    return path


def complaints(path: Path) -> str:
    done = subprocess.run([require_program("fitsverify"), "-e", path], capture_output=True, text=True, check=False)
    return "\n".join(line for line in (done.stdout + done.stderr).splitlines() if line.startswith("*** Error"))


@pytest.mark.parametrize("pattern", REAL)
def test_fitsverify_has_nothing_to_say(tmp_path, pattern):
    folder, _, name = pattern.rpartition("/")
    paths = sorted(shared(f"data/{folder}").glob(name))
    assert paths
    for path in paths:
        require_medium(path)
        with open_product(path) as product:
            assert complaints(save_product(write_product_as_fits(product), tmp_path / "whole.fits")) == "", path.name
            for part in product.arrays[:2]:
                pixels = {number: (1.0, max(1.0, size // 2)) for number, size in enumerate(part.shape, 1)}
                piece = cut_product(product, CutoutSelection(pixels=pixels), part_name=str(part.index))
                if piece is not None:
                    assert complaints(save_product(piece, tmp_path / "piece.fits")) == "", (path.name, part.name)


def test_stilts_reads_the_same_numbers(tmp_path):
    """Of a CDF as FITS and as VOTable: what cdflib reads."""
    path = shared("data/helio/cdf/de2_ion2s_rpa_19830213_v01.cdf")
    require_medium(path)
    names = ["ionTemperature", "ionDensity", "scPotential", "glat", "alt"]
    with open_product(path) as product:
        part = next(one for one in product.parts if isinstance(one, TablePart))
        files = {
            "fits": save_product(write_product_as_fits(product, str(part.index)), tmp_path / "a.fits"),
            "votable": save_product(write_product_as_votable(product, str(part.index)), tmp_path / "a.vot"),
        }
    source = cdflib.CDF(str(path))
    wanted = np.stack([source.varget(name).astype(np.float64) for name in names], 1)
    wanted[wanted == np.float32(-1e-31)] = np.nan
    for kind, file in files.items():
        told = run_stilts("tpipe", f"in={file}", f"ifmt={kind}", f"cmd=keepcols '{' '.join(names)}'", "ofmt=csv").stdout
        rows = list(csv.reader(io.StringIO(told)))[1:]
        read = np.array([[float(cell) if cell else np.nan for cell in row] for row in rows])
        assert np.array_equal(read.astype("f4"), wanted.astype("f4"), equal_nan=True)

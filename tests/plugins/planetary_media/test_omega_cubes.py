"""Cubes and geometry of OMEGA, which can be had nowhere here, built to the layouts that their public reader reads.

omegapy (``_read_cube``): an int32 behind each line of 16 bits, planes of int32 behind the bands of a scan, no corner; geometry of int32.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from hven.formats.media import open_product
from plugin_needs import draw_files
from product_checks import create_selection, cut_product, write_product_as_fits

RECORD = 512
LABEL = """\
PDS_VERSION_ID = PDS3
RECORD_TYPE = FIXED_LENGTH
RECORD_BYTES = 512
FILE_RECORDS = {records}
LABEL_RECORDS = 4
FILE_STATE = CLEAN
DATA_QUALITY_ID = 3
INSTRUMENT_NAME = "OBSERVATOIRE MINERALOGIE, EAU, GLACES, ACTIVITE"
INSTRUMENT_ID = OMEGA
EXPOSURE_DURATION = (2.5,2.5,50.0)
^QUBE = 5
OBJECT = QUBE
  AXES = 3
  AXIS_NAME = (SAMPLE,BAND,LINE)
  CORE_ITEMS = ({samples},{bands},{lines})
  CORE_ITEM_BYTES = {size}
  CORE_ITEM_TYPE = LSB_INTEGER
  CORE_BASE = 0.0
  CORE_MULTIPLIER = 1.0
  SUFFIX_BYTES = 4
  SUFFIX_ITEMS = {suffix}
{more}END_OBJECT = QUBE
END
"""
SUFFIXES = """\
  SAMPLE_SUFFIX_NAME = "DARK"
  SAMPLE_SUFFIX_ITEM_BYTES = 4
  SAMPLE_SUFFIX_ITEM_TYPE = LSB_INTEGER
  BAND_SUFFIX_NAME = (HK1,HK2,HK3,HK4,HK5,HK6,HK7)
  BAND_SUFFIX_ITEM_BYTES = (4,4,4,4,4,4,4)
  BAND_SUFFIX_ITEM_TYPE = (LSB_INTEGER,LSB_INTEGER,LSB_INTEGER,LSB_INTEGER,LSB_INTEGER,LSB_INTEGER,LSB_INTEGER)
"""


def qube(path: Path, body: bytes, shape: tuple[int, int, int], size: int, suffix: str, more: str) -> None:
    lines, bands, samples = shape
    records = 4 + -(-len(body) // RECORD)
    label = LABEL.format(
        records=records, samples=samples, bands=bands, lines=lines, size=size, suffix=suffix, more=more
    )
    head = label.replace("\n", "\r\n").encode().ljust(4 * RECORD)
    path.write_bytes(head + body.ljust((records - 4) * RECORD, b"\0"))


@pytest.mark.parametrize("corner", [False, True], ids=["omega", "standard"])
def test_omega_cubes_are_read(tmp_path, corner):
    """As OMEGA's are, without the corner that the standard has where two suffixes meet; and as the standard has them (VIMS)."""
    random = np.random.default_rng(6)
    lines, bands, samples = 30, 352, 16
    core = random.integers(-5, 4000, (lines, bands, samples)).astype("<i2")
    dark = random.integers(0, 900, (lines, bands)).astype("<i4")
    keeping = random.integers(0, 99, (lines, 7, samples)).astype("<i4")
    body = b"".join(
        b"".join(core[line, band].tobytes() + dark[line, band].tobytes() for band in range(bands))
        + b"".join(keeping[line, plane].tobytes() + bytes(4 * corner) for plane in range(7))
        for line in range(lines)
    )
    qube(tmp_path / "ORB0006_4.QUB", body, core.shape, 2, "(1,7,0)", SUFFIXES)
    with open_product(tmp_path / "ORB0006_4.QUB") as product:
        cube, side, back = product.arrays
        assert product.medium == "pds3"
        whole = [slice(0, size) for size in cube.shape]
        assert np.array_equal(cube.read(whole), core.transpose(1, 0, 2))
        assert np.array_equal(side.read([slice(0, size) for size in side.shape])[0], dark)
        assert np.array_equal(back.read([slice(0, size) for size in back.shape]), keeping.transpose(1, 0, 2))
        found = fits.open(
            io.BytesIO(b"".join(cut_product(product, create_selection(pixels={1: (3, 5), 2: (30, 30)})).read_chunks()))
        )
        assert np.array_equal(found[0].data[:, 0], core[29, :, 2:5])
    body = Image.open(io.BytesIO(draw_files([(tmp_path / "ORB0006_4.QUB", "ORB0006_4.QUB")], 300)))
    assert max(body.size) == 300


def test_geometry_of_omega(tmp_path):
    planes = np.random.default_rng(7).integers(-(10**6), 10**6, (5, 51, 16)).astype("<i4")
    qube(tmp_path / "ORB0006_4.NAV.qub", planes.tobytes(), planes.shape, 4, "(0,0,0)", "")
    with open_product(tmp_path / "ORB0006_4.NAV.qub") as product:
        (array,) = product.arrays
        assert np.array_equal(array.read([slice(0, size) for size in array.shape]), planes.transpose(1, 0, 2))
        written = fits.open(io.BytesIO(b"".join(write_product_as_fits(product).read_chunks())))
        assert np.array_equal(written[0].data[6], planes[:, 6])

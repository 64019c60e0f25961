"""Small data products with labels, with a fixed seed, so that readers are tested without files of others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from product_files import SEED


def write_label_product(medium: str, folder: Path) -> Path:
    """Write a product of a medium (a key of `LABEL_PRODUCT_WRITERS`) into a folder; return the file to open."""
    return LABEL_PRODUCT_WRITERS[medium](folder, np.random.default_rng(SEED))


def _write_pds3(folder: Path, rng: np.random.Generator) -> Path:
    """Write a cube of two bands with a label of its own."""
    pixels = rng.integers(-3000, 3000, (2, 40, 30)).astype(">i2")
    path = folder / "cube.img"
    path.write_bytes(pixels.tobytes())
    path.with_suffix(".lbl").write_text(
        'PDS_VERSION_ID = PDS3\nRECORD_TYPE = FIXED_LENGTH\nRECORD_BYTES = 60\n^IMAGE = ("CUBE.IMG", 1)\nTARGET_NAME = TITAN\n'
        "OBJECT = IMAGE\n  LINES = 40\n  LINE_SAMPLES = 30\n  BANDS = 2\n  BAND_STORAGE_TYPE = BAND_SEQUENTIAL\n"
        "  SAMPLE_TYPE = MSB_INTEGER\n  SAMPLE_BITS = 16\n  SCALING_FACTOR = 0.25\n  OFFSET = 3.0\nEND_OBJECT = IMAGE\nEND\n"
    )
    return path


def _write_isis(folder: Path, rng: np.random.Generator) -> Path:
    """Write a cube of three bands, in band sequential order."""
    pixels = rng.normal(size=(3, 20, 24)).astype("<f4")
    label = (
        "Object = IsisCube\n  Object = Core\n    StartByte = 2049\n    Format = BandSequential\n    Group = Dimensions\n      Samples = 24\n      Lines = 20\n"
        "      Bands = 3\n    End_Group\n    Group = Pixels\n      Type = Real\n      ByteOrder = Lsb\n      Base = 0.0\n      Multiplier = 1.0\n    End_Group\n"
        "  End_Object\nEnd_Object\nEnd\n"
    )
    path = folder / "cube.cub"
    path.write_bytes(label.encode().ljust(2048) + pixels.tobytes())
    return path


def _write_pds4(folder: Path, rng: np.random.Generator) -> Path:
    """Write a text table of two columns, and an array."""
    rows = zip(rng.integers(0, 10**6, 25), rng.normal(0.0, 100.0, 25), strict=True)
    (folder / "colors.tab").write_text("".join(f"{one:8d} {two:12.5f}\r\n" for one, two in rows))
    (folder / "colors.img").write_bytes(rng.integers(0, 255, (12, 16)).astype("u1").tobytes())
    field = "<Field_Character><name>{}</name><field_number>{}</field_number><field_location unit='byte'>{}</field_location><data_type>{}</data_type><field_length unit='byte'>{}</field_length></Field_Character>"
    axis = (
        "<Axis_Array><axis_name>{}</axis_name><elements>{}</elements><sequence_number>{}</sequence_number></Axis_Array>"
    )
    path = folder / "colors.xml"
    path.write_text(
        '<?xml version="1.0"?><Product_Observational xmlns="http://pds.nasa.gov/pds4/pds/v1">'
        "<File_Area_Observational><File><file_name>colors.tab</file_name></File><Table_Character><name>colors</name><offset unit='byte'>0</offset>"
        "<records>25</records><record_delimiter>Carriage-Return Line-Feed</record_delimiter><Record_Character><fields>2</fields><groups>0</groups>"
        f"<record_length unit='byte'>23</record_length>{field.format('number', 1, 1, 'ASCII_Integer', 8)}{field.format('colour', 2, 10, 'ASCII_Real', 12)}"
        "</Record_Character></Table_Character></File_Area_Observational>"
        "<File_Area_Observational><File><file_name>colors.img</file_name></File><Array_2D_Image><name>picture</name><offset unit='byte'>0</offset><axes>2</axes>"
        "<axis_index_order>Last Index Fastest</axis_index_order><Element_Array><data_type>UnsignedByte</data_type></Element_Array>"
        f"{axis.format('Line', 12, 1)}{axis.format('Sample', 16, 2)}</Array_2D_Image></File_Area_Observational></Product_Observational>"
    )
    return path


LABEL_PRODUCT_WRITERS: dict[str, Callable[[Path, np.random.Generator], Path]] = {
    "pds3": _write_pds3,
    "isis": _write_isis,
    "pds4": _write_pds4,
}

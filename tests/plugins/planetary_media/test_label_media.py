"""Products with labels open and convert, n of n; values as other readers have them; built files of layouts that no real one is had of."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from astropy.wcs import WCS
from label_products import write_label_product

from hven.formats.media import detect_product_file_format, open_product
from hven.model.errors import SourceError
from product_checks import (
    ORIGINS,
    check_conversion,
    check_damage,
    check_failing_server,
    check_remote_reads,
    create_selection,
    cut_product,
    find_real_products,
    open_converted,
    read_whole_array,
    write_product_as_fits,
)
from shared import shared

# medium -> patterns below ../shared/data, and how many files they find
REAL = {
    "pds3": (["planetary/cubes/v1477479472_1.qub", "planetary/cubes/FLB_431397159EDR_F0141262FHAZ00323M1.IMG"], 2),
    "isis": (["planetary/cubes/C1540484434_1_001_ir.cub"], 1),
    "pds4": (["planetary/pds4/colors.xml"], 1),
}


def products(medium: str, origin: str, folder: Path) -> list[Path]:
    """Give products of a medium: real ones, or one that is made in a folder."""
    if origin == "real":
        return find_real_products(*REAL[medium])
    folder.mkdir()
    return [write_label_product(medium, folder)]


@ORIGINS
@pytest.mark.parametrize("medium", REAL)
def test_all_label_products_convert(medium, origin, tmp_path):
    """4 of 4 real ones: 2 PDS3, 1 ISIS, 1 PDS4."""
    for path in products(medium, origin, tmp_path / "made"):
        check_conversion(path, medium)


def test_bands_of_a_cube_with_suffixes_are_read():
    path = shared("data/planetary/cubes/v1477479472_1.qub")
    stored = np.frombuffer(path.read_bytes()[44 * 512 :], np.uint8).reshape(12, 352, 28)
    core = stored[:, :, :24].copy().view(">i2").transpose(1, 0, 2)
    background = stored[:, :, 24:].copy().view(">i4")[..., 0]
    with open_product(path) as product:
        cube, side = product.arrays
        assert np.array_equal(read_whole_array(cube), core)
        assert np.array_equal(read_whole_array(side)[0], background)
        assert cube.axes[0].read_values()[:2] == pytest.approx([0.35054e-6, 0.35895e-6])
        assert (cube.axes[0].read_file_values()[0], cube.axes[0].unit) == (0.35054, "um")
        found = open_converted(cut_product(product, create_selection(band=(2.0e-6, 2.1e-6), pixels={1: (3, 5)})))
        spectrum = read_whole_array(cube)[:, 3, 4]
    header = found[0].header
    wave = WCS(header, fobj=found).all_pix2world([[1.0, 1.0, n] for n in range(1, header["NAXIS3"] + 1)], 1)[:, 2]
    assert [wave[0], wave[-1]] == pytest.approx([2.00167e-6, 2.10034e-6])
    at = int(np.argmin(np.abs(cube.axes[0].read_values() - wave[0])))
    assert np.array_equal(found[0].data[:, 3, 2], spectrum[at : at + len(wave)])


def test_tiles_of_a_cube_equal_the_whole(tmp_path):
    """An ISIS cube of 2 bands, 5 x 7 pixels in tiles of 2 x 4, with special pixels and a map."""
    label = """Object = IsisCube
  Object = Core
    StartByte = 2049
    Format = Tile
    TileSamples = 4
    TileLines = 2
    Group = Dimensions
      Samples = 7
      Lines = 5
      Bands = 2
    End_Group
    Group = Pixels
      Type = SignedWord
      ByteOrder = Lsb
      Base = 1.5
      Multiplier = 0.5
    End_Group
  End_Object
  Group = Mapping
    ProjectionName = Sinusoidal
    CenterLongitude = 180.0
    TargetName = Mars
    EquatorialRadius = 3396190.0 <meters>
    PolarRadius = 3376200.0 <meters>
    LatitudeType = Planetocentric
    LongitudeDirection = PositiveEast
    PixelResolution = 59274.698 <meters/pixel>
    UpperLeftCornerX = -207461.443 <meters>
    UpperLeftCornerY = 148186.745 <meters>
  End_Group
End_Object
End
"""
    pixels = np.arange(70, dtype="<i2").reshape(2, 5, 7)
    pixels[0, 0, 0] = -32768
    padded = np.full((2, 6, 8), -1, "<i2")
    padded[:, :5, :7] = pixels
    tiles = padded.reshape(2, 3, 2, 2, 4).transpose(0, 1, 3, 2, 4)
    (tmp_path / "map.cub").write_bytes(label.encode().ljust(2048) + tiles.tobytes())
    with open_product(tmp_path / "map.cub") as product:
        array = product.arrays[0]
        wanted = pixels * 0.5 + 1.5
        wanted[0, 0, 0] = np.nan
        assert np.array_equal(read_whole_array(array), wanted, equal_nan=True)
        assert np.array_equal(array.read([slice(1, 2), slice(1, 5), slice(3, 6)]), wanted[1:2, 1:5, 3:6])
        lon, lat = array.create_sky_mapping()(np.array([[4.0, 3.0], [4.0, 1.0]])).T
        assert lon == pytest.approx([180.0, 180.0], abs=1e-3)
        assert lat == pytest.approx([0.0, 2.0], abs=1e-3)
        assert open_converted(write_product_as_fits(product))[0].header["CTYPE1"] == "MALN-SFL"


MAP = """PDS_VERSION_ID = PDS3
RECORD_TYPE = FIXED_LENGTH
RECORD_BYTES = 16
^IMAGE = ("MAP.IMG", 1)
TARGET_NAME = MARS
OBJECT = IMAGE
  LINES = 8
  LINE_SAMPLES = 16
  SAMPLE_TYPE = UNSIGNED_INTEGER
  SAMPLE_BITS = 8
END_OBJECT = IMAGE
OBJECT = IMAGE_MAP_PROJECTION
  MAP_PROJECTION_TYPE = "{kind}"
  A_AXIS_RADIUS = 3396.19 <KM>
  C_AXIS_RADIUS = 3376.20 <KM>
  MAP_RESOLUTION = {scale} <PIX/DEG>
  CENTER_LATITUDE = {lat}
  CENTER_LONGITUDE = {lon}
  LINE_PROJECTION_OFFSET = {line}
  SAMPLE_PROJECTION_OFFSET = {sample}
  MAXIMUM_LATITUDE = {top}
  POSITIVE_LONGITUDE_DIRECTION = {way}
  COORDINATE_SYSTEM_NAME = "PLANETOCENTRIC"
END_OBJECT = IMAGE_MAP_PROJECTION
END
"""


@pytest.mark.parametrize(
    ("said", "pixel", "place"),
    [
        # a pixel (its middle is 1), and longitude east and latitude there
        (("SIMPLE CYLINDRICAL", 0.1, 0.0, 180.0, 4.0, 8.0, 40.0, "EAST"), (1.0, 1.0), (105.0, 35.0)),
        (("SIMPLE CYLINDRICAL", 0.1, 0.0, 180.0, 3.5, 7.5, 40.0, "EAST"), (1.0, 1.0), (105.0, 35.0)),
        (("SIMPLE CYLINDRICAL", 0.1, 0.0, 180.0, 4.0, 8.0, 40.0, "WEST"), (1.0, 1.0), (105.0, 35.0)),
        (("EQUIRECTANGULAR", 0.1, 60.0, 20.0, 4.0, 8.0, 40.0, "EAST"), (9.5, 1.0), (40.0, 35.0)),
        (("SINUSOIDAL", 0.1, 0.0, 0.0, 4.0, 8.0, 40.0, "EAST"), (9.0, 1.0), (5.0 / np.cos(np.radians(35.0)), 35.0)),
        # north pole in the middle of pixel 5, 5: down is the meridian of the centre
        (("POLAR STEREOGRAPHIC", 1.0, 90.0, 0.0, 4.0, 4.0, 90.0, "EAST"), (5.0, 7.0), (0.0, 87.9998)),
        (("POLAR STEREOGRAPHIC", 1.0, 90.0, 0.0, 4.0, 4.0, 90.0, "EAST"), (7.0, 5.0), (90.0, 87.9998)),
        (("POLAR STEREOGRAPHIC", 1.0, -90.0, 0.0, 4.0, 4.0, -80.0, "EAST"), (5.0, 3.0), (0.0, -87.9998)),
    ],
)  # fmt: skip
def test_maps_of_planets_have_coordinates(tmp_path, said, pixel, place):
    names = ("kind", "scale", "lat", "lon", "line", "sample", "top", "way")
    (tmp_path / "map.lbl").write_text(MAP.format(**dict(zip(names, said, strict=True))))
    (tmp_path / "map.img").write_bytes(bytes(range(128)))
    with open_product(tmp_path / "map.img") as product:
        lon, lat = product.arrays[0].create_sky_mapping()(np.array([pixel]))[0]
        header = open_converted(write_product_as_fits(product))[0].header
    assert (lon - place[0] + 180.0) % 360.0 - 180.0 == pytest.approx(0.0, abs=1e-3)
    assert lat == pytest.approx(place[1], abs=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        there = WCS(header).all_pix2world([pixel], 1)[0]
    assert (there[0] - place[0] + 180.0) % 360.0 - 180.0 == pytest.approx(0.0, abs=1e-3)


TABLE = """PDS_VERSION_ID = PDS3
RECORD_TYPE = FIXED_LENGTH
RECORD_BYTES = 22
^TABLE = "{name}"
OBJECT = TABLE
  INTERCHANGE_FORMAT = {kind}
  ROWS = {rows}
  COLUMNS = 3
  ROW_BYTES = 22
{columns}
END_OBJECT = TABLE
END
"""


def column(**words) -> str:
    return "OBJECT = COLUMN\n" + "\n".join(f"{key} = {value}" for key, value in words.items()) + "\nEND_OBJECT"


def test_tables_of_pds3(tmp_path):
    columns = [
        column(NAME="N", DATA_TYPE="ASCII_INTEGER", START_BYTE=1, BYTES=5, MISSING_CONSTANT=-999),
        column(NAME="X", DATA_TYPE="ASCII_REAL", START_BYTE=7, BYTES=8, UNIT='"KM"'),
        column(NAME="WHO", DATA_TYPE="CHARACTER", START_BYTE=16, BYTES=4),
    ]
    (tmp_path / "a.lbl").write_text(TABLE.format(name="a.tab", kind="ASCII", rows=2, columns="\n".join(columns)))
    (tmp_path / "a.tab").write_bytes(
        b'  +12, 1.5D+02,"ab"\r\n '[:22].ljust(22) + b" -999,        ,  \xe9 \r\n".ljust(22)
    )
    with open_product(tmp_path / "a.tab") as product:
        rows = pa.Table.from_batches(product.parts[0].read_batches(0, 5)).to_pylist()
    assert rows == [{"N": 12, "X": 150.0, "WHO": "ab"}, {"N": None, "X": None, "WHO": "é"}]
    columns = [
        column(NAME="N", DATA_TYPE="MSB_UNSIGNED_INTEGER", START_BYTE=1, BYTES=4, SCALING_FACTOR=0.5, OFFSET=1),
        column(NAME="V", DATA_TYPE="PC_REAL", START_BYTE=5, ITEMS=2, ITEM_BYTES=4, BYTES=8),
        column(NAME="F", DATA_TYPE="VAX_REAL", START_BYTE=13, BYTES=4),
    ]
    body = struct.pack(">I", 7) + struct.pack("<2f", 1.0, 2.0) + bytes([0x80, 0x40, 0, 0]) + bytes(6)
    (tmp_path / "b.lbl").write_text(TABLE.format(name="b.dat", kind="BINARY", rows=1, columns="\n".join(columns)))
    (tmp_path / "b.dat").write_bytes(body)
    with open_product(tmp_path / "b.lbl") as product:
        assert next(product.parts[0].read_batches(0, 5)).to_pylist() == [{"N": 4.5, "V": [1.0, 2.0], "F": 1.0}]


def test_arrays_of_pds4_are_read(tmp_path):
    label = """<?xml version="1.0"?><Product_Observational xmlns="http://pds.nasa.gov/pds4/pds/v1">
<File_Area_Observational><File><file_name>{name}</file_name></File>
<Array_3D_Spectrum><name>cube</name><offset unit="byte">4</offset><axes>3</axes><axis_index_order>Last Index Fastest</axis_index_order>
<Element_Array><data_type>SignedMSB2</data_type><scaling_factor>0.5</scaling_factor><value_offset>1</value_offset></Element_Array>
<Axis_Array><axis_name>Band</axis_name><elements>2</elements><sequence_number>1</sequence_number></Axis_Array>
<Axis_Array><axis_name>Line</axis_name><elements>3</elements><sequence_number>2</sequence_number></Axis_Array>
<Axis_Array><axis_name>Sample</axis_name><elements>{size}</elements><sequence_number>3</sequence_number></Axis_Array>
<Special_Constants><missing_constant>5</missing_constant></Special_Constants>
</Array_3D_Spectrum></File_Area_Observational></Product_Observational>"""
    pixels = np.arange(24, dtype=">i2").reshape(2, 3, 4)
    (tmp_path / "a.img").write_bytes(bytes(4) + pixels.tobytes())
    (tmp_path / "a.xml").write_text(label.format(name="a.img", size=4))
    with open_product(tmp_path / "a.img") as product:
        values = read_whole_array(product.arrays[0])
    wanted = np.where(pixels == 5, np.nan, pixels * 0.5 + 1)
    assert np.array_equal(values, wanted, equal_nan=True)
    for name, size, why in (("../a.img", 4, "points to"), ("b.img", 4, "which is missing"), ("a.img", 10**15, "label states"), ("a.img", -3, "size of an array in")):  # fmt: skip
        (tmp_path / "bad.xml").write_text(label.format(name=name, size=size))
        with pytest.raises(SourceError, match=why):
            open_product(tmp_path / "bad.xml")


@pytest.mark.parametrize("pointer", ['"../../etc/passwd"', '"/etc/passwd"', '("..", 1)', '"link.img"', '"missing.img"'])
def test_labels_point_to_their_own_folder(tmp_path, pointer):
    (tmp_path / "link.img").symlink_to("/etc/passwd")
    text = MAP.format(kind="X", scale=1, lat=0, lon=0, line=0, sample=0, top=0, way="EAST")
    (tmp_path / "a.lbl").write_text(text.replace('("MAP.IMG", 1)', pointer))
    with pytest.raises(SourceError, match="the label points to") as fault:
        open_product(tmp_path / "a.lbl")
    assert "root:" not in str(fault.value)


@ORIGINS
@pytest.mark.parametrize("medium", REAL)
def test_damaged_label_products_say_so(tmp_path, medium, origin):
    """Cut off at many places, and with bytes changed: a fault of its own or what is left, nothing else."""
    check_damage(products(medium, origin, tmp_path / "made")[-1], tmp_path)


def test_sizes_that_cannot_be(tmp_path):
    text = MAP.format(kind="X", scale=1, lat=0, lon=0, line=0, sample=0, top=0, way="EAST")
    (tmp_path / "map.img").write_bytes(bytes(128))
    for lines in (10**12, 0, -1, "N/A"):
        (tmp_path / "a.lbl").write_text(text.replace("LINES = 8", f"LINES = {lines}"))
        with pytest.raises(SourceError, match=r"label states|are not valid"):
            open_product(tmp_path / "a.lbl")


@ORIGINS
@pytest.mark.parametrize("medium", REAL)
def test_labels_from_elsewhere(medium, origin, tmp_path):
    """Read by ranges: the same parts, and the same files beside a label."""
    check_remote_reads(products(medium, origin, tmp_path / "made")[-1])


@pytest.mark.parametrize("medium", ["pds3", "isis"])
@pytest.mark.parametrize("after", [0, 1, 4])
@ORIGINS
def test_servers_that_fail_are_no_damaged_labels(medium, after, origin, monkeypatch, tmp_path):
    """Whatever library reads: the fault of the server comes through, while a file is opened and while it is read."""
    path = max(products(medium, origin, tmp_path / "made"), key=lambda path: path.stat().st_size)
    check_failing_server(path, after, monkeypatch)


def test_delimited_tables(tmp_path):
    (tmp_path / "a.lbl").write_text(
        'PDS_VERSION_ID = PDS3\n^SPREADSHEET = "a.csv"\nOBJECT = SPREADSHEET\nROWS = 3\nROW_BYTES = 80\nFIELDS = 2\nFIELD_DELIMITER = COMMA\n'
        "OBJECT = FIELD\nNAME = A\nBYTES = 9\nDATA_TYPE = ASCII_REAL\nMISSING_CONSTANT = -99.0\nEND_OBJECT\n"
        "OBJECT = FIELD\nNAME = B\nBYTES = 9\nDATA_TYPE = CHARACTER\nEND_OBJECT\nEND_OBJECT\nEND\n"
    )
    (tmp_path / "a.csv").write_text('1.5,"x, y"\n-99.00,z\n 3 ,\n')
    with open_product(tmp_path / "a.csv") as product:
        assert {path.name for path in product.companion_files} == {"a.lbl"}
        rows = pa.Table.from_batches(product.parts[0].read_batches(0, 9)).to_pylist()
        assert pa.Table.from_batches(product.parts[0].read_batches(1, 1)).to_pylist() == rows[1:2]
    assert rows == [{"A": 1.5, "B": "x, y"}, {"A": None, "B": "z"}, {"A": 3.0, "B": None}]


def test_labels_are_told_by_what_they_begin_with():
    assert detect_product_file_format("a.img", b"PDS_VERSION_ID = PDS3\r\n").name == "pds3"
    assert detect_product_file_format("a.img", b"LBLSIZE=512 ") is None  # VICAR without a label of PDS

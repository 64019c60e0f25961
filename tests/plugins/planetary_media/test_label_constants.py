"""Special constants of PDS labels: numbers, and the bits of reals and of signed numbers."""

from __future__ import annotations

import numpy as np
import pytest

from hven.formats.media import open_product
from hven.plugins.planetary_media.label_values import RadixInteger, parse_label_constant

LABEL4 = """<?xml version="1.0" encoding="UTF-8"?>
<Product_Observational xmlns="http://pds.nasa.gov/pds4/pds/v1">
<File_Area_Observational><File><file_name>a.img</file_name></File>
<Array_2D_Image><local_identifier>im</local_identifier><offset unit="byte">0</offset><axes>2</axes><axis_index_order>Last Index Fastest</axis_index_order>
<Element_Array><data_type>{kind}</data_type></Element_Array>
<Axis_Array><axis_name>Line</axis_name><elements>1</elements><sequence_number>1</sequence_number></Axis_Array>
<Axis_Array><axis_name>Sample</axis_name><elements>{count}</elements><sequence_number>2</sequence_number></Axis_Array>
<Special_Constants><missing_constant>{constant}</missing_constant></Special_Constants></Array_2D_Image>
<Table_Binary><local_identifier>t</local_identifier><offset unit="byte">0</offset><records>{count}</records>
<Record_Binary><fields>1</fields><groups>0</groups><record_length unit="byte">{size}</record_length>
<Field_Binary><name>v</name><field_location unit="byte">1</field_location><data_type>{kind}</data_type><field_length unit="byte">{size}</field_length>
<Special_Constants><missing_constant>{constant}</missing_constant></Special_Constants></Field_Binary></Record_Binary></Table_Binary>
</File_Area_Observational></Product_Observational>"""
LABEL3 = """PDS_VERSION_ID = PDS3
RECORD_TYPE = FIXED_LENGTH
RECORD_BYTES = 1
^IMAGE = ("a.img", 1)
OBJECT = IMAGE
 LINES = 1
 LINE_SAMPLES = {count}
 SAMPLE_TYPE = {kind}
 SAMPLE_BITS = {bits}
 MISSING_CONSTANT = {constant}
END_OBJECT = IMAGE
END
"""
# stored, type of PDS4 and PDS3, the value that is missing, and how labels write it
CASES = [
    ("<i2", "SignedLSB2", "LSB_INTEGER", -32767, ["-32767", "16#8001#", "0x8001", "32769"]),
    (">i2", "SignedMSB2", "MSB_INTEGER", -1, ["-1", "16#FFFF#", "0xffff", "65535"]),
    (">i4", "SignedMSB4", "MSB_INTEGER", -(2**31), ["-2147483648", "16#80000000#"]),
    ("<i2", "SignedLSB2", "LSB_INTEGER", 7, ["7", "16#7#", "2#111#"]),
    (">u2", "UnsignedMSB2", "MSB_UNSIGNED_INTEGER", 65535, ["65535", "16#FFFF#"]),
    (">f4", "IEEE754MSBSingle", "IEEE_REAL", np.uint32(0xFF7FFFFB).view(np.float32), ["16#FF7FFFFB#", "0xFF7FFFFB", "-3.4028227e+38"]),
    (">f4", "IEEE754MSBSingle", "IEEE_REAL", np.uint32(0x7149F2CA).view(np.float32), ["16#7149F2CA#", "1.0e30"]),
    (">f8", "IEEE754MSBDouble", "IEEE_REAL", np.uint64(0xFFEFFFFFFFFFFFFB).view(np.float64), ["16#FFEFFFFFFFFFFFFB#"]),
]  # fmt: skip


def build_stored_values(kind, missing):
    values = np.array([5, missing, 6], kind)
    return values, [5, None, 6]


def flat(part):
    values = part.read(tuple(slice(0, size) for size in part.shape)).ravel()
    return [None if np.isnan(value) else int(value) for value in values.astype(float)]


@pytest.mark.parametrize(
    ("kind", "word", "missing", "constant"),
    [(kind, word, missing, constant) for kind, word, _, missing, constants in CASES for constant in constants],
)
def test_constants_of_pds4(tmp_path, kind, word, missing, constant):
    values, expected = build_stored_values(kind, missing)
    (tmp_path / "a.img").write_bytes(values.tobytes())
    (tmp_path / "a.xml").write_text(LABEL4.format(kind=word, constant=constant, count=3, size=values.itemsize))
    with open_product(tmp_path / "a.xml") as product:
        image, table = product.parts
        assert flat(image) == expected
        assert next(table.read_batches(0, 3)).column("v").to_pylist() == expected


@pytest.mark.parametrize(
    ("kind", "word", "missing", "constant"),
    [
        (kind, word, missing, constant)
        for kind, _, word, missing, constants in CASES
        for constant in constants
        if "0x" not in constant
    ],
)
def test_constants_of_pds3(tmp_path, kind, word, missing, constant):
    values, expected = build_stored_values(kind, missing)
    (tmp_path / "a.img").write_bytes(values.tobytes())
    (tmp_path / "a.lbl").write_text(LABEL3.format(kind=word, bits=8 * values.itemsize, constant=constant, count=3))
    with open_product(tmp_path / "a.lbl") as product:
        assert flat(product.parts[0]) == expected


def test_a_pattern_of_another_size_is_a_number():
    assert parse_label_constant(RadixInteger(7), np.dtype("i2")) == 7
    assert parse_label_constant(RadixInteger(2**40), np.dtype("i2")) == 2.0**40
    assert parse_label_constant("N/A", np.dtype("f4")) is None

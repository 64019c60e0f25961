"""Conversions of products: FITS as it stands, by parts; tables cut by times and wavelengths; compressed files; what is no product."""

from __future__ import annotations

import gzip
import io

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits
from astropy.io.votable import parse_single_table

from hven.formats.media import fits as medium
from hven.formats.media import open_product
from hven.model.errors import ParamError, SourceError, TooLargeError
from hven.plugins.cutouts.pixel_windows import CutoutSelection
from hven.plugins.cutouts.product_conversions import write_product_as_fits, write_product_as_votable
from hven.plugins.cutouts.product_cutting import cut_product, join_hdus, write_primary_hdu
from hven.plugins.cutouts.table_selection import select_rows_or_elements, write_table_hdu
from shared import shared


def open_converted(made) -> fits.HDUList:
    body = b"".join(made.read_chunks())
    assert len(body) == made.size
    return fits.open(io.BytesIO(body))


def test_tables_of_fits_stay_as_they_stand():
    path = shared("data/interferometry/oifits/GRAVI.2016-06-23T03-10-17.458_singlesciviscalibrated.fits")
    with open_product(path) as product:
        found = open_converted(write_product_as_fits(product))
        alone = open_converted(write_product_as_fits(product, "OI_TARGET"))
    with fits.open(path) as before:
        assert [one.name for one in found] == [one.name for one in before]
        for one, other in zip(found[1:], before[1:], strict=True):
            assert one.header.tostring() == other.header.tostring()
            assert one.data.tobytes() == other.data.tobytes()
    assert [one.name for one in alone] == ["PRIMARY", "OI_TARGET"]


def test_tables_as_votable():
    with open_product(
        shared("data/interferometry/oifits/GRAVI.2016-06-23T03-10-17.458_singlesciviscalibrated.fits")
    ) as product:
        made = write_product_as_votable(product, "OI_VIS2", serialization="TABLEDATA")
        found = parse_single_table(io.BytesIO(b"".join(made.read_chunks()))).to_table()
        data = next(part for part in product.parts if part.name == "OI_VIS2")
        first = next(data.read_batches(0, 1)).to_pylist()[0]
    assert np.array_equal(found["VIS2DATA"][0], first["VIS2DATA"])
    assert str(found["UCOORD"].unit) == "m"


def test_a_table_is_cut_by_times():
    path = shared("data/images/hlsp_tess-data-alerts_tess_phot_00025155310-s01_tess_v1_lc.fits")
    with open_product(path) as product:
        found = open_converted(cut_product(product, CutoutSelection(time=(58330.0, 58331.0)), part_name="1"))
        assert cut_product(product, CutoutSelection(time=(1.0, 2.0)), part_name="1") is None
        with pytest.raises(ParamError, match="no column contains wavelengths"):
            cut_product(product, CutoutSelection(band=(1e-7, 1e-6)), part_name="1")
    with fits.open(path) as whole:
        data, header = whole[1].data, whole[1].header
    days = data["TIME"] + header["BJDREFI"] + header["BJDREFF"] - 2400000.5
    rows = (days >= 58330.0) & (days <= 58331.0)
    assert 0 < rows.sum() < len(rows)
    assert np.array_equal(found[1].data["PDCSAP_FLUX"], data["PDCSAP_FLUX"][rows], equal_nan=True)
    assert found[1].header["BJDREFI"] == header["BJDREFI"]


def test_a_spectrum_of_one_row_is_cut_by_elements(tmp_path):
    wave = np.linspace(4000.0, 7000.0, 301)
    columns = [
        fits.Column("WAVE", "301D", unit="Angstrom", array=wave[None]),
        fits.Column("FLUX", "301E", unit="Jy", array=np.arange(301, dtype="f4")[None]),
        fits.Column("NAME", "3A", array=["abc"]),
    ]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "spectrum.fits")
    with open_product(tmp_path / "spectrum.fits") as product:
        found = open_converted(cut_product(product, CutoutSelection(band=(5e-7, 5.1e-7))))[1].data
    assert np.array_equal(found["WAVE"][0], wave[100:111])
    assert np.array_equal(found["FLUX"][0], np.arange(100, 111, dtype="f4"))
    assert found["NAME"][0] == "abc"


def test_compressed_files_have_a_size_limit(tmp_path, monkeypatch):
    body = io.BytesIO()
    fits.PrimaryHDU(np.zeros((500, 500), "i2")).writeto(body)
    path = tmp_path / "zeros.fits.gz"
    path.write_bytes(gzip.compress(body.getvalue()))
    with open_product(path) as product:
        assert open_converted(write_product_as_fits(product))[0].data.shape == (500, 500)
    monkeypatch.setattr(medium, "MAX_UNPACKED_BYTES", 1 << 17)
    with pytest.raises(TooLargeError, match="after decompression, "):
        open_product(path)


def test_what_is_no_product(tmp_path):
    whole = shared("data/images/HorseHead.fits").read_bytes()
    for name, body in {"zero.fits": b"", "words.fits": b"hello, this is not a FITS", "cut.fits.gz": b"\x1f\x8b\x08\x00nothing"}.items():  # fmt: skip
        (tmp_path / name).write_bytes(body)
        with pytest.raises(SourceError) as fault:
            open_product(tmp_path / name)
        assert name in str(fault.value)
        assert str(tmp_path) not in str(fault.value)
    (tmp_path / "short.fits").write_bytes(whole[:100_000])
    with pytest.raises(SourceError, match="damaged"), open_product(tmp_path / "short.fits") as product:
        b"".join(write_product_as_fits(product).read_chunks())


def test_a_table_beyond_the_limit_is_not_written():
    with open_product(shared("data/interferometry/oifits/HD140573.oifits")) as product, pytest.raises(TooLargeError):
        write_product_as_fits(product, byte_limit=1000)


def test_batches_of_a_cut_can_be_read_from_any_row():
    path = shared("data/images/hlsp_tess-data-alerts_tess_phot_00025155310-s01_tess_v1_lc.fits")
    with open_product(path) as product:
        rows = select_rows_or_elements(product.find_part("1"), CutoutSelection(time=(58330.0, 58331.0)))
        whole = pa.Table.from_batches(rows.read_batches(0, rows.row_count))
        piece = pa.Table.from_batches(rows.read_batches(100, 50))
    assert whole.num_rows == rows.row_count
    assert piece.column("CADENCENO").equals(whole.slice(100, 50).column("CADENCENO"))


@pytest.mark.parametrize("letter", ["C", "M"])
def test_complex_columns(tmp_path, letter):
    """Scalars, arrays and arrays of any length, of both precisions: the same numbers in VOTable, and in FITS that is written anew."""
    kind = np.dtype("c8" if letter == "C" else "c16")
    one = np.array([1 + 2j, complex(np.nan, 1), -3.5j], kind)
    many = (np.arange(12) - 1j * np.arange(12)[::-1]).reshape(3, 4).astype(kind)
    odd = np.array([many[0, :2], many[1, :0], many[2]], object)
    columns = [
        fits.Column("one", letter, "Jy", array=one),
        fits.Column("many", f"4{letter}", array=many),
        fits.Column("odd", f"P{letter}()", array=odd),
        fits.Column("plain", "E", array=np.arange(3.0)),
    ]
    fits.BinTableHDU.from_columns(columns, name="VIS").writeto(tmp_path / "a.fits")
    with open_product(tmp_path / "a.fits") as product:
        (rows,) = product.parts
        assert [column.type.datatype for column in rows.columns] == [f"{'float' if letter == 'C' else 'double'}Complex"] * 3 + ["float"]  # fmt: skip
        table = parse_single_table(io.BytesIO(b"".join(write_product_as_votable(product).read_chunks())))
        anew = b"".join(join_hdus(write_primary_hdu((), "fits"), [write_table_hdu(rows)]).read_chunks())
        whole = b"".join(write_product_as_fits(product).read_chunks())
    assert (table.fields[0].datatype, str(table.fields[0].unit)) == (rows.columns[0].type.datatype, "Jy")
    assert np.array_equal(table.array["one"].data[[0, 2]], one[[0, 2]])
    assert np.array_equal(table.array["many"].data, many)
    assert [each.tolist() for each in table.array["odd"]] == [each.tolist() for each in odd]
    for body in (anew, whole):
        with fits.open(io.BytesIO(body)) as opened:
            data = opened[1].data
            assert np.array_equal(data["one"], one, equal_nan=True)
            assert np.array_equal(data["many"], many)
            assert [each.tolist() for each in data["odd"]] == [each.tolist() for each in odd]
            assert data["one"].dtype.kind == "c"

"""Whole numbers beyond 2^53 come out exactly, as int64 or as decimal text; nothing is rounded."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits as astropy_fits
from astropy.table import Table as AstropyTable

from hven.model import DeviationKind, plugins
from hven.model.errors import SourceError
from hven.sources import SourceContext

SMALL = [0, 7, 2**53, 2**53 + 1, 2**63 - 1]
LARGE = [7, 2**53 + 1, 2**63, 2**64 - 1]


def write_fits(path, values):
    AstropyTable({"n": np.array(values, "u8")}).write(path, format="fits")


def write_parquet(path, values):
    pq.write_table(pa.table({"n": pa.array(values, pa.uint64())}), path)


def write_parquet_without_statistics(path, values):
    pq.write_table(pa.table({"n": pa.array(values, pa.uint64())}), path, write_statistics=False)


WRITERS = [("fits", write_fits), ("parquet", write_parquet), ("parquet", write_parquet_without_statistics)]


def read(kind, path, *, reject=None):
    told = []
    module = plugins.load_plugin("sources", kind)
    source = module.open(
        module.Options(files=[path.name]), SourceContext(directory=path.parent, on_notice=told.append, on_reject=reject)
    )
    (column,) = source.list_columns()
    return column, [value for batch in source.read_batches() for value in batch.column("n").to_pylist()], told


@pytest.mark.parametrize(("kind", "write"), WRITERS)
def test_unsigned_numbers_that_fit_are_int64(tmp_path, kind, write):
    write(tmp_path / "a", SMALL)
    column, values, told = read(kind, tmp_path / "a")
    assert (str(column.type), values, told) == ("int64", SMALL, [])


@pytest.mark.parametrize(("kind", "write"), WRITERS)
def test_unsigned_numbers_that_do_not_fit_are_decimal_text(tmp_path, kind, write):
    write(tmp_path / "a", LARGE)
    column, values, told = read(kind, tmp_path / "a")
    assert column.type.is_string
    assert values == [str(value) for value in LARGE]
    assert [(item.kind, item.column) for item in told] == [(DeviationKind.WHOLE_NUMBER, "n")]


@pytest.mark.parametrize(("kind", "write"), WRITERS)
def test_a_later_file_with_larger_numbers_rejects_its_rows(tmp_path, kind, write):
    write(tmp_path / "a", SMALL)
    write(tmp_path / "b", LARGE)
    rejects = []
    module = plugins.load_plugin("sources", kind)
    source = module.open(module.Options(files=["a", "b"]), SourceContext(directory=tmp_path, on_reject=rejects.append))
    values = [value for batch in source.read_batches() for value in batch.column("n").to_pylist()]
    assert values == [*SMALL, *LARGE[:2]]
    assert [(item.file, item.row, item.column, item.value) for item in rejects] == [
        ("b", row, "n", str(value)) for row, value in ((3, LARGE[2]), (4, LARGE[3]))
    ]
    source = module.open(module.Options(files=["a", "b"]), SourceContext(directory=tmp_path))
    with pytest.raises(SourceError, match="9223372036854775808"):
        list(source.read_batches())


def test_fits_arrays_and_heaps(tmp_path):
    fixed = np.array([[1, 2**53 + 1], [2**63, 5]], "u8")
    astropy_fits.BinTableHDU.from_columns(
        [
            astropy_fits.Column("fixed", "2K", array=fixed, bzero=2**63),
            astropy_fits.Column("small", "2K", array=fixed % 2**60, bzero=2**63),
        ]
    ).writeto(tmp_path / "a.fits")
    module = plugins.load_plugin("sources", "fits")
    source = module.open(module.Options(files=["a.fits"]), SourceContext(directory=tmp_path))
    (batch,) = source.read_batches()
    assert batch.column("fixed").to_pylist() == [[str(value) for value in row] for row in fixed.tolist()]
    assert batch.column("small").to_pylist() == (fixed % 2**60).tolist()
    assert [column.type.arrow for column in source.list_columns()] == [pa.list_(pa.string()), pa.list_(pa.int64(), 2)]


def test_fits_tnull_of_unsigned_numbers(tmp_path):
    stored = np.array([-(2**63) + 7, 2**53 + 1 - 2**63, -(2**63)], "i8")
    hdu = astropy_fits.BinTableHDU.from_columns([astropy_fits.Column("n", "K", array=stored)])
    hdu.header["TZERO1"], hdu.header["TNULL1"] = 2**63, -(2**63)
    hdu.writeto(tmp_path / "a.fits")
    module = plugins.load_plugin("sources", "fits")
    (batch,) = module.open(module.Options(files=["a.fits"]), SourceContext(directory=tmp_path)).read_batches()
    assert batch.column("n").to_pylist() == [7, 2**53 + 1, None]


# --- texts ------------------------------------------------------------------------------------------------------------

TABLEDATA = (
    '<VOTABLE version="1.4"><RESOURCE><TABLE><FIELD name="x" datatype="double"/><DATA><TABLEDATA>{}'
    "</TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"
)
TEXT_WRITERS = {
    "csv": lambda texts: "x\n" + "".join(f"{text}\n" for text in texts),
    "json": lambda texts: "".join(f'{{"x": {text}}}\n' for text in texts),
    "votable": lambda texts: TABLEDATA.format("".join(f"<TR><TD>{text}</TD></TR>" for text in texts)),
    "fixed": lambda texts: "".join(f"{text:>40}\n" for text in texts),
}
OPTIONS = {
    "csv": {"types": {"x": "float64"}},
    "json": {"types": {"x": "float64"}},
    "fixed": {"fields": {"x": {"type": "float64", "bytes": "1-40"}}},
}


def read_text(kind, directory, texts):
    (directory / "a").write_text(TEXT_WRITERS[kind](texts))
    told, rejects = [], []
    module = plugins.load_plugin("sources", kind)
    options = module.Options.model_validate({"files": "a", **OPTIONS.get(kind, {})})
    source = module.open(options, SourceContext(directory=directory, on_notice=told.append, on_reject=rejects.append))
    return [value for batch in source.read_batches() for value in batch.column("x").to_pylist()], told, rejects


@pytest.mark.parametrize("kind", TEXT_WRITERS)
def test_whole_numbers_that_a_double_rounds_are_counted(tmp_path, kind):
    texts = [
        "1.5",
        "9007199254740993",
        "9007199254740992",
        "18446744073709551615",
        "18446744073709551616",
        "-9007199254740993",
    ]
    values, told, rejects = read_text(kind, tmp_path, texts)
    assert values == [float(text) for text in texts]
    assert not rejects
    assert [(item.kind, item.column, item.count, item.row, item.value.strip()) for item in told] == [
        (DeviationKind.PRECISION, "x", sum(int(float(text)) != int(text) for text in texts[1:]), 2, texts[1])
    ]


@pytest.mark.parametrize("kind", ["csv", "json", "fixed"])
def test_numbers_that_are_too_large_reject_their_rows(tmp_path, kind):
    texts = ["1.5", "1e400", "2.5", "-" + "9" * 30 + "e300", "1e308"]
    values, _, rejects = read_text(kind, tmp_path, texts)
    assert values == [1.5, 2.5, 1e308]
    assert [(item.row, item.column) for item in rejects] == [(2, "x"), (4, "x")]
    assert all("too large for float64" in item.reason for item in rejects)


def test_a_votable_with_a_number_that_is_too_large_is_refused(tmp_path):
    with pytest.raises(SourceError, match=r"row 2, column 'x': '1e400' is not a value of type double: too large"):
        read_text("votable", tmp_path, ["1.5", "1e400"])


@pytest.mark.parametrize("kind", ["csv", "votable", "fixed"])
def test_infinities_that_are_written_stay(tmp_path, kind):
    values, told, rejects = read_text(kind, tmp_path, ["inf", "-Inf", "+Inf"])
    assert (values, told, rejects) == ([float("inf"), float("-inf"), float("inf")], [], [])

"""FITS: tables of every kind against astropy, header rows, odd real files."""

from __future__ import annotations

import warnings
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits as theirs

from hven.model.errors import SourceError
from hven.plugins.product_sources import fits_source as fits
from hven.sources import ROW_NUMBER_COLUMN, SourceContext
from shared import shared


def open_source(path, rejects=None, batch=131_072, **options):
    context = SourceContext(
        directory=path.parent, on_reject=rejects.append if rejects is not None else None, batch_row_limit=batch
    )
    return fits.open(fits.Options.model_validate({"files": path.name, **options}), context)


def table(source, columns=None, limit=None):
    return pa.Table.from_batches(list(source.read_batches(columns, limit)))


def is_same_cell(ours, value, null):
    """Compare one cell of ours with astropy's."""
    if isinstance(value, (str, np.str_)):
        return ours == (value.rstrip() or None)
    if isinstance(value, (bool, np.bool_)):
        return ours is bool(value)
    value = np.asarray(value)
    if value.dtype.kind == "U":
        return [item or "" for item in ours] == [item.rstrip() for item in value.ravel()]
    if value.dtype.kind == "c":
        flat = np.stack([value.real, value.imag], -1).ravel()
        ours = np.ravel(np.asarray(ours, float))
    else:
        flat = value.ravel()
        ours = [ours] if value.ndim == 0 else ours
    return len(ours) == len(flat) and all(
        (mine is None and (np.isnan(theirs_) or (null is not None and theirs_ == null))) or mine == theirs_
        for mine, theirs_ in zip(ours, flat.tolist(), strict=True)
    )


def differences(path, hdu, found):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of bad TNULLs
        with theirs.open(path) as hdus:
            unit = hdus[hdu]
            assert found.num_rows == len(unit.data)
            result = []
            for column in unit.columns:
                values = found.column(column.name).to_pylist()
                result += [
                    (column.name, row) for row, value in enumerate(unit.data[column.name]) if not is_same_cell(values[row], value, column.null)
                ]  # fmt: skip
    return result


def columns_of_every_kind(n=7):
    counted = np.arange(n)
    ragged = np.empty(n, object)
    ragged[:] = [np.arange(k, dtype=">i4") for k in range(n)]
    reals = np.empty(n, object)
    reals[:] = [np.linspace(0, 1, (3 * k) % 5) for k in range(n)]
    return [
        theirs.Column("logical", "L", array=counted % 2 == 0),
        theirs.Column("bits", "11X", array=(counted[:, None] * 37 >> np.arange(11)) % 2 == 1),
        theirs.Column("byte", "B", array=counted.astype("u1"), null=3),
        theirs.Column("short", "I", array=counted - 3, null=-3, unit="d"),
        theirs.Column("word", "J", array=counted * 100_000, disp="I8"),
        theirs.Column("long", "K", array=counted * 10**15),
        theirs.Column("unsigned", "J", bzero=2**31, array=(counted + 2**31).astype("u4")),
        theirs.Column("signed_byte", "B", bzero=-128, array=(counted - 100).astype("i1")),
        theirs.Column("real", "E", array=np.where(counted == 2, np.nan, counted / 3).astype("f4"), unit="mag"),
        theirs.Column("double", "D", array=counted / 7),
        theirs.Column("complex", "C", array=(counted + 1j).astype("c8")),
        theirs.Column("vector", "3D", array=counted[:, None] + np.arange(3.0)),
        theirs.Column("matrix", "6I", dim="(3,2)", array=np.arange(6 * n).reshape(n, 2, 3)),
        theirs.Column("text", "8A", array=[f"a{k:3}" if k else "" for k in range(n)]),
        theirs.Column("words", "12A", dim="(4,3)", array=np.array([[f"x{k}", "", "abcd"] for k in range(n)])),
        theirs.Column("ragged", "PJ()", array=ragged),
        theirs.Column("reals", "QD()", array=reals),
    ]


@pytest.mark.parametrize("batch", [1, 3, 1000])
def test_every_kind_of_column_is_read_as_astropy_reads_it(tmp_path, batch):
    path = tmp_path / "a.fits"
    theirs.HDUList([theirs.PrimaryHDU(np.zeros(5)), theirs.BinTableHDU.from_columns(columns_of_every_kind())]).writeto(
        path
    )
    found = table(open_source(path, batch=batch))
    assert differences(path, 1, found) == []
    kinds = {column.name: str(column.type) for column in open_source(path).list_columns()}
    assert kinds == {
        "logical": "bool", "bits": "bit[11]", "byte": "uint8", "short": "int16", "word": "int32", "long": "int64", "unsigned": "int64", "signed_byte": "int16",
        "real": "float32", "double": "float64", "complex": "complex64", "vector": "float64[3]", "matrix": "int16[3x2]", "text": "string[8*]",
        "words": "string[4x3]", "ragged": "int32[*]", "reals": "float64[*]",
    }  # fmt: skip
    assert {column.unit for column in open_source(path).list_columns()} == {None, "d", "mag"}


def test_scaled_columns_are_numbers(tmp_path):
    path = tmp_path / "a.fits"
    hdu = theirs.BinTableHDU.from_columns(
        [theirs.Column("t", "I", array=[0, 100, -1]), theirs.Column("f", "E", array=[1.0, 2.0, 3.0])]
    )
    hdu.header.update({"TSCAL1": 0.01, "TZERO1": 273.15, "TNULL1": -1, "TSCAL2": 2.0})
    hdu.writeto(path)
    found = table(open_source(path)).to_pydict()
    assert found["t"] == [pytest.approx(273.15), pytest.approx(274.15), None]
    assert found["f"] == [2.0, 4.0, 6.0]


def test_metadata_come_from_the_cards(tmp_path):
    path = tmp_path / "a.fits"
    hdu = theirs.BinTableHDU.from_columns([theirs.Column("RA", "D", array=[1.0]), theirs.Column("F", "E", array=[1.0])])
    hdu.header.update(
        {
            "TUNIT1": "deg",
            "TUCD1": "pos.eq.ra",
            "TCOMM1": "Right ascension",
            "TUTYP1": "x:y",
            "TDISP1": "F8.3",
            "TNULL2": -99,
        }
    )
    hdu.header["TTYPE2"] = ("F", "Flux in the fibre")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hdu.writeto(path, output_verify="silentfix")
    ra, flux = open_source(path).list_columns()
    assert (ra.unit, ra.ucd, ra.description, ra.utype, ra.display) == (
        "deg",
        "pos.eq.ra",
        "Right ascension",
        "x:y",
        "F8.3",
    )
    assert flux.description == "Flux in the fibre"
    assert table(open_source(path)).column("F").to_pylist() == [1.0], "TNULL means nothing for floats"


def test_ascii_tables(tmp_path):
    path = tmp_path / "a.fits"
    columns = [
        theirs.Column("n", "I4", array=[1, -2, 3]),
        theirs.Column("x", "F8.3", array=[1.5, 2.25, -3.125]),
        theirs.Column("s", "A5", array=["a", "bc", ""]),
    ]
    theirs.TableHDU.from_columns(columns).writeto(path)
    assert table(open_source(path)).to_pylist() == [
        {"n": 1, "x": 1.5, "s": "a"},
        {"n": -2, "x": 2.25, "s": "bc"},
        {"n": 3, "x": -3.125, "s": None},
    ]
    data = path.read_bytes()
    path.write_bytes(data.replace(b"2.250", b"2.2x0"))
    rejects = []
    assert table(open_source(path, rejects), ["n", ROW_NUMBER_COLUMN]).num_rows == 3, (
        "a column that nobody wants harms nobody"
    )
    assert table(open_source(path, rejects), ["x", ROW_NUMBER_COLUMN]).to_pylist() == [
        {"x": 1.5, ROW_NUMBER_COLUMN: 1},
        {"x": -3.125, ROW_NUMBER_COLUMN: 3},
    ]
    assert [(item.row, item.column, item.value) for item in rejects] == [(2, "x", "2.2x0")]


def test_tables_are_chosen_by_number_or_name(tmp_path):
    path = tmp_path / "a.fits"
    tables = [
        theirs.BinTableHDU.from_columns([theirs.Column("x", "J", array=[number])], name=name)
        for number, name in ((1, "ONE"), (2, "TWO"))
    ]
    theirs.HDUList([theirs.PrimaryHDU(), theirs.ImageHDU(np.zeros((3, 3))), *tables]).writeto(path)
    assert [
        table(open_source(path, **options)).to_pylist() for options in ({}, {"hdu": 2}, {"hdu": 3}, {"hdu": "two"})
    ] == [
        [{"x": 1}],
        [{"x": 1}],
        [{"x": 2}],
        [{"x": 2}],
    ]
    with pytest.raises(
        SourceError,
        match=r"a\.fits: the file has no table in HDU 'three' \(number of HDUs: 4\); choose one of its tables: 2 ONE, 3 TWO",
    ):
        open_source(path, hdu="three").list_columns()


def test_broken_files_are_told(tmp_path):
    path = tmp_path / "a.fits"
    theirs.BinTableHDU.from_columns([theirs.Column("x", "J", array=np.arange(5000))]).writeto(path)
    path.write_bytes(path.read_bytes()[:-10_000])
    with pytest.raises(SourceError, match=r"ends after row \d+ of 5000"):
        table(open_source(path))
    path.write_text("hello")
    with pytest.raises(SourceError, match="not a FITS file"):
        open_source(path).list_columns()
    theirs.PrimaryHDU(np.zeros(3)).writeto(path, overwrite=True)
    with pytest.raises(SourceError, match=r"the file has no table \(number of HDUs: 1\); write `mode: header`"):
        open_source(path).list_columns()


REAL = [
    ("interferometry/jmdc/JMDC_2017-03-28.fits.gz", None, 1, 251),
    ("interferometry/jmdc/JMDC_2016-08-31.fits.gz", None, 1, 159),
    ("helio/flares/hessi_flare_list_201802.fits", 3, 3, 30),
    ("images/clusters/HFI_PCCS_SZ-union_R2.08.fits", None, 1, 30),
    ("helio/spoca/20111231_230008.CHMap.fits", "ChainCodes", 3, 12),
    ("interferometry/oifits/2009-11-eps_Aur-avg5.oifits", "OI_VIS2", "OI_VIS2", 10),
    ("helio/images/iris_l2_20130801_074720_4040000014_SJI_1400_t000.fits", None, 2, 4),
]


@pytest.mark.parametrize(("name", "hdu", "number", "width"), REAL)
def test_real_tables_are_read_as_astropy_reads_them(name, hdu, number, width):
    path = shared(f"data/{name}")
    source = open_source(path, **({} if hdu is None else {"hdu": hdu}))
    assert len(source.list_columns()) == width
    found = table(source)
    assert differences(path, number, found) == []
    assert source.list_input_versions()[0].sha256


# -- header rows ----------------------------------------------------------------------------


def test_headers_of_real_images_are_those_that_astropy_reads():
    path = shared("data/helio/images")
    source = open_source(path / "*.fits", mode="header", cards=["DATE-OBS", "TELESCOP", "NAXIS1", "EXPTIME", "CDELT1"])
    found = table(source, ["DATE-OBS", "TELESCOP", "NAXIS1", "EXPTIME", "CDELT1", "file.name"]).to_pylist()
    assert len(found) == len(list(path.glob("*.fits")))
    for row in found:
        header = theirs.Header.fromfile(path / row.pop("file.name"))
        assert row == {key: header.get(key) for key in row}


def test_a_row_for_each_card_as_astropy_reads_them():
    path = shared("data/helio/images")
    found = table(open_source(path / "*.fits", mode="cards")).to_pylist()
    assert len({row["file"] for row in found}) == len([*path.glob("*.fits")])
    for file in path.glob("*.fits"):
        rows = [row for row in found if row["file"].endswith(file.name)]
        with warnings.catch_warnings(action="ignore"), theirs.open(file, disable_image_compression=True) as opened_:
            for number, hdu in enumerate(opened_):
                mine = {row["keyword"]: row for row in rows if row["hdu"] == number}
                for card in hdu.header.cards:
                    try:
                        blank = isinstance(card.value, theirs.card.Undefined)
                    except theirs.VerifyError:  # astropy does not read it
                        continue
                    if card.keyword in {"", "COMMENT", "HISTORY"} or blank:
                        continue
                    row = mine[card.keyword]
                    assert row["comment"] == (card.comment or None)
                    if isinstance(card.value, bool):
                        assert row["value"] == ("T" if card.value else "F")
                    elif isinstance(card.value, int | float):
                        assert row["number"] == card.value
                    else:
                        # an & that no CONTINUE follows is of the text (FITS 4.0, 4.2.1.2); astropy drops it
                        assert (row["value"] or "").strip().rstrip("&") == card.value.strip().rstrip("&")


def test_cards_of_some_hdus_and_keywords(tmp_path):
    first = theirs.PrimaryHDU(header=theirs.Header({"A": 1}))
    second = theirs.ImageHDU(np.zeros((50, 50)), header=theirs.Header({"A": 99, "B": 0.5}), name="SCI")
    second.header["HISTORY"] = "made"
    theirs.HDUList([first, second]).writeto(tmp_path / "a.fits")
    (tmp_path / "b.fits").write_text("not a FITS file at all")
    rejects = []
    source = open_source(tmp_path / "*.fits", rejects, mode="cards", hdu="sci", cards=["A", "HISTORY"])
    rows = [
        tuple(row.values())
        for row in table(source, ["hdu", "extension", "keyword", "value", "number", ROW_NUMBER_COLUMN]).to_pylist()
    ]
    assert rows == [(1, "SCI", "A", "99", 99.0, 1), (1, "SCI", "HISTORY", "made", None, 2)]
    assert [reject.file for reject in rejects] == ["b.fits"]


def test_several_hdus_are_searched_in_order(tmp_path):
    for number in range(3):
        first = theirs.PrimaryHDU(header=theirs.Header({"A": number}))
        second = theirs.ImageHDU(np.zeros((50, 50)), header=theirs.Header({"A": 99, "B": 0.5}), name="SCI")
        theirs.HDUList([first, second]).writeto(tmp_path / f"{number}.fits")
    assert table(open_source(tmp_path / "*.fits", mode="header", hdu=[0, "SCI"], cards=["A", "B"])).to_pylist() == [
        {"A": n, "B": 0.5} for n in range(3)
    ]
    assert table(open_source(tmp_path / "*.fits", mode="header", hdu=1, cards=["A"])).to_pylist() == [{"A": 99}] * 3


def test_long_strings_units_and_hierarchs(tmp_path):
    header = theirs.Header()
    header["LONG"] = ("it''s " + "a very long text " * 10).strip()
    header["EXPTIME"] = (1.5, "[s] exposure time")
    header["HIERARCH ESO DET DIT"] = (3, "integration")
    header["FLAG"] = True
    theirs.PrimaryHDU(header=header).writeto(tmp_path / "a.fits")
    source = open_source(tmp_path / "a.fits", mode="header", cards=["LONG", "EXPTIME", "ESO DET DIT", "FLAG", "NONE"])
    described = {column.name: column for column in source.list_columns()}
    assert (described["EXPTIME"].unit, described["EXPTIME"].description) == ("s", "exposure time")
    assert table(source).to_pylist() == [
        {"LONG": header["LONG"], "EXPTIME": 1.5, "ESO DET DIT": 3, "FLAG": True, "NONE": None}
    ]


def test_bad_files_among_good_ones_are_kept_aside(tmp_path):
    theirs.PrimaryHDU(header=theirs.Header({"A": 1})).writeto(tmp_path / "1.fits")
    (tmp_path / "2.fits").write_text("not a FITS file at all")
    theirs.PrimaryHDU(header=theirs.Header({"A": 3})).writeto(tmp_path / "3.fits")
    rejects = []
    assert table(
        open_source(tmp_path / "*.fits", rejects, mode="header", cards=["A"]), ["A", ROW_NUMBER_COLUMN]
    ).to_pylist() == [
        {"A": 1, ROW_NUMBER_COLUMN: 1},
        {"A": 3, ROW_NUMBER_COLUMN: 3},
    ]
    assert [(item.file, item.row) for item in rejects] == [("2.fits", 2)]
    with pytest.raises(SourceError, match=r"2\.fits: the file is not a FITS file"):
        table(open_source(tmp_path / "*.fits", mode="header", cards=["A"]))


def test_the_votable_of_a_fits_plus_file_describes_the_columns(tmp_path):
    text = (
        '<?xml version="1.0"?><VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE><TABLE>'
        '<FIELD name="ra" datatype="double" unit="deg" ucd="pos.eq.ra"><DESCRIPTION>Right ascension</DESCRIPTION></FIELD>'
        '<FIELD name="n" datatype="int" ucd="meta.number"/></TABLE></RESOURCE></VOTABLE>'
    )
    primary = theirs.PrimaryHDU(np.frombuffer(text.encode(), np.uint8))
    primary.header["VOTMETA"] = True
    rows = theirs.BinTableHDU.from_columns(
        [theirs.Column("ra", "D", array=[1.0]), theirs.Column("n", "J", unit="ct", array=[2])]
    )
    theirs.HDUList([primary, rows]).writeto(tmp_path / "a.fits")
    ra, n = open_source(tmp_path / "a.fits").list_columns()
    assert (ra.unit, ra.ucd, ra.description) == ("deg", "pos.eq.ra", "Right ascension")
    assert (n.unit, n.ucd) == ("ct", "meta.number"), "the card's own word counts first"
    assert table(open_source(tmp_path / "a.fits")).to_pylist() == [{"ra": 1.0, "n": 2}]


def test_decimal_points_that_tform_places(tmp_path):
    """FITS 4.0 section 7.2.5: without a point the last digits are the fraction. The model is Python's Decimal."""
    texts = {
        "F8.3": ["   12345", " 12.345", "      -7", "+1234567", "12.", "", "12345E1", "-999"],
        "E10.2": ["1234E3", "12.34E3", "-5E-2", "77", "1234D3", "9", "", "-999"],
        "I6": ["12345", "7", "-3", "0", "", "1", "2", "-999"],
        "F8.0": ["12345", "7", "-3.5", "0", "", "1", "2", "-999"],
    }
    header = theirs.Header()
    header["XTENSION"], header["BITPIX"], header["NAXIS"] = "TABLE", 8, 2
    header["NAXIS1"], header["NAXIS2"], header["PCOUNT"], header["GCOUNT"], header["TFIELDS"] = 40, 8, 0, 1, len(texts)
    for number, form in enumerate(texts, 1):
        header[f"TFORM{number}"], header[f"TTYPE{number}"] = form, form
        header[f"TBCOL{number}"], header[f"TNULL{number}"] = 10 * number - 9, "-999"
    rows = "".join(f"{text:<10}" for row in zip(*texts.values(), strict=True) for text in row).encode()
    body = header.tostring().encode() + rows.ljust(2880)
    (tmp_path / "a.fits").write_bytes(theirs.PrimaryHDU().header.tostring().encode() + body)

    def parse_expected_value(text, form):
        text = text.strip().upper().replace("D", "E")
        if text in {"", "-999"}:
            return None
        mantissa, _, exponent = text.partition("E")
        number = Decimal(mantissa) if "." in mantissa else Decimal(mantissa).scaleb(-int(form.partition(".")[2] or 0))
        return float(number.scaleb(int(exponent or 0)))

    told = []
    context = SourceContext(directory=tmp_path, on_notice=told.append)
    found = table(fits.open(fits.Options.model_validate({"files": "a.fits"}), context))
    for form, column in texts.items():
        assert found.column(form).to_pylist() == [parse_expected_value(text, form) for text in column], form
    assert [(one.column, one.count, one.row, one.value) for one in told] == [
        ("F8.3", 4, 1, "12345"),
        ("E10.2", 5, 1, "1234E3"),
    ]

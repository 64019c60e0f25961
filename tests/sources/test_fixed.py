"""Fixed-width text, said by hand or by a CDS ReadMe; against astropy's reader of such catalogues."""

from __future__ import annotations

import itertools
import lzma

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hven.model.errors import SourceError
from hven.sources import ROW_NUMBER_COLUMN, SourceContext, fixed
from hven.sources._reading import readme
from hven.sources.fixed import UNIT_SEPARATOR, build_fixed_width_splitter
from shared import shared


def open_source(path, rejects=None, **options):
    context = SourceContext(directory=path.parent, on_reject=rejects.append if rejects is not None else None)
    return fixed.open(fixed.Options.model_validate({"files": path.name, **options}), context)


def table(source, columns=None):
    return pa.Table.from_batches(list(source.read_batches(columns)))


def test_tycho_is_read_by_its_readme_as_astropy_reads_it():
    from astropy.io import ascii as theirs

    path = shared("data/stars/tyc2.dat.07.xz")
    source = open_source(path, readme="tycho2-ReadMe.txt", table="tyc2.dat")
    found = table(source)
    assert found.num_rows == 127_000
    with lzma.open(path, "rt") as text:
        lines = text.read().splitlines()[:300]
    reader = theirs.get_reader(theirs.Cds, readme=str(path.parent / "tycho2-ReadMe.txt"))
    reader.data.table_name = "tyc2.dat"
    expected = reader.read(lines)
    assert expected.colnames == found.column_names
    for name in expected.colnames:
        masks = getattr(expected[name], "mask", [False] * 300)
        values = [None if masked else value for value, masked in zip(expected[name].tolist(), masks, strict=True)]
        ours = found.column(name).slice(0, 300).to_pylist()
        assert [value.strip() or None if isinstance(value, str) else value for value in values] == ours, name
    described = {column.name: column for column in source.list_columns()}
    assert (described["RAmdeg"].unit, described["pmRA"].unit, described["pmRA"].description) == (
        "deg",
        "mas/yr",
        "Proper motion in RA*cos(dec)",
    )
    assert (described["TYC1"].minimum, described["TYC1"].maximum) == (1, 9537)
    title, abstract = source.read_title_and_description()
    assert title == "The Tycho-2 Catalogue of the 2.5 Million Brightest Stars"
    assert abstract.startswith("The Tycho-2 Catalogue is an astrometric reference catalogue")


def test_null_words_of_a_readme():
    found = readme.read_readme(shared("data/interferometry/jmdc/ReadMe-JSDC-II_346.txt"))
    fields = {item.column.name: item for item in found.fields_by_table["jsdc_v2.dat"]}
    assert (fields["Bmag"].null, fields["LDD"].null, fields["RAh"].null) == ("-", "-1", None)
    assert (fields["DE-"].start, fields["DE-"].end, fields["CalFlag"].column.maximum) == (49, 50, 7)
    assert len(found.fields_by_table) == 2
    assert found.bibcode == "2014ASPC..485..223B"


def test_columns_said_by_hand(tmp_path):
    (tmp_path / "a.dat").write_text("top line\n001Vega   0.03\n002Deneb  1.25\n\n003\n")
    source = open_source(
        tmp_path / "a.dat",
        skip=1,
        fields={"id": {"bytes": "1-3", "type": "string"}, "name": "4-9", "mag": {"bytes": "10-14", "unit": "mag"}},
    )
    assert table(source).to_pylist() == [
        {"id": "001", "name": "Vega", "mag": 0.03},
        {"id": "002", "name": "Deneb", "mag": 1.25},
        {"id": "003", "name": None, "mag": None},
    ]
    assert [column.unit for column in source.list_columns()] == [None, None, "mag"]


def test_values_that_do_not_fit_are_kept_aside(tmp_path):
    (tmp_path / "a.dat").write_text("1 1.0\n2 x.0\n3 3.0\n")
    rejects = []
    source = open_source(tmp_path / "a.dat", rejects, fields={"n": "1", "x": {"bytes": "3-5", "type": "float64"}})
    assert table(source, ["n", ROW_NUMBER_COLUMN]).to_pylist() == [{"n": n, ROW_NUMBER_COLUMN: n} for n in (1, 2, 3)]
    assert table(source, ["n", "x", ROW_NUMBER_COLUMN]).to_pylist() == [
        {"n": 1, "x": 1.0, ROW_NUMBER_COLUMN: 1},
        {"n": 3, "x": 3.0, ROW_NUMBER_COLUMN: 3},
    ]
    assert [(item.row, item.column, item.value, item.reason) for item in rejects] == [(2, "x", "x.0", "not a number")]


def test_bytes_are_characters_in_recoded_files(tmp_path):
    (tmp_path / "a.dat").write_bytes("Ångström 12\nBrahe    7 \n".encode("latin-1"))
    source = open_source(tmp_path / "a.dat", encoding="latin-1", fields={"name": "1-9", "n": "10-11"})
    assert table(source).to_pylist() == [{"name": "Ångström", "n": 12}, {"name": "Brahe", "n": 7}]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"readme": "None"}, "the ReadMe cannot be read"),
        (
            {"readme": "ReadMe"},
            r"ReadMe: the file contains no byte-by-byte description of 'a\.dat'; set `table:` to one of b\.dat",
        ),
        ({"fields": {"x": "5-3"}}, "field 'x': the bytes '5-3' end before they begin"),
        ({"fields": {"x": {"bytes": "1-3", "type": "int"}, "y": {"bytes": "4", "type": "nix"}}}, "no type 'nix'"),
    ],
)
def test_faults(tmp_path, options, message):
    (tmp_path / "a.dat").write_text("1 2 3\n")
    rule = "-" * 80
    (tmp_path / "ReadMe").write_text(
        f"Byte-by-byte Description of file: b.dat\n{rule}\n   Bytes Format Units Label Explanations\n{rule}\n   1-  4  I4      ---     n     number\n{rule}\n"
    )
    with pytest.raises(SourceError, match=message):
        open_source(tmp_path / "a.dat", **options).list_columns()


line = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)


@settings(deadline=None)
@given(
    lines=st.lists(line.filter(bool), min_size=1, max_size=20),
    edges=st.lists(st.integers(0, 35), min_size=2, max_size=8, unique=True),
)
def test_cutting_is_slicing(lines, edges):
    """Lines of any length, long and short: each piece is what a slice would give, padded with blanks."""
    edges = sorted(edges)
    ranges = list(itertools.pairwise(edges))
    cut = build_fixed_width_splitter(ranges, counts_characters=False)("\n".join(lines).encode()).decode()
    assert cut.split("\n")[:-1] == [UNIT_SEPARATOR.join(text[a:b].ljust(b - a) for a, b in ranges) for text in lines]


def test_a_header_and_units_above_the_columns_name_them(tmp_path):
    lines = [
        "# things",
        "Name      RA       V",
        "--------- -------- -----",
        "          deg      mag",
        "Sirius    101.287  -1.44",
        "Canopus    95.988  -0.62",
    ]
    (tmp_path / "a.txt").write_text("\n".join(lines) + "\n")
    context = SourceContext(directory=tmp_path)
    said = fixed.guess_fixed_width_options({"files": "a.txt"}, context)
    assert said["skip"] == 4
    assert said["fields"] == {
        "Name": "1-9",
        "RA": {"bytes": "11-18", "unit": "deg"},
        "V": {"bytes": "20-24", "unit": "mag"},
    }
    assert table(open_source(tmp_path / "a.txt", **said)).to_pylist()[1] == {
        "Name": "Canopus",
        "RA": 95.988,
        "V": -0.62,
    }
    (tmp_path / "b.txt").write_text("\n".join(lines[4:]) + "\n")
    assert list(fixed.guess_fixed_width_options({"files": "b.txt"}, context)["fields"]) == [
        "column_1",
        "column_2",
        "column_3",
    ]
    assert "skip" not in fixed.guess_fixed_width_options({"files": "?.txt"}, context), (
        "the first lines of the second file are rows"
    )


README = """\
J/A+A/1/1           Stars (Author, 2020)
================================================================================
Stars that are made up
================================================================================
File Summary:
--------------------------------------------------------------------------------
 FileName  Lrecl  Records  Explanations
--------------------------------------------------------------------------------
ReadMe        80        .  This file
table1.dat    20     {count:>4}  Stars
--------------------------------------------------------------------------------
Byte-by-byte Description of file: table1.dat
--------------------------------------------------------------------------------
   Bytes Format Units   Label     Explanations
--------------------------------------------------------------------------------
   1-  3 I3     ---     n         Number
   5-  8 F4.1   mag     Vmag      ?=--- Magnitude
  10- 13 F4.1   mag     Bmag      Magnitude
  15- 18 A4     ---     SpType    ?=-- Type
  20     A1     ---     flag      ?=* Flag
--------------------------------------------------------------------------------
"""
ROWS = "  1  9.5  8.5 K0V  *\n  2 ---- ---- ---- a\n  3  ---   --    - b\n  4    -      -     \n"


def test_a_run_of_the_null_sign_is_null_whatever_its_length(tmp_path):
    (tmp_path / "ReadMe").write_text(README.format(count=4))
    (tmp_path / "table1.dat").write_text(ROWS)
    told, rejects = [], []
    context = SourceContext(directory=tmp_path, on_reject=rejects.append, on_notice=told.append)
    source = fixed.open(fixed.Options(files=["table1.dat"], readme="ReadMe"), context)
    found = pa.Table.from_batches(list(source.read_batches())).to_pydict()
    assert rejects == []
    assert told == []
    assert found["Vmag"] == [9.5, None, None, None]
    assert found["Bmag"] == [8.5, None, None, None]
    assert found["SpType"] == ["K0V", None, None, None]
    assert found["flag"] == [None, "a", "b", None]


@pytest.mark.parametrize(("limit", "reports"), [(None, 1), (2, 0)])
def test_the_records_that_a_readme_counts_are_compared(tmp_path, limit, reports):
    (tmp_path / "ReadMe").write_text(README.format(count=5265))
    (tmp_path / "table1.dat").write_text(ROWS)
    told = []
    source = fixed.open(
        fixed.Options(files=["table1.dat"], readme="ReadMe"), SourceContext(directory=tmp_path, on_notice=told.append)
    )
    assert sum(batch.num_rows for batch in source.read_batches(row_limit=limit)) == (limit or 4)
    assert len(told) == reports
    if reports:
        assert "ReadMe states 5,265 records for table1.dat, but Hven has read 4" in str(told[0])


def test_a_type_that_a_readme_says_is_not_called_guessed(tmp_path):
    (tmp_path / "ReadMe").write_text(README.format(count=4))
    (tmp_path / "table1.dat").write_text(ROWS.replace(" 9.5", "****"))
    rejects = []
    source = fixed.open(
        fixed.Options(files=["table1.dat"], readme="ReadMe"),
        SourceContext(directory=tmp_path, on_reject=rejects.append),
    )
    assert sum(batch.num_rows for batch in source.read_batches()) == 3
    assert "guessed" not in rejects[0].reason
    assert "string" not in rejects[0].reason

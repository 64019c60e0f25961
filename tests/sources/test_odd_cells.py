"""Cells of text tables that are nearly something else, names that occur twice, arrays of ECSV, and workbooks that are no text."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pyarrow as pa
import pytest
from astropy.table import Table

from hven.descriptor import check_descriptor
from hven.model import DeviationKind
from hven.model.errors import SourceError
from hven.model.settings import Settings
from hven.sources import SourceContext, csv, fixed
from hven.sources._reading.array_cells import parse_json_arrays
from hven.sources._reading.repeated_names import rename_repeated_names
from plugin_needs import create_descriptor


def open_text(tmp_path, text, told=None, **options):
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    context = SourceContext(directory=tmp_path, on_notice=(told if told is not None else []).append)
    return csv.open(csv.Options.model_validate({"files": "a.csv", **options}), context)


def read_rows(source):
    return [row for batch in source.read_batches() for row in batch.to_pylist()]


# -- numbers ------------------------------------------------------------------------------------


def test_unicode_minus_and_fortran_exponents_are_numbers_that_are_counted(tmp_path):
    told = []
    source = open_text(tmp_path, "id,a,b,c\n1,\u22121.5,1.5D+03,\u22127\n2,2.5,2.5d-3,8\nx3,\u2212.5,7,-9\n", told)
    assert [str(column.type) for column in source.list_columns()] == ["string", "float64", "float64", "int64"]
    assert [tuple(row.values())[1:] for row in read_rows(source)] == [(-1.5, 1500.0, -7), (2.5, 0.0025, 8), (-0.5, 7.0, -9)]  # fmt: skip
    found = {one.column: (one.kind, one.count, one.row, one.value) for one in told}
    assert found == {
        "a": (DeviationKind.TYPE, 2, 1, "\u22121.5"),
        "b": (DeviationKind.TYPE, 2, 1, "1.5D+03"),
        "c": (DeviationKind.TYPE, 1, 1, "\u22127"),
    }


def test_fortran_exponents_alone_are_counted_too(tmp_path):
    told = []
    source = open_text(tmp_path, "id,b\nx1,1.5D+03\nx2,2.5d-3\n", told)
    assert [row["b"] for row in read_rows(source)] == [1500.0, 0.0025]
    assert [(one.column, one.kind, one.count) for one in told] == [("b", DeviationKind.TYPE, 2)]


def test_numbers_whose_type_is_declared_are_no_guess(tmp_path):
    told, rejects = [], []
    (tmp_path / "a.csv").write_text("a\n1\n" * 3 + "x\n" + "1\n" * 200 + "1D0\n" * 2)
    context = SourceContext(directory=tmp_path, on_notice=told.append, on_reject=rejects.append)
    source = csv.open(csv.Options.model_validate({"files": "a.csv", "types": {"a": "float64"}, "skip": 4}), context)
    assert sum(batch.num_rows for batch in source.read_batches()) > 0
    assert told == [], "the descriptor says that they are numbers"


def test_fields_of_a_readme_are_numbers_in_fortran_by_its_word(tmp_path):
    told = []
    (tmp_path / "a.dat").write_text(" 1.5D+03\n 2.5D-03\n")
    options = fixed.Options.model_validate({"files": "a.dat", "fields": {"v": {"bytes": "1-8", "type": "float64"}}})
    source = fixed.open(options, SourceContext(directory=tmp_path, on_notice=told.append))
    assert [row["v"] for row in read_rows(source)] == [1500.0, 0.0025]
    assert told == []


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["0%", "5%", "7.5 %"], "percentages, such as '0%'"), (["<5.3", "7.1", ">= 3"], "numbers, or limits, such as '<5.3'"), (["12.0±0.4", "13+/-1"], "numbers with their errors, such as '12.0±0.4'"),
        (["16/05/10", "2010-05-16", "16 May, 2010", "2010/5/17"], "dates of several styles: '16/05/10', '2010-05-16'"), (["May 16, 2010", "June 3, 2011"], "look like dates: 'May 16, 2010'"), (["13/07/15", "13/08/15"], None),
        (["1.2.3", "1.2.4"], None), (["12 34 56.7", "13 34 56.7"], None), (["NGC 1", "NGC 2"], None), (["a±b", "c±d"], None), (["5%", "x"], None), (["10-3-2", "10-4-1"], None),
    ],
)  # fmt: skip
def test_columns_that_stay_text_are_warned_of(tmp_path, cells, said):
    source = open_text(tmp_path, "id\tx\n" + "".join(f"n{number}\t{cell}\n" for number, cell in enumerate(cells)))
    assert str(source.list_columns()[1].type) == "string"
    doubt = source.list_type_doubts().get("x")
    assert (doubt is None) is (said is None)
    assert said is None or said in doubt[0]


@pytest.mark.parametrize(
    ("cells", "map_", "expected"),
    [
        (["0%", "7.5 %"], {"x": 0}, [0.0, 7.5]), (["<5.3", "-7.1e2"], {"x": 0, "y": 1}, [5.3, -710.0]), (["12.0±0.4", "-13 +/- 1"], {"x": 0, "y": 1}, [12.0, -13.0]),
    ],
)  # fmt: skip
def test_the_expressions_of_the_warning_are_right(tmp_path, cells, map_, expected):
    """The draft says how; what it says is put into the descriptor and read."""
    import re

    from hven import query
    from hven.ingest.api.runs import ingest_collection
    from hven.site import Site
    from hven.site.auth._access_control import OWNER_PRINCIPAL

    (tmp_path / "hven.toml").write_text("")
    (tmp_path / "a.tsv").write_text("id\tx\n" + "".join(f"{number}\t{cell}\n" for number, cell in enumerate(cells)))
    settings = Settings(directory=tmp_path)
    path = create_descriptor(settings, "odd", str(tmp_path / "a.tsv"))
    calls = re.findall(r"(?:CAST\(regexp_extract\(x, '[^']*'\) AS DOUBLE PRECISION\)|regexp_extract\(x, '[^']*'\))", path.read_text())  # fmt: skip
    text = re.sub(r"      x: .*", "      x: {type: float64}", path.read_text()) + f'    map: {{x: "{calls[0]}"}}\n'
    path.write_text(text)
    assert [str(fault) for fault in check_descriptor(path, settings) if fault.severity == "error"] == []
    assert len(calls) == len(map_)
    with Site(settings) as site:
        ingest_collection(site, "odd")
        with query.run_query("SELECT x FROM odd.main ORDER BY id", OWNER_PRINCIPAL, site=site) as result:
            assert [row["x"] for batch in result.iterate_batches() for row in batch.to_pylist()] == expected


# -- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a", "b"], ["a", "b"]), (["a", "a", "a"], ["a", "a_2", "a_3"]), (["flux", "flux", "flux_2"], ["flux", "flux_3", "flux_2"]), (["A", "a"], ["A", "a"]),
        (["a_2", "a", "a"], ["a_2", "a", "a_3"]),
    ],
)  # fmt: skip
def test_names_that_occur_again_get_numbers(names, expected):
    assert rename_repeated_names(names) == expected


@pytest.mark.parametrize(
    "text",
    [
        "id,flux,flux,x\n1,2,3,4\n2,3,4,5\n",
        "|id |flux|flux|x  |\n|int|int |int |int|\n 1   2    3    4  \n 2   3    4    5  \n",
        "id\tflux\tflux\tx\nN\tN\tN\tN\n1\t2\t3\t4\n2\t3\t4\t5\n",
    ],
    ids=["csv", "ipac", "rdb"],
)
def test_one_name_twice_in_a_header_is_counted_and_said(tmp_path, text):
    told = []
    source = open_text(tmp_path, text, told)
    assert [column.name for column in source.list_columns()] == ["id", "flux", "flux_2", "x"]
    assert [tuple(row.values()) for row in read_rows(source)] == [(1, 2, 3, 4), (2, 3, 4, 5)]
    assert {(one.kind, one.column) for one in told} == {(DeviationKind.DUPLICATE_NAME, "flux")}
    settings = Settings(directory=tmp_path)
    path = create_descriptor(settings, "x", str(tmp_path / "a.csv"))
    assert "flux: several columns have this name; Hven renames the next one to flux_2" in path.read_text()
    assert [str(fault) for fault in check_descriptor(path, settings) if fault.severity == "error"] == []


def test_units_belong_to_each_of_two_columns_of_a_name(tmp_path):
    source = open_text(
        tmp_path, "|id |v   |v   |\n|int|int |int |\n|   |km  |s   |\n 1   2    3    \n 2   3    4    \n"
    )
    assert [column.unit for column in source.list_columns()] == [None, "km", "s"]


# -- arrays -------------------------------------------------------------------------------------


def test_columns_of_ecsv_with_a_shape_are_arrays(tmp_path):
    ragged = np.empty(3, object)
    ragged[:] = [np.array([1.5, 2.5]), np.array([3.5]), np.array([4.0, np.nan, 6.0])]
    values = np.arange(6).reshape(3, 2) * 1.5
    values[1, 1] = np.nan
    table = Table({"id": [1, 2, 3], "v": values, "m": np.arange(12).reshape(3, 2, 2), "s": np.array([["a", "b"], ["c", 'd"e'], ["e", "f,x"]]), "o": ragged, "b": np.array([[True, False]] * 3)})  # fmt: skip
    table["v"].unit = "m"
    text = io.StringIO()
    table.write(text, format="ascii.ecsv")
    source = open_text(tmp_path, text.getvalue())
    assert {column.name: (str(column.type), column.unit) for column in source.list_columns()} == {
        "id": ("int64", None), "v": ("float64[2]", "m"), "m": ("int64[2x2]", None), "s": ("string[*x*]", None), "o": ("float64[*]", None), "b": ("bool[2]", None),
    }  # fmt: skip
    found = read_rows(source)
    assert [row["v"] for row in found] == [[0.0, 1.5], [3.0, None], [6.0, 7.5]]
    assert [row["m"] for row in found] == table["m"].reshape(3, 4).tolist()
    assert [row["s"] for row in found] == table["s"].tolist()
    assert [row["o"] for row in found] == [[1.5, 2.5], [3.5], [4.0, None, 6.0]]
    assert found[0]["b"] == [True, False]


def test_an_array_of_another_size_rejects_its_row(tmp_path):
    head = "# %ECSV 1.0\n# ---\n# datatype:\n# - {name: id, datatype: int64}\n# - {name: v, datatype: string, subtype: 'float64[2]'}\nid v\n"
    rejects = []
    (tmp_path / "a.ecsv").write_text(head + '1 [1,2]\n2 [1,2,3]\n3 [1,x]\n4 ""\n5 none\n6 [5,6]\n')
    options = csv.Options.model_validate({"files": "a.ecsv"})
    source = csv.open(options, SourceContext(directory=tmp_path, on_reject=rejects.append))
    assert [(row["id"], row["v"]) for row in read_rows(source)] == [(1, [1.0, 2.0]), (4, None), (6, [5.0, 6.0])]
    assert [(one.row, one.column) for one in rejects] == [(2, "v"), (3, "v"), (5, "v")]
    assert "not a JSON array of float64[2]" in rejects[0].reason


@pytest.mark.parametrize(
    ("cells", "kind", "expected", "wrong"),
    [
        (["[]", "[1]", None, "null"], pa.list_(pa.int64()), [[], [1], None, None], []),
        (["[1,,2]", "[1.5]", "[9223372036854775807]"], pa.list_(pa.int64()), [None, None, [2**63 - 1]], [0, 1]),
        (["[Infinity, -1e3]", "[NaN]"], pa.list_(pa.float64()), [[float("inf"), -1000.0], [None]], []),
        (['["a", null]', "x", "[]"], pa.list_(pa.string()), [["a", None], None, []], [1]),
    ],
)
def test_arrays_of_text(cells, kind, expected, wrong):
    values, bad = parse_json_arrays(pa.array(cells, pa.string()), kind)
    values.validate(full=True)
    assert values.to_pylist() == expected
    assert ([] if bad is None else np.flatnonzero(np.asarray(bad)).tolist()) == wrong


# -- workbooks ----------------------------------------------------------------------------------


def test_a_workbook_is_refused_with_a_recipe(tmp_path):
    with zipfile.ZipFile(tmp_path / "mine.xlsx", "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("xl/workbook.xml", "<workbook/>")
    with pytest.raises(SourceError, match="an Excel workbook") as caught:
        create_descriptor(Settings(directory=tmp_path), "x", str(tmp_path / "mine.xlsx"))
    assert "pandas.read_excel('mine.xlsx'" in caught.value.remedy
    assert "CSV UTF-8" in caught.value.remedy
    (tmp_path / "old.xls").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600))
    with pytest.raises(SourceError, match=r"an old Excel workbook \(\.xls\)"):
        create_descriptor(Settings(directory=tmp_path), "y", str(tmp_path / "old.xls"))

"""Text formats of astronomers: names, units, types, null words and places of columns as their headers say them. astropy.io.ascii is the oracle."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import astropy
import numpy as np
import pyarrow as pa
import pytest
from astropy.io import ascii as astropy_ascii
from astropy.table import MaskedColumn, Table

from hven.model.errors import SourceError
from hven.sources import SourceContext, csv
from hven.sources._reading.text_blocks import BLOCK_BYTES

ASTROPY_FILES = Path(astropy.__file__).parent / "io/ascii/tests/data"


def open_table(path, **options):
    return csv.open(csv.Options.model_validate({"files": path.name, **options}), SourceContext(directory=path.parent))


def read_rows(path, **options):
    return pa.Table.from_batches(list(open_table(path, **options).read_batches())).to_pylist()


def equal(ours, theirs):
    if theirs is np.ma.masked or (isinstance(theirs, float) and math.isnan(theirs)) or theirs == "":
        return ours is None
    if isinstance(ours, float) or isinstance(theirs, (float, np.floating)):
        return ours is not None and math.isclose(float(ours), float(theirs), rel_tol=1e-12)
    return str(ours) == str(theirs).strip()


def check_against(path, table, **options):
    """Compare names and every value with what astropy read or wrote."""
    ours = read_rows(path, **options)
    assert list(ours[0]) == table.colnames
    assert len(ours) == len(table)
    wrong = [
        (number, name, row[name], table[name][number])
        for number, row in enumerate(ours)
        for name in table.colnames
        if not equal(row[name], table[name][number])
    ]
    assert not wrong


def build_masked_table(seed, rows=40, columns=12):
    """Make a table of names with blanks, masked numbers, integers and flags."""
    draw = np.random.default_rng(seed)
    table = Table(masked=True)
    for number in range(columns):
        kind = ("name", "real", "whole", "flag")[number % 4]
        mask = draw.random(rows) < 0.2
        if kind == "name":
            values = [f"HD {value}" for value in draw.integers(1, 99_999, rows)]
        elif kind == "real":
            values = np.round(draw.uniform(0, 360, rows), 6)
        elif kind == "whole":
            values = draw.integers(-999, 99_999, rows)
        else:
            values, mask = draw.choice(["A", "B*", "K0V"], rows), np.zeros(rows, bool)
        unit = {"real": "deg", "whole": "mag"}.get(kind)
        table[f"{kind}_{number}"] = MaskedColumn(values, mask=mask, unit=unit, description=f"column {number}")
    return table


# -- VizieR -------------------------------------------------------------------------------


def vizier_text(table):
    """Write a table as VizieR writes its tab-separated values."""
    forms = {"U": "A9", "f": "F10.6", "i": "I6"}
    lines = ["#", "#   VizieR Astronomical Server vizier.cds.unistra.fr", "#", "#-meta"]
    lines += [
        f"#Column\t{name}\t({forms[table[name].dtype.kind]})\tText of {name}\t[ucd=meta.code]"
        for name in table.colnames
    ]
    lines += ["\t".join(table.colnames), "\t".join(str(table[name].unit or "") for name in table.colnames)]
    widths = {name: max(len(name), 9) for name in table.colnames}
    lines += ["\t".join("-" * widths[name] for name in table.colnames)]
    for row in table:
        cells = ["" if row[name] is np.ma.masked else str(row[name]) for name in table.colnames]
        lines.append("\t".join(cell.rjust(widths[name]) for cell, name in zip(cells, table.colnames, strict=True)))
    return "\n".join([*lines, "#END#", ""])


@pytest.mark.parametrize("columns", range(1, 13))
def test_tab_separated_values_of_vizier(tmp_path, columns):
    table = build_masked_table(columns, columns=columns)
    if columns == 1:  # a line of blanks is no row of a single column
        table["name_0"].mask = False
    path = tmp_path / "asu.tsv"
    path.write_text(vizier_text(table))
    check_against(path, table)
    described = {column.name: column for column in open_table(path).list_columns()}
    for name in table.colnames:
        assert described[name].unit == (str(table[name].unit) if table[name].unit else None)
        assert (described[name].description, described[name].ucd) == (f"Text of {name}", "meta.code")


def test_what_vizier_calls_text_stays_text(tmp_path):
    path = tmp_path / "asu.tsv"
    path.write_text("#Column\tn\t(A3)\tA name\n#Column\tv\t(F4.1)\tV\nn\tv\n\tmag\n---\t----\n 12\t 9.5\n  7\t 8.5\n")
    assert read_rows(path) == [{"n": "12", "v": 9.5}, {"n": "7", "v": 8.5}]


def test_two_tables_in_one_answer_of_vizier_are_refused(tmp_path):
    path = tmp_path / "asu.tsv"
    one = vizier_text(build_masked_table(1, columns=2))
    path.write_text(one + one)
    with pytest.raises(SourceError, match=r"asu.tsv:\d+: another table begins here"):
        open_table(path).list_columns()


# -- bars, IPAC, ruled lines ------------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    ["basic", "commented_header", "csv", "ecsv", "fixed_width", "fixed_width_two_line", "ipac", "mrt", "rdb", "rst", "tab"],
)  # fmt: skip
def test_what_astropy_writes_is_read_back(tmp_path, form):
    table = build_masked_table(7)
    path = tmp_path / "a.txt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table.write(path, format=f"ascii.{form}")
    check_against(path, table)
    if form in {"ipac", "mrt", "ecsv"}:
        units = {column.name: column.unit for column in open_table(path).list_columns()}
        assert units == {name: str(table[name].unit) if table[name].unit else None for name in table.colnames}
    if form == "rdb":
        assert not any(column.unit for column in open_table(path).list_columns()), "formats are no units"


@pytest.mark.parametrize("quoted", [False, True])
@pytest.mark.parametrize("above", ["", "+------+-----+\n"])
def test_bars_at_both_ends_are_no_columns(tmp_path, quoted, above):
    sign = '"' if quoted else ""
    path = tmp_path / "a.txt"
    rule = above.replace("+", "|")
    path.write_text(f"{above}|name  |ra   |\n{rule}|{sign}3C 273{sign}|187.2|\n|NGC 42|     |\n{above}")
    assert read_rows(path) == [{"name": "3C 273", "ra": 187.2}, {"name": "NGC 42", "ra": None}]
    path.write_text("|1|2.5|\n|3| |\n")
    assert read_rows(path) == [{"column_1": 1, "column_2": 2.5}, {"column_1": 3, "column_2": None}]
    assert read_rows(path, names=["a", "b"]) == [{"a": 1, "b": 2.5}, {"a": 3, "b": None}]


def test_bars_at_one_end_bound_a_column(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("a|b|\n1|2|\n3|4|\n")
    assert [row["b"] for row in read_rows(path)] == [2, 4]


def test_the_header_of_ipac(tmp_path):
    path = tmp_path / "a.tbl"
    head = "\\fixlen = T\n\\ a remark\n|  id |    ra    | note    |\n|char | double   | c       |\n|     |   deg    |         |\n|null |  null    | -99     |\n"
    path.write_text(head + "  007  187.2779   é ü     \n  12       null   -99     \n")
    assert read_rows(path) == [{"id": "007", "ra": 187.2779, "note": "é ü"}, {"id": "12", "ra": None, "note": None}]
    assert {column.name: column.unit for column in open_table(path).list_columns()}["ra"] == "deg"
    path.write_text(head + "  007  187.2779   x       \n  123456787.2779   x       \n")
    with pytest.raises(SourceError, match=r"a.tbl:8: a value is directly below the `\|` at character 7"):
        open_table(path).list_columns()
    path.write_text(head)
    assert [column.name for column in open_table(path).list_columns()] == ["id", "ra", "note"]


# -- SExtractor and DAOPHOT -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sextractor.dat", "sextractor2.dat", "sextractor3.dat"])
def test_sextractor_as_astropy_reads_it(name):
    theirs = astropy_ascii.read(ASTROPY_FILES / name, format="sextractor")
    check_against(ASTROPY_FILES / name, theirs)
    ours = {column.name: column for column in open_table(ASTROPY_FILES / name).list_columns()}
    for column in theirs.columns.values():
        assert (ours[column.name].unit is None) == (column.unit is None)
        assert (ours[column.name].description or None) == (column.description or None)


@pytest.mark.parametrize("width", [1, 2, 5, 12])
def test_a_generated_catalogue_of_sextractor(tmp_path, width):
    draw = np.random.default_rng(width)
    values = np.round(draw.uniform(-50, 50, (30, width + 2)), 4)
    names = [f"# {1 + number:3} FLUX_{number:<10} Flux (no. {number})  [count]" for number in range(width - 1)]
    names.append(f"# {width:3} MAG_APER        Aperture magnitudes   [mag]")  # three of them
    path = tmp_path / "a.cat"
    path.write_text("\n".join([*names, *("  ".join(map(str, row)) for row in values)]) + "\n")
    theirs = astropy_ascii.read(path, format="sextractor") if width > 1 else None
    ours = read_rows(path)
    assert [list(row.values()) for row in ours] == values.tolist()
    assert list(ours[0])[-3:] == ["MAG_APER", "MAG_APER_1", "MAG_APER_2"]
    assert theirs is None or theirs.colnames[:width] == list(ours[0])[:width]
    assert {column.unit for column in open_table(path).list_columns()[-3:]} == {"mag"}


@pytest.mark.parametrize("name", ["daophot.dat", "daophot.dat.gz", "daophot2.dat", "daophot3.dat", "daophot4.dat"])
def test_daophot_as_astropy_reads_it(name):
    theirs = astropy_ascii.read(ASTROPY_FILES / name, format="daophot")
    check_against(ASTROPY_FILES / name, theirs)
    units = {column.name: column.unit for column in open_table(ASTROPY_FILES / name).list_columns()}
    for column in theirs.columns.values():
        assert (units[column.name] is None) == (column.unit is None)


def test_records_of_daophot_go_on_across_blocks(tmp_path):
    head = "#N ID    XCENTER   \\\n#F %-9d  %-10.3f   \\\n#N         CHI      PERROR\n#F         %-23.3f  %-13s\n"
    count = BLOCK_BYTES // 160 + 2000
    path = tmp_path / "a.als"
    with path.open("w") as file:
        file.write(head)
        for number in range(count):
            file.write(f"{number:<9}{number / 8:<70.3f}\\\n           {number / 4:<12.3f}No_error{'':40}\n")
    table = pa.Table.from_batches(list(open_table(path).read_batches()))
    assert table.column("ID").to_pylist() == list(range(count))
    assert table.column("CHI").to_pylist() == [number / 4 for number in range(count)]
    assert set(table.column("PERROR").to_pylist()) == {"No_error"}


# -- machine-readable tables and what is not read ----------------------------------------------


@pytest.mark.parametrize(
    "name", ["cds.dat", "cds2.dat", "cdsFunctional.dat", "cdsFunctional2.dat", "cds_mrt_dashes.txt"]
)
def test_machine_readable_tables_as_astropy_reads_them(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = astropy_ascii.read(ASTROPY_FILES / name, format="cds")
    check_against(ASTROPY_FILES / name, theirs)


@pytest.mark.parametrize("name", ["short.rdb", "short.rdb.gz", "apostrophe.rdb", "short.tab", "fixed_width_2_line.txt"])
def test_other_files_of_astropy(name):
    form = {"rdb": "rdb", "tab": "tab"}.get(Path(name.removesuffix(".gz")).suffix[1:], "")
    form = form or "fixed_width_two_line"
    check_against(ASTROPY_FILES / name, astropy_ascii.read(ASTROPY_FILES / name, format=form))


@pytest.mark.parametrize(
    ("form", "said"), [("tdat", "HEASARC's TDAT"), ("latex", "LaTeX"), ("aastex", "LaTeX"), ("html", "HTML")]
)
def test_what_is_not_read_is_called_by_its_name(tmp_path, form, said):
    path = tmp_path / "a.txt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        build_masked_table(3).write(path, format=f"ascii.{form}")
    with pytest.raises(SourceError, match=said):
        open_table(path).list_columns()


def test_names_of_the_descriptor_replace_those_of_a_header(tmp_path):
    path = tmp_path / "a.cat"
    path.write_text("# 1 NUMBER  Number\n# 2 FLUX  Flux [count]\n1 2.5\n2 3.5\n")
    assert read_rows(path, names=["n", "f"])[0] == {"n": 1, "f": 2.5}
    assert open_table(path, names=["n", "f"]).list_columns()[1].unit == "count"
    with pytest.raises(SourceError, match="`names` contains 3 names, but the header has 2 fields"):
        open_table(path, names=["a", "b", "c"]).list_columns()


NASA = """# This file was produced by the NASA Exoplanet Archive
#
# COLUMN pl_name:        Planet Name
# COLUMN pl_orbper:      Orbital Period [days]
# COLUMN pl_rade:        Planet Radius [Earth Radius]
# COLUMN rastr:          RA [sexagesimal]
# COLUMN ra:             RA [deg]
# COLUMN st_met:         Stellar Metallicity, as given [dex]
#
pl_name,pl_orbper,pl_rade,rastr,ra,st_met
11 Com b,326.03,12.1,12h20m42.91s,185.1787793,-0.35
14 And b,185.84,,23h31m17.80s,352.8241497,-0.24
"""


def test_comments_of_the_exoplanet_archive_describe_the_columns(tmp_path):
    (tmp_path / "a.csv").write_text(NASA)
    found = {column.name: (column.unit, column.description) for column in open_table(tmp_path / "a.csv").list_columns()}
    assert found == {
        "pl_name": (None, "Planet Name"), "pl_orbper": ("d", "Orbital Period"), "pl_rade": ("'earthRad'", "Planet Radius"),
        "rastr": (None, "RA [sexagesimal]"), "ra": ("deg", "RA"), "st_met": ("'dex'", "Stellar Metallicity, as given"),
    }  # fmt: skip
    assert [row["ra"] for row in read_rows(tmp_path / "a.csv")] == [185.1787793, 352.8241497]

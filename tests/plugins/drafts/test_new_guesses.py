"""Wrong guesses of ``hven new``: what looks like a quantity and is none; and that each guess is marked as one."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest
import yaml

from hven.descriptor import check_descriptor
from hven.model import units
from hven.model.settings import Settings
from hven.plugins.drafts.drafting import create_descriptor, write_table_draft
from hven.sources._reading import header_rows


def draft_rows(home, header, rows):
    (home / "a.csv").write_text("\n".join([header, *rows]) + "\n")
    text = write_table_draft("x", "csv", {"files": "a.csv"}, home)
    return text, yaml.safe_load(text)["tables"]["main"]


@pytest.mark.parametrize(
    ("name", "unit", "description", "expected"),
    [
        ("e_dot", "erg/s", None, None), ("edot", None, None, None), ("p_dot", None, "Period derivative", None), ("E-DOT", None, None, None),
        ("z", None, "z component of the velocity", None), ("z", None, "Height above the plane", None), ("z", None, "Redshift of the galaxy", "src.redshift"),
        ("longitude", "deg", "Longitude of the ascending node", None), ("longitude", None, None, None), ("lat", "deg", None, None),
        ("glat", "deg", "Geographic Latitude", "pos.earth.lat"), ("glat", "deg", "Galactic latitude", "pos.galactic.lat"), ("glon", "deg", None, "pos.galactic.lon"),
        ("ra_prec", None, "Precision of the right ascension", None), ("dec_prec", None, "Number of digits of the declination", None),
        ("ra_digits", None, "significant digits in Right Ascension", None),
    ],
)  # fmt: skip
def test_names_and_descriptions_that_mean_something_else(name, unit, description, expected):
    assert units.suggest_ucd(name, unit, description) == expected


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ("x y z", None), ("vx vy z", None), ("u v w z", None), ("name z", "src.redshift"),
    ],
)  # fmt: skip
def test_a_third_axis_is_no_redshift(columns, expected):
    found = units.suggest_ucds([(name, None, None) for name in columns.split()])
    assert found[-1] == expected


def test_an_error_needs_the_column_that_it_is_the_error_of():
    found = units.suggest_ucds([("e_abc", None, None), ("e_xyz", None, None), ("xyz", None, None)])
    assert found == [None, "stat.error", None]


def test_declared_types_of_text_are_kept(tmp_path):
    header = "# %ECSV 1.0\n# ---\n# delimiter: ','\n# datatype:\n# - {name: id, datatype: int64}\n# - {name: x, datatype: int16}\nid,x"
    _, table = draft_rows(tmp_path, header, ["1,2"])
    assert [column["type"] for column in table["columns"].values()] == ["int64", "int16"]


def test_names_that_lose_letters_become_labels(tmp_path):
    _, table = draft_rows(tmp_path, "id,日本,Ångström,\u03c3", ["1,2,3,4"])
    assert [column.get("label") for column in table["columns"].values()] == [None, "日本", None, None]


def test_digits_and_notes_have_no_units(tmp_path):
    rows = [f"{k}.5,{k % 90}.5,{k % 7},{k % 6},{'a' if k % 2 else 'b'},{k % 9},{k / 7}" for k in range(40)]
    _, table = draft_rows(tmp_path, "ra,dec,ra_prec,dec_prec,n_mag,n_deg,a_mag", rows)
    for name in ("ra_prec", "dec_prec", "n_mag", "n_deg"):
        assert "unit" not in table["columns"][name], name
        assert not table["columns"][name].get("ucd", "").startswith(("pos.", "phot.")), name
    assert table["columns"]["a_mag"]["unit"] == "mag"
    assert table["position"] == ["ra", "dec"]


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        (("16/05/10", "17/06/11"), None), (("2016-05-10", "2017-06-11"), "time.processing"), (("10 May 2016", "11 May 2017"), "time.processing"),
        (("May", "June"), None),
    ],
)  # fmt: skip
def test_text_is_a_time_if_it_can_be_read_as_one(tmp_path, dates, expected):
    _, table = draft_rows(tmp_path, "n,lastupdate", [f"{n},{date}" for n, date in enumerate(dates)])
    assert table["columns"]["lastupdate"].get("ucd") == expected


def test_each_guess_of_a_draft_is_marked(tmp_path):
    """What the file says of itself (a unit in brackets) is no guess; UCDs, units of names, key and position are."""
    rows = [f"{k},{k}.5,{k % 90}.5,{k / 7},{k / 3},word" for k in range(30)]
    text, table = draft_rows(tmp_path, "id,ra,dec,Vmag,width [km],remarkable", rows)
    lines = {match[1]: match[0] for match in re.finditer(r"(?m)^      (\w+): +\{.*$", text)}
    for name, column in table["columns"].items():
        wanted = [key for key in ("unit", "ucd") if key in column and (name, key) != ("width", "unit")]
        told = re.search(r"# guessed: (.*)$", lines[name])
        assert (told[1].split("; ")[0].split(", ") if told else []) == wanted, name
    assert re.search(r"primary: .*# guessed: no value occurs twice", text)
    assert re.search(r"position: .*# guessed: degrees", text)


@pytest.mark.parametrize("channel", ["IR", "VIS"])
def test_channels_of_labels_are_no_units(channel):
    """ISIS writes `ExposureDuration = 640.0 <IR>`: the detector stands where a unit does."""
    column = header_rows._build_column("ExposureDuration", pa.float64(), f"[{channel}]")
    assert (column.unit, column.description) == (None, f"[{channel}]")
    assert header_rows._build_column("ExposureDuration", pa.float64(), "[ms] Exposure").unit == "ms"


@pytest.mark.parametrize(
    ("comment", "unit", "description"),
    [
        ("[deg", "deg", None),
        ("[deg] Pointing", "deg", "Pointing"),
        ("[see note", None, "[see note"),
        ("[deg]", "deg", None),
    ],
)
def test_a_unit_whose_bracket_the_end_of_the_card_cut_off(comment, unit, description):
    column = header_rows._build_column("RA", pa.string(), comment)
    assert (column.unit, column.description) == (unit, description)


@pytest.mark.parametrize(
    ("pair", "told"),
    [
        ("clipra, crval2", "belong together"), ("ra, crval2", "belong together"), ("reclong, reclat", "on a body"), ("ra, lat", "belong together"),
        ("ra, dec", None), ("RAJ2000, DEJ2000", None), ("x, y", None), ("s_ra, s_dec", None), ("glon, glat", None), ("crval1, crval2", None), ("ra_deg, de_deg", None),
    ],
)  # fmt: skip
def test_check_names_suspicious_pairs(tmp_path, pair, told):
    names = pair.split(", ")
    path = tmp_path / "collections/a/a.yaml"
    path.parent.mkdir(parents=True)
    columns = ", ".join(f"{name}: {{type: float64, unit: deg}}" for name in names)
    path.write_text(
        f"collection: a\ntitle: Table\ntables:\n  main:\n    position: [{pair}]\n    columns: {{{columns}}}\n    source: {{kind: csv, files: a.csv}}\n"
    )
    (path.parent / "a.csv").write_text(",".join(names) + "\n1,2\n")
    faults = [fault for fault in check_descriptor(path, Settings(directory=tmp_path)) if "position" in fault.message]
    assert [(fault.severity, fault.place.line, told in fault.message) for fault in faults] == (
        [("warning", 5, True)] if told else []
    )


def test_check_believes_what_the_columns_say(tmp_path):
    """UCDs settle what names leave open."""
    path = tmp_path / "collections/a/a.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(
        "collection: a\ntitle: Table\ntables:\n  main:\n    position: [long, lat]\n    source: {kind: csv, files: a.csv}\n"
        "    columns: {long: {type: float64, unit: deg, ucd: pos.eq.ra}, lat: {type: float64, unit: deg, ucd: pos.eq.dec}}\n"
    )
    (path.parent / "a.csv").write_text("long,lat\n1,2\n")
    assert [str(fault) for fault in check_descriptor(path, Settings(directory=tmp_path))] == []
    path.write_text(path.read_text().replace("pos.eq.dec", "pos.galactic.lat"))
    faults = [str(fault) for fault in check_descriptor(path, Settings(directory=tmp_path))]
    assert len(faults) == 1
    assert "pos.eq.ra" in faults[0]
    assert "pos.galactic.lat" in faults[0]


@pytest.mark.parametrize("other", ["date_rf0", "event"], ids=["of a reference", "of something"])
def test_the_draft_of_a_standard_takes_the_date_of_the_observation(tmp_path, other):
    rows = "".join(f"{n},2019-01-0{n},2020-02-0{n},2021-03-0{n}\n" for n in range(1, 9))
    (tmp_path / "a.csv").write_text(f"id,{other},date_obs,date\n" + rows)
    (tmp_path / "collections").mkdir()
    settings = Settings(directory=tmp_path)
    path = create_descriptor(settings, "a", str(tmp_path / "a.csv"), standard="epn-tap")
    assert [str(fault) for fault in check_descriptor(path, settings) if fault.severity == "error"] == []
    assert yaml.safe_load(path.read_text())["tables"]["epn_core"]["map"]["time_min"] == "jd(date_obs)"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "latin-1"])
def test_the_encoding_of_a_file_is_found(tmp_path, encoding):
    (tmp_path / "a.csv").write_bytes("name,town\nTycho,Malmö\nSophie,Århus\n".encode(encoding))
    draft = yaml.safe_load(write_table_draft("x", "csv", {"files": "a.csv"}, tmp_path))
    assert draft["tables"]["main"]["source"]["encoding"] == encoding

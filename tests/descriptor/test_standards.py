"""The shipped standards: as the tables of facts have them, as the reference page says them, as frames and families
change them."""

from __future__ import annotations

import csv
import os
import re
from pathlib import Path

import pytest

from hven.descriptor import check_descriptor, load_descriptor, load_standard_descriptor
from hven.descriptor._merging import list_standards
from hven.descriptor.written_yaml import parse_yaml_file, read_yaml_file
from hven.model import units
from hven.model.settings import Settings
from shared import shared

NAMES = ("epn-tap-2.0", "obscore-1.1", "obscore-radio-1.0")
ROOT = Path(__file__).resolve().parents[2]
UPDATE = bool(os.environ.get("UPDATE_GOLDEN")) and os.environ.get("CI") != "true"


def cell(text):
    return text.replace("|", "\\|").replace("\n", " ")


def test_the_reference_page():
    made = ""
    for name in NAMES:
        resource = load_standard_descriptor(name)
        spec = resource.tables[0]
        entries = parse_yaml_file(read_yaml_file(list_standards()[name], name, []), [])
        table = next(iter(entries["tables"].values()))
        made += f"\n## {name}\n\n{spec.table.description}. Table utype `{spec.table.utype}`.\n\n"
        families = table.get("families") or {}
        if families:
            made += "Each of these names stands for a group of optional columns:\n\n"
        for family, columns in families.items():
            made += f"* `{family}`: {', '.join(columns)}\n"
        made += "\n| Column | Type | Unit | UCD | Requirement | Meaning |\n|---|---|---|---|---|---|\n"
        for column in spec.table.columns:
            optional = (
                "optional column"
                if str(table["columns"][column.name].get("optional")) == "true"
                else "must have a value"
                if column.required
                else ""
            )
            made += f"| `{column.name}` | {column.type} | {column.unit or ''} | {column.ucd or ''} | {optional} | {cell(column.description)} |\n"
        for variant, change in (table.get("variants") or {}).items():
            if change.get("columns"):
                words = ", ".join(
                    f"{key} {value.get('unit', '')} `{value.get('ucd', '')}`"
                    for key, value in change["columns"].items()
                    if value.get("ucd")
                )
                made += f"\nWith `frame: {variant}`, columns have these units and UCDs: {words}\n"
        vocabularies = table.get("vocabularies") or {}
        if vocabularies:
            made += "\n| Vocabulary | Words | Source |\n|---|---|---|\n"
        for word, item in vocabularies.items():
            made += f"| `{word}` | {', '.join(item['values'])} | {item['version']} |\n"
        made += "\n| Rule | Severity | Message or check |\n|---|---|---|\n"
        for rule in spec.rules:
            what = rule.message or (
                f"each value must be a word from the vocabulary {rule.of}"
                if rule.check == "words"
                else rule.check or rule.condition
            )
            made += f"| `{rule.name}` | {rule.severity} | {cell(what)} |\n"
    page = ROOT / "docs/reference/standards.md"
    whole = re.sub(
        r"(<!-- standards -->\n).*?(<!-- /standards -->)",
        lambda match: match[1] + made + "\n" + match[2],
        page.read_text("utf-8"),
        flags=re.DOTALL,
    )
    if UPDATE:
        page.write_text(whole, encoding="utf-8")
    assert page.read_text(encoding="utf-8") == whole


@pytest.mark.parametrize("name", NAMES)
def test_units_and_ucds_are_right(name):
    for column in load_standard_descriptor(name).tables[0].table.columns:
        assert column.description
        if column.ucd is not None:
            assert not units.list_ucd_problems(column.ucd), column.name
        if column.unit is not None and column.unit != "bar":
            assert units.canonicalize_unit(column.unit) == column.unit


def facts(name):
    with Path(shared(f"standards/{name}")).open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_directory_that_somebody_works_in_changes_none(tmp_path, monkeypatch):
    (tmp_path / "standards").mkdir()
    (tmp_path / "standards/tap_schema.yaml").write_text("collection: mine\n")
    monkeypatch.chdir(tmp_path)
    assert len(load_standard_descriptor("tap_schema").tables) == 5


def test_epn_tap_is_as_the_facts_have_it():
    spec = load_standard_descriptor("epn-tap-2.0").tables[0]
    rows = facts("epn_core.csv")
    own = ("region_quality",)  # beside the standard's
    assert [column.name for column in spec.table.columns if column.name not in own] == [row["name"] for row in rows]
    kinds = {
        "text": ("char",),
        "spoly": ("char",),
        "integer": ("int", "long"),
        "double": ("double",),
        "timestamp": ("char",),
    }
    for row in rows:
        column = spec.table.find_column(row["name"])
        assert column.required == (row["value_required"] == "yes")
        assert column.type.datatype in kinds[row["type"]]
        if not row["unit"].startswith("by-"):
            assert (column.unit or "") == row["unit"]
        if not row["ucd"].startswith("by-") and "|" not in row["ucd"]:
            assert (column.ucd or "") == row["ucd"]
        assert column.description != row["description"]


def test_obscore_is_as_the_facts_have_it():
    table = load_standard_descriptor("obscore-1.1").tables[0].table
    for row in facts("obscore.csv"):
        column = table.find_column(row["name"])
        assert (column.unit or "", column.utype) == (row["unit"], row["utype"])
        # as ObsCore 1.1 and taplint have it
        assert column.ucd == ("meta.bib.bibcode" if row["name"] == "bib_reference" else row["ucd"])
        assert column.required == (row["not_null"] == "yes")
        assert column.type.datatype == row["votable_datatype"]


def write_epn_descriptor(tmp_path, text):
    home = tmp_path / "collections" / "maps"
    home.mkdir(parents=True, exist_ok=True)
    path = home / "maps.yaml"
    path.write_text(
        "collection: maps\ntitle: Maps\ntables:\n  epn_core:\n    standard: epn-tap-2.0\n    source: {kind: csv, "
        "files: x.csv}\n" + text
    )
    return path, Settings(directory=tmp_path)


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        ("celestial", [("deg", "pos.eq.ra;stat.min"), ("deg", "pos.eq.dec;stat.min"), ("AU", "pos.distance;stat.min")]),
        (
            "body",
            [("deg", "pos.bodyrc.lon;stat.min"), ("deg", "pos.bodyrc.lat;stat.min"), ("km", "pos.bodyrc.alt;stat.min")],
        ),
        (
            "cartesian",
            [
                ("km", "pos.cartesian.x;stat.min"),
                ("km", "pos.cartesian.y;stat.min"),
                ("km", "pos.cartesian.z;stat.min"),
            ],
        ),
        (
            "spherical",
            [
                ("m", "pos.spherical.r;stat.min"),
                ("deg", "pos.spherical.colat;stat.min"),
                ("deg", "pos.spherical.azi;stat.min"),
            ],
        ),
        (
            "cylindrical",
            [
                ("km", "pos.cylindrical.r;stat.min"),
                ("deg", "pos.cylindrical.azi;stat.min"),
                ("km", "pos.cylindrical.z;stat.min"),
            ],
        ),
        ("none", [(None, None)] * 3),
    ],
)
def test_frames(frame, expected, tmp_path):
    path, site = write_epn_descriptor(tmp_path, f"    frame: {frame}\n".replace("none", '"none"'))
    table = load_descriptor(path, site).tables[0].table
    found = [(table.find_column(f"c{axis}min").unit, table.find_column(f"c{axis}min").ucd) for axis in (1, 2, 3)]
    assert found == expected
    for axis, (unit, word) in enumerate(expected, 1):
        resolution = table.find_column(f"c{axis}_resol_max")
        assert resolution.unit == unit
        if word is not None:
            assert resolution.ucd == ("pos.angResolution;stat.max" if unit == "deg" else "pos.resolution;stat.max")


def test_optional_columns_by_name_family_and_stem(tmp_path):
    path, site = write_epn_descriptor(
        tmp_path, "    frame: body\n    optional: [access_url, particle, local_time, solar_longitude_min, species]\n"
    )
    names = {column.name for column in load_descriptor(path, site).tables[0].table.columns} - {
        row["name"] for row in facts("epn_core.csv") if row["column_mandatory"] == "yes"
    }
    particle = {row["name"] for row in facts("epn_core.csv") if row["group"] == "ext:particle"}
    assert names == {
        "access_url",
            "access_format",
                "access_estsize",
                    "local_time_min",
                        "local_time_max", "solar_longitude_min", "solar_longitude_max", "species", *particle,
    }  # fmt: skip


def test_optional_columns_of_an_included_file_are_asked_for_too(tmp_path):
    (tmp_path / "below.yaml").write_text("tables: {epn_core: {optional: [thumbnail_url, species]}}\n")
    path, site = write_epn_descriptor(tmp_path, "    frame: body\n    optional: [species, access_url]\n")
    path.write_text(f"include: {tmp_path / 'below.yaml'}\n" + path.read_text())
    names = {column.name for column in load_descriptor(path, site).tables[0].table.columns}
    assert {"thumbnail_url", "species", "access_url", "access_estsize"} <= names


def test_an_optional_column_that_is_set_but_not_asked_for_is_told_so(tmp_path):
    path, site = write_epn_descriptor(tmp_path, "    frame: body\n    set: {file_name: a, thumnail: b}\n")
    said = [str(fault) for fault in check_descriptor(path, site, check_sources=False)]
    assert any("no column 'file_name'" in one and "the standard epn-tap-2.0 defines it" in one for one in said)
    assert any("no column 'thumnail'" in one and "describe it under 'columns'" in one for one in said)


def test_faults_name_what_is_near(tmp_path):
    path, site = write_epn_descriptor(
        tmp_path, "    frame: bodi\n    optional: [acess, granule_uid]\n    rules: {epn.times: {severity: warning}}\n"
    )
    said = " ".join(str(fault) for fault in check_descriptor(path, site, check_sources=False))
    assert "did you mean 'body'?" in said
    assert "did you mean 'access'?" in said
    assert "remove it from 'optional'; the standard always has this column" in said
    assert "tables.epn_core.rules.epn.times lacks the key 'if'" in said


def test_the_table_must_have_its_name(tmp_path):
    path, site = write_epn_descriptor(tmp_path, "    frame: body\n")
    path.write_text(path.read_text().replace("epn_core:", "granules:"))
    assert any("epn_core" in str(fault) for fault in check_descriptor(path, site, check_sources=False))


@pytest.mark.parametrize("page", ["epn-tap.md", "obscore.md"])
def test_the_howtos_descriptors_are_right(page, tmp_path):
    text = re.search(r"```yaml\n(.*?)```", (ROOT / "docs/howto" / page).read_text(encoding="utf-8"), re.DOTALL)[1]
    name = re.match(r"collection: (\w+)", text)[1]
    home = tmp_path / "collections" / name
    home.mkdir(parents=True)
    (home / f"{name}.yaml").write_text(text)
    (home / "cubes.csv").write_text(
        "cube,orbit,ut_start,ut_stop,lon_w,lon_e,lat_s,lat_n,bytes\na,1,2004-01-01T00:00:00,2004-01-01T00:01:00,1,2,3,4,2048\n"
    )
    (home / "images.csv").write_text("ident,ra,dec,wave,seeing,file\na,1,2,500,1,a.fits\n")
    faults = check_descriptor(home / f"{name}.yaml", Settings(directory=tmp_path))
    assert [str(fault) for fault in faults] == []


def write_observation_descriptor(directory: Path, obscore: str) -> tuple[Path, Settings]:
    """Write a descriptor of images with what stands below ``obscore:``."""
    path = directory / "collections/images/images.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(
        f"collection: images\ntitle: Images\ndescription: Images\ntables:\n  main:\n    description: Images\n"
        f"    source: {{kind: csv, files: rows.csv}}\n    obscore:\n{obscore}"
    )
    (path.parent / "rows.csv").write_text("name,magnitude\na,1\n")
    return path, Settings(directory=directory)


def test_a_value_at_the_level_of_the_keys_of_obscore_is_one_fault(tmp_path):
    path, site = write_observation_descriptor(
        tmp_path, "      t_exptime: magnitude\n      Set: {calib_level: 2}\n      radio: {f_resolution: 1}\n"
    )
    said = [str(fault) for fault in check_descriptor(path, site, check_sources=False)]
    assert len(said) == 3, said
    keys = "values of ObsCore's columns stand under 'set' (constants), 'text' (templates) or 'map' (expressions)"
    assert said[0].startswith("collections/images/images.yaml:9:7: 't_exptime' is not a valid key of obscore; use one")
    assert said[0].endswith(keys)
    assert said[1].endswith("'Set' is not a valid key of obscore; did you mean 'set'?")
    assert "images.yaml:11:15: 'f_resolution' is not a valid key of obscore.radio; use one of set, text" in said[2]


def test_what_a_standard_asks_for_is_missing_at_a_place_of_the_descriptor(tmp_path):
    """A site has many descriptors, and the standard stands in none of them."""
    path, site = write_observation_descriptor(tmp_path, "      set: {dataproduct_type: image}\n")
    [fault] = [fault for fault in check_descriptor(path, site) if "calib_level" in fault.message]
    assert (fault.place.file, fault.place.line) == ("collections/images/images.yaml", 9)
    assert re.search(r"nothing sets this column, and .* 'calib_level' \(see standard obscore-1.1:\d+:7\)$", fault.message)  # fmt: skip
    other = tmp_path / "collections/epn/epn.yaml"
    other.parent.mkdir()
    other.write_text(
        "collection: epn\ntitle: T\ndescription: D\ntables:\n  epn_core:\n    standard: epn-tap-2.0\n"
        "    source: {kind: csv, files: rows.csv}\n"
    )
    (other.parent / "rows.csv").write_text("name\na\n")
    faults = [fault for fault in check_descriptor(other, site) if "nothing sets" in fault.message]
    assert len(faults) >= 3
    assert {(fault.place.file, fault.place.line) for fault in faults} == {("collections/epn/epn.yaml", 5)}

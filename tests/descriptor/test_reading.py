"""From files to a Resource: includes, the site's defaults, standards, metadata, hashes."""

from __future__ import annotations

import hashlib

import jsonschema
import pytest

from hven.descriptor import build_descriptor_json_schema, check_descriptor, load_descriptor, load_standard_descriptor
from hven.descriptor._keys import AssignedValueSection
from hven.descriptor.value_schema import DescriptorSection
from hven.model.errors import DescriptorError, TextPlace
from hven.model.settings import Settings
from hven.model.table import ForeignKey, TemplateExpression

TAP_SCHEMA = {  # TAP 1.1 section 4, tables 4.1 to 4.5: name -> must have a value
    "schemas": {"schema_name": True, "utype": False, "description": False, "schema_index": False},
    "tables": {"schema_name": True, "table_name": True, "table_type": True, "utype": False, "description": False, "table_index": False},
    "columns": {
        "table_name": True, "column_name": True, "datatype": True, "arraysize": False, "xtype": False, "size": False, "description": False, "utype": False,
        "unit": False, "ucd": False, "indexed": True, "principal": True, "std": True, "column_index": False,
    },
    "keys": {"key_id": True, "from_table": True, "target_table": True, "description": False, "utype": False},
    "key_columns": {"key_id": True, "from_column": True, "target_column": True},
}  # fmt: skip


@pytest.fixture
def site(tmp_path):
    (tmp_path / "collections" / "stars").mkdir(parents=True)
    (tmp_path / "collections" / "stars" / "stars.csv").write_text("id,ra,dec\n1,2.5,3.5\n")
    return tmp_path


def write(site, text, name="stars"):
    path = site / "collections" / "stars" / f"{name}.yaml"
    path.write_text(text)
    return path


def test_everything_a_collection_says(site):
    path = write(
        site,
        """
collection: stars
title: "Stars: near and far"
description: >
  Some
  stars.
subjects: [stars, astrometry]
creators: ["Brahe, T.", {name: "Brahe, S.", orcid: 0000-0002-1825-0097, affiliation: Uraniborg}]
contact: {name: The data team, email: vo@example.org}
publisher: Uraniborg
licence: CC-BY-4.0
licence_url: https://creativecommons.org/licenses/by/4.0/
bibcode: 1602abcd.book.....B
doi: 10.1000/182
facility: Uraniborg
instrument: [quadrant, sextant]
waveband: Optical
type: Catalog
short_name: STARS
created: 2026-11-20
services: [tap, cone]
let: {base: "https://x.example", n: 3, f: 0.5, yes_: true, none: null, code: "007"}
tables:
  main:
    title: Main
    description: One row per star
    source: stars.csv
    primary: id
    columns:
      id: {type: int32, ucd: meta.id;meta.main, indexed: true, unique: true, required: true}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main, rank: 1, display: sexagesimal, frame: icrs}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main, frame: icrs, minimum: -90, maximum: 90}
    frames: {icrs: {system: ICRS, epoch: J2000.0}, utc: {timescale: UTC, refposition: GEOCENTER}}
    enums: {kinds: {1: star, 2: galaxy}}
    groups: {position: {value: ra, error: dec, roles: {other: id}}}
    keys: {other: {columns: id, target: more, target_columns: id}, self: {columns: [ra, dec], target: x.y}}
    links: [{semantics: "#this", text: "{base}/{target.id}", type: text/html}]
    sync: {watermark: ra, overlap: 2, full: 7 d, page: 50_000, guard: {removed: 5 %}}
  more: {source: stars.csv, access: private}
sync: {cron: "15  3 * * mon-fri", jitter: 5 min, zone: Europe/Vienna}
tests:
  - {name: count, query: SELECT COUNT(*) AS n FROM stars.main, expect: {n: 1}}
""",
    )
    resource = load_descriptor(path, Settings(directory=site, public_url="https://vo.example.org/hven"))
    assert (resource.name, resource.title, resource.description) == ("stars", "Stars: near and far", "Some stars.")
    assert [person.name for person in resource.creators] == ["Brahe, T.", "Brahe, S."]
    assert (resource.creators[1].affiliation, resource.contact.email) == ("Uraniborg", "vo@example.org")
    assert (resource.instrument, resource.facility, resource.created) == (
        ("quadrant", "sextant"),
        ("Uraniborg",),
        "2026-11-20",
    )
    assert resource.let == {"base": "https://x.example", "n": 3, "f": 0.5, "yes_": True, "none": None, "code": "007"}
    assert resource.site["url"] == "https://vo.example.org/hven"
    main, more = resource.tables
    assert (main.table.qualified_name, main.table.position, main.table.primary) == (
        "stars.main",
        ("ra", "dec"),
        ("id",),
    )
    assert main.has_declared_columns
    assert more.follows_source
    assert (main.table.access, more.table.access) == ("public", "private")
    assert main.table.keys == (
        ForeignKey(id="other", columns=("id",), target="stars.more", target_columns=("id",)),
        ForeignKey(id="self", columns=("ra", "dec"), target="x.y", target_columns=("ra", "dec")),
    )
    assert [(frame.id, frame.kind, frame.epoch) for frame in main.table.frames] == [
        ("icrs", "coosys", "J2000.0"),
        ("utc", "timesys", None),
    ]
    assert main.table.enums == {"kinds": {"1": "star", "2": "galaxy"}}
    assert main.table.groups[0].roles == {"value": "ra", "error": "dec", "other": "id"}
    assert main.explicit_attributes["dec"] == {"type", "unit", "ucd", "frame", "minimum", "maximum"}
    said = main.sync
    assert said.page_row_count == 50_000  # as people write it, and YAML 1.1 reads it
    assert (said.watermark[0], said.overlap_seconds, said.overlap_amount, said.deletion_method) == (
        "ra",
        None,
        2.0,
        "compare",
    )
    assert (said.full_interval_seconds, said.max_removed_share, said.max_changed_share) == (7 * 86_400.0, 0.05, 0.5)
    when = resource.schedule
    assert (when.interval_seconds, when.cron, when.max_jitter_seconds, when.time_zone) == (
        None,
        "15 3 * * mon-fri",
        300.0,
        "Europe/Vienna",
    )
    (link,) = main.table.links
    assert (link.address, link.type) == (("https://x.example", "/", TemplateExpression('target."id"')), ("text/html",))
    assert (resource.tests[0].expected_values, resource.tests[0].name) == ({"n": 1}, "count")
    assert resource.hashes == {"stars.yaml": hashlib.sha256(path.read_bytes()).hexdigest()}
    assert [str(fault) for fault in check_descriptor(path, Settings(directory=site)) if fault.severity == "error"] == []


def test_every_file_is_hashed_by_its_name_from_the_descriptor(site):
    (site / "common").mkdir()
    (site / "common" / "a.yaml").write_text("publisher: A\ninclude: b.yaml\n")
    (site / "common" / "b.yaml").write_text("publisher: B\nlicence: CC0-1.0\n")
    (site / "collections" / "stars" / "f.py").write_text("def f(x) -> float:\n    return x\n")
    path = write(
        site,
        "collection: stars\ntitle: t\ninclude: ../../common/a.yaml\nfunctions: f.py\ntables: {main: {source: stars.csv}}\n",
    )
    resource = load_descriptor(path, Settings(directory=site))
    assert (resource.publisher, resource.licence) == ("A", "CC0-1.0")
    assert resource.hashes.keys() == {"stars.yaml", "../../common/a.yaml", "../../common/b.yaml", "f.py"}
    (site / "common" / "b.yaml").write_text("publisher: B\nlicence: CC-BY-4.0\n")
    assert (
        load_descriptor(path, Settings(directory=site)).hashes["../../common/b.yaml"]
        != resource.hashes["../../common/b.yaml"]
    )


def test_defaults_of_the_site_stand_below(site):
    (site / "hven.toml").write_text(
        'name = "x"\n[defaults]\npublisher = "The institute"\nlicence = "CC0-1.0"\nwaveband = ["Optical"]\n[defaults.contact]\nname = "A"\nmail = "b"\n'
    )
    path = write(site, "collection: stars\ntitle: t\nlicence: CC-BY-4.0\ntables: {main: {source: stars.csv}}\n")
    defaults = {"publisher": "The institute", "licence": "CC0-1.0", "waveband": ["Optical"], "contact": {"name": "A"}}
    resource = load_descriptor(path, Settings(directory=site, defaults=defaults))
    assert (resource.publisher, resource.licence, resource.waveband, resource.contact.name) == (
        "The institute",
        "CC-BY-4.0",
        ("Optical",),
        "A",
    )
    with pytest.raises(DescriptorError) as caught:
        load_descriptor(path, Settings(directory=site, defaults={**defaults, "contact": {"name": "A", "mail": "b"}}))
    assert caught.value.faults[0].place == TextPlace(file="hven.toml", line=8, column=1)


STANDARD = """
collection: demo
title: A standard
tables:
  demo_core:
    frame: celestial
    primary: uid
    columns:
      uid: {type: string, required: true}
      lon: {type: float64}
      note: {type: string, optional: true}
      extra: {type: string, optional: true}
    set: {note: none}
    rules: {positive: lon >= 0}
    variants:
      celestial: {columns: {lon: {unit: deg, ucd: pos.eq.ra}}}
      body: {columns: {lon: {unit: deg, ucd: pos.bodyrc.lon}}}
"""


def test_a_table_takes_from_its_standard_what_it_does_not_say(site):
    (site / "standards").mkdir()
    (site / "standards" / "demo-1.0.yaml").write_text(STANDARD)
    path = write(
        site,
        "collection: stars\ntitle: t\ntables:\n  main:\n    standard: demo-1.0\n    frame: body\n    optional: [note]\n    source: stars.csv\n"
        "    columns: {mine: int32, uid: {description: Mine}}\n    text: {uid: 'x{id}', note: 'n{id}'}\n    map: {lon: ra, mine: id}\n",
    )
    spec = load_descriptor(path, Settings(directory=site)).tables[0]
    assert [(column.name, column.std, column.ucd) for column in spec.table.columns] == [
        ("uid", True, None),
        ("lon", True, "pos.bodyrc.lon"),
        ("note", True, None),
        ("mine", False, None),
    ]
    assert spec.table.find_column("uid").description == "Mine"
    assert spec.table.find_column("uid").required
    assert {setting.column: setting.how for setting in spec.settings} == {
        "uid": "text",
        "note": "text",
        "lon": "map",
        "mine": "map",
    }
    assert (spec.table.standard, spec.table.primary, spec.frame) == ("demo-1.0", ("uid",), "body")
    assert [rule.name for rule in spec.rules] == ["positive"]


def test_a_standards_words_are_checked(site):
    (site / "standards").mkdir()
    (site / "standards" / "demo-1.0.yaml").write_text(STANDARD)
    path = write(
        site,
        "collection: stars\ntitle: t\ntables:\n  main:\n    standard: demo-1.0\n    frame: bodi\n    optional: [nte, uid]\n    source: stars.csv\n    set: {uid: x, lon: 1}\n",
    )
    found = [str(fault) for fault in check_descriptor(path, Settings(directory=site), check_sources=False)]
    assert found == [
        "collections/stars/stars.yaml:6:12: `frame` must be celestial or body, not 'bodi'; did you mean 'body'?",
        "collections/stars/stars.yaml:7:16: the standard has no optional column 'nte'; did you mean 'note'?",
        "collections/stars/stars.yaml:7:21: the standard has no optional column 'uid'; remove it from 'optional'; the standard always has this column",
    ]


def test_what_a_standard_says_of_optional_columns_comes_with_them(site):
    (site / "standards").mkdir()
    (site / "standards" / "demo-1.0.yaml").write_text(
        STANDARD.replace("positive: lon >= 0", "positive: lon >= 0, noted: note <> ''")
    )
    table = "collection: stars\ntitle: t\ntables:\n  main:\n    standard: demo-1.0\n    source: stars.csv\n    map: {lon: ra}\n    text: {uid: '{id}'}\n"
    without = load_descriptor(write(site, table), Settings(directory=site)).tables[0]
    assert ([rule.name for rule in without.rules], {setting.column for setting in without.settings}) == (
        ["positive"],
        {"lon", "uid"},
    )
    having = load_descriptor(write(site, table + "    optional: note\n"), Settings(directory=site)).tables[0]
    assert ([rule.name for rule in having.rules], {setting.column for setting in having.settings}) == (
        ["positive", "noted"],
        {"lon", "uid", "note"},
    )


def test_tap_schema_is_the_standards():

    resource = load_standard_descriptor("tap_schema")
    tables = {spec.table.name: spec.table for spec in resource.tables}
    assert {
        name: {column.name: column.required for column in table.columns} for name, table in tables.items()
    } == TAP_SCHEMA
    assert all(column.std for table in tables.values() for column in table.columns)
    whole = {column.name for table in tables.values() for column in table.columns if column.type.is_integer}
    assert whole == {"schema_index", "table_index", "column_index", "size", "indexed", "principal", "std"}
    relations = {
        (name, key.columns, key.target, key.target_columns) for name, table in tables.items() for key in table.keys
    }
    assert relations == {
        ("tables", ("schema_name",), "tap_schema.schemas", ("schema_name",)),
        ("columns", ("table_name",), "tap_schema.tables", ("table_name",)),
        ("keys", ("from_table",), "tap_schema.tables", ("table_name",)),
        ("keys", ("target_table",), "tap_schema.tables", ("table_name",)),
        ("key_columns", ("key_id",), "tap_schema.keys", ("key_id",)),
    }


def test_the_schema_for_editors_has_every_key_and_resolves():
    made = build_descriptor_json_schema()
    records = {"collection": made, **made["$defs"]}
    for record in (
        one.record
        for one in DescriptorSection.__subclasses__()
        if one.__module__ == AssignedValueSection.__module__ and one is not AssignedValueSection
    ):
        assert record.key_types.keys() == records[record.name]["properties"].keys()
        assert all(item["description"] for item in records[record.name]["properties"].values())
        assert records[record.name]["additionalProperties"] is False

    def look(value):
        if isinstance(value, dict):
            if "$ref" in value:
                target = made
                for step in value["$ref"].removeprefix("#/").split("/"):
                    target = target[step]
            for item in value.values():
                look(item)
        elif isinstance(value, list):
            for item in value:
                look(item)

    look(made)
    assert {"source_csv", "source_fits", "source_votable"} <= made["$defs"].keys()
    options = made["$defs"]["source_csv"]["properties"]  # what may be written, not what the models make of it
    assert [choice["type"] for choice in options["files"]["anyOf"]] == [["string", "number"], "array"]
    assert options["kind"]["const"] == "csv"


@pytest.mark.parametrize(
    ("source", "accepted"),
    [
        ({"kind": "fixed", "files": "a.dat", "fields": {"name": "1-10", "flag": 12, "ra": {"bytes": "14-20", "unit": "deg"}}}, True),
        ({"kind": "fixed", "files": "a.dat", "fields": {"name": {"byte": "1-10"}}}, False),
        ({"url": "https://registry.example/oai"}, True),  # the standard of the table, or an included file, has the kind
        ({"address": "https://registry.example/oai"}, False),
        ({"kind": "fixt", "files": "a.dat"}, False),
    ],
)  # fmt: skip
def test_the_schema_for_editors_accepts_each_way_of_writing_a_source(source, accepted):
    validator = jsonschema.Draft202012Validator(build_descriptor_json_schema())
    assert validator.is_valid({"collection": "x", "tables": {"main": {"source": source}}}) is accepted


def test_a_directory_or_missing_file_is_a_fault_too(site):
    settings = Settings(directory=site)
    assert "is a directory" in str(check_descriptor(site / "collections", settings)[0])
    with pytest.raises(DescriptorError, match="the file cannot be read: No such file"):
        load_descriptor(site / "collections" / "none.yaml", settings)


def test_a_table_of_250_columns(site):
    columns = "".join(f"      c{n}: {{type: float64, unit: mag, description: Column {n}}}\n" for n in range(250))
    path = write(
        site,
        f"collection: stars\ntitle: t\ntables:\n  main:\n    source: stars.csv\n    columns:\n{columns}    map:\n"
        + "".join(f"      c{n}: ra + {n}\n" for n in range(250)),
    )
    assert len(load_descriptor(path, Settings(directory=site)).tables[0].table.columns) == 250


@pytest.mark.parametrize("file", ["../../hven.toml", "../../secrets.toml", "{elsewhere}/below.yaml", "../linked.yaml"])
def test_only_descriptors_of_the_site_are_included(site, tmp_path_factory, file):
    """Else whoever writes descriptors reads any file of the machine, for messages quote the line where they stumble."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "below.yaml").write_text("sesame: [open\n")
    (site / "secrets.toml").write_text("PASSWORD = 'sesame'\n")
    (site / "collections" / "linked.yaml").symlink_to(elsewhere / "below.yaml")
    path = write(
        site,
        f"collection: stars\ntitle: t\ninclude: {file.format(elsewhere=elsewhere)}\ntables: {{main: {{source: stars.csv}}}}\n",
    )
    said = "\n".join(map(str, check_descriptor(path, Settings(directory=site))))
    assert "is not a descriptor of this site" in said
    assert "sesame" not in said

"""TFCat as a source, and served again: real catalogues, times of every scale, what is wrong with documents and features, round trips."""

from __future__ import annotations

import gzip
import itertools
import json
from decimal import Decimal
from functools import partial

import erfa
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import stilts
from adql_runner import compute_expression, create_connection
from hven.app._cli.verbs import build_typer_app
from hven.model.errors import SourceError
from hven.plugins.tfcat import coordinate_systems as facts
from hven.plugins.tfcat import source as tfcat
from hven.query._table_files import open_table_file
from hven.sources import SourceContext, file_kinds
from hven.testing.format import write_document
from plugin_needs import require_functions
from shared import EXAMPLES_FACTOR, shared

CRS = {
    "type": "local",
    "properties": {
        "name": "Time-Frequency",
        "time_coords_id": "unix",
        "spectral_coords": {"type": "frequency", "unit": "MHz"},
        "ref_position_id": "GEOCENTER",
    },
}
FIELDS = {
    "quality": {"info": "Quality", "datatype": "int", "ucd": "meta.code.qual", "values": {"1": "good", "2": "bad"}},
    "flux": {"info": "Flux", "datatype": "float", "ucd": "phot.flux.density", "unit": "W.m**-2.Hz**-1"},
    "seen": {"info": "", "datatype": "bool", "ucd": ""},
    "name": {"info": "Name", "ucd": "meta.id"},
}
SQUARE = [[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]
HOLE = [[0.2, 0.2], [0.2, 0.4], [0.4, 0.4], [0.4, 0.2], [0.2, 0.2]]


def polygon(*rings):
    return {"type": "Polygon", "coordinates": [list(ring) for ring in rings]}


def catalogue(*features, crs=CRS, fields=FIELDS, **more):
    return {"type": "FeatureCollection", "features": list(features), "fields": fields, "crs": crs, **more}


NOWHERE = {"type": "GeometryCollection", "geometries": []}


def feature(geometry, properties=None, **more):
    return {"type": "Feature", "geometry": geometry, "properties": properties or {}, **more}


def source(path, text, reject=None, **options):
    path.write_text(text if isinstance(text, str) else json.dumps(text))
    return tfcat.open(
        tfcat.Options(files=path.name, **options),
        SourceContext(directory=path.parent, on_reject=None if reject is None else reject.append),
    )


def write_source_rows(rows):
    """Write all rows of a source as they would be served."""
    head = rows.read_metadata()
    about = {"params": head.params, "enums": head.enums, "frames": head.frames}
    return write_document("tfcat", rows.list_columns(), list(rows.read_batches()), **about)


def exact(text):
    return json.loads(text, parse_float=Decimal)


def test_a_real_catalogue_is_served_unchanged(tmp_path):
    path = shared("data/radio/tfcat/cassini_rpws_fr_patches.tfcat.json")
    assert file_kinds.detect_kind_from_file_content(path) == "tfcat"
    rows = source(tmp_path / "a.json", path.read_text())
    (batch,) = rows.read_batches()
    assert batch.num_rows == 16
    told, given = exact(write_source_rows(rows)), exact(path.read_text())
    assert [one["geometry"] for one in told["features"]] == [one["geometry"] for one in given["features"]]
    assert [one["properties"] for one in told["features"]] == [one["properties"] for one in given["features"]]
    assert [one["id"] for one in told["features"]] == list(range(16))
    assert (told["crs"], told["fields"], told["properties"]) == (given["crs"], given["fields"], given["properties"])
    assert rows.read_title_and_description()[0].startswith("Catalogue of Faraday Rotation")
    # Julian dates are those of the catalogue's own bbox, correctly rounded
    boxes = np.array([one["bbox"] for one in json.loads(path.read_text())["features"]])
    for name, column in (("time_min", 0), ("time_max", 2)):
        wanted = [float(Decimal(repr(one)) / 86400 + Decimal("2440587.5")) for one in boxes[:, column].tolist()]
        assert batch.column(name).to_pylist() == wanted
    assert batch.column("spectral_range_max").to_pylist() == boxes[:, 3].tolist()


def test_stilts_accepts_and_rejects_the_same_tfcat_documents(tmp_path):
    """As do we: of the corpus' own documents, and of shapes that were drawn here."""
    require_functions("chain_area", "chain_line")
    compute = partial(compute_expression, create_connection())
    drawn = compute("chain_area(code, 100, 100, 1, -1)", code=["4444666600002222", "2460", "55", ""])
    lines = compute("chain_line(code, 100, 100, 1, 1)", code=["4465", ""])
    shapes = [json.loads(one) for one in [*drawn.to_pylist(), *lines.to_pylist()] if one] + [NOWHERE]
    good = source(
        tmp_path / "a.json", catalogue(*(feature(one, {"quality": 1}, id=at) for at, one in enumerate(shapes)))
    )
    (tmp_path / "good.tfcat").write_bytes(write_source_rows(good))
    assert {one["type"] for one in shapes} == {"Polygon", "LineString", "Point", "GeometryCollection"}
    assert stilts.validate_tfcat(tmp_path / "good.tfcat").returncode == 0
    crossing = catalogue(feature(polygon([[0, 0], [1, 1], [2, 0], [0, 1]]), {"quality": 1}))
    (tmp_path / "open.tfcat").write_text(json.dumps(crossing))
    assert stilts.validate_tfcat(tmp_path / "open.tfcat").returncode != 0
    for path, code in (
        (tmp_path / "good.tfcat", 0),
        (tmp_path / "open.tfcat", 1),
        (shared("corpora/tfcat/tfcat--jupiter-obs.tfcat"), 1),
    ):
        done = CliRunner().invoke(build_typer_app(), ["lint", str(path)])
        assert done.exit_code == code, done.output
        assert ("0 of 6 features are wrong" in done.output) == (code == 0)
    said = json.loads(CliRunner().invoke(build_typer_app(), ["lint", "--json", str(tmp_path / "open.tfcat")]).output)
    assert (said["features"], len(said["faults"])) == (1, 1)
    assert "does not close" in said["faults"][0]["fault"]


def test_every_jovian_polygon_is_a_row_or_a_reject(tmp_path):
    """Emissions drawn by hand: those that cross themselves are told, and all the others are served as they are."""
    given = []
    with gzip.open(shared("data/radio/tfcat/juno_waves_jovian_emissions_2016100-2017365.jsonl.gz"), "rt") as lines:
        for line in lines:
            one = json.loads(line)
            ring = [[3600 * x, y] for x, y in zip(one["x"], one["y"], strict=True)]
            ring += ring[:1] if ring[0] != ring[-1] else []
            if sum(a[0] * b[1] - b[0] * a[1] for a, b in itertools.pairwise(ring)) < 0:
                ring.reverse()
            given.append(feature(polygon(ring), {"name": one["name"]}, id=one["id"]))
    rejects = []
    rows = source(tmp_path / "a.json", catalogue(*given), rejects)
    told = json.loads(write_source_rows(rows))
    assert len(given) == 3572
    assert [one.row for one in rejects] == [1170, 1312, 2080, 2204]
    assert all("crosses itself" in one.reason and one.text for one in rejects)
    wrong = {one.row - 1 for one in rejects}
    kept = [one for number, one in enumerate(given) if number not in wrong]
    assert [one["geometry"] for one in told["features"]] == [one["geometry"] for one in kept]


@pytest.mark.parametrize(
    ("file", "line", "words"),
    [
        ("bad_doc-example_trailing-comma.tfcat", 31, ["not JSON"]),
        ("jupiter-obs.tfcat", None, ["crs.type", "'Cartesian'", "spectral_coords.type", "ref_position_id"]),
        ("space_tool_polygonData.tfcat.json", None, ["crs", "fields: the document has no fields"]),
    ],
)
def test_what_is_wrong_with_real_documents(tmp_path, file, line, words):
    text = shared(f"data/radio/tfcat/{file}").read_text()
    with pytest.raises(SourceError) as told:
        source(tmp_path / "a.tfcat", text).list_columns()
    assert told.value.place.line == line
    assert all(word in told.value.message for word in words)
    assert told.value.remedy


# --- times and frequencies --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "scale", "jd"),
    [
        ("unix", 1158051858.75, "utc", (2440587.5, Decimal("1158051858.75") / 86400)),
        ("jd", 2453991.25, "utc", (2453991.25, 0)),
        ("mjd", 53990.75, "utc", (2400000.5, Decimal("53990.75"))),
        ("mjd_cnes", 20708.125, "utc", (2433282.5, Decimal("20708.125"))),
        ("mjd_nasa", 13990.125, "utc", (2440000.5, Decimal("13990.125"))),
        ("cdf_tt2000", 211_118_465_184_000_000, "tt", (2451544.5, Decimal("211118465.184") / 86400)),
        ("iso", "2006-09-12T09:04:18.750Z", "utc", (2440587.5, Decimal("1158051858.75") / 86400)),
    ],
)
def test_times_by_every_name(name, value, scale, jd):
    system, faults = facts.parse_tfcat_crs({**CRS, "properties": {**CRS["properties"], "time_coords_id": name}})
    assert not faults
    found = facts.to_julian_dates(system.to_utc([facts.parse_tfcat_time(value) if name == "iso" else value]))[0]
    day, part = jd
    if scale == "tt":
        day, part = erfa.taiutc(*erfa.tttai(float(day), float(part)))
    assert abs(Decimal(found) - (Decimal(float(day)) + Decimal(part))) < Decimal(
        "2.4e-10"
    )  # half of what a double resolves


@pytest.mark.parametrize("scale", ["TAI", "TT", "TDB", "TCG", "TCB", "GPS"])
def test_times_of_other_scales_become_utc(scale):
    """ERFA's scales, from 1973 to 2023: to the microsecond, TDB and TCB to 30."""
    crs = {**CRS, "properties": {**CRS["properties"], "time_coords": {"name": "t", "unit": "s", "time_origin": "2000-01-01T00:00:00", "time_scale": scale}}}  # fmt: skip
    del crs["properties"]["time_coords_id"]
    system, faults = facts.parse_tfcat_crs(crs)
    assert not faults
    seconds = np.linspace(-8.5e8, 7.5e8, 500).round(3)
    part = seconds / 86400.0
    if scale in {"TDB", "TCB"}:
        day, part = erfa.tcbtdb(2451544.5, part) if scale == "TCB" else (np.full(500, 2451544.5), part)
        part = part - erfa.dtdb(day, part, 0.0, 0.0, 0.0, 0.0) / 86400.0
    else:
        day, part = erfa.tcgtt(2451544.5, part) if scale == "TCG" else (np.full(500, 2451544.5), part)
    if scale == "GPS":
        part = part + 19 / 86400
    day, part = erfa.taiutc(day, part) if scale in {"TAI", "GPS"} else erfa.taiutc(*erfa.tttai(day, part))
    wanted = (day - 2440587.5) * 86400e6 + part * 86400e6
    assert np.abs(system.to_utc(seconds.tolist()) - wanted).max() < (40.0 if scale in {"TDB", "TCB"} else 2.0)


def test_times_that_nobody_can_tell(tmp_path):
    """Before 1972 in another scale: a reject; a spacecraft's clock: rows without times."""
    coords = {"name": "t", "unit": "s", "time_origin": "1970-01-01", "time_scale": "TT"}
    properties = {key: value for key, value in CRS["properties"].items() if key != "time_coords_id"}
    given = feature({"type": "LineString", "coordinates": [[0, 1], [1e8, 2]]})
    for scale, rows in (("TT", 0), ("SCLK", 1)):
        rejects = []
        crs = {**CRS, "properties": {**properties, "time_coords": {**coords, "time_scale": scale}}}
        found = source(tmp_path / "a.tfcat", catalogue(given, crs=crs), rejects)
        batches = list(found.read_batches())
        assert sum(batch.num_rows for batch in batches) == rows
        assert len(rejects) == 1 - rows
    assert batches[0].column("time_min").to_pylist() == [None]
    assert batches[0].column("spectral_range_max").to_pylist() == [2e6]


@pytest.mark.parametrize(
    ("kind", "unit", "places", "hertz"),
    [
        ("frequency", "kHz", (1.5, 2), (1500.0, 2000.0)),
        ("wavelength", "m", (1, 299792458), (1.0, 299792458.0)),
        ("wavenumber", "cm**-1", (1, 2), (29979245800.0, 59958491600.0)),
        ("energy", "eV", (1, 2), (241798924208490.6, 483597848416981.2)),
    ],
)
def test_spectra_become_frequencies(tmp_path, kind, unit, places, hertz):
    crs = {**CRS, "properties": {**CRS["properties"], "spectral_coords": {"type": kind, "unit": unit}}}
    given = feature({"type": "MultiPoint", "coordinates": [[0, places[1]], [1, places[0]]]})
    (batch,) = source(tmp_path / "a.tfcat", catalogue(given, crs=crs)).read_batches()
    found = [batch.column(f"spectral_range_{end}")[0].as_py() for end in ("min", "max")]
    assert found == pytest.approx(list(hertz), rel=1e-9)


def test_a_feature_without_a_place_comes_back(tmp_path):
    """As a collection without geometries, by which rows without a place are written, too."""
    rejects = []
    rows = source(tmp_path / "a.tfcat", catalogue(feature(NOWHERE), feature(polygon(SQUARE))), rejects)
    (batch,) = rows.read_batches()
    assert not rejects
    for name in ("time_min", "time_max", "spectral_range_min", "spectral_range_max"):
        first, second = batch.column(name).to_pylist()
        assert first is None
        assert second is not None
    told = write_source_rows(rows)
    assert [one["geometry"]["type"] for one in json.loads(told)["features"]] == ["GeometryCollection", "Polygon"]
    again = source(tmp_path / "b.tfcat", told.decode() if isinstance(told, bytes) else told, rejects)
    assert [part.column("geometry").to_pylist() for part in again.read_batches()] == [
        batch.column("geometry").to_pylist()
    ]
    assert not rejects


# --- what is wrong ----------------------------------------------------------------------------------------------

DEEP = {"type": "Point", "coordinates": [0, 1]}
for _ in range(10):
    DEEP = {"type": "GeometryCollection", "geometries": [DEEP]}


@pytest.mark.parametrize(
    ("given", "where", "words"),
    [
        (feature(None), "geometry", "the geometry is missing"),
        (feature({"type": "Circle"}), "geometry.type", "'Circle' is not a TFCat geometry"),
        (feature({"type": "Point", "coordinates": [1]}), "geometry.coordinates", "a time and a frequency"),
        (feature({"type": "Point", "coordinates": [1, 2, 3]}), "geometry.coordinates", "a time and a frequency"),
        (feature({"type": "Point", "coordinates": ["1", 2]}), "geometry.coordinates", "not a pair of finite numbers"),
        (feature({"type": "Point", "coordinates": [True, 2]}), "geometry.coordinates", "not a pair of finite numbers"),
        (feature({"type": "Point", "coordinates": [float("nan"), 2]}), "geometry.coordinates", "not a pair of finite numbers"),
        (feature({"type": "Point", "coordinates": [1e300, 2]}), "geometry.coordinates", "not a pair of finite numbers"),
        (feature({"type": "MultiPoint", "coordinates": []}), "geometry", "no position"),
        (feature({"type": "LineString", "coordinates": [[1, 2]]}), "geometry.coordinates", "at least two positions"),
        (feature({"type": "LineString", "coordinates": [1, 2]}), "geometry.coordinates[0]", "a time and a frequency"),
        (feature(polygon(SQUARE[:3])), "geometry.coordinates[0]", "at least four positions"),
        (feature(polygon(SQUARE[:4])), "geometry.coordinates[0]", "does not close"),
        (feature(polygon(SQUARE[::-1])), "geometry.coordinates[0]", "runs clockwise"),
        (feature(polygon(SQUARE, HOLE[::-1])), "geometry.coordinates[1]", "counter-clockwise"),
        (feature(polygon([[0, 0], [1, 1], [0, 0], [0, 0]])), "geometry.coordinates[0]", "no area"),
        (feature(polygon([[0, 0], [4, 0], [1, 2], [3, 2], [0, 0]])), "geometry.coordinates", "crosses itself or another ring at [2.0, 1."),
        (feature(polygon(SQUARE, [[t + 9, f] for t, f in HOLE])), "geometry.coordinates", "Hole lies outside"),
        (feature({"type": "MultiPolygon", "coordinates": [[SQUARE], [SQUARE[::-1]]]}), "geometry.coordinates[1][0]", "runs clockwise"),
        (feature({"type": "GeometryCollection"}), "geometry.geometries", "they are missing"),
        (feature({"type": "GeometryCollection", "geometries": [polygon(SQUARE), 1]}), "geometry.geometries[1].type", "not a TFCat geometry"),
        (feature(DEEP), "geometry", "deep"),
        (feature({**polygon(SQUARE), "crs": {}}), "geometry.crs", "the crs differs from the document's crs"),
        (feature(polygon(SQUARE), {"colour": "red"}), "properties.colour", "no field describes the property"),
        (feature(polygon(SQUARE), {"quality": 1.5}), "properties.quality", "1.5 is not of type int"),
        (feature(polygon(SQUARE), {"quality": 2**63}), "properties.quality", "is not of type int"),
        (feature(polygon(SQUARE), {"flux": "strong"}), "properties.flux", '"strong" is not of type float'),
        (feature(polygon(SQUARE), {"seen": 1}), "properties.seen", "1 is not of type bool"),
        (feature(polygon(SQUARE), id=[1]), "id", "neither a string nor a number"),
        (feature(polygon(SQUARE), bbox=[1, 2]), "bbox", "four numbers"),
        (feature(polygon(SQUARE), {"name": "\ud800"}), None, "surrogate"),
        ({"type": "Point"}, "type", "'Point' is not a Feature"),
        (7, None, "not JSON"),
        ([], None, "not JSON"),
    ],
)  # fmt: skip
def test_invalid_features_are_rejected(tmp_path, given, where, words):
    """The others stay, and each reject has its number, place, reason and text."""
    good = feature(polygon(SQUARE, HOLE), {"name": "good"})
    rejects = []
    rows = source(tmp_path / "a.tfcat", catalogue(good, given, good), rejects)
    assert sum(batch.num_rows for batch in rows.read_batches()) == 2
    (one,) = rejects
    assert (one.row, one.column) == (2, where)
    assert words in one.reason
    assert one.text


@pytest.mark.parametrize(
    ("cut", "words"),
    [
        ('"geometry":{"type":"Point","coordinates":[1,2]},"geometry":{"type":"Point","coordinates":[1,2]}', "occurs twice"),
        ('"geometry":{"type":"Point","coordinates":' + "[" * 3000 + "]" * 3000 + "}", "nested too deeply"),
        ('"geometry":{"type":"Point","coordinates":[1,' + "9" * 5000 + "]}", "not JSON"),
        ('"geometry":{"type":"Point","coordinates":[1,,2]}', "not JSON"),
        ('"geometry":{"type":"Point","coordinates":[1 2]}', "not JSON"),
        ('"geometry" {}', "not JSON"),
    ],
)  # fmt: skip
def test_texts_that_are_no_features(tmp_path, cut, words):
    text = json.dumps(catalogue()).replace('"features": []', f'"features": [{{"type":"Feature",{cut}}}]')
    rejects = []
    rows = source(tmp_path / "a.tfcat", text, rejects)
    assert not list(rows.read_batches())
    assert words in rejects[0].reason


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"crs": None}, ["no crs"]),
        ({"crs": {"type": "link", "properties": {}}}, ["crs.type", "'link'"]),
        ({"crs": {"type": "local"}}, ["crs.properties: they are missing"]),
        ({"crs": {**CRS, "properties": {**CRS["properties"], "time_coords_id": "gps"}}}, ["time_coords_id", "'gps'"]),
        ({"crs": {**CRS, "properties": {**CRS["properties"], "time_coords": {}}}}, ["the document also has time_coords"]),
        ({"crs": {**CRS, "properties": {**CRS["properties"], "spectral_coords": {"type": "energy", "unit": "m"}}}}, ["'m' is not a unit of energy"]),
        ({"crs": {**CRS, "properties": {"time_coords": {"unit": "fortnight", "time_origin": "1970-13-01", "time_scale": "BST"}, "spectral_coords": CRS["properties"]["spectral_coords"], "ref_position_id": "x"}}}, ["fortnight", "1970-13-01", "BST"]),
        ({"fields": None}, ["fields"]),
        ({"fields": {"a": {"info": "x", "ucd": "x", "datatype": "double"}}}, ["fields.a.datatype", "'double'"]),
        ({"fields": {"a": {"datatype": "int"}}}, ["fields.a.info", "fields.a.ucd"]),
        ({"fields": {f"f{number}": {"info": "", "ucd": ""} for number in range(1001)}}, ["1,001 fields"]),
        ({"properties": []}, ["properties"]),
        ({"type": "Topology"}, ["'Topology'"]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_documents(tmp_path, change, words):
    with pytest.raises(SourceError) as told:
        source(tmp_path / "a.tfcat", {**catalogue(feature(polygon(SQUARE))), **change}).list_columns()
    assert all(word in told.value.message for word in words)
    assert told.value.remedy


def test_a_file_that_breaks_off_is_an_error_with_its_line(tmp_path):
    text = json.dumps(catalogue(*[feature(polygon(SQUARE))] * 3), indent=1)
    with pytest.raises(SourceError, match="ends in the middle of its list"):
        source(tmp_path / "a.tfcat", text[: len(text) // 2]).list_columns()


def test_files_of_one_table_agree(tmp_path):
    source(tmp_path / "a.tfcat", catalogue(feature(polygon(SQUARE), {"quality": 1})))
    source(tmp_path / "b.tfcat", catalogue(feature(polygon(SQUARE), {"size": 2}), fields={"size": {"info": "", "datatype": "int", "ucd": ""}}))  # fmt: skip
    both = tfcat.open(tfcat.Options(files="*.tfcat"), SourceContext(directory=tmp_path))
    assert [batch.column("size").to_pylist() for batch in both.read_batches()] == [[None], [2]]
    other = {**CRS, "properties": {**CRS["properties"], "time_coords_id": "jd"}}
    source(tmp_path / "b.tfcat", catalogue(crs=other))
    with pytest.raises(SourceError, match=r"the crs differs from the crs in a\.tfcat"):
        tfcat.open(tfcat.Options(files="*.tfcat"), SourceContext(directory=tmp_path)).list_columns()


def test_properties_keep_their_names_and_ids_their_type(tmp_path):
    fields = {name: {"info": name, "datatype": "str", "ucd": "meta.note"} for name in ("time_min", "geometry")}
    given = [
        feature(polygon(SQUARE), {"time_min": "early", "geometry": {"a": [1, 2.50]}}, id=name) for name in (1, "b", 2.5)
    ]
    rows = source(tmp_path / "a.tfcat", catalogue(*given, fields=fields))
    (batch,) = rows.read_batches()
    assert batch.column("tfcat_time_min")[0].as_py() == 2440587.5
    assert batch.column("geometry").to_pylist() == ['{"a":[1,2.5]}'] * 3
    assert batch.column("id").to_pylist() == ["1", "b", "2.5"]
    assert [one["properties"]["time_min"] for one in json.loads(write_source_rows(rows))["features"]] == ["early"] * 3


def test_one_feature_may_be_the_document(tmp_path):
    (batch,) = source(tmp_path / "a.tfcat", feature(polygon(SQUARE), crs=CRS)).read_batches()
    assert batch.column("geometry_type").to_pylist() == ["Polygon"]


def test_a_catalogue_is_known_by_its_end(tmp_path):
    given = catalogue(*[feature(polygon(SQUARE))] * 200)
    (tmp_path / "a.json").write_text(json.dumps(given))
    assert file_kinds.detect_kind_from_file_content(tmp_path / "a.json") == "tfcat"
    (tmp_path / "b.json").write_text(json.dumps({"type": "FeatureCollection", "features": given["features"]}))
    assert file_kinds.detect_kind_from_file_content(tmp_path / "b.json") == "json"


# --- round trips ------------------------------------------------------------------------------------------------

NUMBERS = st.decimals(-(10**9), 10**9, places=6).map(lambda one: one.normalize())
POSITIONS = st.lists(NUMBERS, min_size=2, max_size=2)
LINES = st.lists(POSITIONS, min_size=2, max_size=5)
BOXES = st.tuples(NUMBERS, NUMBERS, st.decimals("0.001", 1000, places=3), st.decimals("0.001", 1000, places=3)).map(
    lambda box: [[[box[0], box[1]], [box[0] + box[2], box[1]], [box[0] + box[2], box[1] + box[3]], [box[0], box[1]]]]
)
GEOMETRIES = st.one_of(
    *(
        st.fixed_dictionaries({"type": st.just(kind), "coordinates": places})
        for kind, places in (
            ("Point", POSITIONS), ("MultiPoint", LINES), ("LineString", LINES), ("MultiLineString", st.lists(LINES, min_size=1, max_size=3)),
            ("Polygon", BOXES), ("MultiPolygon", st.lists(BOXES, min_size=1, max_size=2)),
        )
    )
)  # fmt: skip
TEXTS = st.text(st.characters(blacklist_categories=("Cs",)), max_size=8)
VALUES = st.fixed_dictionaries(
    {},
    optional={
        "quality": st.integers(-(2**63) + 1, 2**63 - 1),
        "flux": st.floats(allow_nan=False, allow_infinity=False),
        "seen": st.booleans(),
        "name": TEXTS,
    },
)
FEATURES = st.builds(
    lambda geometry, values, name: feature(geometry, values, **({} if name is None else {"id": name})),
    st.one_of(GEOMETRIES, st.lists(GEOMETRIES, min_size=1, max_size=3).map(lambda some: {"type": "GeometryCollection", "geometries": some})),
    VALUES, st.one_of(st.none(), TEXTS),
)  # fmt: skip


def dump_json(value):
    """Write JSON with decimals as they are."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} : {dump_json(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return "[ " + ",\n".join(dump_json(one) for one in value) + "]"
    return format(value, "f") if isinstance(value, Decimal) else json.dumps(value)


@settings(max_examples=40 * EXAMPLES_FACTOR, deadline=None)
@given(st.lists(FEATURES, min_size=1, max_size=4), st.dictionaries(TEXTS, TEXTS, max_size=2))
def test_served_features_equal_those_read(tmp_path_factory, features, about):
    """Number by number, whatever the blanks."""
    given = catalogue(*features, properties=about)
    rows = source(tmp_path_factory.mktemp("trip") / "a.tfcat", dump_json(given))
    told = exact(write_source_rows(rows))
    assert told["crs"] == CRS
    assert told["fields"] == {name: {"datatype": "str", **one} for name, one in FIELDS.items()}
    assert told["properties"] == about
    assert [one["geometry"] for one in told["features"]] == [one["geometry"] for one in features]
    assert [one.get("id") for one in told["features"]] == [one.get("id") for one in features]
    for one, other in zip(json.loads(write_source_rows(rows))["features"], features, strict=True):
        assert one["properties"] == {**dict.fromkeys(FIELDS), **other["properties"]}


def test_a_tfcat_catalogue_can_be_uploaded(tmp_path):
    """As a table to join: its rows are those of a collection; a wrong feature is told, and none is left out."""
    real = shared("corpora/tfcat/das2py--cassini_skr_faraday_rotation.tfcat.json")
    with open_table_file(real) as (about, rows):
        found = pa.Table.from_batches(rows)
    whole = tfcat.open(tfcat.Options(files=str(real)), SourceContext())
    assert [one.name for one in about.columns] == [one.name for one in whole.list_columns()]
    assert found.equals(pa.Table.from_batches(whole.read_batches(found.column_names)))
    wrong = catalogue(feature(polygon([[0, 0], [1, 1], [2, 0], [0, 1]]), {"quality": 1}))
    (tmp_path / "wrong").write_text(json.dumps(wrong))
    with pytest.raises(SourceError, match="does not close"), open_table_file(tmp_path / "wrong") as (_, rows):
        list(rows)

"""Geometries of GeoJSON on bodies: IDOC's hydrated sites of Mars by their own numbers and by PROJ's geodesics; shapes on planes of times and frequencies, which are no places."""

import gzip
import json
import os
import tarfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyproj
import pytest
import shapely
import spherely

from hven import query
from hven.ingest.api.runs import ingest_collection
from hven.model.sky import Regions
from hven.model.sky import _geojson as geojson
from hven.plugins.image_regions import contours
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files
from shared import shared

FULL = os.environ.get("HVEN_PROOF") == "full"


@pytest.fixture(scope="module")
def sites():
    """Features of one polygon each; a twentieth of them in an ordinary run, with all that are hard."""
    found = []
    with tarfile.open(shared("data/planetary/psup/ias_hyd_global_290615.tar.xz")) as archive:
        for number, member in enumerate(archive):
            if member.isfile() and not member.name.endswith("collection.json") and (FULL or number % 20 == 0):
                found.append(json.load(archive.extractfile(member)))
    assert len(found) == 17_445 if FULL else len(found) > 500
    return found


def test_sites_of_mars(sites):
    found = contours.build_regions_from_geojson([json.dumps(one["geometry"]) for one in sites])
    assert list(found.iterate_faults()) == []
    regions = found.regions
    assert regions.is_valid().all()
    for part in range(len(regions.parts) - 1):
        bounds = regions.rings[regions.parts[part] : regions.parts[part + 1] + 1]
        shell, *holes = (np.stack([regions.lon[a:b], regions.lat[a:b]], axis=1).tolist() for a, b in pairwise(bounds))
        spherely.create_polygon(shell, holes or None, oriented=True)
    shapes = np.array([shapely.from_geojson(json.dumps(one["geometry"])) for one in sites])
    simple = shapely.is_valid(shapes)
    sphere, fine = pyproj.Geod(a=1.0, b=1.0), shapely.segmentize(shapely.orient_polygons(shapes), 0.02)
    area = np.array([sphere.geometry_area_perimeter(one)[0] for one in fine])
    off = np.abs(regions.compute_areas() / area - 1)[simple]
    assert found.mended.tolist() == (~simple).tolist()
    words, counts = np.unique(found.classify_quality(), return_counts=True)
    print(f"{len(sites)} sites, {(~simple).sum()} cross themselves: {dict(zip(words.tolist(), counts.tolist(), strict=True))}; area within {off.max():.1e} of PROJ's")  # fmt: skip
    assert off.max() < 3e-4
    # the catalogue's own number: square degrees of the map, six digits; what crosses itself touches itself alone
    said = np.array([one["properties"]["Shape_Area"] for one in sites])
    flat = shapely.area(shapely.make_valid(shapes, method="structure"))
    assert np.abs(flat - said).max() < 1e-6
    lat = np.array([shapely.centroid(one).y for one in shapes])
    there = np.degrees(np.degrees(regions.compute_areas())) / np.cos(np.radians(lat))
    assert np.abs(there / np.maximum(said, 1e-3) - 1)[said > 1e-3].max() < 0.05


SITES = """\
collection: sites
title: Sites
tables:
  epn_core:
    standard: epn-tap-2.0
    frame: body
    optional: [region]
    source: {kind: json, files: sites.json, types: {geometry: string}}
    let: {site: geojson_contour(geometry)}
    set: {granule_gid: site, dataproduct_type: ci, processing_level: 5, target_name: Mars, target_class: planet, instrument_host_name: MRO, instrument_name: CRISM}
    text: {granule_uid: "{id}", obs_id: "{id}"}
    map: {s_region: site}
"""
HOLE = [[[10, 0], [20, 0], [20, 10], [10, 10], [10, 0]], [[14, 4], [14, 6], [16, 6], [16, 4], [14, 4]]]
OVER = [[[355, -5], [365, -5], [365, 5], [355, 5], [355, -5]]]
GEOMETRIES = {
    "plain": {"type": "Polygon", "coordinates": HOLE[:1]},
    "hole": {"type": "Polygon", "coordinates": HOLE},
    "over": {"type": "Polygon", "coordinates": OVER},
    "two": {"type": "MultiPolygon", "coordinates": [HOLE[:1], OVER]},
    "eight": {"type": "Polygon", "coordinates": [[[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]]]},
    "none": None,
    "point": {"type": "Point", "coordinates": [3, 4]},
    "beyond": {"type": "Polygon", "coordinates": [[[0, 0], [10, 0], [10, 95], [0, 0]]]},
    "word": {"type": "Polygon", "coordinates": [[["a", 0], [10, 0], [10, 95], [0, 0]]]},
    "shape": {"type": "Blob", "coordinates": []},
}


def test_geometries_through_an_ingest(tmp_path):
    rows = [{"id": name, "geometry": geometry} for name, geometry in GEOMETRIES.items()]
    with open_site_with_uningested_files(tmp_path, SITES, {"sites.json": json.dumps(rows)}) as site:
        report = ingest_collection(site, "sites").format_text()
        with query.run_query("SELECT * FROM sites.epn_core", OWNER_PRINCIPAL, site=site) as result:
            found = {row["granule_uid"]: row for row in result.read_table().to_pylist()}
    words = {name: row["region_quality"] for name, row in found.items()}
    assert {name: word for name, word in words.items() if word} == {
        "plain": "exact", "hole": "multi_part", "over": "exact", "two": "multi_part", "eight": "mended",
    }  # fmt: skip
    told = "warning: polygons cross or touch themselves or each other: the region is everything that they enclose (mended): 1 row\n    sites.json row 5\n"
    assert told in report
    assert [name for name, row in found.items() if row["coverage"]] == ["hole", "two", "eight"]
    assert (found["over"]["c1min"], found["over"]["c1max"]) == (pytest.approx(355), pytest.approx(5))
    for text in ("a point or line has no area", "a latitude is above 90", "a position of the contour is missing, or is not a number", "not a GeoJSON geometry"):  # fmt: skip
        assert text in report


def test_mended_geometries_are_told_of_without_a_column_for_it(tmp_path):
    rows = [{"id": name, "geometry": GEOMETRIES[name]} for name in ("plain", "eight")]
    with open_site_with_uningested_files(
        tmp_path, SITES.replace("    optional: [region]\n", ""), {"sites.json": json.dumps(rows)}
    ) as site:
        table = ingest_collection(site, "sites").tables["sites.epn_core"]
    assert [(one.count, one.offenders[0].row) for rule, one in table.findings.items() if "mended" in rule] == [(1, 2)]


def test_the_outline_of_a_belt_holds_it():
    belt = Regions.from_ranges(0, 360, -80, -70)
    shown = belt.take_largest_outlines()
    assert shown.ring_counts.tolist() == [1]
    assert shown.contains([5.0], [-75.0])[0]
    assert shown.compute_areas()[0] == pytest.approx(2 * np.pi * (1 - np.sin(np.radians(70))), rel=1e-3)


def test_west_longitudes_are_turned_and_rings_too():
    text = json.dumps(GEOMETRIES["hole"])
    east, west = (
        contours.build_regions_from_geojson([text]).regions,
        contours.build_regions_from_geojson([text], west_positive=True).regions,
    )
    assert west.compute_areas() == pytest.approx(east.compute_areas(), rel=1e-12)
    assert west.find_faults() == [""]
    assert west.contains([360 - 12.0], [5.0])[0]
    assert [edge[0] for edge in west.compute_bounding_boxes()[:2]] == pytest.approx([340, 350])


def test_times_and_frequencies_are_no_places():
    """3,572 emissions of Jupiter, drawn on hours and channels: each a shape of its plane, none a region of a sphere."""
    with gzip.open(shared("data/radio/tfcat/juno_waves_jovian_emissions_2016100-2017365.jsonl.gz")) as file:
        drawn = [json.loads(line) for line in file]
    assert len(drawn) == 3572
    rings = [np.column_stack([one["x"] + one["x"][:1], one["y"] + one["y"][:1]]) for one in drawn]
    thin = [one["id"] for one, ring in zip(drawn, rings, strict=True) if len(np.unique(ring, axis=0)) < 3]
    drawn_shapes = [shapely.Polygon(ring) for ring in rings if len(ring) > 3]
    shapes = [one if shapely.is_valid(one) else geojson._make_polygon_valid(one) for one in drawn_shapes]
    assert shapely.is_valid(shapes).all()
    assert (shapely.area(shapes) > 0).sum() >= len(drawn) - len(thin) - 5
    simple = [shapely.Polygon(ring) for ring in rings if len(ring) > 3]
    fine = shapely.is_valid(simple)
    assert np.abs(shapely.area(shapes) - shapely.area(simple))[fine].max() < 1e-9
    print(f"{len(drawn)} shapes, {(~fine).sum()} cross themselves, {(shapely.area(shapes) == 0).sum()} without area")
    # what says that it is times and frequencies is refused as places, whatever its numbers
    for name in ("space_tool_polygonData.tfcat.json", "cassini_rpws_fr_patches.tfcat.json", "jupiter-obs.tfcat"):
        document = Path(shared(f"data/radio/tfcat/{name}")).read_text("utf-8")
        with pytest.raises(geojson.GeoJsonError, match="not positions on a sphere"):
            geojson.parse_geojson(document)

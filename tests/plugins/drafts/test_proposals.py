"""``hven new --standard`` over real sources: each draft passes the check and is ingested; what is easy is right."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
import yaml
from astropy.time import Time

from hven import query
from hven.descriptor import check_descriptor
from hven.ingest.api.runs import ingest_collection
from hven.model.errors import UsageError
from hven.model.settings import Settings
from hven.plugins.drafts.drafting import create_descriptor
from hven.site import Site
from hven.site.auth._access_control import OWNER_PRINCIPAL
from plugin_needs import require_functions

sys.path.insert(0, str(Path(__file__).parent.parent))
from plugin_needs import require_plugins
from shared import shared

#: source, standard, rows published, left out or rejected
SOURCES = {
    "vims": ("planetary/vims_flybys.csv", "epn-tap", 957, 0),
    "meteorites": ("planetary/Meteorite_Landings.csv.gz", "epn-tap", 45_716, 0),
    "lroc": ("planetary/craters/LROCCraters.csv.gz", "epn-tap", 19_335, 0),
    "ceres": ("planetary/craters/ceres_craters_km.csv", "epn-tap", 115, 0),
    "charm": ("helio/hfc/charm/ch_observation.csv.gz", "epn-tap", 558, 0),
    "flares": ("helio/hec/hec_goes_xray.vot.xml.gz", "epn-tap", 1_000, 0),
    "clusters": ("images/clusters/HFI_PCCS_SZ-union_R2.08.fits", "epn-tap", 1_653, 0),
    "images": ("helio/images/*.fits", "epn-tap", 10, 0),
    "maser": ("vo/epntap/maser_epncore.csv", "epn-tap", 8, 146),
    "spoca": ("vo/epntap/rob_spoca_ch.epn_core.csv", "epn-tap", 67, 0),
    "exoplanets": ("sync/exoplanets/open_exoplanet_catalogue_2020-08-06.csv.gz", "epn-tap", 4_058, 0),
    "hst": ("vo/hst_obscore_padc.vot.xml.gz", "obscore", 4_114, 0),
    "sinfoni": ("vo/eso_raw_sinfoni_sgra.csv", "obscore", 50, 0),
    "vvv": ("vo/eso_phase3_vvv_sgra.csv", "obscore", 50, 0),
    "galaxy": ("images/gc_2mass_k.fits", "obscore", 1, 0),
}


@pytest.fixture(scope="module")
def draft_source(tmp_path_factory):
    """Draft and ingest each source once, when it is first asked for."""
    known: dict[str, tuple] = {}

    def make(name):
        if name not in known:
            place, standard, *_ = SOURCES[name]
            source = str(shared("data") / place)
            directory = tmp_path_factory.mktemp(name)
            (directory / "collections").mkdir()
            (directory / "hven.toml").write_text("")
            settings = Settings(directory=directory)
            path = create_descriptor(settings, name, source, standard=standard)
            faults = [fault for fault in check_descriptor(path, settings) if fault.severity == "error"]
            with Site(settings) as site:
                report = ingest_collection(site, name)
                (table,) = report.tables.values()
                with query.run_query(f"SELECT * FROM {table.table}", OWNER_PRINCIPAL, site=site) as result:
                    rows = [row for batch in result.iterate_batches() for row in batch.to_pylist()]
            known[name] = path.read_text(), faults, table, rows
        return known[name]

    return make


@pytest.mark.parametrize("name", SOURCES)
def test_a_draft_passes_the_check_and_its_rows_are_published(draft_source, name):
    text, faults, table, rows = draft_source(name)
    _, standard, published, left = SOURCES[name]
    assert faults == []
    assert (table.published, table.rejected + table.skipped) == (published, left), table.findings
    assert not [finding for finding in table.findings.values() if finding.severity == "error"]
    assert len(rows) == published
    (entry,) = yaml.safe_load(text)["tables"].values()
    assert entry["standard"].startswith(standard)
    assert "# guessed" in text
    assert "# to fill" in text
    uid = "granule_uid" if standard == "epn-tap" else "obs_publisher_did"
    assert len({row[uid] for row in rows}) == published or name == "hst"


def test_times_are_those_of_the_source(draft_source):
    """Against astropy, from the text of the file."""
    import csv
    import gzip

    with gzip.open(shared("data") / "helio/hfc/charm/ch_observation.csv.gz", "rt") as file:
        lines = list(csv.DictReader((line.lstrip("#") for line in file), delimiter=";"))
    found = {row["granule_uid"]: row for row in draft_source("charm")[3]}
    for line in lines[::50]:
        assert found[line["ID"]]["time_min"] == pytest.approx(Time(line["DATE_OBS"], scale="utc").jd, abs=1e-8)
    assert {
        row["time_max"] >= row["time_min"]
        for row in draft_source("vims")[3] + draft_source("flares")[3]
        if row["time_min"]
    } == {True}
    assert Time(draft_source("vims")[3][0]["time_min"], format="jd").isot[:16] in {
        "2004-06-11T19:34",
        *[Time(row["time_min"], format="jd").isot[:16] for row in draft_source("vims")[3][:1]],
    }


def test_targets_by_name_and_by_what_the_source_speaks_of(draft_source):
    by_name = {row["target_name"]: row["target_class"] for row in draft_source("vims")[3]}
    assert (by_name["Titan"], by_name["Phoebe"]) == ("satellite", "satellite")
    assert {(row["target_name"], row["target_class"]) for row in draft_source("lroc")[3]} == {("Moon", "satellite")}
    assert {(row["target_name"], row["target_class"]) for row in draft_source("ceres")[3]} == {
        ("Ceres", "dwarf_planet#asteroid")
    }
    assert {
        (row["target_name"], row["target_class"]) for row in draft_source("charm")[3] + draft_source("flares")[3]
    } == {("Sun", "star")}
    assert {row["target_class"] for row in draft_source("clusters")[3]} == {"sky"}


def test_places(draft_source):
    from astropy.io import fits

    with fits.open(shared("data") / "images/clusters/HFI_PCCS_SZ-union_R2.08.fits") as file:
        catalogue = {str(row["INDEX"]): (row["RA"], row["DEC"]) for row in file[1].data}
    for row in draft_source("clusters")[3]:
        assert (row["c1min"], row["c2max"]) == pytest.approx(catalogue[row["granule_uid"]])
        assert row["spatial_frame_type"] == "celestial"
    for name in ("lroc", "ceres", "meteorites"):
        assert {row["spatial_frame_type"] for row in draft_source(name)[3]} == {"body"}
        assert all(
            0 <= row["c1min"] <= 360 and -90 <= row["c2min"] <= 90
            for row in draft_source(name)[3]
            if row["c1min"] is not None
        )


def test_addresses_and_formats(draft_source):
    assert all(row["access_url"].startswith("http") for row in draft_source("hst")[3] if row["access_url"])
    assert sum(row["access_url"] is not None for row in draft_source("hst")[3]) > 4_000
    assert {row["s_region"].split()[0].lower() for row in draft_source("hst")[3] if row["s_region"]} <= {
        "polygon",
        "circle",
        "union",
        "position",
        "box",
    }


def test_a_footprint_by_the_cards_of_an_image(draft_source):
    require_functions("wcs_footprint")
    import numpy as np
    from astropy.coordinates import SkyCoord
    from astropy.io import fits
    from astropy.wcs import WCS

    (row,) = draft_source("galaxy")[3]
    corners = WCS(fits.getheader(shared("data") / "images/gc_2mass_k.fits")).calc_footprint(center=False)
    sky = SkyCoord(
        corners, unit="deg", frame="fk5"
    ).icrs  # the header says equinox 2000 and no frame: FK5, by the standard
    wanted = np.transpose([sky.ra.deg, sky.dec.deg])
    got = np.array([float(word) for word in row["s_region"].split()[2:]]).reshape(4, 2)
    assert {tuple(pair) for pair in got.round(6)} == {tuple(pair) for pair in wanted.round(6)}


@pytest.mark.parametrize("standard", ["obscore", "epn-tap"])
@pytest.mark.parametrize(
    ("field", "cell"),
    [
        ('datatype="char" arraysize="*" xtype="adql:REGION"', "Polygon ICRS 9 0 9 2 11 2 11 0"),
        ('datatype="double" arraysize="*" xtype="polygon"', "9 0 9 2 11 2 11 0"),
        ('datatype="double" arraysize="3" xtype="circle"', "10 1 0.5"),
    ],
)
def test_regions_of_a_votable_are_proposed_as_they_are(field, cell, standard, tmp_path):
    rows = "".join(f"<TR><TD>{name}</TD><TD>10</TD><TD>1</TD><TD>{cell}</TD></TR>" for name in "ab")
    (tmp_path / "a.vot").write_text(
        '<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE><TABLE>'
        '<FIELD name="obs_id" datatype="char" arraysize="*"/><FIELD name="s_ra" datatype="double" unit="deg"/>'
        f'<FIELD name="s_dec" datatype="double" unit="deg"/><FIELD name="s_region" {field}/>'
        f"<DATA><TABLEDATA>{rows}</TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"
    )
    (tmp_path / "collections").mkdir()
    text = create_descriptor(Settings(directory=tmp_path), "a", str(tmp_path / "a.vot"), standard=standard).read_text()
    (table,) = yaml.safe_load(text)["tables"].values()
    assert table["map"]["s_region"] == "s_region"
    assert "s_region" not in "".join(re.findall("# .*", text))


def test_a_standard_that_is_none_is_told(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    (tmp_path / "collections").mkdir()
    with pytest.raises(UsageError, match="Hven cannot guess a mapping to the standard 'epntap'") as caught:
        create_descriptor(Settings(directory=tmp_path), "a", str(tmp_path / "a.csv"), standard="epntap")
    assert "epn-tap" in caught.value.remedy
    assert not (tmp_path / "collections" / "a").exists()


def test_what_does_not_fit_is_taken_back_and_told(tmp_path):
    """A column that is called as the standard's, but measures something else, is no proposal."""
    (tmp_path / "a.csv").write_text(
        "id,time_min,c1min (km),incidence_min (km),spectral_range_min (kg)\n1,2453005.5,3,4,5\n2,2453006.5,3,4,5\n"
    )
    (tmp_path / "collections").mkdir()
    settings = Settings(directory=tmp_path)
    path = create_descriptor(settings, "a", str(tmp_path / "a.csv"), standard="epn-tap")
    assert [fault for fault in check_descriptor(path, settings) if fault.severity == "error"] == []
    told = path.read_text()
    assert "time_min" in yaml.safe_load(told)["tables"]["epn_core"]["map"]
    assert "not used: " in told


def test_sizes_and_orbits_of_bodies(tmp_path):
    (tmp_path / "a.csv").write_text(
        "name,Diameter (km),e,i (deg),a (AU)\nCeres,939.4,0.078,10.5,2.77\nPallas,513,0.23,34.8,2.77\n"
    )
    (tmp_path / "collections").mkdir()
    settings = Settings(directory=tmp_path)
    path = create_descriptor(settings, "a", str(tmp_path / "a.csv"), standard="epn-tap")
    assert [fault for fault in check_descriptor(path, settings) if fault.severity == "error"] == []
    found = yaml.safe_load(path.read_text())["tables"]["epn_core"]["map"]
    assert {name: found[name] for name in ("diameter", "eccentricity", "inclination", "semi_major_axis")} == {
        "diameter": '"Diameter (km)"', "eccentricity": "e", "inclination": '"i (deg)"', "semi_major_axis": '"a (AU)"',
    }  # fmt: skip


def test_what_is_left_to_fill_is_warned_of(tmp_path):
    (tmp_path / "a.csv").write_text("id,time_min,url\n1,2453005.5,https://x.org/1\n2,2453006.5,https://x.org/2\n")
    (tmp_path / "collections").mkdir()
    settings = Settings(directory=tmp_path)
    path = create_descriptor(settings, "a", str(tmp_path / "a.csv"), standard="epn-tap")
    text = path.read_text()
    told = [
        fault
        for fault in check_descriptor(path, settings)
        if "the value that `hven new` wrote" in fault.message or "a value is still missing" in fault.message
    ]
    lines = [
        number
        for number, line in enumerate(text.splitlines(), 1)
        if "to fill" in line and "the values marked '# to fill'" not in line
    ]
    assert [fault.place.line for fault in told] == lines
    assert {fault.severity for fault in told} == {"warning"}
    assert {fault.place.file for fault in told} == {"collections/a/a.yaml"}
    assert any(
        fault.message.startswith(
            "access_estsize still has the value that `hven new` wrote: the approximate size in kilobytes"
        )
        for fault in told
    )
    path.write_text(re.sub(r" *#.*to fill.*", "", text))
    assert not [fault for fault in check_descriptor(path, settings) if "to fill" in fault.message + fault.remedy]


def test_a_number_sign_in_a_value_is_no_comment(tmp_path):
    (tmp_path / "collections/a").mkdir(parents=True)
    path = tmp_path / "collections/a/a.yaml"
    path.write_text("collection: a\ntitle: 'Maps#to fill'\ntables: {main: {source: {kind: csv, files: a.csv}}}\n")
    (tmp_path / "collections/a/a.csv").write_text("x\n1\n")
    assert not [fault for fault in check_descriptor(path, Settings(directory=tmp_path)) if "to fill" in fault.message]


def test_a_column_of_the_same_name_with_other_words_is_another_thing(tmp_path):
    require_plugins("sources", "json")
    item = {
        "type": "Feature",
        "id": "a1",
        "geometry": {"type": "Polygon", "coordinates": [[[1, 1], [2, 1], [2, 2], [1, 1]]]},
        "properties": {"ssys:targets": ["mars"]},
    }
    (tmp_path / "a.json").write_text(json.dumps(item))
    (tmp_path / "hven.toml").write_text("")
    text = create_descriptor(
        Settings(directory=tmp_path), "a", str(tmp_path / "a.json"), standard="epn-tap"
    ).read_text()
    assert "s_region:" in text
    assert re.search(r"target_class: +planet  # guessed from target_name", text)
    assert "geometry_type" not in text

"""The page that tries a match: figures, chance, lines for a descriptor, rights and bad inputs."""

import json
import re
import sys
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[2] / "protocols"))

from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.plugins.matching import match_trial
from hven.plugins.matching.match_options import Options
from hven.testing.site import open_site_with_uningested_files
from plugins.matching.generated_stars import move_stars, write_csv

HTML = {"accept": "text/html"}
COUNT, OTHERS = 1500, 6000
DESCRIPTOR = """
collection: %s
title: Stars
description: Made up.
creators: [{name: A}]
access: %s
tables:
  first:
    title: First
    description: Stars
    source: {kind: csv, files: first.csv}
    primary: id
    columns:
      id: {type: int64, ucd: meta.id;meta.main, description: Number}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main, description: Right ascension}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main, description: Declination}
      pmra: {type: float64, unit: mas/yr, ucd: pos.pm;pos.eq.ra, description: Proper motion}
      pmdec: {type: float64, unit: mas/yr, ucd: pos.pm;pos.eq.dec, description: Proper motion}
  second:
    title: Second
    description: Stars
    source: {kind: csv, files: second.csv}
    primary: source
    position: [alpha, delta]
    columns:
      source: {type: int64, description: Number}
      alpha: {type: float64, unit: deg, ucd: pos.eq.ra, description: Right ascension}
      delta: {type: float64, unit: deg, ucd: pos.eq.dec, description: Declination}
"""
CHOICE = {
    "first": "sky.first", "first_epoch": "1991.25", "second": "sky.second", "second_epoch": "2016", "ra": "0", "dec": "60",
    "sr": "0.2", "reach": "5", "radius": "1.5",
}  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Open a site with stars around the meridian of 0 degrees, moved to 2016, among others that are chance."""
    random = np.random.default_rng(2)
    dec = 60 + random.uniform(-0.2, 0.2, COUNT)
    ra = random.uniform(-0.4, 0.4, COUNT) % 360
    pmra, pmdec = random.normal(0, 100, (2, COUNT))
    later_ra, later_dec = move_stars(ra, dec, pmra, pmdec, 24.75)
    second = {
        "source": np.arange(COUNT + OTHERS),
        "alpha": np.concatenate([later_ra, random.uniform(-0.6, 0.6, OTHERS) % 360]),
        "delta": np.concatenate(
            [later_dec + random.normal(0, 0.2, COUNT) / 3600, 60 + random.uniform(-0.3, 0.3, OTHERS)]
        ),
    }
    first = {"id": np.arange(COUNT), "ra": ra, "dec": dec, "pmra": pmra, "pmdec": pmdec}
    files = {"first.csv": write_csv(pa.table(first)), "second.csv": write_csv(pa.table(second))}
    directory = tmp_path_factory.mktemp("trial")
    hidden = directory / "collections" / "shutaway"
    hidden.mkdir(parents=True)
    (hidden / "shutaway.yaml").write_text(DESCRIPTOR % ("shutaway", "private"))
    for name, content in files.items():
        (hidden / name).write_bytes(content)
    with open_site_with_uningested_files(directory, DESCRIPTOR % ("sky", "public"), files) as opened:
        for name in ("sky", "shutaway"):
            ingest_collection(opened, name)
        yield opened


@pytest.fixture(scope="module")
def client(site):
    return Client(create_and_start_application(site))


def try_match(client, path="/match.json", headers=None, **changes):
    """Send the form with some other values."""
    return client.ask("GET", path, urlencode({**CHOICE, **changes}).encode(), headers=headers or {})


def test_pairs_and_chance_are_counted(client):
    content = json.loads(try_match(client).body)
    facts = next(item for item in content["radii"] if item["radius"] == 1.5)
    count = content["objects"]
    assert 900 < count < 1300
    assert facts["objects"] >= 0.99 * count
    density = OTHERS / (1.2 * 0.5 * 0.6 * 3600**2)  # stars of an arcsec^2, with the cosine of the declination
    density += COUNT / (0.8 * 0.5 * 0.4 * 3600**2)
    assert facts["chance_pairs"] == pytest.approx(count * density * np.pi * 1.5**2, rel=0.25)
    assert facts["chance_share"] == pytest.approx(facts["chance_pairs"] / facts["pairs"])
    assert content["radii"][-1]["pairs"] == sum(content["pairs"])
    assert json.loads(try_match(client, first_epoch="2016").body)["pairs"][0] < content["pairs"][0] / 2


def test_lines_are_those_of_a_descriptor(client):
    lines = json.loads(try_match(client).body)["yaml"]
    (table,) = yaml.safe_load(lines).values()
    source = table.pop("source")
    assert table["primary"] == "id"
    assert source.pop("kind") == "match"
    options = Options.model_validate(source)
    assert options.reference.epoch == 1991.25
    catalogue = options.catalogues["second"]
    assert (catalogue.id, catalogue.ra, catalogue.dec, catalogue.radius) == ("source", "alpha", "delta", 1.5)
    assert options.reference.id is None


def test_page_needs_no_scripts(client):
    page = try_match(client, "/match", HTML)
    assert page.status == 200
    assert page.text.count("data-bar=") == 50
    assert page.text.count('class="within"') == 15
    assert "radius=1.6" in page.text
    assert "radius: 1.5}" in page.text
    assert "<option selected>sky.first</option>" in page.text
    form = client.ask("GET", "/match", headers=HTML)
    assert form.status == 200
    assert "sky.second" in form.text
    french = try_match(client, "/match", HTML, lang="fr")
    assert "Essayer une association" in french.text


def test_nobody_tries_tables_without_access(client):
    assert "shutaway" not in client.ask("GET", "/match", headers=HTML).text
    answer = try_match(client, second="shutaway.second")
    missing = try_match(client, second="nothing.second")
    assert answer.status == missing.status == 404
    texts = [
        re.sub(r"request \w+", "", text.replace(name, ""))
        for text, name in ((answer.text, "shutaway.second"), (missing.text, "nothing.second"))
    ]
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sr": "180"}, "sr='180' is not a number from 0 to 5"),
        ({"ra": "nan"}, "ra='nan' is not a number from 0 to 360"),
        ({"dec": "north"}, "dec='north' is not a number"),
        ({"reach": "1e9"}, "is not a number from 0.001 to 60"),
        ({"radius": "-1"}, "is not a number from 0 to 5"),
        ({"first_epoch": "20160"}, "Julian year from 1000 to 3000"),
        ({"second_epoch": "jd"}, "names a column 'jd'"),
        ({"second_epoch": "source"}, "which is not a Julian year"),
    ],
)
def test_bad_inputs_are_told_in_the_page(client, changes, message):
    answer = try_match(client, **changes)
    assert answer.status == 400
    assert message in answer.text
    page = try_match(client, "/match", HTML, **changes)
    assert page.status == 400
    assert 'role="alert"' in page.text
    assert "<form" in page.text


def test_regions_are_bounded(client, monkeypatch):
    monkeypatch.setattr(match_trial, "MAX_TESTED_PAIRS", 100)
    assert "too dense" in try_match(client).text
    monkeypatch.setattr(match_trial, "MAX_STARS", 100)
    assert "more than 100 stars of sky.first are in the region" in try_match(client).text


def test_an_empty_region_has_no_pairs(client):
    content = json.loads(try_match(client, dec="-60").body)
    assert (content["objects"], sum(content["pairs"])) == (0, 0)
    assert try_match(client, "/match", HTML, dec="-60").status == 200

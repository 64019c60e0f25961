"""The example of curated lists: a star that a curator accepts has a flag among the calibrators in the same moment."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from asgi_client import Client
from astropy.io.votable import parse_single_table
from entry_site import Person, read_entry

from example_sites import ingest_all, prepare_example
from hven.app._server import create_and_start_application
from hven.model.settings import load_settings
from hven.site import Site

STAR = {"name": "HD 50004", "ra": 110.0, "dec": 10.001, "reason": "binary", "bibcode": "2010A&A...515A..69D"}
CONE = "/badcal-dsa/SubmitCone"


@pytest.fixture(scope="module")
def curated_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, dict[str, Person]]]:
    directory = tmp_path_factory.mktemp("curated") / "site"
    shutil.copytree(prepare_example("29-curated-lists"), directory)
    ingest_all(directory)
    with Site(load_settings(directory)) as site:
        for name in ("anna", "mia", "eve"):
            site.store.users.add_account(name)
        client = Client(create_and_start_application(site))
        yield client, {name: Person(client, site, name) for name in ("anna", "mia", "eve", "")}


def search_cone(client: Client, tmp_path: Path, **parameters: str) -> list[int]:
    """Send a request as SearchCal does, and read the numbers of the stars from the VOTable."""
    answer = client.get(CONE, **{"DSACATTAB": "badcal.valid_stars", "SR": "0.01", **parameters})
    assert (answer.status, answer.headers["content-type"]) == (200, "text/xml"), answer.text
    path = tmp_path / "answer.vot"
    path.write_bytes(answer.body)
    table = parse_single_table(path)
    units = {field.name: str(field.unit) for field in table.fields}
    assert (units["ra"], units["dec"]) == ("deg", "deg")
    return [int(number) for number in table.array["id"]]


def find_flag(client: Client, star: int) -> int:
    query = f"SELECT CalFlag FROM calibrators.main WHERE id = {star}"
    return int(client.get("/tap/sync", LANG="ADQL", QUERY=query, RESPONSEFORMAT="csv").text.split()[1])


def test_the_old_cone_search(curated_site: tuple[Client, dict[str, Person]], tmp_path: Path) -> None:
    client, _ = curated_site
    assert search_cone(client, tmp_path, RA="100", DEC="10") == [3, 4]
    assert search_cone(client, tmp_path, RA="0.0001", DEC="20", SR="0.001") == [1], "across the meridian of 0 degrees"
    assert search_cone(client, tmp_path, RA="45", DEC="89.9999", SR="0.001") == [2], "across the pole"
    assert search_cone(client, tmp_path, RA="100", DEC="10", DSACATTAB="other") == []
    assert client.get(CONE, RA="x", DEC="10", DSACATTAB="badcal.valid_stars").status == 400


def test_an_accepted_star_is_flagged_in_the_same_transaction(
    curated_site: tuple[Client, dict[str, Person]], tmp_path: Path
) -> None:
    client, people = curated_site
    anna, mia = people["anna"], people["mia"]
    assert find_flag(client, 4) == 0, "the next bad calibrator is 6 arcseconds away"
    refused = people["eve"].send("/entries/badcal.valid_stars", {"values": STAR})
    assert refused.status == 403
    entry = anna.submit(STAR, "badcal.valid_stars")
    assert (find_flag(client, 4), search_cone(client, tmp_path, RA="110", DEC="10")) == (0, [5])
    accepted = read_entry(mia.take(entry, "accept"))
    (number,) = json.loads(accepted["row"])
    assert number > 60, "Hven counts on after the stars of the file"
    assert (find_flag(client, 4), search_cone(client, tmp_path, RA="110", DEC="10")) == (16, [5, number])
    # the curator moves the star: the flag goes with it, and comes back with the withdrawal of the correction
    correction = anna.submit({"dec": 11.0}, "badcal.valid_stars", row=[number])
    moved = read_entry(mia.take(correction, "accept"))
    assert find_flag(client, 4) == 0
    read_entry(mia.take(moved, "withdraw", reason="it was right before"))
    assert find_flag(client, 4) == 16
    read_entry(mia.take(accepted, "withdraw", reason="another star"))
    assert (find_flag(client, 4), search_cone(client, tmp_path, RA="110", DEC="10")) == (0, [5])


def test_an_error_in_a_diameter_is_reported(curated_site: tuple[Client, dict[str, Person]]) -> None:
    client, people = curated_site
    query = "SELECT TOP 1 star, band, bibcode, number, ldd FROM jmdc.diameters ORDER BY star, band, bibcode, number"
    *key, ldd = client.get("/tap/sync", LANG="ADQL", QUERY=query, RESPONSEFORMAT="csv").text.splitlines()[1].split(",")
    report = {"row": [*key[:3], int(key[3])], "kind": "report", "column": "ldd", "text": "see 2016A&A...589A.112C"}
    sent = read_entry(people["anna"].send("/comments/jmdc.diameters", report), 201)
    assert (float(sent["value"]), "_cols=ldd" in sent["row_url"]) == (float(ldd), True)
    waiting = read_entry(people["mia"].get("/comments/jmdc.diameters"))["waiting"]
    assert [comment["number"] for comment in waiting] == [sent["number"]]

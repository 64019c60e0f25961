"""Data origin (IVOA note Data Origin in the VO 1.1): every VOTable of every face says which request it answers, by which protocol, and when."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode

import pytest
from astropy.io.votable import parse

from citation_site import PSZ2, build_site
from hven.app._server import create_and_start_application
from hven.jobs._worker import run_next_job
from hven.model.settings import load_settings
from hven.site import Site

sys.path.insert(0, str(Path(__file__).parents[1] / "protocols"))
from asgi_client import Client

LINKS = """\
    links: [{semantics: "#this", text: "https://example.org/{target.name}.fits", type: application/fits}]
    position: [ra, dec]
    obscore:
      set: {dataproduct_type: spectrum, facility_name: Uraniborg, calib_level: 2, access_format: application/fits, em_min: 4e-7, em_max: 7e-7}
      map: {s_ra: ra, s_dec: dec, t_min: "55000", t_max: "55001", target_name: name, access_url: name}
"""
QUERY = "SELECT * FROM psz2.main"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(
        load_settings(build_site(tmp_path_factory.mktemp("origin"), PSZ2 + LINKS)), watch_for_changes=False
    ) as site:
        yield site


@pytest.fixture(scope="module")
def client(site: Site) -> Client:
    return Client(create_and_start_application(site))


def infos(body: bytes) -> dict[str, str]:
    """As astropy reads them."""
    (found,) = [one for one in parse(io.BytesIO(body)).resources if one.type == "results"]
    return {one.name: one.value for one in found.infos}


@pytest.mark.parametrize(
    ("path", "given", "protocol"),
    [
        ("/tap/sync", {"LANG": "ADQL", "QUERY": QUERY}, "ivo://ivoa.net/std/TAP"),
        ("/cone/psz2.main", {"RA": 36, "DEC": -4, "SR": 1}, "ivo://ivoa.net/std/ConeSearch"),
        ("/datalink/psz2.main", {"ID": "c1"}, "ivo://ivoa.net/std/DataLink"),
        ("/sia/ivoa.obscore", {"POS": "36,-4", "SIZE": 1}, "ivo://ivoa.net/std/SIA"),
        ("/sia2/ivoa.obscore", {"POS": "CIRCLE 36 -4 1"}, "ivo://ivoa.net/std/SIA"),
        ("/ssa/ivoa.obscore", {"REQUEST": "queryData", "POS": "36,-4"}, "ivo://ivoa.net/std/SSA"),
        ("/collections/psz2/main/download", {"_as": "votable"}, ""),
    ],
)  # fmt: skip
def test_every_service_states_the_request_it_answered(
    client: Client, path: str, given: dict[str, object], protocol: str
) -> None:
    answer = client.get(path, **given)
    assert answer.status == 200, answer.text
    found = infos(answer.body)
    assert found.get("service_protocol", "").startswith(protocol)
    assert found["request"].endswith(f"{path}?{urlencode(given)}")
    moment = datetime.fromisoformat(found["request_date"])
    assert abs((datetime.now(UTC) - moment).total_seconds()) < 120
    if "datalink" not in path:
        assert (found["data_ivoid"], found["citation"]) == ("ivo://uraniborg.example/psz2", "2016A&A...594A..27P")
        assert found["acknowledgement"] == "Based on observations made at Uraniborg."
        assert (found["publication_date"], found["is_derived_from"]) == ("2015-02-05", "arXiv:1502.01598")


def test_a_job_result_states_its_request(client: Client, site: Site) -> None:
    given = {"LANG": "ADQL", "QUERY": QUERY, "PHASE": "RUN"}
    made = client.post("/tap/async", **given)
    assert made.status == 303
    assert run_next_job(site)
    job = made.headers["location"].removeprefix("http://vo.example")
    found = infos(client.get(f"{job}/results/result").body)
    assert found["service_protocol"].startswith("ivo://ivoa.net/std/TAP")
    assert (found["request"], found["QUERY"]) == ("http://vo.example/tap/async", QUERY)
    assert job.rpartition("/")[2] not in str(found)  # who knows it may read and delete the job
    assert (found["data_ivoid"], found["publisher"]) == ("ivo://uraniborg.example/psz2", "Uraniborg")
    assert datetime.fromisoformat(found["request_date"]).tzinfo is not None


def test_the_tag_is_of_what_is_said_and_not_of_when(client: Client) -> None:
    """Who has the answer need not be sent it again, whatever the clock says."""
    path, given = "/datalink/psz2.main", {"ID": "c1"}
    first = client.get(path, **given)
    again = client.ask("GET", f"{path}?{urlencode(given)}", headers={"if-none-match": first.headers["etag"]})
    assert again.status == 304


def test_other_formats_are_as_they_were(client: Client) -> None:
    text = client.get("/tap/sync", LANG="ADQL", QUERY=QUERY, RESPONSEFORMAT="csv").text
    assert text.startswith("name,ra,dec")
    assert "request_date" not in text

"""Jobs and accounts: each reader sees their own jobs, and only operators see who pushed rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.jobs._worker import run_next_job
from hven.model.settings import PortalSettings
from hven.site import Site
from hven.site.auth import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files

STARS = """
collection: stars
title: Stars
tables:
  main:
    source: {kind: csv, files: "*.csv"}
    primary: id
    columns: {id: int32, release: timestamp}
    access: "release <= now"
"""
ROWS = "id,release\n1,2001-01-01T00:00:00\n"


@dataclass
class Readers:
    """A site and its readers: clients by name, and their headers."""

    site: Site
    public: Client
    owner: Client
    tokens: dict[str, str]

    def read(self, account: str, **parameters: object) -> tuple[int, str]:
        client = self.owner if account == "owner" else self.public
        headers = {"authorization": f"Bearer {self.tokens[account]}"} if account in self.tokens else {}
        query = "&".join(f"{name}={value}" for name, value in parameters.items())
        answer = client.ask("GET", f"/prov?{query}", headers=headers)
        return answer.status, answer.text


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Readers]:
    directory = tmp_path_factory.mktemp("readers")
    files = {"open.csv": ROWS, "zq-closed.csv": "id,release\n2,2999-01-01T00:00:00\n"}
    with open_site_with_uningested_files(directory, STARS, files) as site:
        ingest_collection(site, "stars")
        site.refresh_published_state()
        tokens = {name: site.store.users.add_account(name) for name in ("anna", "bob")}
        owner = Client(create_and_start_application(site, identify_principal=lambda _: OWNER_PRINCIPAL))
        yield Readers(site, Client(create_and_start_application(site)), owner, tokens)


def create_job(readers: Readers, account: str) -> str:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    if account in readers.tokens:
        headers["authorization"] = f"Bearer {readers.tokens[account]}"
    body = b"LANG=ADQL&QUERY=SELECT+id+FROM+stars.main&PHASE=RUN&RUNID=try"
    answer = readers.public.ask("POST", "/tap/async", body=body, headers=headers)
    assert answer.status == 303
    while run_next_job(readers.site):
        pass
    return answer.headers["location"].rpartition("/")[2]


def test_job(readers: Readers) -> None:
    job_id = create_job(readers, "anna")
    status, text = readers.read("anna", ID=f"job/{job_id}", DEPTH=2, DESCRIPTIONS=1)
    assert status == 200
    document = json.loads(text)
    labels = [content["prov:label"] for kind in ("entity", "activity", "agent") for content in document[kind].values()]
    assert {"Query try", "Result result", "anna", "QUERY", "Jobs of the type tap", "Ingest of stars"} <= set(labels)
    roles = {content["prov:role"] for content in document["used"].values()}
    assert {"QUERY", "LANG", "stars.main"} <= roles
    assert {"job", "result", "parameter"} <= {
        name.split(":")[1].partition("/")[0] for name in (*document["entity"], *document["activity"])
    }
    for name in ("PROV-JSON", "PROV-N", "HTML"):
        for record_id in (
            f"job/{job_id}",
            job_id,
            f"result/{job_id}/result",
            f"parameter/{job_id}/1",
            f"owner/{job_id}",
        ):
            for account in ("bob", "anonymous"):
                status, text = readers.read(account, ID=record_id, RESPONSEFORMAT=name)
                assert status == 404
                assert "SELECT" not in text
            assert readers.read("anna", ID=record_id, RESPONSEFORMAT=name)[0] == 200
    assert job_id not in readers.read("bob", DEPTH="ALL", DIRECTION="FORTH")[1]


def test_the_environment_of_a_job(readers: Readers) -> None:
    job_id = create_job(readers, "anna")
    progress = readers.site.store.jobs.get_job(job_id).progress
    digest = "sha256:" + "a7" * 32
    new_progress = {**progress, "environment": digest}
    assert readers.site.store.jobs.update_job(job_id, allowed_phases=("COMPLETED",), progress=new_progress)
    for name in ("PROV-JSON", "PROV-N"):
        assert digest in readers.read("anna", ID=f"job/{job_id}", RESPONSEFORMAT=name)[1]
        assert digest not in readers.read("bob", ID=f"job/{job_id}", RESPONSEFORMAT=name)[1]


def test_answers_about_jobs_are_private(readers: Readers) -> None:
    job_id = create_job(readers, "anonymous")
    for name in ("PROV-JSON", "HTML"):
        answer = readers.public.get("/prov", ID=f"job/{job_id}", RESPONSEFORMAT=name)
        assert answer.status == 200
        assert answer.headers["cache-control"].startswith("private")
    assert readers.public.get("/prov", RESPONSEFORMAT="PROV-N").headers["cache-control"].startswith("public")


def test_files_of_hidden_rows(readers: Readers) -> None:
    """A policy hides a row, so the names, numbers and checksums of files are for those who see all rows."""
    for name in ("PROV-JSON", "PROV-N", "PROV-SVG", "HTML"):
        for account in ("anonymous", "anna"):
            for record_id in ("table/stars.main", "row/stars.main/1"):
                status, text = readers.read(account, ID=record_id, DEPTH="ALL", RESPONSEFORMAT=name)
                assert status == 200
                assert not any(word in text for word in ("zq-closed", "open.csv", "2 rows", "source files", "checksum"))
            assert readers.read(account, ID="row/stars.main/2")[0] == 404
        assert "zq-closed.csv" in readers.read("owner", ID="table/stars.main", DEPTH="ALL", RESPONSEFORMAT="PROV-N")[1]
    page = readers.public.get("/collections/stars/main/provenance", _row="[1]")
    assert page.status == 200
    assert "one of the source files" in page.text
    assert readers.public.get("/collections/stars/main/provenance", _row="[2]").status == 404
    assert "2 files" in readers.owner.get("/collections/stars/main/provenance", _row="[2]").text


def test_account_of_a_push(readers: Readers) -> None:
    run_id = readers.site.get_published_state().tables_by_name["stars.main"].run_id
    with readers.site.store._database.begin_write() as connection:
        connection.exec_driver_sql("UPDATE runs SET summary = '{\"by\": \"anna\"}', kind = 'push'")
    seen = {name: "anna" in readers.read(name, ID=f"run/{run_id}")[1] for name in ("anna", "bob", "anonymous", "owner")}
    assert seen == {"anna": True, "bob": False, "anonymous": False, "owner": True}


def test_portal(tmp_path: Path) -> None:
    """Below a portal, provenance names only its collections, and ids are addresses below the portal."""
    portals = (PortalSettings(name="open", path="/open", collections=("stars",)), PortalSettings(name="other", path="/other", collections=("none",)))  # fmt: skip
    with open_site_with_uningested_files(tmp_path, STARS, {"open.csv": ROWS}, portals=portals) as site:
        ingest_collection(site, "stars")
        site.refresh_published_state()
        client = Client(create_and_start_application(site))
        here = client.get("/open/prov", RESPONSEFORMAT="PROV-JSON")
        assert json.loads(here.text)["prefix"]["hv"] == "http://vo.example/open/prov?ID="
        assert client.get("/open/prov", ID="table/stars.main", RESPONSEFORMAT="HTML").status == 200
        assert "stars" not in client.get("/other/prov", RESPONSEFORMAT="PROV-N").text
        for record_id in ("collection/stars", "table/stars.main", "row/stars.main/1"):
            assert client.get("/other/prov", ID=record_id).status == 404
        run_id = site.get_published_state().tables_by_name["stars.main"].run_id
        assert client.get("/other/prov", ID=f"run/{run_id}").status == 404
        assert client.get("/open/collections/stars/main/provenance", _row="[1]").status == 200

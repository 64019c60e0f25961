"""DOIs by DataCite's interface: made, published, brought up to date, withdrawn; and whatever goes wrong is done again without a second DOI."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from datacite import DataCiteRESTClient
from lxml import etree

from citation_site import PASSWORD, PSZ2, DataCiteServer, build_site, copy_attributes
from hven.model.settings import load_settings
from hven.plugins.registry.doi_store import CitationStore
from hven.site import Site
from json_servers import Reply, Request, serve
from process_runner import run_hven

DOI = "10.5072/psz2"


@pytest.fixture
def world() -> Iterator[DataCiteServer]:
    made = DataCiteServer()
    with serve(made):
        yield made


@pytest.fixture
def site_directory(tmp_path: Path, world: DataCiteServer) -> Path:
    return build_site(tmp_path, endpoint=world.base)


def run(site_directory: Path, *words: str, code: int = 0) -> str:
    done = run_hven("doi", *words, "--site", str(site_directory), expected_code=code)
    assert PASSWORD not in done.stdout + done.stderr
    return done.stdout + done.stderr


def state(site_directory: Path) -> list[tuple[str, str, str, str]]:
    with Site(load_settings(site_directory), watch_for_changes=False) as site:
        return [
            (one.collection, one.label, one.doi or "", one.state)
            for one in site.store.get_or_create(CitationStore).list_citations()
        ]


def test_the_fake_is_one_that_datacites_client_takes_for_datacite(world: DataCiteServer) -> None:
    """The client is another's (Caltech, CERN): what it does with DataCite it does with ours, so that what we do is judged by the same."""
    client = DataCiteRESTClient("URA.BORG", PASSWORD, "10.5072", url=f"{world.base}/")
    metadata = {
        "creators": [{"name": "A"}], "titles": [{"title": "T"}], "publisher": {"name": "P"}, "publicationYear": "2026",
        "types": {"resourceType": "X", "resourceTypeGeneral": "Dataset"}, "schemaVersion": "http://datacite.org/schema/kernel-4",
    }  # fmt: skip
    assert client.public_doi(metadata, "https://vo.example/x", doi="10.5072/x") == "10.5072/x"
    assert world.dois["10.5072/x"]["state"] == "findable"


def test_a_doi_is_drafted_published_and_updated(site_directory: Path, world: DataCiteServer) -> None:
    path = site_directory / "collections/psz2/psz2.yaml"
    shown = run(site_directory, "psz2")
    assert "nothing was sent" in shown
    assert "these creators have no ORCID iD: Brahe, Sophie" in shown
    run(site_directory, "psz2", "--publish", "--dry-run")
    assert world.asked == []
    assert "draft, made" in run(site_directory, "psz2", "--draft")
    assert copy_attributes(world)["state"] == "draft"
    assert path.read_text() == PSZ2, "a draft leads nowhere: nobody is told of it"
    assert "findable, changed" in run(site_directory, "psz2", "--publish")
    made = copy_attributes(world)
    assert (made["state"], made["url"], made["publicationYear"]) == ("findable", "http://vo.example/collections/psz2", "2015")  # fmt: skip
    assert path.read_text() == PSZ2.replace("collection: psz2\n", f"collection: psz2\ndoi: {DOI}\n")
    before = len(world.asked)
    assert "unchanged" in run(site_directory, "psz2", "--publish")
    assert len(world.asked) == before, "nothing is asked for what DataCite has"
    path.write_text(path.read_text().replace("The list,", "The whole list,"))
    assert "findable, changed" in run(site_directory, "psz2", "--publish")
    assert copy_attributes(world)["descriptions"][0]["description"] == "The whole list, release by release."
    assert world.list_write_methods() == ["POST", "PUT", "PUT"]
    assert state(site_directory) == [("psz2", "", DOI, "findable")]
    assert json.loads(run(site_directory, "--json"))[0]["doi"] == DOI
    assert "cannot become a draft again" in run(site_directory, "psz2", "--draft", code=1)


def test_releases_have_their_own_dois(site_directory: Path, world: DataCiteServer) -> None:
    run_hven("release", "R4", "psz2", "--site", str(site_directory))
    run(site_directory, "psz2", "--publish")
    run(site_directory, "psz2", "--release", "r4", "--publish")
    made = copy_attributes(world, "10.5072/psz2.r4")
    assert (made["version"], made["url"]) == ("R4", "http://vo.example/collections/psz2/releases/R4")
    assert {"relatedIdentifier": DOI, "relatedIdentifierType": "DOI", "relationType": "IsVersionOf"} in made["relatedIdentifiers"]  # fmt: skip
    run(site_directory, "psz2", "--publish")
    assert {"relatedIdentifier": "10.5072/psz2.r4", "relatedIdentifierType": "DOI", "relationType": "HasVersion"} in copy_attributes(world)["relatedIdentifiers"]  # fmt: skip
    assert "no release 'R9'" in run(site_directory, "psz2", "--release", "R9", "--publish", code=1)


def broken(status: int, method: str) -> Callable[[Request, Reply], None]:
    def spoil(asked: Request, reply: Reply) -> None:
        if asked.method == method:
            reply.status, reply.body = status, json.dumps({"errors": [{"status": str(status), "title": "Planted"}]}).encode()  # fmt: skip

    return spoil


FAILURES = [
    (401, 1, "the repository or the password is wrong (Planted); check the secret, and [doi] in hven.toml"),
    (403, 1, "the repository 'URA.BORG' has no permission (Planted)"),
    (422, 1, "Planted; correct the descriptor"),
    (429, 3, "Planted; wait, then run the same command again"),
    (500, 3, "Planted; wait, then run the same command again"),
    (503, 3, "Planted; wait, then run the same command again"),
]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_failed_requests_are_reported_and_can_be_repeated(
    site_directory: Path, world: DataCiteServer, method: str
) -> None:
    """A POST that failed may have been done all the same: the next one finds what is there."""
    for status, code, said in FAILURES:
        world.alter_reply, world.asked, world.dois = broken(status, method), [], {}
        assert said in run(site_directory, "psz2", "--publish", code=code)
        assert state(site_directory) == [("psz2", "", DOI, "reserved")]
    assert "doi:" not in (site_directory / "collections/psz2/psz2.yaml").read_text()
    world.alter_reply = lambda _asked, _reply: None
    run(site_directory, "psz2", "--publish")
    assert list(world.dois) == [DOI]
    assert world.list_write_methods().count("POST") == 1
    assert copy_attributes(world)["state"] == "findable"


@pytest.mark.parametrize(
    ("cut", "kind", "said"),
    [(20, None, "cannot be reached"), (None, b"<html>maintenance</html>", "does not understand the response"), (None, b'{"data": 7}', "does not understand the response"),
     (None, b'{"data": {"attributes": {"doi": "10.5072/other", "state": "findable"}}}', "DataCite returned 10.5072/other")],
)  # fmt: skip
def test_a_lost_or_invalid_response_is_reported_and_can_be_repeated(site_directory: Path, world: DataCiteServer, cut: int | None, kind: bytes | None, said: str) -> None:  # fmt: skip
    def spoil(asked: Request, reply: Reply) -> None:
        if asked.method == "POST":
            reply.cut, reply.body = cut, kind or reply.body

    world.alter_reply = spoil
    assert said in run(site_directory, "psz2", "--publish", code=3)
    world.alter_reply = lambda _asked, _reply: None
    assert "findable, changed" in run(site_directory, "psz2", "--publish")
    assert (list(world.dois), world.list_write_methods()) == ([DOI], ["POST", "PUT"])


def test_an_unavailable_service_is_reported_and_can_be_retried(tmp_path: Path, world: DataCiteServer) -> None:
    here = build_site(tmp_path, endpoint="http://127.0.0.1:9")
    assert "cannot be reached" in run(here, "psz2", "--publish", code=3)
    build_site(tmp_path, endpoint=world.base)
    world.pause = 4.0
    assert "run the same command again" in run(here, "psz2", "--publish", code=3)
    world.pause = 0.0
    assert "made" in run(here, "psz2", "--publish")
    assert list(world.dois) == [DOI]


def test_dois_of_others_are_not_changed(site_directory: Path, world: DataCiteServer) -> None:
    world.foreign_dois.add(DOI)
    assert "has no permission" in run(site_directory, "psz2", "--publish", code=1)
    world.foreign_dois.clear()
    world.dois[DOI] = {"doi": DOI, "state": "findable", "url": "https://elsewhere.example/x"}
    assert "resolves to https://elsewhere.example/x; choose a different DOI with --suffix" in run(
        site_directory, "psz2", "--publish", code=1
    )
    assert world.list_write_methods() == []


def test_a_doi_created_meanwhile_is_updated(site_directory: Path, world: DataCiteServer) -> None:
    """Between the look and the making somebody made it."""
    seen: list[str] = []

    def spoil(asked: Request, reply: Reply) -> None:
        seen.append(asked.method)
        if seen == ["GET"]:
            reply.status, reply.body = 404, b"{}"

    world.alter_reply = spoil
    world.dois[DOI] = {"doi": DOI, "state": "draft"}
    assert "findable, changed" in run(site_directory, "psz2", "--publish")
    assert seen == ["GET", "POST", "GET", "PUT"]


def test_what_cannot_be_sent_is_not(tmp_path: Path, world: DataCiteServer) -> None:
    lines = [line for line in PSZ2.splitlines() if not line.startswith(("creators:", "  - "))]
    here = build_site(tmp_path, "\n".join(lines) + "\n", endpoint=world.base)
    assert "it has no creators; add 'creators'" in run(here, "psz2", "--publish", code=1)
    assert "it has no creators" in run(here, "psz2", code=1)
    assert "is not complete enough for a DOI" in run(here, "psz2", "--to", str(tmp_path / "x.xml"), code=1)
    assert world.asked == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("", "hven.toml has no prefix and no repository and no password under [doi]"),
        ('\n[doi]\nprefix = "10.5072"\nrepository = "A.B"\npassword = "$LOST"\n', "the secret LOST is not set"),
        ('\n[doi]\nprefix = "10.5072"\nrepository = "A.B"\npassword = "$DATACITE"\nendpoint = "http://api.datacite.example"\n', "sent without encryption"),
    ],
)  # fmt: skip
def test_incomplete_and_insecure_doi_settings_are_reported(tmp_path: Path, settings: str, said: str) -> None:
    here = build_site(tmp_path, settings=settings)
    assert said in run(here, "psz2", "--publish", code=1)


def test_a_password_in_hven_toml_is_refused(tmp_path: Path) -> None:
    here = build_site(tmp_path)
    file = here / "hven.toml"
    file.write_text(file.read_text() + '\n[doi]\npassword = "geheim"\n')
    done = run_hven("doi", "psz2", "--site", str(here), expected_code=1)
    assert "$NAME" in done.stderr


def test_metadata_files_are_written_for_a_library(tmp_path: Path) -> None:
    here = build_site(tmp_path / "site")
    xml = tmp_path / "psz2.xml"
    assert "the DOI should resolve to http://vo.example/collections/psz2" in run(here, "psz2", "--to", str(xml))
    assert etree.parse(str(xml)).findtext("{*}identifier") == "(:tba)"
    assert "is not a DOI" in run(here, "psz2", "--is", "psz2", code=1)
    assert "findable, kept" in run(here, "psz2", "--is", "https://doi.org/10.21111/abc-7")
    assert "doi: 10.21111/abc-7\n" in (here / "collections/psz2/psz2.yaml").read_text()
    run(here, "psz2", "--to", str(xml))
    assert etree.parse(str(xml)).findtext("{*}identifier") == "10.21111/abc-7"
    assert "already has the DOI 10.21111/abc-7" in run(here, "psz2", "--is", "10.21111/other", code=1)
    run(here, "psz2", "--to", str(tmp_path / "x.json"))
    assert json.loads((tmp_path / "x.json").read_text())["data"]["attributes"]["doi"] == "10.21111/abc-7"
    assert "neither .xml nor .json" in run(here, "psz2", "--to", str(tmp_path / "x.txt"), code=2)


def test_a_doi_of_another_prefix_is_not_ours_to_change(tmp_path: Path, world: DataCiteServer) -> None:
    here = build_site(tmp_path, PSZ2.replace("bibcode:", "doi: 10.9999/x\nbibcode:"), endpoint=world.base)
    assert "but the prefix of this site is 10.5072" in run(here, "psz2", "--publish", code=1)
    assert world.asked == []


def test_what_not_everybody_sees_gets_none(tmp_path: Path, world: DataCiteServer) -> None:
    here = build_site(tmp_path, PSZ2.replace("title: Clusters of", "access: private\ntitle: Clusters of"), endpoint=world.base)  # fmt: skip
    assert "no table of the collection 'psz2' is public" in run(here, "psz2", "--publish", code=1)


def test_a_withdrawal_requires_and_records_a_reason(site_directory: Path, world: DataCiteServer) -> None:
    run(site_directory, "psz2", "--publish")
    assert "the reason for the withdrawal is missing" in run(site_directory, "psz2", "--withdraw", " ", code=2)
    world.alter_reply = broken(503, "PUT")
    run(site_directory, "psz2", "--withdraw", "the masses are wrong", code=3)
    world.alter_reply = lambda _asked, _reply: None
    assert "DataCite has recorded the withdrawal" in run(site_directory, "psz2", "--withdraw", "the masses are wrong")
    made = copy_attributes(world)
    assert made["state"] == "findable", "it goes on leading to its page"
    assert {"description": "the masses are wrong", "descriptionType": "TechnicalInfo"} in made["descriptions"]
    assert "Withdrawn" in {one["dateType"] for one in made["dates"]}
    assert state(site_directory) == [("psz2", "", DOI, "withdrawn")]
    count = len(world.asked)
    run(site_directory, "psz2", "--withdraw", "the masses are wrong")
    assert len(world.asked) == count
    run(site_directory, "psz2", "--publish")
    assert "Withdrawn" not in {one["dateType"] for one in copy_attributes(world)["dates"]}
    assert state(site_directory) == [("psz2", "", DOI, "findable")]


def test_usage(site_directory: Path) -> None:
    assert "--draft and --publish cannot be combined" in run(site_directory, "psz2", "--draft", "--publish", code=2)
    assert "the name of the collection is missing" in run(site_directory, "--publish", code=2)
    assert "no collection 'lost'" in run(site_directory, "lost", "--publish", code=1)

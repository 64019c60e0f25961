"""Landing pages, documents, signposts and tombstones: as readers and programs get them."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import bibtexparser
import pytest
from datacite import schema45
from lxml import etree, html

from citation_site import PSZ2, build_site
from hven.app._server import create_and_start_application
from hven.model.settings import load_settings
from hven.plugins.registry import doi_minting
from hven.plugins.registry.datacite import CITATION_KINDS
from hven.site import Site
from process_runner import run_hven

sys.path.insert(0, str(Path(__file__).parents[1] / "protocols"))
from asgi_client import Client

ACCEPT = {"accept": "text/html"}


@pytest.fixture(scope="module")
def site_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = build_site(tmp_path_factory.mktemp("cited"))
    for label in ("R4", "R6"):
        run_hven("release", label, "psz2", "--site", str(directory))
    run_hven("doi", "psz2", "--is", "10.5072/psz2", "--site", str(directory))
    run_hven("doi", "psz2", "--release", "R4", "--is", "10.5072/psz2.r4", "--site", str(directory))
    return directory


@pytest.fixture(scope="module")
def reader(site_directory: Path) -> Iterator[Client]:
    with Site(load_settings(site_directory), watch_for_changes=False) as site:
        yield Client(create_and_start_application(site))


def links(header: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for url, rel in re.findall(r'<([^>]*)>; rel="([^"]*)"', header):
        found.setdefault(rel, []).append(url)
    return found


def test_the_collection_page_has_schema_org_metadata(reader: Client) -> None:
    answer = reader.get("/collections/psz2")
    assert answer.status == 200
    page = html.fromstring(answer.text)
    for wanted in ("10.5072/psz2", "Based on observations made at Uraniborg.", "IsDerivedFrom", "Crown of Denmark", "The Uraniborg &lt;team&gt;"):  # fmt: skip
        assert wanted in answer.text, wanted
    (data,) = (json.loads(one.text) for one in page.xpath("//script[@type='application/ld+json']"))
    assert (data["@id"], data["url"]) == ("https://doi.org/10.5072/psz2", "http://vo.example/collections/psz2")
    assert data["creator"][0]["identifier"] == "https://orcid.org/0000-0002-1825-0097"
    assert data["funding"][0]["identifier"] == "DK-1576"
    assert data["license"] == "https://spdx.org/licenses/CC-BY-4.0"
    assert data["creditText"] == "Based on observations made at Uraniborg."
    assert len(data["contributor"]) == 1


def test_landing_pages_have_working_signposting_links(reader: Client) -> None:
    """As https://signposting.org/FAIR/ asks of a landing page at level 1, and each leads somewhere."""
    found = links(reader.get("/collections/psz2").headers["link"])
    assert found["cite-as"] == ["https://doi.org/10.5072/psz2"]
    assert found["author"] == ["https://orcid.org/0000-0002-1825-0097"]
    assert found["license"] == ["https://spdx.org/licenses/CC-BY-4.0"]
    assert found["type"] == ["https://schema.org/Dataset", "https://schema.org/AboutPage"]
    for url in (*found["describedby"], *found["item"]):
        path = url.removeprefix("http://vo.example")
        assert path != url
        assert reader.get(path).status == 200, path
    assert links(reader.get("/collections/psz2/releases/R4").headers["link"])["cite-as"] == ["https://doi.org/10.5072/psz2.r4"]  # fmt: skip


@pytest.mark.parametrize("where", ["psz2", "psz2/releases/R4"])
def test_datacite_documents_are_valid(reader: Client, where: str) -> None:
    doi = "10.5072/" + where.replace("/releases/R", ".r")
    asked = reader.get(f"/collections/{where}/cite/datacite.json")
    assert asked.headers["content-type"] == "application/vnd.datacite.datacite+json"
    made = json.loads(asked.body)
    assert made["url"] == f"http://vo.example/collections/{where}"
    assert schema45.validate(made)
    assert made["doi"] == doi
    xml = etree.fromstring(reader.get(f"/collections/{where}/cite/datacite.xml").body)
    assert xml.findtext("{*}identifier") == doi
    (entry,) = bibtexparser.parse_string(reader.get(f"/collections/{where}/cite/bib").text).entries
    assert entry.fields_dict["doi"].value == doi


def test_what_is_not_there(reader: Client) -> None:
    for path in ("psz2/cite/ris", "psz2/releases/R9", "psz2/releases/R9/cite/bib", "lost/cite/bib", "lost"):
        assert reader.get(f"/collections/{path}").status == 404, path
    assert "datacite.json" in reader.get("/collections/psz2/cite/ris").text


def test_the_release_page_has_its_doi_and_links_to_the_newer_release(reader: Client) -> None:
    page = reader.get("/collections/psz2/releases/r4").text
    for wanted in ("masses, R4", "10.5072/psz2.r4", "psz2_r4.main", "superseded", "/collections/psz2/releases/R6"):
        assert wanted in page, wanted
    assert "superseded" not in reader.get("/collections/psz2/releases/R6").text
    twin = json.loads(reader.get("/collections/psz2/releases/R4.json").body)
    assert (twin["doi"], twin["tables"][0]["rows"]) == ("10.5072/psz2.r4", 10)
    assert "/collections/psz2/releases/R4" in reader.get("/collections/psz2").text


def test_a_new_doi_appears_on_the_page_at_once(tmp_path: Path) -> None:
    with Site(load_settings(build_site(tmp_path)), watch_for_changes=False) as site:
        reader = Client(create_and_start_application(site))
        before = reader.get("/collections/psz2")
        assert "doi.org/10.5072" not in before.text
        from hven.services.citations import collect_citation_metadata
        from hven.services.face import ServiceContext
        from hven.site.auth import ANONYMOUS_PRINCIPAL

        around, now = ServiceContext.create_for_principal(site, ANONYMOUS_PRINCIPAL), site.get_published_state()
        doi_minting.record_external_doi(
            site.store,
            collect_citation_metadata(around, now, now.get_catalogue(ANONYMOUS_PRINCIPAL, around.policies), "psz2"),
            "10.5072/x",
        )
        after = reader.get("/collections/psz2")
        assert "doi.org/10.5072/x" in after.text
        assert after.headers["etag"] != before.headers["etag"]


def check_negotiation(reader: Client, path: str, doi: str) -> None:
    """A tombstone is gone for people and programs alike; its documents are still there, and valid."""
    for accept in ("text/html", "application/json", "*/*", "image/png"):
        assert reader.ask("GET", path, headers={"accept": accept}).status == 410, accept
    linked = reader.get(path).headers["link"]
    for kind, (media, _) in CITATION_KINDS.items():
        answer = reader.ask("GET", path, headers={"accept": f"{media}, text/html;q=0.5"})
        assert (answer.status, answer.headers["location"]) == (303, f"{path.rpartition('/')[2]}/cite/{kind}")
        document = reader.get(f"{path}/cite/{kind}")
        assert (document.status, document.headers["content-type"]) == (200, media)
        assert doi in document.text
        assert f'{path}/cite/{kind}>; rel="describedby"; type="{media}"' in linked
    made = json.loads(reader.get(f"{path}/cite/datacite.json").body)
    assert schema45.validate(made)
    etree.fromstring(reader.get(f"{path}/cite/datacite.xml").body)
    (entry,) = bibtexparser.parse_string(reader.get(f"{path}/cite/bib").text).entries
    assert entry.fields_dict["doi"].value == doi
    assert entry.fields_dict["author"].value == "{Brahe, Tycho} and {Brahe, Sophie} and {The Uraniborg <team>}"


def test_a_withdrawn_collection_keeps_its_tombstone_page(tmp_path: Path) -> None:
    here = build_site(tmp_path)
    run_hven("release", "R4", "psz2", "--site", str(here))
    for more in ([], ["--release", "R4"]):
        run_hven("doi", "psz2", *more, "--is", f"10.5072/a{len(more)}", "--site", str(here))
    run_hven("doi", "psz2", "--withdraw", "the masses <are> wrong", "--site", str(here))
    with Site(load_settings(here), watch_for_changes=False) as site:
        page = Client(create_and_start_application(site)).get("/collections/psz2")
        assert page.status == 200
        assert "the masses &lt;are&gt; wrong" in page.text, "its data are still there, and marked"
    run_hven("release", "remove", "R4", "--site", str(here))
    run_hven("remove", "psz2", "--site", str(here))
    with Site(load_settings(here), watch_for_changes=False) as site:
        reader = Client(create_and_start_application(site))
        for path, doi, why in (("psz2", "10.5072/a0", "the masses &lt;are&gt; wrong"), ("psz2/releases/R4", "10.5072/a2", "no longer here")):  # fmt: skip
            page = reader.get(f"/collections/{path}")
            assert page.status == 410, path
            for wanted in (why, "Brahe, Tycho, Brahe, Sophie", "Clusters of galaxies &amp; their masses", "Uraniborg", f"https://doi.org/{doi}", "The list, release by release."):  # fmt: skip
                assert wanted in page.text, wanted
            assert page.headers.get("etag") is None
            assert json.loads(reader.get(f"/collections/{path}/cite/datacite.json").body)["doi"] == doi
            check_negotiation(reader, f"/collections/{path}", doi)
        assert json.loads(reader.get("/collections/psz2.json").body)["reason"] == "the masses <are> wrong"
        assert reader.get("/collections/psz2/main").status == 404


def test_a_collection_whose_descriptor_has_a_doi_leaves_a_tombstone(tmp_path: Path) -> None:
    """A DOI that a library registered stands in the descriptor alone; nobody ran `hven doi`."""
    here = build_site(tmp_path, PSZ2.replace("created:", "doi: 10.5072/library.psz2\ncreated:"))
    run_hven("remove", "psz2", "--purge", "--site", str(here))
    with Site(load_settings(here), watch_for_changes=False) as site:
        reader = Client(create_and_start_application(site))
        page = reader.get("/collections/psz2")
        assert page.status == 410
        assert "https://doi.org/10.5072/library.psz2" in page.text
        assert json.loads(reader.get("/collections/psz2/cite/datacite.json").body)["doi"] == "10.5072/library.psz2"


def test_a_doi_of_something_else_keeps_nobody_from_removing(tmp_path: Path) -> None:
    here = build_site(tmp_path, PSZ2.replace("created:", "doi: 10.5072/shared\ncreated:"))
    run_hven("release", "R4", "psz2", "--site", str(here))
    run_hven("doi", "psz2", "--release", "R4", "--is", "10.5072/shared", "--site", str(here))
    run_hven("remove", "psz2", "--site", str(here))


@pytest.mark.parametrize("path", ["/collections/psz2", "/collections/psz2/releases/R4"])
@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("application/vnd.datacite.datacite+json", "datacite.json"),
        ("application/vnd.datacite.datacite+xml", "datacite.xml"),
        ("application/x-bibtex", "bib"),
        ("application/vnd.citationstyles.csl+json;q=0.9, application/vnd.datacite.datacite+json;q=0.8, text/html;q=0.1", "datacite.json"),
        ("text/html, application/vnd.datacite.datacite+json;q=0.9", None),
        ("application/json, application/x-bibtex;q=0.5", None),
        ("*/*", None),
    ],
)  # fmt: skip
def test_a_landing_page_leads_to_the_document_that_is_asked_for(reader: Client, path: str, accept: str, kind: str | None) -> None:  # fmt: skip
    answer = reader.ask("GET", path, headers={"accept": accept})
    if kind is None:
        assert answer.status == 200
        return
    assert answer.status == 303
    assert "accept" in answer.headers["vary"]
    assert answer.headers["location"] == f"{path.rpartition('/')[2]}/cite/{kind}"
    assert reader.get(f"{path}/cite/{kind}").status == 200


def test_a_collection_that_nobody_cited_leaves_nothing(tmp_path: Path) -> None:
    here = build_site(tmp_path)
    run_hven("remove", "psz2", "--site", str(here))
    with Site(load_settings(here), watch_for_changes=False) as site:
        assert Client(create_and_start_application(site)).get("/collections/psz2").status == 404

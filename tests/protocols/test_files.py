"""Files of a collection: listed with sizes and checksums, given whole and in ranges, hidden when the collection is private."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace

import pytest
from asgi_client import Client

from hven import query
from hven.app._server import create_and_start_application
from hven.descriptor import check_descriptor
from hven.ingest.api.runs import ingest_collection
from hven.model.errors import DataError, DescriptorError, SourceError, StorageUnavailableError
from hven.model.table import FileRoot
from hven.services.collection_files import find_unchanged_file_path
from hven.site import Site
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files

PAPER = """\
collection: paper
title: Supplementary data of a paper
doi: 10.5555/12345
reference_url: https://example.org/paper
files:
  - {files: "data/*.csv", title: Table of the paper, ignore: "*_old*"}
  - {files: [figure 1.svg, model.bin], type: application/x-model}
  - README.md
"""
BODY = bytes(range(256)) * 40
FILES = {
    "data/a.csv": "x\n1\n",
    "data/b_old.csv": "x\n2\n",
    "figure 1.svg": "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    "README.md": "# What it is\n",
}


@pytest.fixture
def site(tmp_path):
    (tmp_path / "collections" / "paper" / "data").mkdir(parents=True)
    with open_site_with_uningested_files(tmp_path, PAPER, FILES) as opened:
        (opened.settings.collections_directory / "paper" / "model.bin").write_bytes(BODY)
        ingest_collection(opened, "paper")
        yield opened


@pytest.fixture
def client(site):
    return Client(create_and_start_application(site))


def rows(site, adql):
    with query.run_query(adql, OWNER_PRINCIPAL, site=site) as result:
        return [row for batch in result.iterate_batches() for row in batch.to_pylist()]


def test_a_collection_can_consist_of_files(site):
    found = rows(site, "SELECT * FROM paper.files ORDER BY path")
    assert [row["path"] for row in found] == ["README.md", "data/a.csv", "figure 1.svg", "model.bin"]
    assert [row["title"] for row in found] == ["README.md", "Table of the paper", "figure 1.svg", "model.bin"]
    assert [row["media_type"] for row in found] == [
        "text/markdown",
        "text/csv",
        "application/x-model",
        "application/x-model",
    ]
    assert found[2]["url"].endswith("/collections/paper/files/figure%201.svg")
    assert (found[3]["bytes"], found[3]["sha256"]) == (len(BODY), hashlib.sha256(BODY).hexdigest())
    pins = site.store.read_published_records()[1]["paper.files"].provenance["pins"]
    assert {pin["name"]: pin["sha256"] for pin in pins} == {row["path"]: row["sha256"] for row in found}


def test_files_are_served_whole_and_in_ranges(client):
    url = "/collections/paper/files/model.bin"
    whole = client.get(url)
    tag = whole.headers["etag"]
    assert (whole.status, whole.body, tag) == (200, BODY, f'"{hashlib.sha256(BODY).hexdigest()}"')
    assert whole.headers["content-type"] == "application/x-model"
    assert "sandbox" in whole.headers["content-security-policy"]
    head = client.ask("HEAD", url)
    assert (head.status, head.body, head.headers["content-length"], head.headers["etag"]) == (
        200,
        b"",
        str(len(BODY)),
        tag,
    )
    part = client.ask("GET", url, headers={"range": "bytes=100-199"})
    assert (part.status, part.body) == (206, BODY[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(BODY)}"
    assert client.ask("GET", url, headers={"range": "bytes=-7"}).body == BODY[-7:]
    assert client.ask("GET", url, headers={"range": "bytes=5-9", "if-range": tag}).status == 206
    assert client.ask("GET", url, headers={"range": "bytes=5-9", "if-range": '"other"'}).body == BODY
    assert client.ask("GET", url, headers={"range": f"bytes={len(BODY)}-"}).status == 416
    assert client.ask("GET", url, headers={"if-none-match": tag}).status == 304


def test_the_list_and_the_page(client):
    text = client.get("/collections/paper/files").text
    assert len(text.splitlines()) == 4
    assert text.splitlines()[0].split()[0] == hashlib.sha256(FILES["README.md"].encode()).hexdigest()
    page = client.get("/collections/paper").text
    assert "/collections/paper/files" in page
    assert "paper.files" in client.get("/tap/tables").text


@pytest.mark.parametrize(
    "path",
    ["paper.yaml", "data/b_old.csv", "../paper/paper.yaml", "%2e%2e/paper/paper.yaml", "data", "nothing' OR 1=1 --"],
)
def test_no_other_file_is_served(client, path):
    assert client.get(f"/collections/paper/files/{path}").status == 404


@pytest.mark.parametrize("roots", [(), (FileRoot(address="."),), (FileRoot(address=".", path_prefix="raw"),)])
@pytest.mark.parametrize(
    "path", ["../other/locked.fits", "raw/../../other/locked.fits", "data/../README.md", "ABSOLUTE", "raw/ABSOLUTE"]
)
def test_a_row_leads_to_no_file_of_another_collection(site, path, roots):
    """Rows that another site sent may have any path."""
    home = site.settings.collections_directory / "paper"
    (home / "raw").mkdir()
    locked_file = home.parent / "other" / "locked.fits"
    locked_file.parent.mkdir()
    locked_file.write_bytes(BODY)
    file = home / "README.md" if path.endswith("README.md") else locked_file
    status = file.stat()
    row = {"path": path.replace("ABSOLUTE", str(file)), "home": str(home), "roots": roots, "release": None}
    row |= {"collection": "paper", "bytes": status.st_size, "modified": status.st_mtime}
    with pytest.raises(StorageUnavailableError, match="is missing at the moment") as raised:
        find_unchanged_file_path(site.settings, row)
    assert "must not have empty parts" in raised.value.remedy


def test_a_changed_file_is_not_served(site, client):
    (site.settings.collections_directory / "paper" / "README.md").write_text("# Another!!\n")
    answer = client.get("/collections/paper/files/README.md")
    assert (answer.status, "has changed since it was published" in answer.text) == (503, True)
    (site.settings.collections_directory / "paper" / "README.md").unlink()
    assert "is missing at the moment" in client.get("/collections/paper/files/README.md").text


def test_files_of_a_private_collection_are_private(site, client):
    home = site.settings.collections_directory / "paper" / "paper.yaml"
    home.write_text(PAPER + "access: private\n")
    site.refresh_published_state()
    assert client.get("/collections/paper/files/model.bin").status == 404
    assert client.get("/collections/paper/files").status == 404
    assert "paper.files" not in client.get("/tap/tables").text


def test_faults_have_their_place(tmp_path):
    text = "collection: paper\ntitle: x\nfiles:\n  - /etc/passwd\n  - {files: a.csv, titel: x}\n"
    with (
        open_site_with_uningested_files(tmp_path, text, {"a.csv": "x\n"}) as site,
        pytest.raises(DescriptorError) as caught,
    ):
        ingest_collection(site, "paper")
    told = [str(fault) for fault in caught.value.faults]
    assert any("paper.yaml:4:5: files: /etc/passwd is not in the descriptor's directory" in line for line in told)
    assert any("'titel' is not a valid key of files; did you mean 'title'?" in line for line in told)
    with (
        open_site_with_uningested_files(tmp_path / "two", PAPER.replace("README.md", "README.txt"), {}) as site,
        pytest.raises(Exception, match="no file") as error,
    ):
        ingest_collection(site, "paper")
    assert not isinstance(error.value, DataError)


def test_no_link_leads_outside_the_site(site, client, tmp_path_factory):
    """Neither one that is found at an ingest, nor one that takes the place of a published file; `roots` names where they may lead."""
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "secret.csv"
    elsewhere.write_text("x\n1\n")  # as long as the published one
    data = site.settings.collections_directory / "paper" / "data"
    stat = (data / "a.csv").stat()
    (data / "a.csv").unlink()
    (data / "a.csv").symlink_to(elsewhere)
    os.utime(elsewhere, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    answer = client.get("/collections/paper/files/data/a.csv")
    body = answer.body
    assert answer.status == 503
    assert b"points outside the site" in body
    assert str(elsewhere.parent).encode() not in body
    with pytest.raises(SourceError, match=r"a\.csv is a link to a file outside the collection; .* roots = "):
        ingest_collection(site, "paper")
    path = site.settings.collections_directory / "paper" / "paper.yaml"
    assert "is a link" in "\n".join(map(str, check_descriptor(path, site.settings)))
    allowed = replace(site.settings, roots=(str(elsewhere.parent),))
    assert "is a link" not in "\n".join(map(str, check_descriptor(path, allowed)))
    with Site(allowed) as opened:
        ingest_collection(opened, "paper")
        assert Client(create_and_start_application(opened)).get("/collections/paper/files/data/a.csv").body == b"x\n1\n"

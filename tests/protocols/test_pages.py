"""Pages for people: what they show, what they withstand, and the headers that guard them."""

from __future__ import annotations

import io
import json
import re
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from asgi_client import Client
from star_tables import STARS, build_rows

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.portal._pages.assets import find_hashed_asset_name
from hven.services.face import load_service_faces
from hven.site import Site
from hven.testing.site import open_site_with_uningested_files, open_tiny_site

HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)> \" onmouseover=\"alert(2) {{ 9973*9967 }} ${9973*9967} </style></title>"
DESCRIPTOR = f"""\
collection: hostile
title: {json.dumps(HOSTILE)}
description: {json.dumps(HOSTILE)}
subjects: [stars]
creators: [{{name: {json.dumps(HOSTILE)}}}]
licence: {json.dumps(HOSTILE)}
tables:
  main:
    description: {json.dumps(HOSTILE)}
    source: {{kind: csv, files: a.csv}}
    columns:
      a: {{type: int32, description: {json.dumps(HOSTILE)}}}
"""


class Page(HTMLParser):
    """The elements of a page and their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_site_with_uningested_files(
        tmp_path_factory.mktemp("hostile"), DESCRIPTOR, {"a.csv": "a\n1\n"}, title=HOSTILE, description=HOSTILE
    ) as site:
        ingest_collection(site, "hostile")
        site.refresh_published_state()
        yield site


@pytest.mark.parametrize("path", ["/", "/collections/hostile", "/collections/%3Cscript%3E"])
def test_text_of_descriptors_and_addresses_stays_text(hostile: Site, path: str) -> None:
    answer = Client(create_and_start_application(hostile)).get(path.replace("%3C", "<").replace("%3E", ">"))
    elements = Page(answer.text).elements
    scripts = [attributes.get("type") for tag, attributes in elements if tag == "script"]
    # no browser runs them
    data = {"application/json": 1, "application/ld+json": int(path in {"/", "/collections/hostile"})}
    assert {kind: scripts.count(kind) for kind in data} == data
    assert len(scripts) == sum(data.values()) + bool(find_hashed_asset_name("main.js", (None, None))), "only our own"
    assert "img" not in {tag for tag, _ in elements}
    assert not [name for _, attributes in elements for name in attributes if name.startswith("on")]
    assert "99400891" not in answer.text


@pytest.mark.parametrize("path", ["/", "/collections/hostile", "/collections/nothing"])
def test_nothing_runs_in_a_page_but_its_own(hostile: Site, path: str) -> None:
    answer = Client(create_and_start_application(hostile)).get(path)
    policy = answer.headers["content-security-policy"]
    elements = Page(answer.text).elements
    # what runs is a file of ours; the one script element in the page holds texts, and no browser runs JSON
    scripts = [attributes for tag, attributes in elements if tag == "script"]
    assert all(
        one.get("type") in {"application/json", "application/ld+json"}
        or str(one.get("src")).startswith("http://vo.example/assets/")
        for one in scripts
    )
    assert not [1 for tag, _ in elements if tag == "style"]
    assert "script-src 'self';" in policy
    assert "style-src 'self';" in policy
    for tag, attributes in elements:
        if tag == "link" and attributes["rel"] == "stylesheet":
            style = Client(create_and_start_application(hostile)).get(
                str(attributes["href"]).removeprefix("http://vo.example")
            )
            assert (style.status, style.headers["content-type"]) == (200, "text/css; charset=utf-8")
            assert "immutable" in style.headers["cache-control"]
    assert "default-src 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"]
    assert not [1 for _, attributes in Page(answer.text).elements if "style" in attributes], (
        "the policy refuses style attributes"
    )


def test_links_lead_to_web_addresses_alone(tmp_path: Path) -> None:
    text = DESCRIPTOR.replace(
        "subjects:", "licence_url: https://example.org/l\nreference_url: https://example.org/r\nsubjects:"
    )
    with open_site_with_uningested_files(tmp_path, text, {"a.csv": "a\n1\n"}) as site:
        ingest_collection(site, "hostile")
        found = [
            attributes["href"]
            for tag, attributes in Page(
                Client(create_and_start_application(site)).get("/collections/hostile").text
            ).elements
            if tag == "a"
        ]
    assert {"https://example.org/r", "https://example.org/l"} <= set(found)
    assert all(re.match(r"https?://|mailto:|#|\?", str(address)) for address in found)


def test_an_empty_site_says_how_to_begin(tmp_path: Path) -> None:
    with open_tiny_site(tmp_path, {}) as site:
        answer = Client(create_and_start_application(site)).get("/")
    assert answer.status == 200
    assert "hven new" in answer.text


def test_unknown_pages_are_404_with_the_requests_id(hostile: Site) -> None:
    answer = Client(create_and_start_application(hostile)).get("/collections/nothing")
    assert answer.status == 404
    assert answer.headers["x-request-id"] in answer.text
    assert answer.headers["content-type"].startswith("text/html")


def test_a_page_is_not_sent_twice(hostile: Site) -> None:
    client = Client(create_and_start_application(hostile))
    tag = client.get("/").headers["etag"]
    assert client.ask("GET", "/", headers={"if-none-match": tag}).status == 304
    assert client.ask("GET", "/", headers={"if-none-match": tag, "host": "other.example"}).status == 200, (
        "its links are others"
    )


def test_head_has_the_length_of_the_page(hostile: Site) -> None:
    client = Client(create_and_start_application(hostile))
    answer = client.ask("HEAD", "/")
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["content-length"]) == len(client.get("/").body)


def test_robots_read_pages_and_leave_data(client: Client) -> None:
    assert client.get("/robots.txt").text.splitlines()[1:] == [
        "Allow: /*?lang=",
        "Disallow: /*?",
        "Disallow: /tap/sync",
        "Disallow: /tap/async",
        "Disallow: /jobs",
        "Disallow: /cone/",
        "Sitemap: http://vo.example/sitemap.xml",
    ]


def test_search_engines_index_pages_and_no_searches(client: Client) -> None:
    assert "x-robots-tag" not in client.get("/").headers
    assert "x-robots-tag" not in client.get("/", lang="fr").headers
    assert client.get("/", q="stars").headers["x-robots-tag"] == "noindex, nofollow"
    assert "?" not in client.get("/sitemap.xml").text.partition("?>")[2]


def test_health_tells_how_many_problems_and_not_which(tmp_path: Path) -> None:
    text = DESCRIPTOR.replace("collection: hostile", "collection: covert").replace(
        "subjects:", "access: private\nsubjects:"
    )
    with open_site_with_uningested_files(
        tmp_path, text.replace("type: int32", "type: nonsense"), {"a.csv": "a\n1\n"}
    ) as site:
        body = Client(create_and_start_application(site)).get("/health").text
    assert json.loads(body)["status"] == "degraded"
    assert json.loads(body)["problems"] == 1
    assert "covert" not in body


@pytest.mark.parametrize("name", ["odd\"na'me", "plain", "with space"])
def test_lines_to_copy_survive_the_shell(tmp_path: Path, name: str) -> None:
    table = STARS.copy_with(schema="odd", name=name)
    with open_tiny_site(tmp_path, {f"odd.{name}": (table, build_rows(5))}) as site:
        published = next(iter(site.get_published_state().tables_by_name.values()))
        for way in load_service_faces()["tap"].list_usage_examples(published, "http://h"):
            if way.language == "shell":
                words = subprocess.run(
                    [
                        "/bin/sh",
                        "-c",
                        "for word in " + way.example.partition(" ")[2] + "; do printf '%s\\n' \"$word\"; done",
                    ],
                    capture_output=True,
                    text=True,
                    check=True,
                ).stdout
                quoted = '"' + name.replace('"', '""') + '"' if name != "plain" else name
                assert f"FROM odd.{quoted}" in words


def test_wide_tables_have_all_their_columns(tmp_path: Path) -> None:
    columns = "\n".join(f"      c{n}: {{type: float64}}" for n in range(250))
    text = f"collection: wide\ntitle: Wide\nsubjects: [x]\ntables:\n  main:\n    source: {{kind: parquet, files: w.parquet}}\n    columns:\n{columns}\n"
    file = io.BytesIO()
    pq.write_table(pa.table({f"c{n}": [1.0] for n in range(250)}), file)
    with open_site_with_uningested_files(tmp_path, text, {"w.parquet": file.getvalue()}) as site:
        ingest_collection(site, "wide")
        assert (
            Client(create_and_start_application(site)).get("/collections/wide/columns").text.count(' data-histogram="c')
            == 250
        )

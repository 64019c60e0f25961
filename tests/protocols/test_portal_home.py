"""The first page, search, news, help, portals: what they show, to whom, and what they withstand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from asgi_client import Client
from lxml import etree
from portal_site import build_site

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model.settings import load_settings
from hven.portal._pages.brand import DAY_BACKGROUND, NIGHT_BACKGROUND, adapt_colour_for_contrast, compute_contrast
from hven.site import Site
from hven.site.auth._access_control import Principal
from hven.testing.policies import build_odd_rows_hidden_policies
from plugin_needs import list_statistics_pages, list_word_pages
from process_runner import wait_until

ATOM = "{http://www.w3.org/2005/Atom}"


class Parts(HTMLParser):
    """Elements with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with build_site(tmp_path_factory.mktemp("portal")) as site:
        yield site


@pytest.fixture(scope="module")
def reader(portal: Site) -> Client:
    return Client(create_and_start_application(portal))


def data(client: Client, path: str, **headers: str) -> dict:
    return json.loads(client.ask("GET", path, headers={"accept": "application/json", **headers}).body)


def flat(branches: list, above: tuple = ()) -> dict[tuple, tuple[int | None, str | None]]:
    found = {}
    for one in branches:
        path = (*above, one["name"])
        found[path] = (one["rows"], one["url"])
        found |= flat(one["branches"], path)
    return found


def test_the_tree_counts_rows_at_each_level(reader: Client) -> None:
    made = data(reader, "/tree")
    found = flat(made["branches"])
    assert made["rows"] == 403
    title = "Images of the Sun"
    assert {path: rows for path, (rows, _) in found.items()} == {
        ("SDO",): 100, ("SDO", "AIA"): 50, ("SDO", "AIA", title): 50, ("SDO", "HMI"): 50, ("SDO", "HMI", title): 50,
        ("SOHO",): 299, ("SOHO", "EIT"): 299, ("SOHO", "EIT", title): 299,
        ("Uraniborg",): 3, ("Uraniborg", "Étoiles fixes"): 3,
        (None,): 1, (None, "EIT"): 1, (None, "EIT", title): 1,
    }  # fmt: skip


def test_each_branch_of_the_tree_links_to_exactly_its_rows(reader: Client) -> None:
    every = flat(data(reader, "/tree")["branches"]).values()
    assert all(url for _, url in every)
    ends = [(rows, url) for rows, url in every if "/collections/" in (url or "") and "/main" in (url or "")]
    assert len(ends) >= 11
    for rows, url in ends:
        path, _, query = (url or "").removeprefix("http://vo.example").partition("?")
        assert data(reader, f"{path}/count?{query}")["total"] == rows


def test_the_tree_has_no_level_in_which_no_row_has_a_value(tmp_path: Path) -> None:
    (tmp_path / "hven.toml").write_text('title = "T"\n[tree]\nlevels = ["mission", "instrument", "mode"]\n')
    place = tmp_path / "collections" / "mixed"
    place.mkdir(parents=True)
    columns = "".join(f"      {one}: {{type: string}}\n" for one in ("mission", "instrument", "mode"))
    tables = "".join(
        f"  {name}:\n    title: {name.title()}\n    source: {{kind: csv, file: {name}.csv}}\n    columns:\n{columns}"
        for name in ("orbits", "images")
    )
    (place / "mixed.yaml").write_text(f"collection: mixed\ntitle: Mixed\ntables:\n{tables}")
    orbits = ["A,,night", "A,,night", "A,,day"]
    images = ["B,cam,", "B,cam,", "B,,", ",,"]
    for name, rows in (("orbits", orbits), ("images", images)):
        (place / f"{name}.csv").write_text("\n".join(["mission,instrument,mode", *rows, ""]))
    with Site(load_settings(tmp_path, {})) as site:
        ingest_collection(site, "mixed")
        client = Client(create_and_start_application(site))
        branches = data(client, "/tree")["branches"]
        found = flat(branches)
        assert {path: rows for path, (rows, _) in found.items()} == {
            ("A",): 3, ("A", "night"): 2, ("A", "day"): 1, ("B",): 3, ("B", "cam"): 2, ("B", None): 1,
            ("B", None, "Images"): 1, (None,): 1, (None, "Images"): 1,
        }  # fmt: skip
        assert [one["name"] for one in branches] == ["A", "B", None]
        for rows, url in found.values():
            path, _, query = (url or "").removeprefix("http://vo.example").partition("?")
            assert data(client, f"{path}/count?{query}")["total"] == rows, url
        page = client.ask("GET", "/", headers={"accept": "text/html"}).text
        assert page.count("<i>not stated</i>") == 2
        assert "no value" not in page


def test_cards_are_ordered_and_show_picture_years_and_target(tmp_path: Path) -> None:
    """Cards come by index, then size; they have a picture that pages may show, years and the one target; files and other spellings are not counted apart."""
    head = "collection: {name}\ntitle: {name}\n{more}tables:\n  main:\n    primary: [id]\n    source: {{kind: csv, files: a.csv}}\n    columns:\n"
    columns = "".join(
        f"      {one}\n"
        for one in (
            "id: {type: int32, ucd: meta.id;meta.main}", "mission: {type: string}", "target_name: {type: string}", "seen: {type: timestamp, ucd: time.start}",
            "thumb: {type: string, ucd: meta.preview}", "obs_id: {type: string}", "access_url: {type: string, ucd: meta.ref.url;meta.file}",
        )
    )  # fmt: skip
    shots = [
        "https://far.example/x.png",
        "javascript:alert(1)",
        "",
        *(f"https://near.example/{at}.png" for at in range(5)),
    ]
    kinds = {"small": (8, ""), "large": (16, ""), "chosen": (8, "index: 1\n")}
    (tmp_path / "hven.toml").write_text(
        'title = "T"\norigins = ["https://near.example"]\n[tree]\nlevels = ["mission"]\n'
    )
    for name, (number, more) in kinds.items():
        place = tmp_path / "collections" / name
        place.mkdir(parents=True)
        (place / f"{name}.yaml").write_text(head.format(name=name, more=more) + columns)
        rows = [
            f"{at},{'SDO' if at // 2 % 2 else 'sdo'},Mars,{2004 + at // 2 % 3}-02-03T00:00:00,{shots[at % 8]},o{at // 2},https://files.example/{at}"
            for at in range(number)
        ]
        (place / "a.csv").write_text("\n".join(["id,mission,target_name,seen,thumb,obs_id,access_url", *rows]))
    with Site(load_settings(tmp_path, {})) as site:
        for name in kinds:
            ingest_collection(site, name)
        site.refresh_published_state()
        client = Client(create_and_start_application(site))
        page = client.ask("GET", "/", headers={"accept": "text/html"}).text
        assert re.findall(r'<li id="(\w+)">', page) == ["chosen", "large", "small"]
        assert page.count("Mars &middot; 2004\u20132006") == 3
        strip = page.partition('class="shots"')[2].partition("</ul>")[0]
        assert re.findall(r'src="([^"]+)"', strip) == [
            f"https://near.example/{at}.png" for at in (0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3)
        ]
        assert "far.example" not in page
        assert "javascript:" not in page
        (branch,) = data(client, "/tree")["branches"]  # sdo is SDO
        search_addresses = [f"http://vo.example{address}" for address in list_word_pages("SDO")]
        assert (branch["rows"], branch["url"]) == (16, "".join(search_addresses))
        (leaf, *_) = branch["branches"]
        path, _, query = leaf["url"].removeprefix("http://vo.example").partition("?")
        assert data(client, f"{path}/count?{query}")["total"] == leaf["rows"]


def test_private_tables_are_nowhere(reader: Client) -> None:
    for path in (
        "/",
        "/tree",
        *list_word_pages("letters"),
        *list_word_pages("zweihaender"),
        "/collections/images",
        *list_statistics_pages("images"),
        "/sunny/",
    ):
        text = reader.get(path.partition("?")[0], **({"q": path.partition("=")[2]} if "?" in path else {})).text
        assert "etters about" not in text, path
        assert "secret" not in text


def test_hidden_rows_are_never_counted(portal: Site) -> None:
    half = Client(create_and_start_application(portal, policies=build_odd_rows_hidden_policies("id")))
    assert data(half, "/tree")["rows"] == 203
    assert flat(data(half, "/tree")["branches"])[("SDO",)][0] == 100, "its numbers are even"
    assert flat(data(half, "/tree")["branches"])[("SOHO",)][0] == 100
    assert not re.search(r"\b399\b", half.get("/collections/images").text), (
        "the largest number is hidden"
    )  # a snapshot's name may have such digits
    for path in list_statistics_pages("images"):
        told = data(half, path)
        assert told["rows"] == 200
        assert told["tables"][0]["modified"] is None, "of a row that is hidden, perhaps"
        assert sum(one["rows"] for one in told["tables"][0]["periods"]) == 200
    home = half.get("/").text
    assert "203</b>" in home
    assert not re.search(r"\b403\b", home)


def test_what_is_new_is_counted_anew(portal: Site, tmp_path) -> None:
    import pyarrow as pa

    from hven.testing.site import build_table_from_arrow, open_tiny_site, publish_rows

    del portal
    descriptor = tmp_path / "collections/a/a.yaml"
    descriptor.parent.mkdir(parents=True)
    descriptor.write_text("collection: a\ntitle: A\ntables:\n  t: {source: {kind: csv, files: x.csv}}\n")
    (descriptor.parent / "x.csv").write_text("instrument\nx\n")
    with open_tiny_site(tmp_path, {"a.t": pa.table({"instrument": ["x", "x", "y"]})}) as site:
        client = Client(create_and_start_application(site))
        assert flat(data(client, "/tree")["branches"]) | {} != {}
        assert data(client, "/tree")["rows"] == 3
        first = client.get("/").headers["etag"]
        rows = pa.table({"instrument": ["x", "z", "z", "z"]})
        publish_rows(site, build_table_from_arrow("a.t", rows), rows)
        site.refresh_published_state()
        assert data(client, "/tree")["rows"] == 4
        assert {path[0] for path in flat(data(client, "/tree")["branches"])} == {"x", "z"}
        assert client.get("/").headers["etag"] != first


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/news",
        "/news/2026-11-20-new-plates",
        "/help",
        "/help/how",
        "/help/images/index",
        "/collections/images",
        *list_statistics_pages("images"),
        "/sunny/",
    ],
)
def test_hostile_texts_stay_texts(reader: Client, path: str) -> None:
    answer = reader.get(path)
    assert answer.status == 200
    elements = Parts(answer.text).elements
    assert not [
        attributes
        for tag, attributes in elements
        if tag == "script"
        and "src" not in attributes
        and attributes.get("type") not in {"application/json", "application/ld+json"}
    ]
    assert not [1 for _, attributes in elements for name in attributes if name.startswith("on") or name == "style"]
    images = [attributes for tag, attributes in elements if tag == "img"]
    assert all(str(one["src"]).startswith("http://vo.example") for one in images)
    assert not [1 for tag, attributes in elements if tag == "a" and "javascript" in str(attributes.get("href"))]


def test_markdown_is_shown(reader: Client) -> None:
    page = reader.get("/help/images/index").text
    assert "<em>closely</em>" in page
    assert 'src="http://vo.example/help/images/plate.png"' in page
    assert 'href="http://vo.example/help/images/more"' in page
    assert '<td class="n">2</td>' in page
    picture = reader.get("/help/images/plate.png")
    assert (picture.status, picture.headers["content-type"]) == (200, "image/png")
    assert reader.get("/help/images/../../../hven.toml").status == 404
    assert reader.get("/help/images/none.png").status == 404
    assert reader.get("/help/nothing/index").status == 404
    assert "Welcome" in reader.get("/").text
    assert "Bienvenue" in reader.ask("GET", "/", headers={"accept-language": "fr"}).text
    assert "How we observe" in reader.get("/help").text


def test_news_are_listed_by_day(reader: Client) -> None:
    found = data(reader, "/news")["news"]
    assert [one["day"] for one in found] == ["2026-11-20", "2025-01-02", "2024-05-06"], (
        "no drafts, no impossible days, nothing from outside"
    )
    assert data(reader, "/news", **{"accept-language": "fr"})["news"][0]["title"] == "Nouvelles plaques"
    assert reader.get("/news/draft").status == 404
    assert "<strong>sharp</strong>" in reader.get("/news/2026-11-20-new-plates").text
    page = reader.get("/news").text
    assert '<a href="/collections/stars">plates</a>' in page, "the list has the links of their beginnings"
    assert 'href="javascript' not in page
    assert "A second paragraph" not in page
    assert "<script>alert" not in page


def test_feeds_are_xml_that_readers_take(reader: Client) -> None:
    atom = reader.get("/news.atom")
    assert atom.headers["content-type"].startswith("application/atom+xml")
    root = etree.fromstring(atom.body)
    entries = root.findall(f"{ATOM}entry")
    assert len(entries) == 3
    for one in (root, *entries):
        for name in ("id", "title", "updated"):
            assert one.findtext(f"{ATOM}{name}"), name
    assert len({one.findtext(f"{ATOM}id") for one in entries}) == 3
    assert "<script>" in str(entries[0].findtext(f"{ATOM}title")), "as text"
    content = str(entries[0].findtext(f"{ATOM}content"))
    assert "<strong>sharp</strong>" in content
    assert "<script>" not in content
    rss = etree.fromstring(reader.get("/news.rss").body)
    items = rss.findall("channel/item")
    assert [item.findtext("pubDate") for item in items] == [
        "Fri, 20 Nov 2026 12:00:00 GMT",
        "Thu, 02 Jan 2025 12:00:00 GMT",
        "Mon, 06 May 2024 12:00:00 GMT",
    ]
    assert all(item.findtext("guid") == item.findtext("link") for item in items)
    for told in (
        " ".join(item.findtext("description") or "" for item in items),
        " ".join(entry.findtext(f"{ATOM}content") or "" for entry in entries),
    ):
        leads = re.findall(r'(?:href|src)="([^"]*)"', told)
        assert any(one.endswith("/collections/stars") for one in leads)
        assert [one for one in leads if not one.startswith(("http://", "https://"))] == [], "feeds stand elsewhere"
    tag = atom.headers["etag"]
    assert reader.ask("GET", "/news.atom", headers={"if-none-match": tag}).status == 304


def test_new_files_are_seen_without_a_restart(portal: Site, reader: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from hven.portal._views import notes

    monkeypatch.setattr(notes, "MIN_CHECK_INTERVAL_SECONDS", 0.0)
    before = reader.get("/").headers["etag"]
    file = portal.settings.directory / "news" / "2026-11-21-later.md"
    file.write_text("# Later still\n")
    try:
        assert "Later still" in reader.get("/").text
        assert reader.get("/").headers["etag"] != before
        assert data(reader, "/news")["news"][0]["title"] == "Later still"
    finally:
        file.unlink()


def test_a_portal_shows_its_own_collections(reader: Client) -> None:
    home = reader.get("/sunny/").text
    assert "Only the <strong>Sun</strong>" in home
    assert "Sunny side" in home
    assert "Étoiles" not in home
    assert "http://vo.example/sunny/collections/images" in home
    assert reader.get("/sunny/collections/images").status == 200
    assert reader.get("/sunny/collections/stars").status == 404
    assert reader.get("/collections/stars").status == 200
    assert [one["name"] for one in data(reader, "/sunny/tree")["branches"]] == ["EIT", "AIA", "HMI"]
    assert data(reader, "/sunny/news")["news"][0]["title"] == "The Sun shines"


def test_site_tap_serves_all_tables_and_portal_tap_only_its_own(reader: Client) -> None:
    asked = {"LANG": "ADQL", "QUERY": "SELECT COUNT(*) AS n FROM stars.main", "RESPONSEFORMAT": "csv"}
    assert reader.get("/tap/sync", **asked).text.split() == ["n", "3"]
    assert reader.get("/sunny/tap/sync", **asked).status == 400
    assert "http://vo.example/sunny/tap" in reader.get("/sunny/collections/images").text


def test_a_portal_by_its_host(reader: Client) -> None:
    answer = reader.ask("GET", "/", headers={"host": "stars.example"})
    assert '<html lang="fr" data-base="http://stars.example"' in answer.text
    assert "Étoiles fixes" in answer.text
    assert "Images of the Sun" not in answer.text
    assert '<html lang="en"' in reader.ask("GET", "/", headers={"host": "stars.example", "accept-language": "en"}).text


def test_cards_show_their_row_count_at_the_bottom(reader: Client) -> None:
    page = reader.get("/").text
    cards = re.findall(r'<li id="\w+">(.*?)</li>', page, re.DOTALL)
    assert cards
    for card in cards:
        assert card.index('class="head"') < card.index("<h3>") < card.index('class="foot"') < card.index("</b> rows")


def test_each_portal_has_its_colours(reader: Client) -> None:
    for path, wanted in (("/", adapt_colour_for_contrast("#ffe000", DAY_BACKGROUND)), ("/sunny/", "#102030")):
        sheet = next(
            str(attributes["href"])
            for tag, attributes in Parts(reader.get(path).text).elements
            if tag == "link" and "brand-" in str(attributes.get("href"))
        )
        answer = reader.get(sheet.removeprefix("http://vo.example"))
        assert answer.status == 200
        assert f"--accent: {wanted}" in answer.text


@pytest.mark.parametrize("colour", ["#ffe000", "#102030", "#ffffff", "#000000", "#808080", "#0b5cad"])
def test_colours_can_be_read_on_paper(colour: str) -> None:
    for paper in (DAY_BACKGROUND, NIGHT_BACKGROUND):
        found = adapt_colour_for_contrast(colour, paper)
        assert compute_contrast(tuple(int(found[place : place + 2], 16) for place in (1, 3, 5)), paper) >= 4.5


def test_the_logo_is_a_picture_in_which_nothing_runs(reader: Client) -> None:
    answer = reader.get("/logo")
    assert answer.headers["content-type"] == "image/svg+xml"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "sandbox" in answer.headers["content-security-policy"]


def test_what_readers_switch_is_kept(reader: Client) -> None:
    answer = reader.get("/collections/images", lang="fr", _theme="dark")
    assert '<html lang="fr"' in answer.text
    assert 'data-theme="dark"' in answer.text
    assert "hven_language=fr" in answer.headers["set-cookie"] or "hven_theme=dark" in answer.headers["set-cookie"]
    assert "private" in answer.headers["cache-control"]
    assert "set-cookie" not in reader.get("/collections/images", lang="xx", _theme="<b>").headers
    assert "set-cookie" not in reader.get("/tree", lang="fr").headers, "data set no cookies"
    kept = reader.get("/collections/images/main", exposure="1..2", lang="fr").text
    assert 'href="?lang=en&amp;exposure=1..2"' in kept


def test_the_head_says_who_is_logged_in(portal: Site) -> None:
    named = Client(
        create_and_start_application(portal, identify_principal=lambda request: Principal(name="Sophie <b>"))
    )
    assert "Sophie &lt;b&gt;" in named.get("/").text
    assert "Sophie" not in Client(create_and_start_application(portal)).get("/").text


def test_a_thumbnail_is_on_the_card(portal: Site, reader: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from hven.portal._views import notes

    monkeypatch.setattr(notes, "MIN_CHECK_INTERVAL_SECONDS", 0.0)
    file = portal.settings.directory / "collections/images/help/thumbnail.png"
    file.write_bytes(b"\x89PNG\r\n\x1a\n")
    try:
        assert 'src="http://vo.example/help/images/thumbnail.png"' in reader.get("/").text
        assert reader.get("/help/images/thumbnail.png").headers["content-type"] == "image/png"
    finally:
        file.unlink()
    assert "thumbnail.png" not in reader.get("/").text


def test_the_tree_is_counted_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hven.portal._explore import count_trees as trees

    counted: list[tuple[Site, str]] = []  # other sites of this process may just be counted, too
    real = trees._count_rows_by_levels

    def count(table: Any, asking: Any, *rest: Any) -> Any:
        found = real(table, asking, *rest)
        counted.append((asking.site, table.qualified_name))
        return found

    monkeypatch.setattr(trees, "_count_rows_by_levels", count)
    directory = tmp_path / "site"
    directory.mkdir()
    build_site(directory).close()
    with Site(load_settings(directory, {}), watch_for_changes=True) as site:
        client = Client(create_and_start_application(site))

        def names() -> list[str]:
            return sorted(name for one, name in counted if one is site)

        # each portal has levels of its own, and a tree for them
        wait_until(lambda: len(names()) == 4)
        for path in ("/tree", "/sunny/tree"):
            assert data(client, path)["rows"]
        assert names() == ["images.main"] * 2 + ["stars.main"] * 2, "nobody waits for it"


def test_a_sitemap_lists_only_public_pages(reader: Client) -> None:
    answer = reader.get("/sitemap.xml")
    found = etree.fromstring(answer.body).findall("{*}url")
    pages = [one.findtext("{*}loc") or "" for one in found]
    assert answer.headers["content-type"].startswith("application/xml")
    assert {
        f"http://vo.example{path}"
        for path in (
            "/",
            "/collections/images",
            "/collections/images/main",
            "/collections/stars/columns",
            "/help/how",
            "/news/2025-01-02",
        )
    } <= set(pages)
    assert not any("letters" in page for page in pages)
    assert len(pages) == len(set(pages))
    for page in pages:
        assert (
            reader.ask("GET", page.removeprefix("http://vo.example"), headers={"accept": "text/html"}).status == 200
        ), page
    sunny = reader.get("/sunny/sitemap.xml").text
    assert "/sunny/collections/images" in sunny
    assert "stars" not in sunny
    assert "Sitemap: http://vo.example/sitemap.xml" in reader.get("/robots.txt").text


def test_parts_of_a_collection_have_pages_of_their_own(reader: Client) -> None:
    page = reader.ask("GET", "/collections/images", headers={"accept": "text/html"}).text
    assert page.index("doi.org/10.1234/uraniborg") < page.index("First rows")
    for part in ("columns", "downloads"):
        assert f'href="http://vo.example/collections/images/{part}"' in page
    words = reader.ask("GET", "/collections/images/columns", headers={"accept": "text/html"}).text
    assert "Exposure time" in words
    assert "zweihaender" not in words
    told = data(reader, "/collections/images/downloads")
    assert [one["rows"] for one in told["tables"]] == [400]
    for one in told["tables"][0]["formats"]:
        assert reader.get(one["url"].removeprefix("http://vo.example")).status == 200, one
    assert reader.get("/collections/nothing/columns").status == 404

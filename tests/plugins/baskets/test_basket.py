"""The basket: kept by cookie and by account, shared by an address, taken as one archive; whose rows are gone, hidden, or far too many."""

from __future__ import annotations

import hashlib
import html
import io
import json
import os
import re
import subprocess
import zipfile
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import portal_site
import pytest
from asgi_client import Answer, Client
from typer.testing import CliRunner

from hven.app._cli.verbs import build_typer_app
from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.jobs._worker import run_next_job
from hven.jobs.job_service import JobRequester, JobService, get_job_directory
from hven.model import settings
from hven.model.errors import NotFoundError, ParamError, StorageError
from hven.model.params import collect_params
from hven.plugins.baskets import basket_contents, basket_store
from hven.plugins.baskets.basket_contents import Basket, BasketTablePart
from hven.plugins.baskets.basket_store import BasketStore, parse_basket_cookie
from hven.services import scripts
from hven.services.file_archives import load_file_archivers
from hven.site import Site
from hven.site.auth import Principal
from plugin_needs import require_plugins, require_query_editor, require_verb

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAPS = """\
collection: maps
title: Maps of clusters
creators: [{name: "Brahe, S."}]
citation: Brahe et al. 2024
files: ["maps/*"]
tables:
  main:
    title: Maps
    source: {kind: csv, file: maps.csv}
    primary: obs_id
    columns: {obs_id: {type: string, ucd: meta.id;meta.main, rank: 1}, flux: {type: float64, rank: 1}, access_url: {type: string, ucd: meta.ref.url, rank: 1}}
    text: {access_url: "{site.url}/collections/maps/files/maps/{obs_id}"}
"""
NIGHT = """\
collection: night
title: Observations at night
citation: Kepler 1609
tables:
  main:
    title: Nights
    source: {kind: csv, file: rows.csv}
    primary: [day, id]
    columns: {day: {type: string, rank: 1}, id: {type: int64, rank: 1}, pi: {type: string, rank: 1}, access_url: {type: string, ucd: meta.ref.url, rank: 1}}
    access: reader in (pi)
"""
SECRET = """\
collection: secret
title: Nobody knows
tables:
  main:
    access: private
    source: {kind: csv, file: rows.csv}
    primary: id
    columns: {id: int32}
"""
BIG = 2**60 + 1  # no number of a browser
FORM = {"content-type": "application/x-www-form-urlencoded", "accept": "text/html"}
ALL = {"maps/main": ["a.fits", "b.fits"], "night/main": [("d", 1), ("d", BIG)], "secret/main": [7]}


def text(rows: dict[str, list[Any]], **searches: str) -> str:
    """Write a basket as browsers do."""
    parts = [
        {"of": of, "lines": [[json.dumps(list(key) if isinstance(key, tuple) else [key], separators=(",", ":"))] for key in keys], "searches": []}
        for of, keys in rows.items()
    ]  # fmt: skip
    parts += [{"of": of.replace("_", "/"), "lines": [], "searches": [one]} for of, one in searches.items()]
    return json.dumps({"parts": parts})


class Reader:
    """A browser: its cookie, or its token."""

    def __init__(self, client: Client, token: str = "") -> None:
        self.client, self.token, self.cookie = client, token, ""

    def headers(self) -> dict[str, str]:
        held = {"cookie": self.cookie} if self.cookie else {}
        return {**FORM, **held, **({"authorization": f"Bearer {self.token}"} if self.token else {})}

    def get(self, path: str, **more: str) -> Answer:
        return self.client.ask("GET", path, headers={**self.headers(), **more})

    def twin(self, path: str = "/basket") -> Any:
        return json.loads(self.get(path, accept="application/json").body)

    def post(self, **given: object) -> Answer:
        more = {"accept": str(given.pop("accept"))} if "accept" in given else {}
        answer = self.client.ask(
            "POST", "/basket", body=urlencode(given, doseq=True).encode(), headers={**self.headers(), **more}
        )
        if "set-cookie" in answer.headers:
            self.cookie = answer.headers["set-cookie"].partition(";")[0]
        return answer


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, dict[str, str], Site]]:
    directory = tmp_path_factory.mktemp("baskets")
    files = {
        "maps": {"maps.yaml": MAPS, "maps.csv": "obs_id,flux\na.fits,1\nb.fits,2\nc.fits,3\n"},
        "night": {
            "night.yaml": NIGHT,
            "rows.csv": f"day,id,pi,access_url\nd,1,anna,https://x.example/1.fits\nd,{BIG},bert,https://x.example/2.fits\n",
        },
        "secret": {"secret.yaml": SECRET, "rows.csv": "id\n7\n"},
    }
    for name, written in files.items():
        (directory / "collections" / name / "maps").mkdir(parents=True)
        for path, said in written.items():
            (directory / "collections" / name / path).write_text(said)
    for name in "abc":
        (directory / f"collections/maps/maps/{name}.fits").write_bytes(name.encode() * 500)
    (directory / "hven.toml").write_text('name = "baskets"\ntitle = "Baskets"\n')
    with Site(settings.load_settings(directory)) as site:
        for name in files:
            ingest_collection(site, name)
        tokens = {name: site.store.users.add_account(name) for name in ("anna", "bert")}
        yield Client(create_and_start_application(site)), tokens, site


@pytest.fixture
def somebody(place: tuple[Client, dict[str, str], Site]) -> Reader:
    return Reader(place[0])


@pytest.fixture
def anna(place: tuple[Client, dict[str, str], Site]) -> Iterator[Reader]:
    yield Reader(place[0], place[1]["anna"])
    Reader(place[0], place[1]["anna"]).post(EMPTY="1")


def test_a_form_without_scripts_puts_rows_in_and_takes_them_out(somebody: Reader) -> None:
    page = somebody.get("/collections/maps/main").text
    keys = re.findall(r'name="KEY" value="([^"]*)"', page)
    assert len(keys) == 3
    of = re.search(r'name="OF" value="([^"]*)"', page)
    assert of
    sent = somebody.post(OF=of[1], KEY=[one.replace("&#34;", '"') for one in keys[:2]])
    assert (sent.status, sent.headers["location"]) == (303, "http://vo.example/basket")
    shown = somebody.get("/basket")
    assert shown.headers["cache-control"] == "private, no-store"
    assert "Basket <b>2</b>" in shown.text
    assert ("a.fits" in shown.text, "b.fits" in shown.text, "c.fits" in shown.text) == (True, True, False)
    assert "Brahe et al. 2024" in shown.text
    assert "Basket <b>2</b>" in somebody.get("/").text
    somebody.post(OF=of[1], KEY='["a.fits"]', DROP="1")
    assert [one["keys"] for one in somebody.twin()["parts"]] == [1]
    somebody.post(EMPTY="1")
    assert somebody.twin()["entries"] == 0
    assert "This basket is empty" in somebody.get("/basket").text


def test_the_head_and_the_page_count_the_same_entries(somebody: Reader) -> None:
    somebody.post(OF="maps/main", SEARCH="flux=..2")
    somebody.post(OF="maps/main", KEY='["c.fits"]')
    page = somebody.get("/basket").text
    assert "Basket <b>2</b>" in page
    assert 'title="2 entries in the basket"' in page
    assert "<b>2</b> entries: <b>3</b> rows" in " ".join(page.split())


def test_a_search_is_put_in_as_what_it_asks(somebody: Reader) -> None:
    somebody.post(OF="maps/main", SEARCH="flux=2..&_sort=flux")
    somebody.post(OF="maps/main", KEY='["c.fits"]')
    (part,) = somebody.twin()["parts"]
    assert (part["rows"], part["keys"], part["searches"][0]["rows"]) == (2, 1, 2)
    rows = somebody.get(f"/basket/table?{urlencode({'_of': 'maps/main', '_as': 'csv'})}").text.splitlines()
    assert sorted(one.partition(",")[0] for one in rows[1:]) == ["b.fits", "c.fits"]
    somebody.post(OF="maps/main", SEARCH="flux=2..&_sort=flux", DROP="1")
    assert somebody.twin()["parts"][0]["rows"] == 1


def test_a_search_that_is_not_understood_any_more_finds_nothing_instead_of_all(somebody: Reader) -> None:
    somebody.post(SET=text({"maps/main": ["a.fits"]}, maps_main="colour=red"))
    (part,) = somebody.twin()["parts"]
    assert part["rows"] == 1
    assert part["searches"][0]["faults"][0]["field"] == "colour"
    for way in ("table?_of=maps/main", *(f"files?_as={kind}" for kind in ("links", *load_file_archivers()))):
        refused = somebody.get(f"/basket/{way}")
        assert refused.status == 400
        assert "colour" in refused.text


def test_one_archive_has_files_of_all_collections_and_their_citations(anna: Reader) -> None:
    require_plugins("protocols", "archive")
    anna.post(SET=text({"maps/main": ["a.fits", "b.fits"], "night/main": [("d", 1)]}))
    with zipfile.ZipFile(io.BytesIO(anna.get("/basket/files?_as=zip").body)) as packed:
        names = packed.namelist()
        assert [name for name in names if "/files/" in name] == [f"basket/files/maps/maps/{one}.fits" for one in "ab"]
        assert packed.read("basket/files/maps/maps/a.fits") == b"a" * 500
        assert "Cite: Brahe et al. 2024" in packed.read("basket/README.txt").decode()
        manifest = packed.read("basket/MANIFEST.csv").decode()
    assert "elsewhere,https://x.example/1.fits" in manifest
    cite = anna.get("/basket/cite.bib").text
    assert [cite.count(one) for one in ("@misc{", "Brahe et al. 2024", "Kepler 1609")] == [2, 1, 1]


def test_download_scripts_cover_all_collections(anna: Reader, tmp_path: Path) -> None:
    anna.post(SET=text({"maps/main": ["a.fits", "b.fits"], "night/main": [("d", 1)]}))
    found = anna.get("/basket/files?_as=links").text.splitlines()
    assert [one.rpartition("/")[2] for one in found] == ["a.fits", "b.fits", "1.fits"]
    script = anna.get("/basket/files?_as=curl")
    (tmp_path / "get.sh").write_bytes(script.body)
    subprocess.run(["sh", "-n", tmp_path / "get.sh"], check=True)
    assert script.text.count("\nget http") == 3
    assert anna.get("/basket/files?_as=exe").status == 400


def test_keys_are_uploaded_to_tap(anna: Reader) -> None:
    anna.post(SET=text({"night/main": [("d", 1)], "maps/main": ["b.fits"]}))
    page = html.unescape(anna.get("/basket").text)
    queries = re.findall(r"<code>(SELECT t\.\* FROM .*?)</code>", page)
    assert len(queries) == 2
    for of, query, wanted in zip(("night/main", "maps/main"), queries, ("anna", "b.fits"), strict=True):
        keys = anna.get(f"/basket/table?{urlencode({'_of': of, '_as': 'votable', '_keys': '1'})}").body
        mark = "----part"
        fields = {"LANG": "ADQL", "RESPONSEFORMAT": "csv", "QUERY": query, "UPLOAD": "basket,param:keys"}
        body = b"".join(f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode() for name, value in fields.items())  # fmt: skip
        body += f'--{mark}\r\nContent-Disposition: form-data; name="keys"; filename="k"\r\n\r\n'.encode() + keys
        body += f"\r\n--{mark}--\r\n".encode()
        headers = {**anna.headers(), "content-type": f"multipart/form-data; boundary={mark}"}
        answer = anna.client.ask("POST", "/tap/sync", body=body, headers=headers)
        assert answer.status == 200, answer.text
        assert len(answer.text.splitlines()) == 2
        assert wanted in answer.text


def test_a_basket_belongs_to_its_account_and_keeps_rows_ticked_before_login(anna: Reader, somebody: Reader) -> None:
    anna.post(ADD=text({"maps/main": ["a.fits"]}))
    somebody.post(ADD=text({"maps/main": ["b.fits"]}))
    anna.cookie = somebody.cookie  # she logs in
    page = anna.get("/basket")
    assert "hven_basket=;" in page.headers["set-cookie"].replace('""', "")
    anna.cookie = ""
    assert anna.twin()["parts"][0]["keys"] == 2
    told = json.loads(anna.post(REMOVE=text({"maps/main": ["a.fits"]}), accept="application/json").body)
    assert told["entries"] == 1
    link = re.search(r'data-owner="anna" data-state="([^"]+)"', anna.get("/").text)
    assert link
    assert link[1] == told["state"]
    assert somebody.twin()["own"]
    assert Reader(anna.client).twin()["entries"] == 0  # nobody else's


def share_basket(reader: Reader) -> str:
    """Share a reader's basket; gives the address."""
    return reader.post(SHARE="1").headers["location"].removeprefix("http://vo.example")


def test_rows_are_added_and_shared_in_one_request(place: tuple[Client, dict[str, str], Site]) -> None:
    nobody = Reader(place[0])
    answer = nobody.post(ADD=text({"maps/main": ["a.fits"]}), SHARE="1")
    there = answer.headers["location"].removeprefix("http://vo.example")
    assert [part["keys"] for part in Reader(place[0]).twin(there)["parts"]] == [1]


def test_a_shared_basket_shows_what_its_reader_may_see(
    place: tuple[Client, dict[str, str], Site], anna: Reader
) -> None:
    anna.post(SET=text(ALL))
    there = share_basket(anna)
    assert there.startswith("/basket/~")
    bert = Reader(place[0], place[1]["bert"])
    mine, his, nobody = anna.twin(there), bert.twin(there), Reader(place[0]).twin(there)
    assert [(one["of"], one["rows"]) for one in mine["parts"]] == [("maps/main", 2), ("night/main", 1)]
    assert (mine["gone"], his["gone"], nobody["gone"]) == (2, 2, 3)
    assert [len(one["parts"]) for one in (mine, his, nobody)] == [2, 2, 2]
    for reader, hidden in ((bert, "1.fits"), (anna, "2.fits"), (Reader(place[0]), ".fits</a>")):
        page = reader.get(there)
        assert page.status == 200
        told = page.text + reader.get(f"{there}/files?_as=links").text
        told += reader.get(f"{there}/table?_of=night/main&_as=csv").text
        assert f"x.example/{hidden}" not in told
        assert "secret" not in told.replace(there, "")
    # who puts it into their own gets nothing that they do not see
    try:
        bert.post(COPY=there.rpartition("/")[2])
        kept = json.loads(bert.twin()["basket"])
        assert {one["of"]: one["lines"] for one in kept["parts"]} == {
            "maps/main": [['["a.fits"]'], ['["b.fits"]']],
            "night/main": [[f'["d",{BIG}]']],
        }
    finally:
        bert.post(EMPTY="1")


LIST_TYPE = """\
title: Look again
rows: {OBS_ID: {required: true}, FLUX: {type: float64}}
steps: {look: {job: tap, send: {LANG: ADQL, QUERY: "SELECT '{OBS_ID}' AS name FROM maps.main"}}}
join: look.result
"""


def test_rows_of_a_basket_fill_the_form_of_a_list(place: tuple[Client, dict[str, str], Site], anna: Reader) -> None:
    require_verb("jobs")
    require_query_editor()
    client, tokens, site = place
    path = site.settings.directory / "jobs/lists/again.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(LIST_TYPE)
    try:
        anna.post(SET=text(ALL))
        forms = re.findall(
            r'name="TYPE" value="again">\s*<input type="hidden" name="LIST" value="([^"]*)"', anna.get("/basket").text
        )
        queries = [html.unescape(form) for form in forms]
        assert [query.partition(" FROM ")[2].partition(" ")[0] for query in queries] == ["maps.main", "night.main"]
        there = share_basket(anna)
        shared = Reader(client, tokens["bert"]).get(there).text
        assert str(BIG) in shared
        assert "id = 1" in queries[1]
        assert str(BIG) not in queries[1], "a row of somebody else"
        body = urlencode({"TYPE": "again", "ACTION": "fill", "LIST": queries[0]}).encode()
        form = client.ask("POST", "/jobs", body=body, headers=anna.headers())
        assert form.status == 200
        assert queries[0] in html.unescape(form.text)
        job = JobService(site, "again").create_job(
            collect_params([("LIST", queries[0]), ("PHASE", "RUN")]),
            JobRequester(principal=Principal(name="anna"), address="192.0.2.1"),
        )
        while run_next_job(site):
            pass
        rows = json.loads((get_job_directory(site.settings, job.id) / "list-rows.json").read_text())
        assert sorted(row[0] for row in rows) == ["a.fits", "b.fits"]
    finally:
        path.unlink()


@pytest.mark.parametrize("count", [1, 8, 60])
def test_a_shared_basket_opens_whatever_its_size(somebody: Reader, count: int) -> None:
    lines = [[f'["{hashlib.sha256(bytes([number % 256, number // 256])).hexdigest()}"]'] for number in range(count)]
    somebody.post(SET=json.dumps({"parts": [{"of": "maps/main", "lines": lines, "searches": []}]}))
    try:
        there = share_basket(somebody)
        assert max(map(len, there.split("/"))) <= 255, "the server takes no longer part of a path"
        assert somebody.get(there).status == 200
        assert somebody.twin(there)["gone"] == count
    finally:
        somebody.post(EMPTY="1")


def test_hidden_and_nonexistent_rows_are_indistinguishable(somebody: Reader) -> None:
    told = []
    for key in ('["d",1]', '["d",9]'):
        somebody.post(SET=json.dumps({"parts": [{"of": "night/main", "lines": [[key]]}]}))
        here = somebody.twin()["here"]
        page = somebody.get("/basket").text
        token = here.rpartition("/")[2]
        told.append(page.replace(token, "TOKEN").replace(quote(token), "TOKEN").replace(key.replace('"', r"\""), "KEY"))
    assert told[0].replace("&#34;", '"') == told[1].replace("&#34;", '"')
    for of in ("secret/main", "nothing/main"):
        somebody.post(SET=text({of: [7]}))
        assert (somebody.twin()["gone"], somebody.twin()["parts"]) == (1, [])
        assert somebody.get(f"/basket/table?_of={of}").status == 404


def test_missing_entries_are_counted_and_removed(anna: Reader) -> None:
    anna.post(SET=text({"maps/main": ["a.fits", "gone.fits"], "night/main": [("d", BIG)], "never/was": [1, 2]}))
    assert "4 entries no longer exist, or you may not see them" in anna.get("/basket").text
    assert "entrées ont disparu" in anna.get("/basket?lang=fr").text
    anna.post(CLEAN="1")
    kept = json.loads(anna.twin()["basket"])
    assert kept == {"parts": [{"of": "maps/main", "lines": [['["a.fits"]']], "searches": []}]}
    assert anna.twin()["gone"] == 0


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ("", 400), ("[]", 400), ("{", 400), ('{"parts": 3}', 400), ('{"parts": [{"of": ""}]}', 400),
        ('{"parts": [{"of": 4}]}', 400), ('{"parts": [{"of": "a/b", "lines": [[1]]}]}', 400), ("[" * 200_000, 400),
        (json.dumps({"parts": [{"of": "a/b", "lines": [[f"[{n}]"] for n in range(5001)]}]}), 400),
        (json.dumps({"parts": [{"of": f"a/{n}", "lines": [["[1]"]]} for n in range(51)]}), 400),
        (json.dumps({"parts": [{"of": "a/b", "searches": [f"a={n}" for n in range(21)]}]}), 400),
        (json.dumps({"parts": [{"of": "a/b", "searches": ["a" * 4001]}]}), 400),
        (f'{{"parts": [{{"of": "maps/main", "lines": [{",".join(["""["[1000]"]"""] * 10**6)}]}}]}}', 413),
    ],
)  # fmt: skip
def test_what_is_no_basket_is_refused(somebody: Reader, given: str, status: int) -> None:
    refused = somebody.post(ADD=given or " ", accept="application/json")
    assert refused.status == status
    assert somebody.cookie == ""


def test_a_million_rows_are_stored_as_a_search(place: tuple[Client, dict[str, str], Site], somebody: Reader) -> None:
    somebody.post(OF="maps/main", SEARCH="")
    (part,) = somebody.twin()["parts"]
    assert (part["rows"], part["searches"][0]["search"]) == (3, "")


@pytest.mark.parametrize(
    "key",
    [
        "nonsense",
        "[1]",
        "[]",
        "{}",
        '["a.fits","b"]',
        '["\\ud800"]',
        "[null]",
        "[1e999]",
        "[NaN]",
        '["a\'; --"]',
        "[" * 9000,
    ],
)
def test_keys_of_other_tables_find_nothing(somebody: Reader, key: str) -> None:
    somebody.post(SET=json.dumps({"parts": [{"of": "maps/main", "lines": [[key], ['["a.fits"]']]}]}))
    page = somebody.get("/basket")
    assert page.status == 200
    assert (somebody.twin()["parts"][0]["rows"], somebody.twin()["gone"]) == (1, 1)


@pytest.mark.parametrize("token", ["~", "~x", "~" + "A" * 1499, "0" * 40, "../own", "..%2Fown", "~eJwDAAAAAAE", "é"])
def test_tokens_that_lead_nowhere(somebody: Reader, token: str) -> None:
    assert somebody.get(f"/basket/{token}").status == 404
    somebody.cookie = f"hven_basket=1.{quote(token)}"
    assert somebody.get("/basket").status == 200


def test_others_sites_change_no_basket(anna: Reader) -> None:
    headers = {**anna.headers(), "origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    body = urlencode({"OF": "maps/main", "KEY": '["a.fits"]'}).encode()
    assert anna.client.ask("POST", "/basket", body=body, headers=headers).status in {401, 403}
    assert anna.twin()["entries"] == 0


def test_a_large_basket_is_kept_by_what_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = BasketStore(tmp_path)
    many = Basket(
        parts=(BasketTablePart(table_path="a/b", row_keys=tuple((f'["{n * 7919 % 10**6}"]',) for n in range(3000))),)
    )
    token = shelf.store_shared_basket(many)
    assert (len(token), shelf.read_shared_basket(token), shelf.store_shared_basket(many)) == (40, many, token)
    few = Basket(parts=(BasketTablePart(table_path="a/b", row_keys=(("[1]",),)),))
    assert shelf.read_shared_basket(shelf.store_shared_basket(few)) == few
    assert len(list((tmp_path / "shared").iterdir())) == 1
    monkeypatch.setattr(basket_store, "MAX_SHARED_BYTES", 100)
    with pytest.raises(StorageError, match="there is no space left for shared baskets"):
        shelf.store_shared_basket(Basket(parts=(BasketTablePart(table_path="a/c", row_keys=many.parts[0].row_keys),)))
    os.utime(tmp_path / "shared" / token, (0, 0))  # nobody read it for years
    with pytest.raises(StorageError, match="there is no space left for shared baskets"):
        BasketStore(tmp_path).store_shared_basket(
            Basket(parts=(BasketTablePart(table_path="a/c", row_keys=many.parts[0].row_keys),))
        )
    with pytest.raises(NotFoundError, match="no basket"):
        shelf.read_shared_basket(token)


def test_a_file_that_is_no_basket_is_an_empty_one(tmp_path: Path) -> None:
    shelf = BasketStore(tmp_path)
    made = shelf.change_basket(
        "anna", lambda mine: mine.merge(Basket(parts=(BasketTablePart(table_path="a/b", searches=("x=1",)),)))
    )
    assert shelf.count_entries_with_state("anna")[0] == made.entry_count == 1
    (kept,) = (one for one in (tmp_path / "own").iterdir() if not one.name.startswith("."))
    kept.write_text("{")
    assert (shelf.count_entries_with_state("anna")[0], shelf.read_account_basket("anna")) == (0, Basket())
    shelf.remove_basket("anna")
    assert shelf.count_entries_with_state("anna") == (0, "")


def test_lines_of_several_files_stay_together() -> None:
    one = basket_contents.parse_basket('{"parts": [{"of": "a/b", "lines": [["[1]", "[2]"], ["[3]"]]}]}')
    again = one.merge(
        basket_contents.parse_basket(
            '{"parts": [{"of": "a/b", "lines": [["[2]"], ["[3]", "[4]"]], "searches": ["x=1"]}]}'
        )
    )
    assert again.parts == (
        BasketTablePart(table_path="a/b", row_keys=(("[1]", "[2]"), ("[3]", "[4]")), searches=("x=1",)),
    )
    less = again.remove_entries(
        basket_contents.parse_basket('{"parts": [{"of": "a/b", "lines": [["[2]", "[3]", "[4]"]]}]}')
    )
    assert less.parts == (BasketTablePart(table_path="a/b", row_keys=(("[1]",),), searches=("x=1",)),)
    assert basket_contents.decode_inline_basket(again.to_inline_token()) == again
    with pytest.raises(ParamError):
        basket_contents.parse_basket('{"parts": [{"of": "a/b", "lines": [[]]}, {}]}')


def test_cookies_of_others() -> None:
    assert parse_basket_cookie("3.~abc") == (3, "~abc")
    for odd in ("", "x", "3", "3.", "-1.~abc", "3.~a b", "9999999.~abc", "٣.~abc", None):
        assert parse_basket_cookie(odd) == (0, "")


def test_a_script_has_no_more_files_than_one_may_and_says_so(anna: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    anna.post(SET=text({"maps/main": ["a.fits", "b.fits", "c.fits"], "night/main": [("d", 1)]}))
    assert "There are more files" not in anna.get("/basket/files?_as=curl").text
    monkeypatch.setattr(scripts, "MAX_SCRIPT_FILES", 2)
    script = anna.get("/basket/files?_as=curl").text
    assert script.count("\nget http") == 2
    assert "# There are more files, but a script has at most 2;" in script


def test_the_basket_of_an_account_goes_with_it(place: tuple[Client, dict[str, str], Site]) -> None:
    client, _, site = place
    reader = Reader(client, site.store.users.add_account("carl"))
    reader.post(ADD=text({"maps/main": ["a.fits"]}))
    assert reader.twin()["entries"] == 1
    done = CliRunner().invoke(build_typer_app(), ["--site", str(site.settings.directory), "user", "remove", "carl"])
    assert done.exit_code == 0, done.output
    assert Reader(client, site.store.users.add_account("carl")).twin()["entries"] == 0


def test_a_portal_shows_of_a_basket_its_own_and_leaves_the_rest(tmp_path: Path) -> None:
    with portal_site.build_site(tmp_path) as site:
        reader = Reader(Client(create_and_start_application(site)))
        reader.post(SET=json.dumps({"parts": [{"of": "images/main", "lines": [["[3]"], ["[4000]"]]}, {"of": "stars/main", "searches": ["dec=1.."]}]}))  # fmt: skip
        told = reader.twin("/sunny/basket")
        assert ([one["of"] for one in told["parts"]], told["gone"]) == (["images/main"], 1)
        assert told["here"].startswith("http://vo.example/sunny/basket/~")
        body = urlencode({"CLEAN": "1"}).encode()
        answer = reader.client.ask("POST", "/sunny/basket", body=body, headers=reader.headers())
        assert answer.headers["location"] == "http://vo.example/sunny/basket"
        reader.cookie = answer.headers["set-cookie"].partition(";")[0]
        every = reader.twin()
        assert [(one["of"], one["rows"]) for one in every["parts"]] == [("images/main", 1), ("stars/main", 1)]

"""``/push``: statuses, rights, states, tokens and files of a table that takes rows."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from asgi_client import Answer, Client
from astropy.io import fits

from example_sites import prepare_example
from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.model.errors import DataError
from hven.plugins.push.push_store import ClientPushStore
from hven.site import Site
from hven.site.auth.local import create_personal_token
from hven.testing.site import open_site_with_uningested_files
from plugin_needs import require_setting
from shared import ROOT, shared

NIGHT = """
collection: night
title: A night log
tables:
  lines:
    source:
      kind: push
      columns: {id: int64, time: timestamp, observer: string, seeing: float32}
      ids: id
      writers: [anna]
    primary: id
    columns:
      id: {type: int64, ucd: meta.id;meta.main}
      time: {type: timestamp, required: true}
      observer: string
      seeing: {type: float32, unit: arcsec, maximum: 20}
  other:
    source: {kind: csv, files: other.csv}
    columns: {n: int32}
"""
LINE = {"time": "2026-11-23T20:00:00", "observer": "Tycho", "seeing": 1.5}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with open_site_with_uningested_files(tmp_path, NIGHT, {"other.csv": "n\n1\n"}) as found:
        ingest_collection(found, "night")
        for name in ("anna", "bob"):
            found.store.users.add_account(name)
        yield found


class Writer:
    """A client with a token."""

    def __init__(self, site: Site, name: str, scope: str = "all") -> None:
        self.client = Client(create_and_start_application(site))
        self.proof = (
            {"authorization": f"Bearer {create_personal_token(site.store, name, scope, 1, created_by=name)[1]}"}
            if name
            else {}
        )

    def __call__(self, method: str, path: str, given: Any = None, **headers: str) -> Answer:
        body = b"" if given is None else given if isinstance(given, bytes) else json.dumps(given).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.ask(method, path, body=body, headers={**self.proof, **named})


@pytest.fixture
def anna(site: Site) -> Writer:
    return Writer(site, "anna")


def count(writer: Writer) -> int:
    text = writer.client.get(
        "/tap/sync", LANG="ADQL", QUERY="SELECT COUNT(*) FROM night.lines", RESPONSEFORMAT="csv"
    ).text
    return int(text.split()[1])


def test_requests_for_one_row_return_the_right_status(anna: Writer) -> None:
    made = anna("POST", "/push/night.lines", LINE)
    told = json.loads(made.body)
    assert (made.status, told["ids"], told["report"]["published"]) == (201, [1], True)
    assert made.headers["location"].endswith("/push/night.lines/1")
    assert (told["report"]["tables"]["night.lines"]["published"], count(anna)) == (1, 1), "read by TAP at once"
    assert "rejects" not in made.text, "no place of this machine"
    assert anna("PUT", "/push/night.lines/1", {"seeing": None}).status == 204
    row = anna("GET", "/push/night.lines/1")
    assert json.loads(row.body) == {"id": 1, "time": "2026-11-23T20:00:00", "observer": "Tycho", "seeing": None}
    old = row.headers["etag"]
    assert anna("PUT", "/push/night.lines/1", {"seeing": 2}, if_match=old).status == 204
    assert anna("PUT", "/push/night.lines/1", {"seeing": 3}, if_match=old).status == 412, "somebody else was quicker"
    assert anna("DELETE", "/push/night.lines/1", if_match=old).status == 412
    assert anna("DELETE", "/push/night.lines/1").status == 204
    assert [anna(method, "/push/night.lines/1").status for method in ("GET", "DELETE")] == [404, 404]
    assert anna("PUT", "/push/night.lines/1", {"seeing": 2}).status == 404
    assert count(anna) == 0
    history = json.loads(anna("GET", "/push/night.lines").body)["history"]
    assert [(one["by"], one["action"]) for one in history] == [("anna", "DELETE"), ("anna", "PUT"), ("anna", "PUT"), ("anna", "POST")]  # fmt: skip


def test_several_rows_are_written_in_one_transaction(anna: Writer) -> None:
    made = anna("POST", "/push/night.lines", [LINE, {**LINE, "observer": "Sophie"}])
    assert (made.status, json.loads(made.body)["ids"]) == (201, [1, 2])
    both = anna("PUT", "/push/night.lines", [{"id": 2, "seeing": 2}, {"id": 1, "seeing": 3}])
    assert (both.status, json.loads(both.body)["ids"]) == (200, [2, 1])
    assert [json.loads(anna("GET", f"/push/night.lines/{one}").body)["seeing"] for one in (1, 2)] == [3, 2]
    for given, status in (
        ([{"id": 1, "seeing": 9}, {"id": 7, "seeing": 9}], 404),
        ([{"id": 1, "seeing": 9}, {"id": 2, "observer": "x"}], 400),
        ([{"id": 1, "seeing": 9}, {"id": 1, "seeing": 8}], 409),
        ([{"id": 1, "seeing": 99}], 400),
        ([{"seeing": 9}], 400),
    ):
        assert anna("PUT", "/push/night.lines", given).status == status, given
    assert json.loads(anna("GET", "/push/night.lines/1").body)["seeing"] == 3, "all of a request, or nothing"
    gone = anna("DELETE", "/push/night.lines", b"id\n1\n2\n", content_type="text/csv")
    assert (gone.status, json.loads(gone.body)["removed"], count(anna)) == (200, 2, 0)


def test_only_authorised_users_can_write(site: Site, anna: Writer) -> None:
    nobody, bob, reading = Writer(site, ""), Writer(site, "bob"), Writer(site, "anna", "read")
    for method, path in (("POST", "/push/night.lines"), ("PUT", "/push/night.lines/1"), ("DELETE", "/push/night.lines/1"), ("GET", "/push/night.lines")):  # fmt: skip
        given = None if method in {"GET", "DELETE"} else LINE
        assert nobody(method, path, given).status == 401
        assert "www-authenticate" in nobody(method, path, given).headers
        assert bob(method, path, given).status == 403
        if method != "GET":
            assert (reading(method, path, given).status, count(anna)) == (403, 0)
        assert anna(method, path.replace("lines", "other"), given).status == 404
        assert bob(method, path.replace("night.lines", "no.such"), given).status == 404
    place = site.settings.collections_directory / "night" / "night.yaml"
    place.write_text(NIGHT.replace("title: A night log", "title: A night log\naccess: private"))
    site.check_snapshot_files_and_refresh(), site.refresh_published_state()
    assert bob("POST", "/push/night.lines", LINE).status == 404, "there is no such table for him"
    assert anna("POST", "/push/night.lines", LINE).status == 201


def test_a_repeated_request_is_replayed(site: Site, anna: Writer) -> None:
    first = anna("POST", "/push/night.lines", LINE, idempotency_key="k1")
    again = anna("POST", "/push/night.lines", LINE, idempotency_key="k1")
    assert (again.status, json.loads(again.body)["ids"], again.headers["idempotency-replayed"]) == (201, [1], "true")
    assert (again.headers["hven-push"], again.headers["etag"]) == (first.headers["hven-push"], first.headers["etag"])
    assert anna("POST", "/push/night.lines", {**LINE, "seeing": 3}, idempotency_key="k1").status == 409
    assert anna("POST", "/push/night.lines", LINE, idempotency_key="k2").status == 201
    assert count(anna) == 2, "another key, another row"
    assert anna("POST", "/push/night.lines", LINE).headers["idempotency-replayed"] == "true", "the same content twice"
    assert anna("DELETE", "/push/night.lines/2").status == 204
    fresh = anna("POST", "/push/night.lines", LINE)
    assert (json.loads(fresh.body)["ids"], count(anna)) == ([3], 2), "what was deleted meanwhile is written anew"
    place = site.settings.collections_directory / "night" / "night.yaml"
    place.write_text(NIGHT.replace("[anna]", "[anna, bob]"))
    site.check_snapshot_files_and_refresh(), site.refresh_published_state()
    other = Writer(site, "bob")("POST", "/push/night.lines", LINE, idempotency_key="k1")
    assert (other.status, "ids" in other.text) == (409, False), "nobody is told what another one wrote"
    assert anna("PUT", "/push/night.lines/1", {"seeing": 7}, idempotency_key="p").status == 204
    assert anna("PUT", "/push/night.lines/1", {"seeing": 8}).status == 204
    assert anna("PUT", "/push/night.lines/1", {"seeing": 7}, idempotency_key="p").headers["idempotency-replayed"] == "true"  # fmt: skip
    assert json.loads(anna("GET", "/push/night.lines/1").body)["seeing"] == 8, "what was sent twice is done once"


def test_a_dry_run_writes_nothing(site: Site, anna: Writer) -> None:
    before = site.store.read_published_snapshot_ids()
    tried = anna("POST", "/push/night.lines?dry_run=true", LINE)
    told = json.loads(tried.body)
    assert (tried.status, told["report"]["dry_run"], told["report"]["changes"]["night.lines"]["added"]) == (
        200,
        True,
        1,
    )
    assert anna("POST", "/push/night.lines?dry_run=true", {**LINE, "seeing": 99}).status == 400
    assert (
        site.store.read_published_snapshot_ids(),
        site.store.get_or_create(ClientPushStore).list_pushes("night.lines"),
    ) == (before, [])
    assert anna("POST", "/push/night.lines?dry_run=perhaps", LINE).status == 400


@pytest.mark.parametrize(
    ("given", "media", "word"),
    [
        (b"", "application/json", "the request has no body"),
        (b"[]", "application/json", "no rows"),
        (b"{", "application/json", "not JSON"),
        (b"[1, 2]", "application/json", "not a list of objects"),
        (b'{"tme": "2026-11-23"}', "application/json", "no column 'tme'"),
        (b'{"time": "2026-11-23", "seeing": "much"}', "application/json", "seeing"),
        (b'{"time": "2026-11-23", "id": 1.5}', "application/json", "id"),
        (b'{"observer": "x"}', "application/json", "time"),
        (b"time,seeing\n2026-11-23,1\n2026-11-24,99\n", "text/csv", "would reject"),
        (b"time,seeing,seeing\n2026-11-23,1,2\n", "text/csv", "seeing"),
        (b"time,seeing\n2026-11-23\n2026-11-23,1,3\n", "text/csv", "cannot be read|row"),
        (b"\x00\x01\x02\xff" * 400, "", "not a table"),
        (b"<html><body>no</body></html>", "", "no column 'body'"),
        (b"<VOTABLE><RES", "application/x-votable+xml", "cannot be read"),
        (b"id,time\n1,2026-11-23\n1,2026-11-24\n", "text/csv", "the same key"),
    ],
)
def test_invalid_requests_change_nothing(anna: Writer, given: bytes, media: str, word: str) -> None:
    answer = anna("POST", "/push/night.lines", given, content_type=media)
    assert answer.status in {400, 409}, answer.text
    assert re.search(word, json.loads(answer.body)["error"]), answer.text
    assert count(anna) == 0


def test_invalid_rows_are_reported_by_number_and_column(anna: Writer) -> None:
    answer = anna("POST", "/push/night.lines", b"time,seeing\n2026-11-23,1\n2026-11-24,99\n", content_type="text/csv")
    (found,) = json.loads(answer.body)["report"]["tables"]["night.lines"]["findings"]
    assert (answer.status, found["rows"][0]["row"], found["rows"][0]["column"]) == (400, 2, "seeing")
    typed = anna("POST", "/push/night.lines", b"time,seeing\n2026-11-23,1\n2026-11-24,much\n", content_type="text/csv")
    assert json.loads(typed.body)["faults"][0]["row"] == 2


OIDB = """
collection: oidb
title: Optical interferometry
tables:
  granules:
    source:
      kind: push
      columns: {id: int64, target_name: string, calib_level: int32, nb_vis2: int32, t_min: float64, t_max: float64, datapi: string, access_url: string}
      ids: id
      writers: [anna]
    primary: id
    columns:
      id: {type: int64, ucd: meta.id;meta.main}
      target_name: {type: string, required: true}
      calib_level: {type: int32, required: true, minimum: 0, maximum: 3}
      nb_vis2: int32
      t_min: {type: float64, unit: d, ucd: time.start}
      t_max: {type: float64, unit: d, ucd: time.end}
      datapi: string
      access_url: string
    obscore:
      set: {dataproduct_type: visibility}
      map: {obs_id: "CAST(id AS VARCHAR)"}
    links:
      - {semantics: "#this", text: "{target.access_url}"}
  collections:
    source: {kind: push, columns: {id: string, name: string, title: string}, ids: id, writers: [anna]}
    primary: id
    columns: {id: string, name: string, title: {type: string, required: true}}
  comments:
    source: {kind: push, columns: {id: string, granule_id: int64, text: string}, ids: id, writers: [anna]}
    primary: id
    columns: {id: string, granule: {type: int64, required: true}, text: string}
    map: {granule: granule_id}
  links:
    source: {kind: push, columns: {id: string, granule: int64, access_url: string, description: string}, ids: id, writers: [anna]}
    primary: id
    columns: {id: string, granule: {type: int64, required: true}, access_url: string, description: string}
"""
GRANULES = b"""<?xml version="1.0"?>
<granules>
  <granule><target_name>HD 1</target_name><calib_level>2</calib_level><nb_vis2>7</nb_vis2><t_min>57000.1</t_min><t_max>57000.2</t_max><datapi/></granule>
  <granule><target_name>HD 2</target_name><calib_level>%d</calib_level><nb_vis2>9</nb_vis2><t_min>57001.1</t_min><t_max>57001.2</t_max><access_url>https://oidb.example/2.fits</access_url><datapi>Anna Berg</datapi></granule>
</granules>"""


def test_calls_of_oidb_are_answered(tmp_path: Path) -> None:
    require_setting("alias")
    with open_site_with_uningested_files(tmp_path, OIDB) as first:
        ingest_collection(first, "oidb")
        first.store.users.add_account("anna")
    told = re.findall(r"```toml\n(.*?)```", (ROOT / "src/hven/plugins/push/docs/push-oidb.md").read_text(), re.DOTALL)
    (tmp_path / "hven.toml").write_text("\n".join(told))
    with Site(settings.load_settings(tmp_path)) as site:
        anna, xml = Writer(site, "anna"), {"content_type": "application/xml", "accept": "application/xml"}

        def obscore() -> list[str]:
            text = "SELECT target_name, t_min FROM ivoa.obscore ORDER BY t_min"
            return anna.client.get("/tap/sync", LANG="ADQL", QUERY=text, RESPONSEFORMAT="csv").text.split()[1:]

        assert anna("POST", "/oidb/granule", GRANULES % 9, **xml).status == 400, "all of them, or none"
        assert obscore() == []
        made = anna("POST", "/oidb/granule", GRANULES % 2, **xml)
        assert (made.status, re.findall(r"<id>(\d+)</id>", made.text)) == (201, ["1", "2"])
        one = b"<granule><granule><target_name>HD 3</target_name><datapi></datapi></granule></granule>"
        assert anna("PUT", "/oidb/granule/2", one, **xml).status == 204
        row = json.loads(anna("GET", "/oidb/granule/2").body)
        assert (row["target_name"], row["datapi"], row["nb_vis2"], row["id"]) == ("HD 3", None, 9, 2)
        assert anna("PUT", "/oidb/granule/2", {"id": 7}).status == 400, "its id stays"
        assert anna("PUT", "/oidb/granule/2", {"target_name": ""}).status == 400, "it must have one"
        assert anna("DELETE", "/oidb/granule/1").status == 204
        assert anna("DELETE", "/oidb/granule/1").status == 404
        assert Writer(site, "")("POST", "/oidb/granule", GRANULES % 2, **xml).status == 401
        made = anna("POST", "/oidb/collection", b'<collection name="vega"><title>Vega in H</title></collection>', **xml)
        (ident,) = re.findall(r"<id>(.*?)</id>", made.text)
        assert made.status == 201
        assert (
            anna("PUT", f"/oidb/collection/{ident}", b"<collection><title>Vega</title></collection>", **xml).status
            == 204
        )
        row = json.loads(anna("GET", f"/oidb/collection/{ident}").body)
        assert (row["name"], row["title"]) == ("vega", "Vega")
        assert anna("PUT", "/oidb/collection/never", b"<collection><title>x</title></collection>", **xml).status == 404
        assert anna("DELETE", f"/oidb/collection/{ident}").status == 204
        said = b'<comment granule-id="2"><text>Which star?</text></comment>'
        assert anna("POST", "/oidb/comment", said, **xml).status == 201
        assert anna("POST", "/oidb/comment", said.replace(b"2", b"two"), **xml).status == 400
        found = anna.client.get("/tap/sync", LANG="ADQL", QUERY="SELECT granule, text FROM oidb.comments", RESPONSEFORMAT="csv")  # fmt: skip
        assert found.text.splitlines()[1:] == ["2,Which star?"]
        links = anna.client.get("/oidb/datalink", id="2")
        assert (links.status, "#this" in links.text) == (200, True), links.text
        link = b"<datalink><access_url>https://oidb.example/2.png</access_url><description>UV plane</description></datalink>"
        assert anna("POST", "/oidb/datalink/2", link, **xml).status == 201
        assert anna("POST", "/push/oidb.links?granule=3", {"access_url": "u", "granule": 3}).status == 201
        for wrong in ("granule=two", "granul=2", "granule=9"):
            assert anna("POST", f"/push/oidb.links?{wrong}", {"access_url": "u", "granule": 3}).status == 400, wrong
        linked = anna.client.get("/tap/sync", LANG="ADQL", QUERY="SELECT granule, description FROM oidb.links ORDER BY granule", RESPONSEFORMAT="csv")  # fmt: skip
        assert linked.text.splitlines()[1:] == ["2,UV plane", "3,"]
        assert [line.replace(" ", "") for line in anna.client.get("/tap/sync", LANG="ADQL", QUERY="SELECT target_name FROM ivoa.obscore", RESPONSEFORMAT="csv").text.splitlines()[1:]] == ["HD3"]  # fmt: skip


def test_the_night_log_of_the_examples(tmp_path: Path) -> None:
    place = tmp_path / "site"
    shutil.copytree(prepare_example("23-night-log"), place)
    with Site(settings.load_settings(place)) as site:
        ingest_collection(site, "night")
        site.store.users.add_account("tycho")
        tycho = Writer(site, "tycho")
        given = re.findall(r"--json '(.*?)'", (place / "README.md").read_text())
        assert json.loads(tycho("POST", "/push/night.lines", given[0].encode()).body)["ids"] == [5]
        assert tycho("PUT", "/push/night.lines/5", given[1].encode()).status == 204
        assert tycho("PUT", "/push/night.lines/4", given[1].encode()).status == 404, "a line on paper"
        nights = tycho.client.get("/tap/sync", LANG="ADQL", QUERY="SELECT night, lines, exposures FROM night.nights ORDER BY night", RESPONSEFORMAT="csv")  # fmt: skip
        assert nights.text.split()[1:] == ["2026-11-21,4,3", "2026-11-23,1,1"]
        found = tycho.client.get("/cone/night.lines", RA=279, DEC=39, SR=1, RESPONSEFORMAT="csv").text
        assert "twilight" in found
        refused = tycho(
            "POST", "/push/night.lines", {"written": "2026-11-23T22:00:00", "observer": "Tycho", "seeing": 50}
        )
        assert (refused.status, "seeing" in refused.text) == (400, True)


ARCHIVE = """
collection: oidb
title: Optical interferometry
files:
  - {files: "data/**/*.fits", writers: [anna]}
tables:
  targets:
    source: {kind: fits, hdu: OI_TARGET, files: "data/**/*.fits"}
    primary: [path, target_id]
    columns: {path: string, target_id: int32, target: {type: string, required: true}, ra: {type: float64, unit: deg}, dec: {type: float64, unit: deg}}
    map: {path: file.path, target_id: TARGET_ID, target: trim(TARGET), ra: RAEP0, dec: DECEP0}
  counts:
    source: {kind: query, adql: "SELECT path, COUNT(*) AS n FROM oidb.targets GROUP BY path"}
    primary: path
    columns: {path: string, n: int64}
"""


LOG = """\
collection: night
title: Night log
tables:
  lines:
    source: {kind: push, columns: {id: int64, observer: string}, ids: id, writers: [anna]}
    primary: id
    columns: {id: int64, observer: string}
  seen:
    view: SELECT observer FROM night.lines
  observers:
    source: {kind: query, adql: "SELECT observer, COUNT(*) AS n FROM night.seen GROUP BY observer"}
    columns: {observer: string, n: int64}
"""
DERIVED = """\
collection: later
title: Made from another collection
tables:
  names:
    source: {kind: query, adql: "SELECT observer FROM night.observers"}
    columns: {observer: string}
"""


def test_tables_made_from_a_pushed_one_are_opened_empty_too(tmp_path: Path) -> None:
    with open_site_with_uningested_files(tmp_path, LOG, {}) as site:
        assert ingest_collection(site, "night").row_count == 0
        (tmp_path / "collections/later").mkdir()
        (tmp_path / "collections/later/later.yaml").write_text(DERIVED)
        site.refresh_published_state()
        assert ingest_collection(site, "later").row_count == 0
        (tmp_path / "collections/later/later.yaml").write_text(DERIVED.replace("night.observers", "tap_schema.tables WHERE 1 = 0").replace("observer", "table_name"))  # fmt: skip
        site.refresh_published_state()
        with pytest.raises(DataError, match="would be empty"):
            ingest_collection(site, "later")


def test_pushed_files_are_stored_and_their_rows_published(tmp_path: Path) -> None:
    first, second, *_ = sorted(path for path in shared("data/interferometry/oifits").glob("*.fits") if oi_target(path))
    with open_site_with_uningested_files(tmp_path, ARCHIVE, {"data/first.fits": first.read_bytes()}) as site:
        ingest_collection(site, "oidb")
        site.store.users.add_account("anna")
        anna = Writer(site, "anna")
        there = site.settings.collections_directory / "oidb" / "data"

        def counts() -> dict[str, int]:
            text = anna.client.get("/tap/sync", LANG="ADQL", QUERY="SELECT path, n FROM oidb.counts ORDER BY path", RESPONSEFORMAT="csv").text  # fmt: skip
            return {line.split(",")[0]: int(line.split(",")[1]) for line in text.split()[1:]}

        name = "/push/oidb.files/data/2026/second.fits"
        tried = anna("PUT", f"{name}?dry_run=true", second.read_bytes())
        assert (tried.status, json.loads(tried.body)["report"]["changes"]["oidb.files"]["added"]) == (200, 1)
        assert sorted(path.name for path in there.iterdir()) == ["first.fits"]
        made = anna("PUT", name, second.read_bytes(), prefer="return=representation")
        assert (made.status, made.headers["etag"]) == (201, f'"{hashlib.sha256(second.read_bytes()).hexdigest()}"')
        assert counts() == {"data/first.fits": oi_target(first), "data/2026/second.fits": oi_target(second)}
        assert anna.client.ask("GET", "/collections/oidb/files/data/2026/second.fits").body == second.read_bytes()
        again = anna("PUT", name, second.read_bytes())
        assert (again.status, counts()["data/2026/second.fits"]) == (204, oi_target(second))
        assert anna("PUT", name, first.read_bytes(), if_match='"older"').status == 412
        broken = anna("PUT", name, first.read_bytes()[:3000])
        assert broken.status == 400, broken.text
        assert (there / "2026/second.fits").read_bytes() == second.read_bytes(), "what was there is there"
        assert anna("PUT", "/push/oidb.files/data/third.fits", b"no FITS at all").status == 400
        for path in (
            "../out.fits",
            "data/../../out.fits",
            "data/.hidden.fits",
            "elsewhere/a.fits",
            "data/a.txt",
            "data//a.fits",
        ):
            answer = anna("PUT", f"/push/oidb.files/{path}", second.read_bytes())
            assert answer.status == 404, (path, answer.text)
        (there / "out").symlink_to(tmp_path)
        assert anna("PUT", "/push/oidb.files/data/out/a.fits", second.read_bytes()).status == 404, (
            "a link out of the root"
        )
        (there / "out").unlink()
        assert sorted(str(path.relative_to(there)) for path in there.rglob("*")) == [
            "2026",
            "2026/second.fits",
            "first.fits",
        ]
        assert list((site.settings.var_directory / "spool").iterdir()) == []
        posted = anna("POST", "/push/oidb.files?filename=third.fits", first.read_bytes(), accept="application/xml")
        assert (posted.status, "<id>data/third.fits</id>" in posted.text) == (201, True)
        assert anna("POST", "/push/oidb.files?filename=third.fits", second.read_bytes()).status == 409, (
            "another one is there"
        )
        assert anna("POST", "/push/oidb.files?filename=third.fits", first.read_bytes()).status == 201, "the same again"
        assert anna("POST", "/push/oidb.files?filename=../x.fits", first.read_bytes()).status == 404
        assert anna("POST", "/push/oidb.files", first.read_bytes()).status == 400, "it has no name"
        assert anna("DELETE", "/push/oidb.files/data/third.fits").status == 204
        assert Writer(site, "")("PUT", name, b"x").status == 401
        assert anna("DELETE", name).status == 204
        assert counts() == {"data/first.fits": oi_target(first)}
        assert anna.client.ask("GET", "/collections/oidb/files/data/2026/second.fits").status == 404
        history = json.loads(anna("GET", "/push/oidb.files").body)["history"]
        assert [(one["by"], one["action"]) for one in history] == [
            ("anna", "DELETE"), ("anna", "DELETE"), ("anna", "POST"), ("anna", "POST"), ("anna", "PUT"), ("anna", "PUT")
        ]  # fmt: skip


def build_zip(members: dict[str, bytes]) -> bytes:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, one in members.items():
            archive.writestr(name, one)
    return body.getvalue()


def test_an_archive_is_stored_completely_or_not_at_all(tmp_path: Path) -> None:
    first, second, *_ = sorted(path for path in shared("data/interferometry/oifits").glob("*.fits") if oi_target(path))
    with open_site_with_uningested_files(tmp_path, ARCHIVE, {"data/first.fits": first.read_bytes()}) as site:
        ingest_collection(site, "oidb")
        site.store.users.add_account("anna")
        anna = Writer(site, "anna")
        there = site.settings.collections_directory / "oidb" / "data"
        good = {"2026/b.fits": second.read_bytes(), "a.fits": first.read_bytes(), "__MACOSX/x": b"x", ".DS_Store": b"x"}
        name = "/push/oidb.files?filename=night.zip"
        made = anna("POST", name, build_zip(good), content_type="application/zip", accept="application/xml")
        assert made.status == 201, made.text
        assert "<id>data/2026/b.fits</id><id>data/a.fits</id>" in made.text
        text = anna.client.get("/tap/sync", LANG="ADQL", QUERY="SELECT path, n FROM oidb.counts ORDER BY path", RESPONSEFORMAT="csv").text  # fmt: skip
        assert text.split()[1:] == [
            f"{path},{oi_target(file)}"
            for path, file in (("data/2026/b.fits", second), ("data/a.fits", first), ("data/first.fits", first))
        ]
        assert anna("POST", name, build_zip(good), content_type="application/zip").status == 201, "the same again"
        before = sorted(str(path) for path in there.rglob("*"))
        for members, status, words in (
            ({"c.fits": second.read_bytes(), "a.fits": second.read_bytes()}, 409, "a.fits' already exists"),
            ({"c.fits": second.read_bytes(), "d.fits": first.read_bytes()[:3000]}, 400, "d.fits"),
            (
                {"c.fits": second.read_bytes(), "../d.fits": first.read_bytes()},
                404,
                "does not allow a file with the name",
            ),
            ({"c.fits": second.read_bytes(), "notes.txt": b"x"}, 404, "notes.txt"),
            ({"sub/": b""}, 400, "contains no file"),
            ({f"{n}.fits": b"" for n in range(1001)}, 413, "1,000 files"),
        ):
            bad = anna("POST", name, build_zip(members), content_type="application/zip")
            assert (bad.status, words in bad.text) == (status, True), bad.text
            assert sorted(str(path) for path in there.rglob("*")) == before
        torn = bytearray(build_zip({"c.fits": second.read_bytes()}))
        torn[5000] ^= 255
        assert "cannot be unpacked" in anna("POST", name, bytes(torn), content_type="application/zip").text
        site.settings = replace(site.settings, limits=replace(site.settings.limits, upload=100_000))
        bomb = build_zip({"c.fits": bytes(50_000_000)})
        assert len(bomb) < 100_000
        assert anna("POST", name, bomb, content_type="application/zip").status == 413
        assert sorted(str(path) for path in there.rglob("*")) == before
        assert list((site.settings.var_directory / "spool").iterdir()) == []
        history = json.loads(anna("GET", "/push/oidb.files").body)["history"]
        assert [one["rows"] for one in history] == [2, 2]


def oi_target(path: Path) -> int:
    """Count the targets of a file; 0: it cannot be read."""
    try:
        with fits.open(path) as file:
            return len(file["OI_TARGET"].data)
    except (OSError, KeyError, TypeError):
        return 0


FOLLOWER = """
collection: secret
title: Nobody's business
access: private
tables:
  counts:
    source: {kind: query, adql: "SELECT observer, COUNT(*) AS n FROM night.lines GROUP BY observer"}
    primary: observer
    max_rejects: 1
    columns: {observer: {type: string, required: true}, n: int64}
"""


def test_reports_do_not_reveal_tables_hidden_from_the_writer(site: Site, anna: Writer) -> None:
    place = site.settings.collections_directory / "secret"
    place.mkdir()
    (place / "secret.yaml").write_text(FOLLOWER)
    ingest_collection(site, "secret")
    made = anna("POST", "/push/night.lines", LINE)
    assert (made.status, [*json.loads(made.body)["report"]["changes"]]) == (201, ["night.lines", "night.other"])
    assert "secret" not in made.text
    without = anna("POST", "/push/night.lines", {**LINE, "observer": None})
    assert (without.status, "secret" not in without.text) == (201, True), (
        "it keeps a row aside, which is its owner's to know"
    )
    assert site.store.read_published_records()[1]["secret.counts"].snapshot.rows == 1


def test_the_addresses_are_described(anna: Writer) -> None:
    told = json.loads(anna.client.get("/openapi.json").body)
    paths = {path: one for path, one in told["paths"].items() if path.startswith("/push/")}
    assert {path: sorted({*one} - {"parameters"}) for path, one in paths.items()} == {
        "/push/{table}": ["delete", "get", "post", "put"],
        "/push/{table}/{key}": ["delete", "get", "put"],
    }
    post = paths["/push/{table}"]["post"]
    assert {"201", "400", "401", "403", "404", "409", "412", "413", "503"} == {*post["responses"]}
    assert "bearer" in told["components"]["securitySchemes"]

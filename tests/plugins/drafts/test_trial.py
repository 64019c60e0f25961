"""A file that a curator gives is shown as each face would have it; nobody else may ask, nothing of it is kept, and nothing but it is read."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest
from asgi_client import Answer, Client

from hven.app._server.application import create_and_start_application
from hven.model import settings
from hven.plugins.drafts.trial import trial_page as trial
from hven.plugins.drafts.trial.trial_worker import draft_and_check_descriptor
from hven.site import Site

TOML = 'name = "trial"\n[projects.hesiod]\ntitle = "HESIOD"\n[health]\noperators = ["olga"]\n'
STARS = b"id,RAJ2000 (deg),DEJ2000 (deg),Vmag\nHD1,10.5,20.25,5.1\nHD2,11.5,-20.25,6.25\nHD3,12.5,1.5,7\n"


@pytest.fixture
def trial_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))  # others may try files at the same time
    monkeypatch.setattr(trial, "TRIAL_TIMEOUT_SECONDS", 600.0)  # a machine may have much else to do
    (tmp_path / "hven.toml").write_text(TOML)
    (tmp_path / "collections").mkdir()
    with Site(settings.load_settings(tmp_path)) as made:
        yield made


@pytest.fixture
def people(trial_site: Site) -> dict[str, dict[str, str]]:
    for name, role in (("cleo", "curator"), ("rita", "contributor")):
        trial_site.store.grants.add_grant("member", subject=name, object="hesiod", role=role, actor="olga")
    told = {
        name: {"authorization": f"Bearer {trial_site.store.users.add_account(name)}"}
        for name in ("olga", "cleo", "rita", "bob")
    }
    return {**told, "nobody": {}}


def give(client: Client, content: bytes, name: str, headers: dict[str, str], field: str = "file") -> Answer:
    parts = [b"--mark", f'content-disposition: form-data; name="{field}"; filename="{name}"'.encode(), b"content-type: text/plain", b"", content, b"--mark--", b""]  # fmt: skip
    return client.ask("POST", "/trial", body=b"\r\n".join(parts), headers={"content-type": "multipart/form-data; boundary=mark", **headers})  # fmt: skip


def test_who_must_log_in_is_shown_the_page_for_it(trial_site: Site) -> None:
    client = Client(create_and_start_application(trial_site))
    page = client.ask("GET", "/trial?from=2026-01", headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert page.status == 303
    assert page.headers["location"].endswith("/login?next=%2Ftrial%3Ffrom%3D2026-01")
    assert "www-authenticate" not in page.headers, "a browser shows a box of its own for it"
    for accept in ("application/json", "*/*"):
        assert client.ask("GET", "/trial", headers={"accept": accept}).status == 401


def test_curators_alone_are_asked_for_a_file(trial_site: Site, people: dict[str, dict[str, str]]) -> None:
    client = Client(create_and_start_application(trial_site))
    statuses = {name: client.ask("GET", "/trial", headers=headers).status for name, headers in people.items()}
    assert statuses == {"olga": 200, "cleo": 200, "rita": 403, "bob": 403, "nobody": 401}
    for name, status in (("rita", 403), ("bob", 403), ("nobody", 401)):
        answer = give(client, STARS, "a.csv", people[name])
        assert answer.status == status
        assert "RAJ2000" not in answer.text
    evil = {**people["olga"], "origin": "https://evil.example"}
    assert give(client, STARS, "a.csv", evil).status in {401, 403}
    assert '<input type="file" name="file" required>' in client.ask("GET", "/trial", headers=people["cleo"]).text
    assert 'href="/trial"' in client.ask("GET", "/projects/hesiod", headers={**people["cleo"], "accept": "text/html"}).text.replace("http://vo.example", "")  # fmt: skip
    assert "/trial" not in client.ask("GET", "/projects/hesiod", headers={**people["rita"], "accept": "text/html"}).text


def test_a_trial_shows_what_each_service_would_serve(trial_site: Site, people: dict[str, dict[str, str]]) -> None:
    client = Client(create_and_start_application(trial_site))
    answer = give(client, STARS, "../../stars.csv", {**people["cleo"], "accept": "application/json"})
    assert (answer.status, answer.headers["cache-control"]) == (200, "private, no-store")
    said = json.loads(answer.text)
    assert (said["name"], said["told"]["kind"], said["told"]["faults"]) == ("stars.csv", "csv", [])
    (table,) = said["told"]["tables"]
    assert [one["name"] for one in table["columns"]] == ["id", "raj2000", "dej2000", "vmag"]
    assert (table["columns"][1]["unit"], table["columns"][1]["ucd"]) == ("deg", "pos.eq.ra;meta.main")
    serves = {one["name"]: one["serves"] for one in table["faces"]}
    assert serves["tap"]
    assert serves["cone"], "it has positions, and a key"
    assert "hapi" not in serves
    assert not serves["sia"]
    assert "source: {kind: csv, files: data/stars.csv}" in said["told"]["text"]
    page = unescape(give(client, STARS, "stars.csv", {**people["cleo"], "accept-language": "fr", "accept": "text/html"}).text)  # fmt: skip
    assert "Ce que chaque service en ferait" in page
    assert "Le premier descripteur est sans défaut." in page
    assert "ne peut pas le servir : il manque à la table" in page
    without = give(client, b"n,word\n1,a\n2,b\n", "a.csv", {**people["cleo"], "accept": "application/json"})
    assert not next(one for one in json.loads(without.text)["told"]["tables"][0]["faces"] if one["name"] == "cone")["serves"]  # fmt: skip
    assert not list(trial_site.settings.collections_directory.iterdir()), "nothing of it is kept"
    assert not list(Path(tempfile.gettempdir()).glob("hven-trial-*"))


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"", "a.csv", "the file is empty"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a.png", ""),
        (b"<?xml version='1.0'?><VOTABLE><RESOURCE><TABLE>", "a.vot", ""),
    ],
)
def test_what_is_no_table_is_told(trial_site: Site, people: dict[str, dict[str, str]], content: bytes, name: str, message: str) -> None:  # fmt: skip
    answer = give(
        Client(create_and_start_application(trial_site)),
        content,
        name,
        {**people["olga"], "accept": "application/json"},
    )
    said = json.loads(answer.text)
    assert "hven-trial-" not in answer.text
    if message:
        assert (answer.status, message in said["message"]) == (400, True)
    else:
        assert said["told"]["error"]


def test_a_file_has_little_time_and_room(
    trial_site: Site, people: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(create_and_start_application(trial_site))
    monkeypatch.setattr(trial, "TRIAL_TIMEOUT_SECONDS", 0.05)
    answer = give(client, STARS, "a.csv", {**people["olga"], "accept": "application/json"})
    assert "needs more than 0.05 s" in json.loads(answer.text)["message"]
    assert not list(Path(tempfile.gettempdir()).glob("hven-trial-*"))
    monkeypatch.setattr(trial, "TRIAL_TIMEOUT_SECONDS", 600.0)
    monkeypatch.setattr(trial, "PROCESS_LIMITS", {**trial.PROCESS_LIMITS, "RLIMIT_AS": 64 << 20})
    answer = give(client, STARS, "a.csv", {**people["olga"], "accept": "application/json"})
    assert "within the limits" in json.loads(answer.text)["message"]


def test_a_file_that_names_others_reads_none_of_them(tmp_path: Path) -> None:
    """A description leads elsewhere: what a browser sent must not choose what this machine reads."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/a.csv").write_text("password\nsesame\n")
    settings.create_site_directory(tmp_path / "site")
    place = tmp_path / "site/collections/trial/data"
    place.mkdir(parents=True)
    (place / "a.xml").write_text(
        f'<erddapDatasets><dataset type="EDDTableFromAsciiFiles" datasetID="x"><fileDir>{tmp_path}/secret</fileDir><fileNameRegex>.*</fileNameRegex>'
        "<dataVariable><sourceName>password</sourceName><destinationName>p</destinationName><dataType>String</dataType></dataVariable></dataset></erddapDatasets>"
    )
    told = draft_and_check_descriptor(tmp_path / "site", "a.xml")
    assert "secret" not in json.dumps({**told, "text": told.get("text", "").replace("secret</fileDir>", "")})

"""Packages by address: with the rights of the client, continued after an interruption, a few at once."""

from __future__ import annotations

import asyncio
import json
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from asgi_client import Answer, Client
from package_sites import FRAMES, create_site

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model.errors import OverloadedError
from hven.model.settings import load_settings
from hven.plugins.packages import package_members, package_service, package_stream
from hven.plugins.packages.package_journal import PackageJournal
from hven.plugins.packages.package_reader import PackageReader
from hven.plugins.packages.package_service import DownloadSlots
from hven.site import Site


class Server:
    """A client of a site with the accounts anna and bert."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.tokens = {name: site.store.users.add_account(name) for name in ("anna", "bert")}
        self._client = Client(create_and_start_application(site))

    def ask(self, query: str = "", *, account: str = "", method: str = "GET", **headers: str) -> Answer:
        if account:
            headers["authorization"] = f"Bearer {self.tokens[account]}"
        given = {name.replace("_", "-"): text for name, text in headers.items()}
        return self._client.ask(method, "/packages/night", query.encode(), headers=given)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Site(load_settings(create_site(tmp_path_factory.mktemp("service") / "site"))) as site:
        yield Server(site)


def read_frames(body: bytes) -> set[str]:
    with tarfile.open(fileobj=BytesIO(body)) as tar:
        return {name.rpartition("/")[2] for name in tar.getnames() if "/data/files/" in name}


def test_rights_decide_what_is_sent(server: Server, tmp_path: Path) -> None:
    assert read_frames(server.ask().body) == set()
    assert read_frames(server.ask(account="anna").body) == {"a.fits", "empty.dat"}
    answer = server.ask(account="bert")
    assert read_frames(answer.body) == {"b=2520 é.fits", "c=3D1.fits"}
    assert answer.headers["content-type"] == "application/x-tar"
    assert answer.headers["hven-lacking"] == "3"
    (tmp_path / "night.tar").write_bytes(answer.body)
    assert PackageReader(tmp_path / "night.tar").verify().is_valid
    log = [(entry.by, entry.facts["file"]) for entry in server.site.store.grants.list_audit_entries()]
    assert ("bert", "frames/c=1.fits") in log, "each locked file that is taken is on record"
    assert ("bert", "frames/a.fits") not in log


def test_a_download_is_continued(server: Server) -> None:
    first = server.ask(account="bert")
    tag = first.headers["etag"]
    for start in (1, 600, 5_000, len(first.body) // 2, len(first.body) - 1):
        rest = server.ask(f"START={start}", account="bert", if_match=tag)
        assert rest.status == 200
        assert rest.body == first.body[start:], start
    assert server.ask("START=600", account="anna", if_match=tag).status == 412, "it is of no use to another account"
    assert server.ask("START=600", if_match=tag).status == 412
    assert server.ask("START=600", account="bert").status == 400
    assert server.ask("START=600", account="bert", if_match='"../../x"').status == 400
    assert server.ask("START=-1", account="bert", if_match=tag).status == 400
    assert server.ask(f"START={'9' * 30}", account="bert", if_match=tag).status == 400
    unknown = f'{tag[:66]}{"0" * 32}"'
    assert server.ask("START=600", account="bert", if_match=unknown).status == 412


def test_another_state_is_not_continued(tmp_path: Path) -> None:
    directory = create_site(tmp_path / "site")
    with Site(load_settings(directory)) as site:
        server = Server(site)
        first = server.ask(account="bert")
        (directory / "collections/night/rows.csv").write_text("id,pi,flux,file_name\n1,bert,2,\n")
        ingest_collection(site, "night")
        answer = server.ask("START=600", account="bert", if_match=first.headers["etag"])
        assert answer.status == 412
        assert b"from the beginning" in answer.body


def take_all_slots(server: Server) -> list[str]:
    """Take all slots, as several clients do; return their names."""
    slots = server.site.get_or_create(DownloadSlots)
    requesters = [f"client {number}" for number in range(package_service.MAX_CONCURRENT_DOWNLOADS)]
    for requester in requesters:
        slots.acquire_slot(requester)
    return requesters


def give_slots_back(server: Server, requesters: list[str]) -> None:
    for requester in requesters:
        server.site.get_or_create(DownloadSlots).release_slot(requester)


def test_a_few_at_once(server: Server) -> None:
    requesters = take_all_slots(server)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(package_service, "collect_contents", None)
        assert server.ask().status == 503, "nothing is read without a slot"
        assert server.ask(method="HEAD").status == 503, "a look reads the list of files, too"
    give_slots_back(server, requesters)
    for _ in range(5):
        assert server.ask().status == 200, "each download gives its slot back"
        assert server.ask(method="HEAD").status == 200
    unknown = f'"{"0" * 64}-{"0" * 32}"'
    for _ in range(5):
        assert server.ask("START=600", if_match=unknown).status == 412, "each refusal gives its slot back"


def test_one_client_leaves_a_slot_to_others() -> None:
    slots = DownloadSlots()
    for _ in range(package_service.MAX_DOWNLOADS_OF_REQUESTER):
        slots.acquire_slot("anna")
    with pytest.raises(OverloadedError):
        slots.acquire_slot("anna")
    slots.acquire_slot("bert")
    with pytest.raises(OverloadedError):
        slots.acquire_slot("carl")
    slots.release_slot("anna")
    slots.acquire_slot("anna")


@pytest.mark.parametrize("share", [0.0, 0.9])
@pytest.mark.parametrize("form", ["bagit", "ro-crate"])
def test_the_event_loop_neither_reads_nor_writes(
    server: Server, monkeypatch: pytest.MonkeyPatch, form: str, share: float
) -> None:
    """Rows, files and the journal are read and written in threads, also if a download is continued."""
    first = server.ask(f"FORM={form}", account="bert")
    monkeypatch.setattr(package_service, "JOURNAL_INTERVAL_BYTES", 1)
    threads: list[tuple[str, bool]] = []

    def note_thread(function: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            threads.append((function.__name__, is_event_loop_here()))
            return function(*arguments, **options)

        return call

    for owner, name in (
        (package_members.RowTable, "_create_digested_part"),
        (PackageJournal, "write_pending_lines"),
        (package_stream.PackageStream, "_create_text"),
        (package_stream._MemberContentReader, "_begin"),
    ):
        monkeypatch.setattr(owner, name, note_thread(getattr(owner, name)))
    start = int(len(first.body) * share)
    query = f"FORM={form}&START={start}"
    rest = server.ask(query, account="bert", if_match=first.headers["etag"] if start else "")
    assert rest.status == 200
    assert {name for name, _ in threads} >= {"_create_digested_part", "write_pending_lines", "_create_text"}
    assert [name for name, is_on_loop in threads if is_on_loop] == []


def is_event_loop_here() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class SlowClient:
    """A clock by which each piece takes a client 100 seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def tell_time(self) -> float:
        self.seconds += 100
        return self.seconds


@pytest.mark.parametrize(("bytes_per_second", "is_ended"), [(64 * 1024, True), (1, False)])
def test_a_slow_client_loses_its_slot(
    server: Server, monkeypatch: pytest.MonkeyPatch, bytes_per_second: int, is_ended: bool
) -> None:
    monkeypatch.setattr(package_service, "monotonic", SlowClient().tell_time)
    monkeypatch.setattr(package_service, "MIN_BYTES_PER_SECOND", bytes_per_second)
    if is_ended:
        with pytest.raises(TimeoutError, match="the client took only"):
            server.ask(account="bert")
    else:
        assert server.ask(account="bert").status == 200
    give_slots_back(server, take_all_slots(server))


def test_journals_are_private_and_few(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = server.site.settings.var_directory / package_service.JOURNAL_FOLDER
    monkeypatch.setattr(package_service, "MAX_JOURNALS", 3)
    for _ in range(6):
        server.ask()
    journals = list(directory.glob("*.jsonl"))
    newest = max(journals, key=lambda path: path.stat().st_mtime_ns)
    own_journals = [path for path in journals if path.name.partition("-")[0] == newest.name.partition("-")[0]]
    assert len(own_journals) == 4, "the new one, and those of the same account that were kept"
    assert directory.stat().st_mode & 0o077 == 0
    assert all(journal.stat().st_mode & 0o077 == 0 for journal in journals)


@pytest.mark.parametrize(("limit", "value"), [("MAX_JOURNALS", 2), ("MAX_JOURNAL_BYTES", 1)])
def test_journals_of_others_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int) -> None:
    """Neither the number of journals of one account nor their size deletes those of another account."""
    with Site(load_settings(create_site(tmp_path / "site"))) as site:
        server = Server(site)
        first = server.ask(account="bert")
        own = server.ask(account="anna")
        monkeypatch.setattr(package_service, limit, value)
        for _ in range(4):
            latest = server.ask(account="anna")
        for account, answer, status in (("bert", first, 200), ("anna", latest, 200), ("anna", own, 412)):
            tag = answer.headers["etag"]
            assert server.ask("START=600", account=account, if_match=tag).status == status, account


def test_rows_that_are_sent_count_towards_limits(tmp_path: Path) -> None:
    directory = create_site(tmp_path / "site")
    with (directory / "hven.toml").open("a") as settings:
        settings.write("[request_limits.rows]\nrows_per_day = 204\n")
    with Site(load_settings(directory)) as site:
        server = Server(site)
        first = server.ask(account="bert")  # 200 rows of one table, and 3 of the other
        assert server.ask(account="bert", method="HEAD").status == 200
        end = f"START={len(first.body) - 1}"
        assert server.ask(end, account="bert", if_match=first.headers["etag"]).status == 200, "it sends no rows"
        assert server.ask(account="bert").status == 200
        refused = server.ask(account="bert")
        assert refused.status == 429
        assert "406 rows today" in refused.text
        assert server.ask(account="anna").status == 200


def test_unknown_names_and_forms(server: Server) -> None:
    assert server.ask("FORM=zip").status == 400
    client = Client(create_and_start_application(server.site))
    assert client.get("/packages/none").status == 404
    crate = server.ask("FORM=ro-crate", account="bert").body
    with tarfile.open(fileobj=BytesIO(crate)) as tar:
        (name,) = [name for name in tar.getnames() if name.endswith("ro-crate-metadata.json")]
        member = tar.extractfile(name)
        assert member is not None
        files = [entity for entity in json.load(member)["@graph"] if entity["@type"] == "File"]
    assert any(entity["contentSize"] == str(len(FRAMES["c=1.fits"])) for entity in files)

"""Promotions from a site with an address: what travels, who may fetch it, what is refused, and answers that are wrong."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from promotion_sites import ask, count_rows_of_version, read_version
from remote_pairs import RemotePair, serve_pair

from faulty_proxy import Answer
from hven.ingest.api.runs import ingest_collection
from hven.model.errors import HvenError, UserError
from hven.model.settings import load_settings
from hven.plugins.promotion.promotion import PromotionOptions, plan_promotion
from hven.plugins.promotion.remote_sites import RemoteSite
from hven.plugins.promotion.settings import find_target
from hven.plugins.promotion.transfers import BLOCKS_BYTES
from process_runner import Server, run_hven, wait_until


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[RemotePair]:
    with serve_pair(tmp_path) as remote_pair:
        yield remote_pair


def test_rows_metadata_and_files_come_from_an_address(sites: RemotePair) -> None:
    (report,) = sites.promote()
    assert {table.copied_rows for table in report.tables} == {count_rows_of_version(1), 1}
    with sites.pair.open_gold() as gold:
        assert read_version(gold) == 1
        resource = gold.get_published_state().resources["stars"]
        assert resource.title == "Stars 1"
        assert (resource.path.parent / "note.txt").read_text() == "1"
        assert not list(sites.pair.gold.glob("promoted/stars/.*")), "files that were fetched first are deleted"
    assert sites.promote()[0].run is None
    assert set(sites.list_requests()) == {"stars", "hashes"}, "equal rows and files do not travel"

    sites.pair.publish_version(3)
    (report,) = sites.promote()
    tables = {table.record.table.name: table for table in report.tables}
    assert tables["main"].copied_rows == 5
    assert sorted(sites.list_requests()).count("rows") == 3, "the rows of two tables, and the keys that are shown"
    with sites.pair.open_gold() as gold:
        assert read_version(gold) == 3
    with sites.pair.open_dev() as dev, sites.pair.open_gold() as gold:
        for table in ("main", "facts"):
            rows = [sorted(map(str, ask(site, f"SELECT * FROM stars.{table}"))) for site in (dev, gold)]
            assert rows[0] == rows[1]


def test_only_changed_rows_travel(sites: RemotePair) -> None:
    sites.promote()
    first_count = sites.list_requests().count("rows")
    first_bytes = _sum_row_bytes(sites.server, first_count)
    sites.pair.publish_version(2)
    sites.promote()
    all_bytes = _sum_row_bytes(sites.server, first_count + sites.list_requests().count("rows"))
    assert 0 < all_bytes - first_bytes < first_bytes


def _sum_row_bytes(server: Server, answer_count: int) -> int:
    """Sum the bytes of all answers with rows, when the access log has all of them."""

    def list_sizes() -> list[int]:
        return [line["bytes"] for line in server.lines() if str(line.get("path", "")).endswith("/rows")]

    wait_until(lambda: len(list_sizes()) == answer_count)
    return sum(list_sizes())


def test_a_dry_run_fetches_no_rows(sites: RemotePair) -> None:
    text = run_hven("promote", "stars", "--from", "dev", "--dry-run", "--site", sites.pair.gold).stdout
    assert "rows of stars.main: all 401 (the target has no such table)" in text
    assert "rows" not in sites.list_requests()
    assert sites.is_nothing_published()


def test_the_verb_promotes_and_returns(sites: RemotePair) -> None:
    text = run_hven("promote", "stars", "--from", "dev", "--site", sites.pair.gold).stdout
    assert "stars is published in this site" in text
    assert "promote stars --from dev --back" in text
    sites.pair.publish_version(2)
    run_hven("promote", "--all", "--from", "dev", "--site", sites.pair.gold)
    run_hven("promote", "stars", "--from", "dev", "--back", "--site", sites.pair.gold)
    with sites.pair.open_gold() as gold:
        assert read_version(gold) == 1


def test_links_within_the_collection_stay_in_it(sites: RemotePair) -> None:
    directory = sites.pair.dev / "collections/stars"
    (directory / "raw").mkdir()
    (directory / "raw/f.txt").write_text("one")
    (directory / "near.txt").symlink_to("raw/f.txt")
    (directory / "raw/far.txt").symlink_to(directory / "note.txt")
    (directory / "folder").symlink_to("raw")
    assert sites.promote()[0].run is not None
    with sites.pair.open_gold() as gold:
        promoted_directory = gold.get_published_state().resources["stars"].path.parent
    for name, text in (("near.txt", "one"), ("raw/far.txt", "1"), ("folder/f.txt", "one")):
        assert (promoted_directory / name).resolve().is_relative_to(promoted_directory)
        assert (promoted_directory / name).read_text() == text
    (directory / "raw/f.txt").write_text("two")
    assert (promoted_directory / "near.txt").read_text() == "one", "a promoted directory never changes"
    (report,) = sites.promote()
    assert report.metadata.files.changed == ["raw/f.txt"]
    assert sites.promote()[0].run is None


def test_a_file_of_the_public_site_cannot_be_named(sites: RemotePair) -> None:
    text = "  notes:\n    columns: {line: {type: string}}\n    source: {kind: csv, files: ../../../secrets.toml}\n"
    path = sites.pair.dev / "collections/stars/stars.yaml"
    path.write_text(path.read_text() + text)
    with pytest.raises(UserError, match=r"stars.yaml:18: `files` names '../../../secrets.toml'"):
        sites.promote()
    assert sites.is_nothing_published()


def test_only_the_account_of_a_target_may_fetch(sites: RemotePair) -> None:
    with sites.pair.open_dev() as dev:
        other_token = dev.store.users.add_account("tycho")
        record = dev.store.read_published_records()[1]["stars.main"]
    paths = [
        ("GET", "/promotions"),
        ("GET", "/promotions/stars"),
        ("GET", "/promotions/stars/files/note.txt"),
        ("GET", f"/promotions/stars/main/hashes?snapshot={record.id}"),
        ("POST", f"/promotions/stars/main/rows?snapshot={record.id}"),
    ]
    for method, path in paths:
        for token, status in ((None, 401), (other_token, 403), (sites.token, 200)):
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            answer = sites.server.send(method, path, b"", headers)
            assert answer[0] == status, (method, path, token)
            assert status == 200 or b"note" not in answer[2]
            if status == 200:
                assert answer[1]["cache-control"] == "private, no-store"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/promotions/nothing", 404),
        ("GET", "/promotions/stars/files/../stars.yaml", 404),
        ("GET", "/promotions/stars/files/..%2f..%2fhven.toml", 404),
        ("GET", "/promotions/stars/files/secrets.toml", 404),
        ("GET", "/promotions/stars/main/hashes", 404),
        ("GET", "/promotions/stars/main/hashes?snapshot=SNAPSHOT&blocks=zz", 400),
        ("GET", "/promotions/stars/main/hashes?snapshot=SNAPSHOT&blocks=00", 400),
        ("GET", "/promotions/stars/facts/hashes?snapshot=SNAPSHOT", 404),
        ("POST", "/promotions/stars/main/rows?snapshot=SNAPSHOT", 400),
    ],
)
def test_wrong_requests_are_refused(sites: RemotePair, method: str, path: str, status: int) -> None:
    with sites.pair.open_dev() as dev:
        record = dev.store.read_published_records()[1]["stars.main"]
    headers = {"Authorization": f"Bearer {sites.token}"}
    answer = sites.server.send(method, path.replace("SNAPSHOT", record.id), b"x", headers)
    assert answer[0] == status, answer[2]


def _change_manifest(**changes: object) -> object:
    def change(answer: Answer) -> Answer:
        document = json.loads(answer.body) | changes
        return Answer(status=answer.status, headers=answer.headers, body=json.dumps(document).encode())

    return change


def _replace_body(body: bytes) -> object:
    return lambda answer: Answer(status=answer.status, headers=answer.headers, body=body)


FILE = {"size": 3, "modified": 1, "checksum": None}
WRONG_MANIFESTS = [
    (_replace_body(b"<html>"), "is not the manifest"),
    (_replace_body(b"[]"), "is not the manifest"),
    (
        _change_manifest(format=1),
        "has the format 1; this Hven reads the format 2.*use the same version of Hven on both",
    ),
    (_change_manifest(collection="planets"), "is not the manifest of stars"),
    (_change_manifest(records={}), "is not the manifest of stars|no stored table"),
    (_change_manifest(files={"stars.yaml": FILE, "../evil.txt": FILE}), "not allowed"),
    (_change_manifest(files={"stars.yaml": FILE, "/etc/evil": FILE}), "not allowed"),
    (_change_manifest(files={"stars.yaml": FILE, ".base/files.json": FILE}), "not allowed"),
    (_change_manifest(files={"stars.yaml": FILE | {"size": -1}}), "negative"),
    (_change_manifest(files={"stars.yaml": FILE | {"size": 1 << 60}}), "bytes of the disk are free"),
    (_change_manifest(files={"stars.yaml": FILE}), "is not the file that the manifest describes"),
    (lambda _: Answer(status=302, headers={"Location": "http://127.0.0.1:1/"}, body=b""), "redirects to"),
    (lambda _: Answer(status=503, headers={}, body=b"busy"), "status 503: busy"),
]


@pytest.mark.parametrize(("change", "message"), WRONG_MANIFESTS)
def test_a_manifest_that_lies_is_refused(sites: RemotePair, change: object, message: str) -> None:
    sites.proxy.coming_changes[:] = [change]  # type: ignore[list-item]
    with pytest.raises(HvenError, match=message):
        sites.promote()
    assert sites.is_nothing_published()
    assert sites.promote()[0].run is not None, "the next try succeeds"


def _find_answers(sites: RemotePair, kind: str, change: object) -> None:
    """Change the first answer of a kind."""
    state = {"changed": False}

    def change_first(answer: Answer) -> Answer:
        path = sites.proxy.requests[-1][1]
        if state["changed"] or kind not in path:
            return answer
        state["changed"] = True
        changed: Answer = change(answer)  # type: ignore[operator]
        return changed

    sites.proxy.default_change = change_first


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("/hashes", lambda answer: Answer(answer.status, answer.headers, answer.body[:-8]), "instead of 262,144 bytes"),
        ("/hashes", lambda answer: Answer(answer.status, answer.headers, bytes(BLOCKS_BYTES)), "other numbers of rows"),
        (
            "/hashes",
            lambda answer: Answer(answer.status, answer.headers, answer.body + b"x"),
            "more than 262,144 bytes",
        ),
        (
            "/hashes",
            lambda answer: Answer(
                answer.status, answer.headers, answer.body[: BLOCKS_BYTES // 2] + bytes(BLOCKS_BYTES // 2)
            ),
            "blocks of the copy differ",
        ),
        ("/rows", lambda answer: Answer(answer.status, answer.headers, b""), "is not a stream of rows"),
        ("/rows", lambda answer: Answer(answer.status, answer.headers, b"\xff\xff\xff\xff\xff\xff\xff\x7f"), "rows"),
        ("/rows", lambda answer: Answer(answer.status, answer.headers, answer.body[:-900]), "rows"),
        ("/note.txt", lambda answer: Answer(answer.status, answer.headers, b"2"), "is not the file"),
        ("/note.txt", lambda answer: Answer(answer.status, answer.headers, b"1" * 100), "is not the file"),
    ],
)
def test_rows_and_files_that_lie_are_refused(sites: RemotePair, kind: str, change: object, message: str) -> None:
    _find_answers(sites, kind, change)
    with pytest.raises(HvenError, match=message):
        sites.promote()
    assert sites.is_nothing_published()
    sites.proxy.default_change = None
    assert sites.promote()[0].run is not None


def test_a_server_that_stops_while_it_sends_changes_nothing(sites: RemotePair) -> None:
    sites.promote()
    sites.pair.publish_version(2)

    def stop(answer: Answer) -> Answer | None:
        return None if "/rows" in sites.proxy.requests[-1][1] else answer  # the connection is closed

    sites.proxy.default_change = stop
    with pytest.raises(HvenError):
        sites.promote()
    with sites.pair.open_gold() as gold:
        assert read_version(gold) == 1
    sites.proxy.default_change = None
    sites.promote()
    with sites.pair.open_gold() as gold:
        assert read_version(gold) == 2


def test_a_collection_that_is_published_anew_meanwhile_is_not_mixed(sites: RemotePair) -> None:
    """Rows that the other site no longer publishes are not sent, so the promotion fails, and the next one succeeds."""

    def publish_meanwhile(answer: Answer) -> Answer:
        if "/rows" in sites.proxy.requests[-1][1] and not (sites.pair.dev / "again").exists():
            (sites.pair.dev / "again").touch()
            sites.pair.write_version(2)
            with sites.pair.open_dev() as dev:
                ingest_collection(dev, "stars")
        return answer

    sites.proxy.default_change = publish_meanwhile
    with pytest.raises(HvenError, match=r"does not publish the snapshot .*published anew"):
        sites.promote()
    assert sites.is_nothing_published()
    sites.promote()
    with sites.pair.open_gold() as gold:
        assert read_version(gold) == 2


def test_addresses_that_lead_inwards_need_a_word(sites: RemotePair) -> None:
    path = sites.pair.gold / "hven.toml"
    path.write_text(path.read_text().replace("allow_private = true\n", ""))
    with pytest.raises(HvenError, match=r"private|local network|allow_private"):
        sites.promote()
    assert sites.is_nothing_published()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('url = "http://dev.example.org"\ntoken = "$DEV_TOKEN"', "without encryption"),
        ('url = "ftp://dev.example.org"\ntoken = "$DEV_TOKEN"', "is not the address of a site"),
        ('url = "https://me:word@dev.example.org"\ntoken = "$DEV_TOKEN"', "contains a user name"),
        ('url = "https://dev.example.org"', "`token` is missing"),
        ('url = "https://dev.example.org"\ntoken = "plain"', r"is not \$NAME"),
        ('url = "https://dev.example.org"\nsite = "../dev"', "one of the settings"),
        ('account = "gold"', "the other site fetches"),
    ],
)
def test_settings_that_cannot_work_are_refused(tmp_path: Path, lines: str, message: str) -> None:
    (tmp_path / "hven.toml").write_text(f"[targets.dev]\n{lines}\n")
    with pytest.raises(UserError, match=message):
        find_target(load_settings(tmp_path), "dev")


def test_a_site_with_an_address_is_not_changed_from_here(sites: RemotePair) -> None:
    done = run_hven("promote", "stars", "--to", "dev", "--site", sites.pair.gold, expected_code=2)
    assert "hven promote NAME --from" in done.stderr


def test_a_site_is_not_promoted_from_itself(tmp_path: Path) -> None:
    with serve_pair(tmp_path) as sites:
        shutil.rmtree(sites.pair.gold / "var", ignore_errors=True)
        with sites.pair.open_dev() as dev:
            settings = load_settings(sites.pair.gold)
            with (
                RemoteSite(find_target(settings, "dev"), settings) as source,
                pytest.raises(UserError, match="this site itself"),
                plan_promotion(source, dev, ["stars"], PromotionOptions()),
            ):
                pass


def test_a_refused_column_has_its_line(sites: RemotePair) -> None:
    path = sites.pair.dev / "collections/stars/stars.yaml"
    descriptor = path.read_text().replace("      version:", "      s_region: {type: float64}\n      version:", 1)
    descriptor = descriptor.replace("id: {", "obs_id: {").replace("primary: id", "primary: obs_id")
    descriptor = descriptor.replace("ra: {", "s_ra: {").replace("dec: {", "s_dec: {")
    path.write_text(descriptor)
    data = path.with_name("main.csv")
    lines = data.read_text().splitlines()
    lines[0] = "obs_id,s_ra,s_dec,version"
    data.write_text("\n".join(f"{line},{'s_region' if not n else 3.5}" for n, line in enumerate(lines)) + "\n")
    with sites.pair.open_dev() as dev:
        ingest_collection(dev, "stars")
    line = descriptor.splitlines().index("      s_region: {type: float64}") + 1
    with pytest.raises(HvenError, match=rf"stars\.yaml:{line}:7: stars\.main\.s_region"):
        sites.promote()


def test_hashes_of_files_are_those_of_their_content(sites: RemotePair) -> None:
    status, _, body = sites.server.send("GET", "/promotions/stars", None, {"Authorization": f"Bearer {sites.token}"})
    assert status == 200
    facts = json.loads(body)["files"]["note.txt"]
    assert facts["checksum"] == hashlib.sha256(b"1").hexdigest()
    assert not parse_qs(urlsplit("/promotions/stars").query)

"""Repositories of OAI-PMH as a source: each record once, what changed alone, what is gone goes; rubbish is told and nothing of it is taken."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from oai_server import OaiServer, build_capability, build_record, build_tables

from hven.model.errors import SourceError, TooLargeError, UserError
from hven.plugins.directories import oai, oai_harvest
from hven.sources import SourceContext, _rate_limiting
from hven.testing.source import SourceContract
from json_servers import Reply, Request, serve

FIELDS = {"id": "Resource/identifier", "title": "Resource/title", "subjects": "Resource/content/subject"}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_rate_limiting, "FIRST_PAUSE_SECONDS", 0.0)


def world(many: int = 5, **more: Any) -> OaiServer:
    found = OaiServer(**more)
    for at in range(many):
        found.put_record(f"ivo://Example/r{at}", build_record(f"ivo://Example/r{at}", f"Résumé {at} & more"))
    return found


class Follower:
    """Who harvests again and again, as the runs of a collection do."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.directory, self.options, self.run = directory, {"fields": FIELDS, "tries": 1, **options}, 0
        self.told: list[str] = []

    def source(self, *, again: bool = False) -> Any:
        self.run += not again
        context = SourceContext(
            directory=self.directory, cache_directory=self.directory / "kept", run_name=f"run{self.run}", allow_private=True, on_notice=self.told.append,
        )  # fmt: skip
        return oai.open(oai.Options.model_validate(self.options), context)

    def read(self, name: str = "id") -> list[Any]:
        return sorted(row[name] for batch in self.source().read_batches() for row in batch.to_pylist())


class TestOai(SourceContract):
    kind = "oai"
    key: ClassVar[list[str]] = ["id"]
    rows: ClassVar[list[dict[str, Any]]] = [
        {"id": f"ivo://Example/r{at}", "title": f"Résumé {at} & more", "subjects": "planets; catalogs"} for at in (4, 0, 1, 2, 3)
    ]  # fmt: skip

    @pytest.fixture(autouse=True)
    def _served(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setattr(oai_harvest, "VOLUME_COUNT", 3)
        with serve(world()) as self.url:
            yield

    def write_source_files(self, directory: Path) -> dict[str, Any]:
        return {"url": self.url, "fields": FIELDS, "joined": {"subjects": "; "}}

    def build_source_context(self, directory: Path) -> SourceContext:
        return SourceContext(directory=directory, cache_directory=directory, run_name="a run", allow_private=True)


def test_records_come_page_by_page_and_once_in_a_run(tmp_path: Path) -> None:
    one = world()
    with serve(one) as url:
        follower = Follower(tmp_path, url=url, joined={"subjects": ";"})
        assert follower.read() == [f"ivo://Example/r{at}" for at in range(5)]
        assert one.list_requests() == ["Identify", "ListRecords", "ListRecords", "ListRecords"]
        assert [one.asked[1].given.get(name) for name in ("metadataPrefix", "set")] == ["ivo_vor", None]
        again = follower.source(again=True)  # another table of the same run
        assert sum(batch.num_rows for batch in again.read_batches()) == 5
        assert len(one.asked) == 4


def test_only_changed_records_are_requested(tmp_path: Path) -> None:
    one = world(40, page=15)
    with serve(one) as url:
        follower = Follower(tmp_path, url=url, overlap=3600)
        assert len(follower.read()) == 40
        before = {one["name"]: one["modified"] for one in follower.source().list_files().to_pylist()}
        one.put_record(
            "ivo://example/R7", build_record("ivo://Example/r7", "Another title"), "2026-01-20T00:00:00Z"
        )  # in another case
        del one.records["ivo://Example/r7"]
        one.put_record("ivo://Example/r8", None, "2026-01-20T00:00:00Z")
        one.put_record(
            "ivo://Example/r9", build_record("ivo://Example/r9", "Off", status="inactive"), "2026-01-20T00:00:00Z"
        )
        one.put_record("ivo://Example/new", build_record("ivo://Example/new", "New"), "2026-01-20T00:00:00Z")
        one.asked.clear()
        titles = follower.read("title")
        assert one.list_requests()[:2] == ["Identify", "ListRecords 2026-01-10T11:00:00Z"]
        assert len(titles) == 39
        assert {"Another title", "New"} < set(titles)
        assert not {"Résumé 7 & more", "Résumé 8 & more", "Résumé 9 & more", "Off"} & set(titles)
        after = {one["name"]: one["modified"] for one in follower.source().list_files().to_pylist()}
        touched = {name for name in after.keys() | before.keys() if after.get(name) != before.get(name)}
        assert 0 < len(touched) <= 4  # the others are not read again


@pytest.mark.parametrize(("deleted", "full", "begins"), [("no", 1e9, ""), ("transient", 0, ""), ("transient", 1e9, "2026-01-09T12:00:00Z")])  # fmt: skip
def test_who_forgets_what_is_gone_is_read_whole(tmp_path: Path, deleted: str, full: float, begins: str) -> None:
    one = world(deleted=deleted)
    with serve(one) as url:
        follower = Follower(tmp_path, url=url, full=full)
        follower.read()
        del one.records["ivo://Example/r3"]
        one.now = "2026-01-11T12:00:00Z"
        one.asked.clear()
        left = follower.read()
        assert ("ivo://Example/r3" in left) == bool(begins)
        assert one.list_requests()[1] == f"ListRecords {begins}".strip()


def test_times_are_days_where_the_repository_has_days(tmp_path: Path) -> None:
    one = world(granularity="YYYY-MM-DD")
    with serve(one) as url:
        follower = Follower(tmp_path, url=url)
        follower.read()
        one.asked.clear()
        follower.read()
        assert one.list_requests() == ["Identify", "ListRecords 2026-01-09"]


def test_the_first_of_several_repositories_takes_precedence(tmp_path: Path) -> None:
    first, second = world(2), OaiServer()
    second.put_record("ivo://example/R1", build_record("ivo://example/R1", "A copy"))
    second.put_record("ivo://example/other", build_record("ivo://example/other", "Other"))
    with serve(first) as one, serve(second) as two:
        follower = Follower(tmp_path, url=[one, two])
        assert follower.read("title") == ["Other", "Résumé 0 & more", "Résumé 1 & more"]
        first.put_record("ivo://Example/r1", None, "2026-01-20T00:00:00Z")
        assert follower.read("title") == ["A copy", "Other", "Résumé 0 & more"]
        second.alter_reply = lambda _asked, reply: setattr(reply, "status", 404)
        assert follower.read("title") == ["A copy", "Other", "Résumé 0 & more"]
        assert f"{two} was not harvested (Hven keeps the records of its last harvest)" in follower.told[-1]
        first.alter_reply = second.alter_reply
        with pytest.raises(SourceError, match="returned status 404"):
            follower.read()


def spoilt(
    change: Callable[[bytes], bytes], verb: str = "ListRecords", nth: int = 2
) -> Callable[[Request, Reply], None]:
    """Change the n-th answer to a verb."""
    count = [0]

    def spoil(asked: Request, reply: Reply) -> None:
        if asked.given.get("verb") == verb:
            count[0] += 1
            if count[0] == nth:
                reply.body = change(reply.body)

    return spoil


def replace_bytes(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def change(body: bytes) -> bytes:
        assert old in body
        return body.replace(old, new)

    return change


FIRST: dict[str, bytes] = {}


def wheel(asked: Request, body: bytes) -> bytes:
    """Answer all requests for records as the first one."""
    return FIRST.setdefault("body", body) if asked.given["verb"] == "ListRecords" else body


BOMB = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "' + b"x" * 1000 + b'">' + b"".join(b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 50) for n in range(6)) + b"]><OAI-PMH>&g;</OAI-PMH>"  # fmt: skip
RUBBISH: dict[str, tuple[Callable[[Request, Reply], None], str]] = {
    "a page": (spoilt(lambda _: b"<html><body>Welcome"), "is not XML|not OAI-PMH"),
    "JSON": (spoilt(lambda _: b"{}"), "is not XML"),
    "nothing": (spoilt(lambda _: b""), "is not XML"),
    "half an answer": (spoilt(lambda body: body[: len(body) // 2]), "is not XML"),
    "other XML": (spoilt(lambda _: b"<VOTABLE/>"), "the root element of its response to .* is VOTABLE, not OAI-PMH"),
    "a bomb": (spoilt(lambda _: BOMB), "is not XML|not OAI-PMH"),
    "no list": (spoilt(lambda body: body.replace(b"ListRecords", b"ListSets")), "contains no list of records"),
    "a record without a name": (spoilt(replace_bytes(b"<identifier>ivo://Example/r3</identifier><dat", b"<dat")), "no identifier"),
    "an error": (spoilt(lambda body: body[: body.index(b"<ListRecords>")] + b'<error code="badArgument">what?</error></OAI-PMH>'), "rejected the request: badArgument what\\?"),
    "another version": (spoilt(replace_bytes(b">2.0<", b">1.1<"), "Identify", 1), "version is 1.1"),
    "no identity": (spoilt(replace_bytes(b"Identify>", b"Other>"), "Identify", 1), "has no description"),
    "a wheel": (lambda asked, reply: setattr(reply, "body", wheel(asked, reply.body)), "returned the same resumption token twice"),
}  # fmt: skip


@pytest.mark.parametrize("what", RUBBISH)
def test_invalid_responses_are_reported_and_never_used_in_part(tmp_path: Path, what: str) -> None:
    one = world(9)
    with serve(one) as url:
        follower = Follower(tmp_path, url=url, full=0)
        known = follower.read("title")
        one.put_record("ivo://Example/r0", build_record("ivo://Example/r0", "Changed"))
        one.alter_reply, words = RUBBISH[what]
        one.asked.clear()
        with pytest.raises(UserError, match=words) as caught:
            follower.read()
        assert "Hven discarded this harvest" in (caught.value.remedy or "")
        assert not list(tmp_path.rglob("incoming"))
        kept = follower.source(again=True)
        kept._harvest._harvest_repositories = lambda _state: None  # what there is, without asking
        assert sorted(row["title"] for batch in kept.read_batches() for row in batch.to_pylist()) == known


def test_an_expired_token_restarts_the_list_once(tmp_path: Path) -> None:
    one = world(9)
    with serve(one) as url:
        one.alter_reply = lambda asked, _reply: one.pending_lists.clear() if len(one.asked) == 3 else None
        assert len(Follower(tmp_path, url=url).read()) == 9
        assert one.list_requests().count("ListRecords") == 8
        one.alter_reply = lambda _asked, _reply: one.pending_lists.clear()
        with pytest.raises(SourceError, match="rejected the request: badResumptionToken"):
            Follower(tmp_path / "other", url=url).read()


def test_records_that_hold_nothing_or_lie_are_left_out_and_counted(tmp_path: Path) -> None:
    one = world(2, page=9)
    one.put_record("ivo://Example/empty", "")
    one.put_record("ivo://Example/r9", build_record("ivo://other.authority/r9", "Mine now"))
    with serve(one) as url:
        follower = Follower(tmp_path, url=url)
        assert follower.read() == ["ivo://Example/r0", "ivo://Example/r1"]
        assert [text.partition(": ")[2] for text in follower.told] == [
            "1 records were left out: they are empty",
            "1 records were left out: their own identifier differs from the identifier in their header",
        ]


@pytest.mark.parametrize(("budget", "error"), [({"bytes": 3000}, TooLargeError), ({"total": 1e-6}, SourceError)])
def test_a_harvest_has_a_budget(tmp_path: Path, budget: dict[str, float], error: type[UserError]) -> None:
    with serve(world(9)) as url, pytest.raises(error):
        Follower(tmp_path, url=url, **budget).read()
    assert not list(tmp_path.rglob("*.xml"))


def test_an_answer_that_unpacks_to_much_is_no_way_round_the_budget(tmp_path: Path) -> None:
    one = world(1)

    def spoil(_asked: Request, reply: Reply) -> None:
        reply.body = gzip.compress(b"<OAI-PMH>" + b" " * 50_000_000)
        reply.headers["Content-Encoding"] = "gzip"

    one.alter_reply = spoil
    with serve(one) as url, pytest.raises(TooLargeError):
        Follower(tmp_path, url=url, bytes=1_000_000).read()


def test_what_a_record_has_several_of_has_numbers_and_types_canonical_prefixes(tmp_path: Path) -> None:
    one = OaiServer()
    more = build_capability() + build_capability("https://b.example/") + build_tables("a", "b")
    one.put_record(
        "ivo://x.y/z", build_record("ivo://x.y/z", "Z", more).replace("vs:", "own:").replace("xmlns:vs", "xmlns:own")
    )
    with serve(one) as url:
        each = {"each": "Resource//*[@number]", "fields": {"what": "concat(local-name(), @number)", "type": "@*[local-name() = 'type']", "where": "$path"}}  # fmt: skip
        found = [
            row for batch in Follower(tmp_path, url=url, **each).source().read_batches() for row in batch.to_pylist()
        ]
        assert [row["what"] for row in found] == ["capability1", "interface1", "capability2", "interface2", "schema1", "table1", "table2"]  # fmt: skip
        assert found[1] == {"what": "interface1", "type": "vs:ParamHTTP", "where": "/Resource/capability/interface"}


def test_columns_of_fields_need_no_harvest_and_a_first_look_one_answer(tmp_path: Path) -> None:
    one = world(9)
    with serve(one) as url:
        options = oai.Options.model_validate({"url": url, "fields": FIELDS})
        looked = oai.open(options, SourceContext(directory=tmp_path, allow_private=True))
        assert [column.name for column in looked.list_columns()] == list(FIELDS)
        assert one.asked == []
        assert sum(batch.num_rows for batch in looked.read_batches(["id"])) == 2
        assert one.list_requests() == ["Identify", "ListRecords"]
    assert list(tmp_path.iterdir()) == []

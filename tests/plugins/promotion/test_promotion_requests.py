"""Requests to ``/promotions`` without a server: which collections and snapshots are sent, and how many reads at once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import numpy as np
import pyarrow as pa
import pytest
from promotion_sites import SitePair, create_sites
from starlette.requests import Request

from hven.model.errors import ForbiddenError, NotFoundError, SourceError
from hven.model.settings import load_settings
from hven.plugins.promotion import promotion_service, remote_sites
from hven.plugins.promotion.pinned_directories import find_own_file, list_own_files
from hven.plugins.promotion.promotion_service import _PromotionEndpoints
from hven.plugins.promotion.row_copies import StoredRows, build_row_hashes, compare_rows
from hven.plugins.promotion.settings import find_target_faults
from hven.site import Site


@pytest.fixture
def pair(tmp_path: Path) -> SitePair:
    pair = create_sites(tmp_path)
    (pair.dev / "hven.toml").write_text('keep_snapshots = 4\n[targets.gold]\naccount = "gold"\n')
    pair.publish_version(1)
    return pair


def create_endpoints(site: Site) -> _PromotionEndpoints:
    principal = SimpleNamespace(is_anonymous=False, name="gold", impersonator=None)
    context: Any = SimpleNamespace(site=site, identify_principal=lambda _: principal)
    return _PromotionEndpoints(context)


def build_request(method: str = "GET", query: str = "", **path_params: str) -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": method, "path_params": path_params, "query_string": query.encode()}
    return Request(scope | {"headers": [], "path": "/promotions"}, receive)


def find_record(site: Site) -> Any:
    return site.store.read_published_records()[1]["stars.main"]


def test_only_published_snapshots_are_sent(pair: SitePair) -> None:
    with pair.open_dev() as dev:
        earlier_id = find_record(dev).id
    pair.publish_version(2)
    with pair.open_dev() as dev:
        endpoints = create_endpoints(dev)
        assert earlier_id in {record.id for record in dev.store.list_snapshots("stars")}, "the rows are kept"
        for method, answer in (("POST", endpoints.answer_rows), ("GET", endpoints.answer_hashes)):
            request = build_request(method, f"snapshot={find_record(dev).id}", name="stars", table="main")
            assert anyio.run(answer, request).status_code == 200
            request = build_request(method, f"snapshot={earlier_id}", name="stars", table="main")
            with pytest.raises(NotFoundError, match="does not publish the snapshot"):
                anyio.run(answer, request)


def test_an_account_fetches_only_the_collections_of_its_target(pair: SitePair) -> None:
    path = pair.dev / "hven.toml"
    for names, expected in (('"planets"', '"collections": []'), ('"stars", "x"', '"collections": ["stars"]')):
        path.write_text(f'[targets.gold]\naccount = "gold"\ncollections = [{names}]\n')
        with pair.open_dev() as dev:
            endpoints = create_endpoints(dev)
            assert expected in bytes(anyio.run(endpoints.answer_list, build_request()).body).decode()
            query = f"snapshot={find_record(dev).id}"
            answers = [
                (endpoints.answer_manifest, build_request(name="stars")),
                (endpoints.answer_file, build_request(name="stars", path="note.txt")),
                (endpoints.answer_hashes, build_request("GET", query, name="stars", table="main")),
                (endpoints.answer_rows, build_request("POST", query, name="stars", table="main")),
            ]
            for answer, request in answers:
                if "stars" in names:
                    assert anyio.run(answer, request).status_code == 200
                else:
                    with pytest.raises(ForbiddenError, match="may not fetch the collection 'stars'"):
                        anyio.run(answer, request)


def test_collections_need_an_account(tmp_path: Path) -> None:
    (tmp_path / "hven.toml").write_text('[targets.x]\nurl = "http://127.0.0.1"\ntoken = "$X"\ncollections = ["a"]\n')
    (fault,) = find_target_faults(load_settings(tmp_path))
    assert "no effect without `account`" in fault.message


def test_reading_rows_counts_as_a_concurrent_read(pair: SitePair, monkeypatch: pytest.MonkeyPatch) -> None:
    with pair.open_dev() as dev:
        endpoints = create_endpoints(dev)
        counts: list[int] = []

        def write_parts(*_: object) -> Iterator[bytes]:
            for _part in range(3):
                counts.append(endpoints._limiter.borrowed_tokens)
                yield b"x"

        async def read_answer() -> bytes:
            query = f"snapshot={find_record(dev).id}"
            answer: Any = await endpoints.answer_rows(build_request("POST", query, name="stars", table="main"))
            data = b""
            async for part in answer.body_iterator:
                data += part
                assert endpoints._limiter.borrowed_tokens == 0, "a slow client keeps nobody from reading"
            return data

        monkeypatch.setattr(promotion_service, "_write_rows", write_parts)
        assert anyio.run(read_answer) == b"xxx"
        assert counts == [1, 1, 1]


@dataclass
class ManyRows:
    """Rows in some batches; see `StoredRows`."""

    table: Any
    batches: list[pa.RecordBatch]

    def read_batches(self) -> Iterator[pa.RecordBatch]:
        yield from self.batches

    def select_batches(self, mask: Any, column_names: list[str]) -> Iterator[pa.RecordBatch]:
        return StoredRows.select_batches(self, mask, column_names)  # type: ignore[arg-type]


def create_rows() -> ManyRows:
    texts = [pa.RecordBatch.from_pydict({"x": [f"{batch}-{row}" * 100 for row in range(64)]}) for batch in range(6)]
    return ManyRows(table=SimpleNamespace(arrow_schema=texts[0].schema), batches=texts)


def read_parts(rows: ManyRows, mask: Any) -> tuple[list[bytes], list[pa.RecordBatch]]:
    parts = list(promotion_service._write_rows(rows, mask))  # type: ignore[arg-type]
    return parts, list(pa.ipc.open_stream(b"".join(parts)))


def test_a_search_for_few_rows_sends_empty_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promotion_service, "EMPTY_BATCH_INTERVAL_SECONDS", 0.0, raising=False)
    rows = create_rows()
    mask = np.zeros(6 * 64, bool)
    mask[-1] = True
    parts, batches = read_parts(rows, mask)
    assert len(parts) >= 6
    assert all(parts), "each part has bytes"
    assert [batch.num_rows for batch in batches] == [0, 0, 0, 0, 0, 1]
    assert batches[-1].to_pylist() == rows.batches[-1].slice(63).to_pylist()


def test_large_batches_are_split_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promotion_service, "MAX_SENT_BATCH_BYTES", 2_000, raising=False)
    rows = create_rows()
    parts, batches = read_parts(rows, np.ones(6 * 64, bool))
    assert max(map(len, parts)) < 4_000
    assert pa.Table.from_batches(batches).equals(pa.Table.from_batches(rows.batches))
    assert promotion_service.MAX_SENT_BATCH_BYTES < remote_sites.MAX_BATCH_BYTES


@pytest.mark.parametrize(
    ("waits", "writes", "scanned_bytes", "is_given_up"),
    [
        ([30, 30, 30], 0, 0, True),
        ([15] * 20, 0, 10**9, False),  # it finds a few rows in a large snapshot
        ([15] * 100, 0, 10**9, True),
        ([1, 1, 1, 1], 100, 0, False),  # this site writes slowly
        ([1_000] * 40, 0, 10**15, True),  # the time has a limit, whatever the manifest says
    ],
)
def test_slow_answers(
    monkeypatch: pytest.MonkeyPatch, waits: list[int], writes: int, scanned_bytes: int, is_given_up: bool
) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(remote_sites, "time", SimpleNamespace(monotonic=lambda: clock.now))

    def send_parts() -> Iterator[bytes]:
        for seconds in waits:
            clock.now += seconds
            yield b"x" * 100

    def read_all() -> int:
        count = 0
        for _ in remote_sites._check_speed(send_parts(), "http://x", scanned_bytes):
            clock.now += writes
            count += 1
        return count

    if is_given_up:
        with pytest.raises(SourceError, match="sent only"):
            read_all()
    else:
        assert read_all() == len(waits)


def test_a_file_is_found_without_a_search(pair: SitePair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = pair.dev / "collections/stars"
    for name in ("a/b/c.txt", ".hidden/x", "a/.y", "z.part", "folder.part/x"):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(name)
    (directory / "link").symlink_to(directory / "a")
    (directory / "outside").symlink_to(tmp_path)
    with pair.open_dev() as dev:
        resource = dev.get_published_state().resources["stars"]
        endpoints = create_endpoints(dev)
        files = list_own_files(resource)
        assert {"a/b/c.txt", "link", "folder.part/x", "stars.yaml"} <= files.keys()
        monkeypatch.setattr(os, "walk", None)
        assert {name: find_own_file(resource, name) for name in files} == files
        refused_names = [".hidden/x", "a/.y", "z.part", "link/b/c.txt", "outside/dev/hven.toml", "../../hven.toml", "a"]
        for name in [*refused_names, "", "/etc/passwd", "a//b/c.txt", "x" * 5_000, "\0"]:
            assert find_own_file(resource, name) is None, name
        answer: Any = anyio.run(endpoints.answer_file, build_request(name="stars", path="a/b/c.txt"))
        assert answer.path == directory / "a/b/c.txt"
        with pytest.raises(NotFoundError, match="has no file 'link'") as caught:
            anyio.run(endpoints.answer_file, build_request(name="stars", path="link"))
        assert caught.value.remedy


def test_few_changes_need_the_hashes_of_few_rows() -> None:
    random = np.random.default_rng(46)
    keys, values = random.integers(0, 2**64, (2, 200_000), dtype=np.uint64)
    changed_values = values.copy()
    changed_values[:100] = random.integers(0, 2**64, 100, dtype=np.uint64)
    origin, target = build_row_hashes(keys, values), build_row_hashes(keys, changed_values)
    rows = origin.select_blocks(~origin.find_equal_blocks(target))
    assert set(range(100)) <= set(rows.positions.tolist())
    assert len(rows.keys) < 2_500  # 12 rows in each of 100 blocks, and by chance some more
    difference = compare_rows(origin, target)
    assert (difference.added, difference.changed, difference.removed_count) == (0, 100, 0)


def test_the_digest_is_that_of_256_blocks() -> None:
    """Publications of earlier versions of Hven have recorded it."""
    random = np.random.default_rng(46)
    keys, values = random.integers(0, 2**64, (2, 1_000), dtype=np.uint64)
    blocks = (keys >> np.uint64(56)).astype(np.int64)
    sums = np.zeros(256, np.uint64)
    np.add.at(sums, blocks, values)
    content = np.bincount(blocks, minlength=256).astype("<i8").tobytes() + sums.astype("<u8").tobytes()
    assert build_row_hashes(keys, values).digest == hashlib.sha256(content).hexdigest()[:32]

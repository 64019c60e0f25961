"""Requests to ``/promotions`` without a server: which collections and snapshots are sent, and how many reads at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from promotion_sites import SitePair, create_sites
from starlette.requests import Request

from hven.model.errors import ForbiddenError, NotFoundError
from hven.model.settings import load_settings
from hven.plugins.promotion import promotion_service
from hven.plugins.promotion.promotion_service import _PromotionEndpoints
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
            assert expected in anyio.run(endpoints.answer_list, build_request()).body.decode()
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
        counts = []

        def write_parts(*_: object) -> Iterator[bytes]:
            for _ in range(3):
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

"""Pages of rows while new states are published: of one state as long as it is kept, then behind the same row in that of now."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.model.table import Column, Table
from hven.model.types import INT32
from hven.site import Site
from hven.testing.site import open_tiny_site, publish_rows

TABLE = Table(
    schema="a",
    name="t",
    primary=("id",),
    columns=(Column(name="id", type=INT32, rank=1), Column(name="value", type=INT32)),
)
HERE = "/collections/a/t"
SORTED = ("", "-value")


def rows(*ids: int) -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.int32()), "value": pa.array([7 * one % 13 for one in ids], pa.int32())})


def later(site: Site, turn: int) -> None:
    """Publish rows before, between and behind those that there were, and leave some out."""
    publish_rows(site, TABLE, rows(*range(-3 * turn, 0), *range(turn, 90 + turn)))
    site.refresh_published_state()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with open_tiny_site(tmp_path, {"a.t": (TABLE, rows(*range(90)))}) as made:
        yield made


def ask(client: Client, **params: str) -> Any:
    answer = client.get(f"{HERE}/rows", **params)
    assert answer.status == 200, answer.text
    return json.loads(answer.body)


@pytest.mark.parametrize("order", SORTED)
def test_pages_are_of_the_state_that_they_began_with(site: Site, order: str) -> None:
    client = Client(create_and_start_application(site))
    first = ask(client, _size="10", _sort=order)
    assert (first["total"], first["lost"]) == (90, False)
    found = [row[0] for row in first["rows"]]
    for turn in range(1, 9):
        later(site, turn)
        page = ask(client, _from=str(10 * turn), _size="10", _sort=order, _asof=first["state"])
        assert (page["total"], page["state"], page["lost"]) == (90, first["state"], False)
        found += [row[0] for row in page["rows"]]
    assert len(found) == len(set(found)) == 90, "no row twice, none left out"
    assert sorted(map(int, found)) == list(range(90))
    assert ask(client)["total"] == 90 + 3 * 8
    assert ask(client)["state"] != first["state"]


@pytest.mark.parametrize("order", SORTED)
def test_pages_without_scripts_too_and_when_the_state_is_swept(site: Site, order: str) -> None:
    client = Client(create_and_start_application(site))
    address, found, lost = f"?_size=10&_sort={order}", [], []
    for turn in range(1, 20):
        page = client.ask("GET", f"{HERE}{address}", headers={"accept": "text/html"}).text
        found += [json.loads(unescape(key))[0] for key in re.findall(r'<tr data-key="([^"]+)"', page)]
        lost.append("no longer kept" in page)
        following = re.search(r'<a href="([^"]+)" rel="next">', page)
        if following is None:
            break
        address = unescape(following[1])
        assert "_asof=" in address
        if turn <= 4:
            later(site, turn)
        if turn == 4:
            site.store.prune_snapshots("a", 1)
            site.refresh_published_state()
    assert lost == [False] * 4 + [True] + [False] * (len(lost) - 5), "it is said once"
    stable = set(range(4, 90))
    assert stable <= set(found), "rows of both states"
    assert len(found) == len(set(found))


def test_a_state_of_nobody_is_none(site: Site) -> None:
    client = Client(create_and_start_application(site))
    for wrong in ("yesterday", "20000101T000000-000001", "1999-12-31", "~", "x" * 5000, "%", "' OR 1=1"):
        page = ask(client, _asof=wrong, _from="10")
        assert (page["lost"], page["from"], page["total"], page["faults"]) == (True, 10, 90, [])

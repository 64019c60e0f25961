"""The page of queries and what its script asks for: answers, plots of all rows, explanations; all for who may see them."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any
from urllib.parse import urlencode

import pytest
from asgi_client import Client
from test_table_mocs import EVIL, NUMBER, client

from hven import formats
from hven.model.errors import TimeLimitError
from hven.plugins.query_pages import editor_page
from hven.portal._views.disconnect import RunningQueries, run_while_connected

__all__ = ["client"]


def fetch_editor_json(client: Client, what: str, query: str, **more: str) -> Any:
    answer = client.get(f"/adql/{what}", QUERY=query, **more)
    assert answer.status == 200, answer.text
    return json.loads(answer.body)


def test_the_part_of_the_page_that_is_the_answer(client: Client) -> None:
    answer = client.get("/adql/answer", QUERY="SELECT id, note FROM stars.main ORDER BY id")
    assert answer.status == 200
    assert "<html" not in answer.text
    assert "<b>1,000</b>" in answer.text
    assert EVIL not in answer.text
    assert "&lt;script&gt;" in answer.text
    assert answer.text.count('name="RESPONSEFORMAT"') == len(formats.load_formats())
    assert "frame-ancestors" in answer.headers["content-security-policy"]
    wrong = client.get("/adql/answer", QUERY=f"SELECT nothing FROM stars.main WHERE note = '{EVIL}'")
    assert wrong.status == 400
    assert "line 1, column 8" in wrong.text
    assert EVIL not in wrong.text


def test_an_answer_counts_one_row_where_there_is_one(client: Client) -> None:
    answer = client.get("/adql/answer", QUERY="SELECT COUNT(*) AS n FROM stars.main").text
    assert '<p class="count"><b>1</b> row <span' in answer


def test_plots_are_of_all_rows(client: Client) -> None:
    found = fetch_editor_json(client, "histogram", "SELECT id * 2 AS twice FROM stars.main", _x="twice")
    assert (sum(found["counts"]), found["low"]) == (NUMBER, 0)
    found = fetch_editor_json(client, "points", "SELECT ra, dec, note FROM stars.main", _x="ra", _y="dec", _c="note")
    assert [len(values) for values in found["values"]] == [NUMBER] * 3
    assert [one["unit"] for one in found["axes"]] == ["°", "°", ""]
    for parameters, text in (
        ({"_x": "nothing"}, "no column"),
        ({"_x": "note"}, "neither numbers nor times"),
        ({}, "no column was specified"),
    ):
        answer = client.get("/adql/histogram", QUERY="SELECT ra, note FROM stars.main", **parameters)
        assert answer.status == 400
        assert text in json.loads(answer.body)["message"]


@pytest.mark.parametrize("what", ["answer", "rows", "explain", "histogram", "points"])
def test_what_is_private_is_not_told(client: Client, what: str) -> None:
    answer = client.get(f"/adql/{what}", QUERY="SELECT ra FROM secret.main", _x="ra")
    assert answer.status == 400
    assert "no table" in answer.text
    near = client.get(f"/adql/{what}", QUERY="SELECT ra FROM secrt.main", _x="ra")
    assert near.status == 400
    assert "secret" not in near.text, "not a name of it is proposed"


def test_how_a_query_would_be_run(client: Client) -> None:
    assert "5 rows" in fetch_editor_json(client, "explain", "SELECT TOP 5 * FROM stars.main")["plan"]
    assert client.get("/adql/explain", QUERY="").status == 400


def test_a_page_does_not_wait_for_a_slow_query(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float | None] = []

    def slow(*_: object, timeout_seconds: float | None = None, **__: object) -> None:
        waited.append(timeout_seconds)
        raise TimeLimitError("it took too long", remedy="ask less")

    monkeypatch.setattr(editor_page, "_run_query", slow)
    query = "SELECT * FROM stars.main"
    page = client.ask("GET", f"/adql?{urlencode({'QUERY': query})}", headers={"accept": "text/html"})
    assert page.status == 200
    assert "data-slow" in page.text
    assert "_wait=1" in page.text
    assert query in page.text
    there = client.ask("GET", f"/adql?{urlencode({'QUERY': query, '_wait': '1'})}", headers={"accept": "text/html"})
    assert there.status != 200
    assert waited == [editor_page.ANSWER_WAIT_SECONDS, None]


def test_who_leaves_stops_what_was_asked() -> None:
    cancelled = threading.Event()

    class Query:
        def cancel(self) -> None:
            cancelled.set()

    class Reader:
        async def receive(self) -> dict[str, str]:
            return {"type": "http.disconnect"}

    def make(waiting: RunningQueries) -> bool:
        waiting.add_query(Query())  # type: ignore[arg-type]
        return cancelled.wait(30)

    assert asyncio.run(run_while_connected(Reader(), make))  # type: ignore[arg-type]
    late = RunningQueries()
    late.cancel_present_and_later_queries()
    cancelled.clear()
    late.add_query(Query())  # type: ignore[arg-type]
    assert cancelled.is_set(), "what begins when nobody waits any more is stopped at once"


def test_the_editor_asks_no_survey(client: Client) -> None:
    page = client.ask("GET", "/adql", headers={"accept": "text/html"})
    assert "hips.example.org" not in page.headers["content-security-policy"]

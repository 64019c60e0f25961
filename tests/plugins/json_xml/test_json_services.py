"""Plain pages of JSON as sources: every record once, what is new alone, bad answers told and nothing taken for the whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from hven.model import plugins
from hven.model.errors import SourceError
from hven.model.settings import Settings
from hven.sources import SourceContext, _rate_limiting
from hven.testing.source import SourceContract
from json_servers import RestServer, serve
from plugin_needs import create_descriptor, write_table_draft

OPEN = SourceContext(allow_private=True)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_rate_limiting, "FIRST_PAUSE_SECONDS", 0.0)


def open_source(kind: str, url: str, context: SourceContext = OPEN, **options: Any) -> Any:
    module = plugins.load_plugin("sources", kind)
    return module.open(module.Options.model_validate({"url": url, "tries": 2, **options}), context)


def read(source: Any, *names: str) -> list[Any]:
    found = [one for batch in source.read_batches(list(names)) for one in batch.to_pylist()]
    return [one[names[0]] for one in found] if len(names) == 1 else found


class TestRest(SourceContract):
    kind = "rest"
    has_files = False
    key: ClassVar[list[str]] = ["n"]
    rows: ClassVar[list[dict[str, Any]]] = [{"n": at, "name": f"é{at}"} for at in range(5)]

    @pytest.fixture(autouse=True)
    def _served(self) -> Iterator[None]:
        with serve(RestServer(rows=[dict(one) for one in self.rows], way="cursor")) as self.url:
            yield

    def write_source_files(self, directory: Path) -> dict[str, Any]:
        return {
            "url": self.url,
            "records": "data.items",
            "next": "next_cursor",
            "cursor": "cursor",
            "newer": {"n": "since"},
        }

    def build_source_context(self, directory: Path) -> SourceContext:
        return SourceContext(directory=directory, allow_private=True)


WAYS: dict[str, dict[str, Any]] = {
    "link": {},
    "header": {},
    "cursor": {"next": "next_cursor", "cursor": "cursor"},
    "offset": {"offset": "skip", "limit": "size"},
    "number": {"number": "page"},
}


@pytest.mark.parametrize("posts", [True, False])
@pytest.mark.parametrize("count", [{}, {"count": "count"}])
@pytest.mark.parametrize("way", WAYS)
def test_every_paging_method_returns_each_record_once(way: str, count: dict[str, str], posts: bool):
    if posts and way in {"link", "header"}:
        return
    world = RestServer(rows=[{"n": at} for at in range(5)], way=way)
    with serve(world) as url:
        more = {"body": {"q": 1}} if posts else {"params": {"q": 1}}
        source = open_source("rest", url, records="data.items", **WAYS[way], **count, **more)
        assert read(source, "n") == list(range(5))
        pages = list(source.read_pages())
        place = pages[0][1]
        rest = [one["n"] for batch, _ in source.read_pages(["n"], place) for one in batch.to_pylist()]
        assert rest == [2, 3, 4]
        assert all(
            (one.body or {}).get("q") == 1 if posts else one.given.get("q") == "1" or way in {"link", "header"}
            for one in world.asked
        )


def test_records_are_found_and_missing_ones_told():
    world = RestServer(rows=[{"n": at} for at in range(5)], way="cursor")
    with serve(world) as url:
        with pytest.raises(SourceError, match=r"page 1 has no list 'data\.itms'"):
            read(open_source("rest", url, records="data.itms"), "n")
        world.alter_reply = lambda _asked, reply: setattr(
            reply, "body", reply.body.replace(b'"count": 5', b'"count": 6')
        )
        with pytest.raises(SourceError, match="stated a total of 6 records, but returned 5"):
            read(open_source("rest", url, records="data.items", count="count", **WAYS["cursor"]), "n")
        with pytest.raises(SourceError, match="cannot be combined"):
            open_source("rest", url, cursor="c", next="n", offset="o")


def test_an_ignored_offset_aborts_the_read():
    world = RestServer(rows=[{"n": at} for at in range(5)], way="number")
    with serve(world) as url, pytest.raises(SourceError, match="same page twice"):
        read(open_source("rest", url, records="data.items", offset="skip"), "n")


# --- hven new --------------------------------------------------------------------------------------------------------


def test_new_drafts_no_descriptor_of_pages_without_a_list(tmp_path: Path):
    settings = Settings(directory=tmp_path, allow_private=True)
    rest = RestServer(rows=[{"n": at} for at in range(5)], way="header")
    with serve(rest) as url, pytest.raises(SourceError, match="no list"):
        create_descriptor(settings, "broken", url, kind="rest")


def test_new_asks_for_each_page_once(tmp_path: Path):
    rest = RestServer(rows=[{"n": at, "name": f"a{at}"} for at in range(5)], way="link")
    with serve(rest) as url:
        write_table_draft("plain", "rest", {"url": url, "records": "data.items"}, tmp_path, allow_private=True)
        asked = [one.given.get("from") for one in rest.asked]
        assert asked == [None, "2", "4"], "it is looked at for its columns, its rows, its key"
        write_table_draft("plain", "rest", {"url": url, "records": "data.items"}, tmp_path, allow_private=True)
        assert len(rest.asked) == 6, "who looks again later asks again"

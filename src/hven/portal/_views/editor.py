"""``/adql``: a page to write queries on, with the tables beside it, examples, marks at what is wrong, and the rows below.

``/adql/check`` says what is wrong and where without running anything, ``/adql/explain`` what a query would cost, ``/adql/words`` what the editor
completes, ``/adql/rows`` answers a query with its first rows as people read them (``/adql/answer`` as the page shows them), ``/adql/histogram`` and
``/adql/points`` are what plots draw of all of them. A reader who goes stops what was asked. The whole answer, in any format, is ``/tap/sync``'s; a long one is a job's.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import anyio.to_thread
from starlette.routing import Route

from hven import formats, query
from hven import services as dali
from hven import site as holdings
from hven.adql.functions import QUERY
from hven.adql.reserved import RESERVED
from hven.adql.text import quote
from hven.model.errors import ParamError, QueryError, Timeout, UserError, say
from hven.model.table import Table
from hven.portal._explore.cell_text import cells, headings
from hven.portal._explore.plots import plotted
from hven.portal._explore.plots_json import axes
from hven.portal._explore.query_answers import answer
from hven.portal._explore.rows import Page as Rows
from hven.portal._pages import HUB
from hven.portal._pages.texts import texts
from hven.portal._views import plot_data as drawn
from hven.portal._views.disconnect import Waiting, attended
from hven.portal._views.downloads import lines
from hven.portal._views.page_formats import Asked, Page, json_page, page, wants_json
from hven.portal._views.table_page import asking, cell, columns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.services.face import Surroundings

SHOWN = 1000  # rows that a page shows of an answer
LONGEST = 60_000  # characters of an address
ADDRESS = 8_000  # characters of one that other programs are given
SOON = 2.0  # seconds that the page waits for an answer; longer ones are asked for by its script
WAIT = "_wait"


def routes(around: Surroundings) -> Sequence[Route]:
    """Return the page and what its editor asks for."""

    def threaded(make: Callable[[Asked], dict[str, Any]]) -> Callable[[Asked], Any]:
        async def one(state: Asked) -> Page:
            return Page(template="", content=await anyio.to_thread.run_sync(make, state))

        return one

    def attending(make: Callable[[Asked, Waiting], dict[str, Any]]) -> Callable[[Asked], Any]:
        async def one(state: Asked) -> Page:
            return Page(template="", content=await attended(state.request, lambda waiting: make(state, waiting)))

        return one

    async def editor(state: Asked) -> Page:
        return await attended(state.request, lambda waiting: _page(state, waiting))

    async def alone(state: Asked) -> Page:
        return await attended(state.request, lambda waiting: _alone(state, waiting))

    return [
        Route("/adql", page(editor, around, guards={"styles": True, "connect": HUB})),
        Route("/adql/answer", page(alone, around)),
        Route("/adql/check", json_page(threaded(_check), around)),
        Route("/adql/explain", json_page(threaded(_explain), around)),
        Route("/adql/words", json_page(threaded(_words), around)),
        Route("/adql/rows", json_page(attending(_rows), around)),
        Route("/adql/histogram", json_page(attending(_histogram), around)),
        Route("/adql/points", json_page(attending(_points), around)),
    ]


def _asked(state: Asked) -> str:
    text = state.request.query_params.get("QUERY") or state.request.query_params.get("query") or ""
    if len(text) > LONGEST:
        raise ParamError(
            say("a query of {count:,} characters", len(text)),
            name="QUERY",
            remedy="send it to /tap/sync by POST, or as a job",
        )
    return text.strip()


def _page(state: Asked, waiting: Waiting) -> Page:
    """Show the editor; with a query in the address its answer, if that comes soon: else the editor's script asks for it."""
    text = _asked(state)
    wait = bool(state.request.query_params.get(WAIT))
    found = [
        {"name": one.name, "query": one.query, "description": one.description or ""}
        for one in holdings.examples(state.holdings, state.who, state.around.policies)
    ]
    tables = [
        {
            "schema": schema.name,
            "title": schema.title or "",
            "tables": [
                {
                    "name": f"{quote(table.schema)}.{quote(table.name)}",
                    "title": table.title or table.description or "",
                    "columns": _columns(table),
                }
                for table in schema.tables
            ],
        }
        for schema in state.catalogue.schemas
    ]
    content: dict[str, Any] = {
        "text": text,
        "examples": found,
        "schemas": tables,
        "formats": formats.menu_entries(),
        "answer": None,
        "fault": None,
        "slow": False,
    }
    if text:
        try:
            content["answer"] = _answer(
                text, state, waiting, seconds=None if wait or wants_json(state.request) else SOON
            )
        except Timeout:
            if wait or wants_json(state.request):
                raise
            content["slow"] = True
        except UserError as error:
            content["fault"] = _fault(error, state)
    return Page(
        template="adql.html",
        content=content,
        twin={"query": text, "examples": found, "fault": content["fault"], "answer": content["answer"]},
    )


def _alone(state: Asked, waiting: Waiting) -> Page:
    """Return the answer as the page shows it, and nothing around it: what the editor's script puts below the query."""
    try:
        return Page(template="answer.html", content={"answer": _answer(_given(state), state, waiting), "fault": None})
    except UserError as error:
        return Page(
            template="answer.html",
            content={"answer": None, "fault": _fault(error, state)},
            status=dali.status_of(error),
        )


def _columns(table: Table) -> list[dict[str, str]]:
    return [
        {"name": quote(column.name), "unit": column.unit or "", "description": column.description or ""}
        for column in table.columns
        if not column.hidden
    ]


def _check(state: Asked) -> dict[str, Any]:
    """Check whether a query can be run, and if not where and why."""
    text = _asked(state)
    if not text:
        return {"fault": None, "columns": []}
    try:
        with asking(state).run(text, most=0, seconds=None) as result:
            return {
                "fault": None,
                "columns": [{"name": column.name, "unit": column.unit or ""} for column in result.columns],
            }
    except UserError as error:
        return {"fault": _fault(error, state), "columns": []}


def _fault(error: UserError, state: Asked) -> dict[str, Any]:
    found: dict[str, Any] = dict(state.told.fault(error))
    remedy = say(error.remedy)
    if remedy.code.startswith("did you mean {name"):
        found["meant"] = remedy.values["name"]
    if isinstance(error, QueryError):
        found |= {"offset": error.offset, "line": error.line, "column": error.column}
    return found


def _words(state: Asked) -> dict[str, Any]:
    """Return what the editor completes: tables with their columns, functions with their forms, the words of the language."""
    tables = [
        {
            "name": f"{quote(table.schema)}.{quote(table.name)}",
            "title": table.title or table.description or "",
            "columns": _columns(table),
        }
        for table in state.catalogue.tables()
    ]
    said = texts(state.language)
    functions = [
        {
            "name": entry.name,
            "forms": [str(form.text) for form in entry.signatures],
            "description": said.get(entry.doc, entry.doc),
        }
        for entry in QUERY
    ]
    return {"tables": tables, "functions": functions, "words": sorted(RESERVED)}


def _explain(state: Asked) -> dict[str, Any]:
    """Explain which road a query would take, and how many rows it would read."""
    return {"plan": query.explain(_given(state), state.who, site=state.around.site, policies=state.around.policies)}


def _given(state: Asked) -> str:
    text = _asked(state)
    if not text:
        raise ParamError("there is no query", name="QUERY", remedy="write one, or begin with an example")
    return text


def _rows(state: Asked, waiting: Waiting) -> dict[str, Any]:
    return _answer(_given(state), state, waiting)


def _answer(text: str, state: Asked, waiting: Waiting, *, seconds: float | None = None) -> dict[str, Any]:
    """Run a query and return its first rows, with the ways to take all of them."""
    begun = time.perf_counter()
    with asking(state).attended(waiting.begun).run(text, most=SHOWN, seconds=seconds) as result:
        rows = result.table()
        found = Rows(columns=result.columns, rows=rows, keys=("",) * rows.num_rows, offset=0, more=result.overflow)
        every = Table(
            schema="",
            name="answer",
            columns=result.columns,
            enums={name: words for one in result.tables for name, words in one.enums.items()},
        )
    return {
        "columns": columns(headings(found, every)),
        "rows": [[cell(one) for one in row] for row in cells(found, every)],
        "more": found.more,
        "shown": SHOWN,
        "seconds": round(time.perf_counter() - begun, 3),
        "adql": text,
        **_taken(text, state),
        "plotted": axes([one for one in every.columns if plotted(one)]),
    }


def _taken(text: str, state: Asked) -> dict[str, Any]:
    """Return the ways out of an answer: its address for other programs, lines to copy."""
    most = str(state.around.site.settings.limits.maxrec_hard)
    asked = {"LANG": "ADQL", "REQUEST": "doQuery", "MAXREC": most}
    address = f"{state.base}/tap/sync?{urlencode({**asked, 'RESPONSEFORMAT': 'votable', 'QUERY': text})}"
    return {
        "here": f"{state.base}/adql",
        "table": address if len(address) <= ADDRESS else "",
        "download": f"{state.base}/tap/sync?{urlencode(asked)}",
        "formats": formats.menu_entries(),
        "lines": lines(text, state.base),
    }


def _histogram(state: Asked, waiting: Waiting) -> dict[str, Any]:
    return drawn.histogram(*answer(_given(state), asking(state), waiting.begun), state)


def _points(state: Asked, waiting: Waiting) -> dict[str, Any]:
    return drawn.points(*answer(_given(state), asking(state), waiting.begun), state)

"""``/results``: persistent addresses of results: made by POST of a query; a page says what it was, how to cite it, and whether the rows are still the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio.to_thread
import orjson
from starlette.responses import Response
from starlette.routing import Route

from hven import formats
from hven import services as dali
from hven.formats import Info
from hven.model.errors import HvenError, NotFound, ParamError, say
from hven.portal._views.facts import cited_at
from hven.portal._views.page_formats import Asked, Page, asked, page, refused, wants_json
from hven.query import cited_results
from hven.services.face import careful
from hven.site.auth import kept_rights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

    from hven.model.resource import CitedResult
    from hven.query import Result
    from hven.services.face import Surroundings

FORM = 1024**2  # bytes of a query


def routes(around: Surroundings) -> Sequence[Route]:
    """Route the addresses of results."""

    async def make(request: Request) -> Response:
        state = asked(request, around)
        params = await dali.read(request, FORM)
        text = params.one("QUERY")
        if not text:
            raise ParamError("which query?", name="QUERY", remedy="send it by POST, as to /tap/sync")
        host = state.who.name or (request.client.host if request.client is not None else "")
        maxrec = params.whole("MAXREC")
        found = await anyio.to_thread.run_sync(lambda: cited_results.make(text, state.who, site=around.site, policies=around.policies, maker=host, maxrec=maxrec))  # fmt: skip
        url = f"{state.brand.root}/results/{found.id}"
        if wants_json(request):
            return Response(orjson.dumps({"url": url, **_plain(found)}), 201, {"location": url, "content-type": "application/json", "cache-control": "no-store"})  # fmt: skip
        return Response(None, 303, {"location": url, "cache-control": "no-store"})

    async def rows(request: Request) -> Response:
        state = asked(request, around)
        found = _wanted(state)
        form = formats.select(request.query_params.get("RESPONSEFORMAT") or "votable")
        result: Result = await anyio.to_thread.run_sync(lambda: cited_results.ask(found, state.who, site=around.site, policies=around.policies))  # fmt: skip
        infos = [Info(name="QUERY", value=found.body["text"]), Info(name="result", value=f"{state.brand.root}/results/{found.id}")]  # fmt: skip
        name = f'attachment; filename="{found.id}.{form[0].extension.lstrip(".")}"'
        headers = {"cache-control": "no-cache", "content-disposition": name, "x-content-type-options": "nosniff"}
        return await dali.answer(request, result, form, headers=headers, infos=infos, base=dali.base(request, around.site.settings))  # fmt: skip

    async def shown(state: Asked) -> Page:
        return await anyio.to_thread.run_sync(_page, state, _wanted(state))

    return [
        Route("/results", careful(make, refused(around)), methods=["POST"]),
        Route("/results/{ident}/rows", careful(rows, refused(around))),
        Route("/results/{ident}", page(shown, around)),
    ]


def _wanted(state: Asked) -> CitedResult:
    ident = state.request.path_params["ident"].removesuffix(".json")
    found = state.around.site.store.results.find(ident)
    if found is None:
        raise NotFound(say("there is no result {ident!r} here", ident[:40]), remedy="addresses of results are kept as they were made: is it whole?")  # fmt: skip
    return found


def _plain(found: CitedResult) -> dict[str, Any]:
    body = found.body
    return {"id": found.id, "made": found.made, "query": body["text"], "maxrec": body["maxrec"], "rows": body["rows"], "checksum": body["checksum"], "snapshots": body["snapshots"], "software": body["software"]}  # fmt: skip


def _page(state: Asked, found: CitedResult) -> Page:
    site, policies = state.around.site, state.around.policies
    url = f"{state.brand.root}/results/{found.id}"
    known = [state.holdings.resources[name] for name in found.body["collections"] if name in state.holdings.resources]
    seen = {schema.name for schema in state.catalogue.schemas}
    if not known or not all(one.name in seen for one in known) or len(known) < len(found.body["collections"]):
        raise NotFound(say("there is no result {ident!r} here", found.id), remedy="its collections are not here any more, or not for everybody")  # fmt: skip
    # of what was everybody's when it was counted: a table without a rule of then must be seen whole
    if not kept_rights.is_open_still(
        dict.fromkeys(found.body["snapshots"], ""), state.holdings.published, state.who, policies
    ):
        raise NotFound(say("there is no result {ident!r} here", found.id), remedy="its collections are not here any more, or not for everybody")  # fmt: skip
    kept = cited_results.state(found, site)
    now = None if kept.kept else cited_results.compared(found, state.who, site=site, policies=policies, now=True)
    if now is not None and isinstance(error := now.get("error"), HvenError):
        now = {"error": error.message}
    cites = [cited_at(one, url) for one in known]
    content = {"found": _plain(found), "url": url, "kept": kept.kept, "lost": kept.lost, "now": now, "cites": cites}
    return Page(template="result.html", content=content, twin={**_plain(found), "url": url, "kept": kept.kept, "lost": list(kept.lost), "now": now, "cite": cites})  # fmt: skip

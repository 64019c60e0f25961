"""``/usage``: what was used, by month and service, for those who curate it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio.to_thread
import orjson
from starlette.responses import Response
from starlette.routing import Route

from hven.model.errors import Forbidden, NotFound, Unauthenticated, say
from hven.portal._pages.editors import edits_collection
from hven.portal._views.page_formats import Asked, Page, asked, page, refused
from hven.services import usage
from hven.services.face import Surroundings, careful
from hven.site import COUNTS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request

QUIET = {"cache-control": "private, no-store"}
FILES: dict[str, tuple[str, Callable[[usage.Report, Surroundings], str | bytes]]] = {
    "usage.csv": ("text/csv; charset=utf-8", lambda report, _: usage.as_csv(report)),
    "dsr.json": ("application/json", lambda report, around: orjson.dumps(usage.counter(report, around))),
    "dsr.tsv": ("text/tab-separated-values; charset=utf-8", usage.tabular),
}
TALL = 60  # pixels of the columns of a month
SHOWN = 200  # collections on a page


def routes(around: Surroundings) -> Sequence[Route]:
    """Route ``/usage``, and its files: CSV of everything, COUNTER's report as JSON and as text."""

    def report_of(state: Asked) -> usage.Report:
        given = state.request.query_params
        return usage.read(around, given.get("from") or None, given.get("to") or None, collections=_mine(state))

    def made(state: Asked) -> Page:
        report = report_of(state)
        return Page(template="usage.html", content=_content(report, state), twin=usage.as_json(report), headers=QUIET)

    def written(request: Request) -> Response:
        name = request.path_params["file"]
        if name not in FILES:
            raise NotFound(say("there is no report {name!r} here", name[:80]), remedy=", ".join(FILES))
        media_type, write = FILES[name]
        report = report_of(asked(request, around))
        called = f'attachment; filename="{report.since}-{report.until}-{name}"'
        return Response(write(report, around), headers={**QUIET, "content-type": media_type, "content-disposition": called})  # fmt: skip

    async def shown(state: Asked) -> Page:
        return await anyio.to_thread.run_sync(made, state)

    async def file(request: Request) -> Response:
        return await anyio.to_thread.run_sync(written, request)

    return [Route("/usage", page(shown, around)), Route("/usage/{file}", careful(file, refused(around)))]


def _mine(state: Asked) -> set[str] | None:
    """Return the collections whose usage a reader is told; None: all, and those that are gone.

    Raises
    ------
    Unauthenticated, Forbidden
        They curate nothing.
    """
    who = state.who
    if who.anonymous:
        raise Unauthenticated("only curators see what is used", remedy="log in at /login")
    if who.name is not None and not who.by and state.around.operates(who) and not state.brand.collections:
        return None
    found = state.holdings.resources
    shown = state.brand.collections or found
    mine = {name for name, one in found.items() if name in shown and edits_collection(who, state.around, one)}
    if not mine:
        raise Forbidden("only curators see what is used", remedy="health.operators, administrators of portals, and curators of projects do")  # fmt: skip
    return mine


def _content(report: usage.Report, state: Asked) -> dict[str, Any]:
    resources = state.holdings.resources
    months = [month for month in report.months if month <= f"{report.made:%Y-%m}"]
    found: list[dict[str, Any]] = []
    for (name,), sums in report.by("collection").items():
        own = report.by("month", "access", of=lambda one, name=name: one.collection == name)  # type: ignore[misc]
        taken = {month: {access: own.get((month, access), {}).get("requests", 0) for access in ("regular", "machine")} for month in months}  # fmt: skip
        people = report.by("access", of=lambda one, name=name: one.collection == name)  # type: ignore[misc]
        most = max((sum(one.values()) for one in taken.values()), default=0) or 1
        found.append({
            "name": name,
            "title": resources[name].title if name in resources else name,
            "gone": name not in resources,
            "bars": [{"month": month, "regular": one["regular"], "machine": one["machine"], "low": round(TALL * one["regular"] / most, 1), "high": round(TALL * one["machine"] / most, 1)} for month, one in taken.items()],
            "sums": _people(people),
            "robots": people.get(("robot",), {}).get("investigations", 0),
            "services": [{"service": key[0], **one} for key, one in report.by("service", of=lambda one, name=name: one.collection == name and not one.table and one.access != "robot").items()],  # type: ignore[misc]
            "order": sums["bytes"],
        })  # fmt: skip
    found.sort(key=lambda one: one["order"], reverse=True)
    return {"report": report, "collections": found[:SHOWN], "left": max(len(found) - SHOWN, 0), "tall": TALL}


def _people(by_access: dict[tuple[str, ...], usage.Sums]) -> usage.Sums:
    """Add up what people and their programs did: not robots."""
    total = dict.fromkeys(COUNTS, 0)
    for (access,), sums in by_access.items():
        if access != "robot":
            total = {name: total[name] + sums[name] for name in total}
    return total

"""``/access``: what a reader may see here, and by whom; for operators who was given what, and the log of rights; as whom one may look."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from starlette.responses import Response

from hven import adql, query
from hven import services as dali
from hven.model.errors import Forbidden
from hven.portal._pages import frame, guarded, written
from hven.services.address import from_elsewhere, keeping
from hven.services.errors import LINE
from hven.services.face import Surroundings, route
from hven.site.auth import looks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.routing import Route

    from hven.model.table import Table
    from hven.site.auth import Reader

MOST = 200  # tables, and lines of the log
LONGEST = 1024  # bytes of what is sent


def routes(around: Surroundings) -> Sequence[Route]:
    """Route ``/access`` (GET), ``/access/end`` (POST: an operator takes a grant back) and ``/access/as`` (POST: look as another, or as oneself again)."""
    site = around.site

    def operates(who: Reader) -> bool:
        # not as on the health page, which may be open to everybody
        return who.name is not None and who.name in site.settings.health.operators

    def told(who: Reader) -> dict[str, Any]:
        grants, holdings = site.store.grants, site.current()
        guarded_ = {table.qualified for table in holdings.guarded}
        seen = [
            one
            for one in holdings.catalogue(who, around.policies).tables()
            if one.qualified in guarded_ or one.access != "public"
        ]
        name = who.name[3:] if who.by and who.name else who.name
        facts: dict[str, Any] = {
            "name": name,
            "groups": sorted(one for one in who.groups if ":" not in one),
            "mine": [_row(one) for one in grants.all(subject=name) if one.kind in {"member", "delegation"}],
            "tables": [
                {"name": one.qualified, "rows": count(one, who), "opens": _opens(one, who)} for one in seen[:MOST]
            ],
            "grants": None,
            "whom": [] if who.by else looks.choices(who, site.store, site.settings),
        }
        if operates(who):
            facts["grants"] = [_row(one) for one in grants.all()]
            facts["lines"] = grants.audit(most=MOST)
        return facts

    def count(table: Table, who: Reader) -> int:
        text = f"SELECT COUNT(*) FROM {adql.quote(table.schema)}.{adql.quote(table.name)}"
        with query.run(text, who, site=site, policies=around.policies) as result:
            return int(next(iter(result.batches())).column(0)[0].as_py())

    async def show(request: Request) -> Response:
        who = around.reader(request)
        base = dali.base(request, site.settings)
        if who.name is None:
            there = f"{base}/login?next={site.settings.root_path}/access"
            return Response(status_code=303, headers={"location": there, "cache-control": "no-store"})
        facts = await anyio.to_thread.run_sync(told, who)
        page = written("access.html", frame(request, around), **facts)
        return dali.whole(request, page, {**guarded(), "cache-control": "private, no-store"})

    async def end(request: Request) -> Response:
        who = around.reader(request)
        if from_elsewhere(request, site.settings) or not operates(who):
            raise Forbidden("only operators of the site take back what was given", remedy="health.operators names them")
        ident = (await dali.read(request, LONGEST)).one("ID") or ""
        await anyio.to_thread.run_sync(lambda: site.store.grants.end(ident, by=str(who.name)))
        return Response(status_code=303, headers={"location": f"{dali.base(request, site.settings)}/access"})

    async def look(request: Request) -> Response:
        """Begin to look as somebody else, on record; without a name: end it."""
        who, base = around.reader(request), dali.base(request, site.settings)
        if from_elsewhere(request, site.settings):
            raise Forbidden("a page of another site asks this", remedy="use the form on the page /access")
        whom = ((await dali.read(request, LONGEST)).one("AS") or "").strip()
        made = await anyio.to_thread.run_sync(begun, who, whom) if whom else None
        kept = keeping(request, site.settings, made, name=looks.COOKIE, seconds=looks.SECONDS)
        headers = {"location": f"{base}/{'' if made else 'access'}", "set-cookie": kept, "cache-control": "no-store"}
        return Response(status_code=303, headers=headers)

    def begun(who: Reader, whom: str) -> str:
        looks.look_as(who, whom, site.store, site.settings)
        name, until = str(who.name), int(time.time() + looks.SECONDS)
        site.store.grants.note(name, "sees as", whom, {"until": _said(until)})
        return looks.begin(site.store, name, whom, until)

    return [
        route("/access", show, LINE),
        route("/access/end", end, LINE, ["POST"]),
        route("/access/as", look, LINE, ["POST"]),
    ]


def _row(grant: Any) -> dict[str, Any]:
    until = None if grant.until is None else _said(grant.until)
    return {name: getattr(grant, name) for name in ("id", "kind", "subject", "object", "role", "by")} | {"until": until}


def _opens(table: Table, who: Reader) -> str | None:
    """Return when the next file of a table opens; when rows come that one does not see is not told."""
    if table.rights is None or table.policy is None or table.policy.rows is not None:
        return None
    until = table.rights.span(who)[1]
    return None if math.isinf(until) else _said(until / 1e6)


def _said(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"

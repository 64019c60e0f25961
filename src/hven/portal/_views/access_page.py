"""``/access``: what a reader may see here, and by whom; for operators who was given what, and the log of rights.

As whom one may look.
"""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from starlette.responses import Response

from hven import adql, query, services
from hven.model.errors import ForbiddenError
from hven.portal._pages import build_frame, build_page_headers, render_page
from hven.services.addresses import build_session_cookie, is_cross_site
from hven.services.errors import TEXT_LINE_ERRORS
from hven.services.face import ServiceContext, create_route
from hven.site.auth import impersonation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.routing import Route

    from hven.model.table import Table
    from hven.site.auth import Principal

MAX_ENTRIES = 200  # tables, and lines of the log
MAX_FORM_BYTES = 1024  # bytes of what is sent


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route ``/access`` (GET), ``/access/end`` (POST: an operator takes a grant back) and ``/access/as`` (POST: look as another, or as oneself again)."""
    site = context.site

    def is_operator(principal: Principal) -> bool:
        # not as on the health page, which may be open to everybody
        return principal.name is not None and principal.name in site.settings.health.operators

    def gather_access(principal: Principal) -> dict[str, Any]:
        grants, published_state = site.store.grants, site.get_published_state()
        guarded_tables = {table.qualified_name for table in published_state.policy_tables}
        visible_tables = [
            candidate
            for candidate in published_state.get_catalogue(principal, context.policies).iterate_tables()
            if candidate.qualified_name in guarded_tables or candidate.access != "public"
        ]
        account = principal.name[3:] if principal.impersonator and principal.name else principal.name
        facts: dict[str, Any] = {
            "name": account,
            "groups": sorted(candidate for candidate in principal.groups if ":" not in candidate),
            "mine": [
                grant_to_row(candidate)
                for candidate in grants.list_grants(subject=account)
                if candidate.kind in {"member", "delegation"}
            ],
            "tables": [
                {
                    "name": candidate.qualified_name,
                    "rows": count_rows(candidate, principal),
                    "opens": _find_opening_time(candidate, principal),
                }
                for candidate in visible_tables[:MAX_ENTRIES]
            ],
            "grants": None,
            "whom": []
            if principal.impersonator
            else impersonation.list_impersonation_targets(principal, site.store, site.settings),
        }
        if is_operator(principal):
            facts["grants"] = [grant_to_row(candidate) for candidate in grants.list_grants()]
            facts["lines"] = grants.list_audit_entries(row_limit=MAX_ENTRIES)
        return facts

    def count_rows(table: Table, principal: Principal) -> int:
        text = f"SELECT COUNT(*) FROM {adql.quote_name(table.schema)}.{adql.quote_name(table.name)}"
        with query.run_query(text, principal, site=site, policies=context.policies) as result:
            return int(next(iter(result.iterate_batches())).column(0)[0].as_py())

    async def show_access(request: Request) -> Response:
        principal = context.identify_principal(request)
        base = services.get_base_url(request, site.settings)
        if principal.name is None:
            login_address = f"{base}/login?next={site.settings.root_path}/access"
            return Response(status_code=303, headers={"location": login_address, "cache-control": "no-store"})
        facts = await anyio.to_thread.run_sync(gather_access, principal)
        page = render_page("access.html", build_frame(request, context), **facts)
        return services.answer_with_body(request, page, {**build_page_headers(), "cache-control": "private, no-store"})

    async def end_grant(request: Request) -> Response:
        principal = context.identify_principal(request)
        if is_cross_site(request, site.settings) or not is_operator(principal):
            raise ForbiddenError(
                "only operators of the site take back what was given", remedy="health.operators names them"
            )
        grant_id = (await services.read_params(request, MAX_FORM_BYTES)).read_one("ID") or ""
        await anyio.to_thread.run_sync(lambda: site.store.grants.revoke_grant(grant_id, actor=str(principal.name)))
        return Response(
            status_code=303, headers={"location": f"{services.get_base_url(request, site.settings)}/access"}
        )

    async def begin_impersonation(request: Request) -> Response:
        """Begin to look as somebody else, on record; without a name: end it."""
        principal, base = context.identify_principal(request), services.get_base_url(request, site.settings)
        if is_cross_site(request, site.settings):
            raise ForbiddenError("a page of another site asks this", remedy="use the form on the page /access")
        one = (await services.read_params(request, MAX_FORM_BYTES)).read_one("AS")
        account = (one or "").strip()
        if account:
            cookie_value = await anyio.to_thread.run_sync(begin_looking, principal, account)
        else:
            cookie_value = None
        cookie = build_session_cookie(
            request,
            site.settings,
            cookie_value,
            cookie_name=impersonation.IMPERSONATION_COOKIE,
            max_age_seconds=impersonation.IMPERSONATION_SECONDS,
        )
        headers = {
            "location": f"{base}/{'' if cookie_value else 'access'}",
            "set-cookie": cookie,
            "cache-control": "no-store",
        }
        return Response(status_code=303, headers=headers)

    def begin_looking(principal: Principal, account: str) -> str:
        impersonation.impersonate(principal, account, site.store, site.settings)
        operator, end_time = str(principal.name), int(time.time() + impersonation.IMPERSONATION_SECONDS)
        site.store.grants.log_event(operator, "sees as", account, {"until": _format_time(end_time)})
        return impersonation.sign_impersonation_cookie(site.store, operator, account, end_time)

    route = create_route("/access", show_access, TEXT_LINE_ERRORS)
    return [
        route,
        create_route("/access/end", end_grant, TEXT_LINE_ERRORS, ["POST"]),
        create_route("/access/as", begin_impersonation, TEXT_LINE_ERRORS, ["POST"]),
    ]


def grant_to_row(grant: Any) -> dict[str, Any]:
    if grant.until is None:
        end_time = None
    else:
        end_time = _format_time(grant.until)
    return {name: getattr(grant, name) for name in ("id", "kind", "subject", "object", "role", "by")} | {
        "until": end_time
    }


def _find_opening_time(table: Table, principal: Principal) -> str | None:
    """Return when the next file of a table opens; when rows come that one does not see is not told."""
    if table.rights is None or table.policy is None or table.policy.rows is not None:
        return None
    opening_time = table.rights.find_validity_period(principal)[1]
    if math.isinf(opening_time):
        return None
    return _format_time(opening_time / 1e6)


def _format_time(timestamp: float) -> str:
    return f"{datetime.fromtimestamp(timestamp, UTC):%Y-%m-%d %H:%M} UTC"

"""Serve ``/access``: the data that a user may see, and the grants that allow it.

Operators also see all grants and the audit log, and may look at the site as another user.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import anyio.to_thread
from starlette.responses import Response

from hven import adql, query, services
from hven.model.errors import ForbiddenError
from hven.portal._pages import TemplateContext, build_page_frame, build_page_security_headers, render_page
from hven.services.addresses import build_session_cookie, is_cross_site_change_request
from hven.services.errors import TEXT_LINE_ERRORS
from hven.services.face import ServiceContext, create_route
from hven.site.auth import impersonation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.routing import Route

    from hven.model.table import Table
    from hven.site.auth import Principal
    from hven.site.store import AccessGrant

MAX_ENTRIES = 200  # tables, and lines of the log, on the page
MAX_FORM_BYTES = 1024  # of a request


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessPage(TemplateContext):
    """The page of what a user may see.

    Attributes
    ----------
    name, groups
        The account and its groups.
    tables
        Tables of which the user sees more, or less, than others.
    whom
        Accounts as which the user may look at the site.
    mine
        Grants of the user.
    grants, lines
        All grants, and the audit log, for operators; None and empty for others.
    """

    template = "access.html"
    name: str | None
    groups: Sequence[str]
    tables: Sequence[Mapping[str, object]]
    whom: Sequence[str]
    mine: Sequence[Mapping[str, object]]
    grants: Sequence[Mapping[str, object]] | None
    lines: Sequence[Mapping[str, object]]


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route ``/access`` (GET), ``/access/end`` and ``/access/as`` (POST).

    With ``/access/end`` an operator revokes a grant; with ``/access/as`` an operator begins or ends to look as another
    user.
    """
    endpoints = _AccessEndpoints(context)
    route = create_route("/access", endpoints.show_access, TEXT_LINE_ERRORS)
    return [
        route,
        create_route("/access/end", endpoints.revoke_grant, TEXT_LINE_ERRORS, ["POST"]),
        create_route("/access/as", endpoints.begin_or_end_impersonation, TEXT_LINE_ERRORS, ["POST"]),
    ]


class _AccessEndpoints:
    """The endpoints of the access page."""

    def __init__(self, context: ServiceContext) -> None:
        self.context = context
        self.site = context.site

    def is_operator(self, principal: Principal) -> bool:
        # stricter than the health page, which may be open to everybody
        return principal.name is not None and principal.name in self.site.settings.health.operators

    def build_page(self, principal: Principal) -> AccessPage:
        grants = self.site.store.grants
        published_state = self.site.get_published_state()
        guarded_tables = {table.qualified_name for table in published_state.policy_tables}
        catalogue = published_state.get_catalogue(principal, self.context.policies)
        visible_tables = [
            table
            for table in catalogue.iterate_tables()
            if table.qualified_name in guarded_tables or table.access != "public"
        ]
        account = principal.name[3:] if principal.impersonator and principal.name else principal.name
        own_grants = [grant for grant in grants.list_grants(subject=account) if grant.kind in {"member", "delegation"}]
        table_entries = [
            {
                "name": table.qualified_name,
                "rows": self.count_rows(table, principal),
                "opens": _find_next_embargo_end(table, principal),
            }
            for table in visible_tables[:MAX_ENTRIES]
        ]
        targets = []
        if not principal.impersonator:
            targets = impersonation.list_impersonation_targets(principal, self.site.store, self.site.settings)
        is_operator = self.is_operator(principal)
        entries = grants.list_audit_entries(row_limit=MAX_ENTRIES) if is_operator else ()
        return AccessPage(
            name=account,
            groups=sorted(group for group in principal.groups if ":" not in group),
            tables=table_entries,
            whom=targets,
            mine=[_describe_grant(grant) for grant in own_grants],
            grants=[_describe_grant(grant) for grant in grants.list_grants()] if is_operator else None,
            lines=[
                {"at": entry.at, "by": entry.by, "what": entry.what, "object": entry.object, "facts": entry.facts}
                for entry in entries
            ],
        )

    def count_rows(self, table: Table, principal: Principal) -> int:
        text = f"SELECT COUNT(*) FROM {adql.quote_adql_name(table.schema)}.{adql.quote_adql_name(table.name)}"
        with query.run_query(text, principal, site=self.site, policies=self.context.policies) as result:
            first_batch = next(iter(result.iterate_batches()))
            return int(first_batch.column(0)[0].as_py())

    async def show_access(self, request: Request) -> Response:
        principal = self.context.identify_principal(request)
        base = services.get_base_url(request, self.site.settings)
        if principal.name is None:
            login_address = f"{base}/login?next={self.site.settings.root_path}/access"
            return Response(status_code=303, headers={"location": login_address, "cache-control": "no-store"})
        page = await anyio.to_thread.run_sync(self.build_page, principal)
        body = render_page(page, build_page_frame(request, self.context))
        return services.answer_with_body(
            request, body, {**build_page_security_headers(), "cache-control": "private, no-store"}
        )

    async def revoke_grant(self, request: Request) -> Response:
        principal = self.context.identify_principal(request)
        if is_cross_site_change_request(request, self.site.settings) or not self.is_operator(principal):
            raise ForbiddenError(
                "only operators of the site can revoke access",
                remedy="ask an operator (health.operators in hven.toml)",
            )
        params = await services.read_params(request, MAX_FORM_BYTES)
        grant_id = params.read_one("ID") or ""
        await anyio.to_thread.run_sync(lambda: self.site.store.grants.revoke_grant(grant_id, actor=str(principal.name)))
        access_address = f"{services.get_base_url(request, self.site.settings)}/access"
        return Response(status_code=303, headers={"location": access_address})

    async def begin_or_end_impersonation(self, request: Request) -> Response:
        """Begin to look as another user, on record; without a name, end it."""
        principal = self.context.identify_principal(request)
        base = services.get_base_url(request, self.site.settings)
        if is_cross_site_change_request(request, self.site.settings):
            raise ForbiddenError(
                "the request comes from a page on another site", remedy="use the form on the /access page"
            )
        params = await services.read_params(request, MAX_FORM_BYTES)
        account = (params.read_one("AS") or "").strip()
        if account:
            cookie_value = await anyio.to_thread.run_sync(self.record_impersonation_and_sign_cookie, principal, account)
        else:
            cookie_value = None
        cookie = build_session_cookie(
            request,
            self.site.settings,
            cookie_value,
            cookie_name=impersonation.IMPERSONATION_COOKIE,
            max_age_seconds=impersonation.IMPERSONATION_SECONDS,
        )
        next_path = "" if cookie_value else "access"
        headers = {"location": f"{base}/{next_path}", "set-cookie": cookie, "cache-control": "no-store"}
        return Response(status_code=303, headers=headers)

    def record_impersonation_and_sign_cookie(self, principal: Principal, account: str) -> str:
        impersonation.impersonate(principal, account, self.site.store, self.site.settings)
        operator = str(principal.name)
        end_time = int(time.time() + impersonation.IMPERSONATION_SECONDS)
        self.site.store.grants.log_event(operator, "sees as", account, {"until": _format_time(end_time)})
        return impersonation.sign_impersonation_cookie(self.site.store, operator, account, end_time)


def _describe_grant(grant: AccessGrant) -> dict[str, object]:
    return {
        "id": grant.id,
        "kind": grant.kind,
        "subject": grant.subject,
        "object": grant.object,
        "role": grant.role,
        "by": grant.by,
        "until": None if grant.until is None else _format_time(grant.until),
    }


def _find_next_embargo_end(table: Table, principal: Principal) -> str | None:
    """Return when the next file of a table opens; the time of hidden rows is not shown."""
    if table.rights is None or table.policy is None or table.policy.rows is not None:
        return None
    opening_time = table.rights.find_validity_period(principal)[1]
    if math.isinf(opening_time):
        return None
    return _format_time(opening_time / 1e6)


def _format_time(timestamp: float) -> str:
    return f"{datetime.fromtimestamp(timestamp, UTC):%Y-%m-%d %H:%M} UTC"

"""Serve ``/morning`` and ``/morning.atom``: what happened to the collections of a curator on the last days."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import anyio.to_thread
from starlette.responses import Response
from starlette.routing import Route

from hven import services
from hven.formats import escape_xml, quote_attribute
from hven.model.errors import ForbiddenError, UnauthenticatedError
from hven.plugins.operations.feed_addresses import build_feed_query, find_feed_user
from hven.plugins.operations.morning_report import CollectionDay, list_collection_days
from hven.portal.api.pages import (
    PageContent,
    PageContext,
    TemplateContext,
    build_error_responder,
    build_page_context,
    build_page_endpoint,
    can_edit_collection,
)
from hven.services.face import ServiceContext, wrap_endpoint_with_gates_and_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

    from hven.site.auth import Principal

PRIVATE_HEADERS = {"cache-control": "private, no-store"}
ATOM_MEDIA_TYPE = "application/atom+xml"
SHOWN_DAYS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class MorningPage(TemplateContext):
    """The page of a curator's collections.

    Attributes
    ----------
    days
        What happened, the newest first.
    feed_query
        Query of the feed's address, with a key for feed readers; empty: the user has no account of the site.
    """

    template = "operations/morning.html"
    days: Sequence[CollectionDay]
    feed_query: str


def build_morning_routes(context: ServiceContext) -> list[Route]:
    """Route ``/morning`` and ``/morning.atom``."""

    def list_days(page_context: PageContext) -> list[CollectionDay]:
        return list_collection_days(context.site, _list_curated_collections(page_context), SHOWN_DAYS)

    def list_feed_days(request: Request) -> list[CollectionDay]:
        feed_user = find_feed_user(context.site, request.query_params)
        user_context = context
        if feed_user is not None:
            user_context = replace(context, identify_principal=lambda _: feed_user)
        return list_days(build_page_context(request, user_context))

    async def show_page(page_context: PageContext) -> PageContent:
        days = await anyio.to_thread.run_sync(list_days, page_context)
        feed_query = await anyio.to_thread.run_sync(build_feed_query, context.site, page_context.principal)
        content = [day.to_json() for day in days]
        page = MorningPage(days=days, feed_query=feed_query)
        return PageContent(page=page, json_content=content, headers=PRIVATE_HEADERS)

    async def send_feed(request: Request) -> Response:
        days = await anyio.to_thread.run_sync(list_feed_days, request)
        settings = context.site.settings
        title = settings.title or settings.name
        body = write_morning_feed(days, title, services.get_base_url(request, settings))
        return Response(body, headers={**PRIVATE_HEADERS, "content-type": f"{ATOM_MEDIA_TYPE}; charset=utf-8"})

    return [
        Route("/morning", build_page_endpoint(show_page, context)),
        Route("/morning.atom", wrap_endpoint_with_gates_and_errors(send_feed, build_error_responder(context))),
    ]


def _list_curated_collections(page_context: PageContext) -> set[str]:
    """List the collections that a user may edit; operators may edit all.

    Raises
    ------
    UnauthenticatedError, ForbiddenError
        There are none.
    """
    if page_context.principal.is_anonymous:
        raise UnauthenticatedError("only curators may see this page", remedy="log in at /login")
    names = list_curated_collections(page_context.principal, page_context.context)
    if page_context.brand.collections:
        names &= set(page_context.brand.collections)
    if not names:
        raise ForbiddenError("only curators may see this page", remedy="ask to become a curator of a project")
    return names


def list_curated_collections(principal: Principal, context: ServiceContext) -> set[str]:
    """List the collections that a user may edit.

    Parameters
    ----------
    principal
        The user.
    context
        The context of the service.
    """
    resources = context.site.get_published_state().resources
    return {name for name, resource in resources.items() if can_edit_collection(principal, context, resource)}


def write_morning_feed(days: Sequence[CollectionDay], title: str, base_url: str) -> str:
    """Write a feed (Atom, RFC 4287) with an entry for each collection and day.

    Parameters
    ----------
    days
        What happened.
    title
        Title of the site.
    base_url
        Address of the site, without a final slash.
    """
    feed_url = f"{base_url}/morning.atom"
    updated = max((day.updated for day in days), default="1970-01-01T00:00:00Z")
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<feed xmlns="http://www.w3.org/2005/Atom">',
        f"<id>{uuid.uuid5(uuid.NAMESPACE_URL, feed_url).urn}</id>",
        f"<title>{escape_xml(title)}: collections</title>",
        f"<updated>{updated}</updated>",
        f"<author><name>{escape_xml(title)}</name></author>",
        f'<link rel="self" type="{ATOM_MEDIA_TYPE}" href={quote_attribute(feed_url)}/>',
    ]
    for day in days:
        items = "".join(
            f"<li>{escape_xml(_format_line_with_command(line.text, line.command))}</li>" for line in day.lines
        )
        page_url = f"{base_url}/morning"
        lines += [
            "<entry>",
            f"<id>{uuid.uuid5(uuid.NAMESPACE_URL, f'{feed_url}/{day.name}/{day.day}').urn}</id>",
            f"<title>{escape_xml(f'{day.title}, {day.day}')}</title>",
            f"<updated>{day.updated}</updated>",
            f"<link href={quote_attribute(page_url)}/>",
            f'<content type="html">{escape_xml(f"<ul>{items}</ul>")}</content>',
            "</entry>",
        ]
    return "\n".join([*lines, "</feed>", ""])


def _format_line_with_command(text: str, command: str) -> str:
    return f"{text} ({command})" if command else text

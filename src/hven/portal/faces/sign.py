"""Serve ``POST /sign``: sign an address of this site for the reader, for a program that cannot log in."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import anyio.to_thread
import orjson
from starlette.routing import Route

from hven import services
from hven.model import resolve_relative_address
from hven.model.errors import ForbiddenError, ParamError, UnauthenticatedError
from hven.services.addresses import is_cross_site_change_request, list_base_urls
from hven.services.errors import ErrorResponder
from hven.services.face import ServiceContext, ServiceFace, wrap_endpoint_with_gates_and_errors
from hven.site.auth import signed_addresses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from hven.model.params import RequestParams

MAX_BODY_BYTES = 64 * 1024  # of the request
ERROR_DOCUMENT = ErrorResponder(
    write_document=lambda message: orjson.dumps({"message": message}), media_type="application/json"
)


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Build the route."""
    site = context.site

    async def sign_address(request: Request, params: RequestParams) -> Response:
        principal = context.identify_principal(request)
        if is_cross_site_change_request(request, site.settings):
            raise ForbiddenError(
                "the request comes from a page on another site", remedy="send the request from a page of this site"
            )
        if principal.is_anonymous:
            raise UnauthenticatedError(
                "only users who are logged in can request signed addresses", remedy="log in, or send a token"
            )
        base = services.get_base_url(request, site.settings)
        sent_address = params.read_one("URL") or ""
        original_url = resolve_relative_address(f"{base}/", sent_address)
        site_addresses = list_base_urls(request, site.settings)
        minutes = site.settings.limits.signed_minutes
        sign_url = await anyio.to_thread.run_sync(
            signed_addresses.create_url_signer, site.store, principal, site_addresses, minutes
        )
        if sign_url is None:
            raise ForbiddenError(
                "only accounts of this site can sign addresses", remedy="ask the site's owner for an account"
            )
        url = sign_url(original_url)
        if url == original_url:
            raise ParamError(
                f"{url!r:.200} is not an address of this site",
                name="URL",
                remedy=f"give an address that begins with {base}/",
            )
        signature = url.rpartition("=")[2]
        expiry_time = datetime.fromtimestamp(int(signature.partition(".")[0]), UTC)
        body = orjson.dumps({"url": url, "until": f"{expiry_time:%Y-%m-%dT%H:%M:%SZ}"})
        headers = {"content-type": "application/json", "cache-control": "no-store"}
        return services.answer_with_body(request, body, headers)

    return [
        Route(
            "/sign", wrap_endpoint_with_gates_and_errors(sign_address, ERROR_DOCUMENT, MAX_BODY_BYTES), methods=["POST"]
        )
    ]


FACE = ServiceFace(
    name="sign", title="Signed addresses", build_routes=build_routes, is_usage_counted=False, is_site_wide=True
)

"""Addresses as the reader sees them: public URL, reverse proxy, root path."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

    from hven.settings import Settings


def base(request: HTTPConnection, settings: Settings) -> str:
    """Give the address of the site without a final slash: the public URL, or what the request says of itself."""
    if settings.public_url:
        return settings.public_url.rstrip("/")
    host = request.headers.get("host", f"{settings.host}:{settings.port}")
    return f"{request.url.scheme}://{host}{settings.root_path.rstrip('/')}"

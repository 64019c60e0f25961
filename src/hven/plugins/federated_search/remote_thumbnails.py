"""Serve thumbnails of pictures of other sites, which therefore learn nothing about the readers.

This is not an open proxy: only addresses that this site wrote and signed in a page are fetched.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from hven.model import LruCache
from hven.model.errors import ForbiddenError, HvenError, NotFoundError, format_message
from hven.sources import http_client

if TYPE_CHECKING:
    from hven.services.face import ServiceContext
    from hven.site import Site

MAX_PICTURE_BYTES = 8 << 20
IDLE_TIMEOUT_SECONDS = 10.0  # without a byte
TOTAL_TIMEOUT_SECONDS = 20.0
MAX_CACHED_FAILURES = 2000
RETRY_SECONDS = 600.0  # before a failed picture is fetched again
PICTURE_SIGNATURES = ((b"\xff\xd8\xff", "jpg"), (b"\x89PNG\r\n\x1a\n", "png"), (b"GIF8", "gif"), (b"RIFF", "webp"))


def build_remote_picture_address(base_address: str, url: str, context: ServiceContext) -> str:
    """Build the address at which this site serves a picture of another one.

    It is empty if `url` is no web address, or if no service draws pictures.
    """
    if not url.lower().startswith(("http://", "https://")) or len(url) > 2000 or context.find_picture_service() is None:
        return ""
    return f"{base_address}/picture?{urlencode({'url': url, 'sign': _sign_address(url, context.site)})}"


def fetch_remote_thumbnail(url: str, signature: str, context: ServiceContext) -> bytes:
    """Fetch a picture, draw its thumbnail and store it.

    Raises
    ------
    ForbiddenError
        This site did not sign the address, it is on a private network, or no service draws pictures.
    NotFoundError
        There is no picture at the address, or it is too large.
    """
    pictures = context.find_picture_service()
    is_signed = hmac.compare_digest(signature.encode(), _sign_address(url, context.site).encode())
    if pictures is None or not is_signed:
        raise ForbiddenError(
            "no page of this site shows this picture", remedy="open the picture on the site that publishes it"
        )
    key = hashlib.sha256(f"elsewhere {url}".encode()).hexdigest()
    cached_picture = pictures.find_thumbnail(context, key)
    if cached_picture is not None:
        return cached_picture
    failure_cache: LruCache[float] = context.site.get_or_create(_create_failure_cache)
    failure_time = failure_cache.find(url)
    if failure_time is not None and time.monotonic() - failure_time < RETRY_SECONDS:
        raise NotFoundError("an attempt to fetch the picture failed a moment ago", remedy="try again later")
    try:
        body = http_client.fetch_bytes(
            url,
            byte_limit=MAX_PICTURE_BYTES,
            timeout_seconds=IDLE_TIMEOUT_SECONDS,
            total_timeout_seconds=TOTAL_TIMEOUT_SECONDS,
            allow_private=context.site.settings.allow_private,
            max_attempts=1,
        )
        kind = next((kind for begin, kind in PICTURE_SIGNATURES if body.startswith(begin)), "")
        if not kind:
            raise NotFoundError(
                format_message("{url} is not a picture", url[:200]), remedy="open the address in the browser"
            )
        with tempfile.TemporaryDirectory(prefix="hven-picture-") as directory:
            file = Path(directory) / f"picture.{kind}"
            file.write_bytes(body)
            return pictures.draw_thumbnail(context, key, file)
    except HvenError as error:
        failure_cache.store(url, time.monotonic())
        if isinstance(error, ForbiddenError | NotFoundError):
            raise
        raise NotFoundError(error.message, remedy=error.remedy) from error


def _create_failure_cache() -> LruCache[float]:
    return LruCache(MAX_CACHED_FAILURES)


def _sign_address(url: str, site: Site) -> str:
    key_file = site.settings.var_directory / "pictures.key"
    signing_key = site.get_or_create(_read_or_create_signing_key, key_file)
    return hmac.new(signing_key, url.encode(), "sha256").hexdigest()[:32]


def _read_or_create_signing_key(path: Path) -> bytes:
    """Read the key that all processes of the site share; the first process creates it."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial_file = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(partial_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(32))
        with suppress(FileExistsError):
            os.link(partial_file, path)  # another process was first
        partial_file.unlink()
    return path.read_bytes()

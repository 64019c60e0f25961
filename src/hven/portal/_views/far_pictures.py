"""Small pictures of other sites, by way of this one: pages show none of theirs, and theirs learn nothing of who looks.

Only addresses that this site itself has written into a page are fetched, which their signature shows: it is no proxy for whoever wants one.
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

from hven.model import Cache
from hven.model.errors import Forbidden, HvenError, NotFound, say
from hven.services import drawings
from hven.sources import remote

if TYPE_CHECKING:
    from hven.services.face import Surroundings
    from hven.site import Site

MOST = 8 << 20  # bytes of a picture
SECONDS, TOTAL = 10.0, 20.0  # without a byte; in all
FAILED, AGAIN = 2000, 600.0  # pictures that could not be had are remembered, for so many seconds
BEGIN = ((b"\xff\xd8\xff", "jpg"), (b"\x89PNG\r\n\x1a\n", "png"), (b"GIF8", "gif"), (b"RIFF", "webp"))


def address(here: str, url: str, site: Site) -> str:
    """Write the address at which this site gives the picture of another one; empty: that is no address."""
    if not url.lower().startswith(("http://", "https://")) or len(url) > 2000:
        return ""
    return f"{here}/picture?{urlencode({'url': url, 'sign': _sign(url, site)})}"


def picture(url: str, sign: str, around: Surroundings) -> bytes:
    """Fetch a picture, make it small, and keep it.

    Raises
    ------
    Forbidden
        Nobody here wrote that address, or it is a private one.
    NotFound
        There is no picture there, or it is too large.
    """
    if not hmac.compare_digest(sign.encode(), _sign(url, around.site).encode()):
        raise Forbidden("this picture is on no page of ours", remedy="ask for it where it is")
    shelf, key = drawings.shelf(around), hashlib.sha256(f"elsewhere {url}".encode()).hexdigest()
    if (known := drawings.find(shelf, key)) is not None:
        return known
    failed: Cache[float] = around.site.kept(_failed)
    if (when := failed.find(url)) is not None and time.monotonic() - when < AGAIN:
        raise NotFound("the picture could not be had a moment ago", remedy="try again later")
    try:
        body = remote.fetch(
            url, limit=MOST, seconds=SECONDS, total=TOTAL, allow_private=around.site.settings.allow_private, tries=1
        )
        kind = next((kind for begin, kind in BEGIN if body.startswith(begin)), "")
        if not kind:
            raise NotFound(say("{url} is no picture", url[:200]), remedy="look at it there")
        with tempfile.TemporaryDirectory(prefix="hven-picture-") as directory:
            file = Path(directory) / f"picture.{kind}"
            file.write_bytes(body)
            return drawings.drawn(shelf, key, [(file, file.name)], drawings.USUAL[0])
    except HvenError as error:
        failed.keep(url, time.monotonic())
        raise (
            error if isinstance(error, Forbidden | NotFound) else NotFound(error.message, remedy=error.remedy)
        ) from error


def _failed() -> Cache[float]:
    return Cache(FAILED)


def _sign(url: str, site: Site) -> str:
    return hmac.new(site.kept(_key, site.settings.var / "pictures.key"), url.encode(), "sha256").hexdigest()[:32]


def _key(path: Path) -> bytes:
    """Read the key that all processes of the site share; the first one makes it."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
        with suppress(FileExistsError):
            os.link(part, path)  # who came first has it
        part.unlink()
    return path.read_bytes()

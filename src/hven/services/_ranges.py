"""Bytes of a file as an answer: whole, or one range of them (RFC 9110, 13.1.5 and 14), in pieces that are made as the reader takes them."""

from __future__ import annotations

import re
from base64 import b64encode
from datetime import UTC
from email.utils import format_datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from datetime import datetime

    from starlette.requests import Request

_ONE = re.compile(r"bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})", re.IGNORECASE)


def described(path: str, modified: datetime | None, sha256: str | None) -> dict[str, str]:
    """Make the headers that tell of a file: a safe name, time, checksum.

    Parameters
    ----------
    path
        Its last part is the name.
    modified
        UTC, without a zone.
    sha256
        Hexadecimal.
    """
    name = path.rpartition("/")[2]
    plain = re.sub(r"[^A-Za-z0-9._+-]", "_", name)
    more = "" if plain == name else f"; filename*=UTF-8''{quote(name, safe='')}"
    found = {"content-disposition": f'inline; filename="{plain}"{more}', "accept-ranges": "bytes"}
    if modified is not None:
        found["last-modified"] = format_datetime(modified.replace(tzinfo=UTC, microsecond=0), usegmt=True)
    if sha256 is not None:
        found["repr-digest"] = f"sha-256=:{b64encode(bytes.fromhex(sha256)).decode()}:"  # RFC 9530
    return found


def asked(request: Request, size: int) -> tuple[int, int] | None:
    """Read the one range that is asked for: first byte, and that behind the last; None: all, or several, which nobody must be given.

    Both are 0 where there are no such bytes.
    """
    found = _ONE.fullmatch(request.headers.get("range", "").strip())
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        begin, end = max(size - int(found[2]), 0), size
    else:
        begin, end = int(found[1]), min(int(found[2]) + 1, size) if found[2] else size
        if found[2] and int(found[2]) < begin:
            return None  # it is no range, and as if not said
    return (begin, end) if begin < end else (0, 0)


def given(
    request: Request,
    size: int,
    pieces: Callable[[int, int], AsyncIterator[bytes]],
    kind: str,
    headers: Mapping[str, str],
    *,
    same: bool = True,
) -> Response:
    """Answer with a file, or the range of it that is asked for.

    Parameters
    ----------
    pieces
        Makes the bytes from one place to before another.
    kind
        Media type.
    same
        Whether `If-Range`, if it is said, names this state: else all is given.
    """
    part = asked(request, size) if same else None
    if part == (0, 0):
        return Response(None, 416, {**headers, "content-range": f"bytes */{size}"})
    begin, end = part or (0, size)
    every = {**headers, "content-type": kind, "content-length": str(end - begin)}
    if part is not None:
        every["content-range"] = f"bytes {begin}-{end - 1}/{size}"
    status = 200 if part is None else 206
    if request.method == "HEAD" or begin == end:
        return Response(None, status, every)
    return StreamingResponse(pieces(begin, end), status, every)

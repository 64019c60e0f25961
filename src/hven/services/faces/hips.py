"""HiPS 1.0: ``/hipslist`` names the HiPS among the files of collections - directories with a file ``properties`` - which are served as the files that they are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import anyio.to_thread

from hven import services as dali
from hven.model.errors import HvenError
from hven.model.table import FILES
from hven.services import filed
from hven.services.face import Face, Surroundings, route

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from hven.model.table import Table
    from hven.site.auth import Reader

STANDARD = "ivo://ivoa.net/std/hips#hips-1.0"
NAME = "properties"
LONGEST = 64 * 1024  # bytes of properties that are read


def applies(table: Table) -> bool:
    """Serve collections with files."""
    return table.utype == FILES


def records(around: Surroundings, who: Reader, base: str) -> list[str]:
    """Read what the HiPS that a reader may know of say of themselves; their address is the one here."""
    found = []
    for table in around.site.current().catalogue(who, around.policies).tables():
        if not applies(table) or not table.offers("hips"):
            continue
        try:
            paths = filed.named(around, who, table.schema, NAME)
            taken = filed.asked(around, who, table.schema, paths)
        except HvenError:  # a list that is not for this reader
            continue
        for path in paths:
            try:
                row = taken.one(path)
                body = b"".join(filter(None, filed.reading(around.site.settings, row)(0, min(row["bytes"], LONGEST))))
            except HvenError:
                continue
            said = _read(body.decode("utf-8", "replace"))
            if "hips_order" not in said and "hips_tile_format" not in said:
                continue  # a file that has that name by chance
            folder = path.removesuffix(f"/{NAME}") if "/" in path else ""
            at = f"{base}/collections/{quote(table.schema)}/files/{quote(folder)}".rstrip("/")
            whole = {
                "creator_did": at,  # these two every record must have (HiPS 1.0 section 4.4.2)
                "hips_release_date": _date(row),
                **said,
                "hips_service_url": at,
                "hips_status": said.get("hips_status", "public master clonableOnce"),
            }
            found.append("\n".join(f"{name:<20} = {value}" for name, value in whole.items()))
    return found


def _date(row: dict[str, Any]) -> str:
    """Write when a file was changed, as HiPS have it: 2024-01-31T12:00Z."""
    return datetime.fromtimestamp(row["modified"], UTC).strftime("%Y-%m-%dT%H:%MZ")


def _read(text: str) -> dict[str, str]:
    """Read lines ``name = value``; # begins a comment (HiPS 1.0 section 4.4.1)."""
    lines = (line.partition("=") for line in text.splitlines() if "=" in line and not line.lstrip().startswith("#"))
    return {name.strip(): value.strip() for name, _, value in lines if name.strip()}


def routes(around: Surroundings) -> Sequence[Route]:
    """Route ``/hipslist``."""

    async def listed(request: Request) -> Response:
        base = dali.base(request, around.site.settings)
        found = await anyio.to_thread.run_sync(records, around, around.reader(request), base)
        body = "\n\n".join(found) + "\n" * bool(found)
        headers = {
            "content-type": "text/plain; charset=utf-8",
            "cache-control": "no-cache",
            "vary": "authorization, cookie, host",
        }
        return dali.whole(request, body.encode(), headers)

    return [route("/hipslist", listed)]


FACE = Face(
    name="hips",
    title="HiPS",
    description="The HiPS among the files: hierarchical progressive surveys, for Aladin and others.",
    standard_ids=(STANDARD,),
    applies=applies,
    lacking="files",
    routes=routes,
)

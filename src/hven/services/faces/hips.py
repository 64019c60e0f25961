"""HiPS 1.0: ``/hipslist`` names the HiPS that were made here, and those among the files of collections: directories with a file ``properties``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import anyio.to_thread
from starlette.responses import FileResponse, Response

from hven import services as dali
from hven.model.errors import HvenError, NotFound, say
from hven.model.table import FILES
from hven.services import filed, surveys
from hven.services.face import Capability, Face, Surroundings, route
from hven.site.auth import ANONYMOUS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.routing import Route

    from hven.model.table import Schema, Table
    from hven.site.auth import Reader

STANDARD = "ivo://ivoa.net/std/hips#hips-1.0"
NAME = "properties"
LONGEST = 64 * 1024  # bytes of properties that are read


def applies(table: Table) -> bool:
    """Serve collections with files."""
    return table.utype == FILES


def records(around: Surroundings, who: Reader, base: str) -> list[str]:
    """Read what the HiPS that a reader may know of say of themselves; their address is the one here."""
    made = [one for one in surveys.made(around.site.settings) if surveys.visible(around, who, one)]
    settings = around.site.settings
    found = [
        _record(one.properties, surveys.address(base, one), base, settings.authority_of(one.collection)) for one in made
    ]
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
                body = b"".join(filter(None, filed.reading(around, row)(0, min(row["bytes"], LONGEST))))
            except HvenError:
                continue
            said = _read(body.decode("utf-8", "replace"))
            if "hips_order" not in said and "hips_tile_format" not in said:
                continue  # a file that has that name by chance
            folder = path.removesuffix(f"/{NAME}") if "/" in path else ""
            at = f"{base}/collections/{quote(table.schema)}/files/{quote(folder)}".rstrip("/")
            found.append(
                _record({"hips_release_date": _date(row), **said}, at, base, settings.authority_of(table.schema))
            )
    return found


def _record(said: Mapping[str, str], at: str, base: str, authority: str) -> str:
    """Write what a HiPS says of itself, with the address here; these names every record must have (HiPS 1.0 section 4.4.2)."""
    did = f"ivo://{authority}{at.removeprefix(base).removeprefix('/collections')}"
    own = {"creator_did": did, **said, "hips_service_url": at}
    whole = own | {"hips_status": said.get("hips_status", "public master clonableOnce")}
    return "\n".join(f"{name:<20} = {value}" for name, value in whole.items())


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

    async def one(request: Request) -> Response:
        name, which, file = (request.path_params[part] for part in ("name", "hips", "path"))

        def asked() -> tuple[surveys.Made, bool]:
            found, who = surveys.one(around.site.settings, name, which), around.reader(request)
            if found is None or not surveys.FILE.fullmatch(file) or not surveys.visible(around, who, found):
                raise NotFound(say("the collection {collection} has no HiPS {name}", name, f"{which}/{file}"[:200]))
            return found, surveys.visible(around, ANONYMOUS, found)

        found, public = await anyio.to_thread.run_sync(asked)
        tag = dali.etag(found.place.name, file, dali.base(request, around.site.settings))
        vary = "accept-encoding, authorization, cookie, host"
        headers = {**dali.caching(tag, public=public, vary=vary), "x-content-type-options": "nosniff"}
        if dali.unchanged(request, tag):
            return Response(status_code=304, headers=headers)
        if file == "properties":
            at = surveys.address(dali.base(request, around.site.settings), found)
            told = f"{_record(found.properties, at, dali.base(request, around.site.settings), around.site.settings.authority_of(name))}\n"
            return dali.whole(request, told.encode(), {**headers, "content-type": "text/plain; charset=utf-8"})
        place = found.place / file
        if not place.is_file():
            raise NotFound(say("there is no tile {path}", file))
        kind = "image/png" if file.endswith(".png") else "application/fits"
        return FileResponse(place, headers=headers, media_type=kind)

    return [route("/hipslist", listed), route("/collections/{name}/hips/{hips}/{path:path}", one)]


def _capable(around: Surroundings, base: str, schema: Schema | None) -> Sequence[Capability]:
    """Name the list, once there is something in it that was made here for everybody."""
    if schema or not any(surveys.visible(around, ANONYMOUS, one) for one in surveys.made(around.site.settings)):
        return []
    return [Capability(standard_id="ivo://ivoa.net/std/hips#hipslist-1.0", url=f"{base}/hipslist", role="std")]


FACE = Face(
    name="hips",
    title="HiPS",
    description="The HiPS that were made here, and those among the files: hierarchical progressive surveys, for Aladin and others.",
    standard_ids=(STANDARD,),
    applies=applies,
    lacking="files",
    routes=routes,
    capable=_capable,
)

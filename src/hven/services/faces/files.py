"""A collection's files: ``/collections/<name>/files`` lists them, ``/collections/<name>/files/<path>`` gives one, or a range of its bytes."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any
from urllib.parse import quote as urlquote

import anyio.to_thread
from starlette.responses import FileResponse, Response

from hven import adql, query
from hven import services as dali
from hven.adql.text import literal
from hven.model.errors import Forbidden, Gone, NotFound, Unauthenticated, Unavailable, say
from hven.model.table import FILES
from hven.services.address import SIGNS
from hven.services.face import Face, Surroundings, Way, route
from hven.site.auth import OWNER, looks, whole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from starlette.requests import Request
    from starlette.routing import Route

    from hven.model.settings import Settings
    from hven.model.table import Table
    from hven.site import Holdings, Published
    from hven.site.auth import Reader
    from hven.site.store import Release

# a page or an image among the files may hold scripts: they must not run as if they were this site's
HEADERS = {
    "content-security-policy": "sandbox; default-src 'none'",
    "x-content-type-options": "nosniff",
    "vary": "authorization, cookie",
}


def applies(table: Table) -> bool:
    """Serve tables that a descriptor's ``files`` made."""
    return table.utype == FILES


def routes(around: Surroundings) -> Sequence[Route]:
    """Route ``/collections/<name>/files`` and what is below."""

    def rows(request: Request, name: str, path: str | None) -> tuple[list[dict[str, Any]], str]:
        """Ask for a reader's files by the road of all queries; return also who may keep the answer.

        A file that rows of the collection name is known and taken as their levels have it; one row that is locked locks it.
        """
        site, who = around.site, around.reader(request)
        asks, holdings = who, site.current()
        catalogue = holdings.catalogue(who, around.policies)
        # a file of a release is locked by what is published now, too
        of = {name, *(item.release.collection for item in holdings.published.values() if item.release and item.release.schema == name)}  # fmt: skip
        named = [table for table in holdings.guarded if table.schema in of and table.policy and table.policy.path]
        if named and path is not None and not whole(who, name):
            known = {table.qualified for table in catalogue.tables()}
            seen = [
                (table, adql.quote(str(table.policy.path)))
                for table in named
                if table.policy and table.schema == name and table.qualified in known
            ]
            if not any(ask(table, f"TOP 1 {column}", column, path, who, holdings) for table, column in seen):
                return [], ""
            for table in named:
                where = {str(table.policy.path): path} if table.policy is not None else {}
                locked = None if table.rights is None else table.rights.locked(who, where)
                if locked is not None:
                    until = locked.until or say("somebody opens it")
                    message = say("the file {path} is locked until {until}", path, until)
                    whom = locked.contact or say("its owner")
                    kind = Unauthenticated if who.anonymous else Forbidden
                    raise kind(message, remedy=say("ask {whom}", whom))
            who = OWNER  # the list of all files is private
            catalogue = holdings.catalogue(who, around.policies)
        files = next((one for one in catalogue.tables() if one.schema == name and applies(one)), None)
        if files is None:
            raise NotFound(f"the collection {name!r} has no files here", remedy="the first page lists what is here")
        # what is published no more stays at its address as long as a release has it
        older = {item.table.qualified for item in holdings.releases.get(files.qualified, ()) if path is not None}
        for one in (files, *(table for table in catalogue.tables() if table.qualified in older)):
            found = ask(one, "path, url, media_type, bytes, sha256, title, modified", "path", path, who, holdings)
            if found:
                break
        if found and path is not None:
            what = "file taken" if request.method == "GET" else "file asked about"
            looks.looked(site.store, asks, what, path, files, named, around.policies)
        release = holdings.published[one.qualified].release
        newer = follower(found[0]["url"], release, asks, holdings) if found and path is not None and release else None
        return [{**row, "release": release, "newer": newer} for row in found], holdings.reach(who, around.policies)

    def follower(url: str, release: Release, who: Reader, holdings: Holdings) -> str | None:
        """Find the file that is named now by the row which named this one in a release."""
        known = {table.qualified: table for table in holdings.catalogue(who, around.policies).tables()}
        for old in known.values():
            new = known.get(f"{release.collection}.{old.name}")
            if old.schema != release.schema or new is None or not old.primary:
                continue
            names = {*new.arrow.names}
            for column in old.columns:
                if not (column.ucd or "").startswith("meta.ref.url") or not names.issuperset(
                    (*old.primary, column.name)
                ):
                    continue
                named, key, value = adql.quote(column.name), ", ".join(map(adql.quote, old.primary)), literal(url)
                text = f"SELECT TOP 1 b.{named} AS url FROM {whole_name(old)} AS a JOIN {whole_name(new)} AS b USING ({key})"
                found = answered(f"{text} WHERE a.{named} = {value} AND b.{named} <> {value}", who, holdings)
                if found:
                    return urlquote(str(found[0]["url"]), safe=SIGNS)  # nothing else goes into a header
        return None

    def ask(
        table: Table, columns: str, named: str, path: str | None, who: Reader, holdings: Holdings
    ) -> list[dict[str, Any]]:
        """Ask for the rows of a path, or of all."""
        text = f"SELECT {columns} FROM {whole_name(table)}"
        text += f" ORDER BY {named}" if path is None else f" WHERE {named} = '" + path.replace("'", "''") + "'"
        return answered(text, who, holdings)

    def whole_name(table: Table) -> str:
        return f"{adql.quote(table.schema)}.{adql.quote(table.name)}"

    def answered(text: str, who: Reader, holdings: Holdings) -> list[dict[str, Any]]:
        with query.run(text, who, site=around.site, policies=around.policies, holdings=holdings) as result:
            return [row for batch in result.batches() for row in batch.to_pylist()]

    async def one(request: Request) -> Response:
        name, path = request.path_params["name"], request.path_params["path"]
        found, reach = await anyio.to_thread.run_sync(rows, request, name, path)
        row = _only(found, name, path)
        tag = f'"{row["sha256"]}"'
        headers = {**dali.caching(tag, public=reach == "public"), **HEADERS}
        if dali.unchanged(request, tag):
            return Response(status_code=304, headers=headers)
        if row["release"] is not None:
            name = row["release"].collection
            newer = row["newer"] or f"{dali.base(request, around.site.settings)}/collections/{urlquote(name)}/files"
            headers["link"] = f'<{newer}>; rel="latest-version"'
        place = await anyio.to_thread.run_sync(_as_published, around.site.settings, name, row)
        # also a date: two states of a file may have the same (RFC 9110 section 13.1.5)
        if request.headers.get("if-range", tag) != tag:
            request.scope["headers"] = [pair for pair in request.scope["headers"] if pair[0] != b"range"]
        return FileResponse(place, headers=headers, media_type=row["media_type"])

    async def listed(request: Request) -> Response:
        found, _ = await anyio.to_thread.run_sync(rows, request, request.path_params["name"], None)
        sign = await anyio.to_thread.run_sync(around.signing, request) or str
        lines = [f"{row['sha256']}  {sign(row['url'])}  {row['bytes']}  {row['title']}\n" for row in found]
        kept = "no-cache" if sign is str else "private, no-store"
        headers = {"content-type": "text/plain; charset=utf-8", "cache-control": kept, **HEADERS}
        return dali.whole(request, "".join(lines).encode(), headers)

    return [route("/collections/{name}/files", listed), route("/collections/{name}/files/{path:path}", one)]


def _only(found: list[dict[str, Any]], name: str, path: str) -> dict[str, Any]:
    if not found:
        raise NotFound(
            f"the collection {name!r} has no file {path!r} here", remedy=f"collections/{name}/files lists them"
        )
    return found[0]


def _as_published(settings: Settings, name: str, row: dict[str, Any]) -> Path:
    """Find a file, and see that it is the one whose checksum was published.

    Raises
    ------
    Unavailable
        It is gone, or was changed since.
    """
    place = settings.collections / name / str(row["path"])
    try:
        real, stat = place.resolve(strict=True), place.stat()
    except OSError:
        raise Unavailable(
            f"the file {row['path']} is not there now",
            remedy="its owner must put it back, or ingest the collection again",
        ) from None
    if not any(real.is_relative_to(root.resolve()) for root in settings.grounds):
        raise Unavailable(
            f"the file {row['path']} is not there now",
            remedy="its owner must put it back: a link leads out of the site",
        )
    changed = stat.st_size != row["bytes"] or abs(stat.st_mtime - _seconds(row["modified"])) > 1e-3
    if changed and row["release"] is not None:
        raise Gone(
            f"the file {row['path']} of {row['release'].label} was replaced",
            remedy=f"collections/{name}/files/{row['path']} is what stands for it now, if it is published",
        )
    if changed:
        raise Unavailable(
            f"the file {row['path']} was changed since it was published",
            remedy="its owner must ingest the collection again",
        )
    return place


def _seconds(moment: Any) -> float:
    return float(moment.replace(tzinfo=UTC).timestamp())


def ways(published: Published, base: str) -> Sequence[Way]:
    """Show the list, and how to get one and check it."""
    url = f"{base}/collections/{urlquote(published.table.schema)}/files"
    return [
        Way(title="Files", url=url, example=f"curl -s '{url}' | while read sum url rest; do curl -sO \"$url\"; done")
    ]


FACE = Face(name="files", title="Files", applies=applies, routes=routes, ways=ways)

"""``/push/<schema.table>``: rows that clients write: POST new ones, PUT columns of those that are there, DELETE; GET what was written, and by whom.

One row has the address ``/push/<schema.table>/<key>``. Each request is one transaction: all of its rows, or none.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from xml.sax.saxutils import escape

import anyio
import anyio.to_thread
import orjson
from starlette.responses import Response

from hven import services as dali
from hven.ingest import push as pushing
from hven.model.errors import Forbidden, NotFound, ParamError, StorageError, TooLarge, Unauthenticated, say
from hven.services.face import Face, Surroundings, route

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.routing import Route

    from hven.ingest import Report
    from hven.site import Catalogue
    from hven.site.auth import Reader

AT_ONCE = 4  # writes that are received and carried out at once, in a process; the others wait
TOKEN = 200  # characters of an Idempotency-Key
PAGE = 100  # writes of the history in one answer
JSON = "application/json"
TRUE, FALSE = {"true", "1", "yes"}, {"", "false", "0", "no"}


def routes(around: Surroundings) -> Sequence[Route]:
    """Route the tables that take rows, and their rows."""
    site = around.site
    working = anyio.CapacityLimiter(AT_ONCE)
    fault = partial(_fault, around)

    def key_of(request: Request) -> tuple[str, ...] | None:
        """Read the key of a row, or the path of a file: the rest of the address; of a file that is posted its name."""
        text, name = request.path_params.get("key"), request.query_params.get("filename", "")
        if text is None and name and request.method == pushing.POST:
            text = pushing.filed(site, request.path_params["table"], name) or None
        return None if text is None else (text,)

    def known(request: Request) -> tuple[Reader, str]:
        """Find out who writes where; who may not see a table is not told that there is one."""
        who, name = around.reader(request), request.path_params["table"]
        found = pushing.target(site, name, "/".join(key_of(request) or ()))
        if found is not None and pushing.may(found[0], found[2], who):
            return who, found[1].table.qualified
        if who.name is None:
            raise Unauthenticated(
                "only who has an account here can write", remedy="send the header Authorization: Bearer TOKEN"
            )
        table = dali.table_named(name, site.current().catalogue(who, around.policies))
        if found is None:
            raise NotFound(
                say("{table} takes no rows", table.qualified), remedy="its descriptor says so: source: {kind: push}"
            )
        raise Forbidden(
            say("{who} may not write into {table}", who.name, table.qualified),
            remedy="its descriptor says who may: writers",
        )

    async def write(request: Request) -> Response:
        who, name = known(request)
        with _place() as place:
            body = await _received(request, Path(place) / "body", site.settings.limits.upload)
            wanted = pushing.Write(
                action=request.method, body=body, media=_media(request), key=key_of(request), token=_token(request),
                match=request.headers.get("if-match"), dry_run=_said(request, "dry_run"),
                given={name: value for name, value in request.query_params.items() if name not in {"dry_run", "filename"}},
            )  # fmt: skip
            done = await anyio.to_thread.run_sync(pushing.push, site, name, wanted, who, limiter=working)
        here = f"{dali.base(request, site.settings)}/push/{quote(name)}"
        return _answer(request, wanted, done, here, site.current().catalogue(who, around.policies))

    async def look(request: Request) -> Response:
        _, name = known(request)
        key = key_of(request)
        if key is None:
            text = request.query_params.get("before", "")
            before = int(text) if text.isdigit() and len(text) < 18 else None
            told, state = await anyio.to_thread.run_sync(_about, around, name, before)
        else:
            told, state = await anyio.to_thread.run_sync(pushing.row, site, name, key)
        headers = {"cache-control": "private, no-store", "etag": f'"{state}"'}
        return dali.whole(request, _json(told), {"content-type": JSON, **headers})

    return [
        route("/push/{table}", write, fault, ["POST", "PUT", "DELETE"]),
        route("/push/{table}", look, fault),
        route("/push/{table}/{key:path}", write, fault, ["PUT", "DELETE"]),
        route("/push/{table}/{key:path}", look, fault),
    ]


# --- what is asked ------------------------------------------------------------------------------------------------


def _media(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _token(request: Request) -> str:
    text = request.headers.get("idempotency-key", "").strip()
    if len(text) > TOKEN:
        raise ParamError(say("an Idempotency-Key has {most} characters at most", TOKEN), remedy="send a UUID")
    return text


def _said(request: Request, name: str) -> bool:
    text = request.query_params.get(name, "").strip().lower()
    if text not in TRUE | FALSE:
        raise ParamError(say("{name}={value!r:.40} is not known", name, text), name=name, remedy="true or false")
    return text in TRUE


def _place() -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="hven-push-", ignore_cleanup_errors=True)
    except OSError as error:
        raise StorageError(f"there is no place for what is sent: {error.strerror}", remedy="try again later") from error


async def _received(request: Request, path: Path, limit: int) -> Path | None:
    """Write the body to a file; None: there is none."""
    size = 0
    try:
        async with await anyio.open_file(path, "wb") as file:
            async for chunk in dali.chunks(request, limit):
                size += len(chunk)
                await file.write(chunk)
    except TooLarge:
        raise TooLarge(
            say("more than {most:,} bytes are not taken at once", limit), remedy="send it in parts"
        ) from None
    except OSError as error:
        raise StorageError(f"what is sent cannot be kept: {error.strerror}", remedy="try again later") from error
    return path if size else None


# --- what is told -------------------------------------------------------------------------------------------------


def _about(around: Surroundings, name: str, before: int | None) -> tuple[dict[str, Any], str]:
    """Describe what a table takes, and who wrote what."""
    store = around.site.store.pushes
    found = pushing.target(around.site, name)
    options = found[2].options if found is not None else {}
    history = store.history(name, most=PAGE, before=before)
    names = ("number", "run", "at", "by", "action", "rows", "removed")
    told = {
        "table": name,
        "columns": options.get("columns"),
        "ids": options.get("ids"),
        "history": [{key: getattr(one, key) for key in names} for one in history],
        "before": history[-1].number if len(history) == PAGE else None,
    }
    return told, store.state(name)


def report_of(report: Report, known: Catalogue) -> dict[str, Any]:
    """Return what a report says to a client: without places on this machine, rows of other tables, and tables that they may not know of.

    Parameters
    ----------
    report
        Of a push.
    known
        What the client may know of.
    """
    seen = {table.qualified for table in known.tables()}
    hidden = {*report.tables, *report.changes, *report.followers} - seen
    tables = {
        name: {
            **{key: getattr(table, key) for key in ("read", "skipped", "rejected", "published")},
            "findings": [
                {
                    **{key: getattr(one, key) for key in ("rule", "message", "severity", "count")},
                    "rows": [{key: getattr(row, key) for key in ("row", "column", "value")} for row in one.offenders],
                }
                for one in table.findings.values()
            ],
        }
        for name, table in report.tables.items()
        if name in seen
    }
    return {
        "run": report.run,
        "published": report.published,
        "dry_run": report.dry_run,
        "seconds": round(report.seconds, 3),
        "tables": tables,
        "changes": {name: change.counts() for name, change in report.changes.items() if name in seen},
        "warnings": [text for text in report.warnings if not any(name in text for name in hidden)],
        "tests": [{"name": one.name, "passed": one.passed} for one in report.tests],
    }


def _answer(request: Request, wanted: pushing.Write, done: pushing.Written, here: str, known: Catalogue) -> Response:
    """Tell what was written: 201 new rows, 204 of one row, 200 of several; with the report, where it is not left out."""
    headers = {"cache-control": "no-store", "hven-push": done.run}
    if not wanted.dry_run:
        headers["etag"] = f'"{done.state}"'
    if done.replayed:
        headers["idempotency-replayed"] = "true"
    status = 201 if not wanted.dry_run and (wanted.action == pushing.POST or done.new) else 200
    if status == 201 and len(done.ids) == 1:
        key = done.ids[0] if isinstance(done.ids[0], list) else [done.ids[0]]
        headers["location"] = f"{here}/{'/'.join(quote(str(part)) for part in key)}"
    asked = request.headers.get("prefer", "").lower()
    brief = "return=minimal" in asked or (
        wanted.key is not None and wanted.action != pushing.POST and "return=representation" not in asked
    )
    if brief and not wanted.dry_run:
        return Response(None, status if status == 201 else 204, headers)
    told: dict[str, Any] = {"run": done.run, "ids": done.ids, "rows": done.rows, "removed": done.removed}
    if done.report is not None:
        told["report"] = report_of(done.report, known)
    if request.headers.get("accept", "").partition(",")[0].strip().lower() in {"application/xml", "text/xml"}:
        return Response(
            _xml(done, told.get("report", {}).get("warnings", ())), status, headers, media_type="application/xml"
        )
    return Response(_json(told), status, headers, media_type=JSON)


def _xml(done: pushing.Written, warnings: Sequence[str]) -> bytes:
    """Write keys and warnings for clients that read XML alone."""
    ids = "".join(f"<id>{escape(str(one))}</id>" for one in done.ids)
    said = "".join(f"<warning>{escape(one)}</warning>" for one in warnings)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<push run="{done.run}" rows="{done.rows}" removed="{done.removed}">{ids}{said}</push>\n'.encode()


def _json(told: Mapping[str, Any]) -> bytes:
    return orjson.dumps(told, default=str, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z)


def _fault(around: Surroundings, request: Request, error: Exception) -> Response:
    """Tell what is wrong, with the report or the rows at fault."""
    status = dali.status_of(error)
    more: dict[str, Any] = {}
    if isinstance(error, pushing.Refused):
        more["report"] = report_of(
            error.report, around.site.current().catalogue(around.reader(request), around.policies)
        )
    elif isinstance(error, pushing.Unfit):
        more["faults"] = error.faults
    said = dali.message_of(error, dali.request_id(request))
    body = _json({"error": said, "status": status, **more})
    return Response(body, status, {**dali.headers_of(error), "cache-control": "no-store"}, media_type=JSON)


def _described() -> dict[str, Any]:
    """Describe the addresses as OpenAPI has it."""
    words = {201: "written", 200: "written", 204: "written", 400: "what was sent is wrong: faults, or the report", 401: "log in", 403: "not allowed",
             404: "no such table or row", 409: "a key is there, or a token was used", 412: "another state than If-Match says", 413: "too much", 503: "try again later"}  # fmt: skip

    def given(place: str, name: str, about: str, kind: str = "string", *, needed: bool = False) -> dict[str, Any]:
        return {"name": name, "in": place, "required": needed, "description": about, "schema": {"type": kind}}

    def operation(summary: str, *good: int, body: bool = True) -> dict[str, Any]:
        said: dict[str, Any] = {"summary": summary, "security": [{"bearer": []}]}
        said["responses"] = {str(one): {"description": words[one]} for one in (*good, *sorted(words)[3:])}
        if good != (200,) or body:
            said["parameters"] = [
                given("query", "dry_run", "do all but write", "boolean"),
                given("header", "If-Match", "write only if this is the state"),
                given("header", "Idempotency-Key", "one word for one request"),
            ]
        if body:
            row = {"type": "object"}
            said["requestBody"] = {"content": {JSON: {"schema": {"oneOf": [row, {"type": "array", "items": row}]}}, "text/csv": {}, "application/x-votable+xml": {}, "application/xml": {}}}  # fmt: skip
        return said

    table = given("path", "table", "a table that takes rows: schema.name", needed=True)
    key = given("path", "key", "the key of a row, or the path of a file", needed=True)
    return {
        "/push/{table}": {
            "parameters": [table],
            "get": operation("What may be written, and who wrote what", 200, body=False),
            "post": operation("Write new rows", 201),
            "put": operation("Change the named columns of rows", 200),
            "delete": operation("Delete rows", 200),
        },
        "/push/{table}/{key}": {
            "parameters": [table, key],
            "get": operation("A row as it was written", 200, body=False),
            "put": operation("Change the named columns of a row, or put a file", 201, 204),
            "delete": operation("Delete a row or a file", 204, body=False),
        },
    }


FACE = Face(name="push", title="Push", description="Rows that clients write.", routes=routes, described=_described())

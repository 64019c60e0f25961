"""TAP 1.1: ``/tap/sync``, ``/tap/async``, ``/tap/tables``, ``/tap/capabilities``, ``/tap/availability``, ``/tap/examples``."""

from __future__ import annotations

import hashlib
import shlex
from typing import TYPE_CHECKING

import anyio.to_thread
from starlette.responses import Response
from starlette.routing import Route

from hven import __version__, adql, formats, query
from hven import services as dali
from hven import site as holdings
from hven.formats import Info
from hven.jobs.tap import PARAMS, READ, STANDARD, explain_of, query_of
from hven.model.errors import HvenError, ParamError
from hven.query.turns import Turns
from hven.query.uploads import renamed
from hven.services import _examples as dali_examples
from hven.services import _vosi as vosi
from hven.services import uws
from hven.services._threads import in_turn
from hven.services._uploads import Uploads
from hven.services.faces import _user_tables
from hven.services.faces._tapregext import described, table_access
from hven.services.params import FORM_MOST
from hven.services.protocol import Protocol, Surroundings, Way

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request

    from hven.model.table import Table
    from hven.query import Result
    from hven.query.uploads import Uploaded
    from hven.site import Catalogue, Holdings, Published
    from hven.site.auth import Reader

SHORT = 1_500  # characters: to look at the words of more than this would hold up the event loop, as planning does whatever is new
_STANDARD_ID = Info(name="standardID", value=STANDARD)
PLANNED = 2  # texts at once: more would only fight over one core
FAR = 16  # texts at once that ask for the position of an object, perhaps far away
WAITING = 32  # that may wait to be planned, if that is soon enough


def routes(around: Surroundings) -> Sequence[Route]:
    """Give the resources of DALI 1.1 section 2 below ``/tap``."""
    site = around.site
    limit = site.settings.limits.upload + FORM_MOST
    uploading = Uploads(site.settings)
    planning, looking = Turns(PLANNED, places=WAITING), Turns(FAR, places=WAITING)
    documents = dali.Documents()

    async def door(request: Request) -> Response:
        """Show the way to who asks the base address itself: people to queries that they can try, programs to the capabilities."""
        page = "examples" if "text/html" in request.headers.get("accept", "") else "capabilities"
        return Response(None, 303, headers={"location": f"{dali.base(request, site.settings)}/tap/{page}", "vary": "accept"})

    async def sync(request: Request) -> Response:
        try:
            return await _answer(request, around, await dali.read(request, limit), planning, looking, uploading)
        except Exception as error:  # noqa: BLE001  (one table of errors)
            return _fault(request, error)

    async def tables(request: Request) -> Response:
        detail = request.query_params.get("detail", request.query_params.get("DETAIL"))
        return _described(request, around, documents, lambda catalogue, _: _tables(catalogue, detail), "tables", detail)

    async def one_table(request: Request) -> Response:
        name = request.path_params["table"]
        return _described(request, around, documents, lambda catalogue, _: _one_table(catalogue, name), "table", name)

    async def examples(request: Request) -> Response:
        def make(_: Catalogue, now: Holdings) -> bytes:
            return dali_examples.document(holdings.examples(now, around.reader(request), around.policies))

        return _described(request, around, documents, make, "examples", media_type=dali_examples.MEDIA_TYPE)

    async def capabilities(request: Request) -> Response:
        here = f"{dali.base(request, site.settings)}/tap"
        body = vosi.capabilities(_capabilities(here, around))
        tag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
        headers = {"etag": tag, "cache-control": "public, no-cache", "vary": "accept-encoding, host"}
        if dali.unchanged(request, tag):
            return Response(status_code=304, headers=headers)
        return dali.whole(request, body, {**headers, "content-type": vosi.MEDIA_TYPE})

    async def availability(request: Request) -> Response:
        body = vosi.availability(up=True, since=around.started)
        return dali.whole(request, body, {"content-type": vosi.MEDIA_TYPE, "cache-control": "no-store"})

    return [
        Route("/tap", door),
        Route("/tap/sync", sync, methods=["GET", "POST"]),
        Route("/tap/tables", tables),
        Route("/tap/tables/{table:path}", one_table),
        Route("/tap/capabilities", capabilities),
        Route("/tap/availability", availability),
        *uws.routes("/tap/async", "tap", site, around.reader, limit=limit),
        Route("/tap/examples", examples),
        *_user_tables.routes(around),
    ]


async def _answer(
    request: Request, around: Surroundings, params: dali.Params, planning: Turns, looking: Turns, uploading: Uploads
) -> Response:
    text = query_of(params)
    fmt, options = formats.select(params.one("RESPONSEFORMAT") or params.one("FORMAT"), request.headers.get("accept"))
    maxrec = params.whole("MAXREC")
    who = around.reader(request)
    uploaded = await uploading.read(params)
    if explain_of(params):
        return await _plan(text, who, around, uploaded)

    as_of = params.one("ASOF")
    warnings = dali.unused(params, PARAMS, *READ)

    def ask() -> Result:
        return query.run(text, who, site=around.site, maxrec=maxrec, uploads=uploaded, policies=around.policies, as_of=as_of)

    far = query.names_objects(text)
    soon = as_of is None and not far and len(text) < SHORT
    if soon and query.known(text, who, site=around.site, policies=around.policies):
        result = ask()
    else:
        async with in_turn(looking if far else planning):
            result = await anyio.to_thread.run_sync(ask)
    try:
        dali.begin(request, result)
        tag = dali.etag(result, "tap", text, maxrec, fmt.name, sorted(options.items()), as_of, warnings)
        headers = dali.caching(result, tag) if not uploaded else {"cache-control": "no-store"}  # the tag knows nothing of the uploads
        if dali.unchanged(request, tag) and not result.volatile and not uploaded:
            result.close()
            return Response(status_code=304, headers=headers)
        head = dali.head(result, infos=[Info(name="QUERY", value=text), _STANDARD_ID, *renamed(uploaded), *warnings])
        return await dali.answer(request, result, fmt, head, options, headers=headers)
    except BaseException:
        result.close()
        raise


async def _plan(text: str, who: Reader, around: Surroundings, uploaded: Uploaded) -> Response:
    """Say how the query would be run: our own extension."""
    plan = await anyio.to_thread.run_sync(lambda: query.explain(text, who, site=around.site, uploads=uploaded, policies=around.policies))
    return Response(f"{plan}\n", headers={"cache-control": "no-store"}, media_type="text/plain; charset=utf-8")


def _fault(request: Request, error: BaseException) -> Response:
    message = dali.message_of(error, dali.request_id(request))
    return Response(dali.votable_error(message), dali.status_of(error), dali.headers_of(error), media_type="application/x-votable+xml")


def _described(
    request: Request,
    around: Surroundings,
    documents: dali.Documents,
    make: Callable[[Catalogue, Holdings], bytes],
    *what: str | None,
    media_type: str = vosi.MEDIA_TYPE,
) -> Response:
    """Answer with metadata, which is tagged by the version of the holdings and the reader's reach."""
    try:
        who = around.reader(request)
        current = around.site.current()
        catalogue = current.catalogue(who, around.policies)
        reach = current.reach(who, around.policies)
        tag = f'W/"{__version__}-{current.version}-{reach}"'
        public = "public" if who.anonymous else "private"
        headers = {"etag": tag, "cache-control": f"{public}, no-cache", "vary": "accept-encoding, authorization, cookie"}
        if media_type == dali_examples.MEDIA_TYPE:  # browsers show it as a page
            headers["content-security-policy"] = "default-src 'none'; frame-ancestors 'self'"
        if dali.unchanged(request, tag):
            return Response(status_code=304, headers=headers)
        body = documents.get((current.version, reach, *what), lambda: make(catalogue, current))
        return dali.whole(request, body, {**headers, "content-type": media_type})
    except HvenError as error:
        text = dali.message_of(error, dali.request_id(request))
        return Response(text, dali.status_of(error), dali.headers_of(error), media_type="text/plain; charset=utf-8")


def _tables(catalogue: Catalogue, detail: str | None) -> bytes:
    if detail not in {None, "min", "max"}:
        raise ParamError(f"detail={detail!r} is not known", name="detail", remedy="min or max")
    return vosi.tables(catalogue.schemas, detail=detail, quote=adql.quote)


def _one_table(catalogue: Catalogue, name: str) -> bytes:
    return vosi.table(dali.table_named(name, catalogue), quote=adql.quote)


def _capabilities(here: str, around: Surroundings) -> list[vosi.Capability]:
    def resource(name: str, standard: str) -> vosi.Capability:
        return vosi.Capability(standard_id=standard, url=f"{here}/{name}", role="std")

    return [
        resource("capabilities", "ivo://ivoa.net/std/VOSI#capabilities"),
        resource("availability", "ivo://ivoa.net/std/VOSI#availability"),
        vosi.Capability(
            standard_id="ivo://ivoa.net/std/VOSI#tables-1.1",
            url=f"{here}/tables",
            role="std",
            version="1.1",
            security=_user_tables.SECURITY,
        ),
        vosi.Capability(standard_id=dali_examples.STANDARD, url=f"{here}/examples", interface="vr:WebBrowser"),
        vosi.Capability(
            standard_id=STANDARD,
            url=here,
            use="base",
            role="std",
            version="1.1",
            security=_user_tables.SECURITY,
            description=described(around.site.settings),
            attributes='xmlns:tr="http://www.ivoa.net/xml/TAPRegExt/v1.0" xsi:type="tr:TableAccess"',
            inside=table_access(around.site.settings, around.site.current().catalogue(policies=around.policies).names()),
        ),
        *_user_tables.capabilities(here, around.site.settings),
    ]


def applies(table: Table) -> bool:  # noqa: ARG001  (the contract's signature)
    """Every table can be queried."""
    return True


def ways(published: Published, base: str) -> Sequence[Way]:
    """Show a first query in several clients."""
    text = f"SELECT TOP 5 * FROM {adql.quote(published.table.schema)}.{adql.quote(published.table.name)}"
    return [
        Way(
            title="TAP in Python (pyvo)",
            url=f"{base}/tap",
            language="python",
            example=f'import pyvo\nprint(pyvo.dal.TAPService("{base}/tap").search("""{text}""").to_table())',
        ),
        Way(
            title="TAP with STILTS",
            url=f"{base}/tap",
            example=f"stilts tapquery tapurl={base}/tap sync=true adql={shlex.quote(text)} ofmt=ascii",
        ),
        Way(
            title="TAP with curl",
            url=f"{base}/tap/sync",
            example=f"curl {base}/tap/sync -d LANG=ADQL -d RESPONSEFORMAT=csv --data-urlencode {shlex.quote(f'QUERY={text}')}",
        ),
    ]


PROTOCOL = Protocol(name="tap", title="TAP", standard_ids=(STANDARD,), params=PARAMS, applies=applies, routes=routes, ways=ways)

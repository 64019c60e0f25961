"""TAP 1.1: ``/tap/sync``, ``/tap/async``, ``/tap/tables``, ``/tap/capabilities``, ``/tap/availability``, ``/tap/examples``."""

from __future__ import annotations

import shlex
from functools import partial
from typing import TYPE_CHECKING

import anyio.to_thread
from starlette.responses import Response

from hven import __version__, adql, formats, query
from hven import services as dali
from hven import site as holdings
from hven.formats import Info
from hven.formats.votable import is_string_array
from hven.jobs.tap import PARAMS, READ, STANDARD, cite_of, explain_of, query_of
from hven.model.errors import ParamError
from hven.query import cited_results
from hven.query.turns import Turns
from hven.query.uploads import list_warnings
from hven.services import _examples as dali_examples
from hven.services import _vosi as vosi
from hven.services import uws
from hven.services._threads import in_turn
from hven.services._uploads import Uploads
from hven.services.face import Face, Surroundings, Way, asking, route
from hven.services.faces import _tapregext, _user_tables
from hven.services.params import FORM_MOST

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request
    from starlette.routing import Route

    from hven.model.table import Schema
    from hven.query import Result
    from hven.query.uploads import Uploaded
    from hven.site import Catalogue, Holdings, Published
    from hven.site.auth import Reader

# characters: to look at the words of more than this would hold up the event loop, as planning does whatever is new
SHORT = 1_500
_STANDARD_ID = Info(name="standardID", value=STANDARD)
PLANNED = 2  # texts at once: more would only fight over one core
FAR = 16  # texts at once that ask for the position of an object, perhaps far away
WAITING = 32  # that may wait to be planned, if that is soon enough


def routes(around: Surroundings) -> Sequence[Route]:
    """List the resources of DALI 1.1 section 2 below ``/tap``."""
    site = around.site
    limit = site.settings.limits.upload + FORM_MOST
    sync = partial(_sync, around, Turns(PLANNED, places=WAITING), Turns(FAR, places=WAITING), Uploads(site.settings))
    documents = dali.Documents()

    async def door(request: Request) -> Response:
        """Show the way to who asks the base address itself: people to queries that they can try, programs to the capabilities."""
        page = "examples" if "text/html" in request.headers.get("accept", "") else "capabilities"
        return Response(
            None, 303, headers={"location": f"{dali.base(request, site.settings)}/tap/{page}", "vary": "accept"}
        )

    def described(
        request: Request, make: Callable[[Catalogue, Holdings], bytes], *what: str | None, page: bool = False
    ) -> Response:
        """Answer with metadata, which is tagged by the version of the holdings and the reader's reach."""
        who, now = around.reader(request), site.current()
        catalogue, reach = now.catalogue(who, around.policies), now.reach(who, around.policies)
        headers = dali.caching(f'W/"{__version__}-{now.version}-{reach}"', public=who.anonymous)
        if page:  # browsers show it
            headers["content-security-policy"] = "default-src 'none'; frame-ancestors 'self'"
        kind = dali_examples.MEDIA_TYPE if page else vosi.MEDIA_TYPE
        return dali.tagged(
            request, headers, kind, lambda: documents.get((now.version, reach, *what), lambda: make(catalogue, now))
        )

    async def tables(request: Request) -> Response:
        detail = _detail(request)

        def make(catalogue: Catalogue, now: Holdings) -> bytes:
            counted = now.counted(around.reader(request), around.policies)
            return vosi.tables(catalogue.schemas, detail=detail, quote=adql.quote, counted=counted)

        return described(request, make, "tables", detail)

    async def one_table(request: Request) -> Response:
        name, detail = request.path_params["table"], _detail(request)

        def make(catalogue: Catalogue, now: Holdings) -> bytes:
            counted = now.counted(around.reader(request), around.policies)
            return vosi.table(dali.table_named(name, catalogue), quote=adql.quote, detail=detail, counted=counted)

        return described(request, make, "table", name, detail)

    async def examples(request: Request) -> Response:
        def make(_: Catalogue, now: Holdings) -> bytes:
            return dali_examples.document(holdings.examples(now, around.reader(request), around.policies))

        return described(request, make, "examples", page=True)

    async def capabilities(request: Request) -> Response:
        here = f"{dali.base(request, site.settings)}/tap"
        body = vosi.capabilities(_capabilities(here, around))
        return dali.tagged(
            request,
            dali.caching(dali.etag(body), public=True, vary="accept-encoding, authorization, cookie, host"),
            vosi.MEDIA_TYPE,
            body,
        )

    async def availability(request: Request) -> Response:
        body = vosi.availability(up=True, since=around.started)
        return dali.whole(request, body, {"content-type": vosi.MEDIA_TYPE, "cache-control": "no-store"})

    return [
        route("/tap", door),
        asking("/tap/sync", sync, limit=limit),
        route("/tap/tables", tables),
        route("/tap/tables/{table:path}", one_table),
        route("/tap/capabilities", capabilities),
        route("/tap/availability", availability),
        *uws.routes("/tap/async", "tap", site, around.reader, limit=limit),
        route("/tap/examples", examples),
        *_user_tables.routes(around),
    ]


async def _sync(
    around: Surroundings, planning: Turns, looking: Turns, uploading: Uploads, request: Request, params: dali.Params
) -> Response:
    text = query_of(params)
    fmt, options = form = formats.select(
        params.one("RESPONSEFORMAT") or params.one("FORMAT"), request.headers.get("accept")
    )
    maxrec = params.whole("MAXREC")
    who = around.reader(request)
    uploaded = await uploading.read(params)
    if explain_of(params):
        return await _plan(text, who, around, uploaded)

    as_of = params.one("ASOF")
    warnings = dali.unused(params, PARAMS, *READ)
    cited = await _cited(around, request, params, text, planning) if cite_of(params) else ()

    def ask() -> Result:
        return query.run(
            text, who, site=around.site, maxrec=maxrec, uploads=uploaded, policies=around.policies, as_of=as_of
        )

    far = query.names_objects(text)
    soon = as_of is None and not far and len(text) < SHORT
    if soon and query.known(text, who, site=around.site, policies=around.policies):
        result = ask()
    else:
        async with in_turn(looking if far else planning):
            result = await anyio.to_thread.run_sync(ask)
    return await dali.answer(
        request,
        result,
        form,
        tag=("tap", text, maxrec, fmt.name, sorted(options.items()), as_of, warnings, cited),
        headers={"cache-control": "no-store"} if uploaded else None,  # a tag knows nothing of the uploads
        infos=[Info(name="QUERY", value=text), _STANDARD_ID, *cited, *list_warnings(uploaded), *warnings],
        base=dali.base(request, around.site.settings),
    )


async def _cited(
    around: Surroundings, request: Request, params: dali.Params, text: str, turns: Turns
) -> tuple[Info, ...]:
    """Give the rows a persistent address."""
    who, maxrec = around.reader(request), params.whole("MAXREC")
    host = who.name or (request.client.host if request.client is not None else "")
    async with in_turn(turns):
        found = await anyio.to_thread.run_sync(lambda: cited_results.make(text, who, site=around.site, policies=around.policies, maker=host, maxrec=maxrec))  # fmt: skip
    return (Info(name="result", value=f"{dali.base(request, around.site.settings)}/results/{found.id}"),)


async def _plan(text: str, who: Reader, around: Surroundings, uploaded: Uploaded) -> Response:
    """Explain how the query would be run: our own extension."""
    plan = await anyio.to_thread.run_sync(
        lambda: query.explain(text, who, site=around.site, uploads=uploaded, policies=around.policies)
    )
    return Response(f"{plan}\n", headers={"cache-control": "no-store"}, media_type="text/plain; charset=utf-8")


def _detail(request: Request) -> str | None:
    detail = request.query_params.get("detail", request.query_params.get("DETAIL"))
    if detail not in {None, "min", "max", "stats"}:
        raise ParamError(f"detail={detail!r} is not known", name="detail", remedy="min, max or stats")
    return detail


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
            security=vosi.security(around.site.settings),
        ),
        vosi.Capability(standard_id=dali_examples.STANDARD, url=f"{here}/examples", interface="vr:WebBrowser"),
        vosi.Capability(
            standard_id=STANDARD,
            url=here,
            use="base",
            role="std",
            version="1.1",
            security=vosi.security(around.site.settings),
            description=_tapregext.described(around.site.settings),
            attributes='xmlns:tr="http://www.ivoa.net/xml/TAPRegExt/v1.0" xsi:type="tr:TableAccess"',
            inside=_tapregext.table_access(
                around.site.settings, around.site.current().catalogue(policies=around.policies).names()
            ),
        ),
        *_user_tables.capabilities(here, around.site.settings),
    ]


def ways(published: Published, base: str) -> Sequence[Way]:
    """Show a first query in several clients."""
    text = f"SELECT TOP 5 * FROM {adql.quote(published.table.schema)}.{adql.quote(published.table.name)}"
    # astropy, and so pyvo, reads no array of strings in the standard's form
    arrays = any(is_string_array(column.type) for column in published.table.columns)
    form = ', responseformat="votable;strings=json"' if arrays else ""
    return [
        Way(
            title="TAP in Python (pyvo)",
            url=f"{base}/tap",
            language="python",
            example=f'import pyvo\nprint(pyvo.dal.TAPService("{base}/tap").search("""{text}"""{form}).to_table())',
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


def capable(around: Surroundings, base: str, schema: Schema | None) -> Sequence[vosi.Capability]:
    """List what registries are told: the service; of a collection, that its tables are asked there (auxiliary capability, DDC 1.1)."""
    if schema is None:
        return _capabilities(f"{base}/tap", around)
    asked = any(table.offers("tap") for table in schema.tables)
    aux = vosi.Capability(standard_id=f"{STANDARD}#aux", url=f"{base}/tap", use="base", role="std", version="1.1")
    return [aux] if asked else []


FACE = Face(
    name="tap",
    title="TAP",
    standard_ids=(STANDARD,),
    params=PARAMS,
    path="/tap/sync",
    applies=lambda _: True,
    example="LANG=ADQL&QUERY=SELECT+TOP+5+*+FROM+TAP_SCHEMA.tables",
    routes=routes,
    ways=ways,
    capable=capable,
)

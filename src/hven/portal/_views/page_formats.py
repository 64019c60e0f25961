"""A page and its twins: what a page says is a plain value; it leaves as HTML, as JSON, or as an error that helps."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import anyio.to_thread
import orjson
from starlette.responses import Response

from hven import services as dali
from hven.model.errors import HvenError, NotFound, Unauthenticated, say
from hven.portal._explore.column_labels import NAMES, RAW, Labels
from hven.portal._pages import VARY, brand_of, error_page, frame, guarded, stripped, tagged, written
from hven.portal._pages.texts import spoken, texts
from hven.portal._pages.translation import Told, faults_in
from hven.portal._views.page_addresses import address
from hven.services.face import careful
from hven.site import blind
from hven.site.auth import row_filters

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from starlette.requests import Request

    from hven.model.table import Schema, Table
    from hven.portal._pages import Brand
    from hven.services.face import Surroundings
    from hven.site import Catalogue, Holdings
    from hven.site.auth import Reader

JSON = "application/json"
LONGEST_RETURN_ADDRESS = 1000  # characters: a log-in elsewhere keeps it in a cookie


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Who asks for a page, in which state of the holdings.

    Attributes
    ----------
    catalogue
        What the reader may know of: nothing else may be on the page.
    reach
        Key of what they see; ``public`` for everybody.
    base
        The address that links of pages begin with: of the site, or of the portal that the reader came to.
    brand
        Whose pages these are; `catalogue` has the collections of that portal alone.
    """

    request: Request
    around: Surroundings
    holdings: Holdings
    catalogue: Catalogue
    who: Reader
    reach: str
    base: str
    brand: Brand

    @property
    def language(self) -> str:
        """The language of the answer."""
        return spoken(self.request, self.brand.language)

    def collection(self) -> Schema:
        """Return the collection that the address names."""
        name = self.request.path_params["name"].removesuffix(".json")
        for schema in self.catalogue.schemas:
            if schema.name == name and name in self.holdings.resources:
                return schema
        raise NotFound(
            say("there is no collection {name!r} here", name[:80]), remedy="the first page lists what is here"
        )

    @property
    def told(self) -> Told:
        """What is wrong, in that language."""
        return faults_in(self.language)

    def labels(self, table: Table) -> Labels:
        """Return the words for a table's columns, in that language; names as queries write them, where the address wants those."""
        item = self.holdings.published.get(table.qualified)
        known = {} if item is None or row_filters([table], self.who, self.around.policies) else item.statistics
        frame = known.get("spatial_frame_type", {})
        low, high = frame.get("minimum"), frame.get("maximum")
        return Labels(
            table=table,
            language=self.language,
            known=texts(self.language, "columns"),
            frame=str(low) if low == high else "",
            statistics=known,
            raw=self.request.query_params.get(NAMES) == RAW,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a page says.

    Attributes
    ----------
    content
        Values of the template, by name; what of it is plain (text, numbers, lists, mappings) is the JSON twin.
    twin
        The JSON twin, where it is not `content`.
    """

    template: str
    content: Mapping[str, Any]
    twin: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


def moved(address: str) -> Page:
    """Send the reader on to another address of the same page."""
    content = {"message": "", "status": 303, "near": (), "words": "", "path": "", "request_id": ""}
    return Page(
        template="error.html", content=content, twin={"location": address}, status=303, headers={"location": address}
    )


def asked(request: Request, around: Surroundings) -> Asked:
    """Find out who asks, and what they may know of."""
    who = around.reader(request)
    holdings = blind(around.site.current(), who)
    brand = brand_of(request, around.site.settings)
    catalogue = holdings.catalogue(who, around.policies)
    if brand.collections:
        shown = tuple(
            one for one in catalogue.schemas if one.name in brand.collections or one.name not in holdings.resources
        )
        catalogue = replace(catalogue, key=f"{catalogue.key}@{brand.portal}", schemas=shown)
    return Asked(
        request=request,
        around=around,
        holdings=holdings,
        catalogue=catalogue,
        who=who,
        reach=holdings.reach(who, around.policies),
        base=brand.base,
        brand=brand,
    )


def of_file(state: Asked) -> dict[str, Any]:
    """Return what every page of a collection's file says: its path, and what is above it."""
    name = state.request.path_params["name"]
    resource = state.holdings.resources.get(name)
    title = (resource.title if resource is not None else "") or name
    return {
        "file": state.request.path_params["path"],
        "above": f"{state.base}/collections/{quote(name)}",
        "collection": title,
    }


def sent(state: Asked, template: str, **content: Any) -> Response:
    """Send what a face answers as a page."""
    request, around = state.request, state.around
    body = written(template, {**frame(request, around), "switch": stripped(request)}, **content)
    headers = {
        **dali.caching(dali.etag(body), public=state.reach == "public", vary=VARY),
        **guarded(origins=around.site.settings.origins),
    }
    return dali.tagged(request, headers, headers["content-type"], body)


def kept_by(state: Asked) -> str:
    """Return who may keep what this reader is shown."""
    return f"{'public' if state.reach == 'public' else 'private'}, no-cache"


def wants_json(request: Request) -> bool:
    """Return whether the reader asks for the JSON twin: ``.json`` at the end of the address, or Accept."""
    if request.url.path.endswith(".json"):
        return True
    accept = request.headers.get("accept", "").lower()
    return JSON in accept and "text/html" not in accept


def page(
    make: Callable[[Asked], Awaitable[Page]],
    around: Surroundings,
    *,
    documents: dali.Documents | None = None,
    guards: Mapping[str, Any] | None = None,
    varies: Sequence[str] = (),
    state_of: Callable[[Asked], Awaitable[object]] | None = None,
    headers_of: Callable[[Asked], Mapping[str, str]] | None = None,
) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint of a page.

    Parameters
    ----------
    make
        Makes what the page says; its errors become pages with the right status.
    documents
        Where pages are remembered that are made from metadata alone, and from nothing of the address but its path and `varies`.
    guards
        Of `hven.portal._pages.guarded`.
    varies
        Names of parameters that change such a page.
    state_of
        What else it is made from: its `repr` goes into the tag.
    headers_of
        Makes further headers.
    """
    policy = guarded(**{"origins": around.site.settings.origins, **(guards or {})})

    async def endpoint(request: Request) -> Response:
        facts = frame(request, around)
        scripted = wants_json(request)
        state = asked(request, around)
        headers = {"cache-control": kept_by(state), "vary": VARY, **policy}
        if documents is None:
            facts["switch"] = stripped(request)
            found = await make(state)
            return _answer(request, found, _body(found, facts, scripted=scripted), headers, scripted=scripted)
        # an hour of the tag's life: the page says how long ago things were
        hour = int(datetime.now(UTC).timestamp() // 3600)
        parts = [request.query_params.get(name) for name in varies]
        more = await state_of(state) if state_of is not None else None
        made_from = (tagged(facts), request.url.path, parts, scripted, state.holdings.version, state.reach, hour, more)
        headers["etag"] = tag = dali.etag(repr(made_from).encode())
        if dali.unchanged(request, tag):
            return Response(status_code=304, headers=headers)
        known = documents.find(tag)
        if known is None:
            found = await make(state)
            if found.status != 200:
                headers.pop("etag")
                return _answer(request, found, _body(found, facts, scripted=scripted), headers, scripted=scripted)
            known = documents.get(tag, lambda: _body(found, facts, scripted=scripted))
        headers |= {} if headers_of is None else await anyio.to_thread.run_sync(headers_of, state)
        return _answer(request, None, known, headers, scripted=scripted)

    return careful(endpoint, refused(around, page=True, switch=documents is None))


def json_page(
    make: Callable[[Asked], Awaitable[Page]], around: Surroundings
) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint of what only scripts ask for; tagged by its own content, so that nothing is sent twice."""

    async def endpoint(request: Request) -> Response:
        state = asked(request, around)
        found = await make(state)
        body = _body(found, {}, scripted=True)
        headers = dali.caching(dali.etag(body), public=state.reach == "public", vary=VARY)
        return dali.tagged(request, {**headers, "content-type": JSON, **found.headers}, JSON, body, found.status)

    return careful(endpoint, refused(around, scripted=True))


def refused(
    around: Surroundings, *, scripted: bool = False, page: bool = False, switch: bool = False
) -> Callable[[Request, Exception], Response]:
    """Make the page, or the JSON, of errors: what is wrong, and what helps; of a `page` also which others may have been meant."""

    def told(request: Request, error: Exception) -> Response:
        words = faults_in(spoken(request, brand_of(request, around.site.settings).language))
        message = words.error(error, dali.request_id(request))
        status, headers = dali.status_of(error), {**dali.headers_of(error), "cache-control": "no-store", "vary": VARY}
        if isinstance(error, Unauthenticated) and _can_log_in(request):
            return Response(status_code=303, headers={**headers, "location": _login_address(request, around)})
        if scripted or wants_json(request):
            body = {
                "message": message,
                "remedy": words(error.remedy if isinstance(error, HvenError) else ""),
                "status": status,
            }
            return Response(orjson.dumps(body), status, {**headers, "content-type": JSON})
        facts = {**frame(request, around), "switch": stripped(request) if switch else ""}
        near = near_to(_wanted(request.url.path), asked(request, around)) if page and status == 404 else ()
        return dali.whole(request, error_page(facts, status, message, near=near), {**guarded(), **headers}, status)

    return told


def _can_log_in(request: Request) -> bool:
    """Return whether a person looks at a page: to these a browser would show a box of its own for name and password."""
    wanted = request.headers.get("accept", "").lower()
    browser = "text/html" in wanted and "application/xhtml+xml" in wanted  # Java's client sends the first alone
    return request.method in {"GET", "HEAD"} and browser and not wants_json(request)


def _login_address(request: Request, around: Surroundings) -> str:
    """Return the page of the log-in, which leads back to the page that was asked for."""
    facts = frame(request, around)
    query = f"?{request.url.query}" if request.url.query else ""
    back = f"{facts['own_path']}{query}"
    following = f"?{urlencode({'next': back})}" if facts["own_path"] and len(back) <= LONGEST_RETURN_ADDRESS else ""
    return f"{facts['base']}/login{following}"


def nowhere(request: Request, around: Surroundings) -> Response:
    """Answer for an address that no page and no service has: as a page for people, as JSON or plain text for programs.

    Parameters
    ----------
    request
        For that address.
    around
        Site, reader and faces.

    Returns
    -------
    response
        404.
    """
    path = request.url.path
    told = f"there is nothing at {path}; / lists what is here"
    ident = dali.request_id(request)
    if wants_json(request):
        remedy = "the first page lists what is here, /openapi.json what programs can ask"
        answer = {"message": f"{told} [request {ident}]", "remedy": remedy, "status": 404}
        return Response(orjson.dumps(answer), 404, {"content-type": JSON, "cache-control": "no-store", "vary": VARY})
    if "text/html" not in request.headers.get("accept", "").lower():
        return Response(
            f"{told} [request {ident}]\n",
            404,
            {"content-type": "text/plain; charset=utf-8", "cache-control": "no-store", "vary": VARY},
        )
    state = asked(request, around)
    words = _wanted(path)
    body = error_page(
        frame(request, around),
        404,
        "",
        path=path if len(path) <= 200 else f"{path[:199]}…",
        near=near_to(words, state),
        words=" ".join(words)[:100],
        request_id=ident,
    )
    return dali.whole(request, body, {**guarded(), "cache-control": "no-store", "vary": VARY}, 404)


def near_to(words: Sequence[str], state: Asked) -> list[dict[str, str]]:
    """Return the pages of collections and tables whose names are like one of some words."""
    known: dict[str, dict[str, str]] = {}
    for schema in state.catalogue.schemas:
        resource = state.holdings.resources.get(schema.name)
        if resource is None:
            continue
        above = resource.title or schema.name
        known.setdefault(schema.name.lower(), {"title": above, "url": f"{state.base}/collections/{quote(schema.name)}"})
        for table in schema.tables:
            if table.qualified in state.holdings.published:
                url = address(state.base, table)
                known.setdefault(
                    table.qualified.lower(), {"title": f"{above}: {table.title or table.name}", "url": url}
                )
                known.setdefault(
                    f"{table.name.lower()} ", {"title": f"{above}: {table.title or table.name}", "url": url}
                )
    found = [name for word in words for name in difflib.get_close_matches(word.lower(), known, n=3, cutoff=0.6)]
    return list({known[name]["url"]: known[name] for name in found}.values())[:5]


def _wanted(path: str) -> list[str]:
    """Split an address that leads nowhere into words."""
    parts = [
        part.removesuffix(".json").removesuffix(".html")
        for part in path.split("/")
        if part not in {"", "collections", "statistics", "help"}
    ]
    return [part[:60] for part in parts[:6]]


def _body(found: Page, facts: dict[str, Any], *, scripted: bool) -> bytes:
    if scripted:
        return orjson.dumps(
            found.content if found.twin is None else found.twin,
            default=str,
            option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS,
        )
    return written(found.template, facts, **found.content)


def _answer(
    request: Request, found: Page | None, body: bytes, headers: Mapping[str, str], *, scripted: bool
) -> Response:
    every = {**headers, **(found.headers if found is not None else {})}
    if scripted:
        every = {**every, "content-type": JSON}
        every.pop("content-security-policy", None)
    return dali.whole(request, body, every, found.status if found is not None else 200)

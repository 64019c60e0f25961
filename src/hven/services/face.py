"""Face: a service said once, from which its addresses, answers, faults, capabilities, form and description are made. A face knows no other."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.routing import Route

from hven import formats, query
from hven.formats.votable import resource
from hven.jobs.tap import MAXREC, RESPONSEFORMAT
from hven.model import Cache, plugins
from hven.model.errors import BindError, NotFound, ParseError, ServiceError
from hven.model.table import Input, Service
from hven.services import _vosi as vosi
from hven.services._answer import answer, whole
from hven.services._vosi import Capability
from hven.services.address import base, bases, table_named
from hven.services.errors import PLAIN, VOTABLE, Faults
from hven.services.params import PROTOCOLS, read, remember, value
from hven.site.auth import DEFAULT, alike, alone, signed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from hven.adql.tree import Query
    from hven.formats import Info
    from hven.model.params import Param, Params
    from hven.model.settings import Settings
    from hven.model.table import Column, Link, Schema, Table
    from hven.site import Holdings, Published, Site
    from hven.site.auth import Policy, Reader

    Endpoint = Callable[[Request], Awaitable[Response]]
    Ask = Callable[[Table, Mapping[str, Any]], "Asked"]
    Present = Callable[[tuple[Column, ...]], tuple[Column, ...]]
    Paged = Callable[[Request, "Surroundings", Mapping[str, Any]], Response]

MOST = 64 * 1024  # bytes of a body that has parameters alone
DALI = (MAXREC, RESPONSEFORMAT)  # what every service understands (DALI 1.1 sections 3.4.3, 3.4.4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to ask for a table, shown on its page: a title, the address, and a line to copy.

    Attributes
    ----------
    url
        The address.
    example
        Lines to copy.
    language
        Of the example, for its colours.
    """

    title: str
    url: str
    example: str
    language: str = "shell"


class _Leads(Cache[Any]):
    """What rows of tables lead to by faces, as a state has them: lists of links ask again and again."""

    def __init__(self) -> None:
        super().__init__(500)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a face is given by the server.

    Attributes
    ----------
    reader
        Who asks: made from the request by the site's identity providers.
    policies
        What readers may see.
    faces
        All that are served, by name.
    started
        When the server began; aware.
    collections
        Of the portal that asks; empty: all.
    """

    site: Site
    reader: Callable[[Request], Reader]
    policies: Sequence[Policy]
    faces: Mapping[str, Face] = field(default_factory=dict)
    started: datetime
    collections: frozenset[str] = frozenset()

    @classmethod
    def of(cls, site: Site, who: Reader, policies: Sequence[Policy] = DEFAULT) -> Surroundings:
        """Return what is given to work that no request asks for: jobs, commands.

        Parameters
        ----------
        site
            Where.
        who
            Whose work it is.
        policies
            What readers may see.
        """
        return cls(site=site, reader=lambda _: who, policies=policies, started=datetime.now(UTC))

    def operates(self, who: Reader, collection: str = "") -> bool:
        """Return whether a reader operates the site.

        Parameters
        ----------
        who
            Anybody.
        collection
            A portal's administrators operate its own; empty: the site.
        """
        settings = self.site.settings
        return (
            who.name in settings.health.operators
            or "owner" in who.groups
            or collection in settings.administered(who.name)
        )

    def leads(self, table: Table) -> Sequence[Link]:
        """List what rows of a table lead to by its faces, besides its own links.

        Parameters
        ----------
        table
            As its reader knows it.

        Returns
        -------
        links
            In templates over the row.
        """
        kept = self.site.kept(_Leads)
        key = id(table), id(self.faces), self.site.current().version
        known = kept.find(key)
        if known is None or known[0] is not table or known[1] is not self.faces:
            faces = [face for face in self.faces.values() if face.links and table.offers(face.name) and face.applies(table)]  # fmt: skip
            made = tuple(link for face in faces if face.links for link in face.links(table, self))
            kept.keep(key, known := (table, self.faces, made))
        return known[2]

    def page(self, name: str, request: Request, params: Params) -> Paged | None:
        """Return what writes for people what a face answers; None: nobody does, or a program asks.

        Parameters
        ----------
        name
            Of the face.
        request
            Of somebody.
        params
            Of it.
        """
        page = next((face.pages[name] for face in self.faces.values() if name in face.pages), None)
        return page if for_people(request, params) else None

    def signing(self, request: Request) -> Callable[[str], str] | None:
        """Return what signs those addresses of the site for whoever asks that not everybody may ask; None: they have no account, or need it for nothing.

        Parameters
        ----------
        request
            Of a reader.
        """
        who = self.reader(request)
        if who.anonymous:
            return None
        tables = list(self.site.current().catalogue(who, self.policies).tables())
        open_ = [table for table in tables if alike(table, who, self.policies)]
        if len(open_) == len(tables):
            return None
        settings = self.site.settings
        sign = signed.signer(self.site.store, who, bases(request, settings), settings.limits.signed_minutes)
        everybodys = [f"/collections/{quote(one.schema)}/{quote(one.name)}/" for one in open_]
        return sign and (lambda url: url if any(part in url for part in everybodys) else sign(url))


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a face makes of a request.

    Attributes
    ----------
    alone
        Name of a table: of views, such as ivoa.obscore, the rows of that one alone.
    query
        ADQL; or makes the query of the table, with its literals in slots: it is called once for each `key` and state of the table.
    key
        What such a query depends on besides the table.
    values
        The literals, by slot.
    empty
        The columns alone are asked for, as by MAXREC=0.
    present
        Gives the columns of an answer other metadata; called once for each `key` and plan.
    infos, params
        Further lines and constants of the answer's head.
    """

    query: str | Callable[[], Query]
    key: tuple[Hashable, ...] = ()
    values: tuple[Any, ...] = ()
    empty: bool = False
    present: Present | None = None
    infos: tuple[Info, ...] = ()
    params: tuple[tuple[Column, object], ...] = ()
    alone: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """A service.

    Attributes
    ----------
    name
        As in a descriptor's ``services:``.
    title
        For people.
    description
        A sentence for pages and OpenAPI.
    standard_ids
        IVOIDs of the standards it keeps.
    params
        What it understands; of those of DALI (`DALI`) a face that asks need not speak.
    applies
        Whether it can serve a table.
    links
        What each row of such a table leads to by it: `Link` with a `Service`, in templates over the row, that DataLink lists and describes.
    lacking
        What a table has not that it cannot serve.
    ask
        Makes a question of a table and the values of `params`, by name; raises what is wrong with them. None: its `routes` do all.
    path
        Where `params` are asked for, with ``{table}`` in it if that is of one table.
    faults
        Tells what went wrong as the standard has it.
    form
        RESPONSEFORMAT where none is given; None: the Accept header decides.
    example
        Parameters for a try: ``RA=83.63&DEC=22.01``.
    ways
        Further ways to ask it for one table, for people; gets the site's address.
    routes
        Its addresses besides.
    texts
        Language -> English -> what pages say in it.
    kind
        Type of its capability, the namespace of that, and what stands in it (SimpleDALRegExt), with ``{most}`` for the most rows; of services
        from before DALI, whose addresses end with a question mark.
    itself
        Its answers describe how it is asked (DataLink 1.1, section 4.2; SIA 2.0, section 3.1.3).
    pages
        Other face -> writes what that one answers for people, who ask it in a browser.
    described
        Paths that its parameters do not tell, as OpenAPI has them.
    capable
        What it can do, for registries: gets the site's address, and a collection with the tables of it that everybody sees; None: the site.
        What it answers over one table it says by itself (`capability`).
    further
        Other services over tables, each with a name of its own.
    trial
        Parameters, and perhaps XML in its capability, that find rows: with ``{lon}``, ``{lat}``, ``{size}`` of a place that has some.
    """

    name: str
    title: str
    description: str = ""
    standard_ids: Sequence[str] = ()
    params: Sequence[Param] = ()
    applies: Callable[[Table], bool] = lambda _: False
    links: Callable[[Table, Surroundings], Sequence[Link]] | None = None
    lacking: str = "what this service needs"
    ask: Ask | None = None
    path: str = ""
    faults: Faults = VOTABLE
    form: str | None = None
    example: str = ""
    ways: Callable[[Published, str], Sequence[Way]] = lambda *_: ()
    routes: Callable[[Surroundings], Sequence[BaseRoute]] = lambda _: ()
    texts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    kind: tuple[str, str, str] | None = None
    itself: bool = False
    pages: Mapping[str, Paged] = field(default_factory=dict)
    described: Mapping[str, Any] = field(default_factory=dict)
    capable: Callable[[Surroundings, str, Schema | None], Iterable[Capability]] = lambda *_: ()
    further: Sequence[Face] = ()
    trial: tuple[str, str] = ("", "")

    def __post_init__(self) -> None:
        """Hold for no table where its own test of it fails."""
        object.__setattr__(self, "applies", plugins.lenient(self.applies))

    @property
    def known(self) -> tuple[Param, ...]:
        """All parameters that it understands."""
        return (*self.params, *(DALI if self.ask is not None else ()))

    @property
    def asked_of_a_table(self) -> bool:
        """Whether it is a service over one table, with parameters."""
        return bool(self.known) and "{table}" in self.path

    def url(self, table: Table, base: str) -> str:
        """Return the address at which it is asked for a table.

        Parameters
        ----------
        table
            One that it applies to.
        base
            Address of the site, without a final slash.
        """
        return base + self.path.replace("{table}", quote(table.qualified))

    def capability(
        self, table: Table, base: str, settings: Settings, *, place: tuple[float, float, float] | None = None
    ) -> Capability:
        """Describe what it answers over a table.

        Parameters
        ----------
        table
            One that it applies to.
        base
            Address of the site, without a final slash.
        settings
            Of the site.
        place
            Longitude, latitude and radius (degrees) within which there are rows; None: none is known.

        Returns
        -------
        capability
            As VOSI and registries have it.
        """
        url, (kind, space, inside) = self.url(table, base), self.kind or ("", "", "")
        lon, lat, size = (f"{one:.6g}" for one in place or (0.0, 0.0, 0.0))
        test, trial = (one.format(lon=lon, lat=lat, size=size) if place else "" for one in self.trial)
        return Capability(
            standard_id=next(iter(self.standard_ids), None), url=f"{url}?" if kind else url, use="base", role="std", description=self.description,
            params=self.known, security=vosi.security(settings), inside=inside.replace("{most}", str(settings.limits.maxrec_hard)) + trial,
            attributes=f'xmlns:{kind.partition(":")[0]}="{space}" xsi:type="{kind}"' if kind else "", test=test or None,
        )  # fmt: skip

    def addresses(self, around: Surroundings) -> Sequence[BaseRoute]:
        """List the routes of all its addresses.

        Parameters
        ----------
        around
            Site, reader and other faces.

        Returns
        -------
        routes
            For Starlette.
        """
        found = [*self._own(around), *self.routes(around)]
        if self.standard_ids:
            PROTOCOLS.update((one.endpoint, self.standard_ids[0]) for one in found if isinstance(one, Route))
        return found

    def shown(self, published: Published, base: str) -> Sequence[Way]:
        """List how one asks it for a table, to be shown on pages.

        Parameters
        ----------
        published
            The table.
        base
            Address of the site, without a final slash.

        Returns
        -------
        ways
            With lines to copy.
        """
        url = self.url(published.table, base)
        tried = (
            [Way(title=self.title, url=url, example=f"curl '{url}?{self.example}'")]
            if self.example and self.ask is not None
            else []
        )
        return [*tried, *self.ways(published, base)]

    def _own(self, around: Surroundings) -> Iterator[Route]:
        known = _Known()

        def table_of(request: Request) -> tuple[Holdings, Table]:
            holdings = around.site.current()  # one state for the tree and for the query: an ingest may come between
            table = table_named(
                request.path_params["table"], holdings.catalogue(around.reader(request), around.policies)
            )
            if not self.applies(table):
                raise NotFound(f"{table.qualified} has no {self.lacking}", remedy="ask it by TAP")
            return holdings, table

        async def asked(ask: Ask, request: Request, params: Params) -> Response:
            holdings, table = table_of(request)
            made = ask(table, {param.name: value(params, param) for param in self.params})
            most = value(params, MAXREC)
            maxrec = 0 if made.empty else most
            fmt, options = form = formats.select(
                params.one("RESPONSEFORMAT") or self.form, request.headers.get("accept")
            )
            warnings = query.unused(params, self.known)
            key = (self.name, table.qualified, *made.key)
            text = made.query if isinstance(made.query, str) else ""
            try:
                result = query.run(
                    text or known.query(holdings, table, key, made), around.reader(request), site=around.site, maxrec=maxrec,
                    policies=alone(around.policies, made.alone), values=made.values, key=None if text else key, holdings=holdings,
                )  # fmt: skip
            except (ParseError, BindError) as error:  # the reader has written none of it
                raise ServiceError(f"{self.name} makes a query that cannot be asked: {error}") from error
            tag = (*key, *((text,) if text else made.values), maxrec, fmt.name, sorted(options.items()), warnings)
            present = made.present
            if present is not None and not text:
                present = partial(known.presented, key, present)
            here = base(request, around.site.settings)
            return await answer(
                request,
                result,
                form,
                tag=tag,
                infos=(*made.infos, *warnings),
                params=made.params,
                enums={f"INPUT:{one.name}": dict.fromkeys(one.allowed, "") for one in self.params}
                if made.params
                else {},
                name=table.name,
                present=present,
                base=here,
                descriptors=(this(self, self.url(table, here)),) if self.itself and fmt.name == formats.DEFAULT else (),
            )

        async def capabilities(request: Request) -> Response:
            _, table = table_of(request)
            here = base(request, around.site.settings)
            found = self.capability(table, here, around.site.settings)
            own = Capability(
                standard_id="ivo://ivoa.net/std/VOSI#capabilities",
                url=f"{self.url(table, here)}/capabilities",
                role="std",
            )
            headers = {
                "content-type": vosi.MEDIA_TYPE,
                "cache-control": "no-cache",
                "vary": "accept-encoding, authorization, cookie, host",
            }
            return whole(request, vosi.capabilities([own, found]), headers)

        if self.ask is not None:
            yield asking(self.path, partial(asked, self.ask), self.faults)
        if self.asked_of_a_table:
            yield route(f"{self.path}/capabilities", capabilities)


def this(face: Face, url: str) -> str:
    """Describe a service in its own answer.

    Parameters
    ----------
    face
        The service.
    url
        Where it is asked.

    Returns
    -------
    resource
        XML.
    """
    inputs = tuple(Input(param=param) for param in face.known)
    service = Service(address=(url,), inputs=inputs, standard=next(iter(face.standard_ids), None))
    return resource(service, name="this", description=face.description)


def for_people(request: Request, params: Params) -> bool:
    """Return whether a browser asks, or RESPONSEFORMAT says so. Java's client, which TOPCAT has, sends text/html, too, if it says nothing else.

    Parameters
    ----------
    request
        Of somebody.
    params
        Of it.
    """
    said = params.one("RESPONSEFORMAT")
    if said:
        return said.strip().lower() in {"html", "text/html"}
    accept = request.headers.get("accept", "").lower()
    return "text/html" in accept and "application/xhtml+xml" in accept


def careful(
    endpoint: Callable[..., Awaitable[Response]], faults: Callable[[Request, Exception], Response], limit: int = 0
) -> Endpoint:
    """Wrap an endpoint so that errors become answers: the one place where those of all faces end.

    Parameters
    ----------
    endpoint
        Of a request; with a limit, of a request and its parameters.
    faults
        Makes the answer of an error.
    limit
        Bytes of parameters; 0: they are not read.

    Returns
    -------
    endpoint
        One that raises nothing.
    """

    async def told(request: Request) -> Response:
        remember(request)
        try:
            return await (endpoint(request, await read(request, limit)) if limit else endpoint(request))
        except Exception as error:  # noqa: BLE001  (one table of errors)
            return faults(request, error)

    return told


def route(
    path: str,
    endpoint: Endpoint,
    faults: Callable[[Request, Exception], Response] = PLAIN,
    methods: Sequence[str] = ("GET",),
) -> Route:
    """Make a route whose errors are answered as `faults` has it.

    Parameters
    ----------
    path
        Its address.
    endpoint
        Of a request.
    faults
        Makes the answer of an error.
    methods
        Of HTTP.

    Returns
    -------
    route
        For Starlette.
    """
    return Route(path, careful(endpoint, faults), methods=list(methods))


def asking(
    path: str, ask: Callable[[Request, Params], Awaitable[Response]], faults: Faults = VOTABLE, limit: int = MOST
) -> Route:
    """Make a route that is asked by parameters; GET and POST are the same (DALI 1.1, 2.1).

    Parameters
    ----------
    path
        Its address.
    ask
        Of a request and its parameters.
    faults
        The words of errors.
    limit
        Bytes of parameters at most.

    Returns
    -------
    route
        For Starlette.
    """
    return Route(path, careful(ask, faults, limit), methods=["GET", "POST"])


def known() -> dict[str, Face]:
    """List every face, by name: built-in and plugged in."""
    return plugins.records("protocols")


@dataclass(slots=True)
class _Known:
    """The queries of a face and the columns of its answers: made once for each state of the holdings."""

    version: str = ""
    queries: dict[tuple[Hashable, ...], tuple[Table, Query]] = field(default_factory=dict)
    columns: dict[tuple[Hashable, ...], tuple[tuple[Column, ...], tuple[Column, ...]]] = field(default_factory=dict)

    def query(self, holdings: Holdings, table: Table, key: tuple[Hashable, ...], asked: Asked) -> Query:
        if holdings.version != self.version:
            self.version, self.queries, self.columns = holdings.version, {}, {}
        # readers of other reach may know another state of the table: other keys to follow
        known = self.queries.get(key)
        if known is None or known[0] is not table:
            assert not isinstance(asked.query, str)  # noqa: S101  (texts are kept by the road)
            known = self.queries[key] = (table, asked.query())
        return known[1]

    def presented(self, key: tuple[Hashable, ...], present: Present, columns: tuple[Column, ...]) -> tuple[Column, ...]:
        known = self.columns.get(key)
        if known is None or known[0] is not columns:
            known = self.columns[key] = (columns, present(columns))
        return known[1]


__all__ = [
    "DALI",
    "Asked",
    "Capability",
    "Face",
    "Surroundings",
    "Way",
    "asking",
    "careful",
    "for_people",
    "known",
    "route",
    "this",
]

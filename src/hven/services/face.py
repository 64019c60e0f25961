"""Face: a service said once, from which its addresses, answers, faults, capabilities, form and description are made.

A face knows no other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.routing import Route

from hven import formats, query
from hven.formats.votable import write_service_descriptor
from hven.jobs.tap import MAXREC_PARAM, RESPONSEFORMAT_PARAM
from hven.model import Cache, plugins
from hven.model.errors import BindError, NotFoundError, ParseError, ServiceError
from hven.model.table import ServiceDescriptor, ServiceParameter
from hven.services import _vosi as vosi
from hven.services._responses import answer_with_body, answer_with_result
from hven.services._vosi import Capability
from hven.services.addresses import find_table, get_base_url, list_base_urls
from hven.services.errors import PLAIN_TEXT_ERRORS, VOTABLE_ERRORS, ErrorResponder
from hven.services.params import STANDARD_IDS_BY_ENDPOINT, parse_value, read_params, record_request_infos
from hven.site.auth import DEFAULT_POLICIES, add_single_table_policy, has_public_access, signed_addresses

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from hven.adql.syntax_tree import Query
    from hven.formats import InfoElement
    from hven.model.params import Param, RequestParams
    from hven.model.settings import Settings
    from hven.model.table import Column, LinkTemplate, Schema, Table
    from hven.site import PublishedState, PublishedTable, Site
    from hven.site.auth import AccessPolicy, Principal

    Endpoint = Callable[[Request], Awaitable[Response]]
    Ask = Callable[[Table, Mapping[str, Any]], "ServiceQuery"]
    Present = Callable[[tuple[Column, ...]], tuple[Column, ...]]
    Paged = Callable[[Request, "ServiceContext", Mapping[str, Any]], Response]

MAX_PARAMETER_BODY_BYTES = 64 * 1024  # bytes of a body that has parameters alone
DALI_PARAMS = (MAXREC_PARAM, RESPONSEFORMAT_PARAM)  # what every service understands (DALI 1.1 sections 3.4.3, 3.4.4)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageExample:
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


class _LinkCache(Cache[Any]):
    """What rows of tables lead to by faces, as a state has them: lists of links ask again and again."""

    def __init__(self) -> None:
        super().__init__(500)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceContext:
    """What a face is given by the server.

    Attributes
    ----------
    identify_principal
        Who asks: made from the request by the site's identity providers.
    policies
        What readers may see.
    faces
        All that are served, by name.
    start_time
        When the server began; aware.
    collections
        Of the portal that asks; empty: all.
    """

    site: Site
    identify_principal: Callable[[Request], Principal]
    policies: Sequence[AccessPolicy]
    faces: Mapping[str, Face] = field(default_factory=dict)
    start_time: datetime
    collections: frozenset[str] = frozenset()

    @classmethod
    def create_for_principal(
        cls, site: Site, principal: Principal, policies: Sequence[AccessPolicy] = DEFAULT_POLICIES
    ) -> ServiceContext:
        """Return what is given to work that no request asks for: jobs, commands.

        Parameters
        ----------
        site
            Where.
        principal
            Whose work it is.
        policies
            What readers may see.
        """
        start_time = datetime.now(UTC)
        return cls(site=site, identify_principal=lambda _: principal, policies=policies, start_time=start_time)

    def is_operator(self, principal: Principal, collection: str = "") -> bool:
        """Return whether a reader operates the site.

        Parameters
        ----------
        principal
            Anybody.
        collection
            A portal's administrators operate its own; empty: the site.
        """
        settings = self.site.settings
        return (
            principal.name in settings.health.operators
            or "owner" in principal.groups
            or collection in settings.list_administered_collections(principal.name)
        )

    def list_links(self, table: Table) -> Sequence[LinkTemplate]:
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
        link_cache = self.site.get_or_create(_LinkCache)
        key = id(table), id(self.faces), self.site.get_published_state().version
        cached_entry = link_cache.find(key)
        if cached_entry is None or cached_entry[0] is not table or cached_entry[1] is not self.faces:
            faces = [
                face
                for face in self.faces.values()
                if face.build_links and table.is_served_by(face.name) and face.applies(table)
            ]
            built_links = tuple(link for face in faces if face.build_links for link in face.build_links(table, self))
            link_cache.store(key, cached_entry := (table, self.faces, built_links))
        return cached_entry[2]

    def find_page_writer(self, name: str, request: Request, params: RequestParams) -> Paged | None:
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
        page = next((face.page_writers[name] for face in self.faces.values() if name in face.page_writers), None)
        return page if is_html_requested(request, params) else None

    def build_url_signer(self, request: Request) -> Callable[[str], str] | None:
        """Return what signs those addresses of the site for whoever asks that not everybody may ask; None.

        They have no account, or need it for nothing.

        Parameters
        ----------
        request
            Of a reader.
        """
        principal = self.identify_principal(request)
        if principal.is_anonymous:
            return None
        catalogue = self.site.get_published_state().get_catalogue(principal, self.policies)
        tables = list(catalogue.iterate_tables())
        open_ = [table for table in tables if has_public_access(table, principal, self.policies)]
        if len(open_) == len(tables):
            return None
        settings = self.site.settings
        base_urls = list_base_urls(request, settings)
        sign = signed_addresses.create_url_signer(self.site.store, principal, base_urls, settings.limits.signed_minutes)
        everybodys = [f"/collections/{quote(open_table.schema)}/{quote(open_table.name)}/" for open_table in open_]
        return sign and (lambda url: url if any(part in url for part in everybodys) else sign(url))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceQuery:
    """What a face makes of a request.

    Attributes
    ----------
    only_table
        Name of a table: of views, such as ivoa.obscore, the rows of that one alone.
    query
        ADQL; or makes the query of the table, with its literals in slots: it is called once for each `key` and state of
        the table.
    key
        What such a query depends on besides the table.
    values
        The literals, by slot.
    columns_only
        The columns alone are asked for, as by MAXREC=0.
    adapt_columns
        Gives the columns of an answer other metadata; called once for each `key` and plan.
    infos, params
        Further lines and constants of the answer's head.
    """

    query: str | Callable[[], Query]
    key: tuple[Hashable, ...] = ()
    values: tuple[Any, ...] = ()
    columns_only: bool = False
    adapt_columns: Present | None = None
    infos: tuple[InfoElement, ...] = ()
    params: tuple[tuple[Column, object], ...] = ()
    only_table: str | None = None


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
        What it understands; of those of DALI (`DALI_PARAMS`) a face that asks need not speak.
    applies
        Whether it can serve a table.
    build_links
        What each row of such a table leads to by it: `LinkTemplate` with a `ServiceDescriptor`, in templates over the
        row, that DataLink lists and describes.
    missing_requirement
        What a table has not that it cannot serve.
    build_query
        Makes a question of a table and the values of `params`, by name; raises what is wrong with them. None: its
        `build_routes` do all.
    path
        Where `params` are asked for, with ``{table}`` in it if that is of one table.
    error_responder
        Tells what went wrong as the standard has it.
    default_format
        RESPONSEFORMAT where none is given; None: the Accept header decides.
    example
        Parameters for a try: ``RA=83.63&DEC=22.01``.
    list_usage_examples
        Further ways to ask it for one table, for people; gets the site's address.
    build_routes
        Its addresses besides.
    texts
        Language -> English -> what pages say in it.
    capability_type
        Type of its capability, the namespace of that, and what stands in it (SimpleDALRegExt), with ``{most}`` for the
        most rows; of services from before DALI, whose addresses end with a question mark.
    describes_itself
        Its answers describe how it is asked (DataLink 1.1, section 4.2; SIA 2.0, section 3.1.3).
    page_writers
        Other face -> writes what that one answers for people, who ask it in a browser.
    openapi_paths
        Paths that its parameters do not tell, as OpenAPI has them.
    list_capabilities
        What it can do, for registries: gets the site's address, and a collection with the tables of it that everybody
        sees; None: the site. What it answers over one table it says by itself (`describe_capability`).
    additional_faces
        Other services over tables, each with a name of its own.
    test_query
        Parameters, and perhaps XML in its capability, that find rows: with ``{lon}``, ``{lat}``, ``{size}`` of a place
        that has some.
    """

    name: str
    title: str
    description: str = ""
    standard_ids: Sequence[str] = ()
    params: Sequence[Param] = ()
    applies: Callable[[Table], bool] = lambda _: False
    build_links: Callable[[Table, ServiceContext], Sequence[LinkTemplate]] | None = None
    missing_requirement: str = "what this service needs"
    build_query: Ask | None = None
    path: str = ""
    error_responder: ErrorResponder = VOTABLE_ERRORS
    default_format: str | None = None
    example: str = ""
    list_usage_examples: Callable[[PublishedTable, str], Sequence[UsageExample]] = lambda *_: ()
    build_routes: Callable[[ServiceContext], Sequence[BaseRoute]] = lambda _: ()
    texts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    capability_type: tuple[str, str, str] | None = None
    describes_itself: bool = False
    page_writers: Mapping[str, Paged] = field(default_factory=dict)
    openapi_paths: Mapping[str, Any] = field(default_factory=dict)
    list_capabilities: Callable[[ServiceContext, str, Schema | None], Iterable[Capability]] = lambda *_: ()
    additional_faces: Sequence[Face] = ()
    test_query: tuple[str, str] = ("", "")

    def __post_init__(self) -> None:
        """Hold for no table where its own test of it fails."""
        object.__setattr__(self, "applies", plugins.wrap_test(self.applies))

    @property
    def all_params(self) -> tuple[Param, ...]:
        """All parameters that it understands."""
        return (*self.params, *(DALI_PARAMS if self.build_query is not None else ()))

    @property
    def is_table_service(self) -> bool:
        """Whether it is a service over one table, with parameters."""
        return bool(self.all_params) and "{table}" in self.path

    def build_url(self, table: Table, base_url: str) -> str:
        """Return the address at which it is asked for a table.

        Parameters
        ----------
        table
            One that it applies to.
        base_url
            Address of the site, without a final slash.
        """
        return base_url + self.path.replace("{table}", quote(table.qualified_name))

    def describe_capability(
        self, table: Table, base_url: str, settings: Settings, *, sample_place: tuple[float, float, float] | None = None
    ) -> Capability:
        """Describe what it answers over a table.

        Parameters
        ----------
        table
            One that it applies to.
        base_url
            Address of the site, without a final slash.
        settings
            Of the site.
        sample_place
            Longitude, latitude and radius (degrees) within which there are rows; None: none is known.

        Returns
        -------
        capability
            As VOSI and registries have it.
        """
        url, (kind, space, inside) = self.build_url(table, base_url), self.capability_type or ("", "", "")
        lon, lat, size = (f"{item:.6g}" for item in sample_place or (0.0, 0.0, 0.0))
        test, trial = (item.format(lon=lon, lat=lat, size=size) if sample_place else "" for item in self.test_query)
        standard_id = next(iter(self.standard_ids), None)
        security_methods = vosi.list_security_methods(settings)
        extension_xml = inside.replace("{most}", str(settings.limits.maxrec_hard)) + trial
        return Capability(
            standard_id=standard_id,
            url=f"{url}?" if kind else url,
            use="base",
            role="std",
            description=self.description,
            params=self.all_params,
            security_methods=security_methods,
            extension_xml=extension_xml,
            attributes_xml=f'xmlns:{kind.partition(":")[0]}="{space}" xsi:type="{kind}"' if kind else "",
            test_query=test or None,
        )

    def build_all_routes(self, context: ServiceContext) -> Sequence[BaseRoute]:
        """List the routes of all its addresses.

        Parameters
        ----------
        context
            Site, reader and other faces.

        Returns
        -------
        routes
            For Starlette.
        """
        own_routes = self._build_own_routes(context)
        routes = self.build_routes(context)
        all_routes = [*own_routes, *routes]
        if self.standard_ids:
            STANDARD_IDS_BY_ENDPOINT.update(
                (own_route.endpoint, self.standard_ids[0]) for own_route in all_routes if isinstance(own_route, Route)
            )
        return all_routes

    def list_all_examples(self, published: PublishedTable, base_url: str) -> Sequence[UsageExample]:
        """List how one asks it for a table, to be shown on pages.

        Parameters
        ----------
        published
            The table.
        base_url
            Address of the site, without a final slash.

        Returns
        -------
        ways
            With lines to copy.
        """
        url = self.build_url(published.table, base_url)
        if self.example and self.build_query is not None:
            tried = [UsageExample(title=self.title, url=url, example=f"curl '{url}?{self.example}'")]
        else:
            tried = []
        return [*tried, *self.list_usage_examples(published, base_url)]

    def _build_own_routes(self, context: ServiceContext) -> Iterator[Route]:
        query_cache = _QueryCache()

        def find_requested_table(request: Request) -> tuple[PublishedState, Table]:
            published_state = (
                context.site.get_published_state()
            )  # one state for the tree and for the query: an ingest may come between
            table = find_table(
                request.path_params["table"],
                published_state.get_catalogue(context.identify_principal(request), context.policies),
            )
            if not self.applies(table):
                raise NotFoundError(f"{table.qualified_name} has no {self.missing_requirement}", remedy="ask it by TAP")
            return published_state, table

        async def answer_query(build_query: Ask, request: Request, params: RequestParams) -> Response:
            published_state, table = find_requested_table(request)
            service_query = build_query(table, {param.name: parse_value(params, param) for param in self.params})
            maxrec_param = parse_value(params, MAXREC_PARAM)
            maxrec = 0 if service_query.columns_only else maxrec_param
            fmt, options = form = formats.select_format(
                params.read_one("RESPONSEFORMAT") or self.default_format, request.headers.get("accept")
            )
            warnings = query.warn_unused_parameters(params, self.all_params)
            key = (self.name, table.qualified_name, *service_query.key)
            if isinstance(service_query.query, str):
                text = service_query.query
            else:
                text = ""
            try:
                result = query.run_query(
                    text or query_cache.get_or_build_query(published_state, table, key, service_query),
                    context.identify_principal(request),
                    site=context.site,
                    maxrec=maxrec,
                    policies=add_single_table_policy(context.policies, service_query.only_table),
                    literal_values=service_query.values,
                    plan_key=None if text else key,
                    published_state=published_state,
                )
            except (ParseError, BindError) as error:  # the reader has written none of it
                raise ServiceError(f"{self.name} makes a query that cannot be asked: {error}") from error
            tag = (
                *key,
                *((text,) if text else service_query.values),
                maxrec,
                fmt.name,
                sorted(options.items()),
                warnings,
            )
            present = service_query.adapt_columns
            if present is not None and not text:
                present = partial(query_cache.get_or_adapt_columns, key, present)
            base_url = get_base_url(request, context.site.settings)
            return await answer_with_result(
                request,
                result,
                form,
                etag_parts=tag,
                infos=(*service_query.infos, *warnings),
                constants=service_query.params,
                enums={f"INPUT:{face_param.name}": dict.fromkeys(face_param.allowed, "") for face_param in self.params}
                if service_query.params
                else {},
                name=table.name,
                adapt_columns=present,
                base_url=base_url,
                descriptors=(describe_own_service(self, self.build_url(table, base_url)),)
                if self.describes_itself and fmt.name == formats.DEFAULT_FORMAT
                else (),
            )

        async def answer_capabilities(request: Request) -> Response:
            _, table = find_requested_table(request)
            base_url = get_base_url(request, context.site.settings)
            table_capability = self.describe_capability(table, base_url, context.site.settings)
            capabilities_resource = Capability(
                standard_id="ivo://ivoa.net/std/VOSI#capabilities",
                url=f"{self.build_url(table, base_url)}/capabilities",
                role="std",
            )
            headers = {
                "content-type": vosi.MEDIA_TYPE,
                "cache-control": "no-cache",
                "vary": "accept-encoding, authorization, cookie, host",
            }
            return answer_with_body(
                request, vosi.write_capabilities([capabilities_resource, table_capability]), headers
            )

        if self.build_query is not None:
            yield create_query_route(self.path, partial(answer_query, self.build_query), self.error_responder)
        if self.is_table_service:
            yield create_route(f"{self.path}/capabilities", answer_capabilities)


def describe_own_service(face: Face, url: str) -> str:
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
    inputs = tuple(ServiceParameter(param=param) for param in face.all_params)
    standard_id = next(iter(face.standard_ids), None)
    service = ServiceDescriptor(address=(url,), inputs=inputs, standard_id=standard_id)
    return write_service_descriptor(service, name="this", description=face.description)


def is_html_requested(request: Request, params: RequestParams) -> bool:
    """Return whether a browser asks, or RESPONSEFORMAT says so.

    Java's client, which TOPCAT has, sends text/html, too, if it says nothing else.

    Parameters
    ----------
    request
        Of somebody.
    params
        Of it.
    """
    response_format = params.read_one("RESPONSEFORMAT")
    if response_format:
        return response_format.strip().lower() in {"html", "text/html"}
    accept = request.headers.get("accept", "").lower()
    return "text/html" in accept and "application/xhtml+xml" in accept


def answer_errors(
    endpoint: Callable[..., Awaitable[Response]],
    respond_to_error: Callable[[Request, Exception], Response],
    byte_limit: int = 0,
) -> Endpoint:
    """Wrap an endpoint so that errors become answers: the one place where those of all faces end.

    Parameters
    ----------
    endpoint
        Of a request; with a limit, of a request and its parameters.
    respond_to_error
        Makes the answer of an error.
    byte_limit
        Bytes of parameters; 0: they are not read.

    Returns
    -------
    endpoint
        One that raises nothing.
    """

    async def call_endpoint(request: Request) -> Response:
        record_request_infos(request)
        try:
            return await (
                endpoint(request, await read_params(request, byte_limit)) if byte_limit else endpoint(request)
            )
        except Exception as error:  # noqa: BLE001  (one table of errors)
            return respond_to_error(request, error)

    return call_endpoint


def create_route(
    path: str,
    endpoint: Endpoint,
    respond_to_error: Callable[[Request, Exception], Response] = PLAIN_TEXT_ERRORS,
    methods: Sequence[str] = ("GET",),
) -> Route:
    """Make a route whose errors are answered as `respond_to_error` has it.

    Parameters
    ----------
    path
        Its address.
    endpoint
        Of a request.
    respond_to_error
        Makes the answer of an error.
    methods
        Of HTTP.

    Returns
    -------
    route
        For Starlette.
    """
    return Route(path, answer_errors(endpoint, respond_to_error), methods=list(methods))


def create_query_route(
    path: str,
    answer_request: Callable[[Request, RequestParams], Awaitable[Response]],
    error_responder: ErrorResponder = VOTABLE_ERRORS,
    byte_limit: int = MAX_PARAMETER_BODY_BYTES,
) -> Route:
    """Make a route that is asked by parameters; GET and POST are the same (DALI 1.1, 2.1).

    Parameters
    ----------
    path
        Its address.
    answer_request
        Of a request and its parameters.
    error_responder
        The words of errors.
    byte_limit
        Bytes of parameters at most.

    Returns
    -------
    route
        For Starlette.
    """
    return Route(path, answer_errors(answer_request, error_responder, byte_limit), methods=["GET", "POST"])


def load_faces() -> dict[str, Face]:
    """List every face, by name: built-in and plugged in."""
    return plugins.load_records("protocols")


@dataclass(slots=True)
class _QueryCache:
    """The queries of a face and the columns of its answers: made once for each state of the holdings."""

    version: str = ""
    queries: dict[tuple[Hashable, ...], tuple[Table, Query]] = field(default_factory=dict)
    columns: dict[tuple[Hashable, ...], tuple[tuple[Column, ...], tuple[Column, ...]]] = field(default_factory=dict)

    def get_or_build_query(
        self, published_state: PublishedState, table: Table, key: tuple[Hashable, ...], service_query: ServiceQuery
    ) -> Query:
        if published_state.version != self.version:
            self.version = published_state.version
            self.queries = {}
            self.columns = {}
        # readers of other reach may know another state of the table: other keys to follow
        cached_query = self.queries.get(key)
        if cached_query is None or cached_query[0] is not table:
            assert not isinstance(service_query.query, str)  # noqa: S101  (texts are kept by the road)
            cached_query = self.queries[key] = (table, service_query.query())
        return cached_query[1]

    def get_or_adapt_columns(
        self, key: tuple[Hashable, ...], adapt_columns: Present, columns: tuple[Column, ...]
    ) -> tuple[Column, ...]:
        cached_columns = self.columns.get(key)
        if cached_columns is None or cached_columns[0] is not columns:
            cached_columns = self.columns[key] = (columns, adapt_columns(columns))
        return cached_columns[1]


__all__ = [
    "DALI_PARAMS",
    "Capability",
    "Face",
    "ServiceContext",
    "ServiceQuery",
    "UsageExample",
    "answer_errors",
    "create_query_route",
    "create_route",
    "describe_own_service",
    "is_html_requested",
    "load_faces",
]

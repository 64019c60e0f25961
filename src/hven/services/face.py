"""Face: the record of a service, from which its addresses, answers, errors, capabilities, form and description come.

No face knows another one.
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
from hven.model import LruCache, plugins
from hven.model.errors import BindError, NotFoundError, ParseError, ServiceError
from hven.model.table import ServiceDescriptor, ServiceParameter
from hven.services import _vosi as vosi
from hven.services._responses import answer_with_body, answer_with_result
from hven.services._vosi import Capability
from hven.services.addresses import find_table, get_base_url, list_base_urls
from hven.services.admission import ANSWER_CACHE_SCOPE_KEY, GATES_SCOPE_KEY, check_request_gates
from hven.services.errors import PLAIN_TEXT_ERRORS, VOTABLE_ERRORS, ErrorResponder
from hven.services.params import (
    STANDARD_IDS_BY_ENDPOINT,
    parse_value,
    parse_values,
    read_params,
    record_request_infos,
)
from hven.site.auth import DEFAULT_POLICIES, has_same_access_as_public, signed_addresses, with_single_table_policy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute
    from starlette.types import Scope

    from hven.adql.syntax_tree import Query
    from hven.formats import InfoElement
    from hven.model.params import Param, RequestParams
    from hven.model.settings import Settings
    from hven.model.table import Column, LinkTemplate, Schema, Table
    from hven.services.admission import AnswerCache
    from hven.site import PublishedState, PublishedTable, Site
    from hven.site.auth import AccessPolicy, Principal

    Endpoint = Callable[[Request], Awaitable[Response]]
    Ask = Callable[[Table, Mapping[str, Any]], "ServiceQuery"]
    Present = Callable[[tuple[Column, ...]], tuple[Column, ...]]
    ListCutouts = Callable[
        ["ServiceContext", Principal, Table, Sequence[str], str | None], Iterable[tuple[str, dict[str, Any]]]
    ]
    Paged = Callable[[Request, "ServiceContext", Mapping[str, Any]], Response]

MAX_PARAMETER_BODY_BYTES = 64 * 1024  # bytes of a body that has only parameters
DALI_PARAMS = (MAXREC_PARAM, RESPONSEFORMAT_PARAM)  # parameters of every service (DALI 1.1, sections 3.4.3, 3.4.4)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageExample:
    """An example of how a table is requested, shown on its page: a title, an address, and lines to copy.

    Attributes
    ----------
    url
        Address of the example.
    example
        Lines to copy.
    language
        Language of the lines, for syntax highlighting.
    """

    title: str
    url: str
    example: str
    language: str = "shell"


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureService:
    """What a service that draws pictures of files does for pages.

    Attributes
    ----------
    is_informative
        Returns whether a thumbnail of a file shows something to a reader, from the name of its collection and its path.
        It returns True for files that it does not draw.
    find_thumbnail
        Returns the stored thumbnail of a key, as PNG; None if there is none.
    draw_thumbnail
        Draws a file as a thumbnail, stores it under a key, and returns it as PNG.
    """

    is_informative: Callable[[ServiceContext, Principal, str, str], bool]
    find_thumbnail: Callable[[ServiceContext, str], bytes | None]
    draw_thumbnail: Callable[[ServiceContext, str, Path], bytes]


class _FaceLinkCache(LruCache[Any]):
    """Links of tables by faces, for one published state."""

    def __init__(self) -> None:
        super().__init__(500)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceContext:
    """What the server gives to a face.

    Attributes
    ----------
    identify_principal
        Returns the principal of a request, by the site's identity providers.
    policies
        Access policies.
    faces
        All faces that are served, by name.
    start_time
        When the server started, with a time zone.
    collections
        Collections of the portal; empty: all.
    """

    site: Site
    identify_principal: Callable[[Request], Principal]
    policies: Sequence[AccessPolicy]
    faces: Mapping[str, ServiceFace] = field(default_factory=dict)
    start_time: datetime
    collections: frozenset[str] = frozenset()

    @classmethod
    def create_for_principal(
        cls, site: Site, principal: Principal, policies: Sequence[AccessPolicy] = DEFAULT_POLICIES
    ) -> ServiceContext:
        """Create the context of work without a request: jobs and commands.

        Parameters
        ----------
        site
            Site on which the work runs.
        principal
            Principal with whose rights it runs.
        policies
            Access policies.

        Returns
        -------
        context
            Context whose start time is now.
        """
        start_time = datetime.now(UTC)
        return cls(site=site, identify_principal=lambda _: principal, policies=policies, start_time=start_time)

    def is_operator(self, principal: Principal, collection: str = "") -> bool:
        """Return whether a principal operates the site.

        Parameters
        ----------
        principal
            Principal to check.
        collection
            A collection of a portal, whose administrators operate it; empty: the site.
        """
        settings = self.site.settings
        if principal.name in settings.health.operators or "owner" in principal.groups:
            return True
        return collection in settings.list_administered_collections(principal.name)

    def list_links(self, table: Table) -> Sequence[LinkTemplate]:
        """List the links of a table's rows by its faces, besides its own links.

        Parameters
        ----------
        table
            The table, as its reader sees it.

        Returns
        -------
        links
            Templates over the row.
        """
        link_cache = self.site.get_or_create(_FaceLinkCache)
        key = id(table), id(self.faces), self.site.get_published_state().version
        cached_entry = link_cache.find(key)
        if cached_entry is not None:
            cached_table, cached_faces, cached_links = cached_entry
            if cached_table is table and cached_faces is self.faces:
                links: Sequence[LinkTemplate] = cached_links
                return links
        built_links: list[LinkTemplate] = []
        for face in self.faces.values():
            if face.build_links and table.is_served_by(face.name) and face.applies(table):
                built_links += face.build_links(table, self)
        link_cache.store(key, (table, self.faces, tuple(built_links)))
        return tuple(built_links)

    def find_picture_service(self) -> PictureService | None:
        """Find what draws pictures of files for pages; None if no service does."""
        return next((face.pictures for face in self.faces.values() if face.pictures is not None), None)

    def find_requested_page_writer(self, name: str, request: Request, params: RequestParams) -> Paged | None:
        """Return the function that writes a face's answer as a page; None if there is none or no page is requested.

        Parameters
        ----------
        name
            Name of the face.
        request
            Request of the client.
        params
            Parameters of the request.
        """
        if is_html_requested(request, params):
            return self.get_page_writer(name)
        return None

    def get_page_writer(self, name: str) -> Paged | None:
        """Return the function that writes a face's answer as a page; None if there is none.

        Parameters
        ----------
        name
            Name of the face.
        """
        for face in self.faces.values():
            if name in face.page_writers:
                return face.page_writers[name]
        return None

    def build_url_signer(self, request: Request) -> Callable[[str], str] | None:
        """Return a function that signs addresses for the reader, except those that everybody may open.

        Parameters
        ----------
        request
            Request of the client.

        Returns
        -------
        sign_url
            None if the reader has no account or sees only public tables.
        """
        principal = self.identify_principal(request)
        if principal.is_anonymous:
            return None
        catalogue = self.site.get_published_state().get_catalogue(principal, self.policies)
        tables = list(catalogue.iterate_tables())
        public_tables = [table for table in tables if has_same_access_as_public(table, principal, self.policies)]
        if len(public_tables) == len(tables):
            return None
        settings = self.site.settings
        base_urls = list_base_urls(request, settings)
        sign = signed_addresses.create_url_signer(self.site.store, principal, base_urls, settings.limits.signed_minutes)
        if sign is None:
            return None
        public_paths = [f"/collections/{quote(table.schema)}/{quote(table.name)}/" for table in public_tables]

        def sign_private_url(url: str) -> str:
            if any(path in url for path in public_paths):
                return url
            return sign(url)

        return sign_private_url


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceQuery:
    """The query that a face builds for a request.

    Attributes
    ----------
    only_table
        Name of a table: views, such as ivoa.obscore, have only its rows.
    query
        ADQL; or a function that builds the query of the table, with slots for its literals. It is called once for each
        `key` and state of the table.
    key
        Values besides the table on which such a query depends.
    values
        Literals of the query, by slot.
    columns_only
        Whether only the columns are requested, as by MAXREC=0.
    adapt_columns
        Changes the metadata of the columns; called once for each `key` and plan.
    infos, params
        Further information and constants of the head of the answer.
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
class ServiceOperation:
    """An operation of a service, for OpenAPI.

    Attributes
    ----------
    path
        Path of its address.
    name
        Name that is unique in the site.
    title, description
        Texts for people.
    params
        Its parameters.
    """

    path: str
    name: str
    title: str
    description: str | None = None
    params: tuple[Param, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePages:
    """Pages that show what is in files, to which the pages of collections lead.

    Attributes
    ----------
    title
        Title of a list of such pages, which catalogues of the pages translate.
    list_page_paths
        Lists the paths of the pages below the address of the site, from a collection and the paths of its files; None
        for a file that has none.
    """

    title: str
    list_page_paths: Callable[[ServiceContext, str, Sequence[str]], Sequence[str | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFace:
    """A service.

    Attributes
    ----------
    name
        Name in a descriptor's ``services:``.
    title
        Title for people.
    description
        A sentence for pages and OpenAPI.
    standard_ids
        IVOIDs of the standards that it implements.
    params
        Its parameters; those of DALI (`DALI_PARAMS`) are added where it builds queries.
    applies
        Returns whether it can serve a table.
    is_selectable
        True if it serves only the tables whose descriptor does not leave it out of `services`; False if it is about the
        site, or does that itself.
    build_links
        Builds the links of the rows of a table: `LinkTemplate` with a `ServiceDescriptor`, which DataLink lists.
    missing_requirement
        What a table that it cannot serve lacks, for messages.
    build_query
        Builds the query for a table and the values of `params`, by name; raises an error for invalid values. None: its
        `build_routes` does everything.
    path
        Path of the service, with ``{table}`` in it if it serves one table.
    error_responder
        Writes errors as the standard has them.
    default_format
        Default of RESPONSEFORMAT; None to let the Accept header decide.
    example
        Parameters of an example: ``RA=83.63&DEC=22.01``.
    list_usage_examples
        Lists further examples for a table, from the address of the site.
    build_routes
        Builds its other routes. A server calls it before it forks its workers, which lack any thread that it starts.
    texts
        Language -> English text -> translated text, for pages.
    capability_type
        Type of its capability, namespace of the type, and content of the capability (SimpleDALRegExt), with ``{most}``
        for the maximum number of rows; for services older than DALI, whose addresses end with a question mark.
    describes_itself
        Whether its answers describe its parameters (DataLink 1.1, section 4.2; SIA 2.0, section 3.1.3).
    page_writers
        Name of another face -> function that writes its answers as pages, for browsers.
    openapi_paths
        Paths in OpenAPI that do not follow from its parameters.
    list_table_operations
        Lists operations on a table that do not follow from its parameters, for OpenAPI.
    build_address_rewriter
        Builds a function that gives a request its present address, if no face has its path; the function returns None
        for paths that it does not know. The context has the tables that the face serves.
    list_capabilities
        Lists its capabilities for registries, from the address of the site, and a collection with its public tables;
        None: the site. The service over one table is described by `build_table_capability`.
    list_image_cutouts
        Lists the cut-outs that it makes of the images of rows: from the reader, a table, the identifiers of its rows,
        and a region as POS has it (None: the whole images). It yields the identifier of a row with values of the
        columns of SIA, which offers these cut-outs; ``url`` is a path below the address of the site. None: it makes
        none.
    list_tap_capabilities
        Lists capabilities that it adds to those of TAP, from the context and the address of the TAP service.
    file_pages
        Its pages about files; None: it has none.
    list_surveys
        Lists the addresses of HiPS of a collection that everybody may see, from the name of the collection and the
        address of the site. Maps of the collection's tables show them as backgrounds.
    pictures
        What it does for pages, if it draws pictures of files; None: it draws none.
    additional_faces
        Further services over tables, each with its own name.
    is_usage_counted
        Whether its answers count as uses of what is published.
    is_limited
        Whether limits of requests apply to it. Users whom a limit refuses must be able to log in.
    is_site_wide
        True if it is the same for all portals: services of users and accounts. The others serve, at the addresses of a
        portal, only the collections of this portal.
    test_query
        Parameters of a query that finds rows, and perhaps XML for the capability: with ``{lon}``, ``{lat}``, ``{size}``
        of a place with rows.
    """

    name: str
    title: str
    description: str = ""
    standard_ids: Sequence[str] = ()
    params: Sequence[Param] = ()
    applies: Callable[[Table], bool] = lambda _: False
    is_selectable: bool = False
    build_links: Callable[[Table, ServiceContext], Sequence[LinkTemplate]] | None = None
    missing_requirement: str = "columns that this service needs"
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
    list_table_operations: Callable[[Table], Iterable[ServiceOperation]] = lambda _: ()
    build_address_rewriter: Callable[[ServiceContext], Callable[[Scope], Scope | None]] | None = None
    list_capabilities: Callable[[ServiceContext, str, Schema | None], Iterable[Capability]] = lambda *_: ()
    list_tap_capabilities: Callable[[ServiceContext, str], Iterable[Capability]] = lambda *_: ()
    list_image_cutouts: ListCutouts | None = None
    file_pages: FilePages | None = None
    list_surveys: Callable[[ServiceContext, str, str], Iterable[str]] = lambda *_: ()
    pictures: PictureService | None = None
    additional_faces: Sequence[ServiceFace] = ()
    is_usage_counted: bool = True
    is_limited: bool = True
    is_site_wide: bool = False
    test_query: tuple[str, str] = ("", "")

    def __post_init__(self) -> None:
        """Check the path, and make `applies` return False for tables on which it fails."""
        if self.build_query is not None and "{table}" not in self.path:
            message = f"the path of the service {self.name} lacks {{table}}: {self.path!r}"
            raise ValueError(message)
        object.__setattr__(self, "applies", plugins.wrap_plugin_predicate(self.applies))

    @property
    def all_params(self) -> tuple[Param, ...]:
        """All parameters, with those of DALI."""
        if self.build_query is None:
            return tuple(self.params)
        return (*self.params, *DALI_PARAMS)

    @property
    def is_table_service(self) -> bool:
        """Whether it is a service over one table, with parameters."""
        return bool(self.all_params) and "{table}" in self.path

    def build_url(self, table: Table, base_url: str) -> str:
        """Return the address of the service for a table.

        Parameters
        ----------
        table
            A table to which it applies.
        base_url
            Address of the site, without a final slash.
        """
        return base_url + self.path.replace("{table}", quote(table.qualified_name))

    def build_table_capability(
        self, table: Table, base_url: str, settings: Settings, *, sample_place: tuple[float, float, float] | None = None
    ) -> Capability:
        """Describe the capability of the service over a table.

        Parameters
        ----------
        table
            A table to which it applies.
        base_url
            Address of the site, without a final slash.
        settings
            Settings of the site.
        sample_place
            Longitude, latitude and radius (degrees) of a place with rows; None if none is known.

        Returns
        -------
        capability
            Capability for VOSI and registries.
        """
        url = self.build_url(table, base_url)
        attributes_xml = ""
        extension_xml = ""
        if self.capability_type is not None:
            type_name, namespace, content = self.capability_type
            url += "?"
            attributes_xml = f'xmlns:{type_name.partition(":")[0]}="{namespace}" xsi:type="{type_name}"'
            extension_xml = content.replace("{most}", str(settings.limits.maxrec_hard))
        test_query = ""
        if sample_place is not None:
            lon, lat, size = (f"{number:.6g}" for number in sample_place)
            test_query, test_xml = (template.format(lon=lon, lat=lat, size=size) for template in self.test_query)
            extension_xml += test_xml
        return Capability(
            standard_id=next(iter(self.standard_ids), None),
            url=url,
            use="base",
            role="std",
            description=self.description,
            params=self.all_params,
            security_methods=vosi.list_security_methods(settings),
            extension_xml=extension_xml,
            attributes_xml=attributes_xml,
            test_query=test_query or None,
        )

    def build_routes_and_register_standard_ids(self, context: ServiceContext) -> Sequence[BaseRoute]:
        """Build the routes of all its addresses.

        Parameters
        ----------
        context
            Site, reader and other faces.

        Returns
        -------
        routes
            Routes for Starlette.
        """
        all_routes = [*self._build_own_routes(context), *self.build_routes(context)]
        if self.standard_ids:
            for route in all_routes:
                if isinstance(route, Route):
                    STANDARD_IDS_BY_ENDPOINT[route.endpoint] = self.standard_ids[0]
        return all_routes

    def list_all_examples(self, published: PublishedTable, base_url: str) -> Sequence[UsageExample]:
        """List the examples for a table that its page shows.

        Parameters
        ----------
        published
            Published table.
        base_url
            Address of the site, without a final slash.

        Returns
        -------
        examples
            Examples with lines to copy.
        """
        examples = list(self.list_usage_examples(published, base_url))
        if self.example and self.build_query is not None:
            url = self.build_url(published.table, base_url)
            own_example = UsageExample(title=self.title, url=url, example=f"curl '{url}?{self.example}'")
            examples.insert(0, own_example)
        return examples

    def _list_allowed_values(self, service_query: ServiceQuery) -> dict[str, dict[str, str]]:
        """List the allowed values of parameters, for answers that have the parameters as constants."""
        if not service_query.params:
            return {}
        return {f"INPUT:{param.name}": dict.fromkeys(param.allowed, "") for param in self.params}

    def _list_own_descriptors(self, table: Table, base_url: str, format_name: str) -> list[str]:
        """List the descriptor of the service itself, for the answers that have it."""
        if not self.describes_itself or format_name != formats.DEFAULT_FORMAT:
            return []
        return [write_own_service_descriptor(self, self.build_url(table, base_url))]

    def _build_own_routes(self, context: ServiceContext) -> Iterator[Route]:
        query_cache = _QueryAndColumnCache()

        def find_requested_table(request: Request) -> tuple[PublishedState, Table]:
            # one state for the tree and for the query: an ingest may publish another one meanwhile
            published_state = context.site.get_published_state()
            catalogue = published_state.get_catalogue(context.identify_principal(request), context.policies)
            table = find_table(request.path_params["table"], catalogue)
            if not self.applies(table):
                raise NotFoundError(
                    f"{table.qualified_name} has no {self.missing_requirement}", remedy="query the table with TAP"
                )
            return published_state, table

        async def answer_query(build_query: Ask, request: Request, params: RequestParams) -> Response:
            published_state, table = find_requested_table(request)
            service_query = build_query(table, parse_values(params, self.params))
            maxrec = parse_value(params, MAXREC_PARAM)
            if service_query.columns_only:
                maxrec = 0
            format_name = params.read_one("RESPONSEFORMAT") or self.default_format
            output_format, options = formats.select_format(format_name, request.headers.get("accept"))
            warnings = query.build_unused_parameter_warnings(params, self.all_params)
            key = (self.name, table.qualified_name, *service_query.key)
            query_parts: tuple[object, ...] = service_query.values
            query_or_text: str | Query
            plan_key: tuple[Hashable, ...] | None = key
            adapt_columns = service_query.adapt_columns
            try:
                if isinstance(service_query.query, str):
                    query_or_text = service_query.query
                    query_parts = (query_or_text,)
                    plan_key = None
                else:
                    query_or_text = query_cache.get_or_build_query(published_state, table, key, service_query)
                    if adapt_columns is not None:
                        adapt_columns = partial(query_cache.get_or_adapt_columns, key, adapt_columns)
                result = query.run_query(
                    query_or_text,
                    context.identify_principal(request),
                    site=context.site,
                    maxrec=maxrec,
                    policies=with_single_table_policy(context.policies, service_query.only_table),
                    literal_values=service_query.values,
                    plan_key=plan_key,
                    published_state=published_state,
                )
            except (ParseError, BindError) as error:  # the fault is in the face, not in the request
                raise ServiceError(f"the service {self.name!r} built an invalid query: {error}") from error
            base_url = get_base_url(request, context.site.settings)
            return await answer_with_result(
                request,
                result,
                (output_format, options),
                etag_parts=(*key, *query_parts, maxrec, output_format.name, sorted(options.items()), warnings),
                infos=(*service_query.infos, *warnings),
                constants=service_query.params,
                enums=self._list_allowed_values(service_query),
                name=table.name,
                adapt_columns=adapt_columns,
                base_url=base_url,
                descriptors=self._list_own_descriptors(table, base_url, output_format.name),
            )

        async def answer_capabilities(request: Request) -> Response:
            _, table = find_requested_table(request)
            base_url = get_base_url(request, context.site.settings)
            table_capability = self.build_table_capability(table, base_url, context.site.settings)
            vosi_capability = Capability(
                standard_id="ivo://ivoa.net/std/VOSI#capabilities",
                url=f"{self.build_url(table, base_url)}/capabilities",
                role="std",
            )
            headers = {
                "content-type": vosi.MEDIA_TYPE,
                "cache-control": "no-cache",
                "vary": "accept-encoding, authorization, cookie, host",
            }
            body = vosi.write_capabilities([vosi_capability, table_capability])
            return answer_with_body(request, body, headers)

        if self.build_query is not None:
            yield create_query_route(self.path, partial(answer_query, self.build_query), self.error_responder)
        if self.is_table_service:
            yield create_route(f"{self.path}/capabilities", answer_capabilities)


def write_own_service_descriptor(face: ServiceFace, url: str) -> str:
    """Describe a service for its own answers.

    Parameters
    ----------
    face
        Service to describe.
    url
        Address of the service.

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
    """Return whether a page is requested: by a browser, or by RESPONSEFORMAT.

    Java's HTTP client, which TOPCAT uses, also sends text/html by default.

    Parameters
    ----------
    request
        Request of the client.
    params
        Parameters of the request.
    """
    response_format = params.read_one("RESPONSEFORMAT")
    if response_format:
        return response_format.strip().lower() in {"html", "text/html"}
    accept = request.headers.get("accept", "").lower()
    return "text/html" in accept and "application/xhtml+xml" in accept


def wrap_endpoint_with_gates_and_errors(
    endpoint: Callable[..., Awaitable[Response]],
    respond_to_error: Callable[[Request, Exception], Response],
    byte_limit: int = 0,
) -> Endpoint:
    """Wrap an endpoint so that errors become responses; the errors of all faces end here.

    Parameters
    ----------
    endpoint
        Endpoint of a request; with a limit, of a request and its parameters.
    respond_to_error
        Builds the response to an error.
    byte_limit
        Maximum bytes of parameters; 0: they are not read.

    Returns
    -------
    endpoint
        An endpoint that raises no errors.
    """

    async def call_endpoint(request: Request) -> Response:
        record_request_infos(request)
        try:
            if request.scope.get(GATES_SCOPE_KEY):
                check_request_gates(request)
            if byte_limit:
                params = await read_params(request, byte_limit)
                if request.scope.get(ANSWER_CACHE_SCOPE_KEY) is not None:
                    cache: AnswerCache = request.scope[ANSWER_CACHE_SCOPE_KEY]
                    return await cache.answer(request, params, partial(endpoint, request, params))
                return await endpoint(request, params)
            return await endpoint(request)
        except Exception as error:  # noqa: BLE001  (one table of errors)
            return respond_to_error(request, error)

    return call_endpoint


def create_route(
    path: str,
    endpoint: Endpoint,
    respond_to_error: Callable[[Request, Exception], Response] = PLAIN_TEXT_ERRORS,
    methods: Sequence[str] = ("GET",),
) -> Route:
    """Create a route whose errors are answered by `respond_to_error`.

    Parameters
    ----------
    path
        Path of the route.
    endpoint
        Endpoint of a request.
    respond_to_error
        Builds the response to an error.
    methods
        HTTP methods.

    Returns
    -------
    route
        A route for Starlette.
    """
    return Route(path, wrap_endpoint_with_gates_and_errors(endpoint, respond_to_error), methods=list(methods))


def create_query_route(
    path: str,
    answer_request: Callable[[Request, RequestParams], Awaitable[Response]],
    error_responder: ErrorResponder = VOTABLE_ERRORS,
    byte_limit: int = MAX_PARAMETER_BODY_BYTES,
) -> Route:
    """Create a route with parameters, for which GET and POST are the same (DALI 1.1, section 2.1).

    Parameters
    ----------
    path
        Path of the route.
    answer_request
        Endpoint of a request and its parameters.
    error_responder
        Builds the responses to errors.
    byte_limit
        Maximum bytes of parameters.

    Returns
    -------
    route
        A route for Starlette.
    """
    return Route(
        path, wrap_endpoint_with_gates_and_errors(answer_request, error_responder, byte_limit), methods=["GET", "POST"]
    )


def load_service_faces() -> dict[str, ServiceFace]:
    """Load all faces by name: built-in ones and plug-ins."""
    return plugins.load_plugin_records("protocols")


@dataclass(slots=True)
class _QueryAndColumnCache:
    """Queries of a face and adapted columns of its answers, built once for each published state."""

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
        # readers with other rights may see another state of the table
        cached_query = self.queries.get(key)
        if cached_query is None or cached_query[0] is not table:
            assert not isinstance(service_query.query, str)  # noqa: S101  (texts have a cache of their own)
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
    "MAXREC_PARAM",
    "Capability",
    "FilePages",
    "PictureService",
    "ServiceContext",
    "ServiceFace",
    "ServiceOperation",
    "ServiceQuery",
    "UsageExample",
    "create_query_route",
    "create_route",
    "is_html_requested",
    "load_service_faces",
    "wrap_endpoint_with_gates_and_errors",
    "write_own_service_descriptor",
]

"""SODA 1.0: ``/soda/sync`` and ``/soda/async`` cut rows' files.

By a shape on the sky, wavelengths, times, polarizations, or pixels.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from starlette.responses import Response

from hven import services
from hven.formats.media import cutout_params
from hven.model.table import (
    SITE_URL_EXPRESSION,
    LinkTemplate,
    ServiceDescriptor,
    ServiceParameter,
    TemplateExpression,
    find_root,
)
from hven.query.query_queue import QueryQueue
from hven.services import _vosi as vosi
from hven.services import collection_files, cutouts, uws
from hven.services._threads import call_in_thread, hold_turn
from hven.services.face import Face, ServiceContext, UsageExample, create_query_route, create_route

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from hven.model.table import Schema, Table, Template
    from hven.site import PublishedTable

SYNC_STANDARD_ID, ASYNC_STANDARD_ID = cutout_params.SODA_STANDARD_ID, "ivo://ivoa.net/std/SODA#async-1.0"
MAX_NARROWED_ROWS = 20  # rows of one list of links whose files are looked into
MAX_PARAMETER_BYTES = 1 << 20  # bytes of parameters
MAX_CONCURRENT_CUTOUTS = 2
MAX_WAITING_CUTOUTS = 64  # that may wait for these; more are told to come again


def build_routes(context: ServiceContext) -> Sequence[BaseRoute]:
    """Route ``/soda/sync``, ``/soda/async`` and ``/soda/capabilities``."""
    cutting = QueryQueue(MAX_CONCURRENT_CUTOUTS, places=MAX_WAITING_CUTOUTS)

    async def answer_sync(request: Request, params: services.RequestParams) -> Response:
        def build_response() -> Response:
            principal, base = context.identify_principal(request), services.get_base_url(request, context.site.settings)
            (cutout_request,) = cutouts.parse_cutout_requests(params, single_only=True)
            history = [f"{cutout_request.row_identifier} of {base}"]
            ignored = params.list_unused(cutouts.CUTOUT_PARAMS)
            if ignored:
                history.append(f"not understood, and left out: {', '.join(ignored)}")
            one = params.read_one("TABLE")
            original_file = cutouts.find_original_file(context, principal, cutout_request.row_identifier, one)
            # a file and what is asked of it make the same bytes, but for the base in its history
            etag = services.compute_etag(original_file.etag, repr(cutout_request), history)
            cache_headers = services.build_cache_headers(
                etag,
                is_public=original_file.is_public,
            )
            if services.is_unchanged(request, cache_headers["etag"]):
                return Response(status_code=304, headers=cache_headers)
            product, piece = cutouts.open_cutout(original_file, cutout_request, history)
            if piece is None:
                product.close()
                return Response(status_code=204)
            return cutouts.send_cutout(
                request, product, piece, f"{cutouts.make_file_stem(original_file.name)}_cut.fits", cache_headers
            )

        async with hold_turn(cutting):
            answer: Response = await call_in_thread(build_response, is_first_batch=True)
        return answer

    async def answer_capabilities(request: Request) -> Response:
        capabilities = list_capabilities(context, services.get_base_url(request, context.site.settings), None)
        body = vosi.write_capabilities(capabilities)
        return services.answer_with_etag(
            request,
            services.build_cache_headers(
                services.compute_etag(body), is_public=True, vary="accept-encoding, authorization, cookie, host"
            ),
            vosi.MEDIA_TYPE,
            body,
        )

    query_route = create_query_route("/soda/sync", answer_sync, cutouts.ERROR_RESPONDER, MAX_PARAMETER_BYTES)
    route = create_route("/soda/capabilities", answer_capabilities)
    job_routes = uws.build_job_routes(
        "/soda/async", "soda", context.site, context.identify_principal, byte_limit=MAX_PARAMETER_BYTES
    )
    return [
        query_route,
        route,
        *job_routes,
    ]


def list_capabilities(context: ServiceContext, base_url: str, schema: Schema | None) -> Sequence[vosi.Capability]:
    """List both services, which are the site's."""
    if schema is not None:
        return []
    soda_url = f"{base_url}/soda"
    return [
        vosi.Capability(standard_id="ivo://ivoa.net/std/VOSI#capabilities", url=f"{soda_url}/capabilities", role="std"),
        *(
            vosi.Capability(
                standard_id=standard,
                url=f"{soda_url}/{name}",
                use="base",
                role="std",
                version="1.0",
                description=FACE.description,
                params=(*cutouts.CUTOUT_PARAMS, *extra_params),
                security_methods=vosi.list_security_methods(context.site.settings),
            )
            for name, standard, extra_params in (
                ("sync", SYNC_STANDARD_ID, ()),
                ("async", ASYNC_STANDARD_ID, (cutouts.PACKAGE_PARAM,)),
            )
        ),
    ]


def build_links(table: Table, context: ServiceContext) -> Sequence[LinkTemplate]:
    """Describe the service for each row, with the bounds of the row's file.

    Of the first rows of a list, whose files are looked into.
    """

    def limit_service(
        service: ServiceDescriptor, path: str | None, inputs_by_path: dict[str, Mapping[str, ServiceParameter]]
    ) -> ServiceDescriptor | None:
        if path is None or files is None:
            return None
        if path not in inputs_by_path:
            if len(inputs_by_path) >= MAX_NARROWED_ROWS:
                return service
            place = collection_files.find_local_path(context, files, path)
            if place is None:  # other servers are not asked for a list
                if find_root(path, files.table.roots)[0].scheme is None:
                    return None
                return service
            inputs_by_path[path] = cutouts.fit_parameters(
                bare, place, context.site.get_or_create(cutouts.CutoutParameterCache)
            )
        fit = inputs_by_path[path]
        narrowed_inputs = []
        for service_input in service.inputs:
            fitted_input = (
                service_input if service_input.param is cutouts.PACKAGE_PARAM else fit.get(service_input.param.name)
            )
            if fitted_input is not None and service_input.value:
                same = fitted_input.param is service_input.param and not fitted_input.low and not fitted_input.high
                narrowed_inputs.append(
                    service_input
                    if same
                    else replace(service_input, param=fitted_input.param, low=fitted_input.low, high=fitted_input.high)
                )
            elif fitted_input is not None:  # the same object for all lists: it is written once
                narrowed_inputs.append(fitted_input)
        if fit:
            return replace(service, inputs=tuple(narrowed_inputs))
        return None

    published_state = context.site.get_published_state()
    files = published_state.tables_by_name.get(f"{table.schema}.files")
    key = table.identifier_column
    assert key is not None  # noqa: S101  (tables without one have no links)
    bare, inputs, several = _build_inputs(key.name, table.qualified_name)
    kind: Template = next(
        (own_file_link.content_qualifier for own_file_link in table.row_file_links), ()
    )  # a part is what the whole is
    return [
        LinkTemplate(
            semantics="#cutout",
            local_semantics=(local,),
            address=(),
            description=(words,),
            type=("application/fits",),
            adapt_service=limit_service,
            content_qualifier=kind,
            service=ServiceDescriptor(
                address=(SITE_URL_EXPRESSION, f"/soda/{path}"), inputs=service_inputs, standard_id=standard
            ),
        )
        for path, standard, local, words, service_inputs in (
            ("sync", SYNC_STANDARD_ID, "cut", "Cut-out", inputs),
            ("async", ASYNC_STANDARD_ID, "cuts", "Cut-outs, many at once", several),
        )
    ]


@lru_cache(maxsize=256)
def _build_inputs(key: str, table: str) -> tuple[tuple[ServiceParameter, ...], ...]:
    """Return the parameters of any file, those of a row of a table, and these for several cuts."""
    quoted = key.replace('"', '""')
    always: dict[str, Template] = {"ID": (TemplateExpression(f'target."{quoted}"'),), "TABLE": (table,)}
    inputs = tuple(ServiceParameter(param=param, value=always.get(param.name, ())) for param in cutouts.CUTOUT_PARAMS)
    return (
        tuple(ServiceParameter(param=param) for param in cutouts.CUTOUT_PARAMS),
        inputs,
        (*inputs, ServiceParameter(param=cutouts.PACKAGE_PARAM)),
    )


def _list_usage_examples(published: PublishedTable, base_url: str) -> Sequence[UsageExample]:
    """Show how a row's file is cut."""
    url = f"{base_url}/soda/sync"
    name = published.table.qualified_name
    python = (
        f'import pyvo\n\nrow = pyvo.dal.TAPService("{base_url}/tap").search("SELECT TOP 1 * FROM '
        f'{name}")[0]\nlinks = row.getdatalink()\ncut = links.get_first_proc().process(circle=(83.63, 22.01, 0.1))'
    )
    return [
        UsageExample(
            title="A cut-out", url=url, example=f"curl -o cut.fits '{url}?TABLE={name}&ID=..&CIRCLE=83.63+22.01+0.1'"
        ),
        UsageExample(title="Cut-outs in Python", url=url, language="python", example=python),
    ]


FACE = Face(
    name="soda",
    title="Cut-outs (SODA)",
    description=(
        "Parts of the files of rows: by a shape on the sky, wavelengths, times, polarizations, or pixels; as FITS."
    ),
    standard_ids=(SYNC_STANDARD_ID, ASYNC_STANDARD_ID),
    params=cutouts.CUTOUT_PARAMS,
    applies=lambda table: table.has_row_files,
    missing_requirement="files of its rows",
    path="/soda/sync",
    error_responder=cutouts.ERROR_RESPONDER,
    list_usage_examples=_list_usage_examples,
    build_routes=build_routes,
    build_links=build_links,
    list_capabilities=list_capabilities,
)

"""SODA 1.0: ``/soda/sync`` and ``/soda/async`` cut rows' files.

By a shape on the sky, wavelengths, times, polarizations, or pixels.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from starlette.responses import Response

from hven import services
from hven.model.table import (
    SITE_URL_EXPRESSION,
    LinkTemplate,
    ServiceDescriptor,
    ServiceParameter,
    TemplateExpression,
    find_file_root_and_relative_path,
    write_target_column_reference,
)
from hven.plugins.cutouts import cutout_params, cutouts
from hven.query.query_queue import QueryQueue
from hven.services import collection_files, uws
from hven.services.api import vosi
from hven.services.api.threads import call_in_thread, hold_turn
from hven.services.face import ServiceContext, ServiceFace, UsageExample, create_query_route, create_route

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from hven.model.table import Schema, Table, Template
    from hven.site import PublishedTable

SYNC_STANDARD_ID, ASYNC_STANDARD_ID = cutout_params.SODA_STANDARD_ID, "ivo://ivoa.net/std/SODA#async-1.0"
MAX_NARROWED_ROWS = 20  # rows of one list of links whose files are read
MAX_PARAMETER_BYTES = 1 << 20
MAX_CONCURRENT_CUTOUTS = 2
MAX_WAITING_CUTOUTS = 64  # requests that may wait; further ones are refused for now


def build_soda_routes(context: ServiceContext) -> Sequence[BaseRoute]:
    """Build the routes of ``/soda/sync``, ``/soda/async`` and ``/soda/capabilities``."""
    cutting = QueryQueue(MAX_CONCURRENT_CUTOUTS, place_count=MAX_WAITING_CUTOUTS)

    async def answer_sync(request: Request, params: services.RequestParams) -> Response:
        def build_response() -> Response:
            principal = context.identify_principal(request)
            base_url = services.get_base_url(request, context.site.settings)
            (cutout_request,) = cutouts.parse_cutout_requests(params, is_single_only=True)
            row_identifier = cutout_request.row_identifier
            history = [f"{row_identifier} of {base_url}"]
            ignored_names = params.list_unused_names(cutouts.CUTOUT_PARAMS)
            if ignored_names:
                history.append(f"ignored unknown parameters: {', '.join(ignored_names)}")
            table_name = params.read_one("TABLE")
            original_file = cutouts.find_original_file_and_log_access(context, principal, row_identifier, table_name)
            # a file and a request give the same bytes, except for the address in the history
            etag = services.compute_etag(original_file.etag, repr(cutout_request), history)
            cache_headers = services.build_cache_headers(etag, is_public=original_file.is_public)
            if services.is_unchanged(request, etag):
                return Response(status_code=304, headers=cache_headers)
            product, cutout = cutouts.open_cutout(original_file, cutout_request, history)
            if cutout is None:
                product.close()
                return Response(status_code=204)
            file_name = f"{cutouts.make_file_stem(original_file.name)}_cut.fits"
            return cutouts.send_cutout(request, product, cutout, file_name, cache_headers)

        async with hold_turn(cutting):
            response: Response = await call_in_thread(build_response, is_first_batch=True)
        return response

    async def answer_capabilities(request: Request) -> Response:
        capabilities = list_soda_capabilities(context, services.get_base_url(request, context.site.settings), None)
        body = vosi.write_capabilities(capabilities)
        cache_headers = services.build_cache_headers(
            services.compute_etag(body), is_public=True, vary="accept-encoding, authorization, cookie, host"
        )
        return services.answer_with_etag(request, cache_headers, vosi.MEDIA_TYPE, body)

    job_routes = uws.build_job_routes(
        "/soda/async", "soda", context.site, context.identify_principal, byte_limit=MAX_PARAMETER_BYTES
    )
    return [
        create_query_route("/soda/sync", answer_sync, cutouts.ERROR_RESPONDER, MAX_PARAMETER_BYTES),
        create_route("/soda/capabilities", answer_capabilities),
        *job_routes,
    ]


def list_soda_capabilities(context: ServiceContext, base_url: str, schema: Schema | None) -> Sequence[vosi.Capability]:
    """List the capabilities of both services, which are those of the site."""
    if schema is not None:
        return []
    soda_url = f"{base_url}/soda"
    capabilities = [
        vosi.Capability(standard_id="ivo://ivoa.net/std/VOSI#capabilities", url=f"{soda_url}/capabilities", role="std")
    ]
    for name, standard_id, extra_params in (
        ("sync", SYNC_STANDARD_ID, ()),
        ("async", ASYNC_STANDARD_ID, (cutouts.PACKAGE_PARAM,)),
    ):
        capability = vosi.Capability(
            standard_id=standard_id,
            url=f"{soda_url}/{name}",
            use="base",
            role="std",
            version="1.0",
            description=FACE.description,
            params=(*cutouts.CUTOUT_PARAMS, *extra_params),
            security_methods=vosi.list_security_methods(context.site.settings),
        )
        capabilities.append(capability)
    return capabilities


def build_soda_links(table: Table, context: ServiceContext) -> Sequence[LinkTemplate]:
    """Describe the service for each row; for the first rows of a list, with the bounds of the row's file."""

    def limit_service(
        service: ServiceDescriptor, path: str | None, inputs_by_path: dict[str, Mapping[str, ServiceParameter]]
    ) -> ServiceDescriptor | None:
        if path is None or files is None:
            return None
        if path not in inputs_by_path:
            if len(inputs_by_path) >= MAX_NARROWED_ROWS:
                return service
            file_path = collection_files.find_local_path(context, files, path)
            if file_path is None:  # a list does not wait for other servers
                root, _ = find_file_root_and_relative_path(path, files.table.roots)
                if root.scheme is None:
                    return None
                return service
            parameter_cache = context.site.get_or_create(cutouts.CutoutParameterCache)
            inputs_by_path[path] = cutouts.fit_cutout_params_to_file(file_inputs, file_path, parameter_cache)
        fitted_inputs = inputs_by_path[path]
        if not fitted_inputs:
            return None
        narrowed_inputs = []
        for service_input in service.inputs:
            fitted_input = fitted_inputs.get(service_input.param.name)
            if service_input.param is cutouts.PACKAGE_PARAM:
                fitted_input = service_input
            if fitted_input is not None:
                narrowed_inputs.append(_with_file_bounds(service_input, fitted_input))
        return replace(service, inputs=tuple(narrowed_inputs))

    published_state = context.site.get_published_state()
    files = published_state.tables_by_name.get(f"{table.schema}.files")
    key = table.identifier_column
    assert key is not None  # noqa: S101  (tables without one have no links)
    file_inputs, row_inputs, job_inputs = _build_soda_inputs(key.name, table.qualified_name)
    # a part is of the same kind as the whole
    content_qualifier: Template = next((link.content_qualifier for link in table.row_file_links), ())
    links = []
    for path, standard_id, local_semantics, description, inputs in (
        ("sync", SYNC_STANDARD_ID, "cut", "Cut-out", row_inputs),
        ("async", ASYNC_STANDARD_ID, "cuts", "Cut-outs, many at once", job_inputs),
    ):
        address = (SITE_URL_EXPRESSION, f"/soda/{path}")
        link = LinkTemplate(
            semantics="#cutout",
            local_semantics=(local_semantics,),
            address=(),
            description=(description,),
            type=("application/fits",),
            adapt_service=limit_service,
            content_qualifier=content_qualifier,
            service=ServiceDescriptor(address=address, inputs=inputs, standard_id=standard_id),
        )
        links.append(link)
    return links


def _with_file_bounds(service_input: ServiceParameter, fitted_input: ServiceParameter) -> ServiceParameter:
    """Return an input with the bounds of a file; unchanged inputs stay the same objects, which are written once."""
    if not service_input.value:
        return fitted_input
    if fitted_input.param is service_input.param and not fitted_input.low and not fitted_input.high:
        return service_input
    return replace(service_input, param=fitted_input.param, low=fitted_input.low, high=fitted_input.high)


@lru_cache(maxsize=256)
def _build_soda_inputs(identifier_column: str, table_name: str) -> tuple[tuple[ServiceParameter, ...], ...]:
    """Return the parameters of any file, those of a row of a table, and these for several cuts."""
    row_identifier = TemplateExpression(write_target_column_reference(identifier_column))
    fixed_values: dict[str, Template] = {"ID": (row_identifier,), "TABLE": (table_name,)}
    file_inputs = tuple(ServiceParameter(param=param) for param in cutouts.CUTOUT_PARAMS)
    row_inputs = tuple(
        ServiceParameter(param=param, value=fixed_values.get(param.name, ())) for param in cutouts.CUTOUT_PARAMS
    )
    return file_inputs, row_inputs, (*row_inputs, ServiceParameter(param=cutouts.PACKAGE_PARAM))


def _list_usage_examples(published: PublishedTable, base_url: str) -> Sequence[UsageExample]:
    """List examples of how a row's file is cut."""
    url = f"{base_url}/soda/sync"
    name = published.table.qualified_name
    command = f"curl -o cut.fits '{url}?TABLE={name}&ID=..&CIRCLE=83.63+22.01+0.1'"
    python_code = (
        f'import pyvo\n\nrow = pyvo.dal.TAPService("{base_url}/tap").search("SELECT TOP 1 * FROM '
        f'{name}")[0]\nlinks = row.getdatalink()\ncut = links.get_first_proc().process(circle=(83.63, 22.01, 0.1))'
    )
    return [
        UsageExample(title="A cut-out", url=url, example=command),
        UsageExample(title="Cut-outs in Python", url=url, language="python", example=python_code),
    ]


FACE = ServiceFace(
    name="soda",
    title="Cut-outs (SODA)",
    description=(
        "Parts of the files of rows as FITS, selected by a region on the sky, wavelengths, times, polarizations or "
        "pixels."
    ),
    standard_ids=(SYNC_STANDARD_ID, ASYNC_STANDARD_ID),
    params=cutouts.CUTOUT_PARAMS,
    applies=lambda table: table.has_row_files,
    missing_requirement="files of its rows",
    path="/soda/sync",
    error_responder=cutouts.ERROR_RESPONDER,
    list_usage_examples=_list_usage_examples,
    build_routes=build_soda_routes,
    build_links=build_soda_links,
    list_capabilities=list_soda_capabilities,
    list_image_cutouts=cutouts.list_image_cutouts,
)

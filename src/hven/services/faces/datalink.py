"""DataLink 1.1: ``/datalink/<schema.table>?ID=..`` lists what rows lead to: files, previews, what they were made from.

Many identifiers at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio.to_thread

from hven import formats, services
from hven.formats import DEFAULT_FORMAT, InfoElement, ResultStatus, TableMetadata
from hven.model.errors import NotFoundError
from hven.model.params import Param
from hven.model.table import DATALINK_MEDIA_TYPE, DATALINK_STANDARD_ID, LinkTemplate
from hven.services import datalinks
from hven.services.errors import LABELLED_VOTABLE_ERRORS
from hven.services.face import DALI_PARAMS, Face, ServiceContext, UsageExample, create_query_route, describe_own_service

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from hven.model.table import Table
    from hven.site import PublishedTable

MAX_FORM_BYTES = 8 * 1024**2  # bytes of a form: as many identifiers as a form may have parameters
ID_PARAM = Param(
    name="ID", ucd="meta.id;meta.main", description="identifiers of rows, as results have them; as many as you like"
)
DATALINK_PARAMS = (ID_PARAM, *DALI_PARAMS)


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route ``/datalink/<schema.table>``."""
    site = context.site

    async def answer_links(request: Request, params: services.RequestParams) -> Response:
        principal, published_state = context.identify_principal(request), site.get_published_state()
        table = services.find_table(
            request.path_params["table"], published_state.get_catalogue(principal, context.policies)
        )
        if not FACE.applies(table):
            raise NotFoundError(f"{table.qualified_name} has no {FACE.missing_requirement}", remedy="ask it by TAP")
        page = context.find_page_writer(FACE.name, request, params)
        if page:
            response_format = None
        else:
            response_format = params.read_one("RESPONSEFORMAT")
        fmt, options = formats.select_format(response_format, None if page else request.headers.get("accept"))
        if fmt.name == DEFAULT_FORMAT:
            options = {**options, "serialization": options.get("serialization", "TABLEDATA")}
        integer = params.read_integer("MAXREC")
        row_limit, ids = integer, params.values.get("ID", ())
        base = services.get_base_url(request, site.settings)

        def list_links(linked_table: Table, identifiers: Sequence[str]) -> pa.Table:
            return datalinks.list_row_links(
                linked_table,
                identifiers,
                principal=principal,
                site=site,
                policies=context.policies,
                published_state=published_state,
                base_url=base,
                face_links=context.list_links(linked_table),
            )

        def list_requested_links() -> pa.Table:
            link_rows = list_links(table, ids)
            if not table.is_observation_view:
                return link_rows
            catalogue = published_state.get_catalogue(principal, context.policies)
            site_url = site.settings.site_url
            return datalinks.expand_link_lists(
                link_rows, site_url, lambda name, some: list_links(services.find_table(name, catalogue), some)
            )

        def write_document() -> bytes:
            link_rows = list_requested_links()
            limited_links, descriptor_parts = datalinks.extract_descriptors(_limit_links(link_rows, row_limit))
            infos = (
                InfoElement(name="standardID", value=DATALINK_STANDARD_ID),
                *services.warn_unused_parameters(params, DATALINK_PARAMS),
            )
            descriptors_xml = descriptor_parts if ids else (describe_own_service(FACE, FACE.build_url(table, base)),)
            head = TableMetadata(
                columns=datalinks.LINK_COLUMNS,
                name="links",
                infos=infos,
                descriptors_xml=descriptors_xml,
            )
            overflow = limited_links.num_rows < link_rows.num_rows
            end = ResultStatus(overflow=overflow, row_count=limited_links.num_rows)
            return b"".join(fmt.write(head, iter(limited_links.to_batches()), lambda: end, options))

        if page is not None:
            link_rows = await anyio.to_thread.run_sync(list_requested_links)
            limited_links = _limit_links(link_rows, row_limit)
            return page(
                request, context, {"table": table, "ids": ids, "links": limited_links, "all": link_rows.num_rows}
            )
        body = await anyio.to_thread.run_sync(write_document)
        kind = options.get(formats.MEDIA_TYPE_OPTION) or fmt.media_types[0]
        if fmt.name == DEFAULT_FORMAT and not params.read_one("RESPONSEFORMAT"):
            kind = DATALINK_MEDIA_TYPE
        access_key = published_state.find_access_key(principal, context.policies)
        cache_headers = services.build_cache_headers(services.compute_etag(body), is_public=access_key == "public")
        return services.answer_with_etag(
            request,
            cache_headers,
            kind,
            body,
        )

    query_route = create_query_route(FACE.path, answer_links, FACE.error_responder, MAX_FORM_BYTES)
    return [query_route]


def _limit_links(links: pa.Table, row_limit: int | None) -> pa.Table:
    """Leave out what is beyond MAXREC, and never a part of the rows of an identifier (DataLink 1.1 section 2.1)."""
    if row_limit is None or links.num_rows <= row_limit:
        return links
    ids = links["ID"].to_pylist()
    while row_limit and ids[row_limit] == ids[row_limit - 1]:
        row_limit -= 1
    return links.slice(0, row_limit)


def _build_links(table: Table, _: ServiceContext) -> Sequence[LinkTemplate]:
    """Lead to the files in which the samples of rows stand, where the collection publishes these."""
    return [LinkTemplate(semantics=datalinks.THIS_SEMANTICS, address=path, is_file=True) for path in table.sample_files]


def _list_usage_examples(published: PublishedTable, base_url: str) -> Sequence[UsageExample]:
    """Show how the links of one row are asked for."""
    url = FACE.build_url(published.table, base_url)
    key = published.table.identifier_column
    name = "ID" if key is None else key.name
    python = (
        f'from pyvo.dal.adhoc import DatalinkResults\n\nlinks = DatalinkResults.from_result_url("{url}?ID=" + '
        f'row["{name}"])\nprint(links.to_table())'
    )
    return [
        UsageExample(title="Links of a row", url=url, example=f"curl '{url}?ID=..&RESPONSEFORMAT=csv'"),
        UsageExample(title="Links of a row in Python", url=url, language="python", example=python),
    ]


FACE = Face(
    name="datalink",
    title="DataLink",
    description="What rows lead to: files, previews, what they were made from.",
    standard_ids=(DATALINK_STANDARD_ID,),
    params=DATALINK_PARAMS,
    applies=lambda table: bool(table.effective_links or table.spanned_series_ids),
    missing_requirement="links of its rows",
    path="/datalink/{table}",
    error_responder=LABELLED_VOTABLE_ERRORS,
    list_usage_examples=_list_usage_examples,
    build_routes=build_routes,
    build_links=_build_links,
)

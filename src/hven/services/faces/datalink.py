"""DataLink 1.1: ``/datalink/<schema.table>?ID=..`` lists the links of rows, for many identifiers at once.

Rows lead to files, previews, and what they were made from.
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
from hven.services.face import (
    DALI_PARAMS,
    ServiceContext,
    ServiceFace,
    UsageExample,
    create_query_route,
    write_own_service_descriptor,
)
from hven.services.params import check_text_characters

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from hven.model.table import Table
    from hven.site import PublishedTable

MAX_FORM_BYTES = 8 * 1024**2  # bytes of a form: enough for the maximum number of its parameters
ID_PARAM = Param(name="ID", ucd="meta.id;meta.main", description="identifiers of rows from a result; may be repeated")
DATALINK_PARAMS = (ID_PARAM, *DALI_PARAMS)


def build_datalink_routes(context: ServiceContext) -> Sequence[Route]:
    """Build the route of ``/datalink/<schema.table>``."""
    site = context.site

    async def answer_links(request: Request, params: services.RequestParams) -> Response:
        principal = context.identify_principal(request)
        published_state = site.get_published_state()
        catalogue = published_state.get_catalogue(principal, context.policies)
        table = services.find_table(request.path_params["table"], catalogue)
        if not FACE.applies(table):
            message = f"{table.qualified_name} has no {FACE.missing_requirement}"
            raise NotFoundError(message, remedy="query the table with TAP")
        base_url = services.get_base_url(request, site.settings)
        row_limit = params.read_integer("MAXREC")
        row_identifiers = params.read_all("ID")
        check_text_characters("ID", row_identifiers)

        def list_links(linked_table: Table, identifiers: Sequence[str]) -> pa.Table:
            return datalinks.list_row_links(
                linked_table,
                identifiers,
                principal=principal,
                site=site,
                policies=context.policies,
                published_state=published_state,
                base_url=base_url,
                face_links=context.list_links(linked_table),
            )

        def list_links_of(table_name: str, identifiers: Sequence[str]) -> pa.Table:
            return list_links(services.find_table(table_name, catalogue), identifiers)

        def list_requested_links() -> pa.Table:
            link_rows = list_links(table, row_identifiers)
            if not table.is_observation_view:
                return link_rows
            return datalinks.expand_link_lists(link_rows, site.settings.site_url, list_links_of)

        write_page = context.find_requested_page_writer(FACE.name, request, params)
        if write_page is not None:
            link_rows = await anyio.to_thread.run_sync(list_requested_links)
            page_values = {
                "table": table,
                "ids": row_identifiers,
                "links": _limit_links(link_rows, row_limit),
                "all": link_rows.num_rows,
            }
            return write_page(request, context, page_values)
        response_format = params.read_one("RESPONSEFORMAT")
        output_format, options = formats.select_format(response_format, request.headers.get("accept"))
        if output_format.name == DEFAULT_FORMAT:
            options = {"serialization": "TABLEDATA", **options}

        def write_document() -> bytes:
            link_rows = list_requested_links()
            limited_links, descriptors_xml = datalinks.extract_descriptors(_limit_links(link_rows, row_limit))
            if not row_identifiers:
                descriptors_xml = (write_own_service_descriptor(FACE, FACE.build_url(table, base_url)),)
            infos = (
                InfoElement(name="standardID", value=DATALINK_STANDARD_ID),
                *services.build_unused_parameter_warnings(params, DATALINK_PARAMS),
            )
            metadata = TableMetadata(
                columns=datalinks.LINK_COLUMNS,
                name="links",
                infos=infos,
                descriptors_xml=descriptors_xml,
            )
            has_overflow = limited_links.num_rows < link_rows.num_rows
            status = ResultStatus(overflow=has_overflow, row_count=limited_links.num_rows)
            return b"".join(output_format.write(metadata, iter(limited_links.to_batches()), lambda: status, options))

        body = await anyio.to_thread.run_sync(write_document)
        media_type = options.get(formats.MEDIA_TYPE_OPTION) or output_format.media_types[0]
        if output_format.name == DEFAULT_FORMAT and not response_format:
            media_type = DATALINK_MEDIA_TYPE
        access_key = published_state.find_access_key(principal, context.policies)
        cache_headers = services.build_cache_headers(services.compute_etag(body), is_public=access_key == "public")
        return services.answer_with_etag(request, cache_headers, media_type, body)

    return [create_query_route(FACE.path, answer_links, FACE.error_responder, MAX_FORM_BYTES)]


def _limit_links(links: pa.Table, row_limit: int | None) -> pa.Table:
    """Limit links to MAXREC; the rows of an identifier are never divided (DataLink 1.1, section 2.1)."""
    if row_limit is None or links.num_rows <= row_limit:
        return links
    identifiers = links["ID"].to_pylist()
    while row_limit and identifiers[row_limit] == identifiers[row_limit - 1]:
        row_limit -= 1
    return links.slice(0, row_limit)


def _build_row_file_links(table: Table, _: ServiceContext) -> Sequence[LinkTemplate]:
    """Link the files of rows that keys of packages name, if the collection publishes them."""
    return [
        LinkTemplate(semantics=datalinks.THIS_SEMANTICS, address=path, is_file=True)
        for path in table.row_file_templates
    ]


def _list_usage_examples(published: PublishedTable, base_url: str) -> Sequence[UsageExample]:
    """List examples of how the links of a row are requested."""
    url = FACE.build_url(published.table, base_url)
    key = published.table.identifier_column
    key_name = "ID" if key is None else key.name
    python_code = (
        f'from pyvo.dal.adhoc import DatalinkResults\n\nlinks = DatalinkResults.from_result_url("{url}?ID=" + '
        f'row["{key_name}"])\nprint(links.to_table())'
    )
    return [
        UsageExample(title="Links of a row", url=url, example=f"curl '{url}?ID=..&RESPONSEFORMAT=csv'"),
        UsageExample(title="Links of a row in Python", url=url, language="python", example=python_code),
    ]


FACE = ServiceFace(
    name="datalink",
    title="DataLink",
    description="Links of rows to files, previews and the data from which they were made.",
    standard_ids=(DATALINK_STANDARD_ID,),
    params=DATALINK_PARAMS,
    applies=lambda table: bool(table.effective_links or table.has_service_links),
    missing_requirement="links of its rows",
    path="/datalink/{table}",
    error_responder=LABELLED_VOTABLE_ERRORS,
    list_usage_examples=_list_usage_examples,
    build_routes=build_datalink_routes,
    build_links=_build_row_file_links,
)

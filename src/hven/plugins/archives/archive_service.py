"""``/archive``: the files to which rows lead, as a ZIP or TAR that is written while it is sent, or as a list.

``?QUERY=..`` takes the rows of a query, ``?TABLE=..&ID=..`` some rows of a table. Lists are for wget, curl and aria2.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING
from urllib.parse import quote

import anyio.to_thread
import pyarrow as pa

from hven import adql, query, services
from hven.formats import InfoElement, ResultStatus, TableMetadata
from hven.jobs.tap import read_adql_query
from hven.model.params import Param
from hven.model.table import SITE_URL_EXPRESSION, LinkTemplate, TemplateExpression
from hven.plugins.archives.archive_plans import ARCHIVE_KINDS, build_too_many_files_error, plan_archive
from hven.plugins.archives.file_addresses import build_datalink_url, find_addressed_files, read_file_addresses
from hven.plugins.archives.settings import get_archive_limits
from hven.services import scripts
from hven.services.errors import PLAIN_TEXT_ERRORS
from hven.services.face import ServiceContext, ServiceFace, UsageExample, create_query_route
from hven.services.params import parse_value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from hven.model.table import Table
    from hven.site import PublishedTable

FORMAT_PARAM = Param(
    name="FORMAT",
    allowed=(*ARCHIVE_KINDS, *scripts.SCRIPT_FORMATS),
    default="zip",
    description="zip or tar, or a list of the files: wget, curl, aria2, links",
)
TABLE_PARAM = Param(
    name="TABLE", ucd="meta.id;meta.table", description="instead of QUERY: the table of the rows, as schema.table"
)
ID_PARAM = Param(
    name="ID",
    ucd="meta.id;meta.main",
    many=True,
    description="with TABLE: identifiers of the rows; all of their files in the collection are included",
)
ARCHIVE_PARAMS = (
    Param(name="QUERY", description="ADQL query for the rows whose files are requested"),
    Param(name="LANG", description="ADQL"),
    Param(
        name="COLUMN", description="the column with links to files (default: the column whose metadata mark it as such)"
    ),
    FORMAT_PARAM,
    TABLE_PARAM,
    ID_PARAM,
)


def build_archive_routes(context: ServiceContext) -> Sequence[Route]:
    """Build the route of ``/archive``."""

    async def answer_request(request: Request, params: services.RequestParams) -> Response:
        response: Response = await anyio.to_thread.run_sync(_build_archive_response, context, request, params)
        return response

    return [create_query_route(FACE.path, answer_request, FACE.error_responder)]


def _build_archive_response(context: ServiceContext, request: Request, params: services.RequestParams) -> Response:
    site = context.site
    base_url = services.get_base_url(request, site.settings)
    principal = context.identify_principal(request)
    output_kind = str(parse_value(params, FORMAT_PARAM))
    is_archive = output_kind in ARCHIVE_KINDS
    table_name = params.read_one("TABLE")
    row_identifiers: Sequence[str] = ()
    if not params.read_one("QUERY"):
        row_identifiers = parse_value(params, ID_PARAM)
    overflow = False
    if table_name is not None and row_identifiers:
        catalogue = site.get_published_state().get_catalogue(principal, context.policies)
        table = services.find_table(table_name, catalogue)
        archive_name = table.qualified_name
        readme_lines = [("Rows", f"{archive_name} {', '.join(row_identifiers)}")]
        list_url = build_datalink_url(table, base_url)
        addresses = [list_url + quote(identifier, safe="") for identifier in row_identifiers]
    else:
        text = read_adql_query(params)
        readme_lines = [("Query", text)]
        if is_archive:
            row_limit = get_archive_limits(site.settings).archive_files
        else:
            row_limit = scripts.MAX_SCRIPT_FILES
        with query.run_query(text, principal, site=site, policies=context.policies, maxrec=row_limit) as result:
            column_name = params.read_one("COLUMN")
            addresses = read_file_addresses(result, base_url, () if column_name is None else (column_name,))
            archive_name = "files"
            if len(result.tables) == 1:
                archive_name = result.tables[0].qualified_name
            overflow = result.overflow
        if overflow and is_archive:
            raise build_too_many_files_error(context)
    readme_lines.append(("Asked at", base_url))
    warnings = services.build_unused_parameter_warnings(params, ARCHIVE_PARAMS)
    readme_lines += [(warning.name, warning.value) for warning in warnings]
    include_all = bool(row_identifiers)
    if is_archive:
        plan = plan_archive(context, request, addresses, include_all=include_all)
        return plan.answer(request, output_kind, _make_archive_name(archive_name), readme_lines)
    file_by_address, _ = find_addressed_files(context, request, addresses, include_all=include_all)
    script_format = scripts.create_script_formats(context.build_url_signer(request) or str)[output_kind]
    metadata = TableMetadata(
        columns=(), infos=tuple(InfoElement(name=name, value=value) for name, value in readme_lines)
    )
    status = ResultStatus(overflow=overflow, row_count=len(file_by_address))
    batch = pa.record_batch({"url": pa.array([*file_by_address], pa.string())})
    body = b"".join(script_format.write(metadata, iter((batch,)), lambda: status, {}))
    access_key = site.get_published_state().find_access_key(principal, context.policies)
    is_public = access_key == "public" and principal.is_anonymous
    headers = services.build_cache_headers(services.compute_etag(body), is_public=is_public)
    return services.answer_with_etag(request, headers, script_format.media_types[0], body)


def build_archive_links(table: Table, context: ServiceContext) -> Sequence[LinkTemplate]:  # noqa: ARG001
    """Link the archive of a row's files, where it may have several and its descriptor has no such link."""
    file_links = [link for link in table.links if link.is_file]
    key = table.identifier_column
    has_archive_link = any(link.semantics == "#package" for link in table.links)
    may_have_several = len(file_links) > 1 or any(link.source for link in file_links)
    if key is None or has_archive_link or not may_have_several:
        return ()
    row_identifier = TemplateExpression(f"target.{adql.quote_adql_name(key.name)}")
    url_prefix = f"{FACE.path}?TABLE={quote(table.qualified_name)}&ID="
    archive_link = LinkTemplate(
        semantics="#package",
        address=(SITE_URL_EXPRESSION, url_prefix, row_identifier),
        type=("application/zip",),
        description=("All files",),
        local_semantics=("files",),
        needs_file_access=True,
    )
    return (archive_link,)


def _make_archive_name(name: str) -> str:
    """Make a file name that old browsers read in a header, too."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("._") or "files"


def _list_usage_examples(published: PublishedTable, base_url: str) -> Sequence[UsageExample]:
    """List an example of how the files of rows are downloaded."""
    text = f"SELECT TOP 10 * FROM {published.table.qualified_name}"
    url = f"{base_url}{FACE.path}"
    example = f"curl -C - -o files.zip -G {shlex.quote(url)} --data-urlencode {shlex.quote(f'QUERY={text}')}"
    return [UsageExample(title="Files of rows as one archive", url=url, example=example)]


FACE = ServiceFace(
    name="archive",
    title="Archives",
    description="The files of rows as one ZIP or TAR, or as a list for wget, curl or aria2.",
    params=ARCHIVE_PARAMS,
    path="/archive",
    error_responder=PLAIN_TEXT_ERRORS,
    example="QUERY=SELECT access_url FROM ivoa.obscore WHERE obs_id = 'x'",
    applies=lambda table: bool(table.effective_links),
    missing_requirement="links of its rows",
    build_links=build_archive_links,
    list_usage_examples=_list_usage_examples,
    build_routes=build_archive_routes,
)

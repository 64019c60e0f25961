"""``/archive?QUERY=..``, ``/archive?TABLE=..&ID=..``.

The files that the rows of a query, or some rows, lead to, as one ZIP or TAR that is written while it is sent, or as a
list for wget, curl, aria2.
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
from hven.jobs.tap import read_query
from hven.model.params import Param
from hven.model.table import SITE_URL_EXPRESSION, LinkTemplate, TemplateExpression
from hven.services import archives, scripts
from hven.services.errors import PLAIN_TEXT_ERRORS
from hven.services.face import Face, ServiceContext, UsageExample, create_query_route
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
    allowed=(*archives.ARCHIVE_KINDS, *scripts.SCRIPT_FORMATS),
    default="zip",
    description="zip or tar; or a list of the files: wget, curl, aria2, links",
)
TABLE_PARAM = Param(
    name="TABLE", ucd="meta.id;meta.table", description="instead of a query: the table of rows, schema.table"
)
ID_PARAM = Param(
    name="ID",
    ucd="meta.id;meta.main",
    many=True,
    description="and their identifiers: all of the collection's files that these lead to",
)
ARCHIVE_PARAMS = (
    Param(name="QUERY", description="rows whose files are wanted, in ADQL"),
    Param(name="LANG", description="ADQL"),
    Param(name="COLUMN", description="the column that leads to files; default: the one that says it does"),
    FORMAT_PARAM,
    TABLE_PARAM,
    ID_PARAM,
)


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route ``/archive``."""
    site = context.site

    def build_response(request: Request, params: services.RequestParams) -> Response:
        kind, name, base = (
            str(parse_value(params, FORMAT_PARAM)),
            params.read_one("TABLE"),
            services.get_base_url(request, site.settings),
        )
        packed = kind in archives.ARCHIVE_KINDS
        if packed:
            row_limit = site.settings.limits.archive_files
        else:
            row_limit = scripts.MAX_SCRIPT_FILES
        principal = context.identify_principal(request)
        overflow = False
        ids = () if params.read_one("QUERY") else parse_value(params, ID_PARAM)
        if name is not None and ids:
            catalogue = site.get_published_state().get_catalogue(principal, context.policies)
            table = services.find_table(name, catalogue)
            called = table.qualified_name
            about = [("Rows", f"{called} {', '.join(ids)}")]
            addresses = [archives.build_datalink_url(table, base) + quote(item, safe="") for item in ids]
        else:
            text = read_query(params)
            about = [("Query", text)]
            with query.run_query(text, principal, site=site, policies=context.policies, maxrec=row_limit) as result:
                address_column = archives.choose_address_column(result, params.read_one("COLUMN"))
                addresses = archives.read_addresses(result, address_column, base)
                called = result.tables[0].qualified_name if len(result.tables) == 1 else "files"
                overflow = result.overflow
            if overflow and packed:
                raise archives.build_too_large_error(context)
        title = site.settings.title or site.settings.name
        about += [
            ("Asked at", base),
            *((item.name, item.value) for item in services.warn_unused_parameters(params, ARCHIVE_PARAMS)),
        ]
        if packed:
            plan = archives.plan_archive(context, request, addresses, include_all=bool(ids))
            return archives.answer_archive(
                request,
                plan,
                archive_kind=kind,
                archive_name=_make_archive_name(called),
                site_title=title,
                readme_lines=about,
            )
        resolved_addresses, _ = archives.resolve_addresses(context, request, addresses, include_all=bool(ids))
        script_formats = scripts.create_script_formats(context.build_url_signer(request) or str)
        fmt = script_formats[kind]
        infos = tuple(InfoElement(name=name, value=info_value) for name, info_value in about)
        head = TableMetadata(columns=(), infos=infos)
        end = ResultStatus(overflow=overflow, row_count=len(resolved_addresses))
        rows = pa.record_batch({"url": pa.array(resolved_addresses, pa.string())})
        body = b"".join(fmt.write(head, iter((rows,)), lambda: end, {}))
        access_key = site.get_published_state().find_access_key(principal, context.policies)
        etag = services.compute_etag(body)
        is_public = access_key == "public" and principal.is_anonymous
        headers = services.build_cache_headers(etag, is_public=is_public)
        return services.answer_with_etag(request, headers, fmt.media_types[0], body)

    async def answer_request(request: Request, params: services.RequestParams) -> Response:
        response: Response = await anyio.to_thread.run_sync(build_response, request, params)
        return response

    return [create_query_route(FACE.path, answer_request, FACE.error_responder)]


def build_links(table: Table, context: ServiceContext) -> Sequence[LinkTemplate]:  # noqa: ARG001
    """Lead to an archive of a row's files, where it may have several and its descriptor names none."""
    files = [link for link in table.links if link.is_file]
    key = table.identifier_column
    if (
        key is None
        or any(link.semantics == "#package" for link in table.links)
        or not (len(files) > 1 or any(link.source for link in files))
    ):
        return ()
    row = TemplateExpression(f"target.{adql.quote_name(key.name)}")
    address = (SITE_URL_EXPRESSION, f"{FACE.path}?TABLE={quote(table.qualified_name)}&ID=", row)
    return (
        LinkTemplate(
            semantics="#package",
            address=address,
            type=("application/zip",),
            description=("All files",),
            local_semantics=("files",),
            needs_file_access=True,
        ),
    )


def _make_archive_name(name: str) -> str:
    """Name an archive in a header that old browsers read, too."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("._") or "files"


def _list_usage_examples(published: PublishedTable, base_url: str) -> Sequence[UsageExample]:
    """Show how the files of rows are taken."""
    text = f"SELECT TOP 10 * FROM {published.table.qualified_name}"
    url = f"{base_url}{FACE.path}"
    example = f"curl -C - -o files.zip -G {shlex.quote(url)} --data-urlencode {shlex.quote(f'QUERY={text}')}"
    return [UsageExample(title="Files of rows as one archive", url=url, example=example)]


FACE = Face(
    name="archive",
    title="Archives",
    description="The files that rows lead to, as one ZIP or TAR, or as a list for wget, curl or aria2.",
    params=ARCHIVE_PARAMS,
    path="/archive",
    error_responder=PLAIN_TEXT_ERRORS,
    example="QUERY=SELECT access_url FROM ivoa.obscore WHERE obs_id = 'x'",
    applies=lambda table: bool(table.effective_links),
    missing_requirement="links of its rows",
    build_links=build_links,
    list_usage_examples=_list_usage_examples,
    build_routes=build_routes,
)

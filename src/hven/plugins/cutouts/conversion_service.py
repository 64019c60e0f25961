"""Files in formats that every program reads: ``/collections/<name>/as/fits/<path>`` and ``../as/votable/..``.

A file is converted as a whole, or one part of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import anyio
import anyio.to_thread
from starlette.responses import Response

from hven import __version__, services
from hven.formats.media import list_product_file_formats, open_product
from hven.model.errors import NotFoundError, format_message
from hven.model.params import Param
from hven.model.table import SITE_URL_EXPRESSION, LinkTemplate, TemplateExpression
from hven.plugins.cutouts import cutouts
from hven.plugins.cutouts.product_conversions import write_product_as_fits, write_product_as_votable
from hven.services import collection_files
from hven.services.errors import PLAIN_TEXT_ERRORS
from hven.services.face import ServiceContext, ServiceFace, UsageExample, create_query_route

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from hven.formats.media import OpenProductFile
    from hven.model.table import Table, Template
    from hven.plugins.cutouts.product_cutting import StreamedFile
    from hven.site import PublishedTable

PART_PARAM = Param(
    name="PART",
    ucd="meta.id.part",
    description="index or name of a part of the file, such as an HDU or a variable (default: all parts)",
)
MAX_PARAMETER_BYTES = 64 * 1024
MAX_OPEN_FILES = 4  # files that are opened at a time
EXTENSIONS_BY_FORM = {"fits": "fits", "votable": "vot"}  # output format -> extension of the file
UNCONVERTED_MEDIA = ("fits",)  # media that need no other format


def build_conversion_routes(context: ServiceContext) -> Sequence[BaseRoute]:
    """Build the route of ``/collections/<name>/as/<form>/<path>``."""
    file_limiter = anyio.CapacityLimiter(MAX_OPEN_FILES)

    async def answer_conversion(request: Request, params: services.RequestParams) -> Response:
        name, form, path = (request.path_params[key] for key in ("name", "form", "path"))
        if form not in EXTENSIONS_BY_FORM:
            raise NotFoundError(
                format_message("files cannot be converted to {form!r}", form[:40]),
                remedy=format_message("use one of {known}", ", ".join(EXTENSIONS_BY_FORM)),
            )
        part = params.read_one("PART")
        principal = context.identify_principal(request)
        base_url = services.get_base_url(request, context.site.settings)
        original_file = await anyio.to_thread.run_sync(
            collection_files.find_file_and_log_access, context, principal, name, path
        )
        etag = services.compute_etag(__version__, original_file.etag, form, part, base_url)
        headers = services.build_cache_headers(etag, is_public=original_file.is_public)
        if services.is_unchanged(request, headers["etag"]):
            return Response(status_code=304, headers=headers)

        def open_converted_file() -> tuple[OpenProductFile, StreamedFile]:
            product = open_product(original_file.path, original_file.name)
            try:
                if form == "votable":
                    return product, write_product_as_votable(product, part)
                history = (f"{path} of {base_url}/collections/{quote(name)}",)
                byte_limit = cutouts.MAX_CUTOUT_BYTES
                return product, write_product_as_fits(product, part, history=history, byte_limit=byte_limit)
            except BaseException:
                product.close()
                raise

        product, converted_file = await anyio.to_thread.run_sync(open_converted_file, limiter=file_limiter)
        file_name = f"{cutouts.make_file_stem(original_file.name)}.{EXTENSIONS_BY_FORM[form]}"
        return cutouts.send_cutout(request, product, converted_file, file_name, headers)

    return [
        create_query_route(
            "/collections/{name}/as/{form}/{path:path}", answer_conversion, PLAIN_TEXT_ERRORS, MAX_PARAMETER_BYTES
        )
    ]


def build_conversion_links(table: Table, context: ServiceContext) -> Sequence[LinkTemplate]:  # noqa: ARG001
    """Link rows' own files as FITS, where they are in another format that can be read."""
    all_extensions: set[str] = set()
    for medium in list_product_file_formats().values():
        if medium.name not in UNCONVERTED_MEDIA:
            all_extensions.update(medium.extensions)
    file_links = []
    for link in table.row_file_links:
        last_part = link.address[-1]
        extensions = sorted(all_extensions)
        if isinstance(last_part, str):
            extensions = [extension for extension in extensions if last_part.lower().endswith(f".{extension}")]
        if not extensions:
            continue
        description: Template = ("As FITS",)
        if link.description:
            description = (*link.description, " (as FITS)")
        file_link = LinkTemplate(
            semantics="#this",
            address=(SITE_URL_EXPRESSION, f"/collections/{quote(table.schema)}/as/fits/", *link.address),
            description=description,
            local_semantics=("fits",),
            extension_media_types=tuple((extension, "application/fits") for extension in extensions),
            content_qualifier=_build_content_qualifier(link),
        )
        file_links.append(file_link)
    return file_links


def _build_content_qualifier(link: LinkTemplate) -> Template:
    """Return the kind of product of a file: that of its link or its row, else by its name."""
    qualifiers_by_extension: dict[str, str] = {}
    for medium in list_product_file_formats().values():
        qualifiers_by_extension |= medium.product_types
    last_part = link.address[-1]
    declared_qualifier = link.content_qualifier
    if isinstance(last_part, str):
        if declared_qualifier:
            return declared_qualifier
        for extension, qualifier in qualifiers_by_extension.items():
            if last_part.lower().endswith(f".{extension}"):
                return (qualifier,)
        return ()
    cases = " ".join(
        f"WHEN LOWER({last_part.expression}) LIKE '%.{extension}' THEN '{qualifier}'"
        for extension, qualifier in qualifiers_by_extension.items()
    )
    qualifier_by_name = f"CASE {cases} END"
    if len(declared_qualifier) == 1 and not isinstance(declared_qualifier[0], str):
        return (TemplateExpression(f"COALESCE({declared_qualifier[0].expression}, {qualifier_by_name})"),)
    return declared_qualifier or (TemplateExpression(qualifier_by_name),)


def _list_usage_examples(published: PublishedTable, base_url: str) -> Sequence[UsageExample]:
    """List an example of how a file is requested in another format."""
    url = f"{base_url}/collections/{quote(published.table.schema)}/as/fits/"
    return [UsageExample(title=FACE.title, url=url, example=f"curl -OJ '{url}PATH'")]


FACE = ServiceFace(
    name="conversions",
    title="Files as FITS",
    description="Files of other formats as FITS or VOTable, and parts of files.",
    applies=lambda table: bool(table.row_file_links),
    missing_requirement="files of its rows",
    build_links=build_conversion_links,
    list_usage_examples=_list_usage_examples,
    build_routes=build_conversion_routes,
)

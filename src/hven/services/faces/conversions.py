"""Products in formats that every program opens.

``/collections/<name>/as/fits/<path>`` and ``../as/votable/..``, whole or one part of a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import anyio
import anyio.to_thread
from starlette.responses import Response

from hven import __version__, services
from hven.formats.media import list_media, open_product, write_fits_file, write_votable_file
from hven.model.errors import NotFoundError, format_message
from hven.model.params import Param
from hven.model.table import SITE_URL_EXPRESSION, LinkTemplate, TemplateExpression
from hven.services import collection_files, cutouts
from hven.services.errors import PLAIN_TEXT_ERRORS
from hven.services.face import Face, ServiceContext, UsageExample, create_query_route

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from hven.formats.media import Product, StreamedFile
    from hven.model.table import Table, Template
    from hven.site import PublishedTable

PART_PARAM = Param(
    name="PART",
    ucd="meta.id.part",
    description="index or name of a part of the file: an HDU, a variable; all of them without it",
)
MAX_PARAMETER_BYTES = 64 * 1024  # bytes of parameters
MAX_OPEN_FILES = 4  # files that are opened at a time
EXTENSIONS_BY_FORM = {"fits": "fits", "votable": "vot"}  # of what is written: the forms
UNCONVERTED_MEDIA = ("fits",)  # media that need no other form
QUALIFIERS_BY_EXTENSION = {
    "oifits": "#visibility",
    "qub": "#spectral-cube",
    "img": "#image",
    "vic": "#image",
}  # what files are, by their names


def build_routes(context: ServiceContext) -> Sequence[BaseRoute]:
    """Route ``/collections/<name>/as/<form>/<path>``."""
    file_limiter = anyio.CapacityLimiter(MAX_OPEN_FILES)

    async def answer_conversion(request: Request, params: services.RequestParams) -> Response:
        name, form, path = (request.path_params[key] for key in ("name", "form", "path"))
        if form not in EXTENSIONS_BY_FORM:
            raise NotFoundError(
                format_message("files are not written as {form!r}", form[:40]),
                remedy=format_message("known: {known}", ", ".join(EXTENSIONS_BY_FORM)),
            )
        one = params.read_one("PART")
        part, principal, base = (
            one,
            context.identify_principal(request),
            services.get_base_url(request, context.site.settings),
        )
        original_file = await anyio.to_thread.run_sync(collection_files.take_file, context, principal, name, path)
        etag = services.compute_etag(__version__, original_file.etag, form, part, base)
        headers = services.build_cache_headers(etag, is_public=original_file.is_public)
        if services.is_unchanged(request, headers["etag"]):
            return Response(status_code=304, headers=headers)

        def open_converted_file() -> tuple[Product, StreamedFile]:
            product = open_product(original_file.path, original_file.name)
            try:
                history = (f"{path} of {base}/collections/{quote(name)}",)
                return product, write_votable_file(product, part) if form == "votable" else write_fits_file(
                    product, part, history=history, byte_limit=cutouts.MAX_CUTOUT_BYTES
                )
            except BaseException:
                product.close()
                raise

        product, piece = await anyio.to_thread.run_sync(open_converted_file, limiter=file_limiter)
        return cutouts.send_cutout(
            request, product, piece, f"{cutouts.make_file_stem(original_file.name)}.{EXTENSIONS_BY_FORM[form]}", headers
        )

    return [
        create_query_route(
            "/collections/{name}/as/{form}/{path:path}", answer_conversion, PLAIN_TEXT_ERRORS, MAX_PARAMETER_BYTES
        )
    ]


def build_links(table: Table, context: ServiceContext) -> Sequence[LinkTemplate]:  # noqa: ARG001
    """List rows' own files as FITS, where they are of another kind that can be read.

    The same data in another format.
    """
    file_links = []
    endings = sorted(
        {ending for item in list_media().values() if item.name not in UNCONVERTED_MEDIA for ending in item.extensions}
    )
    for link in table.row_file_links:
        path = link.address
        about = link.description
        last = link.address[-1]
        fitting = [item for item in endings if not isinstance(last, str) or last.lower().endswith(f".{item}")]
        if fitting:
            address = (SITE_URL_EXPRESSION, f"/collections/{quote(table.schema)}/as/fits/", *path)
            if about:
                words = (*about, " (as FITS)")
            else:
                words = ("As FITS",)
            extension_media_types = tuple((item, "application/fits") for item in fitting)
            file_links.append(
                LinkTemplate(
                    semantics="#this",
                    address=address,
                    description=words,
                    local_semantics=("fits",),
                    extension_media_types=extension_media_types,
                    content_qualifier=_build_content_qualifier(link),
                )
            )
    return file_links


def _build_content_qualifier(link: LinkTemplate) -> Template:
    """Say what kind of product a file is.

    What its link or its row says, else its name, where all of that name are of one kind.
    """
    last = link.address[-1]
    declared_qualifier = link.content_qualifier
    if isinstance(last, str):
        return (
            declared_qualifier
            or tuple(kind for ending, kind in QUALIFIERS_BY_EXTENSION.items() if last.lower().endswith(f".{ending}"))[
                :1
            ]
        )
    cases = " ".join(
        f"WHEN LOWER({last.expression}) LIKE '%.{ending}' THEN '{kind}'"
        for ending, kind in QUALIFIERS_BY_EXTENSION.items()
    )
    named = f"CASE {cases} END"
    qualifier_expressions = [
        part.expression for part in declared_qualifier if not isinstance(part, str) and len(declared_qualifier) == 1
    ]
    if qualifier_expressions:
        return (TemplateExpression(f"COALESCE({qualifier_expressions[0]}, {named})"),)
    return declared_qualifier or (TemplateExpression(named),)


def _list_usage_examples(published: PublishedTable, base_url: str) -> Sequence[UsageExample]:
    """Show how a file is taken in another format."""
    url = f"{base_url}/collections/{quote(published.table.schema)}/as/fits/"
    return [UsageExample(title=FACE.title, url=url, example=f"curl -OJ '{url}PATH'")]


FACE = Face(
    name="conversions",
    title="Files as FITS",
    description="Files of other kinds as FITS or VOTable, and parts of files.",
    applies=lambda table: bool(table.row_file_links),
    missing_requirement="files of its rows",
    build_links=build_links,
    list_usage_examples=_list_usage_examples,
    build_routes=build_routes,
)

"""HiPS 1.0: ``/hipslist`` lists the HiPS that the site has built, and those among the files of collections.

A HiPS among files is a directory with a file ``properties``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import anyio.to_thread
from starlette.responses import FileResponse, Response

from hven import services
from hven.model.errors import HvenError, NotFoundError, format_message
from hven.model.table import FILES_UTYPE
from hven.plugins.hips import surveys
from hven.services import collection_files
from hven.services.face import Capability, ServiceContext, ServiceFace, create_route
from hven.site.auth import ANONYMOUS_PRINCIPAL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.routing import Route

    from hven.model.table import Schema, Table
    from hven.site.auth import Principal

STANDARD_ID = "ivo://ivoa.net/std/hips#hips-1.0"
PROPERTIES_FILE = "properties"
MAX_PROPERTIES_BYTES = 64 * 1024  # of a file of properties; the rest is not read


def is_files_table(table: Table) -> bool:
    """Check whether a table lists the files of a collection, because only these can have HiPS."""
    return table.utype == FILES_UTYPE


def list_hips_records(context: ServiceContext, principal: Principal, base_url: str) -> list[str]:
    """List the records of the HiPS that a reader may see, with their addresses on this site."""
    settings = context.site.settings
    record_texts = []
    for survey in surveys.list_hips_surveys(settings):
        if surveys.is_visible(context, principal, survey):
            survey_url = surveys.build_survey_url(base_url, survey)
            authority = settings.find_collection_authority(survey.collection)
            record_texts.append(_write_hips_list_entry(survey.properties, survey_url, base_url, authority))
    catalogue = context.site.get_published_state().get_catalogue(principal, context.policies)
    for table in catalogue.iterate_tables():
        if is_files_table(table) and table.is_served_by("hips"):
            record_texts += _list_hips_file_records(context, principal, table.schema, base_url)
    return record_texts


def _list_hips_file_records(context: ServiceContext, principal: Principal, collection: str, base_url: str) -> list[str]:
    """List the records of the HiPS among the files of a collection."""
    try:
        paths = collection_files.find_paths_by_name(context, principal, collection, PROPERTIES_FILE)
        found_files = collection_files.find_files(context, principal, collection, paths)
    except HvenError:  # the reader has no access to the list of files
        return []
    files_url = f"{base_url}/collections/{quote(collection)}/files/"
    authority = context.site.settings.find_collection_authority(collection)
    record_texts = []
    for path in paths:
        try:
            row = found_files.get_row(path)
            read_range = collection_files.create_file_reader(context, row)
            pieces = list(read_range(0, min(row["bytes"], MAX_PROPERTIES_BYTES)))
        except HvenError:
            continue
        content = b"".join(piece for piece in pieces if piece is not None)
        properties = _parse_properties(content.decode("utf-8", "replace"))
        if "hips_order" not in properties and "hips_tile_format" not in properties:
            continue  # the file has this name by chance
        folder = ""
        if "/" in path:
            folder = path.removesuffix(f"/{PROPERTIES_FILE}")
        folder_url = f"{files_url}{quote(folder)}".rstrip("/")
        dated_properties = {"hips_release_date": _format_modification_date(row), **properties}
        record_texts.append(_write_hips_list_entry(dated_properties, folder_url, base_url, authority))
    return record_texts


def _write_hips_list_entry(properties: Mapping[str, str], service_url: str, base_url: str, authority_id: str) -> str:
    """Write the record of a HiPS with its address on this site and the required names (HiPS 1.0 section 4.4.2)."""
    survey_path = service_url.removeprefix(base_url).removeprefix("/collections")
    record_values = {
        "creator_did": f"ivo://{authority_id}{survey_path}",
        **properties,
        "hips_service_url": service_url,
        "hips_status": properties.get("hips_status", "public master clonableOnce"),
    }
    return "\n".join(f"{name:<20} = {value}" for name, value in record_values.items())


def _format_modification_date(row: dict[str, Any]) -> str:
    """Format the modification time of a file as in HiPS: 2024-01-31T12:00Z."""
    return datetime.fromtimestamp(row["modified"], UTC).strftime("%Y-%m-%dT%H:%MZ")


def _parse_properties(text: str) -> dict[str, str]:
    """Parse lines ``name = value``; # begins a comment (HiPS 1.0 section 4.4.1)."""
    properties = {}
    for line in text.splitlines():
        if "=" in line and not line.lstrip().startswith("#"):
            name, _, value = line.partition("=")
            if name.strip():
                properties[name.strip()] = value.strip()
    return properties


def build_hips_list_routes(context: ServiceContext) -> Sequence[Route]:
    """Build the route of ``/hipslist``."""

    async def answer_list(request: Request) -> Response:
        base_url = services.get_base_url(request, context.site.settings)
        principal = context.identify_principal(request)
        record_texts = await anyio.to_thread.run_sync(list_hips_records, context, principal, base_url)
        body = "\n\n".join(record_texts)
        if record_texts:
            body += "\n"
        headers = {
            "content-type": "text/plain; charset=utf-8",
            "cache-control": "no-cache",
            "vary": "authorization, cookie, host",
        }
        return services.answer_with_body(request, body.encode(), headers)

    async def answer_survey_file(request: Request) -> Response:
        name, survey_name = request.path_params["name"], request.path_params["hips"]
        file_path = request.path_params.get("path", PROPERTIES_FILE)  # the address itself shows the properties

        def find_survey() -> tuple[surveys.HipsSurvey, bool]:
            survey = surveys.find_hips_survey(context.site.settings, name, survey_name)
            principal = context.identify_principal(request)
            is_survey_file = surveys.SURVEY_FILE_PATTERN.fullmatch(file_path) is not None
            if survey is None or not is_survey_file or not surveys.is_visible(context, principal, survey):
                requested_path = f"{survey_name}/{file_path}"[:200]
                raise NotFoundError(
                    format_message("the collection {collection} has no HiPS {name}", name, requested_path)
                )
            return survey, surveys.is_visible(context, ANONYMOUS_PRINCIPAL, survey)

        survey, is_public = await anyio.to_thread.run_sync(find_survey)
        base_url = services.get_base_url(request, context.site.settings)
        etag = services.compute_etag(survey.place.name, file_path, base_url)
        vary = "accept-encoding, authorization, cookie, host"
        headers = services.build_cache_headers(etag, is_public=is_public, vary=vary)
        headers["x-content-type-options"] = "nosniff"
        if services.is_unchanged(request, etag):
            return Response(status_code=304, headers=headers)
        if file_path == PROPERTIES_FILE:
            survey_url = surveys.build_survey_url(base_url, survey)
            authority = context.site.settings.find_collection_authority(name)
            record_text = _write_hips_list_entry(survey.properties, survey_url, base_url, authority)
            headers["content-type"] = "text/plain; charset=utf-8"
            return services.answer_with_body(request, f"{record_text}\n".encode(), headers)
        tile_path = survey.place / file_path
        if not tile_path.is_file():
            raise NotFoundError(format_message("there is no tile {path}", file_path))
        if file_path.endswith(".png"):
            media_type = "image/png"
        else:
            media_type = "application/fits"
        return FileResponse(tile_path, headers=headers, media_type=media_type)

    return [
        create_route("/hipslist", answer_list),
        create_route("/collections/{name}/hips/{hips}", answer_survey_file),
        create_route("/collections/{name}/hips/{hips}/{path:path}", answer_survey_file),
    ]


def _list_capabilities(context: ServiceContext, base_url: str, schema: Schema | None) -> Sequence[Capability]:
    """List the capability of ``/hipslist``, if the site has built a public HiPS."""
    if schema:
        return []
    all_surveys = surveys.list_hips_surveys(context.site.settings)
    if not any(surveys.is_visible(context, ANONYMOUS_PRINCIPAL, survey) for survey in all_surveys):
        return []
    return [Capability(standard_id="ivo://ivoa.net/std/hips#hipslist-1.0", url=f"{base_url}/hipslist", role="std")]


def _list_public_sky_surveys(context: ServiceContext, collection: str, base_url: str) -> Sequence[str]:
    """List the addresses of the HiPS of a collection's images of the sky that everybody may see."""
    return [
        surveys.build_survey_url(base_url, survey)
        for survey in surveys.list_hips_surveys(context.site.settings, collection)
        if not survey.body and surveys.is_visible(context, ANONYMOUS_PRINCIPAL, survey)
    ]


FACE = ServiceFace(
    name="hips",
    title="HiPS",
    description=(
        "Hierarchical progressive surveys (HiPS) that were made here or are among the files, for Aladin and others."
    ),
    standard_ids=(STANDARD_ID,),
    applies=is_files_table,
    missing_requirement="files",
    build_routes=build_hips_list_routes,
    list_capabilities=_list_capabilities,
    list_surveys=_list_public_sky_surveys,
)

"""HiPS 1.0: ``/hipslist`` names the HiPS that were made here, and those among the files of collections.

Directories with a file ``properties``.
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
from hven.services import collection_files, surveys
from hven.services.face import Capability, Face, ServiceContext, create_route
from hven.site.auth import ANONYMOUS_PRINCIPAL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.routing import Route

    from hven.model.table import Schema, Table
    from hven.site.auth import Principal

STANDARD_ID = "ivo://ivoa.net/std/hips#hips-1.0"
PROPERTIES_FILE = "properties"
MAX_PROPERTIES_BYTES = 64 * 1024  # bytes of properties that are read


def has_files(table: Table) -> bool:
    """Serve collections with files."""
    return table.utype == FILES_UTYPE


def list_records(context: ServiceContext, principal: Principal, base_url: str) -> list[str]:
    """Read what the HiPS that a reader may know of say of themselves; their address is the one here."""
    made_surveys = [
        survey
        for survey in surveys.list_surveys(context.site.settings)
        if surveys.is_visible(context, principal, survey)
    ]
    settings = context.site.settings
    record_texts = [
        _write_record(
            survey.properties,
            surveys.build_survey_url(base_url, survey),
            base_url,
            settings.find_authority(survey.collection),
        )
        for survey in made_surveys
    ]
    for table in context.site.get_published_state().get_catalogue(principal, context.policies).iterate_tables():
        if not has_files(table) or not table.is_served_by("hips"):
            continue
        try:
            paths = collection_files.find_paths_by_name(context, principal, table.schema, PROPERTIES_FILE)
            found_files = collection_files.find_files(context, principal, table.schema, paths)
        except HvenError:  # a list that is not for this reader
            continue
        for path in paths:
            try:
                row = found_files.get_row(path)
                file_reader = collection_files.create_file_reader(context, row)
                body = b"".join(
                    filter(
                        None,
                        file_reader(0, min(row["bytes"], MAX_PROPERTIES_BYTES)),
                    )
                )
            except HvenError:
                continue
            properties = _parse_properties(body.decode("utf-8", "replace"))
            if "hips_order" not in properties and "hips_tile_format" not in properties:
                continue  # a file that has that name by chance
            if "/" in path:
                folder = path.removesuffix(f"/{PROPERTIES_FILE}")
            else:
                folder = ""
            at = f"{base_url}/collections/{quote(table.schema)}/files/{quote(folder)}".rstrip("/")
            record_texts.append(
                _write_record(
                    {"hips_release_date": _format_modification_date(row), **properties},
                    at,
                    base_url,
                    settings.find_authority(table.schema),
                )
            )
    return record_texts


def _write_record(properties: Mapping[str, str], service_url: str, base_url: str, authority_id: str) -> str:
    """Write what a HiPS says of itself, with the address here.

    These names every record must have (HiPS 1.0 section 4.4.2).
    """
    did = f"ivo://{authority_id}{service_url.removeprefix(base_url).removeprefix('/collections')}"
    record_values = {"creator_did": did, **properties, "hips_service_url": service_url}
    all_values = record_values | {"hips_status": properties.get("hips_status", "public master clonableOnce")}
    return "\n".join(f"{name:<20} = {value}" for name, value in all_values.items())


def _format_modification_date(row: dict[str, Any]) -> str:
    """Write when a file was changed, as HiPS have it: 2024-01-31T12:00Z."""
    return datetime.fromtimestamp(row["modified"], UTC).strftime("%Y-%m-%dT%H:%MZ")


def _parse_properties(text: str) -> dict[str, str]:
    """Read lines ``name = value``; # begins a comment (HiPS 1.0 section 4.4.1)."""
    lines = (line.partition("=") for line in text.splitlines() if "=" in line and not line.lstrip().startswith("#"))
    return {name.strip(): value.strip() for name, _, value in lines if name.strip()}


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Build the route of ``/hipslist``."""

    async def answer_list(request: Request) -> Response:
        base = services.get_base_url(request, context.site.settings)
        record_texts = await anyio.to_thread.run_sync(list_records, context, context.identify_principal(request), base)
        body = "\n\n".join(record_texts) + "\n" * bool(record_texts)
        headers = {
            "content-type": "text/plain; charset=utf-8",
            "cache-control": "no-cache",
            "vary": "authorization, cookie, host",
        }
        return services.answer_with_body(request, body.encode(), headers)

    async def answer_survey_file(request: Request) -> Response:
        name, survey_name, file = (request.path_params[part] for part in ("name", "hips", "path"))

        def find_survey() -> tuple[surveys.PublishedSurvey, bool]:
            survey, principal = (
                surveys.find_survey(context.site.settings, name, survey_name),
                context.identify_principal(request),
            )
            if (
                survey is None
                or not surveys.SURVEY_FILE_PATTERN.fullmatch(file)
                or not surveys.is_visible(context, principal, survey)
            ):
                raise NotFoundError(
                    format_message(
                        "the collection {collection} has no HiPS {name}", name, f"{survey_name}/{file}"[:200]
                    )
                )
            return survey, surveys.is_visible(context, ANONYMOUS_PRINCIPAL, survey)

        survey, public = await anyio.to_thread.run_sync(find_survey)
        base_url = services.get_base_url(request, context.site.settings)
        tag = services.compute_etag(survey.place.name, file, base_url)
        vary = "accept-encoding, authorization, cookie, host"
        cache_headers = services.build_cache_headers(tag, is_public=public, vary=vary)
        headers = {
            **cache_headers,
            "x-content-type-options": "nosniff",
        }
        if services.is_unchanged(request, tag):
            return Response(status_code=304, headers=headers)
        if file == "properties":
            base_url = services.get_base_url(request, context.site.settings)
            survey_url = surveys.build_survey_url(base_url, survey)
            authority = context.site.settings.find_authority(name)
            record_text = _write_record(survey.properties, survey_url, base_url, authority)
            return services.answer_with_body(
                request, f"{record_text}\n".encode(), {**headers, "content-type": "text/plain; charset=utf-8"}
            )
        place = survey.place / file
        if not place.is_file():
            raise NotFoundError(format_message("there is no tile {path}", file))
        if file.endswith(".png"):
            kind = "image/png"
        else:
            kind = "application/fits"
        return FileResponse(place, headers=headers, media_type=kind)

    route = create_route("/hipslist", answer_list)
    return [
        route,
        create_route("/collections/{name}/hips/{hips}/{path:path}", answer_survey_file),
    ]


def _list_capabilities(context: ServiceContext, base_url: str, schema: Schema | None) -> Sequence[Capability]:
    """Name the list, once there is something in it that was made here for everybody."""
    if schema or not any(
        surveys.is_visible(context, ANONYMOUS_PRINCIPAL, survey)
        for survey in surveys.list_surveys(context.site.settings)
    ):
        return []
    return [Capability(standard_id="ivo://ivoa.net/std/hips#hipslist-1.0", url=f"{base_url}/hipslist", role="std")]


FACE = Face(
    name="hips",
    title="HiPS",
    description=(
        "The HiPS that were made here, and those among the files: hierarchical progressive surveys, for Aladin and "
        "others."
    ),
    standard_ids=(STANDARD_ID,),
    applies=has_files,
    missing_requirement="files",
    build_routes=build_routes,
    list_capabilities=_list_capabilities,
)

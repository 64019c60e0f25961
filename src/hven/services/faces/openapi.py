"""``/openapi.json``: all services with parameters as OpenAPI 3.1 describes them.

Parameters of DALI are components, as DALI 1.2 has them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from hven import __version__, formats, services
from hven.services import _vosi as vosi
from hven.services.errors import VOTABLE_ERRORS
from hven.services.face import DALI_PARAMS, Face, ServiceContext, create_route
from hven.site.auth import ANONYMOUS_PRINCIPAL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from hven.model.params import Param
    from hven.model.table import Table

SHARED_PARAM_NAMES = ("MAXREC", "RESPONSEFORMAT", "RUNID", "UPLOAD")  # of DALI
TABLE_PATH_PARAMETER = {
    "name": "table",
    "in": "path",
    "required": True,
    "description": "a table: schema.name",
    "schema": {"type": "string"},
}


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route ``/openapi.json``."""

    async def answer_document(request: Request) -> Response:
        settings = context.site.settings
        # the document is public: of tables it tells what everybody may know
        catalogue = context.site.get_published_state().get_catalogue(ANONYMOUS_PRINCIPAL, context.policies)
        tables = catalogue.iterate_tables()
        document = build_document(
            context.faces.values(),
            settings.title or settings.name,
            services.get_base_url(request, settings),
            tables,
        )
        body = orjson.dumps(document)
        cache_headers = services.build_cache_headers(
            services.compute_etag(body), is_public=True, vary="accept-encoding, host"
        )
        return services.answer_with_etag(
            request,
            cache_headers,
            "application/json",
            body,
        )

    return [create_route("/openapi.json", answer_document)]


def build_document(faces: Iterable[Face], title: str, base_url: str, tables: Iterable[Table]) -> dict[str, Any]:
    """Describe the faces that understand parameters, and addresses of tables with parameters of their own."""
    all_faces = list(faces)
    faces = [face for face in all_faces if face.params]
    described = {path: item for face in all_faces for path, item in face.openapi_paths.items()}
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": __version__},
        "servers": [{"url": base_url}],
        "paths": {face.path: _describe_face(face) for face in faces} | described | dict(_describe_endpoints(tables)),
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "parameters": {
                item.name: _describe_parameter(item)
                for face in faces
                for item in face.all_params
                if item.name in SHARED_PARAM_NAMES
            },
        },
    }


def _describe_face(face: Face) -> dict[str, Any]:
    operations = _describe_operation(
        face.name, face.title, face.description, face.all_params, face.error_responder.media_type
    )
    return {"parameters": [TABLE_PATH_PARAMETER] if "{table}" in face.path else [], **operations}


def _describe_endpoints(tables: Iterable[Table]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Describe the endpoints of tables that answer with rows, at their old paths, too."""
    for table in tables:
        for endpoint in table.endpoints if table.is_served_by("endpoints") else ():
            if endpoint.kind != "query":
                continue
            all_params = [
                *(replace(endpoint_param.param, name=endpoint_param.client_name) for endpoint_param in endpoint.params),
                *(each for each in DALI_PARAMS if each.name in SHARED_PARAM_NAMES),
            ]
            endpoint_name = f"{table.qualified_name}/{endpoint.name}"
            title = endpoint.title or f"{endpoint.name} of {table.title or table.qualified_name}"
            for number, path in enumerate([f"/endpoints/{endpoint_name}", *endpoint.paths]):
                name = f"endpoints/{endpoint_name}" + (f"-{number + 1}" if number else "")
                yield (
                    path,
                    _describe_operation(name, title, endpoint.description, all_params, VOTABLE_ERRORS.media_type),
                )


def _describe_operation(
    name: str, title: str, description: str | None, params: Sequence[Param], error_media_type: str
) -> dict[str, Any]:
    fields = {item.name: _describe_schema(item) for item in params}
    form = {"type": "object", "properties": fields, "required": [item.name for item in params if item.required]}
    about = {
        "summary": title,
        "description": description or "",
        "responses": {
            "200": {"description": "the rows", "content": {item.media_types[0]: {} for item in formats.load_formats()}},
            "default": {"description": "what is wrong", "content": {error_media_type: {}}},
        },
    }
    parameters = [
        {"$ref": f"#/components/parameters/{item.name}"}
        if item.name in SHARED_PARAM_NAMES
        else _describe_parameter(item)
        for item in params
    ]
    body = {"content": {"application/x-www-form-urlencoded": {"schema": form}}}
    return {
        "get": {**about, "operationId": name, "parameters": parameters},
        "post": {**about, "operationId": f"{name}-post", "requestBody": body},
    }


def _describe_parameter(param: Param) -> dict[str, Any]:
    return {
        "name": param.name,
        "in": "query",
        "required": param.required,
        "description": param.description or "",
        "schema": _describe_schema(param),
    }


def _describe_schema(param: Param) -> dict[str, Any]:
    kind = vosi.name_simple_type(param.type).replace("real", "number")
    python_type: type[Any] = {"integer": int, "number": float}.get(kind, str)
    schema_values = {
        "type": kind,
        "format": "int64" if kind == "integer" else None,
        "enum": [python_type(word) for word in param.allowed] or None,
        "default": None if param.default is None else python_type(param.default),
        "minimum": param.minimum,
        "maximum": param.maximum,
        "x-unit": param.unit,
        "x-ucd": param.ucd,
    }
    return {name: value for name, value in schema_values.items() if value is not None}


FACE = Face(name="openapi", title="OpenAPI", build_routes=build_routes)

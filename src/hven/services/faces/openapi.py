"""``/openapi.json``: all services with parameters, described in OpenAPI 3.1.

Parameters of DALI are components, as in DALI 1.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from hven import __version__, formats, services
from hven.services import _vosi as vosi
from hven.services.face import ServiceContext, ServiceFace, create_route
from hven.site.auth import ANONYMOUS_PRINCIPAL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from hven.model.params import Param
    from hven.model.table import Table

SHARED_PARAM_NAMES = ("MAXREC", "RESPONSEFORMAT", "RUNID", "UPLOAD")  # parameters of DALI
TABLE_PATH_PARAMETER = {
    "name": "table",
    "in": "path",
    "required": True,
    "description": "a table: schema.name",
    "schema": {"type": "string"},
}


def build_openapi_routes(context: ServiceContext) -> Sequence[Route]:
    """Build the route of ``/openapi.json``."""

    async def answer_document(request: Request) -> Response:
        settings = context.site.settings
        # the document is public: it describes only public tables
        catalogue = context.site.get_published_state().get_catalogue(ANONYMOUS_PRINCIPAL, context.policies)
        document = build_openapi_document(
            context.faces.values(),
            settings.title or settings.name,
            services.get_base_url(request, settings),
            catalogue.iterate_tables(),
        )
        body = orjson.dumps(document)
        cache_headers = services.build_cache_headers(
            services.compute_etag(body), is_public=True, vary="accept-encoding, host"
        )
        return services.answer_with_etag(request, cache_headers, "application/json", body)

    return [create_route("/openapi.json", answer_document)]


def build_openapi_document(
    faces: Iterable[ServiceFace], title: str, base_url: str, tables: Iterable[Table]
) -> dict[str, Any]:
    """Describe the faces with parameters, and operations on single tables."""
    all_faces = list(faces)
    parameter_faces = [face for face in all_faces if face.params]
    paths = {face.path: _describe_face(face) for face in parameter_faces}
    for face in all_faces:
        paths |= face.openapi_paths
    paths |= _describe_table_operations(all_faces, tables)
    shared_parameters = {}
    for face in parameter_faces:
        for param in face.all_params:
            if param.name in SHARED_PARAM_NAMES:
                shared_parameters[param.name] = _describe_parameter(param)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": __version__},
        "servers": [{"url": base_url}],
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "parameters": shared_parameters,
        },
    }


def _describe_face(face: ServiceFace) -> dict[str, Any]:
    path_parameters = []
    if "{table}" in face.path:
        path_parameters = [TABLE_PATH_PARAMETER]
    error_media_type = face.error_responder.media_type
    operations = _describe_operation(face.name, face.title, face.description, face.all_params, error_media_type)
    return {"parameters": path_parameters, **operations}


def _describe_table_operations(faces: Sequence[ServiceFace], tables: Iterable[Table]) -> Iterator[tuple[str, Any]]:
    """Describe the operations that faces offer for single tables."""
    for table in tables:
        for face in faces:
            if face.is_selectable and not table.is_served_by(face.name):
                continue
            for operation in face.list_table_operations(table):
                operations = _describe_operation(
                    operation.name,
                    operation.title,
                    operation.description,
                    operation.params,
                    face.error_responder.media_type,
                )
                yield operation.path, operations


def _describe_operation(
    name: str, title: str, description: str | None, params: Sequence[Param], error_media_type: str
) -> dict[str, Any]:
    form_schema = {
        "type": "object",
        "properties": {param.name: _describe_param_schema(param) for param in params},
        "required": [param.name for param in params if param.required],
    }
    row_content: dict[str, Any] = {output_format.media_types[0]: {} for output_format in formats.load_formats()}
    facts = {
        "summary": title,
        "description": description or "",
        "responses": {
            "200": {"description": "the rows", "content": row_content},
            "default": {"description": "error message", "content": {error_media_type: {}}},
        },
    }
    parameters = []
    for param in params:
        if param.name in SHARED_PARAM_NAMES:
            parameters.append({"$ref": f"#/components/parameters/{param.name}"})
        else:
            parameters.append(_describe_parameter(param))
    body = {"content": {"application/x-www-form-urlencoded": {"schema": form_schema}}}
    return {
        "get": {**facts, "operationId": name, "parameters": parameters},
        "post": {**facts, "operationId": f"{name}-post", "requestBody": body},
    }


def _describe_parameter(param: Param) -> dict[str, Any]:
    return {
        "name": param.name,
        "in": "query",
        "required": param.required,
        "description": param.description or "",
        "schema": _describe_param_schema(param),
    }


def _describe_param_schema(param: Param) -> dict[str, Any]:
    schema_type = vosi.get_vodataservice_type_name(param.type).replace("real", "number")
    python_type: type[Any] = {"integer": int, "number": float}.get(schema_type, str)
    schema: dict[str, Any] = {"type": schema_type}
    if schema_type == "integer":
        schema["format"] = "int64"
    if param.allowed:
        schema["enum"] = [python_type(value) for value in param.allowed]
    if param.default is not None:
        schema["default"] = python_type(param.default)
    bounds_and_units = {
        "minimum": param.minimum,
        "maximum": param.maximum,
        "x-unit": param.unit,
        "x-ucd": param.ucd,
    }
    return schema | {name: value for name, value in bounds_and_units.items() if value is not None}


FACE = ServiceFace(name="openapi", title="OpenAPI", build_routes=build_openapi_routes)

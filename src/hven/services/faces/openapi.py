"""``/openapi.json``: all services with parameters as OpenAPI 3.1 describes them; parameters of DALI are components, as DALI 1.2 has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from hven import __version__, formats
from hven import services as dali
from hven.services import _vosi as vosi
from hven.services.face import Face, Surroundings, route

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from hven.model.params import Param

SHARED = ("MAXREC", "RESPONSEFORMAT", "RUNID", "UPLOAD")  # of DALI
TABLE = {
    "name": "table",
    "in": "path",
    "required": True,
    "description": "a table: schema.name",
    "schema": {"type": "string"},
}


def routes(around: Surroundings) -> Sequence[Route]:
    """Route ``/openapi.json``."""

    async def described(request: Request) -> Response:
        settings = around.site.settings
        body = orjson.dumps(
            document(around.faces.values(), settings.title or settings.name, dali.base(request, settings))
        )
        return dali.tagged(
            request, dali.caching(dali.etag(body), public=True, vary="accept-encoding, host"), "application/json", body
        )

    return [route("/openapi.json", described)]


def document(faces: Iterable[Face], title: str, base: str) -> dict[str, Any]:
    """Describe the faces that understand parameters."""
    every = list(faces)
    faces = [face for face in every if face.params]
    described = {path: one for face in every for path, one in face.described.items()}
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": __version__},
        "servers": [{"url": base}],
        "paths": {face.path: _asked(face) for face in faces} | described,
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "parameters": {one.name: _parameter(one) for face in faces for one in face.known if one.name in SHARED},
        },
    }


def _asked(face: Face) -> dict[str, Any]:
    fields = {one.name: _schema(one) for one in face.known}
    form = {"type": "object", "properties": fields, "required": [one.name for one in face.known if one.required]}
    about = {
        "summary": face.title,
        "description": face.description,
        "responses": {
            "200": {"description": "the rows", "content": {one.media_types[0]: {} for one in formats.offered()}},
            "default": {"description": "what is wrong", "content": {face.faults.kind: {}}},
        },
    }
    given = [
        {"$ref": f"#/components/parameters/{one.name}"} if one.name in SHARED else _parameter(one) for one in face.known
    ]
    body = {"content": {"application/x-www-form-urlencoded": {"schema": form}}}
    return {
        "parameters": [TABLE] if "{table}" in face.path else [],
        "get": {**about, "operationId": face.name, "parameters": given},
        "post": {**about, "operationId": f"{face.name}-post", "requestBody": body},
    }


def _parameter(one: Param) -> dict[str, Any]:
    return {
        "name": one.name,
        "in": "query",
        "required": one.required,
        "description": one.description or "",
        "schema": _schema(one),
    }


def _schema(one: Param) -> dict[str, Any]:
    kind = vosi.simple(one.type).replace("real", "number")
    made: type[Any] = {"integer": int, "number": float}.get(kind, str)
    told = {
        "type": kind,
        "format": "int64" if kind == "integer" else None,
        "enum": [made(word) for word in one.allowed] or None,
        "default": None if one.default is None else made(one.default),
        "minimum": one.minimum,
        "maximum": one.maximum,
        "x-unit": one.unit,
        "x-ucd": one.ucd,
    }
    return {name: value for name, value in told.items() if value is not None}


FACE = Face(name="openapi", title="OpenAPI", routes=routes)

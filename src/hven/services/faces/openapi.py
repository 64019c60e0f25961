"""``/openapi.json``: all services with parameters as OpenAPI 3.1 describes them; parameters of DALI are components, as DALI 1.2 has them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from hven import __version__, formats
from hven import services as dali
from hven.services import _vosi as vosi
from hven.services.errors import VOTABLE
from hven.services.face import DALI, Face, Surroundings, route
from hven.site.auth import ANONYMOUS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from hven.model.params import Param
    from hven.model.table import Table

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
        # the document is public: of tables it tells what everybody may know
        tables = around.site.current().catalogue(ANONYMOUS, around.policies).tables()
        body = orjson.dumps(
            document(around.faces.values(), settings.title or settings.name, dali.base(request, settings), tables)
        )
        return dali.tagged(
            request, dali.caching(dali.etag(body), public=True, vary="accept-encoding, host"), "application/json", body
        )

    return [route("/openapi.json", described)]


def document(faces: Iterable[Face], title: str, base: str, tables: Iterable[Table]) -> dict[str, Any]:
    """Describe the faces that understand parameters, and addresses of tables with parameters of their own."""
    every = list(faces)
    faces = [face for face in every if face.params]
    described = {path: one for face in every for path, one in face.described.items()}
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": __version__},
        "servers": [{"url": base}],
        "paths": {face.path: _face(face) for face in faces} | described | dict(_endpoints(tables)),
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "parameters": {one.name: _parameter(one) for face in faces for one in face.known if one.name in SHARED},
        },
    }


def _face(face: Face) -> dict[str, Any]:
    said = _asked(face.name, face.title, face.description, face.known, face.faults.kind)
    return {"parameters": [TABLE] if "{table}" in face.path else [], **said}


def _endpoints(tables: Iterable[Table]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Describe the endpoints of tables that answer with rows, at their old paths, too."""
    for table in tables:
        for one in table.endpoints if table.offers("endpoints") else ():
            if one.kind != "query":
                continue
            known = [
                *(replace(given.param, name=given.said) for given in one.params),
                *(each for each in DALI if each.name in SHARED),
            ]
            own = f"{table.qualified}/{one.name}"
            title = one.title or f"{one.name} of {table.title or table.qualified}"
            for number, path in enumerate([f"/endpoints/{own}", *one.paths]):
                name = f"endpoints/{own}" + (f"-{number + 1}" if number else "")
                yield path, _asked(name, title, one.description, known, VOTABLE.kind)


def _asked(name: str, title: str, description: str | None, known: Sequence[Param], faults: str) -> dict[str, Any]:
    fields = {one.name: _schema(one) for one in known}
    form = {"type": "object", "properties": fields, "required": [one.name for one in known if one.required]}
    about = {
        "summary": title,
        "description": description or "",
        "responses": {
            "200": {"description": "the rows", "content": {one.media_types[0]: {} for one in formats.offered()}},
            "default": {"description": "what is wrong", "content": {faults: {}}},
        },
    }
    given = [
        {"$ref": f"#/components/parameters/{one.name}"} if one.name in SHARED else _parameter(one) for one in known
    ]
    body = {"content": {"application/x-www-form-urlencoded": {"schema": form}}}
    return {
        "get": {**about, "operationId": name, "parameters": given},
        "post": {**about, "operationId": f"{name}-post", "requestBody": body},
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

"""``/resolve``: the position of an object by its name, as a page, JSON, a table, or the XML of Sesame.

The addresses of Sesame itself (``/cgi-bin/nph-sesame``) answer, too, so that programs can use this site in its place.
"""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

import orjson
import pyarrow as pa

from hven import services
from hven.formats import ResultStatus, TableMetadata, select_format
from hven.model.errors import HvenError, ParamError, format_message
from hven.model.params import Param
from hven.model.table import parse_column_lines
from hven.plugins.resolvers.sesame_documents import (
    SesameAnswer,
    write_sesame_error,
    write_sesame_script,
    write_sesame_text,
    write_sesame_xml,
)
from hven.query import build_unused_parameter_warnings, resolver
from hven.services.api.threads import call_in_thread
from hven.services.errors import VOTABLE_ERRORS, ErrorResponder, write_json_error
from hven.services.face import DALI_PARAMS, ServiceFace, create_query_route, create_route
from hven.services.params import parse_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from hven.model.params import RequestParams
    from hven.query.resolver import ResolvedName
    from hven.services.face import Paged, ServiceContext

MAX_NAMES = 1000  # of a request
CALLBACK_PATTERN = re.compile(r"[A-Za-z_$][\w$]{0,80}(\.[A-Za-z_$][\w$]{0,80}){0,4}", re.ASCII)
XML_MEDIA_TYPE, JSON_MEDIA_TYPE = "text/xml; charset=utf-8", "application/json"
SESAME_XML_ERRORS = ErrorResponder(write_document=write_sesame_error, media_type=XML_MEDIA_TYPE)
HEADERS = {"cache-control": "public, no-cache", "vary": "accept, accept-encoding"}
NAME_PARAM = Param(
    name="NAME",
    many=True,
    ucd="meta.id;src",
    description=(
        f"name of an object, such as M 31. Repeat the parameter for up to {MAX_NAMES} names; Hven then finds only "
        "names that this site stores"
    ),
)
PARAMS = (NAME_PARAM, *DALI_PARAMS)
COLUMNS = parse_column_lines("""
    query      | string  |        | meta.id                    | The name in the request
    name       | string  |        | meta.id;meta.main          | Main name of the object; null: the name is unknown
    ra         | float64 | deg    | pos.eq.ra;meta.main        | Right ascension, ICRS
    dec        | float64 | deg    | pos.eq.dec;meta.main       | Declination, ICRS
    epoch      | float64 | yr     | time.epoch                 | Epoch of the position
    pmra       | float64 | mas/yr | pos.pm;pos.eq.ra           | Proper motion in right ascension, with cos(dec)
    pmdec      | float64 | mas/yr | pos.pm;pos.eq.dec          | Proper motion in declination
    kind       | string  |        | src.class                  | Type of the object
    aliases    | string  |        | meta.id                    | Other names, separated by vertical bars
    confidence | float64 |        | stat.likelihood            | 1 for the main name, less for an alias or a guess
    source     | string  |        | meta.ref                   | Where the answer is from
    age        | float64 | s      | time.interval              | Time since the source gave the answer
    licence    | string  |        | meta.note                  | Licence of the answer, or how to cite it
    note       | string  |        | meta.note                  | Remark, or why there is no position
""")


def build_resolve_routes(context: ServiceContext) -> Sequence[Route]:
    """Build the routes of ``/resolve`` and of Sesame's addresses."""

    async def answer_request(request: Request, params: RequestParams) -> Response:
        write_page = context.find_requested_page_writer(FACE.name, request, params)
        names = _read_names(request, params)
        if write_page is not None:
            return await _answer_page(request, context, names, write_page)
        try:
            return await _answer_data(request, params, context, names)
        except HvenError as error:
            return _answer_error(request, params, error)

    async def answer_sesame(request: Request) -> Response:
        options = request.path_params.get("options", "").partition("/")[0].lower()
        is_xml = "x" in options
        try:
            answers = await _resolve_all(context, _read_sesame_names(request))
        except HvenError as error:
            if is_xml:
                return SESAME_XML_ERRORS(request, error)
            raise
        has_aliases = "i" in options
        if is_xml:
            body = write_sesame_xml(answers, has_targets="x2" not in options, has_aliases=has_aliases)
            return services.answer_with_body(request, body, {**HEADERS, "content-type": XML_MEDIA_TYPE})
        body = write_sesame_text(answers, has_aliases=has_aliases)
        return services.answer_with_body(request, body, {**HEADERS, "content-type": "text/plain; charset=utf-8"})

    async def answer_sesame_script(request: Request) -> Response:
        callback = request.query_params.get("callback") or "getSesame"
        if not CALLBACK_PATTERN.fullmatch(callback):
            message = format_message("callback is not the name of a function: {name!r:.80}", callback)
            raise ParamError(message, name="callback", remedy="use letters, digits, _ and $")
        answers = await _resolve_all(context, [request.query_params.get("object", "")])
        headers = {**HEADERS, "content-type": "application/javascript", "x-content-type-options": "nosniff"}
        return services.answer_with_body(request, write_sesame_script(answers[0], callback), headers)

    return [
        create_query_route("/resolve", answer_request),
        create_query_route("/resolve/{name:path}", answer_request),
        create_route("/cgi-bin/nph-sesame", answer_sesame),
        create_route("/cgi-bin/nph-sesame/{options:path}", answer_sesame),
        create_route("/cgi-bin/nph-sesame.jsonp", answer_sesame_script),
    ]


def _read_names(request: Request, params: RequestParams) -> list[str]:
    if "name" in request.path_params:
        return [request.path_params["name"]]
    names = [name for name in params.values.get("NAME", ()) if name.strip()]
    if len(names) > MAX_NAMES:
        message = format_message("the request contains {count:,} names, which is too many", len(names))
        raise ParamError(message, name="NAME", remedy=format_message("send at most {most:,} at a time", MAX_NAMES))
    return names


def _read_sesame_names(request: Request) -> list[str]:
    """Read the names in an address of Sesame, which are the whole query, separated by ``&``."""
    query = request.scope.get("query_string", b"").decode("ascii", "replace")
    names = [unquote_plus(part).strip() for part in query.split("&")]
    names = [name for name in names if name]
    if not names or len(names) > MAX_NAMES:
        message = format_message("the address contains {count:,} object names", len(names))
        raise ParamError(message, name="NAME", remedy="write one name after the question mark: ?M31")
    return names


def _resolve_one(context: ServiceContext, name: str, *, includes_remote: bool = True) -> ResolvedName:
    return resolver.resolve_object_name(
        name, site=context.site, policies=context.policies, includes_remote=includes_remote
    )


def _resolve_several(context: ServiceContext, names: Sequence[str]) -> list[SesameAnswer]:
    """Resolve names; unknown and ambiguous ones have messages. Other services are asked for a single name only."""
    answers = []
    for name in names:
        try:
            resolved = _resolve_one(context, name, includes_remote=len(names) == 1)
            answers.append(SesameAnswer(name=name, resolved=resolved, message=resolved.note))
        except resolver.UnresolvedNameError:
            answers.append(SesameAnswer(name=name, resolved=None))
        except (resolver.AmbiguousObjectNameError, ParamError) as error:
            answers.append(SesameAnswer(name=name, resolved=None, message=error.message))
    return answers


async def _resolve_all(context: ServiceContext, names: Sequence[str]) -> list[SesameAnswer]:
    answers: list[SesameAnswer] = await call_in_thread(_resolve_several, context, names, is_remote=True)
    return answers


async def _answer_page(request: Request, context: ServiceContext, names: Sequence[str], write_page: Paged) -> Response:
    facts: dict[str, Any] = {"name": names[0] if names else ""}
    if names:
        try:
            facts["resolved"] = await call_in_thread(_resolve_one, context, names[0], is_remote=True)
        except HvenError as error:
            facts["fault"] = error
    return write_page(request, context, facts)


async def _answer_data(
    request: Request, params: RequestParams, context: ServiceContext, names: Sequence[str]
) -> Response:
    values = parse_values(params, DALI_PARAMS)
    if not names:
        raise ParamError("NAME is missing", name="NAME", remedy="add the name of an object, such as NAME=M31")
    if len(names) == 1:
        resolved = await call_in_thread(_resolve_one, context, names[0], is_remote=True)
        answers = [SesameAnswer(name=names[0], resolved=resolved, message=resolved.note)]
    else:
        answers = await _resolve_all(context, names)
    if _is_sesame_requested(params):
        body = write_sesame_xml(answers, has_targets=True, has_aliases=True)
        return services.answer_with_body(request, body, {**HEADERS, "content-type": XML_MEDIA_TYPE})
    facts = [_answer_to_json(answer) for answer in answers]
    stable_facts = [{**fact, "age": None} for fact in facts]
    if _is_json_requested(request, params):
        etag = services.compute_etag("json", stable_facts)
        body = orjson.dumps(facts[0] if len(facts) == 1 else facts)
        return services.answer_with_etag(request, {**HEADERS, "etag": etag}, JSON_MEDIA_TYPE, body)
    table_format, options = select_format(params.read_one("RESPONSEFORMAT"), request.headers.get("accept"))
    shown_facts = facts
    if values["MAXREC"] is not None:
        shown_facts = facts[: values["MAXREC"]]
    rows = pa.Table.from_pylist(
        [_build_row(fact) for fact in shown_facts],
        schema=pa.schema([pa.field(column.name, column.type.arrow) for column in COLUMNS]),
    )
    infos = build_unused_parameter_warnings(params, PARAMS)
    metadata = TableMetadata(columns=COLUMNS, name="resolve", infos=infos)
    is_cut = len(shown_facts) < len(facts)
    status = ResultStatus(overflow=is_cut, row_count=rows.num_rows)
    body = b"".join(table_format.write(metadata, iter(rows.to_batches()), lambda: status, options))
    etag = services.compute_etag(table_format.name, sorted(options.items()), infos, is_cut, stable_facts)
    return services.answer_with_etag(request, {**HEADERS, "etag": etag}, options["media_type"], body)


def _answer_to_json(answer: SesameAnswer) -> dict[str, Any]:
    """Describe an answer for JSON."""
    if answer.resolved is None:
        return {"query": answer.name, "name": None, "note": answer.message or "unknown"}
    facts = asdict(answer.resolved)
    facts["ids"] = list(facts["ids"])
    return {"query": answer.name, **facts}


def _build_row(fact: dict[str, Any]) -> dict[str, Any]:
    ra, dec = fact.get("position") or (None, None)
    pmra, pmdec = fact.get("proper_motion") or (None, None)
    aliases = "|".join(fact.get("ids", ())) or None
    row = {**fact, "ra": ra, "dec": dec, "pmra": pmra, "pmdec": pmdec, "aliases": aliases}
    return {column.name: row.get(column.name) for column in COLUMNS}


def _is_sesame_requested(params: RequestParams) -> bool:
    return (params.read_one("RESPONSEFORMAT") or "").lower() in {"sesame", "xml"}


def _is_json_requested(request: Request, params: RequestParams) -> bool:
    response_format = (params.read_one("RESPONSEFORMAT") or "").lower()
    if response_format:
        return response_format in {"json", JSON_MEDIA_TYPE}
    return JSON_MEDIA_TYPE in request.headers.get("accept", "")


def _answer_error(request: Request, params: RequestParams, error: HvenError) -> Response:
    """Answer an error in the format of the request; JSON lists the objects with an ambiguous name."""
    if _is_sesame_requested(params):
        return SESAME_XML_ERRORS(request, error)
    if not _is_json_requested(request, params):
        return VOTABLE_ERRORS(request, error)
    status = services.find_http_status(error)
    document = orjson.loads(write_json_error(services.log_error_and_write_message(error), status))
    if isinstance(error, resolver.AmbiguousObjectNameError):
        document["alternatives"] = [asdict(candidate) for candidate in error.candidates]
    headers = {**services.build_retry_after_header(error), "content-type": JSON_MEDIA_TYPE}
    return services.answer_with_body(request, orjson.dumps(document), headers, status)


FACE = ServiceFace(
    name="resolve",
    title="Names of objects",
    description="The position, the other names and the type of an object, from its name.",
    params=PARAMS,
    path="/resolve",
    build_routes=build_resolve_routes,
    example="NAME=M 31",
)

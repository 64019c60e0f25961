"""``/endpoints/schema.table/name``: addresses that a table had on another server, with parameters of their own, each bound to a query of the table.

A descriptor says them (``endpoints``). They are asked here, and at their old paths where no face has such a path (`hven.app._server.alias`).
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlencode

import anyio.to_thread
from starlette.responses import Response

from hven import adql, formats, query
from hven import services as dali
from hven.adql import tree
from hven.jobs.tap import MAXREC
from hven.model import units
from hven.model.errors import BindError, HvenError, NotFound, ParamError, ParseError, ServiceError, nearest, say
from hven.model.table import Column
from hven.model.types import STRING
from hven.services import _sitools2 as sitools2
from hven.services.errors import VOTABLE, votable_error
from hven.services.face import DALI, Face, Surroundings, Way, asking
from hven.services.params import utc, value
from hven.services.source_dates import find_source_date

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from hven.model.params import Param, Params
    from hven.model.table import Endpoint, Given, Table
    from hven.site import Published, Site

PARAM = "param"  # what conditions call the values of a request
KEPT = 500  # trees


class Made(NamedTuple):
    """The query of some parameters: which of them stand in its slots, each with what it is multiplied by."""

    table: Table
    query: tree.Query
    slots: tuple[tuple[str, float], ...]


def routes(around: Surroundings) -> Sequence[BaseRoute]:
    """Route the endpoints of all tables, and the list of SITools2's projects."""
    known: dict[tuple[Any, ...], Made] = {}

    async def answered(request: Request, params: Params) -> Response:
        holdings = around.site.current()  # one state for the tree and for the query
        table = dali.table_named(
            request.path_params["table"], holdings.catalogue(around.reader(request), around.policies)
        )
        name = request.path_params["name"]
        one = next((one for one in table.endpoints if one.name == name), None)
        rest = request.path_params.get("rest", "")
        if one is None or (rest and one.kind == "query"):
            names = [one.name for one in table.endpoints]
            raise NotFound(
                say("{table} has no endpoint {name}", table.qualified, f"{name}/{rest}" if rest else name),
                remedy=nearest(name, names) or "its page lists them",
            )
        asked = sitools2.Asking(around, request, params, holdings, table, one)
        if one.kind == "query":
            try:
                return await _rows(asked, known)
            except HvenError as error:
                if params.one("RESPONSEFORMAT"):  # the client says what it reads
                    raise
                return _fault(one, request, error)
        return await anyio.to_thread.run_sync(_page if one.kind == "page" else sitools2.answer, asked, rest)

    async def projects(request: Request, params: Params) -> Response:  # noqa: ARG001
        return await anyio.to_thread.run_sync(sitools2.projects, around, request, request.path_params.get("name", ""))

    return [
        asking("/endpoints/{table}/{name}", answered, FACE.faults),
        asking("/endpoints/{table}/{name}/{rest:path}", answered, FACE.faults),
        asking(sitools2.PROJECTS, projects, sitools2.FAULTS),
        asking(f"{sitools2.PROJECTS}/{{name:path}}", projects, sitools2.FAULTS),
    ]


def _fault(one: Endpoint, request: Request, error: HvenError) -> Response:
    """Answer an error in the namespace and under the media type of the rows: old clients read no other."""
    write = partial(votable_error, namespace=one.options.get("namespace"))
    return replace(FACE.faults, write=write, kind=one.options.get("type") or FACE.faults.kind)(request, error)


async def _rows(asking: sitools2.Asking, known: dict[tuple[Any, ...], Made]) -> Response:
    """Answer with rows."""
    around, request, params, holdings, table, one = asking
    given = {each.param.name: _value(params, each.param) for each in one.params}
    active = _active(one, given)
    columns = next(
        (each.columns[said] for each in one.params if (said := _said(given[each.param.name])) in each.columns),
        one.columns,
    )
    fixed = tuple((name, found) for name, found in given.items() if isinstance(found, bool))
    key = (FACE.name, table.qualified, one.name, tuple(each.said for each in active), columns, fixed)
    made = known.get(key)
    if made is None or made.table is not table:
        if len(known) >= KEPT:
            known.clear()
        made = known[key] = _made(table, one, active, columns, given)
    values = [given[name] * factor if factor != 1.0 else given[name] for name, factor in made.slots]
    asked = params.one("RESPONSEFORMAT")
    fmt, options = formats.select(
        asked or _form(one), None if one.form or one.options else request.headers.get("accept")
    )
    if not asked:
        options = {
            **options,
            formats.MEDIA_TYPE: one.options.get("type") or options[formats.MEDIA_TYPE].partition(";namespace")[0],
        }
    most = value(params, MAXREC)
    most = one.most or around.site.settings.limits.maxrec_hard if most is None else most
    who = around.reader(request)
    try:
        result = query.run(
            made.query, who, site=around.site, maxrec=most, policies=around.policies, values=values, key=key, holdings=holdings
        )  # fmt: skip
    except BindError as error:  # the reader has written none of it
        raise ServiceError(f"{table.qualified}.{one.name} makes a query that cannot be asked: {error}") from error
    result.descriptors = ()  # further RESOURCEs, which such clients take for rows
    warnings = query.unused(params, (*(each.param for each in one.params), *DALI))
    return await dali.answer(
        request,
        result,
        (fmt, options),
        tag=(*key, *values, most, fmt.name, sorted(options.items()), warnings),
        infos=warnings,
        name=table.name,
        base=dali.base(request, around.site.settings),
        params=_constants(one, holdings.published[table.qualified], around.site),
    )


def _form(one: Endpoint) -> str | None:
    """Write what is answered if nobody says it, as RESPONSEFORMAT."""
    chosen = "".join(f";{key}={said}" for key, said in one.options.items() if key != "type")
    return f"{formats.DEFAULT}{chosen}" if one.options else one.form


def _value(params: Params, param: Param) -> Any:
    """Read a parameter; of times the zone may be there or not."""
    if not param.type.is_timestamp:
        return value(params, param)
    said = params.one(param.name) or param.default
    if said is None:
        return value(params, param)
    found = utc(said)
    if found is None:
        message = say("{name}={value} is no time", param.name, said[:60])
        raise ParamError(message, name=param.name, remedy="2026-11-20T10:15:00, with a zone or without")
    return found


def _said(found: object) -> str:
    return str(found).lower()


def _active(one: Endpoint, given: Mapping[str, object]) -> list[Given]:
    """Choose the parameters whose conditions hold; all that these name must be there, and none may be given for nothing."""
    active = [each for each in one.params if each.condition is not None and given[each.param.name] is not None]
    used = {name: each for each in active for name in _named(each.condition or "")}
    for name, each in used.items():
        if given.get(name) is None:
            needed = next(other for other in one.params if other.param.name == name)
            raise ParamError(
                say("{name} is missing: it goes with {other}", needed.said, each.said),
                name=needed.said,
                remedy=f"give the {needed.param.description or 'value'}",
            )
    for each in one.params:
        others = [other.said for other in one.params if each.param.name in _named(other.condition or "")]
        name = each.param.name
        alone = given[name] is not None and each.param.default is None and each.condition is None and not each.columns
        if alone and others and name not in used:
            raise ParamError(
                say("{name} is missing: it goes with {other}", others[0], each.said),
                name=others[0],
                remedy=f"give {others[0]}, too",
            )
    return active


@lru_cache(1000)
def _named(condition: str) -> frozenset[str]:
    """List the parameters in a condition."""
    if not condition:
        return frozenset()
    names = (node for node in tree.walk(adql.parse_condition(condition)) if isinstance(node, tree.ColumnRef))
    return frozenset(node.name.name.upper() for node in names if _is_param(node))


def _is_param(node: tree.ColumnRef) -> bool:
    return len(node.qualifier) == 1 and node.qualifier[0].name.lower() == PARAM


def _made(
    table: Table, one: Endpoint, active: Sequence[Given], columns: Sequence[str], given: Mapping[str, Any]
) -> Made:
    """Write the query, and put the parameters into slots of it."""
    listed = columns or [adql.quote(column.name) for column in table.columns if not column.hidden]
    conditions = [f"({said})" for said in (one.condition, *(each.condition for each in active)) if said]
    text = f"SELECT {', '.join(listed)} FROM {adql.quote(table.schema)}.{adql.quote(table.name)}"
    text += f" WHERE {' AND '.join(conditions)}" if conditions else ""
    text += f" ORDER BY {', '.join(one.order)}" if one.order else ""
    factors = {each.param.name: _factor(each) for each in one.params}
    slots: list[tuple[str, float]] = []

    def put(node: Any) -> Any:
        if isinstance(node, tree.Literal) and node.slot >= 0:
            return tree.Literal(node.value)
        if not isinstance(node, tree.ColumnRef) or not _is_param(node):
            return node
        name = node.name.name.upper()
        found = given.get(name)
        if found is None or isinstance(found, bool):
            return tree.Literal(found)
        slots.append((name, factors[name]))
        return tree.Literal(found * factors[name] if factors[name] != 1.0 else found, slot=len(slots) - 1)

    try:
        parsed = adql.parse(text)
    except ParseError as error:
        raise ServiceError(f"{table.qualified}.{one.name} makes a query that cannot be asked: {error}") from error
    return Made(table, tree.transform(parsed, put), tuple(slots))


def _factor(one: Given) -> float:
    return 1.0 if one.within is None else units.factor(one.param.unit, one.within)


def _constants(one: Endpoint, item: Published, site: Site) -> tuple[tuple[Column, object], ...]:
    """Fill the PARAMs of the answer."""
    # a view has no time of its own, and a database tells none of its source
    times = {
        "{updated}": item.updated or "",
        "{source_updated}": find_source_date(site, item) or "",
    }
    shown = {key: f"{at[:19].replace('T', ' ')}+00:00" if at else "" for key, at in times.items()}
    return tuple(
        (Column(name=name, type=STRING), re.sub("|".join(shown), lambda key: shown[key[0]], said))
        for name, said in one.constants.items()
    )


def _page(asking: sitools2.Asking, rest: str) -> Response:
    """Lead to the page of a row, if there is such a row."""
    table, one = asking.table, asking.one
    key = table.column(one.column or "")
    wanted = rest if key.type.is_string else _whole(rest)
    made = tree.select(table, [key.name], tree.Compare("=", tree.ref(key.name), tree.Literal(wanted)))
    with asking.run(made, 1) as result:
        there = wanted is not None and any(batch.num_rows for batch in result.batches())
    if not there:
        raise NotFound(say("no row of {table} has the {column} {value}", table.qualified, key.name, rest[:200]))
    asked = {key.name: f"={rest}"} | ({"_row": json.dumps([wanted])} if table.primary == (key.name,) else {})
    page = f"/collections/{quote(table.schema, safe='')}/{quote(table.name, safe='')}?{urlencode(asked)}"
    base = dali.base(asking.request, asking.around.site.settings)
    return Response(None, 303, {"location": base + page, "cache-control": "no-cache"})


def _whole(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,18}", text) else None


def _ways(published: Published, base: str) -> Sequence[Way]:
    """Tell of each address what it understands, and how it is asked."""
    found = []
    for one in published.table.endpoints:
        own = f"/endpoints/{quote(published.table.qualified)}/{one.name}"
        url = f"{base}{one.path or own}"
        lines = [f"# {line}" for line in (one.description or "").splitlines()] + [
            f"# {_told(each)}" for each in one.params
        ]
        lines.append(sitools2.example(published.table, url) if one.kind == "sitools2" else _example(one, url))
        found.append(Way(title=one.title or one.path or one.name, url=url, example="\n".join(lines)))
    return found


def _told(one: Given) -> str:
    """Tell of a parameter in a line."""
    param = one.param
    kind = "text" if param.type == STRING else str(param.type)
    parts = [
        kind,
        param.unit or "",
        "required" if param.required else "",
        f"default {param.default}" if param.default else "",
    ]
    said = f"{one.said} ({', '.join(part for part in parts if part)})"
    said += f": {param.description}" if param.description else ""
    return said + (f"; one of {', '.join(param.allowed)}" if param.allowed else "")


def _example(one: Endpoint, url: str) -> str:
    if one.kind == "page":
        return f"curl -L '{url}{(one.column or '').upper()}'"
    first = next((each for each in one.params if each.condition), None)
    named = _named(first.condition or "") if first is not None else ()
    wanted = [each for each in one.params if each.param.required or each is first or each.param.name in named]
    asked = "&".join(f"{each.said}={each.param.default or each.said.upper()}" for each in wanted)
    return f"curl '{url}{'?' if asked else ''}{asked}'"


FACE = Face(
    name="endpoints",
    title="Endpoints",
    description="Addresses that a table had on another server, with parameters of their own.",
    applies=lambda table: bool(table.endpoints),
    lacking="endpoints",
    faults=VOTABLE,
    ways=_ways,
    routes=routes,
)

"""A table as a data set of SITools2: its description, count, records and archives, as scripts on pySitools2 and IDLSitools2 ask for them.

Conditions are those of SITools2's own filters: ``DATE_BETWEEN`` leaves out both ends, ``NUMERIC_BETWEEN`` has them, ``TEXTFIELD`` takes ``*`` for any
letters. What it ignored in silence (columns and filters that it had not) is refused here.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from hven import adql, query
from hven import services as dali
from hven.adql import tree
from hven.model import literal
from hven.model.errors import HvenError, NotFound, ParamError, nearest, say
from hven.model.params import LARGEST
from hven.services import archives
from hven.services.errors import Faults
from hven.services.params import utc

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from hven.model.params import Params
    from hven.model.settings import Settings
    from hven.model.table import Column, Endpoint, Table
    from hven.model.types import Type
    from hven.query import Result
    from hven.services.face import Surroundings
    from hven.site import Holdings

JSON = "application/json"
PAGE = 300  # records where nobody says how many
PROJECTS = "/sitools/portal/projects"
ORDER = "fr.cnes.sitools.resources.order.DirectOrderResource"  # by which clients know a service that gives archives
TEXT = "text"
TYPES = {
    "short": "int2",
    "int": "int4",
    "long": "int8",
    "unsignedByte": "int2",
    "float": "float4",
    "double": "float8",
    "boolean": "bool",
}
COMPARISONS = {"LT": "<", "GT": ">", "EQ": "=", "LTE": "<=", "GTE": ">="}
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# filter -> how it compares
FILTERS = {
    **{name: name for name in ("DATE_BETWEEN", "NUMERIC_BETWEEN", "TEXTFIELD", "CADENCE")}, "LISTBOXMULTIPLE": "IN", "MULTIPLE_VALUE": "IN",
    **dict.fromkeys(("NUMBER_FIELD", "LISTBOX", "RADIO", "DROPDOWNLIST", "BOOLEAN_CHECKBOX"), "EQ"),
}  # fmt: skip
_CADENCE = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d)(?:ec(?:onds?)?|in(?:utes?)?|ours?|ays?)?", re.IGNORECASE)
FAULTS = Faults(write=lambda message: orjson.dumps({"success": False, "message": message}), kind=JSON)


class Asking(NamedTuple):
    """Who asks what, of which endpoint of which table, in which state."""

    around: Surroundings
    request: Request
    params: Params
    holdings: Holdings
    table: Table
    one: Endpoint

    def run(self, made: tree.Query, most: int) -> Result:
        """Answer a query of it."""
        around = self.around
        return query.run(
            made, around.reader(self.request), site=around.site, maxrec=most, policies=around.policies, holdings=self.holdings
        )  # fmt: skip

    def told(self, made: Mapping[str, Any] | bytes) -> Response:
        """Make the answer."""
        body = made if isinstance(made, bytes) else orjson.dumps(made)
        who = self.around.reader(self.request)
        public = who.anonymous and not self.table.rights and self.holdings.reach(who, self.around.policies) == "public"
        return dali.tagged(self.request, dali.caching(dali.etag(body), public=public), JSON, body)


def answer(asking: Asking, rest: str) -> Response:
    """Answer what is asked of a data set, in SITools2's words; so are faults.

    Parameters
    ----------
    asking
        Who asks what, and of which data set.
    rest
        Behind its address: ``count``, ``records``, ``services``, the name of an archive; empty: its description.
    """
    one, request = asking.one, asking.request
    try:
        rest = rest.strip("/")
        if not rest:
            return asking.told({"success": True, "dataset": _data_set(asking)})
        if rest == "services":
            return asking.told({"success": True, "total": len(one.archives), "data": [*_services(one)]})
        where = _where(asking)
        if rest == "count":
            return asking.told({"success": True, "total": _count(asking, where), "offset": 0, "count": 0})
        if rest == "records":
            return _records(asking, where)
        if rest in one.archives:
            return _archive(asking, where, one.archives[rest])
        known = ["count", "records", "services", *one.archives]
        raise NotFound(
            say("the data set {name} has no {rest}", one.path, rest[:60]),
            remedy=nearest(rest, known) or ", ".join(known),
        )
    except HvenError as error:
        return FAULTS(request, error)


def projects(around: Surroundings, request: Request, name: str = "") -> Response:
    """List the collections that have data sets, as projects.

    Parameters
    ----------
    around, request
        Who asks.
    name
        Of the one that is asked for; its own address gives it with its data sets. Empty: all.
    """
    holdings = around.site.current()
    sets: dict[str, list[dict[str, Any]]] = {}
    for table in holdings.catalogue(around.reader(request), around.policies).tables():
        for one in table.endpoints:
            if one.kind == "sitools2":
                sets.setdefault(table.schema, []).append({"id": one.name, "name": one.title or one.name, "url": one.path, "status": "ACTIVE", "visible": True, "authorized": True})  # fmt: skip
    found = [_project(key, holdings, some) for key, some in sets.items()]
    made: dict[str, Any] = {"success": True, "total": len(found), "data": found}
    if name:
        project, _, rest = name.partition("/")
        if project not in sets or rest not in {"", "datasets"}:
            error = NotFound(say("there is no project {name}", name[:60]), remedy=nearest(project, sets) or PROJECTS)
            return FAULTS(request, error)
        own = next(one for one in found if one["id"] == project)
        made = (
            {"success": True, "project": own}
            if not rest
            else {"success": True, "total": len(sets[project]), "data": sets[project]}
        )
    body = orjson.dumps(made)
    reach = holdings.reach(around.reader(request), around.policies)
    return dali.tagged(request, dali.caching(dali.etag(body), public=reach == "public"), JSON, body)


def example(table: Table, url: str) -> str:
    """Write a request for a few records.

    Parameters
    ----------
    table, url
        The data set and its address.
    """
    time = next((one.name for one in table.columns if one.type.is_timestamp), None)
    wanted = f"&p[0]=DATE_BETWEEN|{time}|2012-08-10T00:00:00|2012-08-11T00:00:00" if time else ""
    return f"curl -g '{url}/records?media=json&limit=10{wanted}'"


def _project(name: str, holdings: Holdings, sets: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    resource = holdings.resources.get(name)
    return {
        "id": name, "name": name, "description": resource.title if resource is not None else "", "image": {"url": ""}, "status": "ACTIVE",
        "sitoolsAttachementForUsers": f"{PROJECTS}/{name}", "authorized": True, "visible": True, "maintenance": False,
        "htmlDescription": (resource.description or "") if resource is not None else "", "maintenanceText": "", "dataSets": list(sets),
    }  # fmt: skip


def _data_set(asking: Asking) -> dict[str, Any]:
    table, one = asking.table, asking.one
    return {
        "id": one.name, "name": one.title or one.name, "description": one.description or table.description or "", "status": "ACTIVE",
        "url": one.path, "sitoolsAttachementForUsers": one.path, "visible": True, "authorized": True,
        "nbRecords": asking.holdings.published[table.qualified].rows if table.policy is None else None,
        "columnModel": [_described(column, table) for column in _shown(table)] + [_filter(name) for name in one.cadences if name not in {column.name for column in table.columns}],
    }  # fmt: skip


def _shown(table: Table) -> list[Column]:
    return [column for column in table.columns if not column.hidden]


def _described(column: Column, table: Table) -> dict[str, Any]:
    """Describe a column as SITools2's columnModel does."""
    said: dict[str, Any] = {
        "columnAlias": column.name, "dataIndex": column.name, "header": column.label or column.name, "toolTip": column.description or "",
        "sqlColumnType": _sql(column.type), "sortable": not column.type.is_array or column.type.is_string, "filter": True, "visible": True,
        "primaryKey": table.primary == (column.name,) or (not table.primary and column is table.identifier),
    }  # fmt: skip
    if column.unit:
        said["unit"] = {"unitName": column.unit, "label": column.unit}
    if (column.ucd or "").lower().startswith("meta.ref.url"):
        said["columnRenderer"] = {"behavior": "extUrlNewTab"}
    return said


def _filter(name: str) -> dict[str, Any]:
    """Describe a filter that is no column: nobody may ask for its values."""
    return {
        "columnAlias": name, "dataIndex": name, "header": name, "toolTip": "", "sqlColumnType": TEXT, "sortable": False, "filter": True,
        "visible": False, "primaryKey": False, "columnRenderer": {"behavior": "noClientAccess"},
    }  # fmt: skip


def _sql(kind: Type) -> str:
    if kind.is_timestamp:
        return "timestamp"
    return TEXT if kind.is_array else TYPES.get(kind.datatype, TEXT)


def _services(one: Endpoint) -> Iterator[dict[str, Any]]:
    """Describe the archives as services of the data set."""
    for name, kind in one.archives.items():
        said = {"url": ("PARAMETER_ATTACHMENT", f"/{name}"), "archiveType": ("PARAMETER_INTERN", kind), "resourceImplClassName": ("PARAMETER_INTERN", ORDER)}  # fmt: skip
        parameters = [
            {"name": key, "type": of, "value": value, "valueType": "xs:string", "description": ""}
            for key, (of, value) in said.items()
        ]
        yield {"id": name, "name": f"{kind.upper()} of the files", "description": "", "type": "SERVER", "dataSetSelection": "MULTIPLE", "parameters": parameters}  # fmt: skip


def _count(asking: Asking, where: tree.Expr | None) -> int:
    with asking.run(tree.select(asking.table, [tree.Function("COUNT", star=True)], where), 1) as result:
        return int(result.table().column(0)[0].as_py())


def _records(asking: Asking, where: tree.Expr | None) -> Response:
    params, table = asking.params, asking.table
    start, limit = (params.whole(name, minimum=-1) for name in ("START", "LIMIT"))
    hard = asking.around.site.settings.limits.maxrec_hard
    most = PAGE if limit is None else hard if limit < 0 else limit
    columns = _chosen(params, table, {*asking.one.cadences})
    first = max(start or 0, 0)
    made = tree.select(table, [one.name for one in columns], where, _order(params, table), first)
    with asking.run(made, most) as result:
        rows = [row for batch in result.batches() for row in _objects(batch, columns).to_pylist()]
    total = {} if (params.one("NOCOUNT") or "").lower() == "true" else {"total": _count(asking, where)}
    head = orjson.dumps({"success": True, **total, "count": len(rows), "offset": first, "data": []})
    return asking.told(head[:-2] + ",\n".join(rows).encode() + head[-2:])


def _objects(batch: pa.RecordBatch, columns: Sequence[Column]) -> pa.Array:
    """Write rows as JSON objects: what has no value is left out, for clients make numbers of all that they find."""
    members = [
        literal.filled(literal.joined(f",{json.dumps(column.name)}:", _cells(batch.column(at), column.type)))
        for at, column in enumerate(columns)
    ]
    return literal.joined("{", pc.utf8_slice_codeunits(literal.joined(*members), 1), "}")


def _cells(array: pa.Array, kind: Type) -> pa.Array:
    if kind.is_timestamp:  # clients split times at the dot
        return literal.joined('"', pc.strftime(array.cast(pa.timestamp("ms"), safe=False), "%Y-%m-%dT%H:%M:%S"), '"')
    if pa.types.is_floating(array.type):
        return pc.if_else(pc.is_finite(array), array.cast(pa.string()), literal.NULL)
    if pa.types.is_integer(array.type) or pa.types.is_boolean(array.type):
        return array.cast(pa.string())
    return literal.json_strings(array if pa.types.is_string(array.type) else literal.text(array, kind))


def _archive(asking: Asking, where: tree.Expr | None, kind: str) -> Response:
    """Give the files that rows lead to."""
    around, request, settings = asking.around, asking.request, asking.around.site.settings
    if where is None:
        raise ParamError("nothing says whose files are wanted", remedy="p[0]=LISTBOXMULTIPLE|column|value|value")
    base = dali.base(request, settings)
    made = tree.select(asking.table, [one.name for one in _shown(asking.table)], where)
    with asking.run(made, settings.limits.archive_files) as result:
        found = _leading(result, base)
        if result.overflow:
            raise archives.too_large(around)
    addresses = [_present(settings, base, one) for one in found]
    plan = archives.planned(around, request, addresses)
    title, called = settings.title or settings.name, re.sub(r"[^A-Za-z0-9_.-]+", "_", asking.table.qualified)
    about = [("Data set", asking.one.path), ("Asked at", base)]
    return archives.answer(request, plan, kind=kind, called=called, title=title, about=about)


def _leading(result: Result, base: str) -> list[str]:
    """Read where rows lead to: by all columns with addresses of files (rows may have several), else as archives do."""
    ucds = [(one.ucd or "").lower() for one in result.columns]
    urls = [at for at, ucd in enumerate(ucds) if ucd.startswith("meta.ref.url") and "meta.preview" not in ucd]
    if len(urls) < 2:
        return archives.addresses(result, archives.leading(result, None), base)
    rows = [zip(*(batch.column(at).to_pylist() for at in urls), strict=True) for batch in result.batches()]
    return [str(one) for some in rows for row in some for one in row if one]


def _present(settings: Settings, base: str, address: str) -> str:
    """Return the present address of a file: what columns have may be a path, and one of before (``[[alias]]``)."""
    path = address.removeprefix(base)
    for one in settings.alias:
        if one.path.endswith("/*") and one.to.endswith("/*") and path.startswith(one.path[:-1]):
            return base + one.to[:-1] + path[len(one.path) - 1 :]
    return base + path if path.startswith("/") else path


# --- what is asked -------------------------------------------------------------------------------------------


def _column(table: Table, name: str) -> Column:
    """Find a column by its name, or by the UCD that a concept of a dictionary is."""
    name = name.strip().strip('"')
    found = next((one for one in table.columns if one.name.lower() == name.lower()), None) or table.by_ucd(name)
    if found is None:
        raise _unknown(say("the data set has no column {name}", name[:60]), name, [one.name for one in _shown(table)])
    return found


def _chosen(params: Params, table: Table, filters: set[str]) -> list[Column]:
    said = (params.one("COLMODEL") or "").strip().strip("\"'")
    names = [name.strip() for name in said.split(",") if name.strip()]
    wanted = [
        _column(table, name) for name in names if name not in filters or name in {one.name for one in table.columns}
    ]
    return list(dict.fromkeys(wanted)) or _shown(table)


def _order(params: Params, table: Table) -> Iterator[tree.OrderItem]:
    """Read in which order records come; rows that are alike in it come by their key, lest a page has a row of the one before."""
    said, taken = params.one("SORT"), set()
    if said:
        try:
            orders = json.loads(said.replace("'", '"'))["ordersList"]
            pairs = [(str(one["field"]), str(one.get("direction", "ASC")).upper()) for one in orders]
        except (ValueError, KeyError, TypeError, AttributeError):
            remedy = '{"ordersList": [{"field": "date_obs", "direction": "ASC"}]}'
            raise ParamError(say("{name}={value} is no order", "sort", said[:60]), name="sort", remedy=remedy) from None
        for name, way in pairs:
            column = _column(table, name)
            taken.add(column.name)
            yield tree.OrderItem(tree.ref(column.name), descending=way == "DESC")
    key = table.primary or ((table.identifier.name,) if table.identifier is not None else ())
    yield from (tree.OrderItem(tree.ref(table.column(name).name)) for name in key if name not in taken)


def _where(asking: Asking) -> tree.Expr | None:
    """Read all conditions of a request."""
    table, params, one = asking.table, asking.params, asking.one
    found: list[tree.Expr | None] = []
    for letter in ("P", "C"):
        for name in sorted(key for key in params.values if re.fullmatch(rf"{letter}\[\d+\]", key)):
            found += [_filtered(asking, said) for said in dict.fromkeys(params.all(name)) if said]
    for name in sorted(key for key in params.values if re.fullmatch(r"FILTER\[\d+\]\[COLUMNALIAS\]", key)):
        begin = name.removesuffix("[COLUMNALIAS]")
        how, value = (params.one(f"{begin}[DATA][{key}]") or "" for key in ("COMPARISON", "VALUE"))
        values = re.split(r"[|,]", value.strip("()")) if how.upper() in {"IN", "NOTIN"} else [value]
        found.append(_compared(_column(table, params.one(name) or ""), how.upper(), values))
    base = adql.parse_condition(one.condition) if one.condition else None
    return tree.conjunction(None if base is None else tree.transform(base, _constant), *found)


def _constant(node: Any) -> Any:
    return tree.Literal(node.value) if isinstance(node, tree.Literal) and node.slot >= 0 else node


def _filtered(asking: Asking, said: str) -> tree.Expr:
    """Read a filter: ``DATE_BETWEEN|alias|from|to``; of a concept, ``DATE_BETWEEN|dictionary,concept|from|to``."""
    kind, _, rest = said.partition("|")
    name, *values = rest.split("|")
    how = FILTERS.get(kind.strip().upper())
    if how == "CADENCE":
        return _every(name, values, asking.one)
    if how is not None and len(values) < (2 if "BETWEEN" in how else 1):
        raise ParamError(say("{filter} lacks a value", said[:60]), name=name[:60], remedy="DATE_BETWEEN|column|from|to")
    if how is None:
        raise _unknown(say("there is no filter {name}", kind[:60]), kind, FILTERS)
    return _compared(_column(asking.table, name.rpartition(",")[2]), how, values)


def _unknown(message: str, word: str, known: Iterable[str]) -> ParamError:
    return ParamError(message, name=word[:60], remedy=nearest(word, known) or ", ".join(known))


def _every(name: str, values: Sequence[str], one: Endpoint) -> tree.Expr:
    """Thin rows out, as the descriptor says how."""
    condition = one.cadences.get(name)
    if condition is None:
        remedy = (
            nearest(name, one.cadences) or "endpoints: {..: {cadence: {NAME: condition}}} in the descriptor says it"
        )
        raise ParamError(say("the data set has no cadence {name}", name[:60]), name=name[:60], remedy=remedy)
    found = _CADENCE.fullmatch((values[0] if values else "").strip().replace("+", " "))
    if found is None or not float(found[1]):
        raise ParamError(
            say("{value} is no cadence", (values or ("",))[0][:60]), name=name[:60], remedy="12 sec, 1 min, 2 h, 1 day"
        )
    seconds = float(found[1]) * SECONDS[found[2].lower()]
    whole = tree.Literal(int(seconds) if seconds.is_integer() else seconds)

    def put(node: Any) -> Any:
        if isinstance(node, tree.ColumnRef) and [part.name.lower() for part in node.qualifier] == ["param"]:
            return whole
        return _constant(node)

    return tree.transform(adql.parse_condition(condition), put)


def _date(column: Column, text: str) -> tree.Literal:
    """Read a time as it is compared with a column."""
    found = utc(text)
    if found is None:
        raise ParamError(say("{value} is no time", text[:60]), name=column.name, remedy="YYYY-MM-DDThh:mm:ss")
    if not column.type.is_timestamp:
        raise ParamError(
            say("{column} is no time", column.name), name=column.name, remedy="NUMERIC_BETWEEN compares numbers"
        )
    return tree.Literal(found)


def _value(column: Column, text: str) -> tree.Literal:
    """Read a value of a column's type."""
    kind = column.type
    if kind.is_timestamp:
        return _date(column, text)
    if kind.is_numeric and not kind.is_array:
        try:
            found = literal.number(text.strip())
        except ValueError:
            found = LARGEST + 1
        if isinstance(found, int) and not -LARGEST <= found <= LARGEST:
            raise ParamError(
                say("{value} is no number, or too large a one", text[:60]), name=column.name, remedy="a number"
            )
        return tree.Literal(found)
    if kind.is_boolean:
        return tree.Literal(text.strip().lower() in {"true", "t", "1"})
    return tree.Literal(text)


def _compared(column: Column, how: str, values: Sequence[str]) -> tree.Expr:
    """Compare a column with values, in the words of SITools2's table or those of its filters (`FILTERS`)."""
    ref, first = tree.ref(column.name), values[0]
    if how == "DATE_BETWEEN":
        low, high = (_date(column, one) for one in values[:2])
        if str(low.value) > str(high.value):
            raise ParamError("From date must be before To date", name=column.name, remedy="the earlier time first")
        return tree.And((tree.Compare(">", ref, low), tree.Compare("<", ref, high)))
    if how == "NUMERIC_BETWEEN":
        return tree.Between(ref, _value(column, first), _value(column, values[1]))
    if how in {"IN", "NOTIN"}:
        return tree.In(ref, tuple(_value(column, one) for one in values), negated=how == "NOTIN")
    if how == "LIKE" or (how == "TEXTFIELD" and column.type.is_string and "*" in first):
        return tree.Like(ref, tree.Literal(first.replace("*", "%")))
    if how == "TEXTFIELD" or how in COMPARISONS:
        return tree.Compare(COMPARISONS.get(how, "="), ref, _value(column, first))
    raise _unknown(say("there is no comparison {name}", how[:60]), how, (*COMPARISONS, "LIKE", "IN", "NOTIN"))

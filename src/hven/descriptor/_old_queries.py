"""Addresses that a table had on another server (``endpoints``): their parameters, conditions, and the shape of what they answer."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING

from hven import adql, formats
from hven.adql.tree import ColumnRef, walk
from hven.descriptor._column_expressions import expression
from hven.descriptor._columns import param as constant
from hven.model import units
from hven.model.errors import Fault, ParseError, nearest
from hven.model.params import Param
from hven.model.table import Endpoint, Given
from hven.model.types import STRING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hven.descriptor.value_schema import Faults, Fields
    from hven.descriptor.written import Written
    from hven.model.resource import Resource
    from hven.model.types import Type

PARAM, SECONDS = "param", "seconds"
ARCHIVES = {"plugin02": "tar", "plugin03": "zip"}
_PATH = re.compile(r"/[^\s?#{}*]*[^\s?#{}*/]")
_PAGE = re.compile(r"(/[^\s?#{}*]*/)\{([^{}]+)\}")
_OWN = {
    "params": "query", "columns": "query", "order": "query", "rows": "query", "format": "query", "votable": "query",
    "cadence": "sitools2", "archives": "sitools2",
}  # fmt: skip


def endpoints(what: str, fields: Fields, names: Sequence[str] | None, faults: Faults) -> Iterator[Endpoint]:
    """Read ``endpoints`` of a table, whose columns may not be known yet (None)."""
    for name, item in fields.get("endpoints", {}).items():
        where = f"{what}.endpoints.{name}"
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
            faults.error(f"{where}: it stands in addresses", name.place, "letters, digits, '_', '.' and '-'")
        yield _endpoint(where, str(name), item, names, faults)


def wrong_paths(resources: Iterable[Resource], others: Sequence[Resource] = ()) -> Iterator[Fault]:
    """Find old addresses that two tables have: the first one's alone would answer.

    Parameters
    ----------
    resources
        Collections of a site.
    others
        Collections before these, of which nothing is told.

    Yields
    ------
    faults
        At each address that one before it has.
    """
    known: dict[str, str] = {}
    for resource in (*others, *resources):
        for table, one in ((spec.table, one) for spec in resource.tables for one in spec.table.endpoints):
            for path in one.paths:
                other = known.setdefault(path, f"{table.qualified} ({one.name})")
                if other != f"{table.qualified} ({one.name})" and resource not in others and one.place:
                    message = f"{table.qualified}.endpoints.{one.name}: {path} is an address of {other}, too"
                    yield Fault(message=message, place=one.place, remedy="give one of them another path")


def _endpoint(where: str, name: str, item: Fields, names: Sequence[str] | None, faults: Faults) -> Endpoint:
    kind = item.get("like", "query")
    for key, only in _OWN.items():
        if key in item and only != kind:
            faults.error(f"{where}.{key}: it goes with like: {only}", item.places[key], "take it out, or say that")
    paths = [_path(where, kind, said, names, faults) for said in item.get("path", ())]
    if kind == "sitools2" and "path" not in item.places:
        faults.error(f"{where} lacks the key 'path'", item.place, "the data set's address: /webs_IAS_SDO_dataset")
    elif kind == "page" and "path" not in item.places:
        faults.error(f"{where} lacks the key 'path'", item.place, "/detail/exposure/{exp_id}")
    if len({column for _, column in paths}) > 1:
        faults.error(
            f"{where}.path: its addresses end with several columns", item.places["path"], "make an endpoint of each"
        )
    said = item.get("params", {})
    known = {str(key).lower() for key in said}
    params = tuple(_given(f"{where}.params.{key}", key, one, names, known, faults) for key, one in said.items())
    for key in item.get("order", ()):
        _items(f"SELECT 1 FROM t ORDER BY {key}", f"{where}.order", key, names, known, faults)
    for key in item.get("columns", ()):
        _items(f"SELECT {key} FROM t", f"{where}.columns", key, names, known, faults)
    cadences = item.get("cadence", {})
    for key, one in cadences.items():
        _condition(one, f"{where}.cadence.{key}", names, {SECONDS}, faults)
    shape = item.get("votable", {})
    form = item.get("format")
    if form is not None and form not in {one.name for one in formats.offered()}:
        remedy = nearest(form, [one.name for one in formats.offered()])
        faults.error(f"{where}.format: no format is called {str(form)!r}", form.place, remedy)
    elif form not in {None, "votable"} and shape:
        faults.error(f"{where}.votable: it writes {form}", item.places["votable"], "leave one of them out")
    return Endpoint(
        name=name,
        kind=kind,
        paths=tuple(path for path, _ in paths if path),
        title=_text(item, "title"),
        description=_text(item, "description"),
        params=params,
        columns=tuple(map(str, item.get("columns", ()))),
        condition=_condition(item.get("where"), f"{where}.where", names, known, faults),
        order=tuple(map(str, item.get("order", ()))),
        most=item.get("rows"),
        form=None if form is None else str(form),
        options={key: str(shape[key]) for key in ("version", "namespace", "serialization", "type") if key in shape},
        constants={str(key): str(value) for key, value in shape.get("params", {}).items()},
        column=next((column for _, column in paths), None),
        cadences={str(key): str(one) for key, one in cadences.items()},
        archives={str(key): str(one) for key, one in item.get("archives", {}).items()} or ARCHIVES,
        place=item.place,
    )


def _path(where: str, kind: str, said: Written, names: Sequence[str] | None, faults: Faults) -> tuple[str, str | None]:
    """Read an old address; of a page, what stands before the row's column, and that."""
    if kind != "page":
        if not _PATH.fullmatch(said):
            remedy = "the old address without its host: /search.votable"
            faults.error(f"{where}.path: {str(said)!r} is no path", said.place, remedy)
        return str(said), None
    found = _PAGE.fullmatch(said)
    if found is None:
        message = f"{where}.path: a page's address ends with a column of its row in braces"
        faults.error(message, said.place, "/detail/exposure/{exp_id}")
        return "", None
    folded = {one.lower(): one for one in names or ()}
    if names is not None and found[2].lower() not in folded:
        faults.error(f"{where}.path: the table has no column {found[2]!r}", said.place, nearest(found[2], names))
    return found[1], folded.get(found[2].lower(), found[2])


def _given(
    where: str, name: Written, item: Fields, names: Sequence[str] | None, known: set[str], faults: Faults
) -> Given:
    words = {key: item[key] for key in ("type", "unit", "ucd", "description", "minimum", "maximum") if key in item}
    made = constant(str(name), words, where, faults)  # type: ignore[arg-type]
    kind = made.type if "type" in item else STRING
    if kind.is_array:
        faults.error(f"{where}: a parameter is one value, not {kind}", item.places["type"], "leave the array out")
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        faults.error(f"{where}: {str(name)!r} is no name", name.place, "a letter, then letters, digits and _")
    if "in" in item:
        try:
            units.factor(made.unit, str(item["in"]))
        except ValueError as error:
            faults.error(
                f"{where}.in: {error}", item["in"].place, "unit: what clients say; in: a unit of the same kind"
            )
    if "in" in item and not kind.is_numeric:
        faults.error(f"{where}.in: only numbers have units, not {kind}", item.places["in"], "type: float64")
    for key, said in (("default", [item["default"]] if "default" in item else []), ("values", item.get("values", ()))):
        for one in said:
            if not _readable(kind, str(one)):
                faults.error(f"{where}.{key}: {str(one)!r} is no {kind}", one.place, f"a value of the type {kind}")
    for key, of in item.get("columns", {}).items():
        for one in of:
            _items(f"SELECT {one} FROM t", f"{where}.columns.{key}", one, names, known, faults)
    return Given(
        param=Param(
            name=str(name).upper(), type=kind, unit=made.unit, ucd=made.ucd, description=made.description,
            default=str(item["default"]) if "default" in item else None, required=bool(item.get("required", False)),
            allowed=tuple(map(str, item.get("values", ()))), minimum=made.minimum, maximum=made.maximum,
        ),
        said=str(name),
        condition=_condition(item.get("where"), f"{where}.where", names, known, faults),
        within=str(item["in"]) if "in" in item else None,
        columns={str(key).lower(): tuple(map(str, of)) for key, of in item.get("columns", {}).items()},
    )  # fmt: skip


def _readable(kind: Type, text: str) -> bool:
    """Check whether a request may say this."""
    try:
        if kind.is_timestamp:
            datetime.fromisoformat(text)
        elif kind.is_integer:
            int(text)
        elif kind.is_numeric:
            float(text)
    except ValueError:
        return False
    return not kind.is_boolean or text.lower() in {"true", "false", "1", "0"}


def _text(item: Fields, key: str) -> str | None:
    return str(item[key]).strip() if key in item else None


def _condition(
    said: Written | None, where: str, names: Sequence[str] | None, known: set[str], faults: Faults
) -> str | None:
    """Check a condition over the row and the parameters."""
    if said is None:
        return None
    tree = expression(said, where, faults, condition=True)
    if tree is not None:
        _names(tree, said, where, names, known, faults)
    return str(said)


def _items(text: str, where: str, said: Written, names: Sequence[str] | None, known: set[str], faults: Faults) -> None:
    """Check items of a select list, or of ORDER BY."""
    try:
        tree = adql.parse(text)
    except ParseError as error:
        faults.error(f"{where}: {error.message}", said.place, error.remedy)
        return
    if " FROM " in said.upper() or ";" in said:
        faults.error(
            f"{where}: {str(said)!r} is no column", said.place, "a name, or an expression and its name: x AS y"
        )
    _names(tree, said, where, names, known, faults)


def _names(
    tree: object, said: Written, where: str, names: Sequence[str] | None, known: set[str], faults: Faults
) -> None:
    """Refuse parameters that the address has not, and columns that the table has not."""
    folded = None if names is None else {one.lower() for one in names}
    for node in walk(tree):
        if not isinstance(node, ColumnRef):
            continue
        prefix = ".".join(part.name for part in node.qualifier).lower()
        name = node.name.name
        if prefix == PARAM and name.lower() not in known:
            message, hint = f"{where}: there is no parameter {name!r}", nearest(name, known)
        elif prefix == "" and folded is not None and name.lower() not in folded:
            message, hint = f"{where}: the table has no column {name!r}", nearest(name, names or ())
        else:
            continue
        faults.error(message, said.at(node.at) if said.count(name) else said.place, hint or "param.NAME is a parameter")

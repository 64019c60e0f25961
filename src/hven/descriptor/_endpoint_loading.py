"""Addresses that a table had on another server (``endpoints``).

Their parameters, conditions, and the shape of what they answer.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING

from hven import adql, formats
from hven.adql.syntax_tree import ColumnRef, walk_tree
from hven.descriptor._column_expressions import parse_written_expression
from hven.descriptor._columns import build_constant
from hven.model import units
from hven.model.errors import Fault, ParseError, suggest_spelling
from hven.model.params import Param
from hven.model.table import Endpoint, EndpointParameter
from hven.model.types import STRING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hven.descriptor.value_schema import FaultCollector, KeyValues
    from hven.descriptor.written_yaml import WrittenScalar
    from hven.model.resource import Resource
    from hven.model.types import Type

PARAM_PREFIX, SECONDS_PARAM = "param", "seconds"
DEFAULT_ARCHIVES = {"plugin02": "tar", "plugin03": "zip"}
_PATH_PATTERN = re.compile(r"/[^\s?#{}*]*[^\s?#{}*/]")
_PAGE_PATH_PATTERN = re.compile(r"(/[^\s?#{}*]*/)\{([^{}]+)\}")
_KIND_BY_KEY = {
    "params": "query",
    "columns": "query",
    "order": "query",
    "rows": "query",
    "format": "query",
    "votable": "query",
    "cadence": "sitools2",
    "archives": "sitools2",
}


def read_endpoints(
    key_path: str, fields: KeyValues, column_names: Sequence[str] | None, faults: FaultCollector
) -> Iterator[Endpoint]:
    """Read ``endpoints`` of a table, whose columns may not be known yet (None)."""
    for name, item in fields.get("endpoints", {}).items():
        where = f"{key_path}.endpoints.{name}"
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
            faults.add_error(f"{where}: it stands in addresses", name.place, "letters, digits, '_', '.' and '-'")
        yield _read_endpoint(where, str(name), item, column_names, faults)


def find_path_faults(resources: Iterable[Resource], earlier_resources: Sequence[Resource] = ()) -> Iterator[Fault]:
    """Find old addresses that two tables have: the first one's alone would answer.

    Parameters
    ----------
    resources
        Collections of a site.
    earlier_resources
        Collections before these, of which nothing is told.

    Yields
    ------
    faults
        At each address that one before it has.
    """
    owners_by_path: dict[str, str] = {}
    for resource in (*earlier_resources, *resources):
        for table, endpoint in (
            (spec.table, endpoint) for spec in resource.tables for endpoint in spec.table.endpoints
        ):
            for path in endpoint.paths:
                path_owner = owners_by_path.setdefault(path, f"{table.qualified_name} ({endpoint.name})")
                if (
                    path_owner != f"{table.qualified_name} ({endpoint.name})"
                    and resource not in earlier_resources
                    and endpoint.place
                ):
                    message = (
                        f"{table.qualified_name}.endpoints.{endpoint.name}: {path} is an address of {path_owner}, too"
                    )
                    yield Fault(message=message, place=endpoint.place, remedy="give one of them another path")


def _read_endpoint(
    key_path: str, name: str, endpoint_fields: KeyValues, column_names: Sequence[str] | None, faults: FaultCollector
) -> Endpoint:
    endpoint_kind = endpoint_fields.get("like", "query")
    for key, required_kind in _KIND_BY_KEY.items():
        if key in endpoint_fields and required_kind != endpoint_kind:
            faults.add_error(
                f"{key_path}.{key}: it goes with like: {required_kind}",
                endpoint_fields.places[key],
                "take it out, or say that",
            )
    paths = [
        _read_path(key_path, endpoint_kind, param_fields, column_names, faults)
        for param_fields in endpoint_fields.get("path", ())
    ]
    if endpoint_kind == "sitools2" and "path" not in endpoint_fields.places:
        faults.add_error(
            f"{key_path} lacks the key 'path'", endpoint_fields.place, "the data set's address: /webs_IAS_SDO_dataset"
        )
    elif endpoint_kind == "page" and "path" not in endpoint_fields.places:
        faults.add_error(f"{key_path} lacks the key 'path'", endpoint_fields.place, "/detail/exposure/{exp_id}")
    if len({column for _, column in paths}) > 1:
        faults.add_error(
            f"{key_path}.path: its addresses end with several columns",
            endpoint_fields.places["path"],
            "make an endpoint of each",
        )
    param_fields = endpoint_fields.get("params", {})
    param_names = {str(key).lower() for key in param_fields}
    params = tuple(
        _read_endpoint_parameter(f"{key_path}.params.{key}", key, entry, column_names, param_names, faults)
        for key, entry in param_fields.items()
    )
    for key in endpoint_fields.get("order", ()):
        _check_select_items(
            f"SELECT 1 FROM t ORDER BY {key}", f"{key_path}.order", key, column_names, param_names, faults
        )
    for key in endpoint_fields.get("columns", ()):
        _check_select_items(f"SELECT {key} FROM t", f"{key_path}.columns", key, column_names, param_names, faults)
    cadences = endpoint_fields.get("cadence", {})
    for key, entry in cadences.items():
        _read_condition(entry, f"{key_path}.cadence.{key}", column_names, {SECONDS_PARAM}, faults)
    votable_options = endpoint_fields.get("votable", {})
    format_name = endpoint_fields.get("format")
    if format_name is not None and format_name not in {entry.name for entry in formats.load_formats()}:
        remedy = suggest_spelling(format_name, [entry.name for entry in formats.load_formats()])
        faults.add_error(f"{key_path}.format: no format is called {str(format_name)!r}", format_name.place, remedy)
    elif format_name not in {None, "votable"} and votable_options:
        faults.add_error(
            f"{key_path}.votable: it writes {format_name}", endpoint_fields.places["votable"], "leave one of them out"
        )
    return Endpoint(
        name=name,
        kind=endpoint_kind,
        paths=tuple(path for path, _ in paths if path),
        title=_read_optional_text(endpoint_fields, "title"),
        description=_read_optional_text(endpoint_fields, "description"),
        params=params,
        columns=tuple(map(str, endpoint_fields.get("columns", ()))),
        condition=_read_condition(endpoint_fields.get("where"), f"{key_path}.where", column_names, param_names, faults),
        order_by=tuple(map(str, endpoint_fields.get("order", ()))),
        row_limit=endpoint_fields.get("rows"),
        format_name=None if format_name is None else str(format_name),
        options={
            key: str(votable_options[key])
            for key in ("version", "namespace", "serialization", "type")
            if key in votable_options
        },
        constants={str(key): str(value) for key, value in votable_options.get("params", {}).items()},
        column=next((column for _, column in paths), None),
        cadences={str(key): str(entry) for key, entry in cadences.items()},
        archives={str(key): str(entry) for key, entry in endpoint_fields.get("archives", {}).items()}
        or DEFAULT_ARCHIVES,
        place=endpoint_fields.place,
    )


def _read_path(
    key_path: str,
    endpoint_kind: str,
    path_text: WrittenScalar,
    column_names: Sequence[str] | None,
    faults: FaultCollector,
) -> tuple[str, str | None]:
    """Read an old address; of a page, what stands before the row's column, and that."""
    if endpoint_kind != "page":
        if not _PATH_PATTERN.fullmatch(path_text):
            remedy = "the old address without its host: /search.votable"
            faults.add_error(f"{key_path}.path: {str(path_text)!r} is no path", path_text.place, remedy)
        return str(path_text), None
    match = _PAGE_PATH_PATTERN.fullmatch(path_text)
    if match is None:
        message = f"{key_path}.path: a page's address ends with a column of its row in braces"
        faults.add_error(message, path_text.place, "/detail/exposure/{exp_id}")
        return "", None
    names_by_lower_case = {column_name.lower(): column_name for column_name in column_names or ()}
    if column_names is not None and match[2].lower() not in names_by_lower_case:
        faults.add_error(
            f"{key_path}.path: the table has no column {match[2]!r}",
            path_text.place,
            suggest_spelling(match[2], column_names),
        )
    return match[1], names_by_lower_case.get(match[2].lower(), match[2])


def _read_endpoint_parameter(
    key_path: str,
    name: WrittenScalar,
    param_fields: KeyValues,
    column_names: Sequence[str] | None,
    param_names: set[str],
    faults: FaultCollector,
) -> EndpointParameter:
    attributes = {
        key: param_fields[key]
        for key in ("type", "unit", "ucd", "description", "minimum", "maximum")
        if key in param_fields
    }
    constant_column = build_constant(str(name), attributes, key_path, faults)  # type: ignore[arg-type]
    param_type = constant_column.type if "type" in param_fields else STRING
    if param_type.is_array:
        faults.add_error(
            f"{key_path}: a parameter is one value, not {param_type}",
            param_fields.places["type"],
            "leave the array out",
        )
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        faults.add_error(f"{key_path}: {str(name)!r} is no name", name.place, "a letter, then letters, digits and _")
    if "in" in param_fields:
        try:
            units.compute_factor(constant_column.unit, str(param_fields["in"]))
        except ValueError as error:
            faults.add_error(
                f"{key_path}.in: {error}",
                param_fields["in"].place,
                "unit: what clients say; in: a unit of the same kind",
            )
    if "in" in param_fields and not param_type.is_numeric:
        faults.add_error(
            f"{key_path}.in: only numbers have units, not {param_type}", param_fields.places["in"], "type: float64"
        )
    for key, texts in (
        ("default", [param_fields["default"]] if "default" in param_fields else []),
        ("values", param_fields.get("values", ())),
    ):
        for text in texts:
            if not _is_readable_value(param_type, str(text)):
                faults.add_error(
                    f"{key_path}.{key}: {str(text)!r} is no {param_type}",
                    text.place,
                    f"a value of the type {param_type}",
                )
    for key, of in param_fields.get("columns", {}).items():
        for text in of:
            _check_select_items(
                f"SELECT {text} FROM t", f"{key_path}.columns.{key}", text, column_names, param_names, faults
            )
    param = Param(
        name=str(name).upper(),
        type=param_type,
        unit=constant_column.unit,
        ucd=constant_column.ucd,
        description=constant_column.description,
        default=str(param_fields["default"]) if "default" in param_fields else None,
        required=bool(param_fields.get("required", False)),
        allowed=tuple(map(str, param_fields.get("values", ()))),
        minimum=constant_column.minimum,
        maximum=constant_column.maximum,
    )
    return EndpointParameter(
        param=param,
        client_name=str(name),
        condition=_read_condition(param_fields.get("where"), f"{key_path}.where", column_names, param_names, faults),
        unit=str(param_fields["in"]) if "in" in param_fields else None,
        columns={str(key).lower(): tuple(map(str, of)) for key, of in param_fields.get("columns", {}).items()},
    )


def _is_readable_value(param_type: Type, text: str) -> bool:
    """Check whether a request may say this."""
    try:
        if param_type.is_timestamp:
            datetime.fromisoformat(text)
        elif param_type.is_integer:
            int(text)
        elif param_type.is_numeric:
            float(text)
    except ValueError:
        return False
    return not param_type.is_boolean or text.lower() in {"true", "false", "1", "0"}


def _read_optional_text(fields: KeyValues, key: str) -> str | None:
    if key in fields:
        return str(fields[key]).strip()
    return None


def _read_condition(
    condition_text: WrittenScalar | None,
    key_path: str,
    column_names: Sequence[str] | None,
    param_names: set[str],
    faults: FaultCollector,
) -> str | None:
    """Check a condition over the row and the parameters."""
    if condition_text is None:
        return None
    tree = parse_written_expression(condition_text, key_path, faults, condition=True)
    if tree is not None:
        _check_referenced_names(tree, condition_text, key_path, column_names, param_names, faults)
    return str(condition_text)


def _check_select_items(
    text: str,
    key_path: str,
    item_text: WrittenScalar,
    column_names: Sequence[str] | None,
    param_names: set[str],
    faults: FaultCollector,
) -> None:
    """Check items of a select list, or of ORDER BY."""
    try:
        tree = adql.parse_query(text)
    except ParseError as error:
        faults.add_error(f"{key_path}: {error.message}", item_text.place, error.remedy)
        return
    if " FROM " in item_text.upper() or ";" in item_text:
        faults.add_error(
            f"{key_path}: {str(item_text)!r} is no column",
            item_text.place,
            "a name, or an expression and its name: x AS y",
        )
    _check_referenced_names(tree, item_text, key_path, column_names, param_names, faults)


def _check_referenced_names(
    tree: object,
    written_text: WrittenScalar,
    key_path: str,
    column_names: Sequence[str] | None,
    param_names: set[str],
    faults: FaultCollector,
) -> None:
    """Refuse parameters that the address has not, and columns that the table has not."""
    if column_names is None:
        lower_case_names = None
    else:
        lower_case_names = {column_name.lower() for column_name in column_names}
    for node in walk_tree(tree):
        if not isinstance(node, ColumnRef):
            continue
        prefix = ".".join(part.name for part in node.qualifier).lower()
        name = node.name.name
        if prefix == PARAM_PREFIX and name.lower() not in param_names:
            message = f"{key_path}: there is no parameter {name!r}"
            hint = suggest_spelling(name, param_names)
        elif prefix == "" and lower_case_names is not None and name.lower() not in lower_case_names:
            message = f"{key_path}: the table has no column {name!r}"
            hint = suggest_spelling(name, column_names or ())
        else:
            continue
        faults.add_error(
            message,
            written_text.locate_character(node.text_offset) if written_text.count(name) else written_text.place,
            hint or "param.NAME is a parameter",
        )

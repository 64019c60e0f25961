"""Read the addresses that a table had on another server (``endpoints``).

An endpoint has parameters, conditions, and the shape of its answers.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from hven import adql, formats
from hven.adql.syntax_tree import ColumnRef, walk_tree
from hven.descriptor.api.keys import build_constant, parse_written_expression
from hven.descriptor.value_schema import read_unstripped_text
from hven.model import units
from hven.model.errors import Fault, ParseError, suggest_spelling
from hven.model.params import Param
from hven.model.types import STRING
from hven.plugins.heritage.table_endpoints import EndpointParameter, TableEndpoint, list_endpoints

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from hven.descriptor.api.keys import TableDescriptorKeyValue
    from hven.descriptor.value_schema import FaultCollector, LocatedKeyValues
    from hven.descriptor.written_yaml import LocatedYamlScalar
    from hven.model.resource import CollectionSpec
    from hven.model.table import Table
    from hven.model.types import ColumnType

PARAM_PREFIX, SECONDS_PARAM = "param", "seconds"
DEFAULT_ARCHIVES = {"plugin02": "tar", "plugin03": "zip"}
VOTABLE_OPTION_KEYS = ("version", "namespace", "serialization", "type")
PARAM_ATTRIBUTE_KEYS = ("type", "unit", "ucd", "description", "minimum", "maximum")
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


def read_endpoints(key_value: TableDescriptorKeyValue) -> tuple[TableEndpoint, ...]:
    """Read ``endpoints`` of a table."""
    endpoints = []
    for name, endpoint_fields in key_value.value.items():
        endpoint_path = f"{key_value.key_path}.{name}"
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
            message = f"{endpoint_path}: an endpoint's name is part of an address"
            key_value.faults.add_error(message, name.place, "use only letters, digits, '_', '.' and '-'")
        reader = _EndpointReader(endpoint_path, endpoint_fields, key_value.column_names, key_value.faults)
        endpoints.append(reader.read(str(name)))
    return tuple(endpoints)


def find_endpoint_path_conflicts(
    resources: Iterable[CollectionSpec], earlier_resources: Sequence[CollectionSpec] = ()
) -> Iterator[Fault]:
    """Find old addresses that two tables have: only the first table would answer.

    Parameters
    ----------
    resources
        Collections of a site.
    earlier_resources
        Collections before these; their faults are not reported.

    Yields
    ------
    faults
        One fault for each address that an earlier endpoint has.
    """
    owners_by_path: dict[str, str] = {}
    for resource in (*earlier_resources, *resources):
        is_reported = resource not in earlier_resources
        for table, endpoint in _iterate_endpoints(resource):
            endpoint_label = f"{table.qualified_name} ({endpoint.name})"
            for path in endpoint.paths:
                path_owner = owners_by_path.setdefault(path, endpoint_label)
                if path_owner == endpoint_label or not is_reported or not endpoint.place:
                    continue
                message = f"{table.qualified_name}.endpoints.{endpoint.name}: {path} is also an address of {path_owner}"
                yield Fault(
                    message=message, place=endpoint.place, remedy="give one of the two endpoints a different path"
                )


def _iterate_endpoints(resource: CollectionSpec) -> Iterator[tuple[Table, TableEndpoint]]:
    for spec in resource.tables:
        for endpoint in list_endpoints(spec.table):
            yield spec.table, endpoint


class _EndpointReader:
    """Reads the keys of one endpoint."""

    def __init__(
        self,
        key_path: str,
        endpoint_fields: LocatedKeyValues,
        column_names: Sequence[str] | None,
        faults: FaultCollector,
    ) -> None:
        self._key_path = key_path
        self._fields = endpoint_fields
        self._column_names = column_names
        self._faults = faults
        self._kind = endpoint_fields.get("like", "query")
        self._param_names = {str(name).lower() for name in endpoint_fields.get("params", {})}

    def read(self, name: str) -> TableEndpoint:
        """Read the endpoint."""
        fields, key_path = self._fields, self._key_path
        self._check_keys_of_kind()
        paths_and_columns = [self._read_path(path) for path in fields.get("path", ())]
        page_columns = [column for _, column in paths_and_columns]
        self._check_paths(page_columns)
        params = tuple(
            self._read_parameter(f"{key_path}.params.{param_name}", param_name, param_fields)
            for param_name, param_fields in fields.get("params", {}).items()
        )
        for expression in fields.get("order", ()):
            self._check_select_items(f"SELECT 1 FROM t ORDER BY {expression}", f"{key_path}.order", expression)
        for expression in fields.get("columns", ()):
            self._check_select_items(f"SELECT {expression} FROM t", f"{key_path}.columns", expression)
        cadences = fields.get("cadence", {})
        for cadence_name, condition_text in cadences.items():
            cadence_path = f"{key_path}.cadence.{cadence_name}"
            self._check_condition(condition_text, cadence_path, {SECONDS_PARAM})
        archives = _to_text_mapping(fields.get("archives", {}))
        votable_options = fields.get("votable", {})
        self._check_placeholders(votable_options.get("params", {}))
        written_options = {key: str(votable_options[key]) for key in VOTABLE_OPTION_KEYS if key in votable_options}
        return TableEndpoint(
            name=name,
            kind=self._kind,
            paths=tuple(path for path, _ in paths_and_columns if path),
            title=_read_optional_text(fields, "title"),
            description=_read_optional_text(fields, "description"),
            params=params,
            columns=tuple(map(str, fields.get("columns", ()))),
            condition=self._read_condition(fields, key_path),
            order_by=tuple(map(str, fields.get("order", ()))),
            row_limit=fields.get("rows"),
            format_name=self._read_format_name(),
            options=written_options,
            constants=_to_text_mapping(votable_options.get("params", {})),
            column=next(iter(page_columns), None),
            cadences=_to_text_mapping(cadences),
            archives=archives or DEFAULT_ARCHIVES,
            place=fields.place,
        )

    def _check_keys_of_kind(self) -> None:
        """Report keys that endpoints of this kind do not have."""
        for key, required_kind in _KIND_BY_KEY.items():
            if key in self._fields and required_kind != self._kind:
                message = f"{self._key_path}.{key}: only endpoints with like: {required_kind} have this key"
                self._faults.add_error(
                    message, self._fields.places[key], f"remove this key, or write `like: {required_kind}`"
                )

    def _check_paths(self, page_columns: Sequence[str | None]) -> None:
        fields = self._fields
        remedies = {
            "sitools2": "write the data set's address: path: /webs_IAS_SDO_dataset",
            "page": "write the page's address: path: /detail/exposure/{exp_id}",
        }
        if self._kind in remedies and "path" not in fields.places:
            message = f"{self._key_path} lacks the key 'path'"
            self._faults.add_error(message, fields.place, remedies[self._kind])
        if len(set(page_columns)) > 1:
            message = f"{self._key_path}.path: the addresses must all end with the same column"
            self._faults.add_error(message, fields.places["path"], "write a separate endpoint for each column")

    def _read_format_name(self) -> str | None:
        """Read ``format``, and check that ``votable`` stands with the format of that name alone."""
        written_name: LocatedYamlScalar | None = self._fields.get("format")
        if written_name is None:
            return None
        format_names = [known_format.name for known_format in formats.load_formats()]
        if written_name not in format_names:
            message = f"{self._key_path}.format: there is no format {str(written_name)!r}"
            self._faults.add_error(message, written_name.place, suggest_spelling(written_name, format_names))
        elif written_name != "votable" and self._fields.get("votable"):
            message = f"{self._key_path}.votable: this endpoint writes {written_name}, not VOTables"
            self._faults.add_error(message, self._fields.places["votable"], "remove 'votable' or 'format'")
        return str(written_name)

    def _read_path(self, path_text: LocatedYamlScalar) -> tuple[str, str | None]:
        """Read an old address. For a page, return the part before the row's column, and that column."""
        key_path = f"{self._key_path}.path"
        if self._kind != "page":
            if not _PATH_PATTERN.fullmatch(path_text):
                remedy = "write the old address without its host: /search.votable"
                self._faults.add_error(f"{key_path}: {str(path_text)!r} is not a path", path_text.place, remedy)
            return str(path_text), None
        match = _PAGE_PATH_PATTERN.fullmatch(path_text)
        if match is None:
            message = f"{key_path}: the address of a page must end with a column name in braces"
            self._faults.add_error(message, path_text.place, "write an address such as /detail/exposure/{exp_id}")
            return "", None
        prefix, written_column = match.groups()
        column_names = self._column_names or ()
        names_by_lower_case = {column_name.lower(): column_name for column_name in column_names}
        column = names_by_lower_case.get(written_column.lower())
        if column is None and self._column_names is not None:
            message = f"{key_path}: the table has no column {written_column!r}"
            self._faults.add_error(message, path_text.place, suggest_spelling(written_column, column_names))
        return prefix, column or written_column

    def _read_parameter(
        self, key_path: str, name: LocatedYamlScalar, param_fields: LocatedKeyValues
    ) -> EndpointParameter:
        attributes = {key: param_fields[key] for key in PARAM_ATTRIBUTE_KEYS if key in param_fields}
        constant = build_constant(str(name), attributes, key_path, self._faults)  # type: ignore[arg-type]
        param_type = STRING
        if "type" in param_fields:
            param_type = constant.type
        if param_type.is_array:
            message = f"{key_path}: a parameter must be a single value, not {param_type}"
            self._faults.add_error(message, param_fields.places["type"], "use a type that is not an array")
        if not re.fullmatch(r"[A-Za-z_]\w*", name):
            message = f"{key_path}: {str(name)!r} is not a name"
            self._faults.add_error(message, name.place, "begin with a letter, and use only letters, digits and _")
        if "in" in param_fields:
            self._check_target_unit(key_path, param_fields, param_type, constant.unit)
        self._check_parameter_values(key_path, param_fields, param_type)
        columns_by_value = param_fields.get("columns", {})
        for value, expressions in columns_by_value.items():
            for expression in expressions:
                self._check_select_items(f"SELECT {expression} FROM t", f"{key_path}.columns.{value}", expression)
        param = Param(
            name=str(name).upper(),
            type=param_type,
            unit=constant.unit,
            ucd=constant.ucd,
            description=constant.description,
            default=read_unstripped_text(param_fields, "default"),
            required=bool(param_fields.get("required", False)),
            allowed=tuple(map(str, param_fields.get("values", ()))),
            minimum=constant.minimum,
            maximum=constant.maximum,
        )
        return EndpointParameter(
            param=param,
            client_name=str(name),
            condition=self._read_condition(param_fields, key_path),
            unit=read_unstripped_text(param_fields, "in"),
            columns={
                str(value).lower(): tuple(map(str, expressions)) for value, expressions in columns_by_value.items()
            },
        )

    def _check_target_unit(
        self, key_path: str, param_fields: LocatedKeyValues, param_type: ColumnType, unit: str | None
    ) -> None:
        """Check ``in``, the unit into which the values of clients are converted."""
        target_unit: LocatedYamlScalar = param_fields["in"]
        try:
            units.compute_unit_factor(unit, str(target_unit))
        except ValueError as error:
            remedy = "write the clients' unit under `unit`, and a unit of the same kind under `in`"
            self._faults.add_error(f"{key_path}.in: {error}", target_unit.place, remedy)
        if not param_type.is_numeric:
            message = f"{key_path}.in: only numbers have units, not {param_type}"
            self._faults.add_error(message, param_fields.places["in"], "write `type: float64`")

    def _check_parameter_values(self, key_path: str, param_fields: LocatedKeyValues, param_type: ColumnType) -> None:
        """Check that the default and the allowed values are of the parameter's type."""
        texts = [("values", text) for text in param_fields.get("values", ())]
        if "default" in param_fields:
            texts.insert(0, ("default", param_fields["default"]))
        for key, text in texts:
            if not _is_valid_parameter_value(param_type, str(text)):
                message = f"{key_path}.{key}: {str(text)!r} is not of type {param_type}"
                self._faults.add_error(message, text.place, f"write a value of type {param_type}")

    def _check_placeholders(self, templates: Mapping[LocatedYamlScalar, LocatedYamlScalar]) -> None:
        """Check that the PARAMs of the answer name parameters of this endpoint."""
        for name, template in templates.items():
            for param_name in re.findall(r"\{param\.([^{}]*)\}", str(template), re.IGNORECASE):
                if param_name.lower() not in self._param_names:
                    message = f"{self._key_path}.votable.params.{name}: the endpoint has no parameter {param_name!r}"
                    hint = suggest_spelling(param_name, self._param_names)
                    self._faults.add_error(message, template.place, hint or "list the parameter under `params`")

    def _read_condition(self, fields: LocatedKeyValues, key_path: str) -> str | None:
        """Read ``where``: a condition over the row and the parameters."""
        condition_text: LocatedYamlScalar | None = fields.get("where")
        if condition_text is None:
            return None
        self._check_condition(condition_text, f"{key_path}.where", self._param_names)
        return str(condition_text)

    def _check_condition(self, condition_text: LocatedYamlScalar, key_path: str, param_names: set[str]) -> None:
        tree = parse_written_expression(condition_text, key_path, self._faults, is_condition=True)
        if tree is not None:
            self._check_referenced_names(tree, condition_text, key_path, param_names)

    def _check_select_items(self, query: str, key_path: str, written_text: LocatedYamlScalar) -> None:
        """Check items of a select list or of ORDER BY, which stand in `query`."""
        try:
            tree = adql.parse_query(query)
        except ParseError as error:
            self._faults.add_error(f"{key_path}: {error.message}", written_text.place, error.remedy)
            return
        if " FROM " in written_text.upper() or ";" in written_text:
            message = f"{key_path}: {str(written_text)!r} is not a column"
            self._faults.add_error(
                message, written_text.place, "write a column name, or an expression with a name: x AS y"
            )
        self._check_referenced_names(tree, written_text, key_path, self._param_names)

    def _check_referenced_names(
        self, tree: object, written_text: LocatedYamlScalar, key_path: str, param_names: set[str]
    ) -> None:
        """Report parameters that the endpoint does not have, and columns that the table does not have."""
        column_names = self._column_names or ()
        lower_case_names = {column_name.lower() for column_name in column_names}
        for node in walk_tree(tree):
            if not isinstance(node, ColumnRef):
                continue
            prefix = ".".join(part.name for part in node.qualifier).lower()
            name = node.name.name
            if prefix == PARAM_PREFIX and name.lower() not in param_names:
                message = f"{key_path}: the endpoint has no parameter {name!r}"
                hint = suggest_spelling(name, param_names)
            elif prefix == "" and self._column_names is not None and name.lower() not in lower_case_names:
                message = f"{key_path}: the table has no column {name!r}"
                hint = suggest_spelling(name, column_names)
            else:
                continue
            place = written_text.place
            if written_text.count(name):
                place = written_text.locate_character(node.text_offset)
            self._faults.add_error(message, place, hint or "write param.NAME for a parameter")


def _to_text_mapping(values: Mapping[Any, Any]) -> dict[str, str]:
    return {str(key): str(value) for key, value in values.items()}


def _is_valid_parameter_value(param_type: ColumnType, text: str) -> bool:
    """Return whether a request may give this value."""
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


def _read_optional_text(fields: LocatedKeyValues, key: str) -> str | None:
    if key in fields:
        return str(fields[key]).strip()
    return None

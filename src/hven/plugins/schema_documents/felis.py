"""Read Felis: the schema of a database in YAML, as the Rubin Observatory writes it for TAP_SCHEMA.

The rows of its tables are read from that database.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Final

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from hven.descriptor.api.table_descriptions import (
    DescribedForeignKey,
    DescribedTable,
    TableDescriptionRequest,
    TableDescriptionSignature,
    TableSetDescription,
)
from hven.model.errors import SourceError, TextPlace
from hven.model.table import Column
from hven.model.types import parse_type

if TYPE_CHECKING:
    from pathlib import Path

DESCRIPTION = TableDescriptionSignature(
    signature_pattern=rb"(?ms)\A(?=.*^name:)(?=.*^tables:\s*(?:#[^\n]*\s*)*^[ \t]*-\s).*\b(?:datatype|columnRefs):"
)
FELIS_TYPES = {
    "boolean": "bool",
    "byte": "int16",
    "short": "int16",
    "int": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "timestamp": "timestamp",
    "char": "string",
    "string": "string",
    "unicode": "string",
    "text": "string",
}
LINE_KEY: Final = "\0line"  # no key of YAML text
ARRAY_DATATYPES = {"boolean", "byte", "short", "int", "long", "float", "double"}  # types of which there are arrays
MINOR_COLUMN_RANK, DEFAULT_RANK = 15, 10  # ranks of columns that TAP does not call principal, and of others


def _wrap_in_list(value: object) -> object:
    if isinstance(value, str):
        return [value]
    return value


Names = Annotated[list[str], BeforeValidator(_wrap_in_list)]


class FelisObject(BaseModel):
    """An object with a name; keys that only one database understands (``mysql:engine``) are its `model_extra`.

    Attributes
    ----------
    line
        Its line in the document.
    """

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)

    name: str
    id: str = Field("", alias="@id")
    description: str | None = None
    line: int = Field(0, alias=LINE_KEY)


class FelisColumn(FelisObject):
    """A column."""

    datatype: str
    nullable: bool | None = None
    length: int | None = None
    arraysize: str | int | None = Field(None, alias="votable:arraysize")
    unit: str | None = Field(None, alias="ivoa:unit")
    fits_unit: str | None = Field(None, alias="fits:tunit")
    ucd: str | None = Field(None, alias="ivoa:ucd")
    utype: str | None = Field(None, alias="votable:utype")
    principal: int | None = Field(None, alias="tap:principal")
    std: int | None = Field(None, alias="tap:std")


class FelisColumnReference(BaseModel):
    """A column that is that of another schema, except for its name and some attributes."""

    ref_name: str | None = None
    overrides: dict[str, Any] = Field(default_factory=dict)


class FelisConstraint(FelisObject):
    """A condition on a table, or a foreign key."""

    kind: str = Field(alias="@type")
    columns: Names = Field(default_factory=list)
    referenced_columns: Names = Field(default_factory=list, alias="referencedColumns")
    expression: str = ""


class FelisColumnList(FelisObject):
    """An index of the database, or a group of columns."""

    columns: Names = Field(default_factory=list)


class FelisTable(FelisObject):
    """A table."""

    columns: list[FelisColumn] = Field(default_factory=list)
    column_references: dict[str, dict[str, dict[str, FelisColumnReference | None]]] = Field(
        default_factory=dict, alias="columnRefs"
    )
    primary: Names = Field(default_factory=list, alias="primaryKey")
    constraints: list[FelisConstraint] = Field(default_factory=list)
    indexes: list[FelisColumnList] = Field(default_factory=list)
    groups: list[FelisColumnList] = Field(default_factory=list, alias="columnGroups")
    table_index: int | None = Field(None, alias="tap:table_index")


class FelisResource(BaseModel):
    """Another schema."""

    uri: str


class FelisSchema(FelisObject):
    """A schema."""

    resources: dict[str, FelisResource] = Field(default_factory=dict)
    tables: list[FelisTable]

    @cached_property
    def _columns_by_id(self) -> dict[str, tuple[str, str]]:
        return {column.id: (table.name, column.name) for table in self.tables for column in table.columns}

    def resolve_column(self, reference: str) -> tuple[str, str]:
        """Return table and name of a column that is referred to by ``@id`` or as ``#Table.column``."""
        table_name = reference.lstrip("#").partition(".")[0]
        column_name = reference.rpartition(".")[2].lstrip("#")
        return self._columns_by_id.get(reference, (table_name, column_name))


class _LineLoader(yaml.CSafeLoader):
    """Reads plain YAML, and notes the lines of objects with a name."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        if isinstance(mapping.get("name"), str):
            mapping[LINE_KEY] = node.start_mark.line + 1
        return mapping


def read_table_set_description(request: TableDescriptionRequest) -> TableSetDescription:
    """Read a schema.

    Raises
    ------
    SourceError
        The file is no YAML, or no schema as Felis defines it; the message names the line or the key.
    """
    schema = read_felis_schema(request)
    secret = f"{request.name.upper()}_DB"
    tables = [
        _DescribedTableBuilder(table, schema).build_description(secret)
        for table in sorted(schema.tables, key=_build_sort_key)
        if table.columns
    ]
    note = (
        f"set the secret {secret} (in secrets.toml, or in the environment) to the address of the database that "
        "contains the rows; the Felis schema does not give this address"
    )
    return TableSetDescription(
        kind="Felis schema", tables=tables, title=None, description=schema.description, notes=[note]
    )


def _build_sort_key(table: FelisTable) -> int:
    """Return the key that sorts tables by their index; tables without one come last."""
    if table.table_index is None:
        return 1 << 30
    return table.table_index


def read_felis_schema(request: TableDescriptionRequest, chain: tuple[Path, ...] = ()) -> FelisSchema:
    """Read a schema, with the columns that it takes from others.

    Parameters
    ----------
    request
        The document.
    chain
        The schemas that refer to it.

    Raises
    ------
    SourceError
        As in `read_table_set_description`.
    """
    text = request.read_document_file()
    file_name = request.path.name
    try:
        events = yaml.parse(text, yaml.CSafeLoader)
        if any(isinstance(event, yaml.AliasEvent) for event in events):  # they can make much data of a small file
            raise SourceError(
                "Hven does not read YAML aliases (*name) here",
                place=TextPlace(file=file_name),
                remedy="replace each alias with its value",
            )
        document = yaml.load(text, _LineLoader)  # noqa: S506  (a safe loader)
    except yaml.MarkedYAMLError as error:
        line = None
        if error.problem_mark:
            line = error.problem_mark.line + 1
        raise SourceError(
            f"the file is not YAML: {error.problem}", place=TextPlace(file=file_name, line=line)
        ) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise SourceError(f"the file is not YAML: {error}", place=TextPlace(file=file_name)) from error
    try:
        schema = FelisSchema.model_validate(document)
        _ReferenceResolver(schema, request, chain).add_referenced_columns()
    except ValidationError as error:
        first_error = error.errors()[0]
        path = ".".join(_format_error_path(first_error["loc"], document))
        message = f"{path}: {first_error['msg']}"
        raise SourceError(
            message, place=TextPlace(file=file_name), remedy="run `felis validate` for details"
        ) from error
    return schema


class _ReferenceResolver:
    """Adds the columns of other schemas that a schema refers to, after its own ones, as Felis does."""

    def __init__(self, schema: FelisSchema, request: TableDescriptionRequest, chain: tuple[Path, ...]) -> None:
        self._schema = schema
        self._request = request
        self._chain = (*chain, request.path.resolve())
        self._resources: dict[str, FelisSchema] = {}

    def add_referenced_columns(self) -> None:
        """Add the columns to all tables."""
        for table in self._schema.tables:
            for resource_name, tables in table.column_references.items():
                for table_name, references in tables.items():
                    for name, reference in references.items():
                        column = self._find_column(resource_name, table_name, name, reference or FelisColumnReference())
                        table.columns.append(column.model_copy(update={"id": f"{table.id or f'#{table.name}'}.{name}"}))

    def _find_column(
        self, resource_name: str, table_name: str, name: str, reference: FelisColumnReference
    ) -> FelisColumn:
        wanted_name = reference.ref_name or name
        if resource_name not in self._resources:
            self._resources[resource_name] = self._read_resource(resource_name)
        for table in self._resources[resource_name].tables:
            for column in table.columns if table.name == table_name else ():
                if column.name == wanted_name:
                    attributes = column.model_dump(by_alias=True) | reference.overrides
                    return FelisColumn.model_validate(attributes | {"name": name})
        raise SourceError(
            f"columnRefs: {resource_name} has no column {table_name}.{wanted_name}",
            place=TextPlace(file=self._request.path.name),
            remedy="run `felis validate` for details",
        )

    def _read_resource(self, name: str) -> FelisSchema:
        """Read another schema, which must be a file beside this one: a schema from the web reads no file here."""
        resource = self._schema.resources.get(name)
        uri = "" if resource is None else resource.uri
        path = self._request.path.parent / uri
        is_beside = uri == path.name and path.is_file()
        if not is_beside or path.resolve() in self._chain:
            problem = "refers back to this schema" if is_beside else "is not a file beside this schema"
            raise SourceError(
                f"columns are those of the resource {name!r:.80}, but {uri!r:.200} {problem}",
                place=TextPlace(file=self._request.path.name),
                remedy="put the file there, or write the columns into the schema with `felis dump "
                "--dereference-resources`",
            )
        return read_felis_schema(replace(self._request, path=path), self._chain)


def _format_error_path(steps: Any, document: Any) -> list[str]:
    """Format the steps of a path; elements of lists have their names in it."""
    path_parts: list[str] = []
    for step in steps:
        try:
            document = document[step]
        except (KeyError, IndexError, TypeError):
            document = None
        if isinstance(step, int) and isinstance(document, dict) and "name" in document:
            path_parts.append(str(document["name"]))
        else:
            path_parts.append(str(step))
    return path_parts


class _DescribedTableBuilder:
    """Builds the description of one table of a schema."""

    def __init__(self, table: FelisTable, schema: FelisSchema) -> None:
        self._table = table
        self._schema = schema

    def build_description(self, secret: str) -> DescribedTable:
        """Build the description; `secret` names the database."""
        table = self._table
        own_columns = {column.name for column in table.columns}
        notes = []
        columns = []
        for column in table.columns:
            if column.datatype == "binary":
                notes.append(f"{column.name} is left out, because it is binary")
            else:
                columns.append(_build_column(column, table.name))
        indexes = [self._resolve_columns(index.columns) for index in table.indexes]
        return DescribedTable(
            name=table.name,
            source={"kind": "sql", "url": f"${secret}", "table": f"{self._schema.name}.{table.name}"},
            columns=columns,
            description=table.description,
            primary=self._resolve_columns(table.primary),
            keys=self._build_foreign_keys(),
            indexes=[names for names in indexes if own_columns.issuperset(names)],
            notes=notes,
        )

    def _resolve_columns(self, references: list[str]) -> list[str]:
        """Return the names of columns that are referred to by ``@id`` or as ``#Table.column``."""
        return [self._schema.resolve_column(reference)[1] for reference in references]

    def _build_foreign_keys(self) -> dict[str, DescribedForeignKey]:
        keys: dict[str, DescribedForeignKey] = {}
        for constraint in self._table.constraints:
            targets = {self._schema.resolve_column(reference)[0] for reference in constraint.referenced_columns}
            if constraint.kind == "ForeignKey" and constraint.columns and len(targets) == 1:
                keys[constraint.name] = DescribedForeignKey(
                    target=targets.pop(),
                    columns=self._resolve_columns(constraint.columns),
                    target_columns=self._resolve_columns(constraint.referenced_columns),
                )
        return keys


def _build_column(column: FelisColumn, table: str) -> Column:
    type_name = FELIS_TYPES.get(column.datatype)
    if type_name is None:
        raise SourceError(
            f"{table}.{column.name}: Felis has no datatype {column.datatype!r}",
            remedy=f"use one of {', '.join(FELIS_TYPES)}",
        )
    size = str(column.arraysize or "").strip()
    if column.datatype in ARRAY_DATATYPES and size not in {"", "1"}:
        length = size if size.isdigit() else "*"
        type_name = f"{type_name}[{length}]"
    description = None
    if column.description:
        description = " ".join(column.description.split())
    return Column(
        name=column.name,
        type=parse_type(type_name),
        unit=column.unit or column.fits_unit,
        ucd=column.ucd,
        utype=column.utype,
        description=description,
        required=column.nullable is False,
        rank=MINOR_COLUMN_RANK if column.principal == 0 else DEFAULT_RANK,
        std=bool(column.std),
    )

"""Felis: the schema of a database in YAML, as the Rubin Observatory writes it for TAP_SCHEMA.

Its tables are read from that database.
"""

from __future__ import annotations

from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from hven.descriptor._table_descriptions import (
    DescribedTable,
    DescriptionKind,
    DescriptionRequest,
    TableRelation,
    TableSetDescription,
)
from hven.model.errors import Place, SourceError
from hven.model.table import Column
from hven.model.types import parse_type

DESCRIPTION = DescriptionKind(
    signature_pattern=rb"(?ms)\A(?=.*^name:)(?=.*^tables:\s*(?:#[^\n]*\s*)*^[ \t]*-\s).*\bdatatype:"
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
ARRAY_DATATYPES = {"boolean", "byte", "short", "int", "long", "float", "double"}  # of which arrays may be


def _wrap_in_list(value: object) -> object:
    if isinstance(value, str):
        return [value]
    return value


Names = Annotated[list[str], BeforeValidator(_wrap_in_list)]


class _FelisObject(BaseModel):
    """What has a name; what only one database understands (``mysql:engine``) is passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    name: str
    id: str = Field("", alias="@id")
    description: str | None = None


class FelisColumn(_FelisObject):
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


class FelisConstraint(_FelisObject):
    """A condition on a table; foreign keys are those that are taken over."""

    kind: str = Field(alias="@type")
    columns: Names = Field(default_factory=list)
    referenced_columns: Names = Field(default_factory=list, alias="referencedColumns")


class FelisIndex(_FelisObject):
    """An index of the database."""

    columns: Names = Field(default_factory=list)


class FelisTable(_FelisObject):
    """A table."""

    columns: list[FelisColumn]
    primary: Names = Field(default_factory=list, alias="primaryKey")
    constraints: list[FelisConstraint] = Field(default_factory=list)
    indexes: list[FelisIndex] = Field(default_factory=list)
    table_index: int | None = Field(None, alias="tap:table_index")


class FelisSchema(_FelisObject):
    """A schema."""

    tables: list[FelisTable]


def read(request: DescriptionRequest) -> TableSetDescription:
    """Read a schema.

    Raises
    ------
    SourceError
        It is no YAML, or not what Felis says: with the line, or the key.
    """
    schema = _parse_felis_schema(request)
    secret = f"{request.name.upper()}_DB"
    columns_by_id = {
        column.id: (table.name, column.name) for table in schema.tables for column in table.columns if column.id
    }
    ordered = sorted(
        schema.tables,
        key=lambda schema_table: schema_table.table_index if schema_table.table_index is not None else 1 << 30,
    )
    tables = [
        _build_described_table(schema_table, schema.name, secret, columns_by_id)
        for schema_table in ordered
        if schema_table.columns
    ]
    note = (
        f"the rows are in the database that the secret {secret} names (secrets.toml, or the environment): Felis "
        f"does not say where it is"
    )
    return TableSetDescription(
        kind="Felis schema", tables=tables, title=None, description=schema.description, notes=[note]
    )


def _parse_felis_schema(request: DescriptionRequest) -> FelisSchema:
    text = request.read_document()
    file_name = request.path.name
    try:
        if any(
            isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.CSafeLoader)
        ):  # small files may say much by them
            raise SourceError("aliases (*name) are not read here", place=Place(file=file_name), remedy="write them out")
        document = yaml.load(text, yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        place = Place(file=file_name, line=line)
        raise SourceError(f"no YAML: {error.problem}", place=place) from error
    except yaml.YAMLError as error:
        raise SourceError(f"no YAML: {error}", place=Place(file=file_name)) from error
    try:
        return FelisSchema.model_validate(document)
    except ValidationError as error:
        first_error = error.errors()[0]
        path = ".".join(_format_error_path(first_error["loc"], document))
        raise SourceError(
            f"{path}: {first_error['msg']}", place=Place(file=file_name), remedy="`felis validate` says more"
        ) from error


def _format_error_path(steps: Any, document: Any) -> list[str]:
    """Name the elements of lists as they call themselves."""
    path_parts: list[str] = []
    for step in steps:
        try:
            document = document[step]
        except (KeyError, IndexError, TypeError):
            document = None
        path_parts.append(
            str(document["name"])
            if isinstance(step, int) and isinstance(document, dict) and "name" in document
            else str(step)
        )
    return path_parts


def _build_described_table(
    table: FelisTable, schema: str, secret: str, columns_by_id: dict[str, tuple[str, str]]
) -> DescribedTable:
    own_columns = {column.name for column in table.columns}

    def resolve_column_names(names: list[str]) -> list[str]:
        """Resolve ``#Table.column``."""
        return [
            columns_by_id[name][1] if name in columns_by_id else name.rpartition(".")[2].lstrip("#") for name in names
        ]

    keys: dict[str, TableRelation] = {}
    for constraint in table.constraints:
        target = {
            columns_by_id[name][0] if name in columns_by_id else name.lstrip("#").partition(".")[0]
            for name in constraint.referenced_columns
        }
        if constraint.kind == "ForeignKey" and constraint.columns and len(target) == 1:
            keys[constraint.name] = TableRelation(
                target=target.pop(),
                columns=resolve_column_names(constraint.columns),
                target_columns=resolve_column_names(constraint.referenced_columns),
            )
    notes = []
    columns = []
    for column in table.columns:
        if column.datatype == "binary":
            notes.append(f"{column.name} is binary, and left out")
            continue
        columns.append(_build_column(column, table.name))
    return DescribedTable(
        name=table.name,
        source={"kind": "sql", "url": f"${secret}", "table": f"{schema}.{table.name}"},
        columns=columns,
        description=table.description,
        primary=resolve_column_names(table.primary),
        keys=keys,
        indexes=[
            resolve_column_names(constraint.columns)
            for constraint in table.indexes
            if set(resolve_column_names(constraint.columns)) <= own_columns
        ],
        notes=notes,
    )


def _build_column(column: FelisColumn, table: str) -> Column:
    type_name = FELIS_TYPES.get(column.datatype)
    if type_name is None:
        raise SourceError(
            f"{table}.{column.name}: Felis has no datatype {column.datatype!r}",
            remedy=f"known: {', '.join(FELIS_TYPES)}",
        )
    size = str(column.arraysize or "").strip()
    is_array = column.datatype in ARRAY_DATATYPES and size not in {"", "1"}
    return Column(
        name=column.name,
        type=parse_type(f"{type_name}[{size if size.isdigit() else '*'}]" if is_array else type_name),
        unit=column.unit or column.fits_unit,
        ucd=column.ucd,
        utype=column.utype,
        description=" ".join(column.description.split()) if column.description else None,
        required=column.nullable is False,
        rank=15 if column.principal == 0 else 10,
        std=bool(column.std),
    )

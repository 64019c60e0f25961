"""Felis: the schema of a database in YAML, as the Rubin Observatory writes it for TAP_SCHEMA; its tables are read from that database."""

from __future__ import annotations

from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from hven.descriptor._described import Description, DescriptionKind, Given, Relation, TableSaid
from hven.model.errors import Place, SourceError
from hven.model.table import Column
from hven.model.types import parse_type

DESCRIPTION = DescriptionKind(begins=rb"(?ms)\A(?=.*^name:)(?=.*^tables:\s*(?:#[^\n]*\s*)*^[ \t]*-\s).*\bdatatype:")
TYPES = {
    "boolean": "bool", "byte": "int16", "short": "int16", "int": "int32", "long": "int64", "float": "float32", "double": "float64", "timestamp": "timestamp",
    "char": "string", "string": "string", "unicode": "string", "text": "string",
}  # fmt: skip
SIZED = {"boolean", "byte", "short", "int", "long", "float", "double"}  # of which arrays may be


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


Names = Annotated[list[str], BeforeValidator(_listed)]


class _Part(BaseModel):
    """What has a name; what only one database understands (``mysql:engine``) is passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    name: str
    id: str = Field("", alias="@id")
    description: str | None = None


class FelisColumn(_Part):
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


class FelisConstraint(_Part):
    """A condition on a table; foreign keys are those that are taken over."""

    kind: str = Field(alias="@type")
    columns: Names = Field(default_factory=list)
    referenced: Names = Field(default_factory=list, alias="referencedColumns")


class FelisIndex(_Part):
    """An index of the database."""

    columns: Names = Field(default_factory=list)


class FelisTable(_Part):
    """A table."""

    columns: list[FelisColumn]
    primary: Names = Field(default_factory=list, alias="primaryKey")
    constraints: list[FelisConstraint] = Field(default_factory=list)
    indexes: list[FelisIndex] = Field(default_factory=list)
    place: int | None = Field(None, alias="tap:table_index")


class FelisSchema(_Part):
    """A schema."""

    tables: list[FelisTable]


def read(given: Given) -> Description:
    """Read a schema.

    Raises
    ------
    SourceError
        It is no YAML, or not what Felis says: with the line, or the key.
    """
    schema = _schema(given)
    secret = f"{given.name.upper()}_DB"
    owner = {column.id: (table.name, column.name) for table in schema.tables for column in table.columns if column.id}
    ordered = sorted(schema.tables, key=lambda one: one.place if one.place is not None else 1 << 30)
    tables = [_table(one, schema.name, secret, owner) for one in ordered if one.columns]
    note = f"the rows are in the database that the secret {secret} names (secrets.toml, or the environment): Felis does not say where it is"
    return Description(
        kind="Felis schema", tables=tables, title=None, description=schema.description, notes=[note]
    )  # fmt: skip


def _schema(given: Given) -> FelisSchema:
    text = given.text()
    where = given.path.name
    try:
        if any(
            isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.CSafeLoader)
        ):  # small files may say much by them
            raise SourceError("aliases (*name) are not read here", place=Place(file=where), remedy="write them out")
        said = yaml.load(text, yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        place = Place(file=where, line=error.problem_mark.line + 1 if error.problem_mark else None)
        raise SourceError(f"no YAML: {error.problem}", place=place) from error
    except yaml.YAMLError as error:
        raise SourceError(f"no YAML: {error}", place=Place(file=where)) from error
    try:
        return FelisSchema.model_validate(said)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(_named(first["loc"], said))
        raise SourceError(
            f"{path}: {first['msg']}", place=Place(file=where), remedy="`felis validate` says more"
        ) from error


def _named(steps: Any, said: Any) -> list[str]:
    """Name the elements of lists as they call themselves."""
    found: list[str] = []
    for step in steps:
        try:
            said = said[step]
        except (KeyError, IndexError, TypeError):
            said = None
        found.append(
            str(said["name"]) if isinstance(step, int) and isinstance(said, dict) and "name" in said else str(step)
        )
    return found


def _table(table: FelisTable, schema: str, secret: str, owner: dict[str, tuple[str, str]]) -> TableSaid:
    mine = {column.name for column in table.columns}

    def local(names: list[str]) -> list[str]:
        """Resolve ``#Table.column``."""
        return [owner[name][1] if name in owner else name.rpartition(".")[2].lstrip("#") for name in names]

    keys: dict[str, Relation] = {}
    for one in table.constraints:
        target = {owner[name][0] if name in owner else name.lstrip("#").partition(".")[0] for name in one.referenced}
        if one.kind == "ForeignKey" and one.columns and len(target) == 1:
            keys[one.name] = Relation(
                target=target.pop(), columns=local(one.columns), target_columns=local(one.referenced)
            )
    notes = []
    columns = []
    for column in table.columns:
        if column.datatype == "binary":
            notes.append(f"{column.name} is binary, and left out")
            continue
        columns.append(_column(column, table.name))
    return TableSaid(
        name=table.name,
        source={"kind": "sql", "url": f"${secret}", "table": f"{schema}.{table.name}"},
        columns=columns,
        description=table.description,
        primary=local(table.primary),
        keys=keys,
        indexes=[local(one.columns) for one in table.indexes if set(local(one.columns)) <= mine],
        notes=notes,
    )


def _column(column: FelisColumn, table: str) -> Column:
    word = TYPES.get(column.datatype)
    if word is None:
        raise SourceError(
            f"{table}.{column.name}: Felis has no datatype {column.datatype!r}", remedy=f"known: {', '.join(TYPES)}"
        )
    size = str(column.arraysize or "").strip()
    many = column.datatype in SIZED and size not in {"", "1"}
    return Column(
        name=column.name,
        type=parse_type(f"{word}[{size if size.isdigit() else '*'}]" if many else word),
        unit=column.unit or column.fits_unit,
        ucd=column.ucd,
        utype=column.utype,
        description=" ".join(column.description.split()) if column.description else None,
        required=column.nullable is False,
        rank=15 if column.principal == 0 else 10,
        std=bool(column.std),
    )

"""Describe columns, keys, tables and schemas, from which all services derive their metadata; convert them to JSON."""

from __future__ import annotations

import re
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from hven.model import _access_policies, _links, _path_roots, _table_extension
from hven.model._localized_texts import LocalizedText, build_localized_text
from hven.model.types import FLOAT64, ColumnType, build_type_from_arrow, parse_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


MONTHS_PER_UNIT = {"month": 1, "year": 12}
HIDDEN_DISPLAY = "hidden"  # display of a column for programs, not for people (VOTable's type="hidden")
TAP_COMPANION_SERVICES = ("tap", "changes", "descriptors")  # faces that come with TAP
RELEASE_SERVICES = ("tap", "files", "portal")  # faces that serve a release
DATASET_ID_UTYPE = "obscore:Curation.publisherDID"  # utype of an identifier that is unique among the rows of all tables
# units of time that columns may have
SECONDS_PER_UNIT = {"d": 86_400.0, "h": 3_600.0, "min": 60.0, "s": 1.0, "yr": 31_557_600.0, "a": 31_557_600.0}
_PARTITION_STEP_PATTERN = re.compile(
    r"\s*([1-9][0-9]{0,5})\s*(days?|hours?|months?|years?|d|h|min|s|yr)\s*", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """Describe a column.

    Attributes
    ----------
    name
        Name as queries write it, without quotes; `quoted` tells whether a query must quote it.
    type
        VOTable's datatype, arraysize and xtype.
    unit
        VOUnits, or None.
    ucd
        UCD1+.
    utype
        Role in a data model.
    description
        One or more sentences for people.
    label
        Heading on pages, where the name is not clear.
    null
        A literal for "no value" in the carrier format (VOTable VALUES/@null); in Hven's storage nulls are always Arrow
        nulls.
    rank
        1 (essential) to 30 (technical). It determines VERB of cone search (1-10: VERB=1, 11-20: 2, 21-30: 3)
        and TAP_SCHEMA's `is_principal` (rank <= 10).
    std
        Whether the column belongs to a standard (TAP 1.1, 4.3).
    required
        Whether every row has a value.
    indexed
        Whether conditions on it use an index.
    unique
        Whether no value occurs twice.
    hidden
        Whether pages and metadata leave it out; queries may name it.
    section
        Heading above it on pages.
    display
        Format on pages: ``.3f``, ``sexagesimal``, ``iso``; `HIDDEN_DISPLAY` for a column for programs.
    frame
        Name of a COOSYS or TIMESYS of the table (`Table.frames`), or None.
    epoch
        Julian date at which a time in days is 0: 0 for Julian dates, 2400000.5 for modified ones; None for other
        columns. `set_column_epochs` sets it.
    link
        URL template over this row's columns: ``https://x/{obs_id}``.
    enum
        Name of an entry of `Table.enums`.
    minimum, maximum
        Inclusive bounds of its values, in its unit; None if unknown.
    origins
        Source columns of this column (from the bound mapping, kept as provenance).
    """

    name: str
    type: ColumnType = FLOAT64
    unit: str | None = None
    ucd: str | None = None
    utype: str | None = None
    description: str | None = None
    label: str | None = None
    null: str | None = None
    rank: int = 10
    std: bool = False
    required: bool = False
    indexed: bool = False
    unique: bool = False
    hidden: bool = False
    section: str | None = None
    display: str | None = None
    frame: str | None = None
    epoch: float | None = field(default=None, compare=False)
    link: str | None = None
    enum: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    origins: tuple[str, ...] = ()

    @property
    def is_principal(self) -> bool:
        """TAP_SCHEMA principal flag."""
        return self.rank <= 10

    @property
    def min_verbosity(self) -> int:
        """The smallest VERB of cone search that shows this column (SCS 1.03 section 2.1)."""
        if self.rank <= 10:
            return 1
        if self.rank <= 20:
            return 2
        return 3

    @property
    def arrow_field(self) -> pa.Field:
        """The Arrow field of the storage."""
        return pa.field(self.name, self.type.arrow, nullable=not self.required)

    def copy_with(self, **changes: object) -> Column:
        """Return a copy with other attributes.

        Parameters
        ----------
        changes
            Attributes and their new values.
        """
        return replace(self, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableConstant(Column):
    """Describe a value that holds for all rows, like a column (VOTable's PARAM); `value` is its literal."""

    value: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnGroup:
    """Describe columns, or constants, that belong together by role: value, error, lower, upper, origin, confidence.

    A member without one of these roles has its own name for its role.

    Attributes
    ----------
    roles
        Role -> name of a column or constant.
    description
        Text for people.
    utype, ucd
        Utype and UCD of the group as a whole.
    """

    name: str
    roles: Mapping[str, str]
    description: str | None = None
    utype: str | None = None
    ucd: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignKey:
    """Describe a foreign key (TAP_SCHEMA.keys, key_columns).

    Attributes
    ----------
    id
        Unique within the schema.
    columns
        Names of the columns of the referring table.
    target
        Qualified name of the referenced table.
    target_columns
        Names of its columns, in the order of `columns`.
    description, utype
        As in TAP_SCHEMA.keys.
    """

    id: str
    columns: tuple[str, ...]
    target: str
    target_columns: tuple[str, ...]
    description: str | None = None
    utype: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceFrame:
    """Describe a COOSYS or TIMESYS that columns refer to (VOTable 1.4 sections 3.1, 3.2).

    Attributes
    ----------
    id
        The identifier in `Column.frame`.
    system
        For a COOSYS: ``ICRS``, ``FK5`` ...
    epoch
        Epoch of the positions: ``J2015.5``.
    equinox
        For a COOSYS: ``J2000``.
    refposition
        ``BARYCENTER``, ``GEOCENTER`` ...
    timescale
        For a TIMESYS: ``UTC``, ``TT`` ...
    timeorigin
        For a TIMESYS: a Julian date, ``JD-origin`` or ``MJD-origin``.
    """

    id: str
    kind: str  # "coosys" or "timesys"
    system: str | None = None
    epoch: str | None = None
    equinox: str | None = None
    refposition: str | None = None
    timescale: str | None = None
    timeorigin: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionScheme:
    """Describe how the rows of a big table are partitioned; a query reads the few partitions that it needs.

    Attributes
    ----------
    by
        ``time`` or ``healpix``.
    column
        For time: a timestamp, or a number of days, seconds or years.
    every
        For time: the length of a partition, ``1 month``, ``10 d``; None: a month, or 30 days.
    order
        For HEALPix: 12 * 4**order partitions.
    """

    by: str
    column: str | None = None
    every: str | None = None
    order: int = 1

    @property
    def partition_length(self) -> tuple[int, str] | None:
        """The length as a number and ``month``, ``year`` or a unit of `SECONDS_PER_UNIT`; None if it is not valid."""
        match = _PARTITION_STEP_PATTERN.fullmatch(self.every or "")
        if match is None:
            return None
        unit = match[2].lower()
        unit_names = {"day": "d", "days": "d", "hour": "h", "hours": "h", "months": "month", "years": "year"}
        unit = unit_names.get(unit, unit)
        return int(match[1]), unit


@dataclass(frozen=True, kw_only=True)  # without slots, so that each table computes its name once
class Table:
    """Describe a table or view.

    Attributes
    ----------
    schema
        Name of its schema, the collection; empty for the pseudo tables of mappings.
    name
        Name without the schema.
    title, description
        Texts for people.
    utype
        Utype of its standard.
    primary
        Names of the primary key's columns; empty if there is none.
    keys
        Foreign keys.
    groups
        Groups of columns that belong together.
    frames
        Frames that `Column.frame` may name.
    enums
        Name -> value -> label.
    position
        Names of longitude and latitude (degrees) that the position index covers, or None.
    view
        ADQL text if this is a view, else None.
    access
        ``public``, ``members`` (of its project) or ``private``; tables that are not public are invisible until a policy
        grants access.
    policy
        Who sees which rows and may take their files; None if all who see the table may.
    rights
        The policy, bound to the published rows.
    standard
        Name of its standard, with the version: ``epn-tap-2.0``.
    owner
        Name of the reader who owns the table: no policy shows it to others. None for a table of the site.
    indexes
        Columns that are searched together, besides those that are `indexed` alone.
    partition
        How the rows are partitioned, or None.
    params
        Constants that hold for all rows.
    services
        Faces that serve it, from its collection's descriptor; empty for all that can.
    project
        The project whose members see it, or None.
    links
        Links from its rows, from its collection's descriptor.
    roots
        For a table of files: the roots of the files, from its collection's descriptor.
    release
        Label of the release that this table belongs to, in its own schema, which TAP serves. None for the current
        state.
    observed
        Whether its rows are in ivoa.obscore.
    spans
        Ids of data sets of other tables of which its rows are spans.
    extensions
        What plug-in packages make of their keys in its collection's descriptor, by the names of the keys.
    form
        Fields at the beginning of its page's form, in order: columns, or pairs ``x_min``, ``x_max`` as ``x``.
    observation
        Columns that identify an observation; rows with equal values are its files. Empty: each row is an observation.
        None: the rows decide.
    """

    schema: str
    name: str
    columns: tuple[Column, ...]
    description: str | None = None
    title: str | None = None
    utype: str | None = None
    primary: tuple[str, ...] = ()
    keys: tuple[ForeignKey, ...] = ()
    groups: tuple[ColumnGroup, ...] = ()
    frames: tuple[ReferenceFrame, ...] = ()
    enums: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    position: tuple[str, str] | None = None
    view: str | None = None
    access: str = "public"
    policy: _access_policies.RowAccessPolicy | None = None
    rights: _access_policies.BoundAccessPolicy | None = field(default=None, compare=False, repr=False)
    index: int | None = None
    standard: str | None = None
    owner: str | None = None
    indexes: tuple[tuple[str, ...], ...] = ()
    partition: PartitionScheme | None = None
    params: tuple[TableConstant, ...] = ()
    services: tuple[str, ...] = ()
    project: str | None = None
    links: tuple[_links.LinkTemplate, ...] = field(default=(), repr=False)
    roots: tuple[_path_roots.FileRoot, ...] = field(default=(), repr=False)
    spans: tuple[str, ...] = field(default=(), repr=False)
    extensions: Mapping[str, Any] = field(default_factory=dict, repr=False)
    form: tuple[str, ...] = ()
    observation: tuple[str, ...] | None = None
    release: str | None = field(default=None, repr=False)
    observed: bool = field(default=False, compare=False, repr=False)

    def is_served_by(self, service: str) -> bool:
        """Return whether a face serves the table; TAP and mirrors come with EPN-TAP and ObsCore.

        Parameters
        ----------
        service
            Name of the face: ``tap``, ``cone`` ...
        """
        if self.release is not None and service not in RELEASE_SERVICES:
            return False
        if not self.services or service in self.services:
            return True
        return service in TAP_COMPANION_SERVICES and not {"tap", "epn-tap", "obscore"}.isdisjoint(self.services)

    @property
    def file_column_names(self) -> frozenset[str]:
        """Names of the columns that reveal files, which are null for readers who may not know of these."""
        columns = ((column.name, column.ucd or "") for column in self.columns)
        if self.policy is None:
            return frozenset()
        return self.policy.list_file_revealing_columns(columns) - {*self.primary}

    @property
    def is_fully_public(self) -> bool:
        """Whether everybody sees all rows; only then are counts over its rows shown."""
        return self.policy is None and self.access == "public"

    @property
    def indexed_column_names(self) -> frozenset[str]:
        """Names of the columns that have an index or are part of one, without the position."""
        names = {column.name for column in self.columns if column.indexed or column.unique}
        names.update(self.primary, *self.indexes)
        if self.partition is not None and self.partition.column is not None:
            names.add(self.partition.column)
        return frozenset(names)

    @cached_property
    def qualified_name(self) -> str:
        """``schema.table``, unquoted: the key of everything about the table.

        The pseudo tables of mappings (``source``, ``target``) have no schema; their key is their name.
        """
        if self.schema:
            return f"{self.schema}.{self.name}"
        return self.name

    def find_column(self, name: str) -> Column:
        """Return a column by its exact name.

        Parameters
        ----------
        name
            Exact name, in the case of `Column.name`.

        Raises
        ------
        KeyError
            The table has no such column.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    @property
    def arrow_schema(self) -> pa.Schema:
        """The Arrow schema of the storage."""
        return pa.schema([column.arrow_field for column in self.columns])

    @property
    def identifier_column(self) -> Column | None:
        """The column that identifies a row, or None.

        It is meta.id;meta.main, else a single-column primary key, a publisher's dataset identifier, or the first
        meta.id.
        """
        main = self.find_column_by_ucd("meta.id;meta.main")
        if main is not None or len(self.primary) == 1:
            return main or self.find_column(self.primary[0])
        columns_by_utype = {column.utype: column for column in self.columns}
        dataset_id = columns_by_utype.get(DATASET_ID_UTYPE)
        if dataset_id is not None:
            return dataset_id
        for column in self.columns:
            if (column.ucd or "").lower().split(";")[0] == "meta.id":
                return column
        return None

    @property
    def is_observation_view(self) -> bool:
        """Whether its rows are datasets of other tables, as in the view ivoa.obscore."""
        return (
            self.view is not None
            and self.identifier_column is not None
            and self.identifier_column.utype == DATASET_ID_UTYPE
        )

    @property
    def effective_links(self) -> tuple[_links.LinkTemplate, ...]:
        """Links from rows: the table's own, and those of standard columns for other kinds of targets.

        A table without an identifier column has none.
        """
        if self.identifier_column is None:
            return ()
        units_by_column = {item.name: item.unit for item in self.columns if item.type.is_string or item.type.is_numeric}
        described_semantics = {link.semantics for link in self.links}
        standard_links = _links.list_standard_links(self.utype, units_by_column)
        additional_links = [link for link in standard_links if link.semantics not in described_semantics]
        links = (*additional_links, *self.links)
        if "dataproduct_type" not in units_by_column:
            return links
        qualifier = (_links.TemplateExpression(f'{_links.TARGET_ALIAS}."dataproduct_type"'),)
        qualified_links = []
        for link in links:
            needs_qualifier = link.semantics == _links.THIS_SEMANTICS and not link.content_qualifier
            qualified_links.append(replace(link, content_qualifier=qualifier) if needs_qualifier else link)
        return tuple(qualified_links)

    @property
    def _table_extensions(self) -> tuple[_table_extension.TableExtension, ...]:
        values = self.extensions.values()
        return tuple(value for value in values if isinstance(value, _table_extension.TableExtension))

    @property
    def has_service_links(self) -> bool:
        """Whether services of packages link its rows: those that are spans of data sets, and those with such keys."""
        if self.identifier_column is None:
            return False
        return bool(self.spans) or any(extension.has_row_links for extension in self._table_extensions)

    @property
    def has_row_files(self) -> bool:
        """Whether rows have files of their own among the collection's, which services can cut and draw."""
        return any(link.semantics == _links.THIS_SEMANTICS and link.is_file for link in self.effective_links)

    @property
    def row_file_links(self) -> tuple[_links.LinkTemplate, ...]:
        """Links to those files that the row alone determines, whose addresses are templates of paths."""
        links = self.effective_links or self.links
        file_links = [link for link in links if link.is_file and link.semantics == _links.THIS_SEMANTICS]
        return tuple(link for link in file_links if link.source is None and link.address)

    @property
    def row_file_templates(self) -> tuple[_links.Template, ...]:
        """Templates of the paths of the rows' files that keys of packages name.

        There are none if links lead to a row's own file, or if rows have no identifier.
        """
        has_row_links = any(link.semantics == _links.THIS_SEMANTICS for link in self.effective_links)
        if self.identifier_column is None or has_row_links:
            return ()
        paths = [path for extension in self._table_extensions for path in extension.row_file_templates]
        return tuple(dict.fromkeys(paths))

    def find_column_by_ucd(self, ucd: str) -> Column | None:
        """Return the first column whose UCD is `ucd` (compared without case).

        Parameters
        ----------
        ucd
            The whole UCD, with all its words.
        """
        for column in self.columns:
            if column.ucd is not None and column.ucd.lower() == ucd.lower():
                return column
        return None

    def copy_with(self, **changes: object) -> Table:
        """Return a copy with other attributes.

        Parameters
        ----------
        changes
            Attributes and their new values.
        """
        return replace(self, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """Describe a schema of TAP_SCHEMA: one collection.

    Attributes
    ----------
    name
        The name as queries write it.
    tables
        The tables in the order of display.
    title, description
        Texts for people.
    utype
        The utype of a standard.
    index
        Position among the schemas; None: ordered by name.
    """

    name: str
    tables: tuple[Table, ...]
    title: str | None = None
    description: str | None = None
    utype: str | None = None
    index: int | None = None


def build_columns_from_arrow(arrow_schema: pa.Schema, described_columns: Sequence[Column] = ()) -> list[Column]:
    """Describe an Arrow schema as columns.

    Parameters
    ----------
    arrow_schema
        The schema of a storage or of a batch.
    described_columns
        Columns that lend their metadata by name.

    Returns
    -------
    columns
        A column for each field, in the order of the schema.
    """
    described_by_name = {column.name: column for column in described_columns}
    return [
        described_by_name.get(item.name) or Column(name=item.name, type=build_type_from_arrow(item.type))
        for item in arrow_schema
    ]


def parse_column_lines(text: str) -> tuple[Column, ...]:
    """Parse columns that are written as a table, with a line for each column.

    Parameters
    ----------
    text
        ``name | type | unit | UCD | description``, with the types' names in descriptors; unit and UCD may be empty.

    Returns
    -------
    columns
        The columns in their order.
    """
    rows = ([word.strip() for word in line.split("|")] for line in text.strip().splitlines())
    return tuple(
        Column(name=name, type=parse_type(kind), unit=unit or None, ucd=ucd or None, description=description)
        for name, kind, unit, ucd, description in rows
    )


N = TypeVar("N", Column, ColumnGroup)


def deduplicate_names(items: Sequence[N], reserved_names: Iterable[str] = ()) -> list[N]:
    """Rename columns (or groups) whose name another one has, without regard to case, by adding a number.

    Files allow equal names, tables of a database do not. The original name of a column becomes its label.

    Parameters
    ----------
    items
        Columns or groups in their order.
    reserved_names
        Names in lower case that are not available.

    Returns
    -------
    named
        Items with a free name are the same objects; ``flux``, ``FLUX`` become ``flux``, ``FLUX_2``.
    """
    used_names = set(reserved_names)
    next_numbers: dict[str, int] = {}  # the next number to try, because thousands may have one name
    result: list[N] = []
    for item in items:
        name = item.name
        number = next_numbers.get(item.name, 2)
        while name.lower() in used_names:
            name = f"{item.name}_{number}"
            number = number + 1
        next_numbers[item.name] = number
        used_names.add(name.lower())
        if name == item.name:
            result.append(item)
        elif isinstance(item, Column):
            result.append(replace(item, name=name, label=item.label or item.name))
        else:
            result.append(replace(item, name=name))
    return result


TABLE_JSON_VERSION = 1
_CLASSES_BY_FIELD: dict[str, type] = {
    "columns": Column,
    "keys": ForeignKey,
    "groups": ColumnGroup,
    "frames": ReferenceFrame,
    "params": TableConstant,
}
_TRANSLATED_FIELDS = {"title", "description", "label"}
_TUPLE_FIELDS = {"primary", "position", "origins", "target_columns", "form", "observation"}


def table_to_json(table: Table) -> dict[str, Any]:
    """Serialize a table as a JSON object, without attributes that have their default.

    Parameters
    ----------
    table
        Any table.

    Returns
    -------
    data
        The object with its version, for `table_from_json`.
    """
    return {"version": TABLE_JSON_VERSION, **_record_to_json(table)}


def table_from_json(data: Mapping[str, Any]) -> Table:
    """Deserialize an object that `table_to_json` wrote.

    Parameters
    ----------
    data
        The object.

    Returns
    -------
    table
        A table equal to the original.

    Raises
    ------
    ValueError
        A newer version wrote the object, or it is no such record.
    TypeError
        The record is of another class.
    """
    version = data.get("version")
    if version != TABLE_JSON_VERSION:
        message = (
            f"the table record has version {version!r}, but this version of Hven reads version {TABLE_JSON_VERSION}"
        )
        raise ValueError(message)
    attributes = {name: value for name, value in data.items() if name != "version"}
    table = _record_from_json(Table, attributes)
    if not isinstance(table, Table):
        message = "the object is not a table record"
        raise TypeError(message)
    return table


def columns_to_json(columns: tuple[Column, ...] | list[Column]) -> list[dict[str, Any]]:
    """Serialize columns as JSON objects.

    Parameters
    ----------
    columns
        Any columns.

    Returns
    -------
    data
        An object for each column, without attributes that have their default.
    """
    return [_record_to_json(column) for column in columns]


def _record_to_json(record: Any) -> dict[str, Any]:
    out = {}
    for item in fields(record):
        if not item.repr:  # a field of this process alone
            continue
        value = getattr(record, item.name)
        if item.default_factory is not MISSING:
            default = item.default_factory()
        else:
            default = item.default
        if default is not MISSING and value == default:
            continue
        out[item.name] = _value_to_json(item.name, value)
    return out


def _value_to_json(field_name: str, value: Any) -> Any:
    if field_name == "enums":
        return {key: _labels_to_json(labels) for key, labels in value.items()}
    if field_name == "roles":
        return dict(value)
    if isinstance(value, PartitionScheme | _access_policies.RowAccessPolicy):
        return _record_to_json(value)
    if field_name in _CLASSES_BY_FIELD and value and not isinstance(value[0], str):
        return [_record_to_json(part) for part in value]
    if isinstance(value, tuple):
        return [list(item) if isinstance(item, tuple) else item for item in value]
    return _scalar_to_json(value)


def _labels_to_json(labels: Mapping[str, Any]) -> dict[str, Any]:
    return {code: _scalar_to_json(label) for code, label in labels.items()}


def _scalar_to_json(value: Any) -> Any:
    if isinstance(value, ColumnType):
        return [value.datatype, value.arraysize, value.xtype]
    if isinstance(value, LocalizedText):
        return dict(value.texts)
    return value


def _record_from_json(record_class: type, data: Mapping[str, Any]) -> Any:
    field_names = {item.name for item in fields(record_class)}
    unknown_names = sorted(set(data) - field_names)
    if unknown_names:
        names_text = ", ".join(unknown_names)
        message = f"a newer version of Hven wrote this {record_class.__name__} record: it contains {names_text}"
        raise ValueError(message)
    attributes = {name: _value_from_json(record_class, name, value) for name, value in data.items()}
    return record_class(**attributes)


def _value_from_json(record_class: type, field_name: str, value: Any) -> Any:
    if field_name == "type" and issubclass(record_class, Column):
        return ColumnType(*value)
    if field_name == "enums":
        return {key: _labels_from_json(labels) for key, labels in value.items()}
    if field_name in _TRANSLATED_FIELDS and isinstance(value, dict):
        return build_localized_text(value)
    if record_class is Table and field_name in _TABLE_FIELD_READERS:
        return _TABLE_FIELD_READERS[field_name](value)
    if record_class is Table and field_name in _CLASSES_BY_FIELD:
        return tuple(_record_from_json(_CLASSES_BY_FIELD[field_name], part) for part in value)
    is_tuple = field_name in _TUPLE_FIELDS or field_name == "columns"
    return tuple(value) if is_tuple and isinstance(value, list) else value


def _labels_from_json(labels: Mapping[str, Any]) -> dict[str, Any]:
    return {code: build_localized_text(label) if isinstance(label, dict) else label for code, label in labels.items()}


def _policy_from_json(value: Any) -> Any:
    if isinstance(value, str):
        return _access_policies.RowAccessPolicy(rows=value)
    return _record_from_json(_access_policies.RowAccessPolicy, value)


_TABLE_FIELD_READERS: dict[str, Callable[[Any], Any]] = {
    "partition": lambda value: _record_from_json(PartitionScheme, value),
    "policy": _policy_from_json,
    "indexes": lambda value: tuple(tuple(item) for item in value),
}

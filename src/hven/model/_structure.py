"""Column, Key, Table, Schema: said once, from which every face derives its own words; all of it as JSON and back."""

from __future__ import annotations

import re
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from hven.model import _addressed, _levels, _links, _roots, _series
from hven.model._wording import Wording, worded
from hven.model.types import FLOAT64, Type, from_arrow, parse_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


DATALINK, LINKS, SITE, TARGET = _links.DATALINK, _links.LINKS, _links.SITE, _links.TARGET
Endpoint = _addressed.Endpoint
Given = _addressed.Given
Hole = _links.Hole
Input = _links.Input
Link = _links.Link
Bins = _series.Bins
Clock = _series.Clock
FileReader = _series.FileReader
Series = _series.Series
Service = _links.Service
Template = _links.Template
Variable = _series.Variable
Root = _roots.Root
rooted = _roots.rooted
Levels = _levels.Levels
Lock = _levels.Lock
Rights = _levels.Rights
MONTHS = {"month": 1, "year": 12}
HIDDEN = "hidden"  # display of a column that is for programs, not for people (VOTable's type="hidden")
BY_TAP = ("tap", "changes", "descriptors")  # faces that are there for those who ask TAP
BY_RELEASE = ("tap", "files", "portal")  # faces that answer for a release
FILES = _links.FILES
DATASET = "obscore:Curation.publisherDID"  # utype of an identifier that no other row of any table has
# units of time that columns may have
SECONDS = {"d": 86_400.0, "h": 3_600.0, "min": 60.0, "s": 1.0, "yr": 31_557_600.0, "a": 31_557_600.0}
_EVERY = re.compile(r"\s*([1-9][0-9]{0,5})\s*(days?|hours?|months?|years?|d|h|min|s|yr)\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column, described once.

    Attributes
    ----------
    name
        As a query writes it, without quotes; `quoted` says whether a query must quote it.
    type
        VOTable's datatype, arraysize and xtype.
    unit
        VOUnits; None: it has none.
    ucd
        UCD1+.
    utype
        Role in a data model.
    description
        One sentence or more, for people.
    label
        Heading on pages, where the name says little.
    null
        A literal that stands for "no value" in the carrier format (VOTable VALUES/@null); in our own
        storage nulls are always Arrow nulls.
    rank
        1 (essential) to 30 (technical). Gives VERB of cone search (1-10: VERB=1, 11-20: 2, 21-30: 3)
        and TAP_SCHEMA's `principal` (rank <= 10).
    std
        The column is one of a standard's (TAP 1.1, 4.3).
    required
        No row is without a value.
    indexed
        Conditions on it are looked up in an index.
    unique
        No value stands twice.
    hidden
        Neither pages nor metadata show it; queries may name it.
    section
        Heading under which pages show it.
    display
        How pages write it: ``.3f``, ``sexagesimal``, ``iso``; `HIDDEN`: it is for programs.
    frame
        Name of a COOSYS or TIMESYS of the table (`Table.frames`), or None.
    epoch
        Julian date at which a time in days is 0: 0 for Julian dates, 2400000.5 for modified ones; None: no such time. Made by `model.times`.
    link
        URL template over this row's columns: ``https://x/{obs_id}``.
    enum
        Name of an entry of `Table.enums`.
    minimum, maximum
        Inclusive bounds of its values, in its unit; None: none is known.
    origins
        Source columns this one came from (filled from the bound mapping, kept as provenance).
    """

    name: str
    type: Type = FLOAT64
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
    def principal(self) -> bool:
        """TAP_SCHEMA principal flag."""
        return self.rank <= 10

    @property
    def verbosity(self) -> int:
        """The smallest VERB of cone search that shows this column (SCS 1.03 section 2.1)."""
        return 1 if self.rank <= 10 else 2 if self.rank <= 20 else 3

    @property
    def arrow(self) -> pa.Field:
        """The Arrow field of the storage."""
        return pa.field(self.name, self.type.arrow, nullable=not self.required)

    def having(self, **changes: object) -> Column:
        """Return a copy with other attributes.

        Parameters
        ----------
        changes
            Attributes and their new values.
        """
        return replace(self, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant(Column):
    """What holds for all rows, described as a column is (VOTable's PARAM); `value` is its literal."""

    value: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Columns, or constants, that belong together by role: value, error, lower, upper, origin, confidence; one without a role has its own name for it.

    Attributes
    ----------
    roles
        Role -> name of a column or constant.
    description
        For people.
    utype, ucd
        Of the group as a whole.
    """

    name: str
    roles: Mapping[str, str]
    description: str | None = None
    utype: str | None = None
    ucd: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A foreign key (TAP_SCHEMA.keys, key_columns).

    Attributes
    ----------
    id
        Unique within the schema.
    columns
        Names, of the table that refers.
    target
        Qualified name of the table that is referred to.
    target_columns
        Names there, in the order of `columns`.
    description, utype
        Of TAP_SCHEMA.keys.
    """

    id: str
    columns: tuple[str, ...]
    target: str
    target_columns: tuple[str, ...]
    description: str | None = None
    utype: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRef:
    """A COOSYS or TIMESYS that columns refer to (VOTable 1.4 sections 3.1, 3.2).

    Attributes
    ----------
    id
        What `Column.frame` names.
    system
        Of a COOSYS: ``ICRS``, ``FK5`` ...
    epoch
        Of the positions: ``J2015.5``.
    equinox
        Of a COOSYS: ``J2000``.
    refposition
        ``BARYCENTER``, ``GEOCENTER`` ...
    timescale
        Of a TIMESYS: ``UTC``, ``TT`` ...
    timeorigin
        Of a TIMESYS: a Julian date, ``JD-origin`` or ``MJD-origin``.
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
class Partition:
    """How the rows of a big table are cut into pieces, of which a query reads the few that it needs.

    Attributes
    ----------
    by
        ``time`` or ``healpix``.
    column
        For time: a timestamp, or a number of days, seconds or years.
    every
        For time: the length of a piece, ``1 month``, ``10 d``; None: a month, or 30 days.
    order
        For HEALPix: 12 * 4**order pieces.
    """

    by: str
    column: str | None = None
    every: str | None = None
    order: int = 1

    @property
    def step(self) -> tuple[int, str] | None:
        """The length as a number of ``month``, ``year`` or a unit of `SECONDS`; None if it cannot be read."""
        found = _EVERY.fullmatch(self.every or "")
        if found is None:
            return None
        unit = found[2].lower()
        unit = {"day": "d", "days": "d", "hour": "h", "hours": "h", "months": "month", "years": "year"}.get(unit, unit)
        return int(found[1]), unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table or view.

    Attributes
    ----------
    schema
        Name of its schema: the collection; empty of the pseudo tables of mappings.
    name
        Without the schema.
    title, description
        For people.
    utype
        Of a standard that it keeps.
    primary
        Names of the primary key's columns; empty if there is none.
    keys
        Foreign keys.
    groups
        Of columns that belong together.
    frames
        What `Column.frame` may name.
    enums
        Name -> value -> label.
    position
        Names of longitude and latitude (degrees) that the position index covers, or None.
    view
        ADQL text if this is a view, else None.
    access
        ``public``, ``members`` (of its project) or ``private``; what is not public is invisible until a policy grants it.
    policy
        Who sees which rows and takes their files; None: who sees the table does.
    rights
        The policy, bound to the rows that are published.
    standard
        Name of the standard that it keeps, with its version: ``epn-tap-2.0``.
    owner
        Name of the reader whose own table it is: nobody else may know of it, whatever other policies say. None: the site's.
    indexes
        Columns that are searched together, beside those that are `indexed` alone.
    partition
        How the rows are cut into pieces, or None.
    params
        What holds for all rows.
    services
        The faces that answer for it, as its collection's descriptor says; empty: all that can.
    project
        Whose members see it; None: none's.
    links
        What its rows lead to, as its collection's descriptor says.
    roots
        Of a table of files: where these lie, as its collection's descriptor says.
    release
        Label of the release whose state this is, in a schema of its own: asked by TAP. None: it is of now.
    observed
        Its rows are in ivoa.obscore.
    series
        Its data sets of samples in time, as its collection's descriptor says.
    spans
        Ids of data sets of other tables, of which its rows are spans.
    endpoints
        Its addresses with parameters of their own, as its collection's descriptor says.
    form
        Fields that the form of its page begins with, in order: columns, or pairs ``x_min``, ``x_max`` as ``x``.
    observation
        Columns that name an observation, of which rows that are alike in them are the files; empty: each row is one. None: what its
        rows are like says it.
    """

    schema: str
    name: str
    columns: tuple[Column, ...]
    description: str | None = None
    title: str | None = None
    utype: str | None = None
    primary: tuple[str, ...] = ()
    keys: tuple[Key, ...] = ()
    groups: tuple[Group, ...] = ()
    frames: tuple[FrameRef, ...] = ()
    enums: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    position: tuple[str, str] | None = None
    view: str | None = None
    access: str = "public"
    policy: Levels | None = None
    rights: Rights | None = field(default=None, compare=False, repr=False)
    index: int | None = None
    standard: str | None = None
    owner: str | None = None
    indexes: tuple[tuple[str, ...], ...] = ()
    partition: Partition | None = None
    params: tuple[Constant, ...] = ()
    services: tuple[str, ...] = ()
    project: str | None = None
    links: tuple[_links.Link, ...] = field(default=(), repr=False)
    roots: tuple[_roots.Root, ...] = field(default=(), repr=False)
    series: tuple[_series.Series, ...] = field(default=(), repr=False)
    spans: tuple[str, ...] = field(default=(), repr=False)
    endpoints: tuple[_addressed.Endpoint, ...] = field(default=(), repr=False)
    form: tuple[str, ...] = ()
    observation: tuple[str, ...] | None = None
    release: str | None = field(default=None, repr=False)
    observed: bool = field(default=False, compare=False, repr=False)

    def offers(self, service: str) -> bool:
        """Return whether a face answers for it. EPN-TAP and ObsCore are asked by TAP, which therefore comes with them; and mirrors with it.

        Parameters
        ----------
        service
            Name of the face: ``tap``, ``cone`` ...
        """
        if self.release is not None and service not in BY_RELEASE:
            return False
        if not self.services or service in self.services:
            return True
        return service in BY_TAP and not {"tap", "epn-tap", "obscore"}.isdisjoint(self.services)

    @property
    def telling(self) -> frozenset[str]:
        """Names of the columns that tell of files: null for who may not know of these."""
        columns = ((column.name, column.ucd or "") for column in self.columns)
        return frozenset() if self.policy is None else self.policy.telling(columns) - {*self.primary}

    @property
    def everybodys(self) -> bool:
        """Whether everybody sees all of it: only then is told what was counted over its rows."""
        return self.policy is None and self.access == "public"

    @property
    def searched(self) -> frozenset[str]:
        """Names of the columns that have an index, or a part in one; the position is beside these."""
        names = {column.name for column in self.columns if column.indexed or column.unique}
        names.update(self.primary, *self.indexes)
        if self.partition is not None and self.partition.column is not None:
            names.add(self.partition.column)
        return frozenset(names)

    @property
    def qualified(self) -> str:
        """``schema.table``, unquoted: the key under which everything about the table is found.

        The pseudo tables of mappings (``source``, ``target``) have no schema and are found by their bare name.
        """
        return f"{self.schema}.{self.name}" if self.schema else self.name

    def column(self, name: str) -> Column:
        """Return a column by its exact name.

        Parameters
        ----------
        name
            As it stands in `Column.name`, case matters.

        Raises
        ------
        KeyError
            There is none.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    @property
    def arrow(self) -> pa.Schema:
        """The Arrow schema of the storage."""
        return pa.schema([column.arrow for column in self.columns])

    @property
    def identifier(self) -> Column | None:
        """The column that names a row: meta.id;meta.main, else a one-column primary key, a publisher's dataset identifier, the first meta.id; None: there is none."""
        main = self.by_ucd("meta.id;meta.main")
        if main is not None or len(self.primary) == 1:
            return main or self.column(self.primary[0])
        named = {one.utype: one for one in self.columns}.get(DATASET)
        return named or next((one for one in self.columns if (one.ucd or "").lower().split(";")[0] == "meta.id"), None)

    @property
    def observations(self) -> bool:
        """Whether its rows are those of other tables, named as publishers name datasets: a view such as ivoa.obscore."""
        return self.view is not None and self.identifier is not None and self.identifier.utype == DATASET

    @property
    def leads(self) -> tuple[Link, ...]:
        """What its rows lead to: its links, and what columns of standards lead to, where these say nothing of that kind; none if rows have no identifier."""
        if self.identifier is None:
            return ()
        kinds = {one.name: one.unit for one in self.columns if one.type.is_string or one.type.is_numeric}
        said = {link.semantics for link in self.links}
        links = (*(one for one in _links.standard(self.utype, kinds) if one.semantics not in said), *self.links)
        if "dataproduct_type" not in kinds:
            return links
        qualifier = (Hole(f'{_links.TARGET}."dataproduct_type"'),)
        return tuple(replace(one, qualifier=qualifier) if one.semantics == _links.THIS and not one.qualifier else one for one in links)  # fmt: skip

    @property
    def spanned(self) -> tuple[str, ...]:
        """Ids of the data sets of which a row is a span: those that its links name, and its own whose samples stand in its rows' files."""
        own = (one.id for one in self.series if one.file)
        return () if self.identifier is None else tuple(dict.fromkeys((*self.spans, *own)))

    @property
    def filed(self) -> bool:
        """Whether its rows have files of their own among the collection's: what can be cut and drawn."""
        return any(link.semantics == _links.THIS and link.file for link in self.leads)

    @property
    def own_files(self) -> tuple[Link, ...]:
        """Links to those of these files that are told by the row alone, whose addresses are templates of paths."""
        return tuple(
            link
            for link in self.leads or self.links
            if link.file and link.semantics == _links.THIS and link.source is None and link.address
        )

    @property
    def sample_files(self) -> tuple[Template, ...]:
        """Paths of the files in which the samples of its rows stand, in templates; none where its links say which file a row is, or rows have no identifier."""
        if self.identifier is None or any(link.semantics == _links.THIS for link in self.leads):
            return ()
        return tuple(dict.fromkeys(one.file for one in self.series if one.file))

    def by_ucd(self, ucd: str) -> Column | None:
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

    def having(self, **changes: object) -> Table:
        """Return a copy with other attributes.

        Parameters
        ----------
        changes
            Attributes and their new values.
        """
        return replace(self, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """A schema of TAP_SCHEMA: one collection.

    Attributes
    ----------
    name
        As a query writes it.
    tables
        In the order in which they are shown.
    title, description
        For people.
    utype
        Of a standard.
    index
        Place among the schemas; None: by name.
    """

    name: str
    tables: tuple[Table, ...]
    title: str | None = None
    description: str | None = None
    utype: str | None = None
    index: int | None = None


def columns_of(schema: pa.Schema, like: Sequence[Column] = ()) -> list[Column]:
    """Describe an Arrow schema as columns.

    Parameters
    ----------
    schema
        Of storage or of a batch.
    like
        Columns that lend their metadata by name.

    Returns
    -------
    columns
        In the order of the schema.
    """
    known = {column.name: column for column in like}
    return [known.get(item.name) or Column(name=item.name, type=from_arrow(item.type)) for item in schema]


def written_columns(text: str) -> tuple[Column, ...]:
    """Read columns that are written as a table, a line for each.

    Parameters
    ----------
    text
        ``name | type | unit | UCD | description``, types as descriptors name them; unit and UCD may be empty.

    Returns
    -------
    columns
        In their order.
    """
    rows = ([word.strip() for word in line.split("|")] for line in text.strip().splitlines())
    return tuple(
        Column(name=name, type=parse_type(kind), unit=unit or None, ucd=ucd or None, description=about)
        for name, kind, unit, ucd, about in rows
    )


N = TypeVar("N", Column, Group)


def distinct(named: Sequence[N], taken: Iterable[str] = ()) -> list[N]:
    """Rename columns (or groups) that have the name of another one, but for case, by a number: files allow that, tables of a database do not.

    The name that a column had becomes its label.

    Parameters
    ----------
    named
        In their order.
    taken
        Names in lower case that are taken already.

    Returns
    -------
    named
        Those whose name was free are the same objects; ``flux``, ``FLUX`` become ``flux``, ``FLUX_2``.
    """
    used = set(taken)
    following: dict[str, int] = {}  # the number that is tried next: thousands may have one name
    result: list[N] = []
    for one in named:
        name, number = one.name, following.get(one.name, 2)
        while name.lower() in used:
            name, number = f"{one.name}_{number}", number + 1
        following[one.name] = number
        used.add(name.lower())
        if name != one.name:
            one = (  # noqa: PLW2901
                replace(one, name=name, label=one.label or one.name)
                if isinstance(one, Column)
                else replace(one, name=name)
            )
        result.append(one)
    return result


VERSION = 1
_PARTS: dict[str, type] = {"columns": Column, "keys": Key, "groups": Group, "frames": FrameRef, "params": Constant}
_WORDED = {"title", "description", "label"}
_TUPLES = {"primary", "position", "origins", "target_columns", "form", "observation"}


def table_to_json(table: Table) -> dict[str, Any]:
    """Serialize a table as a JSON object; attributes that have their default are left out.

    Parameters
    ----------
    table
        Any.

    Returns
    -------
    data
        With the version of the form, for `table_from_json`.
    """
    return {"version": VERSION, **_to_json(table)}


def table_from_json(data: Mapping[str, Any]) -> Table:
    """Deserialize what `table_to_json` wrote.

    Parameters
    ----------
    data
        The object.

    Returns
    -------
    table
        Equal to the one that was written.

    Raises
    ------
    ValueError
        It was written by a newer version, or is no such record.
    TypeError
        It is a record of something else.
    """
    version = data.get("version")
    if version != VERSION:
        message = f"a table record of version {version!r}; this Hven reads version {VERSION}"
        raise ValueError(message)
    table = _from_json(Table, {name: value for name, value in data.items() if name != "version"})
    if not isinstance(table, Table):
        message = "no table record"
        raise TypeError(message)
    return table


def columns_to_json(columns: tuple[Column, ...] | list[Column]) -> list[dict[str, Any]]:
    """Serialize columns as JSON objects.

    Parameters
    ----------
    columns
        Any.

    Returns
    -------
    data
        One object for each, attributes with their default left out.
    """
    return [_to_json(column) for column in columns]


def _to_json(thing: Any) -> dict[str, Any]:
    out = {}
    for item in fields(thing):
        if not item.repr:  # of this process alone
            continue
        value = getattr(thing, item.name)
        default = item.default_factory() if item.default_factory is not MISSING else item.default
        if default is not MISSING and value == default:
            continue
        out[item.name] = _value_to_json(item.name, value)
    return out


def _value_to_json(name: str, value: Any) -> Any:
    if isinstance(value, Type):
        return [value.datatype, value.arraysize, value.xtype]
    if name in _PARTS and value and not isinstance(value[0], str):
        return [_to_json(part) for part in value]
    if isinstance(value, Partition | Levels):
        return _to_json(value)
    if isinstance(value, Wording):
        return dict(value.texts)
    if isinstance(value, tuple):
        return [list(item) if isinstance(item, tuple) else item for item in value]
    if name == "enums":
        return {
            key: {code: _value_to_json("", label) for code, label in labels.items()} for key, labels in value.items()
        }
    if name == "roles":
        return dict(value)
    return value


def _from_json(kind: type, data: Mapping[str, Any]) -> Any:
    known = {item.name for item in fields(kind)}
    strange = sorted(set(data) - known)
    if strange:
        message = f"a {kind.__name__} record with {', '.join(strange)}: it was written by a newer Hven"
        raise ValueError(message)
    return kind(**{name: _value_from_json(kind, name, value) for name, value in data.items()})


def _value_from_json(kind: type, name: str, value: Any) -> Any:
    if name == "type" and issubclass(kind, Column):
        return Type(*value)
    if name == "enums":
        return {
            key: {code: worded(label) if isinstance(label, dict) else label for code, label in labels.items()}
            for key, labels in value.items()
        }
    if name in _WORDED and isinstance(value, dict):
        return worded(value)
    if kind is Table and name == "partition":
        return _from_json(Partition, value)
    if kind is Table and name == "policy":
        return Levels(rows=value) if isinstance(value, str) else _from_json(Levels, value)
    if kind is Table and name == "indexes":
        return tuple(tuple(item) for item in value)
    if kind is Table and name in _PARTS:
        return tuple(_from_json(_PARTS[name], part) for part in value)
    if isinstance(value, list) and (name in _TUPLES or name == "columns"):
        return tuple(value)
    return value

"""`Holdings`: one immutable picture of everything that is published, and each reader's view of it."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from hven.adql import present
from hven.model.errors import Conflict
from hven.model.table import Schema
from hven.site import _tap_schema as tap_schema
from hven.site._catalogue import Catalogue
from hven.site._overlay import resolved_keys
from hven.site.auth._permit import ANONYMOUS, DEFAULT, masks, row_filters, scope_of, visible

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from hven.engines import Relation
    from hven.model.resource import Resource
    from hven.model.table import Table
    from hven.site._fallback import Damage
    from hven.site.auth import Policy, Reader
    from hven.site.store import Release

USER_SCHEMA = "tap_user"
OWN = "~"  # in a reach: behind it, the tables that are the reader's own
ROWS = "/"  # in a reach: before it, which tables are seen; behind it, which rows
READERS = 4096  # whose reach is remembered
OWNERS = 256  # whose catalogue is remembered


def nothing(_: str) -> tuple[Published, ...]:
    """Return no tables: nobody has any of their own."""
    return ()


class Members(Protocol):
    """The tables that a view unites, by name, and the view over some of them."""

    def __iter__(self) -> Iterator[str]:
        """Yield the tables' names."""

    def over(self, names: Collection[str]) -> Table:
        """Return the view over these tables, with nothing of the others in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One table or view that is published.

    Attributes
    ----------
    relation
        Where its rows are; None for a view, which the binder resolves.
    updated
        When it was ingested (ISO, UTC).
    run
        That made its rows; None: they are read in place, or it is a view.
    resource
        Its collection, as the descriptor says it now.
    coverage
        ASCII MOC of its positions, or None.
    rows
        Number of rows; None for a view.
    bytes
        Of its files.
    statistics
        By column: ``minimum``, ``maximum``, ``nulls``, ``distinct`` ...
    provenance
        What is stored about its snapshot: see `hven.site.store.Record`.
    reads
        The tables and views that a view reads, directly or through other views.
    access
        What a view's descriptor says of it alone; its table is private if any table is that it reads.
    members
        Of ivoa.obscore: the tables whose observations it has. Each reader has the union over those that they see.
    instead
        Id of a newer snapshot that is damaged: this one is served for it.
    release
        The release whose state this is; None: it is of now.
    """

    table: Table
    relation: Relation | None
    updated: str
    run: str | None = None
    resource: Resource | None = None
    coverage: str | None = None
    rows: int | None = None
    bytes: int = 0
    statistics: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    reads: tuple[str, ...] = ()
    access: str | None = None
    members: Members | None = None
    instead: str | None = None
    release: Release | None = None


@dataclass(frozen=True, eq=False)
class Holdings:
    """Everything published, as one state; later changes make another `Holdings`.

    Attributes
    ----------
    schemas
        Every schema with all its tables, private ones too: for the site's owner. Readers get `catalogue`.
    published
        By qualified name.
    resources
        By collection: the descriptors as they are now.
    version
        Changes whenever anything here does: part of plan keys and ETags.
    problems
        What is wrong with descriptors and views; the last good state is in force.
    descriptor_faults
        Collection -> what is wrong with its descriptor, and what is in force instead.
    damages
        Published snapshots that are damaged, and what is served instead.
    own
        Name of a reader -> the tables that they keep here (`Table.owner`). They are no part of `published` nor of `version`:
        one reader's upload changes nothing for the others, and two readers may have tables of one name.
    """

    schemas: tuple[Schema, ...] = ()
    published: Mapping[str, Published] = field(default_factory=dict)
    resources: Mapping[str, Resource] = field(default_factory=dict)
    version: str = "0"
    problems: tuple[str, ...] = ()
    descriptor_faults: Mapping[str, str] = field(default_factory=dict)
    damages: tuple[Damage, ...] = ()
    own: Callable[[str], tuple[Published, ...]] = nothing
    _owners: dict[str, tuple[Catalogue, Mapping[str, Relation]]] = field(default_factory=dict, repr=False)
    _catalogues: dict[str, Catalogue] = field(default_factory=dict, repr=False)
    _reaches: dict[tuple[Reader, int], tuple[Sequence[Policy], str, float, float]] = field(
        default_factory=dict, repr=False
    )

    @cached_property
    def guarded(self) -> tuple[Table, ...]:
        """Tables whose descriptor has a policy."""
        return tuple(item.table for item in self.published.values() if item.table.policy is not None)

    def counted(
        self, who: Reader = ANONYMOUS, policies: Sequence[Policy] = DEFAULT
    ) -> Callable[[Table], Published | None]:
        """Give what was counted over all rows of a table, if a reader sees it whole.

        Parameters
        ----------
        who, policies
            Whether a policy hides rows of it from this reader, or values: what was counted would tell of them.

        Returns
        -------
        counted
            Of a table; None: nothing may be told.
        """
        tables = [item.table for item in self.published.values()]
        partly = {*row_filters(tables, who, policies), *masks(tables, who)}
        return lambda table: None if table.qualified in partly else self.published.get(table.qualified)

    @cached_property
    def releases(self) -> Mapping[str, tuple[Published, ...]]:
        """The states of a table that are released, by its qualified name; the newest first."""
        found: dict[str, tuple[Published, ...]] = {}
        for item in self.published.values():
            if item.release is not None:
                name = f"{item.release.collection}.{item.table.name}"
                found[name] = (*found.get(name, ()), item)
        return found

    @cached_property
    def written(self) -> frozenset[str]:
        """Addresses that the site had when rows were written that name files of it: a server at another port has the same."""
        return frozenset(one for item in self.published.values() if (one := item.provenance.get("site_url")))

    @cached_property
    def shared(self) -> bool:
        """Whether there are tables of members."""
        return any(item.table.access == "members" or item.access == "members" for item in self.published.values())

    def reach(self, who: Reader = ANONYMOUS, policies: Sequence[Policy] = DEFAULT) -> str:
        """Return the key of what a reader may know of and which rows they see: equal words, equal catalogues and equal answers.

        It is worked out once for each reader and sequence of policies: policies that change their mind come as another sequence.

        Parameters
        ----------
        who
            The reader.
        policies
            What readers may see.
        """
        return self._common(who, policies) if who.name is None else self._seen(who, policies)[0]

    def _seen(self, who: Reader, policies: Sequence[Policy]) -> tuple[str, tuple[Published, ...]]:
        """Return the reach of somebody who may have own tables, and these tables."""
        common = self._common(who, policies)
        own = tuple(item for item in self.own(who.name or "") if visible(item.table, who, policies))
        if not own:
            return common, ()
        seen, rows, filters = common.partition(ROWS)
        return f"{seen}{OWN}{_digest(repr((who.name, [item.run for item in own])))}{rows}{filters}", own

    def _common(self, who: Reader, policies: Sequence[Policy]) -> str:
        if policies is DEFAULT and not self.guarded and not self.shared and who.usual:  # the usual case costs nothing
            return "public"
        known = self._reaches.get((who, id(policies)))
        if known is None or (self.guarded and not known[2] <= present() < known[3]):
            if len(self._reaches) >= READERS:
                self._reaches.clear()
            spans = [table.rights.span(who) for table in self.guarded if table.rights is not None]
            since, until = max((one for one, _ in spans), default=0), min((one for _, one in spans), default=math.inf)
            # the policies are kept with it: another sequence must not get their id
            known = self._reaches[who, id(policies)] = (policies, self._reach(who, policies), since, until)
        return known[1]

    def _reach(self, who: Reader, policies: Sequence[Policy]) -> str:
        tables = [item.table for item in self.published.values()]
        filters = row_filters(tables, who, policies)
        hidden = sorted(name for name, item in self.published.items() if not self._sees(item, who, policies))
        private = sorted(name for name, item in self.published.items() if item.table.access != "public")
        seen = "public" if hidden == private else _digest(repr(hidden))
        if filters:
            return f"{seen}{ROWS}{scope_of(filters, [], masks(tables, who)).key}"
        return f"{seen}{ROWS}all" if self.guarded else seen  # who sees all of what others see in part is not everybody

    def _sees(self, item: Published, who: Reader, policies: Sequence[Policy]) -> bool:
        """Return whether a reader may know of a table; of a view, only if of everything that it reads, of a union if of one of its members."""
        if item.members:
            return any(self._sees(self.published[name], who, policies) for name in item.members) and visible(
                item.table.having(access="public"), who, policies
            )
        items = [item, *(self.published[name] for name in item.reads if name in self.published)]
        tables = [one.table if one.access is None else one.table.having(access=one.access) for one in items]
        return all(visible(table, who, policies) for table in tables)

    def catalogue(self, who: Reader = ANONYMOUS, policies: Sequence[Policy] = DEFAULT) -> Catalogue:
        """Return the schemas and tables that a reader may know of, with TAP_SCHEMA.

        Parameters
        ----------
        who
            The reader.
        policies
            What readers may see.
        """
        reach, own = self._seen(who, policies) if who.name is not None else (self._common(who, policies), ())
        key = reach.partition(ROWS)[0]  # who sees other rows of the same tables has the same catalogue
        if own:
            return self._owned(key, own, who, policies)
        known = self._catalogues.get(key)
        if known is None:
            # two threads may both make it; they make the same
            known = self._catalogues.setdefault(key, self._catalogue(key, who, policies))
        return known

    def _catalogue(self, key: str, who: Reader, policies: Sequence[Policy], own: tuple[Schema, ...] = ()) -> Catalogue:
        seen = {item.table.qualified: item.table for item in self.published.values() if self._sees(item, who, policies)}
        for name, item in self.published.items():
            if name in seen and item.members:
                seen[name] = item.members.over([member for member in item.members if member in seen])
        schemas = []
        for schema in self.schemas:
            tables = tuple(_known(table, seen) for table in schema.tables if table.qualified in seen)
            if tables:
                schemas.append(replace(schema, tables=tables))
        itself, memory = tap_schema.build([*schemas, *own])
        return Catalogue(key=key, schemas=(*schemas, *own, itself), memory=memory)

    def _owned(self, key: str, own: Sequence[Published], who: Reader, policies: Sequence[Policy]) -> Catalogue:
        known = self._owners.get(key)
        if known is None:
            schema = Schema(name=USER_SCHEMA, tables=tuple(item.table for item in own), title="Your own tables")
            made = self._catalogue(key, who, policies, (schema,))
            known = (made, {item.table.qualified: item.relation for item in own if item.relation is not None})
            while len(self._owners) >= OWNERS:
                self._owners.pop(next(iter(self._owners), ""), None)
            self._owners[key] = known
        return known[0]

    def relation(self, table: Table | str, reach: str = "public") -> Relation:
        """Return the rows of a table; TAP_SCHEMA's are those of a reader's `reach`.

        Parameters
        ----------
        table
            Itself, or its qualified name.
        reach
            As `reach` returned it.

        Returns
        -------
        relation
            A snapshot, or rows in memory.

        Raises
        ------
        KeyError
            Not published, or a view.
        Conflict
            A reader's own table was changed in this moment.
        """
        name = table if isinstance(table, str) else table.qualified
        reach = reach.partition(ROWS)[0]
        if OWN in reach:
            catalogue, relations = self._owners.get(reach, (None, {}))
            if name in relations:
                return relations[name]
            if catalogue is not None and name in catalogue.memory:
                return catalogue.memory[name]
        if not isinstance(table, str) and table.owner is not None:
            raise Conflict(f"the table {name} was changed in this moment", remedy="ask again")
        item = self.published.get(name)
        if item is not None and item.relation is not None:
            return item.relation
        if OWN in reach:
            raise Conflict("your tables were changed in this moment", remedy="ask again")
        catalogue = self._catalogues.get(reach) or (self.catalogue() if reach == "public" else None)
        if catalogue is None or name not in catalogue.memory:
            raise KeyError(name)
        return catalogue.memory[name]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _known(table: Table, seen: Mapping[str, Table]) -> Table:
    table = seen[table.qualified]
    keys = resolved_keys(table.keys, seen)
    return table if keys == table.keys else table.having(keys=keys)

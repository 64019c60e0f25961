"""Compare what two sites say of a collection: columns, rights, metadata of the collection, and files."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from itertools import takewhile
from typing import TYPE_CHECKING, Any, NamedTuple

from hven import descriptor
from hven.adql import parse_condition
from hven.adql.syntax_tree import Conjunction, Disjunction
from hven.model.errors import Fault, TextPlace
from hven.model.table import table_to_json
from hven.plugins.promotion.pinned_directories import FileDifference, compare_files, list_collection_files
from hven.plugins.schema_life.described_columns import describe_tables
from hven.plugins.schema_life.schema_comparison import compare_models

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from hven.adql.syntax_tree import Expr
    from hven.model.resource import CollectionSpec
    from hven.model.table import Column, RowAccessPolicy, Table
    from hven.plugins.promotion.collection_states import CollectionState, SourceCollection
    from hven.site.store import SnapshotRecord

# fields of a collection that differ on any two sites, or are compared in another way
UNCOMPARED_FIELDS = {"path", "hashes", "tables", "site", "access", "project"}
ACCESS_RANKS = {"private": 0, "members": 1, "public": 2}
OBSCORE_STANDARD = "obscore-1.1"
SHOWN_CONTEXT_CHARACTERS = 20  # around what differs between two texts
MAX_SHOWN_CHARACTERS = 160
MIN_OBSCORE_COLUMNS = 3  # a table with fewer of these names may mean something else by them


@dataclass(frozen=True, slots=True, kw_only=True)
class RightsDifference:
    """How the rights of a table differ; `is_wider` if more people may see something of it after the promotion."""

    table: str
    before: str
    after: str
    is_wider: bool


class MetadataChange(NamedTuple):
    """A value that differs: of a column, a table or the collection, in words; empty: there is none."""

    subject: str
    key: str
    before: str
    after: str

    def __str__(self) -> str:
        before, after = shorten_change(self.before, self.after)
        return f"{self.subject}: {self.key} {before} -> {after}"


def shorten_change(before: str, after: str) -> tuple[str, str]:
    """Shorten two texts to what differs, with some characters around it.

    Parameters
    ----------
    before, after
        The texts; empty: there is none.
    """
    start = _count_equal_characters(before, after)
    end = _count_equal_characters(before[start:][::-1], after[start:][::-1])
    return _shorten_text(before, start, end), _shorten_text(after, start, end)


def _count_equal_characters(first: str, second: str) -> int:
    """Return the length of the common beginning of two texts."""
    return len(list(takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False))))


def _shorten_text(text: str, equal_start: int, equal_end: int) -> str:
    """Shorten a text with beginning and end like those of another one."""
    if not text:
        return "none"
    begin = max(equal_start - SHOWN_CONTEXT_CHARACTERS, 0)
    stop = min(len(text) - equal_end + SHOWN_CONTEXT_CHARACTERS, begin + MAX_SHOWN_CHARACTERS, len(text))
    shown_text = " ".join(text[begin:stop].split())
    start_mark = "..." if begin else ""
    stop_mark = ""
    if stop < len(text):
        stop_mark = "..."
    return f"'{start_mark}{shown_text}{stop_mark}'"


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataDifference:
    """What differs besides the rows.

    Attributes
    ----------
    added_tables, removed_tables
        Tables that only this site has, and that only the target has.
    columns
        Sentences about columns and tables.
    collection
        Keys of the collection whose values differ: its title, its registration, and others.
    changes
        The values of columns, tables and the collection that differ, without those of unit, type, UCD and utype.
    """

    added_tables: list[str] = field(default_factory=list)
    removed_tables: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    rights: list[RightsDifference] = field(default_factory=list)
    collection: list[str] = field(default_factory=list)
    changes: list[MetadataChange] = field(default_factory=list)
    files: FileDifference = field(default_factory=FileDifference)

    @property
    def is_empty(self) -> bool:
        """Whether nothing differs."""
        lists = (self.added_tables, self.removed_tables, self.columns, self.rights, self.collection)
        return not any(lists) and self.files.is_empty


def compare_metadata(
    origin: SourceCollection, target: CollectionState, *, compares_contents: bool = False
) -> MetadataDifference:
    """Compare the metadata of a collection on this site with those on the target.

    The rights are those of the descriptor, because the target publishes these, whatever another site says of tables.

    Parameters
    ----------
    origin, target
        What the two sites publish.
    compares_contents
        Read files with equal sizes and times to compare them.
    """
    own_resource, target_resource = origin.required_resource, target.resource
    # with the same files, other differences come from the addresses of the sites
    is_same_descriptor = target_resource is not None and own_resource.hashes == target_resource.hashes
    rights = []
    differences: list[str | MetadataChange] = []
    for name in origin.tables.keys() & target.tables.keys():
        table_pair = origin.tables[name], target.tables[name]
        differences += _compare_columns(*table_pair, with_attributes=not is_same_descriptor)
        if not is_same_descriptor:
            differences += _compare_tables(*table_pair)
    described_tables = _apply_described_rights(own_resource, origin.records, origin.tables)
    embargoes = _describe_embargoes(own_resource), _describe_embargoes(target_resource)
    for name in described_tables.keys() & target.tables.keys():
        embargoes_of_table = embargoes[0].get(name, ""), embargoes[1].get(name, "")
        difference = _compare_rights(described_tables[name], target.tables[name], embargoes_of_table)
        if difference is not None:
            rights.append(difference)
    changes: list[MetadataChange] = []
    if target_resource is not None and not is_same_descriptor:
        facts = (_list_facts(resource, UNCOMPARED_FIELDS) for resource in (target_resource, own_resource))
        changes += _compare_facts(own_resource.name, *facts)
    return MetadataDifference(
        added_tables=sorted(origin.tables.keys() - target.tables.keys()),
        removed_tables=sorted(target.tables.keys() - origin.tables.keys()),
        columns=sorted(map(str, differences)),
        rights=sorted(rights, key=lambda difference: difference.table),
        collection=[change.key for change in changes],
        changes=sorted([*changes, *(item for item in differences if isinstance(item, MetadataChange))]),
        files=compare_files(origin.files, list_collection_files(target.directory), compares_contents=compares_contents),
    )


def _list_facts(described: CollectionSpec | Column, ignored_names: Collection[str]) -> dict[str, Any]:
    """List the values of what a descriptor describes by their names."""
    return {item.name: getattr(described, item.name) for item in fields(described) if item.name not in ignored_names}


def _compare_facts(subject: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[MetadataChange]:
    """Describe the values that differ."""
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key):
            yield MetadataChange(subject, key, _write_value(before.get(key)), _write_value(after.get(key)))


def _apply_described_rights(
    resource: CollectionSpec, records: Mapping[str, SnapshotRecord], published_tables: Mapping[str, Table]
) -> dict[str, Table]:
    """Return tables with the rights and the hidden columns that a site publishes with a descriptor."""
    tables = {**published_tables, **{name: record.table for name, record in records.items()}}
    for spec in resource.tables:
        described_table = spec.table
        record = records.get(described_table.qualified_name)
        if not described_table.columns and described_table.qualified_name in published_tables:
            columns_of_view = published_tables[described_table.qualified_name].columns
            described_table = described_table.copy_with(columns=columns_of_view)
        if record is not None:
            described_columns = {column.name: column for column in (*described_table.columns, *spec.declared_columns)}
            inherited_attributes = record.provenance.get("inherited", {})
            columns_with_rights = []
            for column in record.table.columns:
                is_hidden = inherited_attributes.get(column.name, {}).get("hidden", False)
                if "hidden" in spec.explicit_attributes.get(column.name, ()) and column.name in described_columns:
                    is_hidden = described_columns[column.name].hidden
                columns_with_rights.append(column.copy_with(hidden=is_hidden))
            described_table = described_table.copy_with(columns=tuple(columns_with_rights))
        tables[described_table.qualified_name] = described_table
    return tables


def _write_value(value: object) -> str:
    """Write a value in words; empty if there is none."""
    if value is None or value in ("", (), {}):
        return ""
    return str(value)


def _compare_columns(origin: Table, target: Table, *, with_attributes: bool) -> Iterator[str | MetadataChange]:
    """Describe the differences between the columns of two tables."""
    name = origin.qualified_name
    own_columns = {column.name: column for column in origin.columns}
    target_columns = {column.name: column for column in target.columns}
    for column in own_columns.keys() - target_columns.keys():
        yield f"{name}.{column} is new"
    for column in target_columns.keys() - own_columns.keys():
        yield f"{name}.{column} is removed"
    comparison = compare_models([describe_tables("target", [target]), describe_tables("source", [origin])])
    explained: set[tuple[str, str]] = set()
    for group in comparison.groups:
        for conflict in group.conflicts:
            texts = {value.columns[0].model: value.text or "none" for value in conflict.values}
            column_name = group.columns[0].name
            explained.add((column_name, conflict.kind))
            change = f"{texts.get('target', 'none')} -> {texts.get('source', 'none')}"
            yield f"{name}.{column_name}: {conflict.kind} {change}"
    for column in own_columns.keys() & target_columns.keys() if with_attributes else ():
        facts = (_list_facts(columns[column], ("origins",)) for columns in (target_columns, own_columns))
        for attribute_change in _compare_facts(f"{name}.{column}", *facts):
            if (column, attribute_change.key) not in explained:
                yield attribute_change


def _compare_tables(origin: Table, target: Table) -> Iterator[MetadataChange]:
    """Describe the differences between the metadata of two tables, apart from their columns and rights."""
    facts = [table_to_json(table) for table in (target, origin)]
    for key in ("columns", "access", "project", "policy"):
        for facts_of_table in facts:
            facts_of_table.pop(key, None)
    return _compare_facts(origin.qualified_name, *facts)


def _describe_embargoes(resource: CollectionSpec | None) -> dict[str, str]:
    """Describe the embargo of each table that has one, by the qualified names of the tables."""
    if resource is None:
        return {}
    return {spec.table.qualified_name: spec.embargo.describe() for spec in resource.tables if spec.embargo is not None}


def _compare_rights(origin: Table, target: Table, embargoes: tuple[str, str]) -> RightsDifference | None:
    """Compare who may see two tables.

    A policy that is not clearly narrower may show more rows, so it counts as wider. So does another embargo, because
    the dates that it gives to the rows may be earlier.
    """
    before, after = _describe_rights(target), _describe_rights(origin)
    own_embargo, target_embargo = embargoes
    if own_embargo != target_embargo:
        before = f"{before}, embargo: {target_embargo or 'none'}"
        after = f"{after}, embargo: {own_embargo or 'none'}"
    own_rank, target_rank = ACCESS_RANKS.get(origin.access, 0), ACCESS_RANKS.get(target.access, 0)
    is_other_project = origin.project != target.project and own_rank == target_rank == 1
    is_embargo_changed = bool(target_embargo) and own_embargo != target_embargo
    is_wider = own_rank > target_rank or is_other_project or is_embargo_changed
    is_wider = is_wider or not is_narrower_policy(origin.policy, target.policy)
    hidden_names = {column.name for column in target.columns if column.hidden}
    shown_names = sorted(hidden_names & {column.name for column in origin.columns if not column.hidden})
    if shown_names:
        before = f"{before}, {', '.join(shown_names)} hidden"
        after = f"{after}, {', '.join(shown_names)} shown"
        is_wider = True
    if before == after and origin.policy == target.policy:
        return None
    return RightsDifference(table=origin.qualified_name, before=before, after=after, is_wider=is_wider)


def _describe_rights(table: Table) -> str:
    text = table.access
    if table.project is not None:
        text = f"{text}, project {table.project}"
    policy = table.policy
    if policy is None:
        return text
    for name, value in (("rows", policy.rows), ("files", policy.files), ("take", policy.take), ("path", policy.path)):
        if value is not None:
            text = f"{text}, {name}: {value}"
    if policy.columns is not None:
        text = f"{text}, columns of files: {', '.join(policy.columns)}"
    return text


def is_narrower_policy(new: RowAccessPolicy | None, old: RowAccessPolicy | None) -> bool:
    """Return whether nobody can see more with a new policy than with the old one, as far as its text shows.

    Parameters
    ----------
    new, old
        The policies; None: there is none.
    """
    if old is None or new == old:
        return True
    if new is None or (new.columns, new.path) != (old.columns, old.path):
        return False
    is_narrower = old.rows is None or _is_narrower_condition(new.rows, old.rows)
    return is_narrower and all(
        new_text == old_text or _is_narrower_condition(new_text, old_text)
        for new_text, old_text in ((new.files, old.files), (new.take, old.take))
    )


def _is_narrower_condition(new: str | None, old: str | None) -> bool:
    """Return whether a condition adds parts with AND to the old one, or leaves out some of its parts with OR."""
    if new is None or old is None:
        return False
    new_tree, old_tree = parse_condition(new), parse_condition(old)
    new_parts = _split_parts(new_tree, Conjunction)
    if all(part in new_parts for part in _split_parts(old_tree, Conjunction)):
        return True
    old_alternatives = _split_parts(old_tree, Disjunction)
    return all(alternative in old_alternatives for alternative in _split_parts(new_tree, Disjunction))


def _split_parts(tree: Expr, junction: type[Conjunction | Disjunction]) -> list[Expr]:
    """Return the parts that AND or OR joins, also in parentheses."""
    if not isinstance(tree, junction):
        return [tree]
    return [part for inner_tree in tree.parts for part in _split_parts(inner_tree, junction)]


def find_unusable_obscore_columns(resource: CollectionSpec, tables: Mapping[str, Table]) -> list[Fault]:
    """Find columns that have the name of an ObsCore column, and a type that clients of ObsCore cannot use.

    Another kind of region is an error, and so is another kind of any column in a table with rows in ``ivoa.obscore``.
    In other tables it is a warning, because their columns may mean something else by these names.

    Parameters
    ----------
    resource
        The descriptor.
    tables
        The tables as they are published.
    """
    standard_columns: dict[str, Column] = {}
    for spec in descriptor.load_standard_descriptor(OBSCORE_STANDARD).tables:
        standard_columns |= {column.name: column for column in spec.table.columns}
    faults = []
    specs = {spec.table.qualified_name: spec for spec in resource.tables}
    for table in tables.values():
        columns = [column for column in table.columns if column.name in standard_columns]
        for column in columns:
            wanted_kind = _find_value_kind(standard_columns[column.name])
            kind = _find_value_kind(column)
            if wanted_kind != "region" and len(columns) < MIN_OBSCORE_COLUMNS:
                continue
            # a region can be a text of STC-S
            if kind != wanted_kind and (wanted_kind, kind) != ("region", "text"):
                message = (
                    f"{table.qualified_name}.{column.name} has values of the kind {kind!r}, but in ObsCore it has "
                    f"values of the kind {wanted_kind!r}"
                )
                remedy = "correct the type of the column and ingest the collection, or rename the column"
                place = TextPlace(file=str(resource.path))
                is_error = wanted_kind == "region"
                table_spec = specs.get(table.qualified_name)
                if table_spec is not None:
                    place = table_spec.column_places.get(column.name, place)
                    is_error = is_error or table_spec.obscore is not None
                severity = "error" if is_error else "warning"
                faults.append(Fault(message=message, place=place, remedy=remedy, severity=severity))
    return faults


def _find_value_kind(column: Column) -> str:
    stored_xtype = column.type.stored_xtype
    if stored_xtype is not None and stored_xtype.adql not in {"VARCHAR", "TIMESTAMP"}:
        return "region"
    if column.type.is_string or column.type.is_timestamp:
        return "text"
    return "number"

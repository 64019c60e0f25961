"""Trees of counts: mission > instrument > data set, or whatever columns a site names.

Counted once for each state of a table, and kept.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import Counter
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.adql import syntax_tree
from hven.engines import LiveRelation
from hven.model import Cache, FailureLog
from hven.model.errors import HvenError
from hven.portal._condition_values import parse_field_values, write_value
from hven.portal._explore import observation_lines
from hven.portal._explore.search import COUNT_ITEM, TableSearch, build_column_ref
from hven.portal._explore.value_files import ValueFiles
from hven.portal.conditions import LIST_COLUMNS, WHOLE_LIST_PATTERN

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from hven.model.resource import Resource
    from hven.model.table import Column, Table
    from hven.portal._explore.observation_lines import ObservationKey
    from hven.portal._explore.page_queries import QueryRunner

MAX_TABLE_GROUPS = 3_000  # of one table at most: with more it gets fewer levels
MAX_CACHED_TREES = 2_000  # tables in different states that are remembered
TABLE_TIMEOUT_SECONDS = 20.0  # seconds for one table: nobody waits for it
CACHE_DIRECTORY = "trees"  # in var/: counts that all processes of a site share
RESOURCE_LEVELS = {"@facility": "facility", "@instrument": "instrument", "@subject": "subjects"}
log = logging.getLogger("hven.portal")


@dataclass(frozen=True, slots=True, kw_only=True)
class CountLeaf:
    """Rows of one table that have the values of a path: `conditions` as an address has them. `row_count` None.

    Not counted.
    """

    table: Table
    row_count: int | None
    conditions: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True, kw_only=True)
class CountNode:
    """A branch: its name (None: rows without a value), how many rows hang on it, branches, and tables that end here.

    Attributes
    ----------
    row_count
        Of what was counted; None: nothing was.
    is_lower_bound
        There are more: something below is not counted.
    table_conditions
        Of each table below it, the values by which its columns are asked for what hangs here.
    """

    name: str | None
    row_count: int | None = None
    is_lower_bound: bool = False
    table_conditions: dict[str, dict[str, dict[str, None]]] = dataclass_field(default_factory=dict)
    branches: dict[str | None, CountNode] = dataclass_field(default_factory=dict)
    leaves: list[CountLeaf] = dataclass_field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class _TreeLevel:
    """One level of one table: a column, or words that are the same for all of its rows."""

    column: Column | None = None
    word: str | None = None


class CountTrees:
    """Counts of tables by the columns of their levels, remembered by the state of each table. Thread-safe."""

    def __init__(self) -> None:
        self._leaves: Cache[tuple[CountLeaf, ...]] = Cache(MAX_CACHED_TREES)
        self._lock = threading.Lock()

    def is_ready(
        self, runner: QueryRunner, tables: Sequence[Table], levels: Sequence[str], max_branches: int, access_key: str
    ) -> bool:
        """Return whether nothing has to be counted now: all is known, or it is too soon to try again what failed."""
        failures = runner.site.get_or_create(FailureLog)
        keys = [_build_cache_key(table, runner, levels, max_branches, access_key) for table in tables]
        return all(self._leaves.find(key) is not None or failures.is_paused(key) for key in keys)

    def count_uncounted_tables(
        self, runner: QueryRunner, tables: Sequence[Table], levels: Sequence[str], max_branches: int, access_key: str
    ) -> int:
        """Count the tables whose rows nobody has counted yet, or could not."""
        return sum(
            self._leaves.find(_build_cache_key(table, runner, levels, max_branches, access_key)) is None
            for table in tables
        )

    def build_tree(
        self, runner: QueryRunner, tables: Sequence[Table], levels: Sequence[str], max_branches: int, access_key: str
    ) -> CountNode:
        """Return the tree of some tables, as one reader sees them.

        Parameters
        ----------
        levels
            As in the setting ``tree.levels``.
        max_branches
            Values of one column at most.
        access_key
            Of the reader: where a policy hides rows, the counts are theirs alone.
        """
        root = CountNode(name="")
        for table in tables:
            key = _build_cache_key(table, runner, levels, max_branches, access_key)
            with self._lock:  # one at a time: they are the biggest queries that pages ask
                leaves = self._leaves.find(key) or self._count_or_read(key, table, runner, levels, max_branches)
            table_levels = _resolve_levels(table, runner.published_state.resources.get(table.schema), levels)
            for leaf in leaves:
                _add_leaf(root, leaf, table_levels)
        _merge_unnamed_branches(root)
        _sum_rows(root)
        return root

    def _count_or_read(
        self, key: tuple[object, ...], table: Table, runner: QueryRunner, levels: Sequence[str], max_branches: int
    ) -> tuple[CountLeaf, ...]:
        """Count a table, or take what another process has counted. What fails is not kept.

        It is tried again, after a pause that grows.
        """
        failures = runner.site.get_or_create(FailureLog)
        if failures.is_paused(key):
            return _build_uncounted_leaf(table, runner)
        files = ValueFiles(runner.site.settings.var_directory / CACHE_DIRECTORY)
        owner = (key[0], *key[3:])  # all but the state of the rows
        leaves = _read_leaves(files, owner, key, table)
        if leaves is None:
            with files.lock_counting(-1):
                leaves = _read_leaves(files, owner, key, table)
                try:
                    if leaves is None:
                        leaves = _count_table(table, runner, levels, max_branches)
                        _write_leaves(files, owner, key, leaves)
                except HvenError as error:
                    failure = failures.record_failure(key, f"the tree's counts of {table.qualified_name}", str(error))
                    log.warning(
                        "the tree has no counts of %s after %d attempts: %s",
                        table.qualified_name,
                        failure.attempts,
                        error,
                    )
                    return _build_uncounted_leaf(table, runner)
        failures.record_success(key)
        self._leaves.store(key, leaves)
        return leaves


def _build_uncounted_leaf(table: Table, runner: QueryRunner) -> tuple[CountLeaf, ...]:
    """Return the one leaf of a table whose rows could not be counted.

    Its number only where the counts would add up to it.
    """
    has_observation_lines = table.view is None and observation_lines.find_observation_key(table, runner) is not None
    if has_observation_lines or has_hidden_rows(table, runner):
        rows = None
    else:
        rows = runner.find_published_table(table).rows
    return (CountLeaf(table=table, row_count=rows),)


def _read_leaves(files: ValueFiles, owner: Hashable, key: Hashable, table: Table) -> tuple[CountLeaf, ...] | None:
    """Read the counts that another process has written."""
    cached_file = files.read_arrays(owner, key)
    if cached_file is None:
        return None
    arrays = cached_file[1]
    return tuple(
        CountLeaf(
            table=table,
            row_count=None if rows < 0 else int(rows),
            conditions=tuple((str(name), str(value)) for name, value in json.loads(text)),
        )
        for rows, text in zip(arrays["rows"], arrays["conditions"].to_pylist(), strict=True)
    )


def _write_leaves(files: ValueFiles, owner: Hashable, key: Hashable, leaves: Sequence[CountLeaf]) -> None:
    """Write counts for the other processes."""
    rows = np.array([-1 if leaf.row_count is None else leaf.row_count for leaf in leaves], np.int64)
    conditions = pa.array([json.dumps(leaf.conditions) for leaf in leaves], pa.string())
    files.write_arrays(owner, key, (), {"rows": rows, "conditions": conditions})


def _build_cache_key(
    table: Table, runner: QueryRunner, levels: Sequence[str], max_branches: int, access_key: str
) -> tuple[object, ...]:
    item = runner.find_published_table(table)
    if has_hidden_rows(table, runner):
        row_scope = access_key
    else:
        row_scope = "public"
    return (
        table.qualified_name,
        item.run_id,
        item.updated,
        tuple(levels),
        max_branches,
        row_scope,
        tuple(column.name for column in table.columns),
    )


def has_hidden_rows(table: Table, runner: QueryRunner) -> bool:
    """Return whether a policy hides rows of a table, or of what it reads."""
    published_tables = runner.published_state.tables_by_name
    return runner.has_hidden_rows(table) or any(
        runner.has_hidden_rows(published_tables[name].table)
        for name in runner.find_published_table(table).read_tables
        if name in published_tables
    )


def _resolve_levels(table: Table, resource: Resource | None, levels: Sequence[str]) -> list[_TreeLevel]:
    """Find what makes the levels of a table; those that it has nothing for are left out."""
    columns_by_name = {
        column.name.lower(): column
        for column in table.columns
        if not column.hidden and not column.type.is_array and not column.type.is_geometry
    }
    tree_levels = []
    for level in levels:
        for word in (alternative.strip() for alternative in level.split("|")):
            column = columns_by_name.get(word.lower())
            text = _find_level_word(word, table, resource)
            if column is not None or text:
                tree_levels.append(_TreeLevel(column=column, word=text))
                break
    return tree_levels


def _find_level_word(word: str, table: Table, resource: Resource | None) -> str | None:
    if word == "@collection":
        return (resource.title if resource is not None else None) or table.schema
    if word in RESOURCE_LEVELS and resource is not None:
        values: tuple[str, ...] = getattr(resource, RESOURCE_LEVELS[word])
        return ", ".join(values) or None
    return None


def _count_table(table: Table, runner: QueryRunner, levels: Sequence[str], max_branches: int) -> tuple[CountLeaf, ...]:
    """Count the rows of a table by its columns; by fewer of them where the values would be too many.

    Raises
    ------
    HvenError
        They could not be counted now.
    """
    item = runner.find_published_table(table)
    rows_hidden = has_hidden_rows(table, runner)
    if table.view is not None:
        observation = None
    else:
        observation = observation_lines.find_observation_key(table, runner)
    known_row_count = None if rows_hidden else item.rows
    single_leaf = (CountLeaf(table=table, row_count=known_row_count),)
    columns = [
        level.column
        for level in _resolve_levels(table, runner.published_state.resources.get(table.schema), levels)
        if level.column is not None
    ]
    if not rows_hidden:  # what all rows have says something of hidden ones
        columns = [
            level
            for level in columns
            if _has_few_values(item.statistics.get(level.name, {}).get("distinct"), max_branches)
        ]
    if isinstance(item.relation, LiveRelation) or any(
        isinstance(runner.published_state.tables_by_name[name].relation, LiveRelation)
        for name in item.read_tables
        if name in runner.published_state.tables_by_name
    ):
        return single_leaf  # other programs write it: no number would be true for long
    if table.view is not None or item.relation is None:
        return (CountLeaf(table=table, row_count=None),)
    if not columns and known_row_count is not None and observation is None:
        return single_leaf
    while True:
        groups = _count_groups(table, columns, runner, observation)
        if len(groups) <= MAX_TABLE_GROUPS:
            crowded = {place for place in range(len(columns)) if len({group[place] for group in groups}) > max_branches}
            if not crowded:
                break
            columns = [level for place, level in enumerate(columns) if place not in crowded]
        else:
            columns = columns[:-1]
    texts = [
        _write_value_conditions(column, [group[place] for group in groups]) for place, column in enumerate(columns)
    ]
    return tuple(
        CountLeaf(
            table=table,
            row_count=int(group[-1]),
            conditions=tuple((column.name, texts[place][group[place]]) for place, column in enumerate(columns)),
        )
        for group in groups
    )


def _write_value_conditions(column: Column, values: Sequence[Any]) -> dict[Any, str]:
    """Write each value as a condition that has the rows of this value alone.

    Of lists the whole list, where another one has its items, too.
    """
    if column.name.lower() not in LIST_COLUMNS:
        return {value: write_value(None if value is None else str(value)) for value in values}
    lists = {value: [item.casefold() for item in str(value).split("#")] for value in values if value}
    item_counts = Counter(item for items in {tuple(items) for items in lists.values()} for item in set(items))
    return {
        value: write_value(f"#{value}#" if len(items) > 1 or item_counts[items[0]] > 1 else value)
        for value, items in lists.items()
    } | {value: write_value(value) for value in values if not value}


def _has_few_values(distinct_count: object, max_branches: int) -> bool:
    return not isinstance(distinct_count, int | float) or distinct_count <= max_branches


def _count_groups(
    table: Table, columns: Sequence[Column], runner: QueryRunner, observation: ObservationKey | None
) -> list[tuple[Any, ...]]:
    """Count the rows of each combination of values; of files of one observation one."""
    names = tuple(build_column_ref(column.name) for column in columns)
    items = (*(syntax_tree.SelectItem(name) for name in names), COUNT_ITEM)
    source: syntax_tree.FromItem = syntax_tree.build_table_ref(table)
    if observation is not None:
        lines = observation_lines.build_line_search(TableSearch(table=table), observation)
        each = tuple(syntax_tree.SelectItem(name) for name in (names or (build_column_ref(table.primary[0]),)))
        source = syntax_tree.DerivedTable(
            syntax_tree.Query(syntax_tree.Select(each, source, where=lines.build_condition())),
            syntax_tree.Ident("lines"),
        )
    top = syntax_tree.Literal(MAX_TABLE_GROUPS + 1)
    select = syntax_tree.Select(items, source, group_by=names, top=top)
    counts = runner.fetch_table(syntax_tree.Query(select), timeout_seconds=TABLE_TIMEOUT_SECONDS)
    groups = list(zip(*(counts.column(number).to_pylist() for number in range(counts.num_columns)), strict=True))
    return sorted(groups, key=lambda group: [("" if value is None else str(value)) for value in group[:-1]])


def _add_leaf(root: CountNode, leaf: CountLeaf, levels: Sequence[_TreeLevel]) -> None:
    """Hang a leaf on the branch of its values and words."""
    values = dict(leaf.conditions)
    leaf_conditions: dict[str, str] = {}
    node = root
    for level in levels:
        if level.column is None:
            name = level.word
        elif level.column.name in values:
            text = values[level.column.name]
            name = _parse_value(level.column, text)
            name = leaf.table.enums.get(level.column.enum or "", {}).get(name or "", name)
            leaf_conditions[level.column.name] = text
        else:
            continue
        node = _get_or_create_branch(node, name)
        conditions_by_column = node.table_conditions.setdefault(leaf.table.qualified_name, {})
        for column, value in leaf_conditions.items():
            conditions_by_column.setdefault(column, {})[value] = None
    leaf_number = next(
        (number for number, other_leaf in enumerate(node.leaves) if other_leaf.table == leaf.table), None
    )
    if leaf_number is None:
        node.leaves.append(leaf)
        return
    other = node.leaves[leaf_number]  # of another spelling
    if leaf.row_count is None or other.row_count is None:
        rows = None
    else:
        rows = leaf.row_count + other.row_count
    pairs = tuple(
        (name, ",".join(merged_values))
        for name, merged_values in node.table_conditions[leaf.table.qualified_name].items()
    )
    node.leaves[leaf_number] = CountLeaf(table=leaf.table, row_count=rows, conditions=pairs)


def _parse_value(column: Column, text: str) -> str | None:
    """Read the value of a condition; None: rows without one, or with a blank one, which nobody could see."""
    (word,) = parse_field_values(text)
    if column.name.lower() in LIST_COLUMNS:
        list_match = WHOLE_LIST_PATTERN.fullmatch(word.text)
    else:
        list_match = None
    if list_match is None:
        value = word.text
    else:
        value = list_match[1]
    if word.is_null or not value.strip():
        return None
    return value


def _get_or_create_branch(node: CountNode, name: str | None) -> CountNode:
    """Return the branch of a name.

    One that is spelled with other capitals is the same, and has the name that came first.
    """
    if name is None:
        folded = None
    else:
        folded = " ".join(name.split()).casefold()
    return node.branches.setdefault(folded, CountNode(name=name))


def _merge_unnamed_branches(node: CountNode) -> None:
    """Join branches with what is below them where all rows lack the value.

    A level of one branch without a name says nothing.
    """
    for branch in node.branches.values():
        _merge_unnamed_branches(branch)
    if not node.leaves and node.branches.keys() == {None}:
        unnamed_branch = node.branches[None]
        node.branches = unnamed_branch.branches
        node.leaves = unnamed_branch.leaves


def _sum_rows(node: CountNode) -> int | None:
    """Add the rows up, branch by branch; those with most rows come first, then by name, those without a value last."""
    for branch in node.branches.values():
        _sum_rows(branch)
    row_counts = [*(child.row_count for child in node.branches.values()), *(child.row_count for child in node.leaves)]
    counts = [rows for rows in row_counts if rows is not None]
    if counts:
        node.row_count = sum(counts)
    else:
        node.row_count = None
    node.is_lower_bound = len(counts) < len(row_counts) or any(child.is_lower_bound for child in node.branches.values())
    node.branches = dict(
        sorted(node.branches.items(), key=lambda pair: (pair[0] is None, -(pair[1].row_count or 0), pair[0] or ""))
    )
    return node.row_count

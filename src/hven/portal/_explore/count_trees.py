"""Count trees: rows by mission > instrument > data set, or by the columns that a site names.

A table is counted once for each of its states, and the counts are kept.
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
from hven.model import LruCache, RetryBackoffLog
from hven.model.errors import HvenError
from hven.portal._condition_values import parse_field_values, quote_field_value
from hven.portal._explore import observation_lines
from hven.portal._explore.search import COUNT_ITEM, TableSearch, build_column_ref
from hven.portal._explore.value_files import SharedArrayFileCache
from hven.portal.conditions import LIST_COLUMNS, WHOLE_LIST_PATTERN

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from hven.model.resource import CollectionSpec
    from hven.model.table import Column, Table
    from hven.portal._explore.observation_lines import ObservationColumnRoles
    from hven.portal._explore.page_queries import QueryRunner

MAX_TABLE_GROUPS = 3_000  # groups of one table; a table with more gets fewer levels
MAX_CACHED_TREES = 2_000  # table states in the cache
TABLE_TIMEOUT_SECONDS = 20.0  # for one table; no page waits for it
CACHE_DIRECTORY = "trees"  # in var/: counts that all processes of a site share
RESOURCE_LEVELS = {"@facility": "facility", "@instrument": "instrument", "@subject": "subjects"}
log = logging.getLogger("hven.portal")


@dataclass(frozen=True, slots=True, kw_only=True)
class CountTreeLeaf:
    """Rows of one table that have the values of a path: `conditions` as in an address.

    `row_count` is None if the rows are not counted.
    """

    table: Table
    row_count: int | None
    conditions: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True, kw_only=True)
class CountTreeNode:
    """A node of the tree: its name (None: rows without a value), its rows, its branches, and tables that end here.

    Attributes
    ----------
    row_count
        The number of counted rows; None if nothing was counted.
    is_lower_bound
        Whether something below is not counted, so that there may be more rows.
    table_conditions
        For each table below, the values of its columns that select the rows of this node.
    """

    name: str | None
    row_count: int | None = None
    is_lower_bound: bool = False
    table_conditions: dict[str, dict[str, dict[str, None]]] = dataclass_field(default_factory=dict)
    branches: dict[str | None, CountTreeNode] = dataclass_field(default_factory=dict)
    leaves: list[CountTreeLeaf] = dataclass_field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class _CountTreeLevel:
    """One level of one table: a column, or a word that holds for all rows."""

    column: Column | None = None
    word: str | None = None


class CountTreeCache:
    """Counts of tables by the columns of their levels, cached by the state of each table. Thread-safe."""

    def __init__(self) -> None:
        self._leaves: LruCache[tuple[CountTreeLeaf, ...]] = LruCache(MAX_CACHED_TREES)
        self._lock = threading.Lock()

    def is_ready(
        self, runner: QueryRunner, tables: Sequence[Table], levels: Sequence[str], max_branches: int, access_key: str
    ) -> bool:
        """Return whether nothing has to be counted now: all counts are cached, or failed too recently."""
        failures = runner.site.get_or_create(RetryBackoffLog)
        keys = [_build_cache_key(table, runner, levels, max_branches, access_key) for table in tables]
        return all(self._leaves.find(key) is not None or failures.is_retry_paused(key) for key in keys)

    def count_uncounted_tables(
        self, runner: QueryRunner, tables: Sequence[Table], levels: Sequence[str], max_branches: int, access_key: str
    ) -> int:
        """Return the number of tables whose counts are not cached."""
        keys = [_build_cache_key(table, runner, levels, max_branches, access_key) for table in tables]
        return sum(self._leaves.find(key) is None for key in keys)

    def build_tree(
        self, runner: QueryRunner, tables: Sequence[Table], levels: Sequence[str], max_branches: int, access_key: str
    ) -> CountTreeNode:
        """Return the tree of some tables as one reader sees them.

        Parameters
        ----------
        levels
            As in the setting ``tree.levels``.
        max_branches
            The maximum number of values of one column.
        access_key
            The access key of the reader: where a policy hides rows, counts are shared only with equal access.
        """
        root = CountTreeNode(name="")
        for table in tables:
            key = _build_cache_key(table, runner, levels, max_branches, access_key)
            with self._lock:  # one at a time: these are the largest queries of pages
                leaves = self._leaves.find(key) or self._count_or_read_leaves(key, table, runner, levels, max_branches)
            resource = runner
            table_levels = _resolve_levels(table, resource.published_state.resources.get(table.schema), levels)
            for leaf in leaves:
                _add_or_merge_leaf(root, leaf, table_levels)
        _inline_sole_unnamed_branches(root)
        _sum_and_sort_branches(root)
        return root

    def _count_or_read_leaves(
        self, key: tuple[object, ...], table: Table, runner: QueryRunner, levels: Sequence[str], max_branches: int
    ) -> tuple[CountTreeLeaf, ...]:
        """Count a table, or read the counts of another process.

        A failure is not kept: the count is tried again after a pause that grows.
        """
        failures = runner.site.get_or_create(RetryBackoffLog)
        if failures.is_retry_paused(key):
            return _build_uncounted_leaf(table, runner)
        files = SharedArrayFileCache(runner.site.settings.var_directory / CACHE_DIRECTORY)
        owner = (key[0], *key[3:])  # all but the state of the rows
        leaves = _read_leaves(files, owner, key, table)
        if leaves is None:
            with files.wait_for_counting_lock(-1):
                leaves = _read_leaves(files, owner, key, table)
                try:
                    if leaves is None:
                        leaves = _count_rows_by_levels(table, runner, levels, max_branches)
                        _write_leaves(files, owner, key, leaves)
                except HvenError as error:
                    failure = failures.record_failure(key, f"the tree's counts of {table.qualified_name}", str(error))
                    log.warning(
                        "the rows of %s could not be counted for the tree (attempts: %d): %s",
                        table.qualified_name,
                        failure.attempts,
                        error,
                    )
                    return _build_uncounted_leaf(table, runner)
        failures.record_success(key)
        self._leaves.store(key, leaves)
        return leaves


def _build_uncounted_leaf(table: Table, runner: QueryRunner) -> tuple[CountTreeLeaf, ...]:
    """Build the single leaf of a table whose rows could not be counted.

    It has a number of rows only where that agrees with the counts.
    """
    has_observation_lines = (
        table.view is None and observation_lines.find_observation_column_roles(table, runner) is not None
    )
    if has_observation_lines or has_hidden_rows(table, runner):
        rows = None
    else:
        rows = runner.find_table_with_visible_counts(table).rows
    return (CountTreeLeaf(table=table, row_count=rows),)


def _read_leaves(
    files: SharedArrayFileCache, owner: Hashable, key: Hashable, table: Table
) -> tuple[CountTreeLeaf, ...] | None:
    """Read the counts that another process has written; None if there are none."""
    cached_file = files.read_arrays(owner, key)
    if cached_file is None:
        return None
    _, arrays = cached_file
    leaves = []
    for rows, text in zip(arrays["rows"], arrays["conditions"].to_pylist(), strict=True):
        if rows < 0:
            row_count = None
        else:
            row_count = int(rows)
        conditions = tuple((str(name), str(value)) for name, value in json.loads(text))
        leaves.append(CountTreeLeaf(table=table, row_count=row_count, conditions=conditions))
    return tuple(leaves)


def _write_leaves(files: SharedArrayFileCache, owner: Hashable, key: Hashable, leaves: Sequence[CountTreeLeaf]) -> None:
    """Write counts for the other processes."""
    row_counts = [-1 if leaf.row_count is None else leaf.row_count for leaf in leaves]
    rows = np.array(row_counts, np.int64)
    condition_texts = [json.dumps(leaf.conditions) for leaf in leaves]
    conditions = pa.array(condition_texts, pa.string())
    files.write_arrays_and_remove_old_files(owner, key, (), {"rows": rows, "conditions": conditions})


def _build_cache_key(
    table: Table, runner: QueryRunner, levels: Sequence[str], max_branches: int, access_key: str
) -> tuple[object, ...]:
    item = runner.published_state.tables_by_name[table.qualified_name]
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
    """Return whether a policy hides rows of a table, or of the tables that it reads.

    Parameters
    ----------
    table
        A table.
    runner
        Runs queries for the reader.
    """
    if runner.has_hidden_rows(table):
        return True
    published_tables = runner.published_state.tables_by_name
    read_names = published_tables[table.qualified_name].read_tables
    read_tables = [published_tables[name].table for name in read_names if name in published_tables]
    return any(runner.has_hidden_rows(read_table) for read_table in read_tables)


def _resolve_levels(table: Table, resource: CollectionSpec | None, levels: Sequence[str]) -> list[_CountTreeLevel]:
    """Find the column or word of each level of a table; levels without one are left out."""
    columns_by_name = {}
    for column in table.columns:
        if not column.hidden and not column.type.is_array and not column.type.is_geometry:
            columns_by_name[column.name.lower()] = column
    tree_levels = []
    for level in levels:
        for alternative in level.split("|"):
            word = alternative.strip()
            level_column = columns_by_name.get(word.lower())
            text = _find_level_label(word, table, resource)
            if level_column is not None or text:
                tree_levels.append(_CountTreeLevel(column=level_column, word=text))
                break
    return tree_levels


def _find_level_label(word: str, table: Table, resource: CollectionSpec | None) -> str | None:
    if word == "@collection":
        resource_title = None
        if resource is not None:
            resource_title = resource.title
        return resource_title or table.schema
    if word in RESOURCE_LEVELS and resource is not None:
        values: tuple[str, ...] = getattr(resource, RESOURCE_LEVELS[word])
        return ", ".join(values) or None
    return None


def _count_rows_by_levels(
    table: Table, runner: QueryRunner, levels: Sequence[str], max_branches: int
) -> tuple[CountTreeLeaf, ...]:
    """Count the rows of a table by the columns of its levels; by fewer columns if there were too many groups.

    Raises
    ------
    HvenError
        The rows cannot be counted now.
    """
    item = runner.find_table_with_visible_counts(table)
    rows_hidden = has_hidden_rows(table, runner)
    if table.view is not None:
        observation = None
    else:
        observation = observation_lines.find_observation_column_roles(table, runner)
    known_row_count = None if rows_hidden else item.rows
    single_leaf = (CountTreeLeaf(table=table, row_count=known_row_count),)
    tree_levels = _resolve_levels(table, runner.published_state.resources.get(table.schema), levels)
    columns = [level.column for level in tree_levels if level.column is not None]
    if not rows_hidden:  # statistics of all rows would reveal hidden ones
        columns = [column for column in columns if _has_few_values(item.statistics, column, max_branches)]
    if has_externally_written_rows(table, runner):
        return single_leaf  # other programs write the rows: no count would be true for long
    if table.view is not None or item.relation is None:
        return (CountTreeLeaf(table=table, row_count=None),)
    if not columns and known_row_count is not None and observation is None:
        return single_leaf
    chosen_columns, groups = _choose_columns_and_count_groups(table, columns, runner, observation, max_branches)
    texts = []
    for place, column in enumerate(chosen_columns):
        texts.append(_write_value_conditions(column, [group[place] for group in groups]))
    leaves = []
    for group in groups:
        conditions = tuple((column.name, texts[place][group[place]]) for place, column in enumerate(chosen_columns))
        leaves.append(CountTreeLeaf(table=table, row_count=int(group[-1]), conditions=conditions))
    return tuple(leaves)


def _choose_columns_and_count_groups(
    table: Table,
    columns: Sequence[Column],
    runner: QueryRunner,
    observation: ObservationColumnRoles | None,
    max_branches: int,
) -> tuple[Sequence[Column], list[tuple[Any, ...]]]:
    """Count the groups of a table; leave columns out until neither groups nor the values of a column are too many."""
    while True:
        groups = _count_groups(table, columns, runner, observation)
        if len(groups) > MAX_TABLE_GROUPS:
            columns = columns[:-1]
            continue
        narrow_columns = []
        for place, column in enumerate(columns):
            distinct_values = {group[place] for group in groups}
            if len(distinct_values) <= max_branches:
                narrow_columns.append(column)
        if len(narrow_columns) == len(columns):
            return columns, groups
        columns = narrow_columns


def has_externally_written_rows(table: Table, runner: QueryRunner) -> bool:
    """Return whether other programs write the rows of a table, or of the tables that it reads.

    Parameters
    ----------
    table
        A table.
    runner
        Runs queries for the reader.
    """
    published_tables = runner.published_state.tables_by_name
    read_names = published_tables[table.qualified_name].read_tables
    return any(
        isinstance(published_tables[name].relation, LiveRelation)
        for name in (table.qualified_name, *read_names)
        if name in published_tables
    )


def _write_value_conditions(column: Column, values: Sequence[Any]) -> dict[Any, str]:
    """Write each value as a condition that only the rows of this value meet.

    For a list, the condition is the whole list if another list has its items, too.
    """
    if column.name.lower() not in LIST_COLUMNS:
        return {value: quote_field_value(None if value is None else str(value)) for value in values}
    lists = {value: [item.casefold() for item in str(value).split("#")] for value in values if value}
    item_counts: Counter[str] = Counter()
    for distinct_list in {tuple(items) for items in lists.values()}:
        item_counts.update(set(distinct_list))
    conditions: dict[Any, str] = {}
    for value, items in lists.items():
        needs_whole_list = len(items) > 1 or item_counts[items[0]] > 1
        conditions[value] = quote_field_value(f"#{value}#" if needs_whole_list else value)
    for value in values:
        if not value:
            conditions[value] = quote_field_value(value)
    return conditions


def _has_few_values(statistics: Mapping[str, Mapping[str, object]], column: Column, max_branches: int) -> bool:
    distinct_count = statistics.get(column.name, {}).get("distinct")
    return not isinstance(distinct_count, int | float) or distinct_count <= max_branches


def _count_groups(
    table: Table, columns: Sequence[Column], runner: QueryRunner, observation: ObservationColumnRoles | None
) -> list[tuple[Any, ...]]:
    """Count the rows of each combination of values; the files of one observation count once."""
    names = tuple(build_column_ref(column.name) for column in columns)
    items = (*(syntax_tree.SelectItem(name) for name in names), COUNT_ITEM)
    source: syntax_tree.FromItem = syntax_tree.build_table_ref(table)
    if observation is not None:
        lines = observation_lines.build_observation_line_search(TableSearch(table=table), observation)
        line_names = names or (build_column_ref(table.primary[0]),)
        line_items = tuple(syntax_tree.SelectItem(name) for name in line_names)
        line_select = syntax_tree.Select(line_items, source, where=lines.build_condition())
        source = syntax_tree.DerivedTable(syntax_tree.Query(line_select), syntax_tree.Ident("lines"))
    top = syntax_tree.Literal(MAX_TABLE_GROUPS + 1)
    select = syntax_tree.Select(items, source, group_by=names, top=top)
    counts = runner.fetch_table(syntax_tree.Query(select), timeout_seconds=TABLE_TIMEOUT_SECONDS)
    count_columns = [counts.column(number).to_pylist() for number in range(counts.num_columns)]
    groups = list(zip(*count_columns, strict=True))
    return sorted(groups, key=lambda group: [("" if value is None else str(value)) for value in group[:-1]])


def _add_or_merge_leaf(root: CountTreeNode, leaf: CountTreeLeaf, levels: Sequence[_CountTreeLevel]) -> None:
    """Add a leaf to the branch of its values and words."""
    values = dict(leaf.conditions)
    leaf_conditions: dict[str, str] = {}
    node = root
    for level in levels:
        if level.column is None:
            name = level.word
        elif level.column.name in values:
            text = values[level.column.name]
            value_name = _parse_condition_value(level.column, text)
            labels = leaf.table.enums.get(level.column.enum or "", {})
            name = labels.get(value_name or "", value_name)
            leaf_conditions[level.column.name] = text
        else:
            continue
        node = _get_or_create_branch(node, name)
        conditions_by_column = node.table_conditions.setdefault(leaf.table.qualified_name, {})
        for column, value in leaf_conditions.items():
            conditions_by_column.setdefault(column, {})[value] = None
    leaf_number = None
    for number, other_leaf in enumerate(node.leaves):
        if other_leaf.table == leaf.table:
            leaf_number = number
            break
    if leaf_number is None:
        node.leaves.append(leaf)
        return
    other = node.leaves[leaf_number]  # the same value in another spelling
    if leaf.row_count is None or other.row_count is None:
        rows = None
    else:
        rows = leaf.row_count + other.row_count
    conditions_by_column = node.table_conditions[leaf.table.qualified_name]
    pairs = tuple((name, ",".join(merged_values)) for name, merged_values in conditions_by_column.items())
    node.leaves[leaf_number] = CountTreeLeaf(table=leaf.table, row_count=rows, conditions=pairs)


def _parse_condition_value(column: Column, text: str) -> str | None:
    """Read the value of a condition; None for rows without a value or with a blank one."""
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


def _get_or_create_branch(node: CountTreeNode, name: str | None) -> CountTreeNode:
    """Return the branch of a name.

    Names that differ only in case or blanks share a branch, which keeps the first spelling.
    """
    if name is None:
        folded = None
    else:
        folded = " ".join(name.split()).casefold()
    return node.branches.setdefault(folded, CountTreeNode(name=name))


def _inline_sole_unnamed_branches(node: CountTreeNode) -> None:
    """Replace a branch without a name by what is below it, if it is the only one.

    Such a level says nothing: all rows lack the value.
    """
    for branch in node.branches.values():
        _inline_sole_unnamed_branches(branch)
    if not node.leaves and node.branches.keys() == {None}:
        unnamed_branch = node.branches[None]
        node.branches = unnamed_branch.branches
        node.leaves = unnamed_branch.leaves


def _sum_and_sort_branches(node: CountTreeNode) -> int | None:
    """Sum the rows of all branches, and sort these: most rows first, then by name, unnamed ones last."""
    for branch in node.branches.values():
        _sum_and_sort_branches(branch)
    row_counts = [branch.row_count for branch in node.branches.values()]
    row_counts += [leaf.row_count for leaf in node.leaves]
    counts = [rows for rows in row_counts if rows is not None]
    if counts:
        node.row_count = sum(counts)
    else:
        node.row_count = None
    has_open_branch = any(branch.is_lower_bound for branch in node.branches.values())
    node.is_lower_bound = len(counts) < len(row_counts) or has_open_branch

    def build_sort_key(pair: tuple[str | None, CountTreeNode]) -> tuple[bool, int, str]:
        name, branch = pair
        return name is None, -(branch.row_count or 0), name or ""

    node.branches = dict(sorted(node.branches.items(), key=build_sort_key))
    return node.row_count

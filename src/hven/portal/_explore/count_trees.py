"""Trees of counts: mission > instrument > data set, or whatever columns a site names; counted once for each state of a table, and kept."""

from __future__ import annotations

import json
import logging
import threading
from collections import Counter
from dataclasses import dataclass
from dataclasses import field as attribute
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.adql import tree
from hven.engines import Live
from hven.model import Cache, Failures
from hven.model.errors import HvenError
from hven.portal._condition_words import field, write_value
from hven.portal._explore import observation_lines
from hven.portal._explore.search import COUNTED, Search, ref
from hven.portal._explore.value_files import Files
from hven.portal.conditions import LISTS, WHOLE_LIST

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from hven.model.resource import Resource
    from hven.model.table import Column, Table
    from hven.portal._explore.observation_lines import Observed
    from hven.portal._explore.page_queries import Asking

GROUPS = 3_000  # of one table at most: with more it gets fewer levels
KEPT = 2_000  # tables in different states that are remembered
PATIENCE = 20.0  # seconds for one table: nobody waits for it
DIRECTORY = "trees"  # in var/: counts that all processes of a site share
SAID = {"@facility": "facility", "@instrument": "instrument", "@subject": "subjects"}
log = logging.getLogger("hven.portal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """Rows of one table that have the values of a path: `conditions` as an address has them. `rows` None: not counted."""

    table: Table
    rows: int | None
    conditions: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True, kw_only=True)
class Node:
    """A branch: its name (None: rows without a value), how many rows hang on it, branches, and tables that end here.

    Attributes
    ----------
    rows
        Of what was counted; None: nothing was.
    least
        There are more: something below is not counted.
    asked
        Of each table below it, the values by which its columns are asked for what hangs here.
    """

    name: str | None
    rows: int | None = None
    least: bool = False
    asked: dict[str, dict[str, dict[str, None]]] = attribute(default_factory=dict)
    branches: dict[str | None, Node] = attribute(default_factory=dict)
    leaves: list[Leaf] = attribute(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Level:
    """One level of one table: a column, or words that are the same for all of its rows."""

    column: Column | None = None
    word: str | None = None


class Trees:
    """Counts of tables by the columns of their levels, remembered by the state of each table. Thread-safe."""

    def __init__(self) -> None:
        self._kept: Cache[tuple[Leaf, ...]] = Cache(KEPT)
        self._lock = threading.Lock()

    def ready(self, asking: Asking, tables: Sequence[Table], levels: Sequence[str], branches: int, reach: str) -> bool:
        """Return whether nothing has to be counted now: all is known, or it is too soon to try again what failed."""
        failures = asking.site.kept(Failures)
        keys = [_key(table, asking, levels, branches, reach) for table in tables]
        return all(self._kept.find(key) is not None or failures.is_paused(key) for key in keys)

    def count_missing(
        self, asking: Asking, tables: Sequence[Table], levels: Sequence[str], branches: int, reach: str
    ) -> int:
        """Count the tables whose rows nobody has counted yet, or could not."""
        return sum(self._kept.find(_key(table, asking, levels, branches, reach)) is None for table in tables)

    def of(self, asking: Asking, tables: Sequence[Table], levels: Sequence[str], branches: int, reach: str) -> Node:
        """Return the tree of some tables, as one reader sees them.

        Parameters
        ----------
        levels
            As in the setting ``tree.levels``.
        branches
            Values of one column at most.
        reach
            Of the reader: where a policy hides rows, the counts are theirs alone.
        """
        root = Node(name="")
        for table in tables:
            key = _key(table, asking, levels, branches, reach)
            with self._lock:  # one at a time: they are the biggest queries that pages ask
                found = self._kept.find(key) or self._count(key, table, asking, levels, branches)
            said = _levels(table, asking.holdings.resources.get(table.schema), levels)
            for leaf in found:
                _hang(root, leaf, said)
        _join_unnamed(root)
        _total(root)
        return root

    def _count(
        self, key: tuple[object, ...], table: Table, asking: Asking, levels: Sequence[str], branches: int
    ) -> tuple[Leaf, ...]:
        """Count a table, or take what another process has counted. What fails is not kept: it is tried again, after a pause that grows."""
        failures = asking.site.kept(Failures)
        if failures.is_paused(key):
            return _uncounted(table, asking)
        files = Files(asking.site.settings.var / DIRECTORY)
        owner = (key[0], *key[3:])  # all but the state of the rows
        found = _read(files, owner, key, table)
        if found is None:
            with files.turn(-1):
                found = _read(files, owner, key, table)
                try:
                    if found is None:
                        found = _counted(table, asking, levels, branches)
                        _write(files, owner, key, found)
                except HvenError as error:
                    failure = failures.note(key, f"the tree's counts of {table.qualified}", str(error))
                    log.warning(
                        "the tree has no counts of %s after %d attempts: %s", table.qualified, failure.attempts, error
                    )
                    return _uncounted(table, asking)
        failures.forget(key)
        self._kept.keep(key, found)
        return found


def _uncounted(table: Table, asking: Asking) -> tuple[Leaf, ...]:
    """Return the one leaf of a table whose rows could not be counted: its number only where the counts would add up to it."""
    lined = table.view is None and observation_lines.observed(table, asking) is not None
    rows = None if lined or hides(table, asking) else asking.published(table).rows
    return (Leaf(table=table, rows=rows),)


def _read(files: Files, owner: Hashable, key: Hashable, table: Table) -> tuple[Leaf, ...] | None:
    """Read the counts that another process has written."""
    found = files.get(owner, key)
    if found is None:
        return None
    arrays = found[1]
    return tuple(
        Leaf(
            table=table,
            rows=None if rows < 0 else int(rows),
            conditions=tuple((str(name), str(value)) for name, value in json.loads(text)),
        )
        for rows, text in zip(arrays["rows"], arrays["conditions"].to_pylist(), strict=True)
    )


def _write(files: Files, owner: Hashable, key: Hashable, leaves: Sequence[Leaf]) -> None:
    """Write counts for the other processes."""
    rows = np.array([-1 if leaf.rows is None else leaf.rows for leaf in leaves], np.int64)
    conditions = pa.array([json.dumps(leaf.conditions) for leaf in leaves], pa.string())
    files.put(owner, key, (), {"rows": rows, "conditions": conditions})


def _key(table: Table, asking: Asking, levels: Sequence[str], branches: int, reach: str) -> tuple[object, ...]:
    item = asking.published(table)
    own = reach if hides(table, asking) else "public"
    return (
        table.qualified,
        item.run,
        item.updated,
        tuple(levels),
        branches,
        own,
        tuple(column.name for column in table.columns),
    )


def hides(table: Table, asking: Asking) -> bool:
    """Return whether a policy hides rows of a table, or of what it reads."""
    known = asking.holdings.published
    return asking.hides(table) or any(
        asking.hides(known[name].table) for name in asking.published(table).reads if name in known
    )


def _levels(table: Table, resource: Resource | None, levels: Sequence[str]) -> list[_Level]:
    """Find what makes the levels of a table; those that it has nothing for are left out."""
    known = {column.name.lower(): column for column in table.columns if not column.hidden and not column.type.is_array and not column.type.is_geometry}  # fmt: skip
    found = []
    for level in levels:
        for word in (one.strip() for one in level.split("|")):
            column = known.get(word.lower())
            text = _word(word, table, resource)
            if column is not None or text:
                found.append(_Level(column=column, word=text))
                break
    return found


def _word(word: str, table: Table, resource: Resource | None) -> str | None:
    if word == "@collection":
        return (resource.title if resource is not None else None) or table.schema
    if word in SAID and resource is not None:
        values: tuple[str, ...] = getattr(resource, SAID[word])
        return ", ".join(values) or None
    return None


def _counted(table: Table, asking: Asking, levels: Sequence[str], branches: int) -> tuple[Leaf, ...]:
    """Count the rows of a table by its columns; by fewer of them where the values would be too many.

    Raises
    ------
    HvenError
        They could not be counted now.
    """
    item = asking.published(table)
    hidden = hides(table, asking)
    observed = None if table.view is not None else observation_lines.observed(table, asking)
    known = None if hidden else item.rows
    whole = (Leaf(table=table, rows=known),)
    columns = [
        one.column
        for one in _levels(table, asking.holdings.resources.get(table.schema), levels)
        if one.column is not None
    ]
    if not hidden:  # what all rows have says something of hidden ones
        columns = [one for one in columns if _few(item.statistics.get(one.name, {}).get("distinct"), branches)]
    if isinstance(item.relation, Live) or any(isinstance(asking.holdings.published[name].relation, Live) for name in item.reads if name in asking.holdings.published):  # fmt: skip
        return whole  # other programs write it: no number would be true for long
    if table.view is not None or item.relation is None:
        return (Leaf(table=table, rows=None),)
    if not columns and known is not None and observed is None:
        return whole
    while True:
        groups = _groups(table, columns, asking, observed)
        if len(groups) <= GROUPS:
            crowded = {place for place in range(len(columns)) if len({group[place] for group in groups}) > branches}
            if not crowded:
                break
            columns = [one for place, one in enumerate(columns) if place not in crowded]
        else:
            columns = columns[:-1]
    texts = [_write_values(column, [group[place] for group in groups]) for place, column in enumerate(columns)]
    return tuple(
        Leaf(
            table=table,
            rows=int(group[-1]),
            conditions=tuple((column.name, texts[place][group[place]]) for place, column in enumerate(columns)),
        )
        for group in groups
    )


def _write_values(column: Column, values: Sequence[Any]) -> dict[Any, str]:
    """Write each value as a condition that has the rows of this value alone: of lists the whole list, where another one has its items, too."""
    if column.name.lower() not in LISTS:
        return {value: write_value(None if value is None else str(value)) for value in values}
    lists = {value: [item.casefold() for item in str(value).split("#")] for value in values if value}
    shared = Counter(item for items in {tuple(items) for items in lists.values()} for item in set(items))
    return {
        value: write_value(f"#{value}#" if len(items) > 1 or shared[items[0]] > 1 else value)
        for value, items in lists.items()
    } | {value: write_value(value) for value in values if not value}


def _few(distinct: object, branches: int) -> bool:
    return not isinstance(distinct, int | float) or distinct <= branches


def _groups(
    table: Table, columns: Sequence[Column], asking: Asking, observed: Observed | None
) -> list[tuple[Any, ...]]:
    """Count the rows of each combination of values; of files of one observation one."""
    names = tuple(ref(column.name) for column in columns)
    items = (*(tree.SelectItem(name) for name in names), COUNTED)
    source: tree.FromItem = tree.source(table)
    if observed is not None:
        lines = observation_lines.lines(Search(table=table), observed)
        each = tuple(tree.SelectItem(name) for name in (names or (ref(table.primary[0]),)))
        source = tree.Derived(tree.Query(tree.Select(each, source, where=lines.where())), tree.Ident("lines"))
    select = tree.Select(items, source, group_by=names, top=tree.Literal(GROUPS + 1))
    found = asking.table(tree.Query(select), seconds=PATIENCE)
    groups = list(zip(*(found.column(number).to_pylist() for number in range(found.num_columns)), strict=True))
    return sorted(groups, key=lambda group: [("" if value is None else str(value)) for value in group[:-1]])


def _hang(root: Node, leaf: Leaf, levels: Sequence[_Level]) -> None:
    """Hang a leaf on the branch of its values and words."""
    values = dict(leaf.conditions)
    asked: dict[str, str] = {}
    at = root
    for level in levels:
        if level.column is None:
            name = level.word
        elif level.column.name in values:
            text = values[level.column.name]
            name = _read_value(level.column, text)
            name = leaf.table.enums.get(level.column.enum or "", {}).get(name or "", name)
            asked[level.column.name] = text
        else:
            continue
        at = _branch(at, name)
        of = at.asked.setdefault(leaf.table.qualified, {})
        for column, value in asked.items():
            of.setdefault(column, {})[value] = None
    same = next((number for number, one in enumerate(at.leaves) if one.table == leaf.table), None)
    if same is None:
        at.leaves.append(leaf)
        return
    other = at.leaves[same]  # of another spelling
    rows = None if leaf.rows is None or other.rows is None else leaf.rows + other.rows
    pairs = tuple((name, ",".join(found)) for name, found in at.asked[leaf.table.qualified].items())
    at.leaves[same] = Leaf(table=leaf.table, rows=rows, conditions=pairs)


def _read_value(column: Column, text: str) -> str | None:
    """Read the value of a condition; None: rows without one, or with a blank one, which nobody could see."""
    (word,) = field(text)
    whole = WHOLE_LIST.fullmatch(word.text) if column.name.lower() in LISTS else None
    value = word.text if whole is None else whole[1]
    return None if word.is_null or not value.strip() else value


def _branch(node: Node, name: str | None) -> Node:
    """Return the branch of a name; one that is spelled with other capitals is the same, and has the name that came first."""
    folded = None if name is None else " ".join(name.split()).casefold()
    return node.branches.setdefault(folded, Node(name=name))


def _join_unnamed(node: Node) -> None:
    """Join branches with what is below them where all rows lack the value: a level of one branch without a name says nothing."""
    for branch in node.branches.values():
        _join_unnamed(branch)
    if not node.leaves and node.branches.keys() == {None}:
        below = node.branches[None]
        node.branches, node.leaves = below.branches, below.leaves


def _total(node: Node) -> int | None:
    """Add the rows up, branch by branch; those with most rows come first, then by name, those without a value last."""
    for branch in node.branches.values():
        _total(branch)
    every = [*(one.rows for one in node.branches.values()), *(one.rows for one in node.leaves)]
    counts = [rows for rows in every if rows is not None]
    node.rows = sum(counts) if counts else None
    node.least = len(counts) < len(every) or any(one.least for one in node.branches.values())
    node.branches = dict(
        sorted(node.branches.items(), key=lambda pair: (pair[0] is None, -(pair[1].rows or 0), pair[0] or ""))
    )
    return node.rows

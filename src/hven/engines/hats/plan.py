"""HatsPlan: a bound query, near or far by what the manifests say has to be read.

Near: row groups are read into memory, and the embedded engine's own plan computes over them, so that its answer is the embedded engine's. Whole tables
go through it row group by row group. Far: a cluster computes; what it does not is computed here, over rows that it gives (the detour).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.adql.tree import Literal, Select, SelectItem, Subquery, TableRef, Window, walk
from hven.engines import Memory, Plan, Snapshot
from hven.engines._bound.flatten import flattened
from hven.engines._bound.geometry import told
from hven.engines._bound.unions import distributed
from hven.engines._detour import Detour, wanted
from hven.engines._later import LaterExecution
from hven.engines.hats.choosing import Asked, Choice
from hven.engines.hats.machine import Wanted
from hven.engines.hats.near import Near, Streamed, at_once
from hven.model import plugins
from hven.model.errors import StorageError, TooLarge, say

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from hven.adql.tree import Bound
    from hven.engines import Execution, Limits, Relation
    from hven.engines.hats.machine import Machine

    Values = Sequence[float | str | None]
    Rows = npt.NDArray[np.int64]

FEW = 4  # row groups that are read at once
FAR = "{size} of {tables} would have to be read for this query, and {most} are read here"
CLUSTER = "narrow it by position, key or an indexed column; whoever runs the site may name a cluster (spark) or allow more (near_bytes) under [hats] in hven.toml"
NEARBY = "narrow it by position, key or an indexed column; a cluster does not read {}, which is behind an address: whoever runs the site may copy it into a root of [hats]"


class HatsPlan(Plan):
    """A prepared query (`hven.engines.Plan`).

    Parameters
    ----------
    reading
        It asks for rows of one table for a detour.
    """

    small = False

    def __init__(self, engine: Machine, bound: Bound, *, reading: bool = False) -> None:
        self._engine = engine
        self._reading = reading
        self._bound = bound
        self._rest = engine.embedded.prepare(bound)
        self.schema = self._rest.schema
        # what is in memory is given at once, on an event loop, too: `execute` sees
        self.small = self._rest.small and len(bound.tables) == 1 and not reading
        self._choice = Choice(told(flattened(distributed(bound))))
        plain = Choice(bound)
        self._columns = {
            table.qualified: tuple(dict.fromkeys([*self._choice.read(table.qualified), *plain.read(table.qualified)]))
            for table in bound.tables
        }
        self._streams = streamed(bound)

    # --- running ---------------------------------------------------------------------------------------------

    def execute(self, values: Values, relations: Mapping[str, Relation], limits: Limits) -> Execution:
        """Run; see `hven.engines.Plan.execute`."""
        if not self.small:
            return self._long(values, relations, limits)
        known: dict[str, Wanted] = {}  # what was looked up is not looked up again
        found = self._at_once(values, relations, limits, known)
        return found or LaterExecution(self.schema, lambda _: self._long(values, relations, limits, known))

    def _at_once(
        self, values: Values, relations: Mapping[str, Relation], limits: Limits, known: dict[str, Wanted]
    ) -> Execution | None:
        """Answer out of what is in memory; None: it must be waited for."""
        (table,) = self._bound.tables
        name, relation = table.qualified, wanted(relations, table.qualified)
        manifest = self._engine.known(relation) if isinstance(relation, Snapshot) and self._engine.indexes else None
        if manifest is None or not isinstance(relation, Snapshot):
            return None
        asked = Asked(manifest, None, values, relations)
        if self._choice.cells(name, asked) is None:
            return None
        one = self._of(name, relation, asked)
        if one.bytes > self._engine.near_bytes:
            return None
        known[name] = one
        rows = at_once(self._engine, one)
        return None if rows is None else self._rest.execute(values, {name: Memory(rows, stored=True)}, limits)

    def _long(
        self,
        values: Values,
        relations: Mapping[str, Relation],
        limits: Limits,
        known: Mapping[str, Wanted] | None = None,
    ) -> Execution:
        wanted = known or self._wanted(values, relations)
        if self._streams is not None and len(wanted) == 1 and self._whole(*wanted.values()):
            (name,) = wanted
            return Streamed(self._engine, self._rest, name, wanted[name], self._end(values), values, limits)
        if self._is_far(wanted):
            return self._far_execution(wanted, values, relations, limits)
        return Near(self._engine, self._rest, wanted, values, relations, limits)

    def _wanted(self, values: Values, relations: Mapping[str, Relation]) -> dict[str, Wanted]:
        """Look up what has to be read of each table that is a catalogue."""
        found = {}
        for table in self._bound.tables:
            name = table.qualified
            relation = wanted(relations, name)
            if isinstance(relation, Memory):
                continue
            if not isinstance(relation, Snapshot):
                message = f"the engine hats cannot read {type(relation).__name__.lower()} tables in place"
                raise StorageError(message)
            manifest = self._engine.manifest(relation)
            asked = Asked(manifest, self._engine.index(relation), values, relations)
            found[name] = self._of(name, relation, asked)
        return found

    def _of(self, name: str, relation: Snapshot, asked: Asked) -> Wanted:
        """Look up what has to be read of one table."""
        chosen = self._choice.groups(name, asked) if self._engine.indexes else np.arange(asked.manifest.count)
        cells = self._choice.cells(name, asked) if self._engine.indexes else None
        return Wanted(relation, asked.manifest, self._columns[name], chosen, cells)

    def _is_far(self, wanted: Mapping[str, Wanted]) -> bool:
        return sum(one.bytes for one in wanted.values()) > self._engine.near_bytes

    def _whole(self, wanted: Wanted) -> bool:
        """Return whether rows are given as they are: no condition leaves any out, or what is read is little anyhow."""
        if len(wanted.chosen) <= FEW and wanted.bytes <= self._engine.near_bytes:
            return False  # at once is quicker
        return not self._streams.conditions or wanted.bytes <= self._engine.near_bytes  # type: ignore[union-attr]

    def _end(self, values: Values) -> int | None:
        """Return the number of rows that TOP allows."""
        top = None if self._streams is None else self._streams.top
        if top is None:
            return None
        value = values[top.slot] if top.slot in self._bound.free else top.value
        return None if value is None else int(value)

    def _far_execution(
        self, wanted: Mapping[str, Wanted], values: Values, relations: Mapping[str, Relation], limits: Limits
    ) -> Execution:
        if self._engine.spark is None:
            raise refusal(wanted, self._engine.near_bytes)
        near = next((one for one in wanted.values() if one.near), None)
        if near is not None:
            raise refusal(wanted, self._engine.near_bytes, near)
        far = self._far
        if isinstance(far, Detour):
            return far.execute(values, relations, limits)
        files = {name: [place for place, _ in one.manifest.files(one.chosen)] for name, one in wanted.items()}
        leaves = {name: one.manifest.head.leaves for name, one in wanted.items()}
        memory = {name: relation for name, relation in relations.items() if name not in wanted}
        another = self._bare if self._reading else self._detour
        otherwise = lambda why: another(why).execute(values, relations, limits)  # noqa: E731  (nothing is planned before it is needed)
        holding = partial(self._engine.reading, [one.snapshot.path for one in wanted.values()])
        found: Execution = far.execute(values, memory, limits, files, otherwise, holding, leaves)
        return found

    @cached_property
    def _far(self) -> Any:
        """The plan of the cluster, or the detour over rows that it gives."""
        far = plugins.imported("hven.engines.hats.far", "the far road")  # Spark's client is an extra

        try:
            return far.FarPlan(self._engine.cluster, self._bound)
        except far.Elsewhere as reason:
            if self._reading:
                raise
            return self._detour(str(reason))

    def _detour(self, reason: str) -> Detour:
        """Plan the query over rows that the cluster gives."""
        return Detour(
            self._engine.embedded,
            self._bound,
            reason,
            self._read,
            giver="the cluster",
            bytes=self._engine.near_bytes,
        )

    def _bare(self, reason: str) -> HatsPlan:
        """Plan to read without conditions that the cluster, when it was asked, did not know: the detour tests them all again."""
        query = self._bound.query
        if not isinstance(query.body, Select) or query.body.where is None:
            raise StorageError(f"the cluster cannot give rows of {self._bound.tables[0].qualified}: {reason}")
        bare = replace(self._bound, query=replace(query, body=replace(query.body, where=None)))
        return HatsPlan(self._engine, bare, reading=True)

    def _read(self, bound: Bound) -> Plan | None:
        """Plan what a detour reads of one table: near, if that is little, else by the cluster."""
        plan = HatsPlan(self._engine, bound, reading=True)
        elsewhere = plugins.imported("hven.engines.hats.far", "the far road").Elsewhere
        try:
            _ = plan._far  # what the cluster cannot compute is left to the rest
        except elsewhere:
            return None
        return plan

    # --- words -----------------------------------------------------------------------------------------------

    def explain(self) -> str:
        """Describe which road is taken; see `hven.engines.Plan.explain`."""
        lines = [
            f"{_called(self._choice.leaves[number])}: row groups by the manifest, {test.describe()}"
            for number, test in self._choice.tests.items()
        ]
        most = self._engine.near_bytes
        if self._streams is not None and not self._streams.conditions:
            lines.append("near: rows are streamed, row group by row group")
        elif self._engine.spark is None:
            lines.append(f"near, up to {_size(most)} of files; more is refused, for there is no cluster")
        else:
            lines.append(f"near, up to {_size(most)} of files; else far: by the cluster")
        return "\n".join([*lines, self._rest.explain()])

    def estimate(self, values: Values, relations: Mapping[str, Relation]) -> list[str]:
        """Tell near or far, and how many files, row groups and bytes of each table are read."""
        wanted = self._wanted(values, relations)
        streams = self._streams is not None and len(wanted) == 1 and self._whole(*wanted.values())
        if streams and not self._streams.conditions:  # type: ignore[union-attr]  # it ends with the last row that TOP allows
            wanted = {name: _begun(one, self._end(values)) for name, one in wanted.items()}
        road = "near" if streams or not self._is_far(wanted) else "far" if self._engine.spark and not any(one.near for one in wanted.values()) else "too much without a cluster"  # fmt: skip
        lines = [
            f"{name}: {road}: {len(np.unique(one.manifest.array('file')[one.chosen])):,} of {len(one.manifest.head.files):,} files, "
            f"{len(one.chosen):,} of {one.manifest.count:,} row groups, {_size(one.bytes)}, about {one.rows:,} of {one.manifest.head.rows:,} rows are read"
            if one.columns
            else f"{name}: {road}: the manifest knows how many of {one.manifest.head.rows:,} rows there are, none is read"
            for name, one in wanted.items()
        ]
        return [*lines, *(f"{name}: {relation.rows.num_rows:,} rows, in memory" for name, relation in relations.items() if isinstance(relation, Memory))]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stream:
    """A query each of whose rows is made of one row of its table, in no order.

    Attributes
    ----------
    top
        How many rows at most; None: all.
    conditions
        Some rows are left out.
    """

    top: Literal | None
    conditions: bool


def streamed(bound: Bound) -> Stream | None:
    """Recognise such a query; None: it is another one."""
    query = bound.query
    body = query.body
    if not isinstance(body, Select) or query.order_by or query.offset is not None or query.ctes or bound.volatile:
        return None
    if body.group_by or body.having is not None or body.distinct or not isinstance(body.source, TableRef):
        return None
    if any(not isinstance(item, SelectItem) or item.expr.meta is None or item.expr.meta.aggregate for item in body.items):  # fmt: skip
        return None
    if any(isinstance(node, Subquery | Window) or type(node).__name__ == "Exists" for node in walk(query)):
        return None
    return Stream(body.top, body.where is not None or body.source.where is not None)


def refusal(wanted: Mapping[str, Wanted], most: int, near: Wanted | None = None) -> TooLarge:
    """Make the error of a query that is for a cluster, where there is none, or which cannot read a table."""
    size = sum(one.bytes for one in wanted.values())
    return TooLarge(
        say(FAR, _size(size), ", ".join(wanted), _size(most)),
        remedy=CLUSTER if near is None else NEARBY.format(near.manifest.head.foreign),
    )


def _begun(wanted: Wanted, rows: int | None) -> Wanted:
    """Leave the row groups out that come behind so many rows."""
    if rows is None:
        return wanted
    ends = np.cumsum(wanted.manifest.array("rows")[wanted.chosen])
    return replace(wanted, chosen=wanted.chosen[: int(np.searchsorted(ends, rows)) + 1])


def _size(size: float) -> str:
    """Write a size as hven.toml does: a MB of `near_bytes` has 1024 kB."""
    if size >= 1 << 30:
        return f"{size / (1 << 30):,.1f} GB"
    return f"{size / (1 << 20):,.1f} MB" if size >= 1 << 17 else f"{size / (1 << 10):,.1f} kB"


def _called(leaf: TableRef) -> str:
    return leaf.alias.name if leaf.alias is not None else leaf.table.qualified if leaf.table is not None else ""


__all__ = ["HatsPlan", "Wanted", "refusal"]

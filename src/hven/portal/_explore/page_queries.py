"""Asking for a reader: every number on a page goes the road of all queries, under the same policies and limits; what many ask is computed once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hven import query
from hven.adql import tree
from hven.adql.text import write
from hven.engines import Live
from hven.model import Cache, Failures
from hven.model.errors import HvenError, Timeout
from hven.site.auth import row_filters

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from hven.model.table import Table
    from hven.query import Result
    from hven.site import Holdings, Published, Site
    from hven.site.auth import Policy, Reader

SECONDS = 20.0  # a page that waits longer is left
PATIENCE = 2.0  # for what is counted for a reader from whom rows are hidden
BYTES = 32 * 1024**2  # of answers that a process remembers
BIGGEST = 1024**2  # bytes of one of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Who asks, and which state of the holdings: all parts of a page see the same one.

    Attributes
    ----------
    begun
        Is handed each query that begins, and may cancel it later: its reader may leave.
    """

    site: Site
    who: Reader
    policies: Sequence[Policy]
    holdings: Holdings
    begun: Callable[[Result], Result] | None = None

    def attended(self, begun: Callable[[Result], Result]) -> Asking:
        """Return the same road, whose queries `begun` is told of."""
        return replace(self, begun=begun)

    def run(
        self,
        asked: tree.Query | str,
        *,
        most: int | None = None,
        seconds: float | None = SECONDS,
        sample: int | None = None,
    ) -> Result:
        """Begin a query; `most` rows at most. `sample`: of `hven.query.run`."""
        found = query.run(
            asked,
            self.who,
            site=self.site,
            policies=self.policies,
            values=(),
            holdings=self.holdings,
            maxrec=most,
            seconds=seconds,
            sample=sample,
        )
        return found if self.begun is None else self.begun(found)

    def table(self, asked: tree.Query, *, most: int | None = None, seconds: float = SECONDS) -> pa.Table:
        """Return all rows of a small answer.

        While nothing is published, the same question of readers who see the same rows has one answer, which is remembered; those who
        ask it at once wait for one of them.

        Raises
        ------
        Timeout, TooLarge, Overloaded, EvaluationError
            As every query.
        """
        return self._shared(asked, most, seconds, None)[0]

    def sampled(self, asked: tree.Query, *, rows: int, seconds: float = SECONDS) -> tuple[pa.Table, float]:
        """Return the answer over about so many rows of the one table that is asked, from all over it, and the share of its rows that they are.

        The share is 1 where all rows are read: there are no more, or the engine has no samples.
        """
        return self._shared(asked, None, seconds, rows)

    def _shared(self, asked: tree.Query, most: int | None, seconds: float, sample: int | None) -> Answer:
        known = self.site.kept(Answers)
        key = (self.holdings.version, self.holdings.reach(self.who, self.policies), write(asked), most, sample)
        found = known.find(key)
        if found is not None:
            return found
        with self.run(asked, most=most, seconds=seconds, sample=sample) as result:
            if result.volatile:  # other programs write it, or it is drawn by lot
                return result.table(), result.share
            return known.get(key, lambda: (result.table(), result.share))

    def settled(self, asked: tree.Query, table: Table, *, seconds: float) -> pa.Table | None:
        """Return the answer of a query of one table alone, remembered as long as that table stays as it is; None: there is none in this time.

        What was too late is asked again after a pause that grows (`hven.model.Failures`).
        """
        item = self.holdings.published[table.qualified]
        if item.relation is None or isinstance(item.relation, Live):
            return None
        known = self.site.kept(Answers)
        own = self.holdings.reach(self.who, self.policies) if self.hides(table) else ""
        key = (table.qualified, item.run, item.updated, own, write(asked))
        failures = self.site.kept(Failures)
        if failures.is_paused(key):
            return None

        def compute() -> Answer:
            with self.run(asked, seconds=seconds) as result:
                return result.table(), 1.0

        try:
            found = known.get(key, compute)[0]
        except Timeout as error:
            failures.note(key, f"counts of {table.qualified}", str(error))
            return None
        failures.forget(key)
        return found

    def folded(
        self,
        asked: tree.Query,
        table: Table,
        fold: Fold,
        *,
        name: Hashable,
        seconds: float,
        most: int | None = None,
        sample: int | None = None,
    ) -> Answer:
        """Return what `fold` makes of the rows of a query of one table, batch by batch, and the share of the table's rows that were read.

        It is remembered as long as that table stays as it is, of tables of other programs never; `name` says which fold it is.

        Raises
        ------
        Timeout, TooLarge, Overloaded, EvaluationError
            As every query.
        """

        def compute() -> Answer:
            with self.run(asked, most=most, seconds=seconds, sample=sample) as result:
                return fold(result.batches()), result.share

        item = self.holdings.published[table.qualified]
        if isinstance(item.relation, Live):
            return compute()
        hidden = item.relation is None or self.hides(table)  # a view may read what hides rows
        own = (self.holdings.version, self.holdings.reach(self.who, self.policies)) if hidden else ""
        key = (table.qualified, item.run, item.updated, own, write(asked), name, most, sample)
        return self.site.kept(Answers).get(key, compute)

    def number(self, asked: tree.Query, *, seconds: float = SECONDS) -> int:
        """Return the one number that a query answers."""
        return int(self.table(asked, seconds=seconds).column(0)[0].as_py() or 0)

    def published(self, table: Table) -> Published:
        """Return what is known of a table's rows; where a policy hides some from the reader, what is counted over the others."""
        item = self.holdings.published[table.qualified]
        if not self.hides(table):
            return item
        rows, statistics = self._counted(table)
        return replace(item, rows=rows, statistics=statistics, bytes=0, coverage=None)

    def _counted(self, table: Table) -> tuple[int | None, dict[str, dict[str, object]]]:
        """Count the rows that the reader sees, and the different values of the columns that may be chosen from."""
        columns = [one for one in table.columns if one.type.is_choice and not one.hidden]
        items: list[str | tree.Expr] = [tree.Function("COUNT", star=True)]
        for column in columns:
            name = (tree.ref(column.name),)
            items += [tree.Function("COUNT", name), tree.Function("COUNT", name, distinct=True)]
        try:
            found = self.settled(tree.select(table, items), table, seconds=PATIENCE)
        except HvenError:
            found = None  # as of a table of which nothing was counted
        if found is None:
            return None, {}
        rows, *counts = (int(one[0].as_py()) for one in found.columns)
        return rows, {
            column.name: {"nulls": rows - filled, "distinct": distinct}
            for column, filled, distinct in zip(columns, counts[::2], counts[1::2], strict=True)
        }

    def hides(self, table: Table) -> bool:
        """Return whether a policy hides rows of this table from the reader: then nothing that was counted over all rows may be shown."""
        return bool(row_filters([table], self.who, self.policies))


Answer = tuple[pa.Table, float]
Fold = Callable[[Iterator[pa.RecordBatch]], pa.Table]


class _Begun:
    """An answer that is being computed; those who wait for it find it here, or nothing if it failed."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.found: Answer | None = None


class Answers(Cache[Answer]):
    """Small answers of one process, by what they depend on: the state of the holdings, what the reader may see, the question. Thread-safe."""

    def __init__(self) -> None:
        super().__init__(BYTES)
        self._begun: dict[Hashable, _Begun] = {}
        self._beginning = threading.Lock()

    def get(self, key: Hashable, compute: Callable[[], Answer]) -> Answer:
        """Return an answer; whoever asks for it while another one computes it waits. If that one fails, or leaves, the next one computes."""
        while True:
            with self._beginning:
                found = self.find(key)
                if found is not None:
                    return found
                other = self._begun.get(key)
                if other is None:
                    mine = self._begun[key] = _Begun()
                    break
            other.over.wait()
            if other.found is not None:
                return other.found
        try:
            mine.found = compute()
            table, share = mine.found
            if table.nbytes <= BIGGEST:
                # a copy: rows that are views of a mapped file would keep it on the disk after its snapshot was dropped
                own = table.take(pa.array(np.arange(table.num_rows))) if table.num_rows else table
                self.keep(key, (own, share), int(own.nbytes) + 2048)  # the key and the objects around it
            return mine.found
        finally:
            with self._beginning:
                del self._begun[key]
            mine.over.set()

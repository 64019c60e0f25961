"""The policies of published tables, bound to the rows of their snapshots."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from hven import adql
from hven.adql import AHEAD, EPOCH, Facts, RowPolicy, instant
from hven.adql.scope import Tables
from hven.adql.tree import ColumnRef, transform
from hven.engines import Limits, Snapshot
from hven.model.errors import HvenError, ServiceError, UserError
from hven.site.auth._permit import Reader, settled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hven.adql.tree import Expr
    from hven.engines import Engine, Relation
    from hven.model.table import Table
    from hven.site._picture import Published

EVERYBODY = Reader(name="everybody")
E, N = "hven expression", "hven now"  # places in the queries below
LAST = f'SELECT MAX("{E}") AS x FROM {{}} WHERE "{E}" <= "{N}"'
NEXT = f'SELECT DISTINCT TOP {AHEAD} "{E}" AS x FROM {{}} WHERE "{E}" > "{N}" ORDER BY x'
PEOPLE = f'SELECT DISTINCT "{E}" AS x FROM {{}} WHERE "{E}" IS NOT NULL'


class Policies:
    """Binds policies; what was asked of a snapshot is kept as long as one state after the other has it.

    Parameters
    ----------
    engine
        Returns the one of a snapshot; None: no rows can be asked.
    """

    def __init__(self, engine: Callable[[Snapshot], Engine] | None = None) -> None:
        self._engine = engine
        self._facts: dict[str, Facts] = {}

    def bound(self, published: dict[str, Published]) -> list[str]:
        """Bind the policies of tables; one that does not fit its table, as it is published, makes it private.

        Parameters
        ----------
        published
            By qualified name; changed.

        Returns
        -------
        problems
            Of policies that do not fit.
        """
        problems: list[str] = []
        kept: dict[str, Facts] = {}
        for name, item in published.items():
            table = item.table
            if table.policy is None:
                continue
            try:
                facts = self._facts_of(table, item.relation, kept)
                rights = RowPolicy(table.policy, table.columns, facts)
                with suppress(ServiceError):  # an engine that is away is asked when a reader comes, who is told so
                    rights.condition(EVERYBODY)  # what must be asked of the rows is asked now, while nobody waits
                table = table.having(rights=rights)
            except HvenError as error:
                problems.append(f"{name}: nobody but its owner sees it, for its policy cannot be used: {error}")
                table = table.having(access="private", policy=None)
            published[name] = replace(item, table=table)
        self._facts = kept
        return problems

    def _facts_of(self, table: Table, snapshot: Relation | None, kept: dict[str, Facts]) -> Facts:
        if not isinstance(snapshot, Snapshot) or self._engine is None:
            raise UserError("its rows are read in place, and change unseen", remedy="ingest it")
        key = f"{table.qualified} {snapshot.id}"
        found = kept[key] = self._facts.get(key) or self._of(table, snapshot)
        return found

    def _of(self, table: Table, snapshot: Snapshot) -> Facts:
        ask = partial(self._values, table, snapshot)

        def people(column: ColumnRef) -> Iterator[str]:
            yield from map(str, ask(PEOPLE, column))

        def moments(expr: Expr, now: int) -> tuple[int | None, Sequence[int]]:
            last = [_moment(one) for one in ask(LAST, expr, now) if one is not None]
            return (last[0] if last else None), [_moment(one) for one in ask(NEXT, expr, now)]

        return Facts(people, moments)

    def _values(self, table: Table, snapshot: Snapshot, text: str, expr: Expr, now: int = 0) -> Iterator[Any]:
        """Ask the engine, under no policy."""
        places = {E: settled(expr), N: settled(instant(now))}
        name = ".".join(adql.quote(part) for part in (table.schema, table.name))
        tree = transform(
            adql.parse(text.format(name)),
            lambda node: places.get(node.name.name, node) if isinstance(node, ColumnRef) else node,
        )
        bound = adql.bind(tree, Tables([table.having(policy=None, rights=None)]))
        assert self._engine is not None  # noqa: S101  (or there were no facts)
        execution = self._engine(snapshot).prepare(bound).execute(bound.slots, {table.qualified: snapshot}, Limits())
        try:
            for batch in execution:
                yield from batch.column(0).to_pylist()
        finally:
            execution.close()


def _moment(value: Any) -> int:
    """Return microseconds since 1970."""
    since = value.replace(tzinfo=None) - EPOCH
    return int((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds)


__all__ = ["Policies"]

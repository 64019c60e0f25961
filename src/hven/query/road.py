"""run: parse, bind, permit, prepare, execute - in that order, for every face, and nowhere else."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from hven import adql
from hven.adql import lexer
from hven.auth import Scope, permit
from hven.auth.permit import ANONYMOUS, DEFAULT
from hven.engines import Limits, Memory
from hven.errors import TooLarge
from hven.holdings import TAP_SCHEMA
from hven.query.result import Result
from hven.query.shapes import Prepared, Shapes
from hven.query.turns import InTurn, Turns

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    import pyarrow as pa

    from hven.adql import tree
    from hven.auth import Policy, Reader
    from hven.engines import Execution, Relation
    from hven.holdings import Holdings, Site
    from hven.model.table import Table

SHAPED = 20_000  # characters: a longer text is hardly asked twice, and its words would fill the memory of plans


def run(
    query: str | tree.Query,
    who: Reader = ANONYMOUS,
    *,
    site: Site,
    maxrec: int | None = None,
    seconds: float | None = None,
    uploads: Mapping[str, tuple[Table, pa.Table]] | None = None,
    policies: Sequence[Policy] = DEFAULT,
    values: Sequence[Any] | None = None,
    key: Hashable = None,
    holdings: Holdings | None = None,
) -> Result:
    """Answer a query.

    Parameters
    ----------
    query
        ADQL text, or a tree that a face has built.
    maxrec
        Rows at most (DALI MAXREC); None: the site's default. The site's hard limit always holds.
    seconds
        Time limit; None: the site's.
    uploads
        Tables that exist for this query only, by qualified name (``TAP_UPLOAD.t``).
    values, key
        For faces: a `key` under which the plan of a tree is kept, and the `values` of its literals by slot.
    holdings
        The state to ask; None: that of now. Who builds a tree from the tables of one state must ask the same state.

    Raises
    ------
    ParseError, BindError, TooLarge, Overloaded
        Before anything ran. Errors of running come from `Result.batches`.
    """
    limits = site.settings.limits
    holdings = site.current() if holdings is None else holdings
    if isinstance(query, str) and len(query) > limits.text:
        raise TooLarge(
            f"the query has {len(query):,} characters; the limit is {limits.text:,}",
            remedy="upload long lists as a table and join it",
        )
    reach = holdings.reach(who, policies)
    prepared, literals = _prepare(query, who, site, holdings, reach, uploads, policies, values, key)
    wanted = limits.maxrec_default if maxrec is None else maxrec
    limit = min(wanted, limits.maxrec_hard)
    begin = None
    if maxrec != 0:
        relations = _relations(prepared.bound, holdings, reach, uploads)
        bounds = Limits(rows=limit, seconds=limits.seconds if seconds is None else seconds)
        plan, turns = prepared.plan, _state(site).turns

        def begin() -> Execution:
            if not plan.small:
                return InTurn(turns, _schema(prepared), lambda: plan.execute(literals, relations, bounds))
            execution = plan.execute(literals, relations, bounds)
            return execution if execution.small else InTurn(turns, execution.schema, lambda: execution)

    return Result(
        columns=prepared.bound.columns,
        tables=prepared.bound.tables,
        scope=prepared.scope,
        version=holdings.version,
        limit=limit,
        small=prepared.plan.small,
        volatile=prepared.bound.volatile,
        guarded=prepared.guarded,
        _begin=begin,
    )


def explain(
    query: str | tree.Query,
    who: Reader = ANONYMOUS,
    *,
    site: Site,
    uploads: Mapping[str, tuple[Table, pa.Table]] | None = None,
    policies: Sequence[Policy] = DEFAULT,
) -> str:
    """Say in words which road a query would take, and the engine's own text."""
    holdings = site.current()
    prepared, _ = _prepare(query, who, site, holdings, holdings.reach(who, policies), uploads, policies, None, None)
    return prepared.plan.explain()


def _prepare(
    query: str | tree.Query,
    who: Reader,
    site: Site,
    holdings: Holdings,
    reach: str,
    uploads: Mapping[str, tuple[Table, pa.Table]] | None,
    policies: Sequence[Policy],
    values: Sequence[Any] | None,
    key: Hashable,
) -> tuple[Prepared, Sequence[Any]]:
    """Give the plan, from the shapes that are known or anew, and the literals to run it with."""
    shapes = _state(site).shapes
    shape: Hashable = None
    literals: Sequence[Any] = ()
    words = 0
    if not uploads:
        if isinstance(query, str):
            if len(query) <= SHAPED:
                pieces, literals = lexer.shape(query)
                shape, words = (holdings.version, reach, pieces), len(pieces)
        elif key is not None:
            literals = values or ()
            shape = (holdings.version, reach, key)
        if shape is not None:
            known = shapes.find(shape, literals)
            if known is not None:
                return known, literals
    parsed = adql.parse(query) if isinstance(query, str) else query
    catalogue = holdings.catalogue(who, policies)
    if uploads:
        catalogue = catalogue.extended([table for table, _ in uploads.values()])
    bound = adql.bind(parsed, catalogue)
    permitted, scope = permit(bound, who, policies)
    if reach != "public" and any(table.schema == TAP_SCHEMA or table.owner is not None for table in bound.tables):
        # TAP_SCHEMA is nobody's secret, but its rows are those that this reader may know of; a reader's own table is named like others'
        scope = Scope(reach if scope.public else f"{scope.key}-{reach}")
    prepared = Prepared(bound=permitted, plan=site.engine.prepare(permitted), scope=scope, guarded=permitted is not bound)
    if shape is not None:
        shapes.keep(shape, literals, prepared, words=words)
    elif not isinstance(query, str) and values is not None:
        return prepared, values
    return prepared, literals if shape is not None else bound.slots


def _schema(prepared: Prepared) -> pa.Schema:
    import pyarrow as pa

    return pa.schema([pa.field(column.name, column.type.arrow) for column in prepared.bound.columns])


def _relations(
    bound: tree.Bound, holdings: Holdings, reach: str, uploads: Mapping[str, tuple[Table, pa.Table]] | None
) -> dict[str, Relation]:
    found: dict[str, Relation] = {}
    for table in bound.tables:
        name = table.qualified
        if uploads and name in uploads:
            found[name] = Memory(uploads[name][1])
        else:
            found[name] = holdings.relation(table, reach)
    return found


@dataclass(slots=True)
class _State:
    """What the road remembers about a site, in one process."""

    shapes: Shapes
    turns: Turns


_states: WeakKeyDictionary[Site, _State] = WeakKeyDictionary()
_lock = threading.Lock()


def _state(site: Site) -> _State:
    state = _states.get(site)
    if state is None:
        with _lock:
            state = _states.setdefault(site, _State(Shapes(), Turns(site.settings.limits.concurrent)))
    return state

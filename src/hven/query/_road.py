"""run: parse, bind, permit, prepare, execute - in that order, for every face, and nowhere else."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Any

from hven import adql
from hven.adql import lexer, tree
from hven.adql.functions import NAMED
from hven.adql.tree import walk
from hven.engines import Limits, Live, Memory, PlanWithPrerequisite, Snapshot
from hven.model.clock import counted
from hven.model.errors import BindError, HvenError, ParseError, Replaced, StorageError, TooLarge, say
from hven.query import _mixed as mixed
from hven.query import resolver
from hven.query._origin import origins
from hven.query._plan_cache import PlanCache, Prepared
from hven.query._result import Result
from hven.query._service_descriptors import descriptors
from hven.query._total import total
from hven.query.memory import Ceiling, tidy
from hven.query.turns import InTurn, Turns
from hven.site import TAP_SCHEMA, blind
from hven.site.auth import ANONYMOUS, DEFAULT, Scope, permit
from hven.site.past import refuse

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    import pyarrow as pa

    from hven.engines import Execution, Relation
    from hven.model.table import Table
    from hven.site import Holdings, Site
    from hven.site.auth import Policy, Reader
    from hven.site.past import Past

FEWEST = 3  # queries at once, however few processors there are: a long one must not keep all others waiting
PLACES = 32  # for queries that wait; how long it would take is what decides
STEADY = 20_000_000  # rows: values in order stand in memory, so sums over more rows are as they come
SHAPED = 20_000  # characters: a longer text is hardly asked twice, and its words would fill the memory of plans


def run(
    query: str | tree.Query,
    who: Reader = ANONYMOUS,
    *,
    site: Site,
    maxrec: int | None = None,
    most: int | None = None,
    seconds: float | None = None,
    uploads: Mapping[str, tuple[Table, pa.Table]] | None = None,
    policies: Sequence[Policy] = DEFAULT,
    values: Sequence[Any] | None = None,
    key: Hashable = None,
    holdings: Holdings | None = None,
    as_of: str | None = None,
    sample: int | None = None,
    steady: bool = False,
) -> Result:
    """Answer a query.

    Parameters
    ----------
    query
        ADQL text, or a tree that a face has built.
    who
        Who asks; permission is theirs.
    site
        Where the tables, the engines and the limits are.
    maxrec
        Rows at most (DALI MAXREC); None: the site's default. The hard limit always holds.
    most
        The hard limit; None: the site's, of synchronous queries.
    seconds
        Time limit; None: the site's.
    uploads
        Tables that exist for this query only, by qualified name (``TAP_UPLOAD.t``).
    policies
        What readers may see.
    values, key
        For faces: a `key` under which the plan of a tree is kept, and the `values` of its literals by slot.
    holdings
        The state to ask; None: that of now. Who builds a tree from the tables of one state must ask the same state.
    as_of
        Ask what was published then: a time as ISO 8601, the label of a release, or the id of a snapshot or run.
    sample
        Read about so many rows, from all over the one table that is asked, where it has more and its engine can; `Result.share` says
        how many that were of all.
    steady
        Sums and means of floats shall not depend on the order of rows: for tables that are compared with what they were before.

    Returns
    -------
    result
        Columns at once; the batches are read from it. It must be closed.

    Raises
    ------
    ParseError, BindError, TooLarge, Overloaded
        Before anything ran. Errors of running come from `Result.batches`.
    NotFound, ParamError
        What was published `as_of` then is not kept any more; or it is no time.
    """
    limits = site.settings.limits
    past = None if as_of is None else site.as_of(as_of, who, policies)
    holdings = blind(past.holdings if past is not None else site.current() if holdings is None else holdings, who)
    if isinstance(query, str) and len(query) > limits.text:
        raise TooLarge(
            say("the query has {count:,} characters; the limit is {most:,}", len(query), limits.text),
            remedy="upload long lists as a table and join it",
        )
    reach = holdings.reach(who, policies)
    try:
        with counted(seconds, limits.seconds) as clock:
            prepared, literals = _prepare(
                query, who, site, holdings, reach, uploads, policies, values, key, steady=steady
            )
    except HvenError as error:
        site.counters.refused(type(error).__name__)
        if isinstance(query, str) and len(query) > SHAPED:
            tidy()
        if past is not None and isinstance(error, BindError):
            _still(query, past, site.current().catalogue(who, policies).names(), error)
        raise
    wanted = limits.maxrec_default if maxrec is None else maxrec
    limit = min(wanted, limits.maxrec_hard if most is None else most)
    start = rows = None
    relations = prepared.relations or _relations(prepared.bound, holdings, reach, uploads)
    share, plan = 1.0, prepared.plan
    if sample is not None:
        homes = {one.engine for one in relations.values() if isinstance(one, Snapshot)}
        relations, share = _sampled(relations, site, sample, prepared.bound.query)
        if share < 1.0 and homes != {site.engines.embedded.name}:  # a database need not be sent its own rows
            plan = mixed.prepare(prepared.bound, site.engines, relations, limits)
    # other programs write it: no answer is known to be that of before
    live = any(isinstance(one, Live) for one in relations.values())
    if maxrec != 0:
        turns = site.kept(_turns, site)

        def execute() -> Execution:
            clock.check()
            with clock.counting():
                return plan.execute(literals, relations, Limits(rows=limit, clock=clock))

        def prerequisite() -> Hashable:
            return plan.find_prerequisite(relations) if isinstance(plan, PlanWithPrerequisite) else None

        def start() -> Execution:
            if not plan.small:
                return InTurn(turns, plan.schema, execute, prerequisite=prerequisite)
            execution = execute()
            if execution.small:
                return execution
            return InTurn(turns, execution.schema, lambda: execution, execution, prerequisite=prerequisite)

        def rows() -> int | None:
            return total(prepared.bound.query, literals, relations, limit)

    return Result(
        columns=prepared.bound.columns,
        tables=prepared.bound.tables,
        scope=prepared.scope,
        # an answer from tables that are read in place is never the same as another; forked workers share no counter
        version=f"{holdings.version}-{secrets.token_hex(12)}" if live else holdings.version,
        limit=limit,
        small=prepared.plan.small,
        volatile=prepared.bound.volatile or live,
        guarded=prepared.guarded,
        origins=prepared.origins,
        renamed=prepared.bound.renamed,
        descriptors=prepared.descriptors,
        address=site.settings.url,
        share=share,
        clock=clock,
        _begin=start,
        _counters=site.counters,
        _total=rows,
        _replaced=lambda error: _replaced(error, relations, site),
        _text=query if isinstance(query, str) else "",
        _query=prepared.bound.query,
    )


def _replaced(error: StorageError, relations: Mapping[str, Relation], site: Site) -> HvenError:
    """Detect that rows were replaced or removed while the query waited, where that is why they cannot be read: nothing is damaged then."""
    try:
        for name, relation in relations.items():
            if isinstance(relation, Snapshot) and not site.store.keeps(relation):
                return Replaced(
                    say("the rows of {name} were replaced or removed while this query waited", name),
                    remedy="ask again",
                    seconds=1,
                )
    except HvenError:
        return error
    return error


def _still(query: str | tree.Query, past: Past, names: Sequence[str], error: BindError) -> None:
    """Refuse a table that the reader knows, and whose state then is not kept; of others nothing is told."""
    parsed = adql.parse(query) if isinstance(query, str) else query
    written = {
        ".".join(part.name for part in node.parts[-2:]).lower()
        for node in walk(parsed)
        if isinstance(node, tree.TableRef)
    }
    for name in names:
        if name.lower() in {*past.gone, *past.young} and (
            name.lower() in written or name.rpartition(".")[2].lower() in written
        ):
            raise refuse(past, name) from error


def explain(
    query: str | tree.Query,
    who: Reader = ANONYMOUS,
    *,
    site: Site,
    uploads: Mapping[str, tuple[Table, pa.Table]] | None = None,
    policies: Sequence[Policy] = DEFAULT,
) -> str:
    """Describe which road a query would take, with the engine's own text.

    Parameters
    ----------
    query
        ADQL, or a tree.
    who
        Who asks.
    site
        Where.
    uploads
        Tables that come with it, by name.
    policies
        What readers may see.

    Returns
    -------
    text
        Of several lines, for people; numbers of rows only where the reader sees all.
    """
    holdings = site.current()
    reach = holdings.reach(who, policies)
    prepared, values = _prepare(query, who, site, holdings, reach, uploads, policies, None, None)
    if prepared.guarded:
        # conditions of policies have texts and times of rows that are hidden from this reader, and how many rows there are is no business of theirs
        catalogue = holdings.catalogue(who, policies).extended([table for table, _ in (uploads or {}).values()])
        bound = adql.bind(
            adql.parse(query) if isinstance(query, str) else query, catalogue, locate=_places(query, site, policies)
        )
        relations = _relations(bound, holdings, reach, uploads)
        plan = mixed.prepare(bound, site.engines, relations, site.settings.limits)
        return f"rows that you may not see are left out before all else\n{plan.explain()}"
    told = prepared.plan.explain()
    relations = prepared.relations or _relations(prepared.bound, holdings, reach, uploads)
    lines = prepared.plan.estimate(values, relations)
    rows = total(prepared.bound.query, values, relations, None)
    if rows is not None:
        lines = [*lines, f"the answer has {rows:,} row{'s' * (rows != 1)}, MAXREC aside"]
    return "\n".join([told, *(f"estimate: {line}" for line in lines)])


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
    *,
    steady: bool = False,
) -> tuple[Prepared, Sequence[Any]]:
    """Prepare a query: the plan, from the shapes that are known or anew, and the literals to run it with."""
    shapes = site.kept(PlanCache)
    shape: Hashable = None
    literals: Sequence[Any] = ()
    words = 0
    locate = _places(query, site, policies)
    if not uploads and not steady:
        if isinstance(query, str):
            if len(query) <= SHAPED:
                pieces, literals = lexer.shape(query)
                shape, words = (holdings.version, reach, pieces), len(pieces)
                if locate is not None:
                    shape = _with_places(shape, pieces, literals, locate)
        elif key is not None:
            literals = values or ()
            shape = (holdings.version, reach, key)
        if shape is not None:
            with shapes.making(shape if locate is None else None):  # one plans, and the others take its plan
                known = shapes.find(shape, literals)
                if known is not None and known.bound.takes(literals):
                    return known, literals
                return _plan(
                    query,
                    who,
                    site,
                    holdings,
                    reach,
                    uploads,
                    policies,
                    values,
                    shape,
                    literals,
                    words,
                    locate,
                    steady=steady,
                )
    return _plan(
        query, who, site, holdings, reach, uploads, policies, values, shape, literals, words, locate, steady=steady
    )


def _plan(
    query: str | tree.Query,
    who: Reader,
    site: Site,
    holdings: Holdings,
    reach: str,
    uploads: Mapping[str, tuple[Table, pa.Table]] | None,
    policies: Sequence[Policy],
    values: Sequence[Any] | None,
    shape: Hashable,
    literals: Sequence[Any],
    words: int,
    locate: Callable[[str], tuple[float, float]] | None,
    *,
    steady: bool,
) -> tuple[Prepared, Sequence[Any]]:
    """Parse, bind, permit and plan a query anew; a plan with a `shape` is kept."""
    shapes = site.kept(PlanCache)
    parsed = adql.parse(query) if isinstance(query, str) else query
    catalogue = holdings.catalogue(who, policies)
    if uploads:
        catalogue = catalogue.extended([table for table, _ in uploads.values()])
    bound = adql.bind(parsed, catalogue, locate=locate, steady=steady)
    read = _relations(bound, holdings, reach, uploads) if steady else {}
    if sum(one.rows for one in read.values() if isinstance(one, Snapshot)) > STEADY:
        bound = adql.bind(parsed, catalogue, locate=locate)
    permitted, scope = permit(bound, who, policies)
    owned = any(table.owner is not None for table in permitted.tables)
    if reach != "public" and (owned or any(table.schema == TAP_SCHEMA for table in bound.tables)):
        # TAP_SCHEMA is nobody's secret, but its rows are those that this reader may know of; a reader's own table is named like others'
        scope = Scope(reach if scope.public else f"{scope.key}-{reach}")
    relations = _relations(permitted, holdings, reach, uploads)
    prepared = Prepared(
        bound=permitted,
        plan=mixed.prepare(permitted, site.engines, relations, site.settings.limits),
        scope=scope,
        relations=relations if all(isinstance(one, Snapshot) for one in relations.values()) and not owned else None,
        guarded=permitted is not bound,
        origins=origins(permitted.tables, holdings, site),
        descriptors=descriptors(permitted),
    )
    if shape is not None:
        if holdings.reach(who, policies) == reach:  # else a moment came at which a policy shows other rows
            shapes.keep(shape, literals, prepared, words=words)
    elif not isinstance(query, str) and values is not None:
        return prepared, values
    return prepared, literals if shape is not None else bound.slots


def known(query: str, who: Reader, *, site: Site, policies: Sequence[Policy] = DEFAULT) -> bool:
    """Return whether a text of the same form was planned before: then `run` takes well below a millisecond.

    Parameters
    ----------
    query
        ADQL.
    who
        Who asks.
    site
        Where.
    policies
        What readers may see.
    """
    holdings = site.current()
    try:
        pieces, literals = lexer.shape(query)
    except ParseError:
        return False
    return site.kept(PlanCache).find((holdings.version, holdings.reach(who, policies), pieces), literals) is not None


def names_objects(query: str) -> bool:
    """Return whether a query may ask for a name's position: that is looked up before it runs, perhaps far away, so not on an event loop.

    Parameters
    ----------
    query
        ADQL.
    """
    return "_simbadpoint" in query.lower()


def _places(
    query: str | tree.Query, site: Site, policies: Sequence[Policy]
) -> Callable[[str], tuple[float, float]] | None:
    """Return what finds the objects that a query names; None: it names none, or none are looked up."""
    if not (isinstance(query, str) and names_objects(query) and resolver.offered(site.settings)):
        return None

    def locate(name: str) -> tuple[float, float]:
        return resolver.position(name, site=site, policies=policies)

    return locate


def _with_places(
    shape: Hashable, pieces: Sequence[str], literals: Sequence[Any], locate: Callable[[str], tuple[float, float]]
) -> Hashable:
    """Add the positions of the names in a query to its key: they are constants of its plan. None: the binder says what is wrong with one."""
    places = []
    slot = 0
    for at, piece in enumerate(pieces):
        if piece.startswith("'"):
            if piece == "'s" and at >= 2 and pieces[at - 1] == "(" and pieces[at - 2].upper() in NAMED:
                try:
                    places.append(locate(str(literals[slot])))
                except HvenError:
                    return None
            slot += 1
    return shape, tuple(places)


def _relations(
    bound: tree.Bound, holdings: Holdings, reach: str, uploads: Mapping[str, tuple[Table, pa.Table]] | None
) -> Mapping[str, Relation]:
    given = {name: Memory(rows) for name, (_, rows) in (uploads or {}).items()}
    return {table.qualified: given.get(table.qualified) or holdings.relation(table, reach) for table in bound.tables}


def _sampled(
    relations: Mapping[str, Relation], site: Site, rows: int, asked: tree.Query
) -> tuple[Mapping[str, Relation], float]:
    """Sample the one table: some rows in place of all, and the share that they are."""
    if len(relations) != 1:
        return relations, 1.0
    ((name, relation),) = relations.items()
    if not isinstance(relation, Snapshot) or relation.rows <= rows:
        return relations, 1.0
    roots = [
        asked,
        *(node.where for node in walk(asked) if isinstance(node, tree.TableRef) and node.where is not None),
    ]  # policies stand there
    columns = {
        one.column.name
        for root in roots
        for one in walk(root)
        if isinstance(one, tree.ColumnRef) and one.column is not None
    }
    found = site.engines.of(relation).sample(relation, rows, columns)
    if found is None:
        return relations, 1.0
    return {name: found}, found.rows.num_rows / relation.rows


def _turns(site: Site) -> Turns:
    limits = site.settings.limits
    number = limits.concurrent or max(os.cpu_count() or 1, FEWEST)
    return Turns(number, places=max(number, PLACES), ceiling=Ceiling(limits.memory, site.engines.embedded.processes))

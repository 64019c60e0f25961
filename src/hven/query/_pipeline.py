"""run: parse, bind, permit, prepare, execute - in that order, for every face, and nowhere else."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Any

from hven import adql
from hven.adql import lexer, syntax_tree
from hven.adql.functions import NAME_RESOLVING_FUNCTIONS
from hven.adql.syntax_tree import walk_tree
from hven.engines import ExecutionLimits, LiveRelation, MemoryRelation, PlanWithPrerequisite, Snapshot
from hven.model.deadlines import apply_deadline
from hven.model.errors import (
    BindError,
    HvenError,
    ParseError,
    RowsReplacedError,
    StorageError,
    TooLargeError,
    format_message,
)
from hven.query import _federated_plan as federated_plan
from hven.query import resolver
from hven.query._data_origin import describe_origins
from hven.query._plan_cache import PlanCache, PreparedQuery
from hven.query._query_result import QueryResult
from hven.query._row_counts import count_answer_rows
from hven.query._service_descriptors import describe_services
from hven.query.memory_watchdog import MemoryWatchdog, schedule_memory_trim
from hven.query.query_queue import QueryQueue, QueuedExecution
from hven.site import TAP_SCHEMA, anonymize_for_referee
from hven.site.auth import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES, AccessScope, apply_access_control
from hven.site.history import build_unavailable_state_error

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    import pyarrow as pa

    from hven.engines import QueryExecution, Relation
    from hven.model.table import Table
    from hven.site import PublishedState, Site
    from hven.site.auth import AccessPolicy, Principal
    from hven.site.history import PastState

MIN_CONCURRENT_QUERIES = (
    3  # queries at once, however few processors there are: a long one must not keep all others waiting
)
MIN_QUEUE_PLACES = 32  # for queries that wait; how long it would take is what decides
MAX_ORDER_INDEPENDENT_ROWS = (
    20_000_000  # rows: values in order stand in memory, so sums over more rows are as they come
)
MAX_CACHED_QUERY_CHARACTERS = (
    20_000  # characters: a longer text is hardly asked twice, and its words would fill the memory of plans
)


def run_query(
    query: str | syntax_tree.Query,
    principal: Principal = ANONYMOUS_PRINCIPAL,
    *,
    site: Site,
    maxrec: int | None = None,
    hard_row_limit: int | None = None,
    timeout_seconds: float | None = None,
    uploads: Mapping[str, tuple[Table, pa.Table]] | None = None,
    policies: Sequence[AccessPolicy] = DEFAULT_POLICIES,
    literal_values: Sequence[Any] | None = None,
    plan_key: Hashable = None,
    published_state: PublishedState | None = None,
    as_of: str | None = None,
    sample_row_count: int | None = None,
    order_independent: bool = False,
) -> QueryResult:
    """Answer a query.

    Parameters
    ----------
    query
        ADQL text, or a tree that a face has built.
    principal
        Who asks; permission is theirs.
    site
        Where the tables, the engines and the limits are.
    maxrec
        Rows at most (DALI MAXREC); None: the site's default. The hard limit always holds.
    hard_row_limit
        The hard limit; None: the site's, of synchronous queries.
    timeout_seconds
        Time limit; None: the site's.
    uploads
        Tables that exist for this query only, by qualified name (``TAP_UPLOAD.t``).
    policies
        What readers may see.
    literal_values, plan_key
        For faces: a `plan_key` under which the plan of a tree is kept, and the `literal_values` of its literals by
        slot.
    published_state
        The state to ask; None: that of now. Who builds a tree from the tables of one state must ask the same state.
    as_of
        Ask what was published then: a time as ISO 8601, the label of a release, or the id of a snapshot or run.
    sample_row_count
        Read about so many rows, from all over the one table that is asked, where it has more and its engine can;
        `QueryResult.sampled_fraction` says how many that were of all.
    order_independent
        Sums and means of floats shall not depend on the order of rows: for tables that are compared with what they were
        before.

    Returns
    -------
    result
        Columns at once; the batches are read from it. It must be closed.

    Raises
    ------
    ParseError, BindError, TooLargeError, OverloadedError
        Before anything ran. Errors of running come from `QueryResult.iterate_batches`.
    NotFoundError, ParamError
        What was published `as_of` then is not kept any more; or it is no time.
    """
    limits = site.settings.limits
    if as_of is None:
        past = None
    else:
        past = site.find_past_state(as_of, principal, policies)
    published_state = anonymize_for_referee(
        past.published_state
        if past is not None
        else site.get_published_state()
        if published_state is None
        else published_state,
        principal,
    )
    if isinstance(query, str) and len(query) > limits.text:
        raise TooLargeError(
            format_message("the query has {count:,} characters; the limit is {most:,}", len(query), limits.text),
            remedy="upload long lists as a table and join it",
        )
    access_key = published_state.find_access_key(principal, policies)
    try:
        with apply_deadline(timeout_seconds, limits.seconds) as deadline:
            prepared, literals = _prepare_query(
                query,
                principal,
                site,
                published_state,
                access_key,
                uploads,
                policies,
                literal_values,
                plan_key,
                order_independent=order_independent,
            )
    except HvenError as error:
        site.counters.count_refused_query(error.label)
        if isinstance(query, str) and len(query) > MAX_CACHED_QUERY_CHARACTERS:
            schedule_memory_trim()
        if past is not None and isinstance(error, BindError):
            catalogue = site.get_published_state().get_catalogue(principal, policies)
            _check_past_tables(query, past, catalogue.list_names(), error)
        raise
    requested_row_limit = limits.maxrec_default if maxrec is None else maxrec
    row_limit = min(requested_row_limit, limits.maxrec_hard if hard_row_limit is None else hard_row_limit)
    start = count_rows = None
    relations = prepared.relations or _list_relations(prepared.bound_query, published_state, access_key, uploads)
    sampled_fraction = 1.0
    plan = prepared.plan
    if sample_row_count is not None:
        homes = {relation.engine for relation in relations.values() if isinstance(relation, Snapshot)}
        relations, sampled_fraction = _sample_relation(relations, site, sample_row_count, prepared.bound_query.query)
        if sampled_fraction < 1.0 and homes != {
            site.engines.embedded_engine.name
        }:  # a database need not be sent its own rows
            plan = federated_plan.plan_bound_query(prepared.bound_query, site.engines, relations, limits)
    # other programs write it: no answer is known to be that of before
    has_live_table = any(isinstance(relation, LiveRelation) for relation in relations.values())
    if maxrec != 0:
        query_queue = site.get_or_create(_build_query_queue, site)

        def execute_plan() -> QueryExecution:
            deadline.check()
            with deadline.apply():
                return plan.execute(literals, relations, ExecutionLimits(row_limit=row_limit, deadline=deadline))

        def find_prerequisite() -> Hashable:
            if isinstance(plan, PlanWithPrerequisite):
                return plan.find_prerequisite(relations)
            return None

        def start() -> QueryExecution:
            if not plan.small:
                return QueuedExecution(query_queue, plan.schema, execute_plan, prerequisite=find_prerequisite)
            execution = execute_plan()
            if execution.small:
                return execution
            return QueuedExecution(
                query_queue, execution.schema, lambda: execution, execution, prerequisite=find_prerequisite
            )

        def count_rows() -> int | None:
            return count_answer_rows(prepared.bound_query.query, literals, relations, row_limit)

    return QueryResult(
        columns=prepared.bound_query.columns,
        tables=prepared.bound_query.tables,
        scope=prepared.scope,
        # an answer from tables that are read in place is never the same as another; forked workers share no counter
        version=f"{published_state.version}-{secrets.token_hex(12)}" if has_live_table else published_state.version,
        row_limit=row_limit,
        small=prepared.plan.small,
        volatile=prepared.bound_query.volatile or has_live_table,
        hides_rows=prepared.hides_rows,
        origins=prepared.origins,
        renamed_columns=prepared.bound_query.renamed_columns,
        descriptors=prepared.descriptors,
        site_url=site.settings.site_url,
        sampled_fraction=sampled_fraction,
        deadline=deadline,
        _start_execution=start,
        _counters=site.counters,
        _count_rows=count_rows,
        _explain_storage_error=lambda error: _explain_storage_error(error, relations, site),
        _query_text=query if isinstance(query, str) else "",
        _bound_query=prepared.bound_query.query,
    )


def _explain_storage_error(error: StorageError, relations: Mapping[str, Relation], site: Site) -> HvenError:
    """Detect that rows were replaced or removed while the query waited, where that is why they cannot be read.

    Nothing is damaged then.
    """
    try:
        for name, relation in relations.items():
            if isinstance(relation, Snapshot) and not site.store.is_snapshot_kept(relation):
                return RowsReplacedError(
                    format_message("the rows of {name} were replaced or removed while this query waited", name),
                    remedy="ask again",
                    retry_after_seconds=1,
                )
    except HvenError:
        return error
    return error


def _check_past_tables(
    query: str | syntax_tree.Query, past: PastState, current_names: Sequence[str], error: BindError
) -> None:
    """Refuse a table that the reader knows, and whose state then is not kept; of others nothing is told."""
    if isinstance(query, str):
        parsed = adql.parse_query(query)
    else:
        parsed = query
    written_names = {
        ".".join(part.name for part in node.parts[-2:]).lower()
        for node in walk_tree(parsed)
        if isinstance(node, syntax_tree.TableRef)
    }
    for name in current_names:
        if name.lower() in {*past.missing_tables, *past.later_tables} and (
            name.lower() in written_names or name.rpartition(".")[2].lower() in written_names
        ):
            raise build_unavailable_state_error(past, name) from error


def explain_query(
    query: str | syntax_tree.Query,
    principal: Principal = ANONYMOUS_PRINCIPAL,
    *,
    site: Site,
    uploads: Mapping[str, tuple[Table, pa.Table]] | None = None,
    policies: Sequence[AccessPolicy] = DEFAULT_POLICIES,
) -> str:
    """Describe which road a query would take, with the engine's own text.

    Parameters
    ----------
    query
        ADQL, or a tree.
    principal
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
    published_state = site.get_published_state()
    access_key = published_state.find_access_key(principal, policies)
    prepared, values = _prepare_query(
        query, principal, site, published_state, access_key, uploads, policies, None, None
    )
    if prepared.hides_rows:
        # conditions of policies have texts and times of rows that are hidden from this reader, and how many rows there
        # are is no business of theirs
        catalogue = published_state.get_catalogue(principal, policies).with_tables(
            [table for table, _ in (uploads or {}).values()]
        )
        bound = adql.bind_query(
            adql.parse_query(query) if isinstance(query, str) else query,
            catalogue,
            resolve_position=_find_position_resolver(query, site, policies),
        )
        relations = _list_relations(bound, published_state, access_key, uploads)
        plan = federated_plan.plan_bound_query(bound, site.engines, relations, site.settings.limits)
        return f"rows that you may not see are left out before all else\n{plan.explain()}"
    plan_text = prepared.plan.explain()
    relations = prepared.relations or _list_relations(prepared.bound_query, published_state, access_key, uploads)
    lines = prepared.plan.estimate_row_counts(values, relations)
    row_count = count_answer_rows(prepared.bound_query.query, values, relations, None)
    if row_count is not None:
        lines = [*lines, f"the answer has {row_count:,} row{'s' * (row_count != 1)}, MAXREC aside"]
    return "\n".join([plan_text, *(f"estimate: {line}" for line in lines)])


def _prepare_query(
    query: str | syntax_tree.Query,
    principal: Principal,
    site: Site,
    published_state: PublishedState,
    access_key: str,
    uploads: Mapping[str, tuple[Table, pa.Table]] | None,
    policies: Sequence[AccessPolicy],
    literal_values: Sequence[Any] | None,
    plan_key: Hashable,
    *,
    order_independent: bool = False,
) -> tuple[PreparedQuery, Sequence[Any]]:
    """Prepare a query: the plan, from the shapes that are known or anew, and the literals to run it with."""
    plan_cache = site.get_or_create(PlanCache)
    shape_key: Hashable = None
    literals: Sequence[Any] = ()
    token_count = 0
    resolve_position = _find_position_resolver(query, site, policies)
    if not uploads and not order_independent:
        if isinstance(query, str):
            if len(query) <= MAX_CACHED_QUERY_CHARACTERS:
                pieces, literals = lexer.extract_literals(query)
                shape_key = (published_state.version, access_key, pieces)
                token_count = len(pieces)
                if resolve_position is not None:
                    shape_key = _add_positions_to_key(shape_key, pieces, literals, resolve_position)
        elif plan_key is not None:
            literals = literal_values or ()
            shape_key = (published_state.version, access_key, plan_key)
        if shape_key is not None:
            with plan_cache.lock_shape(
                shape_key if resolve_position is None else None
            ):  # one plans, and the others take its plan
                cached_plan = plan_cache.find(shape_key, literals)
                if cached_plan is not None and cached_plan.bound_query.are_literals_allowed(literals):
                    return cached_plan, literals
                return _plan_query(
                    query,
                    principal,
                    site,
                    published_state,
                    access_key,
                    uploads,
                    policies,
                    literal_values,
                    shape_key,
                    literals,
                    token_count,
                    resolve_position,
                    order_independent=order_independent,
                )
    return _plan_query(
        query,
        principal,
        site,
        published_state,
        access_key,
        uploads,
        policies,
        literal_values,
        shape_key,
        literals,
        token_count,
        resolve_position,
        order_independent=order_independent,
    )


def _plan_query(
    query: str | syntax_tree.Query,
    principal: Principal,
    site: Site,
    published_state: PublishedState,
    access_key: str,
    uploads: Mapping[str, tuple[Table, pa.Table]] | None,
    policies: Sequence[AccessPolicy],
    literal_values: Sequence[Any] | None,
    shape_key: Hashable,
    literals: Sequence[Any],
    token_count: int,
    resolve_position: Callable[[str], tuple[float, float]] | None,
    *,
    order_independent: bool,
) -> tuple[PreparedQuery, Sequence[Any]]:
    """Parse, bind, permit and plan a query anew; a plan with a `shape_key` is kept."""
    plan_cache = site.get_or_create(PlanCache)
    if isinstance(query, str):
        parsed = adql.parse_query(query)
    else:
        parsed = query
    catalogue = published_state.get_catalogue(principal, policies)
    if uploads:
        catalogue = catalogue.with_tables([table for table, _ in uploads.values()])
    bound = adql.bind_query(parsed, catalogue, resolve_position=resolve_position, order_independent=order_independent)
    if order_independent:
        relations_read = _list_relations(bound, published_state, access_key, uploads)
    else:
        relations_read = {}
    if (
        sum(relation.rows for relation in relations_read.values() if isinstance(relation, Snapshot))
        > MAX_ORDER_INDEPENDENT_ROWS
    ):
        bound = adql.bind_query(parsed, catalogue, resolve_position=resolve_position)
    permitted, scope = apply_access_control(bound, principal, policies)
    has_user_tables = any(table.owner is not None for table in permitted.tables)
    if access_key != "public" and (has_user_tables or any(table.schema == TAP_SCHEMA for table in bound.tables)):
        # TAP_SCHEMA is nobody's secret, but its rows are those that this reader may know of; a reader's own table is
        # named like others'
        scope = AccessScope(access_key if scope.is_public else f"{scope.key}-{access_key}")
    relations = _list_relations(permitted, published_state, access_key, uploads)
    plan = federated_plan.plan_bound_query(permitted, site.engines, relations, site.settings.limits)
    prepared = PreparedQuery(
        bound_query=permitted,
        plan=plan,
        scope=scope,
        relations=relations
        if all(isinstance(relation, Snapshot) for relation in relations.values()) and not has_user_tables
        else None,
        hides_rows=permitted is not bound,
        origins=describe_origins(permitted.tables, published_state, site),
        descriptors=describe_services(permitted),
    )
    if shape_key is not None:
        if (
            published_state.find_access_key(principal, policies) == access_key
        ):  # else a moment came at which a policy shows other rows
            plan_cache.store(shape_key, literals, prepared, token_count=token_count)
    elif not isinstance(query, str) and literal_values is not None:
        return prepared, literal_values
    return prepared, literals if shape_key is not None else bound.literal_values


def has_cached_plan(
    query: str, principal: Principal, *, site: Site, policies: Sequence[AccessPolicy] = DEFAULT_POLICIES
) -> bool:
    """Return whether a text of the same form was planned before: then `run_query` takes well below a millisecond.

    Parameters
    ----------
    query
        ADQL.
    principal
        Who asks.
    site
        Where.
    policies
        What readers may see.
    """
    published_state = site.get_published_state()
    try:
        pieces, literals = lexer.extract_literals(query)
    except ParseError:
        return False
    return (
        site.get_or_create(PlanCache).find(
            (published_state.version, published_state.find_access_key(principal, policies), pieces), literals
        )
        is not None
    )


def may_name_objects(query: str) -> bool:
    """Return whether a query may ask for a name's position.

    That is looked up before it runs, perhaps far away, so not on an event loop.

    Parameters
    ----------
    query
        ADQL.
    """
    return "_simbadpoint" in query.lower()


def _find_position_resolver(
    query: str | syntax_tree.Query, site: Site, policies: Sequence[AccessPolicy]
) -> Callable[[str], tuple[float, float]] | None:
    """Return what finds the objects that a query names; None: it names none, or none are looked up."""
    if not (isinstance(query, str) and may_name_objects(query) and resolver.can_resolve_names(site.settings)):
        return None

    def resolve_position(name: str) -> tuple[float, float]:
        return resolver.resolve_position(name, site=site, policies=policies)

    return resolve_position


def _add_positions_to_key(
    shape_key: Hashable,
    pieces: Sequence[str],
    literals: Sequence[Any],
    resolve_position: Callable[[str], tuple[float, float]],
) -> Hashable:
    """Add the positions of the names in a query to its key: they are constants of its plan. None.

    The binder says what is wrong with one.
    """
    positions = []
    slot = 0
    for index, piece in enumerate(pieces):
        if piece.startswith("'"):
            if (
                piece == "'s"
                and index >= 2
                and pieces[index - 1] == "("
                and pieces[index - 2].upper() in NAME_RESOLVING_FUNCTIONS
            ):
                try:
                    positions.append(resolve_position(str(literals[slot])))
                except HvenError:
                    return None
            slot += 1
    return shape_key, tuple(positions)


def _list_relations(
    bound_query: syntax_tree.BoundQuery,
    published_state: PublishedState,
    access_key: str,
    uploads: Mapping[str, tuple[Table, pa.Table]] | None,
) -> Mapping[str, Relation]:
    uploaded_relations = {name: MemoryRelation(rows) for name, (_, rows) in (uploads or {}).items()}
    return {
        table.qualified_name: uploaded_relations.get(table.qualified_name)
        or published_state.find_relation(table, access_key)
        for table in bound_query.tables
    }


def _sample_relation(
    relations: Mapping[str, Relation], site: Site, row_count: int, bound_query: syntax_tree.Query
) -> tuple[Mapping[str, Relation], float]:
    """Sample the one table: some rows in place of all, and the share that they are."""
    if len(relations) != 1:
        return relations, 1.0
    ((name, relation),) = relations.items()
    if not isinstance(relation, Snapshot) or relation.rows <= row_count:
        return relations, 1.0
    roots = [
        bound_query,
        *(
            node.where
            for node in walk_tree(bound_query)
            if isinstance(node, syntax_tree.TableRef) and node.where is not None
        ),
    ]  # policies stand there
    columns = {
        column_ref.column.name
        for root in roots
        for column_ref in walk_tree(root)
        if isinstance(column_ref, syntax_tree.ColumnRef) and column_ref.column is not None
    }
    engine = site.engines.find_engine(relation)
    sampled_rows = engine.sample_rows(relation, row_count, columns)
    if sampled_rows is None:
        return relations, 1.0
    return {name: sampled_rows}, sampled_rows.rows.num_rows / relation.rows


def _build_query_queue(site: Site) -> QueryQueue:
    limits = site.settings.limits
    concurrent_queries = limits.concurrent or max(os.cpu_count() or 1, MIN_CONCURRENT_QUERIES)
    places = max(concurrent_queries, MIN_QUEUE_PLACES)
    ceiling = MemoryWatchdog(limits.memory, site.engines.embedded_engine.list_helper_processes)
    return QueryQueue(
        concurrent_queries,
        places=places,
        ceiling=ceiling,
    )

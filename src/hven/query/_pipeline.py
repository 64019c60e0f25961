"""The query pipeline: every service plans its queries here (`_planning`), and executes them."""

from __future__ import annotations

import os
import secrets
from functools import partial
from typing import TYPE_CHECKING, Any

from hven.adql import syntax_tree
from hven.adql.syntax_tree import walk_tree
from hven.engines import ExecutionLimits, LiveRelation, PlanWithPrerequisite, Snapshot
from hven.model.deadlines import CURRENT_DEADLINE, apply_request_or_new_deadline
from hven.model.errors import (
    BindError,
    HvenError,
    RowsReplacedError,
    StorageError,
    TooLargeError,
    format_message,
)
from hven.query._planning import (
    MAX_CACHED_QUERY_CHARACTERS,
    create_query_request,
    plan_on_engines,
    plan_query,
    plan_without_policies,
)
from hven.query._query_observers import QueryObserverGroup
from hven.query._query_result import QueryResult
from hven.query._row_counts import derive_answer_row_count
from hven.query.memory_watchdog import MemoryWatchdog, schedule_memory_trim
from hven.query.query_queue import QueryQueue, QueuedExecution
from hven.site.auth import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES
from hven.site.history import build_unavailable_state_error

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    import pyarrow as pa

    from hven.adql.syntax_tree import BoundQuery
    from hven.engines import QueryExecution, QueryPlan, Relation
    from hven.model.table import Table
    from hven.query._planning import PlannedQuery, PreparedQuery, QueryRequest
    from hven.site import PublishedState, Site
    from hven.site.auth import AccessPolicy, Principal
    from hven.site.history import PastPublishedState

MIN_CONCURRENT_QUERIES = 3  # even with few processors, so that a long query does not keep all others waiting
MIN_QUEUE_PLACES = 32  # for waiting queries; the expected waiting time decides


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
    is_order_independent: bool = False,
    planned: PlannedQuery | None = None,
) -> QueryResult:
    """Answer a query.

    Parameters
    ----------
    query
        ADQL text, or a tree that a service has built.
    principal
        The user, whose permissions apply.
    site
        The site with its tables, engines and limits.
    maxrec
        Maximum number of rows (DALI MAXREC); None: the site's default. The hard limit always applies.
    hard_row_limit
        The hard limit; None: the site's limit for synchronous queries.
    timeout_seconds
        Time limit; None: the site's.
    uploads
        Tables that exist for this query only, by qualified name (``TAP_UPLOAD.t``).
    policies
        Policies that define what users may see.
    literal_values, plan_key
        For trees: the key under which the plan is cached, and the values of its literals by slot.
    published_state
        The state to query; None: the current one. A tree that was built from the tables of one state must be run on the
        same state.
    as_of
        Query what was published then: a time as ISO 8601, the label of a release, or the id of a snapshot or run.
    sample_row_count
        Read about this number of rows, from all over the only table of the query, if it has more rows and its engine
        can take samples. `QueryResult.sampled_fraction` is the fraction that was read.
    is_order_independent
        True: sums and means of floats do not depend on the order of rows, for tables that are compared with their
        former contents.
    planned
        What `find_cached_query_plan` returned for the query, the user and the policies.

    Returns
    -------
    result
        The result, with its columns; the batches are read from it. The caller must close it.

    Raises
    ------
    ParseError, BindError, TooLargeError, OverloadedError
        The query is refused before it runs. Later errors come from `QueryResult.iterate_batches`.
    NotFoundError, ParamError
        The state of `as_of` does not exist any more, or `as_of` is not valid.
    """
    limits = site.settings.limits
    past = None
    if as_of is not None:
        past = site.find_past_state(as_of, principal, policies)
        published_state = past.published_state
    if isinstance(query, str) and len(query) > limits.text:
        raise TooLargeError(
            format_message("the query has {count:,} characters; the limit is {most:,}", len(query), limits.text),
            remedy="upload a long list as a table and join it",
        )
    with apply_request_or_new_deadline(timeout_seconds, limits.seconds) as deadline:
        if planned is None:
            request = create_query_request(query, principal, site, policies, published_state)
            request.uploads = uploads
            request.literal_values = literal_values
            request.plan_key = plan_key
            request.order_independent = is_order_independent
            try:
                planned = plan_query(request)
            except HvenError as error:
                _count_refusal_and_check_past_state(request, error, past)
                raise
    request, prepared, literals = planned
    requested_row_limit = limits.maxrec_default if maxrec is None else maxrec
    max_row_limit = limits.maxrec_hard if hard_row_limit is None else hard_row_limit
    row_limit = min(requested_row_limit, max_row_limit)
    relations = prepared.relations or request.list_relations(prepared.bound_query)
    sampled_fraction = 1.0
    plan = prepared.plan
    if sample_row_count is not None:
        relations, sampled_fraction, plan = _plan_sampled_query(prepared, relations, site, sample_row_count)
    start_execution = count_rows = None
    if maxrec != 0:
        execution_limits = ExecutionLimits(row_limit=row_limit, deadline=deadline)
        start_execution = partial(_start_or_queue_execution, site, plan, literals, relations, limits=execution_limits)
        count_rows = partial(derive_answer_row_count, prepared.bound_query.query, literals, relations, row_limit)
    # Other programs write to tables that are read in place, so each answer has a version of its own. It is random,
    # because forked workers share no counter.
    has_live_table = prepared.relations is None and LiveRelation in map(type, relations.values())
    version = request.published_state.version
    if has_live_table:
        version = f"{version}-{secrets.token_hex(12)}"
    return QueryResult(
        columns=prepared.bound_query.columns,
        tables=prepared.bound_query.tables,
        scope=prepared.scope,
        version=version,
        row_limit=row_limit,
        small=prepared.plan.is_quick,
        volatile=prepared.bound_query.volatile or has_live_table,
        hides_rows=prepared.hides_rows,
        origins=prepared.origins,
        renamed_columns=prepared.bound_query.renamed_columns,
        descriptors=prepared.descriptors,
        sampled_fraction=sampled_fraction,
        deadline=deadline,
        _report_start=partial(_report_query_start, site, planned),
        _report_end=partial(_report_query_end, site, planned),
        _start_execution=start_execution,
        _counters=site.counters,
        _settings=site.settings,
        _count_rows=count_rows,
        _explain_storage_error=lambda error: _translate_storage_error(error, relations, site),
        _query_text=query if isinstance(query, str) else "",
        _bound_query=prepared.bound_query.query,
    )


def _report_query_start(site: Site, planned: PlannedQuery, result: QueryResult) -> None:
    site.get_or_create(QueryObserverGroup, site).update_observers().report_start(planned, result)


def _report_query_end(site: Site, planned: PlannedQuery, result: QueryResult, duration_seconds: float) -> None:
    site.get_or_create(QueryObserverGroup, site).report_end(planned, result, duration_seconds)


def _count_refusal_and_check_past_state(
    request: QueryRequest, error: HvenError, past_state: PastPublishedState | None
) -> None:
    """Count a refused query; raise a better error if a table of the query was not kept from a past state."""
    request.site.counters.count_refused_query(error.label)
    if isinstance(request.query, str) and len(request.query) > MAX_CACHED_QUERY_CHARACTERS:
        schedule_memory_trim()
    if past_state is not None and isinstance(error, BindError):
        current_state = request.site.get_published_state()
        current_names = current_state.get_catalogue(request.principal, request.policies).list_table_names()
        _check_tables_in_past_state(request, past_state, current_names, error)


def _plan_sampled_query(
    prepared: PreparedQuery, relations: Mapping[str, Relation], site: Site, row_count: int
) -> tuple[Mapping[str, Relation], float, QueryPlan]:
    """Return the relations with a sample of the only table, the fraction that it is, and the plan over the sample."""
    engine_names = {relation.engine for relation in relations.values() if isinstance(relation, Snapshot)}
    relations, fraction = _sample_relation(relations, site, row_count, prepared.bound_query)
    plan = prepared.plan
    if fraction < 1.0 and engine_names != {site.engines.embedded_engine.name}:
        # The embedded engine computes, so that the sample is not sent back to its database.
        limits = site.settings.limits
        plan = plan_on_engines(prepared.bound_query, site.engines, relations, limits)
    return relations, fraction, plan


def _start_or_queue_execution(
    site: Site,
    plan: QueryPlan,
    literals: Sequence[Any],
    relations: Mapping[str, Relation],
    *,
    limits: ExecutionLimits,
) -> QueryExecution:
    """Execute a plan, at once if its answer is small, otherwise when its turn has come."""
    query_queue = site.get_or_create(_build_query_queue, site)

    def execute_plan() -> QueryExecution:
        if limits.deadline is None or limits.deadline is CURRENT_DEADLINE.get():
            return plan.execute(literals, relations, limits)
        limits.deadline.check()
        with limits.deadline.apply_as_current():
            return plan.execute(literals, relations, limits)

    def find_prerequisite() -> Hashable:
        if isinstance(plan, PlanWithPrerequisite):
            return plan.find_shared_result_key(relations)
        return None

    if not plan.is_quick:
        return QueuedExecution(query_queue, plan.schema, execute_plan, prerequisite=find_prerequisite)
    execution = execute_plan()
    if execution.small:
        return execution
    return QueuedExecution(query_queue, execution.schema, lambda: execution, execution, prerequisite=find_prerequisite)


def _translate_storage_error(error: StorageError, relations: Mapping[str, Relation], site: Site) -> HvenError:
    """Return a better error if rows cannot be read because they were replaced or removed while the query waited.

    In that case nothing is damaged.
    """
    try:
        for name, relation in relations.items():
            if isinstance(relation, Snapshot) and not site.store.is_snapshot_kept(relation):
                return RowsReplacedError(
                    format_message("the rows of {name} were replaced or removed while this query was waiting", name),
                    remedy="run the query again",
                    retry_after_seconds=1,
                )
    except HvenError:
        return error
    return error


def _check_tables_in_past_state(
    request: QueryRequest, past_state: PastPublishedState, current_names: Sequence[str], error: BindError
) -> None:
    """Raise an error for a table that the user may see now, but whose past state is not kept."""
    written_names = set()
    for node in walk_tree(request.parse_query()):
        if isinstance(node, syntax_tree.TableRef):
            written_names.add(".".join(part.name for part in node.parts[-2:]).lower())
    unavailable_names = {*past_state.missing_tables, *past_state.later_tables}
    for name in current_names:
        lower_name = name.lower()
        is_written = lower_name in written_names or lower_name.rpartition(".")[2] in written_names
        if lower_name in unavailable_names and is_written:
            raise build_unavailable_state_error(past_state, name) from error


def explain_query(
    query: str | syntax_tree.Query,
    principal: Principal = ANONYMOUS_PRINCIPAL,
    *,
    site: Site,
    uploads: Mapping[str, tuple[Table, pa.Table]] | None = None,
    policies: Sequence[AccessPolicy] = DEFAULT_POLICIES,
) -> str:
    """Describe how a query would be computed, with the text of the engine.

    Parameters
    ----------
    query
        ADQL text, or a tree.
    principal
        The user.
    site
        The site.
    uploads
        Tables that come with the query, by qualified name.
    policies
        Policies that define what users may see.

    Returns
    -------
    text
        Several lines of text; with numbers of rows only if the user may see all rows.
    """
    request = create_query_request(query, principal, site, policies)
    request.uploads = uploads
    _, prepared, literals = plan_query(request)
    if prepared.hides_rows:
        # The conditions contain texts and times of rows that are hidden from this user.
        plan = plan_without_policies(request)
        return f"rows that you are not allowed to see are left out before anything else\n{plan.explain()}"
    plan_text = prepared.plan.explain()
    relations = prepared.relations or request.list_relations(prepared.bound_query)
    lines = prepared.plan.describe_row_estimates(literals, relations)
    row_count = derive_answer_row_count(prepared.bound_query.query, literals, relations, None)
    if row_count is not None:
        lines = [*lines, f"the answer has {row_count:,} row{'s' * (row_count != 1)}, MAXREC aside"]
    return "\n".join([plan_text, *(f"estimate: {line}" for line in lines)])


def _sample_relation(
    relations: Mapping[str, Relation], site: Site, row_count: int, bound_query: BoundQuery
) -> tuple[Mapping[str, Relation], float]:
    """Return a sample in place of the only table, and the fraction of its rows that it has."""
    if len(relations) != 1:
        return relations, 1.0
    ((name, relation),) = relations.items()
    if not isinstance(relation, Snapshot) or relation.rows <= row_count:
        return relations, 1.0
    engine = site.engines.find_engine(relation)
    column_names = set().union(*bound_query.survey.read_columns.values())
    sampled_rows = engine.sample_rows(relation, row_count, column_names)
    if sampled_rows is None:
        return relations, 1.0
    return {name: sampled_rows}, sampled_rows.rows.num_rows / relation.rows


def _build_query_queue(site: Site) -> QueryQueue:
    limits = site.settings.limits
    concurrent_queries = limits.concurrent
    if concurrent_queries is None:  # and a slot for another user, so that a user who is alone loses none
        concurrent_queries = max(os.cpu_count() or 1, MIN_CONCURRENT_QUERIES) + 1
    places = max(concurrent_queries, MIN_QUEUE_PLACES)
    memory_watchdog = MemoryWatchdog(limits.memory, site.engines.embedded_engine.list_helper_processes)
    return QueryQueue(concurrent_queries, place_count=places, memory_watchdog=memory_watchdog, reserves_slot=True)

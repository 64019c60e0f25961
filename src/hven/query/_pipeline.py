"""The query pipeline: every service parses, binds, authorises, plans and executes its queries here, in this order."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from functools import partial
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
from hven.query._data_origin import build_data_origin_infos
from hven.query._plan_cache import PlanCache, PreparedQuery
from hven.query._query_result import QueryResult
from hven.query._row_counts import derive_answer_row_count
from hven.query._service_descriptors import write_service_descriptors
from hven.query.memory_watchdog import MemoryWatchdog, schedule_memory_trim
from hven.query.query_queue import QueryQueue, QueuedExecution
from hven.site import TAP_SCHEMA, anonymize_for_referee
from hven.site.auth import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES, AccessScope, apply_access_control
from hven.site.history import build_unavailable_state_error

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    import pyarrow as pa

    from hven.engines import QueryExecution, QueryPlan, Relation
    from hven.model.table import Table
    from hven.site import PublishedState, Site
    from hven.site.auth import AccessPolicy, Principal
    from hven.site.history import PastPublishedState

MIN_CONCURRENT_QUERIES = 3  # even with few processors, so that a long query does not keep all others waiting
MIN_QUEUE_PLACES = 32  # for waiting queries; the expected waiting time decides
MAX_ORDER_INDEPENDENT_ROWS = 20_000_000  # more values do not fit into memory to be added in order
MAX_CACHED_QUERY_CHARACTERS = 20_000  # a longer text is rarely asked twice, and would fill the cache of plans


# a frozen dataclass takes three times as long to make, and each query makes one
@dataclass(slots=True, kw_only=True)
class _QueryRequest:
    """A query with all that its plan depends on.

    Attributes
    ----------
    access_key
        Key of the rows that the user may see; see `PublishedState.find_access_key`.
    literal_values, plan_key
        For trees: the literals, and the key under which the plan is cached; see `run_query`.
    """

    query: str | syntax_tree.Query
    principal: Principal
    site: Site
    published_state: PublishedState
    access_key: str
    uploads: Mapping[str, tuple[Table, pa.Table]] | None
    policies: Sequence[AccessPolicy]
    literal_values: Sequence[Any] | None = None
    plan_key: Hashable = None
    order_independent: bool = False

    def parse_query(self) -> syntax_tree.Query:
        """Parse the query, unless it is a tree."""
        if isinstance(self.query, str):
            return adql.parse_query(self.query)
        return self.query

    def list_relations(self, bound_query: syntax_tree.BoundQuery) -> Mapping[str, Relation]:
        """Return the relation of each table of a bound query, by qualified name."""
        uploaded_relations = {name: MemoryRelation(rows) for name, (_, rows) in (self.uploads or {}).items()}
        relations: dict[str, Relation] = {}
        for table in bound_query.tables:
            name = table.qualified_name
            relations[name] = uploaded_relations.get(name) or self.published_state.find_relation(table, self.access_key)
        return relations


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
    elif published_state is None:
        published_state = site.get_published_state()
    published_state = anonymize_for_referee(published_state, principal)
    if isinstance(query, str) and len(query) > limits.text:
        raise TooLargeError(
            format_message("the query has {count:,} characters; the limit is {most:,}", len(query), limits.text),
            remedy="upload a long list as a table and join it",
        )
    request = _QueryRequest(
        query=query,
        principal=principal,
        site=site,
        published_state=published_state,
        access_key=published_state.find_access_key(principal, policies),
        uploads=uploads,
        policies=policies,
        literal_values=literal_values,
        plan_key=plan_key,
        order_independent=is_order_independent,
    )
    try:
        with apply_deadline(timeout_seconds, limits.seconds) as deadline:
            prepared, literals = _get_or_plan_query(request)
    except HvenError as error:
        _count_refused_query(request, error, past)
        raise
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
    has_live_table = any(isinstance(relation, LiveRelation) for relation in relations.values())
    version = published_state.version
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
        site_url=site.settings.site_url,
        sampled_fraction=sampled_fraction,
        deadline=deadline,
        _start_execution=start_execution,
        _counters=site.counters,
        _count_rows=count_rows,
        _explain_storage_error=lambda error: _translate_storage_error(error, relations, site),
        _query_text=query if isinstance(query, str) else "",
        _bound_query=prepared.bound_query.query,
    )


def _count_refused_query(request: _QueryRequest, error: HvenError, past_state: PastPublishedState | None) -> None:
    """Count a refused query; raise a better error if a table of the query was not kept from a past state."""
    request.site.counters.count_refused_query(error.label)
    if isinstance(request.query, str) and len(request.query) > MAX_CACHED_QUERY_CHARACTERS:
        schedule_memory_trim()
    if past_state is not None and isinstance(error, BindError):
        current_state = request.site.get_published_state()
        current_names = current_state.get_catalogue(request.principal, request.policies).list_names()
        _check_past_state_kept(request, past_state, current_names, error)


def _plan_sampled_query(
    prepared: PreparedQuery, relations: Mapping[str, Relation], site: Site, row_count: int
) -> tuple[Mapping[str, Relation], float, QueryPlan]:
    """Return the relations with a sample of the only table, the fraction that it is, and the plan over the sample."""
    engine_names = {relation.engine for relation in relations.values() if isinstance(relation, Snapshot)}
    relations, fraction = _sample_relation(relations, site, row_count, prepared.bound_query.query)
    plan = prepared.plan
    if fraction < 1.0 and engine_names != {site.engines.embedded_engine.name}:
        # The embedded engine computes, so that the sample is not sent back to its database.
        limits = site.settings.limits
        plan = federated_plan.plan_bound_query(prepared.bound_query, site.engines, relations, limits)
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
        if limits.deadline is None:
            return plan.execute(literals, relations, limits)
        limits.deadline.check()
        with limits.deadline.apply_as_current():
            return plan.execute(literals, relations, limits)

    def find_prerequisite() -> Hashable:
        if isinstance(plan, PlanWithPrerequisite):
            return plan.find_prerequisite_key(relations)
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
                    format_message("the rows of {name} were replaced or removed while this query waited", name),
                    remedy="run the query again",
                    retry_after_seconds=1,
                )
    except HvenError:
        return error
    return error


def _check_past_state_kept(
    request: _QueryRequest, past_state: PastPublishedState, current_names: Sequence[str], error: BindError
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
    published_state = site.get_published_state()
    request = _QueryRequest(
        query=query,
        principal=principal,
        site=site,
        published_state=published_state,
        access_key=published_state.find_access_key(principal, policies),
        uploads=uploads,
        policies=policies,
    )
    prepared, literals = _get_or_plan_query(request)
    if prepared.hides_rows:
        return _explain_without_policies(request)
    plan_text = prepared.plan.explain()
    relations = prepared.relations or request.list_relations(prepared.bound_query)
    lines = prepared.plan.describe_row_estimates(literals, relations)
    row_count = derive_answer_row_count(prepared.bound_query.query, literals, relations, None)
    if row_count is not None:
        lines = [*lines, f"the answer has {row_count:,} row{'s' * (row_count != 1)}, MAXREC aside"]
    return "\n".join([plan_text, *(f"estimate: {line}" for line in lines)])


def _explain_without_policies(request: _QueryRequest) -> str:
    """Describe a query without the conditions of policies, and without numbers of rows.

    The conditions contain texts and times of rows that are hidden from this user.
    """
    catalogue = request.published_state.get_catalogue(request.principal, request.policies)
    catalogue = catalogue.with_tables([table for table, _ in (request.uploads or {}).values()])
    bound = adql.bind_query(request.parse_query(), catalogue, resolve_position=_build_position_resolver(request))
    relations = request.list_relations(bound)
    plan = federated_plan.plan_bound_query(bound, request.site.engines, relations, request.site.settings.limits)
    return f"rows that you may not see are left out before all else\n{plan.explain()}"


def _get_or_plan_query(request: _QueryRequest) -> tuple[PreparedQuery, Sequence[Any]]:
    """Return the plan of a query, from the cache or made now, and the literals to run it with."""
    query = request.query
    plan_cache = request.site.get_or_create(PlanCache)
    shape_key: Hashable = None
    literals: Sequence[Any] = ()
    token_count = 0
    resolve_position = _build_position_resolver(request)
    can_be_cached = not request.uploads and not request.order_independent
    if can_be_cached and isinstance(query, str):
        if len(query) <= MAX_CACHED_QUERY_CHARACTERS:
            pieces, literals = lexer.extract_literals(query)
            shape_key = (request.published_state.version, request.access_key, pieces)
            token_count = len(pieces)
            if resolve_position is not None:
                shape_key = _build_key_with_positions(shape_key, pieces, literals, resolve_position)
    elif can_be_cached and request.plan_key is not None:
        literals = request.literal_values or ()
        shape_key = (request.published_state.version, request.access_key, request.plan_key)
    if shape_key is None:
        prepared, bound_literals = _plan_query(request, resolve_position)
        if not isinstance(query, str) and request.literal_values is not None:
            return prepared, request.literal_values
        return prepared, bound_literals
    # One thread plans, and the others take its plan.
    with plan_cache.lock_query_shape(shape_key if resolve_position is None else None):
        cached_plan = plan_cache.find(shape_key, literals)
        if cached_plan is not None and cached_plan.bound_query.can_reuse_plan_with(literals):
            return cached_plan, literals
        prepared, _ = _plan_query(request, resolve_position)
        # Meanwhile the time may have come at which a policy shows other rows.
        access_key = request.published_state.find_access_key(request.principal, request.policies)
        if access_key == request.access_key:
            plan_cache.store(shape_key, literals, prepared, token_count=token_count)
        return prepared, literals


def _plan_query(
    request: _QueryRequest, resolve_position: Callable[[str], tuple[float, float]] | None
) -> tuple[PreparedQuery, Sequence[Any]]:
    """Parse, bind, authorise and plan a query; return the plan, and the literals of the query."""
    site = request.site
    parsed = request.parse_query()
    catalogue = request.published_state.get_catalogue(request.principal, request.policies)
    if request.uploads:
        catalogue = catalogue.with_tables([table for table, _ in request.uploads.values()])
    bound = adql.bind_query(
        parsed, catalogue, resolve_position=resolve_position, order_independent=request.order_independent
    )
    if request.order_independent and _count_snapshot_rows(request.list_relations(bound)) > MAX_ORDER_INDEPENDENT_ROWS:
        bound = adql.bind_query(parsed, catalogue, resolve_position=resolve_position)
    permitted, scope = apply_access_control(bound, request.principal, request.policies)
    has_user_tables = any(table.owner is not None for table in permitted.tables)
    reads_own_tables = has_user_tables or any(table.schema == TAP_SCHEMA for table in bound.tables)
    if request.access_key != "public" and reads_own_tables:
        # The rows of TAP_SCHEMA are those that this user may know of, and a user's own table has the same name as that
        # of another user.
        scope = AccessScope(request.access_key if scope.is_public else f"{scope.key}-{request.access_key}")
    relations = request.list_relations(permitted)
    plan = federated_plan.plan_bound_query(permitted, site.engines, relations, site.settings.limits)
    are_snapshots = all(isinstance(relation, Snapshot) for relation in relations.values())
    prepared = PreparedQuery(
        bound_query=permitted,
        plan=plan,
        scope=scope,
        relations=relations if are_snapshots and not has_user_tables else None,
        hides_rows=permitted is not bound,
        origins=build_data_origin_infos(permitted.tables, request.published_state, site),
        descriptors=write_service_descriptors(permitted),
    )
    return prepared, bound.literal_values


def _count_snapshot_rows(relations: Mapping[str, Relation]) -> int:
    return sum(relation.rows for relation in relations.values() if isinstance(relation, Snapshot))


def has_cached_plan(
    query: str, principal: Principal, *, site: Site, policies: Sequence[AccessPolicy] = DEFAULT_POLICIES
) -> bool:
    """Return whether the plan of a query of the same form is cached; `run_query` then takes well below a millisecond.

    Parameters
    ----------
    query
        ADQL text.
    principal
        The user.
    site
        The site.
    policies
        Policies that define what users may see.
    """
    published_state = site.get_published_state()
    try:
        pieces, literals = lexer.extract_literals(query)
    except ParseError:
        return False
    access_key = published_state.find_access_key(principal, policies)
    shape_key = (published_state.version, access_key, pieces)
    return site.get_or_create(PlanCache).find(shape_key, literals) is not None


def has_object_name_call(query: str) -> bool:
    """Return whether a query may ask for the position of a named object.

    The position is looked up before the query runs, maybe by a remote service, so not on an event loop.

    Parameters
    ----------
    query
        ADQL text.
    """
    return "_simbadpoint" in query.lower()


def _build_position_resolver(request: _QueryRequest) -> Callable[[str], tuple[float, float]] | None:
    """Return the function that finds objects by name; None if the query names none, or if none are looked up."""
    site = request.site
    policies = request.policies
    if not isinstance(request.query, str) or not has_object_name_call(request.query):
        return None
    if not resolver.can_resolve_names(site.settings):
        return None

    def resolve_position(name: str) -> tuple[float, float]:
        return resolver.resolve_object_position(name, site=site, policies=policies)

    return resolve_position


def _build_key_with_positions(
    shape_key: Hashable,
    pieces: Sequence[str],
    literals: Sequence[Any],
    resolve_position: Callable[[str], tuple[float, float]],
) -> Hashable:
    """Add the positions of the names in a query to its key, because they are constants of its plan.

    None if a name cannot be resolved: the binder raises the error.
    """
    positions = []
    slot = 0
    for index, piece in enumerate(pieces):
        if not piece.startswith("'"):
            continue
        is_argument = piece == "'s" and index >= 2 and pieces[index - 1] == "("
        if is_argument and pieces[index - 2].upper() in NAME_RESOLVING_FUNCTIONS:
            try:
                positions.append(resolve_position(str(literals[slot])))
            except HvenError:
                return None
        slot += 1
    return shape_key, tuple(positions)


def _collect_column_names(query: syntax_tree.Query) -> set[str]:
    """Return the names of the columns that a query reads, with those of policies."""
    table_refs = [node for node in walk_tree(query) if isinstance(node, syntax_tree.TableRef)]
    policy_conditions = [table_ref.where for table_ref in table_refs if table_ref.where is not None]
    column_names = set()
    for node in walk_tree((query, *policy_conditions)):
        if isinstance(node, syntax_tree.ColumnRef) and node.column is not None:
            column_names.add(node.column.name)
    return column_names


def _sample_relation(
    relations: Mapping[str, Relation], site: Site, row_count: int, query: syntax_tree.Query
) -> tuple[Mapping[str, Relation], float]:
    """Return a sample in place of the only table, and the fraction of its rows that it has."""
    if len(relations) != 1:
        return relations, 1.0
    ((name, relation),) = relations.items()
    if not isinstance(relation, Snapshot) or relation.rows <= row_count:
        return relations, 1.0
    engine = site.engines.find_engine(relation)
    sampled_rows = engine.sample_rows(relation, row_count, _collect_column_names(query))
    if sampled_rows is None:
        return relations, 1.0
    return {name: sampled_rows}, sampled_rows.rows.num_rows / relation.rows


def _build_query_queue(site: Site) -> QueryQueue:
    limits = site.settings.limits
    concurrent_queries = limits.concurrent or max(os.cpu_count() or 1, MIN_CONCURRENT_QUERIES)
    places = max(concurrent_queries, MIN_QUEUE_PLACES)
    memory_watchdog = MemoryWatchdog(limits.memory, site.engines.embedded_engine.list_helper_processes)
    return QueryQueue(concurrent_queries, place_count=places, memory_watchdog=memory_watchdog)

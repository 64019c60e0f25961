"""Plan queries: parse, bind, authorise and plan in this order, or find the plan of a query of the same shape.

A query that differs from an earlier one only in literals is not parsed, bound and planned again. The key of a plan is
the sequence of tokens without literals, the version of the published state, and the user's access. Some literals decide
what a query means (a unit in IN_UNIT, a coordinate system). Their values are part of the key, too.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from hven import adql
from hven.adql import lexer, syntax_tree
from hven.adql.functions import NAME_RESOLVING_FUNCTIONS
from hven.engines import LiveRelation, MemoryRelation, Snapshot
from hven.model import LruCache, plugins
from hven.model.errors import HvenError, ParseError, UserError, format_message
from hven.model.literal import is_portable_time_text
from hven.query import resolver
from hven.query._data_origin import build_data_origin_infos
from hven.query._service_descriptors import write_service_descriptors
from hven.site import TAP_SCHEMA, anonymize_for_referee
from hven.site.auth import DEFAULT_POLICIES, AccessScope, apply_access_control

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

    import pyarrow as pa

    from hven.adql.syntax_tree import BoundQuery
    from hven.engines import QueryPlan, Relation
    from hven.formats import InfoElement
    from hven.model.settings import QueryLimits
    from hven.model.table import Table
    from hven.site import EngineRegistry, PublishedState, Site
    from hven.site.auth import AccessPolicy, Principal

CACHE_BUDGET_BYTES = 32 * 1024**2  # approximate size of the plans of a process
MAX_PLAN_BYTES = CACHE_BUDGET_BYTES // 64  # a larger plan would displace dozens of others and is not cached
PLAN_OVERHEAD_BYTES, PLAN_BYTES_PER_TOKEN = 12_000, 180  # measured sizes of a plan, and of each token of its text
MAX_ORDER_INDEPENDENT_ROWS = 20_000_000  # more values do not fit into memory to be added in order
MAX_CACHED_QUERY_CHARACTERS = 20_000  # a longer text is rarely asked twice, and would fill the cache of plans


# a frozen dataclass takes three times as long to make, and each query makes one
@dataclass(slots=True, kw_only=True)
class QueryRequest:
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
    policies: Sequence[AccessPolicy]
    uploads: Mapping[str, tuple[Table, pa.Table]] | None = None
    literal_values: Sequence[Any] | None = None
    plan_key: Hashable = None
    order_independent: bool = False

    def parse_query(self) -> syntax_tree.Query:
        """Parse the query, unless it is a tree."""
        if isinstance(self.query, str):
            return adql.parse_query(self.query)
        return self.query

    def list_relations(self, bound_query: BoundQuery) -> Mapping[str, Relation]:
        """Return the relation of each table of a bound query, by qualified name."""
        relations: dict[str, Relation] = {}
        for table in bound_query.tables:
            name = table.qualified_name
            if self.uploads and name in self.uploads:
                relations[name] = MemoryRelation(self.uploads[name][1])
            else:
                relations[name] = self.published_state.find_relation(table, self.access_key)
        return relations


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedQuery:
    """A query that is bound, authorised and planned, without the values of its free literals.

    Attributes
    ----------
    relations
        Qualified table name -> relation, if all tables are published snapshots; otherwise None.
    """

    bound_query: BoundQuery
    plan: QueryPlan
    scope: AccessScope
    relations: Mapping[str, Relation] | None = None
    hides_rows: bool = False
    origins: tuple[InfoElement, ...] = ()
    descriptors: tuple[str, ...] = ()


class PlannedQuery(NamedTuple):
    """A query with its plan.

    Attributes
    ----------
    request
        The query, with its user and the published state.
    prepared
        The bound query and its plan.
    literal_values
        Values of its literals to run the plan with.
    """

    request: QueryRequest
    prepared: PreparedQuery
    literal_values: Sequence[Any]


def create_query_request(
    query: str | syntax_tree.Query,
    principal: Principal,
    site: Site,
    policies: Sequence[AccessPolicy],
    published_state: PublishedState | None = None,
) -> QueryRequest:
    """Create the request of a user for a query over a state; None: the current state."""
    state = published_state or site.get_published_state()
    if principal.groups:
        state = anonymize_for_referee(state, principal)
    return QueryRequest(
        query=query,
        principal=principal,
        site=site,
        published_state=state,
        access_key=state.find_access_key(principal, policies),
        policies=policies,
    )


# --- the steps of planning -------------------------------------------------------------------------------------------


def find_cached_query_plan(
    query: str, principal: Principal, *, site: Site, policies: Sequence[AccessPolicy] = DEFAULT_POLICIES
) -> PlannedQuery | None:
    """Find the plan of a query of the same shape; `run_query` takes well below a millisecond with it.

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

    Returns
    -------
    planned
        None: the query must be planned, or its literals must be checked.
    """
    try:
        pieces, literals = lexer.separate_literals_from_query(query)
    except ParseError:
        return None
    request = create_query_request(query, principal, site, policies)
    shape_key = (request.published_state.version, request.access_key, pieces)
    prepared = site.get_or_create(PlanCache).find(shape_key, literals)
    if prepared is None or not _can_reuse_plan(prepared.bound_query, literals):
        return None
    return PlannedQuery(request, prepared, literals)


def _can_reuse_plan(bound_query: BoundQuery, literals: Sequence[Any]) -> bool:
    """Return whether the plan of a query can be reused with these literals.

    If it cannot, the binder must see the query again: it reports what is wrong with a literal.
    """
    for slot, minimum, maximum in bound_query.slot_bounds:
        number = literals[slot]
        if isinstance(number, int | float) and not minimum <= number <= maximum:
            return False
    for slot in bound_query.time_slots:
        time_text = literals[slot]
        if isinstance(time_text, str) and not is_portable_time_text(time_text):
            return False
    return True


def plan_query(request: QueryRequest) -> PlannedQuery:
    """Return the plan of a query, from the cache or made now, and the literals to run it with."""
    query = request.query
    resolve_position = _build_position_resolver(request)
    shape_key: Hashable = None
    literals: Sequence[Any] = ()
    token_count = 0
    can_be_cached = not request.uploads and not request.order_independent
    if can_be_cached and isinstance(query, str):
        if len(query) <= MAX_CACHED_QUERY_CHARACTERS:
            pieces, literals = lexer.separate_literals_from_query(query)
            shape_key = (request.published_state.version, request.access_key, pieces)
            token_count = len(pieces)
            if resolve_position is not None:
                shape_key = _build_key_with_positions(shape_key, pieces, literals, resolve_position)
    elif can_be_cached and request.plan_key is not None:
        literals = request.literal_values or ()
        shape_key = (request.published_state.version, request.access_key, request.plan_key)
    if shape_key is None:
        prepared, bound_literals = _plan_new_query(request, resolve_position)
        if not isinstance(query, str) and request.literal_values is not None:
            return PlannedQuery(request, prepared, request.literal_values)
        return PlannedQuery(request, prepared, bound_literals)
    plan_cache = request.site.get_or_create(PlanCache)
    # One thread plans, and the others take its plan.
    with plan_cache.lock_query_shape(shape_key if resolve_position is None else None):
        cached_plan = plan_cache.find(shape_key, literals)
        if cached_plan is not None and _can_reuse_plan(cached_plan.bound_query, literals):
            return PlannedQuery(request, cached_plan, literals)
        prepared, _ = _plan_new_query(request, resolve_position)
        # Meanwhile the time may have come at which a policy shows other rows.
        access_key = request.published_state.find_access_key(request.principal, request.policies)
        if access_key == request.access_key:
            plan_cache.store(shape_key, literals, prepared, token_count=token_count)
        return PlannedQuery(request, prepared, literals)


def _plan_new_query(
    request: QueryRequest, resolve_position: Callable[[str], tuple[float, float]] | None
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
    has_user_tables = reads_own_tables = False
    for table in permitted.tables:
        has_user_tables = has_user_tables or table.owner is not None
        reads_own_tables = reads_own_tables or table.owner is not None or table.schema == TAP_SCHEMA
    if request.access_key != "public" and reads_own_tables:
        # The rows of TAP_SCHEMA are those that this user may know of, and a user's own table has the same name as that
        # of another user.
        scope = AccessScope(request.access_key if scope.is_public else f"{scope.key}-{request.access_key}")
    relations = request.list_relations(permitted)
    plan = plan_on_engines(permitted, site.engines, relations, site.settings.limits)
    are_snapshots = {MemoryRelation, LiveRelation}.isdisjoint(map(type, relations.values()))
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


def plan_on_engines(
    bound_query: BoundQuery, engines: EngineRegistry, relations: Mapping[str, Relation], limits: QueryLimits
) -> QueryPlan:
    """Plan a bound query on the engine that has its tables, or over several engines.

    Parameters
    ----------
    bound_query
        The bound query.
    engines
        Engines of the site.
    relations
        Qualified table name -> relation.
    limits
        Limits on copies.

    Raises
    ------
    BindError, StorageError
        An engine refuses the query, or cannot be opened.
    UserError
        The tables are in several engines, and no plug-in package plans such queries.
    """
    homes: dict[str, str] = {}
    for name, relation in relations.items():
        if not isinstance(relation, MemoryRelation):
            homes[name] = relation.engine
    engine_names = set(homes.values())
    if not engine_names:
        return engines.embedded_engine.plan_query(bound_query)
    if len(engine_names) == 1:
        return engines.get_engine_for_users(engine_names.pop()).plan_query(bound_query)
    for _, plan_federated_query in plugins.iterate_package_objects("federated_planner"):
        plan: QueryPlan = plan_federated_query(bound_query, engines, homes, relations, limits)
        return plan
    raise _build_missing_planner_error(engine_names)


def _build_missing_planner_error(engine_names: set[str]) -> UserError:
    message = format_message(
        "the query joins tables of several engines ({engines}), but no plug-in package in use can plan such queries",
        ", ".join(sorted(engine_names)),
    )
    package_name = next(
        (package.name for package in plugins.list_disabled_packages() if package.federated_planner), None
    )
    if package_name is None:
        remedy = "query each engine separately, or move the collections to one engine (`hven move`)"
    else:
        remedy = format_message(
            "query each engine separately, add {name!r} to `plugins`, or move the collections to one engine "
            "(`hven move`)",
            package_name,
        )
    return UserError(message, remedy=remedy)


def plan_without_policies(request: QueryRequest) -> QueryPlan:
    """Plan a query without the conditions of policies, to describe it to a user who must not know of them."""
    catalogue = request.published_state.get_catalogue(request.principal, request.policies)
    catalogue = catalogue.with_tables([table for table, _ in (request.uploads or {}).values()])
    bound = adql.bind_query(request.parse_query(), catalogue, resolve_position=_build_position_resolver(request))
    relations = request.list_relations(bound)
    return plan_on_engines(bound, request.site.engines, relations, request.site.settings.limits)


# --- names of objects ------------------------------------------------------------------------------------------------


def has_object_name_call(query: str) -> bool:
    """Return whether a query may ask for the position of a named object.

    The position is looked up before the query runs, maybe by a remote service, so not on an event loop.

    Parameters
    ----------
    query
        ADQL text.
    """
    return "_simbadpoint" in query.lower()


def _build_position_resolver(request: QueryRequest) -> Callable[[str], tuple[float, float]] | None:
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


# --- the cache of plans ----------------------------------------------------------------------------------------------


def estimate_plan_bytes(token_count: int) -> int:
    """Estimate the size of a plan from the number of tokens."""
    return PLAN_OVERHEAD_BYTES + PLAN_BYTES_PER_TOKEN * token_count


class PlanCache:
    """A cache from shape to plan with a limited size. Thread-safe; it drops the least recently used plans.

    Parameters
    ----------
    budget
        Maximum size in bytes, estimated from the numbers of tokens.
    """

    def __init__(self, budget: int = CACHE_BUDGET_BYTES) -> None:
        # shape -> slots of the literals that the plan depends on
        self._fixed_slots: LruCache[tuple[int, ...]] = LruCache(budget // PLAN_OVERHEAD_BYTES)
        # shape and values of these literals -> plan
        self._plans: LruCache[PreparedQuery] = LruCache(budget, MAX_PLAN_BYTES)
        # shape -> lock, and number of threads that plan or wait
        self._planning_locks: dict[Hashable, tuple[threading.Lock, int]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def lock_query_shape(self, shape_key: Hashable) -> Iterator[None]:
        """Let one thread plan a shape at a time: after a change of access many users send the same query at once.

        Parameters
        ----------
        shape_key
            Key of the shape; None: no thread waits.
        """
        # A known shape is planned only for literals with other fixed values, which many threads rarely do at once.
        if shape_key is None or self._fixed_slots.find(shape_key) is not None:
            yield
            return
        with self._lock:
            lock, thread_count = self._planning_locks.get(shape_key, (threading.Lock(), 0))
            self._planning_locks[shape_key] = lock, thread_count + 1
        try:
            with lock:
                yield
        finally:
            with self._lock:
                lock, thread_count = self._planning_locks.pop(shape_key)
                if thread_count > 1:
                    self._planning_locks[shape_key] = lock, thread_count - 1

    def find(self, shape_key: Hashable, literal_values: Sequence[Any]) -> PreparedQuery | None:
        """Find the plan of this shape for the values of its fixed literals."""
        fixed = self._fixed_slots.find(shape_key)
        if fixed is None:
            return None
        return self._plans.find((shape_key, tuple(map(literal_values.__getitem__, fixed))))

    def store(
        self, shape_key: Hashable, literal_values: Sequence[Any], prepared: PreparedQuery, *, token_count: int = 0
    ) -> None:
        """Store a plan.

        Parameters
        ----------
        shape_key
            Key of the shape.
        literal_values
            Values of all literals, by slot.
        prepared
            The plan.
        token_count
            Number of tokens of the text.
        """
        fixed = tuple(sorted(set(range(len(literal_values))) - prepared.bound_query.free_slots))
        # In rare cases the value of a fixed literal decides which others are fixed: such a query is planned each time.
        if self._fixed_slots.find(shape_key) not in {None, fixed}:
            return
        self._fixed_slots.store(shape_key, fixed)
        fixed_values = tuple(map(literal_values.__getitem__, fixed))
        self._plans.store((shape_key, fixed_values), prepared, estimate_plan_bytes(token_count))

    def __len__(self) -> int:
        return len(self._plans)

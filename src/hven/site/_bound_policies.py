"""The policies of published tables, bound to the rows of their snapshots."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hven import adql
from hven.adql import (
    MAX_PERSON_TEXTS,
    MAX_UPCOMING_INSTANTS,
    UNIX_EPOCH,
    PolicyRowFacts,
    RowPolicy,
    build_instant_literal,
)
from hven.adql.adql_writer import write_adql_literal
from hven.adql.functions import QUERY_FUNCTIONS
from hven.adql.scope import StaticTableCatalogue
from hven.adql.syntax_tree import (
    CaseExpression,
    ColumnRef,
    Comparison,
    Expr,
    Ident,
    InPredicate,
    Literal,
    Query,
    Select,
    TableRef,
    ValueMetadata,
    build_column_ref,
    join_conditions_with_and,
    transform_tree,
    walk_tree,
)
from hven.adql.value_kinds import require_meta
from hven.engines import ExecutionLimits, Snapshot
from hven.model.errors import HvenError, ServiceError, UserError
from hven.model.table import FileEmbargo, RowAccessPolicy
from hven.model.types import BOOLEAN, INT32
from hven.site.auth._access_control import (
    ANONYMOUS_PRINCIPAL,
    EVERY_ROW_CONDITION,
    Principal,
    can_see_whole_collection,
    is_table_visible,
    remove_literal_slots,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping, Sequence

    from hven.engines import Relation, StorageEngine
    from hven.model.table import Column, Table
    from hven.site._published_state import PublishedTable

EVERYBODY_PRINCIPAL = Principal(name="everybody")
# identifiers in the queries below, which an expression and the present time replace
EXPRESSION_PLACEHOLDER, NOW_PLACEHOLDER = "hven expression", "hven now"
LAST_INSTANT_QUERY = (
    f'SELECT MAX("{EXPRESSION_PLACEHOLDER}") AS x FROM {{}} WHERE "{EXPRESSION_PLACEHOLDER}" <= "{NOW_PLACEHOLDER}"'
)
NEXT_INSTANTS_QUERY = (
    f'SELECT DISTINCT TOP {MAX_UPCOMING_INSTANTS} "{EXPRESSION_PLACEHOLDER}" AS x FROM {{}} WHERE '
    f'"{EXPRESSION_PLACEHOLDER}" > "{NOW_PLACEHOLDER}" ORDER BY x'
)
NAMES_QUERY = (
    f'SELECT DISTINCT TOP {MAX_PERSON_TEXTS + 1} "{EXPRESSION_PLACEHOLDER}" AS x FROM {{}} WHERE '
    f'"{EXPRESSION_PLACEHOLDER}" IS NOT NULL'
)
VALUES_QUERY = f'SELECT DISTINCT "{EXPRESSION_PLACEHOLDER}" AS x FROM {{}}'
MAX_VALUES_PER_QUERY = 1000
RESTRICTED_ROWS_QUERY = f'SELECT MAX("{EXPRESSION_PLACEHOLDER}") AS x, COUNT(*) AS n FROM {{}}'
# paths below a collection's address at which its files and their derived products are served
FILE_ADDRESS_PATHS = ("files", "preview", "cube", "headers", "as")
# ObsCore 1.1 section B.4.4: files that everybody, the user, or only others may take
PUBLIC_RIGHTS, SECURE_RIGHTS, PROPRIETARY_RIGHTS = "public", "secure", "proprietary"
DATA_RIGHTS_COLUMN, AVAILABILITY_ENUM = "data_rights", "availability"
AVAILABILITY_WORDS = {PUBLIC_RIGHTS: "public", SECURE_RIGHTS: "mine", PROPRIETARY_RIGHTS: "restricted"}
RELEASE_DATE_COLUMNS = {"obs_release_date", "release_date"}  # of ObsCore and EPN-TAP
INTEGER_ONE, INTEGER_ZERO = (Literal(number, meta=ValueMetadata(INT32)) for number in (1, 0))


class RowAccessRights:
    """The policy of a table, bound to the rows of a snapshot.

    Parameters
    ----------
    table
        The table with its policy.
    facts
        Facts about its rows.
    query_rows
        Runs a query on the engine under no policy; syntax trees replace the placeholders of the query.

    Raises
    ------
    ParseError, BindError
        The policy does not fit the table.
    """

    def __init__(
        self, table: Table, facts: PolicyRowFacts, query_rows: Callable[..., Iterator[tuple[Any, ...]]]
    ) -> None:
        table_policy = table.policy
        assert table_policy is not None  # noqa: S101  (or there is nothing to bind)
        texts = (table_policy.rows, table_policy.files, table_policy.take)
        bound_policies = [None if text is None else RowPolicy(text, table.columns, facts) for text in texts]
        self._row_policy, self._file_policy, self._take_policy = bound_policies
        self._row_policies = [policy for policy in bound_policies if policy is not None]
        self._file_columns = [column for column in table.columns if column.name in table.file_column_names]
        self._data_rights_column: Column | None = None
        for column in table.columns:
            if column.name == DATA_RIGHTS_COLUMN and column.type.is_string and self._data_rights_column is None:
                self._data_rights_column = column
        self._opening_expression: Expr | None = None
        self._release_dates: dict[str, Expr] = {}
        if self._row_policies:
            self._opening_expression = self._row_policies[-1].release_time  # the last of them is the strictest
        if self._opening_expression is not None:
            self._release_dates = _build_release_date_masks(table, self._opening_expression)
        self._table = table
        self._policy = table_policy
        self._query_rows = query_rows

    def bind_to_table(self, table: Table) -> Table:
        """Return the table with this policy bound.

        Columns that the policy hides may be null, and pages show in words which files a user may take.
        """
        columns = _with_nullable_columns(table.columns, table.file_column_names)
        rights_column = self._data_rights_column
        if rights_column is None:
            return table.copy_with(rights=self, columns=tuple(columns))
        for column_number, table_column in enumerate(columns):
            if table_column == rights_column and table_column.enum is None:
                label = table_column.label or "Availability"
                columns[column_number] = table_column.copy_with(enum=AVAILABILITY_ENUM, label=label)
        enums = {**table.enums, AVAILABILITY_ENUM: AVAILABILITY_WORDS}
        return table.copy_with(rights=self, columns=tuple(columns), enums=enums)

    def find_row_condition(self, principal: Principal) -> tuple[Expr | None, int, float]:
        """Return the condition of the rows that a user sees.

        See `hven.adql.RowPolicy.build_row_condition_and_validity`.
        """
        if self._row_policy is None:
            return (None, 0, math.inf)
        return self._row_policy.build_row_condition_and_validity(principal)

    def find_validity_period(self, principal: Principal) -> tuple[int, float]:
        """Return from when until when a user's rights do not change, nor what the user is told of others' rights."""
        principals = {principal}
        if self._data_rights_column is not None:
            principals.add(ANONYMOUS_PRINCIPAL)
        valid_from, valid_until = 0, math.inf
        for policy in self._row_policies:
            for policy_subject in principals:
                _, condition_from, condition_until = policy.build_row_condition_and_validity(policy_subject)
                valid_from = max(valid_from, condition_from)
                valid_until = min(valid_until, condition_until)
        return valid_from, valid_until

    def build_column_masks(self, principal: Principal) -> Mapping[str, Expr]:
        """Return the expressions that a user sees instead of columns."""
        file_condition: Expr | None = None
        if self._file_policy is not None:
            file_condition = self._file_policy.build_row_condition_and_validity(principal)[0]
        masks_by_column = dict(self._release_dates)
        if file_condition is not None:
            for column in self._file_columns:
                visible_case = (file_condition, _build_column_ref(column))
                masks_by_column[column.name] = _build_case(column, visible_case, else_value=None)
        if self._data_rights_column is not None:
            column = self._data_rights_column
            is_public = self.find_file_condition(ANONYMOUS_PRINCIPAL) or EVERY_ROW_CONDITION
            is_own = self.find_file_condition(principal) or EVERY_ROW_CONDITION
            public_case = (is_public, _build_column_literal(column, PUBLIC_RIGHTS))
            own_case = (is_own, _build_column_literal(column, SECURE_RIGHTS))
            else_value = _build_column_literal(column, PROPRIETARY_RIGHTS)
            masks_by_column[column.name] = _build_case(column, public_case, own_case, else_value=else_value)
        return {name: remove_literal_slots(expr) for name, expr in masks_by_column.items()}

    def find_file_condition(self, principal: Principal) -> Expr | None:
        """Return the condition of the rows whose files a user may take; None: all rows."""
        conditions = [policy.build_row_condition_and_validity(principal)[0] for policy in self._row_policies]
        return join_conditions_with_and(*conditions)

    def find_values_with_restricted_files(self, principal: Principal, column: str, values: Sequence[str]) -> set[str]:
        """Return those values of a column that have a row whose file the user may not take."""
        file_condition = self.find_file_condition(principal)
        if file_condition is None or can_see_whole_collection(principal, self._table.schema):
            return set()
        column_ref = build_column_ref(column)
        places = {EXPRESSION_PLACEHOLDER: column_ref}
        restricted_condition = _build_restricted_condition(file_condition)
        restricted_values: set[str] = set()
        for start in range(0, len(values), MAX_VALUES_PER_QUERY):
            literals = tuple(Literal(value) for value in values[start : start + MAX_VALUES_PER_QUERY])
            values_condition = adql.bind_condition(InPredicate(column_ref, literals), self._table.columns)
            row_condition = join_conditions_with_and(values_condition, restricted_condition)
            for (restricted_value,) in self._query_rows(VALUES_QUERY, places, row_condition):
                restricted_values.add(restricted_value)
        return restricted_values

    def find_file_embargo(self, principal: Principal, values_by_column: Mapping[str, Any]) -> FileEmbargo | None:
        """Return until when the files of rows are restricted, and whom to ask; one restricted row is enough.

        Return None if the user may take the files, or there is no such row.
        """
        file_condition = self.find_file_condition(principal)
        if file_condition is None or can_see_whole_collection(principal, self._table.schema):
            return None
        opening_expression = self._opening_expression
        comparisons = [
            Comparison("=", build_column_ref(name), Literal(wanted_value))
            for name, wanted_value in values_by_column.items()
        ]
        row_condition = join_conditions_with_and(*comparisons)
        if row_condition is not None:
            row_condition = adql.bind_condition(row_condition, self._table.columns)
        compared_expression = opening_expression or build_column_ref(next(iter(values_by_column)))
        places = {EXPRESSION_PLACEHOLDER: compared_expression}
        restricted_condition = _build_restricted_condition(file_condition)
        all_restricted = join_conditions_with_and(row_condition, restricted_condition)
        visible_condition, _, _ = self.find_row_condition(principal)
        visible_restricted = join_conditions_with_and(row_condition, restricted_condition, visible_condition)
        ((expiry_time, visible_count),) = self._query_rows(RESTRICTED_ROWS_QUERY, places, visible_restricted)
        if not visible_count:
            ((_, restricted_count),) = self._query_rows(RESTRICTED_ROWS_QUERY, places, all_restricted)
            if not restricted_count:
                return None
        # the user is not told until when a row is restricted that they do not see
        expiry_text = ""
        if visible_count and opening_expression is not None and expiry_time:
            expiry_text = expiry_time.isoformat(timespec="seconds")
        return FileEmbargo(expiry_text, self._policy.contact or "")


class FileAddressRights:
    """The rights of a table without a policy whose rows contain addresses of restricted files.

    Users without access to the files see null in place of their addresses.

    Parameters
    ----------
    table
        Any table.
    files_table
        The collection's table of files.
    address_prefixes
        Beginnings of the addresses of the collection's files.

    Raises
    ------
    BindError
        A column cannot be read as an address.
    """

    def __init__(self, table: Table, files_table: Table, address_prefixes: Sequence[str]) -> None:
        self._files_table = files_table
        self._masks = dict[str, Expr]()
        address_patterns = []
        for prefix in address_prefixes:
            address_patterns += [write_adql_literal(f"{prefix}{file_path}/%") for file_path in FILE_ADDRESS_PATHS]
        for column in _list_file_address_columns(table):
            name = adql.quote_adql_name(column.name)
            tests = " OR ".join(f"{name} LIKE {address_pattern}" for address_pattern in address_patterns)
            expression = adql.parse_expression(f"CASE WHEN {tests} THEN NULL ELSE {name} END")
            bound_expression = adql.bind_expression(expression, table.columns, functions=QUERY_FUNCTIONS)
            self._masks[column.name] = remove_literal_slots(bound_expression)

    def bind_to_table(self, table: Table) -> Table:
        """Return the table with these rights."""
        columns = tuple(_with_nullable_columns(table.columns, self._masks))
        return table.copy_with(rights=self, policy=RowAccessPolicy(), columns=columns)

    # the contract's signature
    def find_row_condition(self, principal: Principal) -> tuple[Expr | None, int, float]:  # noqa: ARG002
        """Return no condition: users see all rows."""
        return None, 0, math.inf

    def find_validity_period(self, principal: Principal) -> tuple[int, float]:
        """Return from when until when a user may take the same files."""
        if self._files_table.rights is None:
            return (0, math.inf)
        return self._files_table.rights.find_validity_period(principal)

    def build_column_masks(self, principal: Principal) -> Mapping[str, Expr]:
        """Return the expressions that a user sees instead of addresses."""
        if not is_table_visible(self._files_table, principal):
            return self._masks
        rights = self._files_table.rights
        if rights is None or rights.find_file_condition(principal) is None:
            return {}
        return self._masks

    def find_file_condition(self, principal: Principal) -> None:
        """Return no condition: each file is checked at its own address."""

    def find_values_with_restricted_files(
        self,
        principal: Principal,  # noqa: ARG002
        column: str,  # noqa: ARG002
        values: Sequence[str],  # noqa: ARG002
    ) -> set[str]:
        """Return no values: no row restricts a file."""
        return set()

    def find_file_embargo(self, principal: Principal, values_by_column: Mapping[str, Any]) -> None:
        """Return no restriction: no row restricts a file."""


def _build_release_date_masks(table: Table, opening_expression: Expr) -> dict[str, Expr]:
    """Return masks for the columns of release dates: the time at which the policy opens a row."""
    bound_expression = adql.bind_expression(opening_expression, table.columns, functions=QUERY_FUNCTIONS)
    meta = require_meta(bound_expression)
    mask = remove_literal_slots(bound_expression)
    masks: dict[str, Expr] = {}
    for column in table.columns:
        # a date column that the policy itself compares keeps the values of the rows
        is_compared = meta.column is not None and meta.column.name == column.name
        if column.name in RELEASE_DATE_COLUMNS and column.type == meta.type and not is_compared:
            masks[column.name] = mask
    return masks


def _with_nullable_columns(columns: Sequence[Column], names: Container[str]) -> list[Column]:
    """Return columns, of which those of some names may be null."""
    return [column.copy_with(required=False) if column.name in names else column for column in columns]


def _list_file_address_columns(table: Table) -> list[Column]:
    """List the columns that may contain addresses of files."""
    names_and_ucds = [(column.name, column.ucd or "") for column in table.columns]
    names = RowAccessPolicy(files="").list_file_revealing_columns(names_and_ucds)
    text_columns = [column for column in table.columns if column.type.is_string and not column.type.is_array]
    return [column for column in text_columns if column.name in names]


def _build_restricted_condition(file_condition: Expr) -> Expr:
    # a condition that is null does not open a row
    is_open = CaseExpression(None, ((file_condition, INTEGER_ONE),), INTEGER_ZERO, meta=ValueMetadata(INT32))
    return Comparison("=", is_open, INTEGER_ZERO, meta=ValueMetadata(BOOLEAN))


def _build_column_ref(column: Column) -> ColumnRef:
    meta = ValueMetadata(column.type, column.unit, column.ucd, column.utype, column.description, column)
    return ColumnRef(Ident(column.name, quoted=True), source=0, column=column, meta=meta)


def _build_column_literal(column: Column, text: str) -> Literal:
    meta = ValueMetadata(column.type, nullable=False)
    return Literal(text, meta=meta)


def _build_case(column: Column, *cases: tuple[Expr, Expr], else_value: Expr | None) -> Expr:
    meta = ValueMetadata(column.type, column.unit, column.ucd, column.utype, column.description)
    return CaseExpression(None, cases, else_value, meta=meta)


class AccessPolicyBinder:
    """Binds policies to the rows of published tables.

    What was queried from a snapshot is cached as long as successive states publish the snapshot.

    Parameters
    ----------
    find_engine
        Returns the engine of a snapshot; None: no rows can be queried.
    """

    def __init__(self, find_engine: Callable[[Snapshot], StorageEngine] | None = None) -> None:
        self._find_engine = find_engine
        self._facts_by_snapshot: dict[str, PolicyRowFacts] = {}

    def bind_policies_and_list_problems(self, published: dict[str, PublishedTable]) -> list[str]:
        """Bind the policies of tables; a table whose policy does not fit it becomes private.

        Parameters
        ----------
        published
            Tables by qualified name; changed in place.

        Returns
        -------
        problems
            A sentence for each policy that does not fit.
        """
        problems: list[str] = []
        bound_facts: dict[str, PolicyRowFacts] = {}
        for name, published_table in published.items():
            table = published_table.table
            if table.policy is None:
                continue
            try:
                facts = self._get_row_facts(table, published_table.relation, bound_facts)
                rights = RowAccessRights(table, facts, self._create_row_query_runner(table, published_table.relation))
                # the rows are queried now, while no user waits. If the engine is away, they are queried when a user
                # comes, who then gets the error
                with suppress(ServiceError):
                    rights.find_validity_period(EVERYBODY_PRINCIPAL)
                table = rights.bind_to_table(table)
            except HvenError as error:
                problems.append(f"{name}: only the owner sees it, because its policy cannot be used: {error}")
                table = table.copy_with(access="private", policy=None)
            published[name] = replace(published_table, table=table)
        self._facts_by_snapshot = bound_facts
        for name, published_table in published.items():
            published[name] = _with_file_addresses_masked(published_table, published)
        return problems

    def _get_row_facts(
        self, table: Table, snapshot: Relation | None, bound_facts: dict[str, PolicyRowFacts]
    ) -> PolicyRowFacts:
        if not isinstance(snapshot, Snapshot) or self._find_engine is None:
            message = "the rows of the table are read in place, so they can change without notice"
            raise UserError(message, remedy="ingest the table")
        key = f"{table.qualified_name} {snapshot.id}"
        cached_facts = self._facts_by_snapshot.get(key)
        bound_facts[key] = cached_facts or self._build_row_facts(table, snapshot)
        return bound_facts[key]

    def _build_row_facts(self, table: Table, snapshot: Snapshot) -> PolicyRowFacts:
        query_rows = self._create_row_query_runner(table, snapshot)

        def iterate_names(column: ColumnRef) -> Iterator[str]:
            for (text,) in query_rows(NAMES_QUERY, {EXPRESSION_PLACEHOLDER: column}):
                yield str(text)

        def find_policy_instants(expr: Expr, now: int) -> tuple[int | None, Sequence[int]]:
            places = {EXPRESSION_PLACEHOLDER: expr, NOW_PLACEHOLDER: build_instant_literal(now)}
            ((last_value,),) = query_rows(LAST_INSTANT_QUERY, places)
            last_instant = None
            if last_value is not None:
                last_instant = _to_microseconds(last_value)
            next_values = query_rows(NEXT_INSTANTS_QUERY, places)
            return last_instant, [_to_microseconds(next_value) for (next_value,) in next_values]

        return PolicyRowFacts(iterate_names, find_policy_instants)

    def _create_row_query_runner(
        self, table: Table, snapshot: Relation | None
    ) -> Callable[..., Iterator[tuple[Any, ...]]]:
        return partial(self._query_rows, table, snapshot)

    def _query_rows(
        self,
        table: Table,
        snapshot: Relation | None,
        query_template: str,
        expressions: Mapping[str, Expr],
        row_condition: Expr | None = None,
    ) -> Iterator[tuple[Any, ...]]:
        """Query the engine, under no policy, for the rows that meet a bound condition."""
        assert isinstance(snapshot, Snapshot)  # noqa: S101  (or there were no facts)
        places = {name: remove_literal_slots(expr) for name, expr in expressions.items()}
        table_name = f"{adql.quote_adql_name(table.schema)}.{adql.quote_adql_name(table.name)}"
        query = adql.parse_query(query_template.format(table_name))

        def replace_placeholder(node: Any) -> Any:
            if isinstance(node, ColumnRef):
                return places.get(node.name.name, node)
            return node

        tree = transform_tree(query, replace_placeholder)
        bound = adql.bind_query(tree, StaticTableCatalogue([table.copy_with(policy=None, rights=None)]))
        assert self._find_engine is not None  # noqa: S101  (or there were no facts)
        if row_condition is not None:
            bound = replace(bound, query=_with_query_condition(bound.query, remove_literal_slots(row_condition)))
        plan = self._find_engine(snapshot).plan_query(bound)
        execution = plan.execute(bound.literal_values, {table.qualified_name: snapshot}, ExecutionLimits())
        try:
            for batch in execution:
                yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
        finally:
            execution.close()


def _with_file_addresses_masked(
    published_table: PublishedTable, published: Mapping[str, PublishedTable]
) -> PublishedTable:
    """Mask addresses of files for users who see a table's rows but not the files of its collection."""
    table = published_table.table
    if published_table.release is None:
        owner = table.schema
    else:
        owner = published_table.release.collection
    files = published.get(f"{owner}.files")
    if files is None or table.policy is not None or table.access == "private":
        return published_table
    has_same_access = files.table.access == table.access and files.table.policy is None
    if has_same_access or not _list_file_address_columns(table):
        return published_table
    site_urls = {published_table.provenance.get("site_url")}
    if published_table.resource:
        site_urls.add(published_table.resource.site["url"])
    collection_path = f"/collections/{quote(owner).replace('%', '_')}/"
    address_prefixes = [f"{site_url}{collection_path}" for site_url in sorted(filter(None, site_urls))]
    rights = FileAddressRights(table, files.table, address_prefixes)
    return replace(published_table, table=rights.bind_to_table(table))


def _with_query_condition(query: Query, condition: Expr) -> Query:
    """Add a condition, which is bound over one table alone, to a query of that table."""
    source = next(node.number for node in walk_tree(query) if isinstance(node, TableRef))

    def set_source(node: Any) -> Any:
        if isinstance(node, ColumnRef):
            return replace(node, source=source)
        return node

    query_condition = transform_tree(condition, set_source)

    def set_condition(node: Any) -> Any:
        if isinstance(node, Select):
            return replace(node, where=query_condition)
        return node

    return transform_tree(query, set_condition)


def _to_microseconds(value: Any) -> int:
    """Return microseconds since 1970."""
    since_epoch = value.replace(tzinfo=None) - UNIX_EPOCH
    whole_seconds = since_epoch.days * 86_400 + since_epoch.seconds
    return int(whole_seconds * 1_000_000 + since_epoch.microseconds)

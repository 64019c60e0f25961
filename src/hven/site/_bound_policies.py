"""The policies of published tables, bound to the rows of their snapshots."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hven import adql
from hven.adql import MAX_PERSON_TEXTS, MAX_UPCOMING_INSTANTS, UNIX_EPOCH, RowFacts, RowPolicy, build_instant_literal
from hven.adql.adql_writer import write_literal
from hven.adql.functions import QUERY_FUNCTIONS
from hven.adql.scope import StaticCatalogue
from hven.adql.syntax_tree import (
    Case,
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
    join_conditions,
    transform_tree,
    walk_tree,
)
from hven.adql.value_kinds import require_meta
from hven.engines import ExecutionLimits, Snapshot
from hven.model.errors import HvenError, ServiceError, UserError
from hven.model.table import FileRestriction, RowAccessPolicy
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
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.engines import Relation, StorageEngine
    from hven.model.table import Column, Table
    from hven.site._published_state import PublishedTable

EVERYBODY_PRINCIPAL = Principal(name="everybody")
EXPRESSION_PLACEHOLDER, NOW_PLACEHOLDER = "hven expression", "hven now"  # places in the queries below
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
MAX_VALUES_PER_QUERY = 1000  # values that are asked about at once
RESTRICTED_ROWS_QUERY = f'SELECT MAX("{EXPRESSION_PLACEHOLDER}") AS x, COUNT(*) AS n FROM {{}}'
# ObsCore 1.1 section B.4.4: for all, for who asks, for others
# below a collection's address: its files, and what is made of them
FILE_ADDRESS_PATHS = ("files", "preview", "cube", "headers", "as")
PUBLIC_RIGHTS, SECURE_RIGHTS, PROPRIETARY_RIGHTS = "public", "secure", "proprietary"
DATA_RIGHTS_COLUMN, AVAILABILITY_ENUM = "data_rights", "availability"
RELEASE_DATE_COLUMNS = {"obs_release_date", "release_date"}  # of ObsCore and EPN-TAP


class RowAccessRights:
    """The levels of a table, bound to the rows of a snapshot.

    Parameters
    ----------
    table
        With its levels.
    facts
        Of its rows.
    query_rows
        Asks the engine, under no policy, a query whose places are trees.

    Raises
    ------
    ParseError, BindError
        They do not fit the table.
    """

    def __init__(self, table: Table, facts: RowFacts, query_rows: Callable[..., Iterator[tuple[Any, ...]]]) -> None:
        levels = table.policy
        assert levels is not None  # noqa: S101  (or there is nothing to bind)
        texts = (levels.rows, levels.files, levels.take)
        self._row_policy, self._file_policy, self._take_policy = (
            None if text is None else RowPolicy(text, table.columns, facts) for text in texts
        )
        self._file_columns = [column for column in table.columns if column.name in table.file_column_names]
        self._data_rights_column = next(
            (
                date_column
                for date_column in table.columns
                if date_column.name == DATA_RIGHTS_COLUMN and date_column.type.is_string
            ),
            None,
        )
        strictest_policy = self._take_policy or self._file_policy or self._row_policy
        if strictest_policy is None:
            self._opening_expression = None
        else:
            self._opening_expression = strictest_policy.release_time
        self._release_dates: dict[str, Expr] = {}
        if self._opening_expression is not None:
            bound = adql.bind_expression(self._opening_expression, table.columns, functions=QUERY_FUNCTIONS)
            compared_column = require_meta(bound).column  # a date that is compared itself is as the rows have it
            self._release_dates = {
                date_column.name: remove_literal_slots(bound)
                for date_column in table.columns
                if date_column.name in RELEASE_DATE_COLUMNS
                and date_column.type == require_meta(bound).type
                and (compared_column is None or compared_column.name != date_column.name)
            }
        self._table = table
        self._policy = levels
        self._query_rows = query_rows

    def bind_to_table(self, table: Table) -> Table:
        """Return the table with its levels bound.

        What they hide from somebody is null there, and pages say in words what one may take.
        """
        maskable_columns = table.file_column_names
        columns = [
            table_column.copy_with(required=False) if table_column.name in maskable_columns else table_column
            for table_column in table.columns
        ]
        for column_number, table_column in enumerate(columns):
            if table_column == self._data_rights_column and table_column.enum is None:
                columns[column_number] = table_column.copy_with(
                    enum=AVAILABILITY_ENUM, label=table_column.label or "Availability"
                )
        enums = {
            **table.enums,
            AVAILABILITY_ENUM: {PUBLIC_RIGHTS: "public", SECURE_RIGHTS: "mine", PROPRIETARY_RIGHTS: "restricted"},
        }
        return table.copy_with(
            rights=self, columns=tuple(columns), enums=enums if self._data_rights_column else table.enums
        )

    def find_row_condition(self, principal: Principal) -> tuple[Expr | None, int, float]:
        """Return what the rows meet that a reader sees: see `hven.adql.RowPolicy.build_condition`."""
        if self._row_policy is None:
            return (None, 0, math.inf)
        return self._row_policy.build_condition(principal)

    def find_validity_period(self, principal: Principal) -> tuple[int, float]:
        """Return from when until when nothing changes for a reader, nor of what they are told of others' rights."""
        validity_periods = [
            policy.build_condition(policy_subject)[1:]
            for policy in (self._row_policy, self._file_policy, self._take_policy)
            if policy is not None
            for policy_subject in {principal, *((ANONYMOUS_PRINCIPAL,) if self._data_rights_column is not None else ())}
        ]
        return max((policy_subject for policy_subject, _ in validity_periods), default=0), min(
            (policy_subject for _, policy_subject in validity_periods), default=math.inf
        )

    def build_column_masks(self, principal: Principal) -> Mapping[str, Expr]:
        """Return what a reader sees instead of columns."""
        if self._file_policy is None:
            file_condition = None
        else:
            file_condition = self._file_policy.build_condition(principal)[0]
        masks_by_column = dict(self._release_dates)
        if file_condition is not None:
            masks_by_column |= {
                column.name: _build_case(column, (file_condition, _build_column_ref(column)), else_value=None)
                for column in self._file_columns
            }
        if self._data_rights_column is not None:
            column = self._data_rights_column
            rights_words = [
                (self.find_file_condition(ANONYMOUS_PRINCIPAL), PUBLIC_RIGHTS),
                (self.find_file_condition(principal), SECURE_RIGHTS),
            ]
            rights_cases = [
                (condition or EVERY_ROW_CONDITION, _build_word_literal(column, text))
                for condition, text in rights_words
            ]
            else_value = _build_word_literal(column, PROPRIETARY_RIGHTS)
            masks_by_column[column.name] = _build_case(column, *rights_cases, else_value=else_value)
        return {name: remove_literal_slots(expr) for name, expr in masks_by_column.items()}

    def find_file_condition(self, principal: Principal) -> Expr | None:
        """Return the condition of the rows whose files a reader may take; None: all."""
        row_policies = (self._row_policy, self._file_policy, self._take_policy)
        return join_conditions(*(policy.build_condition(principal)[0] for policy in row_policies if policy is not None))

    def find_restricted_values(self, principal: Principal, column: str, values: Sequence[str]) -> set[str]:
        """Return which values of a column have a row whose file the reader may not take."""
        file_condition = self.find_file_condition(principal)
        if file_condition is None or can_see_whole_collection(principal, self._table.schema):
            return set()
        column_ref = build_column_ref(column)
        restricted_values: set[str] = set()
        for start in range(0, len(values), MAX_VALUES_PER_QUERY):
            values_condition = InPredicate(
                column_ref,
                tuple(Literal(restricted_value) for restricted_value in values[start : start + MAX_VALUES_PER_QUERY]),
            )
            rows = join_conditions(
                adql.bind_condition(values_condition, self._table.columns), _build_restricted_condition(file_condition)
            )
            restricted_values.update(
                restricted_value
                for (restricted_value,) in self._query_rows(VALUES_QUERY, {EXPRESSION_PLACEHOLDER: column_ref}, rows)
            )
        return restricted_values

    def find_file_restriction(
        self, principal: Principal, values_by_column: Mapping[str, Any]
    ) -> FileRestriction | None:
        """Return until when files of rows are locked, and whom to ask: one row that is locked is enough. None.

        They may be taken, or there is no such row.
        """
        file_condition = self.find_file_condition(principal)
        if file_condition is None or can_see_whole_collection(principal, self._table.schema):
            return None
        opening_expression = self._opening_expression
        column_refs = [build_column_ref(name) for name in values_by_column]
        equality = join_conditions(
            *(
                Comparison("=", name, Literal(wanted_value))
                for name, wanted_value in zip(column_refs, values_by_column.values(), strict=True)
            )
        )
        if equality is None:
            row_condition = None
        else:
            row_condition = adql.bind_condition(equality, self._table.columns)
        placeholder_expressions = {EXPRESSION_PLACEHOLDER: opening_expression or column_refs[0]}
        restricted_condition = _build_restricted_condition(file_condition)
        ((expiry_time, visible_rows),) = self._query_rows(
            RESTRICTED_ROWS_QUERY,
            placeholder_expressions,
            join_conditions(row_condition, restricted_condition, self.find_row_condition(principal)[0]),
        )
        if (
            not visible_rows
            and not next(
                self._query_rows(
                    RESTRICTED_ROWS_QUERY, placeholder_expressions, join_conditions(row_condition, restricted_condition)
                )
            )[1]
        ):
            return None
        # until when a row is locked that they do not see is not told
        if visible_rows and opening_expression is not None and expiry_time:
            expiry_text = expiry_time.isoformat(timespec="seconds")
        else:
            expiry_text = ""
        return FileRestriction(expiry_text, self._policy.contact or "")


class FileAddressRights:
    """What the rows of a table without levels tell of files that not everybody has who sees the rows.

    Addresses of these are null for the others.

    Parameters
    ----------
    table
        Any.
    files_table
        The collection's table of files.
    address_prefixes
        How addresses of what the collection has begin.

    Raises
    ------
    BindError
        A column cannot be read as an address.
    """

    def __init__(self, table: Table, files_table: Table, address_prefixes: Sequence[str]) -> None:
        self._files_table = files_table
        self._masks = dict[str, Expr]()
        for column in _list_address_columns(table):
            name = adql.quote_name(column.name)
            address_patterns = [
                f"{prefix}{file_path}/%" for prefix in address_prefixes for file_path in FILE_ADDRESS_PATHS
            ]
            tests = (f"{name} LIKE {write_literal(prefix)}" for prefix in address_patterns)
            text = f"CASE WHEN {' OR '.join(tests)} THEN NULL ELSE {name} END"
            expression = adql.parse_expression(text)
            self._masks[column.name] = remove_literal_slots(
                adql.bind_expression(expression, table.columns, functions=QUERY_FUNCTIONS)
            )

    def bind_to_table(self, table: Table) -> Table:
        """Return the table with this as its rights."""
        columns = tuple(
            table_column.copy_with(required=False) if table_column.name in self._masks else table_column
            for table_column in table.columns
        )
        return table.copy_with(rights=self, policy=RowAccessPolicy(), columns=columns)

    # the contract's signature
    def find_row_condition(self, principal: Principal) -> tuple[Expr | None, int, float]:  # noqa: ARG002
        """Return no condition: all rows are seen."""
        return None, 0, math.inf

    def find_validity_period(self, principal: Principal) -> tuple[int, float]:
        """Return from when until when the same files are a reader's."""
        if self._files_table.rights is None:
            return (0, math.inf)
        return self._files_table.rights.find_validity_period(principal)

    def build_column_masks(self, principal: Principal) -> Mapping[str, Expr]:
        """Return what a reader sees instead of addresses."""
        rights = self._files_table.rights
        if is_table_visible(self._files_table, principal) and (
            rights is None or rights.find_file_condition(principal) is None
        ):
            return {}
        return self._masks

    def find_file_condition(self, principal: Principal) -> None:
        """Return no condition: of each file its address is asked."""

    def find_restricted_values(
        self,
        principal: Principal,  # noqa: ARG002
        column: str,  # noqa: ARG002
        values: Sequence[str],  # noqa: ARG002
    ) -> set[str]:
        """Return nothing: no row locks a file."""
        return set()

    def find_file_restriction(self, principal: Principal, values_by_column: Mapping[str, Any]) -> None:
        """Return nothing, likewise."""


def _list_address_columns(table: Table) -> list[Column]:
    """List the columns that may have addresses of files."""
    names = RowAccessPolicy(files="").list_file_columns(
        (table_column.name, table_column.ucd or "") for table_column in table.columns
    )
    return [
        table_column
        for table_column in table.columns
        if table_column.name in names and table_column.type.is_string and not table_column.type.is_array
    ]


def _build_restricted_condition(file_condition: Expr) -> Expr:
    integer_one, integer_zero = (Literal(number, meta=ValueMetadata(INT32)) for number in (1, 0))
    is_open = Case(
        None, ((file_condition, integer_one),), integer_zero, meta=ValueMetadata(INT32)
    )  # what is not known is not open
    return Comparison("=", is_open, integer_zero, meta=ValueMetadata(BOOLEAN))


def _build_column_ref(column: Column) -> ColumnRef:
    meta = ValueMetadata(column.type, column.unit, column.ucd, column.utype, column.description, column)
    return ColumnRef(Ident(column.name, quoted=True), source=0, column=column, meta=meta)


def _build_word_literal(column: Column, text: str) -> Literal:
    meta = ValueMetadata(column.type, nullable=False)
    return Literal(text, meta=meta)


def _build_case(column: Column, *cases: tuple[Expr, Expr], else_value: Expr | None) -> Expr:
    meta = ValueMetadata(column.type, column.unit, column.ucd, column.utype, column.description)
    return Case(None, cases, else_value, meta=meta)


class AccessPolicyBinder:
    """Binds policies; what was asked of a snapshot is kept as long as one state after the other has it.

    Parameters
    ----------
    find_engine
        Returns the one of a snapshot; None: no rows can be asked.
    """

    def __init__(self, find_engine: Callable[[Snapshot], StorageEngine] | None = None) -> None:
        self._find_engine = find_engine
        self._facts_by_snapshot: dict[str, RowFacts] = {}

    def bind_policies(self, published: dict[str, PublishedTable]) -> list[str]:
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
        bound_facts: dict[str, RowFacts] = {}
        for name, published_table in published.items():
            table = published_table.table
            if table.policy is None:
                continue
            try:
                facts = self._get_facts(table, published_table.relation, bound_facts)
                rights = RowAccessRights(table, facts, self._build_row_query(table, published_table.relation))
                with suppress(ServiceError):  # an engine that is away is asked when a reader comes, who is told so
                    rights.find_validity_period(
                        EVERYBODY_PRINCIPAL
                    )  # what must be asked of the rows is asked now, while nobody waits
                table = rights.bind_to_table(table)
            except HvenError as error:
                problems.append(f"{name}: nobody but its owner sees it, for its policy cannot be used: {error}")
                table = table.copy_with(access="private", policy=None)
            published[name] = replace(published_table, table=table)
        self._facts_by_snapshot = bound_facts
        for name, published_table in published.items():
            published[name] = _mask_file_addresses(published_table, published)
        return problems

    def _get_facts(self, table: Table, snapshot: Relation | None, bound_facts: dict[str, RowFacts]) -> RowFacts:
        if not isinstance(snapshot, Snapshot) or self._find_engine is None:
            raise UserError("its rows are read in place, and change unseen", remedy="ingest it")
        key = f"{table.qualified_name} {snapshot.id}"
        snapshot_facts = bound_facts[key] = self._facts_by_snapshot.get(key) or self._build_facts(table, snapshot)
        return snapshot_facts

    def _build_facts(self, table: Table, snapshot: Snapshot) -> RowFacts:
        query_rows = self._build_row_query(table, snapshot)

        def iterate_names(column: ColumnRef) -> Iterator[str]:
            for (text,) in query_rows(NAMES_QUERY, {EXPRESSION_PLACEHOLDER: column}):
                yield str(text)

        def find_policy_instants(expr: Expr, now: int) -> tuple[int | None, Sequence[int]]:
            places = {EXPRESSION_PLACEHOLDER: expr, NOW_PLACEHOLDER: build_instant_literal(now)}
            ((last_value,),) = query_rows(LAST_INSTANT_QUERY, places)
            return (None if last_value is None else _to_microseconds(last_value)), [
                _to_microseconds(next_value) for (next_value,) in query_rows(NEXT_INSTANTS_QUERY, places)
            ]

        return RowFacts(iterate_names, find_policy_instants)

    def _build_row_query(self, table: Table, snapshot: Relation | None) -> Callable[..., Iterator[tuple[Any, ...]]]:
        return partial(self._query_rows, table, snapshot)

    def _query_rows(
        self,
        table: Table,
        snapshot: Relation | None,
        text: str,
        expressions: Mapping[str, Expr],
        row_condition: Expr | None = None,
    ) -> Iterator[tuple[Any, ...]]:
        """Ask the engine, under no policy, of the rows that meet a bound condition."""
        assert isinstance(snapshot, Snapshot)  # noqa: S101  (or there were no facts)
        places = {name: remove_literal_slots(expr) for name, expr in expressions.items()}
        name = ".".join(adql.quote_name(part) for part in (table.schema, table.name))
        query = adql.parse_query(text.format(name))
        tree = transform_tree(
            query,
            lambda node: places.get(node.name.name, node) if isinstance(node, ColumnRef) else node,
        )
        bound = adql.bind_query(tree, StaticCatalogue([table.copy_with(policy=None, rights=None)]))
        assert self._find_engine is not None  # noqa: S101  (or there were no facts)
        if row_condition is not None:
            bound = replace(bound, query=_add_condition(bound.query, remove_literal_slots(row_condition)))
        engine = self._find_engine(snapshot)
        execution = engine.plan_query(bound).execute(
            bound.literal_values, {table.qualified_name: snapshot}, ExecutionLimits()
        )
        try:
            for batch in execution:
                yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
        finally:
            execution.close()


def _mask_file_addresses(published_table: PublishedTable, published: Mapping[str, PublishedTable]) -> PublishedTable:
    """Keep addresses of files from who sees a table's rows, and has not the files.

    A private collection's, of which this table is public.
    """
    if published_table.release is None:
        owner = published_table.table.schema
    else:
        owner = published_table.release.collection
    files = published.get(f"{owner}.files")
    is_restricted = files is not None and (files.table.access, files.table.policy) != (
        published_table.table.access,
        None,
    )
    if (
        not is_restricted
        or files is None
        or published_table.table.policy is not None
        or published_table.table.access == "private"
        or not _list_address_columns(published_table.table)
    ):
        return published_table
    site_urls = {
        published_table.provenance.get("site_url"),
        published_table.resource and published_table.resource.site["url"],
    }
    address_prefixes = [
        f"{site_url}/collections/{quote(owner).replace('%', '_')}/" for site_url in sorted(filter(None, site_urls))
    ]
    table = FileAddressRights(published_table.table, files.table, address_prefixes).bind_to_table(published_table.table)
    return replace(
        published_table,
        table=table,
    )


def _add_condition(query: Query, condition: Expr) -> Query:
    """Put a condition, bound over one table alone, into a query of that table."""
    number = next(node.number for node in walk_tree(query) if isinstance(node, TableRef))
    renumbered_condition = transform_tree(
        condition, lambda node: replace(node, source=number) if isinstance(node, ColumnRef) else node
    )
    return transform_tree(
        query, lambda node: replace(node, where=renumbered_condition) if isinstance(node, Select) else node
    )


def _to_microseconds(value: Any) -> int:
    """Return microseconds since 1970."""
    since = value.replace(tzinfo=None) - UNIX_EPOCH
    return int((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds)


__all__ = ["AccessPolicyBinder"]

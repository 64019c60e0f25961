"""The work behind `mapping.compile_mapping`: one table's settings over one source, put together into bound queries."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hven.adql import check_policy, parse_condition, parse_expression
from hven.adql.binder import bind_condition, bind_expression, bind_query
from hven.adql.functions import MAPPING_FUNCTIONS, QUERY_FUNCTIONS
from hven.adql.reserved_words import RESERVED_WORDS
from hven.adql.scope import StaticCatalogue
from hven.adql.syntax_tree import (
    Case,
    ColumnRef,
    Comparison,
    Disjunction,
    Expr,
    Ident,
    Join,
    Literal,
    Negation,
    Query,
    Select,
    SelectItem,
    SyntaxNode,
    TableRef,
    join_conditions,
    transform_tree,
)
from hven.descriptor import _contour_columns as contour_columns
from hven.descriptor import _expression_trees as expression_trees
from hven.descriptor._columns import REGULAR_IDENTIFIER_PATTERN
from hven.descriptor._granule_compiler import GranuleCompiler
from hven.descriptor._lookups import LookupSet
from hven.descriptor._name_resolution import ExpressionNames, add_place, format_name_list, list_column_names
from hven.descriptor._partitions import check_partition
from hven.descriptor._source_metadata import rename_link_columns
from hven.descriptor._time_series_loading import check_time_series, mark_time_columns_indexed
from hven.descriptor.compiled_mapping import (
    SOURCE_RELATION,
    TARGET_RELATION,
    WATERMARK_COLUMN,
    CompiledMapping,
    FaultReportedError,
    RowCheck,
)
from hven.descriptor.tables import find_position_columns
from hven.descriptor.unrolled_arrays import ELEMENT_INDEX_COLUMN, build_index_column, expand_array_columns
from hven.descriptor.value_schema import FaultCollector
from hven.descriptor.written_yaml import WrittenScalar
from hven.model import units
from hven.model.errors import BindError, ParseError, QueryError, suggest_spelling
from hven.model.table import FILES_UTYPE, Column, RowAccessPolicy, Table
from hven.model.types import INT64, TIMESTAMP
from hven.sources import ROW_NUMBER_COLUMN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.adql.syntax_tree import BoundQuery, FromItem
    from hven.descriptor.compiled_mapping import GroupPlan
    from hven.model.errors import Fault
    from hven.model.resource import Resource, TableSpec, ValidationRule

LAST_CHANGE_UCD = "time.processing"  # first word of the UCD of a column that says when a row was changed last


class MappingCompiler:
    """One table's settings over one source."""

    def __init__(self, spec: TableSpec, source_columns: Sequence[Column], resource: Resource) -> None:
        self.spec = spec
        faults = FaultCollector()
        columns, self.unrolled_columns = expand_array_columns(spec, source_columns, faults)
        self.expression_names = ExpressionNames(spec, columns, resource)
        self.faults = self.expression_names.faults
        self.faults.faults.extend(faults.faults)
        if spec.for_each:
            self.expression_names.columns.append(build_index_column())
        self.lookups = LookupSet(self.expression_names, resource.path.parent)
        self.key_path = self.expression_names.key_path

    def compile_mapping(self) -> tuple[CompiledMapping | None, list[Fault]]:
        """Compile everything; None if there are faults."""
        for name, (text, place) in self.spec.let.items():
            self.expression_names.bind_let(name, add_place(text, place))
        grouping = self.expression_names.grouping
        pre_group_condition, where = self._compile_conditions()
        watermark_expression = self._compile_watermark()
        first_granule, *other_granules = self.spec.granules or (None,)
        granule_compilers = [GranuleCompiler(self.expression_names, self.lookups, first_granule)]
        granule_compilers += [
            GranuleCompiler(self.expression_names, self.lookups, granule, granule_compilers[0])
            for granule in other_granules
        ]
        for granule_compiler in granule_compilers:
            granule_compiler.compile_columns()
        if self.expression_names.has_errors():
            return None, self.faults.list_sorted()
        table = self._build_target_table(granule_compilers)
        if self.expression_names.has_errors():
            return None, self.faults.list_sorted()
        columns = tuple(self.expression_names.columns)
        source = Table(schema="", name=SOURCE_RELATION, columns=columns)
        try:
            queries = tuple(
                self._bind_source_query(
                    granule_compiler.list_column_expressions(), source, [where, granule_compiler.condition]
                )
                for granule_compiler in granule_compilers
            )
            if where is None:
                row_filter_query = None
            else:
                row_filter_query = self._bind_source_query([], source, [where])
            rules, combined_rule_query = self._compile_row_rules(table)
            self._check_flag_groupings(table)
            lookup_checks = self._build_lookup_checks(source, where)
            parse_checks = self._build_parse_checks(granule_compilers, source, where)
            checks = (
                *lookup_checks,
                *parse_checks,
                *rules,
            )
            needed_columns = self._list_needed_columns(queries, checks)
            groups = (
                None if grouping is None else grouping.build_group_plan(source, pre_group_condition, needed_columns)
            )
            if watermark_expression is None:
                watermark = None
            else:
                watermark = self._bind_source_query([(WATERMARK_COLUMN, watermark_expression)], source, [])
            contours = tuple(
                granule_compiler.outline_contour
                and self._bind_source_query(
                    contour_columns.build_contour_fault_items(granule_compiler.outline_contour[0]), source, []
                )
                for granule_compiler in granule_compilers
            )
        except BindError as error:
            self.faults.add_error(f"{self.key_path}: {error.message}", self.spec.place, error.remedy)
        if self.expression_names.has_errors():
            return None, self.faults.list_sorted()
        self._check_contour_columns(granule_compilers, table)
        dates = set.intersection(*(granule_compiler.list_run_time_columns() for granule_compiler in granule_compilers))
        changes = {column.name for column in table.columns if (column.ucd or "").split(";")[0] == LAST_CHANGE_UCD}
        copies = _intersect_copies([granule_compiler.copies for granule_compiler in granule_compilers])
        conversions = _intersect_copies([granule_compiler.conversions for granule_compiler in granule_compilers])
        return CompiledMapping(
            table=table,
            queries=queries,
            row_filter_query=row_filter_query,
            checks=checks,
            needed_columns=self._list_read_columns(needed_columns, groups),
            read_types=self._choose_read_types(table, copies) if groups is None else {},
            copies=copies,
            conversions=conversions,
            lookups=self.lookups.relation_rows,
            calls=tuple(self.expression_names.calls.values()),
            combined_rule_query=combined_rule_query,
            column_rules=self._collect_column_rules(table),
            vocabularies=self.spec.vocabularies,
            flags_column=None if self.spec.flags is None or self.spec.flags.is_supplied else self.spec.flags.column,
            source=source,
            unrolled_columns=self.unrolled_columns,
            group_plan=groups,
            watermark_query=watermark,
            watermark_columns=() if watermark is None else self._list_needed_columns((watermark,), ()),
            contour_queries=contours if any(contours) else (),
            contour_columns=frozenset().union(
                *(granule_compiler.list_contour_columns() for granule_compiler in granule_compilers)
            ),
            first_date_columns=frozenset(dates - changes),
            change_date_columns=frozenset(dates & changes),
            warnings=tuple(fault for fault in self.faults.list_sorted() if fault.severity == "warning"),
        ), self.faults.list_sorted()

    def _compile_conditions(self) -> tuple[Expr | None, Expr | None]:
        """Compile the condition on rows: before they are grouped, or in the mapping's own queries."""
        grouping = self.expression_names.grouping
        if grouping is not None:
            for key in self.spec.group_by:
                grouping.add_key(add_place(key, self.spec.place), f"{self.key_path}.group_by")
        conditions = []
        with nullcontext() if grouping is None else grouping.mark_as_single_rows():
            if self.spec.where is not None:
                conditions.append(
                    self.expression_names.bind_condition_text(*self.spec.where, f"{self.key_path}.where", None)
                )
            # such rows are read, and leave no trace
            if self.spec.sync is not None and self.spec.sync.deleted_condition is not None:
                deletion_condition = self.expression_names.bind_condition_text(
                    *self.spec.sync.deleted_condition, f"{self.key_path}.sync.deletions.column", None
                )
                conditions.append(
                    deletion_condition
                    and Comparison("=", Case(None, ((deletion_condition, Literal(1)),), Literal(0)), Literal(0))
                )
        where = join_conditions(*conditions)
        return (where, None) if grouping is not None else (None, where)

    def _compile_watermark(self) -> Expr | None:
        """Read the watermark; rows that are grouped have none."""
        watermark_spec = None if self.spec.sync is None else self.spec.sync.watermark
        if watermark_spec is None or self.expression_names.grouping is not None:
            return None
        try:
            tree = self.expression_names.bind_expression_text(
                add_place(*watermark_spec), f"{self.key_path}.sync.watermark", None
            )[0]
        except FaultReportedError:
            return None
        if list_column_names(tree) & self.expression_names.call_origins.keys():
            self.faults.add_error(
                f"{self.key_path}.sync.watermark calls a Python function",
                watermark_spec[1],
                "a column, or an expression over columns",
            )
        return tree

    # --- queries ---------------------------------------------------------------------------------------------

    def _bind_source_query(
        self, items: list[tuple[str, Expr]], source: Table, optional_conditions: Sequence[Expr | None]
    ) -> BoundQuery:
        given_conditions = [item for item in optional_conditions if item is not None]
        from_item: FromItem = TableRef((Ident(SOURCE_RELATION),))
        # columns of a lookup are bound against the lookup's relation, not against the source's
        columns = tuple(column for column in source.columns if not self.lookups.is_lookup_column(column.name))
        source_table = source.copy_with(columns=columns)
        tables = [source_table]
        for lookup in self.lookups.find_joined_lookups([*(tree for _, tree in items), *given_conditions]):
            from_item = Join(from_item, TableRef((Ident(lookup.name),)), "LEFT", on=lookup.build_join_condition())
            tables.append(lookup.describe_relation())
        selected = [SelectItem(tree, Ident(name, quoted=True)) for name, tree in items]
        column_ref = expression_trees.build_column_ref(ROW_NUMBER_COLUMN)
        select = Select(
            (
                *selected,
                SelectItem(column_ref, Ident(ROW_NUMBER_COLUMN, quoted=True)),
            ),
            from_item,
            where=join_conditions(*given_conditions),
        )
        return bind_query(Query(select), StaticCatalogue(tables), functions=MAPPING_FUNCTIONS)

    def _build_lookup_checks(self, source: Table, where: Expr | None) -> Iterator[RowCheck]:
        for lookup in self.lookups:
            if lookup.missing_action == "error":
                yield RowCheck(
                    name=f"lookup.{lookup.column}",
                    message=f"{lookup.column}: {lookup.label} has no such key",
                    severity="error",
                    bound=self._bind_source_query([], source, [where, lookup.build_unmatched_condition()]),
                    relation_name=SOURCE_RELATION,
                    columns=tuple(sorted(lookup.origins)),
                    place=lookup.place,
                )

    def _build_parse_checks(
        self, rounds: list[GranuleCompiler], source: Table, where: Expr | None
    ) -> Iterator[RowCheck]:
        """Find rows whose text could not be read; several columns of one text are told once."""
        reported_conversions: set[tuple[Expr, Expr]] = set()
        for reading in (reading for granule_compiler in rounds for reading in granule_compiler.text_conversions):
            if (reading.source_expression, reading.converted_expression) in reported_conversions:
                continue
            reported_conversions.add((reading.source_expression, reading.converted_expression))
            yield RowCheck(
                name=reading.name,
                message=reading.message,
                severity=reading.severity,
                bound=self._bind_source_query([], source, [where, reading.build_failure_condition()]),
                relation_name=SOURCE_RELATION,
                columns=(reading.source,),
                place=reading.place,
            )

    def _collect_column_rules(self, table: Table) -> tuple[ValidationRule, ...]:
        column_names = [column.name for column in table.columns]
        column_rules = tuple(rule for rule in self.spec.rules if rule.check is not None and rule.severity != "off")
        for rule in (
            column_rules if self.spec.follows_source else ()
        ):  # else it was checked when the descriptor was read
            for name in rule.columns:
                if name not in column_names:
                    self.faults.add_error(
                        f"{self.key_path}.rules.{rule.name}: the table has no column {name!r}",
                        rule.place,
                        suggest_spelling(name, column_names),
                    )
        return (*column_rules, *contour_columns.iterate_region_rules(table, self.spec.rules, self.spec.place))

    def _compile_row_rules(self, table: Table) -> tuple[list[RowCheck], BoundQuery | None]:
        """Compile the rules over the table's own columns: each as a check, all as one query."""
        checks: list[RowCheck] = []
        conditions: list[Expr] = []
        target = Table(
            schema="",
            name=TARGET_RELATION,
            columns=(*table.columns, Column(name=ROW_NUMBER_COLUMN, type=INT64, required=True)),
        )
        for rule in self.spec.rules:
            if rule.check is not None or rule.severity == "off":
                continue
            text = add_place(rule.condition, rule.place)
            try:
                tree = expression_trees.remove_literal_slots(
                    transform_tree(parse_condition(str(text)), _remove_target_prefix)
                )
                bound = bind_condition(tree, table.columns, functions=MAPPING_FUNCTIONS, text=str(text))
            except (ParseError, BindError) as error:
                self.expression_names.report_adql_error(error, text, f"{self.key_path}.rules.{rule.name}")
                continue
            column_ref = expression_trees.build_column_ref(ROW_NUMBER_COLUMN)
            select = Select(
                (SelectItem(column_ref, Ident(ROW_NUMBER_COLUMN, quoted=True)),),
                TableRef((Ident(TARGET_RELATION),)),
                where=Negation(tree),
            )
            check = RowCheck(
                name=rule.name,
                message=rule.message or f"not {text}",
                severity=rule.severity,
                bound=bind_query(Query(select), StaticCatalogue([target]), functions=MAPPING_FUNCTIONS),
                relation_name=TARGET_RELATION,
                columns=tuple(sorted(list_column_names(bound))),
                flag=rule.flag,
                place=rule.place,
            )
            if (
                self.spec.flags is not None
                and not self.spec.flags.is_supplied
                and self.spec.flags.column in check.columns
            ):
                self.faults.add_error(
                    f"{self.key_path}.rules.{rule.name}: {self.spec.flags.column} is made of what the rules say",
                    rule.place,
                    "say the condition itself",
                )
            checks.append(check)
            conditions.append(Negation(tree))
        if not checks:
            return [], None
        flags = [
            SelectItem(Case(None, ((condition, Literal(1)),), Literal(0)), Ident(f"check{number}", quoted=True))
            for number, condition in enumerate(conditions)
        ]
        row = SelectItem(expression_trees.build_column_ref(ROW_NUMBER_COLUMN), Ident(ROW_NUMBER_COLUMN, quoted=True))
        if len(conditions) == 1:
            where = conditions[0]
        else:
            where = Disjunction(tuple(conditions))
        return checks, bind_query(
            Query(Select((row, *flags), TableRef((Ident(TARGET_RELATION),)), where=where)),
            StaticCatalogue([target]),
            functions=MAPPING_FUNCTIONS,
        )

    def _check_flag_groupings(self, table: Table) -> None:
        """Bind the expressions by which flagged rows are counted, as a query will."""
        flags = self.spec.flags
        if flags is None:
            return
        if (
            self.spec.follows_source
            and not flags.is_supplied
            and any(column.name.lower() == flags.column.lower() for column in self.expression_names.source_columns)
        ):
            self.faults.add_error(
                f"{self.key_path}.flags: the source has a column {flags.column!r} already",
                flags.place,
                "choose another name for this one",
            )
        for name, (text, place) in flags.group_expressions.items():
            group_key_path = f"{self.key_path}.flags.by.{name}"
            expression_text = add_place(text, place)
            try:
                tree = transform_tree(parse_expression(str(expression_text)), _remove_target_prefix)
                bound = bind_expression(tree, table.columns, functions=QUERY_FUNCTIONS, text=str(expression_text))
            except (ParseError, BindError) as error:
                self.expression_names.report_adql_error(error, expression_text, group_key_path)
                continue
            if bound.meta is not None:
                value_type = bound.meta.type
            else:
                value_type = None
            if value_type is not None and not (
                value_type.is_string
                or value_type.is_numeric
                or value_type.is_timestamp
                or value_type.datatype == "boolean"
            ):
                self.faults.add_error(
                    f"{group_key_path}: rows cannot be counted by {value_type}", place, "text, a number or a time"
                )

    # --- the table -------------------------------------------------------------------------------------------

    def _build_target_table(self, rounds: list[GranuleCompiler]) -> Table:
        columns = []
        for name in rounds[0].column_order:
            origins: set[str] = set()
            for granule_compiler in rounds:
                origins |= granule_compiler.origins.get(name, frozenset())
            columns.append(rounds[0].columns[name].copy_with(origins=tuple(sorted(origins))))
        columns = self._rename_link_columns(
            columns, _intersect_copies([granule_compiler.copies for granule_compiler in rounds])
        )
        self._check_source_names([column.name for column in columns])
        self._check_source_ucds_and_units(columns)
        declared_table = self.spec.table
        table = declared_table.copy_with(
            columns=tuple(columns), position=declared_table.position or find_position_columns(tuple(columns))
        )
        if table.policy is not None:
            self._check_access_policy(table, table.policy)
        column_names = [column.name for column in columns]
        partition_columns = (
            (table.partition.column,) if table.partition is not None and table.partition.column is not None else ()
        )
        index_columns = tuple(name for index in table.indexes for name in index)
        for key, required_columns in (
            ("primary", table.primary),
            ("position", table.position or ()),
            ("indexes", index_columns),
            ("partition", partition_columns),
        ):
            for name in (
                required_columns if self.spec.follows_source else ()
            ):  # else it was checked when the descriptor was read
                if name not in column_names:
                    self.faults.add_error(
                        f"{self.key_path}.{key}: the table has no column {name!r}",
                        self.spec.place,
                        suggest_spelling(name, column_names),
                    )
        if not self.expression_names.has_errors():
            check_partition(self.key_path, table, self.spec.place, self.faults, follows_source=self.spec.follows_source)
            check_time_series(self.key_path, table, self.faults)
        return mark_time_columns_indexed(table)

    def _check_contour_columns(self, rounds: list[GranuleCompiler], table: Table) -> None:
        """Warn of contours whose parts are lost: no column takes what a polygon does not say."""
        names = {column.name for column in table.columns}
        if (
            any(granule_compiler.outline_contour for granule_compiler in rounds)
            and "c1min" in names
            and not {contour_columns.COVERAGE_COLUMN, contour_columns.QUALITY_COLUMN} <= names
        ):
            self.faults.add_warning(
                f"{self.key_path}: of a region of several parts, or with holes, s_region has one outline, and "
                f"nothing tells which rows these are",
                self.spec.place,
                "optional: [region] adds coverage, which has all of it, and region_quality",
            )

    def _rename_link_columns(self, columns: list[Column], copies: dict[str, str]) -> list[Column]:
        """Rename the columns in links that came from the source as the table does."""
        names = {source: target for target, source in copies.items()}
        for number, column in enumerate(columns):
            if column.link is None or "link" in self.spec.explicit_attributes.get(column.name, ()):
                continue
            link, missing_column = rename_link_columns(column.link, names)
            if missing_column is not None:
                message = (
                    f"{self.key_path}.columns.{column.name}: the source's link names its column "
                    f"{missing_column!r}, which the table does not copy; it is left out"
                )
                self.faults.add_warning(
                    message, self.spec.place, f"write a link of your own: {column.name}: {{link: ..}}"
                )
            columns[number] = column.copy_with(link=None if missing_column is not None else link)
        return columns

    def _check_source_names(self, names: list[str]) -> None:
        """Check names that came from the source.

        No two that differ only in case, and a word about those that need quotes.
        """
        names_by_lower_case: dict[str, str] = {}
        for name in names:
            if name.lower() in names_by_lower_case:
                message = (
                    f"{self.key_path}: the source has columns {names_by_lower_case[name.lower()]!r} and {name!r}, "
                    f"which differ only in case"
                )
                self.faults.add_error(
                    message,
                    self.spec.place,
                    "list the table's columns under 'columns', and name one of the two otherwise",
                )
            names_by_lower_case.setdefault(name.lower(), name)
            if name not in self.spec.explicit_attributes and (
                REGULAR_IDENTIFIER_PATTERN.fullmatch(name) is None or name.upper() in RESERVED_WORDS
            ):
                message = f'{self.key_path}: queries must write "{name}" in double quotes'
                self.faults.add_warning(
                    message, self.spec.place, "another name, under 'columns' and 'map', is easier for readers"
                )

    def _check_access_policy(self, table: Table, policy: RowAccessPolicy) -> None:
        """Check that policies fit the table, and that what they name is there."""
        names = [column.name for column in table.columns]
        for key, condition_text in (
            ("access", policy.rows),
            ("access.files", policy.files),
            ("access.take", policy.take),
        ):
            try:
                if condition_text is not None:
                    check_policy(parse_condition(condition_text), table.columns, condition_text)
            except QueryError as error:
                if isinstance(condition_text, WrittenScalar):
                    place = condition_text.locate_character(error.offset)
                else:
                    place = self.spec.place
                self.faults.add_error(f"{self.key_path}.{key}: {error.message}", place, error.remedy)
        for column_name in (*(policy.columns or ()), *((policy.path,) if policy.path else ())):
            if isinstance(column_name, WrittenScalar):
                place = column_name.place
            else:
                place = self.spec.place
            if column_name not in names:
                message = f"{self.key_path}.access: the table has no column {str(column_name)!r}"
                self.faults.add_error(message, place, suggest_spelling(column_name, names))
            elif column_name in table.primary and table.utype != FILES_UTYPE:  # which is seen with its rows
                message = f"{self.key_path}.access: {str(column_name)!r} is the key of the rows, and cannot be hidden"
                self.faults.add_error(message, place, "take another key, or hide the rows")

    def _check_source_ucds_and_units(self, columns: list[Column]) -> None:
        """Check UCDs and units that came from the source: those that are none, in a line each."""
        for key, find_problem in (("ucd", units.check_ucd), ("unit", _is_invalid_unit)):
            invalid_values = [
                f"{column.name} ({getattr(column, key)})"
                for column in columns
                if getattr(column, key)
                and key not in self.spec.explicit_attributes.get(column.name, ())
                and find_problem(getattr(column, key))
            ]
            if invalid_values:
                message = (
                    f"{self.key_path}: the source's {'UCDs' if key == 'ucd' else 'units'} are none: "
                    f"{format_name_list(invalid_values)}"
                )
                self.faults.add_warning(
                    message, self.spec.place, f"say `{key}` under 'columns'; `{key}: \"\"` leaves it out"
                )

    def _list_needed_columns(self, queries: tuple[BoundQuery, ...], checks: tuple[RowCheck, ...]) -> tuple[str, ...]:
        origin_names: set[str] = {ROW_NUMBER_COLUMN}
        for bound in [
            *queries,
            *(check.bound for check in checks if check.relation_name == SOURCE_RELATION),
            *(call.argument_query for call in self.expression_names.calls.values()),
        ]:
            origin_names |= list_column_names(bound.query)
        call_origins = self.expression_names.call_origins
        return tuple(
            column.name
            for column in self.expression_names.columns
            if column.name in origin_names
            and column.name not in call_origins
            and not self.lookups.is_lookup_column(column.name)
        )

    def _list_read_columns(self, needed: tuple[str, ...], groups: GroupPlan | None) -> tuple[str, ...]:
        """Add what is read before the mapping: what groups are made from, arrays that are unrolled."""
        needed_names = {*needed, *self.unrolled_columns}
        if groups is not None:
            needed_names |= list_column_names(groups.bound.query) | set(groups.simple_key_columns)
        return tuple(
            column.name
            for column in self.expression_names.columns
            if column.name in needed_names and column.name != ELEMENT_INDEX_COLUMN
        )

    def _choose_read_types(self, table: Table, copies: dict[str, str]) -> dict[str, Any]:
        """Choose types to read for columns that are copied once and read by nothing else."""
        sources = list(copies.values())
        target_types = {column.name: column.type for column in table.columns}
        source_types = {column.name: column.type for column in self.expression_names.source_columns}
        read_types = {}
        for target, source in copies.items():
            is_plain_type = all(
                kind.is_numeric or kind.is_string
                for kind in (target_types[target], source_types.get(source, TIMESTAMP))
            )
            if (
                is_plain_type
                and sources.count(source) == 1
                and source not in {*self.expression_names.used, *self.unrolled_columns}
            ):
                read_types[source] = target_types[target].arrow
        return read_types


def _intersect_copies(copies_by_granule: list[dict[str, str]]) -> dict[str, str]:
    """Find what is the same in all granules."""
    return {
        name: source
        for name, source in copies_by_granule[0].items()
        if all(copies.get(name) == source for copies in copies_by_granule[1:])
    }


def _remove_target_prefix(node: SyntaxNode) -> SyntaxNode:
    if isinstance(node, ColumnRef) and len(node.qualifier) == 1 and node.qualifier[0].name.lower() == TARGET_RELATION:
        return replace(node, qualifier=())
    return node


def _is_invalid_unit(text: str) -> bool:
    return units.normalize_unit(text) is None

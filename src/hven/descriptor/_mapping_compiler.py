"""Compile the settings of one table over one source into bound queries, for `mapping.compile_mapping`."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hven.adql import check_row_policy, parse_condition, parse_expression
from hven.adql.binder import bind_condition, bind_expression, bind_query
from hven.adql.functions import MAPPING_FUNCTIONS, QUERY_FUNCTIONS
from hven.adql.reserved_words import RESERVED_WORDS
from hven.adql.scope import StaticTableCatalogue
from hven.adql.syntax_tree import (
    CaseExpression,
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
    join_conditions_with_and,
    transform_tree,
)
from hven.descriptor import _contour_columns as contour_columns
from hven.descriptor import _expression_trees as expression_trees
from hven.descriptor._columns import REGULAR_IDENTIFIER_PATTERN, rename_link_columns
from hven.descriptor._granule_compiler import GranuleCompiler
from hven.descriptor._lookups import LookupSet
from hven.descriptor._name_resolution import ExpressionNameResolver, format_name_list, list_column_names, with_place
from hven.descriptor._package_keys import load_package_table_keys
from hven.descriptor._partitions import check_partition
from hven.descriptor.compiled_mapping import (
    SOURCE_RELATION,
    TARGET_RELATION,
    WATERMARK_COLUMN,
    CompiledMapping,
    FaultReportedError,
    RowCheck,
)
from hven.descriptor.tables import find_position_columns
from hven.descriptor.unrolled_arrays import ELEMENT_INDEX_COLUMN, build_element_index_column, expand_array_columns
from hven.descriptor.value_schema import FaultCollector
from hven.descriptor.written_yaml import LocatedYamlScalar
from hven.model import units
from hven.model.errors import BindError, ParseError, QueryError, format_message, suggest_spelling
from hven.model.table import FILES_UTYPE, Column, RowAccessPolicy, Table
from hven.model.types import INT64, TIMESTAMP
from hven.sources import ROW_NUMBER_COLUMN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.adql.syntax_tree import BoundQuery, FromItem
    from hven.descriptor.compiled_mapping import RowGroupPlan
    from hven.model.errors import Fault
    from hven.model.resource import CollectionSpec, TableSpec, ValidationRule
    from hven.model.types import ColumnType

LAST_CHANGE_UCD = "time.processing"  # first word of the UCD of a column with the time of a row's last change


class MappingCompiler:
    """Compiles the settings of one table over one source."""

    def __init__(self, spec: TableSpec, source_columns: Sequence[Column], resource: CollectionSpec) -> None:
        self.spec = spec
        faults = FaultCollector()
        columns, self.unrolled_columns = expand_array_columns(spec, source_columns, faults)
        self.expression_names = ExpressionNameResolver(spec, columns, resource)
        self.faults = self.expression_names.faults
        self.faults.faults.extend(faults.faults)
        if spec.for_each:
            self.expression_names.columns.append(build_element_index_column())
        self.lookups = LookupSet(self.expression_names, resource.path.parent)
        self.key_path = self.expression_names.key_path

    def compile_mapping(self) -> tuple[CompiledMapping | None, list[Fault]]:
        """Compile everything; return None instead of the mapping if there are errors."""
        names = self.expression_names
        for name, (text, place) in self.spec.let.items():
            names.bind_let_expression(name, with_place(text, place))
        pre_group_condition, where = self._add_group_keys_and_compile_conditions()
        watermark_expression = self._compile_watermark()
        granule_compilers = self._compile_granules()
        if names.has_errors():
            return None, self.faults.list_sorted()
        table = self._build_and_check_target_table(granule_compilers)
        if names.has_errors():
            return None, self.faults.list_sorted()
        source = Table(schema="", name=SOURCE_RELATION, columns=tuple(names.columns))
        try:
            queries = tuple(
                self._bind_source_query(compiler.list_column_expressions(), source, [where, compiler.condition])
                for compiler in granule_compilers
            )
            row_filter_query = None
            if where is not None:
                row_filter_query = self._bind_source_query([], source, [where])
            rules, combined_rule_query = self._compile_row_rules(table)
            self._check_flag_groupings(table)
            lookup_checks = self._build_missing_key_checks(source, where)
            parse_checks = self._build_unreadable_text_checks(granule_compilers, source, where)
            checks = (*lookup_checks, *parse_checks, *rules)
            needed_columns = self._list_needed_source_columns(queries, checks)
            groups = None
            if names.grouping is not None:
                groups = names.grouping.build_group_plan(source, pre_group_condition, needed_columns)
            watermark = None
            if watermark_expression is not None:
                watermark = self._bind_source_query([(WATERMARK_COLUMN, watermark_expression)], source, [])
            contour_queries = self._bind_contour_fault_queries(granule_compilers, source)
        except BindError as error:
            self.faults.add_error(f"{self.key_path}: {error.message}", self.spec.place, error.remedy)
        if names.has_errors():
            return None, self.faults.list_sorted()
        self._warn_lost_contour_parts(granule_compilers, table)
        run_time_columns = set.intersection(*(compiler.list_columns_of_ingest_time() for compiler in granule_compilers))
        change_columns = _find_change_time_columns(table)
        contour_column_sets = [compiler.list_contour_columns() for compiler in granule_compilers]
        copies = _intersect_column_copies([compiler.copies for compiler in granule_compilers])
        conversions = _intersect_column_copies([compiler.conversions for compiler in granule_compilers])
        read_types = {}
        if groups is None:
            read_types = self._choose_source_read_types(table, copies)
        watermark_columns: tuple[str, ...] = ()
        if watermark is not None:
            watermark_columns = self._list_needed_source_columns((watermark,), ())
        flags_column = None
        if self.spec.flags is not None and not self.spec.flags.is_supplied:
            flags_column = self.spec.flags.column
        mapping = CompiledMapping(
            table=table,
            queries=queries,
            row_filter_query=row_filter_query,
            checks=checks,
            needed_columns=self._list_columns_to_read(needed_columns, groups),
            read_types=read_types,
            copies=copies,
            conversions=conversions,
            lookups=self.lookups.relation_rows,
            calls=tuple(names.calls.values()),
            combined_rule_query=combined_rule_query,
            column_rules=self._collect_column_rules(table),
            vocabularies=self.spec.vocabularies,
            flags_column=flags_column,
            source=source,
            unrolled_columns=self.unrolled_columns,
            group_plan=groups,
            watermark_query=watermark,
            watermark_columns=watermark_columns,
            contour_queries=contour_queries,
            contour_columns=frozenset().union(*contour_column_sets),
            first_date_columns=frozenset(run_time_columns - change_columns),
            change_date_columns=frozenset(run_time_columns & change_columns),
            warnings=tuple(fault for fault in self.faults.list_sorted() if fault.severity == "warning"),
        )
        return mapping, self.faults.list_sorted()

    def _compile_granules(self) -> list[GranuleCompiler]:
        """Compile the columns of each granule of a row; the first one decides on the columns of the table."""
        first_granule, *other_granules = self.spec.granules or (None,)
        first_compiler = GranuleCompiler(self.expression_names, self.lookups, first_granule)
        granule_compilers = [first_compiler]
        granule_compilers += [
            GranuleCompiler(self.expression_names, self.lookups, granule, first_compiler) for granule in other_granules
        ]
        for granule_compiler in granule_compilers:
            granule_compiler.compile_columns_and_condition()
        return granule_compilers

    def _bind_contour_fault_queries(
        self, granule_compilers: list[GranuleCompiler], source: Table
    ) -> tuple[BoundQuery | None, ...]:
        """Bind the queries that find faults of outlines; the empty tuple if no granule has an outline."""
        contour_queries: list[BoundQuery | None] = []
        for granule_compiler in granule_compilers:
            if granule_compiler.outline_contour:
                items = contour_columns.build_contour_diagnostic_columns(granule_compiler.outline_contour[0])
                contour_queries.append(self._bind_source_query(items, source, []))
            else:
                contour_queries.append(None)
        if not any(contour_queries):
            return ()
        return tuple(contour_queries)

    def _add_group_keys_and_compile_conditions(self) -> tuple[Expr | None, Expr | None]:
        """Compile the condition on rows: before they are grouped, or in the mapping's own queries."""
        names, grouping, sync = self.expression_names, self.expression_names.grouping, self.spec.sync
        if grouping is not None:
            for key in self.spec.group_by:
                grouping.add_key(with_place(key, self.spec.place), f"{self.key_path}.group_by")
        conditions = []
        with nullcontext() if grouping is None else grouping.refuse_aggregates():
            if self.spec.where is not None:
                conditions.append(names.bind_condition_text(*self.spec.where, f"{self.key_path}.where", None))
            # the sync reads deleted rows; the table does not have them
            if sync is not None and sync.deleted_condition is not None:
                key_path = f"{self.key_path}.sync.deletions.column"
                is_deleted = names.bind_condition_text(*sync.deleted_condition, key_path, None)
                if is_deleted is not None:
                    deletion_flag = CaseExpression(None, ((is_deleted, Literal(1)),), Literal(0))
                    conditions.append(Comparison("=", deletion_flag, Literal(0)))
        where = join_conditions_with_and(*conditions)
        if grouping is not None:
            return where, None
        return None, where

    def _compile_watermark(self) -> Expr | None:
        """Compile the watermark; grouped rows have none."""
        if self.spec.sync is None or self.spec.sync.watermark is None or self.expression_names.grouping is not None:
            return None
        text, place = self.spec.sync.watermark
        key_path = f"{self.key_path}.sync.watermark"
        try:
            tree, *_ = self.expression_names.bind_expression_text(with_place(text, place), key_path, None)
        except FaultReportedError:
            return None
        if list_column_names(tree) & self.expression_names.call_origins.keys():
            message = f"{key_path} calls a Python function"
            self.faults.add_error(message, place, "use a column, or an expression without Python functions")
        return tree

    # --- queries ---------------------------------------------------------------------------------------------

    def _bind_source_query(
        self, items: list[tuple[str, Expr]], source: Table, optional_conditions: Sequence[Expr | None]
    ) -> BoundQuery:
        conditions = [condition for condition in optional_conditions if condition is not None]
        from_item: FromItem = TableRef((Ident(SOURCE_RELATION),))
        # columns of a lookup are bound against the lookup's relation, not against the source's
        columns = tuple(column for column in source.columns if not self.lookups.is_lookup_relation_column(column.name))
        tables = [source.copy_with(columns=columns)]
        item_trees = [tree for _, tree in items]
        for lookup in self.lookups.find_joined_lookups([*item_trees, *conditions]):
            lookup_ref = TableRef((Ident(lookup.name),))
            from_item = Join(from_item, lookup_ref, "LEFT", on=lookup.build_join_condition())
            tables.append(lookup.build_relation_table())
        select_items = [SelectItem(tree, Ident(name, quoted=True)) for name, tree in items]
        select_items.append(_build_row_number_item())
        select = Select(tuple(select_items), from_item, where=join_conditions_with_and(*conditions))
        return bind_query(Query(select), StaticTableCatalogue(tables), functions=MAPPING_FUNCTIONS)

    def _build_missing_key_checks(self, source: Table, where: Expr | None) -> Iterator[RowCheck]:
        for lookup in self.lookups:
            if lookup.missing_action != "error":
                continue
            conditions = [where, lookup.build_unmatched_condition()]
            yield RowCheck(
                name=f"lookup.{lookup.column}",
                message=f"{lookup.column}: the key is not in {lookup.label}",
                severity="error",
                bound=self._bind_source_query([], source, conditions),
                relation_name=SOURCE_RELATION,
                columns=tuple(sorted(lookup.origins)),
                place=lookup.place,
            )

    def _build_unreadable_text_checks(
        self, granule_compilers: list[GranuleCompiler], source: Table, where: Expr | None
    ) -> Iterator[RowCheck]:
        """Find rows with unreadable text; several columns of one text are reported once."""
        reported_conversions: set[tuple[Expr, Expr]] = set()
        for granule_compiler in granule_compilers:
            for conversion in granule_compiler.text_conversions:
                expressions = (conversion.source_expression, conversion.converted_expression)
                if expressions in reported_conversions:
                    continue
                reported_conversions.add(expressions)
                conditions = [where, conversion.build_failure_condition()]
                yield RowCheck(
                    name=conversion.name,
                    message=conversion.message,
                    severity=conversion.severity,
                    bound=self._bind_source_query([], source, conditions),
                    relation_name=SOURCE_RELATION,
                    columns=(conversion.source,),
                    place=conversion.place,
                )

    def _collect_column_rules(self, table: Table) -> tuple[ValidationRule, ...]:
        column_names = [column.name for column in table.columns]
        column_rules = tuple(rule for rule in self.spec.rules if rule.check is not None and rule.severity != "off")
        if self.spec.follows_source:  # otherwise the descriptor's reader checked them
            for rule in column_rules:
                for name in rule.columns:
                    if name not in column_names:
                        message = f"{self.key_path}.rules.{rule.name}: the table has no column {name!r}"
                        self.faults.add_error(message, rule.place, suggest_spelling(name, column_names))
        return (*column_rules, *contour_columns.iterate_region_rules(table, self.spec.rules, self.spec.place))

    def _compile_row_rules(self, table: Table) -> tuple[list[RowCheck], BoundQuery | None]:
        """Compile the rules over the table's own columns: each rule as a check, and all of them as one query."""
        checks: list[RowCheck] = []
        conditions: list[Expr] = []
        row_number = Column(name=ROW_NUMBER_COLUMN, type=INT64, required=True)
        target = Table(schema="", name=TARGET_RELATION, columns=(*table.columns, row_number))
        catalogue = StaticTableCatalogue([target])
        for rule in self.spec.rules:
            if rule.check is not None or rule.severity == "off":
                continue
            tree_and_columns = self._bind_row_rule(rule, table)
            if tree_and_columns is None:
                continue
            tree, columns = tree_and_columns
            select = Select((_build_row_number_item(),), TableRef((Ident(TARGET_RELATION),)), where=Negation(tree))
            check = RowCheck(
                name=rule.name,
                message=rule.message or format_message("not {condition}", str(rule.condition)),
                severity=rule.severity,
                bound=bind_query(Query(select), catalogue, functions=MAPPING_FUNCTIONS),
                relation_name=TARGET_RELATION,
                columns=columns,
                flag=rule.flag,
                place=rule.place,
            )
            self._check_rule_ignores_flags(rule, columns)
            checks.append(check)
            conditions.append(Negation(tree))
        if not checks:
            return [], None
        items = [_build_row_number_item()]
        for number, condition in enumerate(conditions):
            failure_flag = CaseExpression(None, ((condition, Literal(1)),), Literal(0))
            items.append(SelectItem(failure_flag, Ident(f"check{number}", quoted=True)))
        where = conditions[0]
        if len(conditions) > 1:
            where = Disjunction(tuple(conditions))
        select = Select(tuple(items), TableRef((Ident(TARGET_RELATION),)), where=where)
        return checks, bind_query(Query(select), catalogue, functions=MAPPING_FUNCTIONS)

    def _bind_row_rule(self, rule: ValidationRule, table: Table) -> tuple[Expr, tuple[str, ...]] | None:
        """Return the condition of a rule and the columns that it uses; None after a fault."""
        text = with_place(rule.condition, rule.place)
        try:
            tree = transform_tree(parse_condition(str(text)), _remove_target_prefix)
            tree = expression_trees.remove_literal_slots(tree)
            bound = bind_condition(tree, table.columns, functions=MAPPING_FUNCTIONS, text=str(text))
        except (ParseError, BindError) as error:
            self.expression_names.report_adql_error(error, text, f"{self.key_path}.rules.{rule.name}")
            return None
        return tree, tuple(sorted(list_column_names(bound)))

    def _check_rule_ignores_flags(self, rule: ValidationRule, columns: Sequence[str]) -> None:
        """Refuse a rule over the column of quality flags, which the rules themselves set."""
        flags = self.spec.flags
        if flags is not None and not flags.is_supplied and flags.column in columns:
            self.faults.add_error(
                f"{self.key_path}.rules.{rule.name}: {flags.column} is set by the rules, so a rule cannot use it",
                rule.place,
                "write the rule's condition instead",
            )

    def _check_flag_groupings(self, table: Table) -> None:
        """Bind the expressions by which flagged rows are counted, as a query will."""
        flags = self.spec.flags
        if flags is None:
            return
        source_names = {column.name.lower() for column in self.expression_names.source_columns}
        if self.spec.follows_source and not flags.is_supplied and flags.column.lower() in source_names:
            self.faults.add_error(
                f"{self.key_path}.flags: the source already has a column {flags.column!r}",
                flags.place,
                "choose another name for the flags column",
            )
        for name, (text, place) in flags.group_expressions.items():
            group_key_path = f"{self.key_path}.flags.by.{name}"
            expression_text = with_place(text, place)
            try:
                tree = transform_tree(parse_expression(str(expression_text)), _remove_target_prefix)
                bound = bind_expression(tree, table.columns, functions=QUERY_FUNCTIONS, text=str(expression_text))
            except (ParseError, BindError) as error:
                self.expression_names.report_adql_error(error, expression_text, group_key_path)
                continue
            if bound.meta is not None and not _can_group_rows_by_type(bound.meta.type):
                message = f"{group_key_path}: rows cannot be grouped by a value of type {bound.meta.type}"
                self.faults.add_error(message, place, "group by text, a number or a time")

    # --- the table -------------------------------------------------------------------------------------------

    def _build_and_check_target_table(self, granule_compilers: list[GranuleCompiler]) -> Table:
        first_compiler = granule_compilers[0]
        columns = []
        for name in first_compiler.column_order:
            origins: set[str] = set()
            for granule_compiler in granule_compilers:
                origins |= granule_compiler.origins.get(name, frozenset())
            columns.append(first_compiler.columns[name].copy_with(origins=tuple(sorted(origins))))
        copies = _intersect_column_copies([granule_compiler.copies for granule_compiler in granule_compilers])
        columns = self._rename_link_columns(columns, copies)
        self._check_source_column_names([column.name for column in columns])
        self._warn_of_invalid_source_ucds_and_units(columns)
        position = self.spec.table.position or find_position_columns(tuple(columns))
        table = self.spec.table.copy_with(columns=tuple(columns), position=position)
        if table.policy is not None:
            self._check_access_policy(table, table.policy)
        if self.spec.follows_source:  # otherwise the descriptor's reader checked them
            self._check_columns_named_by_keys(table)
        if not self.expression_names.has_errors():
            follows_source = self.spec.follows_source
            check_partition(self.key_path, table, self.spec.place, self.faults, follows_source=follows_source)
            for name, key in load_package_table_keys().items():
                if name in table.extensions:
                    key.check_table(f"{self.key_path}.{name}", table, self.faults)
        return _mark_columns_indexed_by_packages(table)

    def _check_columns_named_by_keys(self, table: Table) -> None:
        """Report keys of the table that name a column which it does not have."""
        column_names = [column.name for column in table.columns]
        partition_columns = []
        if table.partition is not None and table.partition.column is not None:
            partition_columns.append(table.partition.column)
        index_columns = [name for index in table.indexes for name in index]
        names_by_key = {
            "primary": table.primary,
            "position": table.position or (),
            "indexes": index_columns,
            "partition": partition_columns,
        }
        for key, names in names_by_key.items():
            for name in names:
                if name not in column_names:
                    message = f"{self.key_path}.{key}: the table has no column {name!r}"
                    self.faults.add_error(message, self.spec.place, suggest_spelling(name, column_names))

    def _warn_lost_contour_parts(self, granule_compilers: list[GranuleCompiler], table: Table) -> None:
        """Warn of contours whose parts are lost because no column takes what a polygon cannot hold."""
        names = {column.name for column in table.columns}
        has_contour = any(granule_compiler.outline_contour for granule_compiler in granule_compilers)
        keeps_all_parts = {contour_columns.COVERAGE_COLUMN, contour_columns.QUALITY_COLUMN} <= names
        if has_contour and "c1min" in names and not keeps_all_parts:
            self.faults.add_warning(
                f"{self.key_path}: if a region has several parts or holes, s_region contains only one of its "
                "outlines, and no column marks the rows with such regions",
                self.spec.place,
                "write `optional: [region]`, which adds the columns 'coverage' (the whole region) and 'region_quality'",
            )

    def _rename_link_columns(self, columns: list[Column], copies: dict[str, str]) -> list[Column]:
        """Rename the columns in links of the source as the table does."""
        names = {source: target for target, source in copies.items()}
        renamed_columns = []
        for column in columns:
            explicit_attributes = self.spec.explicit_attributes.get(column.name, ())
            if column.link is None or "link" in explicit_attributes:
                renamed_columns.append(column)
                continue
            link: str | None
            link, missing_column = rename_link_columns(column.link, names)
            if missing_column is not None:
                link = None
                message = (
                    f"{self.key_path}.columns.{column.name}: the link in the source is left out, because it uses "
                    f"the column {missing_column!r}, which the table does not copy"
                )
                remedy = f"write your own link, with `{column.name}: {{link: ..}}`"
                self.faults.add_warning(message, self.spec.place, remedy)
            renamed_columns.append(column.copy_with(link=link))
        return renamed_columns

    def _check_source_column_names(self, names: list[str]) -> None:
        """Report names of the source that differ only in case, and warn of names that need quotes."""
        names_by_lower_case: dict[str, str] = {}
        for name in names:
            first_name = names_by_lower_case.get(name.lower())
            if first_name is not None:
                message = (
                    f"{self.key_path}: the source has columns {first_name!r} and {name!r}, which differ only in case"
                )
                remedy = "list the table's columns under 'columns', and give one of the two another name"
                self.faults.add_error(message, self.spec.place, remedy)
            names_by_lower_case.setdefault(name.lower(), name)
            needs_quotes = REGULAR_IDENTIFIER_PATTERN.fullmatch(name) is None or name.upper() in RESERVED_WORDS
            if needs_quotes and name not in self.spec.explicit_attributes:
                message = f'{self.key_path}: queries must write "{name}" in double quotes'
                remedy = "choose another name under 'columns' and 'map' so that queries need no quotes"
                self.faults.add_warning(message, self.spec.place, remedy)

    def _check_access_policy(self, table: Table, policy: RowAccessPolicy) -> None:
        """Check that the conditions of a policy fit the table, and that the table has the columns that it names."""
        conditions = {"access": policy.rows, "access.files": policy.files, "access.take": policy.take}
        for key, condition_text in conditions.items():
            if condition_text is None:
                continue
            try:
                check_row_policy(parse_condition(condition_text), table.columns, condition_text)
            except QueryError as error:
                place = self.spec.place
                if isinstance(condition_text, LocatedYamlScalar):
                    place = condition_text.locate_character(error.offset)
                self.faults.add_error(f"{self.key_path}.{key}: {error.message}", place, error.remedy)
        column_names = [column.name for column in table.columns]
        policy_columns = list(policy.columns or ())
        if policy.path:
            policy_columns.append(policy.path)
        for name in policy_columns:
            place = self.spec.place
            if isinstance(name, LocatedYamlScalar):
                place = name.place
            if name not in column_names:
                message = f"{self.key_path}.access: the table has no column {str(name)!r}"
                self.faults.add_error(message, place, suggest_spelling(name, column_names))
            elif name in table.primary and table.utype != FILES_UTYPE:  # who sees a row sees its key
                message = f"{self.key_path}.access: {str(name)!r} belongs to the primary key and cannot be hidden"
                self.faults.add_error(message, place, "choose another primary key, or hide whole rows")

    def _warn_of_invalid_source_ucds_and_units(self, columns: list[Column]) -> None:
        """Warn of UCDs and units of the source that are invalid, in one line each."""
        for key, label, find_problem in (("ucd", "UCDs", units.list_ucd_problems), ("unit", "units", _is_invalid_unit)):
            invalid_values = []
            for column in columns:
                value = getattr(column, key)
                explicit_attributes = self.spec.explicit_attributes.get(column.name, ())
                if value and key not in explicit_attributes and find_problem(value):
                    invalid_values.append(f"{column.name} ({value})")
            if invalid_values:
                message = f"{self.key_path}: the source has invalid {label}: {format_name_list(invalid_values)}"
                remedy = f"write `{key}` under 'columns'; to leave it out, write `{key}: \"\"`"
                self.faults.add_warning(message, self.spec.place, remedy)

    def _list_needed_source_columns(
        self, queries: tuple[BoundQuery, ...], checks: tuple[RowCheck, ...]
    ) -> tuple[str, ...]:
        bound_queries = list(queries)
        bound_queries += [check.bound for check in checks if check.relation_name == SOURCE_RELATION]
        bound_queries += [call.argument_query for call in self.expression_names.calls.values()]
        needed_names: set[str] = {ROW_NUMBER_COLUMN}
        for bound_query in bound_queries:
            needed_names |= list_column_names(bound_query.query)
        needed_names -= self.expression_names.call_origins.keys()
        source_names = [
            column.name
            for column in self.expression_names.columns
            if not self.lookups.is_lookup_relation_column(column.name)
        ]
        return tuple(name for name in source_names if name in needed_names)

    def _list_columns_to_read(self, needed: tuple[str, ...], groups: RowGroupPlan | None) -> tuple[str, ...]:
        """Add the columns that are read before the mapping: parts of groups, and arrays that are unrolled."""
        needed_names = {*needed, *self.unrolled_columns}
        if groups is not None:
            needed_names |= list_column_names(groups.bound.query) | set(groups.simple_key_columns)
        needed_names.discard(ELEMENT_INDEX_COLUMN)
        return tuple(column.name for column in self.expression_names.columns if column.name in needed_names)

    def _choose_source_read_types(self, table: Table, copies: dict[str, str]) -> dict[str, Any]:
        """Choose the types to read for columns that are copied once and used by nothing else."""
        copy_counts = Counter(copies.values())
        used_columns = {*self.expression_names.used, *self.unrolled_columns}
        target_types = {column.name: column.type for column in table.columns}
        source_types = {column.name: column.type for column in self.expression_names.source_columns}
        read_types = {}
        for target, source in copies.items():
            if copy_counts[source] > 1 or source in used_columns:
                continue
            copied_types = (target_types[target], source_types.get(source, TIMESTAMP))
            if all(copied_type.is_numeric or copied_type.is_string for copied_type in copied_types):
                read_types[source] = target_types[target].arrow
        return read_types


def _mark_columns_indexed_by_packages(table: Table) -> Table:
    """Mark the columns as indexed by which clients select rows because of keys of packages."""
    names: set[str] = set()
    for name, key in load_package_table_keys().items():
        if name in table.extensions:
            names.update(key.list_indexed_columns(table))
    if not names:
        return table
    columns = [column.copy_with(indexed=True) if column.name in names else column for column in table.columns]
    return table.copy_with(columns=tuple(columns))


def _intersect_column_copies(copies_by_granule: list[dict[str, str]]) -> dict[str, str]:
    """Return the copies that all granules share."""
    first_copies, *other_copies = copies_by_granule

    def is_shared(name: str, source: str) -> bool:
        return all(copies.get(name) == source for copies in other_copies)

    return {name: source for name, source in first_copies.items() if is_shared(name, source)}


def _build_row_number_item() -> SelectItem:
    column_ref = expression_trees.build_column_ref(ROW_NUMBER_COLUMN)
    return SelectItem(column_ref, Ident(ROW_NUMBER_COLUMN, quoted=True))


def _find_change_time_columns(table: Table) -> set[str]:
    """Find the columns with the time of the last change of a row."""
    first_ucd_words = {column.name: (column.ucd or "").split(";")[0] for column in table.columns}
    return {name for name, word in first_ucd_words.items() if word == LAST_CHANGE_UCD}


def _can_group_rows_by_type(value_type: ColumnType) -> bool:
    """Return whether rows can be grouped and counted by values of a type."""
    return value_type.is_string or value_type.is_numeric or value_type.is_timestamp or value_type.datatype == "boolean"


def _remove_target_prefix(node: SyntaxNode) -> SyntaxNode:
    if not isinstance(node, ColumnRef) or len(node.qualifier) != 1:
        return node
    if node.qualifier[0].name.lower() == TARGET_RELATION:
        return replace(node, qualifier=())
    return node


def _is_invalid_unit(text: str) -> bool:
    return units.normalize_unit(text) is None

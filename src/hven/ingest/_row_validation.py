"""Check mapped rows, whole columns at a time: types, nulls, ranges, codes, positions and the descriptor's rules."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.adql.syntax_tree import CaseExpression, FunctionCall, Select, walk_tree
from hven.descriptor.mapping import SOURCE_RELATION, TARGET_RELATION
from hven.ingest._casting import find_values_out_of_bounds
from hven.ingest._column_rules import ColumnRuleChecker
from hven.ingest._contour_checks import replace_crossing_polygons, report_contour_quality_and_clear_coverage
from hven.ingest._obscore_checks import ObscoreRowValidator
from hven.ingest._rules import ERROR_SEVERITY, INFO_SEVERITY, WARNING_SEVERITY, RuleViolation
from hven.model.errors import DataError, HvenError, format_message
from hven.model.literal import combine_chunks, format_number
from hven.sources import ROW_NUMBER_COLUMN

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from hven.descriptor.mapping import CompiledMapping, RowCheck
    from hven.engines import QueryEvaluator
    from hven.ingest._transform import MappedRows
    from hven.ingest._unique_checks import SeenRowHashes
    from hven.model.resource import ValidationRule
    from hven.model.table import Column


@dataclass(slots=True)
class RowValidator:
    """Check the rows of one table.

    With `rejects_rows`, rows with errors are rejected: they take no key from other rows, and give no observation.
    """

    evaluator: QueryEvaluator
    mapping: CompiledMapping
    rejects_rows: bool = field(default=True, kw_only=True)
    _enum_codes: dict[str, pa.Array] = field(default_factory=dict)
    _deliberate_null_columns: set[str] = field(default_factory=set)
    seen_hashes: dict[str, SeenRowHashes] = field(default_factory=dict)
    _column_rules: ColumnRuleChecker = field(init=False)
    _observation_validators: list[ObscoreRowValidator] = field(init=False)

    def __post_init__(self) -> None:
        self._column_rules = ColumnRuleChecker(self.mapping, self.seen_hashes)
        self._deliberate_null_columns |= self.mapping.contour_columns  # contours report why they have no region
        self._observation_validators = []
        for observation_mapping in self.mapping.observations:
            validator = RowValidator(
                self.evaluator, observation_mapping, seen_hashes=self.seen_hashes, rejects_rows=False
            )
            observation_validator = ObscoreRowValidator(
                self.evaluator, observation_mapping, validator.find_violations_and_set_flags
            )
            self._observation_validators.append(observation_validator)
        for query in self.mapping.queries:
            body = query.query.body
            if not isinstance(body, Select) or len(body.items) != len(query.columns):
                continue
            for item, column in zip(body.items, query.columns, strict=True):
                if _can_be_deliberately_null(item):
                    self._deliberate_null_columns.add(column.name)
        table = self.mapping.table
        for column in table.columns:
            labels = None
            if column.enum:
                labels = table.enums.get(column.enum)
            if labels:
                self._enum_codes[column.name] = pa.array([str(code) for code in labels], pa.string())

    def find_violations_and_set_flags(self, mapped_rows: MappedRows, batch: pa.RecordBatch) -> Iterator[RuleViolation]:
        """Yield the violations of mapped rows; `batch` is the prepared source batch that they came from.

        A rejected row takes no key from another row, and gives no observation; so keys and observations are checked
        last. This method also fills the column of quality flags of `mapped_rows`.
        """
        rejected_mask = np.zeros(mapped_rows.rows.num_rows, bool)
        flags: npt.NDArray[np.int64] | None = None
        # the mask is complete when the rules 'unique' read it: they come last
        repeated_rows = self._column_rules.find_repeated_rows(mapped_rows.rows, rejected_mask)
        key_violations = (_build_rule_violation(*rule_failure) for rule_failure in repeated_rows)
        for violation in chain(self._find_row_violations(mapped_rows, batch), key_violations):
            row_mask = np.asarray(violation.row_mask)
            if violation.severity == ERROR_SEVERITY and self.rejects_rows:
                rejected_mask |= row_mask
            if violation.flag is not None and self.mapping.flags_column is not None:
                if flags is None:
                    flags = np.zeros(mapped_rows.rows.num_rows, np.int64)
                flags[row_mask] |= 1 << violation.flag
            yield violation
        if flags is not None and self.mapping.flags_column is not None:
            _set_flags_column(mapped_rows, self.mapping.flags_column, flags)
        for observation_validator in self._observation_validators:
            yield from observation_validator.find_violations(mapped_rows, rejected_mask)

    def _find_row_violations(self, mapped_rows: MappedRows, batch: pa.RecordBatch) -> Iterator[RuleViolation]:
        """Yield the violations of rules about single rows."""
        rows = mapped_rows.rows
        yield from self._find_type_misfits(mapped_rows)
        for column in self.mapping.table.columns:
            values = rows.column(column.name)
            if column.name in mapped_rows.constant_columns and len(values) > 1:  # one row stands for all
                for violation in self._find_column_violations(column, values.slice(0, 1), mapped_rows):
                    row_mask = pa.repeat(violation.row_mask[0], len(values))
                    yield replace(violation, row_mask=row_mask)
            else:
                yield from self._find_column_violations(column, values, mapped_rows)
        yield from self._find_position_violations(rows)
        yield from self._find_unexpected_nulls(mapped_rows, batch)
        yield from self._find_missing_inputs(mapped_rows, batch)
        yield from report_contour_quality_and_clear_coverage(self.evaluator, self.mapping, mapped_rows, batch)
        yield from self._check_columns_and_replace_polygons(mapped_rows, rows)
        failing_masks = self._run_row_rules(mapped_rows)
        for number, check in enumerate(self.mapping.checks):
            is_source_check = check.relation_name == SOURCE_RELATION
            if is_source_check:
                failing_mask = self._find_failing_source_rows(check, mapped_rows, batch)
            else:
                failing_mask = failing_masks.get(id(check))
            if failing_mask is None:
                continue
            yield RuleViolation(
                rule=check.name or f"{check.name} ({number})",
                message=check.message,
                severity=check.severity,
                row_mask=failing_mask,
                column=check.columns[0] if len(check.columns) == 1 else None,
                is_source_column=is_source_check,
                flag=check.flag,
            )

    def _find_type_misfits(self, mapped_rows: MappedRows) -> Iterator[RuleViolation]:
        """Yield the values that do not fit the type of their column."""
        for name, misfits in mapped_rows.misfit_masks.items():
            source = self.mapping.copies.get(name)
            shown_name = source or name
            message = format_message(
                "the value of {source!r} does not fit the column {column!r} ({type})",
                str(shown_name),
                str(name),
                str(self.mapping.table.find_column(name).type),
            )
            yield from _build_violation_if_any(
                misfits, f"{name}: type", message, shown_name, is_source_column=source is not None
            )

    def _check_columns_and_replace_polygons(
        self, mapped_rows: MappedRows, rows: pa.RecordBatch
    ) -> Iterator[RuleViolation]:
        """Yield the violations of rules with ``check``, and replace polygons that cross themselves.

        `rows` are the mapped rows before any of their values is replaced.
        """
        crossing_masks: dict[str, pa.Array] = {}
        for rule, names, violation_mask in self._column_rules.iterate_broken_rules(rows, mapped_rows.constant_columns):
            row_mask = violation_mask
            if rule.check == "orientation" and names[0] in crossing_masks:  # the replaced polygons turn the right way
                row_mask = pc.and_not(row_mask, crossing_masks[names[0]])
                if not pc.any(row_mask).as_py():
                    continue
            rule_violation = _build_rule_violation(rule, names, row_mask)
            yield replace(rule_violation, values=rows.column(names[0]))
            if rule.check == "simple" and rule.severity != ERROR_SEVERITY:
                crossing_masks |= dict.fromkeys(names, row_mask)
        polygon_rules = [rule for rule in self.mapping.column_rules if rule.check in {"orientation", "simple"}]
        for name, crossing_mask in crossing_masks.items():
            frame_kinds = [rule.of for rule in polygon_rules if name in rule.columns]
            column_type = self.mapping.table.find_column(name).type
            is_on_body = "sky" not in frame_kinds
            yield from replace_crossing_polygons(
                mapped_rows, name, crossing_mask, column_type=column_type, is_on_body=is_on_body
            )

    def _find_column_violations(
        self, column: Column, values: pa.Array, mapped_rows: MappedRows
    ) -> Iterator[RuleViolation]:
        name = column.name
        if column.required and values.null_count:
            null_mask = pc.is_null(values)
            if name in mapped_rows.misfit_masks:  # values that do not fit are reported already
                misfit_mask = pc.fill_null(mapped_rows.misfit_masks[name], False)
                null_mask = pc.and_(null_mask, pc.invert(misfit_mask))
            yield from _build_violation_if_any(
                null_mask, f"{name}: required", format_message("{name} is required, but has no value", name)
            )
        if not len(values) or values.null_count == len(values):
            return
        if column.type.is_numeric and (column.minimum is not None or column.maximum is not None):
            outside_mask = find_values_out_of_bounds(values, column.minimum, column.maximum)
            yield from _build_violation_if_any(outside_mask, f"{name}: range", _describe_limits(column), name)
        if column.type.is_string and not column.type.is_timestamp and column.type.tap_schema_size is not None:
            max_characters = column.type.tap_schema_size
            too_long_mask = pc.greater(pc.utf8_length(values), max_characters)
            message = format_message("{name} is longer than {most} characters", name, max_characters)
            yield from _build_violation_if_any(too_long_mask, f"{name}: length", message, name)
        codes = self._enum_codes.get(name)
        if codes is not None and (column.type.is_string or column.type.is_integer):
            is_code = pc.is_in(pc.cast(values, pa.string()), value_set=codes, skip_nulls=False)
            unknown_mask = pc.and_(pc.invert(is_code), pc.is_valid(values))
            message = format_message("{name} is not a value of the enum {enum}", name, str(column.enum))
            yield from _build_violation_if_any(unknown_mask, f"{name}: enum", message, name, WARNING_SEVERITY)

    def _find_position_violations(self, rows: pa.RecordBatch) -> Iterator[RuleViolation]:
        if self.mapping.table.position is None:
            return
        limits = (
            (-180.0, 360.0, "{name} is not a longitude: outside 0 to 360 (or -180 to 180) degrees"),
            (-90.0, 90.0, "{name} is not a latitude: outside -90 to 90 degrees"),
        )
        for name, (low, high, template) in zip(self.mapping.table.position, limits, strict=True):
            values = rows.column(name)
            if pa.types.is_floating(values.type) or pa.types.is_integer(values.type):
                yield from _build_violation_if_any(
                    find_values_out_of_bounds(values, low, high),
                    f"{name}: sphere",
                    format_message(template, name),
                    name,
                )

    def _find_unexpected_nulls(self, mapped_rows: MappedRows, batch: pa.RecordBatch) -> Iterator[RuleViolation]:
        """Yield expressions that gave no value although all their inputs have one, such as an unreadable date."""
        skipped_columns = {*self.mapping.copies, *self._deliberate_null_columns}
        for column in self.mapping.table.columns:
            values = mapped_rows.rows.column(column.name)
            if column.name in skipped_columns or not values.null_count or not column.origins or column.required:
                continue
            if not set(column.origins) <= set(batch.schema.names):
                continue
            mask = pc.is_null(values)
            for name in column.origins:
                source_values = _select_source_values(mapped_rows, batch, name)
                mask = pc.and_(mask, pc.is_valid(source_values))
            shown_column, template = None, "{column} has no value, although {names} have values"
            if len(column.origins) == 1:
                shown_column, template = column.origins[0], "{column} has no value, although {name} has one"
            message = format_message(template, column.name, ", ".join(column.origins))
            yield from _build_violation_if_any(
                mask, f"{column.name}: empty", message, shown_column, WARNING_SEVERITY, is_source_column=True
            )

    def _find_missing_inputs(self, mapped_rows: MappedRows, batch: pa.RecordBatch) -> Iterator[RuleViolation]:
        """Count the rows in which an expression has no value because one of its inputs has none."""
        skipped_columns = {*self.mapping.copies, *self.mapping.contour_columns}
        for column in self.mapping.table.columns:
            values = mapped_rows.rows.column(column.name)
            if column.name in skipped_columns or not values.null_count:
                continue
            if self._is_plain_conversion(column.name, batch):
                continue
            null_mask = pc.is_null(values)
            for name in column.origins:
                if name not in batch.schema.names or not batch.column(name).null_count:
                    continue
                source_values = _select_source_values(mapped_rows, batch, name)
                missing_input_mask = pc.and_(null_mask, pc.is_null(source_values))
                yield from _build_violation_if_any(
                    missing_input_mask,
                    f"{column.name}: without {name}",
                    f"without {name}: {column.name} left empty",
                    name,
                    INFO_SEVERITY,
                    is_source_column=True,
                )

    def _is_plain_conversion(self, column_name: str, batch: pa.RecordBatch) -> bool:
        """Return whether a column only converts a text, or converts the unit of a column with the same name."""
        source = self.mapping.conversions.get(column_name)
        if source is None:
            return False
        if source.lower() == column_name.lower() or source not in batch.schema.names:
            return True
        source_type = batch.schema.field(source).type
        return not (pa.types.is_floating(source_type) or pa.types.is_integer(source_type))

    def _find_failing_source_rows(
        self, check: RowCheck, mapped_rows: MappedRows, batch: pa.RecordBatch
    ) -> pa.Array | None:
        """Return the mask of the mapped rows whose source row fails a condition; None: none does."""
        relations = {SOURCE_RELATION: batch, **self.mapping.lookups}
        failing_numbers = self.evaluator.evaluate_query(check.bound, relations).column(ROW_NUMBER_COLUMN)
        if not len(failing_numbers):
            return None
        numbers = _select_source_values(mapped_rows, batch, ROW_NUMBER_COLUMN)
        failing_mask = pc.is_in(numbers, value_set=combine_chunks(failing_numbers))
        if pc.any(failing_mask).as_py():
            return failing_mask
        return None

    def _run_row_rules(self, mapped_rows: MappedRows) -> dict[int, pa.Array]:
        """Run all conditions over the mapped rows in one pass.

        Returns
        -------
        masks_by_check
            The failing rows by `id` of the check, for the checks that any row fails.
        """
        query = self.mapping.combined_rule_query
        if query is None:
            return {}
        row_count = mapped_rows.rows.num_rows
        row_numbers = pa.array(np.arange(row_count, dtype=np.int64))
        rows = mapped_rows.rows.append_column(ROW_NUMBER_COLUMN, row_numbers)
        try:
            failing_rows = self.evaluator.evaluate_query(query, {TARGET_RELATION: rows, **self.mapping.lookups})
        except HvenError:
            self._raise_rule_evaluation_error(rows)
            raise
        if not failing_rows.num_rows:
            return {}
        row_positions = np.asarray(combine_chunks(failing_rows.column(ROW_NUMBER_COLUMN)))
        masks_by_check: dict[int, pa.Array] = {}
        target_checks = [check for check in self.mapping.checks if check.relation_name == TARGET_RELATION]
        for number, check in enumerate(target_checks):
            failures = np.asarray(combine_chunks(failing_rows.column(f"check{number}")))
            failing_positions = row_positions[failures == 1]
            if len(failing_positions):
                mask = np.zeros(row_count, bool)
                mask[failing_positions] = True
                masks_by_check[id(check)] = pa.array(mask)
        return masks_by_check

    def _raise_rule_evaluation_error(self, rows: pa.RecordBatch) -> None:
        """Find the condition that cannot be evaluated over some rows, and raise its error.

        Raises
        ------
        DataError
            With the name of the rule and its place.
        """
        for check in self.mapping.checks:
            if check.relation_name == TARGET_RELATION:
                try:
                    self.evaluator.evaluate_query(check.bound, {TARGET_RELATION: rows, **self.mapping.lookups})
                except HvenError as error:
                    message = f"the rule {check.name} cannot be evaluated: {error.message}"
                    raise DataError(message, place=check.place, remedy=error.remedy) from error


def _set_flags_column(mapped_rows: MappedRows, column_name: str, flags: npt.NDArray[np.int64]) -> None:
    schema_field = mapped_rows.rows.schema.field(column_name)
    column_number = mapped_rows.rows.schema.get_field_index(column_name)
    values = pa.array(flags).cast(schema_field.type)
    mapped_rows.rows = mapped_rows.rows.set_column(column_number, schema_field, values)
    mapped_rows.constant_columns -= {column_name}


def _select_source_values(mapped_rows: MappedRows, batch: pa.RecordBatch, column_name: str) -> pa.Array:
    """Return the values of a source column, one for each mapped row."""
    values = batch.column(column_name)
    if mapped_rows.source_positions is None:
        return values
    return values.take(pa.array(mapped_rows.source_positions))


def _build_violation_if_any(
    mask: pa.Array | None,
    rule: str,
    message: str,
    column: str | None = None,
    severity: str = ERROR_SEVERITY,
    *,
    is_source_column: bool = False,
) -> Iterator[RuleViolation]:
    if mask is not None and pc.any(mask).as_py():
        yield RuleViolation(
            rule=rule,
            message=message,
            severity=severity,
            row_mask=pc.fill_null(mask, False),
            column=column,
            is_source_column=is_source_column,
        )


def _describe_limits(column: Column) -> str:
    name, low, high = column.name, column.minimum, column.maximum
    if low is not None and high is not None:
        return format_message("{name} is outside {low} to {high}", name, format_number(low), format_number(high))
    if low is not None:
        return format_message("{name} is below the minimum {low}", name, format_number(low))
    return format_message("{name} is above the maximum {high}", name, format_number(high or 0))


def _build_rule_violation(rule: ValidationRule, names: tuple[str, ...], violation_mask: pa.Array) -> RuleViolation:
    """Return the violation of a rule about whole columns."""
    is_one_of_many = len(rule.columns) > len(names)  # the rule is about other columns too
    column_list = ", ".join(names)
    if rule.message:
        message = rule.message
    elif rule.check == "words":
        message = format_message("{names} is not a term of {vocabulary}", column_list, rule.of)
    else:
        message = format_message("{names} fails the check {check!r}", column_list, str(rule.check))
    if names[0] not in message:
        message = format_message("{names}: {message}", column_list, message)
    return RuleViolation(
        rule=f"{rule.name}: {column_list}" if is_one_of_many else rule.name,
        message=message,
        severity=rule.severity,
        row_mask=violation_mask,
        column=names[0],
        flag=rule.flag,
    )


def _can_be_deliberately_null(tree: object) -> bool:
    """Return whether an expression can give null on purpose, because it has CASE or NULLIF."""
    for node in walk_tree(tree):
        if isinstance(node, CaseExpression):
            return True
        if isinstance(node, FunctionCall) and node.name == "NULLIF":
            return True
    return False

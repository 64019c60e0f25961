"""Checks of mapped rows, whole columns at a time.

Lost values, nulls, ranges, codes, the sphere, and the descriptor's rules.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.adql.syntax_tree import Case, FunctionCall, Select, walk_tree
from hven.descriptor.mapping import SOURCE_RELATION, TARGET_RELATION
from hven.ingest._casting import combine_chunks, find_out_of_bounds
from hven.ingest._column_rules import ColumnRuleChecker
from hven.ingest._contour_checks import find_contour_violations, replace_crossing_polygons
from hven.ingest._obscore_checks import ObservationValidator
from hven.ingest._rules import ERROR_SEVERITY, INFO_SEVERITY, WARNING_SEVERITY, RuleViolation
from hven.model.errors import DataError, HvenError
from hven.model.literal import format_number
from hven.sources import ROW_NUMBER_COLUMN

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from hven.descriptor.mapping import CompiledMapping, RowCheck
    from hven.engines import StorageEngine
    from hven.ingest._transform import MappedRows
    from hven.ingest._unique_checks import SeenHashes
    from hven.model.resource import ValidationRule
    from hven.model.table import Column


@dataclass(slots=True)
class RowValidator:
    """The rules of one table; `rejects_rows`: rows with errors are set aside."""

    engine: StorageEngine
    mapping: CompiledMapping
    rejects_rows: bool = field(default=True, kw_only=True)
    _enum_codes: dict[str, pa.Array] = field(default_factory=dict)
    _deliberate_null_columns: set[str] = field(default_factory=set)
    seen_hashes: dict[str, SeenHashes] = field(default_factory=dict)
    _column_rules: ColumnRuleChecker = field(init=False)
    _observation_validators: list[ObservationValidator] = field(init=False)

    def __post_init__(self) -> None:
        self._column_rules = ColumnRuleChecker(self.mapping, self.seen_hashes)
        self._deliberate_null_columns |= self.mapping.contour_columns  # contours say why they have no region
        self._observation_validators = [
            ObservationValidator(
                self.engine,
                observation_mapping,
                RowValidator(
                    self.engine, observation_mapping, seen_hashes=self.seen_hashes, rejects_rows=False
                ).find_violations,
            )
            for observation_mapping in self.mapping.observations
        ]
        table = self.mapping.table
        for query in self.mapping.queries:
            body = query.query.body
            if isinstance(body, Select) and len(body.items) == len(query.columns):
                self._deliberate_null_columns.update(
                    column.name
                    for item, column in zip(body.items, query.columns, strict=True)
                    if _can_be_deliberately_null(item)
                )
        for column in table.columns:
            if column.enum:
                labels = table.enums.get(column.enum)
            else:
                labels = None
            if labels:
                self._enum_codes[column.name] = pa.array([str(code) for code in labels], pa.string())

    def find_violations(self, mapped: MappedRows, batch: pa.RecordBatch) -> Iterator[RuleViolation]:
        """Yield what is wrong with mapped rows; `batch` is the prepared source batch that they came from.

        Rows that an error throws away take no key from another one, and give no observation: these are looked at last.
        The column of flags of `mapped` is filled meanwhile.
        """
        rejected_mask = np.zeros(mapped.rows.num_rows, bool)
        flags: npt.NDArray[np.int64] | None = None
        for item in chain(
            self._find_row_violations(mapped, batch),
            (
                _build_rule_violation(*rule_failure)
                for rule_failure in self._column_rules.find_repeated_rows(mapped.rows, rejected_mask)
            ),
        ):
            if item.severity == ERROR_SEVERITY and self.rejects_rows:
                rejected_mask |= np.asarray(item.row_mask)
            if item.flag is not None and self.mapping.flags_column is not None:
                if flags is None:
                    flags = np.zeros(mapped.rows.num_rows, np.int64)
                flags[np.asarray(item.row_mask)] |= 1 << item.flag
            yield item
        if flags is not None and self.mapping.flags_column is not None:
            _set_flags_column(mapped, self.mapping.flags_column, flags)
        for observation_validator in self._observation_validators:
            yield from observation_validator.find_violations(mapped, rejected_mask)

    # each kind of rule has its branch
    def _find_row_violations(  # noqa: C901, PLR0912
        self, mapped: MappedRows, batch: pa.RecordBatch
    ) -> Iterator[RuleViolation]:
        """Yield what is wrong with each row by itself."""
        rows = mapped.rows
        for name, misfits in mapped.misfit_masks.items():
            source = self.mapping.copies.get(name)
            column_type = self.mapping.table.find_column(name).type
            row_mask = pc.fill_null(misfits, False)
            yield RuleViolation(
                rule=f"{name}: type",
                message=f"{source or name} does not fit the column {name} ({column_type})",
                severity=ERROR_SEVERITY,
                row_mask=row_mask,
                column=source or name,
                is_source_column=source is not None,
            )
        for column in self.mapping.table.columns:
            values = rows.column(column.name)
            if column.name in mapped.constant_columns and len(values) > 1:  # one row speaks for all
                for item in self._check_column(column, values.slice(0, 1), mapped):
                    yield replace(item, row_mask=pa.repeat(item.row_mask[0], len(values)))
            else:
                yield from self._check_column(column, values, mapped)
        yield from self._check_position(rows)
        yield from self._find_unexpected_nulls(mapped, batch)
        yield from self._count_missing_inputs(mapped, batch)
        yield from find_contour_violations(self.engine, self.mapping, mapped, batch)
        crossing_masks: dict[str, pa.Array] = {}
        for rule, names, violation_mask in self._column_rules.find_failures(rows, mapped.constant_columns):
            if rule.check == "orientation" and names[0] in crossing_masks:  # these are turned
                violation_mask = pc.and_not(violation_mask, crossing_masks[names[0]])  # noqa: PLW2901
                if not pc.any(violation_mask).as_py():
                    continue
            # as they were given
            rule_violation = _build_rule_violation(rule, names, violation_mask)
            yield replace(rule_violation, values=rows.column(names[0]))
            if rule.check == "simple" and rule.severity != ERROR_SEVERITY:
                crossing_masks |= dict.fromkeys(names, violation_mask)
        for name, violation_mask in crossing_masks.items():
            polygon_checks = {"orientation", "simple"}
            frame_kinds = [
                rule.of for rule in self.mapping.column_rules if rule.check in polygon_checks and name in rule.columns
            ]
            column_type = self.mapping.table.find_column(name).type
            yield from replace_crossing_polygons(
                mapped, name, violation_mask, column_type=column_type, is_on_body="sky" not in frame_kinds
            )
        flags = self._run_row_rules(mapped)
        for number, check in enumerate(self.mapping.checks):
            if check.relation_name == SOURCE_RELATION:
                failing_mask = self._run_source_check(check, mapped, batch)
            else:
                failing_mask = flags.get(id(check))
            if failing_mask is not None:
                if len(check.columns) == 1:
                    shown_column = check.columns[0]
                else:
                    shown_column = None
                yield RuleViolation(
                    rule=f"{check.name} ({number})" if not check.name else check.name,
                    message=check.message,
                    severity=check.severity,
                    row_mask=failing_mask,
                    column=shown_column,
                    is_source_column=check.relation_name == SOURCE_RELATION,
                    flag=check.flag,
                )

    def _check_column(self, column: Column, values: pa.Array, mapped: MappedRows) -> Iterator[RuleViolation]:
        name = column.name
        if column.required and values.null_count:
            null_mask = pc.is_null(values)
            if name in mapped.misfit_masks:  # told already
                null_mask = pc.and_(null_mask, pc.invert(pc.fill_null(mapped.misfit_masks[name], False)))
            yield from _build_violation(null_mask, f"{name}: required", f"{name} is required, and there is no value")
        if not len(values) or values.null_count == len(values):
            return
        if column.type.is_numeric and (column.minimum is not None or column.maximum is not None):
            yield from _build_violation(
                find_out_of_bounds(values, column.minimum, column.maximum),
                f"{name}: range",
                f"{name} is {_describe_limits(column.minimum, column.maximum)}",
                name,
            )
        if column.type.is_string and not column.type.is_timestamp:
            size = column.type.size
        else:
            size = None
        if size is not None:
            yield from _build_violation(
                pc.greater(pc.utf8_length(values), size),
                f"{name}: length",
                f"{name} is longer than {size} characters",
                name,
            )
        codes = self._enum_codes.get(name)
        if codes is not None and (column.type.is_string or column.type.is_integer):
            unknown_mask = pc.invert(pc.is_in(pc.cast(values, pa.string()), value_set=codes, skip_nulls=False))
            unknown_mask = pc.and_(unknown_mask, pc.is_valid(values))
            yield from _build_violation(
                unknown_mask,
                f"{name}: enum",
                f"{name} is none of the values of the enum {column.enum}",
                name,
                WARNING_SEVERITY,
            )

    def _check_position(self, rows: pa.RecordBatch) -> Iterator[RuleViolation]:
        if self.mapping.table.position is None:
            return
        lon, lat = self.mapping.table.position
        latitude = rows.column(lat)
        longitude = rows.column(lon)
        if not all(
            pa.types.is_floating(values.type) or pa.types.is_integer(values.type) for values in (latitude, longitude)
        ):
            return
        yield from _build_violation(
            find_out_of_bounds(latitude, -90.0, 90.0),
            f"{lat}: sphere",
            f"{lat} is no latitude: outside -90 to 90 degrees",
            lat,
        )
        yield from _build_violation(
            find_out_of_bounds(longitude, -180.0, 360.0),
            f"{lon}: sphere",
            f"{lon} is no longitude: outside 0 to 360 (or -180 to 180) degrees",
            lon,
        )

    def _find_unexpected_nulls(self, mapped: MappedRows, batch: pa.RecordBatch) -> Iterator[RuleViolation]:
        """Yield expressions that gave nothing although all they are made from is there: an unreadable date, say."""
        for column in self.mapping.table.columns:
            values = mapped.rows.column(column.name)
            if (
                column.name in self.mapping.copies
                or column.name in self._deliberate_null_columns
                or not values.null_count
                or not column.origins
                or column.required
            ):
                continue
            origins = [name for name in column.origins if name in batch.schema.names]
            if len(origins) != len(column.origins):
                continue
            mask = pc.is_null(values)
            for name in origins:
                if mapped.source_positions is None:
                    source_values = batch.column(name)
                else:
                    source_values = batch.column(name).take(pa.array(mapped.source_positions))
                mask = pc.and_(mask, pc.is_valid(source_values))
            if len(origins) == 1:
                shown_column = origins[0]
            else:
                shown_column = None
            message = (
                f"{column.name} has no value although {', '.join(origins)} {'has' if len(origins) == 1 else 'have'}"
            )
            yield from _build_violation(
                mask, f"{column.name}: empty", message, shown_column, WARNING_SEVERITY, is_source_column=True
            )

    def _count_missing_inputs(self, mapped: MappedRows, batch: pa.RecordBatch) -> Iterator[RuleViolation]:
        """Count rows in which an expression gave nothing because something that it is made from is not there."""
        for column in self.mapping.table.columns:
            values = mapped.rows.column(column.name)
            if (
                column.name in self.mapping.copies
                or column.name in self.mapping.contour_columns
                or not values.null_count
                or self._is_plain_conversion(column.name, batch)
            ):
                continue
            null_mask = pc.is_null(values)
            for name in column.origins:
                if name not in batch.schema.names or not batch.column(name).null_count:
                    continue
                if mapped.source_positions is None:
                    source_values = batch.column(name)
                else:
                    source_values = batch.column(name).take(pa.array(mapped.source_positions))
                missing_input_mask = pc.and_(null_mask, pc.is_null(source_values))
                yield from _build_violation(
                    missing_input_mask,
                    f"{column.name}: without {name}",
                    f"without {name}: {column.name} left empty",
                    name,
                    INFO_SEVERITY,
                    is_source_column=True,
                )

    def _is_plain_conversion(self, name: str, batch: pa.RecordBatch) -> bool:
        """Check whether a column is text read as another type, or one of the same name in another unit.

        Nothing is computed there.
        """
        source = self.mapping.conversions.get(name)
        if source is None:
            return False
        if source in batch.schema.names:
            type_ = batch.schema.field(source).type
        else:
            type_ = None
        return (
            source.lower() == name.lower()
            or type_ is None
            or not (pa.types.is_floating(type_) or pa.types.is_integer(type_))
        )

    def _run_source_check(self, check: RowCheck, mapped: MappedRows, batch: pa.RecordBatch) -> pa.Array | None:
        if check.relation_name == SOURCE_RELATION:
            failing_numbers = self.engine.evaluate_query(
                check.bound, {SOURCE_RELATION: batch, **self.mapping.lookups}
            ).column(ROW_NUMBER_COLUMN)
            if not len(failing_numbers):
                return None
            numbers = batch.column(ROW_NUMBER_COLUMN)
            if mapped.source_positions is not None:
                numbers = numbers.take(pa.array(mapped.source_positions))
            failing_mask = pc.is_in(numbers, value_set=combine_chunks(failing_numbers))
            if pc.any(failing_mask).as_py():
                return failing_mask
            return None
        return None

    def _run_row_rules(self, mapped: MappedRows) -> dict[int, pa.Array]:
        """Run all conditions over the mapped rows in one pass.

        Return the rows that fail, by `id` of the checks that any row fails.
        """
        if self.mapping.combined_rule_query is None:
            return {}
        rows = mapped.rows.append_column(ROW_NUMBER_COLUMN, pa.array(np.arange(mapped.rows.num_rows, dtype=np.int64)))
        try:
            failing_rows = self.engine.evaluate_query(
                self.mapping.combined_rule_query, {TARGET_RELATION: rows, **self.mapping.lookups}
            )
        except HvenError:
            self._raise_failing_rule(rows)
            raise
        if not failing_rows.num_rows:
            return {}
        row_positions = np.asarray(combine_chunks(failing_rows.column(ROW_NUMBER_COLUMN)))
        masks_by_check: dict[int, pa.Array] = {}
        for number, check in enumerate(
            check for check in self.mapping.checks if check.relation_name == TARGET_RELATION
        ):
            failing_positions = row_positions[np.asarray(combine_chunks(failing_rows.column(f"check{number}"))) == 1]
            if len(failing_positions):
                mask = np.zeros(mapped.rows.num_rows, bool)
                mask[failing_positions] = True
                masks_by_check[id(check)] = pa.array(mask)
        return masks_by_check

    def _raise_failing_rule(self, rows: pa.RecordBatch) -> None:
        """Find out which condition cannot be evaluated over these rows.

        Raises
        ------
        DataError
            It is this one.
        """
        for check in self.mapping.checks:
            if check.relation_name == TARGET_RELATION:
                try:
                    self.engine.evaluate_query(check.bound, {TARGET_RELATION: rows, **self.mapping.lookups})
                except HvenError as error:
                    message = f"the rule {check.name} cannot be evaluated: {error.message}"
                    raise DataError(message, place=check.place, remedy=error.remedy) from error


def _set_flags_column(mapped: MappedRows, name: str, flags: npt.NDArray[np.int64]) -> None:
    column_number = mapped.rows.schema.get_field_index(name)
    values = pa.array(flags).cast(mapped.rows.schema.field(column_number).type)
    mapped.rows = mapped.rows.set_column(column_number, mapped.rows.schema.field(column_number), values)
    mapped.constant_columns -= {name}


def _build_violation(
    mask: pa.Array | None,
    rule: str,
    message: str,
    column: str | None = None,
    severity: str = ERROR_SEVERITY,
    *,
    is_source_column: bool = False,
) -> Iterator[RuleViolation]:
    if mask is not None and pc.any(mask).as_py():
        row_mask = pc.fill_null(mask, False)
        yield RuleViolation(
            rule=rule,
            message=message,
            severity=severity,
            row_mask=row_mask,
            column=column,
            is_source_column=is_source_column,
        )


def _describe_limits(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f"outside {format_number(low)} to {format_number(high)}"
    if low is not None:
        return f"below the minimum {format_number(low)}"
    if high is None:
        return ""
    return f"above the maximum {format_number(high)}"


def _build_rule_violation(rule: ValidationRule, names: tuple[str, ...], violation_mask: pa.Array) -> RuleViolation:
    """Describe rows that break a rule which looks at whole columns."""
    is_one_of_many = len(rule.columns) > len(names)  # the rule is about other columns too
    column_list = ", ".join(names)
    rule_message = rule.message or (
        f"{column_list} is none of the words of {rule.of}"
        if rule.check == "words"
        else f"{column_list} fails the check {rule.check}"
    )
    message = rule_message if names[0] in rule_message else f"{column_list}: {rule_message}"
    return RuleViolation(
        rule=f"{rule.name}: {column_list}" if is_one_of_many else rule.name,
        message=message,
        severity=rule.severity,
        row_mask=violation_mask,
        column=names[0],
        flag=rule.flag,
    )


def _can_be_deliberately_null(tree: object) -> bool:
    """Return whether an expression gives null on purpose: it chooses by cases."""
    for node in walk_tree(tree):
        if isinstance(node, Case):
            return True
        if isinstance(node, FunctionCall) and node.name == "NULLIF":
            return True
    return False

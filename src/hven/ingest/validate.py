"""Checks of mapped rows, whole columns at a time: lost values, nulls, ranges, codes, the sphere, and the descriptor's rules."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.adql import tree
from hven.descriptor.mapping import SOURCE, TARGET
from hven.ingest.casting import whole
from hven.sources import ROW

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.descriptor.mapping import Check, Mapping
    from hven.engines import Engine
    from hven.ingest.transform import Mapped
    from hven.model.table import Column

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """Rows of one batch that break one rule.

    Attributes
    ----------
    rows
        Booleans over the mapped rows, no nulls.
    column
        The column whose value is shown with the offender, or None.
    source
        True: `column` is a source column.
    """

    rule: str
    message: str
    severity: str
    rows: pa.Array
    column: str | None = None
    source: bool = False


@dataclass(slots=True)
class Validation:
    """The rules of one table."""

    engine: Engine
    mapping: Mapping
    _codes: dict[str, pa.Array] = field(default_factory=dict)
    _deliberate: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        table = self.mapping.table
        for query in self.mapping.queries:
            body = query.query.body
            if isinstance(body, tree.Select) and len(body.items) == len(query.columns):
                self._deliberate.update(column.name for item, column in zip(body.items, query.columns, strict=True) if _may_be_null(item))
        for column in table.columns:
            labels = table.enums.get(column.enum) if column.enum else None
            if labels:
                self._codes[column.name] = pa.array([str(code) for code in labels], pa.string())

    def broken(self, mapped: Mapped, batch: pa.RecordBatch) -> Iterator[Broken]:
        """Yield what is wrong with mapped rows; `batch` is the prepared source batch that they came from."""
        rows = mapped.rows
        for name, lost in mapped.lost.items():
            source = self.mapping.copies.get(name)
            kind = self.mapping.table.column(name).type
            yield Broken(
                rule=f"{name}: type",
                message=f"{source or name} does not fit the column {name} ({kind})",
                severity=ERROR,
                rows=pc.fill_null(lost, False),
                column=source or name,
                source=source is not None,
            )
        for column in self.mapping.table.columns:
            yield from self._column(column, rows.column(column.name), mapped)
        yield from self._sphere(rows)
        yield from self._unfulfilled(mapped, batch)
        for number, check in enumerate(self.mapping.checks):
            found = self._check(check, mapped, batch)
            if found is not None:
                shown = check.columns[0] if len(check.columns) == 1 else None
                yield Broken(
                    rule=f"{check.name} ({number})" if not check.name else check.name,
                    message=check.message,
                    severity=check.severity,
                    rows=found,
                    column=shown,
                    source=check.over == SOURCE,
                )

    def _column(self, column: Column, values: pa.Array, mapped: Mapped) -> Iterator[Broken]:
        name = column.name
        if column.required and values.null_count:
            null = pc.is_null(values)
            if name in mapped.lost:  # told already
                null = pc.and_(null, pc.invert(pc.fill_null(mapped.lost[name], False)))
            yield from _if(null, f"{name}: required", f"{name} is required, and there is no value")
        if not len(values) or values.null_count == len(values):
            return
        if column.type.is_numeric and (column.minimum is not None or column.maximum is not None):
            low, high = column.minimum, column.maximum
            # 0.7 as float32 is less than 0.7: bounds are rounded as the values were
            kind = values.type if pa.types.is_floating(values.type) else pa.float64()
            tests = [pc.less(values, pa.scalar(low, kind))] if low is not None else []
            tests += [pc.greater(values, pa.scalar(high, kind))] if high is not None else []
            outside = tests[0] if len(tests) == 1 else pc.or_kleene(*tests)
            limits = f"{'' if low is None else f'{low:g}'} to {'' if high is None else f'{high:g}'}".strip()
            yield from _if(outside, f"{name}: range", f"{name} is outside {limits}", name)
        size = column.type.size if column.type.is_string and not column.type.is_timestamp else None
        if size is not None:
            yield from _if(pc.greater(pc.utf8_length(values), size), f"{name}: length", f"{name} is longer than {size} characters", name)
        codes = self._codes.get(name)
        if codes is not None and (column.type.is_string or column.type.is_integer):
            unknown = pc.invert(pc.is_in(pc.cast(values, pa.string()), value_set=codes, skip_nulls=False))
            unknown = pc.and_(unknown, pc.is_valid(values))
            yield from _if(unknown, f"{name}: enum", f"{name} is none of the values of the enum {column.enum}", name, WARNING)

    def _sphere(self, rows: pa.RecordBatch) -> Iterator[Broken]:
        if self.mapping.table.position is None:
            return
        lon, lat = self.mapping.table.position
        latitude, longitude = rows.column(lat), rows.column(lon)
        if not all(pa.types.is_floating(values.type) or pa.types.is_integer(values.type) for values in (latitude, longitude)):
            return
        yield from _if(pc.greater(pc.abs(latitude), 90.0), f"{lat}: sphere", f"{lat} is no latitude: outside -90 to 90 degrees", lat)
        wrong = pc.or_kleene(pc.less(longitude, -180.0), pc.greater(longitude, 360.0))
        yield from _if(wrong, f"{lon}: sphere", f"{lon} is no longitude: outside 0 to 360 (or -180 to 180) degrees", lon)

    def _unfulfilled(self, mapped: Mapped, batch: pa.RecordBatch) -> Iterator[Broken]:
        """Tell of expressions that gave nothing although all they are made from is there: an unreadable date, say."""
        for column in self.mapping.table.columns:
            values = mapped.rows.column(column.name)
            if (
                column.name in self.mapping.copies
                or column.name in self._deliberate
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
                before = batch.column(name) if mapped.at is None else batch.column(name).take(pa.array(mapped.at))
                mask = pc.and_(mask, pc.is_valid(before))
            shown = origins[0] if len(origins) == 1 else None
            message = f"{column.name} has no value although {', '.join(origins)} {'has' if len(origins) == 1 else 'have'}"
            yield from _if(mask, f"{column.name}: empty", message, shown, WARNING, source=True)

    def _check(self, check: Check, mapped: Mapped, batch: pa.RecordBatch) -> pa.Array | None:
        if check.over == SOURCE:
            bad = self.engine.compute(check.bound, {SOURCE: batch, **self.mapping.lookups}).column(ROW)
            if not len(bad):
                return None
            numbers = batch.column(ROW)
            numbers = numbers if mapped.at is None else numbers.take(pa.array(mapped.at))
            found = pc.is_in(numbers, value_set=whole(bad))
            return found if pc.any(found).as_py() else None
        rows = mapped.rows.append_column(ROW, pa.array(np.arange(mapped.rows.num_rows, dtype=np.int64)))
        bad = self.engine.compute(check.bound, {TARGET: rows, **self.mapping.lookups}).column(ROW)
        if not len(bad):
            return None
        mask = np.zeros(mapped.rows.num_rows, bool)
        mask[np.asarray(whole(bad))] = True
        return pa.array(mask)


def _if(
    mask: pa.Array, rule: str, message: str, column: str | None = None, severity: str = ERROR, *, source: bool = False
) -> Iterator[Broken]:
    if pc.any(mask).as_py():
        yield Broken(rule=rule, message=message, severity=severity, rows=pc.fill_null(mask, False), column=column, source=source)


def _may_be_null(node: object) -> bool:
    """Tell that an expression gives null on purpose: it chooses by cases."""
    if isinstance(node, tree.Case) or (isinstance(node, tree.Function) and node.name == "NULLIF"):
        return True
    if isinstance(node, tuple):
        return any(_may_be_null(part) for part in node)
    if is_dataclass(node) and type(node).__module__ == tree.__name__:
        return any(_may_be_null(getattr(node, item.name)) for item in fields(node) if item.name not in {"meta", "column", "table"})
    return False

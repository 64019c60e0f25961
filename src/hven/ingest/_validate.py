"""Checks of mapped rows, whole columns at a time: lost values, nulls, ranges, codes, the sphere, and the descriptor's rules."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.adql.tree import Case, Function, Select, walk
from hven.descriptor.mapping import SOURCE, TARGET
from hven.ingest._casting import outside, whole
from hven.ingest._rules import ERROR, INFO, WARNING, Broken
from hven.ingest._validate_columns import ColumnRules
from hven.ingest._validate_contours import contoured, mended
from hven.ingest._validate_obscore import Observations
from hven.model.errors import DataError, HvenError
from hven.model.literal import figure
from hven.sources import ROW

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from hven.descriptor.mapping import Check, Mapping
    from hven.engines import Engine
    from hven.ingest._transform import Mapped
    from hven.ingest._validate_unique import Seen
    from hven.model.resource import Rule
    from hven.model.table import Column


@dataclass(slots=True)
class Validation:
    """The rules of one table; `throws`: rows with errors are set aside."""

    engine: Engine
    mapping: Mapping
    throws: bool = field(default=True, kw_only=True)
    _codes: dict[str, pa.Array] = field(default_factory=dict)
    _deliberate: set[str] = field(default_factory=set)
    seen: dict[str, Seen] = field(default_factory=dict)
    _rules: ColumnRules = field(init=False)
    _observations: list[Observations] = field(init=False)

    def __post_init__(self) -> None:
        self._rules = ColumnRules(self.mapping, self.seen)
        self._deliberate |= self.mapping.filled  # contours say why they have no region
        self._observations = [
            Observations(self.engine, one, Validation(self.engine, one, seen=self.seen, throws=False).broken)
            for one in self.mapping.observations
        ]
        table = self.mapping.table
        for query in self.mapping.queries:
            body = query.query.body
            if isinstance(body, Select) and len(body.items) == len(query.columns):
                self._deliberate.update(
                    column.name for item, column in zip(body.items, query.columns, strict=True) if _may_be_null(item)
                )
        for column in table.columns:
            labels = table.enums.get(column.enum) if column.enum else None
            if labels:
                self._codes[column.name] = pa.array([str(code) for code in labels], pa.string())

    def broken(self, mapped: Mapped, batch: pa.RecordBatch) -> Iterator[Broken]:
        """Yield what is wrong with mapped rows; `batch` is the prepared source batch that they came from.

        Rows that an error throws away take no key from another one, and give no observation: these are looked at last.
        The column of flags of `mapped` is filled meanwhile.
        """
        thrown = np.zeros(mapped.rows.num_rows, bool)
        flags: npt.NDArray[np.int64] | None = None
        for item in chain(
            self._alone(mapped, batch), (_of_rule(*found) for found in self._rules.repeated(mapped.rows, thrown))
        ):
            if item.severity == ERROR and self.throws:
                thrown |= np.asarray(item.rows)
            if item.flag is not None and self.mapping.flags is not None:
                flags = np.zeros(mapped.rows.num_rows, np.int64) if flags is None else flags
                flags[np.asarray(item.rows)] |= 1 << item.flag
            yield item
        if flags is not None and self.mapping.flags is not None:
            _set_flags(mapped, self.mapping.flags, flags)
        for one in self._observations:
            yield from one.broken(mapped, thrown)

    def _alone(self, mapped: Mapped, batch: pa.RecordBatch) -> Iterator[Broken]:
        """Yield what is wrong with each row by itself."""
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
            values = rows.column(column.name)
            if column.name in mapped.constant and len(values) > 1:  # one row speaks for all
                for item in self._column(column, values.slice(0, 1), mapped):
                    yield replace(item, rows=pa.repeat(item.rows[0], len(values)))
            else:
                yield from self._column(column, values, mapped)
        yield from self._sphere(rows)
        yield from self._unfulfilled(mapped, batch)
        yield from self._left_empty(mapped, batch)
        yield from contoured(self.engine, self.mapping, mapped, batch)
        crossing: dict[str, pa.Array] = {}
        for rule, names, bad in self._rules.failed(rows, mapped.constant):
            if rule.check == "orientation" and names[0] in crossing:  # these are turned
                bad = pc.and_not(bad, crossing[names[0]])  # noqa: PLW2901
                if not pc.any(bad).as_py():
                    continue
            yield replace(_of_rule(rule, names, bad), values=rows.column(names[0]))  # as they were given
            if rule.check == "simple" and rule.severity != ERROR:
                crossing |= dict.fromkeys(names, bad)
        for name, bad in crossing.items():
            looked = {"orientation", "simple"}
            views = [rule.of for rule in self.mapping.rules if rule.check in looked and name in rule.columns]
            kind = self.mapping.table.column(name).type
            yield from mended(mapped, name, bad, kind=kind, outside="sky" not in views)
        flags = self._joint(mapped)
        for number, check in enumerate(self.mapping.checks):
            failing = self._check(check, mapped, batch) if check.over == SOURCE else flags.get(id(check))
            if failing is not None:
                shown = check.columns[0] if len(check.columns) == 1 else None
                yield Broken(
                    rule=f"{check.name} ({number})" if not check.name else check.name,
                    message=check.message,
                    severity=check.severity,
                    rows=failing,
                    column=shown,
                    source=check.over == SOURCE,
                    flag=check.flag,
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
            yield from _if(
                outside(values, column.minimum, column.maximum),
                f"{name}: range",
                f"{name} is {_limits(column.minimum, column.maximum)}",
                name,
            )
        size = column.type.size if column.type.is_string and not column.type.is_timestamp else None
        if size is not None:
            yield from _if(
                pc.greater(pc.utf8_length(values), size),
                f"{name}: length",
                f"{name} is longer than {size} characters",
                name,
            )
        codes = self._codes.get(name)
        if codes is not None and (column.type.is_string or column.type.is_integer):
            unknown = pc.invert(pc.is_in(pc.cast(values, pa.string()), value_set=codes, skip_nulls=False))
            unknown = pc.and_(unknown, pc.is_valid(values))
            yield from _if(
                unknown, f"{name}: enum", f"{name} is none of the values of the enum {column.enum}", name, WARNING
            )

    def _sphere(self, rows: pa.RecordBatch) -> Iterator[Broken]:
        if self.mapping.table.position is None:
            return
        lon, lat = self.mapping.table.position
        latitude, longitude = rows.column(lat), rows.column(lon)
        if not all(
            pa.types.is_floating(values.type) or pa.types.is_integer(values.type) for values in (latitude, longitude)
        ):
            return
        yield from _if(
            outside(latitude, -90.0, 90.0), f"{lat}: sphere", f"{lat} is no latitude: outside -90 to 90 degrees", lat
        )
        yield from _if(
            outside(longitude, -180.0, 360.0),
            f"{lon}: sphere",
            f"{lon} is no longitude: outside 0 to 360 (or -180 to 180) degrees",
            lon,
        )

    def _unfulfilled(self, mapped: Mapped, batch: pa.RecordBatch) -> Iterator[Broken]:
        """Yield expressions that gave nothing although all they are made from is there: an unreadable date, say."""
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
            message = (
                f"{column.name} has no value although {', '.join(origins)} {'has' if len(origins) == 1 else 'have'}"
            )
            yield from _if(mask, f"{column.name}: empty", message, shown, WARNING, source=True)

    def _left_empty(self, mapped: Mapped, batch: pa.RecordBatch) -> Iterator[Broken]:
        """Count rows in which an expression gave nothing because something that it is made from is not there."""
        for column in self.mapping.table.columns:
            values = mapped.rows.column(column.name)
            if (
                column.name in self.mapping.copies
                or column.name in self.mapping.filled
                or not values.null_count
                or self._only_read(column.name, batch)
            ):
                continue
            null = pc.is_null(values)
            for name in column.origins:
                if name not in batch.schema.names or not batch.column(name).null_count:
                    continue
                before = batch.column(name) if mapped.at is None else batch.column(name).take(pa.array(mapped.at))
                without = pc.and_(null, pc.is_null(before))
                yield from _if(
                    without,
                    f"{column.name}: without {name}",
                    f"without {name}: {column.name} left empty",
                    name,
                    INFO,
                    source=True,
                )

    def _only_read(self, name: str, batch: pa.RecordBatch) -> bool:
        """Check whether a column is text read as another type, or one of the same name in another unit: nothing is computed there."""
        source = self.mapping.conversions.get(name)
        if source is None:
            return False
        type_ = batch.schema.field(source).type if source in batch.schema.names else None
        return (
            source.lower() == name.lower()
            or type_ is None
            or not (pa.types.is_floating(type_) or pa.types.is_integer(type_))
        )

    def _check(self, check: Check, mapped: Mapped, batch: pa.RecordBatch) -> pa.Array | None:
        if check.over == SOURCE:
            bad = self.engine.compute(check.bound, {SOURCE: batch, **self.mapping.lookups}).column(ROW)
            if not len(bad):
                return None
            numbers = batch.column(ROW)
            numbers = numbers if mapped.at is None else numbers.take(pa.array(mapped.at))
            found = pc.is_in(numbers, value_set=whole(bad))
            return found if pc.any(found).as_py() else None
        return None

    def _joint(self, mapped: Mapped) -> dict[int, pa.Array]:
        """Run all conditions over the mapped rows in one pass; return the rows that fail, by `id` of the checks that any row fails."""
        if self.mapping.joint is None:
            return {}
        rows = mapped.rows.append_column(ROW, pa.array(np.arange(mapped.rows.num_rows, dtype=np.int64)))
        try:
            bad = self.engine.compute(self.mapping.joint, {TARGET: rows, **self.mapping.lookups})
        except HvenError:
            self._blame(rows)
            raise
        if not bad.num_rows:
            return {}
        places = np.asarray(whole(bad.column(ROW)))
        found: dict[int, pa.Array] = {}
        for number, check in enumerate(check for check in self.mapping.checks if check.over == TARGET):
            failing = places[np.asarray(whole(bad.column(f"check{number}"))) == 1]
            if len(failing):
                mask = np.zeros(mapped.rows.num_rows, bool)
                mask[failing] = True
                found[id(check)] = pa.array(mask)
        return found

    def _blame(self, rows: pa.RecordBatch) -> None:
        """Find out which condition cannot be evaluated over these rows.

        Raises
        ------
        DataError
            It is this one.
        """
        for check in self.mapping.checks:
            if check.over == TARGET:
                try:
                    self.engine.compute(check.bound, {TARGET: rows, **self.mapping.lookups})
                except HvenError as error:
                    message = f"the rule {check.name} cannot be evaluated: {error.message}"
                    raise DataError(message, place=check.place, remedy=error.remedy) from error


def _set_flags(mapped: Mapped, name: str, flags: npt.NDArray[np.int64]) -> None:
    at = mapped.rows.schema.get_field_index(name)
    values = pa.array(flags).cast(mapped.rows.schema.field(at).type)
    mapped.rows = mapped.rows.set_column(at, mapped.rows.schema.field(at), values)
    mapped.constant -= {name}


def _if(
    mask: pa.Array | None,
    rule: str,
    message: str,
    column: str | None = None,
    severity: str = ERROR,
    *,
    source: bool = False,
) -> Iterator[Broken]:
    if mask is not None and pc.any(mask).as_py():
        yield Broken(
            rule=rule, message=message, severity=severity, rows=pc.fill_null(mask, False), column=column, source=source
        )


def _limits(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f"outside {figure(low)} to {figure(high)}"
    return (
        f"below the minimum {figure(low)}"
        if low is not None
        else ""
        if high is None
        else f"above the maximum {figure(high)}"
    )


def _of_rule(rule: Rule, names: tuple[str, ...], bad: pa.Array) -> Broken:
    """Describe rows that break a rule which looks at whole columns."""
    several = len(rule.columns) > len(names)  # the rule is about other columns too
    what = ", ".join(names)
    said = rule.message or (
        f"{what} is none of the words of {rule.of}" if rule.check == "words" else f"{what} fails the check {rule.check}"
    )
    return Broken(
        rule=f"{rule.name}: {what}" if several else rule.name,
        message=said if names[0] in said else f"{what}: {said}",
        severity=rule.severity,
        rows=bad,
        column=names[0],
        flag=rule.flag,
    )


def _may_be_null(tree: object) -> bool:
    """Return whether an expression gives null on purpose: it chooses by cases."""
    return any(isinstance(node, Case) or (isinstance(node, Function) and node.name == "NULLIF") for node in walk(tree))

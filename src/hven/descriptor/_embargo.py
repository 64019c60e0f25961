"""``embargo:`` of a table: what it says, the release date of each row that it makes, and in words what it means."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hven.adql.tree import Case, Cast, Compare, Expr, Function, IsNull, Literal, Meta
from hven.descriptor import _value_trees as trees
from hven.descriptor._column_expressions import expression
from hven.descriptor.outcome import Broken
from hven.model.resource import Embargo, Rule, Term
from hven.model.table import Column
from hven.model.types import TIMESTAMP

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.descriptor._expression_names import Names, Targets
    from hven.descriptor.value_schema import Faults, Fields
    from hven.descriptor.written import Written

COLUMN = "obs_release_date"
SAID = frozenset({"type", "description", "ucd"})


def embargo(
    what: str, fields: Fields, made: Sequence[Column], given: Mapping[str, frozenset[str]], faults: Faults
) -> tuple[Embargo | None, Column | None]:
    """Read ``embargo:`` of a table; return it and the column of release dates."""
    said: Fields | None = fields.get("embargo")
    if said is None or not {"from", "months"} <= said.keys():
        return None, None
    where = f"{what}.embargo"
    for key in ("from", "exempt", "delivered"):
        if key in said:
            expression(said[key], f"{where}.{key}", faults, condition=key != "from")
    name = str(said.get("column", COLUMN))
    column = next((one for one in made if one.name == name), Column(name=name))
    if "type" not in given.get(name, ()):
        column = column.having(type=TIMESTAMP)
    elif not column.type.is_timestamp:
        faults.error(f"{where}: {name} is no time, but {column.type}", said.place, "type: timestamp")
    found = Embargo(
        column=name,
        begins=said["from"],
        months=_term(said["months"], f"{where}.months", _months, "a whole number of months", faults),
        not_before=_term(said["not_before"], f"{where}.not_before", _end, "a date: 2027-01-31", faults)
        if "not_before" in said
        else None,
        exempt=said.get("exempt"),
        delivered=said.get("delivered"),
        place=said.place,
    )
    told = f"When the row is released: {found.words()}"
    return found, column.having(description=column.description or told, ucd=column.ucd or "time.release")


def _term(said: Fields, where: str, read: Callable[[str], int | str], wanted: str, faults: Faults) -> Term:
    def one(value: Written) -> int | str | None:
        with suppress(ValueError):
            return read(str(value))
        faults.error(f"{where}: {str(value)!r} is not {wanted}", value.place)
        return None

    values = {str(key): made for key, value in said.get("values", {}).items() if (made := one(value)) is not None}
    if ("from" in said) != ("values" in said):
        faults.error(f"{where}: 'from' and 'values' belong together", said.place, "{from: column, values: {a: 12}}")
    elif not said:
        faults.error(f"{where} says nothing", said.place, wanted)
    elif "from" in said:
        expression(said["from"], f"{where}.from", faults)
    return Term(by=said.get("from"), values=values, default=one(said["default"]) if "default" in said else None)


def _months(text: str) -> int:
    if not text.isdecimal() or len(text) > 4:
        raise ValueError
    return int(text)


def _end(text: str) -> str:
    """Read a moment, in UTC; a bare date counts to its end."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return (moment if ":" in text else moment + timedelta(hours=23, minutes=59, seconds=59)).isoformat()


def undated(said: Embargo) -> Rule:
    """Return the rule that counts rows whose release nobody can tell: they stay closed."""
    return Rule(
        name="embargo",
        condition=f'"{said.column}" IS NOT NULL',
        severity="warning",
        message=f"embargo without date: neither its own {said.column} nor {said.begins} says when it ends, so that the row stays closed",
        place=said.place,
    )


def released(said: Embargo, names: Names, targets: Targets, tree: Expr, meta: Meta) -> tuple[Expr, Meta]:
    """Make the release date of a row; `tree` is that which it has itself.

    What cannot be read, and a length that is not known, make no date: nothing is opened by a slip.
    """
    what = f"{names.what}.embargo"
    months = _value(said.months, f"{what}.months", names, targets)
    if said.exempt is not None:
        months = Case(None, ((_condition(said.exempt, f"{what}.exempt", names, targets), Literal(0)),), months)
    begins = names.bound(said.begins, f"{what}.from", targets)
    date: Expr = Function("ADD_MONTHS", (_moment(*begins, said.begins, f"{what}.from", names), months))
    own = _moment(tree, meta, said.begins, f"{what}.column", names)
    date = Case(None, ((IsNull(tree), date),), own)
    if said.not_before is not None:
        bound = Cast(_value(said.not_before, f"{what}.not_before", names, targets), "TIMESTAMP")
        date = Case(None, ((Compare(">", bound, date), bound),), date)
    if said.delivered is not None:
        date = Case(None, ((_condition(said.delivered, f"{what}.delivered", names, targets), own),), date)
    return date, replace(names.typed(date, said.begins, what), column=None)


def _value(term: Term, what: str, names: Names, targets: Targets) -> Expr:
    otherwise = trees.NULL if term.default is None else Literal(term.default)
    if term.by is None:
        return otherwise
    by = trees.text(*names.bound(term.by, f"{what}.from", targets))
    word = Function("LOWER", (Function("TRIM", (by,)),))
    return Case(
        word, tuple((Literal(key.strip().lower()), Literal(value)) for key, value in term.values.items()), otherwise
    )


def _condition(said: Written, what: str, names: Names, targets: Targets) -> Expr:
    found = names.condition(said, said.place, what, targets)
    if found is None:
        raise Broken
    return found


def _moment(tree: Expr, meta: Meta, said: Written, what: str, names: Names) -> Expr:
    if meta.type.is_numeric and tree is not trees.NULL:  # a modified Julian date
        return Function("ADD_MONTHS", (tree, Literal(0)))
    try:
        return trees.cast(tree, meta, TIMESTAMP)
    except trees.Unfit as error:
        names.faults.error(f"{what}: {error.message}", said.place, error.remedy)
        raise Broken from None


__all__ = ["SAID", "embargo", "released", "undated"]

"""``flags:`` of a table: the column whose bits say which rules a row breaks, described for readers; and by what flagged rows are counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.descriptor._column_expressions import expression
from hven.descriptor._columns import check_name
from hven.model.resource import Flags
from hven.model.table import Column
from hven.model.types import INT32, INT64

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.descriptor.value_schema import Faults, Fields

HIGHEST = 62  # bit of a long: 63 is its sign
_BITS = {"unsignedByte": 7, "short": 14, "int": 30, "long": HIGHEST}
_UCD = "meta.code.qual"
SAID = frozenset({"type", "description", "ucd", "unit"})  # of the column: nothing else says it


def flags(
    what: str, fields: Fields, made: Sequence[Column], given: Mapping[str, frozenset[str]], faults: Faults
) -> tuple[Flags | None, Column | None]:
    """Read ``flags:`` of a table.

    Parameters
    ----------
    made, given
        The columns that the descriptor describes, and what it says of each.

    Returns
    -------
    flags, column
        The column as readers see it: with the meaning of each bit.
    """
    said = fields.get("flags")
    rules: Mapping[str, Fields] = fields.get("rules", {})
    flagged = {str(name): item for name, item in rules.items() if "flag" in item}
    if said is None or "column" not in said:
        if "flags" not in fields.places:
            for name, item in flagged.items():
                message = f"{what}.rules.{name}: the table has no column for flags"
                faults.error(message, item.places["flag"], "say which one, beside rules: flags: quality_flags")
        return None, None
    owners: dict[int, str] = {}
    given_flags = bool(said.get("given", False))
    for name, item in flagged.items():
        _check(f"{what}.rules.{name}", item, faults, given=given_flags)
        bit = int(item["flag"])
        if bit in owners:
            free = next(
                number for number in range(HIGHEST + 1) if number not in {int(one["flag"]) for one in flagged.values()}
            )
            faults.error(
                f"{what}.rules.{name}: bit {bit} is that of {owners[bit]}", item.places["flag"], f"flag: {free} is free"
            )
        owners.setdefault(bit, name)
    if not flagged:
        faults.warning(
            f"{what}.flags: no rule sets a bit of it", said.place, "say flag: 0 beside the condition of a rule"
        )
    if not check_name(said["column"], "a column", faults):
        return None, None
    column = _column(what, said, made, given, flagged, owners, faults)
    by = {str(key): (value, value.place) for key, value in said.get("by", {}).items()}
    for key, (text, _) in by.items():
        expression(text, f"{what}.flags.by.{key}", faults)
    bits = {owner: bit for bit, owner in sorted(owners.items()) if flagged[owner].get("severity") != "off"}
    informative = frozenset(name for name in bits if flagged[name].get("severity") == "info")
    place = said["column"].place
    return Flags(column=column.name, bits=bits, by=by, given=given_flags, informative=informative, place=place), column


def _check(where: str, item: Fields, faults: Faults, *, given: bool) -> None:
    tests = "if" in item.places or "check" in item.places
    if given and tests:
        faults.error(
            f"{where}: the rows come with their flags (flags: given), and nothing is tested",
            item.place,
            "take 'if' away, or 'given'",
        )
    elif not given and not tests:
        faults.error(
            f"{where} lacks the key 'if'",
            item.place,
            "say the condition; or flags: {given: true} if the rows come with their flags",
        )
    if item.get("severity") == "error":
        faults.error(
            f"{where}: rows that are refused have no flag",
            item.places.get("severity", item.place),
            "severity: warning, or no 'flag'",
        )
    if item.get("check") == "unique":
        faults.error(
            f"{where}: which of two rows is the second one is no property of the row, so there is no flag for it",
            item.places["flag"],
            "take 'flag' away: such rows are refused, or counted",
        )


def _column(
    what: str,
    said: Fields,
    made: Sequence[Column],
    given: Mapping[str, frozenset[str]],
    flagged: Mapping[str, Fields],
    owners: Mapping[int, str],
    faults: Faults,
) -> Column:
    """Build the column as readers see it: its description says what each bit means."""
    name, place = str(said["column"]), said["column"].place
    highest = max(owners, default=0)
    column = next((one for one in made if one.name.lower() == name.lower()), None)
    if column is None:
        column = Column(name=name, ucd=_UCD, type=INT32 if highest <= _BITS["int"] else INT64)
    elif column.name != name:
        faults.error(f"{what}.flags: 'columns' writes it {column.name!r}", place, f"flags: {column.name}")
    elif "type" not in given[name]:
        column = column.having(type=INT32 if highest <= _BITS["int"] else INT64)
    elif column.type.arraysize is not None or column.type.datatype not in _BITS:
        faults.error(
            f"{what}.flags: the column {name} is {column.type}, which has no bits", place, "type: int32, or int64"
        )
    elif highest > _BITS[column.type.datatype]:
        faults.error(f"{what}.flags: {column.type} has no bit {highest}", place, "type: int64")
    meaning = [
        f"{1 << bit} {owner}{_told(flagged[owner])}"
        for bit, owner in sorted(owners.items())
        if flagged[owner].get("severity") != "off"
    ]
    text = (column.description or "Quality flags").rstrip(".")
    behind = f": 0 if nothing is wrong, else the sum of {'; '.join(meaning)}" if meaning else ": 0"
    description = text if text.endswith(behind.rstrip(".")) else text + behind  # a mirror's says it already
    return column.having(
        description=description, ucd=column.ucd or _UCD, required=column.required or not said.get("given", False)
    )


def _told(rule: Fields) -> str:
    message = " ".join(str(rule.get("message", "")).split())
    return f" ({message})" if message else ""


__all__ = ["HIGHEST", "SAID", "flags"]

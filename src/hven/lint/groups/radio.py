"""Group radio: ObsCore's extension for radio data, ivoa.obscore_radio, and how it joins with ivoa.obscore."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.lint import values
from hven.lint.facts import facts
from hven.lint.findings import Notes, table_of_checks
from hven.lint.group import Group
from hven.lint.groups.epncore import NUMBERS, plain_type
from hven.lint.votable import TEXTS
from hven.model.errors import UserError

if TYPE_CHECKING:
    from hven.lint.service import Service, Table

R = "ObsCore radio extension (draft 2025-09)"
CHECKS = table_of_checks(
    ("radio.utype", "warning", R, "the table does not have the extension's utype", "set ivo://ivoa.net/std/obscore#radio-ext-1.0", ""),
    ("radio.missing-column", "error", R, "a column of the extension is missing", "add it, NULL where there is nothing to say", ""),
    ("radio.type", "error", R, "a column has another kind of type than the extension's", "numbers for quantities, text for words", ""),
    ("radio.unit", "error", R, "a column has another unit than the extension's", "convert, and say that unit", ""),
    ("radio.ucd", "warning", R, "a column has another UCD than the extension's", "say the extension's", ""),
    ("radio.natural-join", "error", R, "a column besides obs_publisher_did is in ivoa.obscore too: NATURAL JOIN gives nothing", "keep it in the radio table alone", ""),
    ("radio.condition", "error", "TAP 1.1 sec. 2.7; ADQL 2.1 sec. 2.2", "a condition of plain ADQL on a column fails", "see the service's own message, and the column's type", "E_QERR E_QERX"),
    ("radio.orphan", "error", R, "an obs_publisher_did is not in ivoa.obscore", "publish the observation there, or take the row out", ""),
    ("radio.null", "error", R, "a row has no obs_publisher_did", "fill it", ""),
    ("radio.interval-order", "error", R, "an interval's minimum is above its maximum", "swap them", ""),
    ("radio.negative", "error", R, "a quantity is negative", "sizes, resolutions and distances are not", ""),
    ("radio.fill", "warning", R, "an eccentricity or a filling factor is outside 0..1", "give fractions", ""),
)  # fmt: skip
UTYPE = "ivo://ivoa.net/std/obscore#radio-ext-1.0"
KEYS = ("obs_publisher_did",)
PAIRS = ("s_resolution", "s_fov", "uv_distance", "instr_tel")


def _run(service: Service, notes: Notes) -> None:
    table = service.declared.get("ivoa.obscore_radio") or next(
        (one for one in service.tables() if one.utype.lower() == UTYPE), None
    )
    if table is None:
        notes.skip("there is no radio extension of ObsCore")
        return
    if table.utype.lower() != UTYPE:
        notes.tell("radio.utype", table=table.name, value=table.utype or "none")
    known = facts("obscore_radio")
    for fact in known.values():
        column = table.get(fact.name)
        if column is None:
            if fact.mandatory:
                notes.tell("radio.missing-column", table=table.name, column=fact.name)
            continue
        where: dict[str, Any] = {"table": table.name, "column": column.name}
        wanted = TEXTS if fact.type == "text" else NUMBERS
        # the draft does not say what that is: a number or a word
        if plain_type(column) not in wanted and fact.name != "instr_feed":
            notes.tell("radio.type", **where, value=column.datatype)
        if column.unit != fact.unit:
            notes.tell("radio.unit", f"it must be {fact.unit or 'none'}", **where, value=column.unit or "none")
        if fact.ucd and column.ucd.lower() != fact.ucd.lower():
            notes.tell("radio.ucd", f"it must be {fact.ucd}", **where, value=column.ucd or "none")
    core = service.declared.get("ivoa.obscore")
    for name in sorted((table.names & core.names) - {"obs_publisher_did"}) if core is not None else ():
        notes.tell("radio.natural-join", table=table.name, column=name)
    try:
        _rows(service, notes, table, joined=core is not None)
    except UserError as error:
        notes.skip(f"{table.name}: {error.message}")


def _rows(service: Service, notes: Notes, table: Table, *, joined: bool) -> None:
    quantities = [fact.name for fact in facts("obscore_radio").values() if fact.type != "text"]
    rules = [
        values.filled("radio.null", "obs_publisher_did"),
        *(values.ordered("radio.interval-order", f"{name}_min", f"{name}_max") for name in PAIRS[:3]),
        values.ordered("radio.interval-order", "instr_tel_min_dist", "instr_tel_max_dist"),
        *(values.between("radio.fill", name, 0, 1) for name in ("uv_distribution_ecc", "uv_distribution_fill")),
        *(
            values.between("radio.negative", name, 0, 1e300)
            for name in quantities
            if not name.startswith("uv_distribution")
        ),
    ]
    values.judge(service, notes, table, rules, KEYS)
    if not joined or "obs_publisher_did" not in table.names:
        return
    condition = "obs_publisher_did NOT IN (SELECT obs_publisher_did FROM ivoa.obscore)"
    try:
        found = service.query(f"SELECT TOP 1 obs_publisher_did FROM {table.name} WHERE {condition}", 1).rows
    except UserError as error:
        notes.skip(f"whether each radio row has its observation: {error.message}")
        return
    if found:
        count = service.number(f"SELECT COUNT(*) AS n FROM {table.name} WHERE {condition}") or 1
        notes.tell("radio.orphan", table=table.name, column="obs_publisher_did", value=found[0][0], count=count)


GROUP = Group(name="radio", title="ObsCore for radio data", checks=CHECKS, run=_run)

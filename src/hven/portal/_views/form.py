"""The form of a search as its page shows it: fields with what stands in them, their faults, and what is asked as a list of its own."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from hven.portal._explore import cadence, facets, fields, notation
from hven.portal._explore import rows as pages
from hven.portal._explore.cell_text import cells, headings
from hven.portal._explore.column_labels import Labels
from hven.portal._explore.column_pairs import joined
from hven.portal._explore.constant_columns import untelling
from hven.portal._explore.names import on_body
from hven.portal._explore.number_text import of_light, unit_text
from hven.portal._explore.observation_lines import lines
from hven.portal._explore.search import EVERY, INSIDE, NEAR, WORDS, sphere
from hven.services.file_rows import kind_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from hven.model.table import Table
    from hven.portal._explore import Search
    from hven.portal._explore.fields import Field
    from hven.portal._explore.observation_lines import Observed
    from hven.portal._explore.page_queries import Asking
    from hven.portal._explore.search import Near

OWN = (WORDS, NEAR, EVERY)  # fields of the form that are no columns
LISTED = 60  # codes that a list shows
FEW = 5  # fields that a form begins with: it has room for one more


def form(
    search: Search, asking: Asking | None, labels: Labels, *, names: Iterable[str] | None = None
) -> dict[str, Any]:
    """Return the form of a search; `names` are the only columns that it has."""
    given = asked(search)
    wanted = None if names is None else {name.lower() for name in names}
    alike = untelling(search.table, asking) if asking is not None else frozenset[str]()
    few = _chosen_from(search.table, asking)
    made = [
        {**field(one, given.get(one.name, ()), labels), "choices": one.column.name in few and not one.pair}
        for one in fields.form(search.table, [name for name in given if not name.startswith("_")])
        if (wanted is None or one.name.lower() in wanted)
        and (one.name in given or not (_untold(one, alike, labels) or _picture(one, search.table)))
    ]
    return {
        "fields": made,
        "sections": _sections(made, _first(made, search.table) if wanted is None else ()),
        "words": search.words or dict(search.wrong).get(WORDS, ""),
        "place": place(search),
        "every": every(search, asking, labels),
        "faults": {one.field: {"message": one.message, "remedy": one.remedy} for one in search.faults},
        "kept": [
            (name, value)
            for name, value in search.pairs()
            if name.startswith("_") and name not in OWN and not _is_column(search.table, name)
        ],
    }


def _first(made: Sequence[dict[str, Any]], table: Table) -> tuple[str, ...]:
    """Return the fields that a form begins with; where the usual ones of a table are few, and none is of light, that one is, too."""
    found = fields.first(table)
    begin = [one for one in made if _begins(one, found)]
    if table.form or not found or len(begin) >= FEW or any(one["light"] for one in begin):
        return found
    return (*found, *(one["name"].lower() for one in made if one["light"]))


def _begins(one: Mapping[str, Any], first: Sequence[str]) -> bool:
    """Return whether a field is among the first ones, or of a column of the table's own."""
    return one["name"].lower() in {name.lower() for name in first} or (not one["section"] and one["principal"])


def _untold(one: Field, alike: Collection[str], labels: Labels) -> bool:
    """Return whether nothing is found by a field, as all rows say the same."""
    if not one.pair:
        return one.column.name in alike
    _, low, high = labels.pairs[one.column.name]
    return low.name in alike and high.name in alike


def _picture(one: Field, table: Table) -> bool:
    """Return whether a field is of addresses of pictures, which nobody searches by unless the descriptor says so."""
    return kind_of(one.column, table) == "picture" and one.name not in table.form


def _chosen_from(table: Table, asking: Asking | None) -> set[str]:
    """Return the columns whose choices stand in their field."""
    if asking is None:
        return set()
    return {one.name for one in facets.offered(table, asking) if facets.in_field(one, asking, table)}


def asked(search: Search) -> dict[str, tuple[str, ...]]:
    """Return what was written into each field, understood or not."""
    found = dict(search.conditions)
    for name, value in search.wrong:
        found[name] = (*found.get(name, ()), value)
    return found


def field(one: Field, values: Sequence[str], labels: Labels) -> dict[str, Any]:
    """Return a field with what stands in it."""
    column = one.column
    parts = (
        fields.taken(values, time=one.kind == "time")
        if one.kind in {"time", "range"}
        else fields.Parts(low=",".join(values))
    )
    codes = list(labels.words(column).items()) if one.kind == "code" else []
    usual = labels.scale(column).unit
    usual = usual if usual in one.units[1:] else ""
    kind = "text" if one.kind == "code" and not 0 < len(codes) <= LISTED else one.kind
    others = dict(codes) if kind == "code" else {"true": "", "false": ""}
    if kind in {"code", "flag"} and parts.low and parts.low.lower() not in {*others, "null"}:
        kind = "text"  # several of them, or a condition that a list has no line for
    return {
        "name": one.name,
        "label": labels.name(one.name),
        "unit": labels.unit(column),
        "description": labels.told(column, one.name),
        "kind": kind,
        "low": parts.low,
        "high": parts.high,
        "around": parts.around,
        "given": parts.unit or ("" if values else usual),
        "usual": usual,
        "units": fields.TIMES
        if kind == "time"
        else tuple(dict.fromkeys([*one.units, *([parts.unit] if parts.unit else [])])),
        "codes": codes,
        "round": column.unit == "deg"
        and kind == "range"
        and any(word in (column.ucd or "") for word in (".lon", "pos.eq.ra", ".azi")),
        "light": kind == "range" and of_light(column),
        "principal": column.principal,
        "section": column.section or "",
        "asked": bool(values),
    }


def place(search: Search) -> dict[str, Any] | None:
    """Return the fields of a place; None: the table has no positions."""
    if sphere(search.table) is None and not any(column.name.lower() == "s_region" for column in search.table.columns):
        return None
    found = _place(search)
    return {**found, "body": on_body(search.table)}


def _size(near: Near) -> tuple[str, str]:
    """Return a radius as it was written, if that is a length, else in the unit that suits it: number and unit."""
    said = re.fullmatch(r"(\S*?)\s*([A-Za-z]+)", near.said)
    return (said[1], said[2]) if said is not None else notation.shown(near.radius)


def _place(search: Search) -> dict[str, Any]:
    wrong = dict(search.wrong).get(NEAR)
    if wrong is not None:
        centre, _, radius = wrong.rpartition(",") if "," in wrong else (wrong, "", "1")
        number, _, unit = radius.strip().partition(" ")
        return {"centre": centre, "size": number, "unit": unit or "deg", "found": ""}
    if search.near is None:
        return {"centre": "", "size": "", "unit": "deg", "found": ""}
    near = search.near
    number, unit = _size(near)
    where = f"{near.lon:.6g}, {near.lat:.6g}"
    return {
        "centre": near.name or f"{near.lon!r},{near.lat!r}",
        "size": number,
        "unit": unit,
        "found": where if near.name else "",
    }


def every(search: Search, asking: Asking | None, labels: Labels) -> dict[str, Any] | None:
    """Return the fields of a cadence; None: rows of this table cannot be thinned."""
    table = search.table
    if cadence.timed(table) is None or len(table.primary) != 1:
        return None
    wrong = dict(search.wrong).get(EVERY)
    length, _, each = (wrong or ("" if search.every is None else str(search.every))).partition(",")
    names = [column.name for column in facets.offered(table, asking)] if asking is not None else []
    names = list(dict.fromkeys([*names, *([each] if each else [])]))
    return {
        "length": length,
        "each": each,
        "names": [(name, labels.name(name)) for name in names],
        "lengths": cadence.LENGTHS,
    }


def chips(search: Search, labels: Labels) -> list[dict[str, str]]:
    """Return what is asked, each with the address that asks for all else."""
    found = []
    known = {column.name: column for column in search.table.columns}
    for name, values in search.conditions:
        rest = [(one, value) for one, value in search.pairs() if one != name]
        told = ", ".join(labels.value(known[name], value) if name in known else value for value in values)
        chip = {**_chip(name, told, rest), "label": labels.name(name)}
        found.append({**chip, **_when(search.table, name, values)})
    own = {
        WORDS: search.words,
        INSIDE: search.inside,
        EVERY: "" if search.every is None else str(search.every),
        NEAR: "",
    }
    if search.near is not None:
        own[NEAR] = (
            f"{search.near.name or f'{search.near.lon:.6g}, {search.near.lat:.6g}'}, {' '.join(_size(search.near))}"
        )
    found += [
        _chip(name, value, [pair for pair in search.pairs() if pair[0] != name]) for name, value in own.items() if value
    ]
    return found


def parts(search: Search) -> dict[str, dict[str, str]]:
    """Return what stands in the fields of columns, for scripts."""
    made = [
        field(one, values, Labels(table=search.table))
        for one in fields.form(search.table, asked(search))
        if (values := asked(search).get(one.name))
    ]
    return {
        one["name"]: {"low": one["low"], "high": one["high"], "around": one["around"], "unit": one["given"]}
        for one in made
    }


def _when(table: Table, name: str, values: Sequence[str]) -> dict[str, str]:
    """Rephrase a time as one day, month or year: what reads better than from and to."""
    if len(values) != 1 or not any(one.name == name and one.kind == "time" for one in fields.form(table, [name])):
        return {}
    parts = fields.taken(values, time=True)
    if parts.around or parts.high or not (found := fields.DATE.fullmatch(parts.low)):
        return {}
    return {"when": "day" if found[2] else "month" if found[1] else "year", "value": parts.low}


def _chip(name: str, value: str, rest: Sequence[tuple[str, str]]) -> dict[str, str]:
    return {
        "name": name,
        "label": name,
        "value": value if len(value) <= 80 else f"{value[:79]}…",
        "address": urlencode([pair for pair in rest if pair[0] != "_row"]),
    }


def _sections(made: Sequence[dict[str, Any]], first: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Group fields into sections: what the form begins with, those of the descriptor or its standard, the others."""
    order = {name.lower(): place for place, name in enumerate(first)}
    found: dict[tuple[str, bool], list[dict[str, Any]]] = {}
    sectioned = any(one["section"] for one in made)
    for one in made:
        begins = _begins(one, first)
        key = ("", True) if begins else (one["section"], one["principal"] or bool(sectioned and one["section"]))
        found.setdefault(key, []).append(one)
    found.get(("", True), []).sort(key=lambda one: order.get(one["name"].lower(), len(order)))
    listed = [
        {
            "name": name or ("main" if principal else "more"),
            "fields": some,
            "open": (not name and principal)
            or (not order and name in {"target", "time"})
            or any(one["asked"] for one in some),
        }
        for (name, principal), some in found.items()
    ]
    return sorted(listed, key=lambda one: {"main": -1, "more": 1}.get(one["name"], 0))


def left_out(search: Search, asking: Asking, labels: Labels, observed: Observed | None = None) -> list[dict[str, Any]]:
    """Return what would be found without each condition, where all together find nothing; `observed`: lines are observations."""
    said = {one["name"]: one for one in chips(search, labels)}
    easier = (
        pages.without(search, asking)
        if observed is None
        else pages.without(search, asking, line=lambda one: lines(one, observed))
    )
    return [
        {
            "left": [{**said[name], "range": _range(ends, labels)} for name, ends in one.left.items()],
            "rows": one.rows,
            "observations": observed is not None,
            "address": one.search.address(),
        }
        for one in easier
        if one.left.keys() <= said.keys()
    ]


def _range(found: pages.Page | None, labels: Labels) -> str:
    """Say from where to where the values of a condition are that finds nothing; nothing where they have no range."""
    if found is None:
        return ""
    (head,) = headings(found, labels.table, labels=labels)
    each = [replace(found, rows=found.rows.slice(at, 1)) for at in (0, 1)]  # each with its own decimals
    ends = [cells(one, labels.table, labels=labels)[0][0] for one in each]
    if head.kind == "code" or any(one is None for one in ends):
        return ""
    told = joined(*(ends[::-1] if head.scale.inverse else ends))
    return "" if told is None else f"{told.text} {unit_text(head.unit)}".rstrip()


def _is_column(table: Table, name: str) -> bool:
    return any(column.name == name for column in table.columns)

"""One table of a descriptor: its fields -> a `TableSpec`, with everything checked that needs no data."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from hven.adql import check_policy, parse, sees_all
from hven.descriptor._body_frames import of_body
from hven.descriptor._column_expressions import Hole, expression, holes, inner, parsed, references
from hven.descriptor._columns import check_name, check_references, columns, param
from hven.descriptor._constants import constant
from hven.descriptor._data_sets import data_sets, recipes
from hven.descriptor._embargo import embargo, undated
from hven.descriptor._flags import SAID, flags
from hven.descriptor._inherited import Inherited
from hven.descriptor._keys import ASSIGNMENTS
from hven.descriptor._merging import optional_columns
from hven.descriptor._old_queries import endpoints
from hven.descriptor._options import source_spec
from hven.descriptor._partitions import partition
from hven.descriptor._position_names import warn_of_position
from hven.descriptor._row_links import SITE, leading, links, only_targets
from hven.descriptor._syncing import sync
from hven.descriptor.written import Written
from hven.model.errors import ParseError, QueryError, nearest
from hven.model.resource import Flags, Granule, Rule, Setting, TableSpec
from hven.model.sky import frames
from hven.model.table import Column, FrameRef, Group, Key, Levels, Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hven.descriptor.value_schema import Faults, Fields
    from hven.model.errors import Place

GRANULES = "granules"  # kind of source that reads what `series` says of files
PUSH = "push"  # kind of source whose rows clients send
LISTS = "files"  # kind of source whose rows are files
ROLES = ("value", "error", "lower", "upper", "origin", "confidence")
POSITIONS = (
    ("pos.eq.ra;meta.main", "pos.eq.dec;meta.main"),
    ("pos.bodyrc.lon;meta.main", "pos.bodyrc.lat;meta.main"),
    ("pos.galactic.lon;meta.main", "pos.galactic.lat;meta.main"),
    ("pos.ecliptic.lon;meta.main", "pos.ecliptic.lat;meta.main"),
    ("pos.eq.ra", "pos.eq.dec"),
)


def table_spec(name: Written, fields: Fields, around: Inherited, faults: Faults) -> TableSpec | None:
    """Build one table; faults are collected.

    Parameters
    ----------
    name
        Of the table.
    fields
        As they were read.
    around
        What a table needs to know of its descriptor.
    faults
        Where faults go.

    Returns
    -------
    spec
        None only if not even a name is there.
    """
    what = f"tables.{name}"
    if not check_name(name, "a table", faults):
        return None
    made, given = columns(fields.get("columns", {}), f"{what}.columns", faults)
    quality, flagged = flags(what, fields, made, given, faults)
    release, released = embargo(what, fields, made, given, faults)
    for column in (flagged, released):
        if column is not None:
            made = (
                *(one if one.name != column.name else column for one in made),
                *(() if column.name in given else (column,)),
            )
            given[column.name] = given.get(column.name, frozenset()) | SAID
    follow = bool(fields.get("follow", "columns" not in fields and "standard" not in fields and "view" not in fields))
    _check_kind(what, fields, around, faults)
    settings = _settings(what, fields, faults)
    names = [column.name for column in made]
    closed = not follow and "view" not in fields  # every target is known here
    _check_targets(what, settings, names, closed, faults, _text(fields, "standard"))
    typed = {column.name: column for column in made if "type" in given[column.name]}
    _check_values(what, settings, typed, around, faults)
    if quality is not None and not quality.given:
        settings = (*settings, *_unset(what, quality, settings, faults))
    let = _let(what, fields, around, faults)
    where = fields.get("where")
    if where is not None:
        _check(where, f"{what}.where", names, faults, condition=True, target=False)
    if "simulated" in fields:
        _check(fields["simulated"], f"{what}.simulated", names, faults, condition=True, target=True)
    granules = tuple(_granules(what, fields, names, typed, closed, around, faults))
    rules = (*_rules(what, fields, names, closed, faults), *(() if release is None else (undated(release),)))
    specs = tuple(
        spec for item in fields.get("source", ()) if (spec := source_spec(item, f"{what}.source", faults)) is not None
    )
    frames = tuple(
        _frame(str(key), item, settings, f"{what}.frames.{key}", faults)
        for key, item in fields.get("frames", {}).items()
    )
    enums = {
        str(key): {str(code): str(label) for code, label in item.items()}
        for key, item in fields.get("enums", {}).items()
    }
    params = tuple(
        param(str(name), item, f"{what}.params.{name}", faults) for name, item in fields.get("params", {}).items()
    )
    known = [*names, *(one.name for one in params)]
    check_references(fields.get("params", {}), known, (), enums, f"{what}.params", faults)
    check_references(fields.get("columns", {}), names, [frame.id for frame in frames], enums, f"{what}.columns", faults)
    access, policy = rights(fields.get("access", around.access), f"{what}.access", faults, around.contact)
    if policy is not None and "view" in fields:
        faults.error(
            f"{what}.access: a view shows the rows that its tables do",
            fields.places.get("access", name.place),
            "say it of the tables",
        )
    shown = policy is None or "path" not in {*(policy.columns or ()), policy.path}
    by_path = (
        # a file is a row, so that a sync can follow each
        follow and shown and [spec.kind for spec in specs] == [GRANULES]
        and not {"primary", "group_by", "for_each", "granules"} & {*fields}
        and all(one.column != "path" for one in settings)
    )  # fmt: skip
    spans = {str(one["series"]): one["series"].place for one in fields.get("links", ()) if "series" in one}
    table = Table(
        schema=around.schema,
        name=str(name),
        columns=made,
        title=_text(fields, "title"),
        description=_text(fields, "description"),
        utype=_text(fields, "utype"),
        primary=tuple(_known(what, "primary", fields, names, closed, faults)) or (("path",) if by_path else ()),
        keys=tuple(_foreign(what, fields, around, names, closed, faults)),
        groups=tuple(_groups(what, fields, known, closed, faults)),
        params=params,
        frames=frames,
        enums=enums,
        position=_position(what, fields, made, names, closed, faults),
        form=tuple(_form(what, fields, names, closed, faults)),
        observation=(
            tuple(dict.fromkeys(_known(what, "observation", fields, names, closed, faults)))
            if "observation" in fields
            else None
        ),
        indexes=_indexes(what, fields, names, closed, faults),
        partition=partition(what, fields, names, closed, faults),
        view=_view(what, fields, faults),
        access=access,
        policy=policy,
        project=around.project,
        index=fields.get("index"),
        standard=_text(fields, "standard"),
        links=tuple(links(what, fields, names if closed else None, around, faults)),
        spans=tuple(spans),
        series=tuple(data_sets(what, str(name), fields, names if closed else None, around, faults)),
        endpoints=tuple(endpoints(what, fields, names if closed else None, faults)),
    )
    if table.observation and len(table.primary) != 1:
        faults.error(
            f"{what}.observation: rows are put together by a primary key of one column",
            fields.places["observation"],
            "primary: name that column",
        )
    if any(spec.kind == GRANULES for spec in specs):
        told = recipes(table)
        specs = tuple(
            replace(spec, options={**spec.options, "samples": told}) if spec.kind == GRANULES else spec
            for spec in specs
        )
    if "group_by" in fields and len(specs) > 1:
        faults.error(
            f"{what}.group_by: groups of several sources cannot be made",
            fields.places["group_by"],
            "one source may have several files",
        )
    doubts = [one for one in faults.found if one.severity == "warning" and one.message.startswith(f"{what}.frames.")]
    return TableSpec(
        doubts=tuple(doubts),
        table=table,
        sources=specs,
        settings=settings,
        let=let,
        where=None if where is None else (where, where.place),
        granules=granules,
        rules=rules,
        flags=quality,
        embargo=release,
        sync=sync(what, fields, table.primary, faults),
        columns_declared=closed and len(typed) == len(made),
        follow=follow,
        declared=made,
        given=given,
        types={
            str(key): tuple(map(str, item["types"]))
            for key, item in fields.get("columns", {}).items()
            if "types" in item
        },
        places={str(key): key.place for key in fields.get("columns", {})},
        spans=spans,
        frame=_text(fields, "frame"),
        converted=bool(fields.get("converted", False)),
        group_by=fields.get("group_by", ()),
        for_each=fields.get("for_each", ()),
        max_rejects=fields.get("max_rejects"),
        defaults={
            **(leading(table, around, fields.places["links"]) if "links" in fields else {}),
            **{
                str(key): Setting(column=str(key), how="map", value=value, place=value.place)
                for key, value in fields.get("default", {}).items()
            },
        },
        vocabularies={
            str(key): tuple(str(word) for word in item.get("values", ()))
            for key, item in fields.get("vocabularies", {}).items()
        },
        place=name.place,
    )


def _text(fields: Fields, key: str) -> str | None:
    return str(fields[key]) if key in fields else None


def rights(said: Fields | None, where: str, faults: Faults, contact: str | None = None) -> tuple[str, Levels | None]:
    """Read ``access``: ``public``, ``private``, or levels of a table that everybody may know of.

    Parameters
    ----------
    said
        As it was written.
    where
        The key, for faults.
    faults
        Where they go.
    contact
        Whom to ask, if it does not say.

    Returns
    -------
    access
        ``public``, ``members`` or ``private``: that, if a policy cannot be read.
    levels
        None: all of them are everybody's who sees the table.
    """
    if said is None:
        return "public", None
    if said.get("rows") in {"private", "members"}:
        return str(said["rows"]), None
    texts = {}
    for level in ("rows", "files", "take"):
        if level in said and said[level] != "public":
            if not _policy(said[level], where if level == "rows" else f"{where}.{level}", faults):
                return "private", None
            texts[level] = said[level]
    if not texts:
        return "public", None
    columns = tuple(said["columns"]) if "columns" in said else None
    whom = str(said["contact"]) if "contact" in said else contact
    return "public", Levels(**texts, columns=columns, path=said.get("path"), contact=whom)


def _policy(said: Written, where: str, faults: Faults) -> bool:
    """Tell whether a condition can be read."""
    if said.isidentifier():
        faults.error(
            f"{where} must be public, private, members or a condition, not {str(said)!r}",
            said.place,
            nearest(said, ("public", "private", "members")),
        )
        return False
    try:
        tree = parsed(said, condition=True)
        check_policy(tree, None, said)
    except QueryError as error:
        faults.error(
            f"{where}: {error.message}",
            said.at(error.offset),
            error.remedy or "public, private, or who sees which rows: release_date <= now",
        )
        return False
    passed = sees_all(tree)
    if passed is not None:
        message = f"{where}: {'everybody sees every row' if passed else 'nobody sees any row'} by this policy"
        faults.warning(message, said.place, f"write {'public' if passed else 'private'}, or look at it again")
    return True


def _check_kind(what: str, fields: Fields, around: Inherited, faults: Faults) -> None:
    if "view" in fields:
        for key in (
            "source",
            "where",
            "let",
            *ASSIGNMENTS,
            "granules",
            "sync",
            "simulated",
            "flags",
            "embargo",
            "follow",
            "for_each",
            "group_by",
        ):
            if key in fields:
                faults.error(
                    f"{what}: a view has no {key!r}",
                    fields.places[key],
                    "say it in the view's query, or give the table a source",
                )
    elif "source" not in fields.places and not around.standard:
        faults.error(
            f"{what} has neither 'source' nor 'view'",
            fields.place,
            "say where its rows come from: source: {kind: csv, files: ...}",
        )


def _settings(what: str, fields: Fields, faults: Faults) -> tuple[Setting, ...]:
    """Collect set, text, map, lookup; a target that two of them set is an error."""
    found: dict[str, Setting] = {}
    for how in ASSIGNMENTS:
        for target, value in fields.get(how, {}).items():
            old = found.get(str(target))
            if old is not None:
                first = f"line {old.place.line}"
                faults.error(
                    f"{what}: {target} is set twice, under '{old.how}' and under '{how}'",
                    target.place,
                    f"the first one is in {first}: keep one",
                )
                continue
            found[str(target)] = Setting(column=str(target), how=how, value=value, place=target.place)
    return tuple(found.values())


def _check_targets(
    what: str, settings: tuple[Setting, ...], names: list[str], closed: bool, faults: Faults, standard: str | None
) -> None:
    if not closed:
        return
    for setting in settings:
        if setting.column not in names:
            if standard and setting.column in optional_columns(standard):
                hint = f"{standard} has it: add it to 'optional'"
            else:
                hint = nearest(setting.column, names) or "describe it under 'columns'"
            faults.error(f"{what}.{setting.how}: the table has no column {setting.column!r}", setting.place, hint)


def _check_values(
    what: str, settings: tuple[Setting, ...], typed: Mapping[str, Column], around: Inherited, faults: Faults
) -> None:
    for setting in settings:
        where = f"{what}.{setting.how}.{setting.column}"
        value = setting.value
        if setting.how == "set":
            if setting.column in typed:
                constant(value, typed[setting.column], where, faults)
        elif setting.how == "text":
            check_template(value, where, None, faults)
        elif setting.how == "map":
            _check(value, where, None, faults)
        else:
            _check_lookup(value, where, around, faults)


def _check_lookup(value: Fields, where: str, around: Inherited, faults: Faults) -> None:
    froms, keys = value.get("from", ()), value.get("key", ())
    for one in froms:
        _check(one, f"{where}.from", None, faults)
    if len(froms) > 1 and len(keys) != len(froms):
        faults.error(
            f"{where}: {len(froms)} expressions under 'from', and {len(keys)} columns under 'key'",
            value.place,
            "one key for each of 'from'",
        )
    elif len(froms) == 1 and len(keys) > 1:
        faults.error(
            f"{where}: {len(keys)} columns under 'key', and one expression under 'from'",
            value.places["key"],
            "one key for each of 'from'",
        )
    if ("low" in value) and ("key" in value or len(froms) > 1):
        faults.error(f"{where}: 'low' stands instead of 'key', for one expression under 'from'", value.places["low"])
    if "high" in value and "low" not in value:
        faults.error(f"{where}: 'high' needs 'low'", value.places["high"], "low: the column where the range begins")
    if "default" in value and "missing" in value:
        faults.error(
            f"{where}: 'default' says what a missing key gives, so does 'missing'",
            value.places["default"],
            "one of the two",
        )
    if ("table" in value) == ("values" in value):
        faults.error(f"{where} needs either 'table' or 'values'", value.place)
    for key in ("key", "value", "low", "high"):
        if key in value and "values" in value:
            faults.error(f"{where}: {key!r} belongs to 'table', not to 'values'", value.places[key])
    table = value.get("table")
    if isinstance(table, Written):
        path = around.directory / str(table)
        if around.contents.is_file(path):
            around.hashes[str(table)] = around.contents.compute_sha256(path)
        else:
            there = [item.name for item in path.parent.iterdir()] if os.path.isdir(path.parent) else []  # noqa: PTH112
            faults.error(
                f"{where}.table: there is no file {table} beside the descriptor", table.place, nearest(table, there)
            )


def _check(
    value: Written,
    where: str,
    targets: list[str] | None,
    faults: Faults,
    *,
    condition: bool = False,
    target: bool = True,
) -> None:
    """Parse; names of the source are checked when the source is known."""
    tree = expression(value, where, faults, condition=condition)
    if tree is None:
        return
    for prefix, name, node in references(tree):
        if prefix == "target" and not target:
            faults.error(
                f"{where}: target.{name} does not exist yet here",
                value.at(node.at),
                "conditions over source rows use the source's columns",
            )
        elif prefix == "target" and targets is not None and name not in targets:
            faults.error(f"{where}: the table has no column {name!r}", value.at(node.at), nearest(name, targets))


def check_template(template: Written, where: str, targets: list[str] | None, faults: Faults) -> None:
    """Check a template: braces, and whatever stands in them that is more than a name.

    Parameters
    ----------
    template
        As written.
    where
        Names the key for messages.
    targets
        Columns of the table; None: they are not known yet.
    faults
        Where faults go.
    """
    for part in holes(template, where, faults):
        if isinstance(part, Hole):
            prefix, dot, rest = part.text.partition(".")
            if part.name is not None and dot and prefix == "target" and targets is not None and rest not in targets:
                faults.error(
                    f"{where}: the table has no column {rest!r}", template.at(part.offset), nearest(rest, targets)
                )
            elif part.name is not None and dot and prefix == "site" and rest not in SITE:
                faults.error(
                    f"{where}: no {part.text}",
                    template.at(part.offset),
                    f"known: {', '.join('site.' + key for key in SITE)}",
                )
            elif part.name is None:
                inner(template, part, where, faults)


def _let(what: str, fields: Fields, around: Inherited, faults: Faults) -> dict[str, tuple[str, Place]]:
    """Order the names by dependence; cycles are faults."""
    written: dict[Written, Written] = fields.get("let", {})
    uses: dict[str, set[str]] = {}
    for name, value in written.items():
        if not check_name(name, "a 'let' name", faults, plain=True):
            continue
        if str(name) in around.constants:
            faults.error(
                f"{what}.let: {name} is a constant of the collection already", name.place, "choose another name"
            )
        tree = expression(value, f"{what}.let.{name}", faults)
        uses[str(name)] = {inner for prefix, inner, _ in references(tree) if not prefix} if tree is not None else set()
    ordered: dict[str, tuple[str, Place]] = {}
    texts = {str(name): value for name, value in written.items()}

    def visit(name: str, chain: tuple[str, ...]) -> None:
        if name in ordered:
            return
        if name in chain:
            cycle = (*chain[chain.index(name) :], name)
            message = f"{what}.let: {' needs '.join(cycle)}: a cycle"
            if message not in {fault.message for fault in faults.found}:
                faults.error(message, texts[name].place)
            ordered[name] = (texts[name], texts[name].place)
            return
        for needed in sorted(uses[name] & uses.keys()):
            visit(needed, (*chain, name))
        ordered.setdefault(name, (texts[name], texts[name].place))

    for start in uses:
        visit(start, ())
    return ordered


def _granules(
    what: str,
    fields: Fields,
    names: list[str],
    typed: Mapping[str, Column],
    closed: bool,
    around: Inherited,
    faults: Faults,
) -> Iterator[Granule]:
    seen: set[str] = set()
    for item in fields.get("granules", ()):
        gid = str(item.get("gid", ""))
        where = f"{what}.granules[{gid}]"
        if gid in seen:
            faults.error(f"{where}: two granules have this gid", item.place)
        seen.add(gid)
        settings = _settings(where, item, faults)
        _check_targets(where, settings, names, closed, faults, _text(fields, "standard"))
        _check_values(where, settings, typed, around, faults)
        condition = item.get("if")
        if condition is not None:
            _check(condition, f"{where}.if", names if closed else None, faults, condition=True)
        yield Granule(
            gid=gid,
            settings=settings,
            condition=None if condition is None else (condition, condition.place),
            place=item.place,
        )


def _rules(what: str, fields: Fields, names: list[str], closed: bool, faults: Faults) -> Iterator[Rule]:
    for name, item in fields.get("rules", {}).items():
        where = f"{what}.rules.{name}"
        if "check" in item:
            yield from _check_rule(where, str(name), item, fields, names, closed, faults)
            continue
        if "if" not in item:
            continue
        condition: Written = item["if"]
        tree = expression(condition, where, faults, condition=True)
        if tree is not None and closed:
            only_targets(condition, tree, where, names, faults)
        yield Rule(
            name=str(name),
            condition=condition,
            severity=_severity(item),
            message=_text(item, "message"),
            flag=item.get("flag"),
            place=condition.place,
        )


def _severity(item: Fields) -> str:
    return str(item.get("severity", "error" if "flag" not in item else "warning"))


def _unset(what: str, quality: Flags, settings: tuple[Setting, ...], faults: Faults) -> Iterator[Setting]:
    """Begin with no flag; the rules set them when all other columns have their values."""
    own = next((setting for setting in settings if setting.column.lower() == quality.column.lower()), None)
    if own is not None:
        message = f"{what}.{own.how}: {quality.column} gets its value from the rules"
        faults.error(message, own.place, "remove it, or choose another name under 'flags'")
    else:
        yield Setting(column=quality.column, how="set", value="0", place=quality.place)


def _check_rule(
    where: str, name: str, item: Fields, fields: Fields, names: list[str], closed: bool, faults: Faults
) -> Iterator[Rule]:
    columns: tuple[Written, ...] = item.get("columns", ())
    for column in columns:
        if closed and column not in names:
            faults.error(f"{where}: the table has no column {str(column)!r}", column.place, nearest(column, names))
    kind, of = item["check"], item.get("of", item["check"])
    if not columns:
        faults.error(f"{where} needs 'columns'", item.place)
    if kind in {"pair", "order"} and len(columns) % 2:
        faults.error(f"{where}: {kind} takes columns two by two: [a_min, a_max, b_min, b_max]", item.places["columns"])
    if kind in {"words", "pattern"} and "of" not in item:
        faults.error(f"{where}: {kind} needs 'of'", item.place)
    elif kind == "words" and of not in fields.get("vocabularies", {}):
        faults.error(
            f"{where}: no vocabulary is called {str(of)!r}", of.place, nearest(of, fields.get("vocabularies", {}))
        )
    elif kind == "pattern":
        try:
            re.compile(str(of))
        except re.error as error:
            faults.error(f"{where}: {of} is no regular expression: {error}", of.place)
    yield Rule(
        name=name, condition="", severity=_severity(item), message=_text(item, "message"), check=kind, flag=item.get("flag"),
        columns=tuple(map(str, columns)), of=None if of is None else str(of), items=bool(item.get("list", False)),
        low=item.get("low"), high=item.get("high"), place=item.place,
    )  # fmt: skip


def _known(what: str, key: str, fields: Fields, names: list[str], closed: bool, faults: Faults) -> Iterator[str]:
    for item in fields.get(key, ()):
        if closed and item not in names:
            faults.error(f"{what}.{key}: the table has no column {str(item)!r}", item.place, nearest(item, names))
        yield str(item)


def _foreign(
    what: str, fields: Fields, around: Inherited, names: list[str], closed: bool, faults: Faults
) -> Iterator[Key]:
    for name, item in fields.get("keys", {}).items():
        if "target" not in item:
            continue
        own = item.get("columns", (name,))
        for mine in own:
            if closed and mine not in names:
                faults.error(
                    f"{what}.keys.{name}: the table has no column {str(mine)!r}", mine.place, nearest(mine, names)
                )
        target = str(item["target"])
        theirs = tuple(str(column) for column in item.get("target_columns", own))
        if len(theirs) != len(own):
            faults.error(f"{what}.keys.{name}: {len(own)} columns here, {len(theirs)} there", item.place)
        yield Key(
            id=str(name), columns=tuple(str(column) for column in own), target=target if "." in target else f"{around.schema}.{target}",
            target_columns=theirs, description=_text(item, "description"), utype=_text(item, "utype"),
        )  # fmt: skip


def _groups(what: str, fields: Fields, names: list[str], closed: bool, faults: Faults) -> Iterator[Group]:
    for name, item in fields.get("groups", {}).items():
        roles = {role: item[role] for role in ROLES if role in item} | {
            str(key): value for key, value in item.get("roles", {}).items()
        }
        roles |= {str(column): column for column in item.get("columns", ())}
        for role, column in roles.items():
            if closed and column not in names:
                faults.error(
                    f"{what}.groups.{name}.{role}: the table has no column {str(column)!r}",
                    column.place,
                    nearest(column, names),
                )
        yield Group(
            name=str(name), roles={role: str(column) for role, column in roles.items()}, description=_text(item, "description"),
            utype=_text(item, "utype"), ucd=_text(item, "ucd"),
        )  # fmt: skip


def _frame(name: str, item: Fields, settings: tuple[Setting, ...], what: str, faults: Faults) -> FrameRef:
    kind = item.get("kind") or ("timesys" if "timescale" in item else "coosys")
    words = {
        word: _text(item, word) for word in ("system", "epoch", "equinox", "refposition", "timescale", "timeorigin")
    }
    said = {setting.column: str(setting.value) for setting in settings if setting.how == "set"}
    if "crs" in item:
        words["system"] = words["system"] or frames.BODY
        words["refposition"] = of_body(_text(item, "crs") or "", words["refposition"], said, what, item, faults)
    if words["system"] == frames.BODY and words["refposition"] is None:  # which body, if it is the same one in all rows
        words["refposition"] = said.get("spatial_origin") or said.get("target_name")
    return FrameRef(id=name, kind=kind, **words)


def find_position(made: tuple[Column, ...]) -> tuple[str, str] | None:
    """Find longitude and latitude by UCD: main positions first.

    Parameters
    ----------
    made
        Columns of the table.

    Returns
    -------
    names
        Of both; None if there are none.
    """
    by_ucd: dict[str, str] = {}
    for column in made:
        if column.ucd is not None and column.type.is_numeric:
            by_ucd.setdefault(column.ucd.lower().replace(" ", ""), column.name)
    return next(((by_ucd[lon], by_ucd[lat]) for lon, lat in POSITIONS if lon in by_ucd and lat in by_ucd), None)


def _position(
    what: str, fields: Fields, made: tuple[Column, ...], names: list[str], closed: bool, faults: Faults
) -> tuple[str, str] | None:
    if "position" not in fields:
        return find_position(made)
    pair = tuple(_known(what, "position", fields, names, closed, faults))
    if len(pair) != 2:
        faults.error(f"{what}.position must be [longitude, latitude]", fields.places["position"])
        return None
    warn_of_position(what, (pair[0], pair[1]), made, fields["position"][0], faults)
    return pair[0], pair[1]


def _form(what: str, fields: Fields, names: list[str], closed: bool, faults: Faults) -> Iterator[str]:
    """Read the fields of a form: columns, and pairs by what their names have in common."""
    stems = [
        name.removesuffix("min").removesuffix("_")
        for name in names
        if name.endswith("min") and name.removesuffix("min") + "max" in names
    ]
    for item in fields.get("form", ()):
        if closed and item not in (*names, *stems):
            faults.error(
                f"{what}.form: the table has no column {str(item)!r}", item.place, nearest(item, [*names, *stems])
            )
        yield str(item)


def _indexes(what: str, fields: Fields, names: list[str], closed: bool, faults: Faults) -> tuple[tuple[str, ...], ...]:
    found = []
    for item in fields.get("indexes", ()):
        for name in item:
            if closed and name not in names:
                hint = (
                    "an index is of columns: let one be computed by 'map', and index that"
                    if "(" in name
                    else nearest(name, names)
                )
                faults.error(f"{what}.indexes: the table has no column {str(name)!r}", name.place, hint)
        if len(set(item)) < len(item):
            faults.error(f"{what}.indexes: an index has a column twice", item[0].place)
        found.append(tuple(map(str, item)))
    return tuple(dict.fromkeys(found))


def _view(what: str, fields: Fields, faults: Faults) -> str | None:
    """Parse the query of a view: syntax faults belong to the descriptor."""
    if "view" not in fields:
        return None
    text: Written = fields["view"]
    try:
        parse(str(text))
    except ParseError as error:
        faults.error(f"{what}.view: {error.message}", text.at(error.offset), error.remedy)
    return str(text)


__all__ = ["Inherited", "check_template", "find_position", "table_spec"]

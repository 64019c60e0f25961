"""One table of a descriptor: its fields -> a `TableSpec`, with everything checked that needs no data."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from hven.adql import check_policy, decide_for_everybody, parse_query
from hven.descriptor._body_frame_checks import check_body_frame
from hven.descriptor._collection_context import CollectionContext
from hven.descriptor._column_expressions import (
    TemplatePlaceholder,
    iterate_column_references,
    parse_bounded_expression,
    parse_placeholder,
    parse_written_expression,
    split_template,
)
from hven.descriptor._columns import build_columns, build_constant, check_column_name, check_column_references
from hven.descriptor._constants import build_constant_literal
from hven.descriptor._embargo import build_undated_rule, read_embargo
from hven.descriptor._endpoint_loading import read_endpoints
from hven.descriptor._keys import ASSIGNMENT_KEYS
from hven.descriptor._merging import list_optional_columns
from hven.descriptor._partitions import read_partition
from hven.descriptor._position_names import warn_about_position
from hven.descriptor._quality_flags import DEFAULT_COLUMN_KEYS, read_flags
from hven.descriptor._row_links import SITE_KEYS, build_link_defaults, check_target_columns, read_links
from hven.descriptor._source_options import read_source_spec
from hven.descriptor._sync_policies import read_sync_policy
from hven.descriptor._time_series_loading import read_time_series, write_series_recipes
from hven.descriptor.written_yaml import WrittenScalar
from hven.model.errors import ParseError, QueryError, suggest_spelling
from hven.model.resource import ColumnMapping, GranuleSpec, QualityFlagColumn, TableSpec, ValidationRule
from hven.model.sky import frames
from hven.model.table import Column, ColumnGroup, ForeignKey, FrameRef, RowAccessPolicy, Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hven.descriptor.value_schema import FaultCollector, KeyValues
    from hven.model.errors import Place

GRANULES_SOURCE_KIND = "granules"  # kind of source that reads what `series` says of files
PUSH_SOURCE_KIND = "push"  # kind of source whose rows clients send
FILES_SOURCE_KIND = "files"  # kind of source whose rows are files
GROUP_ROLES = ("value", "error", "lower", "upper", "origin", "confidence")
POSITION_UCD_PAIRS = (
    ("pos.eq.ra;meta.main", "pos.eq.dec;meta.main"),
    ("pos.bodyrc.lon;meta.main", "pos.bodyrc.lat;meta.main"),
    ("pos.galactic.lon;meta.main", "pos.galactic.lat;meta.main"),
    ("pos.ecliptic.lon;meta.main", "pos.ecliptic.lat;meta.main"),
    ("pos.eq.ra", "pos.eq.dec"),
)


def read_table_spec(
    name: WrittenScalar, fields: KeyValues, collection_context: CollectionContext, faults: FaultCollector
) -> TableSpec | None:
    """Build one table; faults are collected.

    Parameters
    ----------
    name
        Of the table.
    fields
        As they were read.
    collection_context
        What a table needs to know of its descriptor.
    faults
        Where faults go.

    Returns
    -------
    spec
        None only if not even a name is there.
    """
    key_path = f"tables.{name}"
    if not check_column_name(name, "a table", faults):
        return None
    table_columns, given_attributes = build_columns(fields.get("columns", {}), f"{key_path}.columns", faults)
    flags_column, flagged_column = read_flags(key_path, fields, table_columns, given_attributes, faults)
    embargo_policy, release_column = read_embargo(key_path, fields, table_columns, given_attributes, faults)
    for column in (flagged_column, release_column):
        if column is not None:
            table_columns = (
                *(described_item if described_item.name != column.name else column for described_item in table_columns),
                *(() if column.name in given_attributes else (column,)),
            )
            given_attributes[column.name] = given_attributes.get(column.name, frozenset()) | DEFAULT_COLUMN_KEYS
    follow = bool(fields.get("follow", "columns" not in fields and "standard" not in fields and "view" not in fields))
    _check_view_keys(key_path, fields, collection_context, faults)
    settings = _read_settings(key_path, fields, faults)
    names = [column.name for column in table_columns]
    has_all_columns = not follow and "view" not in fields  # every target is known here
    optional_text = _read_optional_text(fields, "standard")
    _check_setting_targets(key_path, settings, names, has_all_columns, faults, optional_text)
    typed_columns = {column.name: column for column in table_columns if "type" in given_attributes[column.name]}
    _check_setting_values(key_path, settings, typed_columns, collection_context, faults)
    if flags_column is not None and not flags_column.is_supplied:
        flags_setting = _build_flags_setting(key_path, flags_column, settings, faults)
        settings = (*settings, *flags_setting)
    let = _read_let_expressions(key_path, fields, collection_context, faults)
    where = fields.get("where")
    if where is not None:
        _check_expression(where, f"{key_path}.where", names, faults, condition=True, allow_target=False)
    if "simulated" in fields:
        _check_expression(
            fields["simulated"], f"{key_path}.simulated", names, faults, condition=True, allow_target=True
        )
    granules = tuple(
        _read_granules(key_path, fields, names, typed_columns, has_all_columns, collection_context, faults)
    )
    rules = (
        *_read_rules(key_path, fields, names, has_all_columns, faults),
        *(() if embargo_policy is None else (build_undated_rule(embargo_policy),)),
    )
    specs = tuple(
        spec
        for item in fields.get("source", ())
        if (spec := read_source_spec(item, f"{key_path}.source", faults)) is not None
    )
    frames = tuple(
        _read_frame(str(key), item, settings, f"{key_path}.frames.{key}", faults)
        for key, item in fields.get("frames", {}).items()
    )
    enums = {
        str(key): {str(code): str(label) for code, label in item.items()}
        for key, item in fields.get("enums", {}).items()
    }
    params = tuple(
        build_constant(str(name), item, f"{key_path}.params.{name}", faults)
        for name, item in fields.get("params", {}).items()
    )
    known_names = [*names, *(described_item.name for described_item in params)]
    check_column_references(fields.get("params", {}), known_names, (), enums, f"{key_path}.params", faults)
    check_column_references(
        fields.get("columns", {}), names, [frame.id for frame in frames], enums, f"{key_path}.columns", faults
    )
    access, policy = read_access(
        fields.get("access", collection_context.access), f"{key_path}.access", faults, collection_context.contact
    )
    if policy is not None and "view" in fields:
        faults.add_error(
            f"{key_path}.access: a view shows the rows that its tables do",
            fields.places.get("access", name.place),
            "say it of the tables",
        )
    shows_path = policy is None or "path" not in {*(policy.columns or ()), policy.path}
    uses_path_key = (
        # a file is a row, so that a sync can follow each
        follow
        and shows_path
        and [spec.kind for spec in specs] == [GRANULES_SOURCE_KIND]
        and not {"primary", "group_by", "for_each", "granules"} & {*fields}
        and all(described_item.column != "path" for described_item in settings)
    )
    spans = {
        str(described_item["series"]): described_item["series"].place
        for described_item in fields.get("links", ())
        if "series" in described_item
    }
    table = Table(
        schema=collection_context.schema,
        name=str(name),
        columns=table_columns,
        title=_read_optional_text(fields, "title"),
        description=_read_optional_text(fields, "description"),
        utype=_read_optional_text(fields, "utype"),
        primary=tuple(_read_column_names(key_path, "primary", fields, names, has_all_columns, faults))
        or (("path",) if uses_path_key else ()),
        keys=tuple(_read_foreign_keys(key_path, fields, collection_context, names, has_all_columns, faults)),
        groups=tuple(_read_column_groups(key_path, fields, known_names, has_all_columns, faults)),
        params=params,
        frames=frames,
        enums=enums,
        position=_read_position(key_path, fields, table_columns, names, has_all_columns, faults),
        form=tuple(_read_form_fields(key_path, fields, names, has_all_columns, faults)),
        observation=(
            tuple(dict.fromkeys(_read_column_names(key_path, "observation", fields, names, has_all_columns, faults)))
            if "observation" in fields
            else None
        ),
        indexes=_read_indexes(key_path, fields, names, has_all_columns, faults),
        partition=read_partition(key_path, fields, names, has_all_columns, faults),
        view=_read_view_query(key_path, fields, faults),
        access=access,
        policy=policy,
        project=collection_context.project,
        index=fields.get("index"),
        standard=_read_optional_text(fields, "standard"),
        links=tuple(read_links(key_path, fields, names if has_all_columns else None, collection_context, faults)),
        spans=tuple(spans),
        series=tuple(
            read_time_series(
                key_path, str(name), fields, names if has_all_columns else None, collection_context, faults
            )
        ),
        endpoints=tuple(read_endpoints(key_path, fields, names if has_all_columns else None, faults)),
    )
    if table.observation and len(table.primary) != 1:
        faults.add_error(
            f"{key_path}.observation: rows are put together by a primary key of one column",
            fields.places["observation"],
            "primary: name that column",
        )
    if any(spec.kind == GRANULES_SOURCE_KIND for spec in specs):
        series_recipes = write_series_recipes(table)
        specs = tuple(
            replace(spec, options={**spec.options, "samples": series_recipes})
            if spec.kind == GRANULES_SOURCE_KIND
            else spec
            for spec in specs
        )
    if "group_by" in fields and len(specs) > 1:
        faults.add_error(
            f"{key_path}.group_by: groups of several sources cannot be made",
            fields.places["group_by"],
            "one source may have several files",
        )
    doubts = [
        described_item
        for described_item in faults.faults
        if described_item.severity == "warning" and described_item.message.startswith(f"{key_path}.frames.")
    ]
    return TableSpec(
        frame_warnings=tuple(doubts),
        table=table,
        sources=specs,
        settings=settings,
        let=let,
        where=None if where is None else (where, where.place),
        granules=granules,
        rules=rules,
        flags=flags_column,
        embargo=embargo_policy,
        sync=read_sync_policy(key_path, fields, table.primary, faults),
        has_declared_columns=has_all_columns and len(typed_columns) == len(table_columns),
        follows_source=follow,
        declared_columns=table_columns,
        explicit_attributes=given_attributes,
        xtypes_by_column={
            str(key): tuple(map(str, item["types"]))
            for key, item in fields.get("columns", {}).items()
            if "types" in item
        },
        column_places={str(key): key.place for key in fields.get("columns", {})},
        span_places=spans,
        frame=_read_optional_text(fields, "frame"),
        uses_standard_units=bool(fields.get("converted", False)),
        group_by=fields.get("group_by", ()),
        for_each=fields.get("for_each", ()),
        max_rejected_share=fields.get("max_rejects"),
        defaults={
            **(build_link_defaults(table, collection_context, fields.places["links"]) if "links" in fields else {}),
            **{
                str(key): ColumnMapping(column=str(key), how="map", value=value, place=value.place)
                for key, value in fields.get("default", {}).items()
            },
        },
        vocabularies={
            str(key): tuple(str(word) for word in item.get("values", ()))
            for key, item in fields.get("vocabularies", {}).items()
        },
        place=name.place,
    )


def _read_optional_text(fields: KeyValues, key: str) -> str | None:
    if key in fields:
        return str(fields[key])
    return None


def read_access(
    access_fields: KeyValues | None, key_path: str, faults: FaultCollector, contact: str | None = None
) -> tuple[str, RowAccessPolicy | None]:
    """Read ``access``: ``public``, ``private``, or levels of a table that everybody may know of.

    Parameters
    ----------
    access_fields
        As it was written.
    key_path
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
    if access_fields is None:
        return "public", None
    if access_fields.get("rows") in {"private", "members"}:
        return str(access_fields["rows"]), None
    texts = {}
    for level in ("rows", "files", "take"):
        if level in access_fields and access_fields[level] != "public":
            if not _check_policy_text(
                access_fields[level], key_path if level == "rows" else f"{key_path}.{level}", faults
            ):
                return "private", None
            texts[level] = access_fields[level]
    if not texts:
        return "public", None
    if "columns" in access_fields:
        columns = tuple(access_fields["columns"])
    else:
        columns = None
    contact_text = str(access_fields["contact"]) if "contact" in access_fields else contact
    return "public", RowAccessPolicy(**texts, columns=columns, path=access_fields.get("path"), contact=contact_text)


def _check_policy_text(condition_text: WrittenScalar, key_path: str, faults: FaultCollector) -> bool:
    """Tell whether a condition can be read."""
    if condition_text.isidentifier():
        faults.add_error(
            f"{key_path} must be public, private, members or a condition, not {str(condition_text)!r}",
            condition_text.place,
            suggest_spelling(condition_text, ("public", "private", "members")),
        )
        return False
    try:
        tree = parse_bounded_expression(condition_text, condition=True)
        check_policy(tree, None, condition_text)
    except QueryError as error:
        faults.add_error(
            f"{key_path}: {error.message}",
            condition_text.locate_character(error.offset),
            error.remedy or "public, private, or who sees which rows: release_date <= now",
        )
        return False
    sees_all_rows = decide_for_everybody(tree)
    if sees_all_rows is not None:
        message = f"{key_path}: {'everybody sees every row' if sees_all_rows else 'nobody sees any row'} by this policy"
        faults.add_warning(
            message, condition_text.place, f"write {'public' if sees_all_rows else 'private'}, or look at it again"
        )
    return True


def _check_view_keys(
    key_path: str, fields: KeyValues, collection_context: CollectionContext, faults: FaultCollector
) -> None:
    if "view" in fields:
        for key in (
            "source",
            "where",
            "let",
            *ASSIGNMENT_KEYS,
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
                faults.add_error(
                    f"{key_path}: a view has no {key!r}",
                    fields.places[key],
                    "say it in the view's query, or give the table a source",
                )
    elif "source" not in fields.places and not collection_context.is_standard:
        faults.add_error(
            f"{key_path} has neither 'source' nor 'view'",
            fields.place,
            "say where its rows come from: source: {kind: csv, files: ...}",
        )


def _read_settings(key_path: str, fields: KeyValues, faults: FaultCollector) -> tuple[ColumnMapping, ...]:
    """Collect set, text, map, lookup; a target that two of them set is an error."""
    settings_by_column: dict[str, ColumnMapping] = {}
    for setting_kind in ASSIGNMENT_KEYS:
        for target, value in fields.get(setting_kind, {}).items():
            earlier_setting = settings_by_column.get(str(target))
            if earlier_setting is not None:
                first_line = f"line {earlier_setting.place.line}"
                faults.add_error(
                    f"{key_path}: {target} is set twice, under '{earlier_setting.how}' and under '{setting_kind}'",
                    target.place,
                    f"the first one is in {first_line}: keep one",
                )
                continue
            settings_by_column[str(target)] = ColumnMapping(
                column=str(target), how=setting_kind, value=value, place=target.place
            )
    return tuple(settings_by_column.values())


def _check_setting_targets(
    key_path: str,
    settings: tuple[ColumnMapping, ...],
    column_names: list[str],
    has_all_columns: bool,
    faults: FaultCollector,
    standard: str | None,
) -> None:
    if not has_all_columns:
        return
    for setting in settings:
        if setting.column not in column_names:
            if standard and setting.column in list_optional_columns(standard):
                hint = f"{standard} has it: add it to 'optional'"
            else:
                hint = suggest_spelling(setting.column, column_names) or "describe it under 'columns'"
            faults.add_error(
                f"{key_path}.{setting.how}: the table has no column {setting.column!r}", setting.place, hint
            )


def _check_setting_values(
    key_path: str,
    settings: tuple[ColumnMapping, ...],
    typed_columns: Mapping[str, Column],
    collection_context: CollectionContext,
    faults: FaultCollector,
) -> None:
    for setting in settings:
        where = f"{key_path}.{setting.how}.{setting.column}"
        value = setting.value
        if setting.how == "set":
            if setting.column in typed_columns:
                build_constant_literal(value, typed_columns[setting.column], where, faults)
        elif setting.how == "text":
            check_template(value, where, None, faults)
        elif setting.how == "map":
            _check_expression(value, where, None, faults)
        else:
            _check_lookup(value, where, collection_context, faults)


def _check_lookup(
    value: KeyValues, key_path: str, collection_context: CollectionContext, faults: FaultCollector
) -> None:
    from_expressions = value.get("from", ())
    keys = value.get("key", ())
    for from_expression in from_expressions:
        _check_expression(from_expression, f"{key_path}.from", None, faults)
    if len(from_expressions) > 1 and len(keys) != len(from_expressions):
        faults.add_error(
            f"{key_path}: {len(from_expressions)} expressions under 'from', and {len(keys)} columns under 'key'",
            value.place,
            "one key for each of 'from'",
        )
    elif len(from_expressions) == 1 and len(keys) > 1:
        faults.add_error(
            f"{key_path}: {len(keys)} columns under 'key', and one expression under 'from'",
            value.places["key"],
            "one key for each of 'from'",
        )
    if ("low" in value) and ("key" in value or len(from_expressions) > 1):
        faults.add_error(
            f"{key_path}: 'low' stands instead of 'key', for one expression under 'from'", value.places["low"]
        )
    if "high" in value and "low" not in value:
        faults.add_error(
            f"{key_path}: 'high' needs 'low'", value.places["high"], "low: the column where the range begins"
        )
    if "default" in value and "missing" in value:
        faults.add_error(
            f"{key_path}: 'default' says what a missing key gives, so does 'missing'",
            value.places["default"],
            "one of the two",
        )
    if ("table" in value) == ("values" in value):
        faults.add_error(f"{key_path} needs either 'table' or 'values'", value.place)
    for key in ("key", "value", "low", "high"):
        if key in value and "values" in value:
            faults.add_error(f"{key_path}: {key!r} belongs to 'table', not to 'values'", value.places[key])
    table = value.get("table")
    if isinstance(table, WrittenScalar):
        path = collection_context.directory / str(table)
        if collection_context.contents.is_file(path):
            collection_context.hashes[str(table)] = collection_context.contents.compute_sha256(path)
        else:
            sibling_files = [item.name for item in path.parent.iterdir()] if os.path.isdir(path.parent) else []  # noqa: PTH112
            faults.add_error(
                f"{key_path}.table: there is no file {table} beside the descriptor",
                table.place,
                suggest_spelling(table, sibling_files),
            )


def _check_expression(
    value: WrittenScalar,
    key_path: str,
    target_names: list[str] | None,
    faults: FaultCollector,
    *,
    condition: bool = False,
    allow_target: bool = True,
) -> None:
    """Parse; names of the source are checked when the source is known."""
    tree = parse_written_expression(value, key_path, faults, condition=condition)
    if tree is None:
        return
    for prefix, name, node in iterate_column_references(tree):
        if prefix == "target" and not allow_target:
            faults.add_error(
                f"{key_path}: target.{name} does not exist yet here",
                value.locate_character(node.text_offset),
                "conditions over source rows use the source's columns",
            )
        elif prefix == "target" and target_names is not None and name not in target_names:
            faults.add_error(
                f"{key_path}: the table has no column {name!r}",
                value.locate_character(node.text_offset),
                suggest_spelling(name, target_names),
            )


def check_template(
    template: WrittenScalar, key_path: str, target_names: list[str] | None, faults: FaultCollector
) -> None:
    """Check a template: braces, and whatever stands in them that is more than a name.

    Parameters
    ----------
    template
        As written.
    key_path
        Names the key for messages.
    target_names
        Columns of the table; None: they are not known yet.
    faults
        Where faults go.
    """
    for part in split_template(template, key_path, faults):
        if isinstance(part, TemplatePlaceholder):
            prefix, dot, key_name = part.expression_text.partition(".")
            if (
                part.name is not None
                and dot
                and prefix == "target"
                and target_names is not None
                and key_name not in target_names
            ):
                faults.add_error(
                    f"{key_path}: the table has no column {key_name!r}",
                    template.locate_character(part.offset),
                    suggest_spelling(key_name, target_names),
                )
            elif part.name is not None and dot and prefix == "site" and key_name not in SITE_KEYS:
                faults.add_error(
                    f"{key_path}: no {part.expression_text}",
                    template.locate_character(part.offset),
                    f"known: {', '.join('site.' + key for key in SITE_KEYS)}",
                )
            elif part.name is None:
                parse_placeholder(template, part, key_path, faults)


def _read_let_expressions(
    key_path: str, fields: KeyValues, collection_context: CollectionContext, faults: FaultCollector
) -> dict[str, tuple[str, Place]]:
    """Order the names by dependence; cycles are faults."""
    let_texts: dict[WrittenScalar, WrittenScalar] = fields.get("let", {})
    used_names: dict[str, set[str]] = {}
    for name, value in let_texts.items():
        if not check_column_name(name, "a 'let' name", faults, must_be_regular=True):
            continue
        if str(name) in collection_context.constants:
            faults.add_error(
                f"{key_path}.let: {name} is a constant of the collection already", name.place, "choose another name"
            )
        tree = parse_written_expression(value, f"{key_path}.let.{name}", faults)
        used_names[str(name)] = (
            {inner for prefix, inner, _ in iterate_column_references(tree) if not prefix} if tree is not None else set()
        )
    ordered_expressions: dict[str, tuple[str, Place]] = {}
    texts = {str(name): value for name, value in let_texts.items()}

    def add_after_dependencies(name: str, chain: tuple[str, ...]) -> None:
        if name in ordered_expressions:
            return
        if name in chain:
            cycle = (*chain[chain.index(name) :], name)
            message = f"{key_path}.let: {' needs '.join(cycle)}: a cycle"
            if message not in {fault.message for fault in faults.faults}:
                faults.add_error(message, texts[name].place)
            ordered_expressions[name] = (texts[name], texts[name].place)
            return
        for needed in sorted(used_names[name] & used_names.keys()):
            add_after_dependencies(needed, (*chain, name))
        ordered_expressions.setdefault(name, (texts[name], texts[name].place))

    for start in used_names:
        add_after_dependencies(start, ())
    return ordered_expressions


def _read_granules(
    key_path: str,
    fields: KeyValues,
    column_names: list[str],
    typed_columns: Mapping[str, Column],
    has_all_columns: bool,
    collection_context: CollectionContext,
    faults: FaultCollector,
) -> Iterator[GranuleSpec]:
    granule_ids: set[str] = set()
    for item in fields.get("granules", ()):
        gid = str(item.get("gid", ""))
        where = f"{key_path}.granules[{gid}]"
        if gid in granule_ids:
            faults.add_error(f"{where}: two granules have this gid", item.place)
        granule_ids.add(gid)
        settings = _read_settings(where, item, faults)
        optional_text = _read_optional_text(fields, "standard")
        _check_setting_targets(where, settings, column_names, has_all_columns, faults, optional_text)
        _check_setting_values(where, settings, typed_columns, collection_context, faults)
        condition = item.get("if")
        if condition is not None:
            _check_expression(
                condition, f"{where}.if", column_names if has_all_columns else None, faults, condition=True
            )
        yield GranuleSpec(
            gid=gid,
            settings=settings,
            condition=None if condition is None else (condition, condition.place),
            place=item.place,
        )


def _read_rules(
    key_path: str, fields: KeyValues, column_names: list[str], has_all_columns: bool, faults: FaultCollector
) -> Iterator[ValidationRule]:
    for name, item in fields.get("rules", {}).items():
        where = f"{key_path}.rules.{name}"
        if "check" in item:
            yield from _read_check_rule(where, str(name), item, fields, column_names, has_all_columns, faults)
            continue
        if "if" not in item:
            continue
        condition: WrittenScalar = item["if"]
        tree = parse_written_expression(condition, where, faults, condition=True)
        if tree is not None and has_all_columns:
            check_target_columns(condition, tree, where, column_names, faults)
        yield ValidationRule(
            name=str(name),
            condition=condition,
            severity=_read_severity(item),
            message=_read_optional_text(item, "message"),
            flag=item.get("flag"),
            place=condition.place,
        )


def _read_severity(rule_fields: KeyValues) -> str:
    return str(rule_fields.get("severity", "error" if "flag" not in rule_fields else "warning"))


def _build_flags_setting(
    key_path: str, flags_column: QualityFlagColumn, settings: tuple[ColumnMapping, ...], faults: FaultCollector
) -> Iterator[ColumnMapping]:
    """Begin with no flag; the rules set them when all other columns have their values."""
    explicit_setting = next(
        (setting for setting in settings if setting.column.lower() == flags_column.column.lower()), None
    )
    if explicit_setting is not None:
        message = f"{key_path}.{explicit_setting.how}: {flags_column.column} gets its value from the rules"
        faults.add_error(message, explicit_setting.place, "remove it, or choose another name under 'flags'")
    else:
        yield ColumnMapping(column=flags_column.column, how="set", value="0", place=flags_column.place)


def _read_check_rule(
    key_path: str,
    name: str,
    rule_fields: KeyValues,
    fields: KeyValues,
    column_names: list[str],
    has_all_columns: bool,
    faults: FaultCollector,
) -> Iterator[ValidationRule]:
    columns: tuple[WrittenScalar, ...] = rule_fields.get("columns", ())
    for column in columns:
        if has_all_columns and column not in column_names:
            faults.add_error(
                f"{key_path}: the table has no column {str(column)!r}",
                column.place,
                suggest_spelling(column, column_names),
            )
    check_name = rule_fields["check"]
    check_argument = rule_fields.get("of", rule_fields["check"])
    if not columns:
        faults.add_error(f"{key_path} needs 'columns'", rule_fields.place)
    if check_name in {"pair", "order"} and len(columns) % 2:
        faults.add_error(
            f"{key_path}: {check_name} takes columns two by two: [a_min, a_max, b_min, b_max]",
            rule_fields.places["columns"],
        )
    if check_name in {"words", "pattern"} and "of" not in rule_fields:
        faults.add_error(f"{key_path}: {check_name} needs 'of'", rule_fields.place)
    elif check_name == "words" and check_argument not in fields.get("vocabularies", {}):
        faults.add_error(
            f"{key_path}: no vocabulary is called {str(check_argument)!r}",
            check_argument.place,
            suggest_spelling(check_argument, fields.get("vocabularies", {})),
        )
    elif check_name == "pattern":
        try:
            re.compile(str(check_argument))
        except re.error as error:
            faults.add_error(f"{key_path}: {check_argument} is no regular expression: {error}", check_argument.place)
    yield ValidationRule(
        name=name,
        condition="",
        severity=_read_severity(rule_fields),
        message=_read_optional_text(rule_fields, "message"),
        check=check_name,
        flag=rule_fields.get("flag"),
        columns=tuple(map(str, columns)),
        of=None if check_argument is None else str(check_argument),
        items=bool(rule_fields.get("list", False)),
        low=rule_fields.get("low"),
        high=rule_fields.get("high"),
        place=rule_fields.place,
    )


def _read_column_names(
    key_path: str, key: str, fields: KeyValues, column_names: list[str], has_all_columns: bool, faults: FaultCollector
) -> Iterator[str]:
    for item in fields.get(key, ()):
        if has_all_columns and item not in column_names:
            faults.add_error(
                f"{key_path}.{key}: the table has no column {str(item)!r}",
                item.place,
                suggest_spelling(item, column_names),
            )
        yield str(item)


def _read_foreign_keys(
    key_path: str,
    fields: KeyValues,
    collection_context: CollectionContext,
    column_names: list[str],
    has_all_columns: bool,
    faults: FaultCollector,
) -> Iterator[ForeignKey]:
    for name, item in fields.get("keys", {}).items():
        if "target" not in item:
            continue
        own_columns = item.get("columns", (name,))
        for own_column in own_columns:
            if has_all_columns and own_column not in column_names:
                faults.add_error(
                    f"{key_path}.keys.{name}: the table has no column {str(own_column)!r}",
                    own_column.place,
                    suggest_spelling(own_column, column_names),
                )
        target = str(item["target"])
        target_columns = tuple(str(column) for column in item.get("target_columns", own_columns))
        if len(target_columns) != len(own_columns):
            faults.add_error(
                f"{key_path}.keys.{name}: {len(own_columns)} columns here, {len(target_columns)} there", item.place
            )
        yield ForeignKey(
            id=str(name),
            columns=tuple(str(column) for column in own_columns),
            target=target if "." in target else f"{collection_context.schema}.{target}",
            target_columns=target_columns,
            description=_read_optional_text(item, "description"),
            utype=_read_optional_text(item, "utype"),
        )


def _read_column_groups(
    key_path: str, fields: KeyValues, column_names: list[str], has_all_columns: bool, faults: FaultCollector
) -> Iterator[ColumnGroup]:
    for name, item in fields.get("groups", {}).items():
        roles = {role: item[role] for role in GROUP_ROLES if role in item} | {
            str(key): value for key, value in item.get("roles", {}).items()
        }
        roles |= {str(column): column for column in item.get("columns", ())}
        for role, column in roles.items():
            if has_all_columns and column not in column_names:
                faults.add_error(
                    f"{key_path}.groups.{name}.{role}: the table has no column {str(column)!r}",
                    column.place,
                    suggest_spelling(column, column_names),
                )
        yield ColumnGroup(
            name=str(name),
            roles={role: str(column) for role, column in roles.items()},
            description=_read_optional_text(item, "description"),
            utype=_read_optional_text(item, "utype"),
            ucd=_read_optional_text(item, "ucd"),
        )


def _read_frame(
    name: str, frame_fields: KeyValues, settings: tuple[ColumnMapping, ...], key_path: str, faults: FaultCollector
) -> FrameRef:
    frame_kind = frame_fields.get("kind") or ("timesys" if "timescale" in frame_fields else "coosys")
    frame_attributes = {
        word: _read_optional_text(frame_fields, word)
        for word in ("system", "epoch", "equinox", "refposition", "timescale", "timeorigin")
    }
    constants_by_column = {setting.column: str(setting.value) for setting in settings if setting.how == "set"}
    if "crs" in frame_fields:
        frame_attributes["system"] = frame_attributes["system"] or frames.BODY_FRAME_NAME
        optional_text = _read_optional_text(frame_fields, "crs")
        frame_attributes["refposition"] = check_body_frame(
            optional_text or "",
            frame_attributes["refposition"],
            constants_by_column,
            key_path,
            frame_fields,
            faults,
        )
    if (
        frame_attributes["system"] == frames.BODY_FRAME_NAME and frame_attributes["refposition"] is None
    ):  # which body, if it is the same one in all rows
        frame_attributes["refposition"] = constants_by_column.get("spatial_origin") or constants_by_column.get(
            "target_name"
        )
    return FrameRef(id=name, kind=frame_kind, **frame_attributes)


def find_position_columns(table_columns: tuple[Column, ...]) -> tuple[str, str] | None:
    """Find longitude and latitude by UCD: main positions first.

    Parameters
    ----------
    table_columns
        Columns of the table.

    Returns
    -------
    names
        Of both; None if there are none.
    """
    by_ucd: dict[str, str] = {}
    for column in table_columns:
        if column.ucd is not None and column.type.is_numeric:
            by_ucd.setdefault(column.ucd.lower().replace(" ", ""), column.name)
    return next(
        ((by_ucd[lon], by_ucd[lat]) for lon, lat in POSITION_UCD_PAIRS if lon in by_ucd and lat in by_ucd), None
    )


def _read_position(
    key_path: str,
    fields: KeyValues,
    table_columns: tuple[Column, ...],
    column_names: list[str],
    has_all_columns: bool,
    faults: FaultCollector,
) -> tuple[str, str] | None:
    if "position" not in fields:
        return find_position_columns(table_columns)
    pair = tuple(_read_column_names(key_path, "position", fields, column_names, has_all_columns, faults))
    if len(pair) != 2:
        faults.add_error(f"{key_path}.position must be [longitude, latitude]", fields.places["position"])
        return None
    warn_about_position(key_path, (pair[0], pair[1]), table_columns, fields["position"][0], faults)
    return pair[0], pair[1]


def _read_form_fields(
    key_path: str, fields: KeyValues, column_names: list[str], has_all_columns: bool, faults: FaultCollector
) -> Iterator[str]:
    """Read the fields of a form: columns, and pairs by what their names have in common."""
    stems = [
        name.removesuffix("min").removesuffix("_")
        for name in column_names
        if name.endswith("min") and name.removesuffix("min") + "max" in column_names
    ]
    for item in fields.get("form", ()):
        if has_all_columns and item not in (*column_names, *stems):
            faults.add_error(
                f"{key_path}.form: the table has no column {str(item)!r}",
                item.place,
                suggest_spelling(item, [*column_names, *stems]),
            )
        yield str(item)


def _read_indexes(
    key_path: str, fields: KeyValues, column_names: list[str], has_all_columns: bool, faults: FaultCollector
) -> tuple[tuple[str, ...], ...]:
    indexes = []
    for item in fields.get("indexes", ()):
        for name in item:
            if has_all_columns and name not in column_names:
                if "(" in name:
                    hint = "an index is of columns: let one be computed by 'map', and index that"
                else:
                    hint = suggest_spelling(name, column_names)
                faults.add_error(f"{key_path}.indexes: the table has no column {str(name)!r}", name.place, hint)
        if len(set(item)) < len(item):
            faults.add_error(f"{key_path}.indexes: an index has a column twice", item[0].place)
        indexes.append(tuple(map(str, item)))
    return tuple(dict.fromkeys(indexes))


def _read_view_query(key_path: str, fields: KeyValues, faults: FaultCollector) -> str | None:
    """Parse the query of a view: syntax faults belong to the descriptor."""
    if "view" not in fields:
        return None
    text: WrittenScalar = fields["view"]
    try:
        parse_query(str(text))
    except ParseError as error:
        faults.add_error(f"{key_path}.view: {error.message}", text.locate_character(error.offset), error.remedy)
    return str(text)


__all__ = ["CollectionContext", "check_template", "find_position_columns", "read_table_spec"]

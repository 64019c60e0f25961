"""Merge includes, the site's defaults, standards and loops into one tree of written values.

Every value keeps its place.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hven.descriptor._file_contents import DescriptorFileReader
from hven.descriptor._keys import ASSIGNMENT_KEYS
from hven.descriptor.value_schema import FaultCollector, describe_value, join_choices
from hven.descriptor.written_yaml import (
    LocatedYamlList,
    LocatedYamlMap,
    LocatedYamlScalar,
    YamlFileText,
    decode_yaml_file,
    parse_yaml_file,
    read_yaml_file,
)
from hven.model.errors import find_close_match, suggest_spelling

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from hven.model.errors import Fault
    from hven.model.settings import Settings

MAX_INCLUDED_FILES = 500  # files; one counts as often as it is included
MAX_PATH_CHARACTERS = 1000
DESCRIPTOR_EXTENSIONS = {".yaml", ".yml"}
STANDARDS_DIRECTORY = Path(__file__).parent / "standards"


class DescriptorReadResult:
    """The files that were read for one descriptor: the SHA-256 of each, and their faults.

    `contents` reads the files.
    """

    def __init__(self, contents: DescriptorFileReader | None = None) -> None:
        self.contents = contents or DescriptorFileReader()
        self.hashes: dict[str, str] = {}
        self.faults = FaultCollector()
        self.included_count = 0


def read_merged_descriptor(path: Path, settings: Settings, result: DescriptorReadResult) -> LocatedYamlMap | None:
    """Read a descriptor with all its includes, and put the site's defaults below."""
    result.faults.language = settings.language
    root = _read_with_includes(path, path.parent, settings, result, ())
    if root is None:
        return None
    if settings.defaults:
        site_defaults = read_toml_defaults(settings)
        root = merge_yaml_maps(site_defaults, root, "collection")
    return root


def format_site_path(path: Path, settings: Settings) -> str:
    """Return the name of a file for messages: relative to the site's directory if the file is in it."""
    try:
        return path.resolve().relative_to(settings.directory.resolve()).as_posix()
    except ValueError:
        return str(path)


def _read_with_includes(
    path: Path,
    base_directory: Path,
    settings: Settings,
    result: DescriptorReadResult,
    include_chain: tuple[Path, ...],
) -> LocatedYamlMap | None:
    faults = result.faults
    name = format_site_path(path, settings)
    page = _read_descriptor_page(path, name, result)
    if page is None:
        return None
    relative_path = re.sub(r"^\./", "", os.path.relpath(path, base_directory))
    result.hashes[Path(relative_path).as_posix()] = result.contents.compute_sha256(path)
    entries = _parse_descriptor(page, faults)
    if entries is None:
        return None
    include_value = entries.get("include")  # type: ignore[call-overload]
    if include_value is None:
        return entries
    include_chain = (*include_chain, path)
    included_entries: LocatedYamlMap | None = None
    for include in _list_yaml_items(include_value):
        if not isinstance(include, LocatedYamlScalar):
            continue  # the check of the keys reports it
        result.included_count += 1
        if result.included_count > MAX_INCLUDED_FILES:
            faults.add_error(
                f"more than {MAX_INCLUDED_FILES} files are included",
                include.place,
                "include each file only once",
            )
            return None
        included_path = _find_included_file(include, include_chain, settings, result)
        if included_path is None:
            continue
        nested_entries = _read_with_includes(included_path, base_directory, settings, result, include_chain)
        if nested_entries is not None and included_entries is not None:
            included_entries = merge_yaml_maps(included_entries, nested_entries, "collection")
        elif nested_entries is not None:
            included_entries = nested_entries
    if included_entries is None:
        return entries
    return merge_yaml_maps(included_entries, entries, "collection")


def _parse_descriptor(page: YamlFileText, faults: FaultCollector) -> LocatedYamlMap | None:
    """Parse a file that must be a map; return None after a fault."""
    entries = parse_yaml_file(page, faults.faults)
    if isinstance(entries, LocatedYamlMap):
        return entries
    if entries is not None:
        message = f"a descriptor is a map (collection, title, tables ...), not {describe_value(entries)}"
        faults.add_error(message, page.locate_index(0))
    elif not faults.faults:
        faults.add_error("the file is empty", page.locate_index(0), "begin with 'collection: name'")
    return None


def _find_included_file(
    include: LocatedYamlScalar, include_chain: tuple[Path, ...], settings: Settings, result: DescriptorReadResult
) -> Path | None:
    """Return the path of an included file; None after a fault."""
    faults = result.faults
    if "\0" in include or len(str(include)) > MAX_PATH_CHARACTERS:
        remedy = f"write at most {MAX_PATH_CHARACTERS} characters, without NUL"
        faults.add_error("the path under 'include' is not a valid file path", include.place, remedy)
        return None
    directory = include_chain[-1].parent
    path = directory / str(include)
    resolved_path = path.resolve()
    if resolved_path in {including_path.resolve() for including_path in include_chain}:
        cycle = " -> ".join(step.name for step in (*include_chain, path))
        faults.add_error(f"{include} includes itself ({cycle})", include.place, "remove one of these includes")
        return None
    is_allowed = any(resolved_path.is_relative_to(root.resolve()) for root in settings.allowed_directories)
    if not is_allowed or path.suffix not in DESCRIPTOR_EXTENSIONS:
        faults.add_error(
            f"{include} is not a descriptor of this site",
            include.place,
            "include .yaml files from the site, or from a directory listed under `roots` in hven.toml",
        )
        return None
    if not result.contents.is_file(path):
        hint = suggest_spelling(str(include), _list_neighbour_descriptors(path, str(include)))
        remedy = hint or f"write a path relative to {directory.name}/"
        faults.add_error(f"there is no file {include} to include", include.place, remedy)
        return None
    return path


def _list_yaml_items(value: Any) -> list[Any]:
    """Return the items of a list, or a single value as a list."""
    if isinstance(value, LocatedYamlList):
        return list(value)
    return [value]


def _read_descriptor_page(path: Path, name: str, result: DescriptorReadResult) -> YamlFileText | None:
    state = result.contents.find_replacement_content(path)
    if state is None or state.data is None:
        return read_yaml_file(path, name, result.faults.faults)
    return decode_yaml_file(state.data, name, result.faults.faults)


def _list_neighbour_descriptors(missing_path: Path, written_path: str) -> list[str]:
    """List the descriptors in the directory of a missing file, as they would be written."""
    folder = missing_path.parent
    if not folder.is_dir():
        return []
    names = [path.name for path in folder.iterdir() if path.suffix in DESCRIPTOR_EXTENSIONS]
    head = written_path.rpartition("/")[0]
    if head:
        return [f"{head}/{name}" for name in names]
    return names


def merge_yaml_maps(lower: LocatedYamlMap, upper: LocatedYamlMap, level: str = "") -> LocatedYamlMap:
    """Merge `upper` over `lower`: maps are merged key by key, everything else is replaced.

    In a table, a target that `upper` sets (under set, text, map or lookup) is removed from `lower`, under whichever key
    it stands there. The optional columns of both are kept.
    """
    if level == "table":
        assigned_columns: set[str] = set()
        for key in ASSIGNMENT_KEYS:
            assigned_columns.update(_list_section_keys(upper, key))
        lower = _drop_column_assignments(lower, assigned_columns)
    merged_entries: dict[LocatedYamlScalar, Any] = {}
    for key, lower_value in lower.items():
        if key == "types" and "type" in upper:  # the type of a column replaces the choice of types
            continue
        if key not in upper:
            merged_entries[key] = lower_value
            continue
        value = upper[key]
        if isinstance(lower_value, LocatedYamlMap) and isinstance(value, LocatedYamlMap):
            if level == "collection" and key == "tables":
                inner_level = "tables"
            elif level == "tables":
                inner_level = "table"
            else:
                inner_level = ""
            value = merge_yaml_maps(lower_value, value, inner_level)
        elif level == "table" and key == "optional":
            value = _join_yaml_lists_without_duplicates(lower_value, value)
        merged_entries[upper.find_key(key)] = value
    merged_entries.update({key: value for key, value in upper.items() if key not in lower})
    return LocatedYamlMap(merged_entries, upper.place)


def _drop_column_assignments(
    table: LocatedYamlMap, column_names: set[str], keys: Collection[str] = ASSIGNMENT_KEYS
) -> LocatedYamlMap:
    """Remove columns from the sections of a table that set values."""
    entries = {}
    for key, value in table.items():
        if key in keys:
            entries[key] = _drop_yaml_map_keys(value, column_names)
        else:
            entries[key] = value
    return LocatedYamlMap(entries, table.place)


def _join_yaml_lists_without_duplicates(lower: Any, upper: Any) -> Any:
    lower_items = _list_yaml_items(lower)
    new_items = [item for item in _list_yaml_items(upper) if item not in lower_items]
    return LocatedYamlList([*lower_items, *new_items], upper.place)


def _list_section_keys(table: LocatedYamlMap, key: str) -> list[str]:
    section = table.get(key)  # type: ignore[call-overload]
    if isinstance(section, LocatedYamlMap):
        return [str(name) for name in section]
    return []


def _drop_yaml_map_keys(value: Any, names: set[str]) -> Any:
    if not isinstance(value, LocatedYamlMap):
        return value
    remaining_entries = {key: entry for key, entry in value.items() if str(key) not in names}
    return LocatedYamlMap(remaining_entries, value.place)


def with_replaced_entry(entries: LocatedYamlMap, replaced_key: str, new_value: Any) -> LocatedYamlMap:
    """Return a map with another value for a key that it has."""
    new_entries = {}
    for key, value in entries.items():
        if key == replaced_key:
            new_entries[key] = new_value
        else:
            new_entries[key] = value
    return LocatedYamlMap(new_entries, entries.place)


def read_toml_defaults(settings: Settings) -> LocatedYamlMap:
    """Read ``[defaults]`` of hven.toml as written values, with their lines where they can be found."""
    file = settings.directory / "hven.toml"
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        text = ""
    page = YamlFileText("hven.toml", text)
    section_offset = max(text.find("[defaults"), 0)

    def find_key_offset(key: str) -> int:
        escaped_key = re.escape(key)
        pattern = re.compile(rf'^[ \t]*"?{escaped_key}"?[ \t]*=|^\[defaults\.(?:.*\.)?{escaped_key}\]', re.MULTILINE)
        match = pattern.search(text, section_offset)
        if match is None:
            return section_offset
        return match.start()

    def convert_value(value: Any, offset: int) -> Any:
        place = page.locate_index(offset)
        if isinstance(value, dict):
            entries = {}
            for key, inner_value in value.items():
                key_offset = find_key_offset(key)
                written_key = LocatedYamlScalar(key, page, key_offset, key_offset, '"')
                entries[written_key] = convert_value(inner_value, key_offset)
            return LocatedYamlMap(entries, place)
        if isinstance(value, list):
            return LocatedYamlList([convert_value(item, offset) for item in value], place)
        if isinstance(value, bool):
            return LocatedYamlScalar("true" if value else "false", page, offset, offset, "")
        style = "made"
        if isinstance(value, int | float):
            style = ""
        return LocatedYamlScalar(str(value), page, offset, offset, style)

    return convert_value(dict(settings.defaults), section_offset)  # type: ignore[no-any-return]


# --- standards -----------------------------------------------------------------------------------------------


def list_standards(settings: Settings | None = None) -> dict[str, Path]:
    """List all standards by name: the shipped ones, and ``standards/*.yaml`` of the site.

    Parameters
    ----------
    settings
        Settings of the site; None: the shipped ones alone.

    Returns
    -------
    paths
        Files of the standards.
    """
    paths = sorted(STANDARDS_DIRECTORY.glob("*.yaml"))
    if settings is not None:
        paths += sorted((settings.directory / "standards").glob("*.yaml"))
    return {path.stem: path for path in paths}


def _read_standard(name: str, path: Path) -> tuple[Any, list[Fault]]:
    """Read a standard as its file has it now, with the faults of its text.

    The parsed standard is cached: to parse EPN-TAP takes ten times as long as to read a small descriptor.
    """
    state: tuple[int, int] | None = None
    with suppress(OSError):  # the reader of the file reports it
        file_status = path.stat()
        state = file_status.st_mtime_ns, file_status.st_size
    return _parse_standard(name, path, state)


@lru_cache(maxsize=32)
# `state` is a part of the cache's key: it tells the versions of a file apart
def _parse_standard(name: str, path: Path, state: tuple[int, int] | None) -> tuple[Any, list[Fault]]:  # noqa: ARG001
    faults: list[Fault] = []
    page = read_yaml_file(path, f"standard {name}", faults)
    if page is None:
        return None, faults
    return parse_yaml_file(page, faults), faults


def apply_standard_to_table(
    key: LocatedYamlScalar, table: LocatedYamlMap, settings: Settings, result: DescriptorReadResult
) -> LocatedYamlMap:
    """Merge the table called `key` over the standard that it names: its columns, rules and groups.

    Optional columns of the standard are there only if the table asks for them.
    """
    faults = result.faults
    name = table.get("standard")  # type: ignore[call-overload]
    if not isinstance(name, LocatedYamlScalar):
        for word in ("optional", "frame"):
            if word in table and "variants" not in table:
                message = f"{word!r} has an effect only with a standard"
                faults.add_error(message, table.find_key(word).place, f"add 'standard', or remove {word!r}")
        return _drop_yaml_map_keys(table, {"optional", "frame"})  # type: ignore[no-any-return]
    standard_paths = list_standards(settings)
    site_standards = settings.directory / "standards"
    standard_paths |= {path.stem: path for path in result.contents.states if path.parent == site_standards}
    if str(name) not in standard_paths:
        remedy = suggest_spelling(str(name), standard_paths) or f"use one of {', '.join(standard_paths)}"
        faults.add_error(f"there is no standard {str(name)!r}", name.place, remedy)
        similar_standard = find_close_match(str(name), standard_paths)
        if similar_standard is None:  # nobody knows what columns the table has
            table_entries = {word: value for word, value in table.items() if word != "follow"}
            table_entries[name.copy_with_text("follow")] = LocatedYamlScalar("true", name.page, name.start, name.end)
            return LocatedYamlMap(table_entries, table.place)
        name = name.copy_with_text(similar_standard)  # check the table as if it named this one
    tables = _read_standard_tables(name, standard_paths[str(name)], result)
    if not tables:
        faults.add_error(f"the standard {name} must describe a table", name.place)
        return table
    standard_table_name: Any = key
    if len(tables) == 1:
        standard_table_name = next(iter(tables))
    if standard_table_name not in tables:  # the table's own name chooses one of several
        known_tables = [str(known_name) for known_name in tables]
        remedy = suggest_spelling(str(key), known_tables) or f"use one of its tables: {', '.join(known_tables)}"
        faults.add_error(f"the standard {name} has no table {str(key)!r}", key.place, remedy)
        return table
    base: LocatedYamlMap = tables[standard_table_name]
    prescribed_name = base.get("called")  # type: ignore[call-overload]
    is_written_name = name == table.get("standard")  # type: ignore[call-overload]
    if prescribed_name is not None and key != prescribed_name and is_written_name:
        message = f"a table of {name} must be called {str(prescribed_name)!r}, not {str(key)!r}"
        faults.add_error(message, key.place, f"write `{prescribed_name}:`")
    base = _apply_frame_variant(base, table, faults)
    base = _select_optional_columns(base, table, faults)
    return merge_yaml_maps(_replace_rule_severities(base, settings), table, "table")


def _read_standard_tables(name: LocatedYamlScalar, path: Path, result: DescriptorReadResult) -> LocatedYamlMap | None:
    """Read the tables of a standard."""
    root: Any = None
    if result.contents.find_replacement_content(path) is None:
        root, standard_faults = _read_standard(str(name), path)
        result.faults.faults += standard_faults
    else:
        page = _read_descriptor_page(path, f"standard {name}", result)
        if page is not None:
            root = parse_yaml_file(page, result.faults.faults)
    if not isinstance(root, LocatedYamlMap):
        return None
    tables = root.get("tables")  # type: ignore[call-overload]
    if isinstance(tables, LocatedYamlMap):
        return tables
    return None


def list_optional_columns(standard: str) -> frozenset[str]:
    """List a shipped standard's optional columns, for hints."""
    return frozenset(name for name, optional in map_standard_column_optionality(standard).items() if optional)


def map_standard_column_optionality(standard: str) -> dict[str, bool]:
    """Return a shipped standard's columns; the value is True for a column that is there only if asked for.

    Parameters
    ----------
    standard
        Name of the standard.
    """
    return {name: _is_optional_column(column) for name, column in _iterate_standard_columns(standard)}


def map_standard_column_units(standard: str) -> dict[str, str]:
    """Return the units of a shipped standard's columns that have one.

    Parameters
    ----------
    standard
        Name of the standard.
    """
    columns = [item for item in _iterate_standard_columns(standard) if isinstance(item[1], LocatedYamlMap)]
    return {name: str(column["unit"]) for name, column in columns if "unit" in column}


def _iterate_standard_columns(standard: str) -> Iterator[tuple[str, Any]]:
    """Yield the names of a shipped standard's columns with their attributes."""
    standard_paths = list_standards()
    path = standard_paths.get(standard) or standard_paths.get(find_close_match(standard, standard_paths) or "")
    root: Any = None if path is None else _read_standard(standard, path)[0]
    if isinstance(root, LocatedYamlMap):
        for table in root.get("tables", {}).values():  # type: ignore[call-overload]
            for name, column in table.get("columns", {}).items():
                yield str(name), column


def _is_optional_column(column: Any) -> bool:
    return isinstance(column, LocatedYamlMap) and str(column.get("optional")) == "true"  # type: ignore[call-overload]


def _replace_rule_severities(base: LocatedYamlMap, settings: Settings) -> LocatedYamlMap:
    """Replace severities of a standard's rules by those that the site sets."""
    rules = base.get("rules")  # type: ignore[call-overload]
    if not isinstance(rules, LocatedYamlMap) or not settings.rules:
        return base
    page = YamlFileText("hven.toml", "")
    site_rules: dict[LocatedYamlScalar, Any] = {}
    for name, rule in rules.items():
        site_rules[name] = rule
        if name in settings.rules and isinstance(rule, LocatedYamlMap):
            severity = LocatedYamlScalar(settings.rules[name], page, 0, 0)
            severity_entry = LocatedYamlMap({LocatedYamlScalar("severity", page, 0, 0): severity}, rule.place)
            site_rules[name] = merge_yaml_maps(rule, severity_entry)
    return with_replaced_entry(base, "rules", LocatedYamlMap(site_rules, rules.place))


def _apply_frame_variant(base: LocatedYamlMap, table: LocatedYamlMap, faults: FaultCollector) -> LocatedYamlMap:
    variants = base.get("variants")  # type: ignore[call-overload]
    frame = table.get("frame", base.get("frame"))  # type: ignore[call-overload]
    base_without_variants: LocatedYamlMap = _drop_yaml_map_keys(base, {"variants"})
    if not isinstance(variants, LocatedYamlMap) or not isinstance(frame, LocatedYamlScalar):
        return base_without_variants
    chosen_variant = variants.get(frame)
    if chosen_variant is None:
        faults.add_error(
            f"`frame` must be {join_choices(variants)}, not {str(frame)!r}",
            frame.place,
            suggest_spelling(frame, variants),
        )
        return base_without_variants
    return merge_yaml_maps(base_without_variants, chosen_variant, "table")


def _select_optional_columns(base: LocatedYamlMap, table: LocatedYamlMap, faults: FaultCollector) -> LocatedYamlMap:
    columns = base.get("columns")  # type: ignore[call-overload]
    if not isinstance(columns, LocatedYamlMap):
        return base
    optional_value = table.get("optional")  # type: ignore[call-overload]
    written_names = [name for name in _list_yaml_items(optional_value) if isinstance(name, LocatedYamlScalar)]
    requested_columns = _expand_column_families(written_names, base)
    optional_names = {str(name) for name, column in columns.items() if _is_optional_column(column)}
    for name in requested_columns:
        if name in optional_names:
            continue
        families = [str(family) for family in base.get("families") or ()]  # type: ignore[call-overload]
        if name in columns:
            remedy = "remove it from 'optional'; the standard always has this column"
        else:
            remedy = suggest_spelling(name, [*optional_names, *families])
        remedy = remedy or f"use one of {', '.join(sorted([*optional_names, *families]))}"
        faults.add_error(f"the standard has no optional column {str(name)!r}", name.place, remedy)
    chosen_names = {str(name) for name in requested_columns}
    chosen_names.update(_list_section_keys(table, "columns"))
    for group in base.get("together") or ():  # type: ignore[call-overload]
        if isinstance(group, LocatedYamlList) and not chosen_names.isdisjoint(map(str, group)):
            chosen_names.update(map(str, group))
    omitted_columns = optional_names - chosen_names
    remaining_columns: dict[LocatedYamlScalar, Any] = {}
    for name, column in columns.items():
        if str(name) in omitted_columns:
            continue
        remaining_columns[name] = column
        if isinstance(column, LocatedYamlMap):
            column_entries = {key: value for key, value in column.items() if key != "optional"}
            std_key = LocatedYamlScalar("std", name.page, name.start, name.end)
            column_entries.setdefault(std_key, LocatedYamlScalar("true", name.page, name.start, name.end))
            remaining_columns[name] = LocatedYamlMap(column_entries, column.place)
    base = _drop_yaml_map_keys(base, {"families", "together", "called"})
    base = _drop_column_assignments(base, omitted_columns, {*ASSIGNMENT_KEYS, "default"})
    base = with_replaced_entry(base, "columns", LocatedYamlMap(remaining_columns, columns.place))
    rules = base.get("rules")  # type: ignore[call-overload]
    return with_replaced_entry(base, "rules", _drop_inapplicable_rules(rules, omitted_columns))


def _expand_column_families(requested_names: list[LocatedYamlScalar], base: LocatedYamlMap) -> list[LocatedYamlScalar]:
    """Replace the name of a family by its columns."""
    families = base.get("families")  # type: ignore[call-overload]
    columns_by_family: dict[str, Any] = {}
    if isinstance(families, LocatedYamlMap):
        columns_by_family = {str(family): columns for family, columns in families.items()}
    requested_columns: list[LocatedYamlScalar] = []
    for name in requested_names:
        family_columns = columns_by_family.get(str(name))
        if not isinstance(family_columns, LocatedYamlList):
            requested_columns.append(name)
            continue
        columns = [column for column in family_columns if isinstance(column, LocatedYamlScalar)]
        requested_columns += [column.copy_with_text(column) for column in columns]
    return requested_columns


def _drop_inapplicable_rules(rules: Any, omitted_columns: set[str]) -> Any:
    """Drop a standard's rules about optional columns that this table does not have."""
    if not isinstance(rules, LocatedYamlMap) or not omitted_columns:
        return rules
    omitted_names = "|".join(map(re.escape, omitted_columns))
    omitted_pattern = re.compile(rf"\b(?:{omitted_names})\b")
    applicable_rules: dict[LocatedYamlScalar, Any] = {}
    for name, rule in rules.items():
        condition = rule
        if isinstance(rule, LocatedYamlMap):
            condition = rule.get("if", "")  # type: ignore[call-overload]
        if omitted_pattern.search(str(condition)):
            continue
        reduced_rule = _drop_columns_from_rule(rule, omitted_columns)
        if reduced_rule is not None:
            applicable_rules[name] = reduced_rule
    return LocatedYamlMap(applicable_rules, rules.place)


def _drop_columns_from_rule(rule: Any, omitted_columns: set[str]) -> Any:
    """Drop columns from a rule's list, two by two where they are pairs; None if nothing is left to check."""
    if not isinstance(rule, LocatedYamlMap):
        return rule
    written_columns = rule.get("columns")  # type: ignore[call-overload]
    if written_columns is None:
        return rule
    columns = _list_yaml_items(written_columns)
    check_name = str(rule.get("check"))  # type: ignore[call-overload]
    if check_name in {"pair", "order"}:
        step = 2
    elif check_name == "unique":
        step = len(columns)
    else:
        step = 1
    remaining_columns = []
    for start in range(0, len(columns), step):
        part = columns[start : start + step]
        if omitted_columns.isdisjoint(map(str, part)):
            remaining_columns += part
    if not remaining_columns:
        return None
    return with_replaced_entry(rule, "columns", LocatedYamlList(remaining_columns, rule.place))


# --- loops ---------------------------------------------------------------------------------------------------

MAX_LOOP_ROUNDS = 5_000  # rounds of one loop
MAX_LOOP_VALUES = 200_000  # keys and values that all loops of a descriptor make
_BRACES_PATTERN = re.compile(r"\{\{|\}\}|\{(\w+)\}")
TEMPLATE_KEYS = {"text", "links", "link"}


def expand_loops(
    holder: LocatedYamlMap, expandable_keys: tuple[str, ...], key_path: str, faults: FaultCollector
) -> LocatedYamlMap:
    """Expand ``for`` loops: add copies of `expandable_keys` (columns, map, ... or tables) for each value."""
    loops = holder.get("for")  # type: ignore[call-overload]
    if loops is None:
        return holder
    entries: dict[LocatedYamlScalar, Any] = {key: value for key, value in holder.items() if key != "for"}
    holder_without_loops = LocatedYamlMap(dict(entries), holder.place)
    for loop in _list_yaml_items(loops):
        if not isinstance(loop, LocatedYamlMap):
            message = f"{key_path}for must be a list of maps with 'each', not {describe_value(loop)}"
            faults.add_error(message, loop.place)
            continue
        _check_loop_keys(loop, expandable_keys, key_path, faults)
        parts = {key: part for key, part in loop.items() if str(key) in expandable_keys}
        value_count = sum(map(_count_keys_and_values, parts.values()))
        for values in _list_loop_rounds(loop, key_path, faults):
            faults.loop_value_count += value_count
            if faults.loop_value_count > MAX_LOOP_VALUES:
                message = f"{key_path}for: the loops create more than {MAX_LOOP_VALUES:,} values"
                faults.add_error(message, loop.place, "store the values in rows instead of columns")
                return holder_without_loops
            for key, part in parts.items():
                if isinstance(part, LocatedYamlMap):
                    new_entries = replace_loop_placeholders(part, values, keep_braces=key in TEMPLATE_KEYS)
                    _add_loop_entries(entries, key, new_entries, key_path, faults)
                else:
                    message = f"{key_path}for.{key} must be a map (name: value), not {describe_value(part)}"
                    faults.add_error(message, part.place)
    return LocatedYamlMap(entries, holder.place)


def _check_loop_keys(
    loop: LocatedYamlMap, expandable_keys: tuple[str, ...], key_path: str, faults: FaultCollector
) -> None:
    known_keys = ("each", *expandable_keys)
    for key in loop:
        if key not in known_keys:
            remedy = suggest_spelling(key, known_keys) or f"use one of {', '.join(known_keys)}"
            faults.add_error(f"{str(key)!r} is not a valid key of {key_path}for", key.place, remedy)


def _count_keys_and_values(value: Any) -> int:
    """Count keys and values."""
    if isinstance(value, LocatedYamlMap):
        return sum(1 + _count_keys_and_values(item) for item in value.values())
    if isinstance(value, LocatedYamlList):
        return sum(_count_keys_and_values(item) for item in value)
    return 1


def _add_loop_entries(
    result: dict[LocatedYamlScalar, Any],
    key: LocatedYamlScalar,
    new_entries: LocatedYamlMap,
    key_path: str,
    faults: FaultCollector,
) -> None:
    existing_entries = result.get(key)
    if not isinstance(existing_entries, LocatedYamlMap):
        result[key] = new_entries
        return
    joined_entries = dict(existing_entries)
    for name, value in new_entries.items():
        if name not in joined_entries:
            joined_entries[name] = value
            continue
        first_place = next(other_name for other_name in joined_entries if other_name == name).place
        faults.add_error(
            f"{key_path}{key}.{name} is defined twice",
            name.place,
            (
                f"change one of the two names (the first one is at {first_place}); in a loop, include the loop's "
                "placeholder {...} in the name"
            ),
        )
    result[key] = LocatedYamlMap(joined_entries, existing_entries.place)


def _list_loop_rounds(loop: LocatedYamlMap, key_path: str, faults: FaultCollector) -> list[dict[str, str]]:
    each = loop.get("each")  # type: ignore[call-overload]
    if not isinstance(each, LocatedYamlMap) or not each:
        place = loop.place
        if each is not None:
            place = each.place
        faults.add_error(f"{key_path}for needs 'each: {{name: [values]}}'", place)
        return []
    lists: dict[str, list[str]] = {}
    for name, values in each.items():
        if not isinstance(values, LocatedYamlList) or not all(isinstance(item, LocatedYamlScalar) for item in values):
            faults.add_error(f"{key_path}for.each.{name} must be a list of words", values.place)
            return []
        if not str(name).isidentifier():
            faults.add_error(
                f"{key_path}for.each: {str(name)!r} is not a name", name.place, "use only letters, digits and _"
            )
            return []
        lists[str(name)] = [str(item) for item in values]
    lengths = {len(values) for values in lists.values()}
    if len(lengths) > 1:
        counts = ", ".join(f"{name}: {len(values)}" for name, values in lists.items())
        faults.add_error(
            f"{key_path}for.each: lists that are read together must have the same length ({counts})", each.place
        )
        return []
    round_count = max(lengths)
    if round_count > MAX_LOOP_ROUNDS:
        faults.add_error(
            f"{key_path}for.each: the loop has {round_count:,} iterations; at most {MAX_LOOP_ROUNDS:,} are allowed",
            each.place,
        )
        return []
    rounds = zip(*lists.values(), strict=True)
    return [dict(zip(lists, values, strict=True)) for values in rounds]


def replace_loop_placeholders(value: Any, values: Mapping[str, str], *, keep_braces: bool = False) -> Any:
    """Replace ``{b}`` in keys and texts; ``{{`` stays for templates (`keep_braces`) and becomes ``{`` elsewhere."""

    def replace_match(match: re.Match[str]) -> str:
        if match[1] is not None:
            return values.get(match[1], match[0])
        if keep_braces:
            return match[0]
        return match[0][0]

    if isinstance(value, LocatedYamlScalar):
        if "{" in value or "}" in value:
            return value.copy_with_text(_BRACES_PATTERN.sub(replace_match, value))
        return value
    if isinstance(value, LocatedYamlList):
        items = [replace_loop_placeholders(item, values, keep_braces=keep_braces) for item in value]
        return LocatedYamlList(items, value.place, is_flow=value.is_flow)
    entries = {}
    for key, inner_value in value.items():
        # inside a map, 'text' and 'link' are templates wherever they stand
        keeps_braces = keep_braces or key in TEMPLATE_KEYS
        entries[replace_loop_placeholders(key, values)] = replace_loop_placeholders(
            inner_value, values, keep_braces=keeps_braces
        )
    return LocatedYamlMap(entries, value.place, is_flow=value.is_flow)

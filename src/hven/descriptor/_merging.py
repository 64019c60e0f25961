"""One tree of written values out of many: includes, the site's defaults, standards, loops.

Every value keeps its place.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hven.descriptor._file_contents import FileContents
from hven.descriptor._keys import ASSIGNMENT_KEYS
from hven.descriptor.value_schema import FaultCollector, describe_value
from hven.descriptor.written_yaml import (
    WrittenList,
    WrittenMap,
    WrittenScalar,
    YamlPage,
    decode_page,
    parse_page,
    read_page,
)
from hven.model.errors import find_close_match, suggest_spelling

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model.errors import Fault
    from hven.model.settings import Settings

MAX_INCLUDED_FILES, _MAX_PATH_CHARACTERS = 500, 1000  # files, one as often as it is included; characters of a path
STANDARDS_DIRECTORY = Path(__file__).parent / "standards"


class DescriptorSources:
    """What was read for one descriptor: the merged tree and the SHA-256 of every file.

    `contents` reads the files.
    """

    def __init__(self, contents: FileContents | None = None) -> None:
        self.contents = contents or FileContents()
        self.hashes: dict[str, str] = {}
        self.faults = FaultCollector()
        self.included_count = 0


def gather_descriptor(path: Path, settings: Settings, result: DescriptorSources) -> WrittenMap | None:
    """Read a descriptor with all its includes, and put the site's defaults below."""
    result.faults.language = settings.language
    root = _read_with_includes(path, path.parent, settings, result, ())
    if root is None:
        return None
    if settings.defaults:
        site_defaults = read_toml_defaults(settings)
        root = merge_entries(site_defaults, root, "collection")
    return root


def format_site_path(path: Path, settings: Settings) -> str:
    """Name a file as messages do: relative to the site if it is in it."""
    try:
        return path.resolve().relative_to(settings.directory.resolve()).as_posix()
    except ValueError:
        return str(path)


def _read_with_includes(
    path: Path,
    base_directory: Path,
    settings: Settings,
    result: DescriptorSources,
    include_chain: tuple[Path, ...],
) -> WrittenMap | None:
    faults = result.faults
    name = format_site_path(path, settings)
    page = _read_descriptor_page(path, name, result)
    if page is None:
        return None
    key = Path(re.sub(r"^\./", "", _to_relative_path(path, base_directory))).as_posix()
    result.hashes[key] = result.contents.compute_sha256(path)
    value = parse_page(page, faults.faults)
    if value is None:
        if not faults.faults:
            faults.add_error("the file is empty", page.locate_index(0), "begin with 'collection: name'")
        return None
    if not isinstance(value, WrittenMap):
        faults.add_error(
            f"a descriptor is a map (collection, title, tables ...), not {describe_value(value)}", page.locate_index(0)
        )
        return None
    include_value = value.get("include")  # type: ignore[call-overload]
    if include_value is None:
        return value
    included_entries: WrittenMap | None = None
    for item in include_value if isinstance(include_value, WrittenList) else [include_value]:
        if not isinstance(item, WrittenScalar):
            continue  # said when the keys are checked
        included_path = path.parent / str(item)
        result.included_count += 1
        if result.included_count > MAX_INCLUDED_FILES:
            faults.add_error(
                f"more than {MAX_INCLUDED_FILES} files are included",
                item.place,
                "include each once, where all that include it stand together",
            )
            return None
        if "\0" in item or len(str(item)) > _MAX_PATH_CHARACTERS:
            faults.add_error(
                "no file can be called so", item.place, f"at most {_MAX_PATH_CHARACTERS} characters, and no NUL"
            )
            continue
        if included_path.resolve() in {step.resolve() for step in (*include_chain, path)}:
            faults.add_error(
                f"{item} includes itself",
                item.place,
                " -> ".join(step.name for step in (*include_chain, path, included_path)),
            )
            continue
        if not any(
            included_path.resolve().is_relative_to(root.resolve()) for root in settings.allowed_directories
        ) or included_path.suffix not in {
            ".yaml",
            ".yml",
        }:
            faults.add_error(
                f"{item} is no descriptor of this site",
                item.place,
                "include .yaml files of the site, or of a directory that `roots` in hven.toml names",
            )
            continue
        if not result.contents.is_file(included_path):
            hint = suggest_spelling(str(item), _list_neighbour_files(included_path, str(item)))
            faults.add_error(
                f"there is no file {item} to include", item.place, hint or f"paths start at {path.parent.name}/"
            )
            continue
        nested_entries = _read_with_includes(included_path, base_directory, settings, result, (*include_chain, path))
        if nested_entries is not None:
            if included_entries is None:
                included_entries = nested_entries
            else:
                included_entries = merge_entries(included_entries, nested_entries, "collection")
    if included_entries is None:
        return value
    return merge_entries(included_entries, value, "collection")


def _read_descriptor_page(path: Path, name: str, result: DescriptorSources) -> YamlPage | None:
    state = result.contents.find_state(path)
    if state is None or state.data is None:
        return read_page(path, name, result.faults.faults)
    return decode_page(state.data, name, result.faults.faults)


def _to_relative_path(path: Path, base_directory: Path) -> str:
    return os.path.relpath(path, base_directory)


def _list_neighbour_files(missing: Path, written: str) -> list[str]:
    folder = missing.parent
    head = written.rpartition("/")[0]
    if not folder.is_dir():
        return []
    return [
        f"{head}/{item.name}" if head else item.name for item in folder.iterdir() if item.suffix in {".yaml", ".yml"}
    ]


def merge_entries(lower: WrittenMap, upper: WrittenMap, level: str = "") -> WrittenMap:
    """Merge `upper` over `lower`: maps are merged key by key, everything else is replaced.

    In a table, a target that `upper` sets (under set, text, map or lookup) is taken out of `lower`, however it was set
    there, and the optional columns of both are asked for.
    """
    if level == "table":
        assigned_columns = {name for key in ASSIGNMENT_KEYS for name in _list_section_keys(upper, key)}
        lower = WrittenMap(
            {
                key: _drop_keys(value, assigned_columns) if key in ASSIGNMENT_KEYS else value
                for key, value in lower.items()
            },
            lower.place,
        )
    result: dict[WrittenScalar, Any] = {}
    for key, lower_value in lower.items():
        if key == "types" and "type" in upper:  # who says a column's type means that one
            continue
        if key not in upper:
            result[key] = lower_value
            continue
        value = upper[key]
        if isinstance(lower_value, WrittenMap) and isinstance(value, WrittenMap):
            if level == "collection" and key == "tables":
                inner_level = "tables"
            elif level == "tables":
                inner_level = "table"
            else:
                inner_level = ""
            value = merge_entries(lower_value, value, inner_level)
        elif level == "table" and key == "optional":
            value = _join_lists(lower_value, value)
        result[upper.find_key(key)] = value
    result.update({key: value for key, value in upper.items() if key not in lower})
    return WrittenMap(result, upper.place)


def _join_lists(lower: Any, upper: Any) -> Any:
    both = [list(value) if isinstance(value, WrittenList) else [value] for value in (lower, upper)]
    return WrittenList([*both[0], *(item for item in both[1] if item not in both[0])], upper.place)


def _list_section_keys(table: WrittenMap, key: str) -> list[str]:
    inner = table.get(key)  # type: ignore[call-overload]
    if isinstance(inner, WrittenMap):
        return [str(name) for name in inner]
    return []


def _drop_keys(value: Any, names: set[str]) -> Any:
    if not isinstance(value, WrittenMap):
        return value
    return WrittenMap({key: item for key, item in value.items() if str(key) not in names}, value.place)


def read_toml_defaults(settings: Settings) -> WrittenMap:
    """Read ``[defaults]`` of hven.toml as written values, with their lines where they can be found."""
    file = settings.directory / "hven.toml"
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        text = ""
    page = YamlPage("hven.toml", text)
    section = max(text.find("[defaults"), 0)

    def find_key_offset(key: str) -> int:
        match = re.compile(
            rf'^[ \t]*"?{re.escape(key)}"?[ \t]*=|^\[defaults\.(?:.*\.)?{re.escape(key)}\]', re.MULTILINE
        ).search(text, section)
        return match.start() if match else section

    def convert_value(value: Any, start: int) -> Any:
        if isinstance(value, dict):
            return WrittenMap(
                {
                    WrittenScalar(key, page, find_key_offset(key), find_key_offset(key), '"'): convert_value(
                        item, find_key_offset(key)
                    )
                    for key, item in value.items()
                },
                page.locate_index(start),
            )
        if isinstance(value, list):
            return WrittenList([convert_value(item, start) for item in value], page.locate_index(start))
        if isinstance(value, bool):
            return WrittenScalar("true" if value else "false", page, start, start, "")
        return WrittenScalar(str(value), page, start, start, "" if isinstance(value, int | float) else "made")

    return convert_value(dict(settings.defaults), section)  # type: ignore[no-any-return]


# --- standards -----------------------------------------------------------------------------------------------


def list_standards(settings: Settings | None = None) -> dict[str, Path]:
    """List all standards by name: those shipped, and ``standards/*.yaml`` of the site."""
    standard_paths = {path.stem: path for path in sorted(STANDARDS_DIRECTORY.glob("*.yaml"))}
    if settings is not None:
        standard_paths |= {path.stem: path for path in sorted((settings.directory / "standards").glob("*.yaml"))}
    return standard_paths


def _read_standard(name: str, path: Path) -> tuple[Any, list[Fault]]:
    """Read a standard as it stands in its file now, with the faults of its text.

    To take apart EPN-TAP's takes ten times as long as a small descriptor.
    """
    state: tuple[int, int] | None = None
    with suppress(OSError):  # the reader of the file tells
        file_status = path.stat()
        state = file_status.st_mtime_ns, file_status.st_size
    return _parse_standard(name, path, state)


@lru_cache(maxsize=32)
# tells the states of a file apart
def _parse_standard(name: str, path: Path, state: tuple[int, int] | None) -> tuple[Any, list[Fault]]:  # noqa: ARG001
    faults: list[Fault] = []
    page = read_page(path, f"standard {name}", faults)
    return parse_page(page, faults) if page is not None else None, faults


def apply_standard(key: WrittenScalar, table: WrittenMap, settings: Settings, result: DescriptorSources) -> WrittenMap:
    """Merge the table called `key` over the standard that it names.

    Its columns (optional ones if asked for), rules, groups.
    """
    faults = result.faults
    name = table.get("standard")  # type: ignore[call-overload]
    if not isinstance(name, WrittenScalar):
        for word in ("optional", "frame"):
            if word in table and "variants" not in table:
                faults.add_error(
                    f"{word!r} means something only with a standard",
                    table.find_key(word).place,
                    "add 'standard', or remove it",
                )
        return WrittenMap(
            {word: value for word, value in table.items() if word not in {"optional", "frame"}}, table.place
        )
    standard_paths = list_standards(settings)
    site_standards = settings.directory / "standards"
    standard_paths |= {path.stem: path for path in result.contents.states if path.parent == site_standards}
    if str(name) not in standard_paths:
        faults.add_error(
            f"no standard is called {str(name)!r}",
            name.place,
            suggest_spelling(str(name), standard_paths) or f"known: {', '.join(standard_paths)}",
        )
        if (
            similar_standard := find_close_match(str(name), standard_paths)
        ) is None:  # nobody knows what columns the table has
            follow_entry = {name.copy_with_text("follow"): WrittenScalar("true", name.page, name.start, name.end)}
            return WrittenMap(
                {**{key: value for key, value in table.items() if key != "follow"}, **follow_entry}, table.place
            )
        name = name.copy_with_text(similar_standard)  # what is written is looked at as if this one were named
    path = standard_paths[str(name)]
    if result.contents.find_state(path) is None:
        root, standard_faults = _read_standard(str(name), path)
        faults.faults += standard_faults
    else:
        page = _read_descriptor_page(path, f"standard {name}", result)
        if page is None:
            root = None
        else:
            root = parse_page(page, faults.faults)
    tables = root.get("tables") if isinstance(root, WrittenMap) else None  # type: ignore[call-overload]
    if not isinstance(tables, WrittenMap) or not tables:
        faults.add_error(f"the standard {name} must describe a table", name.place)
        return table
    if len(tables) == 1:
        standard_table_name = next(iter(tables))
    else:
        standard_table_name = key
    if standard_table_name not in tables:  # of several, the table's own name says which
        known_tables = [str(other) for other in tables]
        remedy = suggest_spelling(str(key), known_tables) or f"its tables: {', '.join(known_tables)}"
        faults.add_error(f"the standard {name} has no table {str(key)!r}", key.place, remedy)
        return table
    base: WrittenMap = tables[standard_table_name]
    called = base.get("called")  # type: ignore[call-overload]
    if called is not None and key != called and name == table.get("standard"):  # type: ignore[call-overload]
        faults.add_error(
            f"a table of {name} must be called {str(called)!r}, not {str(key)!r}", key.place, f"write {called}:"
        )
    base = _apply_variant(base, table, faults)
    base = _select_optional_columns(base, table, faults)
    return merge_entries(_replace_severities(base, settings), table, "table")


def list_optional_columns(standard: str) -> frozenset[str]:
    """List a shipped standard's optional columns, for hints."""
    return frozenset(name for name, optional in list_standard_columns(standard).items() if optional)


def list_standard_columns(standard: str) -> dict[str, bool]:
    """List a shipped standard's columns, and whether each is there only if asked for."""
    standard_paths = list_standards()
    path = standard_paths.get(standard) or standard_paths.get(find_close_match(standard, standard_paths) or "")
    root: Any = _read_standard(standard, path)[0] if path is not None else None
    tables = root.get("tables", {}) if isinstance(root, WrittenMap) else {}  # type: ignore[call-overload]
    return {
        str(name): isinstance(column, WrittenMap) and str(column.get("optional")) == "true"  # type: ignore[call-overload]
        for table in tables.values()
        for name, column in table.get("columns", {}).items()
    }


def _replace_severities(base: WrittenMap, settings: Settings) -> WrittenMap:
    """Replace severities of a standard's rules by those that the site sets."""
    rules = base.get("rules")  # type: ignore[call-overload]
    if not isinstance(rules, WrittenMap) or not settings.rules:
        return base
    page = YamlPage("hven.toml", "")
    changed = {
        name: merge_entries(
            rule,
            WrittenMap(
                {WrittenScalar("severity", page, 0, 0): WrittenScalar(settings.rules[name], page, 0, 0)}, rule.place
            ),
        )
        if name in settings.rules and isinstance(rule, WrittenMap)
        else rule
        for name, rule in rules.items()
    }
    return WrittenMap(
        {key: WrittenMap(changed, rules.place) if key == "rules" else value for key, value in base.items()}, base.place
    )


def _apply_variant(base: WrittenMap, table: WrittenMap, faults: FaultCollector) -> WrittenMap:
    variants = base.get("variants")  # type: ignore[call-overload]
    frame = table.get("frame", base.get("frame"))  # type: ignore[call-overload]
    base_without_variants = WrittenMap({key: value for key, value in base.items() if key != "variants"}, base.place)
    if not isinstance(variants, WrittenMap) or not isinstance(frame, WrittenScalar):
        return base_without_variants
    chosen_variant = variants.get(frame)
    if chosen_variant is None:
        faults.add_error(
            f"frame must be one of {', '.join(variants)}, not {str(frame)!r}",
            frame.place,
            suggest_spelling(frame, variants),
        )
        return base_without_variants
    return merge_entries(base_without_variants, chosen_variant, "table")


def _select_optional_columns(base: WrittenMap, table: WrittenMap, faults: FaultCollector) -> WrittenMap:
    columns = base.get("columns")  # type: ignore[call-overload]
    if not isinstance(columns, WrittenMap):
        return base
    optional_value = table.get("optional")  # type: ignore[call-overload]
    requested_columns = _expand_families(
        [
            item
            for item in (optional_value if isinstance(optional_value, WrittenList) else [optional_value])
            if isinstance(item, WrittenScalar)
        ],
        base,
    )
    optional = {
        str(key)
        for key, value in columns.items()
        if isinstance(value, WrittenMap) and str(value.get("optional")) == "true"  # type: ignore[call-overload]
    }
    for item in requested_columns:
        if item not in optional:
            families = [str(key) for key in base.get("families") or ()]  # type: ignore[call-overload]
            if item in columns:
                remedy = "the standard always has it"
            else:
                remedy = suggest_spelling(item, [*optional, *families])
            remedy = remedy or f"known: {', '.join(sorted([*optional, *families]))}"
            faults.add_error(f"the standard has no optional column {str(item)!r}", item.place, remedy)
    table_columns = set(_list_section_keys(table, "columns"))
    chosen_names = {str(item) for item in requested_columns} | table_columns
    for group in base.get("together") or ():  # type: ignore[call-overload]
        if isinstance(group, WrittenList) and not chosen_names.isdisjoint(map(str, group)):
            chosen_names.update(map(str, group))
    omitted_columns = optional - chosen_names
    remaining_columns: dict[WrittenScalar, Any] = {}
    for key, value in columns.items():
        if str(key) in omitted_columns:
            continue
        if isinstance(value, WrittenMap):
            column_entries = {name: item for name, item in value.items() if name != "optional"}
            column_entries.setdefault(
                WrittenScalar("std", key.page, key.start, key.end), WrittenScalar("true", key.page, key.start, key.end)
            )
            value = WrittenMap(column_entries, value.place)  # noqa: PLW2901
        remaining_columns[key] = value
    dropped = {"families", "together", "called"}
    remaining_entries = {
        key: _drop_keys(value, omitted_columns) if key in {*ASSIGNMENT_KEYS, "default"} else value
        for key, value in base.items()
        if key not in dropped
    }
    return WrittenMap(
        {
            key: WrittenMap(remaining_columns, columns.place)
            if key == "columns"
            else _drop_inapplicable_rules(key, value, omitted_columns)
            for key, value in remaining_entries.items()
        },
        base.place,
    )


def _expand_families(requested_names: list[WrittenScalar], base: WrittenMap) -> list[WrittenScalar]:
    """Replace the name of a family by its columns."""
    families = base.get("families")  # type: ignore[call-overload]
    if isinstance(families, WrittenMap):
        columns_by_family = {str(key): value for key, value in families.items()}
    else:
        columns_by_family = {}
    requested_columns: list[WrittenScalar] = []
    for item in requested_names:
        group = columns_by_family.get(str(item))
        requested_columns += (
            [
                family_column.copy_with_text(family_column)
                for family_column in group
                if isinstance(family_column, WrittenScalar)
            ]
            if isinstance(group, WrittenList)
            else [item]
        )
    return requested_columns


def _drop_inapplicable_rules(key: WrittenScalar, value: Any, omitted_columns: set[str]) -> Any:
    """Drop a standard's rules about optional columns that this table does not have."""
    if key != "rules" or not isinstance(value, WrittenMap) or not omitted_columns:
        return value
    omitted_pattern = re.compile(rf"\b(?:{'|'.join(map(re.escape, omitted_columns))})\b")

    def read_condition(rule: Any) -> str:
        return str(rule.get("if", "") if isinstance(rule, WrittenMap) else rule)  # type: ignore[call-overload]

    applicable_rules = {
        name: _drop_columns_from_rule(rule, omitted_columns)
        for name, rule in value.items()
        if not omitted_pattern.search(read_condition(rule))
    }
    return WrittenMap({name: rule for name, rule in applicable_rules.items() if rule is not None}, value.place)


def _drop_columns_from_rule(rule: Any, omitted_columns: set[str]) -> Any:
    """Drop columns from a rule's list, two by two where they are pairs; None if nothing is left to check."""
    columns = rule.get("columns") if isinstance(rule, WrittenMap) else None  # type: ignore[call-overload]
    if columns is None:
        return rule
    if isinstance(columns, WrittenList):
        column_list = list(columns)
    else:
        column_list = [columns]
    check_name = str(rule.get("check"))
    if check_name in {"pair", "order"}:
        step = 2
    elif check_name == "unique":
        step = len(column_list)
    else:
        step = 1
    remaining_parts = [
        column_list[start : start + step]
        for start in range(0, len(column_list), step)
        if omitted_columns.isdisjoint(map(str, column_list[start : start + step]))
    ]
    if not remaining_parts:
        return None
    remaining_columns = WrittenList([column for part in remaining_parts for column in part], rule.place)
    return WrittenMap(
        {key: remaining_columns if key == "columns" else value for key, value in rule.items()}, rule.place
    )


# --- loops ---------------------------------------------------------------------------------------------------

MAX_LOOP_ROUNDS, MAX_LOOP_VALUES = 5_000, 200_000  # of one loop; keys and values that all loops of a descriptor make
_BRACES_PATTERN = re.compile(r"\{\{|\}\}|\{(\w+)\}")
TEMPLATE_KEYS = {"text", "links", "link"}


def expand_loops(
    holder: WrittenMap, expandable_keys: tuple[str, ...], key_path: str, faults: FaultCollector
) -> WrittenMap:
    """Expand ``for`` loops: copies of `expandable_keys` (columns, map, ... or tables) for each value, added to those of `holder`."""
    loops = holder.get("for")  # type: ignore[call-overload]
    if loops is None:
        return holder
    result: dict[WrittenScalar, Any] = {key: value for key, value in holder.items() if key != "for"}
    for loop in loops if isinstance(loops, WrittenList) else [loops]:
        if not isinstance(loop, WrittenMap):
            faults.add_error(
                f"{key_path}for must be a list of maps with 'each', not {describe_value(loop)}", loop.place
            )
            continue
        for key in loop:
            if key != "each" and key not in expandable_keys:
                faults.add_error(
                    f"{key_path}for has no key {str(key)!r}",
                    key.place,
                    suggest_spelling(key, ("each", *expandable_keys)) or f"known: each, {', '.join(expandable_keys)}",
                )
        for values in _list_loop_rounds(loop, key_path, faults):
            faults.loop_value_count += sum(
                _count_values(part) for key, part in loop.items() if str(key) in expandable_keys
            )
            if faults.loop_value_count > MAX_LOOP_VALUES:
                faults.add_error(
                    f"{key_path}for: the loops make more than {MAX_LOOP_VALUES:,} values",
                    loop.place,
                    "a table of so many columns is a table of rows",
                )
                return WrittenMap({key: value for key, value in holder.items() if key != "for"}, holder.place)
            for key, part in loop.items():
                if str(key) in expandable_keys and isinstance(part, WrittenMap):
                    substituted_entries = replace_loop_values(part, values, keep_braces=key in TEMPLATE_KEYS)
                    _add_loop_entries(result, key, substituted_entries, key_path, faults)
                elif str(key) in expandable_keys:
                    faults.add_error(
                        f"{key_path}for.{key} must be a map (name: value), not {describe_value(part)}", part.place
                    )
    return WrittenMap(result, holder.place)


def _count_values(value: Any) -> int:
    """Count keys and values."""
    if isinstance(value, WrittenMap):
        return sum(1 + _count_values(item) for item in value.values())
    if isinstance(value, WrittenList):
        return sum(_count_values(item) for item in value)
    return 1


def _add_loop_entries(
    result: dict[WrittenScalar, Any], key: WrittenScalar, new_entries: WrittenMap, key_path: str, faults: FaultCollector
) -> None:
    existing_entries = result.get(key)
    if not isinstance(existing_entries, WrittenMap):
        result[key] = new_entries
        return
    joined_entries = dict(existing_entries)
    for name, item in new_entries.items():
        if name in joined_entries:
            first_place = next(other for other in joined_entries if other == name).place
            faults.add_error(
                f"{key_path}{key}.{name} is made twice",
                name.place,
                f"the other one is in {first_place}; does the name lack the loop's {{...}}?",
            )
        else:
            joined_entries[name] = item
    result[key] = WrittenMap(joined_entries, existing_entries.place)


def _list_loop_rounds(loop: WrittenMap, key_path: str, faults: FaultCollector) -> list[dict[str, str]]:
    each = loop.get("each")  # type: ignore[call-overload]
    if not isinstance(each, WrittenMap) or not each:
        faults.add_error(f"{key_path}for needs 'each: {{name: [values]}}'", loop.place if each is None else each.place)
        return []
    lists: dict[str, list[str]] = {}
    for name, values in each.items():
        if not isinstance(values, WrittenList) or not all(isinstance(item, WrittenScalar) for item in values):
            faults.add_error(f"{key_path}for.each.{name} must be a list of words", values.place)
            return []
        if not str(name).isidentifier():
            faults.add_error(f"{key_path}for.each: {str(name)!r} is no name", name.place, "letters, digits and _")
            return []
        lists[str(name)] = [str(item) for item in values]
    lengths = {len(values) for values in lists.values()}
    if len(lengths) > 1:
        counts = ", ".join(f"{name} has {len(values)}" for name, values in lists.items())
        faults.add_error(f"{key_path}for.each: lists that go in step must have one length: {counts}", each.place)
        return []
    if max(lengths) > MAX_LOOP_ROUNDS:
        faults.add_error(f"{key_path}for.each: {max(lengths):,} rounds; {MAX_LOOP_ROUNDS:,} are allowed", each.place)
        return []
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


def replace_loop_values(value: Any, values: Mapping[str, str], *, keep_braces: bool = False) -> Any:
    """Replace ``{b}`` in keys and texts; ``{{`` stays for templates (`keep_braces`) and becomes ``{`` elsewhere."""

    def replace_match(match: re.Match[str]) -> str:
        if match.group(1) is None:
            if keep_braces:
                return match.group()
            return match.group()[0]
        return values.get(match.group(1), match.group())

    if isinstance(value, WrittenScalar):
        if "{" in value or "}" in value:
            return value.copy_with_text(_BRACES_PATTERN.sub(replace_match, value))
        return value
    if isinstance(value, WrittenList):
        return WrittenList(
            [replace_loop_values(item, values, keep_braces=keep_braces) for item in value],
            value.place,
            is_flow=value.is_flow,
        )
    # inside a map, 'text' and 'link' are templates wherever they stand
    pairs = {
        replace_loop_values(key, values): replace_loop_values(
            item, values, keep_braces=keep_braces or key in TEMPLATE_KEYS
        )
        for key, item in value.items()
    }
    return WrittenMap(pairs, value.place, is_flow=value.is_flow)

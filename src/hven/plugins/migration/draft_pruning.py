"""Check a converted descriptor, and take out what the check refuses, so that the rest can be used at once."""

from __future__ import annotations

import copy
import fcntl
import os
import re
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hven.descriptor import check_descriptor
from hven.plugins.migration.descriptor_text import write_descriptor_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hven.model.settings import Settings
    from hven.plugins.migration.migration_report import MigrationReport
    from hven.plugins.migration.resource_xml import Element

MAX_CHECK_ROUNDS = 12
DATABASE_SECRET = "DACHS_DATABASE"  # noqa: S105  (the name of a secret)
# keys without which a descriptor cannot be; they are never taken out
KEPT_KEYS = {"collection", "title", "tables", "source", "view", "columns", "standard"}
_LIMIT_FAULT_PATTERN = re.compile(
    r"tables\.(?P<table>\w+)\.(?:(?P<key>access|where)|(?P<section>map|set|text)\.(?P<column>embargo|owner))\b"
)
_MISSING_FILE_PATTERN = re.compile(r"there is no (file|directory)|no file matches|is not set|cannot be read")


def prune_draft(
    draft: dict[str, Any],
    *,
    settings: Settings,
    report: MigrationReport,
    files: Mapping[str, str] = MappingProxyType({}),
    lines: Mapping[tuple[str, str], Element] = MappingProxyType({}),
) -> None:
    """Check a draft and remove the entries with errors, which the report then lists.

    The directory of the collection is not changed: a copy in a directory of its own is checked.

    Parameters
    ----------
    draft
        The descriptor; changed.
    settings
        Settings of the site.
    report
        Where removed entries are noted.
    files
        Files beside it.
    lines
        Lines of the resource descriptor from which mappings come, by table and column.
    """
    name = draft["collection"]
    with open_check_directory(settings.collections_directory, name) as directory:
        for file_name, text in files.items():
            (directory / file_name).write_text(text, encoding="utf-8")
        path = directory / f"{name}.yaml"
        for _ in range(MAX_CHECK_ROUNDS):
            text = write_descriptor_text(_move_paths(draft, f"../../{name}"))
            path.write_text(text, encoding="utf-8")
            errors = [fault for fault in check_descriptor(path, settings) if fault.severity == "error"]
            if not any(
                _close_table(draft, fault.message, report) or _remove_faulty_entry(draft, fault.message, report, lines)
                for fault in errors
            ):
                break


@contextmanager
def open_check_directory(collections_directory: Path, name: str) -> Iterator[Path]:
    """Create a directory in which the draft of a collection is checked, and remove it afterwards.

    It is ``collections/.NAME.draft-RANDOM/NAME``. No command takes it for a collection, because descriptors are one
    level higher.

    Parameters
    ----------
    collections_directory
        The directory of all collections; created if needed.
    name
        Name of the collection.
    """
    creates_collections_directory = not collections_directory.exists()
    collections_directory.mkdir(parents=True, exist_ok=True)
    prefix = f".{name}.draft-"
    for path in collections_directory.glob(f"{prefix}*"):
        _remove_abandoned_directory(path)
    parent = Path(tempfile.mkdtemp(prefix=prefix, dir=collections_directory))
    try:
        lock = os.open(parent, os.O_RDONLY)
        try:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            directory = parent / name
            directory.mkdir()
            yield directory
        finally:
            os.close(lock)
    finally:
        shutil.rmtree(parent, ignore_errors=True)
        if creates_collections_directory:
            with suppress(OSError):  # another process has put something into it
                collections_directory.rmdir()


def _remove_abandoned_directory(path: Path) -> None:
    """Remove the directory of a process that was killed; a running process holds its lock."""
    with suppress(OSError):
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(lock)


def _move_paths(draft: Mapping[str, Any], directory: str) -> dict[str, Any]:
    """Copy a draft so that the paths of its data, relative to another directory, name the same files."""
    moved_draft = copy.deepcopy(dict(draft))

    def move_path(path: str) -> str:
        return path if Path(path).is_absolute() else os.path.normpath(f"{directory}/{path}")

    for table in moved_draft.get("tables", {}).values():
        sources = table.get("source", [])
        for source in [sources] if isinstance(sources, dict) else sources:
            paths = source.get("files")
            if paths:
                source["files"] = move_path(paths) if isinstance(paths, str) else [move_path(path) for path in paths]
            if "pattern" in source.get("arguments", {}):
                source["arguments"]["pattern"] = move_path(source["arguments"]["pattern"])
    return moved_draft


def _remove_faulty_entry(
    draft: dict[str, Any], message: str, report: MigrationReport, lines: Mapping[tuple[str, str], Element]
) -> bool:
    missing_name = re.match(r"tables\.(\w+)\.source: .* has no column '([^']*)'", message)
    if missing_name is not None:
        return _remove_source_type(draft["tables"][missing_name[1]], missing_name[2])
    place, _, reason = message.partition(" ") if not re.match(r"\S+:", message) else message.partition(": ")
    keys = place.split(".")
    if _MISSING_FILE_PATTERN.search(message):
        return False
    if keys[0] == "tables" and len(keys) > 1 and (keys[2:3] == ["view"] or "a view cannot" in message):
        return _replace_view(draft, keys[1], reason, report)
    parents: list[Any] = [draft]
    for key in keys:
        parent = parents[-1]
        if isinstance(parent, dict) and key in parent:
            parents.append(parent[key])
        else:
            break
    depth = len(parents) - 2
    key = keys[depth]
    if _remove_inner_entry(parents[-1], reason, f"{'.'.join(keys[: depth + 1])}", report):
        return True
    if depth < 0 or key in KEPT_KEYS or (depth == 1 and keys[0] == "tables"):
        return False
    value = parents[depth].pop(key)
    element = lines.get((keys[1], keys[3])) if len(keys) > 3 else None
    report.add_decision(element, f"{'.'.join(keys[: depth + 1])} ({str(value)[:80]}) was taken out: {reason}")
    if not parents[depth] and depth > 0:
        parents[depth - 1].pop(keys[depth - 1], None)
    return True


def _close_table(draft: dict[str, Any], message: str, report: MigrationReport) -> bool:
    """Remove what limits the rows or their readers, and make the table private: it must not show more than before."""
    match = _LIMIT_FAULT_PATTERN.match(message)
    if match is None:
        return False
    table = draft["tables"].get(match["table"], {})
    key = match["key"] or match["column"]
    section = table.get(match["section"], {}) if match["section"] else table
    if section.get(key, "private") == "private":
        return False
    value = str(section.pop(key))[:80]
    if not section:
        del table[match["section"]]
    table["access"] = "private"
    report.add_decision(None, f"{match[0]} ({value}) was taken out, so the table is private: {message}")
    return True


def _remove_inner_entry(value: Any, reason: str, place: str, report: MigrationReport) -> bool:
    """Remove only the unit of a column, or only one column of a mapping, if the fault is there."""
    unknown_column = re.match(r"the table has no column '([^']*)'", reason)
    inner_key = unknown_column[1] if unknown_column else "unit"
    if not isinstance(value, dict) or inner_key not in value or not (unknown_column or "is not a unit" in reason):
        return False
    report.add_decision(None, f"{place}.{inner_key} ({str(value.pop(inner_key))[:80]}) was taken out: {reason}")
    return True


def _replace_view(draft: dict[str, Any], name: str, reason: str, report: MigrationReport) -> bool:
    """Read the rows of a view that ADQL cannot express from DaCHS's database."""
    table = draft.get("tables", {}).get(name)
    if table is None or "view" not in table:
        return False
    del table["view"]
    source = build_database_source(draft["collection"], name)
    draft["tables"][name] = {**table, "source": source}
    report.add_decision(
        None,
        f"the view {name} is not ADQL ({reason}): its rows are read from DaCHS's database; put its address into the "
        f"secret {DATABASE_SECRET}, or write `view`",
    )
    return True


def build_database_source(collection: str, table: str) -> dict[str, Any]:
    """Build the source of a table that is only in DaCHS's database."""
    return {"kind": "sql", "url": f"${DATABASE_SECRET}", "table": f"{collection}.{table}"}


def _remove_source_type(table: dict[str, Any], name: str) -> bool:
    """Remove the type of a column that the source does not have."""
    types = table.get("source", {}).get("types", {})
    if name not in types:
        return False
    del types[name]
    if not types:
        del table["source"]["types"]
    return True

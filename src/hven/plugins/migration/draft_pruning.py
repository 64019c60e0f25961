"""Check a converted descriptor, and take out what the check refuses, so that the rest can be used at once."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Any

from hven.descriptor import check_descriptor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from hven.model.settings import Settings
    from hven.plugins.migration.migration_report import MigrationReport
    from hven.plugins.migration.resource_xml import Element

MAX_CHECK_ROUNDS = 12
DATABASE_SECRET = "DACHS_DATABASE"  # noqa: S105  (the name of a secret)
# keys without which a descriptor cannot be; they are never taken out
KEPT_KEYS = {"collection", "title", "tables", "source", "view", "columns", "standard"}
_MISSING_FILE_PATTERN = re.compile(r"there is no (file|directory)|no file matches|is not set|cannot be read")


def prune_draft(
    draft: dict[str, Any],
    *,
    directory: Path,
    settings: Settings,
    files: Mapping[str, str],
    write_text: Callable[[], str],
    report: MigrationReport,
    lines: Mapping[tuple[str, str], Element],
) -> None:
    """Check a draft and remove the entries with errors, which the report then lists.

    Parameters
    ----------
    draft
        The descriptor; changed.
    directory
        Its directory.
    settings
        Settings of the site.
    files
        Files beside it.
    write_text
        Writes the draft as it is now.
    report
        Where removed entries are noted.
    lines
        Lines of the resource descriptor from which mappings come, by table and column.
    """
    creates_directory = not directory.exists()
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{draft['collection']}.yaml"
    try:
        for name, text in files.items():
            (directory / name).write_text(text, encoding="utf-8")
        for _ in range(MAX_CHECK_ROUNDS):
            path.write_text(write_text(), encoding="utf-8")
            errors = [fault for fault in check_descriptor(path, settings) if fault.severity == "error"]
            if not any(_remove_faulty_entry(draft, fault.message, report, lines) for fault in errors):
                break
    finally:
        path.unlink(missing_ok=True)
        for name in files:
            (directory / name).unlink(missing_ok=True)
        if creates_directory:
            shutil.rmtree(directory, ignore_errors=True)


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
    if depth < 0:
        return False
    key = keys[depth]
    if key in KEPT_KEYS or (depth == 1 and keys[0] == "tables"):
        return False
    value = parents[depth].pop(key)
    element = lines.get((keys[1], keys[3])) if len(keys) > 3 else None
    report.add_decision(element, f"{'.'.join(keys[: depth + 1])} ({str(value)[:80]}) was taken out: {reason}")
    if not parents[depth] and depth > 0:
        parents[depth - 1].pop(keys[depth - 1], None)
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

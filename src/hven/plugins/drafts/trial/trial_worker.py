"""Try how Hven would publish a file, in a process with its own limits.

The result is a first descriptor, the faults of its check, and the faces that would serve its tables.

``python -m hven.plugins.drafts.trial.trial_worker DIRECTORY NAME`` reads the file ``NAME`` in
``collections/trial/data`` of an empty site, and writes JSON.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from hven import descriptor
from hven.model import plugins, settings
from hven.model.errors import HvenError
from hven.plugins.drafts.drafting import create_descriptor
from hven.sources import file_kinds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model.table import Table

TRIAL_COLLECTION = "trial"


def draft_and_check_descriptor(directory: Path, file_name: str) -> dict[str, Any]:
    """Draft a descriptor from a file alone; nothing else is read or fetched, whatever the file refers to.

    Parameters
    ----------
    directory
        Directory of the site.
    file_name
        Name of the file.

    Returns
    -------
    told
        `text` of the descriptor, `faults` of its check, and `tables` with columns and the names of the faces that
        would serve them; or `error` and `remedy`.
    """
    site = settings.load_settings(directory)
    path = site.collections_directory / TRIAL_COLLECTION / "data" / file_name
    try:
        source_kind = (
            file_kinds.detect_kind_from_file_content(path) or file_kinds.find_file_kind_by_name(file_name) or "csv"
        )
        descriptor_path = create_descriptor(site, TRIAL_COLLECTION, str(path), kind=source_kind)
        resource, faults = descriptor.check_and_read_descriptor(descriptor_path, site)
    except HvenError as error:
        error_texts = {"error": str(error.message), "remedy": str(error.remedy or "")}
        return {key: text.replace(f"{directory}/", "") for key, text in error_texts.items()}
    faces = plugins.load_plugin_records("protocols")
    table_specs = () if resource is None else resource.tables
    return {
        "kind": source_kind,
        "text": descriptor_path.read_text(encoding="utf-8").replace(f"{directory}/", ""),
        "faults": [str(fault).replace(f"{directory}/", "") for fault in faults],
        "tables": [_describe_table(spec.table, faces) for spec in table_specs],
    }


def _describe_table(table: Table, faces: Mapping[str, Any]) -> dict[str, Any]:
    """Describe the columns of a table, and name the faces that would serve it."""
    columns = []
    for column in table.columns:
        texts = {key: getattr(column, key) or "" for key in ("unit", "ucd", "description")}
        columns.append({"name": column.name, "type": str(column.type), **texts})
    table_faces = [name for name, face in faces.items() if table.is_served_by(name) and face.applies(table)]
    return {"name": table.qualified_name, "columns": columns, "faces": sorted(table_faces)}


if __name__ == "__main__":
    sys.stdout.buffer.write(orjson.dumps(draft_and_check_descriptor(Path(sys.argv[1]), sys.argv[2])))

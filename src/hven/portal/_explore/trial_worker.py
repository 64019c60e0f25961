"""What would be made of a file, in a process with limits of its own.

The first descriptor, what its check says, and which faces would serve its table.

``python -m hven.portal._explore.trial_worker DIRECTORY NAME``: a file ``NAME`` that stands in
``collections/trial/data`` of an empty site; JSON comes out.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import orjson

from hven import descriptor
from hven.descriptor.drafting import create_descriptor
from hven.model import plugins, settings
from hven.model.errors import HvenError
from hven.sources import file_kinds

TRIAL_COLLECTION = "trial"


def draft_descriptor(directory: Path, file_name: str) -> dict[str, Any]:
    """Draft a descriptor of a file alone: what stands elsewhere is neither read nor asked, whatever the file says.

    Parameters
    ----------
    directory
        Of the site.
    file_name
        Of the file.

    Returns
    -------
    told
        `text` of the descriptor, `faults` of its check, `tables` with columns and the names of the faces that would
        serve each; or `error` and `remedy`.
    """
    site = settings.load_settings(directory)
    path = site.collections_directory / TRIAL_COLLECTION / "data" / file_name
    try:
        source_kind = file_kinds.find_kind_of_file(path) or file_kinds.find_kind_by_name(file_name) or "csv"
        descriptor_path = create_descriptor(site, TRIAL_COLLECTION, str(path), kind=source_kind)
        resource, faults = descriptor.check_and_read_descriptor(descriptor_path, site)
    except HvenError as error:
        error_texts = {"error": str(error.message), "remedy": str(error.remedy or "")}
        return {key: text.replace(f"{directory}/", "") for key, text in error_texts.items()}
    faces = plugins.load_records("protocols")
    if resource is None:
        tables = []
    else:
        tables = [spec.table for spec in resource.tables]
    return {
        "kind": source_kind,
        "text": descriptor_path.read_text(encoding="utf-8").replace(f"{directory}/", ""),
        "faults": [str(fault).replace(f"{directory}/", "") for fault in faults],
        "tables": [
            {
                "name": table.qualified_name,
                "columns": [
                    {
                        "name": column.name,
                        "type": str(column.type),
                        **{key: getattr(column, key) or "" for key in ("unit", "ucd", "description")},
                    }
                    for column in table.columns
                ],
                "faces": sorted(
                    word for word, face in faces.items() if table.is_served_by(word) and face.applies(table)
                ),
            }
            for table in tables
        ],
    }


if __name__ == "__main__":
    sys.stdout.buffer.write(orjson.dumps(draft_descriptor(Path(sys.argv[1]), sys.argv[2])))

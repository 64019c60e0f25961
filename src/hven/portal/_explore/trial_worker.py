"""What would be made of a file, in a process with limits of its own: the first descriptor, what its check says, and which faces would serve its table.

``python -m hven.portal._explore.trial_worker DIRECTORY NAME``: a file ``NAME`` that stands in ``collections/trial/data`` of an empty site; JSON comes out.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import orjson

from hven import descriptor
from hven.descriptor.new import create
from hven.model import plugins, settings
from hven.model.errors import HvenError
from hven.sources import filekinds

COLLECTION = "trial"


def tried(directory: Path, name: str) -> dict[str, Any]:
    """Draft a descriptor of a file alone: what stands elsewhere is neither read nor asked, whatever the file says.

    Parameters
    ----------
    directory
        Of the site.
    name
        Of the file.

    Returns
    -------
    told
        `text` of the descriptor, `faults` of its check, `tables` with columns and the names of the faces that would serve each; or `error` and `remedy`.
    """
    site = settings.load(directory)
    path = site.collections / COLLECTION / "data" / name
    try:
        kind = filekinds.inside(path) or filekinds.named(name) or "csv"
        made = create(site, COLLECTION, str(path), kind=kind)
        resource, faults = descriptor.checked(made, site)
    except HvenError as error:
        words = {"error": str(error.message), "remedy": str(error.remedy or "")}
        return {key: text.replace(f"{directory}/", "") for key, text in words.items()}
    faces = plugins.records("protocols")
    tables = [] if resource is None else [spec.table for spec in resource.tables]
    return {
        "kind": kind,
        "text": made.read_text(encoding="utf-8").replace(f"{directory}/", ""),
        "faults": [str(fault).replace(f"{directory}/", "") for fault in faults],
        "tables": [
            {
                "name": table.qualified,
                "columns": [
                    {"name": one.name, "type": str(one.type), **{key: getattr(one, key) or "" for key in ("unit", "ucd", "description")}}
                    for one in table.columns
                ],
                "faces": sorted(word for word, face in faces.items() if table.offers(word) and face.applies(table)),
            }
            for table in tables
        ],
    }  # fmt: skip


if __name__ == "__main__":
    sys.stdout.buffer.write(orjson.dumps(tried(Path(sys.argv[1]), sys.argv[2])))

"""Read the ReadMe of a catalogue as CDS writes it for VizieR, and open the tables whose files stand beside it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hven.descriptor.api.table_descriptions import (
    DescribedTable,
    TableDescriptionRequest,
    TableDescriptionSignature,
    TableSetDescription,
)
from hven.model import plugins
from hven.model.errors import SourceError, TextPlace

if TYPE_CHECKING:
    from pathlib import Path

DESCRIPTION = TableDescriptionSignature(signature_pattern=rb"(?mi)^Byte-(?:by|per)-byte Description of file\s*:")
COMPRESSION_EXTENSIONS = ("", ".gz", ".bz2", ".xz", ".zst")
_PIECE_NUMBER_PATTERN = re.compile(r"\.\d{1,4}$")


def read_table_set_description(request: TableDescriptionRequest) -> TableSetDescription:
    """Read the tables that a ReadMe describes and whose files exist.

    Raises
    ------
    SourceError
        None of the files exists.
    """
    fixed: Any = plugins.load_plugin("sources", "fixed")
    catalogue = fixed.read_catalogue_readme(request.path)
    tables: list[DescribedTable] = []
    missing_names: list[str] = []
    readme = request.format_path(request.path)
    for name in catalogue.fields_by_table:
        files = _find_table_files(request.path.parent, name)
        if not files:
            missing_names.append(name)
            continue
        formatted_paths = [request.format_path(path) for path in files]
        options: dict[str, Any] = {"files": formatted_paths, "readme": readme}
        if len(formatted_paths) == 1:
            options["files"] = formatted_paths[0]
        if files[0].name != name:
            options["table"] = name
        source = fixed.open(fixed.Options.model_validate(options), request.context)
        table_name = name.replace("*", "").rsplit(".", 1)[0]
        tables.append(
            DescribedTable(
                name=table_name or name,
                source={"kind": "fixed", **options},
                columns=source.list_columns(),
                title=catalogue.summaries_by_file.get(name),
            )
        )
    if not tables:
        raise SourceError(
            f"this ReadMe describes files that are not in its directory: {', '.join(missing_names)}",
            place=TextPlace(file=request.path.name),
            remedy="put these files next to the ReadMe, exactly as CDS provides them",
        )
    collection_keys: dict[str, Any] = {}
    if catalogue.authors:
        collection_keys["creators"] = [{"name": name} for name in catalogue.authors]
    if catalogue.bibcode:
        collection_keys["bibcode"] = catalogue.bibcode
    notes = []
    if missing_names:
        notes.append(f"described, but not in its directory: {', '.join(missing_names)}")
    return TableSetDescription(
        kind="ReadMe",
        tables=tables,
        title=catalogue.title,
        description=catalogue.abstract,
        collection_keys=collection_keys,
        notes=notes,
    )


def _find_table_files(directory: Path, name: str) -> list[Path]:
    """Find the file of a table, which may be compressed or, if large, in numbered pieces."""
    if "*" in name:
        return sorted(path for path in directory.glob(name) if path.is_file())
    for extension in COMPRESSION_EXTENSIONS:
        path = directory / f"{name}{extension}"
        if path.is_file():
            return [path]
    pieces = []
    for path in directory.glob(f"{name}.*"):
        is_numbered = _PIECE_NUMBER_PATTERN.search(path.name.removesuffix(".gz")) is not None
        if path.is_file() and is_numbered and path.name.startswith(f"{name}."):
            pieces.append(path)
    return sorted(pieces)

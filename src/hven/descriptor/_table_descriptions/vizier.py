"""VizieR: the ReadMe of a catalogue as CDS writes it; the tables whose files stand beside it are read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hven.descriptor._table_descriptions import DescribedTable, DescriptionKind, DescriptionRequest, TableSetDescription
from hven.model import plugins
from hven.model.errors import Place, SourceError

if TYPE_CHECKING:
    from pathlib import Path

DESCRIPTION = DescriptionKind(signature_pattern=rb"(?mi)^Byte-(?:by|per)-byte Description of file\s*:")
COMPRESSION_EXTENSIONS = ("", ".gz", ".bz2", ".xz", ".zst")
_PIECE_NUMBER_PATTERN = re.compile(r"\.\d{1,4}$")


def read(request: DescriptionRequest) -> TableSetDescription:
    """Read the tables that a ReadMe describes, and that are there.

    Raises
    ------
    SourceError
        None of them is there.
    """
    fixed: Any = plugins.load_plugin("sources", "fixed")
    catalogue = fixed.read_catalogue_readme(request.path)
    tables: list[DescribedTable] = []
    missing: list[str] = []
    readme = request.format_path(request.path)
    for name in catalogue.fields_by_table:
        files = _find_table_files(request.path.parent, name)
        if not files:
            missing.append(name)
            continue
        formatted_paths = [request.format_path(path) for path in files]
        options: dict[str, Any] = {
            "files": formatted_paths[0] if len(formatted_paths) == 1 else formatted_paths,
            "readme": readme,
        }
        if files[0].name != name:
            options["table"] = name
        source = fixed.open(fixed.Options.model_validate(options), request.context)
        tables.append(
            DescribedTable(
                name=name.replace("*", "").rsplit(".", 1)[0] or name,
                source={"kind": "fixed", **options},
                columns=source.list_columns(),
                title=catalogue.summaries_by_file.get(name),
            )
        )
    if not tables:
        raise SourceError(
            f"none of the files that it describes stands beside it: {', '.join(missing)}",
            place=Place(file=request.path.name),
            remedy="put them there, as they come from CDS",
        )
    collection_keys: dict[str, Any] = {}
    if catalogue.authors:
        collection_keys["creators"] = [{"name": name} for name in catalogue.authors]
    if catalogue.bibcode:
        collection_keys["bibcode"] = catalogue.bibcode
    if missing:
        notes = [f"described, and not beside it: {', '.join(missing)}"]
    else:
        notes = []
    return TableSetDescription(
        kind="ReadMe",
        tables=tables,
        title=catalogue.title,
        description=catalogue.abstract,
        collection_keys=collection_keys,
        notes=notes,
    )


def _find_table_files(directory: Path, name: str) -> list[Path]:
    """Find a table's file, packed or in numbered pieces as large ones come."""
    if "*" in name:
        return sorted(path for path in directory.glob(name) if path.is_file())
    for extension in COMPRESSION_EXTENSIONS:
        if (directory / f"{name}{extension}").is_file():
            return [directory / f"{name}{extension}"]
    pieces = [path for path in directory.glob(f"{name}.*") if path.is_file()]
    return sorted(
        path
        for path in pieces
        if _PIECE_NUMBER_PATTERN.search(path.name.removesuffix(".gz")) and path.name.startswith(f"{name}.")
    )

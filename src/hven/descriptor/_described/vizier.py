"""VizieR: the ReadMe of a catalogue as CDS writes it; the tables whose files stand beside it are read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hven.descriptor._described import Description, DescriptionKind, Given, TableSaid
from hven.model import plugins
from hven.model.errors import Place, SourceError

if TYPE_CHECKING:
    from pathlib import Path

DESCRIPTION = DescriptionKind(begins=rb"(?mi)^Byte-(?:by|per)-byte Description of file\s*:")
PACKED = ("", ".gz", ".bz2", ".xz", ".zst")
_PIECES = re.compile(r"\.\d{1,4}$")


def read(given: Given) -> Description:
    """Read the tables that a ReadMe describes, and that are there.

    Raises
    ------
    SourceError
        None of them is there.
    """
    fixed: Any = plugins.load("sources", "fixed")
    catalogue = fixed.catalogue(given.path)
    tables: list[TableSaid] = []
    missing: list[str] = []
    readme = given.shown(given.path)
    for name in catalogue.tables:
        files = _files(given.path.parent, name)
        if not files:
            missing.append(name)
            continue
        shown = [given.shown(one) for one in files]
        options: dict[str, Any] = {"files": shown[0] if len(shown) == 1 else shown, "readme": readme}
        if files[0].name != name:
            options["table"] = name
        source = fixed.open(fixed.Options.model_validate(options), given.context)
        tables.append(
            TableSaid(
                name=name.replace("*", "").rsplit(".", 1)[0] or name,
                source={"kind": "fixed", **options},
                columns=source.columns(),
                title=catalogue.summaries.get(name),
            )
        )
    if not tables:
        raise SourceError(
            f"none of the files that it describes stands beside it: {', '.join(missing)}",
            place=Place(file=given.path.name),
            remedy="put them there, as they come from CDS",
        )
    about: dict[str, Any] = {}
    if catalogue.authors:
        about["creators"] = [{"name": name} for name in catalogue.authors]
    if catalogue.bibcode:
        about["bibcode"] = catalogue.bibcode
    notes = [f"described, and not beside it: {', '.join(missing)}"] if missing else []
    return Description(
        kind="ReadMe", tables=tables, title=catalogue.title, description=catalogue.abstract, about=about, notes=notes
    )  # fmt: skip


def _files(directory: Path, name: str) -> list[Path]:
    """Find a table's file, packed or in numbered pieces as large ones come."""
    if "*" in name:
        return sorted(one for one in directory.glob(name) if one.is_file())
    for ending in PACKED:
        if (directory / f"{name}{ending}").is_file():
            return [directory / f"{name}{ending}"]
    pieces = [one for one in directory.glob(f"{name}.*") if one.is_file()]
    return sorted(
        one for one in pieces if _PIECES.search(one.name.removesuffix(".gz")) and one.name.startswith(f"{name}.")
    )

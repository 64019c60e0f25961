"""Choose the table that `hven new` takes of a source with several, and note the others."""

from __future__ import annotations

import os
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hven.model.errors import SourceError, UsageError
from hven.sources import file_kinds, remote_stores

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.sources import AvailableTable, SourceContext

MAX_LISTED_TABLES = 30  # tables that a note or a message names
MAX_SCANNED_FILES = 50_000  # files of a folder whose endings are counted
TABLE_OPTION_NAMES = {"hdu", "part", "query", "adql", "mode"}  # options that choose a table, beside the kind's own


def choose_source_table(
    module: Any, kind: str, options: Mapping[str, Any], context: SourceContext
) -> tuple[dict[str, Any], list[str]]:
    """Choose a table if the curator did not.

    Returns
    -------
    options, notes
        Options with the chosen table, and notes on what was chosen and what else there is. Of a database or a
        service, a table is chosen only if it is the only one with rows.

    Raises
    ------
    UsageError
        A database or a service has several tables, or none.
    SourceError
        The source cannot be read.
    """
    options = dict(options)
    service = file_kinds.find_service_signature(kind)
    is_database = file_kinds.find_database_signature(kind) is not None
    table_option = "table"
    if service is not None and service.table_option:
        table_option = service.table_option
    has_chosen = bool({table_option, *TABLE_OPTION_NAMES} & options.keys())
    if has_chosen or not hasattr(module, "list_source_tables"):
        return options, []
    offers: list[AvailableTable] = module.list_source_tables(options, context)
    if is_database or service is not None:
        chosen_offer = _choose_table_with_rows("database" if is_database else "service", offers)
        return {**options, table_option: str(chosen_offer.option_value)}, _write_other_table_notes(chosen_offer, offers)
    default_offer = next((offer for offer in offers if offer.is_default), None)
    if kind == "product":
        return _choose_part_of_product(options, offers, default_offer)
    if kind == "fits" and offers and default_offer is None:
        note = (
            f"a row for each image, from its header; --table reads the axes of the image: {_format_offer_names(offers)}"
        )
        return {**options, "mode": "header"}, [note]
    return options, _write_other_table_notes(default_offer, offers)


def _choose_part_of_product(
    options: dict[str, Any], offers: Sequence[AvailableTable], default_offer: AvailableTable | None
) -> tuple[dict[str, Any], list[str]]:
    if not offers:
        note = "a row for each image or cube; `mode: header` makes one for each file"
        return {**options, "mode": "images"}, [note]
    if default_offer is None:
        note = (
            f"a row for each file, from its header; --table reads the rows of a table in it: "
            f"{_format_offer_names(offers)}"
        )
        return options, [note]
    return {**options, "part": default_offer.option_value}, _write_other_table_notes(default_offer, offers)


def _choose_table_with_rows(service_label: str, offers: Sequence[AvailableTable]) -> AvailableTable:
    """Return the only table of a database or a service that has rows."""
    if not offers:
        raise UsageError(
            f"the {service_label} has no table that can be read",
            remedy="check the address and the user's rights",
        )
    nonempty_offers = [offer for offer in offers if not offer.is_view and offer.row_count != 0]
    if len(nonempty_offers) != 1:
        largest_offer = max(nonempty_offers or offers, key=lambda offer: offer.row_count or 0)
        raise UsageError(
            f"the {service_label} has {len(offers)} tables and views: {_format_offer_names(offers)}",
            remedy=f"choose a table, for example with --table {largest_offer.option_value}",
        )
    return nonempty_offers[0]


def _write_other_table_notes(chosen_offer: AvailableTable | None, offers: Sequence[AvailableTable]) -> list[str]:
    """Note the other tables of a source; nothing if it has one table, or none was chosen."""
    if chosen_offer is None or len(offers) < 2:
        return []
    other_names = _format_offer_names([offer for offer in offers if offer is not chosen_offer])
    return [f"this is table {chosen_offer} of {len(offers)}; --table chooses another: {other_names}"]


def _format_offer_names(offers: Sequence[AvailableTable]) -> str:
    names = [str(offer) for offer in offers[:MAX_LISTED_TABLES]]
    if len(offers) > MAX_LISTED_TABLES:
        names.append(f"and {len(offers) - MAX_LISTED_TABLES} more")
    return ", ".join(names)


def choose_file_pattern(folder: Path, source: str) -> Path:
    """Find the files of a folder that are meant: those with the commonest ending that a kind of source reads.

    Returns
    -------
    pattern
        Pattern of their paths.

    Raises
    ------
    SourceError
        The folder has no such file.
    """
    extension_counts: Counter[str] = Counter()
    nested_extensions: set[str] = set()
    readable_extensions: dict[str, bool] = {}
    for path in islice(_walk_visible_files(folder), MAX_SCANNED_FILES):
        extension = path.suffix
        if path.suffix[1:] in file_kinds.COMPRESSED_EXTENSIONS:
            extension = "".join(path.suffixes[-2:])
        if extension not in readable_extensions:
            readable_extensions[extension] = _is_readable_extension(extension)
        if readable_extensions[extension]:
            extension_counts[extension] += 1
            if path.parent != folder:
                nested_extensions.add(extension)
    if not extension_counts:
        raise SourceError(f"{source} is a directory", remedy=f"write --from '{source.rstrip('/')}/*'")
    commonest_extension, _ = extension_counts.most_common(1)[0]
    if commonest_extension in nested_extensions:
        return folder / "**" / f"*{commonest_extension}"
    return folder / f"*{commonest_extension}"


def _is_readable_extension(extension: str) -> bool:
    if extension in remote_stores.ARCHIVE_EXTENSIONS:
        return True
    kind = None
    if extension:
        kind = file_kinds.find_file_kind_by_name(f"a{extension}")
    return kind is not None and file_kinds.find_file_option_name(kind) == "files"  # other kinds read a single file


def _walk_visible_files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders.sort()
        visible_names = sorted(name for name in names if not name.startswith("."))
        yield from (Path(parent, name) for name in visible_names)

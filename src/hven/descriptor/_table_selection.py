"""Which table of a source that holds several `hven new` takes, and what it says of the others."""

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

MAX_LISTED_TABLES = 30  # tables that are named
MAX_SCANNED_FILES = 50_000  # of a folder that are looked at


def choose_table(
    module: Any, kind: str, options: Mapping[str, Any], context: SourceContext
) -> tuple[dict[str, Any], list[str]]:
    """Choose a table if the curator did not.

    Returns
    -------
    options, notes
        The options, with a `table` for a database or service that has but one with rows; for the comment: what was
        taken, and what else is there.

    Raises
    ------
    UsageError
        A database or service with several tables, or with none.
    SourceError
        It cannot be read.
    """
    options = dict(options)
    service = file_kinds.find_service_signature(kind)
    if service is not None and service.table_option:
        key = service.table_option
    else:
        key = "table"
    if not hasattr(module, "list_source_tables") or any(
        table_option in options for table_option in (key, "hdu", "part", "query", "adql", "mode")
    ):
        return options, []
    table_offers: list[AvailableTable] = module.list_source_tables(options, context)
    if kind != "sql" and service is None:
        default_offer = next((item for item in table_offers if item.is_default), None)
        if kind == "fits" and table_offers and default_offer is None:
            note = (
                f"a row for each image, from its header; --table reads the axes of the image: "
                f"{_format_offer_names(table_offers)}"
            )
            return {**options, "mode": "header"}, [note]
        if kind == "product":
            if not table_offers:
                return {**options, "mode": "images"}, [
                    "a row for each image or cube; `mode: header` makes one for each file"
                ]
            note = (
                f"a row for each file, from its header; --table reads the rows of a table in it: "
                f"{_format_offer_names(table_offers)}"
            )
            if default_offer is None:
                return (options, [note])
            return (
                {**options, "part": default_offer.option_value},
                [_format_table_note(default_offer, table_offers)] if len(table_offers) > 1 else [],
            )
        return options, [] if default_offer is None or len(table_offers) < 2 else [
            _format_table_note(default_offer, table_offers)
        ]
    nonempty_offers = [item for item in table_offers if not item.is_view and item.row_count != 0]
    if len(nonempty_offers) != 1:
        service_label = "database" if kind == "sql" else "service"
        if not table_offers:
            raise UsageError(
                f"the {service_label} has no table that can be read",
                remedy="look at the address and the rights of its user",
            )
        raise UsageError(
            f"the {service_label} has {len(table_offers)} tables and views: {_format_offer_names(table_offers)}",
            remedy=f"say which table with --table: --table "
            f"{max(nonempty_offers or table_offers, key=lambda item: item.row_count or 0).option_value}",
        )
    return {**options, key: str(nonempty_offers[0].option_value)}, [
        _format_table_note(nonempty_offers[0], table_offers)
    ] if len(table_offers) > 1 else []


def _format_table_note(chosen_offer: AvailableTable, offers: Sequence[AvailableTable]) -> str:
    other_offers = [item for item in offers if item is not chosen_offer]
    return (
        f"this is table {chosen_offer} of {len(offers)}; --table chooses another: {_format_offer_names(other_offers)}"
    )


def _format_offer_names(offers: Sequence[AvailableTable]) -> str:
    if len(offers) > MAX_LISTED_TABLES:
        remainder_note = [f"and {len(offers) - MAX_LISTED_TABLES} more"]
    else:
        remainder_note = []
    return ", ".join([*(str(item) for item in offers[:MAX_LISTED_TABLES]), *remainder_note])


def choose_file_pattern(folder: Path, source: str) -> Path:
    """Find which files of a folder are meant.

    Those of the ending that most have, among endings that a kind of source reads.

    Returns
    -------
    pattern
        Of their paths.

    Raises
    ------
    SourceError
        There is none such.
    """
    extension_counts: Counter[str] = Counter()
    nested_extensions: set[str] = set()
    readable_extensions: dict[str, bool] = {}
    for path in islice(_walk_visible_files(folder), MAX_SCANNED_FILES):
        extension = "".join(
            path.suffixes[-2:] if path.suffix[1:] in file_kinds.COMPRESSED_EXTENSIONS else path.suffixes[-1:]
        )
        if extension not in readable_extensions:
            readable_extensions[extension] = extension in remote_stores.ARCHIVE_EXTENSIONS or (
                bool(extension) and file_kinds.find_kind_by_name(f"a{extension}") not in {None, "sql"}
            )
        if readable_extensions[extension]:
            extension_counts[extension] += 1
            nested_extensions |= {extension} if path.parent != folder else set()
    if not extension_counts:
        raise SourceError(f"{source} is a directory", remedy=f"--from '{source.rstrip('/')}/*'")
    extension = extension_counts.most_common(1)[0][0]
    if extension in nested_extensions:
        return folder / "**" / f"*{extension}"
    return folder / f"*{extension}"


def _walk_visible_files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(parent, name) for name in sorted(names) if not name.startswith("."))

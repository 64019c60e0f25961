"""Which table of a source that holds several `hven new` takes, and what it says of the others."""

from __future__ import annotations

import os
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hven.model.errors import SourceError, UsageError
from hven.sources import filekinds, stores

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.sources import Context, Offer

MOST = 30  # tables that are named
FILES = 50_000  # of a folder that are looked at


def chosen(module: Any, kind: str, options: Mapping[str, Any], context: Context) -> tuple[dict[str, Any], list[str]]:
    """Choose a table if the curator did not.

    Returns
    -------
    options, notes
        The options, with a `table` for a database or service that has but one with rows; for the comment: what was taken, and what else is there.

    Raises
    ------
    UsageError
        A database or service with several tables, or with none.
    SourceError
        It cannot be read.
    """
    options, service = dict(options), filekinds.service(kind)
    key = service.table if service is not None and service.table else "table"
    if not hasattr(module, "tables") or any(one in options for one in (key, "hdu", "part", "query", "adql", "mode")):
        return options, []
    offers: list[Offer] = module.tables(options, context)
    if kind != "sql" and service is None:
        taken = next((item for item in offers if item.default), None)
        if kind == "fits" and offers and taken is None:
            note = f"a row for each image, from its header; --table reads the axes of the image: {_names(offers)}"
            return {**options, "mode": "header"}, [note]
        if kind == "product":
            if not offers:
                return {**options, "mode": "images"}, ["a row for each image or cube; `mode: header` makes one for each file"]  # fmt: skip
            note = f"a row for each file, from its header; --table reads the rows of a table in it: {_names(offers)}"
            return (
                (options, [note])
                if taken is None
                else ({**options, "part": taken.choice}, [_note(taken, offers)] if len(offers) > 1 else [])
            )
        return options, [] if taken is None or len(offers) < 2 else [_note(taken, offers)]
    data = [item for item in offers if not item.view and item.rows != 0]
    if len(data) != 1:
        what = "database" if kind == "sql" else "service"
        if not offers:
            raise UsageError(
                f"the {what} has no table that can be read", remedy="look at the address and the rights of its user"
            )
        raise UsageError(
            f"the {what} has {len(offers)} tables and views: {_names(offers)}",
            remedy=f"say which table with --table: --table {max(data or offers, key=lambda item: item.rows or 0).choice}",
        )
    return {**options, key: str(data[0].choice)}, [_note(data[0], offers)] if len(offers) > 1 else []


def _note(taken: Offer, offers: Sequence[Offer]) -> str:
    others = [item for item in offers if item is not taken]
    return f"this is table {taken} of {len(offers)}; --table chooses another: {_names(others)}"


def _names(offers: Sequence[Offer]) -> str:
    more = [f"and {len(offers) - MOST} more"] if len(offers) > MOST else []
    return ", ".join([*(str(item) for item in offers[:MOST]), *more])


def gathered(folder: Path, source: str) -> Path:
    """Find which files of a folder are meant: those of the ending that most have, among endings that a kind of source reads.

    Returns
    -------
    pattern
        Of their paths.

    Raises
    ------
    SourceError
        There is none such.
    """
    endings: Counter[str] = Counter()
    below: set[str] = set()
    known: dict[str, bool] = {}
    for path in islice(_files(folder), FILES):
        ending = "".join(path.suffixes[-2:] if path.suffix[1:] in filekinds.PACKED else path.suffixes[-1:])
        if ending not in known:
            known[ending] = ending in stores.ARCHIVES or (
                bool(ending) and filekinds.named(f"a{ending}") not in {None, "sql"}
            )
        if known[ending]:
            endings[ending] += 1
            below |= {ending} if path.parent != folder else set()
    if not endings:
        raise SourceError(f"{source} is a directory", remedy=f"--from '{source.rstrip('/')}/*'")
    ending = endings.most_common(1)[0][0]
    return folder / "**" / f"*{ending}" if ending in below else folder / f"*{ending}"


def _files(folder: Path) -> Iterator[Path]:
    for home, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(home, name) for name in sorted(names) if not name.startswith("."))

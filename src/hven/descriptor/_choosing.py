"""Which table of a source that holds several `hven new` takes, and what it says of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.model.errors import UsageError
from hven.sources import filekinds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.sources import Context, Offer

MOST = 30  # tables that are named


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
    if not hasattr(module, "tables") or any(one in options for one in (key, "hdu", "query", "adql", "mode")):
        return options, []
    offers: list[Offer] = module.tables(options, context)
    if kind != "sql" and service is None:
        taken = next((item for item in offers if item.default), None)
        if kind == "fits" and offers and taken is None:
            note = f"a row for each image, from its header; --table reads the axes of the image: {_names(offers)}"
            return {**options, "mode": "header"}, [note]
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

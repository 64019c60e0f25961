"""Pane: a look of one's own at the rows that a search in a table found: a query over them, and a template that shows its answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hven.model import plugins

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hven.model.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Pane:
    """A pane; it has an address for each table, to which the table's pages link with what is searched there.

    Attributes
    ----------
    applies
        Whether it can show a table.
    ask
        Makes ADQL of a table, and of what stands behind FROM for its rows that were found.
    template
        Of Jinja: shows `rows`, the answer as dictionaries; values are escaped, ``_("..")`` is in the reader's language.
    texts
        Language -> English -> what it says there.
    """

    name: str
    title: str
    ask: Callable[[Table, str], str]
    template: str
    applies: Callable[[Table], bool] = lambda _: True
    texts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def known() -> list[Pane]:
    """All that are installed."""
    return [*plugins.records("panes").values()]

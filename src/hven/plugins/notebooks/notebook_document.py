"""Notebooks as documents (nbformat 4.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from collections.abc import Sequence

MEDIA_TYPE = "application/x-ipynb+json"
_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


@dataclass(frozen=True, slots=True)
class NotebookCell:
    """A cell: a text in Markdown, or a program in Python."""

    source: str
    is_code: bool = False


def write_notebook(cells: Sequence[NotebookCell]) -> bytes:
    """Write a notebook without outputs (nbformat 4.5, JSON).

    Parameters
    ----------
    cells
        The cells, in order.
    """
    written_cells = []
    for number, cell in enumerate(cells):
        written_cell: dict[str, object] = {
            "cell_type": "code" if cell.is_code else "markdown",
            "id": f"cell-{number}",
            "metadata": {},
            "source": cell.source.splitlines(keepends=True),
        }
        if cell.is_code:
            written_cell |= {"execution_count": None, "outputs": []}
        written_cells.append(written_cell)
    document = {"cells": written_cells, "metadata": _METADATA, "nbformat": 4, "nbformat_minor": 5}
    return orjson.dumps(document, option=orjson.OPT_INDENT_2)

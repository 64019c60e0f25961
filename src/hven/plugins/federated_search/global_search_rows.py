"""Merge rows of several local and remote tables into one list, each with its picture, its table and its page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from hven.model.table import Table, set_column_epochs
from hven.plugins.federated_search import global_search, remote_thumbnails
from hven.plugins.federated_search.remote_table_page import build_remote_table_address
from hven.plugins.federated_search.remote_table_rows import compute_extremes
from hven.portal.api.page_rows import RowPage, build_table_address
from hven.portal.api.table_rows import build_column_headings, cell_to_json, columns_to_json, format_cells
from hven.services.addresses import list_base_urls

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.plugins.federated_search.global_search import TableQueryOutcome
    from hven.portal.api.pages import PageContext
    from hven.portal.api.table_rows import TextCell

PICTURE_COLUMN = "thumbnail_url"


def merge_result_rows(
    target_results: Sequence[TableQueryOutcome],
    kind: str,
    standard: str,
    page_context: PageContext,
    *,
    is_single_table: bool = False,
) -> dict[str, Any]:
    """Merge the rows of several tables under the columns that any of them has, in the order of the standard.

    Cells of missing columns are empty.

    Parameters
    ----------
    standard
        Full name of the tables' standard.
    is_single_table
        True: only one table is shown.
    """
    results_with_rows = [
        target_result
        for target_result in target_results
        if target_result.first_rows is not None and target_result.first_rows.num_rows
    ]
    present_names = {column.name for target_result in results_with_rows for column in target_result.columns}
    names = [name for name in global_search.SHOWN_COLUMNS[kind] if name in present_names and name != PICTURE_COLUMN]
    headings_by_name: dict[str, Any] = {}
    merged_rows: list[dict[str, Any]] = []
    for target_result in results_with_rows:
        if target_result.first_rows is None:
            continue
        answer_table = Table(schema="", name="answer", columns=target_result.columns, standard=standard)
        result_table = set_column_epochs(answer_table, compute_extremes(target_result.first_rows))
        labels = page_context.build_column_labels(result_table)
        page = RowPage(
            columns=result_table.columns,
            rows=target_result.first_rows,
            keys=("",) * target_result.first_rows.num_rows,
            offset=0,
            has_more=False,
        )
        for head in columns_to_json(build_column_headings(page, result_table, labels=labels)):
            headings_by_name.setdefault(head["name"], head)
        order = [column.name for column in target_result.columns]
        for row_number, values in enumerate(format_cells(page, result_table, labels=labels)):
            cells_by_name = dict(zip(order, values, strict=True))
            cells = [cells_by_name.get(name) for name in names]
            table_address = _build_table_page_address(target_result, kind, page_context)
            merged_row = {
                "from": target_result.target.title,
                "key": target_result.target.key,
                "row": target_result.keys[row_number] if target_result.keys else "",
                "table": table_address,
                "url": _build_row_address(target_result, row_number, table_address),
                "picture": _build_picture_address(cells_by_name, kind, page_context),
                "cells": [None if cell is None else cell_to_json(cell) for cell in cells],
            }
            merged_rows.append(merged_row)
    return {
        "columns": [headings_by_name[name] for name in names],
        "rows": merged_rows,
        "most": global_search.MAX_SINGLE_TABLE_ROWS if is_single_table else global_search.MAX_SHARED_TABLE_ROWS,
        "pictured": any(merged_row["picture"] for merged_row in merged_rows),
    }


def _build_table_page_address(target_result: TableQueryOutcome, kind: str, page_context: PageContext) -> str:
    """Return the page of the table of a result; empty if its rows have no keys."""
    target = target_result.target
    if not target_result.keys:
        return ""
    if target.table is not None:
        return build_table_address(page_context.base, target.table)
    if target.service is None:
        return ""
    return build_remote_table_address(page_context.base, kind, target.service.name, target.name)


def _build_row_address(target_result: TableQueryOutcome, row_number: int, table_address: str) -> str:
    """Return the page of a row of this site."""
    if target_result.target.table is None or not target_result.keys:
        return ""
    row_query = urlencode({"_row": target_result.keys[row_number]})
    return f"{table_address}?{row_query}"


def _build_picture_address(cells_by_name: Mapping[str, TextCell | None], kind: str, page_context: PageContext) -> str:
    """Return the address of a row's picture on this site, which also fetches remote pictures."""
    picture_cell = cells_by_name.get(PICTURE_COLUMN)
    if picture_cell is None or not picture_cell.href:
        return ""
    settings = page_context.context.site.settings
    base_urls = list_base_urls(page_context.request, settings)
    if any(picture_cell.href.startswith(f"{base}/") for base in base_urls):
        return str(picture_cell.href)
    return remote_thumbnails.build_remote_picture_address(
        f"{page_context.base}/search/{kind}", picture_cell.href, page_context.context
    )

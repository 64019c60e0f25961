"""Build the JSON of plots, of the rows of a table or of the answer of a query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.model.errors import ParamError, format_message
from hven.portal._explore import plots, plots_json, row_pages

if TYPE_CHECKING:
    from hven.model.table import Column, Table
    from hven.portal._explore import TableSearch
    from hven.portal._explore.column_labels import ColumnLabels
    from hven.portal._explore.page_queries import QueryRunner
    from hven.portal._views.page_formats import PageContext


def find_plot_column(table: Table, page_context: PageContext, parameter: str) -> Column | None:
    """Find the column that a parameter names.

    Parameters
    ----------
    table
        The table.
    page_context
        The request.
    parameter
        Name of the parameter.

    Returns
    -------
    column
        None without the parameter.

    Raises
    ------
    ParamError
        There is none of that name.
    """
    column_name = page_context.request.query_params.get(parameter, "")
    if not column_name:
        return None
    plot_column = next(
        (candidate for candidate in table.columns if candidate.name == column_name and not candidate.hidden), None
    )
    if plot_column is None:
        raise ParamError(
            format_message("there is no column {name!r}", column_name[:60]),
            name=parameter,
            remedy="choose one of the table's columns",
        )
    return plot_column


def build_histogram_json(
    search: TableSearch, runner: QueryRunner, page_context: PageContext, labels: ColumnLabels | None = None
) -> dict[str, Any]:
    """Build the histogram of the column ``_x``.

    Parameters
    ----------
    search
        The search.
    runner
        Runs queries for the reader.
    page_context
        The request, whose parameters name the columns.
    labels
        Labels of the columns; None: columns have their own names.

    Returns
    -------
    json_content
        The data of the plot.

    Raises
    ------
    ParamError
        None is named.
    """
    plot_column = find_plot_column(search.table, page_context, "_x")
    if plot_column is None:
        raise ParamError("no column was specified", name="_x", remedy="write _x=COLUMN")
    scale = plots_json.choose_plot_unit_scale(plot_column, labels, search.units)
    histogram = plots.build_histogram(search, plot_column, runner, scale=scale)
    return plots_json.histogram_to_json(histogram, plot_column, labels)


def build_points_or_density_json(
    search: TableSearch, runner: QueryRunner, page_context: PageContext, labels: ColumnLabels | None = None
) -> dict[str, Any]:
    """Build the points of the two or three columns ``_x``, ``_y``, ``_c``; a density map of too many points.

    Parameters
    ----------
    search
        The search.
    runner
        Runs queries for the reader.
    page_context
        The request, whose parameters name the columns.
    labels
        Labels of the columns; None: columns have their own names.

    Returns
    -------
    json_content
        The data of the plot.

    Raises
    ------
    ParamError
        None is named.
    """
    requested_columns = [find_plot_column(search.table, page_context, name) for name in ("_x", "_y", "_c")]
    plot_columns = [plot_column for plot_column in requested_columns if plot_column is not None]
    if not plot_columns:
        raise ParamError("no columns were specified", name="_x", remedy="write _x=COLUMN&_y=COLUMN")
    total = row_pages.count_rows(search, runner)
    has_many_points = total.rows is None or total.rows > plots.MAX_POINTS
    if len(plot_columns) == 2 and has_many_points and all(map(plots.is_plottable, plot_columns)):
        x_scale, y_scale = (
            plots_json.choose_plot_unit_scale(plot_column, labels, search.units) for plot_column in plot_columns
        )
        density_grid = plots.build_density_grid(
            search, plot_columns[0], plot_columns[1], runner, scales=(x_scale, y_scale)
        )
        return plots_json.density_to_json(density_grid, plot_columns, total.rows, labels)
    points = plots.fetch_plot_points(search, plot_columns, runner)
    return plots_json.points_to_json(points, total.rows, labels, search.units)

"""What plug-in packages add to the pages of tables, besides templates: values, parameters, and the choice of plots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model import plugins

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.model.table import Table
    from hven.portal._explore.page_queries import QueryRunner
    from hven.portal._views.page_formats import PageContext
    from hven.portal._views.table_view import TableView


@dataclass(frozen=True, slots=True, kw_only=True)
class TablePageExtension:
    """What a package adds to the pages of tables: the place of such a record is in `PluginPackage.table_pages`.

    Attributes
    ----------
    compute_value
        Function that computes a value for the page of a table, which the templates of the package on this page have as
        ``table_values.PACKAGE``. Without a value, the page leaves out these templates. None: the package has no such
        value, and its templates are always shown.
    compute_overview
        Function that computes a value for a table in the page of its collection, which the templates of the package
        there have as ``seen.values.PACKAGE``. None: the package has no such value.
    parameters
        Parameters of the page that only the package reads. They are no part of the search.
    rank_plot_columns
        Function that ranks the columns of a table that are worth plotting, the best first. A plot begins with the first
        two. None: the package does not rank columns.
    list_query_lines
        Function that writes the search of a page in other languages than ADQL. Each entry has the ``name`` of the
        language and a ``text``, which the page shows to copy. None: the package knows no other language.
    """

    compute_value: Callable[[TableView, PageContext], object] | None = None
    compute_overview: Callable[[Table, QueryRunner, PageContext], object] | None = None
    parameters: tuple[str, ...] = ()
    rank_plot_columns: Callable[[TableView], Sequence[str]] | None = None
    list_query_lines: Callable[[TableView], Sequence[Mapping[str, str]]] | None = None


@plugins.cache_until_selection
def load_table_extensions() -> Mapping[str, TablePageExtension]:
    """Load what the packages in use add; what cannot be loaded is left out, and goes to the log."""
    return dict(plugins.iterate_package_objects("table_pages"))


def compute_table_page_values(table_view: TableView, page_context: PageContext) -> dict[str, object]:
    """Compute the values that packages give to the page of a table, by the names of the packages."""
    return {
        package: extension.compute_value(table_view, page_context)
        for package, extension in load_table_extensions().items()
        if extension.compute_value is not None
    }


def compute_overview_values(table: Table, runner: QueryRunner, page_context: PageContext) -> dict[str, object]:
    """Compute the values that packages give to a table in the page of its collection, by the names of the packages."""
    return {
        package: extension.compute_overview(table, runner, page_context)
        for package, extension in load_table_extensions().items()
        if extension.compute_overview is not None
    }


def list_table_page_parameters() -> tuple[str, ...]:
    """List the parameters of the page of a table that only packages read."""
    return tuple(name for extension in load_table_extensions().values() for name in extension.parameters)


def choose_plot_columns(table_view: TableView) -> list[str]:
    """Choose the columns that a plot begins with: at most two, none if no package ranks columns."""
    for extension in load_table_extensions().values():
        if extension.rank_plot_columns is not None:
            return list(extension.rank_plot_columns(table_view))[:2]
    return []


def list_package_query_lines(table_view: TableView) -> list[Mapping[str, str]]:
    """List the lines with which packages write the search of a page in other languages than ADQL."""
    return [
        line
        for extension in load_table_extensions().values()
        if extension.list_query_lines is not None
        for line in extension.list_query_lines(table_view)
    ]

"""The files behind the rows of a search: which columns lead to them, how many there are, and how big."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.adql import tree
from hven.model import units
from hven.portal._explore.rows import key_is
from hven.portal._explore.search import ref
from hven.services.file_rows import list_template_columns
from hven.services.scripts import TEMPLATE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.table import Column, Table
    from hven.portal._explore.page_queries import Asking
    from hven.portal._explore.search import Search

KEYS = 5_000  # rows that may be named one by one
SIZE = "access_estsize"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cart:
    """Files of a search.

    Attributes
    ----------
    rows, files
        Rows found, and those that have a link.
    size
        Bytes as the table estimates them; None where it does not. `sized`: files that say their size.
    """

    column: Column
    rows: int
    files: int
    size: float | None = None
    sized: int = 0


def size_of(table: Table) -> Column | None:
    """Return the column of the files' sizes: ObsCore's and EPN-TAP's ``access_estsize``, or what a UCD says is one."""
    for column in table.columns:
        plain_number = not column.hidden and column.type.is_numeric and not column.type.is_array
        named = column.name.lower() == SIZE or (column.ucd or "").lower().startswith("phys.size;meta.file")
        if plain_number and named and units.convertible(column.unit, "byte"):
            return column
    return None


def marked(search: Search, keys: Sequence[str]) -> Search:
    """Return the search of some rows, by their keys as `rows.Page.keys` writes them; keys of other tables find nothing."""
    tests = [test for test in (key_is(search, key) for key in keys[:KEYS]) if test is not None]
    primary = search.table.primary
    if len(primary) == 1 and tests:
        values = tuple(test.right for test in tests if isinstance(test, tree.Compare))
        test: tree.Expr = tree.In(ref(primary[0]), values)
    else:
        test = (
            tree.Or(tuple(tests))
            if len(tests) > 1
            else tests[0]
            if tests
            else tree.Compare("=", tree.Literal(1), tree.Literal(0))
        )
    return search.having(conditions=(("", ()),), tests=(test,), words="", near=None, inside="", faults=())


def count(search: Search, column: Column, asking: Asking) -> Cart:
    """Count the files of a search and add up their sizes."""
    size = size_of(search.table)

    def counted(*arguments: tree.Expr, name: str, function: str = "COUNT") -> tree.SelectItem:
        return tree.SelectItem(tree.Function(function, arguments, star=not arguments), tree.Ident(name))

    items = [counted(name="n"), counted(ref(column.name), name="files")]
    if size is not None:
        items += [counted(ref(size.name), name="size", function="SUM"), counted(ref(size.name), name="sized")]
    found = asking.table(tree.Query(tree.Select(tuple(items), search.source(), where=search.where()))).to_pylist()[0]
    total = found.get("size")
    return Cart(
        column=column,
        rows=int(found["n"]),
        files=int(found["files"]),
        size=None if size is None or total is None else float(total) * units.factor(size.unit, "byte"),
        sized=int(found.get("sized") or 0),
    )


def query(search: Search, column: Column) -> tree.Query:
    """Ask for the links of a search, in its order, for what a template makes them of, and for what files may be called."""
    holes = [name for name in list_template_columns(column, search.table) if name is not None]
    named = next(
        (
            one.name
            for one in search.table.columns
            if one.name.lower() == "file_name" and one.type.is_string and not one.hidden
        ),
        "",
    )
    asked = search.having(order=search.order or tuple((name, False) for name in search.table.primary))
    return asked.query(columns=list(dict.fromkeys([column.name, *holes, *([named] if named and not holes else [])])))


def options(column: Column) -> dict[str, str]:
    """Return what a script's writer must know of a column: the template of its links."""
    return {TEMPLATE: column.link} if column.link else {}

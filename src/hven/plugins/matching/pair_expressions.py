"""Conditions and scores of candidate pairs: they are computed by queries over the pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hven.adql import parse_condition, parse_expression
from hven.adql.adql_writer import write_adql
from hven.adql.syntax_tree import ColumnRef, Ident, transform_tree, walk_tree
from hven.model.errors import SourceError, suggest_spelling
from hven.model.table import Column, Table, build_columns_from_arrow
from hven.plugins.matching.match_options import REFERENCE_NAME

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from hven.adql.syntax_tree import Expr
    from hven.plugins.matching.match_options import PartnerOptions, SigmaOptions
    from hven.sources import SiteQueryRunner

    Floats = npt.NDArray[np.float64]

PAIRS_TABLE = ("tap_upload", "candidate_pairs")
SEPARATION, NUMBER = "separation", "pair_number"
SIGMA_ITEMS = ("sigma_magnitude", "sigma_other_magnitude", "sigma_error", "sigma_other_error")


class PairExpressions:
    """The condition, the score and the difference of magnitudes of pairs of one catalogue.

    Parameters
    ----------
    name
        Name of the catalogue in the descriptor.
    options
        Its options.
    columns
        The columns of ``reference`` and of the catalogue, by these names.

    Raises
    ------
    SourceError
        An expression names an unknown column.
    """

    def __init__(self, name: str, options: PartnerOptions, columns: Mapping[str, Sequence[Column]]) -> None:
        self._name = name
        self._columns = columns
        self.read_columns: dict[str, dict[str, Column]] = {REFERENCE_NAME: {}, name: {}}
        items = {"score": self._write_expression("score", parse_expression(options.score))}
        if options.dmag is not None:
            items["dmag"] = self._write_expression("dmag", parse_expression(options.dmag))
        if options.condition is not None:
            condition = self._write_expression("and", parse_condition(options.condition))
            items["fulfilled"] = f"CASE WHEN {condition} THEN 1 ELSE 0 END"
        self._sigma_options = options.within_sigma
        if options.within_sigma is not None:
            sigma_texts = (*options.within_sigma.magnitudes, *options.within_sigma.errors)
            for item, text in zip(SIGMA_ITEMS, sigma_texts, strict=False):
                items[item] = self._write_expression("within_sigma", parse_expression(text))
        self.is_separation_only = set(items) == {"score"} and options.score.strip().lower() == SEPARATION
        self._item_names = tuple(items)
        written_items = ", ".join(f"{text} AS {item}" for item, text in items.items())
        self._query = f"SELECT {NUMBER}, {written_items} FROM {'.'.join(PAIRS_TABLE)}"

    def check_types(self, run_query: SiteQueryRunner) -> None:
        """Bind the expressions to the columns.

        Parameters
        ----------
        run_query
            Runs the query, over no rows.

        Raises
        ------
        HvenError
            An expression doesn't fit the columns.
        """
        if self.is_separation_only:
            return
        arrays = {f"{owner}.{name}": pa.array([], column.type.arrow) for owner, name, column in self.list_columns()}
        for _ in run_query(self._query, self._build_upload_tables(arrays, np.empty(0))):  # reading to the end closes it
            pass

    def list_columns(self) -> list[tuple[str, str, Column]]:
        """List the columns that the expressions read, each with its owner and its name."""
        return [(owner, name, column) for owner, read in self.read_columns.items() for name, column in read.items()]

    def evaluate(
        self, arrays: Mapping[str, pa.Array], separations: Floats, run_query: SiteQueryRunner
    ) -> dict[str, Floats]:
        """Compute the values of all pairs.

        Parameters
        ----------
        arrays
            Values of the columns that the expressions read, by ``owner.name``, shape (n,) each.
        separations
            Arcseconds, shape (n,).
        run_query
            Runs queries.

        Returns
        -------
        values
            ``score``, ``dmag``, ``dmag_sigma`` and ``fulfilled``, as far as the options have them; NaN: null.
            Shape (n,) each.
        """
        if self.is_separation_only:
            return {"score": separations}
        values = {name: np.full(len(separations), np.nan) for name in self._item_names}
        for batch in run_query(self._query, self._build_upload_tables(arrays, separations)):
            rows = np.asarray(batch.column(NUMBER))
            for name in self._item_names:
                values[name][rows] = to_floats(batch.column(name))
        if self._sigma_options is not None:
            _replace_magnitudes_by_sigma_results(values, self._sigma_options)
        return values

    def _build_upload_tables(
        self, arrays: Mapping[str, pa.Array], separations: Floats
    ) -> dict[str, tuple[Table, pa.Table]]:
        rows = pa.table({NUMBER: np.arange(len(separations)), SEPARATION: separations, **arrays})
        described = [
            Column(name=f"{owner}.{name}", type=column.type, unit=column.unit)
            for owner, name, column in self.list_columns()
        ]
        columns = tuple(build_columns_from_arrow(rows.schema, described))
        table = Table(schema=PAIRS_TABLE[0], name=PAIRS_TABLE[1], columns=columns)
        return {table.qualified_name: (table, rows)}

    def _write_expression(self, key: str, expression: Expr) -> str:
        for node in walk_tree(expression):
            if isinstance(node, ColumnRef):
                self._register_read_column(key, node)

        def rename(node: object) -> object:
            if isinstance(node, ColumnRef):
                return ColumnRef(Ident(self._register_read_column(key, node), quoted=True))
            return node

        return write_adql(transform_tree(expression, rename))

    def _register_read_column(self, key: str, reference: ColumnRef) -> str:
        """Return the column of the pairs that a name means, and note that it is read."""
        if not reference.qualifier:
            if reference.name.name.lower() == SEPARATION:
                return SEPARATION
            raise SourceError(
                f"`{key}` of the catalogue {self._name} does not say which table contains {reference.name.name!r}",
                remedy=f"write {REFERENCE_NAME}.{reference.name.name} or {self._name}.{reference.name.name}",
            )
        owner = reference.qualifier[-1].name
        owners = {name.lower(): name for name in self._columns}
        if owner.lower() not in owners:
            raise SourceError(
                f"`{key}` of the catalogue {self._name} names an unknown table {owner!r}",
                remedy=f"use {REFERENCE_NAME} or {self._name}",
            )
        owner = owners[owner.lower()]
        column = find_column(self._columns[owner], reference.name.name, f"`{key}` of the catalogue {self._name}")
        self.read_columns[owner][column.name] = column
        return f"{owner}.{column.name}"


def _replace_magnitudes_by_sigma_results(values: dict[str, Floats], options: SigmaOptions) -> None:
    """Compare the difference of two magnitudes with the larger one of their errors, and replace them by the result.

    A star of the reference without a magnitude fits all candidates.
    """
    count = len(values["score"])
    magnitude, other_magnitude, *errors = (values.pop(item, np.full(count, np.nan)) for item in SIGMA_ITEMS)
    error = np.minimum(np.fmax(np.fmax(errors[0], errors[1]), options.smallest), options.largest)
    difference = magnitude - other_magnitude
    values.setdefault("dmag", difference)
    sigmas = np.where(np.isnan(magnitude), 0.0, np.abs(difference) / error)
    values["dmag_sigma"] = sigmas
    values["fulfilled"] = values.get("fulfilled", np.ones(count)) * (sigmas <= options.limit)


def find_column(columns: Sequence[Column], name: str, user: str) -> Column:
    """Find a column by its name in any case.

    Parameters
    ----------
    columns
        All columns.
    name
        The name.
    user
        What names the column, for the message.

    Raises
    ------
    SourceError
        There is no such column.
    """
    for column in columns:
        if column.name.lower() == name.lower():
            return column
    known_names = [column.name for column in columns]
    raise SourceError(
        f"{user} names a column {name!r} that the table does not have",
        remedy=suggest_spelling(name, known_names) or f"use one of {', '.join(known_names[:12])}",
    )


def to_floats(values: pa.Array | pa.ChunkedArray) -> Floats:
    """Convert numbers to floats; null becomes NaN.

    Parameters
    ----------
    values
        Numbers, shape (n,).
    """
    floats = values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.asarray(floats, np.float64)

"""Decisions of people about targets: rows of a table of this site, which the rules never change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.adql import quote_adql_name
from hven.model.errors import DataError
from hven.plugins.matching.match_options import quote_dotted_table_name
from hven.plugins.matching.pair_expressions import to_floats
from hven.plugins.matching.star_positions import build_unit_vectors, compute_separations
from hven.plugins.matching.target_names import encode_keys, find_equal_code_pairs, normalize_target_names

if TYPE_CHECKING:
    import numpy.typing as npt

    from hven.plugins.matching.identify_options import OverrideOptions
    from hven.sources import SiteQueryRunner

    Floats = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.int64]

COLUMN_KEYS = ("name", "ra", "dec", "catalogue", "id", "author", "reason")


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonDecisions:
    """Decisions of people.

    Attributes
    ----------
    rows
        The decisions, with the columns `COLUMN_KEYS`.
    decision_rows
        The number of the decision about each target; -1: there is none.
    """

    rows: pa.Table
    decision_rows: Rows


def read_person_decisions(
    options: OverrideOptions, run_query: SiteQueryRunner, target_keys: pa.Array, places: Floats, radius_arcsec: float
) -> PersonDecisions:
    """Read the decisions, and find the one about each target.

    Parameters
    ----------
    options
        The table.
    run_query
        Runs queries over the tables of this site.
    target_keys
        Normalized names of the targets, shape (n,).
    places
        Unit vectors of the targets, shape (n, 3); NaN: the place is unknown.
    radius_arcsec
        Largest distance between a target and the place in a decision.

    Raises
    ------
    DataError
        A decision has no author or no reason.
    """
    items = ", ".join(f"{quote_adql_name(getattr(options, key))} AS {quote_adql_name(key)}" for key in COLUMN_KEYS)
    order = ", ".join(quote_adql_name(key) for key in ("name", "catalogue", "id"))
    answer = run_query(f"SELECT {items} FROM {quote_dotted_table_name(options.table)} ORDER BY {order}")
    batches = list(answer)
    schema = pa.schema([pa.field(column.name, column.type.arrow) for column in answer.columns])
    if batches:
        rows = pa.Table.from_batches(batches)
    else:
        rows = schema.empty_table()
    columns = {key: rows.column(number).combine_chunks() for number, key in enumerate(COLUMN_KEYS)}
    for key in ("name", "author", "reason"):
        texts = pc.utf8_trim_whitespace(pc.fill_null(columns[key].cast(pa.string()), ""))
        lacking_count = pc.sum(pc.equal(texts, "")).as_py()
        if lacking_count:
            raise DataError(
                f"{lacking_count:,} rows of {options.table} have no {getattr(options, key)}",
                remedy="a decision needs a target, an author and a reason: complete these rows, or delete them",
            )
    decision_keys = normalize_target_names(columns["name"])
    known_keys = decision_keys.unique().drop_null()
    decisions, targets = find_equal_code_pairs(
        encode_keys(decision_keys, known_keys), encode_keys(target_keys, known_keys)
    )
    ra, dec = to_floats(columns["ra"]), to_floats(columns["dec"])
    has_any_place = np.isnan(ra) | np.isnan(dec)
    separations = compute_separations(build_unit_vectors(ra, dec)[decisions], places[targets])
    fits = has_any_place[decisions] | (separations <= radius_arcsec)
    nearest_last = np.lexsort((decisions, separations))[::-1]
    nearest_last = nearest_last[fits[nearest_last]]
    decision_rows = np.full(len(target_keys), -1)
    decision_rows[targets[nearest_last]] = decisions[nearest_last]  # the last of several values stays
    return PersonDecisions(rows=pa.table(columns), decision_rows=decision_rows)

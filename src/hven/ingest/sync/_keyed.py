"""Tables made by a query: left alone if what they are made from is as it was, computed for the keys that a change touches, or anew."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.ingest._fingerprints import fingerprints
from hven.ingest._order import QUERY, made_from
from hven.ingest._picking import nullable, rows_of, without_nan
from hven.ingest.sync._differing import paired
from hven.ingest.sync._lines import Anew
from hven.ingest.sync._tracing import KEYS, Traced, trace
from hven.model.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.engines import Engine
    from hven.ingest._trial import Trial
    from hven.ingest.sync._differing import Differences
    from hven.model.resource import Resource, TableSpec
    from hven.site.store import Record

ALIKE = 10  # earlier states of the inputs that are remembered, for a rollback


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyed:
    """What must be computed of one table: the rows of some keys.

    Attributes
    ----------
    keys
        Columns of the primary key, or some of them.
    """

    traced: Traced
    keys: pa.Table

    def uploads(self, target: Table) -> Mapping[str, tuple[Table, pa.Table]]:
        """Return the keys as a table of the query."""
        columns = tuple(target.column(name) for name in self.keys.column_names)
        table = Table(schema=KEYS[0], name=KEYS[1], columns=columns)
        return {table.qualified: (table, self.keys)}


def stays(spec: TableSpec, base: Record, resource: Resource, trial: Trial, reads: set[str]) -> bool | set[str]:
    """Return whether a table made by queries is as it was.

    Parameters
    ----------
    reads
        Names, in lower case, of the tables with rows that its queries read.

    Returns
    -------
    bool or set of str
        True: it is. Else the inputs that changed; False: everything may have.
    """
    if not spec.sources or any(source.kind != QUERY for source in spec.sources):
        return False
    said = base.provenance
    inputs: Mapping[str, str] = said.get("inputs", {})
    if said.get("hashes") != dict(resource.hashes) or not inputs or reads != {name.lower() for name in inputs}:
        return False
    held = {name: record.id for name, record in trial.held().items()}
    if any(all(held.get(name) == snapshot for name, snapshot in one.items()) for one in made_from(base)):
        return True
    return {name for name, snapshot in inputs.items() if held.get(name) != snapshot}


def moved_on(base: Record, said: Mapping[str, Any]) -> Record | None:
    """Note that the same rows came out of what is `said` now: other inputs, another descriptor; None: that is known."""
    other = {key for key, value in said.items() if base.provenance.get(key) != value}
    if not other:
        return None
    alike = [one for one in made_from(base) if one and one != said["inputs"]][:ALIKE] if other == {"inputs"} else []
    return replace(base, provenance={**base.provenance, **said, "alike": alike})


def narrowed(
    spec: TableSpec, base: Record, changed: set[str], changes: Mapping[str, tuple[str, Differences]], trial: Trial
) -> Keyed | None:
    """Find the keys that changes of the inputs touch; None: compute everything.

    Parameters
    ----------
    changes
        Table -> the snapshot that was changed, and how.
    """
    inputs = base.provenance["inputs"]
    if any(name not in changes or changes[name][0] != inputs[name] for name in changed):
        return None
    tables = [record.table for record in trial.held().values()]
    traced = trace(spec, base.table, tables, changed)
    if traced is None:
        return None
    keys = traced.keys(base.table, {name: changes[name][1] for name in changed})
    return None if keys is None else Keyed(traced=traced, keys=keys)


def against(keeper: Engine, base: Record, keyed: Keyed, made: Sequence[pa.RecordBatch]) -> Differences:
    """Compare the rows that were computed for some keys with those that are published.

    Raises
    ------
    Anew
        Two rows have one key: an ingest says what is to be done.
    """
    table = base.table
    names = keyed.keys.column_names
    rows = without_nan(pa.Table.from_batches(made, schema=table.arrow).cast(nullable(table.arrow)))
    wanted = fingerprints(keyed.keys.columns, keyed.keys.num_rows)[0]
    mine = fingerprints(rows.select(names).columns, rows.num_rows)[0]
    rows = rows.filter(pa.array(np.isin(mine, wanted)))  # the query may give more
    whole = rows.select(list(table.primary))
    if (
        any(column.null_count for column in whole.columns)
        or len(np.unique(fingerprints(whole.columns, rows.num_rows)[0])) < rows.num_rows
    ):
        raise Anew("two rows have one primary key, or one has none")
    before = rows_of(keeper, table, base.snapshot, keyed.keys)
    return paired(before, rows.select(before.column_names), table.primary)

"""What a table gives to ivoa.obscore, checked as its rows come in: a fault there is told, and refuses no row of the table itself."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hven.ingest._transform import Transform
from hven.sources import ROW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from hven.descriptor.mapping import Mapping
    from hven.engines import Engine
    from hven.ingest._rules import Broken
    from hven.ingest._transform import Mapped
    from hven.model.literal import Flags

RULES = ("obs.", "radio.", "footprint.")  # how the names of the standards' rules begin


class Observations:
    """One table's rows of ivoa.obscore or ivoa.obscore_radio; `judge` says what is wrong with them."""

    def __init__(
        self, engine: Engine, mapping: Mapping, judge: Callable[[Mapped, pa.RecordBatch], Iterator[Broken]]
    ) -> None:
        self._judge = judge
        self._transform = Transform(engine, mapping)

    def broken(self, mapped: Mapped, thrown: Flags) -> Iterator[Broken]:
        """Yield what is wrong with the observations that these rows give, but for those that are thrown away."""
        count = mapped.rows.num_rows
        kept = np.flatnonzero(~thrown)
        if not len(kept):
            return
        there = mapped.rows if len(kept) == count else mapped.rows.take(pa.array(kept))
        batch = self._transform.prepared(there.append_column(ROW, pa.array(np.arange(len(kept), dtype=np.int64))))
        for made in self._transform.apply(batch):
            at = kept if made.at is None else kept[made.at]
            for item in self._judge(made, batch):
                if not (item.rule.startswith(RULES) or item.rule.endswith(": required")):
                    continue
                rows = np.zeros(count, bool)
                rows[at] = np.asarray(item.rows)
                message = item.message
                if item.rule.endswith(": required"):
                    message = f"{item.message}: such rows are not in ivoa.obscore"
                severity = "info" if item.severity == "info" else "warning"
                yield replace(
                    item,
                    rule=f"obscore: {item.rule}",
                    message=f"ivoa.obscore: {message}",
                    severity=severity,
                    rows=pa.array(rows),
                    values=_values(made.rows, item.column, at, count) if rows.any() else None,
                )


def _values(rows: pa.RecordBatch, column: str | None, at: npt.NDArray[np.int64], count: int) -> pa.Array | None:
    """Return what observations have in a column, one for each row of the table: it is not among the table's own."""
    if column is None or column not in rows.schema.names:
        return None
    places = np.full(count, -1, np.int64)
    places[at] = np.arange(len(at))
    return rows.column(column).take(pa.array(places, mask=places < 0))

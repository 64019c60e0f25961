"""What a table gives to ivoa.obscore, checked as its rows come in.

A fault there is told, and refuses no row of the table itself.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hven.ingest._transform import MappingTransform
from hven.sources import ROW_NUMBER_COLUMN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from hven.descriptor.mapping import CompiledMapping
    from hven.engines import StorageEngine
    from hven.ingest._rules import RuleViolation
    from hven.ingest._transform import MappedRows
    from hven.model.literal import Flags

STANDARD_RULE_PREFIXES = ("obs.", "radio.", "footprint.")  # how the names of the standards' rules begin


class ObservationValidator:
    """One table's rows of ivoa.obscore or ivoa.obscore_radio; `find_violations` says what is wrong with them."""

    def __init__(
        self,
        engine: StorageEngine,
        mapping: CompiledMapping,
        find_violations: Callable[[MappedRows, pa.RecordBatch], Iterator[RuleViolation]],
    ) -> None:
        self._find_violations = find_violations
        self._transform = MappingTransform(engine, mapping)

    def find_violations(self, mapped: MappedRows, rejected_mask: Flags) -> Iterator[RuleViolation]:
        """Yield what is wrong with the observations that these rows give, but for those that are thrown away."""
        count = mapped.rows.num_rows
        kept_positions = np.flatnonzero(~rejected_mask)
        if not len(kept_positions):
            return
        if len(kept_positions) == count:
            kept_rows = mapped.rows
        else:
            kept_rows = mapped.rows.take(pa.array(kept_positions))
        batch = self._transform.prepare_batch(
            kept_rows.append_column(ROW_NUMBER_COLUMN, pa.array(np.arange(len(kept_positions), dtype=np.int64)))
        )
        for mapped_observations in self._transform.map_batch(batch):
            if mapped_observations.source_positions is None:
                row_positions = kept_positions
            else:
                row_positions = kept_positions[mapped_observations.source_positions]
            for item in self._find_violations(mapped_observations, batch):
                if not (item.rule.startswith(STANDARD_RULE_PREFIXES) or item.rule.endswith(": required")):
                    continue
                rows = np.zeros(count, bool)
                rows[row_positions] = np.asarray(item.row_mask)
                message = item.message
                if item.rule.endswith(": required"):
                    message = f"{item.message}: such rows are not in ivoa.obscore"
                severity = "info" if item.severity == "info" else "warning"
                row_mask = pa.array(rows)
                yield replace(
                    item,
                    rule=f"obscore: {item.rule}",
                    message=f"ivoa.obscore: {message}",
                    severity=severity,
                    row_mask=row_mask,
                    values=_take_observation_values(mapped_observations.rows, item.column, row_positions, count)
                    if rows.any()
                    else None,
                )


def _take_observation_values(
    rows: pa.RecordBatch, column: str | None, row_positions: npt.NDArray[np.int64], row_count: int
) -> pa.Array | None:
    """Return what observations have in a column, one for each row of the table: it is not among the table's own."""
    if column is None or column not in rows.schema.names:
        return None
    observation_positions = np.full(row_count, -1, np.int64)
    observation_positions[row_positions] = np.arange(len(row_positions))
    return rows.column(column).take(pa.array(observation_positions, mask=observation_positions < 0))

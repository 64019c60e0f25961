"""Check the rows that a table gives to ivoa.obscore when they are ingested.

A fault of these rows is reported, and does not reject a row of the table itself.
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
    from hven.engines import QueryEvaluator
    from hven.ingest._rules import RuleViolation
    from hven.ingest._transform import MappedRows
    from hven.model.literal import Flags

STANDARD_RULE_PREFIXES = ("obs.", "radio.", "footprint.")  # of the names of the standards' rules


class ObscoreRowValidator:
    """Check the rows of one table for ivoa.obscore or ivoa.obscore_radio."""

    def __init__(
        self,
        evaluator: QueryEvaluator,
        mapping: CompiledMapping,
        find_violations: Callable[[MappedRows, pa.RecordBatch], Iterator[RuleViolation]],
    ) -> None:
        self._find_violations = find_violations
        self._transform = MappingTransform(evaluator, mapping)

    def find_violations(self, mapped_rows: MappedRows, rejected_mask: Flags) -> Iterator[RuleViolation]:
        """Yield the violations of the observations that the rows of a table give, without those of rejected rows."""
        row_count = mapped_rows.rows.num_rows
        kept_positions = np.flatnonzero(~rejected_mask)
        if not len(kept_positions):
            return
        kept_rows = mapped_rows.rows
        if len(kept_positions) < row_count:
            kept_rows = mapped_rows.rows.take(pa.array(kept_positions))
        row_numbers = pa.array(np.arange(len(kept_positions), dtype=np.int64))
        batch = self._transform.add_numbers_and_call_results(kept_rows.append_column(ROW_NUMBER_COLUMN, row_numbers))
        for mapped_observations in self._transform.map_batch(batch):
            row_positions = kept_positions
            if mapped_observations.source_positions is not None:
                row_positions = kept_positions[mapped_observations.source_positions]
            for violation in self._find_violations(mapped_observations, batch):
                is_required_rule = violation.rule.endswith(": required")
                if not is_required_rule and not violation.rule.startswith(STANDARD_RULE_PREFIXES):
                    continue
                row_mask = np.zeros(row_count, bool)
                row_mask[row_positions] = np.asarray(violation.row_mask)
                message = violation.message
                if is_required_rule:
                    message = f"{message}, so these rows are not in ivoa.obscore"
                values: pa.Array | None = None
                if row_mask.any():
                    values = _take_observation_values(
                        mapped_observations.rows, violation.column, row_positions, row_count
                    )
                yield replace(
                    violation,
                    rule=f"obscore: {violation.rule}",
                    message=f"ivoa.obscore: {message}",
                    severity="info" if violation.severity == "info" else "warning",
                    row_mask=pa.array(row_mask),
                    values=values,
                )


def _take_observation_values(
    rows: pa.RecordBatch, column: str | None, row_positions: npt.NDArray[np.int64], row_count: int
) -> pa.Array | None:
    """Return the values of a column of the observations, one for each row of the table, which lacks this column."""
    if column is None or column not in rows.schema.names:
        return None
    observation_positions = np.full(row_count, -1, np.int64)
    observation_positions[row_positions] = np.arange(len(row_positions))
    return rows.column(column).take(pa.array(observation_positions, mask=observation_positions < 0))

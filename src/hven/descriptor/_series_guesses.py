"""What ``hven new`` proposes of samples in time.

A data set of HAPI and das2, by what the source says of its columns.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.descriptor._column_guesses import quote_source_name
from hven.descriptor._yaml_text import format_flow_value, format_scalar
from hven.model import units
from hven.model.literal import format_number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from hven.descriptor._column_guesses import ColumnGuess, ColumnSample
    from hven.model.table import SampleMetadata

DAY_SECONDS = 86_400.0
MAX_NOTES = 6
_MIN_REGULAR_SHARE = 0.8  # the share of intervals that are alike, for a cadence
_MAX_RELATIVE_DEVIATION = 0.1  # how much they may differ


def propose_series(
    sample_metadata: SampleMetadata, guesses: Sequence[ColumnGuess], times: pa.Array, dataset: str | None
) -> list[str]:
    """Write the key ``series`` of a draft; empty: the table has no column of these times.

    Parameters
    ----------
    sample_metadata
        What the source says.
    guesses
        The columns of the table.
    times
        The first times: days.
    dataset
        The name under which archives know the data.
    """
    names = {item.source: item.column.name for item in guesses if item.source}
    if sample_metadata.time not in names:
        return []
    data = [names[name] for name in sample_metadata.data if name in names]
    series_keys: dict[str, Any] = {"id": re.sub(r"[^A-Za-z0-9_.-]+", "_", dataset)} if dataset else {}
    series_keys["time"] = names[sample_metadata.time]
    centers = {
        axis.centers
        for name in sample_metadata.data
        for axis in sample_metadata.axes.get(name, ())
        if isinstance(axis.centers, str)
    }
    parameter_columns = [*data, *(names[name] for name in sorted(centers) if name in names and names[name] not in data)]
    if len(parameter_columns) < len(names) - 1:
        series_keys["parameters"] = parameter_columns
    cadence = _find_cadence(times)
    if cadence:
        series_keys["cadence"] = cadence
    bins = {
        names[name]: [
            _describe_axis(axis.name, axis.unit, axis.label, axis.centers, names) for axis in sample_metadata.axes[name]
        ]
        for name in sample_metadata.data
        if name in sample_metadata.axes and name in names
    }
    if bins:
        series_keys["bins"] = {name: axes[0] if len(axes) == 1 else axes for name, axes in bins.items()}
    vectors = {names[name]: system for name, system in sample_metadata.systems.items() if name in names}
    if vectors:
        series_keys["vectors"] = vectors
    lines = ["    series:  # guessed: by VAR_TYPE, DISPLAY_TYPE and DEPEND_n of the file; HAPI and das2 serve it"]
    for key, value in series_keys.items():
        if isinstance(value, dict | list):
            text = format_flow_value(value)
        else:
            text = format_scalar(value)
        lines.append(f"      {key}: {text}" + ("  # guessed: by the first times" if key == "cadence" else ""))
    return lines


def _describe_axis(
    name: str, unit: str | None, label: str | None, centers: Sequence[float] | str, names: Mapping[str, str]
) -> dict[str, Any]:
    values = names.get(centers, centers) if isinstance(centers, str) else list(centers)
    axis_keys = {"name": name, "unit": units.normalize_unit(unit), "label": label, "centers": values}
    return {key: value for key, value in axis_keys.items() if value}


def _find_cadence(times: pa.Array) -> str:
    """Tell the time between two samples, if most are as far from each other; empty: they are not."""
    days = np.asarray(times.drop_null(), np.float64)
    steps = np.diff(days) * DAY_SECONDS
    steps = steps[steps > 0]
    if len(steps) < 2:
        return ""
    middle = float(np.median(steps))
    if np.mean(np.abs(steps - middle) <= _MAX_RELATIVE_DEVIATION * middle) < _MIN_REGULAR_SHARE:
        return ""
    return f"{float(f'{middle:.3g}'):g} s"


def describe_outliers(
    sample_metadata: SampleMetadata, guesses: Sequence[ColumnGuess], samples_by_name: Mapping[str, ColumnSample]
) -> list[str]:
    """Tell which columns have values outside of what the source calls valid (VALIDMIN, VALIDMAX), and how they become missing."""
    notes = []
    for item in guesses:
        low, high = sample_metadata.valid.get(item.source, (None, None))
        column_sample = samples_by_name.get(item.source)
        if column_sample is None or column_sample.minimum is None:
            continue
        if (low is not None and column_sample.minimum < low) or (high is not None and column_sample.maximum > high):
            name = quote_source_name(item.source)
            limits = [
                f"{name} >= {format_number(low)}" if low is not None else "",
                f"{name} <= {format_number(high)}" if high is not None else "",
            ]
            validity_condition = " AND ".join(filter(None, limits))
            notes.append(
                f"{item.column.name} reaches from {format_number(column_sample.minimum)} to {format_number(column_sample.maximum)}, and the source calls {validity_condition} valid: "
                f"if the others stand for no value, map it: `{item.column.name}: CASE WHEN {validity_condition} THEN {name} END`"
            )
    return [
        *notes[:MAX_NOTES],
        *([f"and {len(notes) - MAX_NOTES} more columns like these"] if len(notes) > MAX_NOTES else []),
    ]

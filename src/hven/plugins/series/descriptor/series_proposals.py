"""What ``hven new`` proposes of samples in time.

A data set of HAPI and das2, by what the source says of its columns.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.descriptor.api.key_proposals import (
    TableKeyProposal,
    format_yaml_flow_value,
    format_yaml_scalar,
    quote_source_name,
)
from hven.model import units
from hven.model.literal import format_number
from hven.plugins.series.sample_parameters import can_have_plot_scale
from hven.sources import TimeSamplesSource

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from hven.descriptor.api.key_proposals import ColumnGuess, InspectedSource, SampledValueRange
    from hven.model.table import ArrayAxisMetadata, TimeSeriesMetadata

DAY_SECONDS = 86_400.0
MAX_NOTES = 6
_MIN_REGULAR_SHARE = 0.8  # share of intervals that must be alike for a cadence
_MAX_RELATIVE_DEVIATION = 0.1  # difference between intervals that are alike


def propose_series(inspected_source: InspectedSource) -> TableKeyProposal:
    """Propose the data set of a source of samples in time, and note its outliers."""
    source = inspected_source.source
    sample_metadata = None
    if isinstance(source, TimeSamplesSource):
        sample_metadata = source.describe_samples()
    if sample_metadata is None or not isinstance(source, TimeSamplesSource):
        return TableKeyProposal()
    time_columns = [column for column in inspected_source.columns if column.name == sample_metadata.time]
    times = inspected_source.read_first_rows(time_columns)[sample_metadata.time]
    guesses = inspected_source.guesses
    return TableKeyProposal(
        lines=write_series_proposal(sample_metadata, guesses, times, source.read_dataset_name()),
        notes=write_outlier_notes(sample_metadata, guesses, inspected_source.samples_by_name),
    )


def write_series_proposal(
    sample_metadata: TimeSeriesMetadata, guesses: Sequence[ColumnGuess], times: pa.Array, dataset: str | None
) -> list[str]:
    """Write the key ``series`` of a draft; empty: the table has no column of these times.

    Parameters
    ----------
    sample_metadata
        Metadata of the source.
    guesses
        Columns of the table.
    times
        The first times, in days.
    dataset
        Name by which archives know the data.
    """
    names = {guess.source: guess.column.name for guess in guesses if guess.source}
    if sample_metadata.time not in names:
        return []
    series_keys: dict[str, Any] = {}
    if dataset:
        series_keys["id"] = re.sub(r"[^A-Za-z0-9_.-]+", "_", dataset)
    series_keys["time"] = names[sample_metadata.time]
    parameter_columns = _list_parameter_columns(sample_metadata, names)
    if len(parameter_columns) < len(names) - 1:
        series_keys["parameters"] = parameter_columns
    cadence = _estimate_cadence(times)
    if cadence:
        series_keys["cadence"] = cadence
    bins = _propose_array_bins(sample_metadata, names)
    if bins:
        series_keys["bins"] = bins
    vectors = {names[name]: system for name, system in sample_metadata.systems.items() if name in names}
    if vectors:
        series_keys["vectors"] = vectors
    scale_types = {
        guess.column.name: sample_metadata.scale_types[guess.source]
        for guess in guesses
        if guess.source in sample_metadata.scale_types and can_have_plot_scale(guess.column.type)
    }
    if scale_types:
        series_keys["scale_types"] = scale_types
    attributes = "VAR_TYPE, DISPLAY_TYPE, SCALETYP and DEPEND_n"
    lines = [f"    series:  # guessed: by {attributes} of the file; HAPI and das2 serve it"]
    for key, value in series_keys.items():
        if isinstance(value, dict | list):
            line = f"      {key}: {format_yaml_flow_value(value)}"
        else:
            line = f"      {key}: {format_yaml_scalar(value)}"
        if key == "cadence":
            line += "  # guessed: by the first times"
        lines.append(line)
    return lines


def _list_parameter_columns(sample_metadata: TimeSeriesMetadata, names: Mapping[str, str]) -> list[str]:
    """List the columns of data, and the columns that have the centers of their bins."""
    columns = [names[name] for name in sample_metadata.data if name in names]
    center_names: set[str] = set()
    for name in sample_metadata.data:
        center_names.update(
            axis.centers for axis in sample_metadata.axes.get(name, ()) if isinstance(axis.centers, str)
        )
    for name in sorted(center_names):
        if name in names and names[name] not in columns:
            columns.append(names[name])
    return columns


def _propose_array_bins(sample_metadata: TimeSeriesMetadata, names: Mapping[str, str]) -> dict[str, Any]:
    """Describe the elements of each array: a map for its dimension, or a list of maps if it has several."""
    bins: dict[str, Any] = {}
    for name in sample_metadata.data:
        if name not in sample_metadata.axes or name not in names:
            continue
        axes = [_propose_axis_bins(axis, names) for axis in sample_metadata.axes[name]]
        bins[names[name]] = axes
        if len(axes) == 1:
            bins[names[name]] = axes[0]
    return bins


def _propose_axis_bins(axis: ArrayAxisMetadata, names: Mapping[str, str]) -> dict[str, Any]:
    values: str | list[float]
    if isinstance(axis.centers, str):
        values = names.get(axis.centers, axis.centers)
    else:
        values = list(axis.centers)
    axis_keys = {
        "name": axis.name,
        "unit": units.normalize_unit(axis.unit),
        "label": axis.label,
        "centers": values,
        "scale_type": axis.scale_type,
    }
    return {key: value for key, value in axis_keys.items() if value}


def _estimate_cadence(times: pa.Array) -> str:
    """Return the time between two samples if most are equally far from each other; empty if they are not."""
    days = np.asarray(times.drop_null(), np.float64)
    steps = np.diff(days) * DAY_SECONDS
    steps = steps[steps > 0]
    if len(steps) < 2:
        return ""
    median_step = float(np.median(steps))
    is_regular = np.abs(steps - median_step) <= _MAX_RELATIVE_DEVIATION * median_step
    if np.mean(is_regular) < _MIN_REGULAR_SHARE:
        return ""
    return f"{float(f'{median_step:.3g}'):g} s"


def write_outlier_notes(
    sample_metadata: TimeSeriesMetadata,
    guesses: Sequence[ColumnGuess],
    samples_by_name: Mapping[str, SampledValueRange],
) -> list[str]:
    """List columns with values outside of VALIDMIN to VALIDMAX of the source, and how such values become missing."""
    notes = []
    for guess in guesses:
        low, high = sample_metadata.valid.get(guess.source, (None, None))
        sample = samples_by_name.get(guess.source)
        if sample is None or sample.minimum is None:
            continue
        is_too_low = low is not None and sample.minimum < low
        is_too_high = high is not None and sample.maximum > high
        if not is_too_low and not is_too_high:
            continue
        name = quote_source_name(guess.source)
        limits = []
        if low is not None:
            limits.append(f"{name} >= {format_number(low)}")
        if high is not None:
            limits.append(f"{name} <= {format_number(high)}")
        condition = " AND ".join(limits)
        bounds = f"{format_number(sample.minimum)} to {format_number(sample.maximum)}"
        expression = f"CASE WHEN {condition} THEN {name} END"
        notes.append(
            f"{guess.column.name} reaches from {bounds}, and the source calls {condition} valid: "
            f"if the other values mark missing values, map it: `{guess.column.name}: {expression}`"
        )
    if len(notes) > MAX_NOTES:
        return [*notes[:MAX_NOTES], f"and {len(notes) - MAX_NOTES} more columns like these"]
    return notes

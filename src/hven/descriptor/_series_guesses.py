"""What ``hven new`` proposes of samples in time: a data set of HAPI and das2, by what the source says of its columns."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.descriptor._guesses import quoted
from hven.descriptor._yaml_text import flow, scalar
from hven.model import units
from hven.model.literal import figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from hven.descriptor._guesses import Guess, Seen
    from hven.model.table import SampleFacts

SECONDS_A_DAY = 86_400.0
MOST_NOTES = 6
_REGULAR = 0.8  # the share of intervals that are alike, for a cadence
_ALIKE = 0.1  # how much they may differ


def propose_series(facts: SampleFacts, guesses: Sequence[Guess], times: pa.Array, dataset: str | None) -> list[str]:
    """Write the key ``series`` of a draft; empty: the table has no column of these times.

    Parameters
    ----------
    facts
        What the source says.
    guesses
        The columns of the table.
    times
        The first times: days.
    dataset
        The name under which archives know the data.
    """
    names = {item.source: item.column.name for item in guesses if item.source}
    if facts.time not in names:
        return []
    data = [names[name] for name in facts.data if name in names]
    said: dict[str, Any] = {"id": re.sub(r"[^A-Za-z0-9_.-]+", "_", dataset)} if dataset else {}
    said["time"] = names[facts.time]
    centers = {
        axis.centers for name in facts.data for axis in facts.axes.get(name, ()) if isinstance(axis.centers, str)
    }
    shown = [*data, *(names[name] for name in sorted(centers) if name in names and names[name] not in data)]
    if len(shown) < len(names) - 1:
        said["parameters"] = shown
    if cadence := _find_cadence(times):
        said["cadence"] = cadence
    bins = {
        names[name]: [
            _describe_axis(axis.name, axis.unit, axis.label, axis.centers, names) for axis in facts.axes[name]
        ]
        for name in facts.data
        if name in facts.axes and name in names
    }
    if bins:
        said["bins"] = {name: axes[0] if len(axes) == 1 else axes for name, axes in bins.items()}
    vectors = {names[name]: system for name, system in facts.systems.items() if name in names}
    if vectors:
        said["vectors"] = vectors
    lines = ["    series:  # guessed: by VAR_TYPE, DISPLAY_TYPE and DEPEND_n of the file; HAPI and das2 serve it"]
    for key, value in said.items():
        text = flow(value) if isinstance(value, dict | list) else scalar(value)
        lines.append(f"      {key}: {text}" + ("  # guessed: by the first times" if key == "cadence" else ""))
    return lines


def _describe_axis(
    name: str, unit: str | None, label: str | None, centers: Sequence[float] | str, names: Mapping[str, str]
) -> dict[str, Any]:
    values = names.get(centers, centers) if isinstance(centers, str) else list(centers)
    found = {"name": name, "unit": units.meant(unit), "label": label, "centers": values}
    return {key: value for key, value in found.items() if value}


def _find_cadence(times: pa.Array) -> str:
    """Tell the time between two samples, if most are as far from each other; empty: they are not."""
    days = np.asarray(times.drop_null(), np.float64)
    steps = np.diff(days) * SECONDS_A_DAY
    steps = steps[steps > 0]
    if len(steps) < 2:
        return ""
    middle = float(np.median(steps))
    if np.mean(np.abs(steps - middle) <= _ALIKE * middle) < _REGULAR:
        return ""
    return f"{float(f'{middle:.3g}'):g} s"


def describe_outliers(facts: SampleFacts, guesses: Sequence[Guess], seen: Mapping[str, Seen]) -> list[str]:
    """Tell which columns have values outside of what the source calls valid (VALIDMIN, VALIDMAX), and how they become missing."""
    notes = []
    for item in guesses:
        low, high = facts.valid.get(item.source, (None, None))
        found = seen.get(item.source)
        if found is None or found.minimum is None:
            continue
        if (low is not None and found.minimum < low) or (high is not None and found.maximum > high):
            name = quoted(item.source)
            limits = [
                f"{name} >= {figure(low)}" if low is not None else "",
                f"{name} <= {figure(high)}" if high is not None else "",
            ]
            test = " AND ".join(filter(None, limits))
            notes.append(
                f"{item.column.name} reaches from {figure(found.minimum)} to {figure(found.maximum)}, and the source calls {test} valid: "
                f"if the others stand for no value, map it: `{item.column.name}: CASE WHEN {test} THEN {name} END`"
            )
    return [
        *notes[:MOST_NOTES],
        *([f"and {len(notes) - MOST_NOTES} more columns like these"] if len(notes) > MOST_NOTES else []),
    ]

"""The groups of checks, in the order they are made: each is a file beside this one with its table of checks."""

from __future__ import annotations

from hven.lint.groups import (
    capabilities,
    consistency,
    epncore,
    errors,
    examples,
    footprints,
    heliophysics,
    jobs,
    metadata,
    obscore,
    outputs,
    queries,
    radio,
    schema,
    vosi,
)

GROUPS = (
    vosi.GROUP,
    capabilities.GROUP,
    schema.GROUP,
    consistency.GROUP,
    metadata.GROUP,
    queries.GROUP,
    errors.GROUP,
    outputs.GROUP,
    jobs.GROUP,
    examples.GROUP,
    epncore.GROUP,
    obscore.GROUP,
    radio.GROUP,
    footprints.GROUP,
    heliophysics.GROUP,
)

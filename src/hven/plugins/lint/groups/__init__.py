"""The groups of checks, in the order in which they run. Each group is a module of this package."""

from __future__ import annotations

from hven.plugins.lint.groups import (
    capabilities,
    epncore,
    error_documents,
    examples,
    footprints,
    jobs,
    metadata,
    obscore,
    output_formats,
    queries,
    radio,
    schema,
    table_consistency,
    vosi,
)

CHECK_GROUPS = (
    vosi.GROUP,
    capabilities.GROUP,
    schema.GROUP,
    table_consistency.GROUP,
    metadata.GROUP,
    queries.GROUP,
    error_documents.GROUP,
    output_formats.GROUP,
    jobs.GROUP,
    examples.GROUP,
    epncore.GROUP,
    obscore.GROUP,
    radio.GROUP,
    footprints.GROUP,
)

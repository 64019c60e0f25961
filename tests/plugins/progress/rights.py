"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

from __future__ import annotations

QUERY_STRINGS = {"/progress/{name}": ["", "year=2001"]}
TABLE_KEYS = {
    "progress": "    progress: {column: category, stages: [SCIENCE, CALIB], by: [project, pi], calendar: release}\n"
}

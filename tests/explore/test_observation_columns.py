"""Which tables can have rows that are files of observations, as their columns tell."""

from __future__ import annotations

import pytest

from hven.model.table import Column, Table
from hven.model.types import STRING
from hven.services.file_rows import can_have_observation_columns

NAME = Column(name="obs_id", type=STRING)
FILE = Column(name="access_url", type=STRING, ucd="meta.ref.url")
KEY = Column(name="key", type=STRING)


@pytest.mark.parametrize(
    ("columns", "primary", "observation", "expected"),
    [
        ((KEY, NAME, FILE), ("key",), None, True),
        ((KEY, NAME, FILE), (), None, False),
        ((KEY, NAME), ("key",), None, False),
        ((KEY, FILE), ("key",), None, False),
        ((KEY,), ("key",), ("key",), True),
    ],
)
def test_columns_alone_rule_observations_out(
    columns: tuple[Column, ...], primary: tuple[str, ...], observation: tuple[str, ...] | None, expected: bool
) -> None:
    """Then no visible rows need to be counted."""
    table = Table(schema="s", name="t", columns=columns, primary=primary, observation=observation)
    assert can_have_observation_columns(table) is expected

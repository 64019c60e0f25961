"""Fixtures for tests of the system state, which Hven creates here without templates."""

from __future__ import annotations

import pytest

import state_templates
from hven.site.store._database import StateDatabase


@pytest.fixture(autouse=True)
def fresh_states(monkeypatch):
    """Create each state with the code of Hven only."""
    monkeypatch.setattr(StateDatabase, "_open_or_create", state_templates.make_state)

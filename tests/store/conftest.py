"""States are made here as everywhere, not copied: how that is done is what these tests try."""

from __future__ import annotations

import pytest

import state_templates
from hven.site.store._database import StateDatabase


@pytest.fixture(autouse=True)
def uncopied_states(monkeypatch):
    """Open each state with the code of Hven alone."""
    monkeypatch.setattr(StateDatabase, "_open_or_create", state_templates.make_state)

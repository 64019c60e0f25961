"""Fixtures of all tests."""

from __future__ import annotations

import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

# the helpers beside the tests (shared.py, ...) are plain modules
sys.path.insert(0, str(Path(__file__).parent))

# speed is measured in bench/: a busy machine must not fail a test of correctness
settings.register_profile("hven", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("hven")

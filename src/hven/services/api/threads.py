"""The threads in which answers are computed, and turns for work that takes long."""

from __future__ import annotations

from hven.services._threads import call_in_thread, hold_turn

__all__ = ["call_in_thread", "hold_turn"]

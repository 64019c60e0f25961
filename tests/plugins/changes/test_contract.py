"""The feed of changes keeps the contract of services."""

from __future__ import annotations

from hven.testing.face import FaceContract


class TestChanges(FaceContract):
    name = "changes"

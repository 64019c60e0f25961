"""Secrets of sources: names in a descriptor, values in the environment or in ``secrets.toml`` beside hven.toml."""

from __future__ import annotations

from hven.model.settings import SECRETS as FILE
from hven.model.settings import secret

__all__ = ["FILE", "secret"]

"""Steps that a plug-in package adds to each run over a collection."""

from __future__ import annotations

from hven.ingest._ingest_steps import PluginIngestStep

__all__ = ["PluginIngestStep"]

"""Keep the DOI of a collection that is removed, so that its page stays as a tombstone."""

from __future__ import annotations

from hven.ingest.api.steps import PluginIngestStep
from hven.plugins.registry.doi_minting import record_tombstone_citation

STEP = PluginIngestStep(before_removal=record_tombstone_citation)

"""Publish what a plug-in package changes in rows or files that the site itself keeps."""

from __future__ import annotations

from hven.ingest._ingest_pipeline import create_run_id
from hven.ingest._ledger import OpenedSource
from hven.ingest._report import IngestReport, RuleFinding
from hven.ingest._rules import ERROR_SEVERITY
from hven.ingest._staged_site import StagedSite, load_current_descriptor
from hven.ingest.sync._change_publication import CollectionChange, publish_collection_change

__all__ = [
    "ERROR_SEVERITY",
    "CollectionChange",
    "IngestReport",
    "OpenedSource",
    "RuleFinding",
    "StagedSite",
    "create_run_id",
    "load_current_descriptor",
    "publish_collection_change",
]

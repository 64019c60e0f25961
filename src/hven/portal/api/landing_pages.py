"""The pages of collections and releases: what packages add to them, and what they are made from."""

from __future__ import annotations

from hven.portal._pages import record_to_dict
from hven.portal._views.citation import gather_citation_metadata
from hven.portal._views.dataset_metadata import build_all_rows_query_address
from hven.portal._views.landing_pages import LandingPageExtension, LinkedDocument
from hven.portal._views.page_formats import build_cache_control

__all__ = [
    "LandingPageExtension",
    "LinkedDocument",
    "build_all_rows_query_address",
    "build_cache_control",
    "gather_citation_metadata",
    "record_to_dict",
]

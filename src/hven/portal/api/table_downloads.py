"""Downloads of the rows of a table and of their files, and citations."""

from __future__ import annotations

from hven.portal._explore.row_files import build_link_query, count_files_and_bytes
from hven.portal._views.dataset_metadata import CitationText
from hven.portal._views.downloads import (
    DOWNLOAD_PARAMETERS,
    FORMAT_PARAMETER,
    QUERY_TIMEOUT_SECONDS,
    DownloadOptions,
    build_file_stem,
    build_streaming_endpoint,
    expand_search_to_all_columns_if_asked,
    list_archive_and_script_kinds,
    list_file_addresses,
    require_faultless_search,
    write_client_query_examples,
)

__all__ = [
    "DOWNLOAD_PARAMETERS",
    "FORMAT_PARAMETER",
    "QUERY_TIMEOUT_SECONDS",
    "CitationText",
    "DownloadOptions",
    "build_file_stem",
    "build_link_query",
    "build_streaming_endpoint",
    "count_files_and_bytes",
    "expand_search_to_all_columns_if_asked",
    "list_archive_and_script_kinds",
    "list_file_addresses",
    "require_faultless_search",
    "write_client_query_examples",
]

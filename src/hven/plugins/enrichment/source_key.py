"""The key ``enrich`` of sources in descriptors."""

from __future__ import annotations

from hven.plugins.enrichment.enrichment_options import DocumentEnrichmentOptions
from hven.plugins.enrichment.row_documents import RowDocuments
from hven.sources.source_keys import SourceDescriptorKey

ENRICH = SourceDescriptorKey(
    options_class=DocumentEnrichmentOptions,
    doc="documents that belong to the rows, one for each row: FITS headers, labels, records",
    example="{url: .., id: .., columns: ..}",
    noun="documents",
    open_addition=RowDocuments,
)

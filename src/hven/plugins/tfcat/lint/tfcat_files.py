"""Validate catalogues of TFCat for `hven lint`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.model.errors import SourceError
from hven.plugins.lint.file_reports import FileLintReport
from hven.plugins.tfcat import source as tfcat_source
from hven.sources import RejectedRow, SourceContext

if TYPE_CHECKING:
    from pathlib import Path


def validate_file(path: Path) -> FileLintReport:
    """Validate a catalogue of features: the document, then each feature.

    Parameters
    ----------
    path
        Path of the file; a file of another kind is a wrong catalogue.

    Returns
    -------
    report
        The features that are wrong.
    """
    rejects: list[RejectedRow] = []
    accepted_count = 0
    document_error = ""
    try:
        options = tfcat_source.Options.model_validate({"files": path.name})
        source = tfcat_source.open(options, SourceContext(directory=path.parent, on_reject=rejects.append))
        accepted_count = sum(batch.num_rows for batch in source.read_batches())
    except SourceError as error:
        document_error = str(error)
    feature_count = accepted_count + len(rejects)
    return FileLintReport(item_name="feature", item_count=feature_count, rejects=rejects, document_error=document_error)

"""Descriptors: read the YAML that a curator writes, and report all its faults at once with file, line and column."""

from hven.descriptor._completeness import (
    FAIR_GROUPS,
    CompletenessScore,
    MissingMetadata,
    PublishedTableInfo,
    list_missing_metadata,
    score_collection,
)
from hven.descriptor._endpoint_loading import find_path_faults
from hven.descriptor._file_contents import PARSED_SUFFIXES, FileContents, FileState
from hven.descriptor._loading import check_and_read_descriptor, check_descriptor, load_descriptor, load_standard
from hven.descriptor._registry_keys import find_identifier_faults
from hven.descriptor._schema import build_json_schema
from hven.descriptor._subject_terms import TermList, find_subject_faults, normalize_term, read_terms
from hven.descriptor._text_editing import read_texts, replace_texts
from hven.descriptor._time_series_loading import find_series_id_faults

__all__ = [
    "FAIR_GROUPS",
    "PARSED_SUFFIXES",
    "CompletenessScore",
    "FileContents",
    "FileState",
    "MissingMetadata",
    "PublishedTableInfo",
    "TermList",
    "build_json_schema",
    "check_and_read_descriptor",
    "check_descriptor",
    "find_identifier_faults",
    "find_path_faults",
    "find_series_id_faults",
    "find_subject_faults",
    "list_missing_metadata",
    "load_descriptor",
    "load_standard",
    "normalize_term",
    "read_terms",
    "read_texts",
    "replace_texts",
    "score_collection",
]

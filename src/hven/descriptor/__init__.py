"""Descriptors: read the YAML that a curator writes, and report all its faults at once with file, line and column."""

from hven.descriptor._completeness import (
    FAIR_GROUPS,
    CompletenessScore,
    MissingMetadata,
    PublishedTableInfo,
    list_missing_metadata,
    score_collection_metadata,
)
from hven.descriptor._file_contents import PARSED_SUFFIXES, DescriptorFileContent, DescriptorFileReader
from hven.descriptor._loading import (
    check_and_read_descriptor,
    check_descriptor,
    load_descriptor,
    load_standard_descriptor,
)
from hven.descriptor._package_keys import find_package_key_conflicts
from hven.descriptor._personal_keys import remove_personal_values
from hven.descriptor._registry_keys import find_identifier_conflicts
from hven.descriptor._schema import build_descriptor_json_schema
from hven.descriptor._subject_terms import (
    SubjectTermList,
    find_subject_faults,
    normalize_subject_term,
    read_subject_terms,
)

__all__ = [
    "FAIR_GROUPS",
    "PARSED_SUFFIXES",
    "CompletenessScore",
    "DescriptorFileContent",
    "DescriptorFileReader",
    "MissingMetadata",
    "PublishedTableInfo",
    "SubjectTermList",
    "build_descriptor_json_schema",
    "check_and_read_descriptor",
    "check_descriptor",
    "find_identifier_conflicts",
    "find_package_key_conflicts",
    "find_subject_faults",
    "list_missing_metadata",
    "load_descriptor",
    "load_standard_descriptor",
    "normalize_subject_term",
    "read_subject_terms",
    "remove_personal_values",
    "score_collection_metadata",
]

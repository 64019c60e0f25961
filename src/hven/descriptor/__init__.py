"""The file a curator writes -> a Resource, all mistakes at once with file:line:column."""

from hven.descriptor._completeness import GROUPS, Lack, Score, Shown, lacks, score
from hven.descriptor._data_sets import wrong_ids
from hven.descriptor._file_contents import PARSED_SUFFIXES, FileContents, FileState
from hven.descriptor._loading import check, checked, load, load_standard
from hven.descriptor._old_queries import wrong_paths
from hven.descriptor._registry_keys import claimed
from hven.descriptor._schema import schema
from hven.descriptor._subject_terms import Terms, read_terms, term, unknown_subjects
from hven.descriptor._text_editing import read_texts, with_texts

__all__ = [
    "GROUPS",
    "PARSED_SUFFIXES",
    "FileContents",
    "FileState",
    "Lack",
    "Score",
    "Shown",
    "Terms",
    "check",
    "checked",
    "claimed",
    "lacks",
    "load",
    "load_standard",
    "read_terms",
    "read_texts",
    "schema",
    "score",
    "term",
    "unknown_subjects",
    "with_texts",
    "wrong_ids",
    "wrong_paths",
]

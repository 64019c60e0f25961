"""Subjects in the words of a thesaurus.

A list of terms that the operator has, as the IVOA publishes that of the UAT, which its licence keeps out of the
package.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple

from hven.descriptor._completeness import parse_descriptor_tree
from hven.descriptor.written_yaml import LocatedYamlScalar
from hven.model.errors import Fault, TextPlace, UsageError, suggest_spelling

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hven.model.resource import CollectionSpec
    from hven.model.settings import Settings

MAX_LIST_BYTES = 32 << 20  # bytes of a list; the UAT has 2,300 terms in less than one
TERM_LIST_REMEDY = (
    "download the UAT's list: curl -H 'Accept: application/x-desise+json' -L https://www.ivoa.net/rdf/uat -o "
    "uat.json; or write a text file with a term on each line"
)


class SubjectTermList(NamedTuple):
    """A list of terms.

    Attributes
    ----------
    name
        Name of the file.
    replacement_hints
        Term -> which term to use instead, if it is deprecated; None: it is in use.
    """

    name: str
    replacement_hints: Mapping[str, str | None]


def normalize_subject_term(subject: str) -> str:
    """Write a subject as the UAT's vocabulary at the IVOA does: of ``Solar physics`` ``solar-physics``.

    Parameters
    ----------
    subject
        As a descriptor has it.

    Returns
    -------
    term
        The term in lower case.
    """
    return re.sub(r"[\s_]+", "-", subject.strip().lower())


def read_subject_terms(path: Path) -> SubjectTermList:
    """Read a list of terms.

    The file is desise, the JSON in which the IVOA publishes its vocabularies, or a text with a term or a label on each
    line.

    Parameters
    ----------
    path
        Path of the file.

    Returns
    -------
    terms
        At least one.

    Raises
    ------
    UsageError
        It cannot be read, or is something else.
    """
    try:
        if path.stat().st_size > MAX_LIST_BYTES:
            raise UsageError(
                f"{path} is not a list of terms: it is larger than {MAX_LIST_BYTES >> 20} MB", remedy=TERM_LIST_REMEDY
            )
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {(error.strerror or str(error)).lower()}", remedy=TERM_LIST_REMEDY
        ) from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not a list of terms: it is not text", remedy=TERM_LIST_REMEDY) from None
    if not text.lstrip().startswith(("{", "[", "<")):
        lines = (line.partition("#")[0].strip() for line in text.splitlines())
        replacement_hints: dict[str, str | None] = {normalize_subject_term(line): None for line in lines if line}
    else:
        try:
            term_records = json.loads(text)["terms"]
            replacement_hints = {
                normalize_subject_term(word): _suggest_replacement_term(term_record)
                for word, term_record in term_records.items()
            }
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UsageError(
                f"{path} is not a list of terms in the IVOA's JSON format (desise)", remedy=TERM_LIST_REMEDY
            ) from None
    if not replacement_hints:
        raise UsageError(f"{path} contains no terms", remedy=TERM_LIST_REMEDY)
    return SubjectTermList(path.name, replacement_hints)


def _suggest_replacement_term(term_record: Mapping[str, object]) -> str | None:
    """Return what to say of a term that is deprecated."""
    if "deprecated" not in term_record:
        return None
    replacement_terms = term_record.get("useInstead") or ()
    if isinstance(replacement_terms, str):
        words = [replacement_terms]
    elif isinstance(replacement_terms, list):
        words = [str(word) for word in replacement_terms if word]
    else:
        words = []
    if words:
        return f"write {' or '.join(words)}"
    return "choose another term"


def find_subject_faults(resource: CollectionSpec, settings: Settings, terms: SubjectTermList) -> list[Fault]:
    """Look the subjects of a collection up in a list.

    Parameters
    ----------
    resource
        The collection.
    settings
        Settings of the site.
    terms
        The list.

    Returns
    -------
    faults
        A warning for each that is not in it, or is there as one of former times: at its place, with the term that is
        like it.
    """
    tree = parse_descriptor_tree(resource, settings)
    written = tree.get("subjects") if tree is not None else None  # type: ignore[call-overload]
    if isinstance(written, list | tuple):
        nodes = written
    else:
        nodes = [written]
    places = {str(node): node.place for node in nodes if isinstance(node, LocatedYamlScalar)}
    first = next(iter(places.values()), TextPlace(file=str(resource.path), line=1))
    faults = []
    for word in resource.subjects:
        replacement_hint = terms.replacement_hints.get(normalize_subject_term(word), "")
        if replacement_hint is None:
            continue
        if replacement_hint:
            message_end = f"is no longer used in {terms.name}"
        else:
            message_end = f"is not a term of {terms.name}"
        remedy = (
            replacement_hint
            or suggest_spelling(normalize_subject_term(word), terms.replacement_hints)
            or "look for it at https://astrothesaurus.org"
        )
        place = places.get(word, first)
        faults.append(
            Fault(message=f"subjects: {word!r} {message_end}", place=place, remedy=remedy, severity="warning")
        )
    return faults

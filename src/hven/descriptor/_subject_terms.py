"""Subjects in the words of a thesaurus: a list of terms that the operator has, as the IVOA publishes that of the UAT, which its licence keeps out of the package."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple

from hven.descriptor._completeness import tree_of
from hven.descriptor.written import Written
from hven.model.errors import Fault, Place, UsageError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hven.model.resource import Resource
    from hven.model.settings import Settings

LARGEST = 32 << 20  # bytes of a list; the UAT has 2,300 terms in less than one
REMEDY = "the UAT's list: curl -H 'Accept: application/x-desise+json' -L https://www.ivoa.net/rdf/uat -o uat.json; or a text file with a term on each line"


class Terms(NamedTuple):
    """A list of terms.

    Attributes
    ----------
    name
        Of the file.
    known
        Term -> what is said of it where it is not to be used any more; None: it is fine.
    """

    name: str
    known: Mapping[str, str | None]


def term(subject: str) -> str:
    """Write a subject as the UAT's vocabulary at the IVOA does: of ``Solar physics`` ``solar-physics``.

    Parameters
    ----------
    subject
        As a descriptor has it.

    Returns
    -------
    term
        In small letters.
    """
    return re.sub(r"[\s_]+", "-", subject.strip().lower())


def read_terms(path: Path) -> Terms:
    """Read a list of terms: desise, the JSON in which the IVOA publishes its vocabularies, or a text with a term or a label on each line.

    Parameters
    ----------
    path
        Of the file.

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
        if path.stat().st_size > LARGEST:
            raise UsageError(f"{path} is no list of terms: it has more than {LARGEST >> 20} MB", remedy=REMEDY)
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}", remedy=REMEDY) from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is no list of terms: it is no text", remedy=REMEDY) from None
    if not text.lstrip().startswith(("{", "[", "<")):
        lines = (line.partition("#")[0].strip() for line in text.splitlines())
        known: dict[str, str | None] = {term(line): None for line in lines if line}
    else:
        try:
            listed = json.loads(text)["terms"]
            known = {term(word): _retired(said) for word, said in listed.items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UsageError(f"{path} is no list of terms in the IVOA's JSON (desise)", remedy=REMEDY) from None
    if not known:
        raise UsageError(f"{path} has no terms", remedy=REMEDY)
    return Terms(path.name, known)


def _retired(said: Mapping[str, object]) -> str | None:
    """Return what to say of a term that is deprecated."""
    if "deprecated" not in said:
        return None
    instead = said.get("useInstead") or ()
    words = [instead] if isinstance(instead, str) else [str(one) for one in instead if one] if isinstance(instead, list) else []  # fmt: skip
    return f"write {' or '.join(words)}" if words else "choose another one"


def unknown_subjects(resource: Resource, settings: Settings, terms: Terms) -> list[Fault]:
    """Look the subjects of a collection up in a list.

    Parameters
    ----------
    resource
        The collection.
    settings
        Of the site.
    terms
        The list.

    Returns
    -------
    faults
        A warning for each that is not in it, or is there as one of former times: at its place, with the term that is like it.
    """
    tree = tree_of(resource, settings)
    written = tree.get("subjects") if tree is not None else None  # type: ignore[call-overload]
    nodes = written if isinstance(written, list | tuple) else [written]
    places = {str(node): node.place for node in nodes if isinstance(node, Written)}
    first = next(iter(places.values()), Place(file=str(resource.path), line=1))
    found = []
    for word in resource.subjects:
        retired = terms.known.get(term(word), "")
        if retired is None:
            continue
        said = f"is not used any more in {terms.name}" if retired else f"is no term of {terms.name}"
        remedy = retired or nearest(term(word), terms.known) or "look for it at https://astrothesaurus.org"
        place = places.get(word, first)
        found.append(Fault(message=f"subjects: {word!r} {said}", place=place, remedy=remedy, severity="warning"))
    return found


__all__ = ["Terms", "read_terms", "term", "unknown_subjects"]

"""Finding collections, tables and columns by words: in names, titles, descriptions, UCDs; what is found in a title comes first."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from hven.model import Cache
from hven.portal._explore.value_index import fold

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hven.model.resource import Resource
    from hven.model.table import Column, Schema, Table

MOST = 100
_WHOLE: Cache[tuple[Schema, Resource, str]] = Cache(16 * 1024**2)
WEIGHTS = {"name": 8.0, "title": 6.0, "subject": 5.0, "ucd": 4.0, "unit": 1.0, "description": 2.0, "people": 3.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A collection (no `table`), a table (no `column`) or a column that has all of the words, by itself or in what it belongs to."""

    schema: Schema
    table: Table | None = None
    column: Column | None = None
    score: float = 0.0


def find(words: str, schemas: Sequence[Schema], resources: Mapping[str, Resource], *, most: int = MOST) -> list[Hit]:
    """Find what has all of some words in it, the best first. Capitals and accents do not matter.

    Parameters
    ----------
    schemas
        What the reader may know of: nothing else is looked at.
    """
    wanted = _plain(words).split()[:20]
    if not wanted:
        return []
    found: list[Hit] = []
    for schema in schemas:
        resource = resources.get(schema.name)
        if resource is None or not all(word in _everything(schema, resource) for word in wanted):
            continue
        above = _collection(schema, resource)
        score = _score(wanted, above)
        if score:
            found.append(Hit(schema=schema, score=score * 3))
        for table in schema.tables:
            there = [("name", table.name), ("title", table.title or ""), ("description", table.description or "")]
            score = _score(wanted, there, above)
            if score:
                found.append(Hit(schema=schema, table=table, score=score * 2))
            near = [("title", table.title or table.name), ("title", resource.title or schema.name)]
            for column in table.columns:
                if column.hidden:
                    continue
                score = _score(wanted, _column(column), near)
                if score:
                    found.append(Hit(schema=schema, table=table, column=column, score=score))
    return sorted(found, key=lambda hit: -hit.score)[:most]


def said(schemas: Sequence[Schema], resources: Mapping[str, Resource]) -> dict[str, str]:
    """Return what titles and subjects say of each table and its collection, by qualified name: words of a search may be there, too."""
    found = {}
    for schema in schemas:
        resource = resources.get(schema.name)
        if resource is None:
            continue
        above = " ".join(text for kind, text in _collection(schema, resource) if kind != "description")
        for table in schema.tables:
            found[table.qualified] = _squeezed(f"{above} {table.name} {table.title or ''}")
    return found


@lru_cache(maxsize=4096)
def _squeezed(text: str) -> str:
    return fold(text)


def _everything(schema: Schema, resource: Resource) -> str:
    """Return all that is said of a collection as one text, so that most of them are passed over at one look."""
    key = (id(schema), id(resource))
    known = _WHOLE.find(key)
    if known is None or known[0] is not schema or known[1] is not resource:
        texts = [text for _, text in _collection(schema, resource)]
        for table in schema.tables:
            texts += [table.name, table.title or "", table.description or ""]
            texts += [text for column in table.columns if not column.hidden for _, text in _column(column)]
        known = (schema, resource, _plain(" ".join(texts)))
        _WHOLE.keep(key, known, len(known[2]) + 500)
    return known[2]


def _collection(schema: Schema, resource: Resource) -> list[tuple[str, str]]:
    many = (("subject", (*resource.subjects, *resource.facility, *resource.instrument, *resource.waveband)), ("people", tuple(one.name for one in resource.creators)))  # fmt: skip
    return [
        ("name", schema.name),
        ("title", resource.title or ""),
        ("description", resource.description or ""),
        ("people", " ".join(filter(None, (resource.bibcode, resource.doi)))),
        *((kind, value) for kind, values in many for value in values),
    ]


def _column(column: Column) -> list[tuple[str, str]]:
    return [
        ("name", column.name),
        ("title", column.label or ""),
        ("ucd", column.ucd or ""),
        ("unit", column.unit or ""),
        ("description", column.description or ""),
    ]


def _score(wanted: Sequence[str], own: Iterable[tuple[str, str]], above: Iterable[tuple[str, str]] = ()) -> float:
    """Weigh where the words are: each must be somewhere, and at least one in what is its own."""
    mine = [(WEIGHTS[kind], _folded(text)) for kind, text in own if text]
    others = [_folded(text) for _, text in above if text]
    total, hits = 0.0, 0
    for word in wanted:
        best = max((weight * _fit(word, text) for weight, text in mine), default=0.0)
        if best:
            hits += 1
            total += best
        elif any(word in text for text in others):
            total += 0.5
        else:
            return 0.0
    return total if hits else 0.0


def _fit(word: str, text: str) -> float:
    """Return how well a word is found: a whole text, a beginning of a word, or somewhere inside."""
    if word == text:
        return 2.0
    at = text.find(word)
    if at < 0:
        return 0.0
    return 1.0 if at == 0 or not text[at - 1].isalnum() else 0.4


@lru_cache(maxsize=65_536)
def _folded(text: str) -> str:
    return _plain(text)


def _plain(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text)
    return "".join(sign for sign in plain if not unicodedata.combining(sign)).casefold()

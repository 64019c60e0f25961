"""Find collections, tables and columns by words in names, titles, descriptions and UCDs; titles weigh most."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from hven.model import LruCache
from hven.model.table import LocalizedText
from hven.plugins.discovery.value_index import normalize_search_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hven.model.resource import CollectionSpec
    from hven.model.table import Column, Schema, Table

MAX_HITS = 100
_COLLECTION_TEXTS: LruCache[tuple[Schema, CollectionSpec, str]] = LruCache(16 * 1024**2)
FIELD_WEIGHTS = {"name": 8.0, "title": 6.0, "subject": 5.0, "ucd": 4.0, "unit": 1.0, "description": 2.0, "people": 3.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataHit:
    """A collection (no `table`), a table (no `column`) or a column whose texts contain all words of a search.

    Some of the words may be in the texts of its table or collection.
    """

    schema: Schema
    table: Table | None = None
    column: Column | None = None
    score: float = 0.0


def find_metadata(
    words: str, schemas: Sequence[Schema], resources: Mapping[str, CollectionSpec], *, max_hits: int = MAX_HITS
) -> list[MetadataHit]:
    """Find collections, tables and columns with all words of a search, the best first, regardless of case and accents.

    Parameters
    ----------
    schemas
        The collections that the reader may see; no others are searched.
    """
    search_words = _fold_accents_and_case(words).split()[:20]
    if not search_words:
        return []
    hits: list[MetadataHit] = []
    for schema in schemas:
        resource = resources.get(schema.name)
        if resource is None:
            continue
        collection_text = _join_collection_texts(schema, resource)
        if not all(word in collection_text for word in search_words):
            continue
        collection_texts = _list_collection_texts(schema, resource)
        score = _score_texts(search_words, collection_texts)
        if score:
            hits.append(MetadataHit(schema=schema, score=score * 3))
        for table in schema.tables:
            table_texts = [
                ("name", table.name),
                ("title", _join_languages(table.title)),
                ("description", _join_languages(table.description)),
            ]
            score = _score_texts(search_words, table_texts, collection_texts)
            if score:
                hits.append(MetadataHit(schema=schema, table=table, score=score * 2))
            context_texts = [("title", table.title or table.name), ("title", resource.title or schema.name)]
            for column in table.columns:
                if column.hidden:
                    continue
                score = _score_texts(search_words, _list_column_texts(column), context_texts)
                if score:
                    hits.append(MetadataHit(schema=schema, table=table, column=column, score=score))
    return sorted(hits, key=lambda hit: -hit.score)[:max_hits]


def collect_table_texts(schemas: Sequence[Schema], resources: Mapping[str, CollectionSpec]) -> dict[str, str]:
    """Return the names, titles and subjects of each table and its collection, by qualified name.

    A search for data also finds its words there.
    """
    texts_by_table = {}
    for schema in schemas:
        resource = resources.get(schema.name)
        if resource is None:
            continue
        kinds_and_texts = _list_collection_texts(schema, resource)
        collection_text = " ".join(text for kind, text in kinds_and_texts if kind != "description")
        for table in schema.tables:
            table_text = f"{collection_text} {table.name} {table.title or ''}"
            texts_by_table[table.qualified_name] = _normalize_search_text_cached(table_text)
    return texts_by_table


@lru_cache(maxsize=4096)
def _normalize_search_text_cached(text: str) -> str:
    return normalize_search_text(text)


def list_visible_texts(schemas: Sequence[Schema], resources: Mapping[str, CollectionSpec]) -> list[str]:
    """List the texts of collections with those of their tables and columns, in all languages, one text for each.

    Parameters
    ----------
    schemas
        The collections that the reader may see.
    """
    return [_join_collection_texts(schema, resources[schema.name]) for schema in schemas if schema.name in resources]


def _join_collection_texts(schema: Schema, resource: CollectionSpec) -> str:
    """Return all texts of a collection as one, so that a search can skip most collections at once."""
    key = (id(schema), id(resource))
    cached_texts = _COLLECTION_TEXTS.find(key)
    if cached_texts is None or cached_texts[0] is not schema or cached_texts[1] is not resource:
        texts = [text for _, text in _list_collection_texts(schema, resource)]
        for table in schema.tables:
            texts += [table.name, _join_languages(table.title), _join_languages(table.description)]
            for column in table.columns:
                if not column.hidden:
                    texts += [text for _, text in _list_column_texts(column)]
        cached_texts = (schema, resource, _fold_accents_and_case(" ".join(texts)))
        _COLLECTION_TEXTS.store(key, cached_texts, len(cached_texts[2]) + 500)
    return cached_texts[2]


def _join_languages(text: str | None) -> str:
    """Return a text in all its languages, so that readers find it in each of them."""
    if isinstance(text, LocalizedText):
        return " ".join(text.texts.values())
    return text or ""


def _list_collection_texts(schema: Schema, resource: CollectionSpec) -> list[tuple[str, str]]:
    list_fields = (
        ("subject", (*resource.subjects, *resource.facility, *resource.instrument, *resource.waveband)),
        ("people", tuple(creator.name for creator in resource.creators)),
    )
    return [
        ("name", schema.name),
        ("title", _join_languages(resource.title)),
        ("description", _join_languages(resource.description)),
        ("people", " ".join(filter(None, (resource.bibcode, resource.doi)))),
        *((kind, value) for kind, values in list_fields for value in values),
    ]


def _list_column_texts(column: Column) -> list[tuple[str, str]]:
    return [
        ("name", column.name),
        ("title", _join_languages(column.label)),
        ("ucd", column.ucd or ""),
        ("unit", column.unit or ""),
        ("description", _join_languages(column.description)),
    ]


def _score_texts(
    search_words: Sequence[str], own_texts: Iterable[tuple[str, str]], context_texts: Iterable[tuple[str, str]] = ()
) -> float:
    """Score the places of words: each must be in some text, and at least one in the own texts."""
    weighted_texts = [(FIELD_WEIGHTS[kind], _fold_accents_and_case_cached(text)) for kind, text in own_texts if text]
    folded_context = [_fold_accents_and_case_cached(text) for _, text in context_texts if text]
    total, hits = 0.0, 0
    for word in search_words:
        scores = [weight * _score_word(word, text) for weight, text in weighted_texts]
        best_weight = max(scores, default=0.0)
        if best_weight:
            hits += 1
            total += best_weight
        elif any(word in text for text in folded_context):
            total += 0.5
        else:
            return 0.0
    return total if hits else 0.0


def _score_word(word: str, text: str) -> float:
    """Score the match of a word: the whole text, the beginning of a word, or inside a word."""
    if word == text:
        return 2.0
    at = text.find(word)
    if at < 0:
        return 0.0
    if at == 0 or not text[at - 1].isalnum():
        return 1.0
    return 0.4


@lru_cache(maxsize=65_536)
def _fold_accents_and_case_cached(text: str) -> str:
    return _fold_accents_and_case(text)


def _fold_accents_and_case(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(sign for sign in decomposed if not unicodedata.combining(sign)).casefold()

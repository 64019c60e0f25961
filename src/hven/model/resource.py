"""Resource: a collection as its descriptor says it - metadata, tables, sources and mappings - and its parts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hven.errors import Place
    from hven.model.table import Column, Table
    from hven.model.types import Type


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A creator, contact or contributor (VOResource)."""

    name: str
    email: str | None = None
    orcid: str | None = None
    affiliation: str | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSpec:
    """One ``source:`` entry: its kind and its options, not opened yet."""

    kind: str
    options: Mapping[str, Any]
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How one target column gets its value.

    Attributes
    ----------
    how
        ``set`` (constant), ``text`` (template), ``map`` (ADQL expression), ``lookup``.
    value
        The text as written; for ``lookup`` a mapping (from, table, key, value, missing).
    """

    column: str
    how: str
    value: Any
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Granule:
    """One of several rows made from a source row: overrides of the settings above it, perhaps under a condition."""

    gid: str
    settings: tuple[Setting, ...]
    condition: tuple[str, Place] | None = None
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule that rows must meet: an ADQL condition; a row for which it is false breaks the rule, NULL passes."""

    name: str
    condition: str
    severity: str
    message: str | None = None
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A DataLink row as templates over the target columns."""

    semantics: str
    text: str
    type: str | None = None
    description: str | None = None
    size: str | None = None
    condition: tuple[str, Place] | None = None
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """A query with what it must answer: column -> value of the first row; ``rows`` -> how many."""

    name: str | None = None
    query: str
    expect: Mapping[str, Any]
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A query for readers to begin with (DALI 1.1 section 2.3): written in a descriptor, or made for a table that none shows.

    Attributes
    ----------
    name
        What it shows, in one line.
    description
        What to look at, as plain text.
    tables
        Names of the tables that it reads, as a query writes them; filled when it is shown to a reader.
    place
        Where it is written; None if it was made.
    """

    name: str
    query: str
    description: str | None = None
    tables: tuple[str, ...] = ()
    place: Place | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSpec:
    """One table of a descriptor: what it is (`table`) and how it is filled.

    Attributes
    ----------
    let
        Name -> ADQL expression over source columns and earlier names, in order of dependence.
    where
        ADQL condition over source rows.
    columns_declared
        True if the descriptor (or its standard) says the columns; False: they follow the source.
    follow
        True if the source's columns are taken too, and `table.columns` refine them or add some.
    given
        Column name -> attributes that the descriptor (or its standard) says; all others come from the source.
    sync
        Kept for *Sync*; so are `group_by` and `for_each`.
    """

    table: Table
    sources: tuple[SourceSpec, ...]
    settings: tuple[Setting, ...] = ()
    let: Mapping[str, tuple[str, Place]] = field(default_factory=dict)
    where: tuple[str, Place] | None = None
    granules: tuple[Granule, ...] = ()
    rules: tuple[Rule, ...] = ()
    links: tuple[Link, ...] = ()
    sync: Mapping[str, Any] = field(default_factory=dict)
    columns_declared: bool = True
    follow: bool = False
    declared: tuple[Column, ...] = ()
    given: Mapping[str, frozenset[str]] = field(default_factory=dict)
    places: Mapping[str, Place] = field(default_factory=dict)  # where each declared column stands
    frame: str | None = None
    group_by: tuple[str, ...] = ()
    for_each: tuple[str, ...] = ()
    max_rejects: float | None = None  # share of the rows; None: ingest's default
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonFunction:
    """A function in a ``.py`` file beside the descriptor: Arrow arrays in, one Arrow array of `type` out."""

    name: str
    path: Path
    type: Type
    unit: str | None = None
    ucd: str | None = None
    arguments: int | None = None  # None: any number
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A collection: one schema, its metadata, its tables (VOResource, VODataService).

    Attributes
    ----------
    hashes
        File name, relative to the descriptor's directory -> SHA-256, of every file that was read: the descriptor, its
        includes, function files, lookup files. Provenance; and ingest compares them again before it publishes.
    functions
        Python functions beside the descriptor that expressions may call.
    let
        Constants for templates and expressions.
    site
        What ``{site.url}``, ``{site.name}``, ``{site.title}``, ``{site.authority}`` stand for.
    """

    name: str
    title: str
    path: Path
    description: str | None = None
    access: str = "public"
    tables: tuple[TableSpec, ...] = ()
    services: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    creators: tuple[Person, ...] = ()
    contact: Person | None = None
    publisher: str | None = None
    licence: str | None = None
    licence_url: str | None = None
    citation: str | None = None
    bibcode: str | None = None
    doi: str | None = None
    reference_url: str | None = None
    facility: tuple[str, ...] = ()
    instrument: tuple[str, ...] = ()
    waveband: tuple[str, ...] = ()
    content_level: tuple[str, ...] = ()
    type: tuple[str, ...] = ()
    short_name: str | None = None
    created: str | None = None
    let: Mapping[str, Any] = field(default_factory=dict)
    tests: tuple[Test, ...] = ()
    examples: tuple[Example, ...] = ()
    hashes: Mapping[str, str] = field(default_factory=dict)
    functions: tuple[PythonFunction, ...] = ()
    site: Mapping[str, str] = field(default_factory=dict)
    index: int | None = None

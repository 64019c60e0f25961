"""Everything published here: an immutable picture, and TAP_SCHEMA made from it."""

from __future__ import annotations

from hven.site._blinding import blind
from hven.site._build import build
from hven.site._catalogue import Catalogue
from hven.site._deputies import delegate
from hven.site._engines import EMBEDDED, HINDERED, Engines
from hven.site._example_queries import examples
from hven.site._obscore import UnionView
from hven.site._overlay import inherited
from hven.site._people import people_of
from hven.site._picture import USER_SCHEMA, Holdings, Published
from hven.site._rights import Policies
from hven.site._site import Site
from hven.site._tally import Noted, Tally, Use, sends, using
from hven.site._tap_schema import NAME as TAP_SCHEMA
from hven.site.store._uses import COUNTS, Used

__all__ = [
    "COUNTS",
    "EMBEDDED",
    "HINDERED",
    "TAP_SCHEMA",
    "USER_SCHEMA",
    "Catalogue",
    "Engines",
    "Holdings",
    "Noted",
    "Policies",
    "Published",
    "Site",
    "Tally",
    "UnionView",
    "Use",
    "Used",
    "blind",
    "build",
    "delegate",
    "examples",
    "inherited",
    "people_of",
    "sends",
    "using",
]

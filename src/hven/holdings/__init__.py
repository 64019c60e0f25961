"""Everything published here: an immutable picture, and TAP_SCHEMA made from it."""

from __future__ import annotations

from hven.holdings.catalogue import Catalogue
from hven.holdings.engines import EMBEDDED, Engines
from hven.holdings.example_queries import examples
from hven.holdings.picture import USER_SCHEMA, Holdings, Published
from hven.holdings.site import Site
from hven.holdings.tap_schema import NAME as TAP_SCHEMA

__all__ = ["EMBEDDED", "TAP_SCHEMA", "USER_SCHEMA", "Catalogue", "Engines", "Holdings", "Published", "Site", "examples"]

"""Everything published here: an immutable picture, and TAP_SCHEMA made from it."""

from __future__ import annotations

from hven.site._catalogue import Catalogue
from hven.site._example_queries import examples
from hven.site._picture import USER_SCHEMA, Holdings, Published
from hven.site._site import Site
from hven.site._tap_schema import NAME as TAP_SCHEMA
from hven.site.engines import EMBEDDED, Engines

__all__ = ["EMBEDDED", "TAP_SCHEMA", "USER_SCHEMA", "Catalogue", "Engines", "Holdings", "Published", "Site", "examples"]

"""Tables of the system state: registry records, what they were made from, and DOIs."""

from __future__ import annotations

import sqlalchemy as sa

from hven.site.api.store_tables import PackageTableSet

TABLES = PackageTableSet()
registered = TABLES.define_table(  # records of the publishing registry: see `record_store`
    "registered",
    """
    id         text key       -- IVOID in lower case
    ivoid      text
    number     big            -- grows with each change: the order in which records are listed
    part       text index     -- the collection that it describes; empty: the site
    created    text
    changed    text index     -- here, in whole seconds
    deleted    int
    kind       text           -- its type: vs:CatalogService
    body       text
    dublin     text           -- the same record as Dublin Core
    """,
    sa.Index("ix_registered_number", "number"),
)
parts = TABLES.define_table(  # what the records of a collection were made from
    "registered_parts",
    """
    part text key
    made text
    """,
)
citations = TABLES.define_table(  # DOIs, and the reasons of withdrawals: see `doi_store`
    "citations",
    """
    id         text key       -- collection, @ and label of the release in small letters
    collection text index
    label      text           -- empty: the collection as a whole
    doi        text null unique
    state      text           -- reserved, draft, findable, withdrawn
    url        text           -- its landing page
    told       text           -- its metadata as they were last registered
    changed    text
    reason     text null      -- why it was withdrawn
    """,
)

"""Tables of the system state: the objects that SIMBAD has described, and since when it does not answer."""

from __future__ import annotations

from hven.site.api.store_tables import PackageTableSet

TABLES = PackageTableSet()
objects = TABLES.define_table(
    "resolver_objects",
    """
    main_name text key
    fetched   text index  -- ISO time, UTC
    facts     text        -- JSON
    """,
)
names = TABLES.define_table(  # all names of these objects
    "resolver_names",
    """
    name_key  text key
    main_name text index
    """,
)
outages = TABLES.define_table(  # services that do not answer
    "resolver_outages",
    """
    service text key
    since   text  -- ISO time, UTC
    message text
    """,
)

"""What this package adds: providers of names of objects, ``/resolve``, settings, and the verb ``hven resolve``."""

from __future__ import annotations

from hven.model.plugins import CommandLineVerb, PackageStateTables, PluginPackage

PLUGIN = PluginPackage(
    name="resolvers",
    title="Find the position of an object by its name: in a table of the site, a list of objects, or SIMBAD",
    resolvers={
        "bright": "hven.plugins.resolvers.bright_objects",
        "columns": "hven.plugins.resolvers.name_columns",
        "local": "hven.plugins.resolvers.name_table",
        "observed": "hven.plugins.resolvers.observed_names",
        "sesame": "hven.plugins.resolvers.sesame",
        "snapshot": "hven.plugins.resolvers.simbad_snapshot",
        "solar": "hven.plugins.resolvers.moving_bodies",
    },
    protocols={"resolve": "hven.plugins.resolvers.resolve_service"},
    pages="hven.plugins.resolvers.resolve_page:PAGES",
    store_tables=PackageStateTables(
        names=("resolver_names", "resolver_objects", "resolver_outages"),
        definitions="hven.plugins.resolvers.resolver_tables:TABLES",
    ),
    settings={"resolver": "hven.plugins.resolvers.settings:RESOLVER_SECTION"},
    translations="hven.plugins.resolvers:texts",
    verbs={
        "resolve": CommandLineVerb(
            function="hven.plugins.resolvers.resolve_verb:resolve",
            after="explain",
            examples=("hven resolve 'M 31'", "hven resolve Sirius --json", "hven resolve --refresh 500"),
        )
    },
)

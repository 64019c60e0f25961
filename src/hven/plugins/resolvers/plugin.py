"""What this package adds: providers of names of objects, their settings, and the verb ``hven resolve``."""

from __future__ import annotations

from hven.model.plugins import PluginPackage, Verb

PLUGIN = PluginPackage(
    name="resolvers",
    title="Find the position of an object by its name: in a table of the site, a list of objects, or SIMBAD",
    resolvers={
        "bright": "hven.plugins.resolvers.bright_objects",
        "local": "hven.plugins.resolvers.name_table",
        "sesame": "hven.plugins.resolvers.sesame",
        "solar": "hven.plugins.resolvers.moving_bodies",
    },
    settings={"resolver": "hven.plugins.resolvers.settings:RESOLVER_SECTION"},
    translations="hven.plugins.resolvers:texts",
    verbs={
        "resolve": Verb(
            function="hven.plugins.resolvers.resolve_verb:resolve",
            after="explain",
            examples=("hven resolve 'M 31'", "hven resolve Sirius --json"),
        )
    },
)

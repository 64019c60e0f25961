"""What this package adds: films of the rows of tables."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="films",
    title="Show the images that a search finds as a film",
    uses=("image_regions", "previews", "series"),
    pages="hven.plugins.films.film_pages:PAGES",
    table_pages="hven.plugins.films.film_pages:TABLE_PAGES",
    extensions={"federated_search.row_pages": ("hven.plugins.films.federated_search.remote_films",)},
    scripts="hven.plugins.films:scripts",
    translations="hven.plugins.films:texts",
)

"""What this package adds: the page ``/plots``, its files, and computed parameters of HAPI."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="stacked_plots",
    title="Plot several data sets above one time axis",
    uses=("series", "notebooks", "previews", "tfcat"),
    pages="hven.plugins.stacked_plots.plot_pages:PAGES",
    table_links=("hven.plugins.stacked_plots.plot_pages:PLOT_LINKS",),
    scripts="hven.plugins.stacked_plots:scripts",
    translations="hven.plugins.stacked_plots:texts",
    extensions={"series.computed_sets": ("hven.plugins.stacked_plots.computed_sets",)},
)

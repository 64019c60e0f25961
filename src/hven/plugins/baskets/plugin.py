"""What this package adds: pages at ``/basket``, a link in the header of all pages, and parts of the pages of tables."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="baskets",
    title="Let readers collect rows of several tables, download them and share them",
    pages="hven.plugins.baskets.basket_page:PAGES",
    scripts="hven.plugins.baskets:scripts",
    translations="hven.plugins.baskets:texts",
    account_removers=("hven.plugins.baskets.basket_store:remove_account_basket",),
)

"""What tests of the core need to try what this package adds (`tests/plugin_needs.py`)."""

from __future__ import annotations

from hven.plugins.baskets.basket_contents import Basket, BasketTablePart

_BASKET = Basket(
    parts=(
        BasketTablePart(table_path="stars/main", row_keys=(("[1]",), ("[2]",)), searches=("vmag=..3",)),
        BasketTablePart(table_path="no/where", searches=("",)),
    )
)
# modules whose messages pages show, in the reader's language
TRANSLATED_MODULES = {"plugins/baskets": "the pages at /basket"}
# pages that others link to
LINKED_PAGES = {"/basket": "the header of all pages"}
# pages for everybody, and what they show when they are ready
BROWSER_PAGES = {f"/basket/{_BASKET.to_inline_token()}": ".part tbody tr"}

"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from rights_matrix import ROWS

from hven.plugins.baskets.basket_contents import Basket, BasketTablePart


def build_full_basket() -> Basket:
    """Fill a basket with all rows and a search, as a user who sees everything would share it."""
    lines = tuple((f'["id{row.word}"]',) for row in ROWS)
    return Basket(
        parts=(
            BasketTablePart(table_path="obs/main", row_keys=lines, searches=("note=*zq*",)),
            BasketTablePart(table_path="obs/bright", searches=("",)),
            BasketTablePart(table_path="obs/none", row_keys=lines[:2]),
        )
    )


def list_shared_addresses(collection: str) -> list[str]:
    """List addresses of a shared basket with rows of a collection; the last one shows them."""
    part = BasketTablePart(table_path=f"{collection}/main", row_keys=(('["one"]',),), searches=("note=*sesame*",))
    address = f"/basket/{Basket(parts=(part,)).to_inline_token()}"
    return [address, f"{address}/files?_as=links", f"{address}/table?_of={quote(collection)}/main&_as=csv"]


QUERY_STRINGS = {
    "/basket": [""],
    "/basket/{token}": ["", "lang=fr", "_json=1", "_of=obs/main&_from=2"],
    "/basket/{token}/files": [f"_as={kind}" for kind in ("zip", "tar", "links", "curl")],
    "/basket/{token}/table": [
        f"_of={of}&_as={kind}{keys}"
        for of in ("obs/main", "obs/bright", "obs/none")
        for kind in ("csv", "votable")
        for keys in ("", "&_keys=1")
    ],
    "/basket/{token}/cite.bib": [""],
    "/basket/files": [""],
    "/basket/table": [""],
    "/basket/cite.bib": [""],
}
PATH_VALUES = {"token": build_full_basket().to_inline_token()}
SHARED_ADDRESSES = {"baskets": list_shared_addresses}
KEPT_DIRECTORIES = {"baskets": "keys of rows, and no rights: test_shared_addresses_show_what_their_reader_may_see"}
_ONE_ROW = Basket(parts=(BasketTablePart(table_path="free/main", row_keys=(('["one"]',),)),))
KEEPING_REQUESTS = {"/basket": urlencode({"ADD": _ONE_ROW.to_text()})}

"""What the tests of rights must know of this package (`tests/package_rights.py`)."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from rights_matrix import ROWS

from hven.plugins.baskets.basket_contents import MAX_ADDRESS_CHARACTERS, Basket, BasketTablePart


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


def build_short_baskets() -> list[Basket]:
    """Divide the rows into baskets whose tokens an address takes."""
    lines = tuple((f'["id{row.word}"]',) for row in ROWS)
    parts = [BasketTablePart(table_path="obs/main", row_keys=lines[at : at + 9]) for at in range(0, len(lines), 9)]
    parts.append(BasketTablePart(table_path="obs/bright", searches=("note=*zq*",)))
    return [Basket(parts=(part, BasketTablePart(table_path="obs/none", row_keys=lines[:1]))) for part in parts]


_TOKENS = [basket.to_inline_token(MAX_ADDRESS_CHARACTERS) for basket in build_short_baskets()]
ROUTE_CHOICES = {path: ("token", _TOKENS) for path in QUERY_STRINGS if "{token}" in path}
REFUSED_WAYS = {
    f"/basket/{what}": "the basket of a cookie, which is empty: `/basket/{token}` is tried with rows"
    for what in ("files", "table")
}
SHARED_ADDRESSES = {"baskets": list_shared_addresses}
KEPT_DIRECTORIES = {"baskets": "keys of rows, and no rights: test_shared_addresses_show_what_their_reader_may_see"}
_ONE_ROW = Basket(parts=(BasketTablePart(table_path="free/main", row_keys=(('["one"]',),)),))
KEEPING_REQUESTS = {"/basket": urlencode({"ADD": _ONE_ROW.to_text()})}

"""What the binder finds: case rules, ambiguity, uploads."""

from __future__ import annotations

from hven.adql.syntax_tree import Ident
from hven.model.table import Column, Schema, Table
from hven.site import Catalogue


def table(schema: str, name: str) -> Table:
    return Table(schema=schema, name=name, columns=(Column(name="a"),))


CATALOGUE = Catalogue(
    access_key="k",
    schemas=(
        Schema(name="cat", tables=(table("cat", "stars"), table("cat", "Stars"), table("cat", "only"))),
        Schema(name="Two", tables=(table("Two", "only"), table("Two", "x.y"))),
    ),
)


def find(*parts: Ident | str) -> list[str]:
    return [
        found.qualified_name
        for found in CATALOGUE.find_tables_by_identifiers(
            [part if isinstance(part, Ident) else Ident(part) for part in parts]
        )
    ]


def test_unquoted_names_are_found_without_case():
    assert find("CAT", "ONLY") == ["cat.only"]
    assert find("two", "Only") == ["Two.only"]
    assert find("nope", "only") == find("only", "cat") == find("cat") == []


def test_quoted_names_are_found_exactly():
    assert find("cat", Ident("Stars", quoted=True)) == ["cat.Stars"]
    assert find(Ident("two", quoted=True), "only") == []
    assert find(Ident("Two", quoted=True), Ident("x.y", quoted=True)) == ["Two.x.y"]


def test_ambiguous_names_give_all():
    assert find("only") == ["cat.only", "Two.only"]
    assert find("cat", "STARS") == ["cat.stars", "cat.Stars"]


def test_other_catalogs_and_empty_names_give_nothing():
    assert find("db", "cat", "only") == []
    assert CATALOGUE.find_tables_by_identifiers([]) == []


def test_uploads_extend_a_copy():
    more = CATALOGUE.with_tables([table("TAP_UPLOAD", "mine"), table("cat", "new")])
    assert [
        found.qualified_name for found in more.find_tables_by_identifiers([Ident("tap_upload"), Ident("MINE")])
    ] == ["TAP_UPLOAD.mine"]
    assert [found.qualified_name for found in more.find_tables_by_identifiers([Ident("new")])] == ["cat.new"]
    assert find("new") == []
    assert more.access_key != CATALOGUE.access_key
    assert "TAP_UPLOAD.mine" in more.list_table_names()

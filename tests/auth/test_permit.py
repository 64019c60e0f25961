"""permit on hand-built trees: every reference is filtered wherever it stands, and scopes tell readers apart."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hven.adql.tree import (
    And,
    Bound,
    ColumnRef,
    CommonTable,
    Compare,
    Derived,
    Exists,
    Ident,
    In,
    Join,
    Literal,
    Meta,
    Not,
    Or,
    Query,
    Select,
    SelectItem,
    SetOperation,
    Subquery,
    TableRef,
)  # fmt: skip
from hven.model.errors import ServiceError
from hven.model.table import Column, Table
from hven.model.types import BOOLEAN, FLOAT64, INT64
from hven.site.auth._permit import (
    ANONYMOUS,
    DEFAULT,
    OWNER,
    PUBLIC,
    Access,
    Reader,
    permit,
    row_filters,
    scope_of,
    spell,
    visible,
)
from hven.testing.policies import HalfHidden, half_hidden

N, X = Column(name="n", type=INT64), Column(name="x", type=FLOAT64)
STARS = Table(schema="sky", name="stars", columns=(N, X))
PLAIN = Table(schema="sky", name="plain", columns=(X,))
SECRET = Table(schema="sky", name="secret", columns=(N, X), access="private")
POLICIES = half_hidden("n")
HIDDEN = HalfHidden("n").rows(STARS, ANONYMOUS)


def ref(table, number=1, **more):
    return TableRef((Ident(table.schema), Ident(table.name)), number=number, table=table, **more)


def query(source, **more):
    return Query(Select((SelectItem(ColumnRef(Ident("x"), source=1, column=X)),), source, **more))


def bound(tree, *tables):
    return Bound(tree, (X,), tables)


def refs(node):
    """Every TableRef anywhere in a tree, found without permit's own walk."""
    if isinstance(node, TableRef):
        return [node]
    if isinstance(node, tuple):
        return [found for part in node for found in refs(part)]
    names = getattr(type(node), "__dataclass_fields__", {}) if type(node).__module__ == "hven.adql.tree" else {}
    return [found for name in names for found in refs(getattr(node, name))]


def test_a_plain_reference_is_filtered_and_the_original_stays():
    before = bound(query(ref(STARS)), STARS)
    after, scope = permit(before, ANONYMOUS, POLICIES)
    assert refs(after.query)[0].where == HIDDEN
    assert refs(before.query)[0].where is None
    assert after.columns == before.columns
    assert not scope.public


def test_nothing_is_copied_when_nothing_is_hidden():
    before = bound(query(ref(PLAIN)), PLAIN)
    after, scope = permit(before, ANONYMOUS, POLICIES)
    assert after is before
    assert scope == PUBLIC
    assert permit(bound(query(ref(STARS)), STARS), OWNER, POLICIES)[1] == PUBLIC
    assert permit(bound(query(ref(STARS)), STARS), ANONYMOUS, DEFAULT)[1] == PUBLIC


CONDITION = Compare("<", ColumnRef(Ident("x")), Literal(1))
SOURCES = st.recursive(
    st.sampled_from([STARS, PLAIN]).map(ref),
    lambda inner: st.one_of(
        st.builds(
            lambda a, b, kind: Join(a, b, kind=kind, on=CONDITION),
            inner,
            inner,
            st.sampled_from(["INNER", "LEFT", "FULL", "CROSS"]),
        ),
        inner.map(lambda source: Derived(query(source), Ident("d"))),
        inner.map(lambda source: Derived(Query(SetOperation("UNION", query(source).body, query(source))), Ident("u"))),
        st.builds(
            lambda a, b: Derived(query(a, where=Or((Not(Exists(query(b))), CONDITION))), Ident("e")), inner, inner
        ),
        st.builds(
            lambda a, b: Derived(
                query(a, where=And((In(ColumnRef(Ident("x")), Subquery(query(b))), CONDITION))), Ident("i")
            ),
            inner,
            inner,
        ),
        st.builds(
            lambda a, b: Derived(
                query(a, having=Compare("=", Subquery(query(b)), Literal(2)), group_by=(ColumnRef(Ident("x")),)),
                Ident("h"),
            ),
            inner,
            inner,
        ),
        st.builds(
            lambda a, b: Derived(Query(query(a).body, ctes=(CommonTable(Ident("w"), query(b)),)), Ident("c")),
            inner,
            inner,
        ),
    ),
    max_leaves=8,
)


@given(SOURCES)
def test_every_reference_is_filtered_wherever_it_stands(source):
    before = query(source)
    after, scope = permit(bound(before, STARS, PLAIN), ANONYMOUS, POLICIES)
    found = refs(after.query)
    assert len(found) == len(refs(before))
    for one in found:
        assert one.where == (HIDDEN if one.table is STARS else None)
    assert after.query == before, "filters are no part of what a tree compares"
    assert not scope.public


def test_names_of_with_are_left_alone_and_unbound_tables_are_refused():
    cte = TableRef((Ident("w"),), number=2, cte=True)
    tree = Query(Select((), Join(ref(STARS), cte)), ctes=(CommonTable(Ident("w"), query(ref(STARS, 3))),))
    after, _ = permit(bound(tree, STARS), ANONYMOUS, POLICIES)
    assert [one.where is None for one in refs(after.query)] == [False, True, False]
    with pytest.raises(ServiceError, match=r"sky\.plain"):
        permit(bound(query(Join(ref(STARS), TableRef((Ident("sky"), Ident("plain"))))), STARS), ANONYMOUS, POLICIES)
    with pytest.raises(ServiceError, match=r"sky\.secret"):
        permit(bound(query(Join(ref(STARS), ref(SECRET))), STARS), ANONYMOUS, POLICIES)


class Tagged:
    """A policy whose literals carry slots, as those of a condition out of a parsed text may."""

    def __init__(self, limit):
        self.limit = limit

    def sees(self, table, who):
        return None

    def rows(self, table, who):
        return Compare(
            ">",
            ColumnRef(Ident("x"), column=X, at=7),
            Literal(self.limit, slot=0, at=9),
            meta=Meta(BOOLEAN, origins=frozenset({"b", "a", "c"})),
        )


def test_a_filters_literals_never_take_the_querys_values():
    after, _ = permit(bound(query(ref(STARS)), STARS), ANONYMOUS, (Access(), Tagged(5)))
    assert refs(after.query)[0].where.right.slot == -1
    assert refs(after.query)[0].where.right.value == 5


def test_policies_add_up():
    after, _ = permit(bound(query(ref(STARS)), STARS), ANONYMOUS, (Access(), Tagged(5), HalfHidden("n")))
    where = refs(after.query)[0].where
    assert isinstance(where, And)
    assert where.parts[1] == HIDDEN
    assert where.meta is not None


def test_scopes_tell_readers_apart_and_nothing_else():
    one, two = (row_filters([STARS], ANONYMOUS, (Tagged(limit),)) for limit in (5, 6))
    assert scope_of(one, []) != scope_of(two, [])
    assert scope_of(one, []) == scope_of(row_filters([STARS], Reader(name="x"), (Tagged(5),)), [])
    assert scope_of({}, ["sky.secret"]) not in {PUBLIC, scope_of({}, ["sky.other"])}
    assert scope_of({"a.b": one["sky.stars"]}, []) != scope_of(one, [])
    assert spell(Literal(1)) != spell(Literal(1.0)) != spell(Literal("1"))
    assert spell(Literal(1, at=3, slot=2)) == spell(Literal(1))


def test_scopes_are_the_same_in_every_process():
    """Sets come out of ``repr`` in another order in each process; answers' ETags must not."""
    code = (
        "from hven.adql.tree import *; from hven.site.auth._permit import scope_of; from hven.model.types import BOOLEAN;"
        "print(scope_of({'a.b': Compare('=', ColumnRef(Ident('x')), Literal(1), meta=Meta(BOOLEAN, origins=frozenset('abcdefgh')))}, []).key)"
    )
    keys = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in "123"
    }
    assert len(keys) == 1


def test_private_tables_need_a_yes_and_no_no():
    class Says:
        def __init__(self, opinion):
            self.opinion = opinion

        def sees(self, table, who):
            return self.opinion

        def rows(self, table, who):
            return None

    assert visible(STARS, ANONYMOUS)
    assert not visible(SECRET, ANONYMOUS)
    assert visible(SECRET, OWNER)
    assert visible(SECRET, ANONYMOUS, (Access(), Says(True)))
    assert not visible(STARS, ANONYMOUS, (Access(), Says(False)))
    assert not visible(SECRET, OWNER, (Access(), Says(False)))
    assert not visible(STARS, ANONYMOUS, ())
    assert not visible(STARS, ANONYMOUS, (HalfHidden("n"),)), "no opinion is no yes"
    assert not permit(bound(query(ref(SECRET)), SECRET), OWNER, DEFAULT)[1].public
    assert ANONYMOUS.anonymous
    assert not OWNER.anonymous


def test_half_hidden_is_what_the_binder_makes_of_it():
    from hven import adql

    text = 'MOD("n", 2) = 0'
    theirs = adql.bind_condition(adql.parse_condition(text), STARS.columns)
    assert theirs == HIDDEN
    assert HalfHidden("n").rows(PLAIN, ANONYMOUS) is None
    assert HalfHidden("x").rows(STARS, ANONYMOUS) is None, "no whole numbers"
    assert HalfHidden("n").rows(STARS, OWNER) is None


def test_chains_of_thousands_are_filtered_whole():
    one = Select((SelectItem(ColumnRef(Ident("x"), source=1, column=X)),), ref(STARS))
    tree = one
    for _ in range(3000):
        tree = SetOperation("UNION", tree, one)
    permitted, _ = permit(bound(Query(tree), STARS), ANONYMOUS, POLICIES)
    found, count = permitted.query.body, 0
    while isinstance(found, SetOperation):
        assert found.right.source.where is not None
        found, count = found.left, count + 1
    assert count == 3000
    assert found.source.where is not None

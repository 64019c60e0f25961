"""Digests that are stored are made of the words that classes had when they were first stored, whatever the classes are called now."""

import hashlib

from hven.adql import parse_condition
from hven.model.table import ParameterBins
from hven.site.auth._access_control import serialize_tree

CONDITION = (
    "a = 1 AND NOT (b BETWEEN 1 AND 2 OR c IN ('x', 'y') OR d LIKE 'y%' OR e IS NULL) AND -f + g * 2 > SQRT(h) AND i[1] > 0 "
    "AND EXISTS (SELECT SUM(x) AS s FROM (SELECT x FROM t) AS u)"
)


def test_the_digest_of_a_row_filter_stays():
    text = serialize_tree(parse_condition(CONDITION))
    assert text.startswith("And((Compare('=',ColumnRef(Ident('a',False),()),Literal(1)),Not(Or((Between(")
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert digest == "a3923dfb6fcadb8e55f7b1ef94f268c53dee5f69b8e6920e0c4f27e2b901ee46"


def test_the_text_of_bins_stays():
    bins = ParameterBins(name="energy", unit="eV", centers=(1.0, 2.5))
    assert repr(bins) == (
        "Bins(name='energy', unit='eV', centers=(1.0, 2.5), ranges=(), label=None, description=None, of=())"
    )

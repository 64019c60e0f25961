"""The examples document: well-formed, its RDFa to the letter, text that stays text."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from hven.model.resource import ExampleQuery
from hven.services._query_examples import VOCABULARY_URI, write_examples_document

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
made = st.builds(
    ExampleQuery, name=texts, query=texts, description=st.none() | texts, tables=st.lists(texts, max_size=2).map(tuple)
)


@given(st.lists(made, max_size=5))
def test_every_example_is_there_and_named_once(examples):
    tree = etree.fromstring(write_examples_document(examples))
    assert [item.get("vocab") for item in tree.iter() if item.get("vocab")] == [VOCABULARY_URI]
    found = tree.xpath("//*[@typeof='example']")
    ids = [item.get("id") for item in found]
    assert len(found) == len(examples) == len(set(ids))
    for item, example in zip(found, examples, strict=True):
        assert re.fullmatch(r"[a-z][a-z0-9-]*", item.get("id"))
        assert item.get("resource") == f"#{item.get('id')}"
        for name, count in (("name", 1), ("query", 1), ("table", len(example.tables))):
            assert len(item.xpath(f".//*[@property='{name}']")) == count
            assert all(len(one) == 0 for one in item.xpath(f".//*[@property='{name}']"))


def test_text_stays_text():
    tree = etree.fromstring(
        write_examples_document(
            [ExampleQuery(name="a < b & c", query="SELECT 1 FROM t WHERE x<5 AND s = '&amp;\x00'", tables=('"a b".t',))]
        )
    )
    assert tree.xpath("string(//*[@property='query'])") == "SELECT 1 FROM t WHERE x<5 AND s = '&amp;\ufffd'"
    assert tree.xpath("string(//*[@property='name'])") == "a < b & c"
    assert tree.xpath("string(//*[@property='table'])") == '"a b".t'

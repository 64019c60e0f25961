"""All messages of the program, in one list: none has an expression that readers stumble over.

`python tests/message_list.py` prints the list for somebody who reads it.
"""

from __future__ import annotations

import re

import pytest

from message_list import list_messages

ODD_EXPRESSIONS = {
    r"(?<!there )(?<!here )(?<!where )(?<!and )\b(is|are|was) no (?!longer\b|more\b|other\b|such\b|one\b|part\b)[a-z{]": (
        "write 'is not a': it negates the word that is wrong"
    ),
    r"\b(is|are) none\b(?! of)": "say what it is not",
    r"\b(ingest|get|begin|read|made) .{0,30}\banew\b": "write 'again'",
    r"\bmend\b": "write 'correct' or 'repair'",
    r"\bnobody\b": "name the program or the user",
    r"^say\b": "name the action: write, set, give",
    r"^look at (its|the)\b": "write 'check', 'read' or 'open'",
    r"(?<!as )\bits owners?\b(?! must GRANT)": "name the operator of the server or the curator of the collection",
    r"^who (?!is\b)": "name the user",
    r"\S  +\S": "one space between words",
}


@pytest.fixture(scope="module")
def messages():
    return list_messages()


@pytest.mark.parametrize("expression", ODD_EXPRESSIONS)
def test_no_message_has_an_odd_expression(expression, messages):
    pattern = re.compile(expression)
    odd = [f"{message.path}:{message.line}: {message.text}" for message in messages if pattern.search(message.text)]
    assert not odd, f"{ODD_EXPRESSIONS[expression]}:\n" + "\n".join(odd)


def test_the_list_has_the_messages(messages):
    texts = {message.text for message in messages}
    assert len(messages) > 3000
    assert "the query was cancelled" in texts
    assert any(text.startswith("did you mean") for text in texts)
    assert "close it with a single quote; double a quote inside a string: 'it''s'" in texts, "a text in a variable"

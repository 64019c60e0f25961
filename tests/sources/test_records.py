"""Blocks of delimited text are cut where no quoted value is open: the quick way and the slow way, against reading character by character."""

from __future__ import annotations

import random

import pytest

from hven.sources._reading.text_blocks import TextBlockReader

CELLS = ["a", "bc", '""', '"x"', '"a""b"', '"p\nq"', '"",""', '5"', ' "k"']


class Text(TextBlockReader):
    """Text that is there already."""

    def __init__(self, text: str) -> None:
        self.set_dialect(quote='"', comment=None, delimiter=",")
        self.remainder = text.encode()


def find_last_record_end(text: str) -> int:
    """Read as RFC 4180 says; quotes that do not begin a field are ordinary characters."""
    found = at = 0
    begins = True
    while at < len(text):
        sign = text[at]
        if begins and sign == '"':
            at += 1
            while at < len(text) and (text[at] != '"' or text[at + 1 : at + 2] == '"'):
                at += 1 if text[at] != '"' else 2
            if at >= len(text):
                return found
            begins = False
        elif sign == "\n":
            found, begins = at + 1, True
        else:
            begins = sign == "," or (begins and sign == " ")
        at += 1
    return found


def texts(number: int) -> list[str]:
    made = random.Random(1)
    found = []
    while len(found) < number:
        if len(found) % 2:
            text = "".join(made.choice('a,"\n "') for _ in range(made.randrange(1, 24)))
        else:
            text = "".join(made.choice(CELLS) + made.choice(",\n,") for _ in range(made.randrange(1, 8)))
            text = text[: made.randrange(1, len(text) + 1)]
        if '"' in text[: text.rfind("\n") + 1]:
            found.append(text)
    return found


def test_both_ways_end_where_the_last_whole_record_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    made = texts(20_000)
    quick = [Text(text)._find_last_record_end() for text in made]
    assert sum(Text(text)._find_last_record_end_fast(text.rfind("\n") + 1) is not None for text in made) > 5_000
    monkeypatch.setattr(TextBlockReader, "_find_last_record_end_fast", lambda _self, _end: None)
    slow = [Text(text)._find_last_record_end() for text in made]
    for text, one, other in zip(made, quick, slow, strict=True):
        assert one == other == find_last_record_end(text), repr(text)


def test_a_line_end_inside_a_value_is_no_end_of_a_record_even_if_other_values_follow() -> None:
    assert Text('"p\nq","x"')._find_last_record_end() == 0
    assert Text('bc,"p\nq"\n"p\nq","x","p\nq","')._find_last_record_end() == 9

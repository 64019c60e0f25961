"""Descriptors of services that are written once for many rows are those that are written for each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hven.formats.votable import Frame, gap, resource
from hven.model.params import Param
from hven.model.table import Input, Service

FIXED = Input(param=Param(name="POS", description='a "place" & <more>'), example=("CIRCLE 1 2 3",))


@pytest.mark.parametrize(
    ("description", "ident", "low"),
    [
        ("plain", "m1", "1"),
        ('<b> & "quotes"', "a b/c?d=e&f#g,h:ü", '1 "2" <3>'),
        ("ends with =", "=", "\t\n"),
        ("0_ 1_ 日本", "100%", "&amp;"),
    ],
)
def test_filled_frames_are_what_would_be_written(description, ident, low):
    def service(value, bound):
        key = Input(param=Param(name="ID"), value=(value,), low=(bound,))
        return Service(
            address=("https://a.example/soda?x=1",), inputs=(key, replace(key, param=Param(name="B")), FIXED)
        )

    texts = [description, "text/csv", ident, low]
    gaps = [gap(number) for number in range(4)]
    frame = Frame(resource(service(gaps[2], gaps[3]), ident="x", name="cut", description=gaps[0], kind=gaps[1]))
    wanted = resource(service(ident, low), ident="x", name="cut", description=description, kind="text/csv")
    assert frame.filled(texts) == wanted
    assert "exampleURL" in wanted
    assert frame.filled(["", "", "", ""]) != wanted

"""Descriptors of services that are written once for many rows are those that are written for each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hven.formats.votable import DescriptorTemplate, format_placeholder, write_service_descriptor
from hven.model.params import Param
from hven.model.table import ServiceDescriptor, ServiceParameter

FIXED = ServiceParameter(param=Param(name="POS", description='a "place" & <more>'), example=("CIRCLE 1 2 3",))


@pytest.mark.parametrize(
    ("description", "ident", "low"),
    [
        ("plain", "m1", "1"),
        ('<b> & "quotes"', "a b/c?d=e&f#g,h:ü", '1 "2" <3>'),
        ("ends with =", "=", "\t\n"),
        ("0_ 1_ 日本", "100%", "&amp;"),
    ],
)
def test_completed_templates_equal_written_descriptors(description, ident, low):
    def service(value, bound):
        key = ServiceParameter(param=Param(name="ID"), value=(value,), low=(bound,))
        return ServiceDescriptor(
            address=("https://a.example/soda?x=1",), inputs=(key, replace(key, param=Param(name="B")), FIXED)
        )

    texts = [description, "text/csv", ident, low]
    gaps = [format_placeholder(number) for number in range(4)]
    frame = DescriptorTemplate(
        write_service_descriptor(
            service(gaps[2], gaps[3]), xml_id="x", name="cut", description=gaps[0], content_type=gaps[1]
        )
    )
    wanted = write_service_descriptor(
        service(ident, low), xml_id="x", name="cut", description=description, content_type="text/csv"
    )
    assert frame.fill_placeholders(texts) == wanted
    assert "exampleURL" in wanted
    assert frame.fill_placeholders(["", "", "", ""]) != wanted

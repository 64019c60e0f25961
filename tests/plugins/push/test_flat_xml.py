"""Records in XML that hold only values."""

from __future__ import annotations

import pytest

from hven.model.errors import SourceError
from hven.plugins.push.flat_xml import parse_flat_xml_records


def test_a_prefix_that_is_never_declared_is_a_fault():
    text = b'<r>\n<v:o v:id="1"><w:x>2</w:x></v:o>\n<v:o v:id="2"><w:x>3</w:x></v:o></r>'
    with pytest.raises(SourceError, match="not XML: Namespace prefix v"):
        parse_flat_xml_records(text)

"""Read the columns of VOSI tables: documents of services, with 100,000 columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from lxml import etree

from hven.model.errors import SourceError
from hven.plugins.schema_life.described_columns import ColumnRows, ColumnTexts, write_type_name

_TEXT_ELEMENTS = ("name", "unit", "ucd", "utype", "description")


class _LocalNames(dict[Any, str]):
    """Names of elements without their namespaces, by the tags of lxml; comments have none."""

    def __missing__(self, tag: Any) -> str:
        name = self[tag] = tag.rpartition("}")[2] if isinstance(tag, str) else ""
        return name


def read_vosi_columns(data: bytes, label: str) -> ColumnRows:
    """Read the columns of a VOSI tables document.

    Parameters
    ----------
    data
        The document.
    label
        Label of the schema.

    Raises
    ------
    SourceError
        The document is not well-formed.
    """
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        raise SourceError(
            f"{label} is not well-formed XML: {error.msg}", remedy="ask the operators of the service"
        ) from error
    local_names = _LocalNames()
    table_names: list[str | None] = []
    type_words: list[tuple[str, ...]] = []
    texts: list[dict[str, str | None]] = []
    for table in root.iter("{*}table"):
        table_name = table.findtext("{*}name")
        for column in table.iterchildren("{*}column"):
            texts_of_column: dict[str, str | None] = {}
            words: tuple[str, ...] = ("",)
            for child in reversed(column):
                name = local_names[child.tag]
                texts_of_column[name] = child.text
                if name == "dataType":
                    words = (child.text or "", child.get("arraysize", ""), child.get("xtype", ""))
            table_names.append(table_name)
            type_words.append(words)
            texts.append(texts_of_column)
    type_names = {words: write_type_name(*words) for words in set(type_words)}
    arrays = {name: _normalize_blanks([item.get(name) for item in texts]) for name in _TEXT_ELEMENTS}
    arrays |= {
        "model": pa.repeat(label, len(texts)),
        "table": _normalize_blanks(table_names),
        "type": pa.array([type_names[words] for words in type_words], pa.string()),
        "choices": pa.repeat("", len(texts)),
    }
    return ColumnRows(ColumnTexts(arrays), np.arange(len(texts)))


def _normalize_blanks(texts: list[str | None]) -> pa.StringArray:
    encoded = pa.array(texts, pa.string()).fill_null("").dictionary_encode()
    normalized_texts = [" ".join(text.split()) for text in encoded.dictionary.to_pylist()]
    return pa.array(normalized_texts, pa.string()).take(encoded.indices)

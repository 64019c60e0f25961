"""A descriptor with markup and scripts in every text, which pages must show literally."""

from __future__ import annotations

import json


def write_descriptor(
    text: str, *, licence: str = "", columns: str = "", more: str = "", files: str = "rows.parquet"
) -> str:
    """Write the descriptor of collection ``evil`` with `text` in each place for text.

    `columns` follow the columns of its table, and `more` follows them.
    """
    said = json.dumps(text)
    return f"""\
collection: evil
title: {said}
description: {said}
subjects: [{said}]
creators: [{{name: {said}}}]
{licence}tables:
  main:
    title: {said}
    description: {said}
    primary: [id]
    position: [ra, dec]
    source: {{kind: parquet, files: {files}}}
    columns:
      id: {{type: int32, ucd: meta.id;meta.main, description: {said}, label: {said}, rank: 1}}
      ra: {{type: float64, unit: deg, ucd: pos.eq.ra;meta.main, rank: 1}}
      dec: {{type: float64, unit: deg, ucd: pos.eq.dec;meta.main, rank: 1}}
      kind: {{type: string, description: {said}, rank: 1}}
      page: {{type: string, ucd: meta.ref.url, rank: 1}}
      picture: {{type: string, ucd: meta.ref.url;meta.preview, rank: 1}}
{columns}{more}"""

"""SODA keeps the contract of services."""

from __future__ import annotations

import pyarrow as pa

from hven.model.table import Column, LinkTemplate, Table, TemplateExpression
from hven.model.types import STRING
from hven.testing.face import FaceContract


class TestSoda(FaceContract):
    """What it cuts are files, which the tiny site has not: test_soda.py asks for these."""

    name = "soda"
    test_answers_agree_for_all_methods = None  # type: ignore[assignment]
    test_ignored_parameters_are_named = None  # type: ignore[assignment]
    table = Table(
        schema="tiny",
        name="maps",
        columns=(Column(name="id", type=STRING, ucd="meta.id;meta.main"), Column(name="file", type=STRING)),
        primary=("id",),
        links=(LinkTemplate(semantics="#this", address=(TemplateExpression('target."file"'),), is_file=True),),
    )
    rows = pa.table({"id": ["a"], "file": ["a.fits"]})

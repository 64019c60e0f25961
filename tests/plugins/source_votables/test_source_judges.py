"""Other programs read the VOTables of old versions: xmllint, STILTS, and astropy."""

from __future__ import annotations

import io
import os
import subprocess
import warnings
from pathlib import Path

import pytest
from test_source_votables import SAMPLE, VERSIONS, list_real_documents, read_document
from votable_samples import publish_document, select_columns, write_answer

from hven.model.errors import SourceError
from requirements import require_program
from shared import shared
from stilts import run_stilts

pytestmark = pytest.mark.outside


@pytest.mark.parametrize("version", VERSIONS)
def test_xmllint_accepts_the_documents_of_a_version(tmp_path: Path, version: str) -> None:
    paths = []
    for path in [*list_real_documents(), None]:
        try:
            metadata, batches = publish_document(SAMPLE if path is None else read_document(path))
        except SourceError:
            continue
        if not metadata.columns:
            continue
        for names in ({}, {"names": "source"}):
            target = tmp_path / f"{len(paths)}.vot"
            target.write_bytes(write_answer(metadata, batches, version=version, **names))
            paths.append(str(target))
    assert len(paths) > 150
    schema = shared("xsd") / f"VOTable-v{version}.xsd"
    command = [require_program("xmllint"), "--nonet", "--noout", "--huge", "--schema", str(schema), *paths]
    catalogue = str(shared("xsd") / "catalog.xml")
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "XML_CATALOG_FILES": catalogue},
    )
    faults = [line for line in done.stderr.splitlines() if not line.endswith(" validates")]
    assert done.returncode == 0, faults[:10]


@pytest.mark.parametrize("version", VERSIONS)
def test_votlint_finds_no_error(tmp_path: Path, version: str) -> None:
    metadata, batches = publish_document(SAMPLE)
    chosen, rows = select_columns(metadata, batches, [0, 2, 3])
    path = tmp_path / "answer.vot"
    path.write_bytes(write_answer(chosen, rows, names="source", version=version))
    told = run_stilts("votlint", f"votable={path}", "validate=true", code=None)
    errors = [line for line in told.stdout.splitlines() if line.startswith("ERROR")]
    if version == "1.5":  # STILTS of Debian 12 has only the schema of 1.4
        errors = [line for line in errors if "'1.5'" not in line]
    assert errors == []
    assert not told.stderr.strip()


@pytest.mark.parametrize("name", ["getstar-votable.vot", "searchcal/SearchCal-hip1234.scvot.gz"])
def test_votlint_finds_no_error_that_the_file_of_the_source_lacks(tmp_path: Path, name: str) -> None:
    document = read_document(shared("data") / "interferometry" / name)
    metadata, batches = publish_document(document)
    faults = []
    for number, data in enumerate((document, write_answer(metadata, batches, names="source", version="1.1"))):
        path = tmp_path / f"{number}.vot"
        path.write_bytes(data)
        told = run_stilts("votlint", f"votable={path}", "validate=true", code=None)
        lines = [line.partition("): ")[2] for line in told.stdout.splitlines() if line.startswith("ERROR")]
        faults.append(set(lines))
    assert faults[1] <= faults[0]


def test_astropy_reads_the_same_from_the_file_and_from_the_answer() -> None:
    votables = pytest.importorskip("astropy.io.votable")
    for name in ("getstar-votable.vot", "searchcal/SearchCal-HD_32617.scvot.gz"):
        document = read_document(shared("data") / "interferometry" / name)
        metadata, batches = publish_document(document)
        data = write_answer(metadata, batches, names="source", version="1.1")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            original, written = (votables.parse(io.BytesIO(text)).get_first_table() for text in (document, data))
        attributes = ("name", "ID", "ucd", "unit", "utype", "datatype", "arraysize", "description", "type")
        for field, expected in zip(written.fields, original.fields, strict=True):
            for attribute in attributes:
                assert str(getattr(field, attribute)) == str(getattr(expected, attribute)), (name, field.name)
            links = [[link.href for link in item.links] for item in (field, expected)]
            assert links[0] == links[1]
        assert [group.name for group in written.groups] == [group.name for group in original.groups]
        assert [param.value for param in written.params] == [param.value for param in original.params]
        for column_name, expected_name in zip(written.array.dtype.names, original.array.dtype.names, strict=True):
            values = [str(value) for value in written.array[column_name]]
            assert values == [str(value) for value in original.array[expected_name]], column_name

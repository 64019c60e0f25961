"""Validate documents by a copy of the OGC's schemas with xmllint."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from requirements import require, require_program

ADDRESS = "http://schemas.opengis.net/"
OTHER_SCHEMAS = ("http://www.w3.org/1999/xlink.xsd", "http://www.w3.org/2001/xml.xsd")  # in ../w3c, beside the copy


def validate_documents(documents: Sequence[bytes], schemas: Sequence[tuple[str, str]], directory: Path) -> None:
    """Validate documents by schemas: pairs of a namespace, and the path of its schema below schemas.opengis.net.

    A path that begins with `/` is that of a file.
    """
    require("HVEN_OGC_SCHEMAS")
    copy = Path(os.environ["HVEN_OGC_SCHEMAS"]).resolve()
    entries = f'<rewriteURI uriStartString="{ADDRESS}" rewritePrefix="file://{copy}/"/>'
    entries += f'<rewriteSystem systemIdStartString="{ADDRESS}" rewritePrefix="file://{copy}/"/>'
    for address in OTHER_SCHEMAS:
        path = copy.parent / "w3c" / address.removeprefix("http://www.w3.org/")
        entries += f'<uri name="{address}" uri="file://{path}"/><system systemId="{address}" uri="file://{path}"/>'
    catalogue = directory / "catalogue.xml"
    catalogue.write_text(f'<catalog xmlns="urn:oasis:names:tc:entity:xmlns:xml:catalog">{entries}</catalog>')
    imports = "".join(
        f'<xs:import namespace="{namespace}" schemaLocation="{f"file://{copy}/{path}" if path[0] != "/" else path}"/>'
        for namespace, path in schemas
    )
    driver = directory / "driver.xsd"
    driver.write_text(f'<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema">{imports}</xs:schema>')
    for number, document in enumerate(documents):
        path = directory / f"document-{number}.xml"
        path.write_bytes(document)
        done = subprocess.run(
            [require_program("xmllint"), "--nonet", "--noout", "--schema", driver, path],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "XML_CATALOG_FILES": str(catalogue)},
            timeout=300,
        )
        assert done.returncode == 0, f"{document[:300]!r}\n{done.stderr[:3000]}"

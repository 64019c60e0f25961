"""Group examples: the page of examples is served if it is declared, has the markup of DALI, and its queries run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.model.errors import UserError
from hven.plugins.lint import xml_documents
from hven.plugins.lint.check_groups import CheckGroup
from hven.plugins.lint.client import get_media_type
from hven.plugins.lint.findings import FindingCollector, parse_lint_checks
from hven.plugins.lint.xml_documents import NotXmlError

if TYPE_CHECKING:
    from hven.plugins.lint.tap_service import ExaminedTapService

EXAMPLE_CHECKS = parse_lint_checks("""
examples.declared-absent | error | DALI 1.1 sec. 2.3 | E_EXDH
    examples are declared but not served
    serve them, or remove the capability
examples.undeclared | warning | DALI 1.1 sec. 2.3 | E_EXDH
    examples are served but not declared
    add ivo://ivoa.net/std/DALI#examples
examples.shape | error | DALI 1.1 sec. 2.3 | E_EXPA E_EXIO
    the examples are not well-formed XHTML
    close all elements, and escape < and &
examples.content-type | warning | DALI 1.1 sec. 2.3
    the examples are not sent as (X)HTML
    send application/xhtml+xml or text/html
examples.vocabulary | error | DALI 1.1 sec. 2.3 | E_NOVO E_TOVO E_EXVC
    the DALI vocabulary is not declared exactly once
    write vocab="http://www.ivoa.net/rdf/examples#" on one element
examples.none | warning | DALI 1.1 sec. 2.3 | W_EX00
    there is no example
    mark up an example with typeof="example"
examples.identifier | error | DALI 1.1 sec. 2.3 | E_XID0 W_NMID E_XRS0 E_XRS1
    an example's id and resource do not match
    write id="x" resource="#x"
examples.property | error | DALI 1.1 sec. 2.3; TAP 1.1 sec. 2.4 | E_XPRM
    an example has no name or no query
    mark up property="name" and property="query"
examples.query | warning | TAP 1.1 sec. 2.4 | W_QERR E_QERR W_EXVL
    an example's query fails
    run the examples in your tests
examples.table | warning | TAP 1.1 sec. 2.4 | E_UKTB
    an example names a table that is not declared
    write the table's full name
""")
VOCABULARY_URIS = {"http://www.ivoa.net/rdf/examples#", "ivo://ivoa.net/std/DALI-examples"}
MAX_EXAMPLES = 30


def _check_examples_page(service: ExaminedTapService, collector: FindingCollector) -> None:
    declared = service.capabilities.find_interfaces("ivo://ivoa.net/std/dali#examples")
    answer = service.fetch_cached_document("examples")
    if answer.status != 200:
        if declared:
            collector.add_finding("examples.declared-absent", f"status {answer.status}", value=answer.status)
        return
    if not declared:
        collector.add_finding("examples.undeclared")
    media = get_media_type(answer)
    if media not in {"text/html", "application/xhtml+xml", "application/xml", "text/xml"}:
        collector.add_finding("examples.content-type", value=media)
    try:
        root = xml_documents.parse_xml(answer.body)
    except NotXmlError as error:
        collector.add_finding("examples.shape", str(error))
        return
    elements = [element for element in root.iter() if isinstance(element.tag, str)]
    vocabularies = [element.get("vocab") for element in elements if element.get("vocab")]
    if len(vocabularies) != 1 or vocabularies[0] not in VOCABULARY_URIS:
        collector.add_finding("examples.vocabulary", value=", ".join(vocabularies) or "none")
    example_elements = [element for element in elements if element.get("typeof") == "example"]
    if not example_elements:
        collector.add_finding("examples.none")
    for example_element in example_elements[:MAX_EXAMPLES]:
        _check_dali_example(service, collector, example_element)
    if len(example_elements) > MAX_EXAMPLES:
        collector.add_unchecked_reason(f"{len(example_elements)} examples: the first {MAX_EXAMPLES} were run")


def _check_dali_example(service: ExaminedTapService, collector: FindingCollector, example: Any) -> None:
    example_id = example.get("id", "")
    key = f"id = {example_id}"
    if not example_id or example.get("resource") != f"#{example_id}":
        collector.add_finding("examples.identifier", key=key, value=example.get("resource"))
    properties = _read_example_properties(example)
    for name in ("name", "query"):
        texts = properties.get(name, [])
        if len(texts) == 1 and texts[0]:
            continue
        if name == "query" and example.xpath(".//*[@typeof='keyval']"):
            continue  # an example of another protocol, with parameters instead of a query
        collector.add_finding("examples.property", name, key=key)
    for table in properties.get("table", ()):
        if service.declared_tables and table.replace('"', "").lower() not in service.declared_tables:
            collector.add_finding("examples.table", key=key, value=table)
    for adql in properties.get("query", ())[:1]:
        if "TAP_UPLOAD" in adql.upper():
            continue
        try:
            service.run_query(adql, 2)
        except UserError as error:
            collector.add_finding("examples.query", error.message, key=key, value=adql)


def _read_example_properties(example: Any) -> dict[str, list[str]]:
    """Return the texts of an example's properties by the name of the property."""
    properties: dict[str, list[str]] = {}
    for element in example.iter():
        if isinstance(element.tag, str) and element.get("property"):
            text = "".join(element.itertext()).strip()
            properties.setdefault(element.get("property"), []).append(text)
    return properties


GROUP = CheckGroup(name="examples", title="Examples", checks=EXAMPLE_CHECKS, run=_check_examples_page)

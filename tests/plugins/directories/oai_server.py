"""An OAI-PMH repository to inject faults into, on the standard library, and records for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import Any

from json_servers import JsonServer, Reply, Request

NAMESPACES = 'xmlns="" xmlns:ri="http://www.ivoa.net/xml/RegistryInterface/v1.0" xmlns:r="http://www.ivoa.net/xml/VOResource/v1.0" xmlns:vs="http://www.ivoa.net/xml/VODataService/v1.1" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
NOW = "2026-01-10T12:00:00Z"


def build_record(ivoid: str, title: str, more: str = "", *, kind: str = "vs:CatalogResource", status: str = "active", subject: str = "planets") -> str:  # fmt: skip
    """Write a record; `more` follows at its end: capabilities, coverage, tables."""
    return f"""<ri:Resource {NAMESPACES} xsi:type="{kind}" created="2020-01-01T00:00:00Z" updated="2021-02-03T04:05:06Z" status="{status}">
      <title>  {escape(title)}
      </title><shortName/><identifier>{ivoid}</identifier><altIdentifier>doi:10.5555/1</altIdentifier>
      <curation><publisher ivo-id="ivo://Example/Org">An Observatory</publisher><creator><name>Doe, J.</name></creator><creator><name>Roe, R.</name></creator>
        <date role="update">2021-02-03</date><contact><name>Help</name><email>help@example.org</email></contact></curation>
      <content><subject>{subject}</subject><subject>catalogs</subject><description>All of {escape(title)}</description><referenceURL>https://example.org/</referenceURL>
        <type>Catalog</type><type>Archive</type><contentLevel>Research</contentLevel>
        <relationship><relationshipType>served-by</relationshipType><relatedResource ivo-id="ivo://example/TAP">TAP</relatedResource></relationship></content>
      {more}</ri:Resource>"""


def build_capability(url: str = "https://example.org/tap", standard: str = "ivo://ivoa.net/std/TAP#aux") -> str:
    """Write a capability with its interface."""
    return f'<capability standardID="{standard}"><interface xsi:type="vs:ParamHTTP" role="std" version="1.1"><accessURL use="base"> {escape(url)} </accessURL><mirrorURL>https://a.example/tap</mirrorURL><mirrorURL>https://b.example/tap</mirrorURL><queryType>GET</queryType><queryType>POST</queryType></interface></capability>'


def build_tables(*names: str, utype: str = "ivo://ivoa.net/std/EPNtap#table-2.0") -> str:
    """Write the tables of a record, with two columns each."""
    column = '<column std="{}"><name>{}</name><ucd>POS.eq.ra;Meta.main</ucd><dataType xsi:type="vs:VOTableType" arraysize="*">char</dataType><flag>indexed</flag><flag>primary</flag></column>'
    found = "".join(f"<table><name>{name}</name><utype>{utype}</utype>{column.format('true', 'Granule_UID')}{column.format('false', 'own')}</table>" for name in names)  # fmt: skip
    return f"<tableset><schema><name>a</name>{found}</schema></tableset>"


@dataclass
class OaiServer(JsonServer):
    """A repository: records by identifier, each with its time; a record without content was deleted."""

    records: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    page: int = 2
    deleted: str = "persistent"
    granularity: str = "YYYY-MM-DDThh:mm:ssZ"
    now: str = NOW
    pending_lists: dict[str, list[str]] = field(default_factory=dict)  # by token: the identifiers that follow

    def put_record(self, ivoid: str, content: str | None, moment: str = "2026-01-01T00:00:00Z") -> None:
        self.records[ivoid] = (moment, content)

    def list_requests(self) -> list[str]:
        """List the requests: the verb of each, and the time from which it asks."""
        return [" ".join(filter(None, (one.given.get("verb", ""), one.given.get("from", "")))) for one in self.asked]

    def reply(self, asked: Request) -> Reply:
        said = {"Identify": self._identify, "ListRecords": self._list_records}[asked.given["verb"]](asked.given)
        text = f'<?xml version="1.0"?><OAI-PMH xmlns="http://www.openarchives.org/OAI/2.0/"><responseDate>{self.now}</responseDate><request>x</request>{said}</OAI-PMH>'
        return Reply(body=text.encode(), kind="text/xml")

    def _identify(self, _given: dict[str, str]) -> str:
        return f"<Identify><repositoryName>R</repositoryName><baseURL>{self.base}</baseURL><protocolVersion>2.0</protocolVersion><adminEmail>a@example.org</adminEmail><earliestDatestamp>2000-01-01T00:00:00Z</earliestDatestamp><deletedRecord>{self.deleted}</deletedRecord><granularity>{self.granularity}</granularity></Identify>"

    def _list_records(self, given: dict[str, Any]) -> str:
        token = given.get("resumptionToken")
        if token is not None and (token not in self.pending_lists or set(given) != {"verb", "resumptionToken"}):
            return '<error code="badResumptionToken">no such token</error>'
        since = given.get("from", "")
        names = [name for name, (moment, _) in self.records.items() if moment >= since]
        names = self.pending_lists.pop(token) if token is not None else names
        if not names:
            return '<error code="noRecordsMatch"/>'
        found = "".join(self._write_record(name) for name in names[: self.page])
        rest = names[self.page :]
        if rest:
            self.pending_lists[f"t{len(self.asked)}"] = rest
        end = f'<resumptionToken completeListSize="{len(self.records)}">{f"t{len(self.asked)}" if rest else ""}</resumptionToken>'
        return f"<ListRecords>{found}{end if rest or token else ''}</ListRecords>"

    def _write_record(self, name: str) -> str:
        moment, content = self.records[name]
        header = f"<header{' status=' + chr(34) + 'deleted' + chr(34) if content is None else ''}><identifier>{name}</identifier><datestamp>{moment}</datestamp></header>"
        return f"<record>{header}{f'<metadata>{content}</metadata>' if content is not None else ''}</record>"

"""Harvest repositories by OAI-PMH 2.0, and keep their records in files.

A harvest takes what changed since the last one. The answer of a repository is taken as a whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from lxml import etree
from pydantic import Field

from hven.formats.api.xml_input import find_local_name
from hven.model import split_address
from hven.model.errors import SourceError, UserError
from hven.sources.api.rows import DataFile, Texts
from hven.sources.api.services import (
    BrokenAnswerError,
    RequestOptions,
    RunBudget,
    ServiceClient,
    extract_error_text,
    resolve_token_or_login,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from hven.sources import SourceContext

OAI_NAMESPACE = "{http://www.openarchives.org/OAI/2.0/}"
RESOURCE_ELEMENT = "{http://www.ivoa.net/xml/RegistryInterface/v1.0}Resource"
XSI_TYPE_ATTRIBUTE = "{http://www.w3.org/2001/XMLSchema-instance}type"
VOLUME_COUNT = 256  # files of a harvest: when a record changes, one of them is read again
MAX_ANSWER_BYTES = 64 << 20  # an answer is held in memory
MAX_ANSWERS = 1_000_000  # of one list
SAFE_PARSER_OPTIONS: dict[str, Any] = {
    "resolve_entities": False,
    "no_network": True,
    "load_dtd": False,
    "huge_tree": False,
    "remove_comments": True,
    "remove_pis": True,
}
# a record may have several of these elements, and only their numbers distinguish them
NUMBERED_ELEMENTS = ("capability", "interface", "schema", "table")
CANONICAL_PREFIXES = {
    "ConeSearch": "cs",
    "RegistryInterface": "ri",
    "SIA": "sia",
    "SLAP": "slap",
    "SSA": "ssap",
    "TAPRegExt": "tr",
    "VORegistry": "vg",
    "VOResource": "vr",
    "VODataService": "vs",
    "StandardsRegExt": "vstd",
    "DocRegExt": "doc",
}
_IVOA_NAMESPACE_PATTERN = re.compile(r"http://www\.ivoa\.net/xml/(\w+)/v[\d.]+")
UNCHANGED_REMARK = "Hven discarded this harvest and kept the earlier records"


class HarvestOptions(RequestOptions):
    """What a descriptor may state about repositories."""

    url: Texts = Field(
        min_length=1,
        description=(
            "Address of the repository, without `?verb=`, or a list of addresses. If several repositories contain the "
            "same record, Hven uses the record from the first of them."
        ),
        examples=["https://archive.example/oai"],
    )
    prefix: str = Field(
        "ivo_vor", description="The format in which Hven requests records (`metadataPrefix`).", examples=["oai_dc"]
    )
    set: str | None = Field(
        None,
        description="Hven reads only records from this set. The set `ivo_managed` contains the registry's own records.",
        examples=["ivo_managed"],
    )
    overlap: float = Field(
        86_400.0,
        ge=0,
        description=(
            "Each harvest also requests changes from this many seconds before the previous harvest, because clocks may "
            "differ."
        ),
        examples=[172800],
    )
    full: float = Field(
        30 * 86_400.0,
        ge=0,
        description=(
            "Number of seconds after which Hven requests all records again. If a repository does not report deletions, "
            "Hven requests all records each time."
        ),
        examples=[604800],
    )


class OaiHarvest:
    """The records of some repositories, in a directory.

    Parameters
    ----------
    options, context
        Options and context of the source.
    directory
        Directory in which the records are kept.
    first_page_only
        True: only the first answer of each repository is requested, for a first look.
    """

    def __init__(
        self, options: HarvestOptions, context: SourceContext, directory: Path, *, first_page_only: bool = False
    ) -> None:
        identity = [sorted(options.url), options.prefix, options.set]
        identity_text = json.dumps(identity)
        self.directory = directory / f"oai-{hashlib.sha256(identity_text.encode()).hexdigest()[:12]}"
        self.options = options
        self.context = context
        self.first_page_only = first_page_only
        hosts = dict.fromkeys(split_address(url).netloc.rpartition("@")[2] for url in options.url)
        hosts_text = ", ".join(hosts)
        self._budget = RunBudget(options, f"the harvest of {hosts_text:.200}", "or harvest fewer registries at a time")
        self._secret = resolve_token_or_login(options.token, options.login, context)

    # --- files ---------------------------------------------------------------------------------------------------

    def harvest_and_list_files(self) -> list[DataFile]:
        """List the files of records; new records are fetched first, once in a run."""
        state = self._read_state()
        if not self.context.run_name or state.get("run") != self.context.run_name:
            self._harvest_repositories(state)
        paths = sorted(self.directory.glob("*.xml"))
        return [DataFile(path=path, name=f"{self.directory.name}/{path.name}") for path in paths]

    def _read_state(self) -> dict[str, Any]:
        try:
            stored_state = json.loads((self.directory / "state.json").read_bytes())
        except (OSError, ValueError):  # none yet; or the disk was full then: everything is fetched anew
            return {"repositories": {}}
        if isinstance(stored_state, dict) and isinstance(stored_state.get("repositories"), dict):
            return stored_state
        return {"repositories": {}}

    def _write_state(self, state: Mapping[str, Any]) -> None:
        path = self.directory / "state.json"
        part = path.with_suffix(".part")
        part.write_text(json.dumps(state, indent=1), encoding="utf-8")
        part.replace(path)

    def _harvest_repositories(self, state: dict[str, Any]) -> None:
        """Harvest one repository after the other; a failure is reported, and the others go on."""
        self.directory.mkdir(parents=True, exist_ok=True)
        failed: list[UserError] = []
        for url in self.options.url:
            try:
                last_state = state["repositories"].get(url)
                state["repositories"][url] = self._harvest_repository(url, last_state)
            except UserError as error:
                failed.append(error)
                if self.context.on_notice is not None:
                    if url in state["repositories"]:
                        remark = "Hven keeps the records of its last harvest"
                    else:
                        remark = "Hven has no records from it"
                    self.context.on_notice(f"{url} was not harvested ({remark}): {error.message}")
            else:
                self._write_state(state)
        if len(failed) == len(self.options.url):
            raise failed[0]
        state["run"] = self.context.run_name
        self._write_state(state)

    # --- one repository ------------------------------------------------------------------------------------------

    def _harvest_repository(self, url: str, harvest_state: Mapping[str, str] | None) -> dict[str, str]:
        options = self.options
        service = ServiceClient(
            url,
            self.context,
            options=options,
            authorization=self._secret,
            budget=self._budget,
        )
        repository = _OaiRepository(url, service, self._budget)
        incoming = self.directory / "incoming"
        with service.keep_connections_open():
            repository.identify()
            begun = repository.response_time or datetime.now(UTC)
            is_full_harvest = harvest_state is None or repository.forgets_deletions
            since = None
            if harvest_state is not None and not is_full_harvest:
                age = begun - _parse_timestamp(harvest_state["full"])
                is_full_harvest = age >= timedelta(seconds=options.full)
            if harvest_state is not None and not is_full_harvest:
                timestamp = _parse_timestamp(harvest_state["since"])
                since = timestamp - timedelta(seconds=options.overlap)
            try:
                shutil.rmtree(incoming, ignore_errors=True)
                incoming.mkdir()
                self._fetch_records_into_volumes(repository, since, incoming)
                self._merge_incoming(url, incoming, replaces_all=is_full_harvest)
            finally:
                shutil.rmtree(incoming, ignore_errors=True)
        for skip_reason, count in repository.skipped_counts.items():
            if self.context.on_notice is not None:
                self.context.on_notice(f"{url}: {count:,} records were left out: {skip_reason}")
        moment = begun.isoformat(timespec="seconds")
        full_moment = moment
        if harvest_state is not None and not is_full_harvest:
            full_moment = harvest_state["full"]
        return {"since": moment, "full": full_moment}

    def _fetch_records_into_volumes(
        self, repository: _OaiRepository, start_time: datetime | None, incoming: Path
    ) -> None:
        """Write the records of a repository into pieces, one for each file that they will change."""
        count = 0
        for records in repository.list_records(self.options.prefix, self.options.set, start_time):
            pieces: dict[str, list[bytes]] = defaultdict(list)
            for name, record in records:
                text = etree.tostring(record, encoding="utf-8", with_tail=False)
                pieces[_choose_volume_file_name(name)].append(text)
                count += 1
            for volume, texts in pieces.items():
                with (incoming / volume).open("ab") as file:
                    file.writelines(texts)
            if self.context.on_progress is not None:
                self.context.on_progress(count, max(repository.stated_record_count, count))
            if self.first_page_only:
                return

    def _merge_incoming(self, url: str, incoming: Path, *, replaces_all: bool) -> None:
        """Merge the fetched records into the files; files whose records did not change stay untouched."""
        incoming_volumes = {path.name for path in incoming.iterdir()}
        volumes = set(incoming_volumes)
        if replaces_all:
            volumes |= {path.name for path in self.directory.glob("*.xml")}
        for volume in sorted(volumes):
            path = self.directory / volume
            before = b""
            if path.exists():
                before = path.read_bytes()
            records = {_find_record_key(record): record for record in _parse_records(before)}
            if replaces_all:
                records = {key: record for key, record in records.items() if key[1] != url}
            incoming_text = b""
            if volume in incoming_volumes:
                incoming_text = b"<records>" + (incoming / volume).read_bytes() + b"</records>"
            for record in _parse_records(incoming_text):
                record.set("repository", url)
                records.pop(_find_record_key(record), None)  # the last one counts
                if record.get("status") != "deleted":
                    records[_find_record_key(record)] = record
            after = self._serialize_records(records)
            if after == before:
                continue
            if not after:
                path.unlink()
                continue
            part = path.with_suffix(".part")
            part.write_bytes(after)
            part.replace(path)

    def _serialize_records(self, records: Mapping[tuple[str, str], etree._Element]) -> bytes:
        """Write a file of records.

        If several repositories have a record, that of the first is a `record`. The others are kept as `other`, for the
        day on which it is gone.
        """
        order = {url: number for number, url in enumerate(self.options.url)}
        known_records = [(name, order[url], record) for (name, url), record in records.items() if url in order]
        seen_names: set[str] = set()
        texts = []
        for name, _, record in sorted(known_records):
            record.tag = "record"
            if name in seen_names:
                record.tag = "other"
            seen_names.add(name)
            texts.append(etree.tostring(record, encoding="utf-8", with_tail=False))
        if texts:
            return b"<records>\n" + b"\n".join(texts) + b"\n</records>\n"
        return b""


class _OaiRepository:
    """A repository, and what it says about itself."""

    def __init__(self, url: str, service: ServiceClient, budget: RunBudget) -> None:
        self.url = url
        self.service = service
        self.budget = budget
        self.forgets_deletions = True  # it does not report deleted records
        self.has_day_granularity = False  # its times are days
        self.response_time: datetime | None = None  # by its clock
        self.stated_record_count = 0
        self.skipped_counts: dict[str, int] = defaultdict(int)

    def identify(self) -> None:
        """Request the repository's description of itself."""
        answer = self._request({"verb": "Identify"})
        identify_element = answer.find(f"{OAI_NAMESPACE}Identify")
        if identify_element is None:
            raise self._build_invalid_answer_error("its response to Identify has no description")
        version = (identify_element.findtext(f"{OAI_NAMESPACE}protocolVersion") or "").strip()
        if version != "2.0":
            raise self._build_invalid_answer_error(f"its OAI-PMH version is {version or '?'}, not 2.0")
        deleted_record = (identify_element.findtext(f"{OAI_NAMESPACE}deletedRecord") or "no").strip()
        self.forgets_deletions = deleted_record == "no"
        self.has_day_granularity = "T" not in (identify_element.findtext(f"{OAI_NAMESPACE}granularity") or "")
        self.response_time = _parse_response_date(answer.findtext(f"{OAI_NAMESPACE}responseDate"))

    def list_records(
        self, prefix: str, set_name: str | None, start_time: datetime | None
    ) -> Iterator[list[tuple[str, etree._Element]]]:
        """Yield the records of one answer after the other, each with its name.

        A token that the repository has forgotten restarts the list, once.
        """
        first = {"verb": "ListRecords", "metadataPrefix": prefix}
        if set_name:
            first["set"] = set_name
        if start_time is not None:
            time_format = "%Y-%m-%dT%H:%M:%SZ"
            if self.has_day_granularity:
                time_format = "%Y-%m-%d"
            first["from"] = start_time.strftime(time_format)
        arguments = first
        tokens = set[str]()
        may_restart = True
        for _ in range(MAX_ANSWERS):
            answer = self._request(arguments)
            error = answer.find("{*}error")  # Daiquiri writes it without a namespace
            code = _read_error_code(error)
            if code == "noRecordsMatch":
                return
            if code == "badResumptionToken" and may_restart and arguments is not first:
                arguments, may_restart = first, False
                tokens.clear()
                continue
            if error is not None:
                raise SourceError(
                    f"{self.url} rejected the request: {code} {_read_text(error)}",
                    remedy=f"check `prefix` and `set`; {UNCHANGED_REMARK}",
                )
            records_element = answer.find(f"{OAI_NAMESPACE}ListRecords")
            if records_element is None:
                raise self._build_invalid_answer_error("its response to ListRecords contains no list of records")
            parsed_records = map(self._parse_record, records_element.iterfind(f"{OAI_NAMESPACE}record"))
            yield [parsed_record for parsed_record in parsed_records if parsed_record is not None]
            token = records_element.find(f"{OAI_NAMESPACE}resumptionToken")
            text = _read_text(token)
            if not text:
                return
            if token is not None and (size := token.get("completeListSize", "")).isdigit():
                self.stated_record_count = int(size)
            if text in tokens:
                raise self._build_invalid_answer_error("it returned the same resumption token twice")
            tokens.add(text)
            arguments = {"verb": "ListRecords", "resumptionToken": text}
        raise self._build_invalid_answer_error(f"its list of records has not ended after {MAX_ANSWERS:,} responses")

    def _parse_record(self, element: etree._Element) -> tuple[str, etree._Element] | None:
        header = element.find(f"{OAI_NAMESPACE}header")
        name = ""
        if header is not None:
            name = _read_text(header.find(f"{OAI_NAMESPACE}identifier"))
        if header is None or not name:
            raise self._build_invalid_answer_error("a record has no identifier")
        metadata = element.find(f"{OAI_NAMESPACE}metadata")
        content = None
        if metadata is not None:
            content = next(metadata.iterchildren(etree.Element), None)
        datestamp = _read_text(header.find(f"{OAI_NAMESPACE}datestamp"))
        record = etree.Element("record", identifier=name, datestamp=datestamp)
        ivoid = name.casefold()
        if header.get("status") == "deleted":
            record.set("status", "deleted")
        elif content is None:
            self.skipped_counts["they are empty"] += 1
            return None
        elif content.tag == RESOURCE_ELEMENT:
            if _read_text(content.find("{*}identifier")).casefold() != ivoid:
                self.skipped_counts["their own identifier differs from the identifier in their header"] += 1
                return None
            if content.get("status", "active") != "active":
                record.set("status", "deleted")
            else:
                _canonicalize_resource(content)
        if record.get("status") != "deleted" and content is not None:
            record.append(content)
            content.tail = None
        return ivoid, record

    def _request(self, arguments: Mapping[str, str]) -> etree._Element:
        separator = "?"
        if "?" in self.url:
            separator = "&"
        url = f"{self.url}{separator}{urlencode(arguments)}"

        def request_once() -> bytes:
            with self.service.request("GET", url, headers={"Accept": "text/xml, application/xml"}) as answer:
                if answer.status in {500, 408}:
                    raise BrokenAnswerError(f"returned status {answer.status}: {extract_error_text(answer)}")
                if answer.status != 200:
                    raise SourceError(
                        f"{self.url} returned status {answer.status}: {extract_error_text(answer)}",
                        remedy=f"check the address; {UNCHANGED_REMARK}",
                    )
                return self.budget.read_answer_within_limit(answer.parts, MAX_ANSWER_BYTES)

        data = self.service.retry(request_once)
        try:
            root = etree.fromstring(data, etree.XMLParser(**SAFE_PARSER_OPTIONS))
        except etree.XMLSyntaxError as error:
            raise self._build_invalid_answer_error(
                f"its response to {arguments['verb']} is not XML ({error.msg}), but {extract_error_text(data)[:200]!r}"
            ) from error
        if root.tag != f"{OAI_NAMESPACE}OAI-PMH":
            raise self._build_invalid_answer_error(
                f"the root element of its response to {arguments['verb']} is {root.tag}, not OAI-PMH"
            )
        return root

    def _build_invalid_answer_error(self, why: str) -> SourceError:
        return SourceError(
            f"{self.url} was not harvested: {why}",
            remedy=f"check the address, and report the error to the repository's operators; {UNCHANGED_REMARK}",
        )


def _canonicalize_resource(resource: etree._Element) -> None:
    """Give the types in a VO resource canonical prefixes (RegTAP 1.2 sec. 5), and its parts a `number` (sec. 3)."""
    counts: dict[str, int] = defaultdict(int)
    for element in resource.iter(etree.Element):
        kind = element.get(XSI_TYPE_ATTRIBUTE)
        if kind is not None:
            prefix, _, name = kind.strip().rpartition(":")
            namespace_match = _IVOA_NAMESPACE_PATTERN.fullmatch(element.nsmap.get(prefix or None) or "")
            if namespace_match is not None and namespace_match[1] in CANONICAL_PREFIXES:
                element.set(XSI_TYPE_ATTRIBUTE, f"{CANONICAL_PREFIXES[namespace_match[1]]}:{name}")
        tag = find_local_name(element.tag)
        if tag in NUMBERED_ELEMENTS:
            counts[tag] += 1
            element.set("number", str(counts[tag]))


def _parse_records(data: bytes) -> Iterator[etree._Element]:
    if not data:
        return
    parser = etree.XMLParser(remove_blank_text=False, huge_tree=True, resolve_entities=False)
    root = etree.fromstring(data, parser)
    for record in root.iterchildren("record", "other"):
        record.tail = None
        yield record


def _find_record_key(record: etree._Element) -> tuple[str, str]:
    return record.get("identifier", "").casefold(), record.get("repository", "")


def _choose_volume_file_name(name: str) -> str:
    digest = hashlib.sha256(name.encode()).digest()
    return f"{digest[0] % VOLUME_COUNT:02x}.xml"


def _read_error_code(error: etree._Element | None) -> str:
    if error is None:
        return ""
    return error.get("code", "")


def _read_text(element: Any) -> str:
    if element is not None:
        return "".join(element.itertext()).strip()
    return ""


def _parse_timestamp(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _parse_response_date(text: str | None) -> datetime | None:
    try:
        timestamp = datetime.fromisoformat((text or "").strip())
    except ValueError:
        return None
    if timestamp.tzinfo is not None:
        return timestamp
    return timestamp.replace(tzinfo=UTC)

"""Harvests of OAI-PMH 2.0: what changed in repositories since the last time, taken as a whole or not at all, and kept as files of records."""

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

from hven.model import split_address
from hven.model.errors import SourceError, UserError
from hven.sources._reading.files import DataFile, Texts
from hven.sources._reading.service import AskedOptions, Broken, Budget, Service, authorization, words
from hven.sources._reading.xmlrows import local_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from hven.sources import Context

OAI = "{http://www.openarchives.org/OAI/2.0/}"
RESOURCE = "{http://www.ivoa.net/xml/RegistryInterface/v1.0}Resource"
TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"
VOLUMES = 256  # files of a harvest: a record that changes lets a 256th be read again
LARGEST = 64 << 20  # bytes of one answer: it is held in memory
PAGES = 1_000_000  # answers of one list, at most
SAFE: dict[str, Any] = {"resolve_entities": False, "no_network": True, "load_dtd": False, "huge_tree": False, "remove_comments": True, "remove_pis": True}  # fmt: skip
NUMBERED = ("capability", "interface", "schema", "table")  # of which a record has several, told apart by nothing else
PREFIXES = {
    "ConeSearch": "cs", "RegistryInterface": "ri", "SIA": "sia", "SLAP": "slap", "SSA": "ssap", "TAPRegExt": "tr", "VORegistry": "vg",
    "VOResource": "vr", "VODataService": "vs", "StandardsRegExt": "vstd", "DocRegExt": "doc",
}  # fmt: skip
_SCHEMA = re.compile(r"http://www\.ivoa\.net/xml/(\w+)/v[\d.]+")
STAYS = "nothing of this harvest was taken: what was there before stays"


class HarvestOptions(AskedOptions):
    """What a descriptor may say of repositories."""

    url: Texts = Field(min_length=1, description="Address of the repository, without `?verb=`; or several: of a record that more than one has, that of the first counts.")  # fmt: skip
    prefix: str = Field("ivo_vor", description="In which form records are asked for (`metadataPrefix`): `ivo_vor`, `oai_dc`.")  # fmt: skip
    set: str | None = Field(None, description="Only records of this set: `ivo_managed`, those that are a registry's own.")  # fmt: skip
    overlap: float = Field(86_400.0, ge=0, description="Seconds before the last harvest that are asked for again: clocks differ.")  # fmt: skip
    full: float = Field(30 * 86_400.0, ge=0, description="Seconds after which everything is asked for again: not every repository tells of every change.")  # fmt: skip


class Harvest:
    """The records of some repositories, in a directory.

    Parameters
    ----------
    options, context
        Of the source.
    directory
        Where they are kept.
    first
        Only the first answer of each repository is asked for: somebody looks what there is.
    """

    def __init__(self, options: HarvestOptions, context: Context, directory: Path, *, first: bool = False) -> None:
        said = json.dumps([sorted(options.url), options.prefix, options.set])
        self.directory = directory / f"oai-{hashlib.sha256(said.encode()).hexdigest()[:12]}"
        self.options, self.context, self.first = options, context, first
        hosts = ", ".join(dict.fromkeys(split_address(url).netloc.rpartition("@")[2] for url in options.url))
        self._budget = Budget(options, f"the harvest of {hosts:.200}", "or harvest fewer registries at once")
        self._secret = authorization(options.token or options.login, context, "Bearer" if options.token else "Basic")

    # --- files ---------------------------------------------------------------------------------------------------

    def files(self) -> list[DataFile]:
        """List the files of records; what is new is fetched first, once in a run."""
        state = self._state()
        if not self.context.run or state.get("run") != self.context.run:
            self._update(state)
        found = sorted(self.directory.glob("*.xml"))
        return [DataFile(path=path, name=f"{self.directory.name}/{path.name}") for path in found]

    def _state(self) -> dict[str, Any]:
        try:
            found = json.loads((self.directory / "state.json").read_bytes())
        except (OSError, ValueError):  # none yet; or the disk was full then: everything is fetched anew
            return {"repositories": {}}
        return (
            found if isinstance(found, dict) and isinstance(found.get("repositories"), dict) else {"repositories": {}}
        )

    def _keep(self, state: Mapping[str, Any]) -> None:
        path = self.directory / "state.json"
        part = path.with_suffix(".part")
        part.write_text(json.dumps(state, indent=1), encoding="utf-8")
        part.replace(path)

    def _update(self, state: dict[str, Any]) -> None:
        """Harvest one repository after the other; one that fails is told, and the others go on."""
        self.directory.mkdir(parents=True, exist_ok=True)
        failed: list[UserError] = []
        for url in self.options.url:
            try:
                state["repositories"][url] = self._harvest(url, state["repositories"].get(url))
            except UserError as error:
                failed.append(error)
                if self.context.tell is not None:
                    kept = "its records of last time stay" if url in state["repositories"] else "there is nothing of it"
                    self.context.tell(f"{url} was not harvested, and {kept}: {error.message}")
            else:
                self._keep(state)
        if len(failed) == len(self.options.url):
            raise failed[0]
        state["run"] = self.context.run
        self._keep(state)

    # --- one repository ------------------------------------------------------------------------------------------

    def _harvest(self, url: str, known: Mapping[str, str] | None) -> dict[str, str]:
        said = self.options
        service = Service(
            url,
            self.context,
            seconds=said.seconds,
            tries=said.tries,
            rate=said.rate,
            secret=self._secret,
            budget=self._budget,
        )
        asking = _Repository(url, service, self._budget)
        incoming = self.directory / "incoming"
        with service.connected():
            asking.identify()
            begun = asking.now or datetime.now(UTC)
            whole = known is None or asking.forgets or begun - _moment(known["full"]) >= timedelta(seconds=said.full)
            since = None if known is None or whole else _moment(known["since"]) - timedelta(seconds=said.overlap)
            try:
                shutil.rmtree(incoming, ignore_errors=True)
                incoming.mkdir()
                self._fetch(asking, since, incoming)
                self._take(url, incoming, whole=whole)
            finally:
                shutil.rmtree(incoming, ignore_errors=True)
        for what, count in asking.odd.items():
            if self.context.tell is not None:
                self.context.tell(f"{url}: {count:,} records were left out: {what}")
        moment = begun.isoformat(timespec="seconds")
        return {"since": moment, "full": moment if whole or known is None else known["full"]}

    def _fetch(self, asking: _Repository, since: datetime | None, incoming: Path) -> None:
        """Write what a repository gives into pieces, one for each file that it will change."""
        count = 0
        for records in asking.records(self.options.prefix, self.options.set, since):
            pieces: dict[str, list[bytes]] = defaultdict(list)
            for name, record in records:
                pieces[_volume(name)].append(etree.tostring(record, encoding="utf-8", with_tail=False))
                count += 1
            for volume, texts in pieces.items():
                with (incoming / volume).open("ab") as file:
                    file.writelines(texts)
            if self.context.shows is not None:
                self.context.shows(count, max(asking.size, count))
            if self.first:
                return

    def _take(self, url: str, incoming: Path, *, whole: bool) -> None:
        """Put what came into the files; those whose records are as they were stay untouched."""
        came = {path.name for path in incoming.iterdir()}
        for volume in sorted(came | ({path.name for path in self.directory.glob("*.xml")} if whole else set())):
            path = self.directory / volume
            before = path.read_bytes() if path.exists() else b""
            found = {_key(one): one for one in _records(before)}
            if whole:
                found = {key: one for key, one in found.items() if key[1] != url}
            piece = incoming / volume
            for one in _records(b"<records>" + piece.read_bytes() + b"</records>") if volume in came else ():
                one.set("repository", url)
                found.pop(_key(one), None)  # the last word counts
                if one.get("status") != "deleted":
                    found[_key(one)] = one
            after = self._written(found)
            if after == before:
                continue
            if not after:
                path.unlink()
                continue
            part = path.with_suffix(".part")
            part.write_bytes(after)
            part.replace(path)

    def _written(self, found: Mapping[tuple[str, str], etree._Element]) -> bytes:
        """Write a file: of the records of one name that of the first repository, the others under another word, for the day that it is gone."""
        order = {url: at for at, url in enumerate(self.options.url)}
        kept = sorted((name, order[url], one) for (name, url), one in found.items() if url in order)
        seen: set[str] = set()
        texts = []
        for name, _, one in kept:
            one.tag = "other" if name in seen else "record"
            seen.add(name)
            texts.append(etree.tostring(one, encoding="utf-8", with_tail=False))
        return b"<records>\n" + b"\n".join(texts) + b"\n</records>\n" if texts else b""


class _Repository:
    """A repository that is asked, and what it says of itself."""

    def __init__(self, url: str, service: Service, budget: Budget) -> None:
        self.url, self.service, self.budget = url, service, budget
        self.forgets = True  # records that are gone are not told
        self.days = False  # its times are days
        self.now: datetime | None = None  # by its clock
        self.size = 0
        self.odd: dict[str, int] = defaultdict(int)

    def identify(self) -> None:
        """Ask what it is."""
        said = self._asked({"verb": "Identify"})
        found = said.find(f"{OAI}Identify")
        if found is None:
            raise self._rubbish("it does not say what it is (Identify)")
        version = (found.findtext(f"{OAI}protocolVersion") or "").strip()
        if version != "2.0":
            raise self._rubbish(f"it speaks version {version or '?'} of OAI-PMH, not 2.0")
        self.forgets = (found.findtext(f"{OAI}deletedRecord") or "no").strip() == "no"
        self.days = "T" not in (found.findtext(f"{OAI}granularity") or "")
        self.now = _time(said.findtext(f"{OAI}responseDate"))

    def records(
        self, prefix: str, part: str | None, since: datetime | None
    ) -> Iterator[list[tuple[str, etree._Element]]]:
        """Give the records of one answer after the other, each with its name; a token that is not known any more begins the list anew, once."""
        first = {"verb": "ListRecords", "metadataPrefix": prefix, **({"set": part} if part else {})}
        if since is not None:
            first["from"] = since.strftime("%Y-%m-%d" if self.days else "%Y-%m-%dT%H:%M:%SZ")
        asked, tokens, again = first, set[str](), True
        for _ in range(PAGES):
            said = self._asked(asked)
            error = said.find(f"{OAI}error")
            code = error.get("code", "") if error is not None else ""
            if code == "noRecordsMatch":
                return
            if code == "badResumptionToken" and again and asked is not first:
                asked, again = first, False
                tokens.clear()
                continue
            if error is not None:
                raise SourceError(
                    f"{self.url} refuses: {code} {_text(error)}", remedy=f"look at `prefix` and `set`; {STAYS}"
                )
            found = said.find(f"{OAI}ListRecords")
            if found is None:
                raise self._rubbish("it answers a request for records with none")
            yield [one for record in found.iterfind(f"{OAI}record") if (one := self._record(record)) is not None]
            token = found.find(f"{OAI}resumptionToken")
            text = _text(token)
            if not text:
                return
            if token is not None and (size := token.get("completeListSize", "")).isdigit():
                self.size = int(size)
            if text in tokens:
                raise self._rubbish("it leads round and round: a token comes again")
            tokens.add(text)
            asked = {"verb": "ListRecords", "resumptionToken": text}
        raise self._rubbish(f"its list has no end after {PAGES:,} answers")

    def _record(self, given: etree._Element) -> tuple[str, etree._Element] | None:
        header = given.find(f"{OAI}header")
        name = _text(header.find(f"{OAI}identifier")) if header is not None else ""
        if header is None or not name:
            raise self._rubbish("a record has no identifier")
        metadata = given.find(f"{OAI}metadata")
        content = next(metadata.iterchildren(etree.Element), None) if metadata is not None else None
        record = etree.Element("record", identifier=name, datestamp=_text(header.find(f"{OAI}datestamp")))
        ivoid = name.casefold()
        if header.get("status") == "deleted":
            record.set("status", "deleted")
        elif content is None:
            self.odd["they hold nothing"] += 1
            return None
        elif content.tag == RESOURCE:
            if _text(content.find("{*}identifier")).casefold() != ivoid:
                self.odd["their header has another identifier than they have"] += 1
                return None
            if content.get("status", "active") != "active":
                record.set("status", "deleted")
            else:
                _canonical(content)
        if record.get("status") != "deleted" and content is not None:
            record.append(content)
            content.tail = None
        return ivoid, record

    def _asked(self, arguments: Mapping[str, str]) -> etree._Element:
        url = f"{self.url}{'&' if '?' in self.url else '?'}{urlencode(arguments)}"

        def ask() -> bytes:
            with self.service.asked("GET", url, headers={"Accept": "text/xml, application/xml"}) as answer:
                if answer.status in {500, 408}:
                    raise Broken(f"answers {answer.status}: {words(answer)}")
                if answer.status != 200:
                    raise SourceError(
                        f"{self.url} answers {answer.status}: {words(answer)}", remedy=f"look at its address; {STAYS}"
                    )
                return self.budget.read(answer.parts, LARGEST)

        data = self.service.tried(ask)
        try:
            root = etree.fromstring(data, etree.XMLParser(**SAFE))
        except etree.XMLSyntaxError as error:
            raise self._rubbish(
                f"its answer to {arguments['verb']} is no XML: {error.msg}: {words(data)[:200]}"
            ) from error
        if root.tag != f"{OAI}OAI-PMH":
            raise self._rubbish(f"its answer to {arguments['verb']} is no OAI-PMH, but {root.tag}")
        return root

    def _rubbish(self, why: str) -> SourceError:
        return SourceError(
            f"{self.url} is not harvested: {why}", remedy=f"look at its address, and tell its owners; {STAYS}"
        )


def _canonical(resource: etree._Element) -> None:
    """Give the types in a record of the Virtual Observatory their canonical prefixes (RegTAP 1.2 sec. 5), and its parts a `number` (sec. 3)."""
    counts: dict[str, int] = defaultdict(int)
    for one in resource.iter(etree.Element):
        if (kind := one.get(TYPE)) is not None:
            prefix, _, name = kind.strip().rpartition(":")
            known = _SCHEMA.fullmatch(one.nsmap.get(prefix or None) or "")
            if known is not None and known[1] in PREFIXES:
                one.set(TYPE, f"{PREFIXES[known[1]]}:{name}")
        if (tag := local_name(one.tag)) in NUMBERED:
            counts[tag] += 1
            one.set("number", str(counts[tag]))


def _records(data: bytes) -> Iterator[etree._Element]:
    if not data:
        return
    root = etree.fromstring(data, etree.XMLParser(remove_blank_text=False, huge_tree=True, resolve_entities=False))
    for one in root.iterchildren("record", "other"):
        one.tail = None
        yield one


def _key(record: etree._Element) -> tuple[str, str]:
    return record.get("identifier", "").casefold(), record.get("repository", "")


def _volume(name: str) -> str:
    return f"{hashlib.sha256(name.encode()).digest()[0] % VOLUMES:02x}.xml"


def _text(element: Any) -> str:
    return "".join(element.itertext()).strip() if element is not None else ""


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _time(text: str | None) -> datetime | None:
    try:
        found = datetime.fromisoformat((text or "").strip())
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)

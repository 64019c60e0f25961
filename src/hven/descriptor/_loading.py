"""`load` and `check`: a file -> a `Resource`, or every fault at once."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hven import adql
from hven.adql.tree import TableRef, walk
from hven.descriptor._bound_endpoints import unanswered
from hven.descriptor._citation_keys import cited, person
from hven.descriptor._columns import check_name
from hven.descriptor._derived import QUERY, Derived, is_file, opened
from hven.descriptor._expression_names import written
from hven.descriptor._file_contents import FileContents
from hven.descriptor._files import files_table, named_by
from hven.descriptor._keys import ASSIGNMENTS, Collection
from hven.descriptor._linked_tables import unlinked
from hven.descriptor._merging import STANDARDS, Gathered, apply_standard, expand, gather, shown, standards
from hven.descriptor._options import plain
from hven.descriptor._python_functions import functions
from hven.descriptor._registry_keys import registration
from hven.descriptor._simulated import marked
from hven.descriptor._syncing import schedule
from hven.descriptor.live_queries import against_database, faults_of, is_live
from hven.descriptor.mapping import compile as compile_mapping
from hven.descriptor.mapping import doubted
from hven.descriptor.observations import OBSCORE, RADIO, described, member
from hven.descriptor.services import unserved
from hven.descriptor.tables import PUSH, Inherited, table_spec
from hven.descriptor.value_schema import Fields, in_order, kind
from hven.descriptor.written import Entries, Written, retyped
from hven.model import plugins
from hven.model.errors import DescriptorError, Fault, HvenError, Place, meant, nearest
from hven.model.resource import Example, Person, Resource, SourceSpec, TableSpec, Test
from hven.model.settings import Settings
from hven.model.table import Wording
from hven.sources.enriched import with_documents

if TYPE_CHECKING:
    from pathlib import Path

    from hven.descriptor.value_schema import Faults
    from hven.model.table import Table

SERVICES = (
    "tap",
    "cone",
    "sia",
    "sia2",
    "ssa",
    "datalink",
    "soda",
    "hapi",
    "das2",
    "timelines",
    "epn-tap",
    "obscore",
    "oai",
    "portal",
    "tfcat",
    "maps",
    "files",
    "previews",
    "cubes",
    "conversions",
    "hips",
    "endpoints",
)
TAKEN = {
    "tap_schema": "the TAP standard",
    "tap_upload": "the TAP standard",
    "uws": "the UWS standard",
    "tap_user": "the tables that readers keep here",
    "ivoa": "ObsCore, whose table ivoa.obscore is made from all collections",
}
TEXTS = (
    "publisher",
    "licence",
    "licence_url",
    "citation",
    "bibcode",
    "doi",
    "utype",
    "reference_url",
    "short_name",
    "created",
)
LISTS = ("services", "subjects", "facility", "instrument", "waveband", "content_level", "type", "prepare")


def load(path: Path, settings: Settings, contents: FileContents | None = None) -> Resource:
    """Read a descriptor.

    Parameters
    ----------
    path
        The file, ``collections/<name>/<name>.yaml``.
    settings
        The site: defaults, standards of its own, what ``{site.url}`` is.
    contents
        Files that are read otherwise than from the disk; None: there are none.

    Returns
    -------
    resource
        The collection.

    Raises
    ------
    DescriptorError
        It has faults: all of them, each with file:line:column, what was expected and the nearest right word.
    """
    resource, faults = read(path, settings, contents=contents)
    errors = [fault for fault in faults if fault.severity == "error"]
    if errors or resource is None:
        raise DescriptorError(errors)
    return resource


def check(path: Path, settings: Settings, *, sources: bool = True, data: bytes | None = None) -> list[Fault]:
    """Validate a descriptor.

    Parameters
    ----------
    path
        Of the descriptor.
    settings
        Of the site.
    sources
        True: sources that are files are opened, and the expressions checked against their columns.
    data
        What the file is to be, before it is written; None: as it is. Its sources are not opened then.

    Returns
    -------
    faults
        Errors and warnings, in the order of its lines.
    """
    if data is None:
        return checked(path, settings, sources=sources)[1]
    return read(path, settings, contents=FileContents.replacing(path, data))[1]


def checked(path: Path, settings: Settings, *, sources: bool = True) -> tuple[Resource | None, list[Fault]]:
    """Validate a descriptor, and give what was read: to read it again takes as long.

    Parameters
    ----------
    path
        Of the descriptor.
    settings
        Of the site.
    sources
        As of `check`.

    Returns
    -------
    resource, faults
        None: it cannot be read; with errors it is not to be used.
    """
    resource, faults = read(path, settings)
    if not sources or resource is None:
        return resource, faults
    faults += to_fill(path, settings)
    wrong = {(fault.place.file, fault.place.line) for fault in faults if fault.severity == "error"}
    faults += _views_of_private_tables(resource)
    derived = Derived(resource, settings, lambda name: _other(name, settings))
    tables: list[Table] = []  # as they will be: with the columns of their sources
    for spec in resource.tables:
        found = _of_what_is_written(spec, _against_sources(spec, resource, settings, derived, tables), settings)
        # a line that has a fault already says nothing reliable about what follows from it
        faults += [
            fault
            for fault in found
            if fault not in faults
            and (fault.place.file, fault.place.line) not in wrong
            and not _follows(fault, spec, faults)
        ]
    if len(tables) == len(resource.tables):
        faults += unserved(resource, tables)
    faults += unlinked(resource, derived)
    told = {fault.place for fault in faults if fault.severity == "error"}
    faults += [fault for fault in unanswered(resource, derived) if fault.place not in told]
    return resource, sorted(dict.fromkeys(faults), key=in_order)


_TO_FILL = re.compile(r"(?:^|\s)#[^#']*\bto fill\b:?\s*(.*)$")


def to_fill(path: Path, settings: Settings) -> list[Fault]:
    """Warn of each ``# to fill`` that ``hven new`` wrote and nobody took away: what stands there is published as it is."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = _TO_FILL.search(line)
        if match is None:
            continue
        said = line[: match.start()].strip()
        what = f"{said.partition(':')[0]} is what hven new put there" if said else "something is still to fill"
        found.append(
            Fault(
                message=what + (f": {match[1]}" if match[1] else ""),
                place=Place(file=shown(path, settings), line=number, column=len(line[: match.start()].rstrip()) + 1),
                remedy="write what is right and take the comment '# to fill' away",
                severity="warning",
            )
        )
    return found


def _of_what_is_written(spec: TableSpec, found: list[Fault], settings: Settings) -> list[Fault]:
    """Drop what a standard asks for if none is called as the table says: only its like is known, or nothing."""
    known = standards(settings)
    if spec.table.standard is None or spec.table.standard in known:
        return found
    if meant(spec.table.standard, known) is None:
        return []
    return [fault for fault in found if not str(fault.place.file).startswith("standard ")]


def _views_of_private_tables(resource: Resource) -> list[Fault]:
    """Warn of views that are called public and read private tables of this collection: only who may see those sees them."""
    closed = {f"{resource.name}.{spec.table.name}".lower() for spec in resource.tables if spec.table.access != "public"}
    reads: dict[str, set[str]] = {}
    views = [spec for spec in resource.tables if spec.table.view is not None and spec.table.access == "public"]
    for spec in views:
        try:
            query = adql.parse(spec.table.view or "")
        except HvenError:  # it is among the faults already
            reads[spec.table.name] = set()
            continue
        # a name without schema may be the name of a WITH, or another collection's table: what is published is looked at by the holdings
        references = (node for node in walk(query) if isinstance(node, TableRef))
        reads[spec.table.name] = {".".join(part.name for part in node.parts).lower() for node in references}
    found: list[Fault] = []
    for _ in views:  # views of views
        for spec in views:
            hidden = sorted(reads[spec.table.name] & closed)
            own = f"{resource.name}.{spec.table.name}".lower()
            if hidden and own not in closed:
                closed.add(own)
                message = f"tables.{spec.table.name}: the view is public, but only those see it who may see {' and '.join(hidden)}"
                found.append(
                    Fault(
                        message=message,
                        place=spec.place,
                        remedy="say `access: private` here, or make that public",
                        severity="warning",
                    )
                )
    return found


def _follows(fault: Fault, spec: TableSpec, faults: list[Fault]) -> bool:
    """Check whether a column has no value only because what should set it was refused."""
    match = re.match(
        rf"tables\.{re.escape(spec.table.name)}\.columns\.(.*): nothing gives this column a value", fault.message
    )
    if match is None:
        return False
    setting = re.compile(
        rf"tables\.{re.escape(spec.table.name)}\.(?:granules\S*\.)?(?:{'|'.join(ASSIGNMENTS)})\.{re.escape(match[1])}\b"
    )
    return any(setting.match(other.message) for other in faults)


def _other(name: str, settings: Settings) -> Resource | None:
    """Read another collection of the site, as far as it can be read."""
    path = settings.collections / name / f"{name}.yaml"
    return read(path, settings)[0] if path.is_file() else None


def _against_sources(
    spec: TableSpec, resource: Resource, settings: Settings, derived: Derived, tables: list[Table]
) -> list[Fault]:
    """Compile a table over its sources, and add it to `tables`. Those that are neither files nor queries are looked at by ingest: they may need secrets."""
    found: dict[Fault, None] = {}
    made: Table | None = spec.table if spec.table.view is not None or (spec.table.columns and not spec.follow) else None
    if is_live(spec):
        return against_database(spec, resource, settings)
    for source in spec.sources:
        try:
            if is_file(source) or source.kind == PUSH:
                rows = opened(source, resource, settings)
                mapping = compile_mapping(spec, with_documents(rows.columns(), source.enrich), resource)
                made = mapping.table
                found |= dict.fromkeys(doubted(mapping, rows, source).warnings)
                found |= dict.fromkeys(_written(spec, source, made, resource) if source.kind == PUSH else ())
                continue
            text = source.options.get("adql") if source.kind == QUERY else None
            columns = derived.columns(text, resource) if isinstance(text, str) else None
            if columns is not None:
                mapping = compile_mapping(spec, with_documents(columns, source.enrich), resource)
                made = mapping.table
                found |= dict.fromkeys(mapping.warnings)
            elif spec.columns_declared:  # what is made of them can be looked at
                found |= dict.fromkeys(_observations(spec, resource))
        except DescriptorError as error:
            found |= dict.fromkeys(error.faults)
        except HvenError as error:
            place = error.place if str(error.place) else source.place
            message = error.message if place is source.place else f"{error.place}: {error.message}"
            found[
                Fault(message=f"tables.{spec.table.name}.source: {message}", place=source.place, remedy=error.remedy)
            ] = None
    tables += [made] if made is not None else []
    return list(found)


def _written(spec: TableSpec, source: SourceSpec, made: Table, resource: Resource) -> list[Fault]:
    """List what keeps clients from writing into a table that is to take rows."""
    what = f"tables.{spec.table.name}"
    origins = {column.name: column.origins for column in made.columns}
    key = {one for name in made.primary for one in origins.get(name, ())}
    found = []
    if not key:
        message = f"{what}: rows can be pushed into tables with a key alone"
        remedy = "primary: one of the columns that are sent, or several"
        found.append(Fault(message=message, place=spec.place, remedy=remedy))
    elif (ids := source.options.get("ids")) is not None and ids not in key:
        message = f"{what}.source.ids: {ids} is no part of the primary key, so that rows without key stay without one"
        found.append(Fault(message=message, place=source.place, remedy=f"ids: {min(key)}, or primary: {ids}"))
    if not source.options.get("writers") and resource.project is None:
        message = f"{what}.source: nobody may write"
        remedy = "writers: [anna], accounts or groups; or project: NAME of the collection, whose contributors may"
        found.append(Fault(message=message, place=source.place, remedy=remedy, severity="warning"))
    return found


def _observations(spec: TableSpec, resource: Resource) -> list[Fault]:
    """Compile what a table gives to ivoa.obscore over the columns that its descriptor says."""
    found: list[Fault] = []
    for view in (OBSCORE, RADIO):
        try:
            member(spec, spec.table, resource, view)
        except DescriptorError as error:
            found += error.faults
    return found


def load_standard(name: str) -> Resource:
    """Load a standard that is shipped (``tap_schema``) as a resource of its own; what a directory holds that somebody works in changes none.

    Parameters
    ----------
    name
        Of the standard.

    Returns
    -------
    resource
        With its tables.

    Raises
    ------
    DescriptorError
        There is none, or it has faults.
    """
    known = standards()
    if name not in known:
        raise DescriptorError([Fault(message=f"no standard is called {name!r}", remedy=nearest(name, known))])
    resource, faults = read(known[name], Settings(directory=STANDARDS.parent), standard=True)
    if resource is None or any(fault.severity == "error" for fault in faults):
        raise DescriptorError(faults)
    return resource


def read(
    path: Path, settings: Settings, *, standard: bool = False, contents: FileContents | None = None
) -> tuple[Resource | None, list[Fault]]:
    """Read a descriptor; return what could be made of it, and all faults and warnings."""
    result = Gathered(contents)
    root = gather(path, settings, result)
    faults = result.faults
    if root is None:
        return None, faults.sorted()
    root = expand(root, ("tables",), "", faults)
    tables = root.get("tables")  # type: ignore[call-overload]
    if isinstance(tables, Entries):
        made = {key: _whole_table(key, value, settings, result) for key, value in tables.items()}
        root = Entries(
            {key: Entries(made, tables.place) if key == "tables" else value for key, value in root.items()}, root.place
        )
    fields = Collection.record.read(root, "", faults)
    if fields is None:
        return None, faults.sorted()
    resource = _resource(path, fields, settings, result, standard=standard)
    return resource, faults.sorted()


def _whole_table(key: Written, value: Any, settings: Settings, result: Gathered) -> Any:
    if not isinstance(value, Entries):
        return value
    table = marked(apply_standard(key, value, settings, result))
    if OBSCORE in table:
        table = _with_observations(table, settings, result)
    return expand(table, ("columns", *ASSIGNMENTS), f"tables.{key}.", result.faults)


def _with_observations(table: Entries, settings: Settings, result: Gathered) -> Entries:
    """Replace ``obscore:`` by tables of the standards."""
    written_ = table.get(OBSCORE)  # type: ignore[call-overload]
    made: dict[Written, Any] = {key: value for key, value in table.items() if key not in {OBSCORE, RADIO}}
    radio = written_.get("radio") if isinstance(written_, Entries) else None  # type: ignore[call-overload]
    for name, value in ((OBSCORE, written_), (RADIO, radio)):
        entries = described(value, table, name, result.faults) if value is not None else None
        if entries is not None:
            key = written(name, entries.place)
            made[key] = apply_standard(key, entries, settings, result)
    return Entries(made, table.place)


def _resource(path: Path, fields: Fields, settings: Settings, result: Gathered, *, standard: bool) -> Resource | None:
    faults = result.faults
    name = fields.get("collection")
    if name is None:
        return None
    _check_collection(name, path, settings, faults, standard=standard)
    constants = _constants(fields, faults)
    python = functions(fields.get("functions", ()), path.parent, result, faults)
    contact = person(fields["contact"], "contact", faults) if "contact" in fields else _site_contact(settings)
    around = Inherited(
        schema=str(name),
        access=_access(fields, name, settings),
        contact=None if contact is None else f"{contact.name} <{contact.email}>" if contact.email else contact.name,
        constants=constants,
        site=_site_words(settings, str(name)),
        files="files" in fields,
        directory=path.parent,
        contents=result.contents,
        hashes=result.hashes,
        standard=standard,
        project=_project(fields, settings, faults),
        readers=tuple(one.name for one in settings.readers),
    )
    specs = _tables(fields, around, faults)
    guarded = any(spec.table.policy is not None and spec.table.policy.path for spec in specs)
    files = files_table(fields.get("files", ()), around, settings.grounds, faults, guarded=guarded)
    for spec in (*specs, *((files,) if files is not None else ())):
        if spec.table.access == "members" and around.project is None:
            message = f"tables.{spec.table.name}.access: the collection has no project whose members could see it"
            faults.error(message, spec.place, "say `project: NAME` of the collection")
    levels = [spec.table.policy for spec in specs if spec.table.policy is not None]
    if files is not None and any(one.path for one in levels):
        files = replace(files, table=files.table.having(access="private"))  # its rows tell which files there are
    elif files is not None and (closed := named_by(fields.get("files", ()), str(name), specs, files)) is not None:
        files = replace(files, table=files.table.having(access="private"))
        message = f"files: not everybody sees the rows of {closed} that name them, so nobody is given them but the site's owner"
        faults.warning(
            message, fields.places["files"], "say path: COLUMN under its access, the column with the file's path"
        )
    elif files is not None and any(one.files or one.take for one in levels):
        message = (
            "access says who may take files, and not which of the collection's files is a row's: all of them are given"
        )
        faults.warning(
            message, fields.places["files"], "say path: COLUMN under access, the column with the file's path"
        )
    if files is not None and any(spec.table.name.lower() == files.table.name for spec in specs):
        faults.error(
            f"tables.{files.table.name}: the collection's files make a table of that name",
            fields.places["files"],
            "name the other one otherwise",
        )
    elif files is not None:
        specs = (*specs, files)
    words = (*SERVICES, *plugins.installed("protocols"))
    for service in fields.get("services", ()):
        if service not in words:
            faults.error(
                f"no service is called {str(service)!r}",
                service.place,
                nearest(service, words) or f"known: {', '.join(words)}",
            )
    served = {*plugins.names("protocols"), "epn-tap", OBSCORE}
    for service in fields.get("services", ()):
        if service in words and service not in served:
            faults.warning(
                f"services: nothing serves {str(service)!r} yet", service.place, "leave it out until something does"
            )
    if fields.get("services") and served.isdisjoint(fields["services"]):
        faults.error(
            "services: nothing serves the collection",
            fields["services"][0].place,
            "name one that is served, or leave services out",
        )
    for spec in specs:
        what = f"tables.{spec.table.name}"
        if spec.table.links and "services" in fields and "datalink" not in fields["services"]:
            faults.warning(
                f"{what}.links: nothing serves them: `services` does not name datalink",
                fields.places["services"],
                "add it to services, or take them out",
            )
        if spec.table.endpoints and "services" in fields and "endpoints" not in fields["services"]:
            faults.warning(
                f"{what}.endpoints: nothing answers them: `services` does not name endpoints",
                fields.places["services"],
                "add it to services, or take them out",
            )
        if spec.obscore is not None and "services" in fields and OBSCORE not in fields["services"]:
            faults.warning(
                f"{what}.obscore: its rows are not in ivoa.obscore: `services` does not name it",
                spec.obscore.place,
                f"add {OBSCORE} to services, or take them out",
            )
    if fields.get("prepare") and files is None:
        faults.error("prepare: the collection has no files", fields.places["prepare"], "add 'files', or take it out")
    engine = _engine(fields.get("engine"), faults)
    if not standard and "tables" not in fields.places and "files" not in fields.places:
        faults.warning("the collection has no tables", name.place, "add 'tables', or 'files'")
    if not standard and "title" not in fields.places:
        faults.warning("the collection has no title", name.place, "add 'title': one line for people")
    short = fields.get("short_name")
    if short is not None and len(short) > 16:
        faults.error(f"short_name has {len(short)} characters; the registry allows 16", short.place)
    return Resource(
        name=str(name),
        title=str(fields.get("title", name)),
        path=path,
        description=_described(fields),
        access="private" if around.access is not None and around.access.get("rows") == "private" else "public",
        project=around.project,
        tables=specs,
        creators=tuple(person(item, "creators", faults) for item in fields.get("creators", ())),
        contact=contact,
        let=constants,
        tests=tuple(_test(item) for item in fields.get("tests", ()) if "query" in item and "expect" in item),
        examples=tuple(_example(item) for item in fields.get("examples", ()) if "query" in item and "title" in item),
        hashes=result.hashes,
        functions=python,
        site=around.site,
        index=fields.get("index"),
        engine=engine,
        schedule=schedule(fields, faults),
        registration=registration(fields, specs, settings, faults),
        **cited(fields, faults),
        **{key: str(fields[key]) for key in TEXTS if key in fields},  # type: ignore[arg-type]
        **{key: tuple(str(item) for item in fields[key]) for key in LISTS if key in fields},  # type: ignore[arg-type]
    )


def _described(fields: Fields) -> str | None:
    said = str(fields["description"]) if "description" in fields else None
    return said if said is None or isinstance(said, Wording) else said.strip()


def _engine(name: Written | None, faults: Faults) -> str | None:
    """Check the name of an engine."""
    if name is None:
        return None
    known = plugins.names("engines")
    if name not in known:
        faults.error(
            f"no engine is called {str(name)!r}", name.place, nearest(name, known) or f"known: {', '.join(known)}"
        )
    return str(name)


def _project(fields: Fields, settings: Settings, faults: Faults) -> str | None:
    """Read the name of a project; one that hven.toml does not have has no members."""
    name = fields.get("project")
    known = [one.name for one in settings.projects]
    if name is not None and name not in known:
        faults.error(
            f"there is no project {str(name)!r}",
            name.place,
            nearest(name, known) or f"write [projects.{name}] into hven.toml",
        )
    return None if name is None else str(name)


def _check_collection(name: Written, path: Path, settings: Settings, faults: Faults, *, standard: bool) -> None:
    check_name(name, "a collection", faults, plain=True)
    if standard:
        return
    if name.lower() in TAKEN:
        faults.error(f"the name {name} belongs to {TAKEN[name.lower()]}", name.place, "choose another name")
    if path.parent.parent.resolve() == settings.collections.resolve() and path.parent.name != name:
        faults.error(
            f"the collection is called {str(name)!r}, but its directory {path.parent.name!r}",
            name.place,
            "give both one name",
        )


def _tables(fields: Fields, around: Inherited, faults: Faults) -> tuple[TableSpec, ...]:
    specs = []
    seen: dict[str, Written] = {}
    for key, table in fields.get("tables", {}).items():
        if key.lower() in seen:
            faults.error(f"tables {seen[key.lower()]} and {key} differ only in case", key.place)
            continue
        seen[key.lower()] = key
        spec = table_spec(key, table, around, faults)
        faults.found += faults_of(spec) if spec is not None else []
        if spec is not None:
            inside = replace(around, standard=True)
            obscore, radio = (
                table_spec(written(kind, key.place), table[kind], inside, faults) if kind in table else None
                for kind in (OBSCORE, RADIO)
            )
            specs.append(replace(spec, obscore=obscore, radio=radio))
    return tuple(specs)


def _constants(fields: Fields, faults: Faults) -> dict[str, str | int | float | bool | None]:
    """Type the collection's ``let`` as they look: numbers and booleans without quotes are such, everything else is text."""
    made: dict[str, str | int | float | bool | None] = {}
    for key, value in fields.get("let", {}).items():
        check_name(key, "a 'let' name", faults, plain=True)
        found = retyped(value)
        if found is not None:
            faults.error(f"let.{key}: YAML reads {value} as {found}", value.place, f'write "{value}" in quotes')
        made[str(key)] = plain(value)
    return made


def _access(fields: Fields, name: Written, settings: Settings) -> Fields | None:
    """Return what a collection says of who may see it, or what the site says of those that say nothing."""
    if "access" in fields or settings.access == "public":
        return fields.get("access")
    said = Fields(name.place, {})
    said["rows"] = written(settings.access, name.place)
    return said


def _site_words(settings: Settings, collection: str) -> dict[str, str]:
    """Return what ``{site.url}`` and its like stand for."""
    title = settings.title or settings.name
    return {"url": settings.url, "name": settings.name, "title": title, "authority": settings.authority_of(collection)}


def _site_contact(settings: Settings) -> Person | None:
    if settings.contact_name is None:
        return None
    return Person(name=settings.contact_name, email=settings.contact_email)


def _test(fields: Fields) -> Test:
    query: Written = fields["query"]
    return Test(
        name=str(fields["name"]) if "name" in fields else None,
        query=str(query),
        expect=plain(fields["expect"]),
        place=query.place,
    )


def _example(fields: Fields) -> Example:
    query: Written = fields["query"]
    about = str(fields["description"]).strip() if "description" in fields else None
    return Example(name=str(fields["title"]).strip(), query=str(query).strip(), description=about, place=query.place)


__all__ = ["check", "kind", "load", "load_standard", "read"]

"""`load_descriptor` and `check_descriptor`: a file -> a `Resource`, or every fault at once."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hven import adql
from hven.adql.syntax_tree import TableRef, walk_tree
from hven.descriptor._citation_keys import read_citation_fields, read_person
from hven.descriptor._columns import check_column_name
from hven.descriptor._derived_tables import QUERY_SOURCE_KIND, DerivedTables, is_local_file_source, open_file_source
from hven.descriptor._endpoint_checks import find_endpoint_faults
from hven.descriptor._file_contents import FileContents
from hven.descriptor._keys import ASSIGNMENT_KEYS, CollectionKeys
from hven.descriptor._link_checks import find_link_faults
from hven.descriptor._merging import (
    STANDARDS_DIRECTORY,
    DescriptorSources,
    apply_standard,
    expand_loops,
    format_site_path,
    gather_descriptor,
    list_standards,
)
from hven.descriptor._name_resolution import add_place
from hven.descriptor._published_files import build_files_table, find_restricting_table
from hven.descriptor._python_functions import read_functions
from hven.descriptor._registry_keys import read_registration
from hven.descriptor._simulated_rows import add_data_source_column
from hven.descriptor._source_options import to_python_value
from hven.descriptor._sync_policies import read_sync_schedule
from hven.descriptor.live_queries import check_against_database, find_live_table_faults, is_live
from hven.descriptor.mapping import add_doubt_warnings, compile_mapping
from hven.descriptor.observations import (
    OBSCORE_RADIO_VIEW,
    OBSCORE_VIEW,
    compile_view_member,
    rewrite_as_standard_table,
)
from hven.descriptor.service_checks import find_unserved_services
from hven.descriptor.tables import PUSH_SOURCE_KIND, CollectionContext, read_table_spec
from hven.descriptor.value_schema import KeyValues, build_fault_sort_key, describe_value
from hven.descriptor.written_yaml import WrittenMap, WrittenScalar, detect_misleading_retyping
from hven.model import plugins
from hven.model.errors import DescriptorError, Fault, HvenError, Place, find_close_match, suggest_spelling
from hven.model.resource import ExampleQuery, Person, QueryTest, Resource, SourceSpec, TableSpec
from hven.model.settings import Settings
from hven.model.table import LocalizedText
from hven.sources.document_enrichment import add_document_columns

if TYPE_CHECKING:
    from pathlib import Path

    from hven.descriptor.value_schema import FaultCollector
    from hven.model.table import Table

SERVICE_NAMES = (
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
RESERVED_COLLECTION_NAMES = {
    "tap_schema": "the TAP standard",
    "tap_upload": "the TAP standard",
    "uws": "the UWS standard",
    "tap_user": "the tables that readers keep here",
    "ivoa": "ObsCore, whose table ivoa.obscore is made from all collections",
}
TEXT_KEYS = (
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
LIST_KEYS = ("services", "subjects", "facility", "instrument", "waveband", "content_level", "type", "prepare")


def load_descriptor(path: Path, settings: Settings, contents: FileContents | None = None) -> Resource:
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
    resource, faults = read_descriptor(path, settings, contents=contents)
    errors = [fault for fault in faults if fault.severity == "error"]
    if errors or resource is None:
        raise DescriptorError(errors)
    return resource


def check_descriptor(
    path: Path, settings: Settings, *, check_sources: bool = True, data: bytes | None = None
) -> list[Fault]:
    """Validate a descriptor.

    Parameters
    ----------
    path
        Of the descriptor.
    settings
        Of the site.
    check_sources
        True: sources that are files are opened, and the expressions checked against their columns.
    data
        What the file is to be, before it is written; None: as it is. Its sources are not opened then.

    Returns
    -------
    faults
        Errors and warnings, in the order of its lines.
    """
    if data is None:
        return check_and_read_descriptor(path, settings, check_sources=check_sources)[1]
    descriptor = read_descriptor(path, settings, contents=FileContents.with_replaced_file(path, data))
    return descriptor[1]


def check_and_read_descriptor(
    path: Path, settings: Settings, *, check_sources: bool = True
) -> tuple[Resource | None, list[Fault]]:
    """Validate a descriptor, and give what was read: to read it again takes as long.

    Parameters
    ----------
    path
        Of the descriptor.
    settings
        Of the site.
    check_sources
        As of `check_descriptor`.

    Returns
    -------
    resource, faults
        None: it cannot be read; with errors it is not to be used.
    """
    resource, faults = read_descriptor(path, settings)
    if not check_sources or resource is None:
        return resource, faults
    faults += find_unfilled_lines(path, settings)
    faulty_lines = {(fault.place.file, fault.place.line) for fault in faults if fault.severity == "error"}
    faults += _find_views_of_private_tables(resource)
    derived_tables = DerivedTables(resource, settings, lambda name: _load_other_collection(name, settings))
    tables: list[Table] = []  # as they will be: with the columns of their sources
    for spec in resource.tables:
        table_faults = _drop_unknown_standard_faults(
            spec, _compile_over_sources(spec, resource, settings, derived_tables, tables), settings
        )
        # a line that has a fault already says nothing reliable about what follows from it
        faults += [
            fault
            for fault in table_faults
            if fault not in faults
            and (fault.place.file, fault.place.line) not in faulty_lines
            and not _is_consequence_of_fault(fault, spec, faults)
        ]
    if len(tables) == len(resource.tables):
        faults += find_unserved_services(resource, tables)
    faults += find_link_faults(resource, derived_tables)
    faulty_places = {fault.place for fault in faults if fault.severity == "error"}
    faults += [fault for fault in find_endpoint_faults(resource, derived_tables) if fault.place not in faulty_places]
    return resource, sorted(dict.fromkeys(faults), key=build_fault_sort_key)


_TO_FILL_PATTERN = re.compile(r"(?:^|\s)#[^#']*\bto fill\b:?\s*(.*)$")


def find_unfilled_lines(path: Path, settings: Settings) -> list[Fault]:
    """Warn of each ``# to fill`` that ``hven new`` wrote and nobody took away.

    What stands there is published as it is.
    """
    warnings = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = _TO_FILL_PATTERN.search(line)
        if match is None:
            continue
        line_text = line[: match.start()].strip()
        if line_text:
            message = f"{line_text.partition(':')[0]} is what hven new put there"
        else:
            message = "something is still to fill"
        warnings.append(
            Fault(
                message=message + (f": {match[1]}" if match[1] else ""),
                place=Place(
                    file=format_site_path(path, settings), line=number, column=len(line[: match.start()].rstrip()) + 1
                ),
                remedy="write what is right and take the comment '# to fill' away",
                severity="warning",
            )
        )
    return warnings


def _drop_unknown_standard_faults(spec: TableSpec, faults: list[Fault], settings: Settings) -> list[Fault]:
    """Drop what a standard asks for if none is called as the table says: only its like is known, or nothing."""
    standard_paths = list_standards(settings)
    if spec.table.standard is None or spec.table.standard in standard_paths:
        return faults
    if find_close_match(spec.table.standard, standard_paths) is None:
        return []
    return [fault for fault in faults if not str(fault.place.file).startswith("standard ")]


def _find_views_of_private_tables(resource: Resource) -> list[Fault]:
    """Warn of views that are called public and read private tables of this collection.

    Only who may see those sees them.
    """
    private_tables = {
        f"{resource.name}.{spec.table.name}".lower() for spec in resource.tables if spec.table.access != "public"
    }
    tables_by_view: dict[str, set[str]] = {}
    views = [spec for spec in resource.tables if spec.table.view is not None and spec.table.access == "public"]
    for spec in views:
        try:
            query = adql.parse_query(spec.table.view or "")
        except HvenError:  # it is among the faults already
            tables_by_view[spec.table.name] = set()
            continue
        # a name without schema may be the name of a WITH, or another collection's table: what is published is looked at
        # by the holdings
        references = (node for node in walk_tree(query) if isinstance(node, TableRef))
        tables_by_view[spec.table.name] = {".".join(part.name for part in node.parts).lower() for node in references}
    warnings: list[Fault] = []
    for _ in views:  # views of views
        for spec in views:
            private_references = sorted(tables_by_view[spec.table.name] & private_tables)
            view_name = f"{resource.name}.{spec.table.name}".lower()
            if private_references and view_name not in private_tables:
                private_tables.add(view_name)
                message = (
                    f"tables.{spec.table.name}: the view is public, but only those see it who may see "
                    f"{' and '.join(private_references)}"
                )
                warnings.append(
                    Fault(
                        message=message,
                        place=spec.place,
                        remedy="say `access: private` here, or make that public",
                        severity="warning",
                    )
                )
    return warnings


def _is_consequence_of_fault(fault: Fault, spec: TableSpec, faults: list[Fault]) -> bool:
    """Check whether a column has no value only because what should set it was refused."""
    match = re.match(
        rf"tables\.{re.escape(spec.table.name)}\.columns\.(.*): nothing gives this column a value", fault.message
    )
    if match is None:
        return False
    setting_pattern = re.compile(
        rf"tables\.{re.escape(spec.table.name)}\.(?:granules\S*\.)?(?:{'|'.join(ASSIGNMENT_KEYS)})\.{re.escape(match[1])}\b"
    )
    return any(setting_pattern.match(other.message) for other in faults)


def _load_other_collection(name: str, settings: Settings) -> Resource | None:
    """Read another collection of the site, as far as it can be read."""
    path = settings.collections_directory / name / f"{name}.yaml"
    if path.is_file():
        return read_descriptor(path, settings)[0]
    return None


def _compile_over_sources(
    spec: TableSpec, resource: Resource, settings: Settings, derived_tables: DerivedTables, tables: list[Table]
) -> list[Fault]:
    """Compile a table over its sources, and add it to `tables`.

    Those that are neither files nor queries are looked at by ingest: they may need secrets.
    """
    faults: dict[Fault, None] = {}
    target_table: Table | None = (
        spec.table if spec.table.view is not None or (spec.table.columns and not spec.follows_source) else None
    )
    if is_live(spec):
        return check_against_database(spec, resource, settings)
    for source in spec.sources:
        try:
            if is_local_file_source(source) or source.kind == PUSH_SOURCE_KIND:
                opened_source = open_file_source(source, resource, settings)
                mapping = compile_mapping(
                    spec, add_document_columns(opened_source.list_columns(), source.enrich), resource
                )
                target_table = mapping.table
                faults |= dict.fromkeys(add_doubt_warnings(mapping, opened_source, source).warnings)
                faults |= dict.fromkeys(
                    _find_push_faults(spec, source, target_table, resource) if source.kind == PUSH_SOURCE_KIND else ()
                )
                continue
            if source.kind == QUERY_SOURCE_KIND:
                text = source.options.get("adql")
            else:
                text = None
            if isinstance(text, str):
                columns = derived_tables.find_query_columns(text, resource)
            else:
                columns = None
            if columns is not None:
                mapping = compile_mapping(spec, add_document_columns(columns, source.enrich), resource)
                target_table = mapping.table
                faults |= dict.fromkeys(mapping.warnings)
            elif spec.has_declared_columns:  # what is made of them can be looked at
                faults |= dict.fromkeys(_find_observation_faults(spec, resource))
        except DescriptorError as error:
            faults |= dict.fromkeys(error.faults)
        except HvenError as error:
            if str(error.place):
                place = error.place
            else:
                place = source.place
            if place is source.place:
                message = error.message
            else:
                message = f"{error.place}: {error.message}"
            faults[
                Fault(message=f"tables.{spec.table.name}.source: {message}", place=source.place, remedy=error.remedy)
            ] = None
    tables += [target_table] if target_table is not None else []
    return list(faults)


def _find_push_faults(spec: TableSpec, source: SourceSpec, target_table: Table, resource: Resource) -> list[Fault]:
    """List what keeps clients from writing into a table that is to take rows."""
    key_path = f"tables.{spec.table.name}"
    origins = {column.name: column.origins for column in target_table.columns}
    key_origins = {origin for name in target_table.primary for origin in origins.get(name, ())}
    faults = []
    if not key_origins:
        message = f"{key_path}: rows can be pushed into tables with a key alone"
        remedy = "primary: one of the columns that are sent, or several"
        faults.append(Fault(message=message, place=spec.place, remedy=remedy))
    elif (ids := source.options.get("ids")) is not None and ids not in key_origins:
        message = (
            f"{key_path}.source.ids: {ids} is no part of the primary key, so that rows without key stay without one"
        )
        faults.append(Fault(message=message, place=source.place, remedy=f"ids: {min(key_origins)}, or primary: {ids}"))
    if not source.options.get("writers") and resource.project is None:
        message = f"{key_path}.source: nobody may write"
        remedy = "writers: [anna], accounts or groups; or project: NAME of the collection, whose contributors may"
        faults.append(Fault(message=message, place=source.place, remedy=remedy, severity="warning"))
    return faults


def _find_observation_faults(spec: TableSpec, resource: Resource) -> list[Fault]:
    """Compile what a table gives to ivoa.obscore over the columns that its descriptor says."""
    faults: list[Fault] = []
    for view in (OBSCORE_VIEW, OBSCORE_RADIO_VIEW):
        try:
            compile_view_member(spec, spec.table, resource, view)
        except DescriptorError as error:
            faults += error.faults
    return faults


def load_standard(name: str) -> Resource:
    """Load a standard that is shipped (``tap_schema``) as a resource of its own.

    What a directory holds that somebody works in changes none.

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
    standard_paths = list_standards()
    if name not in standard_paths:
        raise DescriptorError(
            [Fault(message=f"no standard is called {name!r}", remedy=suggest_spelling(name, standard_paths))]
        )
    resource, faults = read_descriptor(
        standard_paths[name], Settings(directory=STANDARDS_DIRECTORY.parent), is_standard=True
    )
    if resource is None or any(fault.severity == "error" for fault in faults):
        raise DescriptorError(faults)
    return resource


def read_descriptor(
    path: Path, settings: Settings, *, is_standard: bool = False, contents: FileContents | None = None
) -> tuple[Resource | None, list[Fault]]:
    """Read a descriptor; return what could be made of it, and all faults and warnings."""
    result = DescriptorSources(contents)
    root = gather_descriptor(path, settings, result)
    faults = result.faults
    if root is None:
        return None, faults.list_sorted()
    root = expand_loops(root, ("tables",), "", faults)
    tables = root.get("tables")  # type: ignore[call-overload]
    if isinstance(tables, WrittenMap):
        table_entries = {key: _complete_table(key, value, settings, result) for key, value in tables.items()}
        root = WrittenMap(
            {key: WrittenMap(table_entries, tables.place) if key == "tables" else value for key, value in root.items()},
            root.place,
        )
    fields = CollectionKeys.record.read_map(root, "", faults)
    if fields is None:
        return None, faults.list_sorted()
    resource = _build_resource(path, fields, settings, result, is_standard=is_standard)
    return resource, faults.list_sorted()


def _complete_table(key: WrittenScalar, value: Any, settings: Settings, result: DescriptorSources) -> Any:
    if not isinstance(value, WrittenMap):
        return value
    table = add_data_source_column(apply_standard(key, value, settings, result))
    if OBSCORE_VIEW in table:
        table = _expand_observation_keys(table, settings, result)
    return expand_loops(table, ("columns", *ASSIGNMENT_KEYS), f"tables.{key}.", result.faults)


def _expand_observation_keys(table: WrittenMap, settings: Settings, result: DescriptorSources) -> WrittenMap:
    """Replace ``obscore:`` by tables of the standards."""
    obscore_value = table.get(OBSCORE_VIEW)  # type: ignore[call-overload]
    table_entries: dict[WrittenScalar, Any] = {
        key: value for key, value in table.items() if key not in {OBSCORE_VIEW, OBSCORE_RADIO_VIEW}
    }
    radio = obscore_value.get("radio") if isinstance(obscore_value, WrittenMap) else None  # type: ignore[call-overload]
    for name, value in ((OBSCORE_VIEW, obscore_value), (OBSCORE_RADIO_VIEW, radio)):
        if value is not None:
            entries = rewrite_as_standard_table(value, table, name, result.faults)
        else:
            entries = None
        if entries is not None:
            key = add_place(name, entries.place)
            table_entries[key] = apply_standard(key, entries, settings, result)
    return WrittenMap(table_entries, table.place)


def _build_resource(
    path: Path, fields: KeyValues, settings: Settings, result: DescriptorSources, *, is_standard: bool
) -> Resource | None:
    faults = result.faults
    name = fields.get("collection")
    if name is None:
        return None
    _check_collection_name(name, path, settings, faults, is_standard=is_standard)
    constants = _read_constants(fields, faults)
    python = read_functions(fields.get("functions", ()), path.parent, result, faults)
    contact = (
        read_person(fields["contact"], "contact", faults) if "contact" in fields else _build_site_contact(settings)
    )
    collection_context = CollectionContext(
        schema=str(name),
        access=_find_access_fields(fields, name, settings),
        contact=None if contact is None else f"{contact.name} <{contact.email}>" if contact.email else contact.name,
        constants=constants,
        site=_collect_site_values(settings, str(name)),
        publishes_files="files" in fields,
        directory=path.parent,
        contents=result.contents,
        hashes=result.hashes,
        is_standard=is_standard,
        project=_read_project_name(fields, settings, faults),
        reader_names=tuple(policy.name for policy in settings.readers),
    )
    specs = _read_tables(fields, collection_context, faults)
    has_file_rules = any(spec.table.policy is not None and spec.table.policy.path for spec in specs)
    files = build_files_table(
        fields.get("files", ()), collection_context, settings.allowed_directories, faults, is_restricted=has_file_rules
    )
    for spec in (*specs, *((files,) if files is not None else ())):
        if spec.table.access == "members" and collection_context.project is None:
            message = f"tables.{spec.table.name}.access: the collection has no project whose members could see it"
            faults.add_error(message, spec.place, "say `project: NAME` of the collection")
    policies = [spec.table.policy for spec in specs if spec.table.policy is not None]
    if files is not None and any(policy.path for policy in policies):
        # its rows tell which files there are
        table = files.table.copy_with(access="private")
        files = replace(files, table=table)
    elif (
        files is not None
        and (restricted_table := find_restricting_table(fields.get("files", ()), str(name), specs, files)) is not None
    ):
        files = replace(files, table=files.table.copy_with(access="private"))
        message = (
            f"files: not everybody sees the rows of {restricted_table} that name them, so nobody is given them but "
            f"the site's owner"
        )
        faults.add_warning(
            message, fields.places["files"], "say path: COLUMN under its access, the column with the file's path"
        )
    elif files is not None and any(policy.files or policy.take for policy in policies):
        message = (
            "access says who may take files, and not which of the collection's files is a row's: all of them are given"
        )
        faults.add_warning(
            message, fields.places["files"], "say path: COLUMN under access, the column with the file's path"
        )
    if files is not None and any(spec.table.name.lower() == files.table.name for spec in specs):
        faults.add_error(
            f"tables.{files.table.name}: the collection's files make a table of that name",
            fields.places["files"],
            "name the other one otherwise",
        )
    elif files is not None:
        specs = (*specs, files)
    service_names = (*SERVICE_NAMES, *plugins.list_external_plugins("protocols"))
    for service in fields.get("services", ()):
        if service not in service_names:
            faults.add_error(
                f"no service is called {str(service)!r}",
                service.place,
                suggest_spelling(service, service_names) or f"known: {', '.join(service_names)}",
            )
    served_names = {*plugins.list_plugins("protocols"), "epn-tap", OBSCORE_VIEW}
    for service in fields.get("services", ()):
        if service in service_names and service not in served_names:
            faults.add_warning(
                f"services: nothing serves {str(service)!r} yet", service.place, "leave it out until something does"
            )
    if fields.get("services") and served_names.isdisjoint(fields["services"]):
        faults.add_error(
            "services: nothing serves the collection",
            fields["services"][0].place,
            "name one that is served, or leave services out",
        )
    for spec in specs:
        key_path = f"tables.{spec.table.name}"
        if spec.table.links and "services" in fields and "datalink" not in fields["services"]:
            faults.add_warning(
                f"{key_path}.links: nothing serves them: `services` does not name datalink",
                fields.places["services"],
                "add it to services, or take them out",
            )
        if spec.table.endpoints and "services" in fields and "endpoints" not in fields["services"]:
            faults.add_warning(
                f"{key_path}.endpoints: nothing answers them: `services` does not name endpoints",
                fields.places["services"],
                "add it to services, or take them out",
            )
        if spec.obscore is not None and "services" in fields and OBSCORE_VIEW not in fields["services"]:
            faults.add_warning(
                f"{key_path}.obscore: its rows are not in ivoa.obscore: `services` does not name it",
                spec.obscore.place,
                f"add {OBSCORE_VIEW} to services, or take them out",
            )
    if fields.get("prepare") and files is None:
        faults.add_error(
            "prepare: the collection has no files", fields.places["prepare"], "add 'files', or take it out"
        )
    engine = _read_engine_name(fields.get("engine"), faults)
    if not is_standard and "tables" not in fields.places and "files" not in fields.places:
        faults.add_warning("the collection has no tables", name.place, "add 'tables', or 'files'")
    if not is_standard and "title" not in fields.places:
        faults.add_warning("the collection has no title", name.place, "add 'title': one line for people")
    short_name = fields.get("short_name")
    if short_name is not None and len(short_name) > 16:
        faults.add_error(f"short_name has {len(short_name)} characters; the registry allows 16", short_name.place)
    return Resource(
        name=str(name),
        title=str(fields.get("title", name)),
        path=path,
        description=_read_description(fields),
        access="private"
        if collection_context.access is not None and collection_context.access.get("rows") == "private"
        else "public",
        project=collection_context.project,
        tables=specs,
        creators=tuple(read_person(item, "creators", faults) for item in fields.get("creators", ())),
        contact=contact,
        let=constants,
        tests=tuple(_read_query_test(item) for item in fields.get("tests", ()) if "query" in item and "expect" in item),
        examples=tuple(
            _read_example_query(item) for item in fields.get("examples", ()) if "query" in item and "title" in item
        ),
        hashes=result.hashes,
        functions=python,
        site=collection_context.site,
        index=fields.get("index"),
        engine=engine,
        schedule=read_sync_schedule(fields, faults),
        registration=read_registration(fields, specs, settings, faults),
        **read_citation_fields(fields, faults),
        **{key: str(fields[key]) for key in TEXT_KEYS if key in fields},  # type: ignore[arg-type]
        **{key: tuple(str(item) for item in fields[key]) for key in LIST_KEYS if key in fields},  # type: ignore[arg-type]
    )


def _read_description(fields: KeyValues) -> str | None:
    if "description" in fields:
        description = str(fields["description"])
    else:
        description = None
    if description is None or isinstance(description, LocalizedText):
        return description
    return description.strip()


def _read_engine_name(name: WrittenScalar | None, faults: FaultCollector) -> str | None:
    """Check the name of an engine."""
    if name is None:
        return None
    engine_names = plugins.list_plugins("engines")
    if name not in engine_names:
        faults.add_error(
            f"no engine is called {str(name)!r}",
            name.place,
            suggest_spelling(name, engine_names) or f"known: {', '.join(engine_names)}",
        )
    return str(name)


def _read_project_name(fields: KeyValues, settings: Settings, faults: FaultCollector) -> str | None:
    """Read the name of a project; one that hven.toml does not have has no members."""
    name = fields.get("project")
    project_names = [project.name for project in settings.projects]
    if name is not None and name not in project_names:
        faults.add_error(
            f"there is no project {str(name)!r}",
            name.place,
            suggest_spelling(name, project_names) or f"write [projects.{name}] into hven.toml",
        )
    return None if name is None else str(name)


def _check_collection_name(
    name: WrittenScalar, path: Path, settings: Settings, faults: FaultCollector, *, is_standard: bool
) -> None:
    check_column_name(name, "a collection", faults, must_be_regular=True)
    if is_standard:
        return
    if name.lower() in RESERVED_COLLECTION_NAMES:
        faults.add_error(
            f"the name {name} belongs to {RESERVED_COLLECTION_NAMES[name.lower()]}", name.place, "choose another name"
        )
    if path.parent.parent.resolve() == settings.collections_directory.resolve() and path.parent.name != name:
        faults.add_error(
            f"the collection is called {str(name)!r}, but its directory {path.parent.name!r}",
            name.place,
            "give both one name",
        )


def _read_tables(
    fields: KeyValues, collection_context: CollectionContext, faults: FaultCollector
) -> tuple[TableSpec, ...]:
    specs = []
    names_by_lower_case: dict[str, WrittenScalar] = {}
    for key, table in fields.get("tables", {}).items():
        if key.lower() in names_by_lower_case:
            faults.add_error(f"tables {names_by_lower_case[key.lower()]} and {key} differ only in case", key.place)
            continue
        names_by_lower_case[key.lower()] = key
        spec = read_table_spec(key, table, collection_context, faults)
        faults.faults += find_live_table_faults(spec) if spec is not None else []
        if spec is not None:
            standard_context = replace(collection_context, is_standard=True)
            obscore, radio = (
                read_table_spec(add_place(kind, key.place), table[kind], standard_context, faults)
                if kind in table
                else None
                for kind in (OBSCORE_VIEW, OBSCORE_RADIO_VIEW)
            )
            specs.append(replace(spec, obscore=obscore, obscore_radio=radio))
    return tuple(specs)


def _read_constants(fields: KeyValues, faults: FaultCollector) -> dict[str, str | int | float | bool | None]:
    """Type the collection's ``let`` as they look.

    Numbers and booleans without quotes are such, everything else is text.
    """
    constants: dict[str, str | int | float | bool | None] = {}
    for key, value in fields.get("let", {}).items():
        check_column_name(key, "a 'let' name", faults, must_be_regular=True)
        yaml_reading = detect_misleading_retyping(value)
        if yaml_reading is not None:
            faults.add_error(
                f"let.{key}: YAML reads {value} as {yaml_reading}", value.place, f'write "{value}" in quotes'
            )
        constants[str(key)] = to_python_value(value)
    return constants


def _find_access_fields(fields: KeyValues, name: WrittenScalar, settings: Settings) -> KeyValues | None:
    """Return what a collection says of who may see it, or what the site says of those that say nothing."""
    if "access" in fields or settings.access == "public":
        return fields.get("access")
    access_fields = KeyValues(name.place, {})
    access_fields["rows"] = add_place(settings.access, name.place)
    return access_fields


def _collect_site_values(settings: Settings, collection: str) -> dict[str, str]:
    """Return what ``{site.url}`` and its like stand for."""
    title = settings.title or settings.name
    return {
        "url": settings.site_url,
        "name": settings.name,
        "title": title,
        "authority": settings.find_authority(collection),
    }


def _build_site_contact(settings: Settings) -> Person | None:
    if settings.contact_name is None:
        return None
    return Person(name=settings.contact_name, email=settings.contact_email)


def _read_query_test(fields: KeyValues) -> QueryTest:
    query: WrittenScalar = fields["query"]
    return QueryTest(
        name=str(fields["name"]) if "name" in fields else None,
        query=str(query),
        expected_values=to_python_value(fields["expect"]),
        place=query.place,
    )


def _read_example_query(fields: KeyValues) -> ExampleQuery:
    query: WrittenScalar = fields["query"]
    if "description" in fields:
        description = str(fields["description"]).strip()
    else:
        description = None
    return ExampleQuery(
        name=str(fields["title"]).strip(), query=str(query).strip(), description=description, place=query.place
    )


__all__ = ["check_descriptor", "describe_value", "load_descriptor", "load_standard", "read_descriptor"]

"""Read a descriptor into a `CollectionSpec`, or report all of its faults: `load_descriptor` and `check_descriptor`."""

from __future__ import annotations

import re
from dataclasses import fields as dataclass_fields
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from hven import adql
from hven.adql.syntax_tree import TableRef, walk_tree
from hven.descriptor._citation_keys import read_citation_fields, read_person
from hven.descriptor._columns import check_column_name
from hven.descriptor._derived_tables import (
    DescriptorTableResolver,
    is_local_file_source,
    open_file_source,
)
from hven.descriptor._file_contents import DescriptorFileReader
from hven.descriptor._keys import ASSIGNMENT_KEYS, CollectionSection
from hven.descriptor._link_checks import find_link_faults
from hven.descriptor._merging import (
    STANDARDS_DIRECTORY,
    DescriptorReadResult,
    apply_standard_to_table,
    expand_loops,
    format_site_path,
    list_standards,
    read_merged_descriptor,
    with_replaced_entry,
)
from hven.descriptor._name_resolution import with_place
from hven.descriptor._package_keys import (
    convert_package_collection_keys,
    load_package_collection_keys,
    load_package_table_keys,
)
from hven.descriptor._published_files import FILES_TABLE_NAME, build_files_table, find_restricting_table
from hven.descriptor._python_functions import read_python_functions
from hven.descriptor._registry_keys import read_registry_section
from hven.descriptor._simulated_rows import add_data_source_column
from hven.descriptor._source_options import to_python_value
from hven.descriptor._sync_policies import read_sync_schedule
from hven.descriptor.live_queries import find_live_source_faults, find_live_table_faults, is_live_table_spec
from hven.descriptor.mapping import compile_mapping, with_type_doubt_warnings
from hven.descriptor.observations import (
    OBSCORE_RADIO_VIEW,
    OBSCORE_VIEW,
    compile_obscore_view_member,
    rewrite_obscore_as_table,
)
from hven.descriptor.service_checks import find_unserved_service_faults
from hven.descriptor.tables import InheritedCollectionKeys, read_table_spec
from hven.descriptor.value_schema import (
    LocatedKeyValues,
    build_fault_sort_key,
    convert_plain_value,
    describe_value,
    is_plain_type,
)
from hven.descriptor.written_yaml import LocatedYamlMap, LocatedYamlScalar, detect_misleading_retyping
from hven.model import plugins
from hven.model.errors import DescriptorError, Fault, HvenError, TextPlace, find_close_match, suggest_spelling
from hven.model.resource import (
    CollectionSpec,
    ExampleQuery,
    Person,
    QueryTest,
    SourceSpec,
    TableSpec,
)
from hven.model.settings import Settings
from hven.model.table import LocalizedText
from hven.sources.kind_traits import find_source_kind_traits
from hven.sources.source_keys import list_source_and_added_columns

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
    "epn-tap",
    "obscore",
    "portal",
    "tfcat",
    "maps",
    "files",
)
RESERVED_COLLECTION_NAMES = {
    "tap_schema": "the TAP standard",
    "tap_upload": "the TAP standard",
    "uws": "the UWS standard",
    "tap_user": "the tables that readers store on the site",
    "ivoa": "ObsCore, whose table ivoa.obscore is made from all collections",
}
# plain keys that `_build_collection_resource` converts itself
OWN_CONVERSION_KEYS = {"collection", "title", "description", "include", "project", "engine", "index"}
MAX_SHORT_NAME_CHARACTERS = 16  # limit of vr:ShortName


def load_descriptor(path: Path, settings: Settings, contents: DescriptorFileReader | None = None) -> CollectionSpec:
    """Read a descriptor.

    Parameters
    ----------
    path
        Path of the file, ``collections/<name>/<name>.yaml``.
    settings
        Settings of the site: defaults, its own standards, values of ``{site.url}`` and similar placeholders.
    contents
        Reads files otherwise than from the disk; None: all files are read from the disk.

    Returns
    -------
    resource
        The collection.

    Raises
    ------
    DescriptorError
        The descriptor has errors: all of them, each with file:line:column, what was expected and the nearest right
        word.
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
        Path of the descriptor.
    settings
        Settings of the site.
    check_sources
        Whether sources that are files are opened, and the expressions checked against their columns.
    data
        Contents that the file is to have; its sources are not opened then. None: the file as it is.

    Returns
    -------
    faults
        Errors and warnings, in the order of its lines.
    """
    if data is None:
        _, faults = check_and_read_descriptor(path, settings, check_sources=check_sources)
    else:
        _, faults = read_descriptor(path, settings, contents=DescriptorFileReader.with_replaced_file(path, data))
    return faults


def check_and_read_descriptor(
    path: Path, settings: Settings, *, check_sources: bool = True
) -> tuple[CollectionSpec | None, list[Fault]]:
    """Validate a descriptor, and return the collection, too: to read it again would take as long.

    Parameters
    ----------
    path
        Path of the descriptor.
    settings
        Settings of the site.
    check_sources
        As in `check_descriptor`.

    Returns
    -------
    resource, faults
        The collection, which must not be used if there are errors, and the faults. None: it cannot be read.
    """
    resource, faults = read_descriptor(path, settings)
    if not check_sources or resource is None:
        return resource, faults
    faults += find_unfilled_lines(path, settings)
    faulty_lines = {(fault.place.file, fault.place.line) for fault in faults if fault.severity == "error"}
    faults += _find_public_views_of_private_tables(resource)
    derived_tables = DescriptorTableResolver(resource, settings, lambda name: _load_other_collection(name, settings))
    tables: list[Table] = []  # as they will be: with the columns of their sources
    for spec in resource.tables:
        table_faults = _compile_table_over_sources(spec, resource, settings, derived_tables, tables)
        new_faults = []
        for fault in _drop_faults_from_unknown_standard(spec, table_faults, settings):
            # faults that follow from a line with an error are not reliable
            is_in_faulty_line = (fault.place.file, fault.place.line) in faulty_lines
            if fault not in faults and not is_in_faulty_line and not _is_consequence_of_fault(fault, spec, faults):
                new_faults.append(fault)
        faults += [_move_fault_to_descriptor(fault, spec) for fault in new_faults]
    if len(tables) == len(resource.tables):
        faults += find_unserved_service_faults(resource, tables)
    faults += find_link_faults(resource, derived_tables)
    faulty_places = {fault.place for fault in faults if fault.severity == "error"}
    find_query_columns = partial(derived_tables.find_query_columns, resource=resource)
    used_keys = {name for spec in resource.tables for name in spec.table.extensions}
    for name, key in load_package_table_keys().items():
        key_faults = key.find_faults(resource, find_query_columns) if name in used_keys else ()
        faults += [fault for fault in key_faults if fault.place not in faulty_places]
    for name, collection_key in load_package_collection_keys().items():
        if name in resource.extensions:
            key_faults = collection_key.find_faults(resource, settings)
            faults += [fault for fault in key_faults if fault.place not in faulty_places]
    return resource, sorted(dict.fromkeys(faults), key=build_fault_sort_key)


_TO_FILL_PATTERN = re.compile(r"(?:^|\s)#[^#']*\bto fill\b:?\s*(.*)$")


def find_unfilled_lines(path: Path, settings: Settings) -> list[Fault]:
    """Warn of each comment ``# to fill`` that is left of a draft: its line would be published as it is."""
    warnings = []
    file = format_site_path(path, settings)
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = _TO_FILL_PATTERN.search(line)
        if match is None:
            continue
        text_before = line[: match.start()].rstrip()
        message = "a value is still missing"
        if text_before:
            message = f"{text_before.strip().partition(':')[0]} still has the value that `hven new` wrote"
        if match[1]:
            message += f": {match[1]}"
        warnings.append(
            Fault(
                message=message,
                place=TextPlace(file=file, line=number, column=len(text_before) + 1),
                remedy="write the correct value, and remove the comment '# to fill'",
                severity="warning",
            )
        )
    return warnings


def _drop_faults_from_unknown_standard(spec: TableSpec, faults: list[Fault], settings: Settings) -> list[Fault]:
    """Drop the demands of a standard that does not exist: a similar one was read in its place, or none."""
    standard_paths = list_standards(settings)
    if spec.table.standard is None or spec.table.standard in standard_paths:
        return faults
    if find_close_match(spec.table.standard, standard_paths) is None:
        return []
    return [fault for fault in faults if not _is_in_standard(fault)]


def _is_in_standard(fault: Fault) -> bool:
    return str(fault.place.file).startswith("standard ")


def _move_fault_to_descriptor(fault: Fault, spec: TableSpec) -> Fault:
    """Give a fault in a column of a standard the place of the table, or of its ``obscore:``, that lacks something."""
    if not _is_in_standard(fault):
        return fault
    place = spec.place
    for view, view_spec in ((OBSCORE_VIEW, spec.obscore), (OBSCORE_RADIO_VIEW, spec.obscore_radio)):
        if view_spec is not None and fault.message.startswith(f"tables.{view}."):
            place = view_spec.place
    return replace(fault, place=place, message=f"{fault.message} (see {fault.place})")


def _find_public_views_of_private_tables(resource: CollectionSpec) -> list[Fault]:
    """Warn of public views that read private tables of this collection: only who may see those sees the view."""
    private_tables = {_qualify_name(resource, spec) for spec in resource.tables if spec.table.access != "public"}
    tables_by_view: dict[str, set[str]] = {}
    views = [spec for spec in resource.tables if spec.table.view is not None and spec.table.access == "public"]
    for spec in views:
        tables_by_view[spec.table.name] = set()
        try:
            query = adql.parse_query(spec.table.view or "")
        except HvenError:  # it is among the faults already
            continue
        # a name without schema may be the name of a WITH, or of another collection's table, which is looked at when
        # the collection is published
        for node in walk_tree(query):
            if isinstance(node, TableRef):
                qualified_name = ".".join(part.name for part in node.parts)
                tables_by_view[spec.table.name].add(qualified_name.lower())
    warnings: list[Fault] = []
    for _ in views:  # views of views
        for spec in views:
            private_references = sorted(tables_by_view[spec.table.name] & private_tables)
            view_name = _qualify_name(resource, spec)
            if not private_references or view_name in private_tables:
                continue
            private_tables.add(view_name)
            message = (
                f"tables.{spec.table.name}: the view is public, but it reads private tables "
                f"({', '.join(private_references)}), so only users who can see these tables can see the view"
            )
            remedy = "write `access: private` here, or make those tables public"
            warnings.append(Fault(message=message, place=spec.place, remedy=remedy, severity="warning"))
    return warnings


def _qualify_name(resource: CollectionSpec, spec: TableSpec) -> str:
    return f"{resource.name}.{spec.table.name}".lower()


def _is_consequence_of_fault(fault: Fault, spec: TableSpec, faults: list[Fault]) -> bool:
    """Return whether a column has no value only because its setting was refused."""
    table_pattern = rf"tables\.{re.escape(spec.table.name)}"
    match = re.match(rf"{table_pattern}\.columns\.(.*): nothing sets this column", fault.message)
    if match is None:
        return False
    setting_keys = "|".join(ASSIGNMENT_KEYS)
    column_pattern = re.escape(match[1])
    setting_pattern = re.compile(rf"{table_pattern}\.(?:granules\S*\.)?(?:{setting_keys})\.{column_pattern}\b")
    return any(setting_pattern.match(other_fault.message) for other_fault in faults)


def _load_other_collection(name: str, settings: Settings) -> CollectionSpec | None:
    """Read another collection of the site, as far as it can be read."""
    path = settings.locate_descriptor(name)
    if path.is_file():
        resource, _ = read_descriptor(path, settings)
        return resource
    return None


def _compile_table_over_sources(
    spec: TableSpec,
    resource: CollectionSpec,
    settings: Settings,
    derived_tables: DescriptorTableResolver,
    tables: list[Table],
) -> list[Fault]:
    """Compile a table over its sources, and add the table with its columns to `tables`.

    Only sources that are files or queries are opened; the others may need secrets, and ingest looks at them.
    """
    if is_live_table_spec(spec):
        return find_live_source_faults(spec, resource, settings)
    faults: dict[Fault, None] = {}
    target_table: Table | None = None
    if spec.table.view is not None or (spec.table.columns and not spec.follows_source):
        target_table = spec.table
    for source in spec.sources:
        try:
            compiled_table, source_faults = _compile_table_over_source(spec, source, resource, settings, derived_tables)
            target_table = compiled_table or target_table
            faults |= dict.fromkeys(source_faults)
        except DescriptorError as error:
            faults |= dict.fromkeys(error.faults)
        except HvenError as error:
            message = error.message
            if str(error.place) and error.place is not source.place:
                message = f"{error.place}: {error.message}"
            message = f"tables.{spec.table.name}.source: {message}"
            faults[Fault(message=message, place=source.place, remedy=error.remedy)] = None
    if target_table is not None:
        tables.append(target_table)
    return list(faults)


def _compile_table_over_source(
    spec: TableSpec,
    source: SourceSpec,
    resource: CollectionSpec,
    settings: Settings,
    derived_tables: DescriptorTableResolver,
) -> tuple[Table | None, list[Fault]]:
    """Compile a table over one source; return the table, if the source's columns are known, and the warnings."""
    traits = find_source_kind_traits(source.kind)
    if spec.table.name == FILES_TABLE_NAME and traits.list_queries is not None:
        for query in traits.list_queries(source.options):
            try:
                derived_tables.find_query_columns(query, resource)
            except HvenError as error:
                return None, [Fault(message=f"files.from: {error.message}", place=source.place, remedy=error.remedy)]
    if is_local_file_source(source) or traits.has_declared_columns:
        opened_source = open_file_source(source, resource, settings)
        columns = list_source_and_added_columns(opened_source.list_columns(), source.additions)
        mapping = compile_mapping(spec, columns, resource)
        faults = list(with_type_doubt_warnings(mapping, opened_source, source).warnings)
        if traits.find_table_faults is not None:
            faults += traits.find_table_faults(spec, source, mapping.table, resource)
        return mapping.table, faults
    query_columns = derived_tables.find_query_source_columns(source, resource)
    if query_columns is not None:
        mapping = compile_mapping(spec, query_columns, resource)
        return mapping.table, list(mapping.warnings)
    if spec.has_declared_columns:  # their observations can be checked without the source
        return None, _find_obscore_faults(spec, resource)
    return None, []


def _find_obscore_faults(spec: TableSpec, resource: CollectionSpec) -> list[Fault]:
    """Compile the rows of a table for ivoa.obscore over the columns that its descriptor declares."""
    faults: list[Fault] = []
    for view in (OBSCORE_VIEW, OBSCORE_RADIO_VIEW):
        try:
            compile_obscore_view_member(spec, spec.table, resource, view)
        except DescriptorError as error:
            faults += error.faults
    return faults


def load_standard_descriptor(name: str) -> CollectionSpec:
    """Load a standard that is shipped (``tap_schema``) as a resource of its own.

    Standards of the current directory do not change it.

    Parameters
    ----------
    name
        Name of the standard.

    Returns
    -------
    resource
        The standard with its tables.

    Raises
    ------
    DescriptorError
        There is no such standard, or it has faults.
    """
    standard_paths = list_standards()
    if name not in standard_paths:
        remedy = suggest_spelling(name, standard_paths)
        raise DescriptorError([Fault(message=f"there is no standard {name!r}", remedy=remedy)])
    settings = Settings(directory=STANDARDS_DIRECTORY.parent)
    resource, faults = read_descriptor(standard_paths[name], settings, is_standard=True)
    if resource is None or any(fault.severity == "error" for fault in faults):
        raise DescriptorError(faults)
    return resource


def read_descriptor(
    path: Path, settings: Settings, *, is_standard: bool = False, contents: DescriptorFileReader | None = None
) -> tuple[CollectionSpec | None, list[Fault]]:
    """Read a descriptor; return the collection, as far as it can be read, and all faults and warnings."""
    result = DescriptorReadResult(contents)
    root = read_merged_descriptor(path, settings, result)
    faults = result.faults
    if root is None:
        return None, faults.list_sorted()
    root = expand_loops(root, ("tables",), "", faults)
    tables = root.get("tables")  # type: ignore[call-overload]
    if isinstance(tables, LocatedYamlMap):
        table_entries = {key: _expand_table_shorthands(key, value, settings, result) for key, value in tables.items()}
        root = with_replaced_entry(root, "tables", LocatedYamlMap(table_entries, tables.place))
    fields = CollectionSection.record.read_section(root, "", faults)
    if fields is None:
        return None, faults.list_sorted()
    resource = _build_collection_resource(path, fields, settings, result, is_standard=is_standard)
    return resource, faults.list_sorted()


def _expand_table_shorthands(
    key: LocatedYamlScalar, value: Any, settings: Settings, result: DescriptorReadResult
) -> Any:
    if not isinstance(value, LocatedYamlMap):
        return value
    table = add_data_source_column(apply_standard_to_table(key, value, settings, result))
    if OBSCORE_VIEW in table:
        table = _expand_obscore_keys(table, settings, result)
    table = expand_loops(table, ("columns", *ASSIGNMENT_KEYS), f"tables.{key}.", result.faults)
    for name, package_key in load_package_table_keys().items():
        if name in table:
            table = package_key.expand_table(table, f"tables.{key}", result.faults)
    return table


def _expand_obscore_keys(table: LocatedYamlMap, settings: Settings, result: DescriptorReadResult) -> LocatedYamlMap:
    """Replace ``obscore:`` by tables of the standards."""
    obscore_value = table.get(OBSCORE_VIEW)  # type: ignore[call-overload]
    table_entries: dict[LocatedYamlScalar, Any] = {
        key: value for key, value in table.items() if key not in {OBSCORE_VIEW, OBSCORE_RADIO_VIEW}
    }
    radio_value = None
    if isinstance(obscore_value, LocatedYamlMap):
        radio_value = obscore_value.get("radio")  # type: ignore[call-overload]
    for name, value in ((OBSCORE_VIEW, obscore_value), (OBSCORE_RADIO_VIEW, radio_value)):
        if value is None:
            continue
        entries = rewrite_obscore_as_table(value, table, name, result.faults)
        if entries is not None:
            key = with_place(name, entries.place)
            table_entries[key] = apply_standard_to_table(key, entries, settings, result)
    return LocatedYamlMap(table_entries, table.place)


def _build_collection_resource(
    path: Path, fields: LocatedKeyValues, settings: Settings, result: DescriptorReadResult, *, is_standard: bool
) -> CollectionSpec | None:
    faults = result.faults
    name = fields.get("collection")
    if name is None:
        return None
    _check_collection_name(name, path, settings, faults, is_standard=is_standard)
    constants = _read_let_constants(fields, faults)
    python_functions = read_python_functions(fields.get("functions", ()), path.parent, result, faults)
    contact = _build_site_contact(settings)
    if "contact" in fields:
        contact = read_person(fields["contact"], "contact", faults)
    collection_context = InheritedCollectionKeys(
        schema=str(name),
        access=_find_access_fields_or_default(fields, name, settings),
        contact=_format_contact(contact),
        constants=constants,
        site=_build_site_placeholder_values(settings, str(name)),
        publishes_files="files" in fields,
        directory=path.parent,
        contents=result.contents,
        hashes=result.hashes,
        is_standard=is_standard,
        project=_read_project_name(fields, settings, faults),
        reader_names=tuple(policy.name for policy in settings.readers),
    )
    specs = _read_tables(fields, collection_context, faults)
    files = _read_files_table(fields, collection_context, specs, settings, faults)
    if files is not None and all(spec.table.name.lower() != files.table.name for spec in specs):
        specs = (*specs, files)
    _check_service_names(fields, faults)
    for spec in specs:
        _check_services_of_table(spec, fields, faults)
    if fields.get("prepare") and files is None:
        message = "prepare: the collection has no files"
        faults.add_error(message, fields.places["prepare"], "add 'files', or remove 'prepare'")
    _check_preparations(fields, faults)
    engine = _read_engine_name(fields.get("engine"), faults)
    if not is_standard:
        _warn_missing_keys(name, fields, faults)
    short_name = fields.get("short_name")
    if short_name is not None and len(short_name) > MAX_SHORT_NAME_CHARACTERS:
        faults.add_error(
            f"short_name has {len(short_name)} characters; the registry allows at most {MAX_SHORT_NAME_CHARACTERS}",
            short_name.place,
        )
    access = "public"
    if collection_context.access is not None and collection_context.access.get("rows") == "private":
        access = "private"
    tests = [test for test in fields.get("tests", ()) if "query" in test and "expect" in test]
    examples = [example for example in fields.get("examples", ()) if "query" in example and "title" in example]
    attributes, extensions = _convert_plain_collection_keys(fields)
    attributes |= read_citation_fields(fields, faults)
    extensions |= convert_package_collection_keys(fields, collection_context, faults)
    return CollectionSpec(
        name=str(name),
        title=str(fields.get("title", name)),
        path=path,
        description=_read_description(fields),
        access=access,
        project=collection_context.project,
        tables=specs,
        creators=tuple(read_person(creator, "creators", faults) for creator in fields.get("creators", ())),
        contact=contact,
        let=constants,
        tests=tuple(map(_read_query_test, tests)),
        examples=tuple(map(_read_example_query, examples)),
        hashes=result.hashes,
        functions=python_functions,
        site=collection_context.site,
        index=fields.get("index"),
        engine=engine,
        schedule=read_sync_schedule(fields, faults),
        registration=read_registry_section(fields, specs, settings, faults),
        extensions=extensions,
        **attributes,
    )


def _convert_plain_collection_keys(fields: LocatedKeyValues) -> tuple[dict[str, Any], dict[str, Any]]:
    """Convert the values of plain keys; return those that `CollectionSpec` has as attributes, and the others."""
    attribute_names = {field.name for field in dataclass_fields(CollectionSpec)}
    attributes: dict[str, Any] = {}
    extensions: dict[str, Any] = {}
    for key, key_type in CollectionSection.record.own_key_types.items():
        if key not in fields or key in OWN_CONVERSION_KEYS or not is_plain_type(key_type):
            continue
        values = attributes if key in attribute_names else extensions
        values[key] = convert_plain_value(fields[key])
    return attributes, extensions


def _read_files_table(
    fields: LocatedKeyValues,
    collection_context: InheritedCollectionKeys,
    specs: tuple[TableSpec, ...],
    settings: Settings,
    faults: FaultCollector,
) -> TableSpec | None:
    """Build the table of the collection's files, and restrict it as the tables restrict their rows."""
    policies = [spec.table.policy for spec in specs if spec.table.policy is not None]
    has_file_rules = any(policy.path for policy in policies)
    written_files = fields.get("files", ())
    files = build_files_table(
        written_files, collection_context, settings.allowed_directories, faults, is_restricted=has_file_rules
    )
    for spec in specs if files is None else (*specs, files):
        if spec.table.access == "members" and collection_context.project is None:
            message = f"tables.{spec.table.name}.access: 'members' needs a project, but the collection has none"
            faults.add_error(message, spec.place, "write `project: NAME` in the collection")
    if files is None:
        return None
    restricting_table = None
    if not has_file_rules:
        restricting_table = find_restricting_table(written_files, collection_context.schema, specs, files)
    if restricting_table is not None:
        message = (
            f"files: the rows of {restricting_table} name the files, but some users cannot see all these rows, so only "
            "the site's owner can download the files"
        )
        remedy = "write `path: COLUMN` under the table's `access`, with the column that contains the path of the file"
        faults.add_warning(message, fields.places["files"], remedy)
    elif not has_file_rules and any(policy.files or policy.take for policy in policies):
        message = (
            "`access` states who may download files, but not which file belongs to which row, so these rules protect "
            "no file"
        )
        remedy = "write `path: COLUMN` under `access`, with the column that contains the path of the file"
        faults.add_warning(message, fields.places["files"], remedy)
    if has_file_rules or restricting_table is not None:  # its rows tell which files there are
        files = replace(files, table=files.table.copy_with(access="private"))
    if any(spec.table.name.lower() == files.table.name for spec in specs):
        faults.add_error(
            f"tables.{files.table.name}: `files` creates a table with this name",
            fields.places["files"],
            "give the table under `tables` another name",
        )
    return files


def _check_preparations(fields: LocatedKeyValues, faults: FaultCollector) -> None:
    """Warn of words of ``prepare`` that have no effect, because no plug-in package in use has them."""
    for word in fields.get("prepare", ()):
        unused_key = plugins.explain_ineffective_key(f"prepare.{word}")
        if unused_key is not None:
            faults.add_warning(unused_key.message, fields.places["prepare"], unused_key.remedy)


def _check_service_names(fields: LocatedKeyValues, faults: FaultCollector) -> None:
    """Report services that do not exist, and services that no protocol serves."""
    services = fields.get("services", ())
    package_services = [name for package in plugins.list_plugin_packages() for name in package.protocols]
    service_names = tuple(
        dict.fromkeys([*SERVICE_NAMES, *package_services, *plugins.list_external_plugins("protocols")])
    )
    served_names = {*plugins.list_plugins("protocols"), "epn-tap", OBSCORE_VIEW}
    for service in services:
        unused_error = plugins.find_disabled_plugin_error("protocols", str(service))
        if unused_error is not None:
            faults.add_warning(f"services: {unused_error.message}", service.place, unused_error.remedy)
        elif service not in service_names:
            remedy = suggest_spelling(service, service_names) or f"use one of {', '.join(service_names)}"
            faults.add_error(f"there is no service {str(service)!r}", service.place, remedy)
        elif service not in served_names:
            message = f"services: Hven does not offer {str(service)!r} yet"
            faults.add_warning(message, service.place, "remove the service for now")
    if services and served_names.isdisjoint(services):
        message = "services: Hven does not offer any of these services yet, so the collection has no services"
        faults.add_error(message, services[0].place, "list another service, or remove 'services'")


def _check_services_of_table(spec: TableSpec, fields: LocatedKeyValues, faults: FaultCollector) -> None:
    """Warn of links, keys of packages and observations that no service of the collection serves."""
    if "services" not in fields:
        return
    services = fields["services"]
    services_place = fields.places["services"]
    key_path = f"tables.{spec.table.name}"
    if spec.table.links and "datalink" not in services:
        message = f"{key_path}.links has no effect, because `services` does not list datalink"
        faults.add_warning(message, services_place, "add datalink to `services`, or remove `links`")
    for name, key in load_package_table_keys().items():
        if name in spec.table.extensions and key.service and key.service not in services:
            message = f"{key_path}.{name} has no effect, because `services` does not list {key.service}"
            faults.add_warning(message, services_place, f"add {key.service} to `services`, or remove `{name}`")
    if spec.obscore is not None and OBSCORE_VIEW not in services:
        message = f"{key_path}.obscore has no effect, because `services` does not list {OBSCORE_VIEW}"
        faults.add_warning(message, spec.obscore.place, f"add {OBSCORE_VIEW} to `services`, or remove `obscore`")


def _warn_missing_keys(name: LocatedYamlScalar, fields: LocatedKeyValues, faults: FaultCollector) -> None:
    if "tables" not in fields.places and "files" not in fields.places:
        faults.add_warning("the collection has no tables", name.place, "add 'tables' or 'files'")
    if "title" not in fields.places:
        faults.add_warning("the collection has no title", name.place, "add a one-line 'title' for readers")


def _format_contact(contact: Person | None) -> str | None:
    if contact is None:
        return None
    if contact.email:
        return f"{contact.name} <{contact.email}>"
    return contact.name


def _read_description(fields: LocatedKeyValues) -> str | None:
    if "description" not in fields:
        return None
    description = str(fields["description"])
    if isinstance(description, LocalizedText):
        return description
    return description.strip()


def _read_engine_name(name: LocatedYamlScalar | None, faults: FaultCollector) -> str | None:
    """Check the name of an engine."""
    if name is None:
        return None
    engine_names = plugins.list_plugins("engines")
    unused_error = plugins.find_disabled_plugin_error("engines", str(name))
    if unused_error is not None:
        faults.add_error(unused_error.message, name.place, unused_error.remedy)
    elif name not in engine_names:
        remedy = suggest_spelling(name, engine_names) or f"use one of {', '.join(engine_names)}"
        faults.add_error(f"there is no engine {str(name)!r}", name.place, remedy)
    return str(name)


def _read_project_name(fields: LocatedKeyValues, settings: Settings, faults: FaultCollector) -> str | None:
    """Read the name of a project, which hven.toml must have."""
    name = fields.get("project")
    if name is None:
        return None
    project_names = [project.name for project in settings.projects]
    if name not in project_names:
        remedy = suggest_spelling(name, project_names) or f"add [projects.{name}] to hven.toml"
        faults.add_error(f"there is no project {str(name)!r}", name.place, remedy)
    return str(name)


def _check_collection_name(
    name: LocatedYamlScalar, path: Path, settings: Settings, faults: FaultCollector, *, is_standard: bool
) -> None:
    check_column_name(name, "a collection", faults, must_be_regular=True)
    if is_standard:
        return
    owner = RESERVED_COLLECTION_NAMES.get(name.lower())
    if owner is not None:
        faults.add_error(f"the name {name} is reserved for {owner}", name.place, "choose another name")
    is_in_site = path.parent.parent.resolve() == settings.collections_directory.resolve()
    if is_in_site and path.parent.name != name:
        message = f"the collection is called {str(name)!r}, but its directory is called {path.parent.name!r}"
        faults.add_error(message, name.place, "give the collection and its directory the same name")


def _read_tables(
    fields: LocatedKeyValues, collection_context: InheritedCollectionKeys, faults: FaultCollector
) -> tuple[TableSpec, ...]:
    specs = []
    standard_context = replace(collection_context, is_standard=True)
    names_by_lower_case: dict[str, LocatedYamlScalar] = {}
    for name, table_fields in fields.get("tables", {}).items():
        first_name = names_by_lower_case.setdefault(name.lower(), name)
        if first_name is not name:
            faults.add_error(f"tables {first_name} and {name} differ only in case", name.place)
            continue
        spec = read_table_spec(name, table_fields, collection_context, faults)
        if spec is None:
            continue
        faults.faults += find_live_table_faults(spec)
        view_specs: dict[str, TableSpec | None] = dict.fromkeys((OBSCORE_VIEW, OBSCORE_RADIO_VIEW))
        for view in view_specs:
            if view in table_fields:
                view_name = with_place(view, table_fields.places[view])
                view_specs[view] = read_table_spec(view_name, table_fields[view], standard_context, faults)
        specs.append(replace(spec, obscore=view_specs[OBSCORE_VIEW], obscore_radio=view_specs[OBSCORE_RADIO_VIEW]))
    return tuple(specs)


def _read_let_constants(fields: LocatedKeyValues, faults: FaultCollector) -> dict[str, str | int | float | bool | None]:
    """Read the collection's ``let``: numbers and booleans without quotes are such, everything else is text."""
    constants: dict[str, str | int | float | bool | None] = {}
    for key, value in fields.get("let", {}).items():
        check_column_name(key, "a 'let' name", faults, must_be_regular=True)
        yaml_reading = detect_misleading_retyping(value)
        if yaml_reading is not None:
            faults.add_error(
                f"let.{key}: {value.page.format_name} reads `{value}` as {yaml_reading}",
                value.place,
                f'write "{value}" in quotes',
            )
        constants[str(key)] = to_python_value(value)
    return constants


def _find_access_fields_or_default(
    fields: LocatedKeyValues, name: LocatedYamlScalar, settings: Settings
) -> LocatedKeyValues | None:
    """Return ``access`` of a collection, or the site's default for collections that have none."""
    if "access" in fields or settings.access == "public":
        return fields.get("access")
    access_fields = LocatedKeyValues(name.place, {})
    access_fields["rows"] = with_place(settings.access, name.place)
    return access_fields


def _build_site_placeholder_values(settings: Settings, collection: str) -> dict[str, str]:
    """Return the values of ``{site.url}`` and similar placeholders."""
    title = settings.title or settings.name
    return {
        "url": settings.site_url,
        "name": settings.name,
        "title": title,
        "authority": settings.find_collection_authority(collection),
    }


def _build_site_contact(settings: Settings) -> Person | None:
    if settings.contact_name is None:
        return None
    return Person(name=settings.contact_name, email=settings.contact_email)


def _read_query_test(fields: LocatedKeyValues) -> QueryTest:
    query: LocatedYamlScalar = fields["query"]
    name = None
    if "name" in fields:
        name = str(fields["name"])
    expected_values = to_python_value(fields["expect"])
    return QueryTest(name=name, query=str(query), expected_values=expected_values, place=query.place)


def _read_example_query(fields: LocatedKeyValues) -> ExampleQuery:
    query: LocatedYamlScalar = fields["query"]
    name = str(fields["title"]).strip()
    description = None
    if "description" in fields:
        description = str(fields["description"]).strip()
    return ExampleQuery(name=name, query=str(query).strip(), description=description, place=query.place)


__all__ = ["check_descriptor", "describe_value", "load_descriptor", "load_standard_descriptor", "read_descriptor"]

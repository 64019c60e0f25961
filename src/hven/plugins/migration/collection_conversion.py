"""Convert resource descriptors of one schema into the draft of a collection."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hven.descriptor.api.descriptor_sections import map_standard_column_optionality
from hven.model.errors import SourceError
from hven.plugins.drafts.column_guesses import to_adql_identifier
from hven.plugins.migration.column_conversion import (
    EPN_TAP_STANDARD,
    ColumnConverter,
    apply_epn_standard,
    is_epn_table,
    list_position_columns,
)
from hven.plugins.migration.document_parts import set_primary_key
from hven.plugins.migration.draft_building import CODE_FILE, DraftBuilder, list_paths, order_keys
from hven.plugins.migration.draft_pruning import DATABASE_SECRET, build_database_source
from hven.plugins.migration.grammar_conversion import GRAMMAR_TAGS, ConvertedSource, GrammarConverter
from hven.plugins.migration.metadata_conversion import MetadataConverter, clean_text, list_meta_items
from hven.plugins.migration.mixin_columns import MIXIN_COLUMNS
from hven.plugins.migration.moved_code import MovedCodeFile
from hven.plugins.migration.observation_conversion import build_obscore_keys, list_spectrum_constants
from hven.plugins.migration.python_macros import PLACEHOLDER_END, PLACEHOLDER_START, MacroValues
from hven.plugins.migration.row_mapping import RowMapper, RowMapping
from hven.plugins.migration.service_conversion import OTHER_RECORD_TEXT, ServiceConverter
from hven.plugins.migration.template_expansion import DescriptorLibrary, TemplateExpander

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hven.model.settings import Settings
    from hven.plugins.drafts.document_drafts import CollectionDraft
    from hven.plugins.migration.python_expressions import TranslatedExpression
    from hven.plugins.migration.resource_xml import Element

TABLE_KEY_ORDER = (
    "title",
    "description",
    "utype",
    "standard",
    "optional",
    "frame",
    "primary",
    "position",
    "indexes",
    "access",
    "source",
    "view",
    "where",
    "let",
    "columns",
    "set",
    "text",
    "map",
    "frames",
    "obscore",
    "links",
)
# elements that DaCHS needs and Hven does not, with the reason
OMITTED_ELEMENTS = {
    "script": "scripts of SQL or Python run in DaCHS's database",
    "regSuite": "tests in Python: write the count of rows or values as `tests`",
    "job": "code that runs at times: `sync` reads sources again, and job types run programs",
    "execute": "code that runs at times: `sync` reads sources again, and job types run programs",
    "outputTable": "results have all columns that are not hidden",
    "dm": "annotations of a data model",
    "property": "settings of DaCHS; publish the files of staticData with `files`",
    "recreateAfter": "Hven makes tables from others in the right order",
    "parmaker": "values for parameters of tables in memory",
    "processEarly": "Python code: write a job type",
    "processLate": "Python code: write a job type",
}


class CollectionConverter:
    """Converts the resource descriptors of one schema.

    Parameters
    ----------
    name
        Name of the collection.
    root
        Folder of all descriptors.
    settings
        Settings of the site.
    store_connection
        Keeps the connection line of a file as a secret for a collection.
    """

    def __init__(
        self,
        *,
        name: str,
        root: Path,
        settings: Settings,
        store_connection: Callable[[str, Path], tuple[str, list[str]]],
    ) -> None:
        self._name = name
        self._root = root
        self._settings = settings
        self._store_connection = store_connection
        self._builder = DraftBuilder(name, settings, "DaCHS")
        self._report = self._builder.report
        self._code_file = MovedCodeFile(CODE_FILE, "a resource descriptor")
        self._draft = self._builder.draft
        self._descriptor_names: list[str] = []

    def convert_descriptor(self, path: Path) -> None:
        """Convert one resource descriptor."""
        self._descriptor_names.append(path.name)
        if len(self._descriptor_names) == 1:
            self._report.main_file = path.name
        library = DescriptorLibrary(path, self._root)
        expander = TemplateExpander(library, self._report)
        resource = expander.expand_resource(path)
        descriptor_id = _build_descriptor_id(path, self._root)
        metadata = {name: text for name, text, _ in list_meta_items(resource)}
        macros = MacroValues(self._name, descriptor_id, metadata)
        macros.own_macros = expander.macros
        keys = MetadataConverter(macros, self._report).convert_metadata(resource)
        for key, value in keys.items():
            self._draft.setdefault(key, _replace_placeholders(value, self._settings))
        schema = resource.get_value("schema")
        if schema.lower() != self._name.lower():
            self._report.add_decision(
                resource, f"the schema was {schema!r}: queries that name it need `hven new {schema.lower()}` instead"
            )
        converter = _ResourceConverter(
            builder=self._builder,
            resource=resource,
            resource_directory=_find_resource_directory(path, resource),
            macros=macros,
            code_file=self._code_file,
            store_connection=self._keep_connection,
            find_table=lambda reference: expander.find_table(reference, path),
        )
        converter.convert_tables()
        services = ServiceConverter(self._name, descriptor_id, self._report)
        services.convert_services(resource, converter.table_names, converter.epn_tables)
        for key, value in services.registry.items():
            registry = self._draft.setdefault("registry", {})
            if isinstance(value, dict):
                registry.setdefault(key, {}).update(value)
            elif registry.setdefault(key, value) != value:
                self._report.add_decision(resource, OTHER_RECORD_TEXT.format(value))
        self._builder.settings_lines += services.write_alias_lines()

    def _keep_connection(self, path: Path) -> str:
        if path.is_file():
            secret, notes = self._store_connection(self._name, path)
            if secret.startswith("$"):
                self._builder.notes += notes
                return secret
        secret = f"{self._name.upper()}_DB"
        self._report.add_decision(None, f"put the address of the database into the secret {secret} (was {path.name})")
        return f"${secret}"

    def build_draft(self) -> CollectionDraft:
        """Build the draft from all descriptors that were converted."""
        if self._code_file and self._code_file.result_types:
            self._draft["functions"] = {"file": CODE_FILE}
        return self._builder.build_draft(
            self._descriptor_names, self._code_file.write_text() if self._code_file else ""
        )


class _ResourceConverter:
    """Converts the tables of one expanded resource."""

    def __init__(
        self,
        *,
        builder: DraftBuilder,
        resource: Element,
        resource_directory: Path,
        macros: MacroValues,
        code_file: MovedCodeFile,
        store_connection: Callable[[Path], str],
        find_table: Callable[[str], Element | None],
    ) -> None:
        self._builder = builder
        self._report = builder.report
        self._resource = resource
        self._macros = macros
        self._code_file = code_file
        self._table_elements = _map_elements_by_id(resource, "table")
        self._procedures = _map_elements_by_id(resource, "procDef")
        self._rowmakers = _map_elements_by_id(resource, "rowmaker")
        self._columns = ColumnConverter(
            lambda reference: self._table_elements.get(reference) or find_table(reference), self._report
        )
        self._sources: dict[int, ConvertedSource | None] = {}
        self._grammars = GrammarConverter(
            resource_directory=resource_directory,
            directory_name=resource.get_value("resdir").strip("./") or resource.get_value("schema") or builder.name,
            format_path=builder.format_path,
            code_file=code_file,
            store_connection=store_connection,
            report=self._report,
        )
        self.table_names: list[str] = []
        self.epn_tables: list[str] = []

    def convert_tables(self) -> None:
        """Convert all tables on disk."""
        for element in self._resource.iterate_descendants():
            if element.tag in OMITTED_ELEMENTS:
                self._report.add_omission(element, f"{element.tag}: {OMITTED_ELEMENTS[element.tag]}")
        imports = self._list_imports()
        for table_id, table in self._table_elements.items():
            if not _is_on_disk(table):
                if table_id not in imports:
                    continue
                self._report_memory_table(table_id, table)
                if not _is_probably_published(table):
                    continue
            if table.is_true("temporary") or table.is_true("system"):
                self._report.add_omission(table, f"the table {table_id} is temporary, or belongs to the system")
                continue
            self._convert_table(table_id, table, imports.get(table_id, []))

    def _report_memory_table(self, table_id: str, table: Element) -> None:
        """Report a table that DaCHS fills in memory and does not publish."""
        if _is_probably_published(table):
            self._report.add_decision(
                table, f"onDisk is not set, so DaCHS does not publish {table_id}: remove the table if that is right"
            )
        else:
            self._report.add_omission(table, f"the table {table_id} is in memory only (onDisk is not set)")

    def _list_imports(self) -> dict[str, list[tuple[Element, Element]]]:
        """List the data elements that fill each table, with their make."""
        imports: dict[str, list[tuple[Element, Element]]] = {}
        for data in self._resource.iterate_descendants():
            if data.tag != "data":
                continue
            for make in data.list_children("make"):
                table_id = make.get_value("table").rpartition("#")[2]
                if not table_id and make.find_child("table") is not None:
                    table_id = make.list_children("table")[0].get_value("id")
                imports.setdefault(table_id, []).append((data, make))
        return imports

    def _convert_table(self, table_id: str, table: Element, imports: list[tuple[Element, Element]]) -> None:
        name = to_adql_identifier(table_id, "main")
        columns, null_literals = self._columns.convert_columns(table)
        is_epn = is_epn_table(table, columns)
        if is_epn:
            types = dict.fromkeys(map_standard_column_optionality(EPN_TAP_STANDARD), "")
            types |= {
                column: str(attributes["type"]) for column, attributes in columns.items() if column.lower() not in types
            }
            self.epn_tables.append(name)
        else:
            types = {column: str(attributes["type"]) for column, attributes in columns.items()}
        keys = self._convert_table_metadata(table)
        mapping, source = self._convert_imports(name, types, null_literals, imports)
        if is_epn:
            keys |= apply_epn_standard(table, columns, mapping.filled_columns, self._report)
        else:
            self._report.add_result(table, f"the table {table_id} with {len(columns)} columns")
        self._add_source(keys, table, name, columns, source)
        if "view" not in keys:
            keys |= mapping.sections
            if mapping.condition:
                keys["where"] = mapping.condition
        title = keys.get("set", {}).get("service_title") if is_epn else None
        if title is not None and title != self._builder.name:  # a rule of EPN-TAP
            keys["set"]["service_title"] = self._builder.name
            self._report.add_result(table, f"service_title is the name of the collection, not {title!r}")
        self._convert_table_keys(table, keys, columns, is_epn=is_epn)
        constants = list_spectrum_constants(table, mapping.filled_columns)
        if constants and "view" not in keys:
            keys.setdefault("set", {}).update(constants)
        if columns and keys.get("view", "no view"):
            keys["columns"] = columns
        self._convert_file_access(keys, columns, mapping)
        self._convert_preview(keys, mapping)
        filled_columns = mapping.filled_columns if source is not None else {column.lower() for column in columns}
        obscore = build_obscore_keys(table, columns, filled_columns, self._builder.name, self._report)
        if obscore and "view" not in keys and "obs_id" in obscore.get("map", {}):
            keys["obscore"] = obscore
            self._report.add_decision(
                table,
                f"{name} is in ivoa.obscore, which SIA and SSA search: check `obscore`, and write what is missing",
            )
        for column, element in mapping.lines.items():
            self._builder.mapping_lines[name, column] = element
        if name in self._builder.tables:
            self._report.add_decision(table, f"another descriptor has a table {name}, too: only that one was converted")
        self._builder.tables.setdefault(name, order_keys(keys, TABLE_KEY_ORDER))
        self.table_names.append(name)

    def _convert_table_metadata(self, table: Element) -> dict[str, Any]:
        keys: dict[str, Any] = {}
        for meta_name, text, _ in list_meta_items(table):
            value = self._macros.replace_text_macros(text, table.get_value("id"))
            if meta_name == "title":
                keys["title"] = " ".join(value.split())
            elif meta_name == "description":
                keys["description"] = clean_text(value)
        if "utype" in table.attributes and "epn" not in table.attributes["utype"].lower():
            keys["utype"] = table.attributes["utype"]
        return {key: _replace_placeholders(value, self._builder.settings) for key, value in keys.items()}

    def _convert_imports(
        self,
        name: str,
        types: dict[str, str],
        null_literals: dict[str, str],
        imports: list[tuple[Element, Element]],
    ) -> tuple[RowMapping, ConvertedSource | None]:
        """Convert the first import of a table; further ones with the same mapping add their files."""
        automatic_imports = [item for item in imports if item[0].get_value("auto").lower() not in {"false", "no"}]
        ordered_imports = automatic_imports + [item for item in imports if item not in automatic_imports]
        first: tuple[RowMapping, ConvertedSource] | None = None
        for data, make in ordered_imports:
            if id(data) not in self._sources:
                self._sources[id(data)] = self._grammars.convert_data(data)
            source = copy.deepcopy(self._sources[id(data)])
            if source is None:
                continue
            rowmaker = self._find_rowmaker(data, make)
            mapper = RowMapper(
                columns=types,
                null_literals=null_literals,
                source=source,
                procedures=self._procedures,
                macros=self._macros,
                table_name=name,
                code_file=self._code_file,
                report=self._report,
            )
            mapping = mapper.convert_rowmaker(rowmaker, data.find_child(*GRAMMAR_TAGS))
            types_by_lower = {column.lower(): value for column, value in types.items() if value}
            source.set_column_types(mapping.text_names, mapping.used_names, types_by_lower)
            if first is None:
                first = (mapping, source)
                continue
            if mapping.sections == first[0].sections:
                files = list_paths(source.options.get("files"))
                if files:
                    options = first[1].options
                    options["files"] = [*list_paths(options.get("files")), *files]
            else:
                self._report.add_decision(
                    data, f"{name} is filled by several data elements with other mappings: only the first was converted"
                )
        return first if first is not None else (RowMapping(), None)

    def _find_rowmaker(self, data: Element, make: Element) -> Element | None:
        rowmaker = make.find_child("rowmaker")
        reference = make.attributes.get("rowmaker", "")
        if rowmaker is None and reference:
            rowmaker = self._rowmakers.get(reference)
            if rowmaker is None and reference != "*":
                self._report.add_decision(make, f"the rowmaker {reference!r} is not there")
        return rowmaker if rowmaker is not None else data.find_child("rowmaker")

    def _add_source(
        self,
        keys: dict[str, Any],
        table: Element,
        name: str,
        columns: Mapping[str, Any],
        source: ConvertedSource | None,
    ) -> None:
        view = table.find_child("viewStatement")
        if view is not None:
            query = self._extract_view_query(view.text, name, columns)
            if query:
                keys["view"] = query
                self._report.add_result(view, f"the view {name}")
                return
            self._report.add_decision(view, f"the view {name} is not a single SELECT: write it as `view` in ADQL")
        if source is not None:
            keys["source"] = source.options
            return
        keys["source"] = build_database_source(self._builder.name, name)
        self._report.add_decision(
            table,
            f"no data element fills {name}: its rows are read from DaCHS's database; put its address into the secret "
            f"{DATABASE_SECRET}",
        )

    def _extract_view_query(self, text: str, name: str, columns: Mapping[str, Any]) -> str:
        text = re.sub(r"--[^\n]*", "", text)
        replaced = self._macros.replace_text_macros(text, name, ", ".join(columns))
        match = re.search(r"\bAS\b\s*\(?\s*((?:SELECT|WITH)\b[\s\S]*)", replaced, re.IGNORECASE)
        if match is None or "\\" in replaced:
            return ""
        query = " ".join(match[1].split()).rstrip(";").strip()
        while query.endswith(")") and query.count(")") > query.count("("):
            query = query[:-1].strip()
        return query

    def _convert_table_keys(
        self, table: Element, keys: dict[str, Any], columns: dict[str, dict[str, Any]], *, is_epn: bool
    ) -> None:
        """Convert the primary key, the indexes, the position and the frames of a table."""
        names = {column.lower(): column for column in columns}
        if "view" in keys:
            for attributes in columns.values():
                attributes.pop("indexed", None)
                attributes.pop("required", None)
        else:
            if not is_epn:
                set_primary_key(keys, _find_listed_columns(table.get_value("primary"), names))
            _add_indexes(table, keys, names)
        self._convert_position(table, keys, columns, is_epn=is_epn)
        self._report_mixins(table)
        self._report_table_attributes(table)
        for stc in table.list_children("stc"):
            self._convert_frame(stc, keys, names, columns)
        for key in table.list_children("foreignKey"):
            self._report.add_decision(key, "foreignKey: write it as `keys`")

    def _report_table_attributes(self, table: Element) -> None:
        if table.get_value("adql").lower() == "hidden":
            self._report.add_omission(
                table, "adql=hidden: queries find the table, and lists show it; `access` can hide it"
            )
        if table.is_true("forceUnique"):
            self._report.add_result(table, "forceUnique: the primary key is unique")

    def _convert_position(
        self, table: Element, keys: dict[str, Any], columns: Mapping[str, dict[str, Any]], *, is_epn: bool
    ) -> None:
        position = list_position_columns(columns)
        if position and not is_epn and "view" not in keys:
            keys["position"] = position
            self._report.add_result(table, "positions are indexed; cone searches use them")

    def _report_mixins(self, table: Element) -> None:
        for mixin in table.list_children("mixin"):
            word = mixin.text.removeprefix("//")
            if word.startswith("obscore#") and not any(
                other.text.startswith(("//siap", "//ssap#")) for other in table.list_children("mixin")
            ):
                self._report.add_decision(mixin, f"{word}: write `obscore` so that ObsCore finds the rows")
            elif not word.startswith(("scs#", "products#", "epntap2#", "obscore#", "siap", "ssap#")):
                self._report.add_omission(mixin, f"the mixin {word} has no equivalent")

    def _convert_frame(
        self, element: Element, keys: dict[str, Any], names: Mapping[str, str], columns: dict[str, dict[str, Any]]
    ) -> None:
        match = re.search(r"Position\s+(ICRS|FK5|FK4|GALACTIC|ECLIPTIC)\b", element.text)
        quoted = [names[item.lower()] for item in re.findall(r'"\[?(\w+)\]?"', element.text) if item.lower() in names]
        if match is None or not quoted:
            self._report.add_omission(element, "stc: a frame without a name, or for columns that are not there")
            return
        frame: dict[str, Any] = {"system": match[1]}
        epoch = re.search(r"Epoch\s+([JB][\d.]+)", element.text)
        if epoch:
            frame["epoch"] = epoch[1]
        keys["frames"] = {"sky": frame}
        for column in quoted:
            columns[column]["frame"] = "sky"
        self._report.add_result(element, f"the frame {match[1]}")

    def _add_product_column(
        self, keys: dict[str, Any], columns: dict[str, dict[str, Any]], name: str, value: TranslatedExpression
    ) -> None:
        """Add a hidden column, so that the files of tables without ``//products#table`` are not open to all."""
        if name in columns:
            return
        column_type, _, _, description = MIXIN_COLUMNS["products#table"][name]
        columns[name] = {"type": column_type, "description": description, "hidden": True}
        keys["columns"] = columns
        section, text = ("set", value.constant) if value.is_constant else ("map", value.adql)
        keys.setdefault(section, {})[name] = text

    def _convert_file_access(
        self, keys: dict[str, Any], columns: dict[str, dict[str, Any]], mapping: RowMapping
    ) -> None:
        """Convert owner and embargo of the files of rows."""
        embargo, owner = mapping.product.get("embargo"), mapping.product.get("owner")
        if embargo is not None and embargo.kind != "null":
            keys["access"] = {"rows": "public", "take": "embargo IS NULL OR embargo <= now"}
            self._add_product_column(keys, columns, "embargo", embargo)
            if owner is not None and owner.kind != "null":
                self._add_product_column(keys, columns, "owner", owner)
            if "owner" in columns:
                keys["access"]["take"] += " OR reader = owner"
        elif owner is not None and owner.constant:
            self._report.add_decision(None, f"files have an owner ({owner.adql:.60}) and no embargo: write `access`")

    def _convert_preview(self, keys: dict[str, Any], mapping: RowMapping) -> None:
        preview = mapping.product.get("preview")
        if preview is not None and preview.kind != "null" and preview.constant != "":
            template = preview.write_template() or (preview.constant if preview.is_constant else None)
            if template and re.match(r"https?://|\{site\.url\}", str(template)):
                keys["links"] = [{"semantics": "preview", "text": str(template), "type": "image/png"}]
            else:
                self._report.add_decision(
                    None, "previews were files made by DaCHS: `prepare: [previews]` makes them, or write `links`"
                )


def _map_elements_by_id(resource: Element, tag: str) -> dict[str, Element]:
    elements = {element.get_value("id"): element for element in resource.iterate_descendants() if element.tag == tag}
    elements.pop("", None)
    return elements


def _is_on_disk(table: Element) -> bool:
    return table.find_child("viewStatement") is not None or table.is_true("onDisk")


def _is_probably_published(table: Element) -> bool:
    """Return whether a table has what only a published table needs."""
    mixins = [mixin.text for mixin in table.list_children("mixin")]
    return table.is_true("adql") or any(
        name.startswith(("//epntap2#", "//scs#", "//siap", "//products#")) for name in mixins
    )


def _add_indexes(table: Element, keys: dict[str, Any], names: Mapping[str, str]) -> None:
    """Add the indexes of several columns."""
    groups = [_find_listed_columns(index.get_value("columns"), names) for index in table.list_children("index")]
    indexes = [group for group in groups if len(group) > 1]
    if indexes:
        keys["indexes"] = indexes


def _find_listed_columns(text: str, names: Mapping[str, str]) -> list[str]:
    """Find the columns that a text lists; empty: one of them is not there."""
    words = [word.lower() for word in re.split(r"[,\s]+", text) if word]
    if not all(word in names for word in words):
        return []
    return [names[word] for word in words]


def _replace_placeholders(value: Any, settings: Settings) -> Any:
    """Write the address and the authority of the site where macros stood for them."""
    if isinstance(value, str):
        site_url = settings.public_url or f"http://{settings.listening_address}"
        value = value.replace(f"{PLACEHOLDER_START}site.url{PLACEHOLDER_END}", site_url)
        return value.replace(f"{PLACEHOLDER_START}site.authority{PLACEHOLDER_END}", settings.authority)
    if isinstance(value, list):
        return [_replace_placeholders(member, settings) for member in value]
    if isinstance(value, dict):
        return {key: _replace_placeholders(member, settings) for key, member in value.items()}
    return value


def _build_descriptor_id(path: Path, root: Path) -> str:
    try:
        return path.relative_to(root).with_suffix("").as_posix()
    except ValueError:
        return f"{path.parent.name}/{path.stem}"


def _find_resource_directory(path: Path, resource: Element) -> Path:
    """Find the directory of the data: `resdir`, else that of the descriptor."""
    named = resource.get_value("resdir")
    if named:
        for folder in (path.parent / named, path.parent.parent / named):
            if folder.is_dir():
                return folder.resolve()
    if not path.parent.is_dir():
        raise SourceError(f"there is no directory {path.parent}", remedy="check the path")
    return path.parent.resolve()

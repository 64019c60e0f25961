"""Draft collections from the data sets of SITools2: ``hven new NAME --from data`` (its folder of XML files)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hven.model.errors import UserError
from hven.plugins.migration.document_parts import (
    add_table,
    choose_name,
    create_builders,
    find_type,
    keep_jdbc_address,
    read_head,
    set_primary_key,
    set_value,
)
from hven.plugins.migration.resource_xml import Element, read_xml

if TYPE_CHECKING:
    from pathlib import Path

    from hven.plugins.drafts.document_drafts import CollectionDraft, DocumentDraftRequest
    from hven.plugins.migration.draft_building import DraftBuilder

MAX_DATASETS = 2_000
FILE_PATTERN = "*@*.xml"  # names of XStream: int@3.xml, string@admin.xml
_DATASET_PATTERN = re.compile(rb"\A\s*(<\?xml[^>]*>\s*)?<dataset>[\s\S]*<(columnModel|sitoolsAttachementForUsers)>")
JOIN_WORDS = {
    "INNER_JOIN": "INNER JOIN",
    "LEFT_JOIN": "LEFT JOIN",
    "LEFT_OUTER_JOIN": "LEFT JOIN",
    "RIGHT_JOIN": "RIGHT JOIN",
    "RIGHT_OUTER_JOIN": "RIGHT JOIN",
    "CROSS_JOIN": "CROSS JOIN",
}
# columns that SITools2 showed as links, and what the values are
LINK_BEHAVIORS = {"localUrl", "extUrlNewTab", "extUrlDesktop", "ImgNoThumb", "ImgAutoThumb", "ImgThumbSQL"}
IGNORED_KEYS = {
    *("id", "name", "description", "descriptionHTML", "nbRecords", "image", "datasource", "status", "columnModel"),
    *("sitoolsAttachementForUsers", "structures", "structure", "queryType", "sqlQuery", "predicat", "visible", "dirty"),
    *("properties", "dictionaryMappings", "datasetView", "expirationDate", "distinct"),
}
_COMPARISONS = re.compile(r"=|<>|!=|<=?|>=?|like|not like|in|not in|is|is not", re.IGNORECASE)


def is_collection_document(path: Path) -> bool:
    """Return whether a file is a data set of SITools2, or a folder has some.

    Parameters
    ----------
    path
        Path of the file or folder.
    """
    if path.is_dir():
        return any(_DATASET_PATTERN.match(read_head(file)) for file in _list_files(path)[:3])
    return path.suffix == ".xml" and _DATASET_PATTERN.match(read_head(path)) is not None


def _list_files(folder: Path) -> list[Path]:
    """List the files of data sets: in the folder, or in its folder ``datasets``."""
    inner_folder = folder / "datasets"
    return sorted((inner_folder if inner_folder.is_dir() else folder).glob(FILE_PATTERN))[:MAX_DATASETS]


def draft_collections(request: DocumentDraftRequest) -> list[CollectionDraft]:
    """Draft the collections that data sets become: one for each, or one for all of them.

    Parameters
    ----------
    request
        The file or folder, and the name of the collection.

    Returns
    -------
    drafts
        The collections.

    Raises
    ------
    SourceError
        A file cannot be read.
    ConflictError
        A file exists that would be written.
    """
    files = _list_files(request.path) if request.path.is_dir() else [request.path]
    elements = [read_xml(file, file.name, ("dataset",)) for file in files]
    datasets = {element.get_value("name") or element.file: element for element in elements}
    drafts: list[CollectionDraft] = []
    for builder, names in create_builders(request, datasets, "SITools2", "dataset").values():
        builder.report.main_file = "" if len(files) > 1 else files[0].name
        for name in names:
            _convert_dataset(builder, request, datasets[name], name, files[0].parent.parent / "datasources")
        if len(names) == 1:
            set_value(builder.draft, "title", names[0])
            set_value(builder.draft, "description", _strip_tags(datasets[names[0]].get_value("description")))
        drafts.append(builder.build_draft([datasets[name].file for name in names]))
    return drafts


def _strip_tags(text: str) -> str:
    return re.sub(r"<[^>]*>", " ", text)


def _convert_dataset(
    builder: DraftBuilder, request: DocumentDraftRequest, dataset: Element, name: str, sources_folder: Path
) -> None:
    for element in dataset.elements:
        if element.tag not in IGNORED_KEYS:
            builder.report.add_omission(element, f"{element.tag} has no counterpart")
        elif element.tag in {"dictionaryMappings", "datasetView", "properties"} and element.elements:
            builder.report.add_omission(element, f"{element.tag}: write UCDs, and metadata of the collection")
    keys: dict[str, Any] = {}
    set_value(keys, "title", name)
    set_value(keys, "description", _strip_tags(dataset.get_value("description")))
    if dataset.get_value("visible") == "false" or dataset.get_value("status") not in {"ACTIVE", ""}:
        keys["access"] = "private"
        builder.report.add_decision(dataset, f"{name} was not public (visible, status): it is private")
    columns: dict[str, dict[str, Any]] = {}
    selections: list[str] = []
    model = dataset.find_child("columnModel")
    elements = [] if model is None else model.list_children("column")
    for element in elements:
        column_name = choose_name(element.get_value("columnAlias") or element.get_value("dataIndex"), "column")
        if element.get_value("specificColumnType") == "VIRTUAL":
            builder.report.add_decision(element, f"{column_name} is computed by a converter in Java: write it as `map`")
            continue
        if _find_renderer(element) == "noClientAccess":
            builder.report.add_decision(element, f"{column_name} was never sent to clients (noClientAccess): left out")
            continue
        columns[column_name] = _convert_column(builder, element)
        selections.append(f"{_write_reference(element)} AS {column_name}")
    primary = [
        choose_name(element.get_value("columnAlias"), "column")
        for element in elements
        if element.get_value("primaryKey") == "true"
    ]
    primary = [name for name in primary if name in columns]
    set_primary_key(keys, primary)
    distinct = "DISTINCT " if dataset.get_value("distinct") == "true" else ""
    query = f"SELECT {distinct}{', '.join(selections)} {_write_sql_after_select_list(builder, dataset)}"
    keys["source"] = {"kind": "sql", "url": _find_database(builder, request, dataset, sources_folder), "query": query}
    keys["columns"] = columns
    path = dataset.get_value("sitoolsAttachementForUsers")
    if path:
        keys["endpoints"] = {"sitools": {"path": path, "like": "sitools2", "title": name}}
        builder.report.add_result(
            dataset.find_child("sitoolsAttachementForUsers"), f"the address {path} answers as before"
        )
    add_table(builder, name, keys, dataset, f"the data set {name}")


def _write_reference(element: Element) -> str:
    """Write a column as SQL: an expression of SITools2, or the column of a table."""
    expression = element.get_value("dataIndex")
    if element.get_value("specificColumnType") == "SQL":
        return expression
    table = element.get_value("tableAlias") or element.get_value("tableName")
    return f"{table}.{expression}" if table else expression


def _write_sql_after_select_list(builder: DraftBuilder, dataset: Element) -> str:
    """Write what follows the columns in the query: a text of SITools2, or joins and conditions."""
    if dataset.get_value("queryType") == "S":
        return " ".join(dataset.get_value("sqlQuery").split())
    structure = dataset.find_child("structure") or Element("structure", {}, dataset.line, dataset.file)
    main_table = structure.find_child("mainTable")
    nodes = [node for node in structure.iterate_descendants() if node.tag.endswith("StructureNodeComplete")]
    if main_table is None:
        tables = [item for item in dataset.iterate_descendants() if item.tag == "structure" and item.get_value("name")]
        main_table = tables[0] if tables else None
    if main_table is None:
        builder.report.add_decision(structure, f"{dataset.get_value('name')} names no table: write the query")
        return "FROM unknown"
    text = f"FROM {_write_table(main_table)}"
    for node in nodes:
        table = node.find_child("table")
        if node.get_value("type") == "table" and table is not None:
            conditions = [item for item in node.iterate_descendants() if item.tag == "predicat"]
            joined = " AND ".join(_write_condition(builder, condition) for condition in conditions)
            word = JOIN_WORDS.get(node.get_value("typeJointure"), "INNER JOIN")
            text += f" {word} {_write_table(table)}{f' ON {joined}' if joined else ''}"
    outer = dataset.find_child("predicat")
    conditions = [] if outer is None else outer.list_children("predicat")
    for number, condition in enumerate(conditions):
        word = condition.get_value("logicOperator").strip().upper()
        if number == 0:
            word = "WHERE"
        elif word not in {"AND", "OR"}:
            word = "AND"
        text += f" {word} "
        text += condition.get_value("openParenthesis") + _write_condition(builder, condition)
        text += condition.get_value("closedParenthesis")
    return text


def _write_table(table: Element) -> str:
    name = ".".join(part for part in (table.get_value("schema"), table.get_value("name")) if part)
    alias = table.get_value("alias")
    return f"{name} AS {alias}" if alias else name


def _write_condition(builder: DraftBuilder, condition: Element) -> str:
    left, right = condition.find_child("leftAttribute"), condition.find_child("rightAttribute")
    comparison = condition.get_value("compareOperator").strip()
    if left is None or not _COMPARISONS.fullmatch(comparison):
        builder.report.add_decision(
            condition, f"a condition with {comparison!r} was left out: no rows meet it until you write it in the query"
        )
        return "1 = 0"  # fewer rows than before are better than rows that were not public
    if right is not None:
        return f"{_write_reference(left)} {comparison} {_write_reference(right)}"
    value = condition.get_value("rightValue")
    if value[:1] == '"':  # SITools2 quoted texts so for MySQL
        value = "'" + value.strip('"').replace("'", "''") + "'"
    return f"{_write_reference(left)} {comparison} {value}"


def _find_database(builder: DraftBuilder, request: DocumentDraftRequest, dataset: Element, folder: Path) -> str:
    reference = dataset.find_child("datasource")
    source_id = "" if reference is None else reference.get_value("id")
    for file in sorted(folder.glob(FILE_PATTERN))[:MAX_DATASETS]:
        try:
            source = read_xml(file, file.name, ("jdbcdatasource",))
        except UserError as error:
            builder.report.add_omission(None, f"{file.name}: {error.message}")
            continue
        if source.get_value("id") == source_id:
            values = (source.get_value("url"), source.get_value("userLogin"), source.get_value("userPassword"))
            return keep_jdbc_address(builder, request, values, source)
    return keep_jdbc_address(builder, request, ("", "", ""), reference if reference is not None else dataset)


def _find_renderer(element: Element) -> str:
    renderer = element.find_child("columnRenderer")
    return "" if renderer is None else renderer.get_value("behavior") or renderer.text


def _convert_column(builder: DraftBuilder, element: Element) -> dict[str, Any]:
    column: dict[str, Any] = {"type": find_type(element.get_value("sqlColumnType"))}
    set_value(column, "label", element.get_value("header"))
    set_value(column, "description", element.get_value("toolTip"))
    unit = element.find_child("unit")
    if unit is not None:
        set_value(column, "unit", unit.get_value("unitName"))
    behavior = _find_renderer(element)
    if behavior in LINK_BEHAVIORS:
        column["ucd"] = "meta.ref.url"
        builder.report.add_result(element, f"{behavior}: the column has addresses")
    elif behavior:
        builder.report.add_decision(element, f"the renderer {behavior}: write `link` of the column, or `links`")
    if element.get_value("visible") == "false":
        column["rank"] = 25
    return column

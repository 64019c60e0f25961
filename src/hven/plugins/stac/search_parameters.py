"""Read the parameters of searches: those of GET, and the JSON body of POST."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from hven.model import literal
from hven.model.errors import ParamError, TooLargeError, format_message, suggest_spelling
from hven.plugins.stac.cql2_conditions import parse_cql2_json, parse_cql2_text
from hven.plugins.stac.item_documents import ItemFieldSelection
from hven.plugins.stac.item_searches import DEFAULT_LIMIT, MAX_IDS, MAX_LIMIT, ItemSearch
from hven.plugins.stac.spatial_conditions import parse_box
from hven.plugins.stac.temporal_conditions import parse_time_span

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.plugins.stac.item_tables import ItemTable

SEARCH_NAMES = (
    "bbox",
    "datetime",
    "limit",
    "token",
    "filter",
    "filter-lang",
    "filter-crs",
    "sortby",
    "fields",
    "ids",
    "collections",
    "intersects",
)
_CRS84_NAMES = {"http://www.opengis.net/def/crs/OGC/1.3/CRS84", "CRS84", "OGC:CRS84"}


def parse_get_search(
    pairs: Sequence[tuple[str, str]], collection_ids: Sequence[str], item_table: ItemTable | None = None
) -> ItemSearch:
    """Read the parameters of a search by GET.

    Parameters
    ----------
    pairs
        Names and values.
    collection_ids
        Collections that the reader sees, or the one of the address.
    item_table
        The table of the collection in the address, whose properties are parameters, too; None: the address has none.

    Returns
    -------
    search
        The search.

    Raises
    ------
    ParamError
        A parameter is unknown, repeated or has a value that is not allowed.
    """
    given: dict[str, Any] = {}
    conditions: list[Mapping[str, Any]] = []
    for name, value in pairs:
        if name in given:
            raise ParamError(f"{name} occurs twice", name=name, remedy="send it once")
        if name in SEARCH_NAMES:
            given[name] = value
        elif item_table is not None and item_table.find_property_column(name) is not None:
            conditions.append(_parse_property_condition(name, value, item_table))
        else:
            remedy = suggest_spelling(name, list(SEARCH_NAMES)) or f"known parameters: {', '.join(SEARCH_NAMES)}"
            raise ParamError(f"{name!r:.60} is not a parameter of this search", name=name, remedy=remedy)
    _split_lists(given)
    if "intersects" in given:
        try:
            given["intersects"] = orjson.loads(given["intersects"])
        except orjson.JSONDecodeError:
            raise ParamError("intersects is not JSON", name="intersects", remedy="send a GeoJSON geometry") from None
    given.setdefault("filter-lang", "cql2-text")
    search = parse_json_search(given, collection_ids)
    if not conditions:
        return search
    if search.filter is not None:
        conditions.append(search.filter)
    return replace(search, filter=conditions[0] if len(conditions) == 1 else {"op": "and", "args": conditions})


def read_item_frame(pairs: Sequence[tuple[str, str]], item_table: ItemTable) -> tuple[list[tuple[str, str]], bool]:
    """Read the frames of a request for items: that of the answer, and that of the box (OGC API Features, part 2).

    Parameters
    ----------
    pairs
        Names and values of the parameters.
    item_table
        Table of the items.

    Returns
    -------
    pairs, is_latitude_first
        The other parameters, with longitudes first in a box; whether the answer has latitudes first.

    Raises
    ------
    ParamError
        Items are not available in a frame.
    """
    values = dict(pairs)
    orders = {name: _has_latitude_first(name, values.get(name), item_table) for name in ("crs", "bbox-crs")}
    others = [(name, value) for name, value in pairs if name not in orders]
    if orders["bbox-crs"]:
        others = [(name, _order_axes(value) if name == "bbox" else value) for name, value in others]
    return others, orders["crs"]


def _has_latitude_first(parameter: str, frame: str | None, item_table: ItemTable) -> bool:
    if frame is None or frame in _CRS84_NAMES:
        return False
    if frame != item_table.frame_uri:
        remedy = "use one of the frames under `crs` in the description of the collection"
        raise ParamError(f"items are not available in {frame!r:.80}", name=parameter, remedy=remedy)
    return True


def _order_axes(box: str) -> str:
    """Swap the first two numbers of both corners."""
    words = box.split(",")
    half = len(words) // 2
    return ",".join([*words[:2][::-1], *words[2:half], *words[half : half + 2][::-1], *words[half + 2 :]])


def _split_lists(given: dict[str, Any]) -> None:
    """Replace texts with commas by the lists of a JSON body."""
    for name in ("ids", "collections"):
        if name in given:
            given[name] = _split_words(given[name])
    if given.get("bbox"):
        given["bbox"] = given["bbox"].split(",")
    if "sortby" in given:
        given["sortby"] = [_parse_sort_word(word) for word in _split_words(given["sortby"])]
    if "fields" in given:
        words = _split_words(given["fields"])
        excludes = [word[1:] for word in words if word.startswith("-")]
        given["fields"] = {"include": [word.lstrip("+ ") for word in words if word[0] != "-"], "exclude": excludes}


def _split_words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _parse_property_condition(name: str, value: str, item_table: ItemTable) -> dict[str, Any]:
    """Read a parameter that is a property: the value that items must have."""
    column = item_table.find_property_column(name)
    typed_value: str | float = value
    if column is not None and column.type.is_numeric:
        try:
            typed_value = literal.parse_number(value)
        except ValueError:
            raise ParamError(f"{name}={value!r:.60} is not a number", name=name, remedy="write a number") from None
    return {"op": "=", "args": [{"property": name}, typed_value]}


def _parse_sort_word(word: str) -> dict[str, str]:
    direction = "desc" if word.startswith("-") else "asc"
    return {"field": word.lstrip("+- "), "direction": direction}


def parse_json_search(given: Mapping[str, Any], collection_ids: Sequence[str]) -> ItemSearch:
    """Build a search from the members of a JSON body.

    Parameters
    ----------
    given
        Members by their names.
    collection_ids
        Collections that the reader sees, or the one of the address.

    Returns
    -------
    search
        The search.

    Raises
    ------
    ParamError
        A member is unknown or has a value that is not allowed.
    """
    for name in given:
        if name not in SEARCH_NAMES:
            raise ParamError(f"{name!r:.60} is not a valid member of a search", name=str(name)[:60])
    if given.get("bbox") is not None and given.get("intersects") is not None:
        raise ParamError("bbox and intersects cannot be combined", name="bbox", remedy="send only one of them")
    wanted_ids = _read_texts(given, "collections")
    if wanted_ids:  # collections that the reader does not see have no items
        collection_ids = [collection_id for collection_id in collection_ids if collection_id in set(wanted_ids)]
    box = given.get("bbox")
    if box and not isinstance(box, list):
        raise ParamError("bbox is not a list of numbers", name="bbox", remedy="write four numbers")
    span_text = given.get("datetime")
    if span_text is not None and not isinstance(span_text, str):
        raise ParamError("datetime is not text", name="datetime", remedy="write 2004-01-14T00:00:00Z/..")
    token = given.get("token")
    return ItemSearch(
        collection_ids=collection_ids,
        box=None if box in (None, "", []) else parse_box(box),
        geometry=given.get("intersects"),
        span=None if not span_text else parse_time_span(span_text),
        ids=_read_texts(given, "ids"),
        filter=_read_filter(given),
        sort_keys=_read_sort_keys(given.get("sortby")),
        limit=_read_limit(given.get("limit")),
        token=token if isinstance(token, str) and token else None,
        selection=_read_field_selection(given.get("fields", {})),
    )


def _read_texts(given: Mapping[str, Any], name: str) -> Sequence[str]:
    values = given.get(name)
    if values is None:
        return ()
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ParamError(f"{name} is not a list of strings", name=name)
    if len(values) > MAX_IDS:
        raise TooLargeError(format_message("the search has {count:,} ids; the limit is {most:,}", len(values), MAX_IDS))
    return values


def _read_limit(value: object) -> int:
    """Read the number of items in a page; a number above the maximum is lowered."""
    if value is None:
        return DEFAULT_LIMIT
    try:
        limit = int(str(value))
    except ValueError:
        limit = 0
    if limit < 1:
        message = f"limit={value!r:.40} is not a whole number of at least 1"
        raise ParamError(message, name="limit", remedy=f"write a number from 1 to {MAX_LIMIT}")
    return min(limit, MAX_LIMIT)


def _read_filter(given: Mapping[str, Any]) -> Mapping[str, Any] | None:
    crs = given.get("filter-crs")
    if crs is not None and crs not in _CRS84_NAMES:
        raise ParamError(f"filter-crs={crs!r:.80} is not supported", name="filter-crs", remedy="leave it out")
    filter_value = given.get("filter")
    language = given.get("filter-lang", "cql2-json")
    if language not in {"cql2-text", "cql2-json"}:
        raise ParamError(
            f"filter-lang={language!r:.40} is unknown", name="filter-lang", remedy="write cql2-text or cql2-json"
        )
    if not filter_value:
        return None
    if isinstance(filter_value, dict):
        return parse_cql2_json(orjson.dumps(filter_value))
    if not isinstance(filter_value, str):
        raise ParamError("the filter is neither text nor an object", name="filter")
    if language == "cql2-text":
        return parse_cql2_text(filter_value)
    return parse_cql2_json(filter_value)


def _read_sort_keys(value: object) -> Sequence[tuple[str, bool]]:
    if not value:
        return ()
    remedy = 'write [{"field": "id", "direction": "asc"}]'
    if not isinstance(value, list):
        raise ParamError("sortby is not a list", name="sortby", remedy=remedy)
    keys = []
    for entry in value:
        members = entry if isinstance(entry, dict) else {}
        field_name, direction = members.get("field"), members.get("direction", "asc")
        if not isinstance(field_name, str) or direction not in {"asc", "desc"}:
            raise ParamError(f"the entry {entry!r:.80} of sortby is not valid", name="sortby", remedy=remedy)
        keys.append((field_name, direction == "desc"))
    return keys


def _read_field_selection(value: object) -> ItemFieldSelection:
    if not isinstance(value, dict):
        raise ParamError("fields is not an object", name="fields", remedy='write {"include": [..], "exclude": [..]}')
    return ItemFieldSelection(tuple(_read_texts(value, "include")), tuple(_read_texts(value, "exclude")))

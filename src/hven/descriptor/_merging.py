"""One tree of written values out of many: includes, the site's defaults, standards, loops. Every value keeps its place."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hven.descriptor._file_contents import FileContents
from hven.descriptor._keys import ASSIGNMENTS
from hven.descriptor.value_schema import Faults, kind
from hven.descriptor.written import Entries, Items, Page, Written, page_of, parse, read_page
from hven.model.errors import meant, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model.errors import Fault
    from hven.model.settings import Settings

MOST_INCLUDED, _LONGEST = 500, 1000  # files, one as often as it is included; characters of a path
STANDARDS = Path(__file__).parent / "standards"


class Gathered:
    """What was read for one descriptor: the merged tree and the SHA-256 of every file.

    `contents` reads the files.
    """

    def __init__(self, contents: FileContents | None = None) -> None:
        self.contents = contents or FileContents()
        self.hashes: dict[str, str] = {}
        self.faults = Faults()
        self.included = 0


def gather(path: Path, settings: Settings, result: Gathered) -> Entries | None:
    """Read a descriptor with all its includes, and put the site's defaults below."""
    result.faults.language = settings.language
    root = _read(path, path.parent, settings, result, ())
    if root is None:
        return None
    if settings.defaults:
        below = from_toml(settings)
        root = merge(below, root, "collection")
    return root


def shown(path: Path, settings: Settings) -> str:
    """Name a file as messages do: relative to the site if it is in it."""
    try:
        return path.resolve().relative_to(settings.directory.resolve()).as_posix()
    except ValueError:
        return str(path)


def _read(
    path: Path,
    home: Path,
    settings: Settings,
    result: Gathered,
    chain: tuple[Path, ...],
) -> Entries | None:
    faults, name = result.faults, shown(path, settings)
    page = _page(path, name, result)
    if page is None:
        return None
    key = Path(re.sub(r"^\./", "", _relative(path, home))).as_posix()
    result.hashes[key] = result.contents.compute_sha256(path)
    value = parse(page, faults.found)
    if value is None:
        if not faults.found:
            faults.error("the file is empty", page.place(0), "begin with 'collection: name'")
        return None
    if not isinstance(value, Entries):
        faults.error(f"a descriptor is a map (collection, title, tables ...), not {kind(value)}", page.place(0))
        return None
    included = value.get("include")  # type: ignore[call-overload]
    if included is None:
        return value
    lower: Entries | None = None
    for item in included if isinstance(included, Items) else [included]:
        if not isinstance(item, Written):
            continue  # said when the keys are checked
        other = path.parent / str(item)
        result.included += 1
        if result.included > MOST_INCLUDED:
            faults.error(
                f"more than {MOST_INCLUDED} files are included",
                item.place,
                "include each once, where all that include it stand together",
            )
            return None
        if "\0" in item or len(str(item)) > _LONGEST:
            faults.error("no file can be called so", item.place, f"at most {_LONGEST} characters, and no NUL")
            continue
        if other.resolve() in {step.resolve() for step in (*chain, path)}:
            faults.error(
                f"{item} includes itself", item.place, " -> ".join(step.name for step in (*chain, path, other))
            )
            continue
        if not any(other.resolve().is_relative_to(root.resolve()) for root in settings.grounds) or other.suffix not in {
            ".yaml",
            ".yml",
        }:
            faults.error(
                f"{item} is no descriptor of this site",
                item.place,
                "include .yaml files of the site, or of a directory that `roots` in hven.toml names",
            )
            continue
        if not result.contents.is_file(other):
            hint = nearest(str(item), _neighbours(other, str(item)))
            faults.error(
                f"there is no file {item} to include", item.place, hint or f"paths start at {path.parent.name}/"
            )
            continue
        inner = _read(other, home, settings, result, (*chain, path))
        if inner is not None:
            lower = inner if lower is None else merge(lower, inner, "collection")
    return value if lower is None else merge(lower, value, "collection")


def _page(path: Path, name: str, result: Gathered) -> Page | None:
    state = result.contents.find(path)
    if state is None or state.data is None:
        return read_page(path, name, result.faults.found)
    return page_of(state.data, name, result.faults.found)


def _relative(path: Path, home: Path) -> str:
    return os.path.relpath(path, home)


def _neighbours(missing: Path, written: str) -> list[str]:
    folder = missing.parent
    head = written.rpartition("/")[0]
    if not folder.is_dir():
        return []
    return [
        f"{head}/{item.name}" if head else item.name for item in folder.iterdir() if item.suffix in {".yaml", ".yml"}
    ]


def merge(lower: Entries, upper: Entries, level: str = "") -> Entries:
    """Merge `upper` over `lower`: maps are merged key by key, everything else is replaced.

    In a table, a target that `upper` sets (under set, text, map or lookup) is taken out of `lower`, however it was set there, and the
    optional columns of both are asked for.
    """
    if level == "table":
        mine = {name for key in ASSIGNMENTS for name in _keys(upper, key)}
        lower = Entries(
            {key: _without(value, mine) if key in ASSIGNMENTS else value for key, value in lower.items()}, lower.place
        )
    result: dict[Written, Any] = {}
    for key, old in lower.items():
        if key == "types" and "type" in upper:  # who says a column's type means that one
            continue
        if key not in upper:
            result[key] = old
            continue
        value = upper[key]
        if isinstance(old, Entries) and isinstance(value, Entries):
            inner = "tables" if level == "collection" and key == "tables" else "table" if level == "tables" else ""
            value = merge(old, value, inner)
        elif level == "table" and key == "optional":
            value = _joined(old, value)
        result[upper.key(key)] = value
    result.update({key: value for key, value in upper.items() if key not in lower})
    return Entries(result, upper.place)


def _joined(lower: Any, upper: Any) -> Any:
    both = [list(value) if isinstance(value, Items) else [value] for value in (lower, upper)]
    return Items([*both[0], *(item for item in both[1] if item not in both[0])], upper.place)


def _keys(table: Entries, key: str) -> list[str]:
    inner = table.get(key)  # type: ignore[call-overload]
    return [str(name) for name in inner] if isinstance(inner, Entries) else []


def _without(value: Any, names: set[str]) -> Any:
    if not isinstance(value, Entries):
        return value
    return Entries({key: item for key, item in value.items() if str(key) not in names}, value.place)


def from_toml(settings: Settings) -> Entries:
    """Read ``[defaults]`` of hven.toml as written values, with their lines where they can be found."""
    file = settings.directory / "hven.toml"
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        text = ""
    page = Page("hven.toml", text)
    section = max(text.find("[defaults"), 0)

    def place(key: str) -> int:
        found = re.compile(
            rf'^[ \t]*"?{re.escape(key)}"?[ \t]*=|^\[defaults\.(?:.*\.)?{re.escape(key)}\]', re.MULTILINE
        ).search(text, section)
        return found.start() if found else section

    def convert(value: Any, start: int) -> Any:
        if isinstance(value, dict):
            return Entries(
                {
                    Written(key, page, place(key), place(key), '"'): convert(item, place(key))
                    for key, item in value.items()
                },
                page.place(start),
            )
        if isinstance(value, list):
            return Items([convert(item, start) for item in value], page.place(start))
        if isinstance(value, bool):
            return Written("true" if value else "false", page, start, start, "")
        return Written(str(value), page, start, start, "" if isinstance(value, int | float) else "made")

    return convert(dict(settings.defaults), section)  # type: ignore[no-any-return]


# --- standards -----------------------------------------------------------------------------------------------


def standards(settings: Settings | None = None) -> dict[str, Path]:
    """List all standards by name: those shipped, and ``standards/*.yaml`` of the site."""
    found = {path.stem: path for path in sorted(STANDARDS.glob("*.yaml"))}
    if settings is not None:
        found |= {path.stem: path for path in sorted((settings.directory / "standards").glob("*.yaml"))}
    return found


def _standard(name: str, path: Path) -> tuple[Any, list[Fault]]:
    """Read a standard as it stands in its file now, with the faults of its text; to take apart EPN-TAP's takes ten times as long as a small descriptor."""
    state: tuple[int, int] | None = None
    with suppress(OSError):  # the reader of the file tells
        said = path.stat()
        state = said.st_mtime_ns, said.st_size
    return _parsed(name, path, state)


@lru_cache(maxsize=32)
def _parsed(name: str, path: Path, state: tuple[int, int] | None) -> tuple[Any, list[Fault]]:  # noqa: ARG001  (tells the states of a file apart)
    found: list[Fault] = []
    page = read_page(path, f"standard {name}", found)
    return parse(page, found) if page is not None else None, found


def apply_standard(key: Written, table: Entries, settings: Settings, result: Gathered) -> Entries:
    """Merge the table called `key` over the standard that it names: its columns (optional ones if asked for), rules, groups."""
    faults = result.faults
    name = table.get("standard")  # type: ignore[call-overload]
    if not isinstance(name, Written):
        for word in ("optional", "frame"):
            if word in table and "variants" not in table:
                faults.error(
                    f"{word!r} means something only with a standard",
                    table.key(word).place,
                    "add 'standard', or remove it",
                )
        return Entries({word: value for word, value in table.items() if word not in {"optional", "frame"}}, table.place)
    known = standards(settings)
    own = settings.directory / "standards"
    known |= {path.stem: path for path in result.contents.states if path.parent == own}
    if str(name) not in known:
        faults.error(
            f"no standard is called {str(name)!r}",
            name.place,
            nearest(str(name), known) or f"known: {', '.join(known)}",
        )
        if (like := meant(str(name), known)) is None:  # nobody knows what columns the table has
            followed = {name.replaced("follow"): Written("true", name.page, name.start, name.end)}
            return Entries({**{key: value for key, value in table.items() if key != "follow"}, **followed}, table.place)
        name = name.replaced(like)  # what is written is looked at as if this one were named
    path = known[str(name)]
    if result.contents.find(path) is None:
        root, found = _standard(str(name), path)
        faults.found += found
    else:
        page = _page(path, f"standard {name}", result)
        root = None if page is None else parse(page, faults.found)
    tables = root.get("tables") if isinstance(root, Entries) else None  # type: ignore[call-overload]
    if not isinstance(tables, Entries) or not tables:
        faults.error(f"the standard {name} must describe a table", name.place)
        return table
    one = next(iter(tables)) if len(tables) == 1 else key
    if one not in tables:  # of several, the table's own name says which
        known_tables = [str(other) for other in tables]
        remedy = nearest(str(key), known_tables) or f"its tables: {', '.join(known_tables)}"
        faults.error(f"the standard {name} has no table {str(key)!r}", key.place, remedy)
        return table
    base: Entries = tables[one]
    called = base.get("called")  # type: ignore[call-overload]
    if called is not None and key != called and name == table.get("standard"):  # type: ignore[call-overload]
        faults.error(
            f"a table of {name} must be called {str(called)!r}, not {str(key)!r}", key.place, f"write {called}:"
        )
    base = _variant(base, table, faults)
    base = _with_optional(base, table, faults)
    return merge(_severities(base, settings), table, "table")


def optional_columns(standard: str) -> frozenset[str]:
    """List a shipped standard's optional columns, for hints."""
    return frozenset(name for name, optional in standard_columns(standard).items() if optional)


def standard_columns(standard: str) -> dict[str, bool]:
    """List a shipped standard's columns, and whether each is there only if asked for."""
    known = standards()
    path = known.get(standard) or known.get(meant(standard, known) or "")
    root: Any = _standard(standard, path)[0] if path is not None else None
    tables = root.get("tables", {}) if isinstance(root, Entries) else {}  # type: ignore[call-overload]
    return {
        str(name): isinstance(column, Entries) and str(column.get("optional")) == "true"  # type: ignore[call-overload]
        for table in tables.values()
        for name, column in table.get("columns", {}).items()
    }


def _severities(base: Entries, settings: Settings) -> Entries:
    """Replace severities of a standard's rules by those that the site sets."""
    rules = base.get("rules")  # type: ignore[call-overload]
    if not isinstance(rules, Entries) or not settings.rules:
        return base
    page = Page("hven.toml", "")
    changed = {
        name: merge(
            rule, Entries({Written("severity", page, 0, 0): Written(settings.rules[name], page, 0, 0)}, rule.place)
        )
        if name in settings.rules and isinstance(rule, Entries)
        else rule
        for name, rule in rules.items()
    }
    return Entries(
        {key: Entries(changed, rules.place) if key == "rules" else value for key, value in base.items()}, base.place
    )


def _variant(base: Entries, table: Entries, faults: Faults) -> Entries:
    variants = base.get("variants")  # type: ignore[call-overload]
    frame = table.get("frame", base.get("frame"))  # type: ignore[call-overload]
    rest = Entries({key: value for key, value in base.items() if key != "variants"}, base.place)
    if not isinstance(variants, Entries) or not isinstance(frame, Written):
        return rest
    chosen = variants.get(frame)
    if chosen is None:
        faults.error(
            f"frame must be one of {', '.join(variants)}, not {str(frame)!r}", frame.place, nearest(frame, variants)
        )
        return rest
    return merge(rest, chosen, "table")


def _with_optional(base: Entries, table: Entries, faults: Faults) -> Entries:
    columns = base.get("columns")  # type: ignore[call-overload]
    if not isinstance(columns, Entries):
        return base
    wanted = table.get("optional")  # type: ignore[call-overload]
    asked = _asked(
        [item for item in (wanted if isinstance(wanted, Items) else [wanted]) if isinstance(item, Written)], base
    )
    optional = {
        str(key)
        for key, value in columns.items()
        if isinstance(value, Entries) and str(value.get("optional")) == "true"  # type: ignore[call-overload]
    }
    for item in asked:
        if item not in optional:
            families = [str(key) for key in base.get("families") or ()]  # type: ignore[call-overload]
            known = "the standard always has it" if item in columns else nearest(item, [*optional, *families])
            known = known or f"known: {', '.join(sorted([*optional, *families]))}"
            faults.error(f"the standard has no optional column {str(item)!r}", item.place, known)
    own = set(_keys(table, "columns"))
    chosen = {str(item) for item in asked} | own
    for group in base.get("together") or ():  # type: ignore[call-overload]
        if isinstance(group, Items) and not chosen.isdisjoint(map(str, group)):
            chosen.update(map(str, group))
    gone = optional - chosen
    kept: dict[Written, Any] = {}
    for key, value in columns.items():
        if str(key) in gone:
            continue
        if isinstance(value, Entries):
            stay = {name: item for name, item in value.items() if name != "optional"}
            stay.setdefault(Written("std", key.page, key.start, key.end), Written("true", key.page, key.start, key.end))
            value = Entries(stay, value.place)  # noqa: PLW2901
        kept[key] = value
    dropped = {"families", "together", "called"}
    rest = {
        key: _without(value, gone) if key in {*ASSIGNMENTS, "default"} else value
        for key, value in base.items()
        if key not in dropped
    }
    return Entries(
        {
            key: Entries(kept, columns.place) if key == "columns" else _applicable(key, value, gone)
            for key, value in rest.items()
        },
        base.place,
    )


def _asked(wanted: list[Written], base: Entries) -> list[Written]:
    """Replace the name of a family by its columns."""
    families = base.get("families")  # type: ignore[call-overload]
    known = {str(key): value for key, value in families.items()} if isinstance(families, Entries) else {}
    found: list[Written] = []
    for item in wanted:
        group = known.get(str(item))
        found += (
            [one.replaced(one) for one in group if isinstance(one, Written)] if isinstance(group, Items) else [item]
        )
    return found


def _applicable(key: Written, value: Any, gone: set[str]) -> Any:
    """Drop a standard's rules about optional columns that this table does not have."""
    if key != "rules" or not isinstance(value, Entries) or not gone:
        return value
    about = re.compile(rf"\b(?:{'|'.join(map(re.escape, gone))})\b")

    def text(rule: Any) -> str:
        return str(rule.get("if", "") if isinstance(rule, Entries) else rule)  # type: ignore[call-overload]

    kept = {name: _of_columns(rule, gone) for name, rule in value.items() if not about.search(text(rule))}
    return Entries({name: rule for name, rule in kept.items() if rule is not None}, value.place)


def _of_columns(rule: Any, gone: set[str]) -> Any:
    """Drop columns from a rule's list, two by two where they are pairs; None if nothing is left to check."""
    columns = rule.get("columns") if isinstance(rule, Entries) else None  # type: ignore[call-overload]
    if columns is None:
        return rule
    listed = list(columns) if isinstance(columns, Items) else [columns]
    kind = str(rule.get("check"))
    step = 2 if kind in {"pair", "order"} else len(listed) if kind == "unique" else 1
    kept = [
        listed[at : at + step]
        for at in range(0, len(listed), step)
        if gone.isdisjoint(map(str, listed[at : at + step]))
    ]
    if not kept:
        return None
    left = Items([one for part in kept for one in part], rule.place)
    return Entries({key: left if key == "columns" else value for key, value in rule.items()}, rule.place)


# --- loops ---------------------------------------------------------------------------------------------------

MOST_ROUNDS, MOST_MADE = 5_000, 200_000  # of one loop; keys and values that all loops of a descriptor make
_BRACES = re.compile(r"\{\{|\}\}|\{(\w+)\}")
KEEP_BRACES = {"text", "links", "link"}


def expand(holder: Entries, makes: tuple[str, ...], what: str, faults: Faults) -> Entries:
    """Expand ``for`` loops: copies of `makes` (columns, map, ... or tables) for each value, added to those of `holder`."""
    loops = holder.get("for")  # type: ignore[call-overload]
    if loops is None:
        return holder
    result: dict[Written, Any] = {key: value for key, value in holder.items() if key != "for"}
    for loop in loops if isinstance(loops, Items) else [loops]:
        if not isinstance(loop, Entries):
            faults.error(f"{what}for must be a list of maps with 'each', not {kind(loop)}", loop.place)
            continue
        for key in loop:
            if key != "each" and key not in makes:
                faults.error(
                    f"{what}for has no key {str(key)!r}",
                    key.place,
                    nearest(key, ("each", *makes)) or f"known: each, {', '.join(makes)}",
                )
        for values in _rounds(loop, what, faults):
            faults.made += sum(_size(part) for key, part in loop.items() if str(key) in makes)
            if faults.made > MOST_MADE:
                faults.error(
                    f"{what}for: the loops make more than {MOST_MADE:,} values",
                    loop.place,
                    "a table of so many columns is a table of rows",
                )
                return Entries({key: value for key, value in holder.items() if key != "for"}, holder.place)
            for key, part in loop.items():
                if str(key) in makes and isinstance(part, Entries):
                    made = substitute(part, values, keep=key in KEEP_BRACES)
                    _add(result, key, made, what, faults)
                elif str(key) in makes:
                    faults.error(f"{what}for.{key} must be a map (name: value), not {kind(part)}", part.place)
    return Entries(result, holder.place)


def _size(value: Any) -> int:
    """Count keys and values."""
    if isinstance(value, Entries):
        return sum(1 + _size(item) for item in value.values())
    return sum(_size(item) for item in value) if isinstance(value, Items) else 1


def _add(result: dict[Written, Any], key: Written, made: Entries, what: str, faults: Faults) -> None:
    old = result.get(key)
    if not isinstance(old, Entries):
        result[key] = made
        return
    joined = dict(old)
    for name, item in made.items():
        if name in joined:
            first = next(other for other in joined if other == name).place
            faults.error(
                f"{what}{key}.{name} is made twice",
                name.place,
                f"the other one is in {first}; does the name lack the loop's {{...}}?",
            )
        else:
            joined[name] = item
    result[key] = Entries(joined, old.place)


def _rounds(loop: Entries, what: str, faults: Faults) -> list[dict[str, str]]:
    each = loop.get("each")  # type: ignore[call-overload]
    if not isinstance(each, Entries) or not each:
        faults.error(f"{what}for needs 'each: {{name: [values]}}'", loop.place if each is None else each.place)
        return []
    lists: dict[str, list[str]] = {}
    for name, values in each.items():
        if not isinstance(values, Items) or not all(isinstance(item, Written) for item in values):
            faults.error(f"{what}for.each.{name} must be a list of words", values.place)
            return []
        if not str(name).isidentifier():
            faults.error(f"{what}for.each: {str(name)!r} is no name", name.place, "letters, digits and _")
            return []
        lists[str(name)] = [str(item) for item in values]
    lengths = {len(values) for values in lists.values()}
    if len(lengths) > 1:
        counts = ", ".join(f"{name} has {len(values)}" for name, values in lists.items())
        faults.error(f"{what}for.each: lists that go in step must have one length: {counts}", each.place)
        return []
    if max(lengths) > MOST_ROUNDS:
        faults.error(f"{what}for.each: {max(lengths):,} rounds; {MOST_ROUNDS:,} are allowed", each.place)
        return []
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


def substitute(value: Any, values: Mapping[str, str], *, keep: bool = False) -> Any:
    """Replace ``{b}`` in keys and texts; ``{{`` stays for templates (`keep`) and becomes ``{`` elsewhere."""

    def change(match: re.Match[str]) -> str:
        if match.group(1) is None:
            return match.group() if keep else match.group()[0]
        return values.get(match.group(1), match.group())

    if isinstance(value, Written):
        return value.replaced(_BRACES.sub(change, value)) if "{" in value or "}" in value else value
    if isinstance(value, Items):
        return Items([substitute(item, values, keep=keep) for item in value], value.place, flow=value.flow)
    # inside a map, 'text' and 'link' are templates wherever they stand
    pairs = {
        substitute(key, values): substitute(item, values, keep=keep or key in KEEP_BRACES)
        for key, item in value.items()
    }
    return Entries(pairs, value.place, flow=value.flow)

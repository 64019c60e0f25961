"""Hooks of MkDocs: make a site of pages that are written for a code host.

* The navigation is `docs/README.md`, the index that a code host shows: its headings are the groups, its lists the pages.
* The README of a plug-in package lists its pages below `## Pages`, in groups such as `### How-to: Connect`; they stand behind those of the index.
  A link to a package that was deleted becomes plain text.
* Links that leave `docs/` work in the site, too: the Markdown, source files and pictures that they lead to become pages and files below
  `repository/`. Pages of source files are left out of the search.
* Info strings by which tests know what to do with a block (```` ```sh served ````) become a language; ``file=stars.csv`` becomes its title.
* Blockquotes that begin with **Note**, **Tip** or **Warning** become boxes.
* Scripts that a page would fetch from elsewhere are those that `scripts/docs` has fetched. Without Mermaid's, diagrams are shown as they are written.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
INDEX = DOCS / "README.md"
PACKAGES = ROOT / "src/hven/plugins"  # each has its pages in docs/, and lists them in its README
HOME = "index.md"
ABOUT = "about.md"  # README.md of a folder outside of docs/
OUTSIDE = "repository"  # the folder of the site that holds what docs/ links to and does not contain
FETCHED = ROOT / ".cache/docs"  # what scripts/docs keeps
MERMAID = "mermaid-11.9.0.js"
IFRAME_WORKER = "iframe-worker-1.0.4.js"  # the search of pages that are opened from a disk
MAX_SOURCE_CHARACTERS = 400_000
PICTURES = {".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp"}
# suffixes that Pygments does not know as names of languages
LANGUAGES = {"yml": "yaml", "mjs": "js", "txt": "text", "csv": "text", "cfg": "ini", "": "text"}

# code is passed over: what looks like a link in it is none
LINK_OR_CODE = re.compile(
    r"^(?P<fence>`{3,}|~{3,})[^\n]*\n.*?^(?P=fence)[ \t]*$|(?<!`)`[^`\n]+`(?!`)|\]\((?P<target>[^)\s]+)\)",
    re.MULTILINE | re.DOTALL,
)
FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,})(?P<info>[^`\n]*)$", re.MULTILINE)
BOX = re.compile(r"^> \*\*(?P<kind>Note|Tip|Warning)\*\*[.:]?(?P<text>.*(?:\n>.*)*)", re.MULTILINE)


# --- the navigation --------------------------------------------------------------------------------------------


def build_navigation() -> list[Any]:
    """Read the navigation of the index, and put the pages of plug-in packages into its groups."""
    navigation = read_navigation()
    groups = {title: entries for group in navigation for title, entries in group.items()}
    for readme in sorted(PACKAGES.glob("*/README.md")):
        for title, pages in read_package_pages(readme).items():
            group, _, subgroup = title.partition(": ")
            entries = groups[group]
            if subgroup:
                entries = next(entry[subgroup] for entry in entries if isinstance(entry, dict) and subgroup in entry)
            entries.extend(pages)
    return navigation


def read_package_pages(readme: Path) -> dict[str, list[dict[str, str]]]:
    """Read the pages of a plug-in package from its README, by the titles of their groups."""
    pages: dict[str, list[dict[str, str]]] = {}
    title = ""
    for line in readme.read_text(encoding="utf-8").partition("\n## Pages\n")[2].splitlines():
        heading = re.match(r"### +(.*)", line)
        item = re.match(r"[*-] +.*?\[([^\]]+)\]\(([^)\s]+)\)", line)
        if heading:
            title = heading[1]
        elif item:
            pages.setdefault(title, []).append({item[1]: find_site_path(readme.parent / item[2])})
    return pages


def read_navigation(index: Path = INDEX) -> list[Any]:
    """Read the navigation from an index: `##` and `###` are groups, each item of a list is the page of its first link.

    The index of another folder (`decisions/README.md`) brings its own list, and is the first page of its group.
    """
    navigation: list[Any] = []
    group = subgroup = navigation
    for line in index.read_text(encoding="utf-8").splitlines():
        heading = re.match(r"(#{2,3}) +(.*)", line)
        item = re.match(r"[*-] +.*?\[([^\]]+)\]\(([^)\s]+)\)", line)
        if heading:
            subgroup = []
            (navigation if heading[1] == "##" else group).append({heading[2]: subgroup})
            group = subgroup if heading[1] == "##" else group
        elif item:
            path = (index.parent / item[2].partition("#")[0]).resolve()
            if path.name == "README.md" and path.parent.parent == DOCS:
                subgroup += [find_site_path(path), *read_navigation(path)]
            else:
                subgroup.append({item[1]: find_site_path(path)})
    return navigation


def list_navigation_pages(navigation: list[Any]) -> Iterator[str]:
    """List the pages of a navigation, group by group."""
    for entry in navigation:
        if isinstance(entry, str):
            yield entry
            continue
        (value,) = entry.values()
        yield from [value] if isinstance(value, str) else list_navigation_pages(value)


# --- where files of the repository are in the site ----------------------------------------------------------------


def find_site_path(path: Path) -> str:
    """Find the path of a page or file in the site, as MkDocs names its source."""
    if path == INDEX:
        return HOME
    if path.is_dir():
        readme = path / "README.md"
        return find_site_path(readme) if readme.exists() else f"{find_site_folder(path)}/{HOME}"
    if path.name == "README.md" and DOCS not in path.parents:
        # under its own name it would be the first page of its group in the navigation
        return posixpath.normpath(posixpath.join(find_site_folder(path.parent), ABOUT))
    is_shown_as_it_is = path.suffix in PICTURES | {".md"} or DOCS in path.parents
    name = path.name if is_shown_as_it_is else f"{path.name}.md"
    return posixpath.normpath(posixpath.join(find_site_folder(path.parent), name))


def find_site_folder(folder: Path) -> str:
    if folder.name == DOCS.name and folder.parent.parent == PACKAGES:
        return f"{PACKAGES.name}/{folder.parent.name}"
    inside_docs = folder == DOCS or DOCS in folder.parents
    path = folder.relative_to(DOCS if inside_docs else ROOT).as_posix()
    return posixpath.normpath(path if inside_docs else posixpath.join(OUTSIDE, path))


def resolve_link(target: str, page: Path) -> Path | None:
    """Resolve a link of a page to a file of the repository; None for addresses, anchors of the page and what is not there."""
    parts = urlsplit(target)
    if parts.scheme or parts.netloc or not parts.path or parts.path.startswith("/"):
        return None
    path = Path(os.path.normpath(page.parent / unquote(parts.path)))
    return path if path.exists() and (path == ROOT or ROOT in path.parents) else None


def leads_to_deleted_package(target: str, page: Path) -> bool:
    """Return whether a link leads into the folder of a plug-in package that is not in this checkout."""
    path = Path(os.path.normpath(page.parent / unquote(urlsplit(target).path)))
    return PACKAGES in path.parents and not (PACKAGES / path.relative_to(PACKAGES).parts[0]).exists()


def list_linked_files(text: str, page: Path) -> Iterator[Path]:
    for found in LINK_OR_CODE.finditer(text):
        path = resolve_link(found["target"], page) if found["target"] else None
        if path is not None:
            yield path


# --- hooks ---------------------------------------------------------------------------------------------------------


written_pages: dict[str, Path] = {}  # Markdown of the site by its path there: the file that it was read from


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    config.nav = build_navigation()
    # the plug-in `offline` names an address elsewhere, unless one is named here
    config.extra["polyfills"] = [f"assets/{IFRAME_WORKER}"]
    if (FETCHED / MERMAID).exists():
        from pymdownx.superfences import fence_code_format

        fence = {"name": "mermaid", "class": "mermaid", "format": fence_code_format}
        config.mdx_configs["pymdownx.superfences"] = {"custom_fences": [fence]}
        config.extra_javascript.append(f"assets/{MERMAID}")
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what pages link to outside of `docs/`, and what those link to, and lists of folders."""
    from mkdocs.structure.files import File

    written_pages.clear()
    written_pages.update({file.src_uri: DOCS / file.src_uri for file in files.documentation_pages()})
    waiting = [*written_pages.values(), INDEX, *PACKAGES.glob("*/README.md")]
    seen = {*waiting, *(DOCS / file.src_uri for file in files)}
    while waiting:
        page = waiting.pop()
        for linked in list_linked_files(page.read_text(encoding="utf-8"), page):
            path = linked / "README.md" if (linked / "README.md").exists() else linked
            if path in seen:
                continue
            seen.add(path)
            site_path = find_site_path(path)
            if path.is_dir():
                files.append(File.generated(config, site_path, content=list_folder(path)))
            elif path.suffix == ".md":
                written_pages[site_path] = path
                waiting.append(path)
                files.append(File.generated(config, site_path, content=path.read_text(encoding="utf-8")))
            elif path.suffix in PICTURES:
                files.append(File.generated(config, site_path, abs_src_path=str(path)))
            else:
                files.append(File.generated(config, site_path, content=show_source(path)))
    for name in (MERMAID, IFRAME_WORKER):
        if (FETCHED / name).exists():
            files.append(File.generated(config, f"assets/{name}", abs_src_path=str(FETCHED / name)))
    return files


def on_page_markdown(markdown: str, page: Page, **_unused: object) -> str:
    if page.file.src_uri == HOME:
        page.meta["hide"] = ["navigation"]  # the tabs above it are enough
    source = written_pages.get(page.file.src_uri)
    if source is None:  # a list of a folder or a source file, written here
        return markdown

    def rewrite(found: re.Match[str]) -> str:
        target = found["target"]
        path = resolve_link(target, source) if target else None
        if path is None:
            return "]" if target and leads_to_deleted_package(target, source) else found[0]
        fragment = urlsplit(target).fragment if path.suffix == ".md" else ""
        link = posixpath.relpath(find_site_path(path), posixpath.dirname(page.file.src_uri) or ".")
        return f"]({link}{'#' if fragment else ''}{fragment})"

    return FENCE.sub(write_fence, BOX.sub(write_box, LINK_OR_CODE.sub(rewrite, markdown)))


def write_fence(fence: re.Match[str]) -> str:
    """Write the first line of a block of code with its language, and with the name of the file that it is."""
    language, *words = fence["info"].split() or [""]
    names = [word.removeprefix("file=") for word in words if word.startswith("file=")]
    language = LANGUAGES.get(language, language) if language else ""
    return f"{fence['indent']}{fence['fence']}{language}" + (f' title="{names[0]}"' if names else "")


def write_box(box: re.Match[str]) -> str:
    lines = [line.removeprefix(">").removeprefix(" ") for line in box["text"].split("\n")]
    return f"!!! {box['kind'].lower()}\n\n" + "\n".join(
        f"    {line.strip() if not at else line}" for at, line in enumerate(lines)
    )


def list_folder(folder: Path) -> str:
    """Write a page that lists a folder: its pages by their titles in `docs/`, else the names that are in it."""
    lines = [f"# {folder.relative_to(DOCS if DOCS in folder.parents else ROOT)}", ""]
    for path in sorted(folder.iterdir()):
        if DOCS in path.parents and path.suffix == ".md":
            title = next(line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# "))
            lines.append(f"* [{title.removeprefix('# ')}]({path.name})")
        elif not path.name.startswith((".", "__")):
            lines.append(f"* `{path.name}{'/' if path.is_dir() else ''}`")
    return "\n".join(lines)


def show_source(path: Path) -> str:
    """Write a page that shows a source file; the search leaves it out."""
    text = path.read_text(encoding="utf-8", errors="replace")[:MAX_SOURCE_CHARACTERS]
    suffix = path.suffix.removeprefix(".")
    fence = "`" * (3 + max((len(ticks) for ticks in re.findall(r"`+", text)), default=0))
    head = "---\nsearch:\n  exclude: true\nhide: [navigation, toc]\n---\n"
    name = path.relative_to(ROOT).as_posix()
    return f"{head}# {path.name}\n\n`{name}`\n\n{fence}{LANGUAGES.get(suffix, suffix)}\n{text.rstrip()}\n{fence}\n"

"""The contexts of page templates: a dataclass for the variables of each template, and one for the frame of pages."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from _typeshed import DataclassInstance


def record_to_dict(record: DataclassInstance) -> dict[str, object]:
    """Return the fields of a dataclass by name, for templates and for JSON objects with further keys.

    Parameters
    ----------
    record
        A dataclass.
    """
    return {field.name: getattr(record, field.name) for field in fields(record)}


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateContext:
    """The context of a template.

    Each template that is rendered has one subclass. Its fields are the variables of the template and of what the
    template extends, includes and imports, except those of `PageFrame`.

    Attributes
    ----------
    template
        File name of the template.
    """

    template: ClassVar[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFrame:
    """The variables that all pages share: names, colours, contact, language and user.

    Attributes
    ----------
    base
        Address of the site, or of the portal that the request came to.
    root
        Address of the site.
    title, about, contact, credit
        Title, description, e-mail address and acknowledgement of the site or the portal.
    logo
        Address of the logo; empty if there is none.
    software
        Version of Hven.
    origins
        Further origins of pictures, separated by spaces.
    theme
        ``light`` or ``dark``, if the reader chose one.
    languages
        Languages of the pages.
    said
        Language of this page.
    reader
        Name of the user; None if nobody is logged in.
    seen_as
        User as whom an operator sees the site, empty for the anonymous user; None if there is no such operator.
    browser_texts
        Translations for scripts.
    asset
        Returns the address of a script or a style sheet.
    scripts
        Returns the addresses of all files that some scripts load.
    package_panes
        Addresses of the modules of panes that packages of other projects add, by the names of the panes.
    switch
        Query that links to other languages and themes append; empty, or it begins with ``&``.
    own_path
        Path to which a log-in leads back; empty for pages that cannot be shown again.
    edits
        Editing rights of the user.
    projects_here
        Whether the user may see any project.
    word_search
        Address of the page that searches by words; empty if there is none.
    query_editor, job_list
        Addresses of the pages for queries and of jobs; empty if there are none.
    frame_values
        Values of plug-in packages (`PortalPages.compute_frame_value`), by the names of the packages.
    """

    base: str
    root: str
    title: str
    about: str | None
    contact: str | None
    credit: str | None
    logo: str
    software: str
    origins: str
    theme: str | None
    languages: tuple[str, ...]
    said: str
    reader: str | None
    seen_as: str | None
    browser_texts: Mapping[str, str]
    asset: Callable[[str], str]
    scripts: Callable[..., list[str]]
    package_panes: Mapping[str, str]
    switch: str
    own_path: str
    edits: tuple[str, ...]
    projects_here: bool
    word_search: str
    query_editor: str
    job_list: str
    frame_values: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageLink:
    """A link to a page of this site.

    Attributes
    ----------
    title
        Its text.
    url
        Address of the page.
    """

    title: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorPage(TemplateContext):
    """The page of an error.

    Attributes
    ----------
    message
        Message of the error.
    status
        HTTP status.
    near
        Pages with similar names.
    words
        Initial words of the search field.
    path, request_id
        Path and id of the request for a page that does not exist.
    is_form
        Whether the request was a form, which the browser shows again when its user goes back.
    """

    template = "error.html"
    message: str
    status: int
    near: Sequence[PageLink] = ()
    words: str = ""
    path: str = ""
    request_id: str = ""
    is_form: bool = False

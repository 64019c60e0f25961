"""The brand of pages: that of the site or of one of its portals; and the style sheet with its colours."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from hven.services.addresses import PORTAL_SCOPE_KEY, get_base_url, get_site_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import HTTPConnection

    from hven.model.settings import PortalSettings, Settings

DAY_BACKGROUND, NIGHT_BACKGROUND = (0xFD, 0xFD, 0xFB), (0x14, 0x16, 0x1B)  # of the light and the dark theme
MIN_CONTRAST = 4.6  # of text; WCAG 2.2, 1.4.3 requires 4.5
Colours = tuple[str | None, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PortalBrand:
    """The brand of pages.

    Attributes
    ----------
    portal
        Name of the portal; empty for the site itself.
    base
        The first part of the pages' addresses.
    root
        Address of the site, whose services all portals share.
    title, about, contact, credit
        Title, description, e-mail address and acknowledgement.
    colours, logo
        Colours, and the file of the logo; None: there is none.
    text, news, help
        The file of the home page, and the folders of news and help.
    language
        Language of readers whose browser names none.
    levels
        Levels of the tree of collections.
    collections
        The collections that the portal shows; empty: all.
    """

    portal: str
    base: str
    root: str
    title: str
    about: str | None
    contact: str | None
    credit: str | None
    colours: Colours
    logo: str | None
    text: str
    news: str
    help: str
    language: str
    levels: tuple[str, ...]
    collections: frozenset[str]


def find_portal_brand(request: HTTPConnection, settings: Settings) -> PortalBrand:
    """Find the brand of the portal that a request came to.

    Parameters
    ----------
    request
        A request.
    settings
        Settings of the site.

    Returns
    -------
    brand
        The brand; that of the site if the request came to no portal.
    """
    portal: PortalSettings | None = request.scope.get(PORTAL_SCOPE_KEY)
    root = get_site_url(request, settings)
    if portal is None:
        title = settings.title or settings.name
        return PortalBrand(
            portal="",
            base=root,
            root=root,
            title=title,
            about=settings.description,
            contact=settings.contact_email,
            credit=settings.credit,
            colours=(settings.accent, settings.highlight),
            logo=settings.logo,
            text=settings.text,
            news=settings.news,
            help=settings.help,
            language=settings.language,
            levels=settings.tree.levels,
            collections=frozenset(),
        )
    base = get_base_url(request, settings)
    return PortalBrand(
        portal=portal.name,
        base=base,
        root=root,
        title=portal.title or portal.name,
        about=portal.description,
        contact=portal.contact_email or settings.contact_email,
        credit=settings.credit,
        colours=(portal.accent or settings.accent, portal.highlight or settings.highlight),
        logo=portal.logo or settings.logo,
        text=portal.text or f"{portal.name}.md",
        news=portal.news or settings.news,
        help=portal.help or settings.help,
        language=portal.language or settings.language,
        levels=portal.levels or settings.tree.levels,
        collections=frozenset(portal.collections),
    )


def list_brand_colours(settings: Settings) -> Iterator[Colours]:
    """Yield the colours of the site and of all its portals."""
    yield settings.accent, settings.highlight
    for portal in settings.portals:
        yield portal.accent or settings.accent, portal.highlight or settings.highlight


@lru_cache(maxsize=64)
def write_brand_style_sheet(colours: Colours) -> bytes:
    """Write the style sheet with the colours of a site, adapted to the light and the dark theme for readable text."""
    names = [(name, colour) for name, colour in zip(("--accent", "--mark"), colours, strict=True) if colour]
    if not names:
        return b""
    day = " ".join(f"{name}: {adapt_colour_for_contrast(colour, DAY_BACKGROUND)};" for name, colour in names)
    night = " ".join(f"{name}: {adapt_colour_for_contrast(colour, NIGHT_BACKGROUND)};" for name, colour in names)
    lines = (
        f":root {{ {day} }}",
        f':root[data-theme="dark"] {{ {night} }}',
        f'@media (prefers-color-scheme: dark) {{ :root:not([data-theme="light"]) {{ {night} }} }}',
    )
    return "\n".join(lines).encode()


def adapt_colour_for_contrast(colour: str, background: tuple[int, int, int]) -> str:
    """Mix a colour with black or white until its contrast with the background is sufficient."""
    rgb = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    if _compute_luminance(background) > 0.5:
        target = 0
    else:
        target = 255
    for step in range(21):
        mixed = tuple(round(part + (target - part) * step / 20) for part in rgb)
        if compute_contrast(mixed, background) >= MIN_CONTRAST:
            return "#{:02x}{:02x}{:02x}".format(*mixed)
    if target == 0:
        return "#000000"
    return "#ffffff"


def compute_contrast(first: tuple[int, ...], second: tuple[int, ...]) -> float:
    """Compute the contrast of two colours (WCAG 2.2)."""
    low, high = sorted((_compute_luminance(first), _compute_luminance(second)))
    return (high + 0.05) / (low + 0.05)


def _compute_luminance(rgb: tuple[int, ...]) -> float:
    parts = [part / 255 for part in rgb]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

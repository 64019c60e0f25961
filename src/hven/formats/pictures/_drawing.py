"""Draws products: what a file holds becomes a PNG that says what it shows; what cannot be drawn is said by one, too."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from hven.formats.media import Card, Rows, medium_of, open_product
from hven.formats.pictures import _curves as curves
from hven.formats.pictures import _image_pictures as images
from hven.formats.pictures import _interferometry as interferometry
from hven.formats.pictures import _stills as stills
from hven.formats.pictures._appearance import SIZES
from hven.formats.pictures._sheet import Picture, Sheet, packed
from hven.model.errors import SourceError, Timeout, say

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.formats.media import Part, Place, Product
    from hven.formats.pictures._appearance import Look

UNPACKED = 512 << 20  # bytes of a packed file that is drawn
SIGN_COLOUR, SIGN_OUTLINE = (150, 157, 168), (205, 209, 215)
MIN_WORDS_PIXELS = 300  # of the longer side of a picture that has words
_DEFLATE = 1032  # times as much deflate can say in a byte


def drawable(path: str) -> bool:
    """Return whether a file may be drawn, by its name.

    Parameters
    ----------
    path
        Of the file.
    """
    ending = path.lower().rpartition(".")[2]
    return medium_of(path) is not None or ending in stills.RASTERS or (ending in stills.FILMS and stills.films())


def pictured(files: Sequence[tuple[Place, str]], look: Look) -> bytes:
    """Draw files, several beside one another.

    Parameters
    ----------
    files
        Each with its name.
    look
        As each, and all together, are to look.

    Returns
    -------
    png
        Of at most `look.size` pixels a side.

    Raises
    ------
    SourceError
        One cannot be drawn.
    """
    if look.show == "transfer":
        return _transfer(files, look)
    made = []
    each = look if len(files) == 1 else replace(look, size=max(SIZES[0], look.size // 2), note="")
    for path, name in files:
        guarded(path, name)
        try:
            if stills.is_raster(name):
                made.append(stills.still(path, name, each))
                continue
            with open_product(path, name) as product:
                made.append(draw(product, each, name))
        except (ValueError, ArithmeticError, LookupError, TypeError, MemoryError, NotImplementedError) as fault:
            why = " ".join(str(fault).split())[:200] or type(fault).__name__
            raise SourceError(say("{name} cannot be drawn: {reason}", name, why)) from fault
    return made[0].body if len(made) == 1 else stills.beside(made, [name for _, name in files], look)


def _transfer(files: Sequence[tuple[Place, str]], look: Look) -> bytes:
    """Draw the calibrators of a night, of one OIFITS file or several."""
    found: list[interferometry.Calibrator] = []
    sizes = iter(look.diameters)
    known = {interferometry.plain(star): next(sizes, 0.0) for star in look.stars}
    for path, name in files:
        guarded(path, name)
        with open_product(path, name) as product:
            if not interferometry.is_oifits(product):
                raise SourceError(say("{name} is no OIFITS file", name))
            found += interferometry.calibrators(product, sizes, known)
    if look.stars and not found:
        raise SourceError(say("no star of these names: {names}", ", ".join(look.stars)[:200]))
    sheet, words = interferometry.transfer(found, look)
    return _page(sheet, words, look, "Transfer function").body


def guarded(path: Place, name: str) -> None:
    """Refuse packed files that are too large when they are unpacked; raises `SourceError`."""
    kinds = {".gz": "gzip", ".bz2": "bz2", ".xz": "lzma"}
    module = kinds.get(path.suffix.lower())
    if module is None or (module == "gzip" and path.stat().st_size * _DEFLATE < UNPACKED):
        return
    total = 0
    try:
        with path.open("rb") as packed, import_module(module).open(packed) as file:
            while piece := file.read(1 << 20):
                total += len(piece)
                if total > UNPACKED:
                    raise SourceError(say("{name} is too large to be unpacked for a picture", name))
    except (OSError, EOFError, ValueError) as fault:
        raise SourceError(say("{name} is damaged: {reason}", name, str(fault))) from None


def draw(product: Product, look: Look, name: str) -> Picture:
    """Draw what a file holds.

    Parameters
    ----------
    product
        An open file.
    look
        As it is to look.
    name
        Of the file.

    Returns
    -------
    picture
        Of the part that is asked for; else of the first that can be drawn.

    Raises
    ------
    SourceError
        It has nothing that can be drawn, or reading it takes too long.
    """
    try:
        return _drawn(product, look, name)
    except Timeout as error:
        raise SourceError(
            say("{name} takes too long to be read for a picture", name), remedy="cut out a part of it"
        ) from error


def _drawn(product: Product, look: Look, name: str) -> Picture:
    if look.part is None and interferometry.is_oifits(product):
        facts = _facts((*_targets(product), *product.cards))
        return _page(*interferometry.drawn(product, look, title_of(facts, name)), look, title_of(facts, name))
    asked = None if look.part is None else product.part(look.part)
    order = sorted(product.parts, key=_last)
    views = {one.cells: one for one in product.arrays}
    for part in [views.get(asked.index, asked)] if asked is not None else order:
        facts = _facts((*part.cards, *product.cards))
        title = title_of(facts, name)
        if isinstance(part, Rows):
            curve = curves.of_rows(part)
            if curve is not None:
                return _page(*curves.drawn(curve, look, title), look, title)
            continue
        if not part.axes:
            continue
        spread = curves.dynamic(part)
        if spread is not None:
            return _page(*curves.spread(part, spread, look, title), look, title)
        if sum(axis.size > 1 for axis in part.axes) == 1 and not {"longitude", "latitude"} & {
            one.kind for one in part.axes
        }:
            errors = next((one for one in product.arrays if one.role == "error" and one.shape == part.shape), None)
            return _page(*curves.drawn(curves.of_array(part, errors), look, title), look, title)
        if look.show == "spectrum" and any(one.kind == "spectral" and one.size > 1 for one in part.axes):
            return _page(*curves.drawn(curves.of_cube(part), look, title), look, title)
        if len(part.axes) > 1:
            return Picture(*images.drawn(part, look, title, facts))
        if part.shape == (1,):
            return _page(*curves.drawn(curves.of_array(part, None), look, title), look, title)
    raise SourceError(say("{name} has nothing that can be drawn", name))


def _last(part: Part) -> int:
    """Tell what is drawn if there is nothing better: errors, flags and what describes data, and what changes with time and two things more."""
    if isinstance(part, Rows):
        return 2 if part.role == "support" else 0
    if part.cells is not None:
        return 0
    deep = sum(axis.size > 1 for axis in part.axes) > 2
    strange = (
        deep and any(axis.kind == "time" for axis in part.axes) and all(axis.kind != "longitude" for axis in part.axes)
    )
    return 2 if part.role != "data" else int(strange)


def _page(sheet: Sheet, words: str, look: Look, title: str) -> Picture:
    return Picture(sheet.png({"Title": title, "Description": words, "Copyright": look.note, "Software": "Hven"}), words)


def _targets(product: Product) -> list[Card]:
    """Return the name of an interferometer's target, if there is one alone."""
    rows = next((part for part in product.parts if isinstance(part, Rows) and part.name.upper() == "OI_TARGET"), None)
    if rows is None or rows.count != 1 or "TARGET" not in [column.name for column in rows.columns]:
        return []
    names = [str(name) for batch in rows.batches(0, 1) for name in batch.column("TARGET").to_pylist()]
    return [Card("OBJECT", name.strip()) for name in names]


def _facts(cards: Sequence[Card]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for card in cards:
        if card.value not in {None, ""} and card.keyword not in {"", "COMMENT", "HISTORY"}:
            found.setdefault(card.keyword.upper(), card.value)
    return found


def title_of(facts: Mapping[str, Any], name: str) -> str:
    """Make a title of a header: what, by what, when; else the file's name."""

    def text(*keys: str) -> str:
        found = next((str(facts[key]).strip() for key in keys if str(facts.get(key) or "").strip()), "")
        return re.sub(r"\s+", " ", found)

    instrument, telescope = text("INSTRUME", "DETECTOR"), text("TELESCOP", "OBSRVTRY")
    by = " ".join(one for one in (telescope, "" if instrument in telescope else instrument) if one)
    wave, unit = facts.get("WAVELNTH"), text("WAVEUNIT")
    channel = f"{wave:g} {_unit(unit)}".strip() if isinstance(wave, int | float) and wave else ""
    begun = text("DATE-OBS", "DATE_OBS", "T_OBS")
    hour = "" if ":" in begun else text("TIME-OBS", "TIME_OBS")
    when = re.sub(r"(\.\d{1,9})?Z?$", "", f"{begun} {hour}".strip().replace("T", " ")) if begun else ""
    said = [one for one in (text("OBJECT", "OBJ_ID"), by, channel, when) if one]
    return " · ".join(said) if len(said) > 1 else name


def _unit(word: str) -> str:
    return {"ANGSTROM": "Å", "": "Å", "UM": "µm", "MICRON": "µm"}.get(word.upper(), word)


def draw_sign(size: int, reason: str) -> bytes:
    """Draw a neutral sign that there is no picture, on no ground: it fits light and dark pages.

    Parameters
    ----------
    size
        Pixels of its longer side.
    reason
        In words.

    Returns
    -------
    png
        With the words as its text.
    """
    from PIL import Image, ImageDraw  # noqa: PLC0415  (loaded where pictures are asked for)

    image = Image.new("RGBA", (size, max(1, round(size * 0.75))), (*SIGN_COLOUR, 0))
    middle = (image.width / 2, image.height / 2)
    _draw_crossed_box(ImageDraw.Draw(image), middle, min(image.size) * 0.15, max(1, size // 160))
    return packed(image, {"Description": reason, "Software": "Hven"})


def _draw_crossed_box(pen: Any, middle: tuple[float, float], half_height: float, line_pixels: int) -> None:
    x, y = middle
    box = [x - 1.4 * half_height, y - half_height, x + 1.4 * half_height, y + half_height]
    pen.rectangle(box, outline=SIGN_COLOUR, width=line_pixels)
    pen.line([(box[0], box[3]), (box[2], box[1])], fill=SIGN_COLOUR, width=line_pixels)


def refusal(size: int, reason: str) -> bytes:
    """Draw why there is no picture; below `MIN_WORDS_PIXELS`, where nobody could read it, a neutral sign that there is none.

    Parameters
    ----------
    size
        Pixels of its longer side.
    reason
        In words.

    Returns
    -------
    png
        With the words as its text, whatever it shows.
    """
    if size < MIN_WORDS_PIXELS:
        return draw_sign(size, reason)
    sheet = Sheet(size, max(1, round(size * 0.75)))
    width, height = sheet.size
    sheet.pen.rectangle([0, 0, width - 1, height - 1], fill=(244, 245, 247), outline=SIGN_OUTLINE)
    _draw_crossed_box(sheet.pen, (width / 2, height * 0.27), min(width, height) * 0.1, max(1, size // 160))
    lines, line = [], ""
    for word in reason.split():
        if line and sheet.wide(f"{line} {word}") > width * 0.88:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    room = max(1, int((height * 0.52) / (1.5 * sheet.letters)))
    shown = [*lines, line]
    if len(shown) > room:
        shown = [*shown[: room - 1], shown[room - 1] + " …"]
    for row, text in enumerate(shown):
        y = height * 0.48 + row * 1.5 * sheet.letters
        sheet.words((width / 2, y), sheet.shortened(text, width * 0.94), "ma", colour=(90, 96, 104))
    return packed(sheet.image, {"Description": reason, "Software": "Hven"})

"""Tables of products: written as FITS with what was said of them, and cut by times and wavelengths."""

from __future__ import annotations

import re
import tempfile
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.formats import End, Head, load
from hven.formats.media._headers import told
from hven.formats.media._product import Rows, Stored
from hven.formats.media._spectral import UNIX, begun, times, wavelengths
from hven.model.errors import ParamError, SourceError, TooLarge, say
from hven.model.types import Type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from hven.formats.media._product import Card
    from hven.formats.media._windows import Interval, Selection
    from hven.model.table import Column

    Values = Callable[[pa.Array], npt.NDArray[np.float64]]

MEMORY = 16 << 20  # bytes of a table that is written; what is more goes to the disk
LOOKED = 200_000  # values of a table that are looked at to tell between what it can be cut
_TIME = re.compile(
    r"(?i)(mjd|jd|time|t|tai|utc?|epoch|date.?obs|datetime|time_(obs|utc|mjd|b\d)|.*_(mjd|jd)|timestamp)"
)
_SPECTRAL = re.compile(r"(?i)(wave|wavelength|lambda|lam|freq|frequency|energy|eff_wave|wavenumber|wl|wlen|spectral_axis)s?")  # fmt: skip
_ZEROS = {"MJD": 0.0, "JD": -2_400_000.5, "BJD": -2_400_000.5}  # of cards {..}REFI, {..}REFF


class _Spool(tempfile.SpooledTemporaryFile[bytes]):
    """Closed with its last chunk, or with what holds it: a reader may leave before the first."""

    def __del__(self) -> None:
        self.close()


def written(rows: Rows, history: Sequence[str] = (), most: int | None = None) -> Stored:
    """Write a table as an HDU, with its cards.

    Parameters
    ----------
    rows
        A table.
    history
        Lines for the header.
    most
        Bytes at most.

    Returns
    -------
    hdu
        Made already: how long it is is known at its end alone.

    Raises
    ------
    TooLarge
        It is more than `most`.
    """
    from astropy.io import fits  # noqa: PLC0415  (a second to load, asked by few)

    spool = _Spool(max_size=MEMORY)
    head = Head(columns=rows.columns, name=rows.name or None)
    stream = load("fits").write(head, rows.batches(0, rows.count), End, {})
    next(stream)  # the first HDU, without data
    # the name of another HDU may be said by a card of the table's own
    header = fits.Header.fromstring(next(stream).decode("ascii"))
    kept = {"TIMESYS", "MJDREF", "MJDREFI", "MJDREFF", "TIMEUNIT"}
    for keyword, value, comment in told(card for card in rows.cards if card.keyword in kept or not _structure(card.keyword)):  # fmt: skip
        if keyword in {"COMMENT", "HISTORY"} or keyword.removeprefix("HIERARCH ") not in header:
            header.append((keyword, value, comment), end=True)
    for line in history:
        header.add_history(line)
    spool.write(header.tostring().encode("ascii"))
    for chunk in stream:
        spool.write(chunk)
        if most is not None and spool.tell() > most:
            raise TooLarge(say("the table has more than {most} MB", most // 10**6), remedy=say("ask for less of it"))
    size = spool.tell()

    def chunks() -> Iterator[bytes]:
        with spool:
            spool.seek(0)
            while chunk := spool.read(1 << 20):
                yield chunk

    return Stored(size=size, chunks=chunks)


def _structure(keyword: str) -> bool:
    return re.fullmatch(r"T[A-Z]{3,4}\d+|TFIELDS|THEAP|NAXIS\d*|XTENSION|BITPIX|PCOUNT|GCOUNT|CHECKSUM|DATASUM|EXTNAME|SIMPLE|EXTEND|END", keyword) is not None  # fmt: skip


def chosen(rows: Rows, wanted: Selection, cards: Sequence[Card] = ()) -> Rows | None:
    """Take the rows of a table that lie in intervals; of a spectrum that is one row the elements of its arrays.

    Parameters
    ----------
    rows
        A table.
    wanted
        BAND and TIME.
    cards
        What is said of the file as a whole.

    Returns
    -------
    rows
        None: none does.

    Raises
    ------
    ParamError
        It has no such column, or something else is asked for.
    """
    if wanted.shape is not None or wanted.pixels or wanted.polarizations or wanted.longitude or wanted.latitude:
        raise ParamError(say("{name} is a table: BAND and TIME cut it", rows.name or str(rows.index)), name="POS")
    for name, interval, find in (
        ("BAND", wanted.band, _spectral),
        ("TIME", wanted.time, partial(_moments, cards=cards)),
    ):
        if interval is None:
            continue
        column, values = find(rows, name)
        low, high = (end + side * 4.0 * np.spacing(abs(end)) if np.isfinite(end) else end for end, side in zip(interval, (-1, 1), strict=True))  # fmt: skip
        found = (_elements if column.type.is_array else _matching)(
            rows, column, values, (low, high)
        )  # 3 nm are 3e-9 m, but for rounding
        if found is None:
            return None
        rows = found
    return rows


def ways(rows: Rows, cards: Sequence[Card] = ()) -> tuple[str, ...]:
    """Tell by which of BAND and TIME a table can be cut, by its columns alone.

    Parameters
    ----------
    rows
        A table.
    cards
        What is said of the file as a whole.

    Returns
    -------
    names
        None, one or both.
    """
    found = []
    for name, find in (("BAND", _spectral), ("TIME", partial(_moments, cards=cards))):
        try:
            column, _ = find(rows, name)
        except ParamError:
            continue
        if rows.count == 1 or not column.type.is_array:
            found.append(name)
    return tuple(found)


def bounds(rows: Rows, cards: Sequence[Card] = ()) -> dict[str, tuple[float, float] | None]:
    """Find between what a table can be cut.

    Parameters
    ----------
    rows
        A table.
    cards
        What is said of the file as a whole.

    Returns
    -------
    bounds
        By `ways`: m, or days (MJD); None where nobody looks for them, in a table of more than `LOOKED` values, or where it has none.
    """
    found: dict[str, tuple[float, float] | None] = {}
    for name in ways(rows, cards):
        column, values = _spectral(rows, name) if name == "BAND" else _moments(rows, name, cards)
        seen = rows if rows.narrow is None else rows.narrow((column.name,))
        found[name] = None
        if rows.count * len(seen.columns) > LOOKED:
            continue
        low, high = np.inf, -np.inf
        for batch in seen.batches(0, rows.count):
            cells = batch.column(column.name)
            there = values(cells.flatten() if column.type.is_array else cells)
            there = there[np.isfinite(there)]
            low, high = min(low, there.min(initial=low)), max(high, there.max(initial=high))
        if low <= high:
            found[name] = float(low), float(high)
    return found


def _matching(rows: Rows, column: Column, values: Values, interval: Interval) -> Rows | None:
    """Keep rows whose value lies in an interval; they are looked for once, and read again when they are written."""
    masks: list[npt.NDArray[np.bool_]] = []
    for batch in rows.batches(0, rows.count):
        there = values(batch.column(batch.schema.get_field_index(column.name)))
        with np.errstate(invalid="ignore"):
            masks.append((there >= interval[0]) & (there <= interval[1]))
    mask = np.concatenate(masks) if masks else np.zeros(0, np.bool_)
    at = mask.nonzero()[0]
    if not len(at):
        return None
    whole, first, last = rows.batches, int(at[0]), int(at[-1]) + 1
    numbers = np.concatenate([[0], np.cumsum(mask)])

    def batches(start: int, most: int) -> Iterator[pa.RecordBatch]:
        row = first
        for batch in whole(first, last - first):
            kept = mask[row : row + batch.num_rows].copy()
            own = numbers[row : row + batch.num_rows]
            kept &= (own >= start) & (own < start + most)
            row += batch.num_rows
            if kept.any():
                yield batch if kept.all() else batch.filter(pa.array(kept))

    return replace(rows, count=int(mask.sum()), batches=batches, stored=None)


def _elements(rows: Rows, column: Column, values: Values, interval: Interval) -> Rows | None:
    """Keep elements of arrays: of all that are as long as the column that is asked for, between the first and the last that it has within."""
    if rows.count != 1:
        raise ParamError(
            say("each row of {name} has its own {column}", rows.name or str(rows.index), column.name), name="BAND"
        )
    (batch,) = rows.batches(0, 1)
    there = values(batch.column(column.name).flatten())
    at = ((there >= interval[0]) & (there <= interval[1])).nonzero()[0]
    if not len(at):
        return None
    first, last = int(at[0]), int(at[-1]) + 1
    made, arrays = [], []
    for one in rows.columns:
        array = batch.column(one.name)
        if one.type.is_array and len(array.flatten()) == len(there):
            one = one.having(type=Type(one.type.datatype, str(last - first), one.type.xtype))  # noqa: PLW2901
            inner = array.flatten()[first:last]
            array = pa.FixedSizeListArray.from_arrays(inner, last - first).cast(one.arrow.type)
        made.append(one)
        arrays.append(array)
    cut = pa.RecordBatch.from_arrays(arrays, schema=pa.schema([one.arrow for one in made]))
    return replace(rows, columns=tuple(made), batches=lambda start, most: iter([cut.slice(start, most)]), stored=None)


def _spectral(rows: Rows, name: str) -> tuple[Column, Values]:
    def fits(column: Column) -> bool:
        kind = column.type
        return (kind.is_numeric or kind.is_array) and kind.datatype not in {"char", "boolean"}

    found = [one for one in rows.columns if fits(one) and (one.ucd or "").lower().startswith("em.") and not (one.ucd or "").lower().startswith(("em.line", "em.bin"))]  # fmt: skip
    found += [one for one in rows.columns if fits(one) and _SPECTRAL.fullmatch(one.name)]
    if not found:
        raise ParamError(
            say("{name} cannot cut it: no column says wavelengths", name), name=name, remedy=say("leave it out")
        )
    column = found[0]
    word = {"f": "FREQ", "e": "ENER"}.get(column.name.lower()[:1], "WAVE")
    return column, lambda array: wavelengths(_floats(array), word, column.unit or "")


def _moments(rows: Rows, name: str, cards: Sequence[Card]) -> tuple[Column, Values]:
    """Find the column of times, and what makes MJD of it."""
    said = [one for one in rows.columns if (one.ucd or "").lower().startswith(("time.epoch", "time.start")) or one.type.is_timestamp]  # fmt: skip
    said += [one for one in rows.columns if _TIME.fullmatch(one.name) and (rows.count == 1 or not one.type.is_array)]
    for column in said:
        try:
            return column, clocked(column, (*rows.cards, *cards))
        except SourceError:
            continue
    raise ParamError(say("{name} cannot cut it: no column says times", name), name=name, remedy=say("leave it out"))


def clocked(column: Column, cards: Sequence[Card]) -> Values:
    """Make what turns a column of times into MJD.

    Parameters
    ----------
    column
        Of texts, timestamps, or numbers.
    cards
        What is said of its zero; of two of a keyword the first.

    Returns
    -------
    turn
        Makes MJD of its values.

    Raises
    ------
    SourceError
        The unit is none of time, or nothing says since when.
    """
    plain: dict[str, Any] = {card.keyword: card.value for card in reversed(cards)}
    unit, word = (column.unit or "").strip().lower(), column.name.lower()
    if column.type.is_timestamp or column.type.is_string:
        return _dates
    shift = next((float(plain[f"{key}REFI"]) + float(plain.get(f"{key}REFF") or 0.0) + zero for key, zero in _ZEROS.items() if isinstance(plain.get(f"{key}REFI"), int | float)), None)  # fmt: skip
    if column.epoch is not None or "jd" in word:
        off = -2_400_000.5 + column.epoch if column.epoch is not None else 0.0 if "mjd" in word else -2_400_000.5
        return lambda array: _floats(array) + off
    if shift is not None:
        scale = 1.0 if re.search(r"\b(d|days?)\b", unit or str(plain.get("TIMEUNIT", ""))) else 1.0 / 86_400.0
        return lambda array: _floats(array) * scale + shift
    day = begun(plain)
    if day is not None and {"MJDREF", "JDREF"}.isdisjoint(plain):

        def since(array: pa.Array) -> npt.NDArray[np.float64]:
            # milliseconds are those of the day, as SolarSoft, NRH and ORFEES have them, who need not say so
            values = _floats(array)
            much = not unit and column.type.datatype == "int" and bool(np.nanmax(values, initial=0.0) > 2 * 86_400)
            return values / 86_400e3 + np.floor(day) if unit == "ms" or much else times(values, unit, plain)

        times(np.zeros(1), unit, plain)
        return since
    times(np.zeros(1), unit, plain)
    return lambda array: times(_floats(array), unit, plain)


def _floats(array: pa.Array) -> npt.NDArray[np.float64]:
    return np.asarray(array.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)


def _dates(array: pa.Array) -> npt.NDArray[np.float64]:
    if pa.types.is_string(array.type):
        found = np.full(len(array), np.nan)
        for at, text in enumerate(array.to_pylist()):
            try:
                found[at] = np.datetime64(str(text).strip().rstrip("Z"), "us").astype(np.int64)
            except ValueError:
                continue
    else:
        found = _floats(array.cast(pa.timestamp("us")).cast(pa.int64()))
    return found / 86_400e6 + UNIX


__all__ = ["bounds", "chosen", "clocked", "ways", "written"]

"""Headers that are read here say what astropy reads of them, whatever stands there; where they cannot be sure of it they leave the file to it."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits as astropy
from hypothesis import given
from hypothesis import strategies as st

from hven.formats.media import ArrayPart, TablePart, fits, open_product
from hven.formats.media._fits_headers import NonStandardHeaderError, read_fits_headers
from hven.model.errors import SourceError
from shared import shared

PRINTED = st.characters(min_codepoint=32, max_codepoint=126)
WORDS = st.from_regex(r"[A-Z][A-Z0-9_-]{0,7}", fullmatch=True).filter(
    lambda word: (
        word not in {"END", "CONTINUE", "HIERARCH", "COMMENT", "HISTORY", "SIMPLE", "XTENSION", "BITPIX", "GROUPS"}
        and not word.startswith(("NAXIS", "PCOUNT", "GCOUNT"))
    )
)
# ' before a blank or a slash ends a text for astropy, though it occurs twice
TEXTS = st.text(PRINTED, max_size=60).map(lambda text: text.replace("' ", "'x").replace("'/", "'x").rstrip("'"))
NUMBERS = st.one_of(
    st.integers(-(10**18), 10**18).map(str),
    st.integers(0, 999).map("{:05d}".format),
    st.floats(allow_nan=False, allow_infinity=False).map(lambda one: repr(one).upper()),
    st.from_regex(r"[+-]?([0-9]{1,9}\.[0-9]{0,9}|\.[0-9]{1,9}|[0-9]{1,9})([EDed][+-]?[0-9]{1,2})?", fullmatch=True),
    st.sampled_from(["T", "F", "", "(1.0, -2.5)"]),
)
VALUES = st.one_of(NUMBERS, TEXTS.map(lambda text: "'" + text.replace("'", "''") + "'"))


def card(word: str, value: str, comment: str | None, gap: int) -> str:
    """Write a card, as people and programs do: values anywhere, comments or none."""
    text = f"{word:<8}= {' ' * gap}{value}" + (f" / {comment}" if comment is not None else "")
    return text[:80].ljust(80)


CARDS = st.one_of(
    st.builds(card, WORDS, VALUES, st.one_of(st.none(), st.text(PRINTED, max_size=30)), st.integers(0, 18)),
    st.builds(
        lambda word, text: f"{word:<8}{text}"[:80].ljust(80),
        st.sampled_from(["COMMENT", "HISTORY", ""]),
        st.text(PRINTED, max_size=72),
    ),
    st.builds(
        lambda words, value: f"HIERARCH ESO {' '.join(words)} = {value}"[:80].ljust(80),
        st.lists(WORDS, min_size=1, max_size=3),
        NUMBERS,
    ),
)
SPOILT = st.tuples(CARDS, st.lists(st.tuples(st.integers(0, 79), PRINTED), max_size=4)).map(
    lambda pair: "".join(dict(pair[1]).get(at, sign) for at, sign in enumerate(pair[0]))
)


def format_cards(cards: list[str], naxis: int = 0) -> bytes:
    begin = [f"{word:<8}= {value:>20}".ljust(80) for word, value in (("SIMPLE", "T"), ("BITPIX", 8), ("NAXIS", naxis))]
    text = "".join([*begin, *cards, "END".ljust(80)])
    return text.ljust(-(-len(text) // 2880) * 2880).encode("ascii")


def read(body: bytes) -> list[fits.FitsHeader] | None:
    try:
        return [*read_fits_headers(io.BytesIO(body), len(body))]
    except NonStandardHeaderError:
        return None


def list_cards_with_astropy(body: bytes) -> tuple[object, ...]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fits._list_cards(astropy.Header.fromstring(body))


@given(st.lists(CARDS, max_size=60))
def test_cards_are_those_of_astropy(cards):
    body = format_cards(cards)
    found = read(body)
    if found is not None:
        assert repr(found[0].cards) == repr(list_cards_with_astropy(body))  # the types, too, and -0.0
        assert found[0].values == fits.map_card_values(list_cards_with_astropy(body))


@given(st.lists(SPOILT, min_size=1, max_size=3))
def test_what_is_spoilt_is_read_as_astropy_does_or_left_to_it(cards):
    body = format_cards(cards)
    found = read(body)
    if found is not None:
        assert repr(found[0].cards) == repr(list_cards_with_astropy(body))


@given(st.lists(st.tuples(WORDS, TEXTS, st.text(PRINTED, max_size=20)), max_size=20))
def test_ordinary_headers_are_read_here(cards):
    """Else the tests above would compare nothing."""
    some = {word: (text, note) for word, text, note in cards if ": " not in text}
    found = read(
        format_cards(
            [
                card(word, "'" + text.replace("'", "''")[:40].rstrip("'") + "'", note[:10], 0)
                for word, (text, note) in some.items()
            ]
        )
    )
    assert found is not None
    assert [one.keyword for one in found[0].cards[3:]] == [*some]


@given(
    st.lists(
        st.tuples(WORDS, st.text(st.characters(min_codepoint=40, max_codepoint=126), min_size=70, max_size=400)),
        min_size=1,
        max_size=4,
    )
)
def test_long_texts_go_on_in_further_cards(cards):
    header = astropy.Header([("SIMPLE", True), ("BITPIX", 8), ("NAXIS", 0)])
    for word, text in cards:
        header[word] = (text.replace("&", "+"), "why")
    body = header.tostring().encode()
    found = read(body)
    assert found is not None
    assert found[0].cards == list_cards_with_astropy(body)
    assert all(len(str(one.value)) >= 70 for one in found[0].cards[3:])


@pytest.mark.parametrize(
    "more",
    [
        ["LONG    = 'abc&'", "CONTINUE  'def&'"],  # which has no end
        ["LONG    = 'abc'", "CONTINUE  'def'"],  # that nobody expects
        ["LONG    = 1", "CONTINUE  'def'"],
        ["CONTINUE  'def'"],
        ["DP1     = 'AXIS.1: 2'"],  # a keyword of its own
        ["lower   = 1"],
        ["NOVALUE"],
        ["A       =1"],
        ["BITPIX  =                   16"],
        ["NAXIS1  =                   16"],
        ["PCOUNT  =                    3"],
        ["GROUPS  =                    T"],
        ["ENDE    =                    T", "END     x"],
        ["A       = 1\u00e9"],
    ],
)
def test_what_is_not_plain_is_left_to_astropy(more):
    assert read(format_cards([]))
    body = format_cards([one.ljust(80) for one in more if one.isascii()])
    if not all(map(str.isascii, more)):
        body = body.replace(b"END", "A\u00e9".encode("latin-1") + b"D", 1)
    assert read(body) is None


def test_a_quote_is_a_quote():
    """astropy ends this text at its first pair of quotes (section 4.2.1.1 does not)."""
    (found,) = read(format_cards([card("A", "'the 1'''' / 2'", "why", 0)]))
    assert found.cards[3] == ("A", "the 1'' / 2", "why")


shapes = st.lists(st.integers(0, 7), max_size=4).map(tuple)
kinds = st.sampled_from(["u1", ">i2", ">i4", ">i8", ">f4", ">f8"])


@given(st.lists(st.tuples(shapes, kinds, st.booleans()), min_size=1, max_size=5))
def test_where_data_lie(parts):
    made = astropy.HDUList()
    for number, (shape, kind, table) in enumerate(parts):
        if number and table:
            made.append(astropy.BinTableHDU.from_columns([astropy.Column("a", "5D", array=np.zeros((3, 5)))]))
        else:
            kept = np.zeros(shape, kind) if shape else None
            made.append(astropy.ImageHDU(kept, name=f"p{number}") if number else astropy.PrimaryHDU(kept))
    spool = io.BytesIO()
    made.writeto(spool)
    body = spool.getvalue()
    found = read(body)
    with astropy.open(io.BytesIO(body)) as there:
        told = [one.fileinfo() for one in there]
        assert [(one.data_offset, one.end_offset) for one in found] == [
            (one["datLoc"], one["datLoc"] + one["datSpan"]) for one in told
        ]
        assert [one.is_image for one in found] == [one.is_image for one in there]
        assert [one.sizes[::-1] for one in found if one.is_image] == [one.shape for one in there if one.is_image]


def outcome(path: Path) -> object:
    """Tell what is found in a file, or what is said of it."""
    try:
        with open_product(path) as product:
            found = [repr(product.cards)]
            for part in product.parts:
                facts = (
                    part.index,
                    part.name,
                    part.cards,
                    part.shape if isinstance(part, ArrayPart) else (part.row_count, part.columns),
                )
                found.append(repr(facts))
                if isinstance(part, ArrayPart):
                    corner = [slice(0, min(3, size)) for size in part.shape]
                    found.append(
                        repr(
                            (
                                part.dtype,
                                part.role,
                                part.unit,
                                part.is_local_uncompressed,
                                [axis.name for axis in part.axes],
                                part.read(corner).tolist(),
                            )
                        )
                    )
                    for axis in part.axes:
                        for values in (axis.read_values, axis.read_file_values):
                            try:
                                found.append(repr(values and values().tolist()))
                            except SourceError as fault:
                                found.append(str(fault))
            return found
    except SourceError as fault:
        return str(fault)


def check_same_outcome(path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    here = outcome(path)
    with monkeypatch.context() as patch:
        patch.setattr(fits, "_read_standard_headers", lambda *_: [])
        assert outcome(path) == here
    return here


def test_real_files_are_what_they_were(monkeypatch):
    paths = [path for path in sorted(shared("data").rglob("*.fits")) if path.stat().st_size < 64 << 20]
    here = [path for path in paths if not isinstance(check_same_outcome(path, monkeypatch), str)]
    assert len(here) > 10
    plain = 0
    for path in here:
        with path.open("rb") as file:
            try:
                plain += bool([*read_fits_headers(file, path.stat().st_size)])
            except NonStandardHeaderError:
                continue
    assert plain > len(here) // 2


def image(path: Path) -> bytes:
    header = astropy.Header(
        [
            ("CTYPE1", "RA---TAN"),
            ("CTYPE2", "DEC--TAN"),
            ("CTYPE3", "WAVE-LOG"),
            ("CRVAL3", 5e-7),
            ("CDELT3", 1e-9),
            ("CRPIX3", 1.0),
            ("CUNIT3", "m"),
        ]
    )
    first = astropy.PrimaryHDU(np.arange(2 * 40 * 50, dtype=">i2").reshape(2, 40, 50), header)
    second = astropy.ImageHDU(np.ones((40, 50), ">f4"), name="ERR")
    astropy.HDUList([first, second]).writeto(path)
    return path.read_bytes()


def test_images_need_no_astropy(tmp_path, monkeypatch):
    path = tmp_path / "a.fits"
    image(path)

    def refuse_astropy(*_: object) -> None:
        raise AssertionError

    with monkeypatch.context() as patch:
        patch.setattr(fits, "_open_hdus", refuse_astropy)
        with open_product(path) as product:
            assert [(part.name, part.shape, part.role) for part in product.parts] == [
                ("PRIMARY", (2, 40, 50), "data"),
                ("ERR", (40, 50), "error"),
            ]
            assert product.parts[0].read([slice(1, 2), slice(0, 1), slice(0, 3)]).tolist() == [[[2000, 2001, 2002]]]
            assert np.allclose(product.parts[0].axes[0].read_values(), 5e-7 * np.exp(1e-9 * np.arange(2) / 5e-7))
    assert isinstance(check_same_outcome(path, monkeypatch), list)


def test_damage_is_told_as_before(tmp_path, monkeypatch):
    path = tmp_path / "a.fits"
    body = image(path)
    first = body.index(b"XTENSION")
    spoilt = [
        body[:100], body[:2880], body[:5000], body[:first], body[: first + 100], body[: first + 2880], body[:-2880], body[:-100],
        body + b"rubbish", body + bytes(2880), b"\0" * 2880, body.replace(b"NAXIS   =", b"NAXIS   x", 1), body.replace(b"NAXIS1  =                   50", b"NAXIS1  =                  -50", 1),
        body.replace(b"NAXIS1  =                   50", b"NAXIS1  =          99999999999", 1), body.replace(b"BITPIX  =                   16", b"BITPIX  =                   17", 1),
        body.replace(b"END     ", b"ENDS    ", 1), body.replace(b"= 'IMAGE   '", b"= 'UNKNOWN '", 1), body.replace(b"SIMPLE  =                    T", b"SIMPLE  =                    F", 1),
    ]  # fmt: skip
    said = []
    for bytes_of in spoilt:
        path.write_bytes(bytes_of)
        said.append(check_same_outcome(path, monkeypatch))
    assert sum(isinstance(one, str) for one in said) > 8


def test_tables_beside_images_are_read(tmp_path, monkeypatch):
    path = tmp_path / "a.fits"
    table = astropy.BinTableHDU.from_columns([astropy.Column("t", "D", array=np.arange(3.0))], name="TIMES")
    astropy.HDUList(
        [astropy.PrimaryHDU(np.ones((4, 5))), table, astropy.CompImageHDU(np.ones((40, 50), "i2"), name="C")]
    ).writeto(path)
    check_same_outcome(path, monkeypatch)
    with open_product(path) as product:
        assert [type(part) for part in product.parts] == [ArrayPart, TablePart, ArrayPart]
        assert product.parts[2].read([slice(0, 1), slice(0, 2)]).tolist() == [[1, 1]]

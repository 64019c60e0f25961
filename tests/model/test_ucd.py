"""UCDs: the words of the standard, the grammar, and guesses."""

import csv
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hven.model import units
from hven.model.units import _ucd
from hven.model.units._ucd_words import UCD_WORD_FLAGS, UCD_WORD_REPLACEMENTS
from shared import shared


def test_the_words_are_those_of_the_standard():
    with shared("standards/vocab/ucd1plus.csv").open() as file:
        assert {row["word"]: row["flag"] for row in csv.DictReader(file)} == UCD_WORD_FLAGS
    with shared("standards/vocab/ucd1plus-deprecated.csv").open() as file:
        assert {row["deprecated"]: row["replacement"] for row in csv.DictReader(file)} == UCD_WORD_REPLACEMENTS


@pytest.mark.parametrize(
    "text",
    [
        "pos.eq.ra;meta.main",
        "phot.mag;em.opt.V",
        "stat.error;pos.eq.ra",
        "POS.EQ.RA;META.MAIN",
        "ivoa:pos.eq.ra",
        "VOX:Image_Title",
        "meta.id",
        "time.start;obs.exposure",
        "",
    ],
)
def test_good_ucds(text):
    assert units.list_ucd_problems(text) == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("em.opt.V", "may not come first"), ("phot.mag;stat.error", "'stat.error' may only come first"), ("pos.gal.lon", "write 'pos.galactic.lon'"), ("POS_EQ_RA_MAIN", "write 'pos.eq.ra;meta.main'"),
        ("pos.eq.rra", "did you mean 'pos.eq.ra'"), ("phot.mag; em.opt.V", "must not contain spaces: write 'phot.mag;em.opt.V'"), ("meta.id;", "a word is missing"), ("pos..eq", "is not a UCD word"), ("%", "is not a UCD word"), ("ivoa:foo", "no word 'foo'"), ("meta.main", "may not come first"),
    ],
)  # fmt: skip
def test_bad_ucds_say_why(text, why):
    problems = units.list_ucd_problems(text)
    assert problems
    assert re.search(re.escape(why), " | ".join(problems))


@given(st.sampled_from(sorted(UCD_WORD_FLAGS)), st.lists(st.sampled_from(sorted(UCD_WORD_FLAGS)), max_size=3))
def test_order_follows_the_flags(first, later):
    good = UCD_WORD_FLAGS[first] != "S" and all(UCD_WORD_FLAGS[word] != "P" for word in later)
    assert (not units.list_ucd_problems(";".join([first, *later]))) == good


@given(st.text(max_size=40))
def test_any_text_is_judged(text):
    problems = units.list_ucd_problems(text)
    assert all(isinstance(problem, str) and problem for problem in problems)


def test_every_guess_of_the_table_is_valid():
    for _, guess in _ucd._UCDS_BY_NAME_PATTERN:
        assert not units.list_ucd_problems(guess.format(band="em.opt.V", band2="em.IR.J")), guess
    assert all(UCD_WORD_FLAGS[band] == "S" for band in _ucd._BAND_UCDS.values())
    assert not any(units.list_ucd_problems(guess) for _, guess in (*_ucd._UCDS_BY_UNIT, *_ucd._UCDS_BY_DESCRIPTION))


@pytest.mark.parametrize(
    ("name", "unit", "expected"),
    [
        ("ra", "deg", "pos.eq.ra;meta.main"), ("RAJ2000", None, "pos.eq.ra;meta.main"), ("_DE.icrs", "deg", "pos.eq.dec;meta.main"), ("DEdeg", "deg", "pos.eq.dec;meta.main"), ("dec", "deg", "pos.eq.dec;meta.main"),
        ("e_RAdeg", "mas", "stat.error;pos.eq.ra"), ("Flux_err", "Jy", "stat.error;phot.flux"), ("diam_err", "km", "stat.error"), ("umag", "mag", "phot.mag;em.opt.U"), ("ra_error", "mas", "stat.error;pos.eq.ra"), ("GLON", "deg", "pos.galactic.lon"), ("Vmag", "mag", "phot.mag;em.opt.V"), ("e_Vmag", "mag", "stat.error;phot.mag;em.opt.V"),
        ("Jmag", "mag", "phot.mag;em.IR.J"), ("B-V", "mag", "phot.color;em.opt.B;em.opt.V"), ("phot_g_mean_mag", "mag", "phot.mag;em.opt"), ("bp_rp", "mag", "phot.color;em.opt.B;em.opt.R"), ("Plx", "mas", "pos.parallax.trig"),
        ("pmRA", "mas/yr", "pos.pm;pos.eq.ra"), ("pmDE", "mas.yr**-1", "pos.pm;pos.eq.dec"), ("e_pmRA", "mas/yr", "stat.error;pos.pm;pos.eq.ra"), ("HIP", None, "meta.id"), ("name", None, "meta.id"), ("designation", None, "meta.id"),
        ("SpType", None, "src.spType"), ("z", None, "src.redshift"), ("z", "mag", "phot.mag"), ("RV", "km/s", "spect.dopplerVeloc;pos.heliocentric"), ("MJD", "d", "time.epoch;obs"), ("epoch", "yr", "time.epoch"), ("flag", None, "meta.code"),
        ("period", "d", "time.period"), ("Teff", "K", "phys.temperature.effective"), ("radius", "solRad", "phys.size.radius"), ("mass", "solMass", "phys.mass"), ("access_url", None, "meta.ref.url"), ("filename", None, "meta.id;meta.file"),
        ("incidence_min", "deg", "pos.incidenceAng;stat.min"), ("c7x", None, None), ("ra", "mas/yr", "pos.pm"), ("q1", "Jy", "phot.flux.density"), ("name", "K", None), ("dec", "m", None), ("x_err", "mm", "stat.error;pos.cartesian.x"),
        ("bibcode", None, "meta.bib.bibcode"),
    ],
)  # fmt: skip
def test_guesses(name, unit, expected):
    assert units.suggest_ucd(name, unit) == expected
    assert expected is None or not units.list_ucd_problems(expected)


@given(
    st.one_of(st.text(max_size=20), st.from_regex(r"(e_)?[a-zA-Z]{1,6}(_?(mag|err|min|max|id))?", fullmatch=True)),
    st.sampled_from([None, "deg", "mag", "foo", "mas/yr", "K"]),
)
def test_every_guess_is_valid(name, unit):
    found = units.suggest_ucd(name, unit, "the proper motion in right ascension")
    assert found is None or not units.list_ucd_problems(found)


def test_descriptions_are_asked_last():
    assert units.suggest_ucd("c1", "deg", "Right ascension (ICRS) at Ep=2016.0") == "pos.eq.ra"
    assert units.suggest_ucd("c1", "mas/yr", "Proper motion in right ascension") == "pos.pm;pos.eq.ra"
    assert units.suggest_ucd("c1", "mas", "Error of the right ascension") is None
    for words in ("Significant digits of", "Number of decimals of", "Precision of the"):
        assert units.suggest_ucd("c1", None, f"{words} right ascension") is None, words
    assert units.suggest_ucd("c1", "K", "Right ascension") is None


def test_one_main_of_a_kind_and_one_main_identifier():
    columns = [
        ("HIP", None, None),
        ("name", None, None),
        ("RAJ2000", "deg", None),
        ("ra", "deg", None),
        ("dec", "deg", None),
    ]
    assert units.suggest_ucds(columns) == [
        "meta.id;meta.main",
        "meta.id",
        "pos.eq.ra;meta.main",
        "pos.eq.ra",
        "pos.eq.dec;meta.main",
    ]


def test_declinations_beside_a_right_ascension():
    assert units.suggest_ucds([("RA", None, None), ("DE", None, None)]) == [
        "pos.eq.ra;meta.main",
        "pos.eq.dec;meta.main",
    ]
    assert units.suggest_ucds([("alpha", "deg", None), ("delta", "deg", None)]) == [
        "pos.eq.ra;meta.main",
        "pos.eq.dec;meta.main",
    ]
    assert units.suggest_ucds([("RA", None, None), ("DE", "mag", None)])[1] == "phot.mag"
    assert units.suggest_ucds([("DE", None, None), ("delta", None, None)]) == [None, None]


def test_canonical_spelling():
    assert units.canonicalize_ucd("POS.EQ.RA; meta.MAIN") == "pos.eq.ra;meta.main"
    assert units.canonicalize_ucd("ivoa:phys.sfr;foo:Bar") == "phys.SFR;foo:Bar"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("POS_EQ_RA_MAIN", "pos.eq.ra;meta.main"),
        ("PHOT_MAG_V", "phot.mag;em.opt.V"),
        ("PHOT_JHN_B-V", "phot.color;em.opt.B;em.opt.V"),
        ("pos.gal.lon", "pos.galactic.lon"),
        ("phot.mag; em.opt.V", "phot.mag;em.opt.V"),
        ("pos.pm.ra;pos.frame", "pos.pm;pos.eq.ra;pos.frame"),
        ("meta.id", "meta.id"),
        ("CODE_WHATEVER", None),
        ("foo", None),
        ("", None),
        ("?", None),
        ("REFER_CODE", "meta.ref"),
    ],
)
def test_old_ucds_are_brought_up_to_date(old, new):
    assert units.modernize_ucd(old) == new
    assert new is None or units.list_ucd_problems(new) == []


def test_every_replacement_that_is_offered_is_valid():
    for new in _ucd._UCD1_REPLACEMENTS.values():
        assert units.list_ucd_problems(new) == []
    assert "is UCD1" in units.list_ucd_problems("CODE_WHATEVER")[0]


def test_a_reference_of_any_form_is_not_taken_for_a_bibcode():
    (problem,) = units.list_ucd_problems("REFER_CODE")
    assert problem.endswith("write 'meta.ref'")

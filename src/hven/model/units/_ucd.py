"""UCDs: checked against UCD1+ 1.5 with the words of the list 1.6, and guessed for columns with telling names."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from hven.model import cache_results
from hven.model.errors import suggest_spelling
from hven.model.units._ucd_words import UCD_WORD_FLAGS, UCD_WORD_REPLACEMENTS
from hven.model.units._unit_conversion import are_units_convertible, is_same_unit

if TYPE_CHECKING:
    from collections.abc import Iterable

_WORDS_BY_LOWERCASE = {word.lower(): word for word in UCD_WORD_FLAGS}
_REPLACEMENTS_BY_LOWERCASE = {word.lower(): new for word, new in UCD_WORD_REPLACEMENTS.items()}
# UCD1, as SCS 1.03 still asks for it and old tables still have it: what it is in UCD1+
_UCD1_REPLACEMENTS = {
    "pos_eq_ra_main": "pos.eq.ra;meta.main",
    "pos_eq_dec_main": "pos.eq.dec;meta.main",
    "id_main": "meta.id;meta.main",
    "pos_eq_ra": "pos.eq.ra",
    "pos_eq_dec": "pos.eq.dec",
    "pos_eq_pmra": "pos.pm;pos.eq.ra",
    "pos_eq_pmdec": "pos.pm;pos.eq.dec",
    "pos_gal_lon": "pos.galactic.lon",
    "pos_gal_lat": "pos.galactic.lat",
    "pos_parlx_trig": "pos.parallax.trig",
    "id_crossid": "meta.id.cross",
    "id_alternative": "meta.id",
    "id_catalog": "meta.id",
    "id_number": "meta.id",
    "code_quality": "meta.code.qual",
    "code_misc": "meta.code",
    "refer_code": "meta.ref",  # a reference or origin of any form: a bibcode, the number of a catalogue
    "data_link": "meta.ref.url",
    "note": "meta.note",
    "error": "stat.error",
    "stat_correlation": "stat.correlation",
    "time_date": "time.epoch",
    "spect_type_mk": "src.spType",
    "class_object": "src.class",
    "redshift_hc": "src.redshift",
    "veloc_hc": "spect.dopplerVeloc;pos.heliocentric",
}
_UCD1_MAGNITUDE_PATTERN = re.compile(r"phot_(?:mag|jhn|[a-z0-9-]+)_([ubvrijhk])")
_UCD1_COLOR_PATTERN = re.compile(r"phot_(?:ci|jhn)_([ubvrijhk])-([ubvrijhk])")
_UCD1_FORM_PATTERN = re.compile(r"[A-Z][A-Z0-9-]*(_[A-Z0-9/-]+)+")
_WORD_PATTERN = re.compile(r"(?:([A-Za-z0-9][\w-]*):)?([A-Za-z0-9][\w-]*(?:\.[A-Za-z0-9][\w-]*)*)")


@cache_results(4096)
def _find_ucd_problems(text: str) -> tuple[str, ...]:
    newer = _convert_ucd1(text)
    if newer is not None:
        return (f"{text!r} is UCD1: write {newer!r}",)
    if _UCD1_FORM_PATTERN.fullmatch(text):
        return (f"{text!r} is UCD1: write words of UCD1+, lower case with dots",)
    if any(char.isspace() for char in text):
        joined = "".join(text.split())
        return (f"a UCD must not contain spaces: write {joined!r}", *_find_ucd_problems(joined))
    problems: list[str] = []
    for place, word in enumerate(text.split(";")):
        problem = _find_ucd_word_problem(word, place)
        if problem is not None:
            problems.append(problem)
    return tuple(problems)


def _find_ucd_word_problem(word: str, place: int) -> str | None:
    """Return what is wrong with a word of a UCD, at a place counted from 0."""
    if not word:
        return "a word is missing: the UCD contains two semicolons in a row, or a semicolon at an end"
    match = _WORD_PATTERN.fullmatch(word)
    if match is None:
        return f"{word!r} is not a UCD word: use letters, digits, '-' and '_', with dots between them"
    space, name = match.groups()
    if space is not None and space.lower() != "ivoa":
        return None  # the words of another community, which can check them
    lower = name.lower()
    if lower in _REPLACEMENTS_BY_LOWERCASE:
        return f"{name!r} is deprecated: write {_REPLACEMENTS_BY_LOWERCASE[lower]!r}"
    if lower not in _WORDS_BY_LOWERCASE:
        near = suggest_spelling(lower, _WORDS_BY_LOWERCASE.values())
        hint = f", {near}" if near else ""
        return f"UCD1+ has no word {name!r}{hint}"
    return _find_ucd_position_problem(_WORDS_BY_LOWERCASE[lower], place)


def _find_ucd_position_problem(word: str, place: int) -> str | None:
    """Return what is wrong with a known word at a place."""
    flag = UCD_WORD_FLAGS[word]
    if place == 0 and flag == "S":
        return f"{word!r} may not come first: it qualifies another word"
    if place > 0 and flag == "P":
        return f"{word!r} may only come first"
    return None


def list_ucd_problems(text: str) -> list[str]:
    """List what is wrong with a UCD; empty if nothing is, or if there is no UCD.

    Parameters
    ----------
    text
        As written. UCDs are compared without case; words of namespaces other than ``ivoa:`` are not judged.

    Returns
    -------
    problems
        A sentence for each.
    """
    if text:
        return list(_find_ucd_problems(text))
    return []


def _convert_ucd1(text: str) -> str | None:
    lower = text.lower()
    if lower in _UCD1_REPLACEMENTS:
        return _UCD1_REPLACEMENTS[lower]
    colour = _UCD1_COLOR_PATTERN.fullmatch(lower)
    magnitude = _UCD1_MAGNITUDE_PATTERN.fullmatch(lower)
    if colour is not None:
        return f"phot.color;{_BAND_UCDS[colour[1]]};{_BAND_UCDS[colour[2]]}"
    if magnitude is not None:
        return f"phot.mag;{_BAND_UCDS[magnitude[1]]}"
    return None


def modernize_ucd(text: str) -> str | None:
    """Convert a UCD to the present list: UCD1, deprecated words, blanks.

    Parameters
    ----------
    text
        As a file has it.

    Returns
    -------
    ucd
        None if it is not valid then.
    """
    bare = canonicalize_ucd(_convert_ucd1(text.strip()) or text)
    modern = ";".join(
        UCD_WORD_REPLACEMENTS.get(word, _REPLACEMENTS_BY_LOWERCASE.get(word.lower(), word)) for word in bare.split(";")
    )
    if modern and not list_ucd_problems(modern):
        return modern
    return None


def canonicalize_ucd(text: str) -> str:
    """Normalize the spelling of a UCD: known words as the list has them, without blanks and without ``ivoa:``.

    Other words stay.

    Parameters
    ----------
    text
        Words with semicolons between.

    Returns
    -------
    ucd
        Not checked.
    """
    words = []
    for word in "".join(text.split()).split(";"):
        if word.lower().startswith("ivoa:"):
            bare = word[5:]
        else:
            bare = word
        words.append(_WORDS_BY_LOWERCASE.get(bare.lower(), bare))
    return ";".join(words)


# --- guesses -------------------------------------------------------------------------------------------------

_BAND_UCDS = {
    "u": "em.opt.U",
    "b": "em.opt.B",
    "v": "em.opt.V",
    "r": "em.opt.R",
    "i": "em.opt.I",
    "g": "em.opt",
    "z": "em.opt.I",
    "y": "em.IR.NIR",
    "j": "em.IR.J",
    "h": "em.IR.H",
    "k": "em.IR.K",
    "ks": "em.IR.K",
    "l": "em.IR.3-4um",
    "w1": "em.IR.3-4um",
    "w2": "em.IR.4-8um",
    "w3": "em.IR.8-15um",
    "w4": "em.IR.15-30um",
    "bt": "em.opt.B",
    "vt": "em.opt.V",
    "hp": "em.opt",
    "bp": "em.opt.B",
    "rp": "em.opt.R",
    "gaia": "em.opt",
    "fuv": "em.UV.100-200nm",
    "nuv": "em.UV.200-300nm",
    "rc": "em.opt.R",
    "ic": "em.opt.I",
}
_BAND_PATTERN = r"(u|b|v|r|i|g|z|y|j|h|k|ks|l|w[1-4]|bt|vt|hp|bp|rp|fuv|nuv|rc|ic)"

# name (lower case, words joined by '_') -> UCD; the first that fits wins; {band} is the matched filter's word
_UCDS_BY_NAME_PATTERN: tuple[tuple[str, str], ...] = (
    (
        (
            r"_?ra(j?2000(\.0)?|_?icrs|_?deg|_?degrees?|_?d|_?j2000|_?ep2000|_?ep0|)|raj|alpha(_?j2000|_?deg)?"
            r"|right_?ascension|s_ra|ra_?mean"
        ),
        "pos.eq.ra;meta.main",
    ),
    (
        (
            r"_?de(c?j?2000(\.0)?|c?_?icrs|c?_?deg|c|c?_?degrees?|c?_d|c_?j2000|_?ep2000|c?_?ep0)|dej|decj"
            r"|delta(_?j2000|_?deg)|declination|decl|s_dec|dec_?mean"
        ),
        "pos.eq.dec;meta.main",
    ),
    (r"ra_?b?1950|ra1875|ra_?fk[45]", "pos.eq.ra"),
    (r"dec?_?b?1950|de1875|dec?_?fk[45]", "pos.eq.dec"),
    (r"_?gal_?lon|_?glon|gal_?l|l_?gal|lii|gal_?long|galactic_?longitude", "pos.galactic.lon"),
    (r"_?gal_?lat|_?glat|gal_?b|b_?gal|bii|galactic_?latitude", "pos.galactic.lat"),
    (r"_?e(cl|lon)(_?lon)?|ecl_?long?|ecliptic_?longitude", "pos.ecliptic.lon"),
    (r"_?elat|ecl_?lat|ecliptic_?latitude", "pos.ecliptic.lat"),
    (
        (
            r"(planeto(centric|graphic)|areo(centric|graphic)|seleno(centric|graphic)|body|carrington)_?(lon"
            r"|long|longitude)(_?(deg|east|e))?"
        ),
        "pos.bodyrc.lon",
    ),
    (
        (
            r"(planeto(centric|graphic)|areo(centric|graphic)|seleno(centric|graphic)|body|carrington)_?(lat"
            r"|latitude)(_?(deg|north|n))?"
        ),
        "pos.bodyrc.lat",
    ),
    (r"geo(graphic|detic)_?(lon|long|longitude)(_?(deg|east|e))?", "pos.earth.lon"),
    (r"geo(graphic|detic)_?(lat|latitude)(_?(deg|north|n))?", "pos.earth.lat"),
    (r"pm_?ra(_?cosdec|_?cosd|_?\*|_?deg)?|mu_?(ra|alpha)(_?cosd\w*)?|pmra_?cosd\w*", "pos.pm;pos.eq.ra"),
    (r"pm_?dec?|mu_?(dec?|delta)", "pos.pm;pos.eq.dec"),
    (r"pm|mu|proper_?motion|total_?pm", "pos.pm"),
    (r"plx|parallax|par|trig_?plx", "pos.parallax.trig"),
    (r"rv|vrad|radial_?velocity|v_?r|hrv|rad_?vel|v_?helio|vhel", "spect.dopplerVeloc;pos.heliocentric"),
    (r"z_?(spec|phot|best|helio|hel)?|red_?shift|z_?redshift", "src.redshift"),
    (r"dist|distance|r_?est|dist_?(pc|kpc|mpc)", "pos.distance"),
    (r"sep|separation|rho|ang_?dist|ang_?sep|_r", "pos.angDistance"),
    (r"pa|posang|pos_?ang|position_?angle|theta", "pos.posAng"),
    (r"(maj_?ax\w*|smaj\w*|major_?axis|semi_?major(_?axis)?|a_?image|diam_?maj)", "phys.angSize.smajAxis"),
    (r"(min_?ax\w*|smin\w*|minor_?axis|semi_?minor(_?axis)?|b_?image|diam_?min)", "phys.angSize.sminAxis"),
    (r"(ang_?)?diam\w*|ang_?size|size", "phys.angSize"),
    (
        rf"{_BAND_PATTERN}_?[-_]_?{_BAND_PATTERN}(_?(mag|col|color|colour))?|{_BAND_PATTERN}_?minus_?{_BAND_PATTERN}",
        "phot.color;{band};{band2}",
    ),
    (r"color|colour|ci", "phot.color"),
    (r"ebv|e_?b_?v|ebminv|reddening", "phot.color.excess"),
    (r"a_?v|av|extinction|a_?[ugrizjhk]", "phys.absorption"),
    (
        (
            rf"{_BAND_PATTERN}(_?mag|_?magnitude)|mag_?{_BAND_PATTERN}|phot_?{_BAND_PATTERN}_?mean_?mag"
            rf"|{_BAND_PATTERN}_?(psf|ap|petro|kron|model|cmodel|auto)_?mag|m_?{_BAND_PATTERN}"
        ),
        "phot.mag;{band}",
    ),
    (r"phot_g_mean_flux", "phot.flux;em.opt"),
    (r"abs_?mag|absolute_?magnitude|m_abs|h_?mag_?abs", "phys.magAbs"),
    (r"mag|magnitude|mag_?(auto|best|iso|aper)", "phot.mag"),
    (rf"f(lux)?_?{_BAND_PATTERN}|{_BAND_PATTERN}_?flux", "phot.flux;{band}"),
    (r"flux_?dens\w*|fnu|f_?nu|flambda|f_?lambda|s_?nu|s\d+(\.\d+)?", "phot.flux.density"),
    (r"flux|fluence|peak_?flux|int_?flux|total_?flux|flux_?\w*", "phot.flux"),
    (r"counts?(_?rate)?|count_?rate", "phot.count"),
    (
        (
            r"id|_?identifier|source_?id|obj_?id|objid|object_?id|star_?id|rec_?no|seq|number|num|no|hip|hd"
            r"|tyc|kic|tic|epic|ngc|ic|recno|index|idx|row_?id|obs_?id|granule_?uid|uid|uuid|cat_?id"
            r"|designation|desig|2mass|wise_?id|gaia_?(id|dr\d)|dr\d_?source_?id|[a-z]+_?id"
        ),
        "meta.id",
    ),
    (
        (
            r"(main_?|source_?|star_?|object_?|obj_?|planet_?|pl_?|target_?|feature_?|clean_?|common_?|alt_?"
            r"|other_?)?names?|object|target|star|source|galaxy|cluster|planet|feature|alias(es)?"
            r"|simbad(_?name)?|iau_?name"
        ),
        "meta.id",
    ),
    (r"cross_?(id|match)|xmatch|cross_?ident\w*", "meta.id.cross"),
    (r"ref_?epoch|epoch|ep|ep(ra|de)", "time.epoch"),
    (
        (
            r"(obs_?)?(date|time|datetime|timestamp|date_?obs|time_?obs|obs_?date|obs_?time|utc?|t)|date_?time"
            r"|(mean_?)?(jd|mjd|bjd|hjd|btjd|bkjd)(_?obs|_?tdb|_?utc|_?mid)?|isot|observation_?date"
        ),
        "time.epoch;obs",
    ),
    (
        (
            r"(t|time|date|jd|mjd|obs)_?(min|start|beg|begin|obs_?start)|start_?(time|date)|begin_?time"
            r"|utc_?start|t_start|date_?beg|tstart"
        ),
        "time.start;obs",
    ),
    (
        r"(t|time|date|jd|mjd|obs)_?(max|end|stop|obs_?end)|(end|stop)_?(time|date)|utc_?end|t_stop|date_?end|tstop",
        "time.end;obs",
    ),
    (
        r"exp_?time|exposure(_?time)?|texp|t_exptime|int_?time|integration_?time|duration|itime",
        "time.duration;obs.exposure",
    ),
    (r"(release_?date|obs_release_date)", "time.release"),
    (r"(creation_?date|created)", "time.creation"),
    (r"(modification_?date|modified|updated?|last_?(update|modified))", "time.processing"),
    (r"equinox", "time.equinox"),
    (r"(orb(ital)?_?|rot(ation(al)?)?_?|pl_orb)?per(iod)?(_?(days?|d|orb|rot))?|p_?orb", "time.period"),
    (r"phase", "time.phase"),
    (r"age", "time.age"),
    (r"year|pub_?year|disc_?year|discovery_?year", "time.publiYear"),
    (r"teff|t_?eff|temp_?eff|effective_?temp(erature)?|st_teff", "phys.temperature.effective"),
    (r"temp|temperature|t_?(gas|dust|ex|sys)", "phys.temperature"),
    (r"log_?g|logg|gravity|surface_?gravity", "phys.gravity"),
    (r"fe_?h|\[fe/h\]|feh|m_?h|metallicity|met", "phys.abund.Fe"),
    (r"(st|pl|star|planet|stellar)?_?mass|m_?(star|sin_?i|planet|jup)|msini", "phys.mass"),
    (r"(st|pl|star|planet|stellar)?_?(rad|radius)|r_?(star|planet|jup)", "phys.size.radius"),
    (r"lum|luminosity|l_?(bol|x|sun)|log_?l", "phys.luminosity"),
    (r"density|rho_?\w+", "phys.density"),
    (r"ecc|eccentricity|e_orb", "src.orbital.eccentricity"),
    (r"inc|incl|inclination", "src.orbital.inclination"),
    (r"vsini|v_?sin_?i|v_?rot", "phys.veloc.rotat"),
    (r"vel|velocity|speed|v", "phys.veloc"),
    (r"ellipticity|ell", "src.ellipticity"),
    (r"sp_?type|spec_?type|spectral_?type|sptype|spt|sp|spectral_?class|mk", "src.spType"),
    (r"morph\w*|hubble_?type|galaxy_?type", "src.morph.type"),
    (r"(var|variability)_?type|var_?class", "meta.code.class;src.var"),
    (r"(obj|object|source|target|feature)?_?(type|class|classification|otype)", "src.class"),
    (r"constell(ation)?|const", "meta.code"),
    (r"variab\w*|var|var_?flag", "src.var"),
    (r"flags?|\w+_flags?|flag_\w+|f_\w+|q_?flag|mult(iplicity)?", "meta.code"),
    (r"qual(ity)?|\w+_qual(ity)?|q_\w+", "meta.code.qual"),
    (r"n_?obs|n_?det|num_?\w+|n_\w+|nb_?\w+|nobs", "meta.number"),
    (r"snr|s_?n|sig_?to_?noise|signal_?to_?noise", "stat.snr"),
    (r"chi2?|chi_?sq\w*|chi_?2|ruwe", "stat.fit.chi2"),
    (r"prob\w*|pvalue|p_?value", "stat.probability"),
    (r"wave(length)?|lambda|wl|wavelen", "em.wl"),
    (r"freq|frequency|nu", "em.freq"),
    (r"energy|e_?kev", "em.energy"),
    (r"filter|band|bandpass|passband", "meta.id;instr.filter"),
    (r"instr(ument)?(_?name)?|instrume", "meta.id;instr"),
    (r"tel(escope)?(_?name)?|telescop|facility(_?name)?|instrument_?host(_?name)?|observatory", "meta.id;instr.tel"),
    (r"observer|pi|pi_?name|obs_?creator_?name", "meta.id.PI"),
    (r"proposal(_?id)?|prop_?id|program(me)?(_?id)?", "meta.id;obs.proposal"),
    (r"(access_?)?(file_?name|filename|file|path|file_?path)", "meta.id;meta.file"),
    (r"thumb(nail)?(_?url)?|preview(_?url)?", "meta.ref.url;meta.preview"),
    (r"(\w+_)?(url|uri|link|href)", "meta.ref.url"),
    (r"(access_?)?format|mime(_?type)?|content_?type", "meta.code.mime"),
    (r"(access_?estsize|file_?size|size_?bytes)", "phys.size;meta.file"),
    (r"bibcode|bib_?reference|bib", "meta.bib.bibcode"),
    (r"doi", "meta.ref.doi"),
    (r"refs?|references?|biblio\w*", "meta.bib"),
    (r"authors?", "meta.bib.author"),
    (r"title", "meta.title"),
    (r"notes?|comments?|remarks?|rem|descr(iption)?", "meta.note"),
    (r"healpix\w*|hpx\w*|ipix", "pos.healpix"),
    (r"s_region|footprint|outline|polygon|region", "pos.outline;obs.field"),
    (r"air_?mass|secz", "obs.airMass"),
    (r"seeing", "instr.obsty.seeing"),
    (r"alt|altitude|elevation|height", "pos.bodyrc.alt"),
    (r"x|x_?(pix|image|pos|coord)", "pos.cartesian.x"),
    (r"y|y_?(pix|image|pos|coord)", "pos.cartesian.y"),
    (r"incidence(_?angle)?", "pos.incidenceAng"),
    (r"emergence(_?angle)?|emission(_?angle)?", "pos.emergenceAng"),
    (r"phase_?(angle|ang)", "pos.phaseAng"),
)
_ERROR_NAME_PATTERN = re.compile(
    r"(?:e_|err_|error_|sig_|sigma_|d_|u_|unc_|std_|s_)(?P<after>.+)|(?P<before>.+?)_?(?:err|error|sigma"
    r"|sig|unc|uncertainty|std|stddev|err_?[12]|err(?:or)?_?(?:up|lo|low|high|plus|minus))"
)
_STATISTIC_NAME_PATTERN = re.compile(r"(?P<before>.+?)_?(?P<kind>min|max|mean|median|minimum|maximum)")
# what a unit must measure for a guess to stand: first word of the UCD -> units, any of which it must convert to
_EXPECTED_UNITS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("pos.eq", ("deg", "'hourangle'")),
    ("pos.galactic", ("deg",)),
    ("pos.ecliptic", ("deg",)),
    ("pos.bodyrc.l", ("deg",)),
    ("pos.earth.l", ("deg",)),
    ("pos.bodyrc.alt", ("m",)),
    ("pos.pm", ("mas/yr", "s/yr", "mas")),
    ("pos.parallax", ("mas",)),
    ("pos.posAng", ("deg",)),
    ("phot.mag", ("mag",)),
    ("phot.color", ("mag",)),
    ("phys.angSize", ("deg",)),
    ("phys.temperature", ("K",)),
    ("phys.mass", ("kg", "'jupiterMass'")),
    ("phys.size", ("m", "byte", "deg")),
    ("time.period", ("d",)),
    ("time.duration", ("s",)),
    ("src.redshift", ("", "km/s")),
    ("em.wl", ("m",)),
    ("em.freq", ("Hz",)),
    ("em.energy", ("eV",)),
    ("spect.dopplerVeloc", ("km/s",)),
    ("phys.veloc", ("km/s",)),
    ("pos.distance", ("pc", "mag")),
    ("pos.angDistance", ("deg",)),
)
# a unit that says it all when the name says nothing
_UCDS_BY_UNIT = (
    ("mag", "phot.mag"),
    ("mas/yr", "pos.pm"),
    ("Jy", "phot.flux.density"),
    ("erg.s**-1.cm**-2", "phot.flux"),
)
_UCDS_BY_DESCRIPTION = (
    (re.compile(r"\bright ascension\b", re.IGNORECASE), "pos.eq.ra"),
    (re.compile(r"\bdeclination\b", re.IGNORECASE), "pos.eq.dec"),
    (re.compile(r"\bgalactic longitude\b", re.IGNORECASE), "pos.galactic.lon"),
    (re.compile(r"\bgalactic latitude\b", re.IGNORECASE), "pos.galactic.lat"),
    (re.compile(r"\bproper motion\b.*\b(ra|right ascension|alpha)\b", re.IGNORECASE), "pos.pm;pos.eq.ra"),
    (re.compile(r"\bproper motion\b.*\b(dec|declination|delta)\b", re.IGNORECASE), "pos.pm;pos.eq.dec"),
    (re.compile(r"\bparallax\b", re.IGNORECASE), "pos.parallax.trig"),
    (re.compile(r"\bspectral type\b", re.IGNORECASE), "src.spType"),
    (re.compile(r"\beffective temperature\b", re.IGNORECASE), "phys.temperature.effective"),
    (re.compile(r"\bradial velocity\b", re.IGNORECASE), "spect.dopplerVeloc;pos.heliocentric"),
    (re.compile(r"\bredshift\b", re.IGNORECASE), "src.redshift"),
)
_MISLEADING_DESCRIPTION_PATTERN = re.compile(
    (
        r"\b(error|uncertainty|sigma|rms|std|standard deviation|flag|number of|precision|accuracy|digits?"
        r"|decimals?|significant)\b"
    ),
    re.IGNORECASE,
)
# numbers of digits, notes and counts: their names hold that of a quantity, and they are none
_NON_QUANTITY_NAME_PATTERN = re.compile(
    r".+_(prec(ision)?|digits|ndigits|fmt|format|note|flag|ref|origin|source|bibcode|method)|(n|nb|num|f|q|l|r)_.+"
)
# derivatives: e_dot is a rate (the spin-down luminosity of pulsars), not the error of "dot"
_RATE_NAME_PATTERN = re.compile(r"[a-z]{1,3}_?dot(_.*)?|d[a-z]{1,3}_?dt")
# what a description says of the frame of a longitude or latitude -> the UCD up to its axis
_FRAMES_BY_DESCRIPTION = (
    (re.compile(r"\b(geographic|geodetic|geocentric|terrestrial)\b", re.IGNORECASE), "pos.earth"),
    (re.compile(r"\bgalactic\b", re.IGNORECASE), "pos.galactic"),
    (re.compile(r"\becliptic\b", re.IGNORECASE), "pos.ecliptic"),
    (
        re.compile(
            r"\b(planetocentric|planetographic|areo\w+|seleno\w+|carrington|heliographic|stonyhurst)\b", re.IGNORECASE
        ),
        "pos.bodyrc",
    ),
    (re.compile(r"\b(orbit\w*|node|perihelion|pericent\w+|periapsis|magnetic|local)\b", re.IGNORECASE), None),
)
_NON_REDSHIFT_PATTERN = re.compile(
    r"\b(velocit\w*|component|coordinate|position|axis|height|altitude|cartesian)\b", re.IGNORECASE
)


def suggest_ucd(name: str, unit: str | None = None, description: str | None = None) -> str | None:
    """Guess the UCD of a column.

    Parameters
    ----------
    name
        The column's name in its file: ``RAJ2000``, ``e_Vmag``, ``phot_g_mean_mag``.
    unit
        Its unit; a guess that this contradicts is dropped (``z`` in ``mag`` is no redshift).
    description
        Asked when the name tells nothing.

    Returns
    -------
    str or None
        A valid UCD, None if nothing is obvious. A wrong UCD is worse than none.
    """
    words = re.sub(r"[\s.-]+", "_", name.strip()).lower().strip("_") or name.lower()
    if _RATE_NAME_PATTERN.fullmatch(words):
        return None
    guess = _guess_ucd_by_name(words, unit) or _guess_ucd_by_name(name.strip().lower(), unit)
    match = _ERROR_NAME_PATTERN.fullmatch(words)
    if match is not None and match["before"] and _guess_ucd_by_name(match["before"], unit):
        guess = _guess_statistic_ucd(words, unit)  # flux_err is no flux
    if guess is None:
        guess = _guess_statistic_ucd(words, unit)
    if guess is None and description and not _MISLEADING_DESCRIPTION_PATTERN.search(description):
        for pattern, ucd in _UCDS_BY_DESCRIPTION:
            if pattern.search(description) and _is_unit_plausible(ucd, unit):
                guess = ucd
                break
        # the most telling sentence wins: proper motions mention right ascension
        if guess in {"pos.eq.ra", "pos.eq.dec"} and re.search(r"proper motion", description, re.IGNORECASE):
            if _is_unit_plausible("pos.pm", unit):
                guess = f"pos.pm;{guess}"
            else:
                guess = None
    if guess is None and unit and not _NON_QUANTITY_NAME_PATTERN.fullmatch(words):
        guess = _guess_ucd_by_unit(unit)
    return _adapt_ucd_to_description(guess, description or "")


def _adapt_ucd_to_description(ucd: str | None, description: str) -> str | None:
    """Change or drop a guess that the description contradicts: another frame of a position, a z that is no redshift."""
    if ucd == "src.redshift" and _NON_REDSHIFT_PATTERN.search(description):
        return None
    axis = re.fullmatch(r"pos\.(?:earth|galactic|ecliptic|bodyrc)(\.(?:lon|lat))(;meta\.main)?", ucd or "")
    if axis is None:
        return ucd
    frames = [start for pattern, start in _FRAMES_BY_DESCRIPTION if pattern.search(description)]
    if not frames:
        return ucd
    if len(frames) > 1 or frames[0] is None:
        return None
    return f"{frames[0]}{axis[1]}"


def suggest_ucds(columns: Iterable[tuple[str, str | None, str | None]]) -> list[str | None]:
    """Guess the UCDs of a whole table: ``meta.main`` goes to one column of a kind, the first.

    A single obvious identifier becomes ``meta.id;meta.main``, as cone search wants it (SCS 1.03, 2.2).

    Parameters
    ----------
    columns
        (name, unit, description) of each.

    Returns
    -------
    ucds
        One for each column; None where nothing is obvious.
    """
    columns = list(columns)
    guesses = [suggest_ucd(*column) for column in columns]
    if (
        "pos.eq.ra;meta.main" in guesses and "pos.eq.dec;meta.main" not in guesses
    ):  # alone these words may mean anything
        for number, (name, unit, _) in enumerate(columns):
            if (
                guesses[number] is None
                and name.strip().lower() in {"de", "delta"}
                and _is_unit_plausible("pos.eq.dec", unit)
            ):
                guesses[number] = "pos.eq.dec;meta.main"
    names = {_normalize_column_name(name) for name, _, _ in columns}
    for number, (name, _, _) in enumerate(columns):
        if (
            guesses[number] == "stat.error"
            and name.lower().startswith("e_")
            and _find_measured_column_name(name) not in names
        ):
            guesses[number] = (
                None  # beside no column of the name behind it e_ may mean something else: energy, electron
            )
        elif guesses[number] == "src.redshift" and _normalize_column_name(name) == "z" and _has_cartesian_axes(names):
            guesses[number] = None
    main_ucds: set[str] = set()
    for number, ucd in enumerate(guesses):
        if ucd is not None and ucd.endswith(";meta.main"):
            if ucd in main_ucds:
                guesses[number] = ucd.removesuffix(";meta.main")
            main_ucds.add(ucd)
    if "meta.id;meta.main" not in guesses and "meta.id" in guesses:
        guesses[guesses.index("meta.id")] = "meta.id;meta.main"
    return guesses


def _normalize_column_name(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", name.lower())


def _find_measured_column_name(name: str) -> str | None:
    """Name the column whose error this is called after."""
    match = _ERROR_NAME_PATTERN.fullmatch(re.sub(r"[\s.-]+", "_", name.strip()).lower().strip("_"))
    if match is None:
        return None
    return _normalize_column_name(match["after"] or match["before"])


def _has_cartesian_axes(names: set[str]) -> bool:
    """Check whether a column z stands beside x and y, or U, V, W of a velocity."""
    return any(pair <= names for pair in ({"x", "y"}, {"vx", "vy"}, {"u", "v", "w"}))


@cache
def _compile_name_patterns() -> list[tuple[re.Pattern[str], str]]:
    return [(re.compile(pattern), ucd) for pattern, ucd in _UCDS_BY_NAME_PATTERN]


def _guess_ucd_by_name(name: str, unit: str | None) -> str | None:
    for pattern, ucd in _compile_name_patterns():
        match = pattern.fullmatch(name)
        if match is None:
            continue
        if "{band}" in ucd:
            bands = [group for group in match.groups() if group in _BAND_UCDS]
            if not bands:
                continue
            guess = ucd.format(band=_BAND_UCDS[bands[0]], band2=_BAND_UCDS[bands[-1]])
        else:
            guess = ucd
        if _is_unit_plausible(guess, unit):
            return guess
    return None


def _guess_statistic_ucd(name: str, unit: str | None) -> str | None:
    """Guess UCDs of errors, minima and maxima of what is known."""
    match = _ERROR_NAME_PATTERN.fullmatch(name)
    if match is not None:
        base_ucd = _guess_ucd_by_name(match["after"] or match["before"], unit)
        if base_ucd is None:
            if name.startswith(("e_", "err_", "error_", "sigma_")) or "err" in name:
                return "stat.error"
            return None
        return _build_prefixed_ucd("stat.error", base_ucd)
    match = _STATISTIC_NAME_PATTERN.fullmatch(name)
    if match is not None:
        base_ucd = _guess_ucd_by_name(match["before"], unit)
        kind = {"minimum": "min", "maximum": "max"}.get(match["kind"], match["kind"])
        if base_ucd is not None and UCD_WORD_FLAGS.get(base_ucd.partition(";")[0]) != "P":
            return f"{base_ucd.removesuffix(';meta.main')};stat.{kind}"
    return None


def _build_prefixed_ucd(first_word: str, ucd: str) -> str:
    """Prefix a UCD with a first word, as far as its words may come later."""
    words = [word for word in ucd.split(";") if word != "meta.main" and UCD_WORD_FLAGS.get(word) != "P"]
    return ";".join([first_word, *words])


def _is_unit_plausible(ucd: str, unit: str | None) -> bool:
    if not unit:
        return True
    for start, choices in _EXPECTED_UNITS:
        if ucd.startswith(start):
            return any(are_units_convertible(unit, choice) for choice in choices)
    return not ucd.startswith(("meta.", "src.spType", "src.class"))  # names and flags have no unit


def is_quantity_with_unit(ucd: str | None) -> bool:
    """Check whether a quantity has a unit in any case.

    Parameters
    ----------
    ucd
        UCD of a column; None: unknown.

    Returns
    -------
    bool
        True for lengths, magnitudes, temperatures and the like, and for errors and means of them; False for names,
        counts, ratios.
    """
    word = re.sub(r"^stat\.(?:error|mean|median|min|max|stdev)(?:\.sys)?;", "", ucd or "")
    return any(word.startswith(start) and "" not in choices for start, choices in _EXPECTED_UNITS)


def _guess_ucd_by_unit(unit: str) -> str | None:
    return next((ucd for known_unit, ucd in _UCDS_BY_UNIT if is_same_unit(unit, known_unit)), None)

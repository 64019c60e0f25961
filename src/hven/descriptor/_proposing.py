"""What a source's columns may be in a standard: `Proposer` guesses from names, units, UCDs and the first values, with words on how sure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from hven.descriptor._guesses import quoted
from hven.model import units
from hven.model.sky import bodies

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from hven.descriptor._guesses import Guess
    from hven.descriptor._source_facts import Fact

# dates of a file or of its processing: no time of the observation
_SHEET = re.compile(
    r"creat|modif|updat|ingest|releas|publi|approv|revis|reduc|discov|process|_rf\d|^rf\d|writ|made|_file|download|arch"
)
# cards and columns that say the time of the observation by the standard's own name (FITS 4.0, table 35)
_OBSERVED = re.compile(
    r"(date|mjd|jd|time)_?(obs|beg|start|avg)|(obs|start)_?(date|time|mjd|jd)|t_?(start|min|beg)|tstart"
)
_BEGIN = re.compile(
    r"start|begin|_min$|^min_|tmin|date_?obs|obs_?date|datetime|^date|time_?obs|observ|acq|event|^t_?0$|^year$|^time$|^jd|^mjd"
)
_END = re.compile(r"(^|_|time|date)(end|stop|max|to)(_|$|time|date)|date_?end|tmax|endtime|stoptime")
_MEDIA = {
    "fits": "application/fits", "fit": "application/fits", "fts": "application/fits", "fits.gz": "application/fits", "nc": "application/x-netcdf", "cdf": "application/x-cdf", "png": "image/png",
    "jpg": "image/jpeg", "jpeg": "image/jpeg", "gif": "image/gif", "pdf": "application/pdf", "csv": "text/csv", "txt": "text/plain", "vot": "application/x-votable+xml", "xml": "text/xml",
    "jp2": "image/jp2", "tif": "image/tiff", "tiff": "image/tiff", "json": "application/json", "html": "text/html", "tar": "application/x-tar", "zip": "application/zip",
    "sav": "application/octet-stream", "oifits": "application/x-oifits", "lbl": "application/x-pds", "img": "application/x-pds", "fits.fz": "application/fits",
}  # fmt: skip
_SPEAKS_OF = {
    "martian": "Mars", "lunar": "Moon", "lroc": "Moon", "jovian": "Jupiter", "solar": "Sun", "sunspot": "Sun", "sunspots": "Sun", "flare": "Sun", "flares": "Sun", "cme": "Sun", "coronal": "Sun",
    "carr": "Sun", "carrington": "Sun",
}  # fmt: skip


@dataclass(slots=True)
class Proposal:
    """A mapping to a standard: column -> (how, text, comment)."""

    settings: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    frame: str | None = None
    where: str | None = None
    used: set[str] = field(default_factory=set)
    fill: dict[str, str] = field(default_factory=dict)
    types: dict[str, tuple[str, str]] = field(default_factory=dict)  # column -> (type, comment)
    lets: dict[str, str] = field(default_factory=dict)  # name -> expression that settings use
    families: list[str] = field(default_factory=list)  # of optional columns that come by themselves

    def map(self, column: str, text: str, why: str, *facts: Fact) -> None:
        """Propose an expression."""
        self._add(column, "map", text, why, facts)

    def set(self, column: str, text: str, why: str) -> None:
        """Propose a constant."""
        self._add(column, "set", text, why, ())

    def _add(self, column: str, how: str, text: str, why: str, facts: Sequence[Fact]) -> None:
        if column not in self.settings:
            self.settings[column] = (how, text, why)
            self.used.update(fact.source for fact in facts)

    def without(self, column: str, reason: str) -> None:
        """Withdraw a proposal: it does not pass the check."""
        how, text, _ = self.settings.pop(column)
        self.types.pop(column, None)
        self.fill[column] = f"{how} {text} was thought of, but {reason}"


class Proposer:
    """Guesses for one source and one standard."""

    def __init__(
        self,
        standard: Mapping[str, Mapping[str, Any]],
        facts: Sequence[Fact],
        *,
        name: str,
        words: str,
        key: Sequence[Guess],
        position: tuple[Guess, Guess] | None,
        lists: Sequence[Fact] = (),
        words_of: Mapping[str, frozenset[str]] | None = None,
        files: bool = True,
        images: str | None = None,
    ) -> None:
        self.images = images  # what images with WCS cards show: "sky" or "body"
        self.files = files  # whether rows come from files, which have names
        self.lists, self.words_of = lists, words_of or {}  # of columns that hold one of some words
        self.standard, self.facts, self.name, self.words, self.key, self.position = (
            standard,
            facts,
            name,
            words,
            key,
            position,
        )
        self.made = Proposal()

    def find(self, pattern: str, *, ucd: str = "", test: Any = None) -> Fact | None:
        """Find a column by its UCD, else by its name; the first that the values fit, too."""
        some = [
            fact
            for fact in self.facts
            if fact.source not in self.made.used and len(fact.filled) and (test is None or test(fact))
        ]
        by_ucd = [fact for fact in some if ucd and re.match(ucd, fact.ucd)]
        by_name = [fact for fact in some if re.search(pattern, fact.name)] if pattern else []
        both = [fact for fact in by_name if fact in by_ucd]
        return next(iter(sorted([*both, *by_ucd, *by_name], key=lambda fact: fact.gaps)), None)

    def direct(self) -> None:
        """Propose columns that are called as in the standard, where their values fit."""
        for fact in self.facts:
            name = fact.source.lower() if fact.source.lower() in self.standard else fact.called
            if self.images is not None and name in {"ra", "dec", "s_ra", "s_dec"}:
                continue  # where the telescope points; the footprint says what the image covers
            column = self.standard.get(name)
            if (
                column is None
                or not len(fact.filled)
                or (column.get("required") and len(fact.filled) < len(fact.sample))
            ):
                continue
            kind = str(column.get("type", ""))
            number = kind.startswith(("float", "int"))
            time = (
                fact.time()
                if kind == "timestamp"
                or (number and column.get("ucd", "").startswith("time") and column.get("unit") == "d")
                else None
            )
            if "REGION" in kind:
                if fact.mostly(r"(?i)^\s*(polygon|circle|box|position|point|union)\b"):
                    self.made.map(name, f"nullif(trim({fact.sql}), '')", "", fact)
                continue
            fits = (
                (fact.is_number and number)
                or (fact.is_text and kind == "string")
                or (kind == "timestamp" and time is not None and time[0] == "stamp")
            )
            if fits and (
                not number
                or fact.unit is None
                or not column.get("unit")
                or units.convertible(fact.unit, column["unit"])
            ):
                words = {word for text in fact.distinct() for word in text.lower().split("#")}
                if words and name in self.words_of and words.isdisjoint(self.words_of[name]):
                    continue  # another thing of the same name: a GeoJSON geometry's type is no geometry_type
                text = time[1] if kind == "timestamp" and time is not None else fact.sql
                self.made.map(
                    name, f"nullif(trim({text}), '')" if fact.is_text and kind == "string" else text, "", fact
                )

    def unique(self) -> tuple[str, str]:
        """Write an expression unique in each row, and how it was found."""
        if not self.key and not self.files:
            return "CAST(source.row AS VARCHAR)", "guessed: the row's number; a name that stays is better"
        if not self.key:
            return (
                "clean(file.stem) || '_' || CAST(source.row AS VARCHAR)",
                "guessed: the file and the row's number; a name that stays is better",
            )
        parts = []
        for item in self.key:
            text = quoted(item.source)
            whole = f"CAST({text} AS VARCHAR)"
            parts.append(
                whole if not item.column.type.is_string else text if self._plain(item.source) else f"clean({text})"
            )
        return " || '_' || ".join(parts), "guessed: no value occurs twice" if len(
            parts
        ) == 1 else "guessed: together they name a row"

    def identity(self, uid: str) -> None:
        """Propose the name of a row."""
        self.made.map(uid, *self.unique())
        self.made.used.update(item.source for item in self.key)

    def _plain(self, source: str) -> bool:
        fact = next((fact for fact in self.facts if fact.source == source), None)
        return (
            fact is not None
            and fact.mostly(r"^[!$-&(-_a-~]+( [!$-&(-_a-~]+)*$")
            and all(sign not in "".join(fact.filled.to_pylist()) for sign in "#\"'`")
        )

    def propose_observation_id(self, names: Collection[str], write: Callable[[str], str]) -> None:
        """Propose the identifier of the observation: the first column that has one of the names, as `write` makes it of the column's ADQL."""
        fact = next((fact for fact in self.facts if fact.name in names), None)
        if fact is not None and "obs_id" not in self.made.settings:
            self.made.map("obs_id", write(fact.sql), f"guessed from {fact.source}", fact)

    def propose_exposure_time(self, column: str) -> None:
        """Propose the exposure time of an observation."""
        fact = self.find(
            r"^(exptime|exposure|exposure_time|exp_time)$",
            ucd="time.duration",
            test=lambda item: item.is_number and item.within(0, 1e7),
        )
        if fact is not None:
            self.made.map(column, fact.sql, f"guessed from {fact.source}", fact)

    def times(self, first: str, last: str, kind: str) -> None:
        """Propose begin and end of the measurement."""
        known = [
            (fact, found)
            for fact in self.facts
            if fact.source not in self.made.used and len(fact.filled) and (found := fact.time()) is not None
        ]
        known = [(fact, found) for fact, found in known if not _SHEET.search(fact.name)]
        begins = sorted(
            ((fact, found) for fact, found in known if not _END.search(fact.name)),
            key=lambda pair: _rank(pair[0], "time.start", _BEGIN),
        )
        ends = sorted(
            ((fact, found) for fact, found in known if _END.search(fact.name) or fact.ucd.startswith("time.end")),
            key=lambda pair: _rank(pair[0], "time.end", _END),
        )
        if not begins:
            whole = self.find(r"^jd_?int", test=lambda item: item.within(2_086_000, 2_817_000))
            part = self.find(r"^jd_?frac", test=lambda item: item.within(0, 1))
            if whole is not None and part is not None:
                self.made.map(
                    first,
                    f"{kind}(from_jd({whole.sql}, {part.sql}))",
                    f"guessed from {whole.source} and {part.source}",
                    whole,
                    part,
                )
            return
        fact, found = begins[0]
        if (
            found[0] == "stamp"
            and not found[1].startswith("from_")
            and fact.is_text
            and fact.mostly(r"^\s*\d{4}[-/]\d{1,2}[-/]\d{1,2}\s*$")
        ):
            hours = self.find(
                r"time_?obs|obs_?time|start_?time|^time$|^ut|time",
                test=lambda item: item.mostly(r"^\s*\d{1,2}:\d{2}(:\d{2}(\.\d*)?)?\s*$"),
            )
            if hours is not None:
                found = "stamp", f"parse_time({fact.sql} || 'T' || {hours.sql})"
                self.made.used.add(hours.source)
        self.made.map(first, _in_days(found, kind), f"guessed from {fact.source}", fact)
        if found[0] == "year":
            self.made.map(last, _in_days(("year", f"({fact.sql} + 1)"), kind), "guessed: the end of the year")
        elif ends:
            self.made.map(
                last,
                f"coalesce({_in_days(ends[0][1], kind)}, target.{first})",
                f"guessed from {ends[0][0].source}",
                ends[0][0],
            )
        elif last not in self.made.settings:
            exposure = self.find(
                r"^(exptime|exposure|exposure_time|exp_time|duration|t_exptime)$",
                ucd="time.duration",
                test=lambda item: item.is_number,
            )
            if exposure is not None and exposure.within(0, 1e7):
                seconds = (
                    f"in_unit({exposure.sql}, 's')"
                    if exposure.unit and units.convertible(exposure.unit, "s")
                    else exposure.sql
                )
                self.made.map(
                    last,
                    f"{_in_days(found, kind)} + {seconds} / 86400.0",
                    f"guessed: begin and {exposure.source}" + ("" if exposure.unit else ", in seconds"),
                )

    def dates(self, columns: Mapping[str, str]) -> None:
        """Propose dates of the record: creation, last change, release."""
        for column, pattern in columns.items():
            found = self.find(pattern, test=lambda item: (item.time() or ("",))[0] == "stamp")
            if found is not None:
                self.made.map(column, (found.time() or ("", ""))[1], f"guessed from {found.source}", found)

    def spectrum(self, low: str, high: str, unit: str) -> None:
        """Propose a spectral range: columns in units of wavelength, frequency or energy, or those whose name says so."""

        def spectral(item: Fact) -> bool:
            return (
                item.is_number
                and item.bounds is not None
                and item.bounds[0] > 0
                and item.unit is not None
                and _spectral(item.unit, unit)
            )

        first = self.find(
            r"wave(length|lnth|len)?_?min|lambda_?min|freq(uency)?_?min|f_?min|em_?min|min_?wave",
            ucd=r"em\.(wl|freq|energy|wavenumber).*stat\.min",
            test=spectral,
        )
        last = self.find(
            r"wave(length|lnth|len)?_?max|lambda_?max|freq(uency)?_?max|f_?max|em_?max|max_?wave",
            ucd=r"em\.(wl|freq|energy|wavenumber).*stat\.max",
            test=spectral,
        )
        one = first or self.find(
            r"wave_?(length|lnth|len)|^lambda|freq(uency)?|^energy",
            ucd=r"em\.(wl|freq|energy|wavenumber)",
            test=spectral,
        )
        two = last or one
        if one is None or two is None:
            if (wave := self.find(r"^wave(lnth|length|len)$", test=lambda item: item.is_number)) is not None:
                self.made.fill[low] = (
                    f"{wave.source} may be a wavelength, but says no unit: spectral_min({wave.sql}, {wave.sql}, 'Angstrom', '{unit}')"
                )
            return
        for column, name in ((low, "spectral_min"), (high, "spectral_max")):
            self.made.map(
                column,
                f"{name}({one.sql}, {two.sql}, '{unit}')",
                f"guessed from {one.source}" + (f" and {two.source}" if two is not one else ""),
                one,
                two,
            )

    def access(self, *, size: bool = True) -> None:
        """Propose address, format and size of the product."""
        url = self.find(r"access_?url|download|file_?url|url|link|href|uri", ucd="meta.ref.url", test=lambda item: item.mostly(r"^\s*(https?|ftp)://\S+\s*$") and not re.search(r"thumb|preview|quick|browse|icon|logo|page|landing", item.name))  # fmt: skip
        if url is None:
            self.made.fill["access_url"] = (
                'address of the product, a template: "https://example.org/data/{file_name}"; with access_format and access_estsize'
            )
        elif "access_url" not in self.made.settings:
            self.made.map("access_url", f"trim({url.sql})", f"guessed from {url.source}", url)
        if "access_url" in self.made.settings:
            media, why = self._media(url)
            if "access_format" not in self.made.settings:
                self.made.set("access_format", media, why)
            if size and "access_estsize" not in self.made.settings:
                bytes_ = self.find(
                    r"(file_?)?size|bytes|length",
                    ucd="phys.size;meta.file",
                    test=lambda item: pa.types.is_integer(item.sample.type) and item.within(0, 1e15),
                )
                if bytes_ is not None:
                    text = (
                        f"in_unit({bytes_.sql}, 'kbyte')"
                        if bytes_.unit and units.convertible(bytes_.unit, "kbyte")
                        else f"round({bytes_.sql} / 1000.0)"
                    )
                    self.made.map("access_estsize", text, f"guessed: {bytes_.source} in bytes", bytes_)
                else:
                    self.made.set(
                        "access_estsize",
                        "1000",
                        "to fill: about how many kilobytes; 1000 only stands here, because an address needs a size",
                    )
        thumb = self.find(
            r"thumb|preview|quick_?look|browse|icon", test=lambda item: item.mostly(r"^\s*https?://\S+\s*$")
        )
        if thumb is not None and "thumbnail_url" in self.standard:
            self.made.map("thumbnail_url", f"trim({thumb.sql})", f"guessed from {thumb.source}", thumb)

    def _media(self, url: Fact | None) -> tuple[str, str]:
        ends = (
            pc.extract_regex(pc.utf8_lower(url.filled), r"\.(?P<e>[a-z0-9]{2,6})(?:\.gz|\.bz2|\.fz)?(?:[?#]|$)")
            if url is not None
            else None
        )
        known = pc.value_counts(pc.struct_field(ends, "e").drop_null()).to_pylist() if ends is not None else []
        best = max(known, key=lambda item: item["counts"], default=None)
        if best is None or best["values"] not in _MEDIA:
            return "application/octet-stream", "to fill: the media type of what the address gives"
        return _MEDIA[best["values"]], f"guessed: most addresses end with .{best['values']}" if len(
            known
        ) > 1 else f"guessed: addresses end with .{best['values']}"

    def instruments(self, host: str, instrument: str) -> None:
        """Propose spacecraft or observatory, and instrument."""
        for column, pattern, ucd in ((host, r"instrument_?host|spacecraft|mission|telescop|observat|facility|satellite", "meta.id;instr.tel|instr.tel"), (instrument, r"^instrume(nt)?(_?name)?$|^inst(r)?$|^instrument|detector|camera", "meta.id;instr$|instr$")):  # fmt: skip
            found = self.find(pattern, ucd=ucd, test=lambda item: item.is_text and not item.mostly(r"^https?:"))
            if found is not None and column not in self.made.settings:
                self.made.map(column, f"clean({found.sql})", f"guessed from {found.source}", found)

    def target(self) -> str | None:
        """Propose target_name; return the class that all have, a column for it, or nothing."""
        if "target_name" in self.made.settings:
            how, text, _ = self.made.settings["target_name"]
            return text if how == "map" else f"'{text}'" if bodies.find(text) else None
        found = self.find(
            r"^target(_?name)?$|^body(_?name)?$|^object(_?name)?$|^planet(_?name)?$|full_?name|^obj(ect)?_?id$|targname",
            ucd="meta.id;src|meta.id.part;src",
            test=lambda item: item.is_text,
        )
        if found is None or not any(bodies.find(word) for word in found.distinct()):
            named = self.find("", ucd=".*", test=lambda item: _names_bodies(item.distinct()))
            found = named or found
        if found is not None:
            classes = {bodies.target_class(word) for word in found.distinct()}
            fits = bool(classes) and None not in classes
            text = (
                f"coalesce(target_name({found.sql}), clean({found.sql}))" if classes - {None} else f"clean({found.sql})"
            )
            self.made.map("target_name", text, f"guessed from {found.source}", found)
            return found.sql if fits or classes - {None} else None
        for word in re.findall(r"[A-Za-z]+", self.words) + [
            word for fact in self.facts for word in fact.name.split("_")
        ]:
            body = bodies.find(_SPEAKS_OF.get(word.lower(), word)) if len(word) > 2 else None
            if body is not None:
                self.made.set("target_name", body.name, f"guessed: the source speaks of {word}")
                return f"'{body.name}'"
        self.made.fill["target_name"] = "what was observed, by its IAU name"
        return None


def _names_bodies(words: Sequence[str]) -> bool:
    """Check whether most words are names of bodies."""
    known = sum(bodies.find(word) is not None for word in words)
    return known > 0 and known >= 0.6 * len(words)


def _rank(fact: Fact, ucd: str, pattern: re.Pattern[str]) -> tuple[bool, int, int, int]:
    if fact.ucd.startswith(ucd):
        likely = 0
    elif _OBSERVED.fullmatch(fact.name):
        likely = 1
    elif pattern.search(fact.name) and fact.name != "date":
        likely = 2
    elif fact.ucd.startswith("time"):
        likely = 3
    else:
        likely = 4
    return fact.gaps > 3, likely, fact.gaps, len(fact.name)


def _in_days(found: tuple[str, str], kind: str) -> str:
    what, text = found
    if what == "year":
        what, text = "stamp", f"from_day({text}, 1)"
    if what == "stamp":
        return f"{kind}({text})"
    return text if what == kind else f"{text} + 2400000.5" if kind == "jd" else f"{text} - 2400000.5"


def _spectral(unit: str, to: str) -> bool:
    try:
        units.spectral(unit, to)
    except ValueError:
        return False
    return True

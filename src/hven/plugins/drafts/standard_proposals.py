"""What a source's columns may be in a standard.

`MappingProposer` guesses from names, units, UCDs and the first values, with words on how sure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from hven.descriptor.api.key_proposals import quote_source_name
from hven.model import plugins, units
from hven.model.sky import bodies

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from hven.descriptor.api.key_proposals import ColumnGuess
    from hven.plugins.drafts.source_facts import SourceColumn

# dates of a file or of its processing: no time of the observation
_RECORD_DATE_PATTERN = re.compile(
    r"creat|modif|updat|ingest|releas|publi|approv|revis|reduc|discov|process|_rf\d|^rf\d|writ|made|_file|download|arch"
)
# cards and columns that say the time of the observation by the standard's own name (FITS 4.0, table 35)
_OBSERVATION_TIME_PATTERN = re.compile(
    r"(date|mjd|jd|time)_?(obs|beg|start|avg)|(obs|start)_?(date|time|mjd|jd)|t_?(start|min|beg)|tstart"
)
_BEGIN_NAME_PATTERN = re.compile(
    r"start|begin|_min$|^min_|tmin|date_?obs|obs_?date|datetime|^date|time_?obs|observ|acq|event"
    r"|^t_?0$|^year$|^time$|^jd|^mjd"
)
_TARGET_NAME_PATTERN = (
    r"^target(_?name)?$|^body(_?name)?$|^object(_?name)?$|^planet(_?name)?$"
    r"|full_?name|^obj(ect)?_?id$|targname"
)
_STCS_REGION_PATTERN = r"(?i)^\s*(polygon|circle|box|position|point|union)\b"
_END_NAME_PATTERN = re.compile(r"(^|_|time|date)(end|stop|max|to)(_|$|time|date)|date_?end|tmax|endtime|stoptime")
_MEDIA_TYPES_BY_EXTENSION = {
    "fits": "application/fits",
    "fit": "application/fits",
    "fts": "application/fits",
    "fits.gz": "application/fits",
    "nc": "application/x-netcdf",
    "cdf": "application/x-cdf",
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "pdf": "application/pdf",
    "csv": "text/csv",
    "txt": "text/plain",
    "vot": "application/x-votable+xml",
    "xml": "text/xml",
    "jp2": "image/jp2",
    "tif": "image/tiff",
    "tiff": "image/tiff",
    "json": "application/json",
    "html": "text/html",
    "tar": "application/x-tar",
    "zip": "application/zip",
    "sav": "application/octet-stream",
    "fits.fz": "application/fits",
}
_BODIES_BY_WORD = {
    "martian": "Mars",
    "lunar": "Moon",
    "lroc": "Moon",
    "jovian": "Jupiter",
    "solar": "Sun",
    "sunspot": "Sun",
    "sunspots": "Sun",
    "flare": "Sun",
    "flares": "Sun",
    "cme": "Sun",
    "coronal": "Sun",
    "carr": "Sun",
    "carrington": "Sun",
}


@dataclass(slots=True)
class MappingProposal:
    """A mapping to a standard: column -> (how, text, comment)."""

    settings: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    frame: str | None = None
    row_condition: str | None = None
    used_sources: set[str] = field(default_factory=set)
    missing_values: dict[str, str] = field(default_factory=dict)
    column_types: dict[str, tuple[str, str]] = field(default_factory=dict)  # column -> (type, comment)
    let_expressions: dict[str, str] = field(default_factory=dict)  # name -> expression that settings use
    optional_families: list[str] = field(default_factory=list)  # of optional columns that come by themselves

    def propose_expression(self, column: str, text: str, reason: str, *source_columns: SourceColumn) -> None:
        """Propose an expression."""
        self._add_setting(column, "map", text, reason, source_columns)

    def propose_constant(self, column: str, text: str, reason: str) -> None:
        """Propose a constant."""
        self._add_setting(column, "set", text, reason, ())

    def _add_setting(
        self, column: str, setting_kind: str, text: str, reason: str, source_columns: Sequence[SourceColumn]
    ) -> None:
        if column not in self.settings:
            self.settings[column] = (setting_kind, text, reason)
            self.used_sources.update(fact.source for fact in source_columns)

    def reject_setting(self, column: str, reason: str) -> None:
        """Withdraw a proposal: it does not pass the check."""
        setting_kind, text, _ = self.settings.pop(column)
        self.column_types.pop(column, None)
        self.missing_values[column] = f"Hven considered {setting_kind} {text}, but {reason}"


class MappingProposer:
    """Guesses for one source and one standard."""

    def __init__(
        self,
        standard_columns: Mapping[str, Mapping[str, Any]],
        source_columns: Sequence[SourceColumn],
        *,
        name: str,
        source_text: str,
        key_columns: Sequence[ColumnGuess],
        position_columns: tuple[ColumnGuess, ColumnGuess] | None,
        list_columns: Sequence[SourceColumn] = (),
        allowed_words: Mapping[str, frozenset[str]] | None = None,
        has_files: bool = True,
        image_coverage: str | None = None,
    ) -> None:
        self.image_coverage = image_coverage  # what images with WCS cards show: "sky" or "body"
        self.has_files = has_files  # whether rows come from files, which have names
        # of columns that hold one of some words
        self.list_columns = list_columns
        self.allowed_words = allowed_words or {}
        self.standard_columns = standard_columns
        self.source_columns = source_columns
        self.name = name
        self.source_text = source_text
        self.key_columns = key_columns
        self.position_columns = position_columns
        self.proposal = MappingProposal()

    def find_column(self, pattern: str, *, ucd: str = "", accepts: Any = None) -> SourceColumn | None:
        """Find a column by its UCD, else by its name; the first that the values fit, too."""
        candidates = [
            fact
            for fact in self.source_columns
            if fact.source not in self.proposal.used_sources
            and len(fact.filled_values)
            and (accepts is None or accepts(fact))
        ]
        by_ucd = [fact for fact in candidates if ucd and re.match(ucd, fact.ucd)]
        by_name = []
        if pattern:
            by_name = [fact for fact in candidates if re.search(pattern, fact.name)]
        matching_both = [fact for fact in by_name if fact in by_ucd]
        matches = sorted([*matching_both, *by_ucd, *by_name], key=lambda fact: fact.missing_tenths)
        return next(iter(matches), None)

    def propose_columns_of_same_name(self) -> None:
        """Propose columns that have the standard's own names, where their values fit."""
        for fact in [*self.source_columns, *(column for column in self.list_columns if column.is_shape)]:
            name = fact.target_name
            if fact.source.lower() in self.standard_columns:
                name = fact.source.lower()
            if self.image_coverage is not None and name in {"ra", "dec", "s_ra", "s_dec"}:
                continue  # where the telescope points; the footprint says what the image covers
            column = self.standard_columns.get(name)
            if column is None or not len(fact.filled_values):
                continue
            if column.get("required") and len(fact.filled_values) < len(fact.sample):
                continue
            type_name = str(column.get("type", ""))
            if "REGION" in type_name:
                if fact.is_shape:
                    self.proposal.propose_expression(name, fact.sql, "", fact)
                elif fact.is_mostly_matching(_STCS_REGION_PATTERN):
                    self.proposal.propose_expression(name, f"nullif(trim({fact.sql}), '')", "", fact)
                continue
            expression = self._write_fitting_expression(fact, column)
            if expression is None or self._has_unlisted_words(fact, name):
                continue
            self.proposal.propose_expression(name, expression, "", fact)

    def _write_fitting_expression(self, fact: SourceColumn, column: Mapping[str, Any]) -> str | None:
        """Write a source column as the value of a standard's column; None: type or unit do not fit."""
        type_name = str(column.get("type", ""))
        if type_name == "string" and fact.is_text:
            return f"nullif(trim({fact.sql}), '')"
        if type_name == "timestamp":
            time = fact.recognize_time()
            if time is not None and time[0] == "stamp":
                return time[1]
        if not fact.is_number or not type_name.startswith(("float", "int")):
            return None
        unit = column.get("unit")
        if fact.unit is None or not unit or units.are_units_convertible(fact.unit, unit):
            return fact.sql
        return None

    def _has_unlisted_words(self, fact: SourceColumn, name: str) -> bool:
        """Return whether a column is another thing of the same name: a GeoJSON geometry's type is no geometry_type."""
        words: set[str] = set()
        for text in fact.list_distinct_texts():
            words.update(text.lower().split("#"))
        return bool(words) and name in self.allowed_words and words.isdisjoint(self.allowed_words[name])

    def build_row_identifier_expression(self) -> tuple[str, str]:
        """Write an expression that is unique in each row, and how it was found."""
        if not self.key_columns and not self.has_files:
            return "CAST(source.row AS VARCHAR)", "guessed: the row's number; a permanent name is better"
        if not self.key_columns:
            expression = "clean(file.stem) || '_' || CAST(source.row AS VARCHAR)"
            return expression, "guessed: the file and the row's number; a permanent name is better"
        parts = []
        for guess in self.key_columns:
            text = quote_source_name(guess.source)
            if not guess.column.type.is_string:
                text = f"CAST({text} AS VARCHAR)"
            elif not self._has_address_safe_values(guess.source):
                text = f"clean({text})"
            parts.append(text)
        reason = "guessed: no value occurs twice"
        if len(parts) > 1:
            reason = "guessed: together they identify a row"
        return " || '_' || ".join(parts), reason

    def propose_row_identifier(self, identifier_column: str) -> None:
        """Propose the name of a row."""
        self.proposal.propose_expression(identifier_column, *self.build_row_identifier_expression())
        self.proposal.used_sources.update(guess.source for guess in self.key_columns)

    def _has_address_safe_values(self, source: str) -> bool:
        """Return whether the texts of a column can stand in addresses as they are."""
        fact = next((fact for fact in self.source_columns if fact.source == source), None)
        if fact is None or not fact.is_mostly_matching(r"^[!$-&(-_a-~]+( [!$-&(-_a-~]+)*$"):
            return False
        all_text = "".join(fact.filled_values.to_pylist())
        return not any(character in all_text for character in "#\"'`")

    def propose_observation_id(self, names: Collection[str], write_expression: Callable[[str], str]) -> None:
        """Propose the identifier of the observation.

        The first column that has one of the names, as `write_expression` makes it of the column's ADQL.
        """
        fact = next((fact for fact in self.source_columns if fact.name in names), None)
        if fact is not None and "obs_id" not in self.proposal.settings:
            self.proposal.propose_expression("obs_id", write_expression(fact.sql), f"guessed from {fact.source}", fact)

    def propose_exposure_time(self, column: str) -> None:
        """Propose the exposure time of an observation."""
        fact = self.find_column(
            r"^(exptime|exposure|exposure_time|exp_time)$",
            ucd="time.duration",
            accepts=lambda item: item.is_number and item.is_within(0, 1e7),
        )
        if fact is not None:
            self.proposal.propose_expression(column, fact.sql, f"guessed from {fact.source}", fact)

    def propose_times(self, begin_column: str, end_column: str, time_format: str) -> None:
        """Propose begin and end of the measurement."""
        time_columns = [
            (fact, recognized_time)
            for fact in self.source_columns
            if fact.source not in self.proposal.used_sources
            and len(fact.filled_values)
            and (recognized_time := fact.recognize_time()) is not None
        ]
        time_columns = [
            (fact, recognized_time)
            for fact, recognized_time in time_columns
            if not _RECORD_DATE_PATTERN.search(fact.name)
        ]
        begin_columns = sorted(
            (
                (fact, recognized_time)
                for fact, recognized_time in time_columns
                if not _END_NAME_PATTERN.search(fact.name)
            ),
            key=lambda pair: _rank_time_column(pair[0], "time.start", _BEGIN_NAME_PATTERN),
        )
        end_columns = sorted(
            (
                (fact, recognized_time)
                for fact, recognized_time in time_columns
                if _END_NAME_PATTERN.search(fact.name) or fact.ucd.startswith("time.end")
            ),
            key=lambda pair: _rank_time_column(pair[0], "time.end", _END_NAME_PATTERN),
        )
        if not begin_columns:
            integer_part = self.find_column(r"^jd_?int", accepts=lambda item: item.is_within(2_086_000, 2_817_000))
            fractional_part = self.find_column(r"^jd_?frac", accepts=lambda item: item.is_within(0, 1))
            if integer_part is not None and fractional_part is not None:
                self.proposal.propose_expression(
                    begin_column,
                    f"{time_format}(from_jd({integer_part.sql}, {fractional_part.sql}))",
                    f"guessed from {integer_part.source} and {fractional_part.source}",
                    integer_part,
                    fractional_part,
                )
            return
        fact, recognized_time = begin_columns[0]
        if (
            recognized_time[0] == "stamp"
            and not recognized_time[1].startswith("from_")
            and fact.is_text
            and fact.is_mostly_matching(r"^\s*\d{4}[-/]\d{1,2}[-/]\d{1,2}\s*$")
        ):
            time_of_day = self.find_column(
                r"time_?obs|obs_?time|start_?time|^time$|^ut|time",
                accepts=lambda item: item.is_mostly_matching(r"^\s*\d{1,2}:\d{2}(:\d{2}(\.\d*)?)?\s*$"),
            )
            if time_of_day is not None:
                recognized_time = "stamp", f"parse_time({fact.sql} || 'T' || {time_of_day.sql})"
                self.proposal.used_sources.add(time_of_day.source)
        self.proposal.propose_expression(
            begin_column, _build_day_expression(recognized_time, time_format), f"guessed from {fact.source}", fact
        )
        if recognized_time[0] == "year":
            self.proposal.propose_expression(
                end_column,
                _build_day_expression(("year", f"({fact.sql} + 1)"), time_format),
                "guessed: the end of the year",
            )
        elif end_columns:
            self.proposal.propose_expression(
                end_column,
                f"coalesce({_build_day_expression(end_columns[0][1], time_format)}, target.{begin_column})",
                f"guessed from {end_columns[0][0].source}",
                end_columns[0][0],
            )
        elif end_column not in self.proposal.settings:
            exposure = self.find_column(
                r"^(exptime|exposure|exposure_time|exp_time|duration|t_exptime)$",
                ucd="time.duration",
                accepts=lambda item: item.is_number,
            )
            if exposure is not None and exposure.is_within(0, 1e7):
                if exposure.unit and units.are_units_convertible(exposure.unit, "s"):
                    seconds = f"in_unit({exposure.sql}, 's')"
                else:
                    seconds = exposure.sql
                self.proposal.propose_expression(
                    end_column,
                    f"{_build_day_expression(recognized_time, time_format)} + {seconds} / 86400.0",
                    f"guessed: begin and {exposure.source}" + ("" if exposure.unit else ", in seconds"),
                )

    def propose_record_dates(self, columns: Mapping[str, str]) -> None:
        """Propose dates of the record: creation, last change, release."""
        for column, pattern in columns.items():
            date_column = self.find_column(pattern, accepts=lambda item: (item.recognize_time() or ("",))[0] == "stamp")
            if date_column is not None:
                self.proposal.propose_expression(
                    column,
                    (date_column.recognize_time() or ("", ""))[1],
                    f"guessed from {date_column.source}",
                    date_column,
                )

    def propose_spectral_range(self, min_column: str, max_column: str, unit: str) -> None:
        """Propose a spectral range by units of wavelength, frequency or energy, or by names of columns."""

        def is_spectral_column(item: SourceColumn) -> bool:
            return (
                item.is_number
                and item.value_bounds is not None
                and item.value_bounds[0] > 0
                and item.unit is not None
                and _is_spectral_unit(item.unit, unit)
            )

        min_source = self.find_column(
            r"wave(length|lnth|len)?_?min|lambda_?min|freq(uency)?_?min|f_?min|em_?min|min_?wave",
            ucd=r"em\.(wl|freq|energy|wavenumber).*stat\.min",
            accepts=is_spectral_column,
        )
        max_source = self.find_column(
            r"wave(length|lnth|len)?_?max|lambda_?max|freq(uency)?_?max|f_?max|em_?max|max_?wave",
            ucd=r"em\.(wl|freq|energy|wavenumber).*stat\.max",
            accepts=is_spectral_column,
        )
        lower_source = min_source or self.find_column(
            r"wave_?(length|lnth|len)|^lambda|freq(uency)?|^energy",
            ucd=r"em\.(wl|freq|energy|wavenumber)",
            accepts=is_spectral_column,
        )
        upper_source = max_source or lower_source
        if lower_source is None or upper_source is None:
            wavelength_column = self.find_column(r"^wave(lnth|length|len)$", accepts=lambda item: item.is_number)
            if wavelength_column is not None:
                self.proposal.missing_values[min_column] = (
                    f"{wavelength_column.source} may be a wavelength, but has no unit: "
                    f"spectral_min({wavelength_column.sql}, {wavelength_column.sql}, 'Angstrom', '{unit}')"
                )
            return
        for column, name in ((min_column, "spectral_min"), (max_column, "spectral_max")):
            self.proposal.propose_expression(
                column,
                f"{name}({lower_source.sql}, {upper_source.sql}, '{unit}')",
                f"guessed from {lower_source.source}"
                + (f" and {upper_source.source}" if upper_source is not lower_source else ""),
                lower_source,
                upper_source,
            )

    def propose_product_access(self, *, include_size: bool = True) -> None:
        """Propose address, format and size of the product."""
        url = self.find_column(
            r"access_?url|download|file_?url|url|link|href|uri",
            ucd="meta.ref.url",
            accepts=lambda item: (
                item.is_mostly_matching(r"^\s*(https?|ftp)://\S+\s*$")
                and not re.search(r"thumb|preview|quick|browse|icon|logo|page|landing", item.name)
            ),
        )
        if url is None:
            self.proposal.missing_values["access_url"] = (
                'address of the product, a template: "https://example.org/data/{file_name}"; with '
                "access_format and access_estsize"
            )
        elif "access_url" not in self.proposal.settings:
            self.proposal.propose_expression("access_url", f"trim({url.sql})", f"guessed from {url.source}", url)
        if "access_url" in self.proposal.settings:
            media_type, reason = self._guess_media_type(url)
            if "access_format" not in self.proposal.settings:
                self.proposal.propose_constant("access_format", media_type, reason)
            if include_size and "access_estsize" not in self.proposal.settings:
                size_column = self.find_column(
                    r"(file_?)?size|bytes|length",
                    ucd="phys.size;meta.file",
                    accepts=lambda item: pa.types.is_integer(item.sample.type) and item.is_within(0, 1e15),
                )
                if size_column is not None:
                    if size_column.unit and units.are_units_convertible(size_column.unit, "kbyte"):
                        text = f"in_unit({size_column.sql}, 'kbyte')"
                    else:
                        text = f"round({size_column.sql} / 1000.0)"
                    self.proposal.propose_expression(
                        "access_estsize", text, f"guessed: {size_column.source} in bytes", size_column
                    )
                else:
                    self.proposal.propose_constant(
                        "access_estsize",
                        "1000",
                        (
                            "to fill: the approximate size in kilobytes; 1000 is only a placeholder, because an "
                            "address needs a size"
                        ),
                    )
        thumbnail_column = self.find_column(
            r"thumb|preview|quick_?look|browse|icon",
            accepts=lambda item: item.is_mostly_matching(r"^\s*https?://\S+\s*$"),
        )
        if thumbnail_column is not None and "thumbnail_url" in self.standard_columns:
            self.proposal.propose_expression(
                "thumbnail_url",
                f"trim({thumbnail_column.sql})",
                f"guessed from {thumbnail_column.source}",
                thumbnail_column,
            )

    def _guess_media_type(self, url: SourceColumn | None) -> tuple[str, str]:
        if url is not None:
            extensions = pc.extract_regex(
                pc.utf8_lower(url.filled_values), r"\.(?P<e>[a-z0-9]{2,6})(?:\.gz|\.bz2|\.fz)?(?:[?#]|$)"
            )
        else:
            extensions = None
        if extensions is not None:
            extension_counts = pc.value_counts(pc.struct_field(extensions, "e").drop_null()).to_pylist()
        else:
            extension_counts = []
        most_common = max(extension_counts, key=lambda item: item["counts"], default=None)
        media_types = dict(_MEDIA_TYPES_BY_EXTENSION)
        for signature in plugins.list_file_signatures():
            media_types |= signature.media_types
        if most_common is None or most_common["values"] not in media_types:
            return "application/octet-stream", "to fill: the media type of the file at the address"
        extension = most_common["values"]
        if len(extension_counts) > 1:
            reason = f"guessed: most addresses end with .{extension}"
        else:
            reason = f"guessed: addresses end with .{extension}"
        return media_types[extension], reason

    def propose_instruments(self, host_column: str, instrument_column: str) -> None:
        """Propose spacecraft or observatory, and instrument."""
        for column, pattern, ucd in (
            (
                host_column,
                r"instrument_?host|spacecraft|mission|telescop|observat|facility|satellite",
                "meta.id;instr.tel|instr.tel",
            ),
            (
                instrument_column,
                r"^instrume(nt)?(_?name)?$|^inst(r)?$|^instrument|detector|camera",
                "meta.id;instr$|instr$",
            ),
        ):
            source_column = self.find_column(
                pattern, ucd=ucd, accepts=lambda item: item.is_text and not item.is_mostly_matching(r"^https?:")
            )
            if source_column is not None and column not in self.proposal.settings:
                self.proposal.propose_expression(
                    column, f"clean({source_column.sql})", f"guessed from {source_column.source}", source_column
                )

    def propose_target(self) -> str | None:
        """Propose target_name; return an expression for the target if its class is known, else None."""
        if "target_name" in self.proposal.settings:
            setting_kind, text, _ = self.proposal.settings["target_name"]
            if setting_kind == "map":
                return text
            return f"'{text}'" if bodies.find_solar_system_body(text) else None
        target_column = self._find_target_column()
        if target_column is not None:
            classes = {bodies.classify_target(word) for word in target_column.list_distinct_texts()}
            has_known_class = bool(classes - {None})
            text = f"clean({target_column.sql})"
            if has_known_class:
                text = f"coalesce(target_name({target_column.sql}), {text})"
            self.proposal.propose_expression("target_name", text, f"guessed from {target_column.source}", target_column)
            return target_column.sql if has_known_class else None
        words = re.findall(r"[A-Za-z]+", self.source_text)
        for fact in self.source_columns:
            words += fact.name.split("_")
        for word in words:
            body = None
            if len(word) > 2:
                body = bodies.find_solar_system_body(_BODIES_BY_WORD.get(word.lower(), word))
            if body is not None:
                self.proposal.propose_constant(
                    "target_name", body.name, f"guessed: the source contains the word {word}"
                )
                return f"'{body.name}'"
        self.proposal.missing_values["target_name"] = "what was observed, by its IAU name"
        return None

    def _find_target_column(self) -> SourceColumn | None:
        """Find the column of targets by its name or UCD, if it names bodies; else one that does."""
        target_column = self.find_column(
            _TARGET_NAME_PATTERN, ucd="meta.id;src|meta.id.part;src", accepts=lambda fact: fact.is_text
        )
        if target_column is not None and any(map(bodies.find_solar_system_body, target_column.list_distinct_texts())):
            return target_column
        body_name_column = self.find_column(
            "", ucd=".*", accepts=lambda fact: _are_body_names(fact.list_distinct_texts())
        )
        return body_name_column or target_column


def _are_body_names(words: Sequence[str]) -> bool:
    """Check whether most words are names of bodies."""
    known_count = sum(bodies.find_solar_system_body(word) is not None for word in words)
    return known_count > 0 and known_count >= 0.6 * len(words)


def _rank_time_column(fact: SourceColumn, ucd: str, pattern: re.Pattern[str]) -> tuple[bool, int, int, int]:
    if fact.ucd.startswith(ucd):
        likelihood_rank = 0
    elif _OBSERVATION_TIME_PATTERN.fullmatch(fact.name):
        likelihood_rank = 1
    elif pattern.search(fact.name) and fact.name != "date":
        likelihood_rank = 2
    elif fact.ucd.startswith("time"):
        likelihood_rank = 3
    else:
        likelihood_rank = 4
    return fact.missing_tenths > 3, likelihood_rank, fact.missing_tenths, len(fact.name)


def _build_day_expression(recognized_time: tuple[str, str], time_format: str) -> str:
    time_kind, text = recognized_time
    if time_kind == "year":
        time_kind = "stamp"
        text = f"from_day({text}, 1)"
    if time_kind == "stamp":
        return f"{time_format}({text})"
    if time_kind == time_format:
        return text
    if time_format == "jd":
        return f"{text} + 2400000.5"
    return f"{text} - 2400000.5"


def _is_spectral_unit(unit: str, target_unit: str) -> bool:
    try:
        units.compute_spectral_conversion(unit, target_unit)
    except ValueError:
        return False
    return True

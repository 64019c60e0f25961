"""TAPRegExt 1.0: what our TAP understands and allows, said from the tables that also do it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

from hven import formats
from hven.adql.functions import QUERY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hven.settings import Settings

REG = "ivo://ivoa.net/std/TAPRegExt"
# feature types of ADQL 2.1 section 4 are lower case
FEATURES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("ivo://ivoa.net/std/tapregext#features-adql-string", ("LOWER", "UPPER", "ILIKE")),
    ("ivo://ivoa.net/std/tapregext#features-adql-common-table", ("WITH",)),
    ("ivo://ivoa.net/std/tapregext#features-adql-sets", ("UNION", "EXCEPT", "INTERSECT")),
    ("ivo://ivoa.net/std/tapregext#features-adql-type", ("CAST",)),
    ("ivo://ivoa.net/std/tapregext#features-adql-conditional", ("COALESCE",)),
    ("ivo://ivoa.net/std/tapregext#features-adql-unit", ("IN_UNIT",)),
    ("ivo://ivoa.net/std/tapregext#features-adql-offset", ("OFFSET",)),
)


def table_access(settings: Settings) -> str:
    """Write the elements of ``tr:TableAccess`` after its interface."""
    limits, jobs = settings.limits, settings.jobs
    keep, keep_hard = (round(days * 86400) for days in (jobs.keep_days, jobs.keep_days_hard))
    return (
        f"{_language()}{''.join(_formats())}{_upload_methods(limits.upload)}"
        f"<retentionPeriod><default>{keep}</default><hard>{keep_hard}</hard></retentionPeriod>"
        f"<executionDuration><default>{jobs.seconds}</default><hard>{jobs.seconds_hard}</hard></executionDuration>"
        f'<outputLimit><default unit="row">{limits.maxrec_default}</default><hard unit="row">{limits.maxrec_hard}</hard></outputLimit>'
        f"{_upload_limit(limits.upload)}"
    )


def _upload_methods(limit: int) -> str:
    return "".join(f'<uploadMethod ivo-id="{REG}#upload-{method}"/>' for method in ("inline", "http", "https") if limit)


def _upload_limit(limit: int) -> str:
    return f'<uploadLimit><default unit="byte">{limit}</default><hard unit="byte">{limit}</hard></uploadLimit>' if limit else ""


def _language() -> str:
    udfs = _features(f"{REG}#features-udf", [(form, entry.doc) for entry in QUERY.udfs for form in entry.declared])
    geometry = _features(f"{REG}#features-adqlgeo", [(entry.name, None) for entry in QUERY if entry.group == "geometry"])
    others = "".join(_features(kind, [(form, None) for form in forms]) for kind, forms in FEATURES)
    return (
        "<language><name>ADQL</name>"
        '<version ivo-id="ivo://ivoa.net/std/ADQL#v2.0">2.0</version><version ivo-id="ivo://ivoa.net/std/ADQL#v2.1">2.1</version>'
        "<description>ADQL 2.1. Extensions: CASE, %, bitwise operators, scalar subqueries, window functions, WITH RECURSIVE, MOC in CONTAINS and INTERSECTS, no FROM</description>"
        f"{geometry}{udfs}{others}</language>"
    )


def _features(kind: str, forms: Iterable[tuple[str, str | None]]) -> str:
    inside = "".join(
        f"<feature><form>{escape(form)}</form>{f'<description>{escape(text)}</description>' if text else ''}</feature>"
        for form, text in forms
    )
    return f"<languageFeatures type={quoteattr(kind)}>{inside}</languageFeatures>" if inside else ""


def _formats() -> Iterable[str]:
    for fmt in formats.offered():
        aliases = "".join(f"<alias>{escape(alias)}</alias>" for alias in (fmt.name, *fmt.aliases))
        yield f"<outputFormat><mime>{escape(fmt.media_types[0])}</mime>{aliases}</outputFormat>"
        for media_type, ivoid in fmt.ivoids.items():  # the serialisations of VOTable have IVOIDs of their own
            yield f"<outputFormat ivo-id={quoteattr(ivoid)}><mime>{escape(media_type)}</mime></outputFormat>"

"""The columns that DaCHS's mixins add to tables, as (type, unit, UCD, description)."""

from __future__ import annotations

from typing import Final

ColumnFacts = tuple[str, str, str, str]

_PRODUCT: dict[str, ColumnFacts] = {
    "accref": ("string", "", "meta.ref.url;meta.file", "Path of the file"),
    "owner": ("string", "", "", "Owner of the file while it is under embargo"),
    "embargo": ("timestamp", "", "time.release", "Time at which the file becomes public"),
    "mime": ("string", "", "meta.code.mime", "Media type of the file"),
    "accsize": ("int64", "byte", "phys.size;meta.file", "Size of the file"),
}
_IMAGE: dict[str, ColumnFacts] = {
    **_PRODUCT,
    "centerAlpha": ("float64", "deg", "pos.eq.ra", "Right ascension of the image's centre"),
    "centerDelta": ("float64", "deg", "pos.eq.dec", "Declination of the image's centre"),
    "imageTitle": ("string", "", "meta.title", "Short description of the image"),
    "instId": ("string", "", "meta.id;instr", "Instrument that took the image"),
    "dateObs": ("float64", "d", "time.epoch", "Middle of the exposure, as a modified Julian date"),
    "nAxes": ("int32", "", "pos.wcs.naxes", "Number of axes"),
    "refFrame": ("string", "", "pos.frame", "Frame of the coordinates"),
    "wcs_equinox": ("float64", "yr", "time.equinox", "Equinox of the coordinates"),
    "wcs_projection": ("string", "", "pos.wcs.ctype", "Projection of the image"),
    "bandpassId": ("string", "", "instr.bandpass", "Filter or band"),
    "bandpassUnit": ("string", "", "", "Unit of the limits of the band"),
    "bandpassRefval": ("float64", "m", "em.wl;stat.median", "Characteristic wavelength of the band"),
    "bandpassHi": ("float64", "m", "em.wl;stat.max", "Largest wavelength of the band"),
    "bandpassLo": ("float64", "m", "em.wl;stat.min", "Smallest wavelength of the band"),
    "pixflags": ("string", "", "meta.code", "How the pixels were made"),
    "coverage": ("polygon", "", "pos.outline;obs.field", "Outline of the image"),
}
_SPECTRUM: dict[str, ColumnFacts] = {
    **_PRODUCT,
    "ssa_dstitle": ("string", "", "meta.title;meta.dataset", "Title of the spectrum"),
    "ssa_creatorDID": ("string", "", "meta.id", "Identifier by the creator"),
    "ssa_pubDID": ("string", "", "meta.id;meta.main", "Identifier by the publisher"),
    "ssa_cdate": ("timestamp", "", "time;meta.dataset", "When the spectrum was made"),
    "ssa_pdate": ("timestamp", "", "time;meta.curation", "When the spectrum was published"),
    "ssa_bandpass": ("string", "", "instr.bandpass", "Band or filter"),
    "ssa_cversion": ("string", "", "meta.version;meta.dataset", "Version by the creator"),
    "ssa_targname": ("string", "", "meta.id;src", "Name of the object"),
    "ssa_targclass": ("string", "", "src.class", "Class of the object"),
    "ssa_redshift": ("float64", "", "src.redshift", "Redshift of the object"),
    "ssa_targetpos": ("point", "", "pos.eq;src", "Position of the object"),
    "ssa_snr": ("float64", "", "stat.snr", "Signal-to-noise ratio"),
    "ssa_location": ("point", "", "pos.eq", "Position of the aperture's centre"),
    "ssa_aperture": ("float64", "deg", "phys.angSize;instr.fov", "Diameter of the aperture"),
    "ssa_dateObs": ("float64", "d", "time.epoch", "Middle of the exposure, as a modified Julian date"),
    "ssa_timeExt": ("float64", "s", "time.duration", "Duration of the exposure"),
    "ssa_specmid": ("float64", "m", "em.wl;instr.bandpass", "Middle of the spectral range"),
    "ssa_specext": ("float64", "m", "em.wl;instr.bandwidth", "Width of the spectral range"),
    "ssa_specstart": ("float64", "m", "em.wl;stat.min", "Smallest wavelength"),
    "ssa_specend": ("float64", "m", "em.wl;stat.max", "Largest wavelength"),
    "ssa_length": ("int64", "", "meta.number", "Number of points"),
    "ssa_dstype": ("string", "", "meta.code.class", "Type of the data"),
    "ssa_publisher": ("string", "", "meta.curation", "Publisher of the spectrum"),
    "ssa_creator": ("string", "", "", "Creator of the spectrum"),
    "ssa_collection": ("string", "", "meta.id", "Collection of the spectrum"),
    "ssa_instrument": ("string", "", "meta.id;instr", "Instrument"),
    "ssa_datasource": ("string", "", "meta.code", "How the data were made: survey, pointed, theory ..."),
    "ssa_creationtype": ("string", "", "meta.code", "How the file was made"),
    "ssa_reference": ("string", "", "meta.bib.bibcode", "Publication about the data"),
    "ssa_fluxucd": ("string", "", "meta.ucd", "UCD of the flux"),
    "ssa_fluxunit": ("string", "", "meta.unit", "Unit of the flux"),
    "ssa_spectralucd": ("string", "", "meta.ucd", "UCD of the spectral coordinate"),
    "ssa_spectralunit": ("string", "", "meta.unit", "Unit of the spectral coordinate"),
    "ssa_timeSI": ("string", "", "meta", "Unit of times, in SI"),
    "ssa_spectralSI": ("string", "", "meta", "Unit of the spectral coordinate, in SI"),
    "ssa_fluxSI": ("string", "", "meta", "Unit of the flux, in SI"),
    "ssa_fluxcalib": ("string", "", "meta.code.qual", "Calibration of the flux"),
    "ssa_specres": ("float64", "m", "spect.resolution;em.wl", "Spectral resolution"),
    "ssa_region": ("polygon", "", "pos.outline;obs.field", "Outline of the aperture"),
}
MIXIN_COLUMNS: Final[dict[str, dict[str, ColumnFacts]]] = {
    "products#table": _PRODUCT,
    **dict.fromkeys(("siap#pgs", "siap#bbox", "siap2#pgs"), _IMAGE),
    **dict.fromkeys(("ssap#hcd", "ssap#mixc", "ssap#view"), _SPECTRUM),
}

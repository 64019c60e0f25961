"""The words of UCD1+ (EN-UCDlist 1.6): which there are, where in a UCD each may stand, and what replaced the old ones.

A list of facts of the standard; read by `_ucd` only.
"""

from __future__ import annotations

# Flags: P first only; S never first; Q anywhere; E, C, V like Q, and an em word, two em words or an axis may follow.
# A line is one branch; words below it are written without its name: "em: bin" is em.bin, a lone "-" the branch itself.
_BRANCH_WORDS: dict[str, tuple[str, ...]] = {
    "P": (
        "arith: factor grad rate",
        (
            "meta: - abstract bib bib.author bib.bibcode bib.fig bib.journal bib.page bib.volume code code.class "
            "code.error code.member"
        ),
        (
            "meta: code.mime code.multip code.qual code.status cryptic id id.assoc id.CoI id.cross id.parent "
            "id.part id.PI note number record"
        ),
        "meta: ref ref.doi ref.epic ref.orcid ref.pid ref.rorid ref.uri ref.url title unit version",
        "obs: atmos.turbulence.isoplanatic",
        "pos: wcs wcs.cdmatrix wcs.crpix wcs.crval wcs.ctype wcs.naxes wcs.naxis wcs.scale",
        (
            "stat: confidenceLevel correlation covariance error error.sys fit.chi2 fit.dof fit.goodness "
            "fit.residual kurtosis likelihood"
        ),
        "stat: mad rank rms skewness snr variance weight",
    ),
    "S": (
        "arith: diff ratio squared sum variation",
        (
            "em: - IR IR.J IR.H IR.K IR.3-4um IR.4-8um IR.8-15um IR.15-30um IR.30-60um IR.60-100um IR.NIR IR.MIR "
            "IR.FIR UV UV.10-50nm"
        ),
        (
            "em: UV.50-100nm UV.100-200nm UV.200-300nm X-ray X-ray.soft X-ray.medium X-ray.hard gamma gamma.soft "
            "gamma.hard line line.HI"
        ),
        (
            "em: line.Lyalpha line.Halpha line.Hbeta line.Hgamma line.Hdelta line.Brgamma line.OIII line.CO mm "
            "mm.30-50GHz mm.50-100GHz"
        ),
        (
            "em: mm.100-200GHz mm.200-400GHz mm.400-750GHz mm.750-1500GHz mm.1500-3000GHz opt opt.U opt.B opt.V "
            "opt.R opt.I pw radio"
        ),
        (
            "em: radio.20MHz radio.20-100MHz radio.100-200MHz radio.200-400MHz radio.400-750MHz radio.750-1500MHz "
            "radio.1500-3000MHz"
        ),
        "em: radio.3-6GHz radio.6-12GHz radio.12-30GHz",
        "instr: beam det filter fov obsty pixel plate voxel",
        "meta: file fits main modelled preview software table",
        (
            "obs: - atmos atmos.turbulence atmos.wind calib calib.flat calib.dark exposure field image occult "
            "transit proposal sequence"
        ),
        (
            "phys: aerosol atmol atmol.collisional atmol.ionization atmol.level atmol.transition composition "
            "cosmology dust electron"
        ),
        (
            "phys: mol.rotation mol.vibration particle particle.neutrino particle.neutron particle.proton "
            "particle.alpha phaseSpace virial"
        ),
        (
            "pos: barycenter bodycentric bodygraphic bodyrc cartesian centroid cmb cylindrical earth ecliptic eop "
            "errorEllipse galactic"
        ),
        "pos: galactocentric geocentric heliocentric lg lsr spherical supergalactic",
        "spect: continuum line",
        "src: - calib calib.guideStar net",
        "stat: fit.omc fwhm interval max mean median min uncalib",
    ),
    "Q": (
        "arith: - zp",
        "em: bin energy freq freq.cutoff freq.resonance wavenumber wl wl.central wl.effective",
        (
            "instr: - bandpass bandwidth baseline calib det.noise det.psf det.qe dispersion experiment "
            "obsty.seeing offset order param"
        ),
        "instr: plate.emulsion precision rmsf saturation scale sensitivity setup skyLevel skyTemp tel tel.focalLength",
        "meta: calibLevel checksum coverage curation dataset email query ref.ivoid ucd",
        (
            "obs: airMass atmos.extinction atmos.humidity atmos.rain atmos.refractAngle atmos.water observer param "
            "proposal.cycle"
        ),
        "phot: calib color.excess color.reddFree flux.bol mag.bol mag.distMod",
        (
            "phys: - SFR absorption.coeff absorption.gal absorption.opticalDepth abund abund.Fe abund.X abund.Y "
            "abund.Z acceleration"
        ),
        (
            "phys: albedo angArea angMomentum area atmol.branchingRatio atmol.collStrength atmol.configuration "
            "atmol.crossSection atmol.element"
        ),
        (
            "phys: atmol.excitation atmol.final atmol.initial atmol.ionStage atmol.lande atmol.lifetime "
            "atmol.lineShift atmol.number"
        ),
        (
            "phys: atmol.oscStrength atmol.parity atmol.qn atmol.radiationType atmol.symmetry atmol.sWeight "
            "atmol.sWeight.nuclear atmol.term"
        ),
        (
            "phys: atmol.transProb atmol.wOscStrength atmol.weight columnDensity composition.massLightRatio "
            "composition.yield current"
        ),
        (
            "phys: current.density damping density density.phaseSpace dielectric dispMeasure electCharge "
            "electron.degen emissMeasure emissivity"
        ),
        (
            "phys: energy energy.Gibbs energy.Helmholtz energy.density enthalpy entropy eos excitParam flux "
            "flux.energy gauntFactor gravity"
        ),
        (
            "phys: inspiralSpin ionizParam ionizParam.coll ionizParam.rad luminosity.fun magAbs.bol mass "
            "mass.inertiaMomentum mass.loss mol"
        ),
        (
            "phys: mol.dipole mol.dipole.electric mol.dipole.magnetic mol.dissociation mol.formationHeat "
            "mol.quadrupole mol.quadrupole.electric"
        ),
        (
            "phys: polarization.circular polarization.coherency polarization.linear polarization.rotMeasure "
            "polarization.stokes"
        ),
        (
            "phys: polarization.stokes.I polarization.stokes.Q polarization.stokes.U polarization.stokes.V "
            "potential pressure"
        ),
        (
            "phys: recombination.coeff reflectance reflectance.bidirectional reflectance.bidirectional.df "
            "reflectance.factor refractIndex size"
        ),
        (
            "phys: size.axisRatio size.diameter size.radius size.smajAxis size.sminAxis size.smedAxis temperature "
            "temperature.dew"
        ),
        (
            "phys: temperature.effective temperature.electron transmission veloc.ang veloc.dispersion veloc.escape "
            "veloc.expansion"
        ),
        "phys: veloc.microTurb veloc.orbital veloc.pulsat veloc.rotat veloc.transverse volume voltage",
        (
            "pos: - angDistance angResolution az az.alt az.azi az.zd azimuth bodyrc.alt bodyrc.lat bodyrc.lon "
            "cartesian.x cartesian.y"
        ),
        (
            "pos: cartesian.z cylindrical.azi cylindrical.r cylindrical.z dirCos earth.altitude earth.lat "
            "earth.lon ecliptic.lat ecliptic.lon"
        ),
        (
            "pos: emergenceAng ephem eq eq.dec eq.ha eq.ra eq.spd frame galactic.lat galactic.lon healpix HTM "
            "incidenceAng lunar lunar.occult"
        ),
        (
            "pos: nutation outline parallax parallax.dyn parallax.phot parallax.spect parallax.trig phaseAng "
            "posAng projection resolution"
        ),
        "pos: spherical.azi spherical.colat spherical.r supergalactic.lat supergalactic.lon",
        "spect: - binSize dopplerParam line.broad.Stark line.strength resolution",
        (
            "src: class class.color class.distance class.luminosity class.richness class.starGalaxy class.struct "
            "density ellipticity"
        ),
        (
            "src: impactParam morph morph.param morph.scLength morph.type orbital orbital.eccentricity "
            "orbital.inclination orbital.meanAnomaly"
        ),
        (
            "src: orbital.meanMotion orbital.node orbital.periastron orbital.Tisserand orbital.TissJ redshift "
            "redshift.phot sample spType var"
        ),
        "src: var.amplitude var.index var.pulse",
        (
            "stat: - asymmetry falsePositive falseNegative filling fit fit.param Fourier Fourier.amplitude param "
            "percentile probability"
        ),
        "stat: stdev value",
        (
            "time: - age creation crossing duration end epoch equinox interval lifetime period period.pulsation "
            "period.revolution"
        ),
        "time: period.rotation phase processing publiYear relax release resolution scale start",
    ),
    "E": (
        "instr: background",
        (
            "phot: - antennaTemp count fluence flux flux.density flux.density.sb flux.sb limbDark mag mag.bc "
            "mag.reddFree mag.sb radiance"
        ),
        "phys: absorption angSize angSize.smajAxis angSize.sminAxis fluence luminosity magAbs polarization",
        (
            "spect: dopplerVeloc dopplerVeloc.opt dopplerVeloc.radio index line.asymmetry line.broad "
            "line.broad.Zeeman line.eqWidth"
        ),
        "spect: line.intensity line.profile line.width",
    ),
    "C": ("phot: color",),
    "V": (
        "phys: electField magField veloc",
        "pos: distance pm precess",
    ),
}
UCD_WORD_FLAGS: dict[str, str] = {
    branch if word == "-" else f"{branch}.{word}": flag
    for flag, lines in _BRANCH_WORDS.items()
    for branch, _, words in (line.partition(": ") for line in lines)
    for word in words.split()
}

# old word -> what to write now
_REPLACEMENT_PAIRS = (
    "em.IR.K.Brgamma=em.line.Brgamma em.opt.B.Hbeta=em.line.Hbeta em.opt.R.Halpha=em.line.Halpha "
    "em.opt.V.OIII=em.line.OIII "
    "phot.color.B-R=phot.color;em.opt.B;em.opt.R phot.color.B-R.JHN=phot.color;em.opt.B;em.opt.R "
    "phot.color.B-V=phot.color;em.opt.B;em.opt.V phot.color.B-V.JHN=phot.color;em.opt.B;em.opt.V "
    "phot.color.B1-B.gen=phot.color "
    "phot.color.B2-B.gen=phot.color phot.color.G-B.gen=phot.color phot.color.H-K=phot.color;em.IR.H;em.IR.K "
    "phot.color.J-H=phot.color;em.IR.J;em.IR.H phot.color.J-K=phot.color;em.IR.J;em.IR.K "
    "phot.color.K-L=phot.color;em.IR.K;em.IR.3-4um phot.color.R-I.JHN=phot.color;em.opt.R;em.opt.I "
    "phot.color.U-B=phot.color;em.opt.U;em.opt.B phot.color.U-B.JHN=phot.color;em.opt.U;em.opt.B "
    "phot.color.U-B.gen=phot.color;em.opt.U;em.opt.B phot.color.U-V.JHN=phot.color;em.opt.U;em.opt.V "
    "phot.color.V-B.gen=phot.color;em.opt.V;em.opt.B phot.color.V-I.cous=phot.color;em.opt.V;em.opt.I "
    "phot.color.V-R.JHN=phot.color;em.opt.V;em.opt.R phot.color.V-R.cous=phot.color;em.opt.V;em.opt.R "
    "phot.color.V1-B.gen=phot.color;em.opt.V;em.opt.B phot.color.b-y.STR=phot.color phot.color.c1.STR=phot.color "
    "phot.color.g-r.gunn=phot.color phot.color.m1.STR=phot.color phot.color.opt-ir=phot.color;em.opt;em.IR "
    "phot.color.opt-uv=phot.color;em.opt;em.UV phys.at.coll=phys.atmol.collisional "
    "phys.at.coll.rate=arith.rate;phys.atmol.collisional phys.at.coll.strength=phys.atmol.collStrength "
    "phys.at.crossSect=phys.atmol.crossSection phys.at.element=phys.atmol.element phys.at.energy=phys.energy "
    "phys.at.energy.ioniz=phys.energy;phys.atmol.ionization phys.at.energy.level=phys.energy;phys.atmol.level "
    "phys.at.fs=phys.atmol.configuration phys.at.ion=phys.atmol.ionStage "
    "phys.at.level.lifetime=time.lifetime;phys.atmol.level "
    "phys.at.level.parity=phys.atmol.parity phys.at.level.sweight=phys.atmol.sweight phys.at.line=spect.line "
    "phys.at.line.emissivity=phys.emissivity;spect.line phys.at.line.strength=spect.line.intensity "
    "phys.at.osc-strength=phys.atmol.oscStrength phys.at.recombin=arith.rate;phys.atmol.transition "
    "phys.at.stark=spect.line.broad.Stark phys.at.trans=phys.atmol.transition "
    "phys.at.trans.energy=phys.energy;phys.atmol.transition "
    "phys.at.trans.prob=phys.atmol.transProb phys.at.trans.rate=arith.rate;phys.atmol.transition "
    "phys.at.trans.wl=em.wl;phys.atmol.transition phys.mol.energy=phys.energy "
    "phys.mol.energy.rotat=phys.energy;phys.mol.rotation "
    "phys.mol.formation.heat=phys.mol.formationHeat phys.mol.level=phys.atmol.level "
    "phys.mol.line.strength=phys.atmol.oscStrength "
    "phys.mol.trans=phys.atmol.transition spect.index.Halpha=spect.index;em.line.Halpha "
    "spect.index.Hbeta=spect.index;em.line.Hbeta "
    "spect.index.Hgamma=spect.index;em.line.Hgamma em.line.21cm=em.line.HI instr.ang-res=pos.angResolution "
    "instr.antenna-temp=phot.antennaTemp instr.area=phys.area;instr instr.beam-width=phys.angSize;instr.beam "
    "instr.sky-level=instr.skyLevel instr.sky-temp=instr.skyTemp meta.table.axis=phys.size;meta.table "
    "phot.color.Cous=phot.color "
    "phot.color.Gen=phot.color phot.color.Gunn=phot.color phot.color.JHN=phot.color phot.color.STR=phot.color "
    "phot.color.STR.b-y=phot.color phot.color.STR.c1=phot.color phot.color.STR.m1=phot.color "
    "phys.absorption.gf=phys.gauntFactor "
    "phys.at.einstein=phys.atmol.transProb phys.at.level=phys.atmol.level "
    "phys.dispMeas=phys.dispMeasure phys.distance=pos.distance "
    "phys.distance.compon=pos.distance;pos.cartesian phys.distance.gc=pos.distance;pos.galactocentric "
    "phys.electron.energy=phys.energy;phys.electron phys.mass.fraction=phys.mass;arith.ratio "
    "phys.polarization.rotMeas=phys.polarization.rotMeasure phys.size.area=phys.area pos.ang=pos "
    "pos.ang.separation=pos.angDistance "
    "pos.ee=pos.errorEllipse pos.eq.dec.arcsec=pos.eq.dec pos.eq.ra.minutes=pos.eq.ra pos.eq.ra.seconds=pos.eq.ra "
    "pos.gal.compon=pos.cartesian;pos.galactic pos.sg.compon=pos.cartesian;pos.supergalactic "
    "src.class.star-galaxy=src.class.starGalaxy src.orbital.energy=phys.energy;src.orbital "
    "src.orbital.separation=pos.angDistance;src.orbital src.orbital.size=phys.size;src.orbital "
    "src.separation=pos.angDistance;src "
    "src.veloc.compon=phys.veloc;pos.cartesian phys.extension=phys.angSize "
    "phys.polarization.posAng=pos.posAng;phys.polarization "
    "pos.det=pos.cartesian;instr.det pos.pm.dec=pos.pm;pos.eq.dec pos.pm.ra=pos.pm;pos.eq.ra "
    "pos.precess.dec=pos.precess;pos.eq.dec "
    "pos.precess.ra=pos.precess;pos.eq.ra pos.proj=pos.cartesian src.veloc.gc=phys.veloc;pos.galactocentric "
    "src.veloc.geoc=phys.veloc;pos.geocentric src.veloc.hc=phys.veloc;pos.heliocentric "
    "phys.at.lineBroad=spect.line.broad "
    "pos.ec=pos.ecliptic pos.ec.lat=pos.ecliptic.lat pos.ec.lon=pos.ecliptic.lon pos.gal=pos.galactic "
    "pos.gal.lat=pos.galactic.lat "
    "pos.gal.lon=pos.galactic.lon pos.sg=pos.supergalactic pos.sg.lat=pos.supergalactic.lat "
    "pos.sg.lon=pos.supergalactic.lon "
    "spect.line.veloc=spect.dopplerVeloc instr.angRes=pos.angResolution "
    "instr.obsty.site=pos.earth.altitude;instr.obsty "
    "instr.obsty.site.seeing=instr.obsty.seeing instr.spect=instr instr.spect.dispersion=instr.dispersion "
    "instr.spect.order=instr.order instr.spect.resolution=spect.resolution instr.tel.focus=instr.tel.focalLength "
    "meta.fits.software=meta.software obs.air=obs.atmos obs.air.extinction=obs.atmos.extinction "
    "obs.air.mass=obs.airMass "
    "phot.sb=phot.mag.sb phys.at.branchingRatio=phys.atmol.branchingRatio phys.at.crossSection=phys.atmol.crossSection "
    "phys.at.lineShift=phys.atmol.lineShift phys.at.moment=phys.atmol.radiationType "
    "phys.at.moment.electric=phys.atmol.radiationType "
    "phys.at.moment.magnetic=phys.atmol.radiationType phys.at.qn.S=phys.atmol.qn phys.at.qn.L=phys.atmol.qn "
    "phys.at.qn.J=phys.atmol.qn phys.at.qn.F=phys.atmol.qn phys.atmol.state.final=phys.atmol.final "
    "phys.atmol.state.initial=phys.atmol.initial phys.mol.quadrupole.magnetic=phys.atmol.radiationType "
    "phys.refraction=phys.refractIndex pos.az.ha=pos.eq.ha pos.earth.nutation=pos.nutation "
    "spect.veloc=spect.dopplerVeloc "
    "src.fwhm=phys.angSize;src src.orbital.veloc=phys.veloc.orbital src.veloc=phys.veloc src.veloc.ang=phys.veloc.ang "
    "src.veloc.cmb=phys.veloc;pos.cmb src.veloc.dispersion=phys.veloc.dispersion src.veloc.escape=phys.veloc.escape "
    "src.veloc.expansion=phys.veloc.expansion src.veloc.lg=phys.veloc;pos.lg src.veloc.lsr=phys.veloc;pos.lsr "
    "src.veloc.microTurb=phys.veloc.microTurb src.veloc.pulsat=phys.veloc.pulsat src.veloc.rotat=phys.veloc.rotat "
    "phys.mass.light=phys.composition.massLightRatio pos.satellite=pos.bodyrc phot.fluxDens=phot.flux.density "
    "phot.fluxDens.sb=phot.flux.density.sb phys.at=phys.atmol phys.atmol.coll=phys.atmol.collisional "
    "phys.atmol.ion=phys.atmol.ionStage phys.atmol.trans=phys.atmol.transition phys.energyDensity=phys.energy.density "
    "phys.massToLight=phys.composition.massLightRatio phys.massYield=phys.composition.yield "
    "spect.doppler=spect.dopplerParam "
    "phys.at.collStrength=phys.atmol.collStrength phys.at.damping=phys.damping phys.at.lande=phys.atmol.lande "
    "phys.at.number=phys.atmol.number phys.at.oscStrength=phys.atmol.oscStrength "
    "phys.at.qn=phys.atmol.qn phys.at.qn.I=phys.atmol.qn "
    "phys.at.radiationType=phys.atmol.radiationType phys.at.term=phys.atmol.term "
    "phys.at.transProb=phys.atmol.transProb "
    "phys.at.wOscStrength=phys.atmol.wOscStrength phys.at.weight=phys.atmol.weight phys.atmol.damping=phys.damping "
    "phys.atmol.qn.I=phys.atmol.qn phys.mol.qn=phys.atmol.qn time.event=time.duration time.event.start=time.start "
    "time.event.end=time.end time.expo=time.duration;obs.exposure time.expo.end=time.end;obs.exposure "
    "time.expo.start=time.start;obs.exposure time.obs=time.duration;obs time.obs.end=time.end;obs "
    "time.obs.start=time.start;obs "
    "em.UV.FUV=em.UV.100-200nm meta.ref.ivorn=meta.ref.ivoid pos.bodyrc.long=pos.bodyrc.lon "
    "pos.eop.nutation=pos.nutation "
    "pos.lambert=pos.projection "
)
UCD_WORD_REPLACEMENTS: dict[str, str] = {
    old: new for old, _, new in (pair.partition("=") for pair in _REPLACEMENT_PAIRS.split())
}

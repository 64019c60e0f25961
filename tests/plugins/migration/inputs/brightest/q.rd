<?xml version="1.0" encoding="utf-8"?>
<resource schema="brightest" resdir=".">
  <meta name="title">Three bright stars</meta>
  <meta name="creationDate">2026-11-20T10:00:00Z</meta>
  <meta name="description">
    Positions and magnitudes of three stars,
    from \getConfig{web}{serverURL}.
  </meta>
  <meta name="subject">bright-stars</meta>
  <meta name="subject">astrometry</meta>
  <meta name="creator">Brahe, T.; Brahe, S.</meta>
  <meta name="contact.name">The data team</meta>
  <meta name="contact.email">data@example.org</meta>
  <meta name="rights.rightsURI">https://creativecommons.org/licenses/by/4.0/</meta>
  <meta name="coverage">
    <meta name="waveband">Optical</meta>
    <meta name="profile">AllSky ICRS</meta>
  </meta>

  <STREAM id="position">
    <column name="raj2000" type="double precision" unit="deg" ucd="pos.eq.ra;meta.main"
      tablehead="RA" verbLevel="1" description="Right ascension" displayHint="type=time"/>
    <column name="dej2000" type="double precision" unit="deg" ucd="pos.eq.dec;meta.main"
      tablehead="Dec" verbLevel="1" description="Declination"/>
  </STREAM>

  <table id="main" onDisk="True" adql="True" primary="star" mixin="//scs#q3cindex">
    <mixin>//scs#q3cindex</mixin>
    <meta name="description">One row for each star of \schema</meta>
    <stc>Position ICRS Epoch J2000.0 "raj2000" "dej2000"</stc>
    <column name="star" type="text" ucd="meta.id;meta.main" description="Name of the star" required="True"/>
    <FEED source="position"/>
    <LOOP listItems="v">
      <events>
        <column name="\item\+mag" unit="mag" ucd="phot.mag;em.opt.\upper{\item}" description="Magnitude in \item"/>
      </events>
    </LOOP>
    <column name="remark" type="text" description="Remark"/>
    <column name="page" type="text" ucd="meta.ref.url" description="Page about the star"/>
  </table>

  <data id="import">
    <sources pattern="data/*.csv"/>
    <csvGrammar delimiter=","/>
    <make table="main">
      <rowmaker idmaps="*">
        <map key="raj2000">hmsToDeg(@ra_hms, ":")</map>
        <map key="dej2000">dmsToDeg(@dec_dms, ":")</map>
        <map key="remark">parseWithNull(@note, str, "-")</map>
        <map key="page">"\getConfig{web}{serverURL}/stars/%s"%@star</map>
      </rowmaker>
    </make>
  </data>

  <service id="cone" allowed="scs.xml,form,static">
    <meta name="shortName">bright cone</meta>
    <meta name="testQuery">
      <meta name="ra">101.3</meta>
      <meta name="dec">-16.7</meta>
      <meta name="sr">1</meta>
    </meta>
    <publish render="scs.xml" sets="ivo_managed"/>
    <scsCore queriedTable="main">
      <FEED source="//scs#coreDescs"/>
    </scsCore>
  </service>
</resource>

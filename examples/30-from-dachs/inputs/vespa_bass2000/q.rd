<?xml version="1.0" encoding="utf-8"?>
<resource schema="vespa_bass2000" resdir=".">
  <meta name="title">BASS2000, daily images of the Sun</meta>
  <meta name="description" format="plain">Images of the whole Sun in three lines. The rows are invented.</meta>
  <meta name="creationDate">2021-03-01T00:00:00</meta>
  <meta name="subject">solar-physics</meta>
  <meta name="creator.name">Observatoire de Paris</meta>
  <meta name="contact.name">Observatoire de Paris</meta>
  <meta name="contact.email">vo@example.org</meta>
  <meta name="facility">Meudon</meta>
  <meta name="instrument">spectroheliograph</meta>
  <meta name="coverage.waveband">Optical</meta>
  <meta name="utype">ivo://vopdc.obspm/std/epncore#schema-2.0</meta>

  <table id="epn_core" onDisk="True" adql="True">
    <mixin spatial_frame_type="celestial"
      optional_columns="access_url access_format access_estsize thumbnail_url file_name time_scale filter">//epntap2#table-2_0</mixin>
    <stc>Polygon UNKNOWNFrame [s_region]</stc>
    <publish sets="ivo_managed,local"/>
  </table>

  <data id="import">
    <sources pattern="driver.txt"/>
    <odbcGrammar query="SELECT id, jdint, jdfraction, observatory, instrument, line, wave_nm, path, bytes FROM daily WHERE cloudy = 0"/>
    <make table="epn_core">
      <rowmaker idmaps="*">
        <var key="access_url">"ftp://ftp.bass2000.example.org/" + @path</var>
        <var key="access_format">"application/fits"</var>
        <var key="access_estsize">int(@bytes)//1024</var>
        <var key="thumbnail_url">"https://bass2000.example.org/tn/" + str(@id) + ".jpg"</var>
        <var key="file_name">os.path.basename(@path)</var>
        <var key="time_scale">"UTC"</var>
        <var key="filter">@line</var>
        <apply procDef="//epntap2#populate-2_0" name="fillepn">
          <bind key="granule_uid">"bass2000_%06d" % int(@id)</bind>
          <bind key="granule_gid">"daily"</bind>
          <bind key="obs_id">"bass2000_" + str(@id)</bind>
          <bind key="dataproduct_type">"im"</bind>
          <bind key="processing_level">3</bind>
          <bind key="measurement_type">"phot.radiance"</bind>
          <bind key="instrument_host_name">@observatory</bind>
          <bind key="instrument_name">@instrument</bind>
          <bind key="time_min">@jdint + @jdfraction</bind>
          <bind key="time_max">@jdint + @jdfraction + 1/1440.0</bind>
          <bind key="spectral_range_min">2.99792458e17/float(@wave_nm)</bind>
          <bind key="spectral_range_max">2.99792458e17/float(@wave_nm)</bind>
          <bind key="target_class">"star"</bind>
          <bind key="target_name">"Sun"</bind>
          <bind key="service_title">"vespa_bass2000"</bind>
          <bind key="creation_date">"2021-03-01"</bind>
          <bind key="modification_date">"2021-03-01"</bind>
          <bind key="release_date">"2021-03-01"</bind>
        </apply>
      </rowmaker>
    </make>
  </data>
</resource>

<resource schema="moons">
  <meta name="title">Pictures of moons</meta>
  <meta name="description">Invented pictures of invented moons.</meta>
  <meta name="creationDate">2026-10-01</meta>
  <meta name="subject">Natural satellites</meta>
  <meta name="copyright">Free for teaching</meta>
  <meta name="contact.address">A street in a city</meta>
  <macDef name="base">https://files.example.org/moons</macDef>

  <table id="epn_core" onDisk="true" adql="True">
    <mixin spatial_frame_type="body" optional_columns="access_url access_format access_estsize thumbnail_url time_scale"
      >//epntap2#table-2_0</mixin>
    <column name="camera" type="text" ucd="meta.id;instr" description="Name of the camera"/>
    <publish sets="ivo_managed"/>
  </table>

  <data id="import">
    <sources>data/moons.csv</sources>
    <csvGrammar>
      <rowfilter procDef="//products#define">
        <bind name="table">"\schema.epn_core"</bind>
        <bind name="path">\fullPath</bind>
      </rowfilter>
    </csvGrammar>
    <make table="epn_core">
      <rowmaker idmaps="*">
        <var key="granule_gid">"picture"</var>
        <var key="obs_id" source="picture"/>
        <var key="granule_uid">@picture + "_" + str(@level)</var>
        <var key="file_url">"\base/%s.png" % @picture</var>
        <apply procDef="//epntap2#populate-2_0" name="fill">
          <bind name="granule_gid">@granule_gid</bind>
          <bind name="granule_uid">@granule_uid</bind>
          <bind name="obs_id">@obs_id</bind>
          <bind name="target_name">@moon.capitalize()</bind>
          <bind name="target_class">"satellite"</bind>
          <bind name="time_min">dateTimeToJdn(parseISODT(@start))</bind>
          <bind name="time_max">dateTimeToJdn(parseISODT(@start)) + float(@seconds)/86400</bind>
          <bind name="time_scale">"UTC"</bind>
          <bind name="dataproduct_type">"im"</bind>
          <bind name="measurement_type">"phot.flux"</bind>
          <bind name="processing_level">@level</bind>
          <bind name="spectral_range_min">2.99792458e14/float(@wavelength_max)</bind>
          <bind name="spectral_range_max">2.99792458e14/float(@wavelength_min)</bind>
          <bind name="c1min">@west</bind>
          <bind name="c1max">@east</bind>
          <bind name="c2min">@south</bind>
          <bind name="c2max">@north</bind>
          <bind name="instrument_host_name">"Tower"</bind>
          <bind name="instrument_name">"Big eye"</bind>
          <bind name="service_title">"moons"</bind>
          <bind name="creation_date">"2026-10-1"</bind>
          <bind name="modification_date">"2026-10-01"</bind>
          <bind name="release_date">"2026-10-01"</bind>
          <bind name="access_url">@file_url</bind>
          <bind name="access_format">"image/png" if @moon else "none"</bind>
          <bind name="access_estsize">int(@bytes)/1024</bind>
          <bind name="thumbnail_url">@file_url.replace(".png", "_small.png")</bind>
          <bind name="species">None</bind>
        </apply>
        <apply name="choose_camera">
          <code>
            # which camera it was shows in the name of the picture
            if re.match("w", @picture):
              @camera = "wide"
            else:
              @camera = "narrow"
          </code>
        </apply>
      </rowmaker>
    </make>
  </data>
</resource>

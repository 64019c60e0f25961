"""SQL texts of the functions over shapes: the arithmetic of `hven.model.sky` in the language of PostgreSQL.

A ring is a polygon prepared for the tests, as one array. It begins with seven numbers: the number of edges, whether the
north pole is inside, the area, the reach and the centre (a unit vector). Twelve numbers follow for each edge: where its
longitudes begin and end, its turn, its two ends and its unit normal. The inside of a ring is the side of the smaller
area. A shape that is no polygon gives an empty ring, which contains nothing.
"""

from __future__ import annotations

from hven.plugins.postgres.engine.function_texts import (
    DOUBLE_TYPE,
    PLPGSQL_FUNCTION_OPTIONS,
    SQL_FUNCTION_OPTIONS,
    join_folded_lines,
)

_TOLERANCE_RADIANS = "5.2e-15"  # radians: hven.model.sky.sphere.TOLERANCE_DEGREES
_TOLERANCE_DEGREES = "3e-13"
_COS_LATITUDE_SQL, _LONGITUDE_RADIANS_SQL = "cos(radians(lat + 1e-100))", "radians(lon + 1e-100)"
_VECTOR_X_SQL, _VECTOR_Y_SQL, _VECTOR_Z_SQL = (
    f"{_COS_LATITUDE_SQL} * cos({_LONGITUDE_RADIANS_SQL})",
    f"{_COS_LATITUDE_SQL} * (sin({_LONGITUDE_RADIANS_SQL}) + 1e-100)",
    "sin(radians(lat + 1e-100))",
)
_DOT_PRODUCT_SQL = (
    "cos(radians(p[2 * i] + 1e-100)) * (x * cos(radians(p[2 * i - 1] + 1e-100))"
    " + y * (sin(radians(p[2 * i - 1] + 1e-100)) + 1e-100))"
    " + z * sin(radians(p[2 * i] + 1e-100))"
)
_CIRCLE_MARGIN_DEGREES = "2.8e-13"  # margin of circles around points, as in the embedded engine

_FOLDED_DEFINITIONS = (
    f"""FUNCTION hven_haversine(lon1 {DOUBLE_TYPE}, lat1 {DOUBLE_TYPE}, lon2 {DOUBLE_TYPE}, lat2 {DOUBLE_TYPE})
      ... RETURNS {DOUBLE_TYPE} {SQL_FUNCTION_OPTIONS} AS $$
      SELECT (sin(radians(lat1 - lat2 + 1e-100) / 2) + 1e-100) * (sin(radians(lat1 - lat2 + 1e-100) / 2) + 1e-100)
        + cos(radians(lat1 + 1e-100)) * cos(radians(lat2 + 1e-100))
        * ((sin(radians(lon1 - lon2 + 1e-100) / 2) + 1e-100) * (sin(radians(lon1 - lon2 + 1e-100) / 2) + 1e-100)) $$""",
    f"""FUNCTION hven_distance(lon1 {DOUBLE_TYPE}, lat1 {DOUBLE_TYPE}, lon2 {DOUBLE_TYPE}, lat2 {DOUBLE_TYPE})
      ... RETURNS {DOUBLE_TYPE} {SQL_FUNCTION_OPTIONS} AS $$
      SELECT CASE WHEN lon1 = lon2 AND lat1 = lat2 THEN 0
        ... ELSE degrees(2 * atan2(sqrt(abs(hven_haversine(lon1, lat1, lon2, lat2))),
        sqrt(abs(hven_haversine(lon1 + 180, -lat1, lon2, lat2))))) END $$""",
    # Beyond 90 degrees the haversine loses digits, so the function tests the circle around the antipode.
    f"""FUNCTION hven_in_circle(lon {DOUBLE_TYPE}, lat {DOUBLE_TYPE}, lon0 {DOUBLE_TYPE}, lat0 {DOUBLE_TYPE},
      ... r {DOUBLE_TYPE}) RETURNS boolean {SQL_FUNCTION_OPTIONS} AS $$
      SELECT r >= 0 AND CASE WHEN r <= 90
        THEN hven_haversine(lon, lat, lon0, lat0)
          ... <= sin(radians(r + {_CIRCLE_MARGIN_DEGREES}) / 2) * sin(radians(r + {_CIRCLE_MARGIN_DEGREES}) / 2)
        ELSE hven_haversine(lon, lat, lon0 + 180, -lat0) >= CASE WHEN r >= 180 THEN -1
             ELSE sin(radians(180 - r - {_CIRCLE_MARGIN_DEGREES}) / 2)
               ... * abs(sin(radians(180 - r - {_CIRCLE_MARGIN_DEGREES}) / 2)) END END $$""",
    # The arguments are numbers, so that the planner can inline the function into the expressions that call it.
    f"""FUNCTION hven_vector(lon {DOUBLE_TYPE}, lat {DOUBLE_TYPE}) RETURNS {DOUBLE_TYPE}[] {SQL_FUNCTION_OPTIONS}
      ... AS $$
      SELECT ARRAY[CASE WHEN abs({_VECTOR_X_SQL}) < 1e-40 THEN 0 ELSE {_VECTOR_X_SQL} END,
        ... CASE WHEN abs({_VECTOR_Y_SQL}) < 1e-40 THEN 0 ELSE {_VECTOR_Y_SQL} END,
        ... CASE WHEN abs({_VECTOR_Z_SQL}) < 1e-40 THEN 0 ELSE {_VECTOR_Z_SQL} END] $$""",
    # A circle that contains a shape: unit vector and radius in radians. NULL if the circle would be wider than 60
    # degrees, or if there is no shape.
    f"""FUNCTION hven_cap(p {DOUBLE_TYPE}[]) RETURNS {DOUBLE_TYPE}[] {PLPGSQL_FUNCTION_OPTIONS} AS $$
    DECLARE n integer := cardinality(p) / 2; a {DOUBLE_TYPE}; b {DOUBLE_TYPE}; r {DOUBLE_TYPE};
      ... x {DOUBLE_TYPE} := 0; y {DOUBLE_TYPE} := 0; z {DOUBLE_TYPE} := 0; s {DOUBLE_TYPE};
      ... low {DOUBLE_TYPE} := 1;
    BEGIN
      IF cardinality(p) < 4 THEN
        IF (abs(p[1]) < 'infinity' AND abs(p[2]) < 'infinity' AND abs(coalesce(p[3], 0)) < 'infinity') IS NOT TRUE
          ... OR (cardinality(p) = 3 AND p[3] IS NULL) THEN RETURN NULL; END IF;
        RETURN hven_vector(p[1], p[2]) || CASE cardinality(p) WHEN 3 THEN radians(p[3] + 1e-100)
          ... ELSE 0::{DOUBLE_TYPE} END;
      END IF;
      FOR i IN 1 .. n LOOP
        a := radians(p[2 * i - 1] + 1e-100); b := radians(p[2 * i] + 1e-100);
        IF (abs(a) < 'infinity' AND abs(b) < 'infinity') IS NOT TRUE THEN RETURN NULL; END IF;
        r := cos(b); x := x + r * cos(a); y := y + r * (sin(a) + 1e-100); z := z + sin(b);
      END LOOP;
      s := sqrt(x * x + y * y + z * z);
      IF s < 1e-6 THEN RETURN NULL; END IF;
      FOR i IN 1 .. n LOOP
        low := least(low, ({_DOT_PRODUCT_SQL}) / s);
      END LOOP;
      RETURN CASE WHEN low > 0.5 THEN ARRAY[x / s, y / s, z / s, acos(low) + 1e-7] END;
    END $$""",
    # A quick test before two shapes are compared.
    f"""FUNCTION hven_apart(one {DOUBLE_TYPE}[], two {DOUBLE_TYPE}[]) RETURNS boolean {PLPGSQL_FUNCTION_OPTIONS}
      ... AS $$
    DECLARE a {DOUBLE_TYPE}[] := hven_cap(one); b {DOUBLE_TYPE}[] := hven_cap(two);
    BEGIN
      IF a IS NULL OR b IS NULL OR NOT abs(a[4] + b[4]) < 3 THEN RETURN FALSE; END IF;
      RETURN a[1] * b[1] + a[2] * b[2] + a[3] * b[3] < cos(a[4] + b[4] + 1e-7);
    END $$""",
    f"""FUNCTION hven_box(lon {DOUBLE_TYPE}, lat {DOUBLE_TYPE}, width {DOUBLE_TYPE}, height {DOUBLE_TYPE})
      ... RETURNS {DOUBLE_TYPE}[] {PLPGSQL_FUNCTION_OPTIONS} AS $$
    DECLARE side {DOUBLE_TYPE}; top {DOUBLE_TYPE}; phi {DOUBLE_TYPE}; x {DOUBLE_TYPE}; y {DOUBLE_TYPE};
      ... z {DOUBLE_TYPE}; u {DOUBLE_TYPE}; w {DOUBLE_TYPE}; found {DOUBLE_TYPE}[] := '{{}}';
    BEGIN
      IF NOT (width > 0 AND width < 180 AND height > 0 AND height < 180 AND abs(lat) <= 90 AND abs(lon) < 'infinity')
        ... THEN RETURN NULL; END IF;
      side := radians(greatest(width, 1e-100)) / 2;
        ... top := atan(tan(radians(greatest(height, 1e-100)) / 2) * cos(side)); phi := radians(lat + 1e-100);
      FOR i IN 0 .. 3 LOOP
        u := CASE WHEN i IN (0, 3) THEN -side ELSE side END; w := CASE WHEN i < 2 THEN -top ELSE top END;
        x := cos(w) * cos(u) * cos(phi) - sin(w) * sin(phi); y := cos(w) * sin(u);
          ... z := cos(w) * cos(u) * sin(phi) + sin(w) * cos(phi);
        u := degrees(atan2(y, x)) + lon;
        found := found || ARRAY[u - 360 * floor(u / 360), degrees(atan2(z, sqrt(x * x + y * y)))];
      END LOOP;
      RETURN found;
    END
    $$""",
    # Whether the meridian north of a position crosses the edges an odd number of times: 1 if so, otherwise 0.
    f"""FUNCTION hven_crossings(lon {DOUBLE_TYPE}, v {DOUBLE_TYPE}[], ring {DOUBLE_TYPE}[])
      ... RETURNS integer {PLPGSQL_FUNCTION_OPTIONS} AS $$
    DECLARE odd integer := 0; k integer; h {DOUBLE_TYPE}; b {DOUBLE_TYPE}; e {DOUBLE_TYPE};
    BEGIN
      FOR i IN 0 .. ring[1]::integer - 1 LOOP
        k := 7 + 12 * i;
        CONTINUE WHEN ring[k + 3] = 0;
        b := ring[k + 1]; e := ring[k + 2];
        IF (b <= e AND lon >= b AND lon < e) OR (b > e AND (lon >= b OR lon < e)) THEN
          h := v[1] * ring[k + 10] + v[2] * ring[k + 11] + v[3] * ring[k + 12];
          IF (ring[k + 3] > 0 AND h < 0) OR (ring[k + 3] < 0 AND h > 0) THEN odd := 1 - odd; END IF;
        END IF;
      END LOOP;
      RETURN odd;
    END $$""",
    f"""FUNCTION hven_ring(p {DOUBLE_TYPE}[]) RETURNS {DOUBLE_TYPE}[] {PLPGSQL_FUNCTION_OPTIONS} AS $$
    DECLARE
      n integer := cardinality(p) / 2; lon {DOUBLE_TYPE}; nxt {DOUBLE_TYPE}; ring {DOUBLE_TYPE}[] := '{{}}';
        ... k integer; j integer; s {DOUBLE_TYPE}; m {DOUBLE_TYPE}[]; c {DOUBLE_TYPE}[]; best {DOUBLE_TYPE};
        ... low {DOUBLE_TYPE};
      a {DOUBLE_TYPE}[]; b {DOUBLE_TYPE}[]; q {DOUBLE_TYPE}[]; turn {DOUBLE_TYPE}; total {DOUBLE_TYPE} := 0;
        ... reach {DOUBLE_TYPE} := 0; width {DOUBLE_TYPE}; top {DOUBLE_TYPE} := -1; edge integer; odd integer;
        ... axes {DOUBLE_TYPE}[];
    BEGIN
      IF cardinality(p) < 6 OR cardinality(p) % 2 = 1 THEN RETURN '{{}}'; END IF;
      FOR i IN 1 .. 2 * n LOOP
        IF p[i] IS NULL OR p[i] = 'nan' OR abs(p[i]) = 'infinity' OR (i % 2 = 0 AND abs(p[i]) > 90)
          ... THEN RETURN '{{}}'; END IF;
      END LOOP;
      m := ARRAY[0, 0, 0];
      ring := ARRAY[n, 0, 0, 0, 1, 0, 0]::{DOUBLE_TYPE}[];
      lon := p[1] + 1e-100; lon := lon - 360 * floor(lon / 360); IF lon >= 360 THEN lon := 0; END IF;
      a := hven_vector(lon, p[2]);
      FOR i IN 1 .. n LOOP
        j := i % n + 1;
        nxt := p[2 * j - 1] + 1e-100; nxt := nxt - 360 * floor(nxt / 360); IF nxt >= 360 THEN nxt := 0; END IF;
        b := hven_vector(nxt, p[2 * j]);
        m := ARRAY[m[1] + a[1], m[2] + a[2], m[3] + a[3]];
        turn := nxt - lon + 180; turn := turn - 360 * floor(turn / 360) - 180;
        c := ARRAY[(a[2] + b[2]) * (b[3] - a[3]) - (a[3] + b[3]) * (b[2] - a[2]),
          ... (a[3] + b[3]) * (b[1] - a[1]) - (a[1] + b[1]) * (b[3] - a[3]),
                   (a[1] + b[1]) * (b[2] - a[2]) - (a[2] + b[2]) * (b[1] - a[1])];
        s := sqrt(c[1] * c[1] + c[2] * c[2] + c[3] * c[3]);
        IF s > 0 THEN c := ARRAY[c[1] / s, c[2] / s, c[3] / s]; END IF;
        c := ARRAY[CASE WHEN abs(c[1]) < 1e-40 THEN 0 ELSE c[1] END, CASE WHEN abs(c[2]) < 1e-40 THEN 0
          ... ELSE c[2] END, CASE WHEN abs(c[3]) < 1e-40 THEN 0 ELSE c[3] END];
        ring := ring || ARRAY[CASE WHEN turn >= 0 THEN lon ELSE nxt END, CASE WHEN turn >= 0 THEN nxt
          ... ELSE lon END, turn,
                              a[1], a[2], a[3], b[1], b[2], b[3], c[1], c[2], c[3]];
        lon := nxt; a := b;
      END LOOP;
      s := sqrt(m[1] * m[1] + m[2] * m[2] + m[3] * m[3]);
      m := CASE WHEN s > 1e-9 THEN ARRAY[m[1] / s, m[2] / s, m[3] / s] ELSE ARRAY[0, 0, 1]::{DOUBLE_TYPE}[] END;
      -- signed triangles from one corner, which must not be near the antipode of a vertex
      axes := m || ARRAY[0, 0, 1, 0, 0, -1, 1, 0, 0, -1, 0, 0, 0, 1, 0, 0, -1, 0]::{DOUBLE_TYPE}[];
      best := -1;
      FOR t IN 0 .. 6 LOOP
        low := 2;
        FOR i IN 0 .. n - 1 LOOP
          k := 7 + 12 * i;
          low := least(low, 1 + axes[3 * t + 1] * ring[k + 4] + axes[3 * t + 2] * ring[k + 5]
            ... + axes[3 * t + 3] * ring[k + 6]);
        END LOOP;
        IF t = 0 AND low > 0.1 THEN low := 3; END IF;
        IF low > best THEN best := low; q := axes[3 * t + 1 : 3 * t + 3]; END IF;
        EXIT WHEN best = 3;
      END LOOP;
      FOR i IN 0 .. n - 1 LOOP
        k := 7 + 12 * i;
        a := ARRAY[ring[k + 4], ring[k + 5], ring[k + 6]]; b := ARRAY[ring[k + 7], ring[k + 8], ring[k + 9]];
        c := ARRAY[(a[2] - q[2]) * (b[3] - q[3]) - (a[3] - q[3]) * (b[2] - q[2]),
          ... (a[3] - q[3]) * (b[1] - q[1]) - (a[1] - q[1]) * (b[3] - q[3]),
                   (a[1] - q[1]) * (b[2] - q[2]) - (a[2] - q[2]) * (b[1] - q[1])];
        total := total + 2 * atan2(q[1] * c[1] + q[2] * c[2] + q[3] * c[3],
          1 + q[1] * a[1] + q[2] * a[2] + q[3] * a[3] + q[1] * b[1] + q[2] * b[2] + q[3] * b[3]
            ... + a[1] * b[1] + a[2] * b[2] + a[3] * b[3]);
        reach := greatest(reach, (a[1] - m[1]) * (a[1] - m[1]) + (a[2] - m[2]) * (a[2] - m[2])
          ... + (a[3] - m[3]) * (a[3] - m[3]));
        width := abs(ring[k + 3]) * cos(radians(p[2 * i + 2] + 1e-100)) + 1e-12 * abs(ring[k + 3]);
        IF width > top THEN top := width; edge := i; END IF;
      END LOOP;
      total := degrees(degrees(total)); s := 129600 / pi();
      total := CASE WHEN total > s / 2 THEN total - s WHEN total < -s / 2 THEN total + s ELSE total END;
      reach := degrees(2 * asin(least(sqrt(reach) / 2, 1)));
      ring[3] := abs(total); ring[4] := reach; ring[5] := m[1]; ring[6] := m[2]; ring[7] := m[3];
      IF reach < 89 THEN  -- what lies opposite is outside
        lon := degrees(atan2(-m[2], -m[1])); lon := lon - 360 * floor(lon / 360); IF lon >= 360 THEN lon := 0; END IF;
        ring[2] := hven_crossings(lon, ARRAY[-m[1], -m[2], -m[3]], ring);
      ELSE  -- a point just left of the most eastward edge is inside if the area is on the left
        k := 7 + 12 * edge;
        a := ARRAY[ring[k + 4] + ring[k + 7], ring[k + 5] + ring[k + 8], ring[k + 6] + ring[k + 9]];
        lon := degrees(atan2(a[2], a[1])); lon := lon - 360 * floor(lon / 360); IF lon >= 360 THEN lon := 0; END IF;
        turn := ring[k + 3]; ring[k + 3] := 0;
        odd := hven_crossings(lon, a, ring);
        ring[k + 3] := turn;
        IF turn < 0 THEN odd := 1 - odd; END IF;
        ring[2] := CASE WHEN (odd = 1) <> (total >= 0) THEN 1 ELSE 0 END;
      END IF;
      RETURN ring;
    END $$""",
    f"""FUNCTION hven_in_ring(lon {DOUBLE_TYPE}, lat {DOUBLE_TYPE}, ring {DOUBLE_TYPE}[])
      ... RETURNS boolean {PLPGSQL_FUNCTION_OPTIONS} AS $$
    DECLARE v {DOUBLE_TYPE}[]; w {DOUBLE_TYPE}; k integer; h {DOUBLE_TYPE};
    BEGIN
      IF cardinality(ring) = 0 OR lon = 'nan' OR abs(lon) = 'infinity' OR lat = 'nan' OR abs(lat) > 90
        ... THEN RETURN FALSE; END IF;
      w := lon + 1e-100; w := w - 360 * floor(w / 360); IF w >= 360 THEN w := 0; END IF;
      v := hven_vector(w, lat);
      IF ring[3] < 5156 AND ring[4] < 60
        ... AND v[1] * ring[5] + v[2] * ring[6] + v[3] * ring[7] < cos(radians(ring[4] + 1e-5)) - 1e-13 THEN
        RETURN FALSE;
      END IF;
      IF hven_crossings(w, v, ring) <> ring[2] THEN RETURN TRUE; END IF;
      FOR i IN 0 .. ring[1]::integer - 1 LOOP  -- on the boundary?
        k := 7 + 12 * i;
        h := v[1] * ring[k + 10] + v[2] * ring[k + 11] + v[3] * ring[k + 12];
        CONTINUE WHEN abs(h) > {_TOLERANCE_RADIANS};
        IF hven_arc_gap(v, ring, i) <= {_TOLERANCE_DEGREES} THEN RETURN TRUE; END IF;
      END LOOP;
      RETURN FALSE;
    END $$""",
    # Whether a polygon lies to one side of a circle (or of a position, if the radius is 0): all its corners are east,
    # or west, north or south of it. FALSE means unknown. So narrow a polygon lies in a hemisphere in which the circle
    # does not. A step of plpgsql costs more than the arithmetic in it, so there are only three.
    f"""FUNCTION hven_aside(lon {DOUBLE_TYPE}, lat {DOUBLE_TYPE}, r {DOUBLE_TYPE}, p {DOUBLE_TYPE}[])
      ... RETURNS boolean {PLPGSQL_FUNCTION_OPTIONS} AS $$
    DECLARE u {DOUBLE_TYPE}; v {DOUBLE_TYPE}; sides integer := 15;
    BEGIN
      FOR i IN 1 .. cardinality(p) BY 2 LOOP
        u := p[i] - lon + 1e-100; u := u - 360 * round(u / 360); v := p[i + 1] - lat;
        sides := CASE WHEN abs(u) < 40 AND abs(v) < 40 AND abs(p[i + 1]) <= 90 THEN sides
          & (CASE WHEN 0.92 * abs(u) * cos(radians(p[i + 1] + 1e-100)) > r + 1e-8 THEN CASE WHEN u > 0 THEN 1
            ... ELSE 2 END ELSE 0 END
          | CASE WHEN 0.92 * abs(v) > 0.0088 * u * u + r + 1e-8 THEN CASE WHEN v > 0 THEN 4 ELSE 8 END ELSE 0 END)
            ... ELSE 0 END;
        IF sides = 0 THEN RETURN FALSE; END IF;
      END LOOP;
      RETURN TRUE;
    END $$""",
    # Whether a position is in a polygon. Within 40 degrees the edges are straight lines in the tangent plane of the
    # sphere, and the function counts those that the meridian north crosses. It makes a ring if the polygon is larger,
    # or if the position is so near an edge that rounding matters.
    f"""FUNCTION hven_holds(lon {DOUBLE_TYPE}, lat {DOUBLE_TYPE}, p {DOUBLE_TYPE}[])
      ... RETURNS boolean {PLPGSQL_FUNCTION_OPTIONS} AS $$
    DECLARE
      n integer := cardinality(p); s {DOUBLE_TYPE}; c {DOUBLE_TYPE}; i integer; a {DOUBLE_TYPE}; b {DOUBLE_TYPE};
        ... x {DOUBLE_TYPE}; y {DOUBLE_TYPE}; v {DOUBLE_TYPE}; w {DOUBLE_TYPE}; turn {DOUBLE_TYPE};
        ... odd boolean := FALSE;
    BEGIN
      IF n >= 6 AND n % 2 = 0 AND abs(lat) <= 90 AND abs(lon) < 'infinity' THEN
        s := sin(radians(lat + 1e-100)); c := cos(radians(lat + 1e-100));
        FOR k IN 0 .. n / 2 LOOP
          i := CASE k WHEN 0 THEN n - 1 ELSE 2 * k - 1 END;
          EXIT WHEN (abs(p[i]) < 'infinity' AND abs(p[i + 1]) <= 90) IS NOT TRUE;
          a := radians(p[i] - lon + 1e-100); b := radians(p[i + 1] + 1e-100);
          EXIT WHEN sin(b) * s + cos(b) * c * cos(a) < 0.77;
          x := cos(b) * (sin(a) + 1e-100); y := sin(b) * c - cos(b) * s * cos(a);
          IF k > 0 THEN
            turn := v * y - w * x;
            IF abs(turn) <= 1e-12 * (abs(v) + abs(w) + abs(x) + abs(y)) THEN
              EXIT WHEN x <> v OR y <> w;
            ELSIF (x > 0) <> (v > 0) AND (turn > 0) = (v > 0) THEN
              odd := NOT odd;
            END IF;
            IF 2 * k = n THEN RETURN odd; END IF;
          END IF;
          v := x; w := y;
        END LOOP;
      END IF;
      RETURN NOT hven_apart(ARRAY[lon, lat], p) AND hven_in_ring(lon, lat, hven_ring(p));
    END $$""",
    f"""FUNCTION hven_arc_gap(v {DOUBLE_TYPE}[], ring {DOUBLE_TYPE}[], i integer)
      ... RETURNS {DOUBLE_TYPE} {PLPGSQL_FUNCTION_OPTIONS} AS $$
    DECLARE k integer := 7 + 12 * i; a {DOUBLE_TYPE}[]; b {DOUBLE_TYPE}[]; n {DOUBLE_TYPE}[]; x {DOUBLE_TYPE};
      ... y {DOUBLE_TYPE};
    BEGIN
      a := ring[k + 4 : k + 6]; b := ring[k + 7 : k + 9]; n := ring[k + 10 : k + 12];
      x := (n[2] * a[3] - n[3] * a[2]) * v[1] + (n[3] * a[1] - n[1] * a[3]) * v[2] + (n[1] * a[2] - n[2] * a[1]) * v[3];
      y := (b[2] * n[3] - b[3] * n[2]) * v[1] + (b[3] * n[1] - b[1] * n[3]) * v[2] + (b[1] * n[2] - b[2] * n[1]) * v[3];
      IF x >= 0 AND y >= 0 AND (n[1] <> 0 OR n[2] <> 0 OR n[3] <> 0) THEN
        RETURN degrees(asin(least(abs(v[1] * n[1] + v[2] * n[2] + v[3] * n[3]), 1)));
      END IF;
      x := (v[1] - a[1]) * (v[1] - a[1]) + (v[2] - a[2]) * (v[2] - a[2]) + (v[3] - a[3]) * (v[3] - a[3]);
      y := (v[1] - b[1]) * (v[1] - b[1]) + (v[2] - b[2]) * (v[2] - b[2]) + (v[3] - b[3]) * (v[3] - b[3]);
      RETURN degrees(2 * asin(least(sqrt(least(x, y)) / 2, 1)));
    END $$""",
    f"""FUNCTION hven_gap(lon {DOUBLE_TYPE}, lat {DOUBLE_TYPE}, ring {DOUBLE_TYPE}[])
      ... RETURNS {DOUBLE_TYPE} {PLPGSQL_FUNCTION_OPTIONS} AS $$
    DECLARE v {DOUBLE_TYPE}[] := hven_vector(lon, lat); g {DOUBLE_TYPE} := 180;
    BEGIN
      FOR i IN 0 .. ring[1]::integer - 1 LOOP g := least(g, hven_arc_gap(v, ring, i)); END LOOP;
      RETURN g;
    END $$""",
    f"""FUNCTION hven_rings_cross(one {DOUBLE_TYPE}[], two {DOUBLE_TYPE}[])
      ... RETURNS boolean {PLPGSQL_FUNCTION_OPTIONS} AS $$
    DECLARE j integer; k integer; p {DOUBLE_TYPE}; q {DOUBLE_TYPE}; r {DOUBLE_TYPE}; s {DOUBLE_TYPE};
    BEGIN
      FOR i IN 0 .. one[1]::integer - 1 LOOP
        j := 7 + 12 * i;
        FOR o IN 0 .. two[1]::integer - 1 LOOP
          k := 7 + 12 * o;
          p := -(one[j + 10] * two[k + 4] + one[j + 11] * two[k + 5] + one[j + 12] * two[k + 6]);
          q := one[j + 10] * two[k + 7] + one[j + 11] * two[k + 8] + one[j + 12] * two[k + 9];
          r := -(two[k + 10] * one[j + 7] + two[k + 11] * one[j + 8] + two[k + 12] * one[j + 9]);
          s := two[k + 10] * one[j + 4] + two[k + 11] * one[j + 5] + two[k + 12] * one[j + 6];
          IF (p > {_TOLERANCE_RADIANS} AND q > {_TOLERANCE_RADIANS} AND r > {_TOLERANCE_RADIANS}
            ... AND s > {_TOLERANCE_RADIANS}) OR (p < -{_TOLERANCE_RADIANS} AND q < -{_TOLERANCE_RADIANS}
            ... AND r < -{_TOLERANCE_RADIANS} AND s < -{_TOLERANCE_RADIANS}) THEN
            RETURN TRUE;
          END IF;
        END LOOP;
      END LOOP;
      RETURN FALSE;
    END $$""",
    f"""FUNCTION hven_area(p {DOUBLE_TYPE}[]) RETURNS {DOUBLE_TYPE} {PLPGSQL_FUNCTION_OPTIONS} AS $$
    BEGIN
      IF cardinality(p) = 3 AND abs(p[3]) < 1e-150 THEN RETURN 0; END IF;
      RETURN CASE cardinality(p) WHEN 2 THEN 0 WHEN 3
        ... THEN 129600 / pi() * power(sin(radians(least(p[3], 180)) / 2), 2) ELSE (hven_ring(p))[3] END;
    END $$""",
    f"""FUNCTION hven_intersects(one {DOUBLE_TYPE}[], two {DOUBLE_TYPE}[])
      ... RETURNS boolean {PLPGSQL_FUNCTION_OPTIONS} AS $$
    DECLARE r {DOUBLE_TYPE}[]; s {DOUBLE_TYPE}[]; k integer;
    BEGIN
      IF cardinality(one) > cardinality(two) THEN RETURN hven_intersects(two, one); END IF;
      IF cardinality(one) = 2 THEN RETURN hven_contains(one, two); END IF;
      IF cardinality(one) = 3 AND cardinality(two) = 3 THEN
        RETURN one[3] >= 0 AND two[3] >= 0
          ... AND hven_distance(one[1], one[2], two[1], two[2]) <= one[3] + two[3] + {_TOLERANCE_DEGREES};
      END IF;
      IF cardinality(one) = 3 AND one[3] >= 0 AND hven_holds(one[1], one[2], two) THEN RETURN TRUE; END IF;
      s := hven_ring(two);
      IF cardinality(s) = 0 THEN RETURN FALSE; END IF;
      IF cardinality(one) = 3 THEN RETURN one[3] >= 0
        ... AND hven_gap(one[1], one[2], s) <= one[3] + {_TOLERANCE_DEGREES}; END IF;
      r := hven_ring(one);
      IF cardinality(r) = 0 THEN RETURN FALSE; END IF;
      IF r[3] <= 10000 AND s[3] <= 10000 AND r[4] <= 60 AND s[4] <= 60
        ... AND r[5] * s[5] + r[6] * s[6] + r[7] * s[7] < cos(radians(r[4] + s[4] + 1e-5)) - 1e-13 THEN
        RETURN FALSE;
      END IF;
      FOR i IN 1 .. cardinality(one) / 2 LOOP IF hven_in_ring(one[2 * i - 1], one[2 * i], s) THEN RETURN TRUE;
        ... END IF; END LOOP;
      FOR i IN 1 .. cardinality(two) / 2 LOOP IF hven_in_ring(two[2 * i - 1], two[2 * i], r) THEN RETURN TRUE;
        ... END IF; END LOOP;
      RETURN hven_rings_cross(r, s);
    END $$""",
    f"""FUNCTION hven_contains(one {DOUBLE_TYPE}[], two {DOUBLE_TYPE}[])
      ... RETURNS boolean {PLPGSQL_FUNCTION_OPTIONS} AS $$
    DECLARE r {DOUBLE_TYPE}[]; s {DOUBLE_TYPE}[]; k integer; lon {DOUBLE_TYPE}; lat {DOUBLE_TYPE};
    BEGIN  -- the first in the second
      IF cardinality(one) = 2 THEN
        RETURN CASE cardinality(two) WHEN 2 THEN hven_distance(one[1], one[2], two[1], two[2]) <= 0
          WHEN 3 THEN hven_in_circle(one[1], one[2], two[1], two[2], two[3])
            ... ELSE hven_in_ring(one[1], one[2], hven_ring(two)) END;
      END IF;
      IF cardinality(two) = 2 THEN RETURN cardinality(one) = 3 AND one[3] = 0
        ... AND hven_distance(one[1], one[2], two[1], two[2]) <= {_TOLERANCE_DEGREES}; END IF;
      IF cardinality(one) = 3 AND cardinality(two) = 3 THEN
        RETURN one[3] >= 0 AND (two[3] >= 180
          ... OR hven_distance(one[1], one[2], two[1], two[2]) + one[3] <= two[3] + {_TOLERANCE_DEGREES});
      END IF;
      IF cardinality(one) = 3 THEN
        s := hven_ring(two);
        RETURN cardinality(s) > 0 AND one[3] >= 0 AND hven_in_ring(one[1], one[2], s)
          ... AND hven_gap(one[1], one[2], s) >= one[3] - {_TOLERANCE_DEGREES};
      END IF;
      r := hven_ring(one);
      IF cardinality(r) = 0 THEN RETURN FALSE; END IF;
      IF cardinality(two) = 3 THEN  -- it keeps away from the circle that is the rest of the sky
        RETURN two[3] >= 0 AND (two[3] >= 180 OR (NOT hven_in_ring(two[1] + 180, -two[2], r)
          ... AND hven_gap(two[1] + 180, -two[2], r) >= 180 - two[3] - {_TOLERANCE_DEGREES}));
      END IF;
      s := hven_ring(two);
      IF cardinality(s) = 0 OR r[3] > s[3] * (1 + 1e-9) + 1e-18 THEN RETURN FALSE; END IF;
      FOR i IN 1 .. cardinality(one) / 2 LOOP IF NOT hven_in_ring(one[2 * i - 1], one[2 * i], s) THEN RETURN FALSE;
        ... END IF; END LOOP;
      FOR i IN 0 .. r[1]::integer - 1 LOOP  -- the middles of the edges
        k := 7 + 12 * i;
        lon := degrees(atan2(r[k + 5] + r[k + 8], r[k + 4] + r[k + 7]));
        lat := degrees(atan2(r[k + 6] + r[k + 9],
          ... sqrt((r[k + 4] + r[k + 7]) * (r[k + 4] + r[k + 7]) + (r[k + 5] + r[k + 8]) * (r[k + 5] + r[k + 8]))));
        IF NOT hven_in_ring(lon, lat, s) THEN RETURN FALSE; END IF;
      END LOOP;
      RETURN NOT hven_rings_cross(r, s);
    END $$""",
)
SPHERE_FUNCTION_DEFINITIONS: tuple[str, ...] = join_folded_lines(_FOLDED_DEFINITIONS)

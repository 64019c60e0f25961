"""SQL texts of the functions that Hven installs in PostgreSQL: arithmetic, text and HEALPix as in the embedded engine.

The module `sphere_functions` has the functions over shapes.

PostgreSQL raises an error if floating-point arithmetic underflows. The functions therefore move factors away from 0, by
amounts that no answer shows.
"""

from __future__ import annotations

from hven.plugins.postgres.engine.function_texts import (
    DOUBLE_TYPE,
    PLPGSQL_FUNCTION_OPTIONS,
    SQL_FUNCTION_OPTIONS,
    join_folded_lines,
)
from hven.plugins.postgres.engine.sphere_functions import SPHERE_FUNCTION_DEFINITIONS

_REPLACED_BYTES_SQL = (
    "(octet_length(s) + (octet_length(s) - octet_length(replace(s, old, '')))"
    " / CAST(nullif(octet_length(old), 0) AS bigint) * (octet_length(new) - octet_length(old)))"
)
# sign, degrees or hours, minutes, seconds
_SEPARATED_ANGLE_REGEX = (
    r"^\s*([+-]?)\s*(\d{1,3})\s*[:hHdD\u00B0\s]\s*(\d{1,2}(?:\.\d*)?)\s*"
    r"""(?:[:mM''\u2032\s]\s*(\d{1,2}(?:\.\d*)?)?\s*[sS"\u2033]?)?\s*$"""
)
_PACKED_ANGLE_REGEX = r"^\s*([+-]?)(\d{2,3})(\d{2})(\d{2}(?:\.\d*)?)\s*$"
_MATCHED_BYTES_SQL = "(octet_length(s) + CAST(1 + octet_length(s) AS bigint) * octet_length(new))"

_FOLDED_DEFINITIONS = (
    # Always true, and the planner removes it. It keeps PostgreSQL from planning parallel workers, which it would start
    # even where an index of cells finds a hundred rows.
    "FUNCTION hven_alone() RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL UNSAFE AS $$ SELECT true $$",
    # Like fmod: each step subtracts the largest product of y and a power of 2, so that every difference is exact.
    f"""FUNCTION hven_remainder(x {DOUBLE_TYPE}, y {DOUBLE_TYPE})
      ... RETURNS {DOUBLE_TYPE} {PLPGSQL_FUNCTION_OPTIONS} AS $$
    DECLARE r {DOUBLE_TYPE} := abs(x); d {DOUBLE_TYPE} := abs(y); t {DOUBLE_TYPE};
    BEGIN
      IF d = 0 THEN RETURN NULL; END IF;
      IF r = 'infinity' OR r = 'nan' OR d = 'nan' THEN RETURN 'nan'; END IF;
      WHILE r >= d LOOP
        t := d * power(2::{DOUBLE_TYPE}, floor(ln(r / d) / ln(2::{DOUBLE_TYPE})));
        IF t > r THEN t := t / 2; ELSIF t <= r / 2 THEN t := t * 2; END IF;
        r := r - t;
      END LOOP;
      RETURN CASE WHEN x < 0 THEN -r ELSE r END;
    END $$""",
    # A double resolves 40 microseconds of a Julian date, so the result has tenths of a millisecond. Intervals are exact
    # in days.
    f"""FUNCTION hven_iso(jd {DOUBLE_TYPE}) RETURNS timestamp {PLPGSQL_FUNCTION_OPTIONS} AS $$
    DECLARE n bigint := round((jd - 2440587.5) * 864000000);
    BEGIN
      RETURN timestamp '1970-01-01' + CAST(n / 864000000 AS integer) * interval '1 day' + n % 864000000
        ... * interval '100 microseconds';
    END $$""",
    f"""FUNCTION hven_sized(words text[], size integer) RETURNS text[] {PLPGSQL_FUNCTION_OPTIONS} AS $$
    BEGIN
      IF cardinality(words) <> size THEN
        RAISE data_exception USING MESSAGE = format('the text has %s numbers, but such a shape has %s',
          ... cardinality(words), size);
      END IF;
      RETURN words;
    END $$""",
    # A result out of range is infinite or 0, as in IEEE 754, and not an error.
    f"""FUNCTION hven_exp(x {DOUBLE_TYPE}) RETURNS {DOUBLE_TYPE} {SQL_FUNCTION_OPTIONS} STRICT AS $$
      SELECT CASE WHEN x > 709.782712893384 AND x <> 'nan' THEN 'infinity'::{DOUBLE_TYPE} WHEN x < -708.3 THEN 0
        ... ELSE exp(x) END $$""",
    f"""FUNCTION hven_power(x {DOUBLE_TYPE}, y {DOUBLE_TYPE}) RETURNS {DOUBLE_TYPE} {PLPGSQL_FUNCTION_OPTIONS} AS $$
    DECLARE size {DOUBLE_TYPE}; odd boolean;
    BEGIN
      IF y = 0 OR x = 1 THEN RETURN 1; END IF;
      IF x = 'nan' OR y = 'nan' THEN RETURN 'nan'; END IF;
      IF abs(x) = 'infinity' OR abs(y) = 'infinity' THEN RETURN power(x, y); END IF;
      odd := y = trunc(y) AND abs(y) < 9007199254740992 AND y::numeric % 2 <> 0;
      IF x = 0 THEN RETURN CASE WHEN y > 0 THEN 0 ELSE 'infinity'::{DOUBLE_TYPE} END; END IF;
      IF x < 0 AND y <> trunc(y) THEN RETURN 'nan'; END IF;
      size := CASE WHEN abs(y) > 1e6 THEN y / 1e6 * ln(abs(x)) * 1e6 ELSE y * (ln(abs(x)) + 1e-300) END;
      IF size > 709.7827 AND size > 709.782712893384 THEN RETURN CASE WHEN x < 0 AND odd
        ... THEN '-infinity'::{DOUBLE_TYPE} ELSE 'infinity'::{DOUBLE_TYPE} END; END IF;
      IF size < -708.3 THEN RETURN 0; END IF;
      RETURN power(x, y);
    END $$""",
    f"""FUNCTION hven_whole(x {DOUBLE_TYPE}) RETURNS {DOUBLE_TYPE} {SQL_FUNCTION_OPTIONS} STRICT AS $$
      SELECT CASE WHEN abs(x) < 4503599627370496 AND abs(x - trunc(x)) >= 0.5 THEN trunc(x) + sign(x)
        ... ELSE trunc(x) END $$""",
    f"""FUNCTION hven_round(x {DOUBLE_TYPE}, digits integer) RETURNS {DOUBLE_TYPE} {PLPGSQL_FUNCTION_OPTIONS} AS $$
    DECLARE f {DOUBLE_TYPE};
    BEGIN
      IF digits = 0 THEN RETURN hven_whole(x); END IF;
      IF abs(x) = 'infinity' OR x = 'nan' OR digits > 300 THEN RETURN x; END IF;
      f := power(10::{DOUBLE_TYPE}, least(abs(digits), 308));
      IF digits < 0 THEN RETURN CASE WHEN abs(x) / f < 0.5 THEN 0 ELSE hven_whole(x / f) * f END; END IF;
      RETURN CASE WHEN abs(x) > 1e308 / f THEN x ELSE hven_whole(x * f) / f END;
    END $$""",
    f"""FUNCTION hven_truncate(x {DOUBLE_TYPE}, digits integer) RETURNS {DOUBLE_TYPE} {PLPGSQL_FUNCTION_OPTIONS}
      ... AS $$
    DECLARE f {DOUBLE_TYPE};
    BEGIN
      IF digits = 0 THEN RETURN trunc(x); END IF;
      IF abs(x) = 'infinity' OR x = 'nan' OR digits > 300 THEN RETURN x; END IF;
      f := power(10::{DOUBLE_TYPE}, least(abs(digits), 308));
      IF digits < 0 THEN RETURN CASE WHEN abs(x) < f THEN 0 ELSE trunc(x / f) * f END; END IF;
      RETURN CASE WHEN abs(x) > 1e308 / f THEN x ELSE trunc(x * f) / f END;
    END $$""",
    # The shortest text from which PostgreSQL reads the same number, with a decimal point as in all answers of Hven.
    f"""FUNCTION hven_digits(t text, size {DOUBLE_TYPE}) RETURNS text {SQL_FUNCTION_OPTIONS} STRICT AS $$
      SELECT CASE WHEN t ~ 'Inf|NaN' THEN replace(lower(t), 'infinity', 'inf')
        WHEN t ~ '^-?[0-9]+$' THEN t || '.0'
        WHEN size < 1e16 AND t ~ 'e[+]' THEN CASE WHEN CAST(CAST(t AS numeric) AS text) ~ '[.]'
          ... THEN CAST(CAST(t AS numeric) AS text)
             ELSE CAST(CAST(t AS numeric) AS text) || '.0' END
        ELSE t END $$""",
    (
        f"FUNCTION hven_number(x {DOUBLE_TYPE}) RETURNS text {SQL_FUNCTION_OPTIONS} STRICT AS $$ SELECT "
        f"hven_digits(CAST(x AS text), abs(x)) $$"
    ),
    (
        f"FUNCTION hven_number(x real) RETURNS text {SQL_FUNCTION_OPTIONS} STRICT AS $$ SELECT hven_digits(CAST(x "
        f"AS text), abs(CAST(x AS {DOUBLE_TYPE}))) $$"
    ),
    # A text that is no number raises an error that quotes the text: SQL without plpgsql has no other way to raise one.
    # The text depends on the size of a row's texts, because PostgreSQL computes constants before it knows whether it
    # needs them.
    f"""FUNCTION hven_longest(size bigint, most bigint) RETURNS text {SQL_FUNCTION_OPTIONS} AS $$
      SELECT CAST(CAST('a text of ' || size || ' bytes would be built; ' || most || ' are the most' AS integer)
        ... AS text) $$""",
    f"""FUNCTION hven_longer(size bigint, most bigint) RETURNS text {SQL_FUNCTION_OPTIONS} AS $$
      SELECT CAST(CAST('a text of more than ' || most || ' bytes would be built'
        ... || left('', CAST(size % 2 AS integer)) AS integer) AS text) $$""",
    f"""FUNCTION hven_replace(s text, old text, new text, most bigint) RETURNS text {SQL_FUNCTION_OPTIONS} AS $$
      SELECT CASE WHEN CAST(octet_length(s) AS bigint) * (1 + octet_length(new)) > most AND {_REPLACED_BYTES_SQL} > most
        THEN hven_longest({_REPLACED_BYTES_SQL}, most) ELSE replace(s, old, new) END $$""",
    # The number of matches is not known before. The expression matches at most once at each character, and its groups
    # are not longer than the text.
    f"""FUNCTION hven_regexp_replace(s text, pattern text, new text, most bigint)
      ... RETURNS text {SQL_FUNCTION_OPTIONS} AS $$
      SELECT CASE WHEN {_MATCHED_BYTES_SQL} > 4 * most THEN hven_longest({_MATCHED_BYTES_SQL}, 4 * most)
        ... ELSE regexp_replace(s, pattern, new, 'g') END $$""",
    """FUNCTION hven_joined(most bigint, parts text[]) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
    DECLARE part text; size bigint := 0;
    BEGIN
      FOREACH part IN ARRAY parts LOOP size := size + octet_length(part); END LOOP;
      RETURN CASE WHEN size > most THEN hven_longer(size, most) WHEN size IS NOT NULL
        ... THEN array_to_string(parts, '') END;
    END $$""",
    """FUNCTION hven_rows_joined(size bigint, row_text text, delimiter text, most bigint)
      ... RETURNS bigint LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
    BEGIN
      size := coalesce(size, 0) + coalesce(octet_length(row_text) + coalesce(octet_length(delimiter), 0), 0);
      IF size > most THEN
        RAISE out_of_memory USING MESSAGE = format('a text of more than %s bytes would be joined of rows', most);
      END IF;
      RETURN size;
    END $$""",
    f"""FUNCTION hven_sexagesimal(s text) RETURNS {DOUBLE_TYPE} {PLPGSQL_FUNCTION_OPTIONS} AS $$
    DECLARE p text[]; b {DOUBLE_TYPE}; c {DOUBLE_TYPE};
    BEGIN
      p := regexp_match(s, '{_SEPARATED_ANGLE_REGEX}');
      IF p IS NULL THEN p := regexp_match(s, '{_PACKED_ANGLE_REGEX}'); END IF;
      IF p IS NULL THEN RETURN NULL; END IF;
      b := p[3]; c := coalesce(nullif(p[4], ''), '0');
      IF b > 60 OR c > 60 OR (b = 60 AND coalesce(p[4], '') <> '') THEN RETURN NULL; END IF;
      RETURN CASE WHEN p[1] = '-' THEN -1 ELSE 1 END * (CAST(p[2] AS {DOUBLE_TYPE}) + b / 60 + c / 3600);
    END $$""",
    f"""FUNCTION hven_bin(x {DOUBLE_TYPE}, low {DOUBLE_TYPE}, high {DOUBLE_TYPE}, bins integer)
      ... RETURNS integer {SQL_FUNCTION_OPTIONS} AS $$
      SELECT CASE WHEN x IS NULL OR x = 'nan' OR x < low THEN 0 WHEN x >= high THEN bins + 1
        WHEN x - low < 1e-15 AND high - low > 1 THEN 1 -- a quotient too small for a double is an error
        ELSE least(1 + CAST(floor((x - low) / (high - low) * bins) AS integer), bins) END $$""",
    """FUNCTION hven_count_bin(counts integer[], bin integer, bins integer)
      ... RETURNS integer[] LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
    BEGIN
      IF counts IS NULL THEN counts := array_fill(0, ARRAY[bins + 2]); END IF;
      counts[bin + 1] := counts[bin + 1] + 1;
      RETURN counts;
    END $$""",
    # --- HEALPix (Gorski et al. 2005), nested scheme
    f"""FUNCTION hven_spread(v bigint) RETURNS bigint {SQL_FUNCTION_OPTIONS} STRICT AS $$
      SELECT (d | (d << 1)) & 6148914691236517205 FROM (SELECT (c | (c << 2)) & 3689348814741910323 FROM
        (SELECT (b | (b << 4)) & 1085102592571150095 FROM (SELECT (a | (a << 8)) & 71777214294589695 FROM
        (SELECT (v | (v << 16)) & 281470681808895) AS p(a)) AS q(b)) AS r(c)) AS s(d) $$""",
    f"""FUNCTION hven_gather(v bigint) RETURNS bigint {SQL_FUNCTION_OPTIONS} STRICT AS $$
      SELECT (e | (e >> 16)) & 4294967295 FROM (SELECT (d | (d >> 8)) & 281470681808895
        ... FROM (SELECT (c | (c >> 4)) & 71777214294589695 FROM
        (SELECT (b | (b >> 2)) & 1085102592571150095 FROM (SELECT (a | (a >> 1)) & 3689348814741910323 FROM
        (SELECT v & 6148914691236517205) AS p(a)) AS q(b)) AS r(c)) AS s(d)) AS t(e) $$""",
    f"""FUNCTION hven_healpix(level integer, lon {DOUBLE_TYPE}, lat {DOUBLE_TYPE})
      ... RETURNS bigint {PLPGSQL_FUNCTION_OPTIONS} AS $$
    DECLARE n bigint; z {DOUBLE_TYPE}; za {DOUBLE_TYPE}; tt {DOUBLE_TYPE}; jp bigint; jm bigint; face bigint;
      ... ix bigint; iy bigint; k integer; t {DOUBLE_TYPE};
    BEGIN
      IF level < 0 OR level > 29 OR lon = 'nan' OR lat = 'nan' OR abs(lon) = 'infinity' OR abs(lat) > 90
        ... THEN RETURN NULL; END IF;
      n := 1::bigint << level; lon := lon + 1e-100; z := sin(radians(lat + 1e-100)); za := abs(z);
      tt := (lon - 360 * floor(lon / 360)) / 90; IF tt >= 4 THEN tt := 0; END IF;
      IF za <= 2 / 3::{DOUBLE_TYPE} THEN
        jp := ceil(n * (0.5 + tt) - n * z * 0.75) - 1; jm := floor(n * (0.5 + tt) + n * z * 0.75);
        face := CASE WHEN jp >> level = jm >> level THEN (jp >> level) | 4 WHEN jp >> level < jm >> level
          ... THEN jp >> level ELSE (jm >> level) + 8 END;
        ix := jm & (n - 1); iy := n - (jp & (n - 1)) - 1;
      ELSE
        k := least(3, floor(tt)); tt := tt - k;
        t := n * CASE WHEN za < 0.99 THEN sqrt(3 * (1 - za)) ELSE cos(radians(lat)) / sqrt((1 + za) / 3) END;
        jp := least(floor(tt * t), n - 1); jm := least(floor((1 - tt) * t), n - 1);
        IF z >= 0 THEN face := k; ix := n - jm - 1; iy := n - jp - 1; ELSE face := k + 8; ix := jp; iy := jm; END IF;
      END IF;
      RETURN (face << (2 * level)) + hven_spread(ix) + (hven_spread(iy) << 1);
    END $$""",
    f"""FUNCTION hven_cells_at(lon {DOUBLE_TYPE}, lat {DOUBLE_TYPE}) RETURNS bigint[] {SQL_FUNCTION_OPTIONS} AS $$
      SELECT array_agg(n >> 2 * k) || -n
        ... FROM (SELECT hven_healpix(29, lon, lat) + (1::bigint << 60)) AS p(n),
        ... generate_series(0, 29) AS k GROUP BY n $$""",
    # The cells are at least four times as wide as a circle around the shape. No corner of a cell is narrower than 50
    # degrees. A cell that the circle touches therefore contains its centre or one of twenty points at twice its radius.
    f"""FUNCTION hven_cells_around(p {DOUBLE_TYPE}[]) RETURNS bigint[] {PLPGSQL_FUNCTION_OPTIONS} AS $$
    DECLARE c {DOUBLE_TYPE}[] := hven_cap(p); arc {DOUBLE_TYPE}; level integer; u {DOUBLE_TYPE}[];
      ... w {DOUBLE_TYPE}[]; s {DOUBLE_TYPE}; r {DOUBLE_TYPE}; a {DOUBLE_TYPE}; b {DOUBLE_TYPE};
      ... x {DOUBLE_TYPE}; y {DOUBLE_TYPE}; z {DOUBLE_TYPE}; own bigint[] := '{{}}';
    BEGIN
      IF cardinality(p) = 2 THEN RETURN hven_cells_at(p[1], p[2]); END IF;
      arc := greatest(c[4], 0) + 2e-8;
      IF c IS NULL OR arc > 0.17 THEN RETURN (SELECT array_agg(n) || array_agg(-n)
        ... FROM generate_series(4::bigint, 15) AS n); END IF;
      level := floor(ln(0.17 / arc) / ln(2::{DOUBLE_TYPE}));
      s := sqrt(1 - c[3] * c[3]);
      IF s > 0.1 THEN u := ARRAY[-c[2] / s, c[1] / s, 0]; ELSE s := sqrt(1 - c[1] * c[1]);
        ... u := ARRAY[0, -c[3] / s, c[2] / s]; END IF;
      w := ARRAY[c[2] * u[3] - c[3] * u[2], c[3] * u[1] - c[1] * u[3], c[1] * u[2] - c[2] * u[1]];
      FOR i IN 0 .. 20 LOOP
        r := CASE WHEN i = 0 THEN 0 ELSE sin(2 * arc) END; s := CASE WHEN i = 0 THEN 1 ELSE cos(2 * arc) END;
        a := r * cos(0.1 + i * pi() / 10); b := r * sin(0.1 + i * pi() / 10);
        x := s * c[1] + a * u[1] + b * w[1]; y := s * c[2] + a * u[2] + b * w[2]; z := s * c[3] + a * u[3] + b * w[3];
        own := own || hven_healpix(level, degrees(atan2(y, x)),
          ... degrees(atan2(z, sqrt(x * x + y * y + 1e-100)))) + (4::bigint << 2 * level);
      END LOOP;
      RETURN (SELECT array_agg(DISTINCT n >> 2 * k) || array_agg(DISTINCT -n)
        ... FROM unnest(own) AS n, generate_series(0, level) AS k);
    END $$""",
    f"""FUNCTION hven_healpix_center(level integer, cell bigint) RETURNS {DOUBLE_TYPE}[] {PLPGSQL_FUNCTION_OPTIONS}
      ... AS $$
    DECLARE n bigint; face integer; p bigint; ix bigint; iy bigint; jr bigint; nr bigint; z {DOUBLE_TYPE};
      ... s {DOUBLE_TYPE}; t {DOUBLE_TYPE};
    BEGIN
      IF level < 0 OR level > 29 OR cell < 0 OR cell >= 12 * (1::bigint << (2 * level)) THEN RETURN NULL; END IF;
      n := 1::bigint << level; face := cell >> (2 * level); p := cell & ((1::bigint << (2 * level)) - 1);
      ix := hven_gather(p); iy := hven_gather(p >> 1); jr := n * (face / 4 + 2) - ix - iy - 1;
      IF jr < n THEN nr := jr; t := nr::{DOUBLE_TYPE} * nr / (3 * n::{DOUBLE_TYPE} * n); z := 1 - t;
        ... s := sqrt(t * (2 - t));
      ELSIF jr > 3 * n THEN nr := 4 * n - jr; t := nr::{DOUBLE_TYPE} * nr / (3 * n::{DOUBLE_TYPE} * n); z := t - 1;
        ... s := sqrt(t * (2 - t));
      ELSE nr := n; z := (2 * n - jr) * 2 / (3 * n::{DOUBLE_TYPE}); s := sqrt((1 - z) * (1 + z)); END IF;
      t := (CASE WHEN face / 4 = 1 THEN 2 * (face % 4) ELSE 2 * (face % 4) + 1 END) * nr + ix - iy;
      IF t < 0 THEN t := t + 8 * nr; END IF;
      RETURN ARRAY[45 * t / nr, degrees(atan2(z, s))];
    END $$""",
)
FUNCTION_DEFINITIONS: tuple[str, ...] = (*join_folded_lines(_FOLDED_DEFINITIONS), *SPHERE_FUNCTION_DEFINITIONS)

#: Hven creates an aggregate only if it is missing: nobody can replace an aggregate that a session uses.
AGGREGATE_DEFINITIONS: tuple[tuple[str, str], ...] = (
    (
        "hven_histogram(integer, integer)",
        "AGGREGATE hven_histogram(integer, integer) (SFUNC = hven_count_bin, STYPE = integer[])",
    ),
    (
        "hven_room(text, text, bigint)",
        "AGGREGATE hven_room(text, text, bigint) (SFUNC = hven_rows_joined, STYPE = bigint)",
    ),
)

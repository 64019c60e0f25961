// Types of the server's answers and of objects that panes share. They do not exist in the browser.

declare global {
  interface Window {
    /** The maps and plots of a page, for the console and for tests. */
    hven?: Record<string, any>;
  }
}

/** Translate a text into the user's language; `{name}` is replaced by a value. */
export type Translate = (text: string, values?: Record<string, unknown>) => string;

/** A value of a row: its text, or a cell with more (`Cell` of the server). */
export type Cell = { text: string; href?: string; title?: string; picture?: boolean; corners?: number };
export type Value = string | Cell | null;

export type Column = {
  name: string;
  label: string;
  description: string;
  /** The tooltip: name and description. */
  title: string;
  unit: string;
  /** The unit in a readable form. */
  unit_text: string;
  /** The unit that is used by default. */
  usual_unit: string;
  stored_unit: string;
  /** The stored unit in a readable form. */
  stored_text: string;
  /** The names of the two columns that this one combines. */
  of?: string[];
  units?: string[];
  unit_texts?: string[];
  ucd: string;
  kind: string;
  numeric: boolean;
  /** Whether all rows of the table have the same value. */
  alike?: boolean;
};

export type Fault = { field: string; message: string; remedy: string };

export type ColumnPair = { name: string; label: string; title: string; low: number; high: number };

/** `/rows`: a page of rows. */
export type Rows = {
  columns: Column[];
  /** Columns that are displayed as one: indices of the lower and the upper value. */
  pairs?: ColumnPair[];
  rows: Value[][];
  keys: string[];
  from: number;
  more: boolean;
  state: string | null;
  lost: boolean;
  total: number | null;
  exact: boolean;
  adql: string;
  faults?: Fault[];
  /** The names of the displayed columns, in order. */
  drawn: string[];
  /** The files of each line's observation; absent if each row is a line. */
  files?: RowFile[][];
  /** The number of rows behind the lines. */
  of_rows?: number | null;
};

/** A file of an observation: key of its row, addresses of file and picture, and what distinguishes it. */
export type RowFile = { key: string; href: string; text: string; bytes: number | null; picture?: string };

/** `/row`: `row` is null if it no longer exists. */
export type Row = {
  columns: Column[];
  row: Value[] | null;
  locked: { until: string; contact: string } | null;
  links?: Link[];
  /** Title, file, citation, and the other files of the observation. */
  title?: string;
  file?: { href: string; bytes: number | null } | null;
  cite?: { text: string; bibtex: string } | null;
  files?: RowFile[];
  /** Headings with the indices of their columns. */
  sections?: { title: string; columns: number[] }[];
};

/** A link of a row, as in DataLink. */
export type Link = {
  text: string;
  href: string;
  semantics: string;
  type: string;
  bytes: number | null;
  picture: boolean;
  locked: boolean;
};

/** `/header`: the header of a row's file. */
export type FileHeader = {
  file: string;
  hdus: {
    name: string;
    cards: { keyword: string; value: string; comment: string }[];
    notes: { keyword: string; text: string }[];
  }[];
};

/** `/count`: the number of rows, and the server's reading of the address. */
export type Count = {
  total: number | null;
  exact: boolean;
  /** If there are no rows: the searches with fewer conditions. */
  without: RelaxedSearch[];
  faults: Fault[];
  asked: Chip[];
  fields: Record<string, ConditionParts>;
  place: { centre: string; size: string; unit: string; found: string } | null;
  every: string;
};
export type ConditionParts = { low: string; high: string; unit: string; around: string };
/** Conditions that are left out, the range of their values then, and the number of rows or observations. */
export type RelaxedSearch = {
  left: (Chip & { range: string })[];
  rows: number;
  observations: boolean;
  address: string;
};
export type Chip = { name: string; label: string; value: string; address: string; when?: string };

/**
 * `/facets`: values of a column with their counts.
 * `field`: the choices are complete and stand in the column's form field. `counted`: false if the count took too long.
 */
export type Facet = {
  column: string;
  label: string;
  choices: Choice[];
  field: boolean;
  more: boolean;
  exact: boolean;
  counted: boolean;
};
/** `rows` is null if they are not counted. */
export type Choice = { value: string | null; label: string; rows: number | null; chosen: boolean };

/** `/places`: rows on a map, as points, footprints, or counts of cells. */
export type Places = {
  total: number;
  /** Whether files of observations are counted, which are not the lines of the page. */
  files?: boolean;
  lon: number[];
  lat: number[];
  counts: number[];
  keys: string[];
  shapes: string[];
  outlines: number[][][];
  names: string[];
  colouring: Colouring | null;
  colours: { name: string; label: string }[];
  frame: Frame | null;
  body?: string;
  km?: number | null;
  grounds?: { kind: string; url: string; notice: string }[];
  /** Whether this installation has no base maps. */
  uninstalled?: boolean;
  features?: Feature[];
};
/** Colours of rows by a column: the index of each row's value among the choices, or a number between low and high. */
export type Colouring = {
  column: string;
  label: string;
  unit: string;
  values: (number | null)[];
  choices: [string | null, string, number][];
  low: number | null;
  high: number | null;
};
export type Feature = { name: string; lon: number; lat: number; size: number };
/** The extent of a map: `box` has west, south, east and north; `radius` is that of a disc, or 0. */
export type Frame = {
  box: [number, number, number, number];
  fields: [string, string];
  unit: string;
  radius: number;
  said: string;
};

export type Axis = {
  name?: string;
  label: string;
  unit: string;
  time?: boolean;
  error?: { name: string; values: (number | null)[] };
  /** The unit of converted values, as conditions write it. */
  condition_unit?: string;
  /** Whether the values are reciprocals of the stored ones. */
  is_reciprocal?: boolean;
};

/** `/histogram`. */
export type Histogram = Axis & { column: string; low: number; high: number; counts: number[]; missing: number };

/** `/points`: values by axis, or a density if there are too many. */
export type Points = {
  axes: Axis[];
  values: (number | string | null)[][];
  keys: string[];
  more?: boolean;
  total?: number;
  density?: Density | null;
};
export type Density = { box: [number, number, number, number]; counts: number[][] };

/** `/take`: the export options of a result. */
export type ExportOptions = {
  adql: string;
  /** Code lines; `signed` is a template around the address `url` if that must be signed. */
  lines: { name: string; text: string; url?: string; signed?: string }[];
  formats: { name: string; label: string }[];
  scripts: { name: string }[];
  links: { name: string; label: string }[];
  files: { column: string; files: number; bytes: number | null; sized: number; most: number } | null;
  /** The content of an archive; null if it is unknown. */
  archive: { files: number; bytes: number; missing: number } | null;
  region: Region | null;
  /** False if no job of this site can query the table. */
  jobs?: boolean;
  /** The address of the rows as a VOTable and their keys, if they were requested. */
  table: string;
  keys: string[];
};
/** A region in degrees: centre and radius of a circle, or corners of a polygon. */
export type Region = { circle?: [number, number, number]; polygon?: number[] };

/** A layer of a map; `set` changes its visibility and opacity. */
export type Layer = {
  name: string;
  sign?: string;
  colour?: string;
  on?: boolean;
  opacity?: number;
  description?: string;
  choice?: Node | null;
  set: (on: boolean, opacity: number) => void;
};

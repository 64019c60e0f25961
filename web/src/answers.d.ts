// What the server answers to the panes, and what they share, as types: nothing of it is left in what browsers load.

declare global {
  interface Window {
    /** What the maps and plots of a page are, for who looks at them in the console, and for tests. */
    hven?: { aladin?: any; body?: any; plot?: any; cube?: any; spectrum?: any; timeline?: any };
  }
}

/** The words of the page in the reader's language; `{name}` is filled with a value. */
export type Translate = (text: string, values?: Record<string, unknown>) => string;

/** A value of a row: its text, or more than that (`Cell` of the server). */
export type Cell = { text: string; href?: string; title?: string; picture?: boolean; corners?: number };
export type Value = string | Cell | null;

export type Column = {
  name: string;
  label: string;
  description: string;
  /** What is told when one points at it: its name, and the description. */
  title: string;
  unit: string;
  /** The unit as people write it. */
  unit_text: string;
  /** The unit if nobody chooses one. */
  usual_unit: string;
  stored_unit: string;
  /** The same as people write it. */
  stored_text: string;
  /** Names of the two columns that are told as this one. */
  of?: string[];
  units?: string[];
  unit_texts?: string[];
  ucd: string;
  kind: string;
  numeric: boolean;
  /** All rows of the table have the same value. */
  alike?: boolean;
};

export type Fault = { field: string; message: string; remedy: string };

export type ColumnPair = { name: string; label: string; title: string; low: number; high: number };

/** `/rows`: one page of them. */
export type Rows = {
  columns: Column[];
  /** Columns that are told as one, by their numbers, as the values rise. */
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
  /** Names of the columns that are shown, in their order. */
  drawn: string[];
  /** Of each line the files of its observation; none where each row is a line. */
  files?: RowFile[][];
  /** How many rows the lines are of. */
  of_rows?: number | null;
};

/** A file of an observation: the key of its row, where it and its picture are, what tells it from the others. */
export type RowFile = { key: string; href: string; text: string; bytes: number | null; picture?: string };

/** `/row`: `row` is null if it is no longer there. */
export type Row = {
  columns: Column[];
  row: Value[] | null;
  locked: { until: string; contact: string } | null;
  links?: Link[];
  /** What the row is called; its file; how it is cited; the other files of its observation. */
  title?: string;
  file?: { href: string; bytes: number | null } | null;
  cite?: { text: string; bibtex: string } | null;
  files?: RowFile[];
  /** Headings, each with the numbers of its columns. */
  sections?: { title: string; columns: number[] }[];
};

/** What a row leads to, as DataLink has it. */
/** A row of a search over several tables: where it is from (its table as the search, and as its page, knows it), its key, page and picture. */
export type SearchResultRow = {
  from: string;
  key: string;
  table: string;
  row: string;
  url: string;
  picture: string;
  cells: Value[];
};

/** Rows of such a search, under the columns that any of the tables has. */
export type SearchResult = { columns: Column[]; rows: SearchResultRow[] };

export type Link = {
  text: string;
  href: string;
  semantics: string;
  type: string;
  bytes: number | null;
  picture: boolean;
  locked: boolean;
};

/** `/header`: the header of the file behind a row. */
export type FileHeader = {
  file: string;
  hdus: {
    name: string;
    cards: { keyword: string; value: string; comment: string }[];
    notes: { keyword: string; text: string }[];
  }[];
};

/** `/count`: how many rows, and how the server has read the address. */
export type Count = {
  total: number | null;
  exact: boolean;
  /** Where nothing is found: what would be without each condition. */
  without: RelaxedSearch[];
  faults: Fault[];
  asked: Chip[];
  fields: Record<string, ConditionParts>;
  place: { centre: string; size: string; unit: string; found: string } | null;
  every: string;
};
export type ConditionParts = { low: string; high: string; unit: string; around: string };
/** Conditions that are left out, from where to where their values are then, and how many rows, or observations, there are. */
export type RelaxedSearch = {
  left: (Chip & { range: string })[];
  rows: number;
  observations: boolean;
  address: string;
};
export type Chip = { name: string; label: string; value: string; address: string; when?: string };

/** `/facets`. */
/** `field`: these are all choices, and stand in the column's field of the form. `counted`: false where they could not be counted in time. */
export type Facet = {
  column: string;
  label: string;
  choices: Choice[];
  field: boolean;
  more: boolean;
  exact: boolean;
  counted: boolean;
};
/** `rows`: null where nobody has counted them. */
export type Choice = { value: string | null; label: string; rows: number | null; chosen: boolean };

/** `/search/suggest`: what is found while one writes. */
export type Suggestion = {
  kind: "value" | "place" | "collection" | "table" | "column";
  title: string;
  rows?: number | null;
  /** What these rows are. */
  noun?: "rows" | "files";
  table?: string;
  collection_title: string;
  url: string;
};

/** `/places`: rows on a map, as points, footprints, or counts of cells. */
export type Places = {
  total: number;
  /** What is counted are files of observations, which are the lines of the page. */
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
  /** No pictures of bodies came with this installation. */
  uninstalled?: boolean;
  features?: Feature[];
};
/** Colours of rows by a column: the place of each row's value among the choices, or numbers between low and high. */
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
/** Where a map lies: `box` is its west, south, east and north; `radius` that of a disc, 0 where there is none. */
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
};

/** `/histogram`. */
export type Histogram = Axis & { low: number; high: number; counts: number[]; missing: number };

/** `/points`: values by axis, or a density where there are too many. */
export type Points = {
  axes: Axis[];
  values: (number | string | null)[][];
  keys: string[];
  more?: boolean;
  total?: number;
  density?: Density | null;
};
export type Density = { box: [number, number, number, number]; counts: number[][] };

/** `/take`: the ways out of a result. */
export type ExportOptions = {
  adql: string;
  /** Lines to copy; `signed` is one around the address `url` where that must be signed. */
  lines: { name: string; text: string; url?: string; signed?: string }[];
  formats: { name: string; label: string }[];
  scripts: { name: string }[];
  links: { name: string; label: string }[];
  files: { column: string; files: number; bytes: number | null; sized: number; most: number } | null;
  /** What an archive of the files will have; null: nobody looked. */
  archive: { files: number; bytes: number; missing: number } | null;
  region: Region | null;
  /** The address of the rows as a VOTable, and their keys, if they were asked for. */
  table: string;
  keys: string[];
};
/** A region: of a circle its centre and radius, of a polygon its corners, all in degrees. */
export type Region = { circle?: [number, number, number]; polygon?: number[] };

/** A layer of a map: `set` is told whether it is shown and how clearly. */
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

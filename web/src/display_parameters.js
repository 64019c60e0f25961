/** Parameters of a page's address that say what it shows, and not which rows it finds; null removes them. */
export const DISPLAY_PARAMETERS = {
  _row: null,
  _panes: null,
  _look: null,
  _view: null,
  _map: null,
  _plot: null,
  _compare: null,
};

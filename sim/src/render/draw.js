// The canvas: overview, axis, steps, fault bands, lanes. Pure functions of `view` and the model.

const canvas = document.getElementById('canvas');
const g = canvas.getContext('2d');
const view = {
  t0: 0, t1: END, top: 0, width: 0, height: 0, focus: 0, selected: -1, chain: [],
  matches: null, matchSet: null, only: false, messages: 'auto',
  tall: 1,
};
const GUTTER = 74;
const RIGHT = 10;
const OVERVIEW = 26;
const AXIS = 20;
const STEP_ROWS = 3;
const ROW = 15;
const BAND_ROWS_MAX = 7;

const C = {};
const readColours = () => {
  const style = getComputedStyle(document.documentElement);
  for (const name of ['page', 'panel', 'line', 'ink', 'faint', 'lane', 'accent', 'halo',
    'alive', 'suspect', 'failed', 'left', 'unknown', 'running', 'paused', 'crashed', 'off', 'mark',
    'probe', 'gossip', 'stream', 'lost', 'fault', 'split', 'band-text']) {
    C[name] = style.getPropertyValue(`--${name}`).trim();
  }
  patterns.clear();
};

// Each state has a hatching beside its colour.
const HATCH = {
  alive: '', running: '', suspect: '/', paused: '|', suspended: '||', failed: 'x', crashed: 'x',
  refused: 'x', off: '-', left: '.', unknown: '', absent: '', partition: '/', isolate: 'x',
  cut: 'x', flap: '|', pause: '|', suspend: '|', starve: '.', link: '/', net: '', clock: '.',
  disk: '-',
};
const COLOUR = {
  suspended: 'paused', refused: 'crashed', partition: 'split', isolate: 'split', cut: 'split',
  flap: 'split', pause: 'paused', suspend: 'paused', starve: 'paused', net: 'fault',
  link: 'fault', clock: 'fault', disk: 'fault', absent: 'unknown',
};
const colourOf = name => C[COLOUR[name] || name];
const patterns = new Map();
const HATCHES = {
  '/': [[0, 6, 6, 0], [-1, 1, 1, -1], [5, 7, 7, 5]],
  x: [[0, 6, 6, 0], [0, 0, 6, 6]],
  '|': [[2, 0, 2, 6]],
  '||': [[1, 0, 1, 6], [4, 0, 4, 6]],
  '-': [[0, 2, 6, 2]],
  '.': [[2, 2, 3.2, 2], [5, 5, 6.2, 5]],
};
const fillOf = name => {
  const hatch = HATCH[name];
  if (!hatch) return colourOf(name);
  if (patterns.has(name)) return patterns.get(name);
  const tile = document.createElement('canvas');
  tile.width = tile.height = 6;
  const h = tile.getContext('2d');
  h.fillStyle = colourOf(name);
  h.fillRect(0, 0, 6, 6);
  h.strokeStyle = C.page;
  h.globalAlpha = 0.75;
  h.lineWidth = 1.2;
  h.beginPath();
  for (const [x0, y0, x1, y1] of HATCHES[hatch]) {
    h.moveTo(x0, y0);
    h.lineTo(x1, y1);
  }
  h.stroke();
  const pattern = g.createPattern(tile, 'repeat');
  patterns.set(name, pattern);
  return pattern;
};

// Bands in rows, so that none covers another. What spans the run comes first.
const packBands = () => {
  const ends = [];
  const order = D.bands.map((b, i) => [b.from, -(b.until - b.from), i]).sort((a, b) =>
    a[0] - b[0] || a[1] - b[1] || a[2] - b[2]);
  for (const [, , i] of order) {
    const b = D.bands[i];
    let row = ends.findIndex(end => end <= b.from);
    if (row < 0) row = ends.length;
    ends[row] = b.until;
    b.row = row;
  }
  return ends.length;
};
const BAND_ROWS = packBands();
const bandRows = Math.min(BAND_ROWS, BAND_ROWS_MAX);

// Where things are, top to bottom.
const layout = () => {
  const steps = OVERVIEW + AXIS;
  const bands = steps + STEP_ROWS * ROW + 2;
  const lanes = bands + bandRows * ROW + 6;
  const room = Math.max(view.height - lanes - 2, 40);
  const lane = Math.min(Math.max(room / D.nodes, 12), 150) * view.tall;
  const max = Math.max(0, lane * D.nodes - room);
  view.top = Math.min(Math.max(view.top, 0), max);
  const observers = Math.max(D.nodes - 1, 1);
  const life = Math.max(4, Math.min(14, lane * 0.3));
  const rows = lane >= 60 && observers <= 12;
  const strip = rows ? Math.min(9, (lane * 0.45) / observers) * observers
    : Math.max(3, Math.min(14, lane * 0.38));
  return { steps, bands, lanes, room, lane, max, life, rows, strip, observers };
};
let L = layout();

const plotWidth = () => Math.max(view.width - GUTTER - RIGHT, 50);
const xOf = t => GUTTER + ((t - view.t0) / (view.t1 - view.t0)) * plotWidth();
const tOf = x => view.t0 + ((x - GUTTER) / plotWidth()) * (view.t1 - view.t0);
const laneTop = n => L.lanes + (n - 1) * L.lane - view.top;
const lifeY = n => (n === 0 ? L.steps + ROW : laneTop(n) + 2 + L.life / 2);
const laneAt = y => {
  const n = Math.floor((y - L.lanes + view.top) / L.lane) + 1;
  return y >= L.lanes && n >= 1 && n <= D.nodes ? n : 0;
};
const visibleLanes = () => {
  const first = Math.max(1, Math.floor(view.top / L.lane) + 1);
  return [first, Math.min(D.nodes, Math.ceil((view.top + L.room) / L.lane) + 1)];
};
const clampX = x => Math.min(Math.max(x, GUTTER - 2), view.width - RIGHT + 2);

const tickStep = width => {
  const raw = ((view.t1 - view.t0) / plotWidth()) * width;
  const power = 10 ** Math.floor(Math.log10(Math.max(raw, 1)));
  return [1, 2, 5, 10].map(m => m * power).find(s => s >= raw);
};
const drawAxis = () => {
  const step = tickStep(90);
  const decimals = Math.max(0, Math.min(9, -Math.floor(Math.log10(step / 1e9) + 1e-9)));
  g.font = '11px system-ui, "Liberation Sans", sans-serif';
  g.textBaseline = 'middle';
  g.textAlign = 'center';
  for (let t = Math.ceil(view.t0 / step) * step; t <= view.t1; t += step) {
    const x = Math.round(xOf(t)) + 0.5;
    g.strokeStyle = C.faint;
    g.globalAlpha = 0.25;
    g.lineWidth = 1;
    g.beginPath();
    g.moveTo(x, OVERVIEW + AXIS - 4);
    g.lineTo(x, view.height);
    g.stroke();
    g.globalAlpha = 1;
    g.fillStyle = C.faint;
    g.fillText(`${(t / 1e9).toFixed(decimals)} s`, x, OVERVIEW + AXIS / 2);
  }
};

// The whole run in small: traffic, matches, violations, what is in view.
let overviewBins = null;
const drawOverview = () => {
  const w = Math.ceil(plotWidth());
  if (!overviewBins || overviewBins.length !== w) {
    overviewBins = new Float32Array(w);
    for (let i = 0; i < N; i++) overviewBins[Math.min(w - 1, Math.floor((T[i] / END) * w))]++;
  }
  const most = overviewBins.reduce((a, b) => Math.max(a, b), 1);
  const x = t => GUTTER + (t / END) * w;
  g.fillStyle = C.panel;
  g.fillRect(0, 0, view.width, OVERVIEW);
  g.fillStyle = C.fault;
  for (let i = 0; i < w; i++) {
    const h = Math.sqrt(overviewBins[i] / most) * (OVERVIEW - 8);
    g.fillRect(GUTTER + i, OVERVIEW - 3 - h, 1, h);
  }
  g.fillStyle = C.accent;
  for (const i of view.matches || []) g.fillRect(x(T[i]) - 0.5, 1, 1, 5);
  g.fillStyle = C.lost;
  for (const i of VIOLATIONS) g.fillRect(x(T[i]) - 1, 0, 2, OVERVIEW);
  g.fillStyle = C.ink;
  g.globalAlpha = 0.16;
  g.fillRect(GUTTER, 0, x(view.t0) - GUTTER, OVERVIEW);
  g.fillRect(x(view.t1), 0, GUTTER + w - x(view.t1), OVERVIEW);
  g.globalAlpha = 1;
  g.strokeStyle = C.ink;
  g.lineWidth = 1;
  g.strokeRect(x(view.t0) + 0.5, 0.5, Math.max(x(view.t1) - x(view.t0) - 1, 2), OVERVIEW - 1);
  label('overview', OVERVIEW / 2);
};
const label = (s, y) => {
  g.fillStyle = C.faint;
  g.font = '11px system-ui, "Liberation Sans", sans-serif';
  g.textAlign = 'left';
  g.textBaseline = 'middle';
  g.fillText(s, 6, y);
};
const shorten = (s, width) => {
  if (g.measureText(s).width <= width) return s;
  let lo = 0;
  let hi = s.length;
  while (lo < hi) {
    const mid = (lo + hi + 1) >> 1;
    if (g.measureText(`${s.slice(0, mid)}…`).width <= width) lo = mid; else hi = mid - 1;
  }
  return lo < 2 ? '' : `${s.slice(0, lo)}…`;
};

const drawBands = () => {
  g.textBaseline = 'middle';
  g.textAlign = 'left';
  let hidden = 0;
  for (const b of D.bands) {
    const [x0, x1] = [clampX(xOf(b.from)), clampX(xOf(b.until))];
    if (b.until < view.t0 || b.from > view.t1) continue;
    if (b.row >= bandRows) {
      hidden++;
      continue;
    }
    const y = L.bands + b.row * ROW;
    const w = Math.max(x1 - x0, 2);
    g.globalAlpha = b.kind === 'net' ? 0.22 : 0.42;
    g.fillStyle = fillOf(b.kind);
    g.fillRect(x0, y + 1, w, ROW - 2);
    g.globalAlpha = 1;
    g.strokeStyle = colourOf(b.kind);
    g.lineWidth = 1;
    g.strokeRect(x0 + 0.5, y + 1.5, w - 1, ROW - 3);
    const s = shorten(b.label, w - 8);
    g.globalAlpha = 0.75;
    g.fillStyle = C.page;
    if (s) g.fillRect(x0 + 2, y + 2, g.measureText(s).width + 4, ROW - 4);
    g.globalAlpha = 1;
    g.fillStyle = C['band-text'];
    g.fillText(s, x0 + 4, y + ROW / 2 + 0.5);
    hits.push({ x0, x1: x0 + w, y0: y, y1: y + ROW, band: b });
  }
  if (hidden > 0) label(`+${hidden} more`, L.bands + bandRows * ROW - ROW / 2);
};
// What a band does to the lanes: a stripe at the top of each, with the letter of its group.
const drawReaches = (n, y) => {
  let at = 0;
  for (const b of D.bands) {
    if (b.until < view.t0 || b.from > view.t1) continue;
    const reach = b.nodes.find(r => r.first <= n && n <= r.last);
    if (!reach) continue;
    const until = Math.min(reach.until, b.until);
    const [x0, x1] = [clampX(xOf(b.from)), clampX(xOf(until))];
    g.fillStyle = colourOf(b.kind);
    g.globalAlpha = reach.group > 0 ? 0.1 + 0.08 * ((reach.group - 1) % 3) : 0.1;
    g.fillRect(x0, y, x1 - x0, L.lane - 1);
    // In low lanes the stripe would drown what it is about.
    g.globalAlpha = L.lane < 30 ? 0.5 : 1;
    g.fillRect(x0, y, x1 - x0, L.lane < 30 ? 1 : 1.5);
    g.globalAlpha = 1;
    if (reach.group > 0 && L.lane >= 16 && x1 - x0 > 50) {
      g.font = 'bold 10px system-ui, "Liberation Sans", sans-serif';
      g.fillStyle = C.split;
      g.textAlign = 'left';
      const group = `group ${String.fromCharCode(64 + Math.min(reach.group, 26))}`;
      g.fillText(group, x0 + 4, y + Math.max(L.lane * 0.6, L.life + L.strip + 10));
    }
    at++;
    if (at > 30) break;
  }
};

const drawLife = (n, y) => {
  const h = L.life;
  g.font = '10px system-ui, "Liberation Sans", sans-serif';
  g.textAlign = 'left';
  for (const s of LIVES[n]) {
    if (s.until < view.t0 || s.from > view.t1) continue;
    const [x0, x1] = [clampX(xOf(s.from)), clampX(xOf(s.until))];
    const w = Math.max(x1 - x0, 1.5);
    if (s.life === 'running') {
      g.fillStyle = C.running;
      g.fillRect(x0, y + h * 0.25, w, h * 0.5);
    } else {
      g.fillStyle = fillOf(s.life);
      g.fillRect(x0, y, w, h);
      g.strokeStyle = colourOf(s.life);
      g.lineWidth = 1;
      g.strokeRect(x0 + 0.5, y + 0.5, Math.max(w - 1, 0.5), h - 1);
    }
    if (s.life !== 'running' && h >= 10 && w > 46) {
      const name = s.life === 'off' ? 'powered off' : s.life;
      const width = g.measureText(name).width + 6;
      g.fillStyle = C.page;
      g.fillRect(x0 + 4, y + 1, width, h - 2);
      g.fillStyle = C.ink;
      g.fillText(name, x0 + 7, y + h / 2 + 0.5);
    }
  }
};

// How one observer sees node n over time.
const drawViewRow = (n, observer, y, h) => {
  const row = VIEWS[n].rows.get(observer) || [];
  for (let i = 0; i < row.length; i++) {
    const [from, state] = row[i];
    const until = i + 1 < row.length ? row[i + 1][0] : END;
    if (state === 0 || until < view.t0 || from > view.t1) continue;
    const x0 = clampX(xOf(from));
    g.fillStyle = fillOf(STATES[state]);
    g.fillRect(x0, y, Math.max(clampX(xOf(until)) - x0, 1), h);
  }
};
const drawViewRows = (n, y) => {
  const h = L.strip / L.observers;
  let k = 0;
  for (let observer = 1; observer <= D.nodes; observer++) {
    if (observer !== n) drawViewRow(n, observer, y + k++ * h, Math.max(h - 0.8, 0.8));
  }
};
// The share of observers in each state; what is rarer than a pixel shows as one if it is bad.
const drawViewShares = (n, y) => {
  const counts = VIEWS[n].counts;
  let k = Math.max(0, firstFrom(counts.map(c => c[0]), view.t0) - 1);
  let x = GUTTER;
  for (; k < counts.length && counts[k][0] <= view.t1; k++) {
    const x1 = clampX(xOf(k + 1 < counts.length ? counts[k + 1][0] : END));
    const x0 = Math.max(clampX(xOf(counts[k][0])), GUTTER);
    // Changes within one pixel: the last one stands for all.
    if (x1 - x < 0.5 && k + 1 < counts.length) continue;
    const c = counts[k];
    const all = c[2] + c[3] + c[4] + c[5];
    let top = y + L.strip;
    for (const state of [1, 4, 2, 3]) {
      if (c[1 + state] === 0) continue;
      const h = Math.max((c[1 + state] / all) * L.strip, state === 2 || state === 3 ? 1 : 0);
      top -= h;
      g.fillStyle = fillOf(STATES[state]);
      g.fillRect(Math.min(x, x0), Math.max(top, y), Math.max(x1 - Math.min(x, x0), 0.7), h);
    }
    x = x1;
  }
};

const drawLane = n => {
  const y = laneTop(n);
  g.fillStyle = C.lane;
  g.fillRect(GUTTER, y, view.width - GUTTER, L.lane - 1);
  drawReaches(n, y);
  drawLife(n, y + 2);
  const strip = y + 3 + L.life;
  const one = view.focus > 0 && view.focus !== n;
  if (one) drawViewRow(n, view.focus, strip, L.strip);
  else if (L.rows) drawViewRows(n, strip);
  else drawViewShares(n, strip);
  g.fillStyle = C.page;
  g.fillRect(0, y, GUTTER, L.lane);
  g.fillStyle = view.focus === n ? C.accent : C.ink;
  g.font = `${n <= D.servers || view.focus === n ? 'bold ' : ''}${
    L.lane >= 16 ? 12 : 10}px system-ui, "Liberation Sans", sans-serif`;
  g.textAlign = 'left';
  g.textBaseline = 'middle';
  const server = n <= D.servers ? (L.lane >= 34 ? '' : ' ·s') : '';
  g.fillText(nodeName(n) + server, 8, y + Math.min(L.lane / 2, 11));
  if (L.lane >= 34) {
    label(n <= D.servers ? 'server' : D.servers > 0 ? 'client' : '', y + 25);
  }
  g.fillStyle = C.line;
  g.fillRect(0, y + L.lane - 1, view.width, 1);
};

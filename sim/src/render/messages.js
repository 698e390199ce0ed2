// What moves on the lanes: messages, events, steps, the failure, the chain of causes.

// What is under the pointer: rectangles of bands, points of events, lines of messages.
let hits = [];
const LINES_MAX = 1500;
const GLYPHS_MAX = 500;
const LABELS_MAX = 80;

// An event's mark on its lane: shape, colour, what it means.
const GLYPHS = {
  suspected: ['triangle', 'suspect', 'suspects'],
  failed: ['cross', 'failed', 'declares failed'],
  left: ['square', 'left', 'sees it left'],
  'suspicion-refuted': ['ring', 'suspect', 'suspicion over'],
  refuted: ['diamond', 'running', 'refutes an accusation'],
  'name-conflict': ['diamond', 'failed', 'two with one name'],
  paused: ['diamond', 'paused', 'notices a pause'],
  lost: ['diamond', 'failed', 'events lost'],
  'join-finished': ['dot', 'running', 'join ended'],
  'leave-finished': ['dot', 'left', 'leave ended'],
  'start-refused': ['cross', 'crashed', 'cannot start'],
  start: ['up', 'mark', 'starts'],
  stop: ['down', 'mark', 'stops'],
  violation: ['cross', 'lost', 'violation'],
};
const drawShape = (c, shape, x, y, r, colour) => {
  c.beginPath();
  if (shape === 'cross') {
    c.moveTo(x - r, y - r);
    c.lineTo(x + r, y + r);
    c.moveTo(x + r, y - r);
    c.lineTo(x - r, y + r);
    for (const [width, style] of [[4, C.halo], [2.2, colour]]) {
      c.lineWidth = width;
      c.strokeStyle = style;
      c.stroke();
    }
    return;
  }
  if (shape === 'triangle' || shape === 'up') {
    c.moveTo(x, y - r);
    c.lineTo(x + r, y + r);
    c.lineTo(x - r, y + r);
  } else if (shape === 'down') {
    c.moveTo(x, y + r);
    c.lineTo(x + r, y - r);
    c.lineTo(x - r, y - r);
  } else if (shape === 'diamond') {
    c.moveTo(x, y - r - 1);
    c.lineTo(x + r + 1, y);
    c.lineTo(x, y + r + 1);
    c.lineTo(x - r - 1, y);
  } else if (shape === 'square') {
    c.rect(x - r, y - r, 2 * r, 2 * r);
  } else {
    c.arc(x, y, shape === 'dot' ? r * 0.7 : r, 0, 7);
  }
  c.closePath();
  c.lineWidth = shape === 'ring' ? 4 : 1;
  c.strokeStyle = shape === 'ring' ? C.ink : C.halo;
  c.stroke();
  if (shape === 'ring') {
    c.lineWidth = 2;
    c.strokeStyle = colour;
    c.stroke();
    return;
  }
  c.fillStyle = colour;
  c.fill();
  c.lineWidth = 0.8;
  c.strokeStyle = C.mark;
  c.stroke();
};

const isShown = i => !view.matchSet || !view.only || view.matchSet.has(i);
const touchesFocus = (a, b) => view.focus === 0 || NODE[a] === view.focus
  || NODE[b] === view.focus || TO[b] === view.focus;

// Places of messages to draw now.
const messagesInView = () => {
  const [first, last] = messagesBetween(view.t0, view.t1);
  const out = [];
  if (view.messages === 'none') return out;
  for (let m = first; m < last; m++) {
    const [a, b] = [MESSAGES.from[m], MESSAGES.at[m]];
    if (T[a] > view.t1) continue;
    if (view.messages === 'drops' && !MESSAGES.lost[m]) continue;
    if (!touchesFocus(a, b) || !(isShown(a) || isShown(b))) continue;
    out.push(m);
  }
  return out;
};

// Start and end on the canvas. What was lost at once ends a little way off.
const lineOf = m => {
  const [a, b] = [MESSAGES.from[m], MESSAGES.at[m]];
  const target = MESSAGES.lost[m] ? TO[b] : NODE[b];
  const [x0, y0, x1] = [xOf(T[a]), lifeY(NODE[a]), xOf(T[b])];
  let y1 = target > 0 && target <= D.nodes ? lifeY(target) : y0;
  if (MESSAGES.lost[m] && T[b] - T[a] < 1) {
    const most = Math.min(26, Math.max(L.lane * 0.5, 6));
    y1 = y0 + Math.sign(y1 - y0) * Math.min(Math.abs(y1 - y0) * 0.3, most);
  }
  return [x0, y0, x1, y1];
};
const drawMessages = messages => {
  const few = messages.length < 160;
  // What is selected stands out.
  const dim = view.chain.length > 1 ? 0.55 : 1;
  const alpha = Math.max(0.2, Math.min(0.9, 450 / messages.length)) * dim;
  for (let sort = 0; sort < SORTS.length; sort++) {
    g.strokeStyle = C[SORTS[sort]];
    g.globalAlpha = sort === 3 ? Math.min(1, alpha * 1.8) : alpha;
    g.lineWidth = few ? 1.3 : 1;
    g.setLineDash(sort === 2 ? [4, 2] : sort === 1 ? [7, 1] : []);
    g.beginPath();
    for (const m of messages) {
      if (MESSAGES.sort[m] !== sort) continue;
      const [x0, y0, x1, y1] = lineOf(m);
      g.moveTo(x0, y0);
      g.lineTo(x1, y1);
      if (sort === 3) {
        g.moveTo(x1 - 3, y1 - 3);
        g.lineTo(x1 + 3, y1 + 3);
        g.moveTo(x1 + 3, y1 - 3);
        g.lineTo(x1 - 3, y1 + 3);
      } else if (few && Math.hypot(x1 - x0, y1 - y0) > 8) {
        // A small head at the arrival.
        const angle = Math.atan2(y1 - y0, x1 - x0);
        for (const turn of [2.7, -2.7]) {
          g.moveTo(x1, y1);
          g.lineTo(x1 + 6 * Math.cos(angle + turn), y1 + 6 * Math.sin(angle + turn));
        }
      }
      hits.push({ line: [x0, y0, x1, y1], message: m });
    }
    g.stroke();
  }
  g.setLineDash([]);
  g.globalAlpha = 1;
};
// Too many for lines: how many leave each lane in two pixels, and how many of them are lost.
const drawDensity = messages => {
  const bins = Math.ceil(plotWidth() / 2);
  const [first, last] = visibleLanes();
  const lanes = last - first + 1;
  const all = new Uint16Array(lanes * bins);
  const lost = new Uint16Array(lanes * bins);
  let most = 1;
  for (const m of messages) {
    const n = NODE[MESSAGES.from[m]] - first;
    const bin = Math.floor((xOf(T[MESSAGES.from[m]]) - GUTTER) / 2);
    if (n < 0 || n >= lanes || bin < 0 || bin >= bins) continue;
    most = Math.max(most, ++all[n * bins + bin]);
    if (MESSAGES.lost[m]) lost[n * bins + bin]++;
  }
  const height = Math.max(2, Math.min(L.lane - L.life - L.strip - 5, 26));
  for (let n = 0; n < lanes; n++) {
    const y = laneTop(n + first) + L.lane - 1;
    for (let bin = 0; bin < bins; bin++) {
      const count = all[n * bins + bin];
      if (count === 0) continue;
      // In a low lane the shade tells, in a high one the height too.
      const share = Math.sqrt(count / most);
      const h = height > 8 ? Math.max(2, share * height) : height;
      const bad = (lost[n * bins + bin] / count) * h;
      g.globalAlpha = height > 8 ? 0.75 : 0.25 + 0.75 * share;
      g.fillStyle = C.fault;
      g.fillRect(GUTTER + bin * 2, y - h, 2, h - bad);
      if (bad > 0) {
        g.globalAlpha = 1;
        g.fillStyle = C.lost;
        g.fillRect(GUTTER + bin * 2, y - Math.max(bad, 1), 2, Math.max(bad, 1));
      }
    }
  }
  g.globalAlpha = 1;
};

// Marks of what nodes tell, unless there are too many.
const drawGlyphs = () => {
  const [first, last] = [firstFrom(T, view.t0), firstFrom(T, view.t1 + 1)];
  const places = [];
  for (let i = first; i < last; i++) {
    if (NODE[i] > 0 && GLYPHS[kind(i)] && isShown(i) && touchesFocus(i, i)) places.push(i);
  }
  const own = i => !(kind(i) in BECOMES) && kind(i) !== 'join-finished';
  const shown = places.length <= GLYPHS_MAX ? places : places.filter(own);
  const r = Math.max(2.5, Math.min(4.5, L.life / 2.4));
  const labelled = new Map();
  for (const i of shown.slice(0, 4 * GLYPHS_MAX)) {
    const [shape, colour] = GLYPHS[kind(i)];
    const [x, y] = [xOf(T[i]), lifeY(NODE[i])];
    if (y < L.lanes) continue;
    drawShape(g, shape, x, y, r, C[colour]);
    hits.push({ x, y, event: i });
    if (shown.length <= LABELS_MAX && kind(i) in BECOMES && L.lane >= 30) {
      labelSubject(i, x, y + r + 2, labelled);
    }
  }
};
// About whom it is, unless that would cover the name before it.
const labelSubject = (i, x, y, labelled) => {
  g.font = '10px system-ui, "Liberation Sans", sans-serif';
  g.textAlign = 'center';
  g.textBaseline = 'middle';
  const w = g.measureText(nodeName(TO[i])).width + 2;
  if (x - w / 2 < (labelled.get(NODE[i]) ?? -Infinity)) return;
  labelled.set(NODE[i], x + w / 2);
  g.fillStyle = C.page;
  g.fillRect(x - w / 2, y, w, 10);
  g.fillStyle = C.ink;
  g.fillText(nodeName(TO[i]), x, y + 5.5);
};

// Steps and what was met, with their text where there is room.
const drawSteps = () => {
  g.font = '11px system-ui, "Liberation Sans", sans-serif';
  g.textAlign = 'left';
  g.textBaseline = 'middle';
  const free = new Array(STEP_ROWS).fill(GUTTER);
  for (let i = firstFrom(T, view.t0); i < N && T[i] <= view.t1; i++) {
    const k = kind(i);
    if (NODE[i] !== 0 || (k !== 'step' && k !== 'met')) continue;
    const x = xOf(T[i]);
    const s = shorten(text('detail', i), 190);
    const width = g.measureText(s).width + 16;
    let row = free.findIndex(end => end <= x);
    const room = row >= 0 && x + width < view.width;
    if (row < 0) row = STEP_ROWS - 1;
    const y = L.steps + row * ROW + ROW / 2;
    drawShape(g, k === 'met' ? 'ring' : 'down', x, y, 3.5, k === 'met' ? C.running : C.split);
    hits.push({ x, y, event: i });
    if (!room) continue;
    free[row] = x + width;
    g.fillStyle = C.ink;
    g.fillText(s, x + 7, y + 0.5);
  }
};

// The first failure with its name; of later ones those names for which there is room.
const drawViolations = () => {
  let free = -Infinity;
  g.font = 'bold 11px system-ui, "Liberation Sans", sans-serif';
  g.textAlign = 'left';
  g.textBaseline = 'middle';
  VIOLATIONS.forEach((i, k) => {
    const x = xOf(T[i]);
    if (x < GUTTER - 1 || x > view.width) return;
    g.strokeStyle = C.lost;
    g.lineWidth = k === 0 ? 2 : 1;
    g.globalAlpha = k === 0 ? 1 : 0.5;
    g.setLineDash([6, 3]);
    g.beginPath();
    g.moveTo(x, OVERVIEW + 2);
    g.lineTo(x, view.height);
    g.stroke();
    g.setLineDash([]);
    g.globalAlpha = 1;
    hits.push({ x, y: NODE[i] > 0 ? lifeY(NODE[i]) : OVERVIEW + 10, event: i });
    const name = `✕ ${text('detail', i).split(':')[0]}`;
    const w = g.measureText(name).width + 8;
    const left = x + w > view.width - 4 ? x - w : x;
    if (left < free) return;
    free = left + w + 4;
    g.fillStyle = C.lost;
    g.fillRect(left, OVERVIEW + 2, w, 16);
    g.fillStyle = C.page;
    g.fillText(name, left + 4, OVERVIEW + 10.5);
  });
};

const drawMatches = () => {
  if (!view.matches || view.matches.length > 4000) return;
  g.strokeStyle = C.accent;
  g.lineWidth = 1.5;
  for (const i of view.matches) {
    if (T[i] < view.t0 || T[i] > view.t1) continue;
    const [x, y] = [xOf(T[i]), lifeY(NODE[i])];
    if (NODE[i] > 0 && y < L.lanes) continue;
    g.beginPath();
    g.arc(x, y, 5.5, 0, 7);
    g.stroke();
    hits.push({ x, y, event: i });
  }
};

// The causes of what is selected, as a thick line through time; dashed where it is a guess.
const drawChain = () => {
  const chain = view.chain;
  for (const [width, colour] of [[5, C.halo], [2.6, C.accent]]) {
    g.strokeStyle = colour;
    g.lineWidth = width;
    for (let k = 1; k < chain.length; k++) {
      const [a, b] = [chain[k - 1].i, chain[k].i];
      g.setLineDash(chain[k - 1].guessed && colour === C.accent ? [3, 3] : []);
      g.beginPath();
      g.moveTo(xOf(T[a]), lifeY(NODE[a]));
      g.lineTo(xOf(T[b]), lifeY(NODE[b]));
      g.stroke();
    }
  }
  g.setLineDash([]);
  for (const { i } of chain) {
    const [x, y] = [xOf(T[i]), lifeY(NODE[i])];
    g.beginPath();
    g.arc(x, y, i === view.selected ? 7 : 3.5, 0, 7);
    g.fillStyle = i === view.selected ? C.halo : C.accent;
    g.fill();
    g.strokeStyle = C.accent;
    g.lineWidth = i === view.selected ? 3 : 1;
    g.stroke();
    hits.push({ x, y, event: i });
  }
};

// The whole picture.
let drawnAs = '';
const draw = () => {
  L = layout();
  hits = [];
  g.clearRect(0, 0, view.width, view.height);
  g.fillStyle = C.page;
  g.fillRect(0, 0, view.width, view.height);
  const [first, last] = visibleLanes();
  g.save();
  g.beginPath();
  g.rect(0, L.lanes, view.width, view.height - L.lanes);
  g.clip();
  for (let n = first; n <= last; n++) drawLane(n);
  g.restore();
  drawAxis();
  const messages = messagesInView();
  const lines = messages.length <= (view.messages === 'auto' ? LINES_MAX : 20 * LINES_MAX);
  g.save();
  g.beginPath();
  g.rect(GUTTER, L.lanes, view.width - GUTTER, view.height - L.lanes);
  g.clip();
  if (lines) drawMessages(messages); else drawDensity(messages);
  drawGlyphs();
  g.restore();
  g.save();
  g.beginPath();
  g.rect(GUTTER - 4, OVERVIEW, view.width, L.lanes - OVERVIEW);
  g.clip();
  drawBands();
  drawSteps();
  g.restore();
  label('steps', L.steps + ROW / 2);
  if (bandRows > 0) label('faults', L.bands + ROW / 2);
  g.save();
  g.beginPath();
  g.rect(GUTTER - 8, L.steps, view.width, view.height);
  g.clip();
  drawMatches();
  drawChain();
  g.restore();
  drawViolations();
  drawOverview();
  const what = messages.length === 0 ? 'no messages' : `${messages.length} messages`;
  drawnAs = `${what} in view${lines ? '' : ', as a shade: zoom in for lines'}`;
};

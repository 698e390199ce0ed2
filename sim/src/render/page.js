// The page around the canvas: pointer and keys, search, details.

const $ = id => document.getElementById(id);
let frame = 0;
const paint = () => {
  frame = 0;
  draw();
  $('messages').title = drawnAs;
  $('matches').textContent = matchText();
};
const redraw = () => {
  if (!frame) frame = requestAnimationFrame(paint);
};
const make = (tag, className, content) => {
  const e = document.createElement(tag);
  if (className) e.className = className;
  if (content !== undefined) e.textContent = content;
  return e;
};

// Moving. A view is never longer than the run nor shorter than a microsecond.
const show = (t0, t1) => {
  const length = Math.min(Math.max(t1 - t0, 1000), END * 1.02);
  const from = Math.min(Math.max(t0, -END * 0.01), END * 1.01 - length);
  view.t0 = from;
  view.t1 = from + length;
  redraw();
};
const zoom = (factor, x = GUTTER + plotWidth() / 2) => {
  const t = tOf(x);
  show(t - (t - view.t0) * factor, t + (view.t1 - t) * factor);
};
const pan = share => {
  const by = (view.t1 - view.t0) * share;
  show(view.t0 + by, view.t1 + by);
};
const taller = factor => {
  view.tall = Math.min(Math.max(view.tall * factor, 1), 20);
  const middle = (view.top + L.room / 2) / L.lane;
  L = layout();
  view.top = middle * L.lane - L.room / 2;
  redraw();
};
const wholeRun = () => show(-END * 0.005, END * 1.005);
const bringIntoView = i => {
  const length = view.t1 - view.t0;
  if (T[i] < view.t0 || T[i] > view.t1) show(T[i] - length / 2, T[i] + length / 2);
  if (NODE[i] > 0) {
    const y = (NODE[i] - 1) * L.lane;
    if (y < view.top || y + L.lane > view.top + L.room) view.top = y - L.room / 2;
  }
};
const toFailure = () => {
  if (VIOLATIONS.length === 0) return;
  const i = VIOLATIONS[0];
  select(i);
  const length = Math.min(view.t1 - view.t0, Math.max(END / 5, 1e7));
  show(T[i] - length * 0.8, T[i] + length * 0.2);
};

// Selection and its details.
const select = i => {
  view.selected = i;
  view.chain = i < 0 ? [] : chainOf(i);
  if (i >= 0) bringIntoView(i);
  details();
  redraw();
};
const eventRow = (i, className) => {
  const b = make('button', `row ${className}`);
  b.type = 'button';
  b.append(make('small', '', `${seconds(T[i])} · event ${SEQ[i]}`), words(i));
  b.addEventListener('click', () => {
    openTab('event');
    select(i);
  });
  const li = make('li');
  li.append(b);
  return li;
};
const details = () => {
  const box = $('tab-event');
  box.replaceChildren();
  const i = view.selected;
  if (i < 0) return overview(box);
  const chain = view.chain;
  box.append(make('h2', '', 'What led to it, first cause first'));
  const list = make('ol');
  for (const { i: at, guessed } of chain) {
    const link = at === i ? 'link here' : guessed ? 'guess' : 'link';
    const li = eventRow(at, link);
    if (guessed && at !== i) {
      const note = 'inferred: the same node, about the same member';
      li.firstChild.append(make('small', '', note));
    }
    list.append(li);
  }
  box.append(list);
  const oldest = chain[0].i;
  if (D.events.cause[oldest] > 0) {
    box.append(make('p', 'note', 'What led to the first one is left out of this page.'));
  } else if (NODE[oldest] > 0) {
    box.append(make('p', 'note', 'Nothing recorded led to the first one: a timer, or the start.'));
  }
  const effects = effectsOf(i);
  box.append(make('h2', '', 'What it led to'));
  const after = make('ol');
  for (const e of effects) after.append(eventRow(e, ''));
  box.append(effects.length > 0 ? after : make('p', 'note', 'Nothing that is shown here.'));
  const here = box.querySelector('.here');
  if (here) here.scrollIntoView({ block: 'nearest' });
};
const overview = box => {
  box.append(make('p', 'note', 'Click an event, a message or a step to see what led to it.'));
  const add = (title, places) => {
    if (places.length === 0) return;
    box.append(make('h2', '', title));
    const list = make('ol');
    for (const i of places.slice(0, 200)) list.append(eventRow(i, ''));
    box.append(list);
  };
  add('Violations', VIOLATIONS);
  const steps = [];
  for (let i = 0; i < N; i++) if (NODE[i] === 0 && kind(i) !== 'violation') steps.push(i);
  add('Steps', steps);
};

// What is near the pointer: a point, else a line, else a band.
const near = (x, y) => {
  let best = null;
  let distance = 49;
  for (const h of hits) {
    if (h.event === undefined) continue;
    const d = (h.x - x) ** 2 + (h.y - y) ** 2;
    if (d <= distance) [best, distance] = [h, d];
  }
  if (best) return best;
  distance = 25;
  for (const h of hits) {
    if (!h.line) continue;
    const [x0, y0, x1, y1] = h.line;
    const length = (x1 - x0) ** 2 + (y1 - y0) ** 2 || 1;
    const s = Math.min(1, Math.max(0, ((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / length));
    const d = (x0 + s * (x1 - x0) - x) ** 2 + (y0 + s * (y1 - y0) - y) ** 2;
    if (d < distance) [best, distance] = [h, d];
  }
  return best || hits.find(h => h.band && x >= h.x0 && x <= h.x1 && y >= h.y0 && y <= h.y1);
};
const messageText = m => {
  const [a, b] = [MESSAGES.from[m], MESSAGES.at[m]];
  const target = MESSAGES.lost[m] ? TO[b] : NODE[b];
  const fate = MESSAGES.lost[m] ? `lost: ${text('detail', b)}`
    : `arrives after ${span(T[b] - T[a])}`;
  const what = text('message', a) || `stream: ${kind(a)}, ${kind(b)}`;
  const size = BYTES[a] || BYTES[b];
  return `${nodeName(NODE[a])} → ${nodeName(target)}: ${what}${size ? `, ${size} bytes` : ''}
sent at ${seconds(T[a])}, ${fate}`;
};
const listNodes = nodes => {
  const names = [...nodes].sort((a, b) => a - b).slice(0, 12).map(nodeName).join(' ');
  return nodes.length > 12 ? `${names} and ${nodes.length - 12} more` : names;
};
const laneText = (n, t) => {
  const views = viewsAt(n, t);
  const lines = STATES.filter(s => views[s])
    .map(s => `${s} on ${views[s].length}: ${listNodes(views[s])}`);
  const life = lifeAt(n, t);
  return [`${nodeName(n)} at ${seconds(t)}: ${life === 'off' ? 'powered off' : life}`,
    ...(lines.length > 0 ? lines : ['known to nobody'])].join('\n');
};
const tipText = (x, y) => {
  const h = near(x, y);
  if (h && h.event !== undefined) return `${seconds(T[h.event])}\n${words(h.event)}`;
  if (h && h.message !== undefined) return messageText(h.message);
  if (h) return `${h.band.label}\n${seconds(h.band.from, 3)} to ${seconds(h.band.until, 3)}`;
  const n = laneAt(y);
  if (n > 0 && x < GUTTER) return `${nodeName(n)}: click for its messages only`;
  return n > 0 ? laneText(n, tOf(x)) : '';
};
const showTip = e => {
  const box = canvas.getBoundingClientRect();
  const s = tipText(e.clientX - box.left, e.clientY - box.top);
  const tip = $('tip');
  tip.hidden = s === '';
  tip.textContent = s;
  const room = document.documentElement;
  const right = room.clientWidth - tip.offsetWidth - 4;
  tip.style.left = `${Math.max(0, Math.min(e.clientX + 14, right))}px`;
  const below = e.clientY + 16 + tip.offsetHeight < room.clientHeight;
  tip.style.top = `${below ? e.clientY + 16 : Math.max(0, e.clientY - tip.offsetHeight - 10)}px`;
};
const click = (x, y) => {
  const h = near(x, y);
  const n = laneAt(y);
  if (x < GUTTER && n > 0) {
    view.focus = view.focus === n ? 0 : n;
    return redraw();
  }
  openTab('event');
  if (!h || h.band) return select(-1);
  if (h.event !== undefined) return select(h.event);
  select(MESSAGES.at[h.message]);
};

// Pointer: drag moves, in the overview it chooses the time.
const pointer = () => {
  let drag = null;
  const at = e => [e.offsetX, e.offsetY];
  const jump = x => {
    const length = view.t1 - view.t0;
    const t = ((x - GUTTER) / plotWidth()) * END;
    show(t - length / 2, t + length / 2);
  };
  canvas.addEventListener('pointerdown', e => {
    const [x, y] = at(e);
    drag = { x, y, t0: view.t0, t1: view.t1, top: view.top, moved: false, overview: y < OVERVIEW };
    canvas.setPointerCapture(e.pointerId);
    if (drag.overview) jump(x);
  });
  canvas.addEventListener('pointermove', e => {
    const [x, y] = at(e);
    if (!drag) return showTip(e);
    if (drag.overview) return jump(x);
    if (!drag.moved && Math.hypot(x - drag.x, y - drag.y) < 4) return;
    drag.moved = true;
    $('tip').hidden = true;
    const by = ((drag.x - x) / plotWidth()) * (drag.t1 - drag.t0);
    view.top = drag.top + drag.y - y;
    show(drag.t0 + by, drag.t1 + by);
  });
  canvas.addEventListener('pointerup', e => {
    if (drag && !drag.moved && !drag.overview) click(...at(e));
    drag = null;
  });
  canvas.addEventListener('pointercancel', () => { drag = null; });
  canvas.addEventListener('pointerleave', () => { $('tip').hidden = true; });
  canvas.addEventListener('dblclick', e => zoom(0.3, e.offsetX));
  canvas.addEventListener('wheel', e => {
    e.preventDefault();
    const unit = e.deltaMode === 1 ? 16 : 1;
    if (e.ctrlKey || e.metaKey) {
      taller(e.deltaY > 0 ? 1 / 1.2 : 1.2);
    } else if (e.shiftKey || Math.abs(e.deltaX) > Math.abs(e.deltaY)) {
      pan(((e.deltaX || e.deltaY) * unit) / plotWidth());
    } else if (e.offsetX < GUTTER) {
      view.top += e.deltaY * unit;
      redraw();
    } else {
      zoom(1.0018 ** Math.max(-400, Math.min(400, e.deltaY * unit)), e.offsetX);
    }
  }, { passive: false });
};

// Search.
const matchText = () => {
  if (!view.matches) return '';
  const k = view.matches.indexOf(view.selected);
  const of = `${view.matches.length} ${view.matches.length === 1 ? 'match' : 'matches'}`;
  return k >= 0 ? `${k + 1} of ${of}` : of;
};
const find = () => {
  view.matches = search($('search').value);
  view.matchSet = view.matches && new Set(view.matches);
  redraw();
};
const step = by => {
  find();
  const m = view.matches;
  if (!m || m.length === 0) return;
  const from = view.selected >= 0 ? view.selected : firstFrom(T, view.t0) - 1;
  let k = firstFrom(m, by > 0 ? from + 1 : from);
  if (by < 0) k--;
  openTab('event');
  select(m[(k + m.length) % m.length]);
};

const ACTIONS = {
  in: () => zoom(0.6),
  out: () => zoom(1 / 0.6),
  taller: () => taller(1.5),
  lower: () => taller(1 / 1.5),
  fit: wholeRun,
  failure: toFailure,
  link: () => { location.replace(address()); },
  next: () => step(1),
  previous: () => step(-1),
};
const KEYS = {
  '+': ACTIONS.in, '=': ACTIONS.in, '-': ACTIONS.out, 0: wholeRun, f: toFailure,
  n: ACTIONS.next, N: ACTIONS.previous,
  ArrowLeft: () => pan(-0.15), ArrowRight: () => pan(0.15),
  ArrowUp: () => { view.top -= L.lane; redraw(); },
  ArrowDown: () => { view.top += L.lane; redraw(); },
  '/': () => $('search').focus(),
  '[': () => view.chain.length > 1 && select(view.chain[view.chain.length - 2].i),
  ']': () => {
    const [e] = view.selected < 0 ? [] : effectsOf(view.selected);
    if (e !== undefined) select(e);
  },
  Escape: () => select(-1),
};
const keys = () => {
  document.addEventListener('keydown', e => {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    if (e.target instanceof Element && e.target.matches('input, select')) {
      if (e.target.id === 'search' && e.key === 'Enter') step(e.shiftKey ? -1 : 1);
      if (e.key === 'Escape') e.target.blur();
      return;
    }
    const act = Object.hasOwn(KEYS, e.key) && KEYS[e.key];
    if (!act) return;
    e.preventDefault();
    act();
  });
};

const openTab = name => {
  for (const b of document.querySelectorAll('[data-tab]')) {
    const on = b.dataset.tab === name;
    b.setAttribute('aria-selected', String(on));
    $(`tab-${b.dataset.tab}`).hidden = !on;
  }
};
const scenarioTab = () => {
  const box = $('tab-scenario');
  if (!D.scenario) {
    box.append(make('p', 'note', 'The page was made without the scenario.'));
    return;
  }
  // A line that is a step leads to its event.
  const steps = new Map();
  for (let i = 0; i < N; i++) {
    if (kind(i) !== 'step') continue;
    const d = text('detail', i);
    if (!steps.has(d)) steps.set(d, []);
    steps.get(d).push(i);
  }
  for (const line of D.scenario.split('\n')) {
    const found = /^\s*at\s+\S+\s+(.*?)\s*(#.*)?$/.exec(line);
    const places = found && steps.get(found[1].replace(/\s+/g, ' '));
    const i = places && places.length > 1 ? places.shift() : places && places[0];
    const row = make(i === undefined || i === null ? 'div' : 'button', 'row', line || ' ');
    if (row.tagName === 'BUTTON') {
      row.type = 'button';
      row.classList.add('link');
      row.addEventListener('click', () => select(i));
    }
    box.append(row);
  }
};

const legend = () => {
  const box = $('legend');
  box.replaceChildren();
  const item = (name, paint) => {
    const s = make('span');
    const c = document.createElement('canvas');
    c.width = 24;
    c.height = 12;
    paint(c.getContext('2d'));
    s.append(c, name);
    box.append(s);
  };
  const area = (name, style) => item(name, c => {
    c.fillStyle = fillOf(style);
    c.fillRect(0, style === 'running' ? 3 : 0, 24, style === 'running' ? 6 : 12);
  });
  const line = (name, style, dash) => item(name, c => {
    c.strokeStyle = C[style];
    c.lineWidth = 2;
    c.setLineDash(dash);
    c.moveTo(0, 6);
    c.lineTo(24, 6);
    c.stroke();
  });
  const head = s => box.append(make('b', '', s));
  const lives = new Set(D.lives.map(s => s.life));
  head('node');
  for (const life of ['running', 'paused', 'suspended', 'crashed', 'refused', 'off', 'left']) {
    if (lives.has(life)) area(life === 'off' ? 'powered off' : life, life);
  }
  head('seen by others as');
  for (const s of STATES.slice(1)) area(s, s);
  head('messages');
  line('probe', 'probe', []);
  line('gossip', 'gossip', [7, 1]);
  line('stream', 'stream', [4, 2]);
  item('lost', c => drawShape(c, 'cross', 12, 6, 4, C.lost));
  head('events');
  const seen = new Set();
  for (let i = 0; i < N; i++) seen.add(kind(i));
  for (const [name, [shape, colour, meaning]] of Object.entries(GLYPHS)) {
    if (seen.has(name)) item(meaning, c => drawShape(c, shape, 12, 6, 4, C[colour]));
  }
};

const heading = () => {
  $('name').textContent = D.name;
  const verdict = $('verdict');
  if (VIOLATIONS.length > 0) {
    const i = VIOLATIONS[0];
    const more = D.violations > 1 ? ` (and ${D.violations - 1} more)` : '';
    const at = NODE[i] > 0 ? ` on n${NODE[i]}` : '';
    verdict.textContent = `✕ FAILED at ${seconds(T[i], 3)}${at}: ${text('detail', i)}${more}`;
    verdict.className = 'failed';
    verdict.addEventListener('click', toFailure);
  } else {
    verdict.textContent = '✓ no violation in this trace';
    verdict.className = 'clean';
    verdict.disabled = true;
    document.querySelector('[data-do=failure]').disabled = true;
  }
  const seed = D.seed === null ? '' : `seed ${D.seed} · `;
  const servers = D.servers > 0 ? ` (${D.servers} servers)` : '';
  $('facts').textContent = `${seed}${D.nodes} nodes${servers} · ${seconds(END, 3)} virtual · `
    + `${D.total.toLocaleString('en')} events`;
  const gone = [];
  const count = n => n.toLocaleString('en');
  if (D.total > N) {
    const until = D.complete_after === null ? '' : `, all of them before ${
      seconds(D.complete_after + 1)}`;
    gone.push(`${count(D.total - N)} of ${count(D.total)} events are left out${until}: `
      + 'messages without consequence first, the oldest first');
  }
  if (D.views_left_out > 0) {
    gone.push(`among them ${count(D.views_left_out)} changes of views, so how others see a node `
      + 'is incomplete');
  }
  if (D.lanes_left_out > 0) gone.push(`${D.lanes_left_out} bands or lives are left out`);
  $('left-out').hidden = gone.length === 0;
  $('left-out').textContent = `${gone.join('; ')}.`;
  canvas.setAttribute('aria-label', `${D.nodes} lanes of ${D.name}. ${verdict.textContent}. `
    + 'The events are listed as text in the panel beside it; search finds any of them.');
};

// Says whether the canvas has got another size: it is empty then.
const fit = () => {
  const box = $('stage').getBoundingClientRect();
  const ratio = window.devicePixelRatio || 1;
  view.width = Math.max(box.width, 200);
  view.height = Math.max(box.height, 200);
  const [width, height] = [view.width, view.height].map(n => Math.round(n * ratio));
  if (canvas.width === width && canvas.height === height) return false;
  Object.assign(canvas, { width, height });
  g.setTransform(ratio, 0, 0, ratio, 0, 0);
  L = layout();
  return true;
};
// The observer is told after the frame's callbacks: what waited for the next would be seen empty.
const resize = () => {
  if (fit()) paint();
};
// `#from=12.5&to=13&event=1042&node=3`, in seconds: a view that can be sent to somebody.
const followAddress = () => {
  const q = new URLSearchParams(location.hash.slice(1));
  const number = name => (q.has(name) ? Number(q.get(name)) : NaN);
  const event = placeOf(number('event'));
  if (event >= 0) select(event);
  if (number('node') >= 0 && number('node') <= D.nodes) view.focus = number('node');
  const [from, to] = [number('from') * 1e9, number('to') * 1e9];
  if (to > from) show(from, to);
};
const address = () => {
  const q = new URLSearchParams({
    from: (view.t0 / 1e9).toFixed(6), to: (view.t1 / 1e9).toFixed(6),
  });
  if (view.selected >= 0) q.set('event', SEQ[view.selected]);
  if (view.focus > 0) q.set('node', view.focus);
  return `${location.href.split('#')[0]}#${q}`;
};
const begin = () => {
  readColours();
  heading();
  legend();
  scenarioTab();
  pointer();
  keys();
  for (const b of document.querySelectorAll('[data-do]')) {
    b.addEventListener('click', () => ACTIONS[b.dataset.do]());
  }
  for (const b of document.querySelectorAll('[data-tab]')) {
    b.addEventListener('click', () => openTab(b.dataset.tab));
  }
  $('messages').addEventListener('change', e => { view.messages = e.target.value; redraw(); });
  $('only').addEventListener('change', e => { view.only = e.target.checked; redraw(); });
  let typing = 0;
  $('search').addEventListener('input', () => {
    clearTimeout(typing);
    typing = setTimeout(find, 200);
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
    readColours();
    legend();
    redraw();
  });
  fit();
  new ResizeObserver(resize).observe($('stage'));
  wholeRun();
  select(VIOLATIONS.length > 0 ? VIOLATIONS[0] : -1);
  followAddress();
  addEventListener('hashchange', followAddress);
};
begin();

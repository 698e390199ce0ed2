// The run: events as columns, who sees whom how, what led to what. Draws nothing.

const D = JSON.parse(document.getElementById('data').textContent);
const N = D.events.seq.length;
const T = new Float64Array(N);
const SEQ = new Float64Array(N);
const { node: NODE, to: TO, bytes: BYTES } = D.events;
const END = Math.max(D.end, 1);
const text = (column, i) => D.texts[D.events[column][i]];
const kind = i => text('kind', i);

// Place of the event that led to each, -1 if none is known.
const CAUSE = new Int32Array(N);

const firstFrom = (column, x) => {
  let lo = 0;
  let hi = column.length;
  while (lo < hi) {
    const mid = (lo + hi) >> 1;
    if (column[mid] < x) lo = mid + 1; else hi = mid;
  }
  return lo;
};
const placeOf = seq => {
  const i = firstFrom(SEQ, seq);
  return i < N && SEQ[i] === seq ? i : -1;
};

(() => {
  let t = 0;
  let seq = 0;
  for (let i = 0; i < N; i++) {
    T[i] = t += D.events.t[i];
    SEQ[i] = seq += D.events.seq[i];
  }
  for (let i = 0; i < N; i++) {
    CAUSE[i] = D.events.cause[i] > 0 ? placeOf(SEQ[i] - D.events.cause[i]) : -1;
  }
})();

// How members are seen. The place in this list is the state.
const STATES = ['unknown', 'alive', 'suspect', 'failed', 'left'];
const BECOMES = { alive: 1, suspected: 2, 'suspicion-refuted': 1, failed: 3, left: 4, reaped: 0, unconfirmed: 0 };
const STREAM = new Set(['open', 'accept', 'connect', 'write', 'data', 'finish', 'broken']);
const DISK = new Set(['persist', 'persisted']);
const PACKET = new Set(['send', 'receive', 'drop']);
const isTraffic = i => {
  const k = kind(i);
  return PACKET.has(k) || STREAM.has(k) || DISK.has(k);
};

const seconds = (t, decimals = 6) => {
  const s = (t / 1e9).toFixed(decimals);
  return `${decimals > 3 ? s.replace(/0{1,3}$/, '') : s} s`;
};
const span = ns => {
  if (ns >= 1e9) return `${(ns / 1e9).toFixed(3)} s`;
  return ns >= 1e6 ? `${(ns / 1e6).toFixed(2)} ms` : `${(ns / 1e3).toFixed(1)} µs`;
};
const nodeName = n => (n === 0 ? 'world' : `n${n}`);

const ABOUT_MEMBER = {
  alive: 'sees as alive', updated: 'sees a change of', suspected: 'suspects',
  'suspicion-refuted': 'no longer suspects', failed: 'declares failed', left: 'sees as left',
  reaped: 'forgets',
  unconfirmed: 'drops',
};
// One event in words, without its time.
const words = i => {
  const k = kind(i);
  const to = TO[i] > 0 ? `n${TO[i]}` : '';
  const detail = text('detail', i);
  const message = text('message', i);
  const size = BYTES[i] > 0 ? ` (${BYTES[i]} bytes)` : '';
  const me = nodeName(NODE[i]);
  if (ABOUT_MEMBER[k]) return `${me} ${ABOUT_MEMBER[k]} ${to || 'somebody'}: ${detail}`;
  if (k === 'step') return `step: ${detail}`;
  if (k === 'met') return `met: ${detail}`;
  if (k === 'violation') return `violation at ${me}: ${detail}`;
  if (k === 'send') {
    const fate = LOST.has(i) ? `, lost: ${text('detail', LOST.get(i))}` : '';
    return `${me} → ${to || '?'} ${message}${size}${fate}`;
  }
  if (k === 'receive') {
    const sent = CAUSE[i] >= 0 ? text('message', CAUSE[i]) : '';
    return `${me} receives ${sent} from ${to || '?'}${size}`;
  }
  if (k === 'drop') {
    const sent = CAUSE[i] >= 0 ? text('message', CAUSE[i]) : '';
    return `${sent || 'datagram'} ${me} → ${to || '?'} is lost: ${detail}`;
  }
  return [me, k, to, message && `[${message}]`, detail].filter(Boolean).join(' ') + size;
};

// Messages: from event A to event B. A loss has its fate at B.
const MESSAGES = { from: [], at: [], lost: [], sort: [] };
// Which event tells the loss of a sent message.
const LOST = new Map();
const SORTS = ['probe', 'gossip', 'stream', 'lost'];
let longest = 0;
(() => {
  const probe = D.texts.map(s => /Ping|Ack|Nack|ProbeRequest/.test(s));
  for (let i = 0; i < N; i++) {
    const c = CAUSE[i];
    if (c < 0 || NODE[c] === 0 || NODE[i] === 0) continue;
    const lost = kind(i) === 'drop';
    if (lost) LOST.set(c, i);
    if (!lost && NODE[c] === NODE[i]) continue;
    if (!lost && !isTraffic(i)) continue;
    MESSAGES.from.push(c);
    MESSAGES.at.push(i);
    MESSAGES.lost.push(lost);
    const isProbe = probe[D.events.message[c]];
    MESSAGES.sort.push(lost ? 3 : STREAM.has(kind(i)) ? 2 : isProbe ? 0 : 1);
    longest = Math.max(longest, T[i] - T[c]);
  }
})();
// Arrivals in order, for searching.
const ARRIVAL = Float64Array.from(MESSAGES.at, i => T[i]);
// Places of messages that are under way between two times: [first, last).
const messagesBetween = (t0, t1) => [firstFrom(ARRIVAL, t0), firstFrom(ARRIVAL, t1 + longest + 1)];

// By subject: the changes of its rows [t, observer, state], and of counts by state.
const VIEWS = [];
const LIVES = [];
(() => {
  for (let n = 0; n <= D.nodes; n++) {
    VIEWS.push({ now: new Map(), rows: new Map(), counts: [[0, 0, 0, 0, 0, 0]] });
    LIVES.push([]);
  }
  for (const s of D.lives) if (LIVES[s.node]) LIVES[s.node].push(s);
  const see = (t, subject, observer, state) => {
    const v = VIEWS[subject];
    const before = v.now.get(observer) || 0;
    if (before === state) return;
    v.now.set(observer, state);
    if (!v.rows.has(observer)) v.rows.set(observer, []);
    v.rows.get(observer).push([t, state]);
    const last = v.counts[v.counts.length - 1];
    const next = last[0] === t ? last : [...last];
    next[0] = t;
    if (before > 0) next[1 + before]--;
    if (state > 0) next[1 + state]++;
    if (next !== last) v.counts.push(next);
  };
  for (let i = 0; i < N; i++) {
    const k = kind(i);
    const me = NODE[i];
    if (k === 'stop') {
      for (let s = 1; s <= D.nodes; s++) if (VIEWS[s].now.get(me)) see(T[i], s, me, 0);
    } else if (k in BECOMES && TO[i] > 0 && TO[i] <= D.nodes && me > 0) {
      // Only the gone are forgotten: a host's older member may be, while its new one lives.
      const now = VIEWS[TO[i]].now.get(me) || 0;
      if (k !== 'reaped' || now > 2) see(T[i], TO[i], me, BECOMES[k]);
    }
  }
})();

const lifeAt = (n, t) => {
  const s = (LIVES[n] || []).find(x => x.from <= t && t <= x.until);
  return s ? s.life : 'absent';
};
// Who sees node n how at t: state name to observers.
const viewsAt = (n, t) => {
  const out = {};
  for (const [observer, row] of VIEWS[n].rows) {
    let state = 0;
    for (const [at, s] of row) {
      if (at > t) break;
      state = s;
    }
    if (state > 0) (out[STATES[state]] ||= []).push(observer);
  }
  return out;
};

// Events about members and probes, to name what came before where no cause was recorded.
const ABOUT = new Map();
const SENT = new Map();
(() => {
  const add = (map, key, i) => {
    if (!map.has(key)) map.set(key, []);
    map.get(key).push(i);
  };
  for (let i = 0; i < N; i++) {
    const key = NODE[i] * 16384 + TO[i];
    if (kind(i) in BECOMES) add(ABOUT, key, i);
    if (kind(i) === 'send' && /Ping/.test(text('message', i))) add(SENT, key, i);
  }
})();
const before = (map, i) => {
  const list = map.get(NODE[i] * 16384 + TO[i]) || [];
  const k = firstFrom(list, i);
  return k > 0 ? list[k - 1] : -1;
};
// What a node decided in the same moment in which it sent i: outputs are drained after inputs.
const decided = i => {
  for (let k = i + 1; k < N && T[k] === T[i]; k++) {
    const deciding = ['suspected', 'failed', 'refuted', 'left'].includes(kind(k));
    if (NODE[k] === NODE[i] && deciding) return k;
  }
  return -1;
};
// What a node told in the moment in which it broke a rule.
const broke = i => {
  for (let k = i - 1; k >= 0 && T[k] === T[i]; k--) {
    if (NODE[k] === NODE[i] && NODE[k] > 0 && !isTraffic(k) && kind(k) !== 'violation') return k;
  }
  return -1;
};
// What came before an event without a cause: the suspicion, the probe that went unanswered, or
// the decision that is told to others.
const guess = i => {
  if (D.events.cause[i] > 0) return -1;
  const k = kind(i);
  if (k === 'send') return /^Claim/.test(text('message', i)) ? decided(i) : -1;
  if (k === 'violation') return broke(i);
  if (k === 'suspected') return before(SENT, i);
  return k === 'failed' || k === 'left' || k === 'reaped' ? before(ABOUT, i) : -1;
};

// What led to event i, oldest first, itself last: [{ i, guessed }], guessed: its link to the next.
const chainOf = i => {
  const out = [{ i, guessed: false }];
  const seen = new Set([i]);
  for (let at = i; out.length < 500;) {
    const guessed = CAUSE[at] < 0;
    const c = guessed ? guess(at) : CAUSE[at];
    if (c < 0 || seen.has(c)) break;
    seen.add(c);
    out.push({ i: c, guessed });
    at = c;
  }
  return out.reverse();
};
const effectsOf = i => {
  const out = [];
  for (let k = i + 1; k < N && out.length < 40; k++) if (CAUSE[k] === i) out.push(k);
  return out;
};

const VIOLATIONS = [];
for (let i = 0; i < N; i++) if (kind(i) === 'violation') VIOLATIONS.push(i);

// Places of the events in which all words occur.
const search = query => {
  const tokens = query.toLowerCase().split(/\s+/).filter(Boolean);
  if (tokens.length === 0) return null;
  // A node's name is a whole word: n1 is not n12.
  const tests = tokens.map(t => {
    const whole = /^n\d+$/.test(t) && new RegExp(`\\b${t}\\b`);
    return all => (whole ? whole.test(all) : all.includes(t));
  });
  const out = [];
  for (let i = 0; i < N; i++) {
    const all = `${words(i)} ${kind(i)} ${SEQ[i]} `.toLowerCase();
    if (tests.every(test => test(all))) out.push(i);
  }
  return out;
};

// SPDX-License-Identifier: Apache-2.0
// State from the server → the page. Words of others enter as text, never as markup.
'use strict';
const $ = id => document.getElementById(id);
const SVG = 'http://www.w3.org/2000/svg', TOP = 2, HEIGHT = 40, GAP_S = 1;
let points = [], lanes = new Map(), listed = '', looked = 0;

function make(tag, words, kind) {
  const element = document.createElement(tag);
  if (words !== undefined) element.textContent = words;
  if (kind) element.className = kind;
  return element;
}

function drawn(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function laneOf(name) {
  if (lanes.has(name)) return lanes.get(name);
  const row = make('div', undefined, 'row lane'), field = make('div', undefined, 'field');
  const svg = drawn('svg', {viewBox: `0 0 1000 ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img'});
  const alarms = drawn('g', {}), path = drawn('path', {class: 'score'});
  const y = HEIGHT * (1 - 1 / TOP);
  svg.append(alarms, drawn('path', {class: 'threshold', d: `M0 ${y}H1000`}), path);
  field.append(svg);
  const value = make('span', '', 'value');
  row.append(make('span', name.replaceAll('_', ' '), 'name'), field, value);
  $('lanes').append(row);
  const lane = {svg, alarms, path, value};
  lanes.set(name, lane);
  return lane;
}

function drawLanes(now, span) {
  const series = new Map();
  for (const [at, channels] of points) {
    for (const [name, share, alarm, detail] of channels) {
      if (!series.has(name)) series.set(name, []);
      series.get(name).push([at, share, alarm, detail]);
    }
  }
  const x = at => (1000 * (1 - (now - at) / span)).toFixed(1);
  for (const [name, values] of series) {
    const lane = laneOf(name);
    let d = '', before = null, from = null, last = null;
    const spans = [];
    for (const [at, share, alarm] of values) {
      const y = share === null ? 0 : (HEIGHT * (1 - Math.min(share, TOP) / TOP)).toFixed(1);
      if (share !== null) d += `${before === null || at - before > GAP_S ? 'M' : 'L'}${x(at)} ${y}`;
      before = share === null ? null : at;
      if (from !== null && (!alarm || at - last > GAP_S)) { spans.push([from, last]); from = null; }
      if (alarm && from === null) from = at;
      last = at;
    }
    if (from !== null) spans.push([from, last]);
    lane.path.setAttribute('d', d);
    lane.alarms.replaceChildren(...spans.map(([a, b]) => drawn('rect',
      {class: 'alarm', x: x(a), y: 0, width: Math.max(3, x(b) - x(a)), height: HEIGHT})));
    const [, share, alarm, detail] = values[values.length - 1];
    lane.value.textContent = share === null ? 'none' : share.toFixed(2);
    lane.value.className = alarm ? 'value over' : 'value';
    lane.value.title = detail;
    lane.svg.setAttribute('aria-label', `${name}: ${share === null ? 'nothing to say' :
      share.toFixed(2) + ' of its threshold'}${alarm ? ', in alarm' : ''}; ${spans.length} alarms in 2 minutes`);
  }
  $('no-scores').hidden = lanes.size > 0;
}

function showFigures(state) {
  const predictor = state.nodes.predictor?.values ?? {}, monitor = state.nodes.monitor?.values ?? {};
  const recorder = state.nodes.recorder?.values ?? {};
  const age = state.score_age_s;
  const stale = monitor.calibration_stale;
  const figures = {
    'newest score': age === null ? 'none' : age < 1 ? 'now' : `${age.toFixed(0)} s ago`,
    'level': predictor.level, 'real-time factor': predictor.real_time_factor,
    'coverage': predictor.coverage, 'skipped ticks': predictor.skipped_ticks,
    'lost messages': recorder.lost,
    'calibration': stale === undefined ? undefined : stale === 'true' ? 'stale' : 'in force',
  };
  $('figures').replaceChildren(...Object.entries(figures).map(([name, value]) => {
    const pair = make('div');
    pair.append(make('dt', name), make('dd', value || 'unknown'));
    return pair;
  }));
}

function showNodes(nodes) {
  $('nodes').replaceChildren(...Object.entries(nodes).map(([name, node]) => {
    const row = make('tr');
    const age = node.level === 'silent' ? ` for ${node.age_s.toFixed(0)} s` : '';
    const head = make('th', name);
    head.scope = 'row';
    row.append(head, make('td', node.level + age, node.level), make('td', node.message));
    return row;
  }));
}

function card(episode) {
  const item = make('li'), side = make('div'), words = make('div'), base = `episode/${episode.id}/`;
  if (episode.picture) {
    const picture = make('img');
    picture.src = base + 'thumbnail';
    picture.alt = 'The camera at the onset';
    picture.loading = 'lazy';
    side.append(picture);
  } else side.append(make('div', 'no picture', 'none'));
  const causes = make('p');
  for (const cause of episode.causes) causes.append(make('span', cause.replaceAll('_', ' '), 'chip'));
  words.append(causes, make('p', `${new Date(episode.onset_ms).toLocaleString()}, ${episode.seconds} s`),
    make('p', `${episode.id}, ${episode.state}`, 'facts'));
  for (const what of ['strip', 'video']) {
    if (!episode[what]) continue;
    const link = make('a', what === 'strip' ? 'evidence' : 'video');
    link.href = base + what;
    words.append(link, ' ');
  }
  item.append(side, words);
  return item;
}

function show(state) {
  if (state.points.length === state.count) points = [];
  points.push(...state.points);
  points = points.filter(([at]) => at >= state.now_s - state.span_s);
  $('standing').dataset.level = state.standing.level;
  if ($('standing').textContent !== state.standing.words) $('standing').textContent = state.standing.words;
  drawLanes(state.now_s, state.span_s);
  showFigures(state);
  showNodes(state.nodes);
  $('overlay').hidden = !state.overlay;
  $('no-overlay').hidden = state.overlay;
  if (!state.overlay && Date.now() - looked > 15000) look();
  $('capture').disabled = !state.recorder;
  $('capture').title = state.recorder ? '' : 'There is no recorder.';
  const text = JSON.stringify(state.episodes);
  if (text !== listed) {
    listed = text;
    $('episodes').replaceChildren(...state.episodes.map(card));
    $('no-episodes').hidden = state.episodes.length > 0;
  }
}

function look() {
  looked = Date.now();
  // Only a page that is seen asks for pictures: they cost the robot's machine work.
  $('overlay').src = document.hidden ? 'data:,' : `overlay?${Date.now()}`;
}

function listen() {
  const events = new EventSource('events');
  events.onopen = () => { points = []; look(); };
  events.onmessage = event => show(JSON.parse(event.data));
  events.onerror = () => {
    $('standing').dataset.level = 'error';
    $('standing').textContent = 'flywheel watch does not answer. This page tries again.';
    $('capture').disabled = true;
    if (events.readyState === EventSource.CLOSED) setTimeout(listen, 2000);
  };
}

document.addEventListener('visibilitychange', look);
$('overlay').addEventListener('error', () => document.hidden || setTimeout(look, 2000));
$('capture').addEventListener('click', async () => {
  $('capture').disabled = true;
  $('answer').textContent = 'Asked the recorder.';
  try {
    const answer = await (await fetch('capture', {method: 'POST'})).json();
    $('answer').textContent = answer.words || (answer.ok ? 'Capturing.' : 'Refused.');
  } catch { $('answer').textContent = 'flywheel watch does not answer.'; }
});
listen();

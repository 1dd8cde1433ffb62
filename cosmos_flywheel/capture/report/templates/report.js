'use strict';
// Reading values off the timelines, and the bar below each video. The page is complete without this.

const TOP_RATIO = 32;

function ratioAt(y) {
  return y >= 50 ? (100 - y) / 50 : Math.pow(TOP_RATIO, (50 - y) / 50);
}

function wordsFor(y) {
  const ratio = ratioAt(y);
  if (y <= 0) return '≥' + TOP_RATIO + '×';
  return ratio.toFixed(ratio < 1 ? 2 : 1) + '×';
}

function pointsOf(path) {
  return path.getAttribute('d').split('M').slice(1).map(
    piece => piece.split('L').map(point => point.split(' ').map(Number)));
}

function readLane(pieces, x) {
  const reach = 3;
  const piece = pieces.find(p => x >= p[0][0] - reach && x <= p[p.length - 1][0] + reach);
  if (!piece) return null;
  const near = piece.filter(([px]) => Math.abs(px - x) <= reach);
  if (near.length) return Math.min(...near.map(([, y]) => y));
  return piece.reduce((a, b) => Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a)[1];
}

function timeWords(seconds, zeroed) {
  if (zeroed) return (seconds < 0 ? '−' : '+') + Math.abs(seconds).toFixed(2) + ' s';
  if (seconds < 600) return seconds.toFixed(2) + ' s';
  const whole = Math.round(seconds), two = n => String(n).padStart(2, '0');
  const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  return hours ? hours + ':' + two(minutes) + ':' + two(whole % 60) : minutes + ':' + two(whole % 60);
}

function followPointer(plot) {
  const field = plot.querySelector('.over-all');
  const label = plot.querySelector('.cursor b');
  const start = Number(plot.dataset.start), end = Number(plot.dataset.end);
  const zero = Number(plot.dataset.zero);
  let lanes = null;

  function lanesOnce() {
    lanes ??= [...plot.querySelectorAll('.lane')].map(row => {
      const path = row.querySelector('.score'), value = row.querySelector('.value');
      return { value, rest: value.textContent, pieces: path ? pointsOf(path) : [] };
    });
    return lanes;
  }

  function show(event) {
    const box = field.getBoundingClientRect();
    const share = (event.clientX - box.left) / box.width;
    if (share < 0 || share > 1) return hide();
    plot.classList.add('reading');
    plot.style.setProperty('--at', share);
    label.textContent = timeWords(start + share * (end - start) - zero, zero !== 0);
    for (const lane of lanesOnce()) {
      const y = readLane(lane.pieces, share * 1000);
      lane.value.textContent = y === null ? '–' : wordsFor(y);
    }
  }

  function hide() {
    plot.classList.remove('reading');
    for (const lane of lanes ?? []) lane.value.textContent = lane.rest;
  }

  plot.addEventListener('pointermove', show);
  plot.addEventListener('pointerdown', show);
  plot.addEventListener('pointerleave', hide);
}

function followVideo(figure) {
  const video = figure.querySelector('video'), bar = figure.querySelector('.filmbar');
  const duration = Number(bar.dataset.duration);
  function move() {
    figure.classList.add('playing');
    bar.style.setProperty('--at', Math.min(1, video.currentTime / duration));
    if (!video.paused) requestAnimationFrame(move);
  }
  video.addEventListener('play', move);
  video.addEventListener('seeked', move);
  bar.addEventListener('click', event => {
    const box = bar.getBoundingClientRect();
    video.currentTime = (event.clientX - box.left) / box.width * duration;
  });
}

function openTarget() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target instanceof HTMLDetailsElement) target.open = true;
}

document.querySelectorAll('.plot').forEach(followPointer);
document.querySelectorAll('.film').forEach(followVideo);
addEventListener('hashchange', openTarget);
addEventListener('beforeprint', () => document.querySelectorAll('details').forEach(d => { d.open = true; }));
openTarget();

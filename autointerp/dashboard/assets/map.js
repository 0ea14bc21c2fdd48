'use strict';
// Points on canvas: the map of the features, and scatters; hover, click, a rectangle that selects.
(function () {
  const D = Dashboard;
  const { h } = D;
  // dark blue to yellow, told apart whatever one's colour vision (after cividis)
  const RAMP = ['#2a4570', '#46546c', '#5f636d', '#767470', '#8e8673', '#a89972', '#c4ad6d', '#e0c364', '#fbdd54'];
  const NIGHT = ['#5a7fc0', '#6f8bb0', '#8497a6', '#98a39c', '#adb090', '#c2bd83', '#d7ca73', '#ebd861', '#fff04b'];

  const isNight = () => getComputedStyle(document.documentElement).colorScheme === 'dark';

  /** A colour for each row by a column, and what the colours mean. */
  D.painter = function (column) {
    const palette = Array.from({ length: 9 }, (_, i) => D.colourNow(`--c${i}`));
    if (!column) {
      const accent = D.colourNow('--accent');
      return { of: () => accent, legend: [] };
    }
    if (column.kind === 'category') {
      const legend = column.words.slice(0, 9).map((word, i) => [palette[i], word]);
      return { of: (row) => (column.values[row] < 0 ? null : palette[column.values[row] % 9]), legend };
    }
    const ramp = isNight() ? NIGHT : RAMP;
    const at = column.log ? (v) => Math.log10(v) : (v) => v;
    const known = Array.from(column.values, at).filter(Number.isFinite).sort((a, b) => a - b);
    const low = known[Math.floor(known.length * 0.02)] ?? 0;
    const high = known[Math.floor(known.length * 0.98)] ?? 1;
    const of = (row) => {
      const v = at(column.values[row]);
      if (!Number.isFinite(v)) return null;
      return ramp[Math.max(0, Math.min(8, Math.floor(((v - low) / (high - low || 1)) * 9)))];
    };
    const back = (v) => D.number(column.log ? 10 ** v : v, 2);
    return { of, legend: [[ramp[0], back(low)], [ramp[4], back((low + high) / 2)], [ramp[8], back(high)]] };
  };

  /**
   * A scatter of `x` and `y` (by row). `rows` are in colour, the others faint.
   * @returns {element, draw(rows, paint)}
   */
  D.scatter = function ({ x, y, told, open, select, label, height = 230, square = true, guides = null, ranges = null }) {
    const canvas = h('canvas', { role: 'img', 'aria-label': label, tabIndex: 0 });
    const band = h('div.band', { hidden: true });
    const box = h('div.scatter', canvas, band);
    box.style.setProperty('height', `${height}px`);
    const pad = guides ? 30 : 10;
    let state = { rows: null, paint: null, picked: null, radius: 2 };
    const [x0, x1] = ranges ? ranges.x : ends(x);
    const [y0, y1] = ranges ? ranges.y : ends(y);

    function ends(values) {
      let a = Infinity;
      let b = -Infinity;
      for (const v of values) if (v === v) { if (v < a) a = v; if (v > b) b = v; }
      return a < b ? [a, b] : [0, 1];
    }
    function scale() {
      const width = box.clientWidth || 280;
      const tall = box.clientHeight || height;
      let kx = (width - 2 * pad) / (x1 - x0);
      let ky = (tall - 2 * pad) / (y1 - y0);
      if (square && !ranges) kx = ky = Math.min(kx, ky);
      const ox = (width - kx * (x1 - x0)) / 2;
      const oy = (tall - ky * (y1 - y0)) / 2;
      return { width, tall, px: (v) => ox + (v - x0) * kx, py: (v) => tall - oy - (v - y0) * ky, ux: (p) => (p - ox) / kx + x0, uy: (p) => (tall - oy - p) / ky + y0 };
    }
    function draw(rows, paint, picked = null) {
      state = { rows, paint, picked };
      const { width, tall, px, py } = scale();
      const ratio = devicePixelRatio || 1;
      canvas.width = width * ratio;
      canvas.height = tall * ratio;
      const ink = canvas.getContext('2d');
      ink.scale(ratio, ratio);
      ink.clearRect(0, 0, width, tall);
      if (guides) guides(ink, { px, py });
      const size = x.length > 8000 ? 1.6 : x.length > 1500 ? 2.2 : 3.2;
      const chosen = rows ? new Set(rows) : null;
      const none = D.colourNow('--null');
      ink.fillStyle = none;
      ink.globalAlpha = 0.28;
      if (!chosen || chosen.size < x.length) {
        for (let i = 0; i < x.length; i++) if (x[i] === x[i] && y[i] === y[i] && !(chosen && chosen.has(i))) ink.fillRect(px(x[i]) - size / 2, py(y[i]) - size / 2, size, size);
      }
      ink.globalAlpha = 0.9;
      for (const i of rows || []) {
        if (!(x[i] === x[i] && y[i] === y[i])) continue;
        ink.fillStyle = paint.of(i) || none;
        ink.beginPath();
        ink.arc(px(x[i]), py(y[i]), size * 0.85, 0, 7);
        ink.fill();
      }
      if (picked !== null && x[picked] === x[picked]) {
        ink.globalAlpha = 1;
        ink.strokeStyle = D.colourNow('--ink');
        ink.lineWidth = 1.6;
        ink.beginPath();
        ink.arc(px(x[picked]), py(y[picked]), 6, 0, 7);
        ink.stroke();
      }
    }
    function nearest(event, reach = 9) {
      const place = canvas.getBoundingClientRect();
      const { px, py } = scale();
      const [mx, my] = [event.clientX - place.left, event.clientY - place.top];
      let best = -1;
      let least = reach * reach;
      const among = state.rows && state.rows.length ? state.rows : x.keys();
      for (const i of among) {
        const d = (px(x[i]) - mx) ** 2 + (py(y[i]) - my) ** 2;
        if (d < least) { least = d; best = i; }
      }
      return best;
    }
    const note = h('div.tip', { hidden: true });
    box.append(note);
    let from = null;
    canvas.addEventListener('pointermove', (event) => {
      const place = canvas.getBoundingClientRect();
      const at = [event.clientX - place.left, event.clientY - place.top];
      if (from) {
        band.hidden = false;
        band.style.setProperty('left', `${Math.min(from[0], at[0])}px`);
        band.style.setProperty('top', `${Math.min(from[1], at[1])}px`);
        band.style.setProperty('width', `${Math.abs(from[0] - at[0])}px`);
        band.style.setProperty('height', `${Math.abs(from[1] - at[1])}px`);
        return;
      }
      const i = nearest(event);
      note.hidden = i < 0;
      canvas.classList.toggle('points', i >= 0);
      if (i < 0) return;
      D.fill(note, told(i));
      note.style.setProperty('left', `${Math.min(event.clientX + 12, innerWidth - 300)}px`);
      note.style.setProperty('top', `${event.clientY + 14}px`);
    });
    canvas.addEventListener('pointerleave', () => (note.hidden = true));
    canvas.addEventListener('pointerdown', (event) => {
      if (!select) return;
      const place = canvas.getBoundingClientRect();
      from = [event.clientX - place.left, event.clientY - place.top];
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener('pointerup', (event) => {
      const place = canvas.getBoundingClientRect();
      const at = [event.clientX - place.left, event.clientY - place.top];
      band.hidden = true;
      const start = from;
      from = null;
      if (start && Math.hypot(start[0] - at[0], start[1] - at[1]) > 6) {
        const { ux, uy } = scale();
        const [a, b] = [ux(Math.min(start[0], at[0])), ux(Math.max(start[0], at[0]))];
        const [c, d] = [uy(Math.max(start[1], at[1])), uy(Math.min(start[1], at[1]))];
        select([a, b, c, d].map((v) => v.toFixed(3)).join(','));
        return;
      }
      const i = nearest(event);
      if (i >= 0) open(i);
      else if (select) select(null);
    });
    const again = () => draw(state.rows, typeof state.repaint === 'function' ? state.repaint() : state.paint, state.picked);
    const watch = new ResizeObserver(() => state.paint && again());
    watch.observe(box);
    return { element: box, draw, leave: () => watch.disconnect() };
  };

  /** What the colours of a painter mean. */
  D.paintLegend = (painter) => h('div.legend', painter.legend.map(([colour, word]) => {
    const swatch = h('span.swatch');
    swatch.style.setProperty('background', colour);
    return h('span', swatch, word);
  }));
})();

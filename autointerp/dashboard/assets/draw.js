'use strict';
// Small drawings: histograms with a brush, bars with intervals, lines, letters.
(function () {
  const D = Dashboard;
  const { h, svg } = D;

  /** Edges and counts of finite values; `log` bins the decimal logarithm. */
  D.binned = function (values, rows, { bins = 32, low, high, log = false } = {}) {
    const at = log ? (v) => (v > 0 ? Math.log10(v) : NaN) : (v) => v;
    const n = rows ? rows.length : values.length;
    if (low === undefined || high === undefined) {
      let a = Infinity;
      let b = -Infinity;
      for (let i = 0; i < values.length; i++) {
        const v = at(values[i]);
        if (v < a) a = v;
        if (v > b) b = v;
      }
      low = low ?? a;
      high = high ?? b;
    }
    if (!(high > low)) [low, high] = Number.isFinite(low) ? [low - 0.5, low + 0.5] : [0, 1];
    const counts = new Array(bins).fill(0);
    const scale = bins / (high - low);
    for (let i = 0; i < n; i++) {
      const v = at(values[rows ? rows[i] : i]);
      if (v >= low && v <= high) counts[Math.min(bins - 1, Math.floor((v - low) * scale))]++;
    }
    return { low, high, counts, log };
  };

  function bars(counts, top, width, height, kind) {
    const w = width / counts.length;
    let path = '';
    counts.forEach((n, i) => {
      if (!n) return;
      const y = Math.max(Math.sqrt(n / top) * height, 1.5);
      path += `M${(i * w + 0.5).toFixed(1)} ${height}v${(-y).toFixed(1)}h${Math.max(w - 1, 0.6).toFixed(1)}v${y.toFixed(1)}z`;
    });
    return svg(`path.${kind}`, { d: path });
  }

  /**
   * A histogram of all values behind that of the chosen rows; heights are square roots, so that few are seen too.
   * `change(low, high)` is called with the range that was drawn, or nulls.
   */
  D.histogram = function ({ values, rows, range, log, label, chosen, change, width = 250, height = 46, mark }) {
    const all = D.binned(values, null, { log, low: log ? undefined : range && range[0], high: log ? undefined : range && range[1] });
    const few = rows ? D.binned(values, rows, { low: all.low, high: all.high, log }) : null;
    const top = Math.max(...all.counts, 1);
    const back = (x) => (log ? 10 ** x : x);
    const place = (v) => (((log ? Math.log10(v) : v) - all.low) / (all.high - all.low)) * width;
    const drawing = svg('svg.histogram', { viewBox: `0 0 ${width} ${height}`, role: 'img', preserveAspectRatio: 'none',
      'aria-label': `histogram of ${label}, ${D.number(back(all.low))} to ${D.number(back(all.high))}` });
    drawing.append(bars(all.counts, top, width, height, few ? 'behind' : 'front'));
    if (few) drawing.append(bars(few.counts, top, width, height, 'front'));
    if (mark !== undefined && mark !== null) drawing.append(svg('line.mark', { x1: place(mark), x2: place(mark), y1: 0, y2: height }));
    const brush = svg('rect.brush', { y: 0, height, width: 0, x: 0 });
    if (chosen) {
      const a = Math.max(0, chosen[0] === null ? 0 : place(chosen[0]));
      const b = Math.min(width, chosen[1] === null ? width : place(chosen[1]));
      brush.setAttribute('x', a);
      brush.setAttribute('width', Math.max(b - a, 1));
    }
    drawing.append(brush);
    if (change) {
      const x = (event) => {
        const box = drawing.getBoundingClientRect();
        return Math.min(Math.max(((event.clientX - box.left) / box.width) * width, 0), width);
      };
      const value = (at) => Number(back(all.low + (at / width) * (all.high - all.low)).toPrecision(3));
      let from = null;
      drawing.classList.add('brushes');
      drawing.addEventListener('pointerdown', (event) => {
        from = x(event);
        drawing.setPointerCapture(event.pointerId);
      });
      drawing.addEventListener('pointermove', (event) => {
        if (from === null) return;
        const [a, b] = [Math.min(from, x(event)), Math.max(from, x(event))];
        brush.setAttribute('x', a);
        brush.setAttribute('width', b - a);
      });
      drawing.addEventListener('pointerup', (event) => {
        if (from === null) return;
        const [a, b] = [Math.min(from, x(event)), Math.max(from, x(event))];
        from = null;
        if (b - a < 3) change(null, null);
        else change(a <= 1 ? null : value(a), b >= width - 1 ? null : value(b));
      });
    }
    const ends = h('div.ends', h('span', D.number(back(all.low))), h('span', D.number(back(all.high))));
    return h('div.drawn', drawing, ends);
  };

  /** A value on its scale: dot, interval, the null as a tick, what guessing gives as a dotted line. */
  D.scoreBar = function ({ value, low, high, nullValue, range = [0, 1], chance, width = 92 }) {
    const pad = 4;
    const x = (v) => pad + ((Math.min(Math.max(v, range[0]), range[1]) - range[0]) / (range[1] - range[0])) * (width - 2 * pad);
    const known = (v) => v !== null && v !== undefined && !Number.isNaN(v);
    return svg('svg.score', { viewBox: `0 0 ${width} 14`, width, height: 14, 'aria-hidden': 'true' },
      svg('line.track', { x1: pad, x2: width - pad, y1: 7, y2: 7 }),
      known(chance) ? svg('line.chance', { x1: x(chance), x2: x(chance), y1: 2, y2: 12 }) : null,
      known(low) && known(high) ? svg('line.interval', { x1: x(low), x2: x(high), y1: 7, y2: 7 }) : null,
      known(nullValue) ? svg('line.null', { x1: x(nullValue), x2: x(nullValue), y1: 1.5, y2: 12.5 }) : null,
      known(value) ? svg('circle.value', { cx: x(value), cy: 7, r: 3.4 }) : null);
  };

  /** Counts as bars, with its axis; the heights are logarithmic. */
  D.bars = function ({ counts, max, label, width = 340, height = 90 }) {
    const top = Math.log1p(Math.max(...counts, 1));
    const w = width / counts.length;
    const drawing = svg('svg.bars', { viewBox: `0 0 ${width} ${height + 16}`, role: 'img', 'aria-label': label });
    counts.forEach((n, i) => {
      const y = (Math.log1p(n) / top) * height;
      const bar = svg('rect', { x: i * w + 0.5, width: Math.max(w - 1, 1), y: height - y, height: y, class: `l${Math.floor((i / counts.length) * 10)}`, 'data-at': i });
      drawing.append(bar, D.tip(svg('rect.touch', { x: i * w, width: w, y: 0, height, 'data-at': i }),
        `${D.number((max * i) / counts.length)} to ${D.number((max * (i + 1)) / counts.length)}: ${D.plural(n, 'activation')}`));
    });
    drawing.append(svg('line.axis', { x1: 0, x2: width, y1: height + 0.5, y2: height + 0.5 }));
    [0, 0.25, 0.5, 0.75, 1].forEach((share) => drawing.append(svg('text.tick', {
      x: share * width, y: height + 13, 'text-anchor': share === 0 ? 'start' : share === 1 ? 'end' : 'middle' }, D.number(max * share, 2))));
    return drawing;
  };

  /** A line through (x, y) points, filled below. */
  D.line = function (points, { width = 320, height = 70, label = '', low = 0 } = {}) {
    const drawing = svg('svg.spark', { viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': label, preserveAspectRatio: 'none' });
    if (points.length < 2) return drawing;
    const [first, last] = [points[0][0], points[points.length - 1][0]];
    const top = Math.max(...points.map((p) => p[1]), low + 1e-9);
    const at = ([x, y]) => `${(((x - first) / Math.max(last - first, 1e-9)) * width).toFixed(1)} ${(height - 2 - ((y - low) / (top - low)) * (height - 6)).toFixed(1)}`;
    const path = points.map(at).join('L');
    drawing.append(svg('path.area', { d: `M0 ${height}L${path}L${width} ${height}z` }), svg('path.stroke', { d: `M${path}` }));
    return drawing;
  };

  // Chemistry of residues; hues that a colour-blind reader tells apart
  const CHEMISTRY = { 0: 'AVLIMC', 1: 'DE', 2: 'STNQ', 3: 'KRH', 4: 'GP', 5: 'FWY' };
  const hue = new Map(Object.entries(CHEMISTRY).flatMap(([i, letters]) => [...letters].map((one) => [one, Number(i)])));
  const HUES = [0, 6, 2, 1, 4, 5];
  /** The colour of a residue by its chemistry. */
  D.residueColour = (letter) => (hue.has(letter) ? D.colour(HUES[hue.get(letter)]) : 'var(--quiet)');

  /** A sequence logo: letters stacked by their bits at each offset. */
  D.logo = function ({ offsets, columns }) {
    const [w, height, pad] = [22, 110, 16];
    const total = columns.map((column) => column.reduce((sum, [, bits]) => sum + Math.max(bits || 0, 0), 0));
    const top = Math.max(...total, 0.4);
    const width = offsets.length * w + 30;
    const drawing = svg('svg.logo', { viewBox: `0 0 ${width} ${height + pad}`, role: 'img', width,
      'aria-label': `logo around the peak: ${columns.map((c) => (c[0] ? c[0][0] : '–')).join('')}` });
    drawing.append(svg('text.tick', { x: 0, y: 9 }, D.fixed(top, 1)), svg('text.tick', { x: 0, y: 19 }, 'bits'),
      svg('line.axis', { x1: 28, x2: width, y1: height + 0.5, y2: height + 0.5 }));
    columns.forEach((column, i) => {
      let y = height;
      const x = 28 + i * w;
      if (offsets[i] === 0) drawing.append(svg('rect.peak', { x, width: w, y: 0, height: height + pad, rx: 3 }));
      [...column].reverse().forEach(([symbol, bits]) => {
        const size = (Math.max(bits || 0, 0) / top) * height;
        if (size < 0.8) return;
        const letter = svg('text.letter', { x: 0, y: 0, 'text-anchor': 'middle', transform: `translate(${x + w / 2} ${y}) scale(${(w - 2) / 15} ${size / 14.6})` }, symbol);
        letter.style.setProperty('fill', D.residueColour(symbol));
        y -= size;
        drawing.append(letter);
      });
      const told = column.slice(0, 5).map(([symbol, bits]) => `${symbol}  ${D.fixed(bits)} bits`).join('\n');
      drawing.append(svg('text.tick', { x: x + w / 2, y: height + 12, 'text-anchor': 'middle' }, offsets[i] > 0 ? `+${offsets[i]}` : String(offsets[i]).replace('-', '−')),
        D.tip(svg('rect.touch', { x, width: w, y: 0, height }), told || 'nothing stands out'));
    });
    return drawing;
  };
})();

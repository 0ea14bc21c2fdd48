'use strict';
// Tracks: where features fire along a sequence, over its annotations, on one axis that can be zoomed.
(function () {
  const D = Dashboard;
  const { h } = D;
  const LETTER = { residue: 8, word: 27 };
  const HEIGHT = { row: 26, notes: 13, axis: 18, letters: 16 };

  /** First index of ascending `at` that is not below `value`. */
  function from(at, value) {
    let [low, high] = [0, at.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (at[middle] < value) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The activation at one place; of a binned track the largest of its bin. */
  D.trackAt = function (track, i) {
    if (track.bin) return track.v[Math.floor((i - (track.start || 0)) / track.bin)] || 0;
    if (!track.at) return track.whole || 0;
    const k = from(track.at, i);
    return track.at[k] === i ? track.v[k] : 0;
  };

  /** The largest activation in each pixel of a stretch. */
  function columns(track, start, stop, width) {
    const found = new Float32Array(width);
    const scale = width / (stop - start);
    const wide = Math.max(1, Math.floor(scale));
    const put = (first, last, v) => {
      for (let x = Math.max(0, first); x < Math.min(width, Math.max(last, first + 1)); x++) if (v > found[x]) found[x] = v;
    };
    if (track.bin) {
      const base = track.start || 0;
      track.v.forEach((v, k) => {
        const a = base + k * track.bin;
        if (v && a + track.bin > start && a < stop) put(Math.floor((a - start) * scale), Math.ceil((a + track.bin - start) * scale), v);
      });
    } else if (track.at) {
      for (let k = from(track.at, start); k < track.at.length && track.at[k] < stop; k++) {
        const x = Math.floor((track.at[k] - start) * scale);
        put(x, x + wide - (wide > 3 ? 1 : 0), track.v[k]);
      }
    } else found.fill(track.whole || 0);
    return found;
  }

  function sized(canvas, width, height) {
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.setProperty('height', `${height}px`);
    const pen = canvas.getContext('2d');
    pen.scale(ratio, ratio);
    return pen;
  }

  function steps(span) {
    const rough = span / 8;
    const power = 10 ** Math.floor(Math.log10(Math.max(rough, 1)));
    return Math.max(1, [1, 2, 5, 10].map((x) => x * power).find((x) => x >= rough));
  }

  /** Annotations of each type in as few lanes as they need, at most four. */
  function lanesOf(annotations) {
    const types = new Map();
    for (const note of annotations) {
      if (!types.has(note[2])) types.set(note[2], []);
      types.get(note[2]).push(note);
    }
    return [...types].sort((a, b) => b[1].length - a[1].length).slice(0, 10).map(([type, notes], i) => {
      const ends = [];
      const placed = [...notes].sort((a, b) => a[0] - b[0]).map((note) => {
        let lane = ends.findIndex((last) => last <= note[0]);
        if (lane < 0) lane = ends.length < 4 ? ends.push(0) - 1 : 3;
        ends[lane] = note[1];
        return { note, lane };
      });
      return { type, placed, depth: ends.length, code: i };
    });
  }

  /**
   * Tracks of `rows` ({key, name, label, href, track, top, side}) over `n` tokens; `tokens(i)` names one of them.
   * `changed(start, stop)` hears of another stretch, `picked(key)` of a row; `detail(start, stop)` may give finer tracks.
   */
  D.tracks = function ({ n, rows, annotations = [], tokens, isText = false, start = 0, stop = n, at = null, pick = null, changed, picked, detail }) {
    let window_ = [start, stop];
    let crosshair = at;
    let asked = 0;
    const lanes = lanesOf(annotations);
    const line = h('div.crosshair', { hidden: true });
    const brush = h('div.brushed', { hidden: true });
    const told = h('span.readout.muted', { 'aria-live': 'off' });
    const range = h('span.range.mono');
    const parts = [];

    function lane(name, height, draw, kind) {
      const canvas = h('canvas', { 'aria-hidden': 'true' });
      const element = h(`div.track.${kind}`, h('div.track-head', name), h('div.track-plot', canvas));
      parts.push({ canvas, height, draw, element });
      return element;
    }

    function drawAxis(pen, width, height) {
      const [a, b] = window_;
      pen.fillStyle = D.colourNow('--quiet');
      pen.font = '11px system-ui, sans-serif';
      pen.textAlign = 'center';
      const step = steps(b - a);
      for (let i = Math.ceil((a + 1) / step) * step; i <= b; i += step) {
        const x = ((i - 0.5 - a) / (b - a)) * width;
        pen.fillRect(Math.round(x), height - 4, 1, 4);
        const text = i.toLocaleString('en');
        const half = pen.measureText(text).width / 2;
        pen.fillText(text, Math.min(Math.max(x, half), width - half), height - 7);
      }
    }

    function drawLetters(pen, width, height) {
      const [a, b] = window_;
      const size = width / (b - a);
      const letter = isText ? 11 : Math.min(13, size * 1.1);
      pen.font = `${letter}px ui-monospace, Menlo, "DejaVu Sans Mono", monospace`;
      pen.textAlign = 'center';
      pen.fillStyle = D.colourNow('--ink');
      const most = isText ? Math.max(1, Math.floor((size - 3) / 6.7)) : 1;
      for (let i = Math.floor(a); i < b; i++) {
        const token = isText ? tokens(i).trim().replace(/\s/g, '␣') : tokens(i);
        pen.fillText(token.length > most ? `${token.slice(0, Math.max(1, most - 1))}…`.slice(0, most) : token, (i + 0.5 - a) * size, height - 4);
      }
    }

    const drawNotes = (one) => (pen, width) => {
      const [a, b] = window_;
      pen.fillStyle = D.colourNow(`--c${one.code % 9}`);
      for (const { note, lane: level } of one.placed) {
        if (note[1] <= a || note[0] >= b) continue;
        const x = Math.max(0, ((note[0] - a) / (b - a)) * width);
        const end = Math.min(width, ((note[1] - a) / (b - a)) * width);
        pen.fillRect(x, level * HEIGHT.notes + 2, Math.max(end - x, 1.5), HEIGHT.notes - 4);
      }
    };

    const drawRow = (row) => (pen, width, height) => {
      const [a, b] = window_;
      const v = columns(row.fine && row.fine.start <= a && row.fine.stop >= b ? row.fine : row.track, a, b, Math.round(width));
      const top = row.top || Math.max(...v, 1e-9);
      pen.fillStyle = D.colourNow('--faint');
      pen.fillRect(0, height - 1, width, 1);
      pen.fillStyle = D.colourNow(row.key === pick ? '--orange' : '--a7');
      for (let x = 0; x < v.length; x++) {
        if (v[x] > 0) {
          const y = Math.max(1.5, Math.min(1, v[x] / top) * (height - 4));
          pen.fillRect(x, height - 1 - y, 1, y);
        }
      }
    };

    const axis = lane('', HEIGHT.axis, drawAxis, 'axis');
    const letters = lane('', HEIGHT.letters, drawLetters, 'letters');
    const noteLanes = lanes.map((one) => lane(h('span.ellipsis', { title: one.type }, one.type || 'annotation'), one.depth * HEIGHT.notes, drawNotes(one), 'notes-track'));
    const rowLanes = rows.map((row) => {
      const radio = h('input', { type: 'radio', name: 'track', 'aria-label': `colour by feature ${row.key}`, checked: row.key === pick,
        onchange: () => { pick = row.key; mark(); draw(); if (picked) picked(row.key); } });
      const name = [picked ? radio : null, h('a.track-name', { href: row.href }, row.name), h('span.ellipsis.muted', { title: row.label || '' }, row.label || 'not explained')];
      const element = lane(name, HEIGHT.row, drawRow(row), 'row-track');
      if (row.side) element.append(h('div.track-side.num', row.side));
      row.element = element;
      return element;
    });

    function mark() {
      rows.forEach((row) => row.element.classList.toggle('picked', row.key === pick));
    }

    const button = (sign, label, act) => h('button.button.small', { type: 'button', 'aria-label': label, title: label, onclick: act }, sign);
    const bar = h('div.tracks-bar', button('−', 'zoom out', () => zoom(2)), button('+', 'zoom in', () => zoom(0.5)),
      button('‹', 'to the left', () => pan(-0.4)), button('›', 'to the right', () => pan(0.4)), button('all', 'whole sequence', () => set(0, n)), range, told);
    const stack = h('div.track-stack', { tabIndex: 0, role: 'group', 'aria-label': 'tracks; arrows move, plus and minus zoom, 0 shows all',
      onkeydown: keyed }, axis, letters, noteLanes, rowLanes, line, brush);
    const element = h('div.tracks', bar, stack);

    function keyed(event) {
      if (event.target !== stack) return;
      const act = { ArrowLeft: () => pan(-0.2), ArrowRight: () => pan(0.2), '+': () => zoom(0.5), '=': () => zoom(0.5), '-': () => zoom(2), 0: () => set(0, n) }[event.key];
      if (!act) return;
      event.preventDefault();
      event.stopPropagation();
      act();
    }
    function zoom(by) {
      const [a, b] = window_;
      const middle = crosshair !== null && crosshair >= a && crosshair < b ? crosshair + 0.5 : (a + b) / 2;
      set(middle - (middle - a) * by, middle + (b - middle) * by);
    }
    function pan(by) {
      const [a, b] = window_;
      const step = Math.max(-a, Math.min(n - b, Math.round(by * (b - a))));
      set(a + step, b + step);
    }
    function set(a, b, quiet) {
      const size = Math.min(n, Math.max(Math.round(b - a), Math.min(20, n)));
      const first = Math.max(0, Math.min(Math.round(a), n - size));
      window_ = [first, first + size];
      draw();
      if (changed && !quiet) changed(first, first + size);
      if (detail && rows.some((row) => row.track.bin) && size < n) {
        const mine = ++asked;
        setTimeout(() => mine === asked && Promise.resolve(detail(first, first + size)).then((found) => {
          if (mine !== asked || !found) return;
          rows.forEach((row) => { if (found.has(row.key)) row.fine = { ...found.get(row.key), start: first, stop: first + size }; });
          draw();
        }, () => {}), 150);
      }
    }

    const plot = () => axis.querySelector('.track-plot').getBoundingClientRect();
    const place = (event) => {
      const box = plot();
      const share = (event.clientX - box.left) / box.width;
      return Math.max(window_[0], Math.min(window_[1] - 1, Math.floor(window_[0] + share * (window_[1] - window_[0]))));
    };
    const left = (i) => {
      const box = plot();
      return box.left - stack.getBoundingClientRect().left + ((i - window_[0]) / (window_[1] - window_[0])) * box.width;
    };
    function say(i, row) {
      crosshair = i;
      line.hidden = i === null;
      if (i === null) return;
      line.style.setProperty('left', `${left(i + 0.5)}px`);
      const token = tokens(i);
      const here = annotations.filter((note) => i >= note[0] && i < note[1]).slice(0, 3).map((note) => [note[2], note[3]].filter(Boolean).join(': '));
      const value = row ? `${row.name}: ${D.number(D.trackAt(row.fine || row.track, i))}` : null;
      D.fill(told, [`${token === null ? '' : token + ' '}${(i + 1).toLocaleString('en')}`, value, ...here].filter(Boolean).join(' · '));
    }
    let begun = null;
    stack.addEventListener('pointermove', (event) => {
      if (!event.target.closest('.track-plot') && begun === null) return;
      const i = place(event);
      const row = rows.find((one) => one.element.contains(event.target));
      say(i, row);
      if (begun !== null) {
        const [a, b] = [Math.min(begun, i), Math.max(begun, i) + 1];
        brush.hidden = b - a < 2;
        brush.style.setProperty('left', `${left(a)}px`);
        brush.style.setProperty('width', `${left(b) - left(a)}px`);
      }
    });
    stack.addEventListener('pointerdown', (event) => {
      if (event.button !== 0 || !event.target.closest('.track-plot')) return;
      begun = place(event);
      stack.setPointerCapture(event.pointerId);
    });
    stack.addEventListener('pointerup', (event) => {
      if (begun === null) return;
      const [a, b] = [Math.min(begun, place(event)), Math.max(begun, place(event)) + 1];
      begun = null;
      brush.hidden = true;
      if (b - a > 3) set(a, b);
    });
    stack.addEventListener('pointerleave', () => { if (begun === null) line.hidden = true; });

    function draw() {
      const width = Math.floor(plot().width);
      if (width < 10) return;
      const [a, b] = window_;
      letters.hidden = width / (b - a) < (isText ? LETTER.word : LETTER.residue);
      for (const part of parts) {
        if (part.element.hidden) continue;
        part.draw(sized(part.canvas, width, part.height), width, part.height);
      }
      D.fill(range, `${(a + 1).toLocaleString('en')}–${b.toLocaleString('en')} of ${n.toLocaleString('en')}`);
      if (crosshair !== null && !line.hidden) line.style.setProperty('left', `${left(crosshair + 0.5)}px`);
    }
    const observer = new ResizeObserver(() => draw());
    observer.observe(stack);
    document.addEventListener('theme', draw);
    mark();
    return {
      element,
      show: (a, b) => set(a, b, true),
      pick: (key) => { pick = key; rows.forEach((row) => { const radio = row.element.querySelector('input'); if (radio) radio.checked = row.key === key; }); mark(); draw(); },
      leave: () => { observer.disconnect(); document.removeEventListener('theme', draw); },
      begin: () => { draw(); if (at !== null) say(at, null); },
    };
  };

  /** Activations of one track at every token, for colouring. */
  D.dense = function (track, n) {
    const found = new Float32Array(n);
    if (track.bin) for (let i = 0; i < n; i++) found[i] = D.trackAt(track, i);
    else if (track.at) track.at.forEach((place, k) => { found[place] = track.v[k]; });
    else found.fill(track.whole || 0);
    return found;
  };

  const MOST_TOKENS = 4000;
  /** The sequence itself, its tokens coloured by one feature. */
  D.reading = function ({ n, tokens, isText }) {
    const box = h(isText ? 'div.reading.by-word' : 'div.reading.by-residue', { tabIndex: 0, role: 'group', 'aria-label': 'the sequence, coloured by the chosen feature' });
    let shown = [0, Math.min(n, MOST_TOKENS)];
    return {
      element: box,
      colour(v, top, stretch) {
        if (stretch && n > MOST_TOKENS) shown = [stretch[0], Math.min(stretch[1], stretch[0] + MOST_TOKENS)];
        const spans = [];
        let ten = spans;
        for (let i = shown[0]; i < shown[1]; i++) {
          const level = v ? D.level(v[i], top) : -1;
          const token = tokens(i);
          if (isText) {
            spans.push(level >= 0 ? h(`span.a${level}`, { 'data-at': i }, token) : token);
            continue;
          }
          if (i % 10 === 0 || i === shown[0]) {
            ten = h('span.ten', h('span.count', (i + 1).toLocaleString('en')));
            spans.push(ten);
          }
          ten.append(h(level >= 0 ? `span.a${level}` : 'span', { 'data-at': i }, token));
        }
        const cut = n > MOST_TOKENS ? h('p.muted.small', `Tokens ${(shown[0] + 1).toLocaleString('en')} to ${shown[1].toLocaleString('en')} of ${n.toLocaleString('en')}; zoom to see others.`) : null;
        D.fill(box, cut, spans);
        D.tip(box, (target) => {
          const i = Number(target.dataset && target.dataset.at);
          return target.dataset && target.dataset.at ? `${tokens(i)} ${(i + 1).toLocaleString('en')}\n${v && v[i] > 0 ? `activation ${D.number(v[i])}` : 'silent'}` : null;
        });
      },
    };
  };

  /** What token i shows: a residue, or a piece of text. */
  D.tokenNames = function (text, ends) {
    if (!ends) return (i) => text[i] || '';
    return (i) => text.slice(i ? ends[i - 1] : 0, ends[i]);
  };
})();

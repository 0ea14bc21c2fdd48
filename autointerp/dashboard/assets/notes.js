'use strict';
// Notes, tags and a bookmark of the feature that is shown; they are kept in the run's store.
(function () {
  const D = Dashboard;
  const { h } = D;
  const WAIT = 700;

  D.panel({
    id: 'notes', title: 'Notes', order: 12, side: true,
    async show(body, feature, place) {
      const slug = place.run.slug;
      const number = feature.feature;
      const all = await D.load(`${slug}/notes`);
      const note = { text: '', tags: [], bookmarked: false, ...(all.features[number] || {}) };
      if (!D.live) {
        const said = note.text || note.tags.length || note.bookmarked;
        return D.fill(body, said ? [note.bookmarked ? h('p.star', '★ bookmarked') : null, note.text ? h('p.noted', note.text) : null, note.tags.map((tag) => h('span.chip', tag))] : h('p.muted.small', 'No notes.'));
      }
      const status = h('span.muted.small', { role: 'status' });
      const star = h('button.button.small.star', { type: 'button', onclick: mark });
      const area = h('textarea.input', { rows: 3, placeholder: 'a note', 'aria-label': `note on feature ${number}`, maxLength: 20000 });
      const chips = h('span.row.tight');
      const known = h('datalist', { id: 'known-tags' }, Object.keys(all.tags).map((tag) => h('option', { value: tag })));
      const tag = h('input.input.small', { placeholder: 'add a tag', 'aria-label': 'add a tag', list: 'known-tags', maxLength: 64, size: 11, onkeydown: (event) => {
        if (event.key !== 'Enter' && event.key !== ',') return;
        event.preventDefault();
        const word = tag.value.trim();
        tag.value = '';
        if (word && !note.tags.includes(word)) save({ tags: [...note.tags, word] });
      } });
      let timer = 0;
      async function save(changes) {
        D.fill(status, 'keeping …');
        try {
          Object.assign(note, await D.post(`${slug}/note`, { feature: number, ...changes }));
          D.forget(`${slug}/notes`);
          D.forget(`${slug}/table`);
          D.fill(status, 'kept');
        } catch (error) {
          D.fill(status, `not kept: ${error.message}`);
        }
        draw();
      }
      function write() {
        clearTimeout(timer);
        timer = 0;
        if (area.value !== note.text) save({ text: area.value });
      }
      function mark() { save({ bookmarked: !note.bookmarked }); }
      function draw() {
        star.setAttribute('aria-pressed', String(note.bookmarked));
        D.fill(star, note.bookmarked ? '★ bookmarked' : '☆ bookmark');
        D.fill(chips, note.tags.map((word) => h('span.chip', word, h('button.drop', { type: 'button', 'aria-label': `remove tag ${word}`, onclick: () => save({ tags: note.tags.filter((one) => one !== word) }) }, '×'))));
      }
      area.value = note.text;
      area.addEventListener('input', () => { clearTimeout(timer); timer = setTimeout(write, WAIT); });
      area.addEventListener('blur', write);
      D.key('m', 'bookmark this feature', mark);
      draw();
      D.fill(body, h('div.stack.notes-panel', h('div.row', star, D.views.has('steer') ? h('a.small', { href: D.link([slug, 'steer'], { feature: number }) }, 'steer it') : null, status), area, h('div.row.tight', chips, tag, known)));
      return () => { if (timer) write(); };
    },
  });
})();

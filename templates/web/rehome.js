// A form that changes something is sent once: of a second click the browser would show the answer, which is that the first
// is at it.
(function () {
  'use strict';

  document.addEventListener('submit', function (event) {
    if (event.target.method !== 'post') { return; }
    if (event.target.hasAttribute('data-sent')) { event.preventDefault(); return; }
    event.target.setAttribute('data-sent', '');
  });
  // Whoever comes back to the page may send it again.
  window.addEventListener('pageshow', function () {
    document.querySelectorAll('[data-sent]').forEach(function (form) { form.removeAttribute('data-sent'); });
  });
}());

// Follows a run while it goes on: the page says the same without this, only later.
(function () {
  'use strict';

  var run = document.getElementById('run');
  if (!run || !run.hasAttribute('data-live') || !window.EventSource) { return; }

  var address = '/runs/' + encodeURIComponent(run.dataset.run);
  var said = document.getElementById('said');
  var list = document.getElementById('step-list');
  var bars = {};
  var LINES = 500;

  function element(name, className, text) {
    var made = document.createElement(name);
    if (className) { made.className = className; }
    if (text !== undefined) { made.textContent = text; }
    return made;
  }

  function say(text) { said.textContent = text; }

  function span(millis) {
    var seconds = Math.floor(millis / 1000);
    if (seconds < 10) { return (millis / 1000).toFixed(1) + ' s'; }
    if (seconds < 60) { return seconds + ' s'; }
    if (seconds < 3600) { return Math.floor(seconds / 60) + ' min ' + seconds % 60 + ' s'; }
    return Math.floor(seconds / 3600) + ' h ' + Math.floor(seconds % 3600 / 60) + ' min';
  }

  function size(bytes) {
    var units = ['B', 'kB', 'MB', 'GB', 'TB'], at = 0;
    while (bytes >= 1000 && at < units.length - 1) { bytes /= 1000; at += 1; }
    return (at > 0 && bytes < 10 ? bytes.toFixed(1) : Math.round(bytes)) + ' ' + units[at];
  }

  // The line of a step, made if the page was sent before it was known.
  function line(number, title) {
    while (list.children.length <= number) {
      var made = element('li', 'ahead');
      made.append(element('span', 'title'), element('span', 'word', 'ahead'), element('span', 'detail'));
      list.append(made);
    }
    var found = list.children[number];
    if (title) { found.querySelector('.title').textContent = title; }
    return found;
  }

  function step(event, state, word) {
    var found = line(event.step, event.title);
    found.className = state;
    if (state === 'running') { found.setAttribute('aria-current', 'step'); } else { found.removeAttribute('aria-current'); }
    found.querySelector('.word').textContent = event.millis === undefined ? word : word + ', ' + span(event.millis);
    if (event.detail) { found.querySelector('.detail').textContent = event.detail; }
    return found;
  }

  function clearBars() {
    document.getElementById('progress').replaceChildren();
    bars = {};
  }

  function progress(event) {
    var work = event.volume ? event.phase + ' ' + event.volume : event.phase;
    var bar = bars[work];
    if (!bar) {
      // Bars that the page was sent with say what is old by now.
      if (Object.keys(bars).length === 0) { clearBars(); }
      bar = element('div', 'work');
      var drawn = element('progress');
      drawn.max = 100;
      drawn.setAttribute('aria-label', work);
      bar.append(element('span', 'name', work), drawn, element('span', 'text'));
      bars[work] = bar;
      document.getElementById('progress').append(bar);
    }
    var done = event.bytes_total ? event.bytes : event.files;
    var all = event.bytes_total || event.files_total;
    if (all) { bar.querySelector('progress').value = Math.min(100, Math.floor(done * 100 / all)); }
    bar.querySelector('.text').textContent = event.bytes_total ? size(done) + ' of ' + size(all)
      : all ? done + ' of ' + all + ' files' : event.files + ' files, ' + size(event.bytes);
  }

  function log(text, className) {
    var lines = document.getElementById('log-lines');
    document.getElementById('log-part').hidden = false;
    var made = element('li', className);
    if (className) { made.append(element('span', 'unseen', 'Warning: ')); }
    made.append(text);
    lines.append(made);
    while (lines.children.length > LINES) { lines.firstElementChild.remove(); }
  }

  // The end is told by the page itself, in its words.
  function ended() {
    source.close();
    fetch(address, { credentials: 'same-origin', redirect: 'error' }).then(function (answer) {
      if (!answer.ok) { throw new Error(answer.status); }
      return answer.text();
    }).then(function (text) {
      var page = new DOMParser().parseFromString(text, 'text/html');
      var fresh = page.getElementById('run');
      if (!fresh || fresh.hasAttribute('data-live')) { throw new Error('it goes on'); }
      document.title = page.title;
      run.replaceChildren.apply(run, Array.from(fresh.childNodes));
      run.removeAttribute('data-live');
      document.getElementById('outcome').focus();
    }).catch(function () { window.setTimeout(function () { window.location.reload(); }, 1000); });
  }

  var kinds = {
    step_started: function (event) { clearBars(); step(event, 'running', 'running'); say(event.title); },
    step_finished: function (event) { clearBars(); step(event, 'done', 'done'); },
    step_failed: function (event) {
      clearBars();
      step(event, 'failed', 'failed').querySelector('.detail').textContent = event.failure.what;
      say('Failed: ' + event.title + '. ' + event.failure.what);
    },
    step_undone: function (event) { step(event, 'undone', 'taken back'); },
    unwind_started: function (event) { log('going back: ' + event.reason, 'warning'); say('Going back: ' + event.reason); },
    progress: progress,
    downtime_began: function () { log('services are down'); },
    downtime_ended: function (event) { log('services are up again, after ' + span(event.millis)); },
    service_away: function (event) { log(event.service + ' is away'); },
    service_back: function (event) { log(event.service + ' is back, after ' + span(event.millis)); },
    note: function (event) { if (event.level !== 'detail') { log(event.text, event.level === 'warning' ? 'warning' : ''); } },
    hook_output: function (event) { log(event.service + ': ' + event.line); },
    finished: ended
  };

  function take(message) {
    var event = JSON.parse(message.data);
    if (Object.prototype.hasOwnProperty.call(kinds, event.event)) { kinds[event.event](event); }
  }

  // What the page was sent with comes again as events.
  document.getElementById('log-lines').replaceChildren();
  var source = new EventSource('/api/runs/' + encodeURIComponent(run.dataset.run) + '/events');
  source.onmessage = take;
  var silent = document.getElementById('silent');
  source.onopen = function () { silent.hidden = true; };
  // It tries again by itself, unless it was turned away: then the login ended, or the run is not known any more.
  source.onerror = function () {
    if (source.readyState !== EventSource.CLOSED) { silent.hidden = false; return; }
    log('this page is not told any more how the run goes on: load it again', 'warning');
    say('This page is not told any more how the run goes on: load it again.');
  };
  Object.keys(kinds).forEach(function (kind) { source.addEventListener(kind, take); });
}());

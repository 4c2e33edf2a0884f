// Drives the browser for the tests of the dashboard: takes a task as JSON, says what was seen as JSON.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';

const { task, address, browser: program, modules, screens, more } = JSON.parse(process.argv[2]);

// The browser is in a network of its own: it gives up whatever it is doing when an interface of its machine comes or goes,
// as those of containers do all the time. A socket leads out to the server.
if (!process.env.REHOME_INSIDE) {
  const socket = join(mkdtempSync(join(tmpdir(), 'rehome-browser-')), 'out');
  const { hostname, port } = new URL(address);
  const outside = createServer((inside) => {
    const server = connect(Number(port), hostname);
    for (const end of [inside, server]) end.on('error', () => { inside.destroy(); server.destroy(); });
    inside.pipe(server).pipe(inside);
  }).listen(socket);
  const child = spawn('unshare', ['--net', 'sh', '-c', 'ip link set lo up && exec "$0" "$@"', process.execPath, ...process.argv.slice(1)], {
    env: { ...process.env, REHOME_INSIDE: socket }, stdio: 'inherit',
  });
  const [code] = await once(child, 'exit');
  outside.close();
  rmSync(dirname(socket), { recursive: true });
  process.exit(code ?? 1);
}
createServer((inside) => {
  const out = connect(process.env.REHOME_INSIDE);
  for (const end of [inside, out]) end.on('error', () => { inside.destroy(); out.destroy(); });
  inside.pipe(out).pipe(inside);
}).listen(Number(new URL(address).port), '127.0.0.1').unref();

const require = createRequire(pathToFileURL(join(modules, 'here.js')));
const puppeteer = (await import(pathToFileURL(require.resolve('puppeteer-core')))).default;
const axe = readFileSync(join(modules, 'axe-core', 'axe.min.js'), 'utf8');
const TAGS = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

const browser = await puppeteer.launch({
  executablePath: program,
  headless: true,
  // The pages are our own; root has no sandbox, and a container's /dev/shm is small.
  args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu', '--no-first-run'],
});

async function open() {
  const page = await browser.newPage();
  page.setDefaultTimeout(30_000);
  page.lines = [];
  page.on('console', (line) => {
    // That a page which says what did not work has a status that says so too is no fault.
    const path = new URL(line.location().url ?? address, address).pathname;
    const own = !path.startsWith('/assets/') && !path.startsWith('/api/');
    if (own && line.text().startsWith('Failed to load resource: the server responded with a status of 4')) return;
    if (['error', 'warn'].includes(line.type())) page.lines.push(line.text());
  });
  page.on('pageerror', (error) => page.lines.push(String(error)));
  page.on('dialog', (dialog) => { page.lines.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  return page;
}

// Targets below 24 pixels, but for links within a sentence: what WCAG 2.5.8 asks.
const small = () => [...document.querySelectorAll('a, button, input, summary')].filter((found) => {
  const box = found.getBoundingClientRect();
  if (found.type === 'hidden' || box.width === 0 || found.matches('.skip')) return false;
  if (found.matches('p a, dd a, li:not(nav li) > a, span a')) return false;
  return box.height < 24 || box.width < 24;
}).map((found) => (found.id ? `#${found.id}` : found.outerHTML.slice(0, 120)));

// What axe says of the page as it is, and how wide it is.
async function judged(page) {
  await page.evaluate(axe);
  const found = await page.evaluate((tags) => window.axe.run(document, {
    runOnly: { type: 'tag', values: tags }, resultTypes: ['violations'],
  }), TAGS);
  return {
    scroll: await page.evaluate(() => document.documentElement.scrollWidth),
    small: await page.evaluate(small),
    console: page.lines,
    rules: found.passes.length,
    violations: found.violations.map((fault) => ({
      id: fault.id, help: fault.help, nodes: fault.nodes.map((node) => `${node.html} ${node.failureSummary}`),
    })),
  };
}

// What a person does, one after the other: each says what came of it. Buttons and links are found by their role and
// name, as a screen reader tells them.
const acts = {
  async goto(page, path) {
    await page.goto(address + path, { waitUntil: 'load' });
    return new URL(page.url()).pathname;
  },
  async type(page, [selector, text]) {
    await page.$eval(selector, (field) => { field.value = ''; });
    await page.type(selector, text);
  },
  async write(page, [path, text]) { writeFileSync(path, text); },
  async check(page, selector) { await page.click(selector); },
  // Leads to another page.
  async press(page, [role, name]) {
    const found = await page.waitForSelector(`::-p-aria([role="${role}"][name="${name}"])`);
    await Promise.all([page.waitForNavigation({ waitUntil: 'load' }), found.click()]);
    return new URL(page.url()).pathname;
  },
  // With a double click.
  async twice(page, [role, name]) {
    const found = await page.waitForSelector(`::-p-aria([role="${role}"][name="${name}"])`);
    await Promise.all([page.waitForNavigation({ waitUntil: 'load' }), found.click({ count: 2 })]);
    return new URL(page.url()).pathname;
  },
  // Asks for something, and leaves once that is answered, or the server is gone.
  async leave(page, name) {
    const found = await page.waitForSelector(`::-p-aria([role="button"][name="${name}"])`);
    const over = new Promise((resolve) => {
      page.on('response', (response) => { if (response.request().method() === 'POST') resolve(); });
      page.on('requestfailed', (request) => { if (request.method() === 'POST') resolve(); });
    });
    await found.click();
    await over;
  },
  async read(page, selector) { return page.$eval(selector, (found) => found.textContent.trim()); },
  async count(page, selector) { return page.$$eval(selector, (found) => found.length); },
  // A run, until it is over, without a load of the page.
  async follow(page) {
    await page.evaluate(() => {
      window.stayed = true;
      window.bars = [];
      const note = () => document.querySelectorAll('#progress progress').forEach((bar) => window.bars.push(bar.value));
      new MutationObserver(note).observe(document.getElementById('run'), { subtree: true, childList: true, attributes: true });
    });
    const live = await page.$eval('#run', (run) => run.hasAttribute('data-live'));
    await page.waitForFunction(() => !document.querySelector('[data-live]'), { timeout: 240_000 });
    return page.evaluate((live) => ({
      live,
      stayed: window.stayed === true,
      bars: (window.bars ?? []).length,
      outcome: document.getElementById('outcome').textContent.trim(),
      failure: document.querySelector('.failure')?.textContent.trim(),
      steps: [...document.querySelectorAll('#step-list li')].map((step) => step.className),
      focus: document.activeElement.id,
    }), live);
  },
  // Light on a desk, dark on a telephone.
  async look(page, name) {
    const seen = [];
    for (const [scheme, width] of [['light', 1280], ['dark', 390]]) {
      await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
      await page.setViewport({ width, height: 844 });
      seen.push({ name, scheme, width, ...await judged(page) });
      await page.screenshot({ path: join(screens, `${name}-${scheme}-${width}.png`), fullPage: true });
    }
    await page.setViewport({ width: 1280, height: 844 });
    return seen;
  },
};

const tasks = {
  // One person's way through the real dashboard.
  async person() {
    const page = await open();
    const seen = [];
    for (const [act, given] of more) {
      try {
        seen.push(await acts[act](page, given) ?? null);
      } catch (error) {
        const text = await page.evaluate(() => document.body.innerText).catch(() => '');
        throw new Error(`${act} ${JSON.stringify(given)} at ${page.url()}: ${error}\n${text}`);
      }
    }
    return seen;
  },

  // Every page in light and dark, wide and narrow, judged by axe; with screenshots.
  async look() {
    const seen = [];
    const page = await open();
    for (const scheme of ['light', 'dark']) {
      await page.emulateMediaFeatures([
        { name: 'prefers-color-scheme', value: scheme },
        { name: 'prefers-reduced-motion', value: 'reduce' },
      ]);
      for (const width of [1280, 360, 320]) {
        await page.setViewport({ width, height: 800 });
        for (const { name, path } of more) {
          page.lines = [];
          await page.goto(address + path, { waitUntil: 'load' });
          seen.push({ name, scheme, width, ...await judged(page) });
          if (width !== 320) await page.screenshot({ path: join(screens, `${name}-${scheme}-${width}.png`), fullPage: true });
        }
      }
    }
    return seen;
  },

  // The elements of each page with the names of their attributes, as the parser made them.
  async tree() {
    const trees = {};
    const page = await open();
    await page.setJavaScriptEnabled(false);
    for (const { name, path } of more) {
      await page.goto(address + path, { waitUntil: 'load' });
      trees[name] = await page.evaluate(() => [...document.querySelectorAll('*')].map((found) =>
        `${found.tagName} ${[...found.attributes].map((one) => one.name).join(' ')}`));
      if (page.lines.length) throw new Error(`${name}: ${page.lines}`);
    }
    return trees;
  },

  // A run, until something is so.
  async follow() {
    const page = await open();
    await page.goto(address + more.path, { waitUntil: 'domcontentloaded' });
    await page.waitForFunction(more.until);
    const seen = await page.evaluate(() => ({
      steps: [...document.querySelectorAll('#step-list li')].map((step) => step.className),
      current: document.querySelector('#step-list [aria-current] .title')?.textContent,
      said: document.getElementById('said').textContent,
      progress: document.getElementById('progress').textContent,
      outcome: document.getElementById('outcome').textContent,
      bold: document.querySelectorAll('#run b').length,
      title: document.title,
      focus: document.activeElement.id,
    }));
    return { ...seen, console: page.lines };
  },

  // The switch, its confirmation, with no mouse.
  async keyboard() {
    const page = await open();
    await page.setJavaScriptEnabled(more.script);
    const here = () => page.evaluate(() => document.activeElement.id);
    await page.goto(`${address}/sites/blog/settings`, { waitUntil: 'load' });
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    const skip = await here();
    const to = async (selector) => {
      for (let presses = 0; presses < 30; presses += 1) {
        if (await page.evaluate((wanted) => document.activeElement.matches(wanted), selector)) return;
        await page.keyboard.press('Tab');
      }
      throw new Error(`the keyboard does not lead to ${selector}`);
    };
    await to('[role=switch]');
    const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    const session = await page.createCDPSession();
    const { result } = await session.send('Runtime.evaluate', { expression: 'document.activeElement' });
    const { nodes } = await session.send('Accessibility.getPartialAXTree', { objectId: result.objectId, fetchRelatives: false });
    const go = async (key) => { await Promise.all([page.waitForNavigation(), page.keyboard.press(key)]); };
    await go('Space');
    await to('form[method=post] button:not(.quiet)');
    await go('Enter');
    return { skip, outline, role: nodes[0].role.value, name: nodes[0].name.value };
  },

  // How often a page is loaded by itself where there is no script.
  async refresh() {
    const page = await open();
    await page.setJavaScriptEnabled(false);
    let loaded = 0;
    page.on('load', () => { loaded += 1; });
    await page.goto(address + more.path, { waitUntil: 'load' });
    await page.waitForNavigation({ waitUntil: 'load' });
    return { loaded };
  },
};

try {
  const seen = await tasks[task]();
  process.stdout.write(JSON.stringify(seen));
} finally {
  await browser.close();
}

// Drives the browser for tests/web/browser.rs: takes a task as JSON, says what was seen as JSON.
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const { task, address, browser: program, modules, screens, more } = JSON.parse(process.argv[2]);
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
  page.on('console', (line) => { if (['error', 'warn'].includes(line.type())) page.lines.push(line.text()); });
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

const tasks = {
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
          await page.evaluate(axe);
          const found = await page.evaluate((tags) => window.axe.run(document, {
            runOnly: { type: 'tag', values: tags }, resultTypes: ['violations'],
          }), TAGS);
          seen.push({
            name, scheme, width,
            scroll: await page.evaluate(() => document.documentElement.scrollWidth),
            small: await page.evaluate(small),
            console: page.lines,
            rules: found.passes.length,
            violations: found.violations.map((fault) => ({
              id: fault.id, help: fault.help, nodes: fault.nodes.map((node) => `${node.html} ${node.failureSummary}`),
            })),
          });
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

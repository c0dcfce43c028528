// Opens a clone in code-server with a headless Chromium, works in it as a learner does, and compares
// the Problems list with what the harness says. ci/editor.sh starts it.
//
//   TREE=… URL=http://127.0.0.1:PORT OUT=folder-of-screenshots CHROMIUM=… node drive.mjs
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const { TREE, URL, OUT, CHROMIUM } = process.env;
const TRITON = 'tracks/triton/day01.py';
const AUTODIFF = 'tracks/autodiff/day01.py';
const offsets = 'tl.arange(0, BLOCK)';
const OUT_OF_BOUNDS = `x = tl.load(x_ptr + ${offsets})`;
const MASKED = `x = tl.load(x_ptr + ${offsets}, mask=${offsets} < n)`;

const read = (file) => readFileSync(join(TREE, file), 'utf8');
const write = (file, text) => writeFileSync(join(TREE, file), text);
const lineOf = (file, text) => {
  const number = read(file).split('\n').findIndex((line) => line.includes(text)) + 1;
  assert.ok(number, `${file} has no line with "${text}"`);
  return number;
};
const answer = (file, after, stub, text) => {
  const [source, from] = [read(file), read(file).indexOf(after)];
  const at = source.indexOf(stub, from);
  assert.ok(from >= 0 && at >= 0, `${file}: no "${stub}" after "${after}"`);
  write(file, source.slice(0, at) + text + source.slice(at + stub.length));
};

const browser = await chromium.launch({
  executablePath: CHROMIUM, args: ['--no-sandbox', '--disable-dev-shm-usage'],
});
const page = await browser.newPage({ viewport: { width: 1400, height: 900 } });
let pictures = 0;
const picture = (name) => page.screenshot({ path: join(OUT, `${++pictures}-${name}.png`) });

const SOON = { timeout: 10000 };
// Takes what the command palette (F1) or the list of files (Control+P) offers for TEXT.
const pick = async (text) => {
  const row = page.locator('.quick-input-list .monaco-list-row', { hasText: text.split('/').pop() }).first();
  await page.locator('.quick-input-widget input').first().pressSequentially(text, { delay: 5, ...SOON });
  await row.waitFor(SOON);
  await page.waitForTimeout(500); // the list is sorted once more
  await row.click(SOON);
};
// The palette closes when something else takes the focus, as a terminal does that has just opened:
// then it is opened once more, as anybody would.
const choose = async (key, ...texts) => {
  for (let tries = 1; ; tries++) {
    try {
      await page.keyboard.press(key);
      await page.locator('.quick-input-widget input').first().waitFor({ state: 'visible', ...SOON });
      for (const text of texts) await pick(text);
      return;
    } catch (error) {
      if (error.name !== 'TimeoutError' || tries === 3) throw error;
      console.log(`  the palette closed before "${texts.join(', ')}" was chosen: once more`);
      await page.keyboard.press('Escape');
    }
  }
};
const open = async (file) => {
  await choose('Control+p', file);
  await page.locator(`.tab.active[data-resource-name="${file.split('/').pop()}"]`).waitFor();
};
const task = async (label) => choose('F1', 'Tasks: Run Task', label);

// The Problems list as "line: sentence", in order of lines.
const problems = async () => {
  const rows = await page.locator('.markers-panel .monaco-list-row').allInnerTexts();
  return rows
    .map((row) => row.replace(/\s+/g, ' ').match(/^(.*?) ?days ?\[Ln (\d+), Col \d+\]/))
    .filter(Boolean)
    .map(([, message, line]) => `${line}: ${message.trim()}`)
    .sort((a, b) => parseInt(a) - parseInt(b));
};
const settled = async (wanted, seconds = 40) => {
  const end = Date.now() + 1000 * seconds;
  let found;
  do {
    await page.waitForTimeout(400);
    found = await problems();
  } while (JSON.stringify(found) !== JSON.stringify(wanted) && Date.now() < end);
  assert.deepEqual(found, wanted);
};
// Waits until a page with this heading is shown, with its pictures, and its formulas if it has some.
const lessonShown = async (heading, formulas) => {
  const end = Date.now() + 30000;
  let found;
  do {
    await page.waitForTimeout(400);
    for (const frame of page.frames()) {
      found = await frame.locator('body').evaluate((body) => ({
        heading: body.querySelector('h1')?.innerText.trim(),
        widths: [...body.querySelectorAll('img')].map((one) => one.naturalWidth),
        formulas: body.querySelectorAll('.katex').length,
      })).catch(() => ({}));
      if (found.heading === heading && !found.widths.includes(0)) break;
    }
  } while ((found.heading !== heading || found.widths.includes(0)) && Date.now() < end);
  assert.equal(found.heading, heading, 'the lesson is shown as a page');
  assert.ok(found.widths.length && !found.widths.includes(0), `pictures of ${heading}: ${found.widths}`);
  assert.equal(found.formulas > 0, formulas, `formulas of ${heading}: ${found.formulas}`);
  await picture('lesson');
};
// What the harness itself lists for the day, with the same inputs.
const said = (file) => {
  let output;
  try {
    output = execFileSync(join(TREE, '.vscode/python'), [join(TREE, '.vscode/day.py'), 'grade', file], {
      cwd: TREE, env: { ...process.env, PROBLEMS: '1' }, encoding: 'utf8', stdio: 'pipe',
    });
  } catch (failed) {
    output = failed.stdout;
  }
  const lines = output.split('\n').filter((line) => line.startsWith(`${file}:`));
  return lines.map((line) => line.slice(file.length + 1));
};
const check = async (name, file, places) => {
  const wanted = said(file);
  assert.deepEqual([...new Set(wanted.map((line) => parseInt(line)))], places, `${name}: ${wanted.join(' | ')}`);
  await settled(wanted);
  await picture(name);
  console.log(`  ${name}: ${wanted.length} problem(s) at line ${places.join(', ') || '-'}`);
};

try {
  await page.goto(`${URL}/?folder=${TREE}`, { waitUntil: 'domcontentloaded' });
  await page.waitForSelector('.monaco-workbench .monaco-editor, .monaco-workbench .tabs-container, .explorer-folders-view', { timeout: 90000 });
  await page.waitForTimeout(4000);
  await choose('F1', 'Problems: Focus on Problems View');
  await page.locator('.markers-panel').waitFor();

  // Three kinds in one day: wrong values, an access out of bounds, an exception.
  const stub = read(TRITON);
  answer(TRITON, 'def fill_kernel', 'pass', `tl.store(out_ptr + ${offsets}, value + 1, mask=${offsets} < n)`);
  answer(TRITON, 'def add_one_kernel', 'pass', `${OUT_OF_BOUNDS}\n    tl.store(out_ptr + ${offsets}, x + 1, mask=${offsets} < n)`);
  answer(TRITON, 'def scale_kernel', 'pass', 'tl.store(out_ptr + not_defined, k)');
  const places = [lineOf(TRITON, 'def fill_kernel('), lineOf(TRITON, OUT_OF_BOUNDS), lineOf(TRITON, 'not_defined')];
  await open(TRITON);
  await task('Grade this day');
  await choose('F1', 'Problems: Focus on Problems View');
  await check('kernels', TRITON, places);

  // A lesson is a page, with its figures and formulas.
  await open('tracks/autodiff/lessons/day01.md');
  await lessonShown('Day 1: Derivatives', true);

  // With the lesson open it is the same day; the problems stay those of the learner's file.
  await open('tracks/triton/lessons/day01.md');
  await lessonShown('Day 1: Hello, Triton', false);
  await task('Grade this day');
  await choose('F1', 'Problems: Focus on Problems View');
  await check('from-the-lesson', TRITON, places);

  // Watch: a save begins a verdict, which replaces the problems at its end.
  await open(TRITON);
  await task('Watch this day');
  await page.locator('.xterm-rows', { hasText: /h\s+hint/ }).first().waitFor({ state: 'attached', timeout: 60000 });
  await picture('watch-terminal');
  await choose('F1', 'Problems: Focus on Problems View');
  write(TRITON, read(TRITON).replace(OUT_OF_BOUNDS, MASKED));
  await check('watch-after-a-save', TRITON, [places[0], places[2]]);
  write(TRITON, `${read(TRITON)}\nreturn (\n`);
  await check('watch-a-broken-file', TRITON, [read(TRITON).split('\n').length - 1]);
  write(TRITON, stub);
  await check('watch-back-to-the-stub', TRITON, []);
  await choose('F1', 'Terminal: Focus Terminal');
  await picture('watch-log');
  await page.keyboard.press('q');

  // Another track, and an answer that ends the process.
  answer(AUTODIFF, 'def forward_difference', 'raise NotImplementedError("forward_difference")', '__import__("os")._exit(3)');
  await open(AUTODIFF);
  await task('Grade this day');
  await choose('F1', 'Problems: Focus on Problems View');
  await check('a-process-that-ended', AUTODIFF, [lineOf(AUTODIFF, 'def forward_difference')]);
} catch (error) {
  await picture('FAILED');
  await choose('F1', 'Terminal: Focus Terminal').catch(() => {});
  await page.waitForTimeout(1000);
  await picture('FAILED-terminal');
  console.error(String(error.stack ?? error));
  process.exitCode = 1;
} finally {
  await browser.close();
}

// @ts-check
// How the page's source is laid out: its rooms and their order, no import cycle, no long file.

import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const source = fileURLToPath(new URL("../../web/src", import.meta.url));
/** A file imports only from its own room and from rooms of a lower rank; "." is files outside of rooms. */
const RANKS = new Map(Object.entries({ generated: 0, ".": 1, storage: 2, wasm: 3, records: 4, lab: 5, results: 5, app: 6 }));
const MOST_LINES = 300;

const names = (await readdir(source, { recursive: true })).filter((name) => /\.tsx?$/.test(name));
const texts = new Map(await Promise.all(names.map(async (name) => /** @type {const} */ ([name, await readFile(path.join(source, name), "utf8")]))));

/** The files of the page that a file imports. @param {string} name */
function imports(name) {
  const found = (texts.get(name) ?? "").matchAll(/(?:\bfrom |\bimport\(|\bimport |new URL\()"(\.[^"]+)"/g);
  return [...found].flatMap(([, to = ""]) => {
    const at = path.join(path.dirname(name), to);
    return [at, `${at}.ts`, `${at}.tsx`].filter((file) => texts.has(file));
  });
}

const room = (/** @type {string} */ name) => (name.includes(path.sep) ? (name.split(path.sep)[0] ?? "") : ".");

test("a file imports only from its own room and from those below", () => {
  const upward = names.flatMap((name) =>
    imports(name)
      .filter((to) => room(to) !== room(name) && (RANKS.get(room(to)) ?? Infinity) >= (RANKS.get(room(name)) ?? -1))
      .map((to) => `${name} imports ${to}`),
  );
  assert.deepEqual(upward, []);
});

test("no import leads back to its file", () => {
  const done = new Set();
  const follow = (/** @type {string} */ name, /** @type {string[]} */ trail) => {
    assert.ok(!trail.includes(name), `import cycle: ${[...trail, name].join(" -> ")}`);
    if (done.has(name)) return;
    for (const to of imports(name)) follow(to, [...trail, name]);
    done.add(name);
  };
  for (const name of names) follow(name, []);
  assert.ok(done.size > 50, "the imports were found");
});

test(`every file says what it is for, and has at most ${MOST_LINES} lines`, () => {
  for (const [name, text] of texts) {
    if (room(name) === "generated") continue; // as long as the schema is
    assert.match(text, /^\/[/*].*\w/, name);
    const lines = text.split("\n").length - 1;
    assert.ok(lines <= MOST_LINES, `${name}: ${lines} lines`);
  }
});

// @ts-check
// A server that counts the bytes it sends, and can interrupt, pause and refuse: a proxy of
// `apet serve`, and a fake hub on another origin.

import { createServer } from "node:http";
import { readFile } from "node:fs/promises";

/**
 * An answer before a range is applied. The body of a file that claims to be large may be only
 * its prefix: `size` is then the claimed size.
 * @typedef {{ status: number, headers: Record<string, string>, body: Buffer, size?: number }} Answer
 * @typedef {{ path: string, range: string, status: number, sent: number }} Seen
 * @typedef {{ url: string, seen: Seen[], of(path: string): Seen[], sent(path: string): number, holdAt(path: string, bytes: number): () => void, cutAt(path: string, bytes: number): void, close(): Promise<void> }} Counting
 */

/**
 * @param {(path: string, request: import("node:http").IncomingMessage) => Promise<Answer>} answer
 * @returns {Promise<Counting>}
 */
async function counting(answer) {
  /** @type {Seen[]} */
  const seen = [];
  /** @type {Map<string, { bytes: number, cut: boolean, released: Promise<void> }>} */
  const stops = new Map();
  const server = createServer(async (request, response) => {
    const path = new URL(request.url ?? "/", "http://x").pathname;
    const range = request.headers.range ?? "";
    const found = await answer(path, request);
    /** @type {Seen} */
    const entry = { path, range, status: found.status, sent: 0 };
    seen.push(entry);
    if (found.status === 0) return void request.socket.destroy(); // like a server that is down
    response.writeHead(found.status, found.headers);
    const stop = stops.get(path);
    if (stop && found.body.length > stop.bytes) {
      stops.delete(path);
      // In two parts, so that the page can measure a rate.
      response.write(found.body.subarray(0, stop.bytes / 2));
      await new Promise((later) => setTimeout(later, 300));
      response.write(found.body.subarray(stop.bytes / 2, stop.bytes));
      entry.sent = stop.bytes;
      await stop.released;
      if (stop.cut) return void setTimeout(() => request.socket.destroy(), 200);
      response.end(found.body.subarray(stop.bytes));
    } else response.end(found.body);
    if (request.method !== "HEAD") entry.sent = found.body.length;
  });
  await new Promise((ready) => server.listen(0, "127.0.0.1", () => ready(undefined)));
  server.unref(); // a failed test does not close it
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  return {
    url: `http://127.0.0.1:${port}/`,
    seen,
    of: (path) => seen.filter((s) => s.path === path),
    sent: (path) => seen.filter((s) => s.path === path).reduce((sum, s) => sum + s.sent, 0),
    // The next longer answer for this path pauses after `bytes` bytes.
    holdAt: (path, bytes) => {
      let release = () => {};
      const released = new Promise((/** @type {(value: void) => void} */ done) => (release = done));
      stops.set(path, { bytes, cut: false, released });
      return release;
    },
    // The next longer answer for this path ends after `bytes` bytes.
    cutAt: (path, bytes) => void stops.set(path, { bytes, cut: true, released: Promise.resolve() }),
    close: async () => {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}

/**
 * A counting proxy of `apet serve`, whose policy also allows the origin `allowed`.
 * @param {string} url
 * @param {string} [allowed]
 * @returns {Promise<Counting & { off: Set<string> }>} `off`: paths that fail
 */
export async function before(url, allowed = "") {
  /** @type {Set<string>} */
  const off = new Set();
  const server = await counting(async (path, request) => {
    if (path === "/api/events") return { status: 204, headers: {}, body: Buffer.alloc(0) }; // it never ends
    if (off.has(path)) return { status: 0, headers: {}, body: Buffer.alloc(0) };
    const headers = Object.fromEntries(
      ["range", "if-range", "if-none-match"].flatMap((h) =>
        request.headers[h] ? [[h, String(request.headers[h])]] : [],
      ),
    );
    const from = await fetch(new URL(request.url ?? "/", url), { headers, method: request.method ?? "GET" });
    const passed = new Headers(from.headers);
    for (const h of ["connection", "transfer-encoding", "keep-alive", "date"]) passed.delete(h);
    const policy = passed.get("content-security-policy") ?? "";
    passed.set("content-security-policy", policy.replace("connect-src 'self'", `connect-src 'self' ${allowed}`));
    let body = Buffer.from(await from.arrayBuffer());
    if (path === "/api/index.json") {
      // The default model is one of the fixtures.
      const index = JSON.parse(body.toString());
      body = Buffer.from(JSON.stringify({ ...index, default: { ...index.default, model: "bert-tiny" } }));
      passed.delete("content-length");
    }
    return { status: from.status, headers: Object.fromEntries(passed), body };
  });
  return Object.assign(server, { off });
}

/**
 * A hub: files by path, with ranges and CORS headers for every page.
 * @param {Record<string, Buffer | { head: Buffer, size: number } | number>} files a number is a status
 * @param {{ ranges?: boolean }} [options]
 */
export function hub(files, { ranges = true } = {}) {
  return counting(async (path, request) => serve(files[path], ranges ? request.headers.range : undefined));
}

/**
 * @param {Buffer | { head: Buffer, size: number } | number | undefined} file
 * @param {string | undefined} range
 * @returns {Answer}
 */
export function serve(file, range) {
  /** @type {Record<string, string>} */
  const headers = {
    "access-control-allow-origin": "*",
    "access-control-expose-headers": "Content-Range, ETag",
    "content-type": "application/octet-stream",
  };
  if (file === undefined || typeof file === "number") return { status: file ?? 404, headers, body: Buffer.from("no") };
  const { head, size } = Buffer.isBuffer(file) ? { head: file, size: file.length } : file;
  headers.etag = `"${size}"`;
  const asked = /^bytes=(\d+)-(\d*)$/.exec(range ?? "");
  const from = Number(asked?.[1] ?? 0);
  const to = Math.min(asked?.[2] ? Number(asked[2]) + 1 : size, size);
  if (asked) headers["content-range"] = `bytes ${from}-${to - 1}/${size}`;
  headers["content-length"] = String(to - from);
  return { status: asked ? 206 : 200, headers, body: head.subarray(from, to) };
}

/** The tensors of a safetensors file: its header and its bytes. @param {Buffer} file */
function parts(file) {
  const length = Number(file.readBigUInt64LE(0));
  /** @type {Record<string, { dtype: string, shape: number[], data_offsets: [number, number] }>} */
  const header = JSON.parse(file.subarray(8, 8 + length).toString());
  return { header, data: file.subarray(8 + length) };
}

/** @param {object} header */
function head(header) {
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text]);
}

/** A checkpoint as two shards and their index. @param {Buffer} file */
export function shards(file) {
  const { header, data } = parts(file);
  const names = Object.keys(header).filter((name) => name !== "__metadata__");
  /** @type {Record<string, string>} */
  const weight_map = {};
  const files = [0, 1].map((shard) => {
    let at = 0;
    /** @type {Record<string, object>} */
    const own = {};
    const pieces = names
      .filter((_, i) => i % 2 === shard)
      .map((name) => {
        const { dtype, shape, data_offsets } = /** @type {typeof header[string]} */ (header[name]);
        const piece = data.subarray(...data_offsets);
        own[name] = { dtype, shape, data_offsets: [at, (at += piece.length)] };
        weight_map[name] = `model-0000${shard + 1}-of-00002.safetensors`;
        return piece;
      });
    return Buffer.concat([head(own), ...pieces]);
  });
  return { index: Buffer.from(JSON.stringify({ weight_map })), files };
}

/**
 * The header of a checkpoint with `rows` rows in its token table, and the size that the file would have.
 * @param {Buffer} file
 * @param {number} rows
 */
export function claimed(file, rows) {
  const { header } = parts(file);
  let at = 0;
  for (const [name, tensor] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    if (name.endsWith("word_embeddings.weight")) tensor.shape[0] = rows;
    tensor.data_offsets = [at, (at += 4 * tensor.shape.reduce((a, b) => a * b, 1))];
  }
  const begin = head(header);
  return { head: begin, size: begin.length + at };
}

/** A file of tests/fixtures. @param {string} path */
export const fixture = (path) => readFile(new URL(`../fixtures/${path}`, import.meta.url));

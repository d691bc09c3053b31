// Reads files over the network or from the user, and reports progress.

import { megabytes } from "../format";
import { shown } from "./origin";
import type { Source } from "./sources";

type Report = (line: string) => void;

const SHOW_EVERY_MS = 100;

async function answer(url: string): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url);
  } catch {
    throw new Error(`${shown(url)}: the server cannot be reached.`);
  }
  if (!response.ok)
    throw new Error(`${shown(url)}: the server answered ${response.status} ${response.statusText}`.trim() + ".");
  return response;
}

/** Downloads the bytes at `url`; `what` names them in the progress message. */
export async function fetchBytes(url: string, what: string, report: Report): Promise<Uint8Array> {
  const response = await answer(url);
  const length = response.headers.get("content-encoding") ? 0 : Number(response.headers.get("content-length") ?? 0);
  if (!response.body || !length) return new Uint8Array(await response.arrayBuffer());
  const bytes = new Uint8Array(length);
  const reader = response.body.getReader();
  let at = 0;
  let told = 0;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    if (at + part.value.length > length)
      throw new Error(`${shown(url)}: received more than the announced ${length} bytes.`);
    bytes.set(part.value, at);
    at += part.value.length;
    if (performance.now() - told > SHOW_EVERY_MS) {
      told = performance.now();
      report(`Downloading ${what}: ${megabytes(at)} of ${megabytes(length)} MB`);
    }
  }
  if (at < length) throw new Error(`${shown(url)}: received ${at} of ${length} bytes; try again.`);
  return bytes;
}

/** Reads the bytes of a source. */
export async function readSource(source: Source, report: Report): Promise<{ name: string; bytes: Uint8Array }> {
  if ("url" in source) return { name: source.name, bytes: await fetchBytes(source.url, source.name, report) };
  try {
    return { name: source.name, bytes: new Uint8Array(await source.file.arrayBuffer()) };
  } catch {
    throw new Error(`${source.name}: the file can no longer be read (was it moved or changed?); choose it again.`);
  }
}

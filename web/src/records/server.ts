// Records of the host, if it has any (`apet serve`), and their changes as they happen.

import { signal } from "@preact/signals";
import { address } from "../storage/catalogue";
import { addRecord, dropRecord, keyOf, SERVER } from "./records";

export type ServerState = "none" | "live" | "lost";
/** The connection to a host with records. */
export const server = signal<ServerState>("none");
/** The keys of the loaded runs, by file. */
const loaded = new Map<string, string>();

/** Loads the host's records, and follows their changes. */
export async function followServer(): Promise<void> {
  const files = await list();
  if (!files) return; // a static host
  server.value = "live";
  for (const file of files) await get(file);
  const events = new EventSource(address("api/events"));
  events.onmessage = ({ data }: MessageEvent<string>) => {
    try {
      void get((JSON.parse(data) as { file?: unknown }).file);
    } catch {
      // Not one of our events.
    }
  };
  events.onopen = () => {
    if (server.value === "lost") void catchUp();
    server.value = "live";
  };
  events.onerror = () => (server.value = "lost"); // the browser reconnects
}

/** The files of the host's records; `undefined` if it has none. */
async function list(): Promise<string[] | undefined> {
  try {
    const response = await fetch(address("api/records"));
    const found: unknown = response.ok ? await response.json() : undefined;
    if (!Array.isArray(found)) return undefined;
    return (found as { file?: unknown }[]).flatMap(({ file }) => (typeof file === "string" ? [named(file)] : []));
  } catch {
    return undefined;
  }
}

/** Applies the changes since the connection was lost. */
async function catchUp(): Promise<void> {
  const files = await list();
  if (!files) return;
  for (const file of loaded.keys()) if (!files.includes(file)) drop(file);
  for (const file of files) await get(file);
}

const named = (file: string) => (file.endsWith(".jsonl") ? file : `${file}.jsonl`);

async function get(file: unknown): Promise<void> {
  if (typeof file !== "string") return;
  const name = named(file);
  try {
    const response = await fetch(address(`api/records/${encodeURIComponent(name)}`), { cache: "no-store" });
    if (response.status === 404) drop(name);
    if (!response.ok) return;
    const text = await response.text();
    const key = keyOf(text);
    if (addRecord(SERVER, text, `server: ${name}`) && key) loaded.set(name, key);
  } catch {
    server.value = "lost";
  }
}

function drop(file: string): void {
  const key = loaded.get(file);
  if (key && loaded.delete(file)) dropRecord(key);
}

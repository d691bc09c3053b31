// Records of the host, where it has any (`apet serve`), and their changes as they come.

import { signal } from "@preact/signals";
import { address } from "../storage/catalogue";
import { addRecord, dropRecord, keyOf, SERVER } from "./records";

export type ServerState = "none" | "live" | "lost";
export const server = signal<ServerState>("none");
/** The runs that came, by their files. */
const came = new Map<string, string>();

export async function followServer(): Promise<void> {
  const there = await list();
  if (!there) return; // a static host
  server.value = "live";
  for (const file of there) await get(file);
  const events = new EventSource(address("api/events"));
  events.onmessage = ({ data }: MessageEvent<string>) => {
    try {
      void get((JSON.parse(data) as { file?: unknown }).file);
    } catch {
      // Not an event of ours.
    }
  };
  events.onopen = () => {
    if (server.value === "lost") void catchUp();
    server.value = "live";
  };
  events.onerror = () => (server.value = "lost"); // the browser tries again
}

/** The files of the host's records; nothing where it has none. */
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

/** What came and went while the server did not answer. */
async function catchUp(): Promise<void> {
  const there = await list();
  if (!there) return;
  for (const file of came.keys()) if (!there.includes(file)) drop(file);
  for (const file of there) await get(file);
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
    if (addRecord(SERVER, text, `server: ${name}`) && key) came.set(name, key);
  } catch {
    server.value = "lost";
  }
}

function drop(file: string): void {
  const key = came.get(file);
  if (key && came.delete(file)) dropRecord(key);
}

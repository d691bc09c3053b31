// Records of the host, where it has any (`apet serve`), and their changes as they come.

import { signal } from "@preact/signals";
import { address } from "../catalogue";
import { addRecord, dropSource } from "./records";

export type ServerState = "none" | "live" | "lost";
export const server = signal<ServerState>("none");

export async function followServer(): Promise<void> {
  let list: unknown;
  try {
    const response = await fetch(address("api/records"));
    list = response.ok ? await response.json() : undefined;
  } catch {
    list = undefined;
  }
  if (!Array.isArray(list)) return; // a static host
  server.value = "live";
  for (const { file } of list as { file?: unknown }[]) await get(file);
  const events = new EventSource(address("api/events"));
  events.onmessage = ({ data }: MessageEvent<string>) => {
    try {
      void get((JSON.parse(data) as { file?: unknown }).file);
    } catch {
      // Not an event of ours.
    }
  };
  events.onopen = () => (server.value = "live");
  events.onerror = () => (server.value = "lost"); // the browser tries again
}

async function get(file: unknown): Promise<void> {
  if (typeof file !== "string") return;
  const name = file.endsWith(".jsonl") ? file : `${file}.jsonl`;
  try {
    const response = await fetch(address(`api/records/${encodeURIComponent(name)}`), { cache: "no-store" });
    if (response.ok) addRecord(`server: ${name}`, await response.text());
    else if (response.status === 404) dropSource(`server: ${name}`);
  } catch {
    server.value = "lost";
  }
}

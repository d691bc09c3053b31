// What the address says: which part is on the screen, and how it is set, so that a link shows another reader the same.
//
//   #results?show=spread&filter=method%3Dlora

import { effect, signal, type Signal } from "@preact/signals";

export type Part = "lab" | "results";

const read = (): [Part, URLSearchParams] => {
  const [place = "", query = ""] = location.hash.slice(1).split("?", 2);
  return [place === "results" ? "results" : "lab", new URLSearchParams(query)];
};

const [first, query] = read();
export const part = signal<Part>(first);

/** The settings that are kept in the address, of each part. */
const kept = new Map<string, { of: Part; setting: Signal<string>; plain: string }>();

/** A setting of a part that is kept in the address where it is not the plain one. */
export function inAddress(of: Part, name: string, plain: string): Signal<string> {
  const setting = signal((first === of && query.get(name)) || plain);
  kept.set(name, { of, setting, plain });
  queueMicrotask(() => effect(write));
  return setting;
}

function write(): void {
  const params = new URLSearchParams();
  for (const [name, { of, setting, plain }] of kept) {
    if (of === part.value && setting.value !== plain) params.set(name, setting.value);
  }
  const text = params.toString();
  const hash = `#${part.value}${text && `?${text}`}`;
  // An address without a part stays as it is while there is nothing to say.
  if (location.hash !== hash && (location.hash || text || part.value !== "lab")) history.replaceState(null, "", hash);
}

addEventListener("hashchange", () => {
  const [to, params] = read();
  // A link to a part alone leaves the settings as they were.
  if (location.hash.includes("?")) {
    for (const [name, { of, setting, plain }] of kept) if (of === to) setting.value = params.get(name) ?? plain;
  }
  part.value = to;
});

export function go(to: Part): void {
  if (part.value !== to) location.hash = to;
}

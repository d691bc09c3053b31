// The state in the page's address: the view on the screen and its settings, so that a link restores them.
//
//   #results?show=spread&filter=method%3Dlora

import { effect, signal, type Signal } from "@preact/signals";

export type View = "lab" | "results";

const read = (): [View, URLSearchParams] => {
  const [name = "", query = ""] = location.hash.slice(1).split("?", 2);
  return [name === "results" ? "results" : "lab", new URLSearchParams(query)];
};

const [first, query] = read();
/** The view on the screen. */
export const view = signal<View>(first);

/** The settings in the address, with the view of each. */
const kept = new Map<string, { of: View; setting: Signal<string>; initial: string }>();

/** A setting of a view that is kept in the address unless it has its default. */
export function inAddress(of: View, name: string, initial: string): Signal<string> {
  const setting = signal((first === of && query.get(name)) || initial);
  kept.set(name, { of, setting, initial });
  queueMicrotask(() => effect(write));
  return setting;
}

function write(): void {
  const params = new URLSearchParams();
  for (const [name, { of, setting, initial }] of kept) {
    if (of === view.value && setting.value !== initial) params.set(name, setting.value);
  }
  const text = params.toString();
  const hash = `#${view.value}${text && `?${text}`}`;
  // An address without a view stays unchanged while every setting has its default.
  if (location.hash !== hash && (location.hash || text || view.value !== "lab")) history.replaceState(null, "", hash);
}

addEventListener("hashchange", () => {
  const [to, params] = read();
  // A link to a view without settings leaves them unchanged.
  if (location.hash.includes("?")) {
    for (const [name, { of, setting, initial }] of kept) if (of === to) setting.value = params.get(name) ?? initial;
  }
  view.value = to;
});

/** Shows a view. */
export function go(to: View): void {
  if (view.value !== to) location.hash = to;
}

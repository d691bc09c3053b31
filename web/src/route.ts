// Which part is on the screen, kept in the address.

import { signal } from "@preact/signals";

export type Part = "lab" | "results";
const read = (): Part => (location.hash === "#results" ? "results" : "lab");

export const part = signal<Part>(read());
addEventListener("hashchange", () => (part.value = read()));

export function go(to: Part): void {
  location.hash = to;
}

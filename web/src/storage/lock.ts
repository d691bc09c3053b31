// One tab owns this browser's store; a second one waits and only looks.

import { signal } from "@preact/signals";

const NAME = "apet-lab";
const PATIENCE_MS = 600; // a reloaded tab's lock is free only a moment later

/** `null` until it is known. */
export const ownsStore = signal<boolean | null>(null);

/** Asks for the store. Resolves at once when this tab gets it, else when the other tab is closed. */
export function takeStore(): Promise<void> {
  if (!navigator.locks) {
    ownsStore.value = true;
    return Promise.resolve();
  }
  const impatient = setTimeout(() => (ownsStore.value = false), PATIENCE_MS);
  return new Promise((granted) => {
    void navigator.locks.request(NAME, () => {
      clearTimeout(impatient);
      ownsStore.value = true;
      granted();
      return new Promise(() => {}); // held until the tab is closed
    });
  });
}

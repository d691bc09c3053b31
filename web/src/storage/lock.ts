// One tab owns this browser's store; a second tab waits, and can only view.

import { signal } from "@preact/signals";

const NAME = "apet-lab";
const PATIENCE_MS = 600; // a reloaded tab's lock is free only a moment later

/** Whether this tab owns the store; `null` until that is known. */
export const ownsStore = signal<boolean | null>(null);

/** Requests the store. Resolves at once if this tab gets it, otherwise when the other tab is closed. */
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

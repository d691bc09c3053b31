// What a user should know, one sentence each.

import { signal } from "@preact/signals";

/** One sentence each, newest first. */
export const messages = signal<string[]>([]);

export function tell(message: string): void {
  messages.value = [message, ...messages.value.filter((m) => m !== message)].slice(0, 5);
}

export function dismiss(message: string): void {
  messages.value = messages.value.filter((m) => m !== message);
}

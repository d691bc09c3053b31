// Messages to the user.

import { signal } from "@preact/signals";

/** The messages, newest first. */
export const messages = signal<string[]>([]);

/** Shows a message. */
export function tell(message: string): void {
  messages.value = [message, ...messages.value.filter((m) => m !== message)].slice(0, 5);
}

/** Removes a message. */
export function dismiss(message: string): void {
  messages.value = messages.value.filter((m) => m !== message);
}

// What a user should know, one sentence each.

import { dismiss, messages } from "../records/messages";

export function Messages() {
  return (
    <div class="messages" role="alert">
      {messages.value.map((m) => (
        <p key={m} class="message">
          <span>{m}</span>
          <button type="button" class="quiet" aria-label="Dismiss" onClick={() => dismiss(m)}>
            ✕
          </button>
        </p>
      ))}
    </div>
  );
}

// Shows the messages to the user.

import { dismiss, messages } from "../records/messages";

/** The messages, each with a button to dismiss it. */
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

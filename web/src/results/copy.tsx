// A button that copies a text and confirms it.

import { useState } from "preact/hooks";

/** Copies `text()`; `hint` is its tooltip. */
export function Copy({ title, text, hint }: { title: string; text(): string; hint?: string }) {
  const [word, setWord] = useState("");
  const copy = async () => {
    setWord((await copied(text())) ? "Copied" : "Cannot copy here");
    setTimeout(() => setWord(""), 2000);
  };
  return (
    <button type="button" class="quiet" title={hint} onClick={() => void copy()}>
      {word || title}
    </button>
  );
}

async function copied(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Pages of another machine without https have no clipboard API; this older method works there.
    const focused = document.activeElement;
    const place = document.createElement("textarea");
    place.value = text;
    // While a dialog is open, nothing outside of it can be selected.
    (document.querySelector("dialog[open]") ?? document.body).append(place);
    place.select();
    const done = document.execCommand("copy");
    place.remove();
    if (focused instanceof HTMLElement) focused.focus();
    return done;
  }
}

// A button that copies a text, and says that it did.

import { useState } from "preact/hooks";

export function Copy({ title, text, hint }: { title: string; text(): string; hint?: string }) {
  const [word, setWord] = useState("");
  const copy = async () => {
    setWord((await copied(text())) ? "Copied" : "Can not be copied here");
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
    // An address of another machine without https has no clipboard; this older way works there.
    const focused = document.activeElement;
    const place = document.createElement("textarea");
    place.value = text;
    // In a dialog nothing beside it can be selected.
    (document.querySelector("dialog[open]") ?? document.body).append(place);
    place.select();
    const done = document.execCommand("copy");
    place.remove();
    if (focused instanceof HTMLElement) focused.focus();
    return done;
  }
}

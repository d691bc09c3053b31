// A button that copies a text, and says that it did.

import { useState } from "preact/hooks";

export function Copy({ title, text }: { title: string; text(): string }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text());
    setCopied(true);
    setTimeout(() => setCopied(false), 2000);
  };
  return (
    <button type="button" class="quiet" onClick={() => void copy()}>
      {copied ? "Copied" : title}
    </button>
  );
}

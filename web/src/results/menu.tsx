// A menu that opens below its title. Escape closes it and returns the focus; so does a click or focus elsewhere.

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

interface MenuProps {
  title: string;
  children(close: () => void): ComponentChildren;
}

/** A menu; its children get a function that closes it. */
export function Menu({ title, children }: MenuProps) {
  const [open, setOpen] = useState(false);
  const place = useRef<HTMLDetailsElement>(null);
  const close = () => {
    if (place.current) place.current.open = false;
  };
  useEffect(() => {
    if (!open) return;
    const elsewhere = (e: Event) => {
      if (!place.current?.contains(e.target as Node)) close();
    };
    addEventListener("pointerdown", elsewhere);
    addEventListener("focusin", elsewhere);
    return () => {
      removeEventListener("pointerdown", elsewhere);
      removeEventListener("focusin", elsewhere);
    };
  }, [open]);
  return (
    <details
      ref={place}
      class="menu"
      onToggle={(e) => setOpen(e.currentTarget.open)}
      onKeyDown={(e) => {
        if (e.key !== "Escape") return;
        close();
        e.currentTarget.querySelector("summary")?.focus();
      }}
    >
      <summary>{title}</summary>
      {open && children(close)}
    </details>
  );
}

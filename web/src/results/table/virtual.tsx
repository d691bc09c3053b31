// A table that renders only the rows on the screen, so that it stays fast with tens of thousands.

import type { ComponentChildren, JSX } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";

/** Rows rendered beyond either edge. */
const BEYOND = 12;
/** The assumed height of a row in pixels, until one has been rendered. */
const ROW_HEIGHT = 37;

interface TableProps<T> {
  label: string;
  /** The cells of the header row. */
  head: ComponentChildren;
  /** The number of columns. */
  width: number;
  items: T[];
  /** Renders a row; its element has a key. */
  draw(item: T, props: { "aria-rowindex": number }): JSX.Element;
}

/** A scrollable table of items. */
export function VirtualTable<T>({ label, head, width, items, draw }: TableProps<T>) {
  const scroller = useRef<HTMLDivElement>(null);
  const body = useRef<HTMLTableSectionElement>(null);
  const [height, setHeight] = useState(ROW_HEIGHT);
  const [view, setView] = useState({ top: 0, height: 600 });

  const look = () => {
    const at = scroller.current;
    if (at) setView({ top: at.scrollTop, height: at.clientHeight });
  };
  useLayoutEffect(() => {
    const drawn = body.current?.querySelector<HTMLElement>("tr[aria-rowindex]")?.offsetHeight;
    if (drawn && Math.abs(drawn - height) >= 1) setHeight(drawn);
  });
  useLayoutEffect(() => {
    const at = scroller.current;
    if (!at) return;
    const watch = new ResizeObserver(look);
    watch.observe(at);
    // For printing, render every row.
    const whole = () => setView({ top: 0, height: Number.MAX_SAFE_INTEGER });
    addEventListener("beforeprint", whole);
    addEventListener("afterprint", look);
    return () => {
      watch.disconnect();
      removeEventListener("beforeprint", whole);
      removeEventListener("afterprint", look);
    };
  }, []);

  const from = Math.max(0, Math.min(items.length, Math.floor(view.top / height)) - BEYOND);
  const to = Math.min(items.length, Math.ceil((view.top + view.height) / height) + BEYOND);
  const space = (rows: number) =>
    rows > 0 && (
      <tr aria-hidden="true" class="space">
        <td colSpan={width} style={{ height: `${rows * height}px` }} />
      </tr>
    );
  return (
    <div ref={scroller} class="scroller" role="region" aria-label={label} tabIndex={0} onScroll={look}>
      <table aria-rowcount={items.length + 1}>
        <thead>
          <tr aria-rowindex={1}>{head}</tr>
        </thead>
        <tbody ref={body}>
          {space(from)}
          {items.slice(from, to).map((item, i) => draw(item, { "aria-rowindex": from + i + 2 }))}
          {space(items.length - to)}
        </tbody>
      </table>
    </div>
  );
}

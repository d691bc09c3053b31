// Small values that the browser keeps for the page. A browser may refuse: then they are lost when the page is closed.

type WebStorage = "localStorage" | "sessionStorage";

/** Keeps a value; `undefined` removes it. */
export function keep(key: string, value: unknown, storage: WebStorage = "localStorage"): void {
  try {
    if (value === undefined) window[storage].removeItem(key);
    else window[storage].setItem(key, JSON.stringify(value));
  } catch {
    // The browser refuses.
  }
}

/** A kept value; `undefined` if there is none. */
export function kept(key: string, storage: WebStorage = "localStorage"): unknown {
  try {
    return JSON.parse(window[storage].getItem(key) ?? "null") ?? undefined;
  } catch {
    return undefined;
  }
}

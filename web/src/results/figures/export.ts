// Exports a figure as SVG or PNG, and its data as CSV.

/** Rows as CSV (RFC 4180), with the columns of the first row. */
export function csv(rows: Record<string, unknown>[]): string {
  const names = Object.keys(rows[0] ?? {});
  const cell = (value: unknown) => {
    const text = value == null ? "" : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [names, ...rows.map((row) => names.map((n) => row[n]))].map((row) => `${row.map(cell).join()}\r\n`).join("");
}

const DRAWN = ["fill", "stroke", "color", "font-family", "font-size", "font-weight", "font-variant"];
const SVG = "http://www.w3.org/2000/svg";

/** A figure as one SVG without a style sheet, including its legends as they are on the page. */
export function asSvg(place: HTMLElement): string {
  const whole = place.getBoundingClientRect();
  const out = document.createElementNS(SVG, "svg");
  out.setAttribute("xmlns", SVG);
  const size = { width: String(Math.ceil(whole.width)), height: String(Math.ceil(whole.height)) };
  for (const [name, value] of Object.entries(size)) out.setAttribute(name, value);
  out.setAttribute("viewBox", `0 0 ${size.width} ${size.height}`);
  const paper = document.createElementNS(SVG, "rect");
  for (const [name, value] of Object.entries(size)) paper.setAttribute(name, value);
  paper.setAttribute("fill", getComputedStyle(document.body).getPropertyValue("--paper"));
  out.append(paper);
  for (const svg of place.querySelectorAll("svg")) {
    if (svg.parentElement?.closest("svg")) continue;
    const copy = styled(svg) as SVGSVGElement;
    const at = svg.getBoundingClientRect();
    copy.setAttribute("x", String(at.left - whole.left));
    copy.setAttribute("y", String(at.top - whole.top));
    copy.querySelectorAll('[aria-label="tip"], style').forEach((e) => e.remove());
    out.append(copy);
    // The text of a legend is HTML next to its symbol.
    const words = svg.nextSibling;
    if (svg.parentElement?.tagName !== "FIGURE" && words?.nodeType === Node.TEXT_NODE && words.textContent?.trim()) {
      const text = document.createElementNS(SVG, "text");
      const style = getComputedStyle(svg);
      text.setAttribute("x", String(at.right - whole.left + 4));
      text.setAttribute("y", String(at.bottom - whole.top - 3));
      for (const name of ["font-family", "font-size"]) text.setAttribute(name, style.getPropertyValue(name));
      text.setAttribute("fill", style.color);
      text.textContent = words.textContent.trim();
      out.append(text);
    }
  }
  return new XMLSerializer().serializeToString(out);
}

/** A copy with inlined styles. */
function styled(of: Element): Element {
  const copy = of.cloneNode(false) as Element;
  const style = getComputedStyle(of);
  for (const name of DRAWN) {
    const value = style.getPropertyValue(name);
    if (value && (copy.tagName.toLowerCase() === "svg" || copy.hasAttribute(name) || name === "fill" || name === "stroke"))
      copy.setAttribute(name, value);
  }
  for (const child of of.childNodes) {
    copy.append(child.nodeType === Node.ELEMENT_NODE ? styled(child as Element) : child.cloneNode());
  }
  return copy;
}

/** The figure as a PNG, at twice its size. */
export async function asPng(place: HTMLElement): Promise<Blob> {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(asSvg(place))}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [2 * image.width, 2 * image.height];
  canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((done, failed) =>
    canvas.toBlob((png) => (png ? done(png) : failed(new Error("The browser cannot convert the figure to PNG."))), "image/png"),
  );
}

// The differences between the specs of the selected runs.

import { useRef } from "preact/hooks";
import { longName } from "./found";
import { records, rows } from "../../records/records";
import { selected } from "../../records/selection";

/** Every field of a spec by its path: `optimizer.learning_rate`. */
function flat(value: unknown, path: string, into: Map<string, string>): Map<string, string> {
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  if (!isObject) return into.set(path, typeof value === "string" ? value : JSON.stringify(value));
  for (const [name, inner] of Object.entries(value)) flat(inner, path ? `${path}.${name}` : name, into);
  return into;
}

/** A button, and its dialog with the differences. */
export function Differences() {
  const dialog = useRef<HTMLDialogElement>(null);
  const chosen = rows.value.filter((r) => selected.value.has(r.key));
  const specs = chosen.map((r) => flat(JSON.parse(records()?.spec(r.key) ?? "{}"), "", new Map()));
  const fields = [...new Set(specs.flatMap((s) => [...s.keys()]))];
  const differing = fields.filter((f) => new Set(specs.map((s) => s.get(f))).size > 1);
  return (
    <>
      <button
        type="button"
        class="quiet"
        disabled={chosen.length < 2}
        title={chosen.length < 2 ? "Select two runs or more in the table" : undefined}
        onClick={() => dialog.current?.showModal()}
      >
        Compare specs
      </button>
      <dialog
        ref={dialog}
        class="run-page wide"
        aria-labelledby="differences-title"
        onClick={(e) => e.target === dialog.current && dialog.current?.close()}
      >
        <div class="page">
          <header>
            <h2 id="differences-title">Differences between specs</h2>
            <button type="button" class="quiet" onClick={() => dialog.current?.close()}>
              Close
            </button>
          </header>
          {differing.length === 0 ? (
            <p>None: the same run on different devices.</p>
          ) : (
            <div class="scroller" role="region" aria-label="Differences" tabIndex={0}>
              <table>
                <thead>
                  <tr>
                    <th scope="col">Field</th>
                    {chosen.map((r) => (
                      <th key={r.key} scope="col">
                        {longName(r)}
                      </th>
                    ))}
                  </tr>
                </thead>
                <tbody>
                  {differing.map((field) => (
                    <tr key={field}>
                      <th scope="row">{field}</th>
                      {specs.map((s, i) => (
                        <td key={chosen[i]?.key}>{s.get(field) ?? "–"}</td>
                      ))}
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          )}
          <p class="hint">{fields.length - differing.length} fields are the same.</p>
        </div>
      </dialog>
    </>
  );
}

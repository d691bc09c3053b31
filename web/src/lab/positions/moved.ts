// How far the run on the screen moved its parameters.

import { useEffect } from "preact/hooks";
import { records, rows } from "../../records/records";
import { readTheta, recordName } from "../../storage/runs";
import { spec } from "../choices";
import { live } from "../run/live";
import { moved } from "../run/questions";
import { busy } from "../run/state";
import { key, lengths } from "./parts";

/** Computes how far the run on the screen moved its parameters, once it is done and while the form still matches it. */
export function useMoved(): void {
  const run = live.value;
  const isDone = run?.summary !== undefined && !busy.value;
  const text = JSON.stringify(spec.value);
  useEffect(() => {
    lengths.value = undefined;
    const row = isDone && rows.value.find((r) => r.run === run?.run && r.source === "tab");
    if (!row || !run || run.spec.model !== spec.value.model) return;
    // Rust writes a spec with its defaults; the form omits them.
    const { method, seeds } = spec.value;
    const names = ["placement", "batches", "init"] as const;
    if (run.spec.method.name !== method.name || names.some((n) => run.spec.seeds[n] !== seeds[n])) return;
    let gone = false;
    void (async () => {
      const theta = await readTheta(recordName(row));
      const of = records()?.spec(row.key);
      if (!theta || !of) return;
      const found = await moved(of, new Uint8Array(await theta.arrayBuffer()));
      if (!gone) lengths.value = new Map(found.map(([b, p, length]) => [key(b, p), length]));
    })().catch(() => {});
    return () => {
      gone = true;
    };
  }, [isDone, run?.run, text]);
}

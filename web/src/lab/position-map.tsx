// Where the tuned parameters lie: how many in each part of each block.

import { compact, count, percent } from "../format";
import type { PositionBlock } from "./protocol";
import { plan } from "./trainer";

const TITLES: Record<string, string> = {
  query: "Query",
  key: "Key",
  value: "Value",
  output: "Output",
  ffn_in: "FFN in",
  ffn_gate: "FFN gate",
  ffn_out: "FFN out",
  norm: "Norm",
  bias: "Bias",
  embedding: "Embedding",
  pooler: "Pooler",
  lm_head: "Head of the model",
  after_attention: "After attention",
  after_ffn: "After FFN",
  prompt: "Prompt",
};

export function PositionMap() {
  const blocks = plan.value?.theta?.blocks ?? [];
  const tuned = blocks.filter(([, , tuned]) => tuned > 0);
  if (tuned.length === 0) return null;
  const rows = [...new Set(blocks.map(([block]) => block))];
  const parts = Object.keys(TITLES).filter((part) => tuned.some(([, of]) => of === part));
  const most = Math.max(...tuned.map(([, , n]) => n));
  const at = (block: PositionBlock[0], part: string) => blocks.find(([b, p]) => b === block && p === part);
  const shown = rows.filter((block) => tuned.some(([b]) => b === block));
  return (
    <details class="positions">
      <summary>Where they lie</summary>
      <div class="scroll" tabIndex={0} role="region" aria-label="Where the tuned parameters lie">
        <table>
          <thead>
            <tr>
              <th scope="col">Block</th>
              {parts.map((part) => (
                <th key={part} scope="col">
                  {TITLES[part]}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {shown.map((block) => (
              <tr key={String(block)}>
                <th scope="row">{block === null ? "none" : block + 1}</th>
                {parts.map((part) => (
                  <Cell key={part} of={at(block, part)} most={most} />
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  );
}

function Cell({ of, most }: { of: PositionBlock | undefined; most: number }) {
  if (!of || of[2] === 0) return <td>–</td>;
  const [, , tuned, all] = of;
  // The colour says how many, on a logarithmic scale; the number says it, too.
  const depth = Math.round((45 * Math.log1p(tuned)) / Math.log1p(most));
  const says = all > 0 ? `${count(tuned)} of ${count(all)}, ${percent(tuned / all)}` : count(tuned);
  return (
    <td title={says} style={{ "--depth": `${depth}%` }}>
      {compact(tuned)}
    </td>
  );
}

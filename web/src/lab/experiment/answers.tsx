// What the experiment's runs say of the paper's claims.

import { useMemo } from "preact/hooks";
import { Claims } from "../../results/figures/claims";
import { records } from "../../records/records";
import type { Spread } from "../../wasm/view";
import { doneRuns, isWhole, plannedRuns } from "./experiment";

export function AnswersView() {
  // A thousand draws behind each interval: only when a run is done.
  const claims = useMemo(
    () => records()?.answers(plannedRuns.value.map((r) => r.run)).claims ?? [],
    [plannedRuns.value, doneRuns.value.join()],
  );
  const { models } = useMemo(
    () => records()?.placements(plannedRuns.value.map((r) => r.run)) ?? { models: [] },
    [plannedRuns.value, doneRuns.value.join()],
  );
  // An experiment on one question has runs for one claim.
  const asked = isWhole() ? claims : claims.filter((claim) => claim.figures.some((figure) => figure.value !== null));
  return (
    <>
      {models.length > 0 && <Spreads models={models} />}
      <Claims claims={asked} heading="h4" />
    </>
  );
}

const points = (share: number) => (100 * share).toFixed(1);

/** How much it mattered where parameters lay, where placements were crossed with seeds. */
function Spreads({ models }: { models: Spread[] }) {
  return (
    <div class="answers">
      <article class="answer" aria-labelledby="spreads">
        <h4 id="spreads">Spread across placements</h4>
        <p class="hint">Standard deviation of scores across placements, apart from what the other seeds do.</p>
        <table>
          <caption class="visually-hidden">Spread across placements, by model</caption>
          <tbody>
            {models.map(({ model, spread, low, high }) => (
              <tr key={model}>
                <th scope="row">{model}</th>
                <td>
                  {points(spread)} [{points(low)}, {points(high)}] points
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </article>
    </div>
  );
}

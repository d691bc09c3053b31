// The results of the experiment: scores by model, and the paper's claims.

import { useMemo } from "preact/hooks";
import { count } from "../format";
import {
  chosenName,
  doneRuns,
  experimentModels,
  experimentTasks,
  isWhole,
  plannedRuns,
} from "../lab/experiment/experiment";
import { records } from "../records/records";
import { Claims } from "../results/figures/claims";
import { ScoreMultiples } from "../results/figures/score-figure";
import type { Group, Spread } from "../wasm/view";

/** Figures and claims. They can be collapsed: they are long, and the Lab is below. */
export function ExperimentResults() {
  const done = doneRuns.value.length;
  const all = plannedRuns.value.length;
  const planned = new Set(plannedRuns.value.map((r) => r.run));
  const ofExperiment = (group: Group) => group.runs.some((key) => planned.has(key.split("@")[0] ?? ""));
  return (
    <details class="found" open>
      <summary>
        <h3>
          Results so far: {count(done)} of {count(all)} runs done
        </h3>
      </summary>
      {experimentTasks.value.map((task) => (
        <ScoreMultiples
          key={task}
          task={task}
          models={experimentModels.value}
          shows={ofExperiment}
          on={[chosenName.value, doneRuns.value.join()]}
        />
      ))}
      <ClaimsView />
    </details>
  );
}

function ClaimsView() {
  // Each interval takes a thousand bootstrap samples: compute it only when a run has ended.
  const claims = useMemo(
    () => records()?.answers(plannedRuns.value.map((r) => r.run)).claims ?? [],
    [plannedRuns.value, doneRuns.value.join()],
  );
  const { models } = useMemo(
    () => records()?.placements(plannedRuns.value.map((r) => r.run)) ?? { models: [] },
    [plannedRuns.value, doneRuns.value.join()],
  );
  // An experiment on one question has runs for one claim only.
  const asked = isWhole() ? claims : claims.filter((claim) => claim.figures.some((figure) => figure.value !== null));
  return (
    <>
      {models.length > 0 && <Spreads models={models} />}
      <Claims claims={asked} heading="h4" />
    </>
  );
}

const points = (share: number) => (100 * share).toFixed(1);

/** The effect of the parameters' positions, if placements were crossed with seeds. */
function Spreads({ models }: { models: Spread[] }) {
  return (
    <div class="answers">
      <article class="answer" aria-labelledby="spreads">
        <h4 id="spreads">Spread across placements</h4>
        <p class="hint">Standard deviation of scores across placements, without the effect of the other seeds.</p>
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

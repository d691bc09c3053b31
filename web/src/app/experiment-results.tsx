// What the experiment's runs say: their scores by model, and the paper's claims.

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

/** Figures and answers. They can be folded away: they are long, and the Lab is below. */
export function ExperimentResults() {
  const done = doneRuns.value.length;
  const all = plannedRuns.value.length;
  const planned = new Set(plannedRuns.value.map((r) => r.run));
  const ofExperiment = (group: Group) => group.runs.some((key) => planned.has(key.split("@")[0] ?? ""));
  return (
    <details class="found" open>
      <summary>
        <h3>
          What the runs say, {count(done)} of {count(all)} done
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
      <AnswersView />
    </details>
  );
}

function AnswersView() {
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

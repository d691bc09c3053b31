// What the experiment's runs say of the paper's claims.

import { useMemo } from "preact/hooks";
import { Claims } from "../results/claims";
import { records } from "../results/records";
import { doneRuns, isWhole, plannedRuns } from "./experiment";

export function AnswersView() {
  // A thousand draws behind each interval: only when a run is done.
  const claims = useMemo(
    () => records()?.answers(plannedRuns.value.map((r) => r.run)).claims ?? [],
    [plannedRuns.value, doneRuns.value.join()],
  );
  // An experiment on one question has runs for one claim.
  const asked = isWhole() ? claims : claims.filter((claim) => claim.figures.length > 0);
  return <Claims claims={asked} heading="h4" />;
}

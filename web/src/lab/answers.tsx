// What the experiment's runs say of the paper's claims.

import { useMemo } from "preact/hooks";
import { Claims } from "../results/claims";
import { records } from "../results/records";
import { doneRuns, plannedRuns } from "./experiment";

export function AnswersView() {
  // A thousand draws behind each interval: only when a run is done.
  const claims = useMemo(
    () => records()?.answers(plannedRuns.value.map((r) => r.run)).claims ?? [],
    [doneRuns.value.join()],
  );
  return <Claims claims={claims} heading="h4" />;
}

// What the Lab does with a run of Results.

import type { LabActions } from "../results/lab";
import { go } from "../route";
import { adopt, device } from "./choices";
import { currentRun } from "./live";
import { canGoOn, goOn } from "./resume";
import { adapterOf, busy } from "./trainer";
import { beginWith } from "./begin-with";

export const actions: LabActions = {
  isBusy: () => busy.value,
  isOnScreen(row) {
    const on = currentRun();
    return row.source === "tab" && on?.run === row.run && on.device === row.device;
  },
  canGoOn,
  goOn(row) {
    go("lab");
    void goOn(row);
  },
  startFrom: beginWith,
  adapter: adapterOf,
  use(row, spec) {
    adopt(spec);
    if (row.device === "webgpu" || row.device === "cpu") device.value = row.device;
    go("lab");
  },
};

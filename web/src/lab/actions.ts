// What the Lab does with a run of Results.

import type { LabActions } from "../records/lab";
import { go } from "../route";
import { adopt, device, spec } from "./choices";
import { currentRun } from "./run/live";
import { canGoOn, goOn } from "./run/resume";
import { beginWith } from "./form/begin-with";
import { adapterOf } from "./run/questions";
import { busy } from "./run/state";
import { prepare } from "./run/main-worker";

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
  async adapter(of, theta) {
    try {
      return await adapterOf(of, theta);
    } finally {
      // The Worker has that run's model now; the form's comes back.
      if (device.value) void prepare(spec.value, device.value);
    }
  },
  use(row, spec) {
    adopt(spec);
    if (row.device === "webgpu" || row.device === "cpu") device.value = row.device;
    go("lab");
  },
};

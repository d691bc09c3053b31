// The Lab's actions on a run of Results.

import type { LabActions } from "../records/lab-actions";
import { go } from "../route";
import { adopt, device, spec } from "./choices";
import { currentRun } from "./run/live";
import { canResume, resumeRun } from "./run/resume";
import { initialiseFrom } from "./form/initialise-from";
import { adapterOf } from "./run/questions";
import { busy } from "./run/state";
import { prepare } from "./run/main-worker";

/** The actions. */
export const actions: LabActions = {
  isBusy: () => busy.value,
  isOnScreen(row) {
    const on = currentRun();
    return row.source === "tab" && on?.run === row.run && on.device === row.device;
  },
  canResume,
  resume(row) {
    go("lab");
    void resumeRun(row);
  },
  initialiseFrom: initialiseFrom,
  async adapter(of, theta) {
    try {
      return await adapterOf(of, theta);
    } finally {
      // The Worker now holds the model of that run; load the form's again.
      if (device.value) void prepare(spec.value, device.value);
    }
  },
  use(row, spec) {
    adopt(spec);
    if (row.device === "webgpu" || row.device === "cpu") device.value = row.device;
    go("lab");
  },
};

// How a run's Worker asks another one for a part of each gradient: one question at a time, each way
// over a port between the two, so that the page is not in between.

import type { Answer, Asked, Helper, Lab } from "./protocol";

type Reply = Answer | { error: string };

/** The Worker at the other end of `port`, seen from the one that asks. */
export function helper(port: MessagePort): Helper {
  return (values, shares) =>
    new Promise((resolve, reject) => {
      port.onmessage = ({ data }: MessageEvent<Reply>) =>
        "error" in data ? reject(new Error(data.error)) : resolve(data);
      port.postMessage({ values, shares } satisfies Asked, [values.buffer]);
    });
}

/** Tells the Worker at the other end that nothing more will be asked. */
export function dismiss(port: MessagePort): void {
  port.postMessage(undefined);
  port.close();
}

/** Answers what comes through `port` until it is dismissed. */
export async function assist(lab: Lab, spec: string, port: MessagePort): Promise<void> {
  const come: (Asked | undefined)[] = [];
  let take: ((asked: Asked | undefined) => void) | undefined;
  port.onmessage = ({ data }: MessageEvent<Asked | undefined>) => {
    if (take) take(data);
    else come.push(data);
    take = undefined;
  };
  try {
    await lab.assist(spec, (answer) => {
      if (answer) port.postMessage(answer satisfies Reply, [answer.gradient.buffer]);
      return come.length > 0 ? Promise.resolve(come.shift()) : new Promise((resolve) => (take = resolve));
    });
  } catch (error) {
    port.postMessage({ error: error instanceof Error ? error.message : String(error) } satisfies Reply);
    throw error;
  } finally {
    port.close();
  }
}

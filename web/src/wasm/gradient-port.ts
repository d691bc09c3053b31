// How a run's Worker gets a part of each gradient from another Worker: one request at a time, over a port
// between the two, so that the page is not involved.

import { errorText } from "../format";
import type { ShardGradient, GradientRequest, GradientWorker, Lab } from "./protocol";

type GradientReply = ShardGradient | { error: string };

/** The Worker at the other end of `port`, as the run's Worker calls it. */
export function gradientWorker(port: MessagePort): GradientWorker {
  return (values, shards) =>
    new Promise((resolve, reject) => {
      port.onmessage = ({ data }: MessageEvent<GradientReply>) =>
        "error" in data ? reject(new Error(data.error)) : resolve(data);
      port.postMessage({ values, shards } satisfies GradientRequest, [values.buffer]);
    });
}

/** Tells the Worker at the other end that no more requests will come. */
export function release(port: MessagePort): void {
  port.postMessage(undefined);
  port.close();
}

/** Answers the requests that come through `port` until it is released. */
export async function serveGradients(lab: Lab, spec: string, port: MessagePort): Promise<void> {
  const received: (GradientRequest | undefined)[] = [];
  let take: ((request: GradientRequest | undefined) => void) | undefined;
  port.onmessage = ({ data }: MessageEvent<GradientRequest | undefined>) => {
    if (take) take(data);
    else received.push(data);
    take = undefined;
  };
  try {
    await lab.assist(spec, (answer) => {
      if (answer) port.postMessage(answer satisfies GradientReply, [answer.gradient.buffer]);
      return received.length > 0 ? Promise.resolve(received.shift()) : new Promise((resolve) => (take = resolve));
    });
  } catch (error) {
    port.postMessage({ error: errorText(error) } satisfies GradientReply);
    throw error;
  } finally {
    port.close();
  }
}

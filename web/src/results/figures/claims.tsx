// The paper's claims and their verdicts. All estimates, intervals and verdicts come from apet-study.

import { count } from "../../format";
import type { ClaimResult, Estimate } from "../../wasm/view";

const VERDICTS: Record<ClaimResult["verdict"], string> = {
  supported: "supported",
  not_supported: "not supported",
  undecided: "undecided",
};

/** `heading` is the level of the claims' headings. */
export function Claims({ claims, heading }: { claims: ClaimResult[]; heading: "h3" | "h4" }) {
  return (
    <div class="answers">
      {claims.map((answer) => (
        <Claim key={answer.number} answer={answer} heading={heading} />
      ))}
    </div>
  );
}

function Claim({ answer, heading: Heading }: { answer: ClaimResult; heading: "h3" | "h4" }) {
  const { number, claim, measure, unit, figures, verdict, reason } = answer;
  const id = `claim-${number}`;
  return (
    <article class="answer" aria-labelledby={id}>
      <Heading id={id}>
        {number}. {claim}
      </Heading>
      <p class={`verdict ${verdict}`}>{VERDICTS[verdict]}</p>
      <p class="hint">{measure}</p>
      {figures.length > 0 && (
        <table>
          <caption class="visually-hidden">Claim {number}, by model</caption>
          <tbody>
            {figures.map((figure) => (
              <tr key={figure.of}>
                <th scope="row">{figure.of}</th>
                <td>
                  {inUnit(figure, unit)}
                  {figure.note && <span class="hint">{figure.note}</span>}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      <p class="hint">{reason}</p>
    </article>
  );
}

/** "3.1 [2.0, 4.4] points": an estimate with its interval, which may end beyond the measured range. */
function inUnit({ value, low, high }: Estimate, unit: string): string {
  if (value === null) return unit === "parameters" ? "not reached" : "–";
  const shown = (x: number) => (unit === "parameters" ? count(Math.round(x)) : x.toFixed(1));
  const interval = low === null ? "" : ` [${shown(low)}, ${high === null ? "more" : shown(high)}]`; // a single seed has no interval
  return `${shown(value)}${interval} ${unit}`;
}

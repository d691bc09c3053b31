// The form's building blocks.

import type { ComponentChildren } from "preact";
import { useEffect, useId, useState } from "preact/hooks";
import { invalid } from "./choices";

export function Field(props: { label: string; hint?: ComponentChildren; for?: string; children: ComponentChildren }) {
  return (
    <div class="field">
      <label for={props.for}>{props.label}</label>
      {props.children}
      {props.hint && <p class="hint">{props.hint}</p>}
    </div>
  );
}

interface NumberProps {
  label: string;
  value: number;
  min: number;
  max?: number;
  /** Whole numbers where not said otherwise. */
  real?: boolean;
  hint?: ComponentChildren;
  onChange(value: number): void;
}

/** A number the user types; what is no number stays on the screen with a sentence. */
export function NumberField(props: NumberProps) {
  const id = useId();
  const [text, setText] = useState(String(props.value));
  const wrong = invalid.value.get(id);

  useEffect(() => {
    if (Number(text) !== props.value) {
      setText(String(props.value));
      mark(id, undefined);
    }
  }, [props.value]);
  useEffect(() => () => mark(id, undefined), []);

  const take = (typed: string) => {
    setText(typed);
    const value = Number(typed);
    const fits =
      typed.trim() !== "" &&
      Number.isFinite(value) &&
      value >= props.min &&
      value <= (props.max ?? Infinity) &&
      (props.real || Number.isInteger(value));
    mark(id, fits ? undefined : expected(props));
    if (fits) props.onChange(value);
  };

  return (
    <div class="field">
      <label for={id}>{props.label}</label>
      <input
        id={id}
        type="text"
        inputMode={props.real ? "decimal" : "numeric"}
        autocomplete="off"
        value={text}
        aria-invalid={wrong ? "true" : undefined}
        aria-describedby={wrong || props.hint ? `${id}-says` : undefined}
        onInput={(e) => take(e.currentTarget.value)}
      />
      {wrong ? (
        <p class="hint bad" id={`${id}-says`}>
          {wrong}
        </p>
      ) : (
        props.hint && (
          <p class="hint" id={`${id}-says`}>
            {props.hint}
          </p>
        )
      )}
    </div>
  );
}

const COUNT = /^([1-9]\d*|as (lora|bitfit|adapter|prompt))$/;
const SHARE = /^(\d+(\.\d+)?|\.\d+)\s*%$/;

/** How many parameters: a number, a share, or as many as a baseline. */
export function CountField(props: { label: string; value: number | string; onChange(value: number | string): void }) {
  const id = useId();
  const [text, setText] = useState(String(props.value));
  const wrong = invalid.value.get(id);

  useEffect(() => {
    if (text.trim() !== String(props.value)) {
      setText(String(props.value));
      mark(id, undefined);
    }
  }, [props.value]);
  useEffect(() => () => mark(id, undefined), []);

  const take = (typed: string) => {
    setText(typed);
    const value = typed.trim();
    const fits = COUNT.test(value) || (SHARE.test(value) && parseFloat(value) > 0 && parseFloat(value) <= 100);
    mark(id, fits ? undefined : "Expected a whole number, at least 1. Or a share such as 0.01%, or as lora.");
    if (fits) props.onChange(/^\d+$/.test(value) ? Number(value) : value);
  };

  return (
    <div class="field">
      <label for={id}>{props.label}</label>
      <input
        id={id}
        type="text"
        autocomplete="off"
        spellcheck={false}
        value={text}
        aria-invalid={wrong ? "true" : undefined}
        aria-describedby={`${id}-says`}
        onInput={(e) => take(e.currentTarget.value)}
      />
      <p class={wrong ? "hint bad" : "hint"} id={`${id}-says`}>
        {wrong ?? "Or a share of the model (0.01%), or as lora, as bitfit, as adapter, as prompt."}
      </p>
    </div>
  );
}

function expected({ real, min, max }: NumberProps): string {
  const kind = real ? "a number" : "a whole number";
  return max === undefined ? `Expected ${kind}, at least ${min}.` : `Expected ${kind} from ${min} to ${max}.`;
}

function mark(id: string, problem: string | undefined): void {
  if (invalid.peek().get(id) === problem) return;
  const next = new Map(invalid.peek());
  if (problem) next.set(id, problem);
  else next.delete(id);
  invalid.value = next;
}

interface SelectProps {
  label: string;
  value: string;
  options: { value: string; title: string }[];
  hint?: ComponentChildren;
  onChange(value: string): void;
}

export function SelectField({ label, value, options, hint, onChange }: SelectProps) {
  const id = useId();
  return (
    <Field label={label} for={id} hint={hint}>
      <select id={id} value={value} onChange={(e) => onChange(e.currentTarget.value)}>
        {options.map((o) => (
          <option key={o.value} value={o.value} selected={o.value === value}>
            {o.title}
          </option>
        ))}
      </select>
    </Field>
  );
}

/** One of a few, all in sight. */
export function Choice<T extends string>(props: {
  label: string;
  value: T | undefined;
  options: { value: T; title: string; off?: boolean }[];
  onChange(value: T): void;
}) {
  const name = useId();
  return (
    <fieldset class="choice">
      <legend>{props.label}</legend>
      <div class="segments">
        {props.options.map((o) => (
          <label key={o.value} class={o.off ? "off" : ""}>
            <input
              type="radio"
              name={name}
              value={o.value}
              checked={o.value === props.value}
              disabled={o.off}
              onChange={() => props.onChange(o.value)}
            />
            <span>{o.title}</span>
          </label>
        ))}
      </div>
    </fieldset>
  );
}

export function Check({ label, checked, onChange }: { label: string; checked: boolean; onChange(on: boolean): void }) {
  return (
    <label class="check">
      <input type="checkbox" checked={checked} onChange={(e) => onChange(e.currentTarget.checked)} />
      <span>{label}</span>
    </label>
  );
}

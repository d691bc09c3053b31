// The form's building blocks.

import type { ComponentChildren } from "preact";
import { useEffect, useId, useState } from "preact/hooks";
import { invalid } from "../choices";

/** A labelled field. */
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
  /** Accepts fractions; otherwise only integers. */
  real?: boolean;
  hint?: ComponentChildren;
  onChange(value: number): void;
}

/** A number that the user types. */
export function NumberField(props: NumberProps) {
  const parse = (typed: string) => {
    const value = Number(typed);
    const fits =
      typed !== "" &&
      Number.isFinite(value) &&
      value >= props.min &&
      value <= (props.max ?? Infinity) &&
      (props.real || Number.isSafeInteger(value));
    return fits ? value : undefined;
  };
  return <TypedField {...props} parse={parse} expected={expected(props)} mode={props.real ? "decimal" : "numeric"} />;
}

const COUNT = /^([1-9]\d{0,14}|as (lora|bitfit|adapter|prompt))$/;
const SHARE = /^(\d+(\.\d+)?|\.\d+)\s*%$/;

/** A number of parameters: an integer, a share, or that of a baseline. */
export function CountField(props: { label: string; value: number | string; onChange(value: number | string): void }) {
  const parse = (typed: string) => {
    const fits = COUNT.test(typed) || (SHARE.test(typed) && parseFloat(typed) > 0 && parseFloat(typed) <= 100);
    if (!fits) return undefined;
    return /^\d+$/.test(typed) ? Number(typed) : typed;
  };
  return (
    <TypedField
      {...props}
      parse={parse}
      expected="Expected a whole number, at least 1, a share such as 0.01%, or as lora."
      hint="Or a share of the model (0.01%), or as lora, as bitfit, as adapter, as prompt."
      mode="text"
    />
  );
}

interface TypedProps<T extends number | string> {
  label: string;
  value: T;
  hint?: ComponentChildren;
  /** The value of a text; `undefined` if it is invalid. */
  parse(typed: string): T | undefined;
  /** The error message for invalid text. */
  expected: string;
  mode: "text" | "numeric" | "decimal";
  onChange(value: T): void;
}

/** A value that the user types; invalid text stays on the screen with an error message. */
function TypedField<T extends number | string>(props: TypedProps<T>) {
  const id = useId();
  const [text, setText] = useState(String(props.value));
  const wrong = invalid.value.get(id);

  useEffect(() => {
    if (props.parse(text.trim()) !== props.value) {
      setText(String(props.value));
      mark(id, undefined);
    }
  }, [props.value]);
  useEffect(() => () => mark(id, undefined), []);

  const take = (typed: string) => {
    setText(typed);
    const value = props.parse(typed.trim());
    mark(id, value === undefined ? props.expected : undefined);
    if (value !== undefined) props.onChange(value);
  };

  return (
    <div class="field">
      <label for={id}>{props.label}</label>
      <input
        id={id}
        type="text"
        inputMode={props.mode}
        autocomplete="off"
        spellcheck={false}
        value={text}
        aria-invalid={wrong ? "true" : undefined}
        aria-describedby={wrong || props.hint ? `${id}-says` : undefined}
        onInput={(e) => take(e.currentTarget.value)}
      />
      {(wrong || props.hint) && (
        <p class={wrong ? "hint bad" : "hint"} id={`${id}-says`}>
          {wrong ?? props.hint}
        </p>
      )}
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

/** A labelled menu of options. */
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

/** A choice of one option, all of them visible. */
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

/** A labelled checkbox. */
export function Check({ label, checked, onChange }: { label: string; checked: boolean; onChange(on: boolean): void }) {
  return (
    <label class="check">
      <input type="checkbox" checked={checked} onChange={(e) => onChange(e.currentTarget.checked)} />
      <span>{label}</span>
    </label>
  );
}

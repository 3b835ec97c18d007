/** A labelled field of a form with what is wrong with it, and which of them gets the focus. */
import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";

/** What ties an input to what is said about it. */
export interface Described {
  /** Of the one input that the label is for. */
  id?: string;
  "aria-invalid"?: true;
  "aria-describedby"?: string;
}

interface FieldProps {
  words: string;
  fault: string;
  /** Whether it holds several inputs, each with a label of its own. */
  several?: boolean;
  children: (described: Described) => ComponentChildren;
}

export function Field({ words, fault, several = false, children }: FieldProps) {
  const id = useId();
  const said = `${id}-fault`;
  const described: Described = fault === "" ? {} : { "aria-invalid": true, "aria-describedby": said };
  const wrong = fault !== "" && (
    <p class="fault" id={said}>
      {fault}
    </p>
  );
  if (several) {
    return (
      <fieldset>
        <legend>{words}</legend>
        {children(described)}
        {wrong}
      </fieldset>
    );
  }
  return (
    <div class="field">
      <label for={id}>{words}</label>
      {children({ id, ...described })}
      {wrong}
    </div>
  );
}

/** Gives the focus to the first field of its form with which something is wrong; if there is none, to what says so itself. */
export function focusWrong(said: HTMLElement | null): void {
  const wrong = said?.closest("form")?.querySelector<HTMLElement>('[aria-invalid="true"]');
  (wrong ?? said)?.focus();
}

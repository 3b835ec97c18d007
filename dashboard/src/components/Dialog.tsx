/**
 * A modal question with a form: the browser keeps the focus inside, closes it with Escape and gives the focus back.
 *
 * A refusal is shown where the person looks, and it gets the focus, or the first field with which something is wrong: so a screen
 * reader says it without a further live region.
 */
import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { rememberedName, rememberName } from "../person";
import { ownName } from "../session";
import { focusWrong } from "./Field";

/** As the gateway bounds them. */
const MAX_NAME = 100;
const MAX_COMMENT = 1_000;

interface DialogProps {
  title: string;
  /** What the button says that does it. */
  action: string;
  /** Does it; a refusal is an error whose message is for people. */
  onSubmit: (by: string, comment: string) => Promise<void>;
  onClose: () => void;
  /** Whether a comment is asked for. */
  comment?: boolean;
  /** Whether it holds more than a few words. */
  wide?: boolean;
  children?: ComponentChildren;
}

export function Dialog({ title, action, onSubmit, onClose, comment = false, wide = false, children }: DialogProps) {
  const ref = useRef<HTMLDialogElement>(null);
  const error = useRef<HTMLParagraphElement>(null);
  const id = useId();
  // Who logged in has said it.
  const own = ownName();
  const [by, setBy] = useState(() => own ?? rememberedName());
  const [words, setWords] = useState("");
  const [refusal, setRefusal] = useState("");
  const [busy, setBusy] = useState(false);
  useEffect(() => ref.current?.showModal(), []);
  useEffect(() => {
    if (refusal !== "") focusWrong(error.current);
  }, [refusal]);

  const submit = async (event: Event) => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    setRefusal("");
    try {
      if (own === null) rememberName(by.trim());
      await onSubmit(by.trim(), words.trim());
      ref.current?.close();
    } catch (failure) {
      setRefusal(failure instanceof Error ? failure.message : String(failure));
      setBusy(false);
    }
  };

  return (
    <dialog ref={ref} class={wide ? "wide" : undefined} aria-labelledby={`${id}-title`} onClose={onClose}>
      <form onSubmit={(event) => void submit(event)}>
        <h3 id={`${id}-title`}>{title}</h3>
        {children}
        {own === null && (
          <label>
            Your name
            <input
              type="text"
              name="by"
              autocomplete="name"
              required
              maxLength={MAX_NAME}
              value={by}
              onInput={(event) => setBy(event.currentTarget.value)}
            />
          </label>
        )}
        {comment && (
          <label>
            Comment
            <input
              type="text"
              name="comment"
              maxLength={MAX_COMMENT}
              value={words}
              onInput={(event) => setWords(event.currentTarget.value)}
            />
          </label>
        )}
        {refusal !== "" && (
          <p ref={error} class="refusal" tabIndex={-1}>
            {refusal}
          </p>
        )}
        <div class="dialog-actions">
          <button type="button" onClick={() => ref.current?.close()}>
            Cancel
          </button>
          <button type="submit" class="primary" disabled={busy}>
            {action}
          </button>
        </div>
      </form>
    </dialog>
  );
}

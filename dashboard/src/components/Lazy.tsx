/** A part of the page whose script is fetched when it is first shown. */
import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";

interface LazyProps<P extends object> {
  load: () => Promise<ComponentType<P>>;
  props: P;
  /** Told when it stands in the document. */
  onShown?: () => void;
}

export function Lazy<P extends object>({ load, props, onShown }: LazyProps<P>) {
  const [part, setPart] = useState<{ Part: ComponentType<P> } | "failed" | null>(null);
  const [tries, setTries] = useState(0);
  useEffect(() => {
    let gone = false;
    load().then(
      (Part) => {
        if (!gone) setPart({ Part });
      },
      () => {
        if (!gone) setPart("failed");
      },
    );
    return () => {
      gone = true;
    };
  }, [tries]);
  useEffect(() => {
    if (part !== null && part !== "failed") onShown?.();
  }, [part]);
  if (part === null) return <p class="quiet">Loading…</p>;
  if (part === "failed") {
    return (
      <p>
        This part of the page could not be fetched: there is no contact with the gateway, or it was upgraded meanwhile.{" "}
        <button type="button" onClick={() => setTries(tries + 1)}>
          Try again
        </button>{" "}
        <button type="button" onClick={() => location.reload()}>
          Reload the page
        </button>
      </p>
    );
  }
  const { Part } = part;
  return <Part {...props} />;
}

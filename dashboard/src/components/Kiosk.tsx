/** The way into and out of kiosk mode (`?kiosk=1`): no navigation, larger words, and a screen that stays on where the browser lets it. */
import { useEffect } from "preact/hooks";
import { setQuery } from "../navigation";

export function KioskButton() {
  return (
    <button type="button" onClick={() => setQuery({ kiosk: "1" }, false)}>
      Kiosk
    </button>
  );
}

/** In kiosk mode instead of the navigation; Escape leaves too. */
export function KioskLeave() {
  useEffect(() => {
    document.documentElement.classList.add("kiosk");
    const leave = (event: KeyboardEvent) => {
      if (event.key === "Escape" && !event.defaultPrevented && document.querySelector("dialog[open]") === null) setQuery({ kiosk: null });
    };
    addEventListener("keydown", leave);
    const stop = keepAwake();
    return () => {
      stop();
      removeEventListener("keydown", leave);
      document.documentElement.classList.remove("kiosk");
    };
  }, []);
  return (
    <button type="button" class="kiosk-leave" onClick={() => setQuery({ kiosk: null })}>
      Leave kiosk mode
    </button>
  );
}

/** Keeps the screen on while the page is seen. The browser lets go of it each time the page is hidden. */
function keepAwake(): () => void {
  let lock: WakeLockSentinel | null = null;
  let over = false;
  const ask = () => {
    const { wakeLock } = navigator as { wakeLock?: WakeLock };
    if (document.hidden || over || wakeLock === undefined) return;
    wakeLock.request("screen").then(
      (got) => {
        if (over) void got.release();
        else lock = got;
      },
      // Low battery, or not allowed: the screen then goes dark as it does.
      () => {},
    );
  };
  ask();
  document.addEventListener("visibilitychange", ask);
  return () => {
    over = true;
    document.removeEventListener("visibilitychange", ask);
    void lock?.release();
  };
}

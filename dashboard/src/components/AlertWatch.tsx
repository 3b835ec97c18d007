/** Switches for a sound and a notification when alerts begin: off until a person wants them, and of this browser alone. */
import { useEffect, useReducer, useState } from "preact/hooks";
import { allowSound, canSound } from "../sound";
import { remember, remembered } from "../watch";

export function AlertWatch() {
  const [watch, setWatch] = useState(remembered);
  const [refused, setRefused] = useState("");
  const [, redraw] = useReducer<number, void>((count) => count + 1, 0);
  // The first touch of the page makes sound possible.
  useEffect(() => {
    const look = () => redraw();
    const later = setTimeout(look, 500);
    addEventListener("pointerup", look);
    return () => {
      clearTimeout(later);
      removeEventListener("pointerup", look);
    };
  }, []);
  const change = (next: typeof watch) => {
    setWatch(next);
    remember(next);
  };
  const notify = async () => {
    setRefused("");
    if (watch.notification) return change({ ...watch, notification: false });
    if (typeof Notification === "undefined") return setRefused("This browser has no notifications here: they need HTTPS.");
    if ((await Notification.requestPermission()) !== "granted") return setRefused("The browser was told not to show notifications of this page.");
    change({ ...watch, notification: true });
  };
  return (
    <div class="tool-row" role="group" aria-label="When an alert begins">
      <button
        type="button"
        aria-pressed={watch.sound}
        onClick={() => {
          allowSound();
          change({ ...watch, sound: !watch.sound });
        }}
      >
        Sound
      </button>
      <button type="button" aria-pressed={watch.notification} onClick={() => void notify()}>
        Notification
      </button>
      <span class="quiet">
        {refused ||
          (watch.sound && !canSound()
            ? "The sound waits until somebody touches this page."
            : watch.sound || watch.notification
              ? "When alerts begin, also while no tab is seen."
              : "")}
      </span>
    </div>
  );
}

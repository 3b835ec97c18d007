/** What every place says of alerts: the region that says new ones, the second of the two live regions, and how many fire. */
import { useLayoutEffect, useState } from "preact/hooks";
import { Announcer } from "../announcer";
import { useStore, useTopic } from "../hooks";
import { go } from "../navigation";
import { hrefOf } from "../place";
import { ROOT } from "../root";
import { allowSound, chime } from "../sound";
import { remembered, role } from "../watch";
import { Icon } from "./Icon";

export function AlertAnnouncer() {
  const store = useStore();
  const [said, setSaid] = useState("");
  useLayoutEffect(() => {
    const announcer = new Announcer((text) => {
      setSaid(text);
      if (text !== "" && role.leads()) attract(text);
    });
    store.onFiring = (alert) => announcer.announce(alert);
    // A sound needs a touch of the page first, after each load anew.
    const touched = () => {
      if (remembered().sound) allowSound();
    };
    addEventListener("pointerdown", touched);
    addEventListener("keydown", touched);
    return () => {
      removeEventListener("pointerdown", touched);
      removeEventListener("keydown", touched);
      store.onFiring = () => {};
    };
  }, [store]);
  return (
    <div role="alert" class="unseen">
      {said}
    </div>
  );
}

/** A sound and a notification, as far as a person asked for them; once for all tabs, and as seldom as the announcer speaks. */
function attract(text: string): void {
  const { sound, notification } = remembered();
  if (sound) chime();
  if (!notification || typeof Notification === "undefined" || Notification.permission !== "granted") return;
  try {
    // The same tag: a storm of them is one on the screen.
    const shown = new Notification(document.title, { body: text, tag: "alert" });
    shown.onclick = () => {
      focus();
      go(hrefOf("alerts", ROOT));
    };
  } catch {
    // Some browsers of phones show them only from a service worker.
  }
}

/** In the header: how many fire, and the way to them. */
export function AlertCount() {
  const firing = useTopic("alerts")
    .activeAlerts()
    .filter((alert) => alert.state === "firing");
  const worst = firing[0];
  if (worst === undefined) return null;
  return (
    <a class={`count severity-${worst.severity}`} href={hrefOf("alerts", ROOT)}>
      <Icon name={worst.severity} />
      {firing.length} firing
    </a>
  );
}

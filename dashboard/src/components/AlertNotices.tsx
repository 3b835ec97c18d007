/** What every place says of alerts: the region that says new ones, the second of the two live regions, and how many fire. */
import { useLayoutEffect, useState } from "preact/hooks";
import { Announcer } from "../announcer";
import { useStore, useTopic } from "../hooks";
import { hrefOf } from "../place";
import { ROOT } from "../root";
import { Icon } from "./Icon";

export function AlertAnnouncer() {
  const store = useStore();
  const [said, setSaid] = useState("");
  useLayoutEffect(() => {
    const announcer = new Announcer(setSaid);
    store.onFiring = (alert) => announcer.announce(alert);
    return () => {
      store.onFiring = () => {};
    };
  }, [store]);
  return (
    <div role="alert" class="unseen">
      {said}
    </div>
  );
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

/**
 * Says new firing alerts to the page's alert region, which interrupts a screen reader: so at most one message
 * in five seconds, and a storm as one number.
 */
import type { Alert } from "./wire";

/** The shortest time between two messages, in milliseconds. */
export const QUIET_MS = 5_000;
/** How long a message stays, in milliseconds. Shorter than the quiet, so that each one is a change. */
export const CLEAR_MS = 4_000;

export class Announcer {
  private waiting: Alert[] = [];
  private timer: ReturnType<typeof setTimeout> | undefined;
  private clearTimer: ReturnType<typeof setTimeout> | undefined;
  private lastSaid = -Infinity;

  constructor(
    private readonly say: (text: string) => void,
    private readonly now: () => number = Date.now,
  ) {}

  announce(alert: Alert): void {
    // A storm needs no list: beyond these only the number is said.
    if (this.waiting.length < 1_000) this.waiting.push(alert);
    if (this.timer !== undefined) return;
    const wait = Math.max(0, Math.min(QUIET_MS, this.lastSaid + QUIET_MS - this.now()));
    this.timer = setTimeout(() => this.flush(), wait);
  }

  private flush(): void {
    this.timer = undefined;
    const alerts = this.waiting;
    this.waiting = [];
    this.lastSaid = this.now();
    const [only] = alerts;
    if (only === undefined) return;
    // The same words again would be no change, and nothing would be read out: so the region is emptied in between.
    clearTimeout(this.clearTimer);
    this.clearTimer = setTimeout(() => this.say(""), CLEAR_MS);
    if (alerts.length === 1) {
      this.say(`New alert, ${only.severity}: ${only.summary}`);
      return;
    }
    const critical = alerts.filter((alert) => alert.severity === "critical").length;
    const worst = alerts.find((alert) => alert.severity === "critical") ?? only;
    this.say(`${alerts.length} new alerts, ${critical} critical. ${worst.summary}`);
  }
}

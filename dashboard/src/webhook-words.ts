/** What the page says about webhooks. */
import type { ConfiguredWebhook, Trial } from "./wire";
import { numberText } from "./format";

const KINDS: Record<string, string> = {
  webhook: "HTTP",
  alertmanager_webhook: "HTTP, as Alertmanager",
  alertmanager: "Prometheus Alertmanager",
  slack: "Slack",
  teams: "Microsoft Teams",
  discord: "Discord",
  ntfy: "ntfy",
  pagerduty: "PagerDuty",
  opsgenie: "Opsgenie",
  email: "e-mail",
  mqtt: "MQTT",
};

export function kindText(kind: string): string {
  return KINDS[kind] ?? kind;
}

export type Standing = "good" | "wait" | "warning";

/** How a webhook stands: whether all is delivered, something waits, or its last try failed. */
export function standing({ status }: ConfiguredWebhook): { icon: Standing; words: string } {
  if (status === null) return { icon: "wait", words: "not known" };
  const counts = [
    status.delivered > 0 ? `${numberText(status.delivered)} delivered` : "",
    status.waiting > 0 ? `${numberText(status.waiting)} waiting` : "",
    status.held > 0 ? `${numberText(status.held)} held by silences` : "",
    status.given_up > 0 ? `${numberText(status.given_up)} given up` : "",
  ].filter(Boolean);
  const words = counts.length === 0 ? "nothing sent yet" : counts.join(", ");
  if (status.last_error !== null) return { icon: "warning", words };
  return { icon: status.waiting > 0 ? "wait" : "good", words };
}

/** What came of a test, in a sentence. */
export function trialText(trial: Trial): string {
  const answer = trial.status ?? "no answer";
  const took = `${numberText(trial.took_ms)} ms`;
  const begin = trial.delivered ? `Test delivered to ${trial.webhook}` : `Test not delivered to ${trial.webhook}`;
  const why = trial.delivered || trial.error === null || trial.status !== null ? "" : ` (${trial.error})`;
  return `${begin}: ${answer} after ${took}${why}.`;
}

import { describe, expect, it } from "vitest";
import { kindText, standing, trialText } from "../src/webhook-words";
import type { Trial, ConfiguredWebhook } from "../src/wire";

const status = { waiting: 0, held: 0, delivered: 0, given_up: 0, last_error: null };
const webhook = (changed: Partial<ConfiguredWebhook["status"] & object>): ConfiguredWebhook => ({
  name: "ops",
  kind: "slack",
  url: "https://h/…",
  status: { ...status, ...changed },
});

describe("how a webhook stands", () => {
  it("is good when all is delivered, and waits when something does", () => {
    expect(standing(webhook({}))).toEqual({ icon: "good", words: "nothing sent yet" });
    expect(standing(webhook({ delivered: 3 }))).toEqual({ icon: "good", words: "3 delivered" });
    expect(standing(webhook({ delivered: 3, waiting: 2, held: 1 }))).toEqual({
      icon: "wait",
      words: "3 delivered, 2 waiting, 1 held by silences",
    });
  });
  it("is a warning when the last try failed, and not known while the state can't be read", () => {
    expect(standing(webhook({ given_up: 1, last_error: "no" }))).toEqual({ icon: "warning", words: "1 given up" });
    expect(standing({ ...webhook({}), status: null })).toEqual({ icon: "wait", words: "not known" });
  });
  it("has a name for each kind, and shows one that it does not know", () => {
    expect(kindText("pagerduty")).toBe("PagerDuty");
    expect(kindText("pigeon")).toBe("pigeon");
  });
});

describe("what came of a test", () => {
  const trial: Trial = { webhook: "ops", kind: "slack", delivered: true, status: "200 OK", body: "ok", error: null, took_ms: 12 };
  it("is the receiver's own answer and how long it took", () => {
    expect(trialText(trial)).toBe("Test delivered to ops: 200 OK after 12 ms.");
    expect(trialText({ ...trial, delivered: false, status: "403 Forbidden", error: "the receiver answered 403" })).toBe(
      "Test not delivered to ops: 403 Forbidden after 12 ms.",
    );
  });
  it("says why when there was no answer", () => {
    expect(trialText({ ...trial, delivered: false, status: null, error: "connection refused" })).toBe(
      "Test not delivered to ops: no answer after 12 ms (connection refused).",
    );
  });
});

/** Who hears of alerts, how that goes, and a test for each. */
import type { RefObject } from "preact";
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { fetchWebhooks, testWebhook } from "../api";
import { kindText, standing, trialText } from "../webhook-words";
import type { ConfiguredWebhook, Trial } from "../wire";
import { Icon } from "./Icon";

const REFRESH_MS = 15_000;

export function Webhooks({ active }: { active: boolean }) {
  const { webhooks, refresh } = useWebhooks(active);
  const [testing, setTesting] = useState<string | null>(null);
  const [outcome, setOutcome] = useState<Trial | string | null>(null);
  const result = useRef<HTMLParagraphElement>(null);
  // The answer gets the focus, so that it is read out without a further live region.
  useEffect(() => {
    if (outcome !== null) result.current?.focus();
  }, [outcome]);
  if (webhooks.length === 0) return null;

  const test = (name: string) => {
    if (testing !== null) return;
    setTesting(name);
    setOutcome(null);
    testWebhook(name)
      .then(setOutcome, (error: unknown) => setOutcome(error instanceof Error ? error.message : String(error)))
      .then(() => {
        setTesting(null);
        refresh();
      });
  };

  return (
    <section class="letters" aria-labelledby="webhooks-title">
      <h3 id="webhooks-title">Webhooks</h3>
      {outcome !== null && <Outcome outcome={outcome} focus={result} />}
      <div class="scroll" role="region" aria-label="Webhooks" tabIndex={0}>
        <table>
          <thead>
            <tr>
              {["Webhook", "Deliveries", "Last error", "Test"].map((word) => (
                <th scope="col" key={word}>
                  {word}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {webhooks.map((webhook) => (
              <Row key={webhook.name} webhook={webhook} busy={testing === webhook.name} test={test} />
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

function Outcome({ outcome, focus }: { outcome: Trial | string; focus: RefObject<HTMLParagraphElement | null> }) {
  const failed = typeof outcome === "string" || !outcome.delivered;
  return (
    <div class="trial">
      <p ref={focus} tabIndex={-1}>
        <Icon name={failed ? "warning" : "good"} />
        {typeof outcome === "string" ? outcome : trialText(outcome)}
      </p>
      {typeof outcome !== "string" && outcome.body !== "" && <pre>{outcome.body}</pre>}
    </div>
  );
}

function Row({ webhook, busy, test }: { webhook: ConfiguredWebhook; busy: boolean; test: (name: string) => void }) {
  const { icon, words } = standing(webhook);
  return (
    <tr>
      <th scope="row">
        {webhook.name}
        <span class="quiet">
          {" "}
          {kindText(webhook.kind)}, {webhook.url}
        </span>
      </th>
      <td>
        <Icon name={icon} /> {words}
      </td>
      <td class="detail">{webhook.status?.last_error ?? ""}</td>
      <td>
        <button type="button" data-operate aria-disabled={busy} aria-label={`Send a test to ${webhook.name}`} onClick={() => test(webhook.name)}>
          {busy ? "Sending…" : "Send a test"}
        </button>
      </td>
    </tr>
  );
}

/** `GET /api/v1/webhooks`, again and again while `active`; the last answer stays when one fails. */
function useWebhooks(active: boolean): { webhooks: ConfiguredWebhook[]; refresh: () => void } {
  const [webhooks, setWebhooks] = useState<ConfiguredWebhook[]>([]);
  const [asked, setAsked] = useState(0);
  const refresh = useCallback(() => setAsked((times) => times + 1), []);
  useEffect(() => {
    if (!active) return undefined;
    const aborter = new AbortController();
    const ask = () => {
      if (!document.hidden) fetchWebhooks(aborter.signal).then(setWebhooks, () => {});
    };
    ask();
    const timer = setInterval(ask, REFRESH_MS);
    return () => {
      clearInterval(timer);
      aborter.abort();
    };
  }, [active, asked]);
  return { webhooks, refresh };
}

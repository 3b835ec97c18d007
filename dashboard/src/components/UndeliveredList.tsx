/** Deliveries to webhooks that were given up: to look at, to send again as they are or put right, to discard. */
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { discardDeliveries, fetchUndelivered, Refused, replayDeliveries } from "../api";
import { fullTimeText, isoTime, numberText, timeText } from "../format";
import type { Undelivered, UndeliveredList as List } from "../wire";
import { Dialog } from "./Dialog";
import { Icon } from "./Icon";

/** Rows shown; the API has the others. */
const SHOWN = 50;

/** What is asked before it is done; `null` for all of them. */
type Question = { what: "again" | "change" | "discard"; letter: Undelivered | null };

export function UndeliveredList({ count, active, now }: { count: number; active: boolean; now: number }) {
  const { list, refresh } = useUndelivered(count, active);
  const [question, setQuestion] = useState<Question | null>(null);
  const title = useRef<HTMLHeadingElement>(null);
  const total = list?.total ?? 0;
  if (list === null || (total === 0 && question === null)) return null;

  const close = (done: boolean) => {
    setQuestion(null);
    if (!done) return;
    // The row that was acted on goes, and with it the focus: it goes on at the heading, which says how many are left.
    title.current?.focus();
    refresh();
  };

  return (
    <section class="letters" aria-labelledby="undelivered-title">
      <h3 id="undelivered-title" ref={title} tabIndex={-1}>
        <Icon name="warning" />
        {numberText(total)} {total === 1 ? "message" : "messages"} not delivered
      </h3>
      <p class="letters-actions">
        <button type="button" data-operate onClick={() => setQuestion({ what: "again", letter: null })}>
          Send all again…
        </button>
        <button type="button" data-operate onClick={() => setQuestion({ what: "discard", letter: null })}>
          Discard all…
        </button>
      </p>
      <div class="scroll" role="region" aria-label="Messages not delivered" tabIndex={0}>
        <table>
          <thead>
            <tr>
              {["Message", "Webhook", "Given up", "Why", "Actions"].map((word) => (
                <th scope="col" key={word}>
                  {word}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {list.dead_letters.map((letter) => (
              <Row key={letter.number} letter={letter} now={now} ask={(what) => setQuestion({ what, letter })} />
            ))}
          </tbody>
        </table>
      </div>
      {total > list.dead_letters.length && <p>The newest {numberText(list.dead_letters.length)} are shown.</p>}
      {question !== null && <Asked question={question} total={total} onClose={close} />}
    </section>
  );
}

function Row({ letter, now, ask }: { letter: Undelivered; now: number; ask: (what: Question["what"]) => void }) {
  const name = nameOf(letter);
  return (
    <tr>
      <th scope="row">{name}</th>
      <td>{letter.webhook}</td>
      <td>
        <time dateTime={isoTime(letter.given_up_ms)} title={fullTimeText(letter.given_up_ms)}>
          {timeText(letter.given_up_ms, now)}
        </time>
        <span class="quiet"> after {letter.tries === 1 ? "one try" : `${numberText(letter.tries)} tries`}</span>
      </td>
      <td class="detail">{letter.error}</td>
      <td class="letter-actions">
        <button type="button" data-operate aria-label={`Send again: ${name}`} onClick={() => ask("again")}>
          Send again…
        </button>
        <button type="button" data-operate aria-label={`Change and send: ${name}`} onClick={() => ask("change")}>
          Change…
        </button>
        <button type="button" data-operate aria-label={`Discard: ${name}`} onClick={() => ask("discard")}>
          Discard…
        </button>
      </td>
    </tr>
  );
}

interface AskedProps {
  question: Question;
  total: number;
  onClose: (done: boolean) => void;
}

function Asked({ question: { what, letter }, total, onClose }: AskedProps) {
  const [text, setText] = useState(() => JSON.stringify(letter?.message, null, 2));
  const [done, setDone] = useState(false);
  const which = letter === null ? `all ${numberText(total)}` : nameOf(letter);
  const submit = async (by: string) => {
    if (what === "discard") await discardDeliveries(letter?.number ?? null, by);
    else await replayDeliveries(letter?.number ?? null, by, what === "change" ? parsed(text) : undefined);
    setDone(true);
  };
  const words = {
    again: ["Send again", `Send again: ${which}`],
    change: ["Send this", `Change and send: ${which}`],
    discard: ["Discard for good", `Discard: ${which}`],
  }[what];
  return (
    <Dialog title={words[1] ?? ""} action={words[0] ?? ""} onSubmit={submit} onClose={() => onClose(done)}>
      {what === "change" && (
        <label>
          The message
          <textarea
            name="message"
            rows={12}
            spellcheck={false}
            autocapitalize="off"
            value={text}
            onInput={(event) => setText(event.currentTarget.value)}
          />
        </label>
      )}
    </Dialog>
  );
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Refused(`This is not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** `too hot: boiler/temperature, firing`, or how many alerts a group has. */
function nameOf({ id, message }: Undelivered): string {
  if (message.alerts !== undefined) return `${numberText(message.alerts.length)} alerts, ${message.event}`;
  return message.rule === undefined ? id : `${message.rule}: ${message.series}, ${message.event}`;
}

/** The list, asked for anew when their number changes; the last answer stays when one fails. */
function useUndelivered(count: number, active: boolean): { list: List | null; refresh: () => void } {
  const [list, setList] = useState<List | null>(null);
  const [asked, setAsked] = useState(0);
  const refresh = useCallback(() => setAsked((times) => times + 1), []);
  useEffect(() => {
    if (!active) return undefined;
    const aborter = new AbortController();
    fetchUndelivered(SHOWN, aborter.signal).then(setList, () => {});
    return () => aborter.abort();
  }, [active, count, asked]);
  return { list, refresh };
}

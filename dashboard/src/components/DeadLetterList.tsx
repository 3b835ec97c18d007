/** The points that InfluxDB refused for good: to look at, to have sent again, to discard. */
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { discardDeadLetters, fetchDeadLetters, replayDeadLetters } from "../api";
import { fullTimeText, isoTime, numberText, timeText } from "../format";
import type { DeadLetter, DeadLetters } from "../wire";
import { Icon } from "./Icon";

/** Rows shown; the API has the others. */
const SHOWN = 50;
/** How often is asked while letters are on their way. */
const ASK_AGAIN_MS = 1_000;

export function DeadLetterList({ count, active, now }: { count: number; active: boolean; now: number }) {
  const { list, refresh } = useDeadLetters(count, active);
  const [problem, setProblem] = useState("");
  const [confirming, setConfirming] = useState(false);
  const title = useRef<HTMLHeadingElement>(null);
  const total = list?.total ?? 0;
  if (list === null || (total === 0 && problem === "")) return null;

  // The row that was acted on goes, and with it the focus: it goes on at the heading, which says how many are left.
  const act = (work: Promise<void>) => {
    setConfirming(false);
    title.current?.focus();
    work.then(
      () => setProblem(""),
      (error: unknown) => setProblem(error instanceof Error ? error.message : String(error)),
    ).then(refresh);
  };
  const waiting = list.dead_letters.length > 0 && list.dead_letters.every((letter) => letter.replaying);

  return (
    <section class="letters" aria-labelledby="letters-title">
      <h3 id="letters-title" ref={title} tabIndex={-1}>
        <Icon name="warning" />
        {numberText(total)} {total === 1 ? "point" : "points"} refused by InfluxDB
      </h3>
      {problem !== "" && <p>That did not work: {problem}.</p>}
      {total > 0 && (
        <>
          <p class="letters-actions">
            <button type="button" data-operate disabled={waiting} onClick={() => act(replayDeadLetters(null))}>
              Send all again
            </button>
            {confirming ? (
              <>
                <button type="button" onClick={() => act(discardDeadLetters(null))}>
                  Discard all {numberText(total)} for good
                </button>
                <button type="button" onClick={() => setConfirming(false)}>
                  Keep them
                </button>
              </>
            ) : (
              <button type="button" data-operate onClick={() => setConfirming(true)}>
                Discard all…
              </button>
            )}
          </p>
          <div class="scroll" role="region" aria-label="Points refused by InfluxDB" tabIndex={0}>
            <table>
              <thead>
                <tr>
                  {["Series", "Refused", "InfluxDB said", "Point", "Actions"].map((word) => (
                    <th scope="col" key={word}>
                      {word}
                    </th>
                  ))}
                </tr>
              </thead>
              <tbody>
                {list.dead_letters.map((letter) => (
                  <Row key={letter.id} letter={letter} now={now} act={act} />
                ))}
              </tbody>
            </table>
          </div>
          {total > list.dead_letters.length && <p>The newest {numberText(list.dead_letters.length)} are shown.</p>}
        </>
      )}
    </section>
  );
}

function Row({ letter, now, act }: { letter: DeadLetter; now: number; act: (work: Promise<void>) => void }) {
  const name = letter.series.join(", ");
  return (
    <tr>
      <th scope="row">
        {name}
        <span class="quiet"> from {letter.source}</span>
      </th>
      <td>
        <time dateTime={isoTime(letter.at_ms)} title={fullTimeText(letter.at_ms)}>
          {timeText(letter.at_ms, now)}
        </time>
        {letter.refusals > 1 && <span class="quiet"> {numberText(letter.refusals)} times</span>}
      </td>
      <td class="detail">{letter.words}</td>
      <td class="detail">
        <code>{letter.line}</code>
      </td>
      <td class="letter-actions">
        {letter.replaying ? (
          <span>
            <Icon name="wait" />
            waits to be sent
          </span>
        ) : (
          <button type="button" data-operate aria-label={`Send again: ${name}`} onClick={() => act(replayDeadLetters(letter.id))}>
            Send again
          </button>
        )}
        <button type="button" data-operate aria-label={`Discard: ${name}`} onClick={() => act(discardDeadLetters(letter.id))}>
          Discard
        </button>
      </td>
    </tr>
  );
}

/** The list, asked for anew when their number changes and while some are on their way; the last answer stays when one fails. */
function useDeadLetters(count: number, active: boolean): { list: DeadLetters | null; refresh: () => void } {
  const [list, setList] = useState<DeadLetters | null>(null);
  const [asked, setAsked] = useState(0);
  const refresh = useCallback(() => setAsked((times) => times + 1), []);
  const moving = list?.dead_letters.some((letter) => letter.replaying) ?? false;
  useEffect(() => {
    if (!active) return undefined;
    const aborter = new AbortController();
    fetchDeadLetters(SHOWN, aborter.signal).then(setList, () => {});
    const timer = moving ? setTimeout(refresh, ASK_AGAIN_MS) : undefined;
    return () => {
      clearTimeout(timer);
      aborter.abort();
    };
  }, [active, count, asked, moving, refresh]);
  return { list, refresh };
}

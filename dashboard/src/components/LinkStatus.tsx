/** The state of the link to the gateway, in words. One of the page's two live regions. */
import { timeText } from "../format";
import { useTopic } from "../hooks";
import type { LinkState } from "../stream";
import { Icon, type IconName } from "./Icon";

// Without counters: a screen reader speaks on every change of this text.
const WORDS: Record<LinkState, { icon: IconName; word: string }> = {
  connecting: { icon: "wait", word: "Connecting" },
  live: { icon: "good", word: "Live" },
  stale: { icon: "silent", word: "Stale" },
  down: { icon: "down", word: "Down" },
};

export function LinkStatus() {
  const { link } = useTopic("link");
  const { icon, word } = WORDS[link];
  return (
    <div role="status" class={`link link-${link}`}>
      <Icon name={icon} />
      {word}
    </div>
  );
}

/** What a link that is not live means for the values below. */
export function LinkBanner() {
  const store = useTopic("link");
  if (store.link === "live" || store.link === "connecting") return null;
  const heard = store.heardUntil();
  const since = heard === 0 ? "" : ` since ${timeText(heard, store.now())}`;
  const message =
    store.link === "stale"
      ? `Connected, but the gateway has been silent${since}.`
      : `No contact with the gateway${since}; trying again.`;
  return (
    <p class={`banner link-${store.link}`}>
      <Icon name={store.link === "stale" ? "silent" : "down"} />
      <span>
        {message} {heard === 0 ? "" : "Values are the last known."}
      </span>
    </p>
  );
}

/** What a person asked this browser to do about alerts that begin: a sound, a notification. Off unless switched on; remembered. */

const KEY = "watch";

export interface Watch {
  sound: boolean;
  notification: boolean;
}

export function remembered(): Watch {
  try {
    const { sound, notification } = JSON.parse(localStorage.getItem(KEY) ?? "{}") as Partial<Watch>;
    return { sound: sound === true, notification: notification === true };
  } catch {
    // Nothing usable is there, or the browser forbids it.
    return { sound: false, notification: false };
  }
}

export function remember(watch: Watch): void {
  try {
    localStorage.setItem(KEY, JSON.stringify(watch));
  } catch {
    // Then it holds until the page is closed.
  }
}

/** Whether this tab is the one that makes sounds and notifications for all: the one that has the stream. */
export const role: { leads: () => boolean } = { leads: () => true };

/** Whether a tab must listen though nobody sees it. */
export function isOnWatch(): boolean {
  const { sound, notification } = remembered();
  return sound || notification;
}

/** How components listen: to topics of the store, to the second hand, to whether they can be seen. */
import { createContext, type RefObject } from "preact";
import { useContext, useEffect, useLayoutEffect, useReducer, useState } from "preact/hooks";
import type { Store, Topic } from "./store";

export const StoreContext = createContext<Store | null>(null);

export function useStore(): Store {
  const store = useContext(StoreContext);
  if (store === null) throw new Error("a component stands outside the store's provider");
  return store;
}

function useRedraw(): () => void {
  return useReducer<number, void>((count) => count + 1, 0)[1];
}

/** The store; the component is drawn again when the topic changes. `null` listens to nothing. */
export function useTopic(topic: Topic | null): Store {
  const store = useStore();
  const redraw = useRedraw();
  // In the same turn as the drawing: a change between the two would never be seen.
  useLayoutEffect(() => (topic === null ? undefined : store.subscribe(topic, redraw)), [store, topic]);
  return store;
}

const secondHand = new Set<() => void>();
let secondTimer: ReturnType<typeof setInterval> | undefined;

/** Calls `listener` once a second while the page can be seen. One timer for all. */
export function onSecond(listener: () => void): () => void {
  secondHand.add(listener);
  secondTimer ??= setInterval(() => {
    if (!document.hidden) for (const each of secondHand) each();
  }, 1_000);
  return () => {
    secondHand.delete(listener);
    if (secondHand.size === 0) {
      clearInterval(secondTimer);
      secondTimer = undefined;
    }
  };
}

/** Draws the component again once a second, while `active`. */
export function useSecond(active = true): void {
  const redraw = useRedraw();
  useEffect(() => (active ? onSecond(redraw) : undefined), [active]);
}

const watched = new WeakMap<Element, (visible: boolean) => void>();
let observer: IntersectionObserver | undefined;

/** What is only scrolled past is not in view yet, in milliseconds. */
const LINGER_MS = 120;

/** Whether the element is in view or nearly so, and was for a moment. One observer for all. */
export function useVisible(ref: RefObject<Element | null>): boolean {
  const [visible, setVisible] = useState(false);
  useEffect(() => {
    const element = ref.current;
    if (element === null) return undefined;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const see = (inView: boolean) => {
      clearTimeout(timer);
      if (inView) timer = setTimeout(() => setVisible(true), LINGER_MS);
      else setVisible(false);
    };
    observer ??= new IntersectionObserver(
      (entries) => {
        for (const entry of entries) watched.get(entry.target)?.(entry.isIntersecting);
      },
      { rootMargin: "200px" },
    );
    const own = observer;
    watched.set(element, see);
    own.observe(element);
    return () => {
      clearTimeout(timer);
      own.unobserve(element);
      watched.delete(element);
    };
  }, []);
  return visible;
}

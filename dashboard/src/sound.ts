/** A short sound that is made, not fetched. Browsers allow one only after a person has touched the page. */

let context: AudioContext | null = null;

/** Whether the browser would let a sound be heard now. */
export function canSound(): boolean {
  return context?.state === "running";
}

/** Makes ready; call it from a click or a key. */
export function allowSound(): void {
  try {
    context ??= new AudioContext();
    void context.resume();
  } catch {
    // A browser without sound.
  }
}

/** Two tones, half a second in all. */
export function chime(): void {
  if (context === null || context.state !== "running") return;
  const start = context.currentTime;
  [660, 880].forEach((frequency, at) => {
    if (context === null) return;
    const [tone, volume] = [context.createOscillator(), context.createGain()];
    const from = start + at * 0.22;
    tone.frequency.value = frequency;
    volume.gain.setValueAtTime(0.0001, from);
    volume.gain.exponentialRampToValueAtTime(0.25, from + 0.02);
    volume.gain.exponentialRampToValueAtTime(0.0001, from + 0.22);
    tone.connect(volume).connect(context.destination);
    tone.start(from);
    tone.stop(from + 0.25);
  });
}

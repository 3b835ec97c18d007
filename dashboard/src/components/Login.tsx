/** What stands before the page where people log in: name and password, or the first admin; and in the header who is logged in. */
import type { ComponentChildren } from "preact";
import { useEffect, useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import { currentSession, logIn, logOut, onSession, type Session, setUp } from "../session";

const MIN_PASSWORD = 10;

function useSession(): Session {
  const [session, setSession] = useState(currentSession);
  // In the same turn as the drawing: a change between the two would never be seen.
  useLayoutEffect(() => onSession(() => setSession(currentSession())), []);
  return session;
}

/** Shows the page to those who may see it. */
export function Gate({ children }: { children: ComponentChildren }) {
  const session = useSession();
  if (session.state === "in") return <>{children}</>;
  return session.setup === null ? <LogIn /> : <SetUp token={session.setup} />;
}

/** Who is logged in, and the way out; nothing where nobody has to. */
export function Who() {
  const session = useSession();
  const [busy, setBusy] = useState(false);
  if (session.state !== "in" || session.me.name === null) return null;
  const leave = () => {
    setBusy(true);
    void logOut();
  };
  return (
    <span class="who">
      <span title={session.me.role}>{session.me.name}</span>
      <button type="button" disabled={busy} onClick={leave}>
        Sign out
      </button>
    </span>
  );
}

function LogIn() {
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  return (
    <Entrance title="Log in" action="Log in" onSubmit={() => logIn(name.trim(), password)}>
      <Name value={name} onInput={setName} />
      <Password label="Password" autocomplete="current-password" value={password} onInput={setPassword} />
    </Entrance>
  );
}

function SetUp({ token }: { token: string }) {
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  const [again, setAgain] = useState("");
  const submit = () => {
    if (password !== again) return Promise.reject(new Error("The two passwords are not the same."));
    return setUp(token, name.trim(), password);
  };
  return (
    <Entrance title="Make the first admin" action="Make it" onSubmit={submit}>
      <p class="quiet">The admin says who else may see and change what.</p>
      <Name value={name} onInput={setName} />
      <Password
        label={`Password, at least ${MIN_PASSWORD} characters`}
        autocomplete="new-password"
        minLength={MIN_PASSWORD}
        value={password}
        onInput={setPassword}
      />
      <Password label="The same password again" autocomplete="new-password" value={again} onInput={setAgain} />
    </Entrance>
  );
}

interface EntranceProps {
  title: string;
  action: string;
  /** A refusal is an error whose message is for people. */
  onSubmit: () => Promise<void>;
  children: ComponentChildren;
}

function Entrance({ title, action, onSubmit, children }: EntranceProps) {
  const error = useRef<HTMLParagraphElement>(null);
  const form = useRef<HTMLFormElement>(null);
  const id = useId();
  const [refusal, setRefusal] = useState("");
  const [busy, setBusy] = useState(false);
  useEffect(() => form.current?.querySelector("input")?.focus(), []);
  useEffect(() => {
    if (refusal !== "") error.current?.focus();
  }, [refusal]);
  const submit = async (event: Event) => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    setRefusal("");
    try {
      await onSubmit();
    } catch (failure) {
      setRefusal(failure instanceof Error ? failure.message : String(failure));
      setBusy(false);
    }
  };
  return (
    <main class="entrance">
      <h1>Sensor gateway</h1>
      <form ref={form} aria-labelledby={`${id}-title`} onSubmit={(event) => void submit(event)}>
        <h2 id={`${id}-title`}>{title}</h2>
        {children}
        {refusal !== "" && (
          <p ref={error} class="refusal" tabIndex={-1}>
            {refusal}
          </p>
        )}
        <button type="submit" class="primary" disabled={busy}>
          {action}
        </button>
      </form>
    </main>
  );
}

function Name({ value, onInput }: { value: string; onInput: (name: string) => void }) {
  return (
    <label>
      Name
      <input
        type="text"
        name="username"
        autocomplete="username"
        autocapitalize="none"
        spellcheck={false}
        required
        maxLength={64}
        value={value}
        onInput={(event) => onInput(event.currentTarget.value)}
      />
    </label>
  );
}

interface PasswordProps {
  label: string;
  autocomplete: "current-password" | "new-password";
  minLength?: number;
  value: string;
  onInput: (password: string) => void;
}

function Password({ label, autocomplete, minLength, value, onInput }: PasswordProps) {
  return (
    <label>
      {label}
      <input
        type="password"
        name={autocomplete}
        autocomplete={autocomplete}
        required
        minLength={minLength}
        maxLength={256}
        value={value}
        onInput={(event) => onInput(event.currentTarget.value)}
      />
    </label>
  );
}

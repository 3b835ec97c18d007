/**
 * A real gateway, and the door that a page goes through to it.
 *
 * The gateway is the binary that GATEWAY_BIN names, run as `gateway demo` or with a config of the spec's own. The door is a TCP relay in front of it
 * that keeps one address for the page, and can cut connections or answer 503 as a proxy does.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** How long a gateway may take until it is ready, and to stop, in milliseconds. */
const START_MS = 30_000;
const STOP_MS = 15_000;

export class Gateway {
  private child: ChildProcess | null = null;
  private log = "";

  private constructor(
    private readonly binary: string,
    readonly port: number,
    private readonly dataDir: string,
    private readonly config: string | null,
  ) {}

  /** Starts one on a free port with fresh data and waits until it is ready: the demo, or one with this config. */
  static async start(config: string | null = null): Promise<Gateway> {
    const binary = process.env["GATEWAY_BIN"];
    if (binary === undefined || binary === "") {
      throw new Error("GATEWAY_BIN is not set: build the gateway and name its binary, as in GATEWAY_BIN=$PWD/../target/debug/gateway");
    }
    const dataDir = await mkdtemp(join(tmpdir(), "gateway-page-"));
    const gateway = new Gateway(binary, await freePort(), dataDir, config);
    await gateway.run();
    return gateway;
  }

  /** One that runs for as long as it is used. */
  static async during(config: string | null, use: (gateway: Gateway) => Promise<void>): Promise<void> {
    const gateway = await Gateway.start(config);
    await use(gateway);
    await gateway.remove();
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Runs the binary on the same port and data as before. */
  async run(): Promise<void> {
    this.log = "";
    const child = spawn(this.binary, await this.command(), { stdio: ["ignore", "pipe", "pipe"] });
    const keep = (bytes: Buffer) => {
      this.log = (this.log + bytes.toString()).slice(-20_000);
    };
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    let failure: string | null = null;
    child.on("error", (error) => (failure = error.message));
    child.on("exit", (code, signal) => (failure = `it ended with ${code ?? signal}`));
    this.child = child;

    const deadline = Date.now() + START_MS;
    let state = "it does not answer";
    while (Date.now() < deadline && failure === null) {
      const answer = await fetch(`${this.url}/readyz`).catch(() => null);
      if (answer?.ok) return;
      if (answer !== null) state = `readyz says ${answer.status}: ${await answer.text()}`;
      await new Promise((go) => setTimeout(go, 50));
    }
    await this.kill();
    throw new Error(`the gateway did not become ready: ${failure ?? state}\n${this.log}`);
  }

  private async command(): Promise<string[]> {
    const address = `127.0.0.1:${this.port}`;
    if (this.config === null) return ["demo", "--listen", address, "--data-dir", this.dataDir];
    const file = join(this.dataDir, "gateway.toml");
    await writeFile(file, `data_dir = "data"\n[http]\nlisten = "${address}"\n${this.config}`);
    return ["run", "--config", file];
  }

  /** The secret of the link with which the first admin is made, out of the log. */
  setupSecret(): string {
    const secret = /#setup=([\w-]+)/.exec(this.log)?.[1];
    if (secret === undefined) throw new Error(`there is no link in the log:\n${this.log}`);
    return secret;
  }

  /** As a power cut: no chance to say anything. */
  async kill(): Promise<void> {
    await this.end("SIGKILL");
  }

  /** Stops in order; kills what does not. */
  async stop(): Promise<void> {
    const timer = setTimeout(() => this.child?.kill("SIGKILL"), STOP_MS);
    await this.end("SIGTERM");
    clearTimeout(timer);
  }

  /** Stops it and deletes its data. */
  async remove(): Promise<void> {
    await this.stop();
    await rm(this.dataDir, { recursive: true, force: true });
  }

  /** Silent but connected, as when a machine hangs. */
  suspend(): void {
    this.child?.kill("SIGSTOP");
  }

  wake(): void {
    this.child?.kill("SIGCONT");
  }

  private async end(signal: NodeJS.Signals): Promise<void> {
    const child = this.child;
    this.child = null;
    if (child === null || child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
    const ended = once(child, "exit");
    child.kill("SIGCONT");
    child.kill(signal);
    await ended;
  }
}

export class Door {
  private readonly sockets = new Set<net.Socket>();
  private unavailable = false;

  private constructor(
    private readonly server: net.Server,
    readonly url: string,
  ) {}

  static async open(gatewayPort: number): Promise<Door> {
    const server = net.createServer();
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const door = new Door(server, `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`);
    server.on("connection", (client) => door.admit(client, gatewayPort));
    return door;
  }

  /** Cuts every connection that is open now. */
  cut(): void {
    for (const socket of this.sockets) socket.destroy();
  }

  /** From now on every request is answered 503, as by a proxy whose gateway is away. */
  refuse(): void {
    this.unavailable = true;
    this.cut();
  }

  /** The way is free again. */
  admitAll(): void {
    this.unavailable = false;
  }

  async close(): Promise<void> {
    this.cut();
    this.server.close();
    await once(this.server, "close");
  }

  private admit(client: net.Socket, gatewayPort: number): void {
    this.keep(client);
    if (this.unavailable) {
      client.once("data", () =>
        client.end("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
      );
      return;
    }
    const gateway = net.connect(gatewayPort, "127.0.0.1");
    this.keep(gateway);
    client.pipe(gateway).pipe(client);
    client.on("close", () => gateway.destroy());
    gateway.on("close", () => client.destroy());
  }

  private keep(socket: net.Socket): void {
    this.sockets.add(socket);
    // Connections that break are what this is for; `close` follows.
    socket.on("error", () => {});
    socket.on("close", () => this.sockets.delete(socket));
  }
}

export async function freePort(): Promise<number> {
  const server = net.createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

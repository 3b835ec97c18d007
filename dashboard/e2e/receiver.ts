/** Servers that a gateway sends to: a spec says what such a one answers, and what it keeps. */
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

export interface Answer {
  status: number;
  words?: string;
}

export abstract class Receiver {
  private readonly server = createServer((request, answer) => {
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("end", () => {
      const { status, words } = this.hear(request.url ?? "", Buffer.concat(parts));
      answer.writeHead(status).end(words);
    });
  });

  /** What came, and what is said to it. */
  protected abstract hear(path: string, body: Buffer): Answer;

  /** Listens for as long as it is used. */
  async during(use: (receiver: this) => Promise<void>): Promise<void> {
    this.server.listen(0, "127.0.0.1");
    await once(this.server, "listening");
    await use(this);
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, "close");
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }
}

import { GatewayError } from "./errors.js";
import { Outage, sleep } from "./retries.js";
import { readEvents, type ServerEvent } from "./sse.js";
import { type Transport, translated } from "./transport.js";
import type { Task } from "./types.js";

/** A stream that is silent for so long is dead: the gateway sends a heartbeat every 15 s. */
const QUIET_MS = 60_000;
/** Tasks of which a stream remembers what it told; beyond it, the longest untouched are forgotten. */
const MOST_REMEMBERED = 10_000;
/** The pause before a new connection after one that brought nothing, unless the gateway says another. */
const RECONNECT_MS = 1_000;

/** Options of a stream. */
export interface StreamOptions {
  /** Where to begin: the `position` of an earlier stream. */
  position?: string | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * The tasks of a stream, each version once. It reconnects by itself, and resumes where it was cut; an outage that is
 * longer than the retries allow throws a `GatewayError`, other errors (a revoked key) are thrown at once.
 */
export class TaskStream implements AsyncIterable<Task> {
  /** Up to where everything was told: give it to another stream to go on from there. */
  position: string | undefined;
  private readonly seen = new Map<string, number>();

  constructor(
    private readonly transport: Transport,
    private readonly path: string,
    private readonly options: StreamOptions = {},
  ) {
    this.position = options.position;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Task, void, void> {
    let outage: Outage | undefined;
    let pauseMs = RECONNECT_MS;
    for (;;) {
      let brought = false;
      let isOpen = false;
      try {
        for await (const event of this.connection(() => (isOpen = true))) {
          if (event === "ended") return;
          outage = undefined;
          const task = taskIn(event);
          const isNew = task !== undefined && this.isNew(task);
          if (isNew) {
            brought = true;
            yield task;
          }
          this.position = event.id ?? this.position;
          pauseMs = event.retryMs ?? pauseMs;
        }
      } catch (error) {
        if (!(error instanceof GatewayError && error.passes)) throw error;
        if (!isOpen) {
          outage ??= new Outage(this.transport.connection.retries);
          await outage.pause(error, this.options.signal);
          continue;
        }
      }
      // A stream that ended after it told something may have ended for good: that is asked at once.
      if (!brought) await sleep(pauseMs * (1 + Math.random() / 2), this.options.signal);
    }
  }

  private async *connection(opened: () => void): AsyncGenerator<ServerEvent | "ended", void, void> {
    const quiet = new AbortController();
    const callers = this.options.signal;
    const signal = callers === undefined ? quiet.signal : AbortSignal.any([quiet.signal, callers]);
    const headers: Record<string, string> = { Accept: "text/event-stream" };
    if (this.position !== undefined) headers["Last-Event-ID"] = this.position;
    try {
      const answer = await this.transport.open(this.path, headers, signal);
      opened();
      if (answer.status === 204) yield "ended";
      else yield* readEvents(watched(answer, quiet, callers));
    } finally {
      quiet.abort();
    }
  }

  /** Whether it is newer than all before; it counts as told from now on. */
  private isNew(task: Task): boolean {
    if (task.version <= (this.seen.get(task.id) ?? 0)) return false;
    this.seen.delete(task.id);
    this.seen.set(task.id, task.version);
    const [oldest] = this.seen.keys();
    if (this.seen.size > MOST_REMEMBERED && oldest !== undefined) this.seen.delete(oldest);
    return true;
  }
}

/** The chunks of a body, which is given up when nothing comes for long. */
async function* watched(
  answer: Response,
  quiet: AbortController,
  callers: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, void> {
  if (!answer.headers.get("content-type")?.startsWith("text/event-stream") || answer.body === null) {
    throw new GatewayError("the answer is not an event stream", "unexpected_answer", { status: answer.status });
  }
  const reader = answer.body.getReader();
  try {
    for (;;) {
      const timer = setTimeout(() => quiet.abort(), QUIET_MS);
      try {
        const { done, value } = await reader.read();
        if (done) return;
        yield value;
      } catch (cause) {
        throw translated(cause, callers);
      } finally {
        clearTimeout(timer);
      }
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

function taskIn(event: ServerEvent): Task | undefined {
  if (event.type !== "task" || event.data === undefined) return undefined;
  try {
    return JSON.parse(event.data) as Task;
  } catch (cause) {
    throw new GatewayError("an event is not JSON", "unexpected_answer", { cause });
  }
}

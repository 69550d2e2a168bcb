import { GatewayError, WaitTimeout } from "./errors.js";
import { type StreamOptions, TaskStream } from "./follow.js";
import { RETRIES, type Retries, sleep } from "./retries.js";
import { type Call, pathOf, type Query, Transport } from "./transport.js";
import { hasEnded, isPlayable } from "./types.js";
import type * as api from "./types.js";

/** The gateway holds an answer no longer than this. */
const MOST_HOLD_MS = 60_000;
/** How long the gateway waits for the answer of a receiver, and for the vendor's. */
const WEBHOOK_TIMEOUT_MS = 15_000;
const VENDOR_TIMEOUT_MS = 20_000;
/** What an upload is sent at, at least: 128 KB a second. */
const SLOW_LINE_BYTES_PER_MS = 131;
const PAUSE_MS = 500;

/** How to reach a gateway; what is left out is as usual. */
export interface GatewayOptions {
  /** As in `http://gateway.internal:8000`. */
  url: string;
  apiKey: string;
  /** The time of one attempt of a call: 10 s. */
  timeoutMs?: number;
  /** When a call is repeated: for 60 s, from 250 ms up to 5 s apart. */
  retries?: Partial<Retries>;
  /** Instead of the platform's `fetch`: for an agent, a proxy, an authority of your own. */
  fetch?: typeof fetch;
}

export interface CallOptions {
  signal?: AbortSignal | undefined;
}

export interface SubmitOptions extends CallOptions {
  /**
   * 1 to 255 ASCII characters, for a submission that may be repeated by another process or after a restart; without
   * it, one is made for this call.
   */
  idempotencyKey?: string | undefined;
}

export interface WaitOptions extends CallOptions {
  /** `playable`: as soon as there is something to play. */
  until?: "playable" | "final";
  /** How long at most; without it, for ever. */
  timeoutMs?: number | undefined;
}

export interface ListOptions extends CallOptions {
  /** How many are read at a time: up to 200. */
  pageSize?: number | undefined;
}

interface Page<One> {
  data: One[];
  next_cursor: string | null;
}

/**
 * The gateway as one of its clients sees it. Every call is repeated while the gateway cannot be reached, does not
 * answer in time or says 429, 502, 503 or 504; all of them may arrive twice without harm. Every call throws
 * `GatewayError`.
 */
export class GatewayClient {
  private readonly transport: Transport;

  constructor(options: GatewayOptions) {
    this.transport = new Transport({
      url: options.url,
      apiKey: options.apiKey,
      timeoutMs: options.timeoutMs ?? 10_000,
      retries: { ...RETRIES, ...options.retries },
      fetch: options.fetch ?? ((input, init) => globalThis.fetch(input, init)),
    });
  }

  /** Submits a task; it is durable when this returns, and made once however often the call is repeated. */
  createTask(task: api.TaskRequest, options: SubmitOptions = {}): Promise<api.Task> {
    return this.post("/v1/tasks", options, { body: task, idempotencyKey: keyOf(options) });
  }

  /** Submits up to 100 tasks, all or none; the tasks in their order. */
  async createTasks(tasks: readonly api.TaskRequest[], options: SubmitOptions = {}): Promise<api.Task[]> {
    const call = { body: { tasks }, idempotencyKey: keyOf(options) };
    const page = await this.post<Page<api.Task>>("/v1/tasks/batch", options, call);
    return page.data;
  }

  getTask(taskId: string, options: CallOptions = {}): Promise<api.Task> {
    return this.get(pathOf`/v1/tasks/${taskId}`, options);
  }

  /** The task that holds an item of the vendor's. */
  getTaskOfItem(itemId: string, options: CallOptions = {}): Promise<api.Task> {
    return this.get(pathOf`/v1/items/${itemId}`, options);
  }

  /**
   * The task as soon as it has ended or, with `until: "playable"`, can be played. It lives through restarts of the
   * gateway. Throws `WaitTimeout` after `timeoutMs`.
   */
  async waitForTask(taskId: string, options: WaitOptions = {}): Promise<api.Task> {
    const until = options.until ?? "final";
    const end = options.timeoutMs === undefined ? Infinity : performance.now() + options.timeoutMs;
    let task: api.Task | undefined;
    for (;;) {
      const holdMs = Math.min(MOST_HOLD_MS, Math.max(0, end - performance.now()));
      const query = { wait: (holdMs / 1000).toFixed(3), until };
      try {
        task = await this.transport.json<api.Task>("GET", pathOf`/v1/tasks/${taskId}`, { ...options, query, holdMs });
        if (hasEnded(task) || (until === "playable" && isPlayable(task))) return task;
      } catch (error) {
        if (!(error instanceof GatewayError && error.passes) || performance.now() < end) throw error;
      }
      if (performance.now() >= end) {
        const state = task === undefined ? "it could not be read" : `it is ${task.status}`;
        throw new WaitTimeout(`task ${taskId} is not ${until} after ${options.timeoutMs} ms: ${state}`, task);
      }
      // A gateway that is about to stop answers at once.
      await sleep(PAUSE_MS, options.signal);
    }
  }

  /** Tasks, newest first, read page by page as they are asked for. */
  listTasks(filters: api.TaskFilters = {}, options: ListOptions = {}): AsyncGenerator<api.Task, void, void> {
    return this.pages("/v1/tasks", filters, options);
  }

  /** Tasks without lyrics and `vendor`, newest first: most of what a song weighs is left out. */
  listTaskSummaries(
    filters: api.TaskFilters = {},
    options: ListOptions = {},
  ): AsyncGenerator<api.TaskSummary, void, void> {
    return this.pages("/v1/tasks", { ...filters, view: "summary" }, options);
  }

  /**
   * A result file, as the answer of `fetch`: read its `body` to the end, or cancel it. In one attempt; where the
   * gateway keeps no copy, the vendor's link is followed, without the API key. `member`: of a kept zip, only the file
   * of this path; `range`: as in `bytes=0-1023`.
   */
  getArtifact(
    itemId: string,
    name: api.ArtifactName,
    options: CallOptions & { member?: string | undefined; range?: string | undefined } = {},
  ): Promise<Response> {
    const { member, range, signal } = options;
    const within = member === undefined ? "" : `/members/${member.split("/").map(encodeURIComponent).join("/")}`;
    const headers: Record<string, string> = range === undefined ? {} : { Range: range };
    const path = pathOf`/v1/items/${itemId}/artifacts/${name}` + within;
    return this.transport.open(path, headers, signal ?? new AbortController().signal);
  }

  /** What is in a kept zip (`stems`, `midi`). */
  async listArtifactMembers(
    itemId: string,
    name: api.ArtifactName,
    options: CallOptions = {},
  ): Promise<api.ZipMember[]> {
    const page: Page<api.ZipMember> = await this.get(pathOf`/v1/items/${itemId}/artifacts/${name}/members`, options);
    return page.data;
  }

  /** The aligned lyrics of an item as the text of a subtitle file. */
  getLyrics(itemId: string, form: "lrc" | "srt" = "lrc", options: CallOptions = {}): Promise<string> {
    const path = pathOf`/v1/items/${itemId}/lyrics.` + form;
    return this.transport.json("GET", path, { isText: true, signal: options.signal });
  }

  /**
   * Hands an audio file of 50 MB at most to the gateway, for the vendor to fetch: its `url` is for `params`.
   * `mediaType`: as in `audio/mp4`, if it is not the blob's; mp3, WAV and FLAC need none. An attempt may take a second
   * longer than `timeoutMs` for each 128 KB.
   */
  createUpload(
    audio: Blob | Uint8Array<ArrayBuffer>,
    options: CallOptions & { filename?: string | undefined; mediaType?: string | undefined } = {},
  ): Promise<api.UploadedFile> {
    const query = { filename: options.filename ?? "upload" };
    const [size, itsType] = audio instanceof Blob ? [audio.size, audio.type] : [audio.byteLength, ""];
    const mediaType = options.mediaType ?? (itsType || "application/octet-stream");
    return this.post("/v1/uploads", options, { file: audio, mediaType, query, holdMs: size / SLOW_LINE_BYTES_PER_MS });
  }

  /** Everything that happened to a task, oldest first. */
  getTaskTimeline(taskId: string, options: CallOptions = {}): AsyncGenerator<api.TimelineEntry, void, void> {
    return this.pages(pathOf`/v1/tasks/${taskId}/timeline`, {}, { ...options, pageSize: 1000 });
  }

  /** Ends a task that is still queued; one that is canceled stays so. */
  async cancelTask(taskId: string, options: CallOptions = {}): Promise<api.Task> {
    try {
      return await this.post(pathOf`/v1/tasks/${taskId}/cancel`, options);
    } catch (error) {
      if (!(error instanceof GatewayError && error.code === "conflict")) throw error;
      // Perhaps it was this call that canceled it, and its first answer was lost.
      const task = await this.getTask(taskId, options);
      if (task.status === "canceled") return task;
      throw error;
    }
  }

  /** Submits an ended task again; the new task, whose `retry_of` names this one. */
  retryTask(taskId: string, options: SubmitOptions = {}): Promise<api.Task> {
    return this.post(pathOf`/v1/tasks/${taskId}/retry`, options, { idempotencyKey: keyOf(options) });
  }

  /** Has the gateway ask the vendor now; the task as it is then. */
  refreshTask(taskId: string, options: CallOptions = {}): Promise<api.Task> {
    return this.post(pathOf`/v1/tasks/${taskId}/refresh`, options);
  }

  /** The task as it is, then at each change; ends when the task has ended and nothing is still to come. */
  streamTask(taskId: string, options: StreamOptions = {}): TaskStream {
    return new TaskStream(this.transport, pathOf`/v1/tasks/${taskId}/stream`, options);
  }

  /** All of the client's tasks at each change, for ever, from now on or from a `position` of an earlier stream. */
  streamTasks(options: StreamOptions = {}): TaskStream {
    return new TaskStream(this.transport, "/v1/stream", options);
  }

  /** A ticket for a browser's `EventSource`, which sends no header: `?ticket=` opens one stream within a minute. */
  createStreamTicket(options: CallOptions = {}): Promise<api.StreamTicket> {
    return this.post("/v1/stream-tickets", options);
  }

  getAccount(options: CallOptions = {}): Promise<api.Account> {
    return this.transport.json("GET", "/v1/account", { signal: options.signal, holdMs: VENDOR_TIMEOUT_MS });
  }

  /** The client of this key. */
  getMe(options: CallOptions = {}): Promise<api.Me> {
    return this.get("/v1/me", options);
  }

  /** Changes the default webhook; a field that is left out stays as it is. */
  updateMe(change: api.MeChange, options: CallOptions = {}): Promise<api.Me> {
    return this.transport.json("PATCH", "/v1/me", { ...options, body: change });
  }

  /**
   * Makes a new webhook secret, shown this once; the old one signs beside it for a day. Not repeated: a second new
   * secret would end the old one.
   */
  rotateMyWebhookSecret(options: CallOptions = {}): Promise<api.RotatedSecret> {
    return this.once().json("POST", "/v1/me/webhook-secret", options);
  }

  /** The outbound log, newest first, read page by page. */
  listNotifications(
    filters: api.NotificationFilters = {},
    options: ListOptions = {},
  ): AsyncGenerator<api.LoggedNotification, void, void> {
    return this.pages("/v1/notifications", filters, options);
  }

  /** One notification with its body and its attempts. */
  getNotification(notificationId: string, options: CallOptions = {}): Promise<api.NotificationWithBody> {
    return this.get(pathOf`/v1/notifications/${notificationId}`, options);
  }

  /** Sends a notification again, under the same id. */
  redeliverNotification(notificationId: string, options: CallOptions = {}): Promise<api.LoggedNotification> {
    return this.post(pathOf`/v1/notifications/${notificationId}/redeliver`, options);
  }

  /** Sends dead notifications written since a time again; with `dry_run` they are only counted. */
  redeliverDeadNotifications(request: api.RedeliverRequest, options: CallOptions = {}): Promise<api.Redelivered> {
    return this.post("/v1/notifications/redeliver", options, { body: request });
  }

  /** Has the gateway post a signed `gateway.ping` to a URL, and tells what was answered. */
  testWebhook(url: string, options: CallOptions = {}): Promise<api.PingAnswer> {
    return this.post("/v1/notifications/test", options, { body: { url }, holdMs: WEBHOOK_TIMEOUT_MS });
  }

  private once(): Transport {
    return new Transport({ ...this.transport.connection, retries: { ...RETRIES, totalMs: 0 } });
  }

  private get<Answer>(path: string, options: CallOptions): Promise<Answer> {
    return this.transport.json("GET", path, { signal: options.signal });
  }

  private post<Answer>(path: string, options: CallOptions, call: Call = {}): Promise<Answer> {
    return this.transport.json("POST", path, { ...call, signal: options.signal });
  }

  private async *pages<One>(path: string, filters: Query, options: ListOptions): AsyncGenerator<One, void, void> {
    let cursor: string | null = null;
    do {
      const query: Query = { ...filters, limit: options.pageSize ?? 100, cursor };
      const page: Page<One> = await this.transport.json("GET", path, { query, signal: options.signal });
      yield* page.data;
      cursor = page.next_cursor;
    } while (cursor !== null);
  }
}

function keyOf(options: SubmitOptions): string {
  return options.idempotencyKey ?? crypto.randomUUID();
}

import { GatewayError, errorOf } from "./errors.js";
import { Outage, type Retries } from "./retries.js";

/** How to reach a gateway. */
export interface Connection {
  /** As in `http://gateway.internal:8000`. */
  url: string;
  /** The client's key; not needed where `headers` carries another permission. */
  apiKey: string;
  /** The time of one attempt of a call. */
  timeoutMs: number;
  retries: Retries;
  /** Instead of the platform's `fetch`: for an agent, a proxy, an authority of your own. */
  fetch: typeof fetch;
}

export type Query = object;
export type Method = "GET" | "POST" | "PATCH";

export interface Call {
  query?: Query;
  body?: unknown;
  /** Whether the answer is a text, and no JSON. */
  isText?: boolean;
  /** A body that is sent as it is. */
  file?: Blob | Uint8Array<ArrayBuffer>;
  /** What `file` is. */
  mediaType?: string;
  idempotencyKey?: string | undefined;
  /** How long the gateway may hold the answer. */
  holdMs?: number;
  signal?: AbortSignal | undefined;
}

/** Speaks to one gateway with one key. Every call is repeated, so each must be one that may arrive twice. */
export class Transport {
  constructor(readonly connection: Connection) {
    if (!/^https?:\/\//.test(connection.url)) throw new TypeError("the URL must begin with http:// or https://");
    if (connection.apiKey === "") throw new TypeError("the API key is empty");
    if (/^\s|\s$|\p{Cc}/u.test(connection.apiKey)) {
      throw new TypeError("the API key has a line break in it, or white space around it");
    }
  }

  /** The JSON of an answer. Throws `GatewayError`, and the signal's reason when it is aborted. */
  async json<Answer>(method: Method, path: string, call: Call = {}): Promise<Answer> {
    let outage: Outage | undefined;
    for (;;) {
      try {
        return (await this.attempt(method, path, call)) as Answer;
      } catch (error) {
        if (!(error instanceof GatewayError && error.passes)) throw error;
        outage ??= new Outage(this.connection.retries);
        await outage.pause(error, call.signal);
      }
    }
  }

  /** An answer whose body is not read yet, in one attempt. Throws as `json` does. */
  async open(path: string, headers: Record<string, string>, signal: AbortSignal): Promise<Response> {
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(), this.connection.timeoutMs);
    try {
      const answer = await this.fetch("GET", path, { headers }, AbortSignal.any([signal, late.signal]), signal);
      // To where a file is kept, without the API key: what asks for more than a plain GET is not sent elsewhere.
      const elsewhere = answer.status === 307 ? answer.headers.get("location") : null;
      if (elsewhere !== null) return await this.elsewhere(elsewhere, headers["Range"], signal);
      if (!answer.ok) throw errorOf(answer, await answer.text());
      return answer;
    } finally {
      clearTimeout(timer);
    }
  }

  private async elsewhere(url: string, range: string | undefined, signal: AbortSignal): Promise<Response> {
    try {
      const answer = await this.connection.fetch(url, { signal, headers: range === undefined ? {} : { Range: range } });
      if (answer.ok) return answer;
      await answer.body?.cancel();
      const detail = `the vendor's link was answered with HTTP ${answer.status}`;
      throw new GatewayError(detail, "unexpected_answer", { status: answer.status });
    } catch (cause) {
      throw cause instanceof GatewayError ? cause : translated(cause, signal);
    }
  }

  private async attempt(method: Method, path: string, call: Call): Promise<unknown> {
    const late = AbortSignal.timeout(Math.ceil(this.connection.timeoutMs + (call.holdMs ?? 0)));
    const signal = call.signal === undefined ? late : AbortSignal.any([late, call.signal]);
    const headers: Record<string, string> = {};
    const init: { headers: Record<string, string>; body?: BodyInit } = { headers };
    if (call.idempotencyKey !== undefined) headers["Idempotency-Key"] = call.idempotencyKey;
    if (call.file !== undefined) {
      headers["Content-Type"] = call.mediaType ?? "application/octet-stream";
      init.body = call.file;
    }
    if (call.body !== undefined) {
      headers["Content-Type"] = "application/json";
      init.body = JSON.stringify(call.body);
    }
    const answer = await this.fetch(method, path + queryOf(call.query), init, signal, call.signal);
    const text = await read(answer, call.signal);
    if (!answer.ok) throw errorOf(answer, text);
    if (call.isText) return text;
    try {
      return JSON.parse(text) as unknown;
    } catch (cause) {
      throw new GatewayError("the answer is not JSON", "unexpected_answer", { status: answer.status, cause });
    }
  }

  private async fetch(
    method: Method,
    path: string,
    init: { headers: Record<string, string>; body?: BodyInit },
    signal: AbortSignal,
    callers: AbortSignal | undefined,
  ): Promise<Response> {
    const headers = { ...init.headers, Authorization: `Bearer ${this.connection.apiKey}` };
    const url = this.connection.url.replace(/\/+$/, "") + path;
    try {
      return await this.connection.fetch(url, { ...init, method, headers, signal, redirect: "manual" });
    } catch (cause) {
      throw translated(cause, callers);
    }
  }
}

/** A path with an id in it, whatever characters it has. */
export function pathOf(parts: TemplateStringsArray, ...ids: string[]): string {
  // Dots too: a segment that consists of them would climb.
  const segments = ids.map((id) => encodeURIComponent(id).replaceAll(".", "%2E"));
  return parts.reduce((path, part, index) => path + (segments[index - 1] ?? "") + part);
}

/** What a failed `fetch` or a body that broke off means: what passes by itself becomes a `GatewayError`. */
export function translated(cause: unknown, callers: AbortSignal | undefined): unknown {
  if (callers?.aborted) return callers.reason;
  const late = cause instanceof DOMException && (cause.name === "TimeoutError" || cause.name === "AbortError");
  if (late) return new GatewayError("the gateway did not answer in time", "timed_out", { cause });
  return new GatewayError("the connection to the gateway failed", "unreachable", { cause });
}

async function read(answer: Response, callers: AbortSignal | undefined): Promise<string> {
  try {
    return await answer.text();
  } catch (cause) {
    throw translated(cause, callers);
  }
}

function queryOf(query: Query | undefined): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {})) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null) parameters.append(name, String(one));
    }
  }
  const text = parameters.toString();
  return text === "" ? "" : `?${text}`;
}

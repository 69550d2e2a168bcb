import type { ErrorCode, Fault, Task } from "./types.js";

/** Codes of errors for which there is no answer of the gateway. */
export type LocalCode = "timed_out" | "unreachable" | "unexpected_answer" | "wait_timeout";

/**
 * What went wrong in a call. `code` is stable, and what programs decide by; `status` is that of the HTTP answer,
 * undefined where there was none.
 */
export class GatewayError extends Error {
  readonly code: ErrorCode | LocalCode;
  readonly status: number | undefined;
  readonly detail: string;
  /** Each fault of a request that is not valid. */
  readonly faults: readonly Fault[];
  /** Finds the request in the gateway's log. */
  readonly requestId: string | undefined;
  /** After how many milliseconds to try again, if the gateway said so. */
  readonly retryAfterMs: number | undefined;

  constructor(
    detail: string,
    code: ErrorCode | LocalCode,
    more: {
      status?: number | undefined;
      faults?: readonly Fault[];
      requestId?: string | undefined;
      retryAfterMs?: number | undefined;
      cause?: unknown;
    } = {},
  ) {
    super(`${detail} (${code})`, more.cause === undefined ? {} : { cause: more.cause });
    this.name = "GatewayError";
    this.code = code;
    this.detail = detail;
    this.status = more.status;
    this.faults = more.faults ?? [];
    this.requestId = more.requestId;
    this.retryAfterMs = more.retryAfterMs;
  }

  /** Whether it passes by itself: the gateway was not reached, did not answer in time, or said 429, 502, 503, 504. */
  get passes(): boolean {
    if (this.status === undefined) return this.code === "timed_out" || this.code === "unreachable";
    return [429, 502, 503, 504].includes(this.status);
  }
}

/** The task is not as wanted yet. `task`: as it was last read, undefined if it could not be read at all. */
export class WaitTimeout extends GatewayError {
  readonly task: Task | undefined;

  constructor(detail: string, task: Task | undefined) {
    super(detail, "wait_timeout");
    this.name = "WaitTimeout";
    this.task = task;
  }
}

/** A message that claims to be a notification was not signed with any of the secrets, or not now. */
export class BadSignature extends Error {
  constructor(reason: string) {
    super(`the notification is not to be believed: ${reason}`);
    this.name = "BadSignature";
  }
}

/** The error that an answer tells; `body` is its text. */
export function errorOf(answer: Response, body: string): GatewayError {
  const problem = problemIn(body);
  const detail = typeof problem["detail"] === "string" ? problem["detail"] : `the answer was HTTP ${answer.status}`;
  const code = typeof problem["code"] === "string" ? (problem["code"] as ErrorCode) : "unexpected_answer";
  const faults = Array.isArray(problem["errors"]) ? (problem["errors"] as Fault[]) : [];
  return new GatewayError(detail, code, {
    status: answer.status,
    faults,
    requestId: answer.headers.get("x-request-id") ?? undefined,
    retryAfterMs: retryAfterMs(answer.headers.get("retry-after")),
  });
}

function problemIn(body: string): Record<string, unknown> {
  try {
    const found: unknown = JSON.parse(body);
    return typeof found === "object" && found !== null ? (found as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

/** Milliseconds of a `Retry-After`, which is a number of seconds or a date. */
function retryAfterMs(text: string | null): number | undefined {
  if (text === null || text.trim() === "") return undefined;
  if (/^\d+$/.test(text.trim())) return Number(text) * 1000;
  const at = Date.parse(text);
  return Number.isNaN(at) ? undefined : Math.max(0, at - Date.now());
}

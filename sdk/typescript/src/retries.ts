import type { GatewayError } from "./errors.js";

/** When a call is repeated that failed for a reason that passes: exponentially later, with jitter. */
export interface Retries {
  /** No new attempt begins later than this after the first failed; 0 turns retries off. */
  totalMs: number;
  /** The first pause at most, doubled each time up to `mostMs`. A `Retry-After` is waited first. */
  firstMs: number;
  mostMs: number;
}

export const RETRIES: Retries = { totalMs: 60_000, firstMs: 250, mostMs: 5_000 };

/** The attempts since the last success. Made at the first failure. */
export class Outage {
  private readonly end: number;
  private next: number;

  constructor(private readonly retries: Retries) {
    this.end = performance.now() + retries.totalMs;
    this.next = retries.firstMs;
  }

  /** Waits until the next attempt. Throws `error` if that would be too late. */
  async pause(error: GatewayError, signal?: AbortSignal): Promise<void> {
    const pauseMs = (error.retryAfterMs ?? 0) + this.next * (0.5 + Math.random() / 2);
    this.next = Math.min(2 * this.next, this.retries.mostMs);
    if (performance.now() + pauseMs > this.end) throw error;
    await sleep(pauseMs, signal);
  }
}

/** Resolves after some time; rejects with the signal's reason if it is aborted meanwhile. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const stop = (): void => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

import { BadSignature } from "./errors.js";
import type { WebhookEvent } from "./types.js";

/** A notification that is to be believed. `id` is the same at every attempt. */
export interface Notification {
  id: string;
  event: WebhookEvent;
}

/** Headers of a request, as `fetch`, Node and most frameworks have them. */
export type RequestHeaders = Headers | Record<string, string | string[] | undefined>;

const PREFIX = "whsec_";

/**
 * The notification in a request, if it was signed with one of the secrets (`whsec_…`; two during a rotation) within
 * the last `toleranceS` seconds, as Standard Webhooks says.
 *
 * `body`: byte for byte as it was received. The same notification may come again under the same `id`, and later than a
 * newer one: `event.data.version` orders them. Throws `BadSignature`; `TypeError` for no secret or a malformed one.
 */
export async function verifyNotification(
  body: string | Uint8Array<ArrayBuffer>,
  headers: RequestHeaders,
  secrets: string | readonly string[],
  { toleranceS = 300 }: { toleranceS?: number } = {},
): Promise<Notification> {
  const keys = await Promise.all((typeof secrets === "string" ? [secrets] : secrets).map(keyOf));
  if (keys.length === 0) throw new TypeError("at least one webhook secret is needed");
  const id = header(headers, "webhook-id");
  const timestamp = header(headers, "webhook-timestamp");
  const signatures = header(headers, "webhook-signature").split(" ");
  if (!/^\d{1,15}$/.test(timestamp)) throw new BadSignature("its timestamp is not a number");
  if (Math.abs(Date.now() / 1000 - Number(timestamp)) > toleranceS) throw new BadSignature("it is too old, or too new");
  const raw = typeof body === "string" ? new TextEncoder().encode(body) : body;
  const signed = joined(new TextEncoder().encode(`${id}.${timestamp}.`), raw);
  for (const signature of signatures) {
    const [version, text = ""] = signature.split(",", 2);
    const bytes = version === "v1" ? decoded(text) : undefined;
    if (bytes === undefined) continue;
    for (const key of keys) {
      // It compares in constant time.
      if (await crypto.subtle.verify("HMAC", key, bytes, signed)) {
        return { id, event: JSON.parse(new TextDecoder().decode(raw)) as WebhookEvent };
      }
    }
  }
  throw new BadSignature("no signature matches");
}

async function keyOf(secret: string): Promise<CryptoKey> {
  const bytes = decoded(secret.startsWith(PREFIX) ? secret.slice(PREFIX.length) : secret);
  if (bytes === undefined || bytes.length === 0) throw new TypeError("a webhook secret is whsec_ and base64");
  return crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
}

function header(headers: RequestHeaders, name: string): string {
  const found = headers instanceof Headers ? headers.get(name) : entry(headers, name);
  if (typeof found !== "string" || found === "") throw new BadSignature(`the header ${name} is missing`);
  return found;
}

function entry(headers: Record<string, string | string[] | undefined>, name: string): unknown {
  const [, value] = Object.entries(headers).find(([key]) => key.toLowerCase() === name) ?? [];
  return value;
}

function decoded(base64: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  } catch {
    return undefined;
  }
}

function joined(first: Uint8Array, second: Uint8Array): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(first.length + second.length);
  whole.set(first);
  whole.set(second, first.length);
  return whole;
}

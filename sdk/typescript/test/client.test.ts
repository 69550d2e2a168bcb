// Against a gateway that works, in front of a quick sandbox of the vendor: their address and keys are in the
// environment. WEBHOOK_PORT: where this test may listen for notifications.
import assert from "node:assert/strict";
import { createServer, type IncomingMessage, type Server } from "node:http";
import { after, before, test } from "node:test";
import { BadSignature, GatewayClient, GatewayError, type Notification, verifyNotification, WaitTimeout } from "../src/index.js";

const { GATEWAY_URL: url = "", GATEWAY_KEY: apiKey = "", WEBHOOK_SECRET: secret = "" } = process.env;
const retries = { totalMs: 5_000, firstMs: 20, mostMs: 200 };
const gateway = new GatewayClient({ url, apiKey, retries });
const SONG = { kind: "song.generate", params: { prompt: "slow pop ballad, piano", model: "tempolor-latest" } } as const;

interface Received {
  body: string;
  headers: IncomingMessage["headers"];
}

const received: Received[] = [];
let receiver: Server;
let hook = "";

before(async () => {
  receiver = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      received.push({ body: Buffer.concat(chunks).toString(), headers: request.headers });
      response.writeHead(204).end();
    });
  });
  await new Promise<void>((resolve) => receiver.listen(0, "127.0.0.1", resolve));
  const address = receiver.address();
  assert.ok(typeof address === "object" && address !== null);
  hook = `http://127.0.0.1:${address.port}/hook`;
});

after(() => receiver.close());

async function failing(promise: Promise<unknown>): Promise<GatewayError> {
  try {
    await promise;
  } catch (error) {
    assert.ok(error instanceof GatewayError, String(error));
    return error;
  }
  throw new Error("it did not fail");
}

async function all<One>(found: AsyncIterable<One>): Promise<One[]> {
  const list: One[] = [];
  for await (const one of found) list.push(one);
  return list;
}

test("a task is submitted once, waited for, and read", async () => {
  const task = await gateway.createTask({ ...SONG, reference: "order-17" }, { idempotencyKey: "order-17" });
  const again = await gateway.createTask({ ...SONG, reference: "order-17" }, { idempotencyKey: "order-17" });
  assert.equal(again.id, task.id);
  const playable = await gateway.waitForTask(task.id, { until: "playable", timeoutMs: 60_000 });
  const item = playable.items[0];
  assert.ok(item);
  assert.equal(item.artifacts.audio?.status, "ready");
  assert.match(item.artifacts.audio.url ?? "", /^http/);
  const ended = await gateway.waitForTask(task.id, { timeoutMs: 60_000 });
  assert.equal(ended.status, "succeeded");
  assert.deepEqual(await gateway.getTask(task.id), ended);
  assert.deepEqual((await gateway.getTaskOfItem(item.item_id)).id, task.id);
  assert.match(await gateway.getLyrics(item.item_id, "srt"), /-->/);
  const timeline = await all(gateway.getTaskTimeline(task.id));
  assert.equal(timeline[0]?.type, "accepted");
  assert.equal((await gateway.refreshTask(task.id)).id, task.id);
  const other = await failing(gateway.createTask({ ...SONG, reference: "else" }, { idempotencyKey: "order-17" }));
  assert.equal(other.code, "idempotency_mismatch");
  const retried = await gateway.retryTask(task.id);
  assert.equal(retried.retry_of, task.id);
});

test("many are submitted together, and listed page by page", async () => {
  const reference = "a batch";
  const made = await gateway.createTasks(Array.from({ length: 5 }, () => ({ ...SONG, reference })));
  assert.equal(made.length, 5);
  const listed = await all(gateway.listTasks({ reference }, { pageSize: 2 }));
  assert.deepEqual(listed.map((one) => one.id), made.map((one) => one.id).reverse());
  const [summary] = await all(gateway.listTaskSummaries({ reference, status: ["queued", "submitting", "running", "main_succeeded", "succeeded"] }));
  assert.ok(summary);
  assert.ok(summary.items.every((item) => !("vendor" in item)));
  const faulty = await failing(gateway.createTasks([SONG, { kind: "lyrics.generate", params: { prompt: "" } }]));
  assert.equal(faulty.code, "invalid_request");
  assert.deepEqual(faulty.faults.map((one) => one.path), ["tasks.1.params.prompt"]);
});

test("a stream tells each version once, to the end, and resumes at a position", async () => {
  const all_ = gateway.streamTasks();
  const following = all_[Symbol.asyncIterator]();
  const first = following.next();
  await new Promise((resolve) => setTimeout(resolve, 500));
  const task = await gateway.createTask(SONG);
  const shown = await all(gateway.streamTask(task.id));
  assert.deepEqual(shown.map((one) => one.version), [...new Set(shown.map((one) => one.version))].sort((a, b) => a - b));
  assert.equal(shown.at(-1)?.status, "succeeded");
  assert.ok((await first).value);
  await following.next();
  const position = all_.position;
  await following.return();
  assert.ok(position);
  for await (const one of gateway.streamTasks({ position })) {
    if (one.id === task.id && one.status === "succeeded") break;
  }
  const stop = new AbortController();
  setTimeout(() => stop.abort(new Error("enough")), 300);
  await assert.rejects(all(gateway.streamTasks({ signal: stop.signal })), /enough/);
});

test("notifications are verified, looked at, and sent again", async () => {
  const task = await gateway.createTask({ ...SONG, webhook_url: hook, webhook_events: ["task.succeeded"] });
  await gateway.waitForTask(task.id, { timeoutMs: 60_000 });
  const mine = (): Received[] => received.filter((one) => one.body.includes(task.id));
  for (let turn = 0; mine().length === 0 && turn < 200; turn++) await new Promise((resolve) => setTimeout(resolve, 50));
  const [got] = mine();
  assert.ok(got);
  const notification: Notification = await verifyNotification(got.body, got.headers, ["whsec_b3RoZXI=", secret]);
  assert.equal(notification.event.type, "task.succeeded");
  assert.equal(notification.id, got.headers["webhook-id"]);
  const bytes = new TextEncoder().encode(got.body);
  assert.deepEqual(await verifyNotification(bytes, new Headers(got.headers as Record<string, string>), secret), notification);
  await assert.rejects(verifyNotification(got.body + " ", got.headers, secret), BadSignature);
  await assert.rejects(verifyNotification(got.body, got.headers, "whsec_b3RoZXI="), BadSignature);
  await assert.rejects(verifyNotification(got.body, got.headers, secret, { toleranceS: -1 }), BadSignature);
  await assert.rejects(verifyNotification(got.body, {}, secret), BadSignature);
  await assert.rejects(verifyNotification(got.body, got.headers, []), TypeError);
  const [logged] = await all(gateway.listNotifications({ task_id: task.id }));
  assert.ok(logged);
  assert.equal(logged.id, notification.id);
  assert.equal((await gateway.getNotification(logged.id)).body?.type, "task.succeeded");
  assert.equal((await gateway.redeliverNotification(logged.id)).id, logged.id);
  const counted = await gateway.redeliverDeadNotifications({ since: "2026-01-01T00:00:00Z", dry_run: true });
  assert.equal(counted.dry_run, true);
  assert.equal((await gateway.testWebhook(hook)).delivered, true);
});

test("files are uploaded, listed and fetched, or the reason is told", async () => {
  const audio = new Uint8Array(Buffer.from("fLaC" + "x".repeat(2000)));
  const uploaded = await gateway.createUpload(audio, { filename: "harbour.flac" });
  assert.equal(uploaded.bytes, audio.length);
  const unknown = new Uint8Array(Buffer.from("x".repeat(2000)));
  assert.equal((await gateway.createUpload(unknown, { mediaType: "audio/mp4" })).media_type, "audio/mp4");
  assert.equal((await gateway.createUpload(new Blob([unknown], { type: "audio/ogg" }))).media_type, "audio/ogg");
  assert.equal((await failing(gateway.createUpload(unknown))).code, "invalid_request");
  const task = await gateway.createTask({ kind: "stems.create", params: { url: uploaded.url } });
  const ended = await gateway.waitForTask(task.id, { timeoutMs: 60_000 });
  const item = ended.items[0];
  assert.ok(item);
  assert.equal((await failing(gateway.getArtifact(item.item_id, "midi"))).code, "artifact_unknown");
  const file = await gateway.getArtifact(item.item_id, "stems");
  assert.ok((await file.arrayBuffer()).byteLength > 0);
  for (let turn = 0; turn < 200; turn++) {
    const copy = (await gateway.getTask(task.id)).items[0]?.artifacts.stems?.archive;
    if (copy?.status !== "pending") break;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const [member] = await gateway.listArtifactMembers(item.item_id, "stems");
  assert.ok(member);
  const part = await gateway.getArtifact(item.item_id, "stems", { member: member.name, range: "bytes=0-3" });
  assert.deepEqual([part.status, await part.text()], [206, "fLaC"]);
  const missing = await failing(gateway.getArtifact(item.item_id, "stems", { member: "a folder/vocals.flac" }));
  assert.equal(missing.code, "not_found");
});

test("a client knows itself", async () => {
  const me = await gateway.getMe();
  assert.equal(me.name, "studio");
  assert.deepEqual((await gateway.updateMe({ webhook_events: ["task.failed"] })).webhook_events, ["task.failed"]);
  assert.equal((await gateway.updateMe({ webhook_events: null })).webhook_events, null);
  assert.equal(typeof (await gateway.getAccount()).balance, "number");
  const { ticket } = await gateway.createStreamTicket();
  const answer = await fetch(`${url}/v1/stream?ticket=${ticket}`);
  assert.equal(answer.status, 200);
  await answer.body?.cancel();
  assert.match((await gateway.rotateMyWebhookSecret()).webhook_secret, /^whsec_/);
});

test("what goes wrong is told by its code", async () => {
  for (const id of ["01920000-0000-7000-8000-000000000000", "no-id", "..", "../clients", "a/b?c#d", "é"]) {
    assert.equal((await failing(gateway.getTask(id))).code, "not_found");
  }
  const stranger = new GatewayClient({ url, apiKey: "nobodys-key-0123456789abcdef0123456789" });
  const denied = await failing(stranger.getMe());
  assert.equal(denied.code, "unauthenticated");
  assert.ok(denied.requestId);
  const nowhere = new GatewayClient({ url: "http://127.0.0.1:9", apiKey, retries: { totalMs: 300, firstMs: 50 } });
  assert.equal((await failing(nowhere.getMe())).code, "unreachable");
  const late = await failing(nowhere.waitForTask("x", { timeoutMs: 10 }));
  assert.ok(late instanceof WaitTimeout || late.code === "unreachable");
  assert.throws(() => new GatewayClient({ url: "gateway:8000", apiKey }), TypeError);
  assert.throws(() => new GatewayClient({ url, apiKey: "" }), /the API key is empty/);
  for (const pasted of [`${apiKey}\n`, ` ${apiKey}`, `(a word\n${apiKey}`]) {
    // It says what is wrong, and does not repeat the key.
    assert.throws(
      () => new GatewayClient({ url, apiKey: pasted }),
      (error) => error instanceof TypeError && !error.message.includes(apiKey),
    );
  }
});

test("a wait that is over tells the last state, and an aborted one its reason", async () => {
  const task = await gateway.createTask({ kind: "midi.create", params: { url: "https://files.example/a.mp3" } });
  const late = await failing(gateway.waitForTask(task.id, { timeoutMs: 0 }));
  assert.ok(late instanceof WaitTimeout);
  assert.equal(late.task?.id, task.id);
  await assert.rejects(gateway.waitForTask(task.id, { signal: AbortSignal.abort(new Error("enough")) }), /enough/);
});

test("what the gateway itself waits for, and a large file, have the time that they take", async () => {
  const began = performance.now();
  const hasTime: boolean[] = [];
  const slow: typeof fetch = async (_input, init) => {
    await new Promise((resolve) => setTimeout(resolve, 100));
    hasTime.push(!init?.signal?.aborted);
    return new Response("{}");
  };
  const hasty = new GatewayClient({ url, apiKey, timeoutMs: 10, retries: { totalMs: 0 }, fetch: slow });
  await hasty.getAccount();
  await hasty.testWebhook(hook);
  await hasty.createUpload(new Uint8Array(128 * 1024));
  await hasty.getMe();
  assert.deepEqual(hasTime, [true, true, true, false]);
  assert.ok(performance.now() - began < 5_000);
});

test("a call is repeated after what passes, and once only where a repeat would harm", async () => {
  const seen: string[] = [];
  const flaky: typeof fetch = async (input, init) => {
    seen.push(`${init?.method} ${new Headers(init?.headers).get("idempotency-key")}`);
    if (seen.length === 1) throw new TypeError("fetch failed");
    if (seen.length === 2) return new Response("{}", { status: 503, headers: { "Retry-After": "0" } });
    return fetch(input, init);
  };
  const shaky = new GatewayClient({ url, apiKey, retries, fetch: flaky });
  assert.equal((await shaky.createTask(SONG)).kind, "song.generate");
  assert.equal(seen.length, 3);
  assert.equal(new Set(seen).size, 1, "each attempt carries the same key");
  seen.length = 0;
  assert.equal((await failing(shaky.rotateMyWebhookSecret())).code, "unreachable");
  assert.equal(seen.length, 1);
});

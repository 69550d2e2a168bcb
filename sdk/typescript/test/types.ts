// What must compile, and what must not: this file is only compiled.
import type { GatewayClient, GatewayError, Task, TaskRequest, WebhookEvent } from "../src/index.js";

export const song: TaskRequest = {
  kind: "song.generate",
  params: { prompt: "slow pop ballad, piano", model: "tempolor-latest", brand_new: ["passed on"] },
  webhook_events: ["task.succeeded"],
};

// @ts-expect-error there is no such kind
export const noKind: TaskRequest = { kind: "song.make", params: { prompt: "rain", model: "tempolor-latest" } };
// @ts-expect-error a prompt is a text
export const noText: TaskRequest = { kind: "song.generate", params: { prompt: 3, model: "tempolor-latest" } };
// @ts-expect-error the model is required
export const noModel: TaskRequest = { kind: "song.generate", params: { prompt: "rain" } };
// @ts-expect-error these are the params of another kind
export const others: TaskRequest = { kind: "stems.create", params: { prompt: "rain", model: "tempolor-latest" } };
// @ts-expect-error there is no such type of notification
export const noType: TaskRequest = { kind: "lyrics.generate", params: { prompt: "rain" }, webhook_events: ["task.done"] };

export function audioOf(task: Task): string | null {
  // @ts-expect-error there is no such artifact
  void task.items[0]?.artifacts.mp3;
  // @ts-expect-error there is no such status
  if (task.status === "done") return null;
  return task.items[0]?.artifacts.audio?.url ?? null;
}

export function isMissing(error: GatewayError): boolean {
  // @ts-expect-error there is no such code
  if (error.code === "task_not_found") return true;
  return error.code === "not_found";
}

export function told(event: WebhookEvent): string {
  switch (event.type) {
    case "task.succeeded":
      return event.data.id;
    case "gateway.ping":
      return event.data.client;
    default:
      return event.data.status;
  }
}

export function onlyOwn(client: GatewayClient): void {
  // @ts-expect-error there is no such filter
  client.listTasks({ state: "failed" });
  client.listTasks({ status: ["failed", "expired"], kind: "song.generate" });
}

import type { components, operations } from "./openapi.js";

type Schemas = components["schemas"];

/** What to submit: one member for each kind, with its params. */
export type TaskRequest = Schemas["TaskRequest"];
export type TaskKind = Schemas["TaskKind"];
export type TaskStatus = Schemas["TaskStatus"];
export type Task = Schemas["Task"];
export type TaskSummary = Schemas["TaskSummary"];
export type Item = Schemas["Item"];
export type Artifact = Schemas["Artifact"];
export type ArtifactOfFiles = Schemas["ArtifactOfFiles"];
export type ArtifactName = keyof Schemas["Artifacts"];
export type ZipMember = Schemas["ZipMember"];
export type UploadedFile = Schemas["UploadedFile"];
export type TimelineEntry = Schemas["TimelineEntry"];
export type TimelineType = Schemas["TimelineType"];
export type FailureCode = Schemas["FailureCode"];
export type ErrorCode = Schemas["ErrorCode"];
export type Fault = Schemas["Fault"];
export type Account = Schemas["Account"];
export type Me = Schemas["Me"];
export type MeChange = Schemas["MeChange"];
export type RotatedSecret = Schemas["RotatedSecret"];
export type StreamTicket = Schemas["StreamTicket"];
export type LoggedNotification = Schemas["Notification"];
export type NotificationWithBody = Schemas["NotificationWithBody"];
export type NotificationType = Schemas["NotificationType"];
export type Redelivered = Schemas["Redelivered"];
export type PingAnswer = Schemas["PingAnswer"];
export type RedeliverRequest = Schemas["RedeliverRequest"];
/** The body of a notification: `switch (event.type)` narrows it. */
export type WebhookEvent = Schemas["WebhookEvent"] | Schemas["GatewayPingEvent"];

type Query<Name extends keyof operations> = NonNullable<operations[Name]["parameters"]["query"]>;
/** What narrows a list of tasks. */
export type TaskFilters = Omit<Query<"listTasks">, "cursor" | "limit" | "view">;
/** What narrows the list of notifications. */
export type NotificationFilters = Omit<Query<"listNotifications">, "cursor" | "limit">;

const ENDED: ReadonlySet<TaskStatus> = new Set(["succeeded", "part_failed", "failed", "expired", "canceled"]);

/** Whether a task has a final status. (Only a late word of the vendor's changes that.) */
export function hasEnded(task: Pick<Task, "status">): boolean {
  return ENDED.has(task.status);
}

/** Whether there is a result to use now; extras may still be to come. */
export function isPlayable(task: Pick<Task, "status" | "playable_at">): boolean {
  if (task.status === "succeeded" || task.status === "part_failed") return true;
  return task.status === "main_succeeded" && task.playable_at !== null;
}

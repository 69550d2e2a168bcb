export { type CallOptions, GatewayClient, type GatewayOptions, type ListOptions, type SubmitOptions, type WaitOptions } from "./client.js";
export { BadSignature, GatewayError, type LocalCode, WaitTimeout } from "./errors.js";
export { type StreamOptions, TaskStream } from "./follow.js";
export type { components, operations, paths, webhooks } from "./openapi.js";
export type { Retries } from "./retries.js";
export * from "./types.js";
export { type Notification, type RequestHeaders, verifyNotification } from "./webhooks.js";

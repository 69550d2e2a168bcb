import type { components, operations } from "../types.js";

type Schemas = components["schemas"];
type Conflict = operations["cancelTask"]["responses"][409]["content"]["application/problem+json"];

export const task: Schemas["TaskRequest"] = { kind: "song.generate", params: { prompt: "p", model: "m", newer: 1 } };
// @ts-expect-error there is no such kind
export const noKind: Schemas["TaskRequest"] = { kind: "song.make", params: { prompt: "p", model: "m" } };
// @ts-expect-error a prompt is a text
export const noText: Schemas["TaskRequest"] = { kind: "song.generate", params: { prompt: 3, model: "m" } };
// @ts-expect-error these are the params of another kind
export const others: Schemas["TaskRequest"] = { kind: "stems.create", params: { prompt: "p", model: "m" } };
export const code: Conflict["code"] = "conflict";
// @ts-expect-error there is no such code
export const noCode: Conflict["code"] = "conflicted";

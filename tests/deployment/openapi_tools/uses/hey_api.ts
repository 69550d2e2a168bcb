import { cancelTask, createTask } from "../hey/index.js";

export async function uses(): Promise<unknown> {
  await createTask({ body: { kind: "song.generate", params: { prompt: "p", model: "m", newer: 1 } } });
  // @ts-expect-error there is no such kind
  await createTask({ body: { kind: "song.make", params: { prompt: "p", model: "m" } } });
  // @ts-expect-error a prompt is a text
  await createTask({ body: { kind: "song.generate", params: { prompt: 3, model: "m" } } });
  // @ts-expect-error these are the params of another kind
  await createTask({ body: { kind: "stems.create", params: { prompt: "p", model: "m" } } });
  const { data, error } = await cancelTask({ path: { task_id: "x" } });
  // @ts-expect-error there is no such code
  if (error?.code === "conflicted") return undefined;
  return error?.code === "conflict" ? undefined : data?.items[0]?.artifacts.audio?.url;
}

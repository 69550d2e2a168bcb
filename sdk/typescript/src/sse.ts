/** One block of a stream. `data`: undefined if there was none; `id`: where to resume, if it was told. */
export interface ServerEvent {
  type: string;
  data: string | undefined;
  id: string | undefined;
  retryMs: number | undefined;
}

/** Reads server-sent events as the HTML standard says. A block that was cut off is dropped: its id must not count. */
export async function* readEvents(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<ServerEvent, void, void> {
  // It drops a byte order mark, and replaces what is no UTF-8.
  const decoder = new TextDecoder();
  let rest = "";
  let fields = new Map<string, string>();
  let data: string[] = [];
  for await (const chunk of chunks) {
    rest += decoder.decode(chunk, { stream: true });
    for (;;) {
      const end = /\r\n|\n|\r(?=[^])/.exec(rest);
      if (end === null) break;
      const line = rest.slice(0, end.index);
      rest = rest.slice(end.index + end[0].length);
      if (line === "") {
        if (fields.size > 0 || data.length > 0) yield eventOf(fields, data);
        fields = new Map();
        data = [];
        continue;
      }
      const [, name = "", value = ""] = /^([^:]*)(?:: ?([^]*))?$/.exec(line) ?? [];
      if (name === "data") data.push(value);
      else if (name !== "") fields.set(name, value);
    }
  }
}

function eventOf(fields: Map<string, string>, data: string[]): ServerEvent {
  const id = fields.get("id");
  const retry = fields.get("retry") ?? "";
  return {
    type: fields.get("event") || "message",
    data: data.length > 0 ? data.join("\n") : undefined,
    id: id === undefined || id.includes("\0") ? undefined : id,
    retryMs: /^\d+$/.test(retry) ? Number(retry) : undefined,
  };
}

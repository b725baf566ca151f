/** Texts within URLs and headers: escaped where they may hold any, else refused with the reason. */

import { ClientError } from "./errors.js";

/** Fill a path with ids. */
export function pathOf(path: string, ids: Record<string, unknown>): string {
  return path.replace(/\{(\w+)\}/g, (_, name: string) => inPath(String(ids[name])));
}

/** The header of an API key: its bytes in UTF-8, of which the server has the digest. */
export function keyed(key: string | undefined): Record<string, string> {
  if (key === undefined) return {};
  if (/[\0-\x1f\x7f]/.test(key)) {
    throw new ClientError("an API key has no line breaks or other control characters: trim what was read");
  }
  return { "X-API-Key": Buffer.from(key).toString("latin1") };
}

/** Any text as a header, with all but visible ASCII and spaces escaped, as the Python client does. */
export function inHeader(text: string): string {
  return text.replace(/[^\x20-\x7e]+/g, (part) =>
    Array.from(Buffer.from(part), (byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`).join(""),
  );
}

function inPath(id: string): string {
  if (id === "." || id === "..") {
    throw new ClientError(`the id ${id} cannot stand in a path: URLs take it for a folder, even if it is escaped`);
  }
  if (/\p{Surrogate}/u.test(id)) throw new ClientError("an id holds half a character, which no URL can");
  return encodeURIComponent(id);
}

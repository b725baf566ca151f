/** What a call may throw: problems (RFC 9457), and faults of the connection. */

import type { Receipt } from "./types.js";

/** Characters of a foreign answer that an error repeats. */
const MOST_DETAIL = 200;

/** Base class of what a call throws. */
export class ClientError extends Error {
  /** What became of the earlier batches of the call, if it sends events. */
  receipt?: Receipt;
}

/** No answer: the connection failed or timed out, each time. */
export class Unreachable extends ClientError {
  override name = "Unreachable";
}

/** An answer that is none of millstream's; is the URL another server's? */
export class UnexpectedAnswer extends ClientError {
  override name = "UnexpectedAnswer";
}

/** A request was refused: the status in words, what is wrong and the remedy, seconds to wait if known. */
export class Problem extends ClientError {
  override name = "Problem";

  constructor(
    readonly status: number,
    readonly title: string,
    readonly detail: string,
    readonly retryAfter: number | null,
  ) {
    super(`${status} ${title}: ${detail}`);
  }

  /** Read an error's body; one of another form may be a proxy's. */
  static of(response: Response, body: unknown): Problem {
    const said = isObject(body) ? body : { detail: String(body ?? "").slice(0, MOST_DETAIL) };
    const { title = response.statusText, detail = "" } = said;
    return new Problem(response.status, String(title), String(detail), retryAfter(response));
  }
}

/** Seconds that an answer asks to wait, as a number or as a date; null if it does not. */
export function retryAfter(response: Response): number | null {
  const header = response.headers.get("retry-after");
  if (header === null) return null;
  const seconds = /^\d+$/.test(header) ? Number(header) : (Date.parse(header) - Date.now()) / 1000;
  return Number.isNaN(seconds) ? null : Math.max(0, seconds);
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

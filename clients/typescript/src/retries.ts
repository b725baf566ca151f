/** A fetch that repeats what may pass. */

import { setTimeout as pause } from "node:timers/promises";

import { retryAfter, Unreachable } from "./errors.js";

/** Statuses that may be others a moment later; proxies answer 502 and 504. */
const PASSING = new Set([429, 502, 503, 504]);

export interface Retries {
  /** How often a request is sent, at most. */
  attempts: number;
  /** Seconds before the second time; it doubles each time, and half of it is random. */
  firstPause: number;
  /** Seconds; if an answer asks for more, it is final. */
  longestPause: number;
  /** Seconds that an attempt may take. */
  timeout: number;
}

export const RETRIES: Retries = { attempts: 4, firstPause: 0.2, longestPause: 30, timeout: 5 };

/** Make a fetch that sends a request until it has its answer, or throws Unreachable. */
export function repeating(retries: Retries): (request: Request) => Promise<Response> {
  return async (request) => {
    for (let attempt = 1; ; attempt++) {
      const isLast = attempt >= retries.attempts;
      const response = await sent(request, retries.timeout, isLast);
      if (response !== null && (isLast || !mayPass(response))) return response;
      const doubled = retries.firstPause * 2 ** (attempt - 1) * (0.5 + Math.random() / 2);
      const asked = (response && retryAfter(response)) ?? 0;
      if (response !== null && asked > retries.longestPause) return response;
      await pause(1000 * Math.max(Math.min(doubled, retries.longestPause), asked));
    }
  };
}

/** The whole answer to one attempt; null if there is none and another attempt follows. */
async function sent(request: Request, timeout: number, isLast: boolean): Promise<Response | null> {
  try {
    const response = await fetch(request.clone(), { signal: AbortSignal.timeout(1000 * timeout) });
    const body = await response.arrayBuffer(); // here, because an answer that is cut off is none
    return new Response(body.byteLength > 0 ? body : null, response);
  } catch (cause) {
    if (isLast) throw new Unreachable(`${new URL(request.url).origin} does not answer`, { cause });
    return null;
  }
}

/** Whether a repetition may help; an answer that is not a problem, such as one of /readyz, is final. */
function mayPass(response: Response): boolean {
  return PASSING.has(response.status) && mediaType(response) !== "application/json";
}

export function mediaType(response: Response): string {
  return (response.headers.get("content-type") ?? "").split(";")[0]!.trim().toLowerCase();
}

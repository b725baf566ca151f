/** Events divided into requests, bounded by number and size; the bounds must not exceed the gateway's. */

export interface Batches {
  /** Events of a request, at most. */
  events: number;
  /** Bytes of a body, at most; a larger event is sent alone, for the gateway to refuse. */
  maxBytes: number;
}

export const BATCHES: Batches = { events: 1000, maxBytes: 1 << 20 };

export function* divide<Event>(events: Iterable<Event>, batches: Batches): Generator<Event[]> {
  let batch: Event[] = [];
  let size = 0;
  for (const event of events) {
    const bytes = Buffer.byteLength(JSON.stringify(event)) + 1;
    if (batch.length > 0 && (batch.length >= batches.events || size + bytes > batches.maxBytes)) {
      yield batch;
      [batch, size] = [[], 0];
    }
    batch.push(event);
    size += bytes;
  }
  if (batch.length > 0) yield batch;
}

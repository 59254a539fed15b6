// Batches that parts of the page follow: one watch for each batch, however many parts show it.

import { rememberedBatches, restPolling, watchBatch } from './clipfleet.js';
import { SESSION } from './session.js';

/** How often bars move, milliseconds. A document changes at most once a second. */
const EVERY_MS = 700;

/** How long a batch that was started here may be unknown to the fleet, milliseconds. For any other, 404 is final. */
const ACCEPTANCE_MS = 5_000;

/**
 * What is known of a batch.
 * @typedef {object} Known
 * @property {Object<string, ClipExport>} exports clips by id
 * @property {BatchExport|null} batch null before the first answer
 * @property {Error|null} failure why the last request failed; null while the fleet answers
 * @property {number|null} asOf when the fleet last answered
 */

const startedLately = (batchId) =>
  rememberedBatches().some((batch) => batch.batchId === batchId && Date.now() - batch.createdAt < ACCEPTANCE_MS);

export class Feed {
  #entries = new Map();

  /** Calls `listener` with what is {@link Known} at each change; returns a function that ends it. */
  follow(batchId, listener) {
    const entry = this.#entries.get(batchId) ?? this.#open(batchId);
    entry.listeners.add(listener);
    listener(entry.known);
    return () => {
      entry.listeners.delete(listener);
      if (entry.listeners.size === 0) {
        entry.watch.stop();
        this.#entries.delete(batchId);
      }
    };
  }

  /** Asks now rather than at the next interval. */
  refresh(batchId) {
    this.#entries.get(batchId)?.watch.refresh();
  }

  #open(batchId) {
    const entry = { listeners: new Set(), known: { exports: {}, batch: null, failure: null, asOf: null }, watch: null };
    const learn = (fields) => {
      entry.known = { ...entry.known, ...fields };
      entry.listeners.forEach((listener) => listener(entry.known));
    };
    // The watch reports changes only, and that the fleet answers again is one here.
    const poll = restPolling({ ...SESSION, everyMs: EVERY_MS, unknownMs: startedLately(batchId) ? ACCEPTANCE_MS : 0 });
    const transport = (id, { next, error }) => poll(id, {
      error,
      next: (answer) => {
        const asOf = Date.now();
        Object.assign(entry.known, { asOf });
        next(answer);
        if (entry.known.failure) {
          learn({ failure: null, asOf });
        }
      },
    });
    this.#entries.set(batchId, entry);
    entry.watch = watchBatch(batchId, (exports, batch) => {
      learn({ exports, batch: entry.known.asOf ? batch : null, failure: null });
    }, {
      transport,
      onError: (failure) => {
        if (failure.status === 404) {
          entry.watch.stop();
        }
        learn({ failure });
      },
    });
    return entry;
  }
}

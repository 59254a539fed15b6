// What every check shares: Google's own clients, unmodified, told where to go by the conventional variables only
// (PUBSUB_EMULATOR_HOST, FIRESTORE_EMULATOR_HOST, STORAGE_EMULATOR_HOST, GOOGLE_CLOUD_PROJECT).
// Every check uses names of its own, so that all can run at once against one server.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';

export { sleep };

export const PROJECT = process.env.GOOGLE_CLOUD_PROJECT;
assert.ok(PROJECT, 'set GOOGLE_CLOUD_PROJECT');

/** Codes of gRPC, as the clients report them in `error.code`. */
export const INVALID_ARGUMENT = 3;
export const NOT_FOUND = 5;
export const ALREADY_EXISTS = 6;
export const FAILED_PRECONDITION = 9;
export const UNIMPLEMENTED = 12;

/** A name that no other check uses. */
export const unique = (what) => `${what}-${randomUUID().slice(0, 13)}`;

/** Waits until `look` returns something true, and returns it. Bounds a hang; measures nothing. */
export async function eventually(look, patience = 30_000) {
  const end = Date.now() + patience;
  for (;;) {
    const found = await look();
    if (found) return found;
    assert.ok(Date.now() < end, 'it did not happen in time');
    await sleep(20);
  }
}

/** Fails unless the promise is refused with this code, and with a text that matches. */
export async function refused(promise, code, text = /./) {
  await assert.rejects(promise, (error) => {
    assert.equal(error.code, code, String(error));
    assert.match(error.message, text);
    return true;
  });
}

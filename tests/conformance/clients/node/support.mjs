// Shared code of all checks: Google's own, unmodified clients, which read the server's address only from the
// conventional variables (PUBSUB_EMULATOR_HOST, FIRESTORE_EMULATOR_HOST, STORAGE_EMULATOR_HOST, GOOGLE_CLOUD_PROJECT).
// Every check uses unique names, so that all can run at the same time against one server.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';

export { sleep };

export const PROJECT = process.env.GOOGLE_CLOUD_PROJECT;
assert.ok(PROJECT, 'set GOOGLE_CLOUD_PROJECT');

/** gRPC codes, as the clients report them in `error.code`. */
export const INVALID_ARGUMENT = 3;
export const NOT_FOUND = 5;
export const ALREADY_EXISTS = 6;
export const FAILED_PRECONDITION = 9;
export const UNIMPLEMENTED = 12;

/** A name that no other check uses. */
export const unique = (what) => `${what}-${randomUUID().slice(0, 13)}`;

/** Waits until `condition` returns something true, and returns it. Bounds a hang; measures nothing. */
export async function eventually(condition, timeoutMs = 30_000) {
  const end = Date.now() + timeoutMs;
  for (;;) {
    const found = await condition();
    if (found) return found;
    assert.ok(Date.now() < end, 'it did not happen in time');
    await sleep(20);
  }
}

/** Fails unless the promise is refused with this code and a matching text. */
export async function refused(promise, code, text = /./) {
  await assert.rejects(promise, (error) => {
    assert.equal(error.code, code, String(error));
    assert.match(error.message, text);
    return true;
  });
}

/** Waiting in Node tests. */

/** Maximum wait for any condition. It bounds a hang; no test measures speed by it. */
export const WAIT_TIMEOUT_MS = 180_000;

export const pause = (ms) =>
  new Promise((resolve) => {
    setTimeout(resolve, ms);
  });

/** Waits until a condition returns a true value, and returns it. */
export async function until(what, condition, intervalMs = 20) {
  const deadline = Date.now() + WAIT_TIMEOUT_MS;
  for (;;) {
    const found = await condition();
    if (found) {
      return found;
    }
    if (Date.now() > deadline) {
      throw new Error(`${what}: not within ${WAIT_TIMEOUT_MS} ms`);
    }
    await pause(intervalMs);
  }
}

/** Waiting, for tests in Node. */

/** Longest wait for anything. It bounds a hang; nothing measures speed by it. */
export const PATIENCE_MS = 180_000;

export const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

/** Waits until a condition gives something. */
export async function until(what, condition, every = 20) {
  const give_up = Date.now() + PATIENCE_MS;
  for (;;) {
    const found = await condition();
    if (found) {
      return found;
    }
    if (Date.now() > give_up) {
      throw new Error(`${what}: not within ${PATIENCE_MS} ms`);
    }
    await pause(every);
  }
}

// Drags: from the press of a button or finger to its end.

/** A drag shorter than this is a tap, pixels. */
const TAP_PX = 4;

/** The drags in progress, so that a second finger can end them. */
const active = new Set();

/**
 * Follows the pointer of `event`, which pressed `event.currentTarget`. `move(event)` is called once it is a drag,
 * `end(event)` at a drag's end, `tap(event)` instead if it did not move, and `cancel()` if the browser or a second
 * finger ends it.
 */
export function followPointer(event, { move, end = () => {}, tap = () => {}, cancel = end }) {
  const target = event.currentTarget;
  const listeners = new AbortController();
  const listen = (kind, react) =>
    target.addEventListener(kind, (next) => next.pointerId === event.pointerId && react(next), listeners);
  let isDrag = false;
  const finish = () => {
    listeners.abort();
    active.delete(giveUp);
  };
  const giveUp = () => {
    finish();
    cancel();
  };
  target.setPointerCapture(event.pointerId);
  active.add(giveUp);
  listen('pointermove', (next) => {
    isDrag ||= Math.hypot(next.clientX - event.clientX, next.clientY - event.clientY) >= TAP_PX;
    if (isDrag) {
      move(next);
    }
  });
  listen('pointerup', (last) => {
    finish();
    (isDrag ? end : tap)(last);
  });
  listen('pointercancel', giveUp);
}

export const isDragging = () => active.size > 0;

/** Ends every drag without its effect. */
export const cancelDrags = () => active.forEach((giveUp) => giveUp());

/** Two fingers on `element`: `pinch({factor, x, fromX})` at each move, relative to the move before. */
export function listenToPinch(element, pinch) {
  const fingers = new Map();
  const measure = () => {
    const [a, b] = [...fingers.values()];
    return { apart: Math.max(10, Math.abs(a - b)), x: (a + b) / 2 };
  };
  element.addEventListener(
    'pointerdown',
    (event) => {
      if (event.pointerType === 'touch') {
        fingers.set(event.pointerId, event.clientX);
        if (fingers.size === 2) {
          cancelDrags();
          event.stopPropagation();
        }
      }
    },
    { capture: true },
  );
  element.addEventListener('pointermove', (event) => {
    if (fingers.has(event.pointerId)) {
      const before = fingers.size === 2 ? measure() : null;
      fingers.set(event.pointerId, event.clientX);
      if (before) {
        const now = measure();
        pinch({ factor: before.apart / now.apart, x: now.x, fromX: before.x });
      }
    }
  });
  ['pointerup', 'pointercancel'].forEach((kind) => addEventListener(kind, (event) => fingers.delete(event.pointerId)));
}

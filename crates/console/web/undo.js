// Undo and redo over immutable states. Changes between `open` and `close` are one step, so that a drag is undone at once.

/** More steps than anyone undoes; it bounds the memory. */
const MAX_STEPS = 200;

export class UndoStack {
  #past = [];
  #future = [];
  #limit;
  /** Inside a gesture: whether its first change was already recorded. `null` outside. */
  #recorded = null;

  constructor(limit = MAX_STEPS) {
    this.#limit = limit;
  }

  get canUndo() { return this.#past.length > 0; }
  get canRedo() { return this.#future.length > 0; }

  /** Begins a gesture, whose changes are one step. */
  open() {
    this.#recorded = false;
  }

  close() {
    this.#recorded = null;
  }

  /** Records the state that a change replaces. */
  record(before) {
    this.#future = [];
    if (this.#recorded) {
      return;
    }
    this.#recorded = this.#recorded === null ? null : true;
    this.#past.push(before);
    if (this.#past.length > this.#limit) {
      this.#past.shift();
    }
  }

  /** Returns the state before `current`; `null` if there is none. */
  undo(current) {
    return this.#move(this.#past, this.#future, current);
  }

  /** Returns the state that `current` was undone from; `null` if there is none. */
  redo(current) {
    return this.#move(this.#future, this.#past, current);
  }

  #move(from, to, current) {
    this.close();
    if (from.length === 0) {
      return null;
    }
    to.push(current);
    return from.pop();
  }
}

// The drafts of this browser, one for each source, in localStorage: `clipfleet.draft.<id>` and the id of the open one.

const PREFIX = 'clipfleet.draft.';
const CURRENT = 'clipfleet.current';

/** Drafts kept. Beyond it those without clips go first, then the oldest. A draft of 50 clips has about 10 kB. */
export const MAX_DRAFTS = 20;

/** A file is recognized by name and size, also after a reload; a stored object by its URI. */
export const draftId = ({ name, bytes, uri }) => (bytes === undefined ? `uri:${uri}` : `file:${bytes}:${name}`);

/** Whether a parsed value can be a draft. */
const isDraft = (value) => Boolean(value?.source?.uri && Array.isArray(value.clips) && value.output);

export class Drafts {
  #storage;

  constructor(storage = globalThis.localStorage) {
    this.#storage = storage;
  }

  get currentId() {
    return this.#read(() => this.#storage.getItem(CURRENT)) ?? null;
  }

  set currentId(id) {
    this.#read(() => (id === null ? this.#storage.removeItem(CURRENT) : this.#storage.setItem(CURRENT, id)));
  }

  load(id) {
    const value = this.#read(() => JSON.parse(this.#storage.getItem(PREFIX + id)));
    return isDraft(value) ? value : null;
  }

  /** Keeps a draft; returns false if the browser has no room for it or does not allow it. */
  save(id, draft) {
    try {
      const isNew = this.#storage.getItem(PREFIX + id) === null;
      this.#storage.setItem(PREFIX + id, JSON.stringify({ ...draft, savedAt: Date.now() }));
      if (isNew) {
        this.#evict(id);
      }
      return true;
    } catch {
      return false;
    }
  }

  remove(id) {
    this.#read(() => this.#storage.removeItem(PREFIX + id));
  }

  /** All drafts, latest first: `{id, source, clips, savedAt, …}`. */
  list() {
    const ids = this.#read(() => Object.keys(this.#storage).filter((key) => key.startsWith(PREFIX))) ?? [];
    return ids
      .map((key) => ({ id: key.slice(PREFIX.length), ...this.load(key.slice(PREFIX.length)) }))
      .filter(isDraft)
      .sort((a, b) => b.savedAt - a.savedAt);
  }

  /** The id that a change of `key` in another tab is about. */
  static idOf(key) {
    return key?.startsWith(PREFIX) ? key.slice(PREFIX.length) : null;
  }

  #evict(kept) {
    const others = this.list().filter(({ id }) => id !== kept);
    const order = [
      ...others.filter(({ clips }) => clips.length > 0),
      ...others.filter(({ clips }) => clips.length === 0),
    ];
    order.slice(MAX_DRAFTS - 1).forEach(({ id }) => this.remove(id));
  }

  /** Storage may be forbidden or hold what another program wrote: then there is nothing. */
  #read(action) {
    try {
      return action();
    } catch {
      return null;
    }
  }
}

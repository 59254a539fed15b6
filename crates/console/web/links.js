// Where a clip's video and cover are read: by the links of its document, or by those that the fleet signs when it is
// asked. Those expire, so they are asked for when they are needed and kept for a while.

import { ClipfleetError, clipLinks } from './clipfleet.js';
import { SESSION, withSession } from './session.js';
import { readableUrl } from './source.js';

/** A link is not used any more this long before it expires: a video is read for as long as it plays. */
const MARGIN_MS = 5 * 60_000;

const PROBE_TIMEOUT_MS = 15_000;

const DEAD = 'The clip’s link does not work any more.';

/** Answers of a dispatcher that gives no links: by its settings, or because it does not know them. */
const NO_LINKS = ['links_disabled', 'no_such_route'];

/** What the page knows of its fleet's links. Dispatches `change` when it learns that there are none. */
export class Links extends EventTarget {
  disabled = false;
  #storage;
  #answered = false;
  #first = null;

  constructor({ storage }) {
    super();
    this.#storage = storage;
  }

  /** A link as this page reads it. */
  readable(url) {
    return url && readableUrl(this.#storage, url);
  }

  /** Asks the fleet. The first request goes alone: where there are no links, there is no need for a second. */
  async ask(batchId, clipId, signal) {
    while (this.#first) {
      await this.#first;
    }
    if (this.disabled) {
      throw new ClipfleetError('links_disabled', 'this fleet gives no links');
    }
    const asked = this.#request(batchId, clipId, signal);
    if (!this.#answered) {
      const done = () => {
        this.#first = null;
      };
      this.#first = asked.then(done, done);
    }
    return asked;
  }

  async #request(batchId, clipId, signal) {
    try {
      const links = await clipLinks(batchId, clipId, { ...SESSION, signal });
      this.#answered = true;
      return links;
    } catch (error) {
      if (NO_LINKS.includes(error.code)) {
        this.disabled = true;
        this.dispatchEvent(new Event('change'));
      }
      throw error;
    }
  }
}

/** The links of one clip. `update` is given the clip whenever it changed. */
export class ClipLink {
  #links;
  #batchId;
  #clipId;
  #signal;
  #clip = null;
  /** What the fleet answered when it was asked, and the document's link that it took the place of. */
  #given = null;
  #asking = null;

  constructor({ links, batchId, clipId, signal }) {
    this.#links = links;
    this.#batchId = batchId;
    this.#clipId = clipId;
    this.#signal = signal;
  }

  update(clip) {
    this.#clip = clip;
    if (this.#given?.insteadOf !== clip.outputUrl || clip.status !== 'completed') {
      this.#given = null;
    }
  }

  /** Whether there is a link, or may be one. */
  get exists() {
    return this.#clip?.status === 'completed' && Boolean(this.#clip.outputUrl || !this.#links.disabled);
  }

  /** The video's link if it needs not be asked for; null otherwise. */
  get known() {
    return this.#current()?.outputUrl ?? null;
  }

  #current() {
    const { outputUrl } = this.#clip;
    const end = Date.parse(this.#given?.expireTime ?? '');
    if (this.#given && !(end - Date.now() < MARGIN_MS)) {
      return this.#given;
    }
    return outputUrl ? this.#readable({ ...this.#clip, expireTime: null }) : null;
  }

  #readable({ outputUrl, coverUrl, expireTime }) {
    const links = this.#links;
    return { outputUrl: links.readable(outputUrl), coverUrl: links.readable(coverUrl), expireTime };
  }

  /** `{outputUrl, coverUrl, expireTime}`; `fresh` ones are asked for although there are some. */
  async get({ fresh = false } = {}) {
    return (!fresh && this.#current()) || this.#ask();
  }

  #ask() {
    const insteadOf = this.#clip.outputUrl;
    this.#asking ??= this.#links
      .ask(this.#batchId, this.#clipId, this.#signal)
      .then((answer) => {
        this.#given = { ...this.#readable(answer), insteadOf };
        return this.#given;
      })
      .finally(() => {
        this.#asking = null;
      });
    return this.#asking;
  }

  /**
   * Loads the video, or what `name` says, by its link: `load(url)` rejects if it could not. After a failure the link is
   * asked for anew, once. Resolves to the links; rejects with an error whose message is for people.
   */
  async load(load, { name = 'outputUrl', fresh = false } = {}) {
    let isFresh = fresh;
    for (let tries = 1; ; tries += 1) {
      const links = await this.#freshOr(isFresh);
      try {
        await (links[name] && load(links[name]));
        return links;
      } catch (error) {
        const status = await statusOf(links[name]);
        if (tries > 1 || status === 404) {
          throw new Error(problemOf(status), { cause: error });
        }
        // What can be read after all was not, a moment ago, for another reason: the session had ended.
        isFresh = status === null || status >= 400;
      }
    }
  }

  /** A fleet without links may still have one in an old document, which is all there is. */
  async #freshOr(isFresh) {
    try {
      return await this.get({ fresh: isFresh });
    } catch (error) {
      if (isFresh && NO_LINKS.includes(error.code) && this.#clip.outputUrl) {
        throw new Error(DEAD, { cause: error });
      }
      throw error;
    }
  }

  /** Resolves to a link that was found to work; rejects as `load` does. What cannot be found out may work. */
  async working(options) {
    const { outputUrl } = await this.load(async (url) => {
      const status = await statusOf(url);
      if (status >= 400) {
        throw new Error(`the storage answered ${status}`);
      }
    }, options);
    return outputUrl;
  }
}

/** Why something was not loaded although its link is new. Without a status it is not known. */
function problemOf(status) {
  if (status === null || status >= 500) {
    return 'The clip could not be loaded.';
  }
  return status >= 400 ? DEAD : 'This browser cannot play the clip.';
}

/**
 * The status of what is behind a link, which media elements do not tell; null if the page may not read it. Asked by
 * GET, since links are signed for this method only. What is at the page's own origin may ask for a session.
 */
async function statusOf(url) {
  const request = () =>
    fetch(url, { headers: { range: 'bytes=0-0' }, cache: 'no-store', signal: AbortSignal.timeout(PROBE_TIMEOUT_MS) });
  const isOwn = new URL(url, location.href).origin === location.origin;
  try {
    const response = await (isOwn ? withSession(request) : request());
    response.body?.cancel();
    return response.status;
  } catch {
    return null;
  }
}

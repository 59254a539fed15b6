// The start of an export as one state: idle, waiting for the upload, or submitting. One press makes one batch, also
// when the page is loaded again or an answer is lost in between.

import { exportAll, newBatchId } from './clipfleet.js';
import { SESSION } from './session.js';
import { announce, count } from './ui.js';

/** Whose and which project's the exports of this page are. */
const OWNER = { ownerUid: 'local', projectId: 'console' };

/** A press this soon after a start belongs to the press before, milliseconds. */
const DOUBLE_PRESS_MS = 1_000;

const KEY = 'clipfleet.launch';

/** Dispatches `change` when `state` or `message` changed. */
export class Launch extends EventTarget {
  /** `idle`, `waiting` (for the upload) or `submitting`. */
  state = 'idle';
  /** How the last press went, for people. */
  message = '';
  #draft;
  #uploads;
  #onStarted;
  #waiting = null;
  /** The draft, clips and output that `message` is about. */
  #subject = [];
  /** A request that may have been received although no answer came: `{batchId, request}`. */
  #unanswered = null;

  /** `onStarted(batchId, count)` is called once for each batch, with the number of clips that started. */
  constructor({ draft, uploads, onStarted }) {
    super();
    this.#draft = draft;
    this.#uploads = uploads;
    this.#onStarted = onStarted;
    // A message is about the source and the clips that it was given for.
    draft.addEventListener('change', () => this.#follow());
  }

  get busy() {
    return this.state !== 'idle';
  }

  #become(state, message) {
    Object.assign(this, { state, message });
    this.dispatchEvent(new Event('change'));
  }

  /** One press of Export. While an earlier one is in progress, nothing happens. */
  async start() {
    if (!this.busy && this.#draft.clips.length > 0) {
      const request = this.#snapshot();
      await this.#run({ batchId: this.#batchIdOf(request), request });
    }
  }

  /** After a reload: continues a press that waited for its upload or for its answer. */
  async restore() {
    const kept = read();
    if (kept && kept.request.source === this.#draft.source?.uri) {
      await this.#run(kept);
    } else {
      keep(null);
    }
  }

  /** Gives up waiting for the upload. */
  cancel() {
    this.#waiting?.abort(new Error(''));
  }

  #follow() {
    if (this.state === 'waiting' && this.#waiting.uri !== this.#draft.source?.uri) {
      this.#waiting.abort(new Error(this.#draft.source ? 'The video changed. Press Export again.' : ''));
    } else if (this.state === 'idle' && this.message && !this.#isSubject()) {
      this.#become('idle', '');
    }
  }
  #isSubject() {
    const { id, clips, output } = this.#draft;
    return [id, clips, output].every((part, index) => part === this.#subject[index]);
  }

  /** What is exported: the clips as they are at the press. */
  #snapshot() {
    const { quality, aspect, fps } = this.#draft.output;
    const { uri, name } = this.#draft.source;
    const clips = this.#draft.requested();
    const note = { title: name, sourceUri: uri, aspect, windows: windowsOf(clips) };
    return { source: uri, clips, output: { quality, aspect, fps }, note };
  }

  async #run(press) {
    this.#subject = [this.#draft.id, this.#draft.clips, this.#draft.output];
    keep(press);
    try {
      await this.#sourceStored();
      this.#become('submitting', '');
      await this.#submit(press);
    } catch (error) {
      keep(null);
      this.#become('idle', error.message);
    }
  }

  async #sourceStored() {
    const { stored, uri } = this.#draft.source;
    if (!stored) {
      this.#waiting = Object.assign(new AbortController(), { uri });
      this.#become('waiting', 'The export starts when the upload is done.');
      await this.#uploads.stored(this.#waiting.signal);
    }
  }

  async #submit({ batchId, request: { clips, ...options } }) {
    const { results } = await exportAll(clips, { ...SESSION, ...OWNER, ...options, batchId });
    keep(null);
    const refused = results.filter((result) => result.status === 'rejected');
    const started = results.length - refused.length;
    if (!refused.some(({ reason }) => reason.retryable)) {
      this.#unanswered = null;
    }
    const said = [started > 0 && `${count(started, 'clip')} started.`, ...reasons(refused, started)];
    if (started > 0) {
      announce(`${count(started, 'clip')} started`);
      this.#onStarted(batchId, started);
      await new Promise((resolve) => {
        setTimeout(resolve, DOUBLE_PRESS_MS);
      });
    }
    this.#become('idle', said.filter(Boolean).join(' '));
  }

  /**
   * The same request again keeps its id: if only the answer was lost, the server finds the batch and makes no second
   * one.
   */
  #batchIdOf(request) {
    if (JSON.stringify(this.#unanswered?.request) !== JSON.stringify(request)) {
      this.#unanswered = { batchId: newBatchId(), request };
    }
    return this.#unanswered.batchId;
  }
}

/** Where each clip is in the video and what it shows at its beginning, for the page of the batch. */
function windowsOf(clips) {
  const windowOf = ({ startMs, endMs, reframe }) => {
    const { position, zoom } = reframe.keyframes?.[0] ?? reframe;
    return { startMs, endMs, position, zoom };
  };
  return Object.fromEntries(clips.map((clip) => [clip.clipId, windowOf(clip)]));
}

/** Why clips were refused, each reason once; with the clip's name where the reason is about that clip. */
function reasons(refused, started) {
  const about = ({ clipId, reason: { message } }) =>
    started > 0 || /^(start|end|clip)/.test(message) ? `${clipId}: ${message}.` : `${message}.`;
  return new Set(refused.map(about));
}

/** A press in progress is kept over a reload. Where the browser keeps nothing, a reload forgets it. */
function keep(press) {
  try {
    if (press) {
      localStorage.setItem(KEY, JSON.stringify(press));
    } else {
      localStorage.removeItem(KEY);
    }
  } catch {
    // See above.
  }
}

function read() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY));
    return kept?.batchId && Array.isArray(kept.request?.clips) ? kept : null;
  } catch {
    return null;
  }
}

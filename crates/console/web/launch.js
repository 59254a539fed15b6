// The start of an export as one state: idle, waiting for the upload, or submitting. One press makes one batch.

import { exportAll, newBatchId } from './clipfleet.js';
import { stored } from './source.js';
import { announce, count } from './ui.js';

/** Whose and which project's the exports of this page are. */
const OWNER = { ownerUid: 'local', projectId: 'console' };

/** Dispatches `change` whenever `state`, `message` or what they depend on changed. */
export class Launch extends EventTarget {
  /** `idle`, `waiting` (for the upload) or `submitting`. */
  state = 'idle';
  /** How the last press went, for people. */
  message = '';
  #draft;
  #onStarted;
  /** A request that may have been received although no answer came: `{batchId, body}`. */
  #unanswered = null;

  /** `onStarted(batchId, count)` is called once for each batch, with the number of clips that started. */
  constructor({ draft, onStarted }) {
    super();
    this.#draft = draft;
    this.#onStarted = onStarted;
  }

  get busy() {
    return this.state !== 'idle';
  }

  #become(state, message = this.message) {
    Object.assign(this, { state, message });
    this.dispatchEvent(new Event('change'));
  }

  /** One press of Export. While an earlier one is in progress, nothing happens. */
  async start() {
    if (this.busy || this.#draft.clips.length === 0) {
      return;
    }
    const request = this.#snapshot();
    try {
      if (!this.#draft.source.stored) {
        this.#become('waiting', '');
        await stored(this.#draft);
      }
      this.#become('submitting', '');
      await this.#submit(request);
    } catch (error) {
      this.#become('idle', error.message);
    }
  }

  /** What is exported: the clips as they are at the press. */
  #snapshot() {
    const { quality, aspect, fps } = this.#draft.output;
    const { uri, name } = this.#draft.source;
    return { clips: this.#draft.requested(), options: { source: uri, output: { quality, aspect, fps }, note: { title: name } } };
  }

  async #submit({ clips, options }) {
    const batchId = this.#batchIdOf({ clips, options });
    const { results } = await exportAll(clips, { ...OWNER, ...options, batchId });
    const refused = results.filter((result) => result.status === 'rejected');
    const started = results.length - refused.length;
    if (!refused.some(({ reason }) => reason.retryable)) {
      this.#unanswered = null;
    }
    this.#become('idle', [started > 0 && `${count(started, 'clip')} started.`, ...reasons(refused, started)].filter(Boolean).join(' '));
    if (started > 0) {
      announce(`${count(started, 'clip')} started`);
      this.#onStarted(batchId, started);
    }
  }

  /** The same request again keeps its id: if only the answer was lost, the server finds the batch and makes no second one. */
  #batchIdOf(request) {
    const body = JSON.stringify(request);
    if (this.#unanswered?.body !== body) {
      this.#unanswered = { batchId: newBatchId(), body };
    }
    return this.#unanswered.batchId;
  }
}

/** Why clips were refused, each reason once; with the clip's name where the reason is about that clip. */
function reasons(refused, started) {
  const about = ({ clipId, reason: { message } }) =>
    (started > 0 || /^(start|end|clip)/.test(message) ? `${clipId}: ${message}.` : `${message}.`);
  return new Set(refused.map(about));
}

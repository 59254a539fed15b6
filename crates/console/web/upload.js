// The upload of the draft's source, which survives a reload: the session and, where the browser gives one, the file's
// handle are kept.

import { deleteRecord, getRecord, putRecord } from './database.js';
import { draftId } from './drafts.js';
import { upload } from './resumable.js';
import { signIn, withSession } from './session.js';
import { parseUri } from './source.js';

/** The file's name in the bucket: the same file again is found there. */
function objectName(file) {
  const extension = /\.([A-Za-z0-9]{1,8})$/.exec(file.name)?.[0] ?? '';
  const stem = file.name
    .slice(0, file.name.length - extension.length)
    .normalize('NFKD')
    .replace(/[^A-Za-z0-9]+/g, '-')
    .slice(0, 60);
  const version = `${file.size.toString(36)}-${file.lastModified.toString(36)}`;
  // Its last part is the file's own name, because clips are named after it.
  return `sources/${version}/${stem || 'video'}${extension.toLowerCase()}`;
}

/** Dispatches `change` when `state`, `share`, `problem` or `file` changed. */
export class Uploads extends EventTarget {
  /**
   * - `none`: there is no source, or it was not a file
   * - `sending`
   * - `stored`
   * - `missing`: the page was loaded again, and the browser does not let it read the file without a click
   * - `failed`
   */
  state = 'none';
  /** How much is stored, 0 to 1. */
  share = 0;
  problem = '';
  /** The file, if this page has it; also when it is stored already. */
  file = null;
  /** The kept handle of a missing file, which can be read again after one click. */
  handle = null;
  #storage;
  #draft;
  #running = null;

  constructor(storage, draft) {
    super();
    this.#storage = storage;
    this.#draft = draft;
    // Another tab may have stored what is missing here.
    draft.addEventListener('change', () => {
      if (this.state === 'missing' && draft.source?.stored) {
        this.#become({ state: 'stored', share: 1, problem: '' });
      }
    });
    // The file is read by this page: leaving it stops the upload.
    addEventListener('beforeunload', (event) => this.state === 'sending' && event.preventDefault());
  }

  #become(fields) {
    Object.assign(this, fields);
    this.dispatchEvent(new Event('change'));
  }

  /** Opens a file as the source, and begins or continues its upload. */
  async begin(file, handle = null) {
    this.stop();
    const uri = `gs://${this.#storage.bucket}/${objectName(file)}`;
    const { name, size: bytes, lastModified } = file;
    Object.assign(this, { file, handle, state: 'sending', share: 0, problem: '' });
    this.#draft.open({ name, bytes, lastModified, uri, stored: false });
    await this.#send(file, handle);
  }

  /** Tries again after a failure. */
  again() {
    if (this.file) {
      this.#become({ state: 'sending', problem: '' });
      this.#send(this.file, this.handle);
    }
  }

  /** Reads the missing file by its handle; the browser may ask the user. */
  async resume() {
    if ((await this.handle?.requestPermission({ mode: 'read' })) === 'granted') {
      await this.#read(this.handle);
    }
  }

  async #read(handle) {
    const file = await handle.getFile().catch(() => null);
    if (file && draftId({ name: file.name, bytes: file.size }) === this.#draft.id) {
      await this.begin(file, handle);
    } else {
      this.#miss(this.#draft.source.name);
    }
  }

  /** The file is not there as it was. */
  #miss(name) {
    this.#become({ state: 'missing', handle: null, problem: `${name} was moved or changed.` });
  }

  /** After a reload, or for a kept draft: finds out how the source stands. */
  async restore() {
    this.stop();
    const { source, id } = this.#draft;
    this.#become({ share: 0, state: source?.stored ? 'stored' : 'none' });
    if (source?.bytes === undefined) {
      return;
    }
    const [found, record] = await Promise.all([this.find(source).catch(() => undefined), getRecord('uploads', id)]);
    if (this.#draft.id !== id || this.file || (found === undefined && source.stored)) {
      return;
    }
    if (found && Number(found.size) === source.bytes) {
      this.#finish();
      return;
    }
    // An object that was stored once may have been deleted.
    this.#draft.learn({ stored: false });
    if ((await record?.handle?.queryPermission?.({ mode: 'read' })) === 'granted') {
      await this.#read(record.handle);
    } else {
      this.#become({ state: 'missing', handle: record?.handle ?? null, share: record?.share ?? 0 });
    }
  }

  /** Stops what is being sent. What is stored stays, and the same file continues there. */
  stop() {
    this.#running?.abort(new Error('the upload was stopped'));
    this.#running = null;
    this.#become({ state: 'none', file: null, handle: null });
  }

  /** Resolves when the source is stored; rejects when `signal` says so. Failures are mended by the user meanwhile. */
  stored(signal) {
    return new Promise((resolve, reject) => {
      const look = () => this.state === 'stored' && settle(resolve);
      const cancel = () => settle(reject);
      const settle = (end) => {
        this.removeEventListener('change', look);
        signal.removeEventListener('abort', cancel);
        end(signal.reason);
      };
      this.addEventListener('change', look);
      signal.addEventListener('abort', cancel);
      look();
    });
  }

  /** The source's object; null if there is none. By a list, since a request for a missing object logs an error. */
  async find({ uri }, signal) {
    const { bucket, object } = parseUri(uri);
    const query = new URLSearchParams({ prefix: object });
    const url = `${this.#storage.url}/storage/v1/b/${bucket}/o?${query}`;
    const response = await withSession(() => fetch(url, { signal }), signal);
    if (!response.ok && response.status !== 404) {
      throw new Error(`the storage answered ${response.status}`);
    }
    const { items = [] } = response.ok ? await response.json() : {};
    return items.find(({ name }) => name === object) ?? null;
  }

  async #send(file, handle) {
    const running = new AbortController();
    this.#running = running;
    const { signal } = running;
    const { source, id } = this.#draft;
    const current = (action) => signal.aborted || action();
    try {
      const stored = await this.find(source, signal);
      if (Number(stored?.size) !== file.size) {
        const kept = await getRecord('uploads', id);
        // The session belongs to these bytes: a file of the same name that was written anew begins anew.
        const session = kept?.uri === source.uri ? kept.session : null;
        const record = { uri: source.uri, session, handle, share: kept?.share ?? 0 };
        await putRecord('uploads', id, record);
        await upload({
          storage: this.#storage,
          object: parseUri(source.uri).object,
          file,
          session,
          signal,
          signIn,
          onStored: (uri, stored) => putRecord('uploads', id, { ...record, session: uri, share: stored / file.size }),
          onProgress: (bytes) => current(() => this.#become({ share: Math.min(bytes / file.size, 0.999) })),
        });
      }
      current(() => this.#finish());
    } catch (error) {
      const readable = await isReadable(file);
      const why = error instanceof TypeError ? 'the storage cannot be reached' : error.message;
      const fail = () => this.#become({ state: 'failed', problem: `The upload failed: ${why}.` });
      current(() => (readable ? fail() : this.#miss(file.name)));
    }
  }

  #finish() {
    deleteRecord('uploads', this.#draft.id);
    Object.assign(this, { state: 'stored', share: 1, problem: '' });
    this.#draft.learn({ stored: true });
    this.dispatchEvent(new Event('change'));
  }
}

/** Whether a file is still where it was chosen, unchanged. */
async function isReadable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
    return true;
  } catch {
    return false;
  }
}

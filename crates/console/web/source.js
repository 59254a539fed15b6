// The source: a file that is dropped or picked, stored in the fleet's bucket while it is already shown; or the address of an object that
// is in a bucket already.

import { h, size, write } from './ui.js';

/** What one file is called in the bucket: the same file again is found there. */
function objectName(file) {
  const extension = /\.([A-Za-z0-9]{1,8})$/.exec(file.name)?.[0] ?? '';
  const stem = file.name.slice(0, file.name.length - extension.length).normalize('NFKD').replace(/[^A-Za-z0-9]+/g, '-').slice(0, 60);
  return `sources/${stem || 'video'}-${file.size.toString(36)}-${file.lastModified.toString(36)}${extension.toLowerCase()}`;
}

const address = (storage, object) => `${storage.url}/storage/v1/b/${storage.bucket}/o/${encodeURIComponent(object)}`;

/** Where the preview of a stored source is read from. */
export function storedUrl(storage, uri) {
  const [, bucket, object] = /^gs:\/\/([^/]+)\/(.+)$/.exec(uri ?? '') ?? [];
  return storage && bucket ? `${address({ ...storage, bucket }, object)}?alt=media` : null;
}

/** One upload, with progress, that can be given up. */
function send(url, file, progress, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open('POST', url);
    request.setRequestHeader('content-type', file.type || 'application/octet-stream');
    request.upload.onprogress = (event) => progress(event.loaded / file.size);
    request.onload = () => (request.status === 200 ? resolve() : reject(new Error(`the storage answered ${request.status}`)));
    request.onerror = () => reject(new Error('the connection to the storage broke'));
    request.onabort = () => reject(signal.reason);
    signal.addEventListener('abort', () => request.abort(), { once: true });
    request.send(file);
  });
}

/** Stores files, one at a time. */
export class Uploads {
  #storage;
  #draft;
  #current = null;

  constructor(storage, draft) {
    this.#storage = storage;
    this.#draft = draft;
  }

  /** Begins to store a file as the draft's source. Returns at once; `finished` tells how it went. */
  begin(file) {
    this.#current?.abort(new Error('another file was chosen'));
    const object = objectName(file);
    const source = { name: file.name, bytes: file.size, uri: `gs://${this.#storage.bucket}/${object}`, stored: false, uploaded: 0, problem: null };
    this.#draft.open(source);
    this.#store(file, object);
  }

  /** The same file again, after a failure. */
  async #store(file, object) {
    const end = new AbortController();
    this.#current = end;
    const learn = (fields) => end.signal.aborted || this.#draft.learn(fields);
    this.again = () => {
      learn({ problem: null, uploaded: 0 });
      this.#store(file, object);
    };
    try {
      // A list that may be empty: asking for an object that is not there would be an error on the console.
      const listed = await fetch(`${this.#storage.url}/storage/v1/b/${this.#storage.bucket}/o?${new URLSearchParams({ prefix: object })}`, { signal: end.signal });
      const { items = [] } = listed.ok ? await listed.json() : {};
      if (!items.some(({ name, size }) => name === object && Number(size) === file.size)) {
        const query = new URLSearchParams({ uploadType: 'media', name: object });
        const url = `${this.#storage.url}/upload/storage/v1/b/${this.#storage.bucket}/o?${query}`;
        await send(url, file, (share) => learn({ uploaded: Math.min(share, 0.999) }), end.signal);
      }
      learn({ stored: true, uploaded: 1 });
    } catch (error) {
      const why = error instanceof TypeError ? 'the storage cannot be reached' : error.message;
      learn({ problem: `The upload failed: ${why}.` });
    }
  }

  /** Gives up what is being stored. */
  stop() {
    this.#current?.abort(new Error('the source was closed'));
  }
}

/** Resolves when the draft's source is stored; rejects when that fails or the source changes. */
export function stored(draft) {
  const { uri } = draft.source;
  return new Promise((resolve, reject) => {
    const look = () => {
      const { source } = draft;
      const settle = (end, value) => {
        draft.removeEventListener('change', look);
        end(value);
      };
      if (source?.uri !== uri) {
        settle(reject, new Error('Another source was chosen.'));
      } else if (source.problem) {
        settle(reject, new Error(source.problem));
      } else if (source.stored) {
        settle(resolve, source);
      }
    };
    draft.addEventListener('change', look);
    look();
  });
}

/** The empty page: a place to drop a file, or to name an object. */
export function welcome({ settings, onFile, onUri }) {
  const problem = h('p', { class: 'problem', role: 'alert' });
  const picker = h('input', { type: 'file', id: 'file', class: 'unseen', accept: 'video/*,.mkv,.mov,.webm', onchange: () => take(picker.files) });
  const take = (files) => {
    const [file] = files;
    if (file?.size > 0) {
      onFile(file);
    } else if (file) {
      write(problem, `${file.name} is empty.`);
    }
  };
  const uri = h('input', { type: 'text', id: 'uri', placeholder: 'gs://bucket/video.mp4', spellcheck: 'false', autocomplete: 'off', required: true });
  const form = h('form', {
    class: 'inline',
    onsubmit: (event) => {
      event.preventDefault();
      const given = uri.value.trim();
      const good = /^gs:\/\/[a-z0-9._-]{3,222}\/.+$/.test(given);
      write(problem, good ? '' : `The address must look like gs://bucket/video.mp4, not “${given}”.`);
      uri.setAttribute('aria-invalid', String(!good));
      if (good) {
        onUri(given);
      }
    },
  }, h('label', { for: 'uri' }, settings.storage ? 'or a video that is stored already' : 'A video in Cloud Storage'), uri, h('button', { type: 'submit', class: 'plain' }, 'Open'));

  const drop = settings.storage && h('div', { class: 'drop' },
    h('h1', {}, 'One long video in, every clip out'),
    h('p', {}, 'Drop a video here. It stays on this fleet.'),
    picker, h('label', { for: 'file', class: 'primary' }, 'Choose a video'));
  const all = h('div', { class: 'welcome' }, drop || h('h1', {}, 'One long video in, every clip out'), form, problem);
  return { element: all, take };
}

/** Lets files be dropped anywhere on the page. */
export function acceptDrops(take) {
  let depth = 0;
  const mark = (change) => {
    depth = Math.max(0, depth + change);
    document.body.classList.toggle('dropping', depth > 0);
  };
  const carries = (event) => event.dataTransfer?.types.includes('Files');
  addEventListener('dragenter', (event) => carries(event) && mark(1));
  addEventListener('dragleave', (event) => carries(event) && mark(-1));
  addEventListener('dragover', (event) => carries(event) && event.preventDefault());
  addEventListener('drop', (event) => {
    if (carries(event)) {
      event.preventDefault();
      mark(-depth);
      take(event.dataTransfer.files);
    }
  });
}

/** What is known about the source in a line. */
export function sourceLine({ bytes, width, height, uri }) {
  return [bytes && size(bytes), width && `${width} × ${height}`, !bytes && uri].filter(Boolean).join(' · ');
}

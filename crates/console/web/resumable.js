// Google's resumable uploads (JSON API, `uploadType=resumable`): a session takes chunks and says how far it got, so
// that an upload continues after a lost connection or a reload.

import { readableUrl } from './source.js';

/** Bytes of a request; a multiple of 256 KiB, as the protocol demands. What a broken connection costs at most. */
export const CHUNK_BYTES = 8 * 1_024 * 1_024;

/** Failures in a row before an upload gives up, and the first wait between them, which doubles. */
const MAX_FAILURES = 5;
const FIRST_WAIT_MS = 500;

/**
 * A request that failed: `status` is the storage's answer, 0 without one. After a `retryable` one the session may still
 * take bytes.
 */
class UploadError extends Error {
  constructor(status, message = `the storage answered ${status}`) {
    super(message);
    this.status = status;
    this.retryable = status === 0 || status === 429 || status >= 500;
  }
}

const pause = (ms, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener(
      'abort',
      () => {
        clearTimeout(timer);
        reject(signal.reason);
      },
      { once: true },
    );
  });

/** Begins a session; returns its URI. */
async function begin({ storage, object, file, signal }) {
  const query = new URLSearchParams({ uploadType: 'resumable', name: object });
  const response = await fetch(`${storage.url}/upload/storage/v1/b/${storage.bucket}/o?${query}`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      'x-upload-content-type': file.type || 'application/octet-stream',
      'x-upload-content-length': String(file.size),
    },
    body: '{}',
    signal,
  });
  const uri = response.headers.get('location');
  if (!response.ok || !uri) {
    throw new UploadError(response.status);
  }
  return uri;
}

/** One PUT to the session. Resolves to the number of stored bytes, `null` if the session is gone. */
function put(session, { storage, range, body, size, signal, onProgress = () => {} }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const abort = () => request.abort();
    request.open('PUT', readableUrl(storage, session));
    request.setRequestHeader('content-range', range);
    request.upload.onprogress = ({ loaded }) => onProgress(loaded);
    request.onload = () => {
      if (request.status === 200 || request.status === 201) {
        resolve(size);
      } else if (request.status === 308) {
        const last = /-(\d+)$/.exec(request.getResponseHeader('range') ?? '')?.[1];
        resolve(last === undefined ? 0 : Number(last) + 1);
      } else if (request.status === 404 || request.status === 410) {
        resolve(null);
      } else {
        reject(new UploadError(request.status));
      }
    };
    request.onerror = () => reject(new UploadError(0, 'the connection to the storage broke'));
    request.onabort = () => reject(signal.reason);
    request.onloadend = () => signal.removeEventListener('abort', abort);
    signal.addEventListener('abort', abort);
    request.send(body);
  });
}

/**
 * Stores `file`, from where `session` is if there is one. `onStored` is given the session's URI and the number of
 * stored bytes after each request, and `onProgress` the number of bytes that are stored or on their way. `signIn` is
 * waited for where the storage demands that somebody signs in, and the upload goes on.
 */
export async function upload({ storage, object, file, session, signal, signIn, onStored, onProgress }) {
  const { size } = file;
  let [uri, stored, failures] = [session ?? null, session ? undefined : 0, 0];
  while (stored !== size) {
    try {
      if (!uri) {
        uri = await begin({ storage, object, file, signal });
        stored = 0;
      } else if (stored === undefined) {
        stored = await put(uri, { storage, range: `bytes */${size}`, body: null, size, signal });
      } else {
        const end = Math.min(stored + CHUNK_BYTES, size);
        const from = stored;
        const body = file.slice(from, end);
        stored = await put(uri, {
          storage,
          range: `bytes ${from}-${end - 1}/${size}`,
          body,
          size,
          signal,
          onProgress: (sent) => onProgress(from + sent),
        });
      }
      failures = 0;
      uri = stored === null ? null : uri;
      onProgress(stored ?? 0);
      await onStored(uri, stored ?? 0);
    } catch (error) {
      if (!signal.aborted && error.status === 401) {
        await signIn(signal);
      } else {
        failures += 1;
        const broken = error.retryable || error instanceof TypeError;
        if (signal.aborted || !broken || failures > MAX_FAILURES) {
          throw error instanceof TypeError ? new UploadError(0, 'the storage cannot be reached') : error;
        }
        await pause(FIRST_WAIT_MS * 2 ** (failures - 1), signal);
      }
      // How much of the broken request arrived only the session knows.
      stored = uri ? undefined : stored;
    }
  }
}

// The browser client of Clipfleet: starts all clips of a video at once, follows each, and finds them again after a reload.
//
// One file without dependencies; copy it, or import it from a fleet that serves its console (`/console/clipfleet.js`).
// What it talks to: the dispatcher's HTTP API, and for progress either that or Firestore through the functions of the Firebase
// SDK, which the caller passes in, so that this file fits any version of it. All of it is described in crates/console/README.md.

/**
 * Where a clip stands; the value of one key of `activeExports`.
 * @typedef {object} ClipExport
 * @property {'queued'|'processing'|'completed'|'failed'|'cancelled'} status
 * @property {number} progress whole percents; never falls, except that a retry begins anew
 * @property {string} phase queued, fetching, encoding, verifying, uploading or done
 * @property {number|null} etaSeconds
 * @property {string|null} outputUrl where the finished clip can be played and downloaded; null in a fleet whose
 *   documents hold no links: ask {@link clipLinks}
 * @property {{code: string, message: string, retryable: boolean}|null} error
 * @property {number} generation 0, and one more with each retry
 * @property {number} attempt
 * @property {string|null} worker
 * @property {string|null} encoder
 * @property {string|null} decoder
 * @property {string|null} fallbackReason why it is not made in the best way there is
 * @property {string|null} coverUrl a picture of the clip; null as outputUrl is
 * @property {string|null} outputUri
 * @property {number|null} outputSizeBytes
 * @property {number|null} durationMs
 * @property {boolean} reused the fleet had made this very clip before, and its file was used
 */

/**
 * @typedef {object} BatchExport
 * @property {string} batchId
 * @property {'queued'|'processing'|'completed'|'partial'|'failed'|'cancelled'} status
 * @property {number} progress mean of the clips, percent
 * @property {number|null} totalClips
 * @property {number|null} etaSeconds
 * @property {object|null} error
 * @property {string|null} ownerUid
 * @property {string|null} createdAt
 * @property {string|null} sourceUri gs://bucket/object; only the dispatcher's API tells it
 */

/**
 * Where a completed clip is read.
 * @typedef {object} ClipLinks
 * @property {string} batchId
 * @property {string} clipId
 * @property {string} outputUrl the video
 * @property {string|null} coverUrl null without a cover
 * @property {string|null} expireTime RFC 3339, when both stop working; null if they do not
 */

/**
 * How requests to the dispatcher are sent; a part of the options of every function that sends some.
 * @typedef {object} RequestOptions
 * @property {string} [api] address of the dispatcher; this page's own when left out
 * @property {(refresh: boolean) => string|Promise<string>} [token] an ID token, sent as `Authorization: Bearer`. Asked
 *   for before each request, with `true` after a 401: `(refresh) => user.getIdToken(refresh)` with Firebase
 * @property {object|(() => object|Promise<object>)} [headers] further headers
 * @property {(signal?: AbortSignal) => Promise<void>} [signIn] called after a 401; the request is sent once more when
 *   it resolves, however long that takes
 * @property {AbortSignal} [signal]
 * @property {number} [timeoutMs] how long a failure that may pass is retried, 30,000 when left out
 */

/** A request that was refused or not answered. `retryable` says whether the same may succeed later. */
export class ClipfleetError extends Error {
  constructor(code, message, { status = 0, details = [], retryable = false } = {}) {
    super(message);
    this.name = 'ClipfleetError';
    Object.assign(this, { code, status, details, retryable });
  }
}

/** Whether nothing more will happen to a clip or batch by itself. */
export const isOver = (status) => ['completed', 'partial', 'failed', 'cancelled'].includes(status);

/* ---------- the HTTP API ---------- */

/** Waits between tries, milliseconds: half a second, doubled to 8 s, each drawn from its upper half so that pages do not knock together. */
const backoff = (tries) => Math.min(8_000, 500 * 2 ** tries) * (0.5 + Math.random() / 2);

/** Longest wait for one answer, milliseconds; a cold start included. */
const ANSWER_MS = 15_000;

const pause = (ms, signal) => new Promise((resolve, reject) => {
  const stop = () => { clearTimeout(timer); reject(signal.reason); };
  const timer = setTimeout(() => { signal?.removeEventListener('abort', stop); resolve(); }, ms);
  signal?.addEventListener('abort', stop, { once: true });
});

/** One request. After a 401 it is sent once more with a new token, or after signing in. */
async function once(method, path, options, body) {
  try {
    return await send(method, path, options, body, false);
  } catch (error) {
    if (error.status !== 401 || !(options.token || options.signIn)) {
      throw error;
    }
    await options.signIn?.(options.signal);
    return send(method, path, options, body, true);
  }
}

/** The headers of a request. A token that was refused is asked for anew. */
async function headersOf({ headers, token }, body, refused) {
  const bearer = token && `Bearer ${await token(refused)}`;
  return {
    ...(body && { 'content-type': 'application/json' }),
    ...(bearer && { authorization: bearer }),
    ...(typeof headers === 'function' ? await headers() : headers),
  };
}

async function send(method, path, options, body, refused) {
  const { api = '', signal, fetch = globalThis.fetch } = options;
  signal?.throwIfAborted();
  const late = AbortSignal.timeout(ANSWER_MS);
  const either = new AbortController();
  const forward = (event) => either.abort(event.target.reason);
  for (const source of [late, signal]) {
    source?.addEventListener('abort', forward, { once: true });
  }
  try {
    const headers = await headersOf(options, body, refused);
    const request = { method, headers, body: body && JSON.stringify(body), signal: either.signal };
    const response = await fetch(api + path, request);
    const text = await response.text();
    let answer = null;
    try {
      answer = JSON.parse(text);
    } catch {
      // A page of some front end; the status says enough.
    }
    if (response.ok && answer !== null) {
      return answer;
    }
    const { code = 'unexpected_answer', message = `the server answered ${response.status}`, details = [] } = answer?.error ?? {};
    const retryable = response.status === 429 || response.status >= 500;
    throw new ClipfleetError(code, message, { status: response.status, details, retryable });
  } catch (error) {
    if (error instanceof ClipfleetError || signal?.aborted) {
      throw error;
    }
    const why = late.aborted ? `no answer within ${ANSWER_MS / 1_000} s` : error.message;
    throw new ClipfleetError('unreachable', `the fleet cannot be reached (${why})`, { retryable: true });
  } finally {
    signal?.removeEventListener('abort', forward);
  }
}

/** One request to the dispatcher; what may pass is asked again for `timeoutMs`. Every request of the API may be repeated. */
async function call(method, path, options, body) {
  const until = Date.now() + (options.timeoutMs ?? 30_000);
  for (let tries = 0; ; tries += 1) {
    try {
      return await once(method, path, options, body);
    } catch (error) {
      const wait = backoff(tries);
      if (!error.retryable || Date.now() + wait > until) {
        throw error;
      }
      await pause(wait, options.signal);
    }
  }
}

/**
 * One page of the fleet's batches, newest first, no matter who started them.
 *
 * @param {{ownerUid?: string, projectId?: string, status?: string, pageSize?: number, pageToken?: string}} [filter]
 *   `pageToken` is the `nextPageToken` of the page before
 * @param {RequestOptions} [options]
 * @returns {Promise<{batches: object[], nextPageToken: string}>} `nextPageToken` is empty on the last page
 */
export function listBatches(filter = {}, options = {}) {
  const given = Object.entries(filter).filter(([, value]) => value !== undefined && value !== null && value !== '');
  const query = given.length > 0 ? `?${new URLSearchParams(given)}` : '';
  return call('GET', `/v1/batches${query}`, options);
}

/** Where one ZIP file of a batch's completed clips is downloaded; 409 while there is none. */
export const downloadUrl = (batchId, { api = '' } = {}) => `${api}${pathOf(batchId)}/clips.zip`;

const pathOf = (batchId, clipId) =>
  `/v1/batches/${encodeURIComponent(batchId)}` + (clipId === undefined || clipId === null ? '' : `/clips/${encodeURIComponent(clipId)}`);

/**
 * Where a completed clip's video and cover can be read now. For fleets whose documents hold no links, since they are
 * signed when they are read; others answer with the links of the document. Ask when the clip is played or downloaded
 * rather than before: a signed link works for an hour.
 *
 * Rejects with a {@link ClipfleetError}: `clip_not_completed` (409), `links_disabled` (409: this fleet gives none),
 * 404 for a clip that does not exist or belongs to another owner.
 *
 * @param {string} batchId
 * @param {string} clipId
 * @param {RequestOptions & {transport?: Transport}} [options] `transport` is {@link restPolling}, or one for Firestore
 *   that was given `getLinks`; without a transport, the dispatcher is asked with the other options
 * @returns {Promise<ClipLinks>}
 */
export async function clipLinks(batchId, clipId, { transport, ...options } = {}) {
  if (transport && !transport.links) {
    throw new TypeError('clipLinks: the transport has no links: give firestoreListener or firestorePolling getLinks');
  }
  const ask = transport?.links ?? restLinks({});
  const { outputUrl, coverUrl = null, expireTime = null } = await ask(batchId, clipId, options);
  return { batchId, clipId, outputUrl, coverUrl, expireTime };
}

const restLinks = (general) => (batchId, clipId, options) =>
  call('GET', `${pathOf(batchId, clipId)}:links`, { ...general, ...options });

/** The callable function of a product in place of the dispatcher; `undefined` without one. */
const linksBy = (getLinks) => getLinks && ((batchId, clipId) => getLinks({ batchId, clipId }));

/* ---------- Export All ---------- */

/** An id for a batch, by which repeated requests are recognized. */
export function newBatchId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  const time = Date.now().toString(36).padStart(9, '0');
  return `web-${time}-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')}`;
}

/** Which clips an error is about: index to reasons. Nothing if it is (also) about something else. */
function blamed(error) {
  const details = Array.isArray(error?.details) ? error.details : error?.details?.violations ?? [];
  const by = new Map();
  for (const { field = '', reason = '' } of details) {
    const index = /^clips\[(\d+)\]/.exec(field)?.[1];
    if (index === undefined) {
      return new Map();
    }
    const said = `${field.replace(/^clips\[\d+\]\.?/, '') || 'clip'} ${reason}`;
    by.set(Number(index), [...(by.get(Number(index)) ?? []), { field, reason, said }]);
  }
  return by;
}

/**
 * Starts every clip at once. A clip that is refused does not keep the others from starting: the outcome is one entry per clip, as
 * of `Promise.allSettled`, in the order given. Safe to repeat with the same `batchId`: nothing is made twice.
 *
 * @param {Array<{clipId?: string, startMs: number, endMs: number, reframe?: object, audio?: object, coverAtMs?: number}>} clips
 * @param {object} options
 * @param {string|{uri: string, generation?: string}} options.source `gs://bucket/object`
 * @param {string} options.ownerUid
 * @param {string} options.projectId
 * @param {object} [options.output] quality, aspect, fps, prefix
 * @param {string} [options.batchId] makes it idempotent; made up when left out
 * @param {string} [options.api] see {@link RequestOptions}, whose other members are taken, too
 * @param {(request: object) => Promise<object>} [options.submit] sends the request in another way, such as a callable function
 * @param {Storage|null} [options.storage] where batches are remembered; `localStorage` when left out, `null` for nowhere
 * @param {object} [options.note] kept with the remembered batch, for example a title
 * @param {AbortSignal} [options.signal]
 * @returns {Promise<{batchId: string, results: Array<{clipId: string, status: 'fulfilled', value: {document: string}}
 *   | {clipId: string, status: 'rejected', reason: Error}>}>}
 */
export async function exportAll(clips, options) {
  if (!Array.isArray(clips) || clips.length === 0) {
    throw new TypeError('exportAll: clips must be an array of at least one clip');
  }
  const { source, ownerUid, projectId, output, submit, storage, note } = options;
  const batchId = options.batchId ?? newBatchId();
  const send = submit ?? ((request) => call('POST', '/v1/batches', options, request));
  const all = clips.map((clip, index) => ({ ...clip, clipId: clip.clipId ?? `clip-${index + 1}` }));
  const base = { batchId, ownerUid, projectId, source: typeof source === 'string' ? { uri: source } : source, ...(output && { output }) };
  const outcome = new Map();
  const refuse = (index, reason) => outcome.set(index, { clipId: all[index].clipId, status: 'rejected', reason });

  let waiting = all.map((_, index) => index);
  // Each round starts the rest or refuses at least one clip. A refused request leaves nothing behind, so the id is still free.
  while (waiting.length > 0) {
    try {
      const answer = await send({ ...base, clips: waiting.map((index) => all[index]) });
      const documents = new Map((answer?.clips ?? []).map((clip) => [clip.clipId, clip.document]));
      for (const index of waiting) {
        const { clipId } = all[index];
        const document = documents.get(clipId) ?? `exportBatches/${batchId}/clips/${clipId}`;
        outcome.set(index, { clipId, status: 'fulfilled', value: { document } });
      }
      remember({ batchId, clipIds: waiting.map((index) => all[index].clipId), createdAt: Date.now(), over: false, ...note }, storage);
      break;
    } catch (error) {
      const bad = blamed(error);
      if (bad.size === 0 || Array.from(bad.keys()).some((index) => index >= waiting.length)) {
        waiting.forEach((index) => refuse(index, error));
        break;
      }
      for (const [index, reasons] of bad) {
        const message = reasons.map(({ said }) => said).join('; ');
        refuse(waiting[index], new ClipfleetError(error.code ?? 'invalid_request', message, { status: error.status, details: reasons }));
      }
      waiting = waiting.filter((_, index) => !bad.has(index));
    }
  }
  return { batchId, results: all.map((_, index) => outcome.get(index)) };
}

/** Cancels a batch's clips that are not over, or one of them. Resolves to the ids concerned. */
export const cancel = (batchId, clipId, options = {}) => act('cancel', batchId, clipId, options);

/** Starts a batch's failed and cancelled clips again, or one of them, as a new generation. Resolves to the ids concerned. */
export const retry = (batchId, clipId, options = {}) => act('retry', batchId, clipId, options);

async function act(verb, batchId, clipId, options) {
  const answer = await call('POST', `${pathOf(batchId, clipId)}:${verb}`, options);
  if (verb === 'retry') {
    amend(batchId, { over: false, status: null }, options.storage);
  }
  watching.get(batchId)?.forEach((watch) => watch.refresh());
  return (answer.clips ?? []).map((clip) => clip.clipId);
}

/* ---------- following a batch ---------- */

/** A clip before the first document of it exists. */
export const QUEUED = Object.freeze({
  status: 'queued', progress: 0, phase: 'queued', etaSeconds: null, outputUrl: null, error: null, generation: 0, attempt: 0,
  worker: null, encoder: null, decoder: null, fallbackReason: null, coverUrl: null, outputUri: null, outputSizeBytes: null, durationMs: null,
  reused: false,
});

/**
 * What a clip's document makes of what was known. Answers may come late and in any order: an earlier generation, or a clip at work
 * that was known to be over, changes nothing, and percents never fall.
 */
export function fold(known, document) {
  const generation = Number(document.generation ?? 0);
  const same = known !== undefined && generation === known.generation;
  if (known && (generation < known.generation || (same && isOver(known.status) && !isOver(document.status)))) {
    return known;
  }
  const next = { ...QUEUED };
  for (const name of Object.keys(QUEUED)) {
    const value = document[name];
    if (value !== undefined && value !== null && value !== '') {
      next[name] = value;
    }
  }
  next.generation = generation;
  next.progress = Math.max(same ? known.progress : 0, Number(document.progress ?? 0));
  if (isOver(next.status)) {
    next.etaSeconds = null;
  }
  return known && JSON.stringify(known) === JSON.stringify(next) ? known : next;
}

function foldBatch(known, document, batchId, began) {
  const whole = {
    status: 'queued', progress: 0, totalClips: null, etaSeconds: null, error: null, ownerUid: null, createdAt: null,
    sourceUri: null,
  };
  for (const name of Object.keys(whole)) {
    whole[name] = document?.[name] ?? whole[name];
  }
  whole.progress = Math.max(Number(whole.progress), began ? 0 : known?.progress ?? 0);
  return { batchId, ...whole };
}

/** Watches of this page by batch, so that a cancel or retry shows at once. */
const watching = new Map();

/**
 * Follows a batch until told to stop.
 *
 * @param {string} batchId
 * @param {(activeExports: Object<string, ClipExport>, batch: BatchExport) => void} callback called with a new object whenever
 *   something changed; clips that did not are the same objects as before
 * @param {object} [options]
 * @param {Transport} [options.transport] `restPolling()` when left out
 * @param {string[]} [options.clipIds] known ids: shown as queued until their documents exist
 * @param {(error: Error) => void} [options.onError] told of each failed look; the watch goes on
 * @param {AbortSignal} [options.signal] stops the watch
 * @returns {{stop: () => void, refresh: () => void, done: Promise<Object<string, ClipExport>>}} `done` resolves the first time that every
 *   clip is over
 */
export function watchBatch(batchId, callback, { transport = restPolling(), clipIds, onError, signal, storage } = {}) {
  const known = recall(storage).find((batch) => batch.batchId === batchId);
  let exports = Object.fromEntries((clipIds ?? known?.clipIds ?? []).map((clipId) => [clipId, QUEUED]));
  let batch = foldBatch(undefined, null, batchId, true);
  let stopped = false;
  let finish;
  const done = new Promise((resolve) => { finish = resolve; });

  const next = ({ batch: batchDocument, clips }) => {
    if (stopped) {
      return;
    }
    const found = {};
    for (const document of clips) {
      found[document.clipId] = fold(exports[document.clipId], document);
    }
    const began = Object.entries(found).some(([id, clip]) => clip.generation > (exports[id]?.generation ?? 0));
    const whole = foldBatch(batch, batchDocument, batchId, began);
    if (whole.status === 'failed' && clips.length === 0) {
      // Refused as a whole: there are no clips, only the reason.
      Object.keys(exports).forEach((id) => { found[id] = { ...QUEUED, status: 'failed', error: whole.error }; });
    }
    const changed = Object.entries(found).some(([id, clip]) => exports[id] !== clip);
    if (changed || JSON.stringify(whole) !== JSON.stringify(batch) || !told) {
      exports = { ...exports, ...found };
      batch = whole;
      tell();
      note();
    }
  };
  let told = false;
  const tell = () => {
    told = true;
    callback(exports, batch);
  };
  let over = known?.over === true;
  const note = () => {
    const every = Object.values(exports);
    const now = isOver(batch.status) && every.length >= (batch.totalClips ?? 0) && every.every((clip) => isOver(clip.status));
    // An end may be taken back: documents that have not heard of a retry yet still tell of the end before it.
    if (now || over) {
      amend(batchId, { over: now, status: now ? batch.status : null }, storage);
    }
    over = now;
    if (now) {
      finish(exports);
    }
  };
  const error = (reason) => stopped || onError?.(reason);

  const source = transport(batchId, { next, error });
  const watch = {
    stop() {
      stopped = true;
      source.stop();
      watching.get(batchId)?.delete(watch);
      signal?.removeEventListener('abort', watch.stop);
    },
    refresh: () => source.refresh?.(),
    done,
  };
  watching.set(batchId, (watching.get(batchId) ?? new Set()).add(watch));
  if (signal?.aborted) {
    watch.stop();
  } else {
    signal?.addEventListener('abort', watch.stop, { once: true });
    if (Object.keys(exports).length > 0) {
      queueMicrotask(() => stopped || told || tell());
    }
  }
  return watch;
}

/**
 * How news of a batch comes in: calls `next` with the documents as plain objects (`batch` is null while there is none) and `error` with
 * what went wrong on the way, until stopped.
 * @typedef {(batchId: string, observer: {next: (news: {batch: object|null, clips: object[]}) => void, error: (reason: Error) => void})
 *   => {stop: () => void, refresh?: () => void}} Transport
 * It may have a function `links(batchId, clipId, options)`, for {@link clipLinks}.
 */

/** How long an unknown batch is taken for one on its way, milliseconds; after that it is an error. */
const UNKNOWN_MS = 30_000;

/**
 * Polls the dispatcher: `GET /v1/batches/{batch}`. Options as of {@link exportAll}, and `everyMs`. A request that was
 * sent to the topic may be accepted late, so an unknown batch counts as queued for `unknownMs`. With 0, the first answer
 * is final.
 */
export function restPolling({ everyMs = 1_000, unknownMs = UNKNOWN_MS, ...options } = {}) {
  const transport = polling(everyMs, async (batchId, signal, sinceMs) => {
    try {
      const { clips, ...batch } = await once('GET', pathOf(batchId), { ...options, signal });
      return { batch, clips };
    } catch (error) {
      if (error.status === 404 && Date.now() - sinceMs < unknownMs) {
        return { batch: null, clips: [] };
      }
      throw error;
    }
  });
  return Object.assign(transport, { links: restLinks(options) });
}

/**
 * Polls Firestore with the functions of `firebase/firestore/lite` (or the whole SDK): `doc`, `getDoc`, `collection`, `getDocs`. Rules
 * that let owners alone read their batches need `ownerUid`, and with it `query` and `where`. `getLinks`, for example a
 * callable function, is given `{batchId, clipId}` and resolves to {@link ClipLinks}.
 */
export function firestorePolling(options) {
  const { db, doc, getDoc, collection, getDocs, query, where, ownerUid, getLinks, everyMs = 2_000 } = options;
  const clipsOf = clipsQuery({ db, collection, query, where, ownerUid });
  const transport = polling(everyMs, async (batchId) => {
    const [batch, clips] = await Promise.all([getDoc(doc(db, 'exportBatches', batchId)), getDocs(clipsOf(batchId))]);
    return { batch: batch.exists() ? batch.data() : null, clips: clips.docs.map((clip) => ({ clipId: clip.id, ...clip.data() })) };
  });
  return Object.assign(transport, { links: linksBy(getLinks) });
}

/**
 * Listens to Firestore with the functions of `firebase/firestore`: `doc`, `collection`, `onSnapshot`. See {@link firestorePolling} for
 * `ownerUid` and `getLinks`. A listener that ended by an error is started again after a while.
 */
export function firestoreListener({ db, doc, collection, onSnapshot, query, where, ownerUid, getLinks }) {
  const clipsOf = clipsQuery({ db, collection, query, where, ownerUid });
  const transport = (batchId, { next, error }) => {
    const seen = { batch: undefined, clips: undefined };
    const news = (part) => {
      Object.assign(seen, part);
      if (seen.batch !== undefined && seen.clips !== undefined) {
        next({ batch: seen.batch, clips: seen.clips });
      }
    };
    const ends = [
      listening((ok, failed) => onSnapshot(doc(db, 'exportBatches', batchId), (found) => {
        ok();
        news({ batch: found.exists() ? found.data() : null });
      }, failed), error),
      listening((ok, failed) => onSnapshot(clipsOf(batchId), (found) => {
        ok();
        news({ clips: found.docs.map((clip) => ({ clipId: clip.id, ...clip.data() })) });
      }, failed), error),
    ];
    return { stop: () => ends.forEach((end) => end()) };
  };
  return Object.assign(transport, { links: linksBy(getLinks) });
}

function clipsQuery({ db, collection, query, where, ownerUid }) {
  if (ownerUid !== undefined && !(query && where)) {
    throw new TypeError('firestore transport: ownerUid needs the SDK functions query and where');
  }
  return (batchId) => {
    const clips = collection(db, 'exportBatches', batchId, 'clips');
    return ownerUid === undefined ? clips : query(clips, where('ownerUid', '==', ownerUid));
  };
}

/** Keeps a listener alive; returns its end. */
function listening(listen, error) {
  let [tries, timer, unsubscribe, stopped] = [0, null, () => {}, false];
  const start = () => {
    unsubscribe = listen(() => { tries = 0; }, (reason) => {
      if (stopped) {
        return;
      }
      error(reason);
      timer = setTimeout(start, backoff(tries));
      tries += 1;
    });
  };
  start();
  return () => {
    stopped = true;
    clearTimeout(timer);
    unsubscribe();
  };
}

/** Looks every `everyMs`; ten times as seldom when all is over, since somebody may retry. Failed looks are repeated with backoff. */
function polling(everyMs, look) {
  return (batchId, { next, error }) => {
    const end = new AbortController();
    let wake = () => {};
    const rest = (ms) => new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      wake = () => { clearTimeout(timer); resolve(); };
    });
    let asked = false;
    const sinceMs = Date.now();
    const loop = async () => {
      let tries = 0;
      while (!end.signal.aborted) {
        asked = false;
        try {
          const news = await look(batchId, end.signal, sinceMs);
          tries = 0;
          next(news);
          const over = news.batch !== null && isOver(news.batch.status) && news.clips.every((clip) => isOver(clip.status));
          if (!asked && !end.signal.aborted) {
            await rest(over ? 10 * everyMs : everyMs);
          }
        } catch (reason) {
          if (end.signal.aborted) {
            return;
          }
          error(reason);
          await rest(backoff(tries));
          tries += 1;
        }
      }
    };
    loop();
    const refresh = () => { asked = true; wake(); };
    return { stop: () => { end.abort(); wake(); }, refresh };
  };
}

/* ---------- after a reload ---------- */

const KEY = 'clipfleet.batches';

/** Batches remembered; the oldest are forgotten. */
const REMEMBERED = 50;

/** Storage may be full, forbidden or absent: then nothing is remembered, and everything else works. */
const storeOf = (storage) => {
  try {
    return storage === undefined ? globalThis.localStorage : storage;
  } catch {
    return null;
  }
};

function recall(storage) {
  try {
    const found = JSON.parse(storeOf(storage)?.getItem(KEY) ?? '[]');
    return Array.isArray(found) ? found.filter((batch) => typeof batch?.batchId === 'string') : [];
  } catch {
    return [];
  }
}

function keep(batches, storage) {
  try {
    storeOf(storage)?.setItem(KEY, JSON.stringify(batches.slice(0, REMEMBERED)));
  } catch {
    // See storeOf.
  }
}

function remember(batch, storage) {
  keep([batch, ...recall(storage).filter((known) => known.batchId !== batch.batchId)], storage);
}

function amend(batchId, fields, storage) {
  const batches = recall(storage);
  const known = batches.find((batch) => batch.batchId === batchId);
  if (known) {
    Object.assign(known, fields);
    keep(batches, storage);
  }
}

/** The batches that were started from this browser, latest first: `{batchId, clipIds, createdAt, over, status, …note}`. */
export const rememberedBatches = ({ storage } = {}) => recall(storage);

/** Takes a batch off the list. The batch itself goes on. */
export const forgetBatch = (batchId, { storage } = {}) =>
  keep(recall(storage).filter((batch) => batch.batchId !== batchId), storage);

/**
 * Follows every remembered batch that was not over when the page was left. The options are those of {@link watchBatch}.
 * @param {(batchId: string, activeExports: Object<string, ClipExport>, batch: BatchExport) => void} callback
 * @returns {{batchIds: string[], stop: () => void}}
 */
export function resume(callback, options = {}) {
  const left = recall(options.storage).filter((batch) => !batch.over);
  const watches = left.map(({ batchId, clipIds }) =>
    watchBatch(batchId, (exports, batch) => callback(batchId, exports, batch), { ...options, clipIds }));
  return { batchIds: left.map(({ batchId }) => batchId), stop: () => watches.forEach((watch) => watch.stop()) };
}

// The functions of the tests in the page, which use only the SDK. All results are plain JSON.

import { initializeApp } from 'firebase/app';
import * as full from 'firebase/firestore';
import * as lite from 'firebase/firestore/lite';
import { connectStorageEmulator, getDownloadURL, getMetadata, getStorage, ref } from 'firebase/storage';

const clients = [];
const watches = [];

/** Fields as JSON: times as milliseconds. */
function plain(value) {
  if (value instanceof full.Timestamp || value instanceof lite.Timestamp) {
    return value.toMillis();
  }
  if (Array.isArray(value)) {
    return value.map(plain);
  }
  if (value !== null && typeof value === 'object') {
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, plain(inner)]));
  }
  return value;
}

function query(sdk, db, { collection, where = [], orderBy = [], limit }) {
  const parts = [...where.map((part) => sdk.where(...part)), ...orderBy.map((part) => sdk.orderBy(...part))];
  return sdk.query(sdk.collection(db, collection), ...parts, ...(limit ? [sdk.limit(limit)] : []));
}

/** A reference to a document, by its path, or a query. */
function reference(sdk, db, what) {
  return typeof what === 'string' ? sdk.doc(db, what) : query(sdk, db, what);
}

function toJson(snapshot) {
  const { fromCache, hasPendingWrites } = snapshot.metadata ?? {};
  const about = { at: Date.now(), fromCache, hasPendingWrites };
  if (snapshot.docs) {
    return { ...about, docs: snapshot.docs.map((doc) => ({ id: doc.id, ...plain(doc.data()) })) };
  }
  return { ...about, exists: snapshot.exists(), data: plain(snapshot.data()) ?? null };
}

async function outcome(promise) {
  try {
    return { done: plain((await promise) ?? null) };
  } catch (error) {
    return { code: error.code, message: error.message };
  }
}

window.api = {
  /** Connects another client, as a developer does. */
  connect({ sdk: name, project, host, port, settings = {} }) {
    const sdk = name === 'lite' ? lite : full;
    const app = initializeApp({ projectId: project, apiKey: 'none' }, `client-${clients.length}`);
    const db = sdk.initializeFirestore(app, settings);
    sdk.connectFirestoreEmulator(db, host, port);
    return clients.push({ sdk, db }) - 1;
  },

  /** Connects a client of Storage, as a developer does. */
  connectStorage({ project, host, port }) {
    const app = initializeApp({ projectId: project, apiKey: 'none' }, `client-${clients.length}`);
    const storage = getStorage(app);
    connectStorageEmulator(storage, host, port);
    return clients.push({ storage }) - 1;
  },

  downloadUrl: (client, uri) => outcome(getDownloadURL(ref(clients[client].storage, uri))),
  objectMetadata: (client, uri) =>
    outcome(getMetadata(ref(clients[client].storage, uri)).then(({ ref: _, ...metadata }) => metadata)),

  /** Fetches a link, as a page does without the SDK. */
  async fetchLink(url, range) {
    const response = await fetch(url, range ? { headers: { range } } : {});
    const bytes = new Uint8Array(await response.arrayBuffer());
    return { status: response.status, range: response.headers.get('content-range'), bytes: Array.from(bytes) };
  },

  /** Plays a link from its middle until it moves on; returns what the browser knows of the video. */
  async play(url) {
    const video = document.createElement('video');
    video.muted = true;
    video.src = url;
    const event = (name) =>
      new Promise((resolve, reject) => {
        video.addEventListener(name, resolve, { once: true });
        video.addEventListener('error', () => reject(new Error(video.error.message)), { once: true });
      });
    await event('loadedmetadata');
    const seeked = event('seeked');
    video.currentTime = video.duration / 2;
    await seeked;
    const moved = event('ended');
    await video.play();
    await moved;
    return { width: video.videoWidth, height: video.videoHeight, duration: video.duration };
  },

  /** Listens and records snapshots. `window.received`, if the test provides it, is called with each one. */
  watch(client, what) {
    const { sdk, db } = clients[client];
    const watch = { snapshots: [], error: null };
    const number = watches.push(watch) - 1;
    watch.end = sdk.onSnapshot(
      reference(sdk, db, what),
      (snapshot) => {
        watch.snapshots.push(toJson(snapshot));
        window.received?.(number, watch.snapshots.at(-1));
      },
      (error) => {
        watch.error = { code: error.code, message: error.message };
      },
    );
    return number;
  },

  snapshots: (watch) => watches[watch],
  unwatch: (watch) => watches[watch].end(),

  /** Terminates a client, as a closing page does. */
  leave: (client) => clients[client].sdk.terminate(clients[client].db),

  async get(client, what) {
    const { sdk, db } = clients[client];
    const read = typeof what === 'string' ? sdk.getDoc : sdk.getDocs;
    return toJson(await read(reference(sdk, db, what)));
  },

  async count(client, what) {
    const { sdk, db } = clients[client];
    const counted = await (sdk.getCountFromServer ?? sdk.getCount)(query(sdk, db, what));
    return counted.data().count;
  },

  set: (client, path, fields, options = {}) => {
    const { sdk, db } = clients[client];
    return outcome(sdk.setDoc(sdk.doc(db, path), fields, options));
  },

  update: (client, path, fields) => {
    const { sdk, db } = clients[client];
    return outcome(sdk.updateDoc(sdk.doc(db, path), fields));
  },

  delete: (client, path) => {
    const { sdk, db } = clients[client];
    return outcome(sdk.deleteDoc(sdk.doc(db, path)));
  },

  /** Every field transform of the SDK. */
  transform: (client, path) => {
    const { sdk, db } = clients[client];
    const { increment, arrayUnion, arrayRemove, deleteField, serverTimestamp } = sdk;
    const fields = { number: increment(5), list: arrayUnion('b'), gone: deleteField(), at: serverTimestamp() };
    return outcome(
      sdk.updateDoc(sdk.doc(db, path), fields).then(() => sdk.updateDoc(sdk.doc(db, path), { list: arrayRemove('a') })),
    );
  },

  /** Increments a field in several transactions. All have read the document before the first one writes. */
  transact: (client, path, times) => {
    const { sdk, db } = clients[client];
    const document = sdk.doc(db, path);
    let reads = 0;
    let release;
    const all = new Promise((resolve) => {
      release = resolve;
    });
    const once = () =>
      outcome(
        sdk.runTransaction(db, async (transaction) => {
          const found = await transaction.get(document);
          reads += 1;
          if (reads === times) {
            release();
          }
          await all;
          transaction.set(document, { number: (found.data()?.number ?? 0) + 1 });
        }),
      );
    return Promise.all(Array.from({ length: times }, once));
  },

  /** Writes several documents in one batch. */
  batch: (client, entries) => {
    const { sdk, db } = clients[client];
    const batch = sdk.writeBatch(db);
    entries.forEach(([path, fields]) => batch.set(sdk.doc(db, path), fields));
    return outcome(batch.commit());
  },
};
window.ready = true;

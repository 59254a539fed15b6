// What localStorage cannot hold: file handles of uploads, and pictures of drafts. IndexedDB, as promises.

const NAME = 'clipfleet';
const STORES = ['uploads', 'thumbnails'];

const settled = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

let opened = null;
function open() {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => STORES.forEach((store) => request.result.createObjectStore(store));
    settled(request).then(resolve, reject);
  });
  return opened;
}

/** Runs one request; where the browser allows no database there is nothing, and the page works without it. */
async function run(store, mode, request) {
  try {
    const database = await open();
    return await settled(request(database.transaction(store, mode).objectStore(store)));
  } catch {
    return undefined;
  }
}

export const getRecord = (store, key) => run(store, 'readonly', (objects) => objects.get(key));
export const putRecord = (store, key, value) => run(store, 'readwrite', (objects) => objects.put(value, key));
/** Deletes the records whose keys are not among `kept`. */
export async function pruneRecords(kept) {
  for (const store of STORES) {
    const keys = (await run(store, 'readonly', (objects) => objects.getAllKeys())) ?? [];
    await Promise.all(keys.filter((key) => !kept.includes(key)).map((key) => deleteRecord(store, key)));
  }
}

export const deleteRecord = (store, key) => run(store, 'readwrite', (objects) => objects.delete(key));

// Callable functions of a product that exports with Clipfleet. Who calls is checked here; what is asked for is checked by the
// dispatcher, whose answers are passed on.
//
//   exportAllClips         project document -> batch -> topic `export-requests`
//   exportAllClipsDirect   the same over the dispatcher's HTTP API, which names wrong fields at once
//   cancelExport, retryClip
//   getClipLinks           where a completed clip can be read now, in a fleet whose documents hold no links

import { Firestore } from '@google-cloud/firestore';
import { PubSub } from '@google-cloud/pubsub';
import { setGlobalOptions } from 'firebase-functions';
import { HttpsError, onCall } from 'firebase-functions/https';
import { Dispatcher } from './dispatcher.js';
import { asking, invalid } from './errors.js';
import { MAX_REQUEST_BYTES, badBatch, badCall, badId, batchId, batchOf } from './project.js';
import { REGION, SERVICE_ACCOUNT, readSettings } from './settings.js';

// Each call waits for at most three services, 15 s each. Ten instances of eighty calls are far beyond the clicks of a product's users,
// and bound what a caller gone wild can cost.
setGlobalOptions({ region: REGION, serviceAccount: SERVICE_ACCOUNT, memory: '256MiB', timeoutSeconds: 60, maxInstances: 10 });

/** Longest wait for Firestore or Pub/Sub. Their clients would go on trying for ten minutes, which nobody waits for. */
const REQUEST_TIMEOUT_MS = 10_000;

/** One message at a time and at once: a person waits for it. The client's own retries end before our patience does. */
const PUBLISHING = {
  batching: { maxMessages: 1 },
  gaxOpts: {
    retry: {
      backoffSettings: {
        initialRetryDelayMillis: 100,
        retryDelayMultiplier: 2,
        maxRetryDelayMillis: 1_000,
        initialRpcTimeoutMillis: 5_000,
        rpcTimeoutMultiplier: 1,
        maxRpcTimeoutMillis: 5_000,
        totalTimeoutMillis: REQUEST_TIMEOUT_MS - 2_000,
      },
    },
  },
};

let connected;

/** What the functions work with, made by the first call: when Firebase reads this file to deploy it, there are no settings yet. */
function fleet() {
  return (connected ??= connect());
}

function connect() {
  const { dispatcher, sourcePrefix, database } = readSettings();
  const exportRequests = new PubSub().topic('export-requests', PUBLISHING);
  // The product's documents are in its own database; the fleet's are in another one.
  const product = new Firestore();
  const batches = database === '(default)' ? product : new Firestore({ databaseId: database });
  return { product, batches, exportRequests, dispatcher: new Dispatcher(dispatcher), sourcePrefix };
}

/** The caller's uid, from the ID token that firebase-functions verified. */
function signedIn({ auth }) {
  if (!auth?.uid) {
    throw new HttpsError('unauthenticated', 'sign in first');
  }
  return auth.uid;
}

/** The data of a document of the product, or of a batch, or nothing. */
async function read(firestore, path) {
  const document = await asking('Firestore', REQUEST_TIMEOUT_MS, () => firestore.doc(path).get());
  return document.data();
}

/** The batch that a call asks for, once its caller may have it. */
async function requested(request) {
  const ownerUid = signedIn(request);
  const call = request.data ?? {};
  const bad = badCall(call);
  if (bad.length > 0) {
    throw invalid(bad);
  }
  const { projectId, requestId, clipIds, output } = call;
  const project = await read(fleet().product, `wizardProjects/${projectId}`);
  if (!project) {
    throw new HttpsError('not-found', `there is no project ${JSON.stringify(projectId)}`);
  }
  if (project.ownerUid !== ownerUid) {
    throw new HttpsError('permission-denied', 'the project belongs to somebody else');
  }
  // Whoever can write a project's document must not read other people's uploads through the fleet, which may read them all.
  const uri = project.source?.uri;
  const theirs = fleet().sourcePrefix(ownerUid);
  if (typeof uri === 'string' && !uri.startsWith(theirs)) {
    throw new HttpsError('permission-denied', `the project's source must lie under ${theirs}`);
  }
  const built = batchOf(project, { batchId: batchId(projectId, requestId), ownerUid, projectId, clipIds, output });
  if (built.bad.length > 0) {
    throw invalid(built.bad);
  }
  return built.batch;
}

/** What both ways of exporting answer: where to look from now on. */
function accepted({ batchId, clips }) {
  const document = `exportBatches/${batchId}`;
  return { batchId, document, clips: clips.map(({ clipId }) => ({ clipId, document: `${document}/clips/${clipId}` })) };
}

export const exportAllClips = onCall(async (request) => {
  const batch = await requested(request);
  const bad = badBatch(batch);
  const data = Buffer.from(JSON.stringify(batch));
  if (data.length > MAX_REQUEST_BYTES) {
    bad.push({ field: 'clips', reason: `must make a request of at most ${MAX_REQUEST_BYTES} bytes, got ${data.length}` });
  }
  if (bad.length > 0) {
    throw invalid(bad);
  }
  const { exportRequests } = fleet();
  await asking('Pub/Sub', REQUEST_TIMEOUT_MS, () => exportRequests.publishMessage({ data }));
  return accepted(batch);
});

export const exportAllClipsDirect = onCall(async (request) => {
  const batch = await requested(request);
  return accepted(await fleet().dispatcher.call('POST', '/v1/batches', batch));
});

/** The path of a batch, or of a clip in it, in the dispatcher's API, once the caller may act on it. */
async function owned(request, wanted) {
  const uid = signedIn(request);
  const call = request.data ?? {};
  const ids = wanted.filter((field) => field !== 'clipId?' || call.clipId !== undefined).map((field) => field.replace('?', ''));
  const bad = ids.map((field) => ({ field, reason: badId(call[field]) })).filter(({ reason }) => reason);
  if (bad.length > 0) {
    throw invalid(bad);
  }
  const path = `/v1/batches/${call.batchId}`;
  // There is no document in a batch's first moments; the dispatcher knows it already, or says that it does not.
  const batch = (await read(fleet().batches, `exportBatches/${call.batchId}`)) ?? (await fleet().dispatcher.call('GET', path));
  if (batch.ownerUid !== uid) {
    throw new HttpsError('permission-denied', 'the batch belongs to somebody else');
  }
  return ids.includes('clipId') ? `${path}/clips/${call.clipId}` : path;
}

export const cancelExport = onCall(async (request) => {
  const target = await owned(request, ['batchId', 'clipId?']);
  return fleet().dispatcher.call('POST', `${target}:cancel`);
});

export const retryClip = onCall(async (request) => {
  const target = await owned(request, ['batchId', 'clipId']);
  return fleet().dispatcher.call('POST', `${target}:retry`);
});

export const getClipLinks = onCall(async (request) => {
  const target = await owned(request, ['batchId', 'clipId']);
  return fleet().dispatcher.call('GET', `${target}:links`);
});

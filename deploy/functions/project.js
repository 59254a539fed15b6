// From a project's document to the batch that exports its clips. Another shape of document is a matter of this file alone.

import { createHash, randomUUID } from 'node:crypto';

/** Limits of the contract that a caller can meet; the dispatcher holds them, see `crates/domain/src/limits.rs`. */
const MAX_CLIPS = 1000;
const MIN_CLIP_MS = 100;
const MAX_CLIP_MS = 3_600_000;
export const MAX_REQUEST_BYTES = 2 << 20;

/** A clip in a project may carry more (a title, a score); the contract refuses fields that it does not know. */
const CLIP_FIELDS = ['clipId', 'startMs', 'endMs', 'reframe', 'coverAtMs', 'audio'];

/** `prefix` is not among them: where results go is not for a document to say that its user can write. */
const OUTPUT_FIELDS = ['quality', 'aspect', 'fps'];

const pick = (fields, from) => Object.fromEntries(fields.filter((name) => from?.[name] != null).map((name) => [name, from[name]]));
const shown = (value) => JSON.stringify(value) ?? 'nothing';

/** What is wrong with an id, or nothing. Ids become parts of Firestore paths and object names. */
export function badId(id) {
  if (typeof id !== 'string' || id === '') {
    return `must be an id, got ${shown(id)}`;
  }
  if (!/^[A-Za-z0-9_.-]{1,128}$/.test(id) || /^(\.|\.\.|__.*__)$/.test(id)) {
    return `must be 1 to 128 letters, digits, '-', '_' and '.', got ${shown(id.slice(0, 140))}`;
  }
}

/**
 * The batch's id. A caller that names its request may repeat it and starts nothing twice; the digest keeps the names of one
 * project apart from those of every other.
 */
export function batchId(projectId, requestId) {
  if (requestId === undefined) {
    return randomUUID();
  }
  return createHash('sha256').update(JSON.stringify([projectId, requestId])).digest('hex').slice(0, 32);
}

/** What is wrong with a call's fields. */
export function badCall({ projectId, requestId, clipIds, output }) {
  const bad = [];
  const add = (field, reason) => reason && bad.push({ field, reason });
  add('projectId', badId(projectId));
  if (requestId !== undefined && (typeof requestId !== 'string' || requestId === '' || requestId.length > 128)) {
    add('requestId', 'must be a text of 1 to 128 characters');
  }
  if (clipIds !== undefined && !(Array.isArray(clipIds) && clipIds.length <= MAX_CLIPS && clipIds.every((id) => typeof id === 'string'))) {
    add('clipIds', `must be a list of at most ${MAX_CLIPS} clip ids`);
  }
  if (output !== undefined && (output === null || typeof output !== 'object' || Array.isArray(output))) {
    add('output', `must be an object, got ${shown(output)}`);
  }
  return bad;
}

/** Builds the batch; `bad` names what the call asks of the project that it does not have. */
export function batchOf(project, { batchId, ownerUid, projectId, clipIds, output }) {
  const all = Array.isArray(project.clips) ? project.clips : [];
  const bad = [];
  const named = (id, index) => {
    const clip = all.find((clip) => clip?.clipId === id);
    if (!clip) {
      bad.push({ field: `clipIds[${index}]`, reason: `must be a clip of the project, got ${shown(id)}` });
    }
    return clip;
  };
  const clips = clipIds === undefined ? all : clipIds.map(named);
  const batch = {
    batchId,
    ownerUid,
    projectId,
    source: pick(['uri', 'generation'], project.source),
    output: { ...pick(OUTPUT_FIELDS, project.output), ...pick(OUTPUT_FIELDS, output) },
    clips: clips.map((clip) => pick(CLIP_FIELDS, clip)),
  };
  return { batch, bad };
}

/**
 * What is certainly wrong with a batch, named as the dispatcher names it. Who publishes gets no answer: what is said here needs
 * not be waited for in a document. The rest (codecs, keyframes, buckets) the dispatcher says there.
 */
export function badBatch({ clips }) {
  if (clips.length < 1 || clips.length > MAX_CLIPS) {
    return [{ field: 'clips', reason: `must have 1 to ${MAX_CLIPS} clips, got ${clips.length}` }];
  }
  const bad = [];
  const first = new Map();
  clips.forEach(({ clipId, startMs, endMs }, index) => {
    const add = (field, reason) => bad.push({ field: `clips[${index}].${field}`, reason });
    const reason = badId(clipId);
    if (reason) {
      add('clipId', reason);
    } else if (first.has(clipId)) {
      add('clipId', `must be unique in the batch, got ${shown(clipId)} as in clips[${first.get(clipId)}]`);
    } else {
      first.set(clipId, index);
    }
    if (!Number.isInteger(startMs ?? 0) || startMs < 0) {
      add('startMs', `must be whole milliseconds from 0, got ${shown(startMs)}`);
    } else if (!Number.isInteger(endMs) || endMs - (startMs ?? 0) < MIN_CLIP_MS || endMs - (startMs ?? 0) > MAX_CLIP_MS) {
      add('endMs', `must be whole milliseconds, ${MIN_CLIP_MS} to ${MAX_CLIP_MS} after startMs, got ${shown(endMs)}`);
    }
  });
  return bad;
}

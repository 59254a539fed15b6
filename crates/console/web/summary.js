// What the clips of a batch add up to, as the batch page, the header and the title show it.

import { isOver, rememberedBatches } from './clipfleet.js';
import { count, countdown } from './ui.js';

/** What this browser remembers of a batch that it started; nothing of any other. */
export const remembered = (batchId) => rememberedBatches().find((batch) => batch.batchId === batchId) ?? {};

/** Sources of batches that this browser did not start, as the fleet told them. */
const sources = new Map();
export const learnSource = (batchId, uri) => uri && sources.set(batchId, uri);

/** What a batch is called: the name of its video, or else its id. */
export const titleOf = (batchId) =>
  remembered(batchId).title ?? (sources.get(batchId)?.split('/').at(-1) || batchId);

/** Counts of the clips, and the percent of the whole. */
export function summarize(exports, batch) {
  const clips = Object.values(exports);
  const withStatus = (status) => clips.filter((clip) => clip.status === status).length;
  const total = Math.max(batch?.totalClips ?? 0, clips.length);
  // The document counts a clip that is over as whole, however it ended; people count what is done.
  const sum = clips.reduce((all, clip) => all + (clip.status === 'completed' ? 100 : clip.progress), 0);
  const [completed, failed, cancelled] = ['completed', 'failed', 'cancelled'].map(withStatus);
  const over = (batch !== null && isOver(batch.status) && completed + failed + cancelled >= clips.length);
  return {
    total, completed, failed, cancelled, over,
    started: clips.some((clip) => clip.status !== 'queued'),
    percent: total > 0 ? Math.floor(sum / total) : 0,
    etaSeconds: over ? null : batch?.etaSeconds ?? null,
  };
}

/** `7 of 12 · 0:48 left`, or how it ended. */
export function progressLine({ total, completed, failed, cancelled, over, started, etaSeconds }) {
  if (!over) {
    // An estimate of 0 s is one that proved wrong.
    const left = etaSeconds > 0 ? `${countdown(etaSeconds)} left` : 'estimating…';
    return `${completed} of ${total} · ${started ? left : 'waiting for a free slot'}`;
  }
  if (completed === total) {
    return `${total === 1 ? 'The clip is' : `All ${count(total, 'clip')} are`} done`;
  }
  const ends = [[completed, 'done'], [failed, 'failed'], [cancelled, 'cancelled']];
  return ends.filter(([number]) => number > 0).map(([number, end]) => `${number} ${end}`).join(' · ') || 'Refused';
}

// What the states of clips and batches are called, and why clips failed, in words for people.

import { sentence } from './ui.js';

export const STATES = {
  queued: 'Waiting', processing: 'Working', completed: 'Done', partial: 'Partly done', failed: 'Failed',
  cancelled: 'Cancelled',
};

export const PHASES = {
  queued: 'Waiting', fetching: 'Loading', encoding: 'Encoding', verifying: 'Verifying', uploading: 'Saving',
  done: 'Done',
};

/** Names of encoders for people; any other is shown as it is. */
const ENCODERS = {
  x264enc: 'x264', openh264enc: 'OpenH264', nvh264enc: 'NVENC', nvcudah264enc: 'NVENC', nvautogpuh264enc: 'NVENC',
};
export const encoderName = (encoder) => ENCODERS[encoder] ?? encoder;

/** Reasons by code, where the fleet's own message is written for operators. */
const REASONS = {
  source_not_media: 'Not a video file we can read. Use MP4, MOV, MKV or WebM.',
  source_empty: 'The video file is empty.',
  source_truncated: 'The video file is incomplete. Upload it again.',
  source_has_no_video: 'The file has no video track.',
  source_encrypted: 'The video is encrypted.',
  source_gone: 'The video was removed or replaced since the export started.',
  source_denied: 'The fleet is not allowed to read the video.',
  source_unavailable: 'The video could not be read. The storage may be down.',
  output_unavailable: 'The clip could not be saved. The storage may be down.',
  unavailable: 'A service of the fleet was unavailable for too long.',
  worker_lost: 'The workers stopped several times during this clip.',
  dead_lettered: 'The fleet gave up after too many attempts.',
};

/** Why a clip or a batch failed. */
export const reason = ({ code, message }) => REASONS[code] ?? sentence(message || code);

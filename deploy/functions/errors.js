// What a caller is told when something goes wrong: codes of callable functions, with the fleet's own code and, for each wrong
// field, its name and what is wrong with it under `details`.

import { HttpsError } from 'firebase-functions/https';
import { logger } from 'firebase-functions';

/** The fleet's error codes whose HTTP status does not say enough. */
const CODES = {
  clip_not_retryable: 'failed-precondition',
  clip_not_dead_lettered: 'failed-precondition',
  clip_not_completed: 'failed-precondition',
  links_disabled: 'failed-precondition',
};

/** HTTP statuses of the dispatcher that are about the request. */
const STATUSES = { 400: 'invalid-argument', 404: 'not-found', 409: 'already-exists', 413: 'invalid-argument', 429: 'resource-exhausted' };

/** gRPC codes that may pass: deadline exceeded, resource exhausted, aborted, unavailable. */
const PASSING = [4, 8, 10, 14];

/** An error about wrong fields. */
export function invalid(violations) {
  const [first] = violations;
  const more = violations.length > 1 ? ` (and ${violations.length - 1} more)` : '';
  return new HttpsError('invalid-argument', `${first.field} ${first.reason}${more}`, { code: 'invalid_request', violations });
}

/** An error that may pass. `cause` is for the log; it may name what is none of a caller's business. */
export function unavailable(what, cause) {
  logger.warn('a service did not answer', { what, cause: String(cause) });
  return new HttpsError('unavailable', `${what} did not answer; try again`, { code: 'unavailable', violations: [] });
}

/** The dispatcher's answer as an error. */
export function refused(status, body) {
  const error = body?.error;
  if (status >= 500) {
    return unavailable('the dispatcher', `${status} ${error?.message ?? ''}`);
  }
  const code = CODES[error?.code] ?? STATUSES[status];
  // Anything else is between the dispatcher and this function (403: it may not call it) and says nothing about the caller.
  if (!code || !error) {
    logger.error('the dispatcher refused this function', { status, error });
    return new HttpsError('internal', 'the fleet is not set up correctly', { code: 'internal', violations: [] });
  }
  return new HttpsError(code, error.message, { code: error.code, violations: error.details ?? [] });
}

/** Runs a call to one of Google's services for at most `ms` milliseconds, and turns its errors into ours. */
export async function asking(what, ms, call) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(Object.assign(new Error(`no answer within ${ms} ms`), { code: 4 })), ms);
  });
  try {
    return await Promise.race([call(), late]);
  } catch (error) {
    // The token service speaks HTTP: `config` marks the errors of its client, which have a `response` only if one came.
    const unanswered = error?.config && !(error.response?.status < 500);
    if (PASSING.includes(error?.code) || unanswered) {
      throw unavailable(what, error);
    }
    // Among them PERMISSION_DENIED and NOT_FOUND: a missing role or topic. They must not reach the caller as if they were about him.
    logger.error('a service refused this function', { what, cause: String(error) });
    throw new HttpsError('internal', 'the fleet is not set up correctly', { code: 'internal', violations: [] });
  } finally {
    clearTimeout(timer);
  }
}

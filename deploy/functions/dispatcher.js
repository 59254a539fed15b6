// The dispatcher's HTTP API.

import { GoogleAuth } from 'google-auth-library';
import { asking, refused, unavailable } from './errors.js';

/** Longest wait for an answer. A thousand clips are dispatched in well under a second; the rest is a cold start. */
const REQUEST_TIMEOUT_MS = 15_000;

export class Dispatcher {
  #url;
  #audience;
  #client;

  /** Calls carry an OIDC token for `audience`, made out to the service account this runs as; none where that is null. */
  constructor({ url, audience }) {
    this.#url = url;
    this.#audience = audience;
  }

  async #authorization() {
    if (this.#audience === null) {
      return {};
    }
    const headers = await asking('the token service', REQUEST_TIMEOUT_MS, async () => {
      // It keeps the token until shortly before its end. One that could not be made is tried again with the next call.
      this.#client ??= await new GoogleAuth().getIdTokenClient(this.#audience);
      return this.#client.getRequestHeaders();
    });
    // Twice: Cloud Run checks the second one where it is there, and leaves the first one whole for the dispatcher. Of a lone
    // first one it removes the signature.
    const authorization = headers.get('authorization');
    return { authorization, 'x-serverless-authorization': authorization };
  }

  /** Sends a request and returns the answer's body; other answers than success are thrown as the caller's error. */
  async call(method, path, body) {
    const headers = { ...(await this.#authorization()), ...(body && { 'content-type': 'application/json' }) };
    let response, text;
    try {
      const signal = AbortSignal.timeout(REQUEST_TIMEOUT_MS);
      // A redirection would carry the token elsewhere; the dispatcher sends none.
      response = await fetch(this.#url + path, { method, headers, body: body && JSON.stringify(body), signal, redirect: 'error' });
      text = await response.text();
    } catch (error) {
      throw unavailable('the dispatcher', error.cause ?? error);
    }
    const answer = parsed(text);
    if (!response.ok) {
      throw refused(response.status, answer);
    }
    return answer;
  }
}

/** A body in JSON; nothing for anything else, such as the pages of a front end. */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

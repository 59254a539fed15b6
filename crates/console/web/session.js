// The session of a fleet that asks for a token (`clipfleet up --token`): signing in by the token of the page's address
// or by hand, at any time, without what the page shows being lost.

import { h, sentence, write } from './ui.js';

const REQUEST_TIMEOUT_MS = 15_000;

/** A request that only a session may send, and cheap. */
const PROBE = '/v1/batches?pageSize=1';

/** Tells other tabs of this browser, whose cookies are the same, that somebody signed in. */
const CHANNEL = 'clipfleet.session';

/** Why a token was not taken; nothing if it was. */
const PROBLEMS = {
  401: 'That is not the token of this fleet.',
  404: 'This fleet takes no access tokens. Ask its operator how to sign in.',
  429: 'Too many attempts. Wait a minute, then try again.',
};

const sent = (path, request) => fetch(path, { ...request, signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS) });

/** Whether the fleet answers this page: it has a session, or needs none. */
const isSignedIn = async () => (await sent(PROBE)).status !== 401;

/** Begins a session. Resolves to why that was not possible, as a sentence, or to nothing. */
async function begin(token) {
  try {
    const body = JSON.stringify({ token });
    const headers = { 'content-type': 'application/json' };
    const response = await sent('/v1/session', { method: 'POST', headers, body });
    if (!response.ok) {
      const { error } = await response.json().catch(() => ({}));
      return PROBLEMS[response.status] ?? sentence(error?.message ?? `the fleet answered ${response.status}`);
    }
    return (await isSignedIn())
      ? ''
      : 'This browser kept no cookie of this fleet. Allow cookies for this page, then try again.';
  } catch {
    return 'The fleet cannot be reached.';
  }
}

/** The view that is open, and what resolves when somebody has signed in; null otherwise. */
let open = null;

const listeners = new Set();

/** Calls `listener` each time that a session began: what could not be loaded before can be now. */
export const onSignedIn = (listener) => listeners.add(listener);

/**
 * Shows the view until somebody has signed in; requests that meet the end of a session at the same time share it.
 * Rejects with the reason of `signal`, without closing the view for the others.
 */
export function signIn(signal) {
  open ??= createView();
  const { done } = open;
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason);
    signal?.addEventListener('abort', stop, { once: true });
    if (signal?.aborted) {
      stop();
    }
    done.then(() => {
      signal?.removeEventListener('abort', stop);
      resolve();
    });
  });
}

/** What the page's requests to the dispatcher are sent with; options of `clipfleet.js`. */
export const SESSION = Object.freeze({ signIn });

/** Sends a request that `clipfleet.js` does not, and once more after signing in where there is no session. */
export async function withSession(send, signal) {
  const response = await send();
  if (response.status !== 401) {
    return response;
  }
  await signIn(signal);
  return send();
}

/**
 * Takes the token out of `#token=…`, and out of the address bar before anything else can read it there. Resolves when
 * somebody has signed in; at once without such a token.
 */
export function takeToken() {
  const [, encoded] = /^#token=(.*)$/.exec(location.hash) ?? [];
  if (encoded === undefined) {
    return Promise.resolve();
  }
  history.replaceState(null, '', location.pathname + location.search);
  open ??= createView({ hidden: true });
  open.useLink(decoded(encoded));
  return open.done;
}

/** A link that was cut may end within an escape. */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The view. `hidden` ones are shown only if the first token is refused. */
function createView({ hidden = false } = {}) {
  const problem = h('p', { class: 'problem', id: 'token-problem', role: 'alert' });
  const token = h('input', {
    type: 'password', id: 'token', autocomplete: 'current-password', required: true, spellcheck: 'false',
    'aria-describedby': 'token-problem',
    oninput: () => complain(''),
  });
  const go = h('button', { type: 'submit', class: 'primary' }, 'Continue');
  const dialog = h('dialog', { class: 'dialog sign-in', 'aria-labelledby': 'sign-in-title' },
    h('form', { onsubmit: submit },
      h('h2', { id: 'sign-in-title' }, 'Sign in to this fleet'),
      h('p', { class: 'soft' }, 'Ask the operator of this fleet for its token.'),
      // Password managers keep what they are given under a name.
      h('input', { type: 'text', autocomplete: 'username', value: 'clipfleet', readOnly: true, hidden: true }),
      h('label', { for: 'token' }, 'Access token'), token, problem, go));

  let resolve;
  const view = { done: new Promise((settle) => { resolve = settle; }), useLink };
  const channel = 'BroadcastChannel' in globalThis ? new BroadcastChannel(CHANNEL) : null;
  if (channel) {
    channel.onmessage = () => end();
  }
  // Escape closes a dialog, and behind this one nothing would work.
  dialog.addEventListener('keydown', (event) => event.key === 'Escape' && event.preventDefault());
  // Other ways to close it, such as a gesture, can be refused only once in a row: then it opens again.
  dialog.addEventListener('cancel', (event) => event.preventDefault());
  dialog.addEventListener('close', () => dialog.isConnected && dialog.showModal());

  function complain(text) {
    write(problem, text);
    token.setAttribute('aria-invalid', String(text !== ''));
  }

  function show() {
    if (!dialog.isConnected) {
      document.body.append(dialog);
      dialog.showModal();
    }
    token.focus();
  }

  function submit(event) {
    event.preventDefault();
    use(token.value);
  }

  /** Tries a token. As people copy it, it may have a line's end. */
  async function use(text) {
    go.disabled = true;
    const why = await begin(text.trim());
    go.disabled = false;
    if (why === '') {
      channel?.postMessage('signed in');
      end();
    } else {
      refuse(why);
    }
  }

  /** The token of a link. An old link does not end a session, and a fleet without a token needs none. */
  async function useLink(text) {
    token.value = text;
    const why = await begin(text.trim());
    if (why === '' || (await isSignedIn().catch(() => false))) {
      end();
    } else {
      refuse(why);
    }
  }

  function refuse(why) {
    if (open === view) {
      complain(why);
      show();
      token.select();
    }
  }

  function end() {
    if (open === view) {
      open = null;
      channel?.close();
      dialog.close();
      dialog.remove();
      resolve();
      listeners.forEach((listener) => listener());
    }
  }

  if (!hidden) {
    show();
  }
  return view;
}

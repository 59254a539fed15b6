// Settings: parameters of Firebase, which `firebase deploy` asks for and keeps in `.env.PROJECT`. Elsewhere they are plain
// environment variables.

import { defineString } from 'firebase-functions/params';

const DISPATCHER_URL = defineString('CLIPFLEET_DISPATCHER_URL', {
  description: 'address of the dispatcher, for example https://dispatcher-abc.a.run.app',
});
const DISPATCHER_AUDIENCE = defineString('CLIPFLEET_DISPATCHER_AUDIENCE', {
  default: '',
  description: 'audience of the OIDC token for the dispatcher, when it is not its address (a custom domain)',
});
const SOURCE_PREFIX = defineString('CLIPFLEET_SOURCE_PREFIX', {
  description: 'where a user may export from, for example gs://BUCKET/uploads/{uid}/',
});
const DATABASE = defineString('CLIPFLEET_DATABASE', {
  default: 'clipfleet',
  description: "Firestore database of the fleet, as in infra/; the product's own documents are in (default)",
});

// Read when the functions are deployed: where they run, and as whom. The default account of a project may do nearly everything in it.
export const SERVICE_ACCOUNT = defineString('CLIPFLEET_SERVICE_ACCOUNT', {
  description: 'address of the service account the functions run as',
});
export const REGION = defineString('CLIPFLEET_REGION', { default: 'europe-west1', description: 'region of the functions' });

const LOOPBACK = ['127.0.0.1', 'localhost', '[::1]'];

function dispatcher(address, audience) {
  const url = URL.canParse(address) ? new URL(address) : null;
  if (!url || url.pathname !== '/' || url.search || url.hash || url.username) {
    throw `CLIPFLEET_DISPATCHER_URL must be an address without a path, got ${JSON.stringify(address)}`;
  }
  // A token in clear text is anybody's. What listens on this machine (`clipfleet up`) asks for none.
  const local = url.protocol === 'http:' && LOOPBACK.includes(url.hostname);
  if (url.protocol !== 'https:' && !local) {
    throw `CLIPFLEET_DISPATCHER_URL must begin with https://, except on loopback addresses, got ${JSON.stringify(address)}`;
  }
  return { url: url.origin, audience: audience || (local ? null : url.origin) };
}

function sourcePrefix(text) {
  if (!/^gs:\/\/[^/{}]+\/([^{}]*\/)?\{uid\}\/$/.test(text)) {
    throw `CLIPFLEET_SOURCE_PREFIX must have the form gs://BUCKET/.../{uid}/, got ${JSON.stringify(text)}`;
  }
  return (uid) => text.replace('{uid}', () => uid);
}

function database(text) {
  if (text !== '(default)' && !/^[a-z][a-z0-9-]{2,61}[a-z0-9]$/.test(text)) {
    throw `CLIPFLEET_DATABASE must be (default), or 4 to 63 lower-case letters, digits and '-', got ${JSON.stringify(text)}`;
  }
  return text;
}

/** Reads what the functions need while they run. All bad settings are reported together. */
export function readSettings() {
  const bad = [];
  const take = (parse, ...values) => {
    try {
      return parse(...values);
    } catch (reason) {
      bad.push(reason);
    }
  };
  const settings = {
    dispatcher: take(dispatcher, DISPATCHER_URL.value(), DISPATCHER_AUDIENCE.value()),
    sourcePrefix: take(sourcePrefix, SOURCE_PREFIX.value()),
    database: take(database, DATABASE.value()),
  };
  if (bad.length > 0) {
    throw new Error(bad.join('; '));
  }
  return settings;
}

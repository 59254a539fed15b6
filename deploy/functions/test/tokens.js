// Tokens, and who looks at them.

import { createSign, createVerify, generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';

const encoded = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
const decoded = (part) => JSON.parse(Buffer.from(part, 'base64url'));
const now = () => Math.floor(Date.now() / 1000);

/** A user's ID token as the Firebase Auth emulator makes them: not signed. Only a function in debug mode takes it. */
export function userToken(uid, project) {
  const claims = { iss: `https://securetoken.google.com/${project}`, aud: project, sub: uid, user_id: uid };
  const times = { auth_time: now() - 1, iat: now() - 1, exp: now() + 3600 };
  return `${encoded({ alg: 'none', typ: 'JWT' })}.${encoded({ ...claims, ...times })}.`;
}

/** What Google's metadata server says to a function: OIDC tokens for the audience asked for, made out to its service account. */
export async function startMetadataServer() {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const audiences = [];
  const server = createServer((request, response) => {
    const url = new URL(request.url, 'http://metadata');
    response.setHeader('metadata-flavor', 'Google');
    if (request.headers['metadata-flavor'] !== 'Google') {
      return response.writeHead(403).end();
    }
    if (url.pathname !== '/computeMetadata/v1/instance/service-accounts/default/identity') {
      return response.writeHead(404).end();
    }
    const aud = url.searchParams.get('audience');
    audiences.push(aud);
    const signed = `${encoded({ alg: 'RS256', typ: 'JWT' })}.${encoded({ aud, iat: now(), exp: now() + 3600 })}`;
    response.end(`${signed}.${createSign('RSA-SHA256').update(signed).sign(privateKey, 'base64url')}`);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { host: `127.0.0.1:${server.address().port}`, publicKey, audiences, stop: () => server.close() };
}

/** Whether a request carries a token that Cloud Run would let pass. Of two it checks the one that is meant for it. */
function mayPass({ headers }, publicKey, audience) {
  const token = headers['x-serverless-authorization'] ?? headers.authorization;
  const [, header, claims, signature] = token?.match(/^Bearer ([^.]+)\.([^.]+)\.([^.]+)$/) ?? [];
  if (!signature || decoded(header).alg !== 'RS256') {
    return false;
  }
  const genuine = createVerify('RSA-SHA256').update(`${header}.${claims}`).verify(publicKey, signature, 'base64url');
  return genuine && decoded(claims).aud === audience && decoded(claims).exp > now();
}

/**
 * What a dispatcher that has no `:links` yet would answer: the links of the document, without an end. Nothing for any
 * other request, and for a dispatcher that knows them.
 */
async function linksInstead(api, path, answered) {
  const [, batch, clipId] = path.match(/^(\/v1\/batches\/[^/]+)\/clips\/([^/:]+):links$/) ?? [];
  if (!batch || JSON.parse(answered).error?.code !== 'no_such_route') {
    return undefined;
  }
  const { batchId, clips = [] } = await (await fetch(api + batch)).json();
  const clip = clips.find((it) => it.clipId === clipId);
  const error = (status, code) => ({ status, body: { error: { code, message: code, details: [] } } });
  if (!clip) {
    return error(404, 'clip_not_found');
  }
  if (clip.status !== 'completed') {
    return error(409, 'clip_not_completed');
  }
  const { outputUrl, coverUrl = null } = clip;
  return { status: 200, body: { batchId, clipId, outputUrl, coverUrl, expireTime: null } };
}

/** Stands before the dispatcher as Cloud Run's front end does: without a good token nothing gets through. */
export async function startGuard(api, publicKey, audience) {
  const server = createServer(async (request, response) => {
    if (!mayPass(request, publicKey, audience)) {
      return response.writeHead(403, { 'content-type': 'text/html' }).end('<html><h1>Error: Forbidden</h1></html>');
    }
    const pieces = [];
    for await (const piece of request) {
      pieces.push(piece);
    }
    const body = pieces.length > 0 ? Buffer.concat(pieces) : undefined;
    const answer = await fetch(api + request.url, { method: request.method, body });
    const text = await answer.text();
    const links = await linksInstead(api, request.url, text);
    const { status, body: sent } = links ? { ...links, body: JSON.stringify(links.body) } : { status: answer.status, body: text };
    response.writeHead(status, { 'content-type': 'application/json' }).end(sent);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${server.address().port}`, stop: () => server.close() };
}

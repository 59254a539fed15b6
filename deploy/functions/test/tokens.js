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

/** Whether a token is one that Cloud Run would let pass. */
function mayPass(authorization, publicKey, audience) {
  const [, header, claims, signature] = authorization?.match(/^Bearer ([^.]+)\.([^.]+)\.([^.]+)$/) ?? [];
  if (!signature || decoded(header).alg !== 'RS256') {
    return false;
  }
  const genuine = createVerify('RSA-SHA256').update(`${header}.${claims}`).verify(publicKey, signature, 'base64url');
  return genuine && decoded(claims).aud === audience && decoded(claims).exp > now();
}

/**
 * Stands before the dispatcher as Cloud Run's front end does: without a good token nothing gets through. It checks
 * X-Serverless-Authorization if that is there, and then hands Authorization on as it is.
 */
export async function startGuard(api, publicKey, audience) {
  const passed = [];
  const server = createServer(async (request, response) => {
    const { authorization, 'x-serverless-authorization': serverless } = request.headers;
    if (!mayPass(serverless ?? authorization, publicKey, audience)) {
      return response.writeHead(403, { 'content-type': 'text/html' }).end('<html><h1>Error: Forbidden</h1></html>');
    }
    const pieces = [];
    for await (const piece of request) {
      pieces.push(piece);
    }
    const body = pieces.length > 0 ? Buffer.concat(pieces) : undefined;
    passed.push(serverless ? authorization : authorization.replace(/[^.]+$/, 'SIGNATURE_REMOVED_BY_GOOGLE'));
    const answer = await fetch(api + request.url, { method: request.method, body });
    response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') }).end(await answer.text());
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${server.address().port}`, passed, stop: () => server.close() };
}

// A server in front of a fleet that answers as the fleet would with other settings: with a token, with its storage at
// the page's own origin, with links that are signed when they are read, for a caller who is no operator. A test decides
// when sessions end and when links stop working.

import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer, request as send } from 'node:http';
import { extname, join } from 'node:path';

const WEB = join(import.meta.dirname, '../../crates/console/web');
const TYPES = {
  '.html': 'text/html; charset=utf-8', '.css': 'text/css; charset=utf-8', '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml', '.woff2': 'font/woff2', '.txt': 'text/plain; charset=utf-8',
};

const COOKIE = 'clipfleet-session';
const STORAGE = /^\/(storage|upload\/storage|v0\/b)\//;
const OPERATIONS = /^\/v1\/(fleet|dead-letters)/;
const BATCH = /^\/v1\/batches\/[^/:?]+$/;
const LINKS = /^\/v1\/batches\/([^/]+)\/clips\/([^/:]+):links$/;

const SIGNED_MS = 3_600_000;

/**
 * Starts the server.
 *
 * - `token`: what to sign in with; none is needed without one
 * - `ownStorage`: the storage is at the page's own origin
 * - `links`: `document` as the fleet has them, `signed`, or `none`
 * - `operator`: false for a caller who has no right to the operations
 *
 * They can be changed while it runs, as members of what it returns; `onRequest` is called with each request before it
 * is answered.
 */
export async function startGate(fleet, settings = {}) {
  const gate = { token: null, ownStorage: false, links: 'document', operator: true, ...settings };
  const storageUrl = `http://${fleet.emulator}`;
  const sessions = new Set();
  /** What signed links lead to, by their signature; and the requests that were received, `METHOD path`. */
  const signed = new Map();
  const requests = [];
  const index = await fetch(`${fleet.api}/console/`);

  const json = (response, status, body, headers = {}) =>
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
  const refuse = (response, status, code) => json(response, status, { error: { code, message: code, details: [] } });

  function mayPass({ headers }) {
    const cookie = new RegExp(`(?:^|; )${COOKIE}=([^;]+)`).exec(headers.cookie ?? '')?.[1];
    return gate.token === null || sessions.has(cookie) || headers.authorization === `Bearer ${gate.token}`;
  }

  async function beginSession(request, response) {
    const { token } = JSON.parse(await bodyOf(request));
    if (gate.token === null) {
      return refuse(response, 404, 'no_such_route');
    }
    if (token !== gate.token) {
      return refuse(response, 401, 'unauthenticated');
    }
    const session = randomUUID();
    sessions.add(session);
    const cookie = `${COOKIE}=${session}; HttpOnly; SameSite=Strict; Path=/`;
    return response.writeHead(204, { 'set-cookie': cookie }).end();
  }

  async function page(path, response) {
    const name = path.slice('/console/'.length) || 'index.html';
    const bytes = await readFile(join(WEB, name)).catch(() => null);
    if (!/^[\w.-]+$/.test(name) || bytes === null) {
      return response.writeHead(404).end();
    }
    const policy = index.headers.get('content-security-policy');
    const headers = { 'content-type': TYPES[extname(name)], 'content-security-policy': policy };
    return response.writeHead(200, { ...headers, 'cache-control': 'no-cache' }).end(bytes);
  }

  async function pageSettings(response) {
    const found = await (await fetch(`${fleet.api}/console/settings.json`)).json();
    const storage = gate.ownStorage ? { ...found.storage, url: '', origin: storageUrl } : found.storage;
    return json(response, 200, { ...found, storage });
  }

  async function batch(path, response) {
    const answer = await fetch(fleet.api + path);
    const body = await answer.json();
    if (gate.links !== 'document') {
      body.clips?.forEach((clip) => Object.assign(clip, { outputUrl: null, coverUrl: null }));
    }
    return json(response, answer.status, body);
  }

  async function links([path, batchId, clipId], response) {
    const answer = await fetch(`${fleet.api}/v1/batches/${batchId}`);
    const clip = (await answer.json()).clips?.find((it) => it.clipId === clipId);
    if (!clip) {
      return refuse(response, 404, answer.ok ? 'clip_not_found' : 'batch_not_found');
    }
    if (gate.links === 'none') {
      return refuse(response, 409, 'links_disabled');
    }
    if (clip.status !== 'completed') {
      return refuse(response, 409, 'clip_not_completed');
    }
    const { outputUrl, coverUrl = null } = clip;
    const isSigned = gate.links === 'signed';
    return json(response, 200, {
      batchId,
      clipId,
      outputUrl: isSigned ? sign(outputUrl) : outputUrl,
      coverUrl: isSigned && coverUrl ? sign(coverUrl) : coverUrl,
      expireTime: isSigned ? new Date(Date.now() + SIGNED_MS).toISOString() : null,
    });
  }

  function sign(url) {
    const signature = randomUUID();
    signed.set(signature, { url, status: 200 });
    return `${gate.url}/signed/${signature}`;
  }

  const server = createServer(async (request, response) => {
    const path = request.url.split('?')[0];
    requests.push(`${request.method} ${path}`);
    gate.onRequest?.(request);
    try {
      if (path.startsWith('/signed/')) {
        const { url, status } = signed.get(path.slice('/signed/'.length));
        return status === 200 ? forward(request, response, url) : response.writeHead(status).end();
      }
      if (path === '/v1/session') {
        return await beginSession(request, response);
      }
      const isOfThePage = path === '/' || (path.startsWith('/console') && path !== '/console/settings.json');
      if (!isOfThePage && !mayPass(request)) {
        return refuse(response, 401, 'unauthenticated');
      }
      if (path === '/console/settings.json') {
        return await pageSettings(response);
      }
      if (path.startsWith('/console/')) {
        return await page(path, response);
      }
      if (!gate.operator && OPERATIONS.test(path)) {
        return refuse(response, 403, 'forbidden');
      }
      if (request.method === 'GET' && BATCH.test(path)) {
        return await batch(path, response);
      }
      if (LINKS.test(path)) {
        return await links(LINKS.exec(path), response);
      }
      return forward(request, response, (STORAGE.test(path) ? storageUrl : fleet.api) + request.url);
    } catch (error) {
      return refuse(response, 502, String(error));
    }
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  gate.url = `http://127.0.0.1:${server.address().port}`;

  return Object.assign(gate, {
    requests,
    /** Every session ends, as after a restart. */
    endSessions: () => sessions.clear(),
    /** The links that were signed so far answer with this status from now on. */
    breakLinks: (status = 403) => signed.forEach((link) => { link.status = status; }),
    stop: () => {
      server.closeAllConnections();
      server.close();
    },
  });
}

async function bodyOf(request) {
  const pieces = [];
  for await (const piece of request) {
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString();
}

/** Sends a request on, and its answer back, as they come. */
function forward(request, response, url) {
  const { host, ...headers } = request.headers;
  const onward = send(url, { method: request.method, headers }, (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    answer.pipe(response);
  });
  onward.on('error', () => response.destroy());
  response.on('close', () => onward.destroy());
  request.pipe(onward);
}

// Shared code of the tests: the emulator in its own process, a site with the SDK, a browser, and a second client with
// another transport (the SDK's build for Node, which uses gRPC).

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { connect as connectTo, createServer as createSocketServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { initializeApp } from 'firebase/app';
import { connectFirestoreEmulator, getFirestore, setLogLevel } from 'firebase/firestore';
import { chromium } from 'playwright-core';
import { WAIT_TIMEOUT_MS, until } from '../support/until.mjs';

export { pause, until } from '../support/until.mjs';

export const PROJECT = 'clipfleet-local';

const here = import.meta.dirname;

/** A folder that is deleted when the tests end. */
export async function folder() {
  const path = await mkdtemp(join(tmpdir(), 'clipfleet-firebase-'));
  return { path, end: () => rm(path, { recursive: true, force: true }) };
}

/** A port that is free now, so that an emulator can restart on the same port. */
export async function freePort() {
  const server = createSocketServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  return port;
}

/** Starts only the emulator. */
export const startEmulator = (data, port) => start('clipfleet-emulator', [data, `127.0.0.1:${port}`], port);

/** Starts a fleet with its emulator on one port and its API on another. */
export const startFleetOn = (data, port, api) =>
  start(
    'clipfleet',
    [
      'up',
      '--data',
      data,
      '--emulator',
      `127.0.0.1:${port}`,
      '--listen',
      `127.0.0.1:${api}`,
      '--workers',
      '1',
      '--slots',
      '1',
    ],
    port,
  );

async function start(name, args, port) {
  const child = spawn(join(process.env.CLIPFLEET_PROGRAMS, name), args, { stdio: 'ignore' });
  const ended = once(child, 'exit');
  await until(
    `${name} listens`,
    () =>
      new Promise((resolve, reject) => {
        if (child.exitCode !== null) {
          reject(new Error(`${name} ended with ${child.exitCode}`));
        }
        const socket = connectTo(port, '127.0.0.1', () => {
          socket.destroy();
          resolve(true);
        });
        socket.on('error', () => resolve(false));
      }),
  );
  const end = async (signal = 'SIGTERM') => {
    child.kill(signal);
    await ended;
  };
  return { port, end };
}

/** Serves the page, and the SDK from npm. */
async function startSite() {
  const files = { '/': ['page.html', 'text/html'], '/page.mjs': ['page.mjs', 'text/javascript'] };
  for (const name of ['app', 'firestore', 'firestore-lite', 'storage'].map((part) => `firebase-${part}.js`)) {
    files[`/firebase/${name}`] = [`node_modules/firebase/${name}`, 'text/javascript'];
  }
  const site = createServer((request, response) => {
    const [name, type] = files[request.url] ?? [];
    if (!name) {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, { 'content-type': `${type}; charset=utf-8` });
    createReadStream(join(here, name)).pipe(response);
  }).listen(0, '127.0.0.1');
  await once(site, 'listening');
  return {
    url: `http://127.0.0.1:${site.address().port}/`,
    end: () => {
      site.closeAllConnections();
      site.close();
    },
  };
}

/** A browser, with pages of a different origin than the emulator. */
export async function startBrowser() {
  const site = await startSite();
  // Names do not resolve: the browser only reaches this machine.
  const args = [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1',
  ];
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, headless: true, args });
  /**
   * Opens a page until the test ends: a browser has six connections to a server, and every page that listens uses one.
   * `received` is called with every snapshot. Complaints are errors and warnings of the page and the browser.
   */
  const open = async (test, received) => {
    const page = await browser.newPage();
    test?.after(() => page.close());
    page.setDefaultTimeout(WAIT_TIMEOUT_MS);
    const complaints = [];
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type()) && !isExpected(message.text())) {
        complaints.push(`${message.text()} (${message.location().url})`);
      }
    });
    page.on('pageerror', (error) => complaints.push(error.message));
    const requests = [];
    page.on('request', (request) => requests.push(request.url()));
    if (received) {
      await page.exposeFunction('received', received);
    }
    await page.goto(site.url);
    await page.waitForFunction('window.ready');
    const api = new Proxy(
      {},
      {
        get:
          (_, name) =>
          (...args) =>
            page.evaluate(([name, args]) => window.api[name](...args), [name, args]),
      },
    );
    const connect = (port, sdk = 'full', settings = {}) =>
      api.connect({ sdk, project: PROJECT, host: '127.0.0.1', port, settings });
    return { page, api, connect, complaints, requests };
  };
  const end = async () => {
    await browser.close();
    site.end();
  };
  return { open, end };
}

/** Whether a message is an expected one of the SDK. */
function isExpected(text) {
  return text.includes('Host has been set in both settings() and connectFirestoreEmulator()');
}

// While the emulator is down, the SDK would log every attempt.
setLogLevel('silent');
let others = 0;

/** A client of the same database over gRPC. */
export function otherClient(port) {
  others += 1;
  const db = getFirestore(initializeApp({ projectId: PROJECT }, `other-${others}`));
  connectFirestoreEmulator(db, '127.0.0.1', port);
  return db;
}

/** The median, the 95th percentile and the maximum, in milliseconds. */
export function spread(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (part) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))];
  return `p50 ${at(0.5)} ms, p95 ${at(0.95)} ms, max ${sorted.at(-1)} ms of ${sorted.length}`;
}

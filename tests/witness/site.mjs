// The web site of the tests: the scripts of the page, files to show, and an upload for recordings.

import { createServer } from 'node:http';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

const SCRIPTS = new Set(['chart.mjs', 'record.mjs', 'play.mjs']);

/** Serves the page, and the files of a folder below `/files/`, on loopback. */
export async function startSite(folder) {
  const answer = async (request, response) => {
    const [, place, name] = /^\/(?:(files)\/)?([\w.-]*)$/.exec(request.url) ?? [];
    if (place && name && request.method === 'PUT') {
      const chunks = [];
      for await (const chunk of request) {
        chunks.push(chunk);
      }
      await writeFile(join(folder, name), Buffer.concat(chunks));
      response.end();
    } else if (place && name) {
      response.end(await readFile(join(folder, name)));
    } else if (SCRIPTS.has(name)) {
      response.setHeader('content-type', 'text/javascript');
      response.end(await readFile(join(import.meta.dirname, name)));
    } else {
      response.setHeader('content-type', 'text/html');
      response.end('<!doctype html><title>Witness</title>');
    }
  };
  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.writeHead(500).end());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const stop = () =>
    new Promise((resolve) => {
      server.close(resolve);
      server.closeAllConnections();
    });
  return { url: `http://127.0.0.1:${server.address().port}/`, stop };
}

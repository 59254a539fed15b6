// The processes of the tests: a fleet as `clipfleet up` starts it, and each function in a Functions Framework of its own, as Cloud
// Run runs it. Each is ended by its id.

import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

export const PROJECT = 'clipfleet-local';

const functions = join(import.meta.dirname, '..');

/** Longest wait for a process to come up on a machine that is busy with other things. It bounds a hang; nothing measures speed by it. */
const STARTING_MS = 180_000;

/** Starts a program; `ready` sees each line of its output until it returns something, which is what is waited for. */
function start(name, program, args, env, ready) {
  const child = spawn(program, args, { cwd: functions, env, stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = new Promise((resolve) => child.once('exit', (code, signal) => resolve(signal ?? code)));
  const stop = async () => {
    child.kill('SIGTERM');
    return ended;
  };
  const output = [];
  const up = new Promise((resolve, reject) => {
    const give_up = (why) => reject(new Error(`${name} did not start: ${why}\n${output.join('\n')}`));
    const timer = setTimeout(() => give_up(`nothing for ${STARTING_MS} ms`), STARTING_MS);
    ended.then((how) => give_up(`it ended with ${how}`));
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on('line', (line) => {
        output.push(line);
        const found = ready(line);
        if (found !== undefined) {
          clearTimeout(timer);
          resolve(found);
        }
      });
    }
  });
  return up.then((found) => ({ found, output, stop }), async (error) => {
    await stop();
    throw error;
  });
}

/** Starts a fleet of one worker on `data`; `more` are further arguments. One with a `token` is asked with it. */
export async function startFleet(data, slots = 1, { more = [], token } = {}) {
  const program = join(process.env.CLIPFLEET_PROGRAMS, 'clipfleet');
  const args = ['up', '-v', '--data', data, '--listen', '127.0.0.1:0', '--emulator', '127.0.0.1:0', '--workers', '1', '--slots', `${slots}`, ...more];
  let api;
  const fleet = await start('the fleet', program, args, process.env, (line) => {
    api ??= line.match(/^\s*API\s+(http:\S+)\/v1$/)?.[1];
    return api ? true : undefined;
  });
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const { storage } = await (await fetch(`${api}/console/settings.json`, { headers })).json();
  const emulator = new URL(storage.origin ?? storage.url).host;
  return { api, emulator, output: fleet.output, stop: fleet.stop };
}

/** A port that is free now. The framework cannot choose one and say which. */
function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** Starts a function; returns how to call it and how to end it. */
export async function startFunction(target, env) {
  const port = await freePort();
  const framework = join(functions, 'node_modules/.bin/functions-framework');
  const args = [framework, `--target=${target}`, '--signature-type=http', `--port=${port}`];
  const started = await start(target, process.execPath, args, { ...process.env, ...env }, (line) => {
    if (line.includes('"severity":"ERROR"')) {
      console.error(`  ${target}: ${line}`);
    }
    return line.includes('URL: http') ? true : undefined;
  });
  const url = `http://127.0.0.1:${port}/`;
  /** The protocol of callable functions: https://firebase.google.com/docs/functions/callable-reference */
  const call = async (data, token) => {
    const headers = { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) };
    const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify({ data }) });
    const { result, error } = await response.json();
    return { http: response.status, result, error };
  };
  return { call, output: started.output, stop: started.stop };
}

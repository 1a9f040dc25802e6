// Asks a deployment with what Node 18 or newer brings along: node predict.mjs DEPLOYMENT ROWS.json TENSORS.json

import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";

const MAX_RETRIES = 2;
const MAX_WAIT_MS = 120_000;
const TIMEOUT_MS = 60_000;

class Refused extends Error {}

/** 0: answered, 1: refused or not reached, 2: called wrongly. */
async function main() {
  const { MODELTAP_URL: url, MODELTAP_KEY: key } = process.env;
  const [deployment, rowsFile, tensorsFile, ...more] = process.argv.slice(2);
  if (!url || !key || !tensorsFile || more.length > 0) {
    console.error("usage: MODELTAP_URL=… MODELTAP_KEY=… node predict.mjs DEPLOYMENT ROWS.json TENSORS.json");
    return 2;
  }
  const root = url.replace(/\/+$/, "");
  const name = encodeURIComponent(deployment);
  try {
    const rows = await readFile(rowsFile, "utf8");
    const tensors = await readFile(tensorsFile, "utf8");
    console.log(await ask(`${root}/predict/${name}`, `{"instances": ${rows}}`, key));
    console.log(await ask(`${root}/v2/models/${name}/infer`, tensors, key));
  } catch (problem) {
    if (!(problem instanceof Refused) && problem.code === undefined) throw problem;
    console.error(`error: ${problem.message}`);
    return 1;
  }
  return 0;
}

/** The body of the answer. Its Idempotency-Key makes all tries one request: it is answered, and charged, once. */
async function ask(url, body, key) {
  const headers = {
    authorization: `Bearer ${key}`,
    "content-type": "application/json",
    "idempotency-key": randomUUID(),
  };
  for (let tries = 1; ; tries++) {
    let reason, waitMs;
    try {
      const answer = await fetch(url, { method: "POST", headers, body, signal: AbortSignal.timeout(TIMEOUT_MS) });
      const text = await answer.text();
      if (answer.status === 200) return text;
      reason = `${answer.status}: ${detail(text)}`;
      waitMs = waitBeforeRetry(tries, answer.status, answer.headers);
    } catch (problem) {
      reason = `no answer from ${url}: ${problem.cause?.message ?? problem.message}`;
      waitMs = pause(tries);
    }
    if (waitMs === null || tries > MAX_RETRIES) throw new Refused(reason);
    console.error(`${reason}; trying again in ${(waitMs / 1000).toFixed(3)} s`);
    await sleep(waitMs);
  }
}

/** Milliseconds until the next try; null where there should be none. */
function waitBeforeRetry(tries, status, headers) {
  const should = headers.get("x-should-retry");
  const passing = [408, 409, 429].includes(status) || status >= 500;
  if (should === "false" || (should !== "true" && !passing)) return null;
  const asked = waitAsked(headers);
  if (asked === null) return pause(tries);
  return asked <= MAX_WAIT_MS ? asked : null;
}

/** What the server asks for, in milliseconds, in seconds or as a date. */
function waitAsked(headers) {
  const milliseconds = headers.get("retry-after-ms") ?? "";
  const after = headers.get("retry-after") ?? "";
  if (/^\d+$/.test(milliseconds)) return Number(milliseconds);
  if (/^\d+$/.test(after)) return Number(after) * 1000;
  const moment = Date.parse(after);
  return Number.isNaN(moment) ? null : Math.max(0, moment - Date.now());
}

/** Twice as long each time, and not the same for all who wait. */
function pause(tries) {
  return Math.min(250 * 2 ** (tries - 1), 8000) * (0.5 + 0.5 * Math.random());
}

/** What a refusal says: `detail` of problem+json, `error` of /v2. */
function detail(text) {
  try {
    const problem = JSON.parse(text);
    return problem.detail ?? problem.error ?? text;
  } catch {
    return text;
  }
}

process.exitCode = await main();

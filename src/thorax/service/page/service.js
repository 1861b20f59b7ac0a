// Calls of the service. A file is sent as it is, without its name.

const TRIES = 30; // of a busy service, about a minute

/** A failure with a message for people; `again` says whether trying again may help. */
export class Failure extends Error {
  constructor(message, again = false) {
    super(message);
    this.again = again;
  }
}

export async function describe() {
  return answer(() => fetch("v1/model"));
}

export async function predict(file) {
  return send(file, "v1/predict?picture=true");
}

export async function explain(file, finding) {
  return send(file, `v1/explain?finding=${encodeURIComponent(finding)}`);
}

/** Return a test image as a file, so that it goes the way of every other file. */
export async function testImage(name) {
  const response = await reached(() => fetch(`test-images/${encodeURIComponent(name)}`));
  return new File([await response.blob()], name, { type: "image/png" });
}

async function send(file, address) {
  let body;
  try {
    body = await file.arrayBuffer();
  } catch {
    throw new Failure("the file cannot be read any more; it may have been moved, changed or be a folder");
  }
  const headers = { "Content-Type": "application/octet-stream" };
  return answer(() => fetch(address, { method: "POST", body, headers }));
}

async function answer(call) {
  for (let attempt = 1; ; attempt += 1) {
    const response = await reached(call);
    if (response.status === 503 && attempt < TRIES) {
      await pause(Number(response.headers.get("Retry-After")) || 2);
      continue;
    }
    const content = await response.json().catch(() => ({}));
    if (response.ok) return content;
    const message = content.message ?? `the service answered with status ${response.status}`;
    throw new Failure(message, response.status >= 500 || response.status === 408);
  }
}

async function reached(call) {
  try {
    return await call();
  } catch {
    throw new Failure("the service cannot be reached; see whether it is still running", true);
  }
}

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

// A service worker that keeps the files of this site in the browser, so that it works without a network after the
// first load. It sees no image: images are never requested.

// Which files, each with its SHA-256; `thorax export` writes this list.
const FILES = ["the files of the site"];

const scope = self.registration.scope;
const ofSite = `thorax ${scope} `;
const cacheName = digest(new TextEncoder().encode(JSON.stringify(FILES))).then((version) => ofSite + version);

self.addEventListener("install", (event) => event.waitUntil(keepAll()));
self.addEventListener("activate", (event) => event.waitUntil(forgetOthers().then(() => self.clients.claim())));

self.addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  const { origin, pathname } = new URL(url);
  if (method !== "GET" || !(origin + pathname).startsWith(scope)) return;
  const name = (origin + pathname).slice(scope.length) || "index.html";
  if (Object.hasOwn(FILES, decodeURIComponent(name))) event.respondWith(kept(name, event.request));
});

async function kept(name, request) {
  const cache = await caches.open(await cacheName);
  return (await cache.match(new URL(name, scope))) ?? fetch(request);
}

/** Keep every file in the version of this list: what an older version of the site kept is not fetched again. */
async function keepAll() {
  const cache = await caches.open(await cacheName);
  for (const [name, sha256] of Object.entries(FILES)) {
    const address = new URL(name, scope);
    const sources = [() => caches.match(address), () => fetch(address), () => fetch(address, { cache: "reload" })];
    await cache.put(address, await first(sources, sha256, name));
  }
}

/** Return the first response whose content has a hash. */
async function first(sources, sha256, name) {
  for (const source of sources) {
    const response = await source();
    if (!response?.ok) continue;
    const content = await response.arrayBuffer();
    if ((await digest(content)) !== sha256) continue;
    const type = response.headers.get("Content-Type");
    return new Response(content, { headers: type ? { "Content-Type": type } : {} });
  }
  throw new Error(`${name} is not the file that belongs to this version of the site`);
}

/** Remove what older versions of this site kept; other sites of the same host are left alone. */
async function forgetOthers() {
  const own = await cacheName;
  const others = (await caches.keys()).filter((name) => name.startsWith(ofSite) && name !== own);
  await Promise.all(others.map((name) => caches.delete(name)));
}

async function digest(content) {
  const bytes = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

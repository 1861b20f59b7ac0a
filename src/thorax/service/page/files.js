// Files that are chosen or dropped, also in folders.

const ABOUT_IMAGES = /^(README|LICENSE)(\.|$)/; // as the command line leaves out of folders

/** Return whether a file in a folder may be an image: neither hidden nor about the images. */
const wanted = (name) => !name.startsWith(".") && !ABOUT_IMAGES.test(name);

/** Return what was chosen as `{name, file}`; of a chosen folder, files that may be images, sorted. */
export function chosenFiles(list) {
  const files = [...list].map((file) => ({ name: file.webkitRelativePath || file.name, file }));
  const inFolder = ({ name }) => name.includes("/");
  return files.some(inFolder) ? sorted(files.filter(({ name }) => name.split("/").every(wanted))) : files;
}

/**
 * Return what was dropped as `{name, file}`, also the files in folders. What cannot be listed is
 * `{name, reason}`.
 */
export async function droppedFiles(transfer) {
  // Entries must be taken before the event ends; afterwards the list of items is empty.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return chosenFiles(transfer.files);
  const found = [];
  for (const entry of entries) found.push(...(await filesIn(entry, "")));
  return found;
}

async function filesIn(entry, folder) {
  const name = folder + entry.name;
  try {
    if (entry.isFile) return [{ name, file: await new Promise((done, failed) => entry.file(done, failed)) }];
    const entries = (await entriesIn(entry)).filter((inside) => wanted(inside.name));
    if (entries.length === 0) return [{ name, reason: "no file in this folder" }];
    const found = [];
    for (const inside of sorted(entries)) found.push(...(await filesIn(inside, `${name}/`)));
    return found;
  } catch (error) {
    return [{ name, reason: `this cannot be opened (${error.message || error.name})` }];
  }
}

/** Return everything in a folder; a browser lists it in parts. */
async function entriesIn(folder) {
  const reader = folder.createReader();
  const all = [];
  for (;;) {
    const part = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (part.length === 0) return all;
    all.push(...part);
  }
}

const sorted = (named) => named.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));

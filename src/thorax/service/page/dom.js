// Elements by id, and new ones. Text is always text: nothing that a file or a model says becomes HTML.

export const byId = (id) => document.getElementById(id);

/** Return a new element; `properties` are those of the element object, children are nodes or strings. */
export function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

/** Say something to people who do not see the page. */
export function announce(text) {
  byId("status").textContent = text;
}

/** Return the bytes that arrived in base64. */
export const bytesOf = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));

/** Return the address of a PNG that arrived in base64; the caller revokes it. */
export const pictureUrl = (base64) => URL.createObjectURL(new Blob([bytesOf(base64)], { type: "image/png" }));

export const percent = (share) => `${(100 * share).toFixed(1)} %`;

/** Return a share as a length in a style sheet. */
export const length = (share) => `${(100 * share).toFixed(1)}%`;

/** Return a text as a sentence: with a capital letter and a full stop. */
export const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;

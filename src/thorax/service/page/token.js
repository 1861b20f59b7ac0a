// The service's token: asked for once, kept for this tab alone, and sent with each call.

import { element } from "./dom.js";

const NAME = "thorax-token";
let asking = null; // a promise, while the question is open

/** Return the token, or "". An address that ends in #token=... brings it, and is shortened at once. */
export function token() {
  const brought = new URLSearchParams(location.hash.slice(1)).get("token");
  if (brought) {
    sessionStorage.setItem(NAME, brought);
    history.replaceState(null, "", location.pathname + location.search);
  }
  return sessionStorage.getItem(NAME) ?? "";
}

/** Forget a token that was refused, unless another one has replaced it meanwhile. */
export function forgetToken(refused) {
  if (refused && sessionStorage.getItem(NAME) === refused) sessionStorage.removeItem(NAME);
}

/** Ask for the token until there is one; calls at the same time share one question. */
export function askForToken(wrong) {
  if (token()) return Promise.resolve();
  asking ??= question(wrong).finally(() => {
    asking = null;
  });
  return asking;
}

function question(wrong) {
  const input = element("input", { type: "password", id: "token", required: true, autocomplete: "off" });
  const text = wrong
    ? "The service did not accept this token. Enter it again."
    : "This service needs a token; ask whoever runs it. The token is kept until you close this tab.";
  const form = element(
    "form",
    { method: "dialog" },
    element("p", { id: "token-text", textContent: text }),
    element("label", { htmlFor: "token", textContent: "Token" }),
    input,
    element("button", { type: "submit", textContent: "Continue" })
  );
  const title = element("h2", { id: "token-title", textContent: "Token needed" });
  const dialog = element("dialog", { id: "token-dialog" }, title, form);
  dialog.setAttribute("aria-labelledby", "token-title");
  dialog.setAttribute("aria-describedby", "token-text");
  dialog.addEventListener("cancel", (event) => event.preventDefault()); // nothing works without it
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      sessionStorage.setItem(NAME, input.value.trim());
      dialog.remove();
      resolve();
    });
  });
}

// The images that the page offers to try.

import { byId, element } from "./dom.js";

/** Show the images; `chosen` is called with the name of the one that is clicked. */
export function showExamples(images, chosen) {
  byId("example-list").replaceChildren(...images.map((image) => element("li", {}, card(image, chosen))));
  byId("examples").hidden = images.length === 0;
}

function card(image, chosen) {
  const picture = element("img", { src: `test-images/${encodeURIComponent(image.name)}`, alt: "", loading: "lazy" });
  const button = element(
    "button",
    { type: "button", className: "example" },
    picture,
    element("span", { className: "label", textContent: image.title })
  );
  button.addEventListener("click", () => chosen(image.name));
  return element("div", {}, button, element("p", { className: "hint", textContent: image.note }));
}

// Mouse, pen and fingers on a canvas. Everything here can also be done with buttons, fields and keys.

const SLOP = 3; // screen pixels that a click may move

/**
 * Call `actions` for what pointers do on a canvas: `press()` first, then `pan(across, down)`,
 * `adjust(across, down)` and `zoom(factor, point)`. `tool()` says what the main button does, "pan" or "adjust";
 * the right one adjusts the window, the middle one pans, two fingers zoom and pan.
 */
export function listen(canvas, actions, tool) {
  const pointers = new Map();
  const pixel = (event) => {
    const box = canvas.getBoundingClientRect();
    const factor = canvas.width / box.width;
    return { x: (event.clientX - box.left) * factor, y: (event.clientY - box.top) * factor };
  };

  canvas.addEventListener("pointerdown", (event) => {
    actions.press();
    canvas.setPointerCapture(event.pointerId);
    const kind = event.button === 2 ? "adjust" : event.button === 1 ? "pan" : tool();
    pointers.set(event.pointerId, { ...pixel(event), kind, moved: false });
    if (event.button !== 0) event.preventDefault();
  });

  canvas.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const now = pixel(event);
    if (!before.moved && Math.hypot(now.x - before.x, now.y - before.y) < SLOP) return;
    if (pointers.size === 2) pinch(event.pointerId, before, now);
    else if (pointers.size === 1) actions[before.kind](now.x - before.x, now.y - before.y);
    pointers.set(event.pointerId, { ...before, ...now, moved: true });
  });

  function pinch(id, before, now) {
    const [, still] = [...pointers].find(([other]) => other !== id);
    const distance = (a, b) => Math.max(1, Math.hypot(a.x - b.x, a.y - b.y));
    const center = { x: (now.x + still.x) / 2, y: (now.y + still.y) / 2 };
    actions.pan((now.x - before.x) / 2, (now.y - before.y) / 2);
    actions.zoom(distance(now, still) / distance(before, still), center);
  }

  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, (event) => pointers.delete(event.pointerId));
  }
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const steps = event.deltaMode === 0 ? event.deltaY / 100 : event.deltaY / 3;
      actions.zoom(1.2 ** -Math.min(Math.max(steps, -3), 3), pixel(event));
    },
    { passive: false }
  );
}

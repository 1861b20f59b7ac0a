// Which part of an image is seen: the scale, and the place of the image in the middle of the canvas.

const LARGEST = 32; // screen pixels for one of the image

/** Return the view of a whole image. `scale` is in screen pixels for one of the image. */
export function fitted(image, canvas) {
  const scale = Math.min(canvas.width / image.columns, canvas.height / image.rows);
  return { scale, x: image.columns / 2, y: image.rows / 2, fits: true };
}

/** Return a view kept to the image: not smaller than all of it, and with the image in the middle. */
function kept(image, canvas, { scale, x, y }) {
  const whole = fitted(image, canvas);
  const size = Math.min(Math.max(scale, Math.min(whole.scale, 1)), Math.max(LARGEST, whole.scale));
  if (size <= whole.scale * (1 + 1e-9)) {
    return { ...whole, scale: size, fits: size >= whole.scale * (1 - 1e-9) };
  }
  return {
    scale: size,
    x: Math.min(Math.max(x, 0), image.columns),
    y: Math.min(Math.max(y, 0), image.rows),
    fits: false,
  };
}

/** Return the view at another scale, with one point of the canvas staying where it is. */
export function zoomed(image, canvas, view, factor, point = { x: canvas.width / 2, y: canvas.height / 2 }) {
  const { scale } = kept(image, canvas, { ...view, scale: view.scale * factor });
  const across = (point.x - canvas.width / 2) * (1 / view.scale - 1 / scale);
  const down = (point.y - canvas.height / 2) * (1 / view.scale - 1 / scale);
  return kept(image, canvas, { scale, x: view.x + across, y: view.y + down });
}

/** Return the view moved by screen pixels, as if the image were dragged. */
export const moved = (image, canvas, view, across, down) =>
  kept(image, canvas, { scale: view.scale, x: view.x - across / view.scale, y: view.y - down / view.scale });

/** Return the view for a canvas of another size. */
export const resized = (image, canvas, view) => (view.fits ? fitted(image, canvas) : kept(image, canvas, view));

/** Return the view of another image that corresponds to this one: the same part, as much enlarged. */
export function corresponding(image, canvas, view, otherImage, otherCanvas) {
  const factor = view.scale / fitted(image, canvas).scale;
  return kept(otherImage, otherCanvas, {
    scale: factor * fitted(otherImage, otherCanvas).scale,
    x: (view.x / image.columns) * otherImage.columns,
    y: (view.y / image.rows) * otherImage.rows,
  });
}

/** Return where the image lies on the canvas: the place of its corner, and the scale. */
export function placed(canvas, view) {
  const place = {
    x: canvas.width / 2 - view.x * view.scale,
    y: canvas.height / 2 - view.y * view.scale,
    scale: view.scale,
  };
  // One to one, pixels of the image are pixels of the screen.
  return view.scale === 1 ? { ...place, x: Math.round(place.x), y: Math.round(place.y) } : place;
}

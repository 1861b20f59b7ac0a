// Lines on which the values of a grid cross a level: the twin of thorax.explain.contours.

const [TOP, RIGHT, BOTTOM, LEFT] = [0, 1, 2, 3];

// The sides of a square that a line joins, by the sum of its corners above the level: 1 top left, 2 top right,
// 4 bottom right, 8 bottom left. Exchanging above and below gives the same lines, but in saddles (5 and 10).
const JOINED = {
  1: [[LEFT, TOP]],
  2: [[TOP, RIGHT]],
  3: [[LEFT, RIGHT]],
  4: [[RIGHT, BOTTOM]],
  5: [[LEFT, TOP], [RIGHT, BOTTOM]],
  6: [[TOP, BOTTOM]],
  7: [[LEFT, BOTTOM]],
  10: [[TOP, RIGHT], [LEFT, BOTTOM]],
};

/** Return lines of points [x, y], a closed one ending where it begins; x and y are column and row. */
export function contourLines({ values, rows, columns }, level) {
  const others = new Map(); // the sides that each side is joined with
  const join = (first, second) => {
    for (const [side, other] of [[first, second], [second, first]]) {
      if (!others.has(side)) others.set(side, []);
      others.get(side).push(other);
    }
  };
  for (let row = 0; row + 1 < rows; row += 1) {
    for (let column = 0; column + 1 < columns; column += 1) {
      const top = row * columns + column;
      const left = top + rows * columns;
      const numbers = [top, left + 1, top + columns, left];
      const corners = [values[top], values[top + 1], values[top + columns + 1], values[top + columns]];
      for (const [first, second] of JOINED[shapeOf(corners, level)] ?? []) join(numbers[first], numbers[second]);
    }
  }
  return chains(others).map((line) => line.map((side) => crossing(values, rows, columns, level, side)));
}

function shapeOf(corners, level) {
  const shape = corners.reduce((sum, corner, bit) => sum + (corner > level ? 1 << bit : 0), 0);
  const saddle = shape === 5 || shape === 10;
  // In a saddle, a center above the level joins the two corners above and separates the others.
  const exchanged = saddle ? corners.reduce((sum, corner) => sum + corner / 4, 0) > level : shape > 15 - shape;
  return exchanged ? 15 - shape : shape;
}

/** Return the point at which the level is crossed on a side. */
function crossing(values, rows, columns, level, side) {
  const down = side >= rows * columns;
  const first = down ? side - rows * columns : side;
  const [start, end] = [values[first], values[first + (down ? columns : 1)]];
  const fraction = (level - start) / (end - start);
  return [(first % columns) + (down ? 0 : fraction), Math.floor(first / columns) + (down ? fraction : 0)];
}

/** Join sides: first the open lines from the border, then closed ones. */
function chains(others) {
  const open = [...others.keys()].filter((side) => others.get(side).length === 1);
  const lines = [];
  for (const start of [...open, ...others.keys()]) {
    const line = [start];
    while (others.get(line.at(-1)).length > 0) {
      const next = others.get(line.at(-1)).pop();
      const back = others.get(next);
      back.splice(back.indexOf(line.at(-1)), 1);
      line.push(next);
    }
    if (line.length > 1) lines.push(line);
  }
  return lines;
}

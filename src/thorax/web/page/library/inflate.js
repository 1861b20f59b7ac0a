// Decompression by the browser, of no more than is needed.

/** Return up to `most` bytes that compressed data inflate to; what follows is not read. */
export async function inflated(bytes, format, most) {
  const parts = [];
  let length = 0;
  const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream(format)).getReader();
  try {
    while (length < most) {
      const { done, value } = await reader.read();
      if (done) break;
      parts.push(value.subarray(0, most - length));
      length += parts.at(-1).length;
    }
  } finally {
    reader.cancel().catch(() => {}); // an error behind the last byte that is needed does no harm
  }
  return joined(parts);
}

/** Return parts as one. */
export function joined(parts) {
  if (parts.length === 1) return parts[0];
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

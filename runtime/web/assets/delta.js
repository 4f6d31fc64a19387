// A file as what it has in common with another one, and the rest: runtime/web/delta.py.

/**
 * The file that a delta describes.
 *
 * @param {Uint8Array} base the other file
 * @param {Uint8Array} delta the length of a list (4 bytes, little-endian), the list as JSON, and the
 *   bytes that are not in `base`. The list has [begin, end] for bytes of `base`, and a number for
 *   so many of the rest
 */
export function applyDelta(base, delta) {
  const view = new DataView(delta.buffer, delta.byteOffset, delta.byteLength);
  const start = 4 + view.getUint32(0, true);
  const parts = JSON.parse(new TextDecoder().decode(delta.subarray(4, start)));
  const sizeOf = (part) => (Array.isArray(part) ? part[1] - part[0] : part);
  const file = new Uint8Array(parts.reduce((size, part) => size + sizeOf(part), 0));
  let written = 0;
  let read = start;
  for (const part of parts) {
    const isCopy = Array.isArray(part);
    file.set(isCopy ? base.subarray(...part) : delta.subarray(read, read + part), written);
    written += sizeOf(part);
    read += isCopy ? 0 : part;
  }
  return file;
}

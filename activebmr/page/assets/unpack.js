/* Numbers of agents as the page holds them: all arrays of one agent one after another, two bytes a number, deflated, in base64.
 *
 *   unpack(text, layout) -> Promise of {name: {shape, values: Float64Array}}
 *
 * layout: [[name, kind, shape], ...]. Kinds are "share" (0..1 in steps of 1/65535), "half" (16-bit floating point) and "whole"
 * (-1 for none).
 */
"use strict";

async function unpack(text, layout) {
  if (typeof DecompressionStream === "undefined") {
    throw new Error("This browser is too old to read the page: use Chrome or Edge 80, Firefox 113, Safari 16.4, or a later one.");
  }
  const packed = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const view = new DataView(await new Response(stream).arrayBuffer());
  const read = {
    share: (at) => view.getUint16(at, true) / 65535,
    half: (at) => halfFloat(view.getUint16(at, true)),
    whole: (at) => view.getInt16(at, true),
  };
  const out = {};
  let at = 0;
  for (const [name, kind, dims] of layout) {
    const values = new Float64Array(dims.reduce((a, b) => a * b, 1));
    for (let k = 0; k < values.length; k++, at += 2) values[k] = read[kind](at);
    out[name] = { shape: dims, values };
  }
  return out;
}

function halfFloat(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction);
}

/** The part of an array at some indices of its first axes, as a plain list. */
function part(array, ...indices) {
  const inner = array.shape.slice(indices.length).reduce((a, b) => a * b, 1);
  let at = 0;
  indices.forEach((index, axis) => { at = at * array.shape[axis] + index; });
  return Array.from(array.values.subarray(at * inner, (at + 1) * inner));
}

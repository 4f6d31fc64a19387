// Reads a SentencePiece model file: sentencepiece_model.proto, of which only what segments text.

export const PIECE = { NORMAL: 1, UNKNOWN: 2, CONTROL: 3, USER_DEFINED: 4, UNUSED: 5, BYTE: 6 };
const UNIGRAM = 1;

/**
 * The pieces and settings of a unigram model.
 *
 * @param {Uint8Array} data the .spm file
 * @returns {{pieces: {piece: string, bytes: Uint8Array, score: number, type: number}[],
 *   byteFallback: boolean, unknownSurface: string, addDummyPrefix: boolean,
 *   removeExtraWhitespaces: boolean, escapeWhitespaces: boolean, charsmap: Uint8Array}}
 * @throws {Error} it is no SentencePiece model, or one that is not segmented here
 */
export function readModelFile(data) {
  const decoder = new TextDecoder();
  const model = {
    pieces: [],
    byteFallback: false,
    unknownSurface: " \u2047 ",
    addDummyPrefix: true,
    removeExtraWhitespaces: true,
    escapeWhitespaces: true,
    charsmap: new Uint8Array(),
  };
  let type = UNIGRAM;
  let suffix = 0;
  for (const [number, value] of fieldsOf(data)) {
    if (number === 1) model.pieces.push(readPiece(value, decoder));
    else if (number === 2) {
      for (const [field, setting] of fieldsOf(value)) {
        if (field === 3) type = setting;
        else if (field === 24) suffix = setting;
        else if (field === 35) model.byteFallback = setting !== 0;
        else if (field === 44) model.unknownSurface = decoder.decode(setting);
      }
    } else if (number === 3) {
      for (const [field, setting] of fieldsOf(value)) {
        if (field === 2) model.charsmap = setting;
        else if (field === 3) model.addDummyPrefix = setting !== 0;
        else if (field === 4) model.removeExtraWhitespaces = setting !== 0;
        else if (field === 5) model.escapeWhitespaces = setting !== 0;
      }
    }
  }
  if (!model.pieces.length) throw new Error("this is not a SentencePiece model");
  if (type !== UNIGRAM || suffix) {
    throw new Error("this SentencePiece model is not a unigram model with spaces before words");
  }
  return model;
}

function readPiece(data, decoder) {
  const piece = { piece: "", bytes: new Uint8Array(), score: 0, type: PIECE.NORMAL };
  for (const [field, value] of fieldsOf(data)) {
    if (field === 1) {
      piece.bytes = value;
      piece.piece = decoder.decode(value);
    } else if (field === 2) piece.score = value;
    else if (field === 3) piece.type = value;
  }
  return piece;
}

/** Number and value of each field of a protobuf message; numbers of 4 bytes are floats. */
function* fieldsOf(data) {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  let at = 0;
  const varint = () => {
    let result = 0;
    for (let scale = 1; at < data.length; scale *= 128) {
      const byte = data[at];
      at += 1;
      result += (byte & 127) * scale;
      if (byte < 128) return result;
    }
    throw new Error("this is not a SentencePiece model: it ends too early");
  };
  while (at < data.length) {
    const key = varint();
    const kind = key % 8;
    let value;
    if (kind === 0) value = varint();
    else if (kind === 2) {
      const length = varint();
      value = data.subarray(at, at + length);
      at += length;
    } else if (kind === 5 && at + 4 <= data.length) {
      value = view.getFloat32(at, true);
      at += 4;
    } else if (kind === 1) at += 8;
    else throw new Error("this is not a SentencePiece model");
    if (at > data.length) throw new Error("this is not a SentencePiece model: it ends too early");
    yield [Math.floor(key / 8), value];
  }
}

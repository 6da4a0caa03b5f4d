/** Photos, decoded. Only the small objects that hold their parts are in the JavaScript heap. */

/** A photo that is ready to be shown. */
export class Photo {
  readonly pixels: Uint8Array<ArrayBuffer>;
  readonly luminance: Float32Array<ArrayBuffer>;
  readonly histogram: Uint32Array<ArrayBuffer>;
  readonly preview: Uint8Array<ArrayBuffer>;

  constructor(width: number, height: number) {
    this.pixels = new Uint8Array(width * height * 3);
    this.luminance = new Float32Array(width * height);
    this.histogram = new Uint32Array(3 * 65_537);
    this.preview = this.pixels.slice(0, 463_203);
  }
}

/** Reads photos of one camera. */
export function readPhotos(count: number): Photo[] {
  return Array.from({ length: count }, () => new Photo(637, 425));
}

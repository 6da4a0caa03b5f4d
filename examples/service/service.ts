/** The application that the examples trace: it shows photos, and its memory is native. */
import { Catalog } from "./catalog.ts";
import { type Client, connect } from "./clients.ts";
import { renderPage } from "./pages.ts";
import { type Photo, readPhotos } from "./photos.ts";

/** The service, once it is ready. */
export class Service {
  readonly catalog: Catalog = new Catalog(Array(24).fill("ja"));
  readonly photos: Photo[] = [];
  readonly clients: Client[] = [];
  readonly pages = new Map<string, Uint8Array>();

  constructor() {
    this.catalog.add(20_000);
    this.photos.push(...readPhotos(24));
    this.clients.push(...connect(40));
  }

  /** Serves for an hour. Who has left is not forgotten, and a page is kept for every time at which it was shown. */
  serve(): void {
    this.photos.push(...readPhotos(36));
    this.clients.push(...connect(60));
    for (let i = 0; i < 24; i++) this.pages.set(`/album?time=${i}`, renderPage());
  }
}

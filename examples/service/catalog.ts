/** What is known about the photos: a database in memory, and what finds words in it. */
import { DatabaseSync } from "node:sqlite";

/** Titles, and what is needed to search them. */
export class Catalog {
  readonly index: SharedArrayBuffer = new SharedArrayBuffer(5_242_891);
  readonly segmenters: Intl.Segmenter[];
  readonly #database = new DatabaseSync(":memory:");

  constructor(languages: readonly string[]) {
    this.#database.exec("CREATE TABLE photo (title TEXT)");
    this.segmenters = languages.map((language) => new Intl.Segmenter(language, { granularity: "word" }));
  }

  /** Adds titles of photos. */
  add(count: number): void {
    const insertion = this.#database.prepare("INSERT INTO photo VALUES (?)");
    for (let i = 0; i < count; i++) insertion.run(`Photo ${i} of a holiday by the sea, in the rain`);
  }

  /** Forgets the titles. */
  close(): void {
    this.#database.close();
  }
}

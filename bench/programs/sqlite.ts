/** A database in memory: inserts, indexes, joins, texts and blobs. */
import { DatabaseSync } from "node:sqlite";

const database = new DatabaseSync(":memory:");
database.exec(`
  CREATE TABLE author (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
  CREATE TABLE book (id INTEGER PRIMARY KEY, author INTEGER REFERENCES author, title TEXT, text TEXT, cover BLOB);
  CREATE INDEX book_author ON book (author);
`);
const addAuthor = database.prepare("INSERT INTO author (id, name) VALUES (?, ?)");
const addBook = database.prepare("INSERT INTO book (author, title, text, cover) VALUES (?, ?, ?, ?)");
database.exec("BEGIN");
for (let author = 0; author < 300; author++) {
  addAuthor.run(author, `author ${author}`);
  for (let book = 0; book < 20; book++) {
    addBook.run(author, `book ${book}`, `once upon a time ${book} `.repeat(20), new Uint8Array(500));
  }
}
database.exec("COMMIT");
const byAuthor = database.prepare(
  "SELECT author.name, book.title, book.text, book.cover FROM book JOIN author ON author.id = book.author WHERE author.id = ?",
);
let bytes = 0;
for (let round = 0; round < 5; round++) {
  for (let author = 0; author < 300; author++) {
    for (const row of byAuthor.all(author)) bytes += (row["cover"] as Uint8Array).length + String(row["text"]).length;
  }
}
const [sums] = database.prepare("SELECT count(*) AS books, sum(length(text)) AS letters FROM book").all();
database.close();
console.log("read", bytes, sums!["books"]);

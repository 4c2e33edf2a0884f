// A notebook: notes in a SQLite database in DATA_DIR.
//
// Without DATA_DIR it has no place for what shall stay, and takes no notes. One process at a time has the directory: a
// second one that finds it taken ends.
'use strict';

const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const sqlite3 = require('sqlite3');

const DATA = process.env.DATA_DIR;
const LONGEST = 64 * 1024;

// Node has no flock(2). A lock belongs to the open file, and so to this process once flock(1) has ended.
function takeDirectory() {
  const taken = fs.openSync(path.join(DATA, 'one-at-a-time'), 'w');
  const { status } = spawnSync('flock', ['--nonblock', '3'], { stdio: ['ignore', 'ignore', 'ignore', taken] });
  if (status !== 0) {
    console.error('another process has DATA_DIR');
    process.exit(1);
  }
}

function openDatabase() {
  const database = new sqlite3.Database(path.join(DATA, 'notes.db'));
  database.configure('busyTimeout', 10000);
  // What was answered with 201 is on the disk.
  database.exec(
    `PRAGMA journal_mode = WAL;
     PRAGMA synchronous = FULL;
     CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL);`,
    (error) => {
      if (error) throw error;
    },
  );
  return database;
}

function answer(response, status, text) {
  // A connection that is kept would wait for the end of the process.
  response.writeHead(status, { 'Content-Type': 'text/plain; charset=utf-8', Connection: 'close' });
  response.end(text);
}

function list(database, response) {
  database.all('SELECT id, text FROM notes ORDER BY id', (error, notes) => {
    if (error) return answer(response, 500, `${error.message}\n`);
    answer(response, 200, notes.map(({ id, text }) => `${id} ${text}\n`).join(''));
  });
}

function take(database, request, response) {
  const parts = [];
  let length = 0;
  request.on('data', (part) => {
    length += part.length;
    if (length <= LONGEST) parts.push(part);
  });
  request.on('end', () => {
    if (length > LONGEST) return answer(response, 413, 'too long\n');
    const text = Buffer.concat(parts).toString('utf8');
    database.run('INSERT INTO notes (text) VALUES (?)', [text], function inserted(error) {
      if (error) return answer(response, 500, `${error.message}\n`);
      answer(response, 201, `${this.lastID}\n`);
    });
  });
}

if (DATA !== undefined) takeDirectory();
const database = DATA === undefined ? null : openDatabase();

const server = http.createServer((request, response) => {
  if (request.method === 'POST') {
    if (database === null) return answer(response, 503, 'nothing here would stay: DATA_DIR is not set\n');
    return take(database, request, response);
  }
  if (request.method !== 'GET') return answer(response, 405, 'GET or POST\n');
  if (request.url === '/health') return answer(response, 200, 'well\n');
  if (request.url !== '/') return answer(response, 404, 'no such page\n');
  if (database === null) return answer(response, 200, 'no notes: nothing here would stay\n');
  return list(database, response);
});
server.listen(Number(process.env.PORT ?? 3000));

// Requests that are under way are answered.
process.on('SIGTERM', () => {
  server.close(() => {
    if (database === null) process.exit(0);
    database.close(() => process.exit(0));
  });
});

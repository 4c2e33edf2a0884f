// The register: participants of a trial and their visits.
//
//   GET  /health   200 while the database answers
//   GET  /         how many there are; reads and counts
//   POST /         one more participant, with a visit; answers with the number once it is committed
//
// It makes no tables: that is the work of the migrations, which `rehome deploy` runs.
'use strict';

const http = require('node:http');
const { Pool } = require('pg');
const { version } = require('./package.json');

const pool = new Pool({ connectionString: process.env.DATABASE_URL, max: 5, connectionTimeoutMillis: 3000 });
// A connection that breaks while nobody uses it (the database is restarted) ends no process.
pool.on('error', (error) => console.error(`database: ${error.message}`));

async function enrol(code) {
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    const made = await client.query('INSERT INTO participants (code) VALUES ($1) RETURNING id', [code]);
    await client.query('INSERT INTO visits (participant) VALUES ($1)', [made.rows[0].id]);
    await client.query('COMMIT');
    return made.rows[0].id;
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {});
    throw error;
  } finally {
    client.release();
  }
}

const routes = {
  'GET /health': async () => {
    await pool.query('SELECT 1');
    return { status: 'ok', version };
  },
  'GET /': async () => {
    const counted = await pool.query(
      'SELECT (SELECT count(*) FROM participants)::int AS participants, (SELECT count(*) FROM visits)::int AS visits',
    );
    return { ...counted.rows[0], version };
  },
  'POST /': async () => ({ id: await enrol(`P-${Date.now()}`) }),
};

const server = http.createServer(async (request, response) => {
  request.resume();
  const answer = (status, body) => {
    // Proxies and clients ask anew after a restart.
    response.writeHead(status, { 'content-type': 'application/json', connection: 'close' });
    response.end(`${JSON.stringify(body)}\n`);
  };
  const route = routes[`${request.method} ${request.url}`];
  if (!route) return answer(404, { error: 'no such page' });
  try {
    answer(200, await route());
  } catch (error) {
    console.error(`${request.method} ${request.url}: ${error.message}`);
    answer(500, { error: 'see the log' });
  }
});

// There is no entrypoint and no init: this is process 1, and nobody else heeds the signal.
function end() {
  server.close(() => pool.end().then(() => process.exit(0)));
}
process.on('SIGTERM', end);
process.on('SIGINT', end);

const port = Number(process.env.PORT || 3000);
server.listen(port, () => console.log(`crs-trial ${version} listens on ${port}`));

// Exit 0 when /health answers 200: the image has no curl.
'use strict';

const port = Number(process.env.PORT || 3000);
require('node:http')
  .get({ host: '127.0.0.1', port, path: '/health', timeout: 3000 }, (answer) => process.exit(answer.statusCode === 200 ? 0 : 1))
  .on('timeout', () => process.exit(1))
  .on('error', () => process.exit(1));

exports.up = (pgm) => {
  pgm.createTable('participants', {
    id: 'id',
    code: { type: 'text', notNull: true },
    enrolled: { type: 'timestamptz', notNull: true, default: pgm.func('now()') },
  });
};

exports.down = (pgm) => pgm.dropTable('participants');

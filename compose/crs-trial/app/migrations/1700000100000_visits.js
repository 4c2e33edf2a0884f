exports.up = (pgm) => {
  pgm.createTable('visits', {
    id: 'id',
    participant: { type: 'integer', notNull: true, references: 'participants', onDelete: 'CASCADE' },
    happened: { type: 'timestamptz', notNull: true, default: pgm.func('now()') },
  });
  pgm.createIndex('visits', 'participant');
};

exports.down = (pgm) => pgm.dropTable('visits');

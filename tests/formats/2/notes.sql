PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE note (id integer primary key, text);
INSERT INTO note VALUES(1,'first');
INSERT INTO note VALUES(2,'it''s the second');
INSERT INTO note VALUES(3,NULL);
CREATE TABLE empty (i);
COMMIT;

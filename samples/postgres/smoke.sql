-- What clients ask of the server: psql --file=smoke.sql library
\set ON_ERROR_STOP 1
SELECT count(*) FROM books JOIN authors ON authors.id = books.author;
BEGIN;
INSERT INTO authors (name) VALUES ('Smoke');
ROLLBACK;
CREATE EXTENSION IF NOT EXISTS pgcrypto;
SELECT encode(digest('abc', 'sha256'), 'hex');
CREATE EXTENSION IF NOT EXISTS pg_trgm;
SELECT similarity('compiler', 'compilers') > 0.5;
DO $$ BEGIN RAISE NOTICE 'plpgsql'; END $$;
SELECT jsonb_path_query('{"a": [1, 2]}', '$.a[*]');
SELECT to_tsvector('english', 'the running of programs') @@ to_tsquery('run');
SELECT timestamptz '2024-07-01 12:00 UTC' AT TIME ZONE 'Europe/Berlin';
SELECT 'Ä' < 'b' COLLATE "en_US.utf8";
SELECT convert_to('grüße', 'LATIN1');
SELECT xmlelement(name a, 'b');
SELECT upper('ß' COLLATE "de-x-icu");
CREATE TEMP TABLE many AS SELECT generate_series(1, 20000) AS n;
ANALYZE many;
VACUUM books;
CHECKPOINT;

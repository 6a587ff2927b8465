# A user who may only read.
psql --no-psqlrc --username=postgres --dbname=library --quiet <<SQL
CREATE ROLE reader LOGIN PASSWORD 'reader';
GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader;
SQL

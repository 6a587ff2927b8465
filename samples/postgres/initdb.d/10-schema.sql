CREATE DATABASE library;
ALTER DATABASE library SET timezone = 'Europe/Berlin';
\connect library
CREATE EXTENSION pgcrypto;
CREATE EXTENSION pg_trgm;
CREATE TABLE authors (id serial PRIMARY KEY, name text NOT NULL UNIQUE);
CREATE TABLE books (
    id serial PRIMARY KEY,
    author integer NOT NULL REFERENCES authors,
    title text NOT NULL,
    year integer CHECK (year > 0),
    words tsvector GENERATED ALWAYS AS (to_tsvector('english', title)) STORED
);
INSERT INTO authors (name) VALUES ('Ada'), ('Grace'), ('Edsger');
INSERT INTO books (author, title, year) VALUES (1, 'Notes', 1843), (2, 'Compilers', 1952), (3, 'Structured', 1972);

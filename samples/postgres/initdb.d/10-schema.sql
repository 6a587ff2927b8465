CREATE DATABASE library;
\connect library
CREATE TABLE authors (id serial PRIMARY KEY, name text NOT NULL UNIQUE);
CREATE TABLE books (
    id serial PRIMARY KEY,
    author integer NOT NULL REFERENCES authors,
    title text NOT NULL,
    year integer CHECK (year > 0)
);
INSERT INTO authors (name) VALUES ('Ada'), ('Grace'), ('Edsger');
INSERT INTO books (author, title, year) VALUES (1, 'Notes', 1843), (2, 'Compilers', 1952), (3, 'Structured', 1972);

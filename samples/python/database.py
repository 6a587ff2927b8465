"""Makes the database with its first notes: database.py FILE"""

import sqlite3
import sys

SCHEMA = """
CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL);
INSERT INTO notes (text) VALUES ('first note'), ('second note');
"""

if __name__ == "__main__":
    with sqlite3.connect(sys.argv[1]) as connection:
        connection.executescript(SCHEMA)

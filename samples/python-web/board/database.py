"""Messages in a SQLite database, which the first one to ask makes."""

import sqlite3

PATH = "/var/lib/board/board.db"


def connect():
    connection = sqlite3.connect(PATH, timeout=10)
    with connection:
        connection.execute("CREATE TABLE IF NOT EXISTS messages (author TEXT, text TEXT)")
    return connection


def read():
    rows = connect().execute("SELECT author, text FROM messages ORDER BY rowid")
    return [{"author": author, "text": text} for author, text in rows]


def write(author, text):
    connection = connect()
    with connection:
        connection.execute("INSERT INTO messages VALUES (?, ?)", (author, text))

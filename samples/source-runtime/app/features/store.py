"""A database in memory, and exact numbers."""

import decimal
import sqlite3


def answer(_query):
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE prices (price TEXT)")
    database.executemany("INSERT INTO prices VALUES (?)", [("0.10",), ("0.20",)])
    prices = [decimal.Decimal(price) for (price,) in database.execute("SELECT price FROM prices")]
    return {"sum": str(sum(prices))}

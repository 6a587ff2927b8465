# frozen_string_literal: true

# Makes the database: ruby seed.rb FILE
require 'sqlite3'

database = SQLite3::Database.new(ARGV.fetch(0))
database.execute('CREATE TABLE entries (id INTEGER PRIMARY KEY, text TEXT NOT NULL)')
database.execute("INSERT INTO entries (text) VALUES ('first entry'), ('second entry')")

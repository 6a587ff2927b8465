# Makes the database: perl seed.pl FILE
use strict;
use warnings;
use DBI;

my $database = DBI->connect("dbi:SQLite:dbname=$ARGV[0]", '', '', {RaiseError => 1});
$database->do('CREATE TABLE entries (id INTEGER PRIMARY KEY, text TEXT NOT NULL)');
$database->do("INSERT INTO entries (text) VALUES ('first entry'), ('second entry')");

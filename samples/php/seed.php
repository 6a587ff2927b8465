<?php
// Makes the database of the shop: php seed.php
$database = new PDO('sqlite:/var/lib/shop/shop.db');
$database->exec('CREATE TABLE articles (id INTEGER PRIMARY KEY, name TEXT UNIQUE, price TEXT)');
$database->exec("INSERT INTO articles (name, price) VALUES ('pencil', '0.80'), ('paper', '3.20')");

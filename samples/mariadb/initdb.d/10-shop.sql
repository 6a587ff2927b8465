CREATE DATABASE shop;
USE shop;
CREATE TABLE articles (id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(80) NOT NULL UNIQUE, price DECIMAL(8, 2)) ENGINE=InnoDB;
INSERT INTO articles (name, price) VALUES ('pencil', 0.80), ('paper', 3.20), ('ink', 7.50);
CREATE USER 'clerk'@'%' IDENTIFIED BY 'clerk';
GRANT ALL ON shop.* TO 'clerk'@'%';
CREATE USER 'guest'@'%' IDENTIFIED BY 'guest';
GRANT SELECT ON shop.articles TO 'guest'@'%';

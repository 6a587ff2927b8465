<?php
declare(strict_types=1);

namespace Shop;

/** Articles in a SQLite database. */
class Articles
{
    public function answer(string $method): array
    {
        $database = new \PDO('sqlite:/var/lib/shop/shop.db', options: [\PDO::ATTR_ERRMODE => \PDO::ERRMODE_EXCEPTION]);
        if ($method === 'POST') {
            $article = json_decode(file_get_contents('php://input'), true);
            if (!is_array($article) || !isset($article['name'], $article['price'])) {
                throw new Refused('no article', 400);
            }
            $statement = $database->prepare('INSERT INTO articles (name, price) VALUES (?, ?)');
            $statement->execute([$article['name'], $article['price']]);
            http_response_code(201);
        }
        $rows = $database->query('SELECT name, price FROM articles ORDER BY id')->fetchAll(\PDO::FETCH_NUM);
        return ['articles' => $rows, 'sum' => array_reduce($rows, fn ($sum, $row) => bcadd($sum, (string) $row[1], 2), '0')];
    }
}

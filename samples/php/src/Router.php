<?php
declare(strict_types=1);

namespace Shop;

/** Which path is answered by what; a feature's class is loaded when its path is asked for. */
class Router
{
    private const PAGES = ['/' => 'index', '/about' => 'about'];
    private const FEATURES = [
        '/picture' => Picture::class,
        '/articles' => Articles::class,
        '/words' => Words::class,
        '/feed' => Feed::class,
        '/visits' => Visits::class,
        '/self' => Self_::class,
    ];

    public function answer(string $method, string $path): void
    {
        if ($path === '/health') {
            $this->json(['status' => 'ok']);
        } elseif (isset(self::PAGES[$path])) {
            $title = getenv('SHOP_TITLE');
            $query = $_GET['q'] ?? '';
            require __DIR__ . '/../templates/' . self::PAGES[$path] . '.php';
        } elseif (isset(self::FEATURES[$path])) {
            $class = self::FEATURES[$path];
            $answer = (new $class())->answer($method);
            if (is_array($answer)) {
                $this->json($answer);
            } else {
                echo $answer;
            }
        } else {
            throw new Refused("nothing at $path", 404);
        }
    }

    private function json(array $value): void
    {
        header('Content-Type: application/json');
        echo json_encode($value, JSON_UNESCAPED_UNICODE);
    }
}

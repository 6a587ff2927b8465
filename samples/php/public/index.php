<?php
// The front controller: every path that is no file comes here.
declare(strict_types=1);

spl_autoload_register(function (string $class): void {
    require __DIR__ . '/../../src/' . str_replace('\\', '/', substr($class, strlen('Shop\\'))) . '.php';
});

try {
    (new Shop\Router())->answer($_SERVER['REQUEST_METHOD'], parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH));
} catch (Shop\Refused $refused) {
    http_response_code($refused->getCode());
    header('Content-Type: application/json');
    echo json_encode(['error' => $refused->getMessage()]);
}

<?php
declare(strict_types=1);

namespace Shop;

/** Counts the visits of one visitor, in a session. */
class Visits
{
    public function answer(string $method): array
    {
        session_start();
        $_SESSION['visits'] = ($_SESSION['visits'] ?? 0) + 1;
        return ['visits' => $_SESSION['visits']];
    }
}

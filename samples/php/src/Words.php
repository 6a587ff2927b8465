<?php
declare(strict_types=1);

namespace Shop;

/** What needs locales, time zones and tables of characters. */
class Words
{
    public function answer(string $method): array
    {
        $text = $_GET['text'] ?? 'äpfel';
        $money = new \NumberFormatter('de_DE', \NumberFormatter::CURRENCY);
        $day = new \DateTimeImmutable('2024-07-01 12:00', new \DateTimeZone('UTC'));
        return [
            'upper' => mb_strtoupper($text),
            'price' => str_replace("\u{a0}", ' ', $money->formatCurrency(1234.5, 'EUR')),
            'zone' => $day->setTimezone(new \DateTimeZone(date_default_timezone_get()))->format('H:i T'),
            'bytes' => bin2hex(iconv('UTF-8', 'ISO-8859-1', 'ü')),
        ];
    }
}

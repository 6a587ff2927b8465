<?php
declare(strict_types=1);

namespace Shop;

/** A picture made on the spot. */
class Picture
{
    public function answer(string $method): string
    {
        $image = imagecreatetruecolor(40, 20);
        imagefilledrectangle($image, 5, 5, 35, 15, imagecolorallocate($image, 200, 30, 30));
        ob_start();
        imagepng($image);
        header('Content-Type: image/png');
        return ob_get_clean();
    }
}

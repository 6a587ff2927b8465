<?php
namespace Shop;

class Refused extends \Exception
{
}

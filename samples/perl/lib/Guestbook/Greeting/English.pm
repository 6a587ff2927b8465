package Guestbook::Greeting::English;
use Mojo::Base -strict, -signatures;

sub words ($class) { return 'hello' }

1;

package Guestbook::Greeting::French;
use Mojo::Base -strict, -signatures;

sub words ($class) { return 'bonjour' }

1;

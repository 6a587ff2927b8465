package Guestbook::Commands;
use Mojo::Base -strict, -signatures;

# Work in other programs, by a script of the application.
sub answer ($class, $c) {
    my $script = $c->app->home->child('bin/smallest');
    my $smallest = qx($script 3 1 2);
    chomp $smallest;
    return {smallest => $smallest};
}

1;

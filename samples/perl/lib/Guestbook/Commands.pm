package Guestbook::Commands;
use Mojo::Base -strict, -signatures;

# Work in other programs.
sub answer ($class, $c) {
    my $sum = qx(printf '3\\n1\\n2\\n' | sort | head -n 1);
    chomp $sum;
    return {smallest => $sum};
}

1;

package Guestbook::Digest;
use Mojo::Base -strict, -signatures;
use Compress::Zlib ();
use Digest::SHA qw(sha256_hex);
use MIME::Base64 qw(encode_base64);
use Storable qw(dclone);

# Digests, packing and copies.
sub answer ($class, $c) {
    my $packed = Compress::Zlib::memGzip('abc' x 100);
    return {
        sha256 => sha256_hex('abc'),
        base64 => encode_base64('abc', ''),
        packed => Compress::Zlib::memGunzip($packed) eq 'abc' x 100 ? 'yes' : 'no',
        copy   => dclone(['a', 'b'])->[1],
    };
}

1;

# Bodies that come in pieces, without a length, too long, too slowly or not at
# all, in HTTP/1.1 and HTTP/2: 64 KiB are taken, one byte more is refused as
# soon as it is known, and nothing is kept of a client that goes away.

use Livestream::Test;

use JSON::PP;

my $t = Livestream::Test->new(tls => 1, api => 'client_body_timeout 1s;',
    locations => q(
    location /to-file/ {
        livestream_api;
        client_body_in_file_only clean;
        client_body_buffer_size 1k;
    }
    location /small/ { livestream_api; client_body_buffer_size 1k; }
    location /strict/ { livestream_api; client_max_body_size 10; }
));
$t->start;

# of so many bytes
sub body {
    my ($size, $title) = @_;

    my $text = encode_json({ title => $title // 'x', user_id => 'u' });
    return $text . ' ' x ($size - length $text);
}

sub head {
    my ($path, @lines) = @_;
    return join("\r\n", "POST $path HTTP/1.1", 'Host: x',
                'Content-Type: application/json', @lines, '', '');
}

sub chunk { return sprintf "%x\r\n%s\r\n", length $_[0], $_[0] }

my $path = '/api/v1/livestreams';


# ---- as long as may be

for my $prefix (qw(/api/v1 /small /to-file /strict)) {
    my $r = $t->request(POST => "$prefix/livestreams",
                        headers => { 'Content-Type' => 'application/json' },
                        body => body(65536));
    is($r->{status}, 201, "$prefix: 64 KiB");

    $r = $t->request(POST => "$prefix/livestreams",
                     headers => { 'Content-Type' => 'application/json' },
                     body => body(65537));
    is($r->{status}, 413, "$prefix: and a byte");
    is($r->{headers}{'content-type'}, 'application/problem+json',
       'is told as a problem');
}

is(scalar(() = glob "$t->{dir}/tmp_body/*"), 0, 'no temporary files are left');

my $c = $t->client;
$c->raw(head($path, 'Content-Length: 10000000000000')
        . 'x' x 1000);
is($c->recv->{status}, 413, 'a length of 10 TB is not waited for');

for my $length ('-1', '99999999999999999999999', '1x') {
    $c = $t->client;
    $c->raw(head($path, "Content-Length: $length"));
    is($c->recv->{status}, 400, "Content-Length: $length");
}

$c = $t->client;
$c->raw(head($path, 'Content-Length: 100000', 'Expect: 100-continue'));
my $r = $c->recv;
is($r->{status}, 413, 'a client that asks first is refused');
unlike($r->{head}, qr/100 Continue/, 'and need not send it');

$c = $t->client;
my $text = body(100, 'asked');
$c->raw(head($path, 'Content-Length: 100', 'Expect: 100-continue'));
ok($c->readable(5), 'or is told to go on');
$c->raw($text);
is($c->recv->{status}, 201, 'which it does');


# ---- in pieces

$c = $t->client;
$text = body(300, 'bytewise');
my $head = head($path, 'Content-Length: 300');
$c->raw($_) for split //, $head . $text;
is($c->recv->{status}, 201, 'byte for byte');

$c = $t->client;
$c->raw(head($path, 'Transfer-Encoding: chunked')
        . join('', map { chunk($_) } split(//, $text)) . "0\r\n\r\n");
is($c->recv->{status}, 201, 'in chunks of one byte');

$c = $t->client;
$text = body(65536, 'chunked');
$c->raw(head($path, 'Transfer-Encoding: chunked'));
$c->raw(chunk(substr $text, $_ * 4096, 4096)) for 0 .. 15;
ok(!$c->readable(0.1), 'nothing is said before the end');
$c->raw("0\r\nTrailer: x\r\n\r\n");
is($c->recv->{status}, 201, '64 KiB in chunks');
is($c->request(GET => "$path?limit=1")->{status}, 200,
   'connection goes on');

$c = $t->client;
$c->raw(head($path, 'Transfer-Encoding: chunked'));
$c->raw(chunk('x' x 4096)) for 1 .. 17;
is($c->recv->{status}, 413, 'too many chunks, before the end');

$c = $t->client;
$c->raw(head($path, 'Transfer-Encoding: chunked') . "fffffffffff\r\n"
        . 'x' x 70000);
is($c->recv->{status}, 413, 'a chunk that is too long');

$c = $t->client;
$c->raw(head($path, 'Transfer-Encoding: chunked') . "xyz\r\n");
is($c->recv->{status}, 400, 'a chunk that is none');

$c = $t->client;
$text = body(200, 'one');
$c->raw(head($path, 'Content-Length: 200') . $text
        . head($path, 'Transfer-Encoding: chunked') . chunk($text)
        . "0\r\n\r\n" . "GET $path?limit=1 HTTP/1.1\r\nHost: x\r\n\r\n");
is_deeply([map { $c->recv->{status} } 1 .. 3], [201, 201, 200],
          'three requests at once');

$c = $t->client;
$c->raw("POST $path/01234567-89ab-cdef-0123-456789abcdef/start HTTP/1.1\r\n"
        . "Host: x\r\nContent-Length: 500000\r\n\r\n");
is($c->recv->{status}, 404, 'a body that nobody wants is not waited for');
$c->raw('x' x 500000);
is($c->request(GET => "$path?limit=1")->{status}, 200, 'but is read');


# ---- too slow, not at all

$c = $t->client;
$c->raw(head($path, 'Content-Length: 100') . '{"title"');
ok($c->closed(10), 'a body that stops is given up');

my @gone = map { $t->client } 1 .. 20;
$_->raw(head($path, 'Content-Length: 5000') . '{"title":"gone') for @gone;
$_->close for @gone;

@gone = map { $t->client } 1 .. 20;
$_->raw(head($path, 'Transfer-Encoding: chunked') . chunk(body(5000, 'gone')))
    for @gone;
$_->close for @gone;

is($t->get($path)->{status}, 200, 'clients that go away in their body');
is_deeply([$t->sql("SELECT id FROM live_streams WHERE title = 'gone'")], [],
          'have made nothing');


# ---- HTTP/2

sub h2 {
    my ($body, @option) = @_;

    Livestream::Test::write_file("$t->{dir}/body", $body);

    return `curl -sk --http2 -m 20 -o /dev/null -w '%{http_code}' @option \\
            -H 'Content-Type: application/json' \\
            https://127.0.0.1:$t->{https}$path < $t->{dir}/body`;
}

my $file = '--data-binary @-';
my $pipe = '-X POST -T -';

is(h2(body(65536), $file), 201, 'HTTP/2: 64 KiB');
is(h2(body(65537), $file), 413, 'HTTP/2: and a byte');
is(h2('x' x 5000000, $file), 413, 'HTTP/2: 5 MB');

is(h2(body(65536), $pipe), 201, 'HTTP/2: 64 KiB without a length');
is(h2(body(65537), $pipe), 413, 'HTTP/2: and a byte');
is(h2('x' x 5000000, $pipe), 413, 'HTTP/2: 5 MB without a length');
is(h2('', $pipe), 400, 'HTTP/2: nothing');

$t->stop;
done_testing();

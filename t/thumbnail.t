# Thumbnails that are not there, stale, torn, distorted, or that caches keep.

use Livestream::Test;

my $t = Livestream::Test->new(
    livestream => 'rung 180p 320x180 300k;',
    server     => 'gzip on; gzip_min_length 1; keepalive_requests 1000000;',
    locations  => '
        location /cached/ {
            livestream_llhls;
            open_file_cache          max=100;
            open_file_cache_valid    60s;
            open_file_cache_min_uses 1;
            open_file_cache_errors   on;
        }');
$t->start;

sub path { $t->path($_[0], 'thumbnail.jpg') }

sub is_whole {
    my ($r) = @_;

    return $r->{status} == 200
           && length $r->{body} == $r->header('content-length')
           && $r->{body} =~ /\A\xff\xd8.*\xff\xd9\z/s;
}

# what ffprobe makes of it: "mjpeg 320 180"
sub probe {
    my ($body) = @_;

    my $file = "$t->{dir}/probe.jpg";

    Livestream::Test::write_file($file, $body);

    return join ' ', split /\s+/, `ffprobe -v error -of default=nw=1:nk=1 \\
        -show_entries stream=codec_name,width,height $file 2>&1`;
}

# the mean luma of a picture
sub luma {
    my ($body) = @_;

    my $file = "$t->{dir}/probe.jpg";

    Livestream::Test::write_file($file, $body);

    my $raw = `ffmpeg -v error -i $file -vf scale=1:1:flags=area,format=gray \\
        -f rawvideo -`;

    return ord $raw;
}


# a picture in the place of a stream's, as it is put there
sub put {
    my ($s, $body) = @_;

    my ($dir) = glob "$t->{dir}/data/media/$s->{id}/*";

    die "no folder of $s->{id}\n" unless $dir;

    Livestream::Test::write_file("$dir/tmp", $body);
    rename "$dir/tmp", "$dir/thumbnail.jpg" or die "rename: $!\n";
}


subtest 'delivery' => sub {
    my $s = $t->create(title => 'Only heard');
    my $path = path($s);

    is($t->get($path)->{status}, 404, 'none of a stream that never was');

    my $p = $t->publish($s, video => 0);
    ok($t->wait_live($s, 'audio'), 'is live') or diag($p->output);

    my $r = $t->get($path);
    is($r->{status}, 404, 'none of a stream that only is heard');
    like($r->header('cache-control'), qr/^max-age=\d$/, 'cached for seconds');
    is($r->header('access-control-allow-origin'), '*', 'for any origin');
    is($t->get($path =~ s/streams/cached/r)->{status}, 404,
       'none, which a cache remembers');

    my $picture = "\xff\xd8" . 'picture' x 5000 . "\xff\xd9";
    put($s, $picture);

    $r = $t->get($path, headers => { 'Accept-Encoding' => 'gzip' });
    is($r->{status}, 200, 'one that is put there');
    ok($r->{body} eq $picture, 'as it is');
    is($r->header('content-encoding'), undef, 'not compressed again');
    is($r->header('content-type'), 'image/jpeg', 'of its type');
    is($r->header('cache-control'), 'max-age=5', 'cached for seconds');
    is($r->header('access-control-allow-origin'), '*', 'for any origin');
    ok($r->header('etag') && $r->header('last-modified'), 'with validators');

    my $c = $t->client;
    my $head = $c->request(HEAD => $path);
    is($head->{status}, 200, 'HEAD');
    is($head->header('content-length'), length $picture, 'its length');
    is($c->request(GET => $path, headers => {
        'If-None-Match' => $head->header('etag') })->{status}, 304,
       'unchanged by its tag');
    is($c->request(GET => $path, headers => {
        'If-Modified-Since' => $head->header('last-modified') })->{status},
       304, 'unchanged by its time');
    is($c->request(GET => $path, headers => {
        'If-None-Match' => '"other"' })->{status}, 200, 'changed');

    my $part = $c->request(GET => $path, headers => {
        Range => 'bytes=2-8' });
    is($part->{status}, 206, 'a range');
    is($part->{body}, 'picture', 'of it');

    is($c->request(POST => $path, body => 'x')->{status}, 405, 'POST');
    is($c->request(OPTIONS => $path)->{status}, 204, 'OPTIONS');

    ok($t->get($path =~ s/streams/cached/r)->{body} eq $picture,
       'what came is there at once behind a cache of open files');

    my $other = "\xff\xd8" . 'other' x 5000 . "\xff\xd9";
    put($s, $other);

    for my $where (qw(streams cached)) {
        ok($t->get($path =~ s/streams/$where/r)->{body} eq $other,
           "$where: what replaces it is there at once");
    }

    my $tag = $t->get($path)->header('etag');
    isnt($tag, $head->header('etag'), 'with a tag of its own');

    $p->stop;
    is($t->get($t->path('unknown', 'thumbnail.jpg'))->{status}, 404,
       'of no stream');
    is($t->get($t->path($s, 'source', 'thumbnail.jpg'))->{status}, 404,
       'of no track');
};


my @streams = (
    { title => 'Passed through', size => '320x180', shape => '320 180' },
    { title => 'Transcoded', size => '640x360', shape => '640 360',
      field => [settings => { enable_transcoding => JSON_TRUE }] },
    { title => 'Anamorphic', size => '240x180', shape => '320 180',
      args => ['-vf', 'setsar=4/3'] },
    { title => 'Large and upright', size => '360x720', shape => '180 360' },
);

for (@streams) {
    $_->{s} = $t->create(title => $_->{title}, @{ $_->{field} // [] });
    $_->{p} = $t->publish($_->{s}, size => $_->{size}, gop => 2, fps => 15,
                          args => $_->{args} // []);
}

for (@streams) {
    my ($s, $name) = ($_->{s}, $_->{title});

    ok($t->wait_live($s, 'audio', 30), "$name: is live")
        or diag($_->{p}->output);

    my $path = path($s);
    my $r = wait_for { my $r = $t->get($path); $r->{status} == 200 && $r } 12;

    ok($r, "$name: has a thumbnail within 12 s") or next;
    ok(is_whole($r), "$name: a whole one");
    is(probe($r->{body}), "mjpeg $_->{shape}", "$name: of its shape");
    cmp_ok(luma($r->{body}), '>', 40, "$name: not dark");
    cmp_ok(luma($r->{body}), '<', 215, "$name: nor white");

    $_->{first} = $r;
}

# all of them for a while, by connections that are kept

my %torn;
my %changed;
my $c = $t->client;
my $get = 0;

wait_for {
    for (@streams) {
        next unless $_->{first};

        my $r = $c->request(GET => path($_->{s}));

        $get++;

        if (!is_whole($r)) {
            $torn{ $_->{title} } = $r->{error} // $r->{head};

        } elsif ($r->{body} ne $_->{first}{body}) {
            $changed{ $_->{title} }++;
        }
    }

    keys %changed == @streams;
} 25;

cmp_ok($get, '>', 50, "$get requests");
is_deeply(\%torn, {}, 'none of them had a torn picture');

for (@streams) {
    ok($changed{ $_->{title} }, "$_->{title}: it changes");
}

my $gone = $streams[0];
my @left = glob "$t->{dir}/data/media/$gone->{s}{id}/*/*.tmp";

cmp_ok(scalar @left, '<=', 1, 'files that were written are not left over');

$_->{p}->stop for @streams;

$t->stop;
done_testing();

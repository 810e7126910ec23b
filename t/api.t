# The REST API when all goes well: what a back office does with it, and that
# the key is shown only to who makes it.

use Livestream::Test;

use JSON::PP;

my $t = Livestream::Test->new(tls => 1, locations => q(
    location /v2/behind/a/longer/prefix { livestream_api; }
    location /read/ { livestream_api; limit_except GET { deny all; } }
    location /read-only/ {
        livestream_api;
        limit_except GET { allow 127.0.0.1; deny all; }
    }
));
$t->start;

my $uuid = qr/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
my $time = qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;


# ---- create

my ($status, $s, $r) = $t->api(POST => '/livestreams',
                               { title => 'A concert', user_id => 'u-1' });

is($status, 201, 'created');
is($r->{headers}{'content-type'}, 'application/json', 'as JSON');
is($r->{headers}{'cache-control'}, 'no-store', 'that no cache keeps');
like($s->{id}, $uuid, 'id is a UUID');
is($r->{headers}{location}, "/api/v1/livestreams/$s->{id}",
   'Location is where it is');
is($t->get($r->{headers}{location})->{status}, 200, 'and it is there');

like($s->{stream_key}, qr/^sk_[0-9a-f]{32,}$/, 'key has 128 bits or more');
is($s->{rtmp_ingest_url},
   "rtmp://127.0.0.1:$t->{rtmp}/live/$s->{stream_key}",
   'rtmp_ingest_url is publish_url and the key');
is($s->{master_playlist}, "/streams/$s->{id}/master.m3u8", 'master_playlist');
is($s->{status}, 'idle', 'status is idle');
like($s->{created_at}, $time, 'created_at is RFC 3339 UTC');
is($s->{updated_at}, $s->{created_at}, 'updated_at is created_at');

like($r->{body}, qr/"$$_[0]":\Q$$_[1]\E(?:,|\})/, "$$_[0] is $$_[1]")
    for [description => 'null'], [dvr_enabled => 'false'],
        [dvr_window => '7200'], [low_latency => 'true'], [settings => '{}'],
        [metadata => '{}'], [viewer_count => '0'],
        [peak_viewer_count => '0'], [started_at => 'null'],
        [ended_at => 'null'];

my ($row) = $t->sql("SELECT * FROM live_streams WHERE id = '$s->{id}'");
is($row->{stream_key}, $s->{stream_key}, 'the store has the key');
is($row->{rtmp_ingest_url}, $s->{rtmp_ingest_url}, 'and the URL');

my %full = (
    title       => "\x{1f3b8} Gitarren & \"T\x{f6}ne\" \\ <b>",
    user_id     => "\x{dc}nal",
    description => "two\nlines\tand ' \" -- ; DROP TABLE live_streams",
    dvr_enabled => JSON_TRUE,
    dvr_window  => 3600,
    low_latency => JSON_FALSE,
    settings    => {
        enable_transcoding => JSON_TRUE, resolutions => ['1080p', '480p'],
        codec => 'h265', segment_duration => 4, part_duration => 0.25,
        playlist_length => 8, audio_codec => 'opus', audio_bitrate => 96,
        keyframe_interval => 1.5, gpu_acceleration => JSON_FALSE,
    },
    metadata    => { tags => ['a', 'b'], deep => { n => 9007199254740993 },
                     text => "\x{e9}\x{1f600}" },
);

my (undef, $f) = $t->api(POST => '/livestreams', \%full);
my ($again) = ($t->api(GET => "/livestreams/$f->{id}"))[1];

is_deeply($again->{$_}, $full{$_}, "$_ comes back as it was given")
    for sort keys %full;

isnt($f->{stream_key}, $s->{stream_key}, 'each has a key of its own');


# ---- the key is not shown again

for my $path ("/livestreams/$s->{id}", '/livestreams',
              '/livestreams?user_id=u-1') {
    my ($status, undef, $r) = $t->api(GET => $path);

    is($status, 200, "GET $path");
    unlike($r->{body}, qr/stream_key|sk_/, 'does not show the key');
}

(undef, my $shown) = $t->api(GET => "/livestreams/$s->{id}");
is($shown->{rtmp_ingest_url}, "rtmp://127.0.0.1:$t->{rtmp}/live",
   'rtmp_ingest_url is without the key');

is_deeply([sort keys %$shown],
          [sort grep { $_ ne 'stream_key' } keys %$row],
          'get shows every column but the key');


# ---- HEAD, OPTIONS, upper case, other prefixes

my $head = $t->request(HEAD => "/api/v1/livestreams/$s->{id}");
is($head->{status}, 200, 'HEAD');
is($head->{body}, '', 'has no body');
is($head->{headers}{'content-length'},
   length $t->get("/api/v1/livestreams/$s->{id}")->{body},
   'but the length of that of GET');

for (['/livestreams', 'GET, HEAD, POST, OPTIONS'],
     ["/livestreams/$s->{id}", 'GET, HEAD, PATCH, DELETE, OPTIONS'],
     ["/livestreams/$s->{id}/start", 'POST, OPTIONS']) {
    my ($status, undef, $r) = $t->api(OPTIONS => $_->[0]);

    is($status, 204, "OPTIONS $_->[0]");
    is($r->{headers}{allow}, $_->[1], "Allow: $_->[1]");
}

is(($t->api(GET => '/livestreams/' . uc $s->{id}))[0], 200,
   'an id in upper case is the same id');

is($t->get("/v2/behind/a/longer/prefix/livestreams/$s->{id}")->{status}, 200,
   'another prefix, without a slash at its end');

$r = $t->request(POST => '/v2/behind/a/longer/prefix/livestreams',
                 headers => { 'Content-Type' => 'application/json' },
                 body => '{"title":"x","user_id":"y"}');
like($r->{headers}{location},
     qr{^/v2/behind/a/longer/prefix/livestreams/[0-9a-f-]{36}$},
     'Location is of that prefix');

is($t->get("/read/livestreams/$s->{id}")->{status}, 200,
   'limit_except GET lets GET in');
is($t->request(DELETE => "/read/livestreams/$s->{id}")->{status}, 403,
   'and denies DELETE');
is($t->request(POST => "/read-only/livestreams/$s->{id}/start")->{status},
   200, 'what limit_except lets in is answered by the API');


# ---- list

$t->sql('DELETE FROM live_streams');

my @all = map {
    (undef, my $x) = $t->api(POST => '/livestreams',
        { title => "Number $_", user_id => $_ % 2 ? 'odd' : 'even' });
    $x;
} 1 .. 25;

my ($st, $list) = $t->api(GET => '/livestreams');
is_deeply([$list->{limit}, $list->{offset}], [20, 0], 'limit is 20');
is(@{ $list->{streams} }, 20, 'and 20 are listed');
my @times = map { $_->{created_at} } @{ $list->{streams} };
is_deeply(\@times, [reverse sort @times], 'the newest first');
is($times[0], $all[-1]{created_at}, 'of all');

my @paged = map {
    my ($st, $page) = $t->api(GET => "/livestreams?limit=10&offset=$_");
    is($page->{offset}, $_, "offset $_");
    map { $_->{id} } @{ $page->{streams} };
} 0, 10, 20, 30;

is_deeply([sort @paged], [sort map { $_->{id} } @all],
          'pages have each stream once');

(undef, $list) = $t->api(GET => '/livestreams?user_id=odd&limit=100');
is(@{ $list->{streams} }, 13, 'user_id');
is_deeply([grep { $_->{user_id} ne 'odd' } @{ $list->{streams} }], [],
          'all of them that user\'s');

$t->sql("UPDATE live_streams SET status = 'ended' WHERE title = 'Number 7'");

(undef, $list) = $t->api(GET => '/livestreams?status=ended');
is($list->{streams}[0]{title}, 'Number 7', 'status');
(undef, $list) = $t->api(GET => '/livestreams?status=ended&user_id=even');
is_deeply($list->{streams}, [], 'status and user_id');
(undef, $list) = $t->api(GET => '/livestreams?user_id=nobody%20%27%20OR%201');
is_deeply($list->{streams}, [], 'a user whom there is not');
(undef, $list) = $t->api(GET => '/livestreams?&&limit=1&');
is(@{ $list->{streams} }, 1, 'empty arguments');

(undef, my $odd) = $t->api(POST => '/livestreams',
                           { title => 'x', user_id => "a b+c&d=\x{e9}" });
(undef, $list) = $t->api(GET => '/livestreams?user_id=a+b%2Bc%26d%3D%C3%A9');
is($list->{streams}[0]{id}, $odd->{id}, 'a user_id with everything escaped');


# ---- patch

(undef, $s) = $t->api(POST => '/livestreams', {
    title => 'Before', user_id => 'u', description => 'old',
    settings => { codec => 'h264', playlist_length => 5 },
    metadata => { keep => 1, drop => 2, deep => { a => 1, b => 2 } },
});

sub patch {
    my ($status, $x, $r) = $t->api(PATCH => "/livestreams/$s->{id}", $_[0]);
    return ($status, $x // $r);
}

# stamps have milliseconds
my $ms = int(now() * 1000);
wait_for { int(now() * 1000) > $ms };

($status, my $p) = patch({ title => 'After' });
is($status, 200, 'PATCH');
is($p->{title}, 'After', 'title is changed');
is_deeply($p->{$_}, $s->{$_}, "$_ is not")
    for qw(user_id description settings metadata dvr_window created_at);
cmp_ok($p->{updated_at}, 'gt', $s->{updated_at}, 'updated_at goes on');
ok(!exists $p->{stream_key}, 'no key in the answer');

(undef, $p) = patch({ dvr_enabled => JSON_TRUE, dvr_window => 60,
                      low_latency => JSON_FALSE });
is_deeply([@$p{qw(dvr_enabled dvr_window low_latency)}],
          [JSON_TRUE, 60, JSON_FALSE], 'flags and window');

(undef, $p) = patch({ description => undef });
is($p->{description}, undef, 'description null');
(undef, $p) = patch({ description => '' });
is($p->{description}, '', 'description empty');

(undef, $p) = patch({ settings => { codec => undef, part_duration => 1 } });
is_deeply($p->{settings}, { playlist_length => 5, part_duration => 1 },
          'settings are merged, null removes');

(undef, $p) = patch({ metadata => { drop => undef, new => [undef],
                                    deep => { a => undef, c => { d => undef,
                                                                 e => 3 } } }
                    });
is_deeply($p->{metadata}, { keep => 1, new => [undef],
                            deep => { b => 2, c => { e => 3 } } },
          'metadata is merged in depth');

(undef, $p) = patch({ metadata => undef, settings => undef });
is_deeply([@$p{qw(metadata settings)}], [{}, {}], 'null empties objects');

($status, $p) = patch({});
is($status, 200, 'an empty patch');
is($p->{title}, 'After', 'changes nothing');

$r = $t->request(PATCH => "/api/v1/livestreams/$s->{id}",
                 headers => { 'Content-Type' =>
                             'Application/Merge-Patch+JSON; charset="UTF-8"' },
                 body => '{"title":"Merged"}');
is($r->{status}, 200, 'as a merge patch');


# ---- start, stop, key

sub call {
    my ($what) = @_;
    return $t->api(POST => "/livestreams/$s->{id}/$what");
}

sub status {
    (undef, my $x) = $t->api(GET => "/livestreams/$s->{id}");
    return $x->{status};
}

($status, my $answer) = call('start');
is($status, 200, 'start');
is_deeply($answer, { message => 'Stream is starting', stream_id => $s->{id},
                     rtmp_ingest_url => $s->{rtmp_ingest_url} },
          'answers with the URL to publish to');
is(status(), 'starting', 'status is starting');
is((call('start'))[0], 200, 'start once more');

($status, $answer) = call('stop');
is($status, 200, 'stop');
is_deeply($answer, { message => 'Stream is stopping' }, 'says so');
is(status(), 'stopped', 'status is stopped, for nobody publishes');
is((call('stop'))[0], 200, 'stop once more');
is(status(), 'stopped', 'which it stays');
is((call('start'))[0], 200, 'start after stop');

for my $from (qw(idle ended error stopped)) {
    $t->sql("UPDATE live_streams SET status = '$from' WHERE id = '$s->{id}'");
    is((call('start'))[0], 200, "start from $from");
}

for my $from (qw(live interrupted stopping)) {
    $t->sql("UPDATE live_streams SET status = '$from' WHERE id = '$s->{id}'");
    my ($status, $problem) = call('start');
    is($status, 409, "start from $from is a conflict");
    like($problem->{detail}, qr/$from/, 'which says what it is');
}

is((call('stop'))[0], 200, 'a stream that hangs in stopping');
is(status(), 'stopped', 'can be stopped');

($status, my $new) = call('key');
is($status, 200, 'key');
like($new->{stream_key}, qr/^sk_[0-9a-f]{32,}$/, 'a new one');
isnt($new->{stream_key}, $s->{stream_key}, 'not the old one');
like($new->{rtmp_ingest_url}, qr/\Q$new->{stream_key}\E$/, 'and its URL');
($row) = $t->sql("SELECT stream_key FROM live_streams WHERE id = '$s->{id}'");
is($row->{stream_key}, $new->{stream_key}, 'the old one is gone');


# ---- delete

$t->sql('INSERT INTO live_stream_variants (id, live_stream_id, resolution,'
        . ' width, height, bitrate, codec, audio_bitrate, playlist_url,'
        . " segment_pattern) VALUES ('v', '$s->{id}', 'source', 1, 1, 1,"
        . " 'h264', 1, '/', 'x')");

($status, undef, $r) = $t->api(DELETE => "/livestreams/$s->{id}");
is($status, 204, 'delete');
is($r->{body}, '', 'answers nothing');
is(($t->api(GET => "/livestreams/$s->{id}"))[0], 404, 'it is gone');
is(($t->api(DELETE => "/livestreams/$s->{id}"))[0], 404, 'gone is gone');
is_deeply([$t->sql('SELECT id FROM live_stream_variants')], [],
          'its variants are gone, too');


# ---- many at once, over one connection, over HTTP/2

my @clients = map { $t->client } 1 .. 40;
$_->send(POST => '/api/v1/livestreams',
         headers => { 'Content-Type' => 'application/json' },
         body => '{"title":"at once","user_id":"crowd"}') for @clients;
my %id = map { decode_json($_->{body})->{id} => 1 }
         grep { $_->{status} == 201 } map { $_->recv } @clients;
is(keys %id, 40, '40 creations at once');

my @patches = map { $t->client } 1 .. 8;
my ($one) = keys %id;
my $n = 0;
$_->send(PATCH => "/api/v1/livestreams/$one",
         headers => { 'Content-Type' => 'application/json' },
         body => '{"metadata":{"k' . $n++ . '":1}}') for @patches;
my @done = map { $_->recv->{status} } @patches;
(undef, $p) = $t->api(GET => "/livestreams/$one");
is(keys %{ $p->{metadata} }, grep({ $_ == 200 } @done),
   'of merges at once none is lost that was answered with 200');
is_deeply([grep { $_ != 200 && $_ != 409 } @done], [], 'others are conflicts');

my $c = $t->client;
is($c->request(GET => "/api/v1/livestreams/$_")->{status}, 200,
   'connection is kept') for (keys %id)[0 .. 3];

$c = $t->client;
$c->raw(join '', map { "GET /api/v1/livestreams/$_ HTTP/1.1\r\nHost: x\r\n\r\n"
                     } (keys %id)[0 .. 9]);
is_deeply([map { decode_json($c->recv->{body})->{id} } 0 .. 9],
          [(keys %id)[0 .. 9]], 'pipelined requests are answered in order');

my $h2 = join ' ', 'curl -sk --http2 -w "%{http_code} %{http_version}"',
    map { "-o /dev/null https://127.0.0.1:$t->{https}/api/v1/livestreams/$_" }
        (keys %id)[0 .. 5];
is(`$h2`, '200 2' x 6, 'HTTP/2');

my $made = `curl -sk --http2 -H 'Content-Type: application/json' -d '{"title":
"two","user_id":"two"}' https://127.0.0.1:$t->{https}/api/v1/livestreams`;
like($made, qr/"title":"two"/, 'creation over HTTP/2');
like(`printf '{"title":"three","user_id":"three"}' | curl -sk --http2 \\
      -H 'Content-Type: application/json' -T - -X POST \\
      https://127.0.0.1:$t->{https}/api/v1/livestreams`,
     qr/"title":"three"/, 'and without a length');

$t->stop;
done_testing();

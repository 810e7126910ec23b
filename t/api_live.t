# What the API does to a stream that somebody publishes to: stop ends it and
# refuses the key, a new key puts out whoever has the old one, delete leaves
# nothing.

use Livestream::Test;

my $t = Livestream::Test->new(livestream => 'part_duration 500ms;
    segment_duration 2s; reconnect_window 20s;');
$t->start;

sub status {
    my ($s) = @_;
    (undef, my $x) = $t->api(GET => "/livestreams/$s->{id}");
    return $x->{id} ? $x->{status} : 'none';
}

sub becomes {
    my ($s, $status, $seconds) = @_;
    return wait_for { status($s) eq $status } $seconds // 10;
}

sub ended {
    my ($s) = @_;
    return wait_for {
        ($t->get($t->path($s, 'source', 'playlist.m3u8'))->content // '')
            =~ /EXT-X-ENDLIST/;
    } 10;
}

# Publishes until it is live.
sub live {
    my ($s) = @_;

    my $p = $t->publish($s);
    ok($t->wait_live($s), "$s->{title}: is live") or diag($p->output);
    ok(becomes($s, 'live'), 'and its status says so');

    return $p;
}


# ---- live

my $s = $t->create(title => 'To be stopped');
my $p = live($s);

(undef, my $x) = $t->api(GET => "/livestreams/$s->{id}");
like($x->{started_at}, qr/^\d{4}-\d\d-\d\dT[\d:.]+Z$/, 'started_at');
is($x->{ended_at}, undef, 'no ended_at');

(undef, my $list) = $t->api(GET => '/livestreams?status=live');
is($list->{streams}[0]{id}, $s->{id}, 'it is listed as live');

my ($status, $problem) = $t->api(POST => "/livestreams/$s->{id}/start");
is($status, 409, 'it cannot be started');
like($problem->{detail}, qr/live/, 'because it is live');

is(($t->api(PATCH => "/livestreams/$s->{id}",
            { title => 'New title', settings => { segment_duration => 4 } }
           ))[0], 200, 'it can be changed');
ok($t->playlist($s), 'and goes on');


# ---- stop

($status, $x) = $t->api(POST => "/livestreams/$s->{id}/stop");
is($status, 200, 'stop');
is($x->{message}, 'Stream is stopping', 'is being done');
ok(defined $p->wait(10), 'its publisher is disconnected');
ok(becomes($s, 'stopped'), 'it becomes stopped');
ok(ended($s), 'viewers see its end');

(undef, $x) = $t->api(GET => "/livestreams/$s->{id}");
ok($x->{ended_at}, 'ended_at');

$p = $t->publish($s);
ok(defined $p->wait(15), 'its key is refused');
is(status($s), 'stopped', 'it stays stopped');

($status, $x) = $t->api(POST => "/livestreams/$s->{id}/start");
is($status, 200, 'start');
is($x->{rtmp_ingest_url}, $s->{rtmp_ingest_url}, 'with the same key');
$p = live($s);


# ---- stop while the publisher is away

$p->kill;
ok(becomes($s, 'interrupted'), 'its publisher is gone');
is(($t->api(POST => "/livestreams/$s->{id}/start"))[0], 409,
   'it cannot be started');
is(($t->api(POST => "/livestreams/$s->{id}/stop"))[0], 200, 'stop');
ok(becomes($s, 'stopped'), 'it becomes stopped at once');


# ---- a new key

$s = $t->create(title => 'With a key that is known to others');
$p = live($s);

($status, my $new) = $t->api(POST => "/livestreams/$s->{id}/key");
is($status, 200, 'a new key');
ok(defined $p->wait(10), 'puts the publisher out');
ok(becomes($s, 'interrupted'), 'the stream waits for another');

$p = $t->publish($s);
ok(defined $p->wait(15), 'the old key is refused');
is(status($s), 'interrupted', 'and changes nothing');

$p = $t->publish($new);
ok(becomes($s, 'live'), 'with the new key it goes on');

my $m = $t->playlist($s);
ok($m, 'and can be played');


# ---- delete

is(($t->api(DELETE => "/livestreams/$s->{id}"))[0], 204, 'delete');
ok(defined $p->wait(10), 'its publisher is disconnected');
is(status($s), 'none', 'it is gone');
ok((wait_for {
        $t->get($t->path($s, 'source', 'playlist.m3u8'))->{status} == 404
    } 10), 'and so is its playlist');
ok((wait_for { !-e "$t->{dir}/data/media/$s->{id}" } 10), 'and its media');

$p = $t->publish($new);
ok(defined $p->wait(15), 'its key is refused');


# ---- all at once

my @many = map { $t->create(title => "One of many, $_") } 1 .. 4;
my @publishers = map { $t->publish($_) } @many;
ok(becomes($_, 'live', 20), 'live') for @many;

my @clients = map { $t->client } @many;
$clients[$_]->send(POST => "/api/v1/livestreams/$many[$_]{id}/stop")
    for 0 .. $#many;
is($_->recv->{status}, 200, 'stopped at once') for @clients;
ok(becomes($_, 'stopped'), 'is stopped') for @many;
ok(defined $_->wait(10), 'is disconnected') for @publishers;

$t->stop;
done_testing();

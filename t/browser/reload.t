# nginx -s reload while somebody watches: the old worker keeps the publisher,
# new workers answer the viewer, who notices nothing.

use Livestream::Test;
use Livestream::Test::Browser;

my $t = Livestream::Test->new(livestream => 'part_duration 500ms;
                                             segment_duration 2s;');
$t->start;

my $s = $t->create;
my $p = $t->publish($s);
my $b = Livestream::Test::Browser->start($t);

ok($t->wait_live($s), 'the stream can be played');
$b->play($t->url($s, 'master.m3u8'));
ok($b->started, 'it plays') or diag($b->why);
ok($b->wait('player.report().seconds > 3'), 'for a while');

$b->mark;

for my $n (1, 2) {
    my @old = $t->workers;

    ok($t->reload, "reload $n");
    ok($b->wait('player.report().seconds > ' . 8 * $n, 20), 'it goes on');

    my %now = map { $_ => 1 } $t->workers;
    is(scalar(grep { $now{$_} } @old), 0, 'new workers answer');
}

my $r = $b->report;

is($r->{stalls}, 0, 'without waiting for data') or diag($b->why);
is_deeply($r->{jumps}, [], 'or a seek');
is_deeply([grep { $_->{fatal} } @{ $r->{errors} }], [],
          'without a fatal error');
cmp_ok(abs($r->{played} - $r->{seconds}), '<',
       Livestream::Test::slow(0.5), 'in real time');
cmp_ok($r->{longest}, '<', Livestream::Test::slow(500),
       'with no picture held for long');

my ($status) = $t->api(GET => "/livestreams/$s->{id}");
is($status, 200, 'the API answers too');
ok($p->running, 'the publisher was never sent away');

$b->stop;
$p->stop;
$t->stop;
done_testing();

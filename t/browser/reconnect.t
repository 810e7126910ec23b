# The publisher drops and comes back after some seconds: the picture freezes,
# and then the same page plays on, by itself.

use Livestream::Test;
use Livestream::Test::Browser;

my $t = Livestream::Test->new(livestream => 'part_duration 500ms;
                                             segment_duration 2s;
                                             reconnect_window 30s;');
$t->start;

my $s = $t->create;
my $b = Livestream::Test::Browser->start($t);
my $p = $t->publish($s);

ok($t->wait_live($s), 'the stream can be played');
$b->play($t->url($s, 'master.m3u8'));
ok($b->started, 'it plays') or diag($b->why);
ok($b->wait('player.report().seconds > 3'), 'for a while');

for my $away (3, 5) {
    $p->kill;
    $b->mark;

    ok($b->wait("player.report().seconds > $away"),
       "$away s nobody publishes");
    $p = $t->publish($s);

    my $moves = wait_for {
        my $r = $b->report;
        $r->{frames} && $r->{silent} < 300 && $r->{seconds} > $away + 4;
    } 30;

    ok($moves, 'then the picture moves again') or diag($b->why);

    is_deeply([grep { $_->{fatal} } @{ $b->report->{errors} }], [],
              'without a fatal error');

    # hls.js may seek once more until it is sure of the new place

    my $r;

    for my $try (1 .. 3) {
        $b->mark;
        $b->wait('player.report().seconds > 8', 15) or last;
        $r = $b->report;
        last if steady($r);
    }

    ok($r, 'and goes on');
    is($r->{stalls}, 0, 'without waiting for data') or diag($b->why);
    ok(steady($r), 'in real time')
        or diag("$r->{played} s played in $r->{seconds} s");
    ok(!$r->{ended}, 'as the same stream');
}

my $m = $t->playlist($s, 'source');
ok((grep { $_->{discontinuity} } @{ $m->{segments} }),
   'the playlist says where');

$b->stop;
$p->stop;
$t->stop;
done_testing();


sub steady {
    my ($r) = @_;

    return $r->{stalls} == 0
        && abs($r->{played} - $r->{seconds}) < Livestream::Test::slow(0.5);
}

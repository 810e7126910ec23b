# hls.js under its default settings, on a page of another origin: half a minute
# without a stall, at the latency that parts of half a second allow, and the
# end of the stream.

use Livestream::Test;
use Livestream::Test::Browser;

use constant SECONDS => 30;

my $t = Livestream::Test->new(livestream => 'part_duration 500ms;
                                             segment_duration 4s;');
$t->start;

my $s = $t->create;
my $b = Livestream::Test::Browser->start($t);

Livestream::Test::Browser::publish_clock($t, $s);

my $running = wait_for {
    my $m = $t->playlist($s, 'source');
    $m && @{ $m->{segments} } > 1;
} 20;

ok($running, 'the stream can be played');

$b->play($t->url($s, 'master.m3u8'));
ok($b->eval(q{MediaSource.isTypeSupported(
       'video/mp4; codecs="avc1.42c01e,mp4a.40.2"')}),
   'this Chromium decodes H.264 and AAC');
ok($b->started, 'it plays') or diag($b->why);

my $first = $b->report->{firstFrame};
cmp_ok($first, '<=', Livestream::Test::slow(1000),
       'the first frame comes within a second');

# where the buffer settles is no stall, but no measure of latency either
ok($b->wait('player.report().seconds > 3'), 'it goes on');
$b->mark;
ok($b->wait('player.report().seconds >= ' . SECONDS, SECONDS + 10),
   'for half a minute');

my $r = $b->report;

is($r->{stalls}, 0, 'without waiting for data') or diag($b->why);
is_deeply($r->{errors}, [], 'and without an error');
is_deeply($r->{jumps}, [], 'or a seek');
ok($r->{lowLatency}, 'by parts');
cmp_ok(abs($r->{played} - $r->{seconds}), '<', Livestream::Test::slow(0.5),
       'in real time')
    or diag("$r->{played} s played in $r->{seconds} s");
cmp_ok($r->{longest}, '<', Livestream::Test::slow(500),
       'with no picture held for long');
cmp_ok($r->{ages}{n}, '>', 300, 'the clock in the picture is read');

# a viewer who comes just before a part is there stays a part further behind
# than one who comes just after: the median is that of three

my @medians = $r->{ages}{median};

for (2, 3) {
    $b->play($t->url($s, 'master.m3u8'));
    ok($b->started, "opening $_ plays") or diag($b->why);
    ok($b->wait('player.report().seconds > 3'), 'it goes on');
    $b->mark;
    ok($b->wait('player.report().seconds >= 5', 15), 'for five seconds');
    push @medians, $b->report->{ages}{median};
}

@medians = sort { $::a <=> $::b } @medians;
diag("medians of three openings: @medians");

cmp_ok($medians[@medians / 2], '<=', Livestream::Test::slow(2500),
       'the picture is 2.5 s old');
cmp_ok($r->{ages}{p95}, '<=', Livestream::Test::slow(3000),
       'and hardly ever 3 s');
cmp_ok(abs($r->{dates}{median} - $r->{ages}{median}), '<',
       Livestream::Test::slow(1000),
       'EXT-X-PROGRAM-DATE-TIME says nearly the same');

diag(sprintf 'glass to glass: median %.2f s, p95 %.2f s; first frame %.2f s',
     $r->{ages}{median} / 1000, $r->{ages}{p95} / 1000, $first / 1000);

# the operator ends it
my ($status) = $t->api(POST => "/livestreams/$s->{id}/stop");
is($status, 200, 'the stream is stopped');
ok($b->wait('player.report().ended', 20), 'the page sees its end')
    or diag($b->why);
is_deeply([grep { $_->{fatal} } @{ $b->report->{errors} }], [],
          'without a fatal error');
is_deeply($b->messages, [], 'and nothing was refused, CORS included');

$b->stop;
$t->stop;
done_testing();

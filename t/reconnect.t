# A publisher drops and comes back: the same stream goes on behind a
# discontinuity; one that does not come back ends it.

use Livestream::Test;
use Livestream::Test::Follow;

my $t = Livestream::Test->new(livestream => 'part_duration 500ms;
                                             segment_duration 2s;
                                             reconnect_window 12s;');
$t->start;

my $s = $t->create(title => 'Dropped');
my $p = $t->publish($s);

ok($t->wait_live($s), 'the stream can be played') or diag($p->output);

my %f = map { $_ => Livestream::Test::Follow->new($t, $s, $_) }
        qw(source audio);

$f{source}->run(2);
$f{audio}->step;
my $map = $f{source}{playlist}{segments}[0]{map}{URI};

$p->kill;

ok(wait_for { ($t->sql('SELECT status FROM live_streams'))[0]{status}
              eq 'interrupted' }, 'the store says that it is interrupted');

$f{source}->run(3);
$f{audio}->run(0.1);

cmp_ok($f{source}{gaps}, '>', 1, 'the missing time is told by gaps');
cmp_ok($f{source}{slowest}, '<', 1.5, 'at the pace of parts');

my $again = $t->publish($s);
my $started = ($t->sql('SELECT started_at FROM live_streams'))[0]{started_at};

for my $track (qw(source audio)) {
    my $f = $f{$track};

    ok((wait_for { $f->step; $f->{discontinuities} } 15),
       "$track: goes on behind a discontinuity") or diag($again->output);
    $f->run(2);
    is_deeply($f->problems, [], "$track: nothing changed that must not");
    is_deeply([keys %{ $f->{statuses} }], [200], "$track: always answered");
}

is($f{source}{playlist}{segments}[-1]{map}{URI}, $map,
   'the same parameters keep their init segment');

my %dsn;
for my $track (qw(source audio)) {
    my $m = $t->playlist($s, $track);
    $dsn{$track}{ $_->{msn} } = $_->{dsn} for @{ $m->{segments} };
}

my @both = grep { exists $dsn{audio}{$_} } keys %{ $dsn{source} };
cmp_ok(scalar @both, '>', 2, 'both tracks have the same segments');
is_deeply([map { $dsn{source}{$_} } sort @both],
          [map { $dsn{audio}{$_} } sort @both],
          'and the same discontinuity sequence numbers');

is(($t->sql('SELECT started_at FROM live_streams'))[0]{started_at}, $started,
   'it is still the same broadcast');

my $errors = `ffmpeg -v error -i @{[ $t->url($s, 'master.m3u8')
    ]} -t 3 -f null - 2>&1`;
is($?, 0, 'ffmpeg plays it') or diag($errors);

my $c = $t->client(timeout => 25);
$again->kill;

$f{source}->run(30);
ok($f{source}{playlist}{endlist}, 'without its publisher it ends');
ok(wait_for { ($t->sql('SELECT status FROM live_streams'))[0]{status}
              eq 'ended' }, 'and the store says so');

my $r = $c->request(GET => $t->path($s, 'source', 'playlist.m3u8')
                    . '?_HLS_msn=100000&_HLS_part=9&_HLS_skip=YES');
is($r->{status}, 200, 'directives are ignored then');
like($r->content, qr/#EXT-X-ENDLIST/, 'the full playlist is served');
unlike($r->content, qr/EXT-X-SKIP|PRELOAD-HINT/, 'whole and without a hint');

my $next = $t->publish($s);
my $m = wait_for {
    my $m = $t->playlist($s);
    $m && !$m->{endlist} && $m;
} 15;

ok($m, 'the key can be used for another broadcast') or diag($next->output);
cmp_ok($m->{msn}, '>', $f{source}{playlist}{segments}[-1]{msn},
       'whose numbers go on');

$next->stop;
$t->stop;
done_testing();

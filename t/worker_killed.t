# kill -9 of the worker that has the publisher: the stream is interrupted, its
# playlist stays, and the publisher's return continues it.

use Livestream::Test;
use Livestream::Test::Follow;

my $t = Livestream::Test->new(livestream => 'part_duration 500ms;
                                             segment_duration 2s;
                                             reconnect_window 30s;');
$t->start;

my $s = $t->create(title => 'Killed');
my $p = $t->publish($s);

ok($t->wait_live($s), 'the stream can be played') or diag($p->output);

my $f = Livestream::Test::Follow->new($t, $s);
$f->run(3);

# its thread is named after what it does

my ($owner) = grep {
    grep { Livestream::Test::read_file($_) =~ /^ls-/ }
        glob "/proc/$_/task/*/comm"
} $t->workers;

ok($owner, 'a worker has the stream') or BAIL_OUT('no worker has it');

my $before = $f->{playlist};

kill KILL => $owner;

ok(wait_for { ($t->sql('SELECT status FROM live_streams'))[0]{status}
              eq 'interrupted' }, 'the store says that it is interrupted');

my $m = wait_for { $t->playlist($s) };
ok($m, 'its playlist stays');
ok(!$m->{endlist}, 'and has no end');
cmp_ok($m->{open}{msn}, '>=', $before->{open}{msn}, 'it goes on');

my $segment = $m->{segments}[0];
is($t->get($t->path($s, 'source', $segment->{uri}))->{status}, 200,
   'so does its media');

$f->run(2);

my $again = $t->publish($s);

ok((wait_for { $f->step; $f->{discontinuities} } 15),
   'the publisher continues it behind a discontinuity')
    or diag($again->output);

$f->run(3);
is_deeply($f->problems, [], 'nothing changed that must not');

ok(wait_for { ($t->sql('SELECT status FROM live_streams'))[0]{status}
              eq 'live' }, 'the store says that it is live');

my $errors = `ffmpeg -v error -i @{[ $t->url($s, 'master.m3u8')
    ]} -t 4 -f null - 2>&1`;
is($?, 0, 'ffmpeg plays over it') or diag($errors);

$t->allow(qr/exited on signal 9/);
$again->stop;
$t->stop;
done_testing();

# A reload in mid-stream: the old worker keeps the publisher, the new ones
# serve it, and viewers notice nothing.

use Livestream::Test;
use Livestream::Test::Follow;

my $t = Livestream::Test->new(livestream => 'part_duration 500ms;
                                             segment_duration 2s;');
$t->start;

my $s = $t->create(title => 'Reloaded');
my $p = $t->publish($s);

ok($t->wait_live($s), 'the stream can be played') or diag($p->output);

my $f = Livestream::Test::Follow->new($t, $s);
$f->run(2);

my @old = $t->workers;

ok($t->reload, 'nginx was reloaded');

ok(wait_for {
    my @all = $t->workers('all');
    1 == grep { my $pid = $_; grep { $_ == $pid } @all } @old;
}, 'of the old workers only the one with the publisher stays');

$f->run(6);

is_deeply($f->problems, [], 'the playlist went on as if nothing were');
is_deeply([keys %{ $f->{statuses} }], [200], 'every reload was answered');
cmp_ok($f->{slowest}, '<', 1.5, 'and none of them late');
is($f->{gaps}, 0, 'without a gap');
is($f->{discontinuities}, 0, 'and without a discontinuity');
ok($p->running, 'the publisher noticed nothing');

ok($t->reload, 'nginx was reloaded once more');
$f->run(4);
is_deeply($f->problems, [], 'the playlist goes on again');

$p->stop;

ok($f->run(5, sub { $_[0]{gaps} }), 'the publisher left the old worker');
cmp_ok($f->{gaps}, '>', 0, 'a new worker keeps the stream for its return');
is_deeply($f->problems, [], 'nothing changed that must not');

my $again = $t->publish($s);
ok((wait_for { $f->step; $f->{discontinuities} } 15), 'and it came back')
    or diag($again->output);
is_deeply($f->problems, [], 'on the same playlist');

ok(wait_for { ($t->sql('SELECT status FROM live_streams'))[0]{status}
              eq 'live' }, 'the store says so');

$again->stop;
$t->stop;
done_testing();

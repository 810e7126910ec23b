# kill -9 of the master and a new start: no worker is left to hold the ports,
# no stream is left live in the store, no file of the former broadcast stays,
# and sequence numbers do not run back.

use Livestream::Test;

my $t = Livestream::Test->new(livestream => 'part_duration 500ms;
                                             segment_duration 2s;');
$t->start;

my $s = $t->create(title => 'Crashed');
my $p = $t->publish($s);
my $m = $t->wait_live($s);

ok($m, 'the stream can be played') or diag($p->output);

my ($root) = $t->conf =~ /root\s+(\S+);/;
my @files = glob "$root/$s->{id}/*/source/segment-*.m4s";
cmp_ok(scalar @files, '>', 0, 'it has files');

my $last = wait_for {
    my $now = $t->playlist($s);
    $now->{open}{msn} > $m->{open}{msn} + 1 && $now;
};

$t->restart_hard;

is(($t->sql('SELECT status FROM live_streams'))[0]{status}, 'ended',
   'no stream is left live in the store');
is($t->get($t->path($s, 'master.m3u8'))->{status}, 404, 'nor served');

ok(wait_for { !grep { -e } @files }, 'its files are gone');
ok(wait_for { !glob "$root/.trash-*" }, 'and nothing else is left');

$p->wait(10);

my $again = $t->publish($s);
my $new = $t->wait_live($s);

ok($new, 'it can go live again') or diag($again->output);
cmp_ok($new->{msn}, '>=', $last->{open}{msn},
       'with sequence numbers that no cache has seen');

$again->stop;
$t->stop;
done_testing();
